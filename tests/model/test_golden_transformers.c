/* SPDX-License-Identifier: MIT
 * test_golden_transformers.c: ViT, DeiT and Swin beyond what test_golden_models.c asks of every
 * network: timm's networks at their own size, each head of a distilled DeiT, positions for other
 * sizes of pictures. tests/golden/timm_models.py made the numbers. */
#include "golden.h"

#include "../plan/apart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char vit_spec[] = "vit_tiny_patch16_224,image=32,patch=4,dim=24,depth=3,heads=3,"
                               "classes=7";
static const char deit_spec[] = "deit_tiny_distilled_patch16_224,image=32,patch=4,dim=20,depth=3,"
                                "heads=5,classes=5";
static const char swin_spec[] = "swin_tiny_patch4_window7_224,image=32,patch=4,dim=8,depth=1-3-1,"
                                "heads=2-1-4,window=3,classes=5";
static const char wide_spec[] = "swin_tiny_patch4_window7_224,image=32,patch=4,dim=9,depth=2-2,"
                                "heads=3-2,window=7,classes=4";

static void *need(size_t count, size_t size)
{
    void *block = calloc(count ? count : 1, size);
    ck_assert_ptr_nonnull(block);
    return block;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static kd_plan *step_plan(kd_model *model, size_t batch)
{
    kd_graph *g;
    kd_plan *plan;
    kd_ctx *ctx = kd_model_ctx(model);
    const int64_t dim[] = {KD_BATCH, (int64_t)kd_model_height(model),
                           (int64_t)kd_model_width(model), (int64_t)kd_model_channels(model)};
    const kd_build_opt build = {.struct_size = sizeof build, .no_dropout = 1};
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value logits = kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), &build);
    const kd_value loss = kd_cross_entropy(g, logits, kd_input(g, "labels", KD_I32, 1, dim), 0);
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, loss, "loss");
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = batch, .training = 1};
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    kd_graph_destroy(g);
    return plan;
}

/* Ten steps of AdamW on one batch: each loss before its step, and the logits after the last, are
 * those of the file's tensors PREFIXadamw.losses and PREFIXadamw.logits. */
static void walk(kd_model *model, const golden *file, const char *prefix, size_t batch,
                 const float *x, const int32_t *labels, float rate)
{
    enum { STEPS = 10 };
    kd_ctx *ctx = kd_model_ctx(model);
    kd_exec *exec;
    kd_optim *optim;
    float losses[STEPS];
    golden_worst worst = {.tolerance = 1e-5}, after = {.tolerance = 1e-4};
    kd_plan *plan = step_plan(model, batch);
    const kd_optim_opt opt = {
        .struct_size = sizeof opt, .optimizer = KD_OPTIMIZER_ADAMW, .weight_decay = .05f};
    test_ok(ctx, kd_exec_create(plan, kd_model_params(model), NULL, &exec));
    test_ok(ctx, kd_optim_create(kd_model_params(model), &opt, &optim));
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    test_ok(ctx, kd_exec_bind(exec, "labels", labels));
    for (int i = 0; i < STEPS; i++) {
        test_ok(ctx, kd_exec_run(exec, NULL));
        losses[i] = *(const float *)kd_exec_output(exec, "loss");
        kd_optim_step(optim, rate, 1);
    }
    float *want = golden_floats(file, golden_find(file, "%sadamw.losses", prefix));
    golden_compare(&worst, kd_model_spec(model), "losses", losses, want, STEPS);
    free(want);
    const kd_file_tensor *t = golden_find(file, "%sadamw.logits", prefix);
    float *logits = need(t->count, sizeof *logits);
    want = golden_floats(file, t);
    test_ok(ctx, kd_model_predict(model, x, batch, 0, logits));
    golden_compare(&after, kd_model_spec(model), "logits", logits, want, t->count);
    golden_report(&worst, "  ten steps of AdamW: losses");
    golden_report(&after, "  logits after them");
    free(want);
    free(logits);
    kd_optim_destroy(optim);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
}

/* ---- at their own size ----------------------------------------------------------------------- */

/* timm_models.py's formula(): numbers in [-.5,.5) from an index and a name. */
static double formula(size_t i, uint32_t salt)
{
    uint32_t x = (uint32_t)i * 2654435761U + salt;
    x = (x ^ (x >> 15)) * 2246822519U;
    return (double)(x >> 16) / 65536 - 0.5;
}

static uint32_t salt_of(const char *name)
{
    uint32_t h = 2166136261U;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619U;
    return h;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t length = strlen(name), n = strlen(end);
    return length >= n && !strcmp(name + length - n, end);
}

static void set_weights(kd_params *params)
{
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        const kd_shape *s = &info->file_shape;
        const uint32_t salt = salt_of(info->name);
        const bool norm = strstr(info->name, "norm") && ends_with(info->name, "weight");
        const bool rows = s->rank > 1 && !strstr(info->name, "pos");
        const double inputs = rows ? (double)(info->count / (size_t)s->dim[0]) : 16;
        double scale = .5;
        while (!norm && scale * scale * inputs > 8) scale /= 2;
        float *x = need(info->count, sizeof *x);
        for (size_t k = 0; k < info->count; k++)
            x[k] = (float)((norm ? 1 : 0) + scale * formula(k, salt));
        test_ok(kd_params_ctx(params), kd_params_set(params, info, x));
        free(x);
    }
}

/* [n,3,224,224] by the formula, as [n,224,224,3]. */
static float *make_pictures(size_t n, size_t side)
{
    const size_t pixels = side * side;
    const uint32_t salt = salt_of("input");
    float *x = need(n * pixels * 3, sizeof *x), *to = x;
    for (size_t i = 0; i < n; i++)
        for (size_t p = 0; p < pixels; p++)
            for (size_t c = 0; c < 3; c++)
                *to++ = (float)(4 * formula((i * 3 + c) * pixels + p, salt));
    return x;
}

static int by_name(const void *a, const void *b)
{
    const kd_param_info *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Norms of all gradients, and their products with the formula beside the norms. */
static void check_gradients(const golden *file, const char *spec, const kd_params *params)
{
    const size_t n = kd_params_entries(params);
    const kd_param_info **sorted = need(n, sizeof *sorted);
    const kd_file_tensor *t = golden_find(file, "%s.grads", spec);
    float *want = golden_floats(file, t);
    golden_worst norms = {.tolerance = 1e-4}, products = {.tolerance = 1e-4};
    ck_assert_uint_eq((size_t)t->shape[0], n);
    for (size_t i = 0; i < n; i++) sorted[i] = kd_params_info(params, i);
    qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 0; i < n; i++) {
        char name[160];
        snprintf(name, sizeof name, "%s.grad", sorted[i]->name);
        const uint32_t salt = salt_of(name);
        float *g = golden_param(params, sorted[i], 1);
        double squares = 0, product = 0;
        for (size_t k = 0; k < sorted[i]->count; k++) {
            squares += (double)g[k] * (double)g[k];
            product += (double)g[k] * formula(k, salt);
        }
        const float got[2] = {(float)sqrt(squares), (float)product};
        golden_compare(&norms, spec, name, got, want + 2 * i, 1);
        products.least = (double)want[2 * i] / 4;
        golden_compare(&products, spec, name, got + 1, want + 2 * i + 1, 1);
        free(g);
    }
    golden_report(&norms, "  gradients' norms");
    golden_report(&products, "  gradients' products");
    free(want);
    free(sorted);
}

/* A training pass, with buffers shared and not: the same bits. */
static void check_sharing(kd_model *model, size_t n, const float *x, const int32_t *labels)
{
    kd_ctx *ctx = kd_model_ctx(model);
    kd_graph *g;
    const int64_t side = (int64_t)kd_model_image(model), dim[] = {KD_BATCH, side, side, 3};
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value logits = kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), NULL);
    const kd_value loss = kd_cross_entropy(g, logits, kd_input(g, "labels", KD_I32, 1, dim), 0);
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, logits, "logits");
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = n, .training = 1};
    const apart_input inputs[] = {{"input", x}, {"labels", labels}};
    check_apart(ctx, g, &opt, kd_model_params(model), inputs, 2);
    kd_graph_destroy(g);
}

static void check_full(const char *spec)
{
    kd_ctx *ctx = test_ctx(0, NULL);
    golden file = golden_open(ctx, "full_transformers.safetensors");
    const kd_file_tensor *t = golden_find(&file, "%s.logits", spec);
    const size_t n = (size_t)t->shape[0];
    const kd_distill_opt opt = {
        .struct_size = sizeof opt,
        .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt), .lr = 1e-9f}};
    golden_worst logits = {.tolerance = 1e-5};
    kd_model *model;
    char prefix[64];
    test_ok(ctx, kd_model_create(ctx, spec, 1, &model));
    kd_params *params = kd_model_params(model);
    set_weights(params);
    float *x = make_pictures(n, kd_model_image(model)), *want = golden_floats(&file, t);
    float *got = need(t->count, sizeof *got);
    int32_t *labels = golden_labels(&file, golden_find(&file, "%s.labels", spec));
    test_ok(ctx, kd_model_predict(model, x, n, 0, got));
    golden_compare(&logits, spec, "logits", got, want, t->count);
    kd_step_result step = {.struct_size = sizeof step, .logits = got};
    test_ok(ctx, kd_train_step(model, n, x, labels, NULL, &opt, &step));
    golden_compare(&logits, spec, "logits in training", got, want, t->count);
    golden_report(&logits, spec);
    check_gradients(&file, spec, params);
    check_sharing(model, n, x, labels);
    set_weights(params);
    snprintf(prefix, sizeof prefix, "%s.", spec);
    walk(model, &file, prefix, n, x, labels, 2e-5f);
    free(x);
    free(want);
    free(got);
    free(labels);
    kd_model_destroy(model);
    golden_close(&file);
    kd_ctx_destroy(ctx);
}

START_TEST(test_full_vit)
{
    check_full("vit_tiny_patch16_224");
}
END_TEST

START_TEST(test_full_deit)
{
    check_full("deit_tiny_distilled_patch16_224");
}
END_TEST

START_TEST(test_full_swin)
{
    check_full("swin_tiny_patch4_window7_224");
}
END_TEST

/* ---- heads ----------------------------------------------------------------------------------- */

START_TEST(test_heads)
{
    static const char *const outputs[] = {"logits_cls", "logits_dist"};
    kd_ctx *ctx = test_ctx(0, NULL);
    char path[GOLDEN_PATH];
    kd_model *model;
    kd_plan *plan;
    kd_exec *exec;
    golden file = golden_open(ctx, "deit_case_expected.safetensors");
    const kd_file_tensor *input = golden_find(&file, "input");
    golden_path(path, "deit_case.safetensors");
    test_ok(ctx, kd_model_load(ctx, path, deit_spec, &model));
    test_ok(ctx, kd_model_plan(model, (size_t)input->shape[0], &plan, &exec));
    float *x = golden_pictures(&file, input);
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    test_ok(ctx, kd_exec_run(exec, NULL));
    for (int i = 0; i < 2; i++) {
        golden_worst worst = {.tolerance = 1e-5};
        const kd_file_tensor *t = golden_find(&file, "%s", outputs[i]);
        float *want = golden_floats(&file, t);
        golden_compare(&worst, "deit", outputs[i], kd_exec_output(exec, outputs[i]), want,
                       t->count);
        free(want);
    }
    free(x);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_model_destroy(model);
    golden_close(&file);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- distillation ---------------------------------------------------------------------------- */

static void check_distilled(const golden *file, const golden *expected, const char *method,
                            kd_distill_opt opt)
{
    char path[GOLDEN_PATH];
    golden_worst loss = {.tolerance = 1e-6}, grads = {.tolerance = 1e-5};
    kd_model *model;
    golden_path(path, "deit_case.safetensors");
    test_ok(file->ctx, kd_model_load(file->ctx, path, deit_spec, &model));
    kd_params *params = kd_model_params(model);
    const kd_file_tensor *input = golden_find(expected, "input");
    float *x = golden_pictures(expected, input);
    float *teacher = golden_floats(file, golden_find(file, "teacher_logits"));
    int32_t *labels = golden_labels(expected, golden_find(expected, "labels"));
    kd_step_result step = {.struct_size = sizeof step};
    const kd_train_opt tiny = {.struct_size = sizeof tiny, .lr = 1e-9f};
    opt.train = &tiny;
    test_ok(file->ctx,
            kd_train_step(model, (size_t)input->shape[0], x, labels, teacher, &opt, &step));
    float *want = golden_floats(file, golden_find(file, "%s.loss", method));
    golden_compare(&loss, method, "loss", &step.loss, want, 1);
    free(want);
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        float *got = golden_param(params, info, 1);
        want = golden_floats(file, golden_find(file, "%s.grad.%s", method, info->name));
        golden_compare(&grads, method, info->name, got, want, info->count);
        free(got);
        free(want);
    }
    golden_report(&loss, "DeiT's distillation: loss");
    golden_report(&grads, "  gradients");
    free(x);
    free(teacher);
    free(labels);
    kd_model_destroy(model);
}

START_TEST(test_distilled)
{
    kd_ctx *ctx = test_ctx(0, NULL);
    golden file = golden_open(ctx, "deit_distilled.safetensors");
    golden expected = golden_open(ctx, "deit_case_expected.safetensors");
    const kd_distill_opt hard = {.struct_size = sizeof hard, .method = KD_METHOD_HARD};
    const kd_distill_opt soft = {.struct_size = sizeof soft,
                                 .method = KD_METHOD_KD,
                                 .hard = .3f,
                                 .soft = .7f,
                                 .temperature = 2};
    check_distilled(&file, &expected, "hard", hard);
    check_distilled(&file, &expected, "soft", soft);
    golden_close(&file);
    golden_close(&expected);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- ten steps of AdamW ---------------------------------------------------------------------- */

static void check_steps(const char *net)
{
    kd_ctx *ctx = test_ctx(0, NULL);
    char path[GOLDEN_PATH], name[64];
    kd_model *model;
    snprintf(name, sizeof name, "%s_expected.safetensors", net);
    golden file = golden_open(ctx, name);
    snprintf(name, sizeof name, "%s.safetensors", net);
    golden_path(path, name);
    test_ok(ctx, kd_model_load(ctx, path, kd_file_metadata_get(file.file, "spec"), &model));
    const kd_file_tensor *input = golden_find(&file, "input");
    float *x = golden_pictures(&file, input);
    int32_t *labels = golden_labels(&file, golden_find(&file, "labels"));
    walk(model, &file, "", (size_t)input->shape[0], x, labels, 2e-3f);
    free(x);
    free(labels);
    kd_model_destroy(model);
    golden_close(&file);
    kd_ctx_destroy(ctx);
}

START_TEST(test_adamw)
{
    check_steps("vit_case");
    check_steps("vit_odd_case");
    check_steps("deit_case");
    check_steps("swin_case");
    check_steps("swin_wide_case");
    check_steps("swin_odd_case");
    check_steps("swin_rect_case");
}
END_TEST

/* ---- other sizes ----------------------------------------------------------------------------- */

static void check_resized(const char *net, const char *spec, int image)
{
    char path[GOLDEN_PATH], name[64], change[64];
    kd_ctx *ctx = test_ctx(0, NULL);
    golden file = golden_open(ctx, "resized.safetensors");
    golden_worst worst = {.tolerance = 1e-5};
    kd_model *model, *old;
    snprintf(name, sizeof name, "%s.safetensors", net);
    golden_path(path, name);
    snprintf(change, sizeof change, "image=%d,classes=9", image);
    test_ok(ctx, kd_model_load(ctx, path, spec, &old));
    test_ok(ctx, kd_model_load_as(ctx, path,
                                  &(kd_load_opt){.struct_size = sizeof(kd_load_opt),
                                                 .spec = spec,
                                                 .change = change,
                                                 .seed = 3},
                                  &model));
    ck_assert_uint_eq(kd_model_classes(model), 9);
    const kd_params *params = kd_model_params(model);
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        const kd_param_info *before = kd_params_find(kd_model_params(old), info->name);
        if (!strncmp(info->name, "head", 4)) continue;
        const kd_file_tensor *t = golden_find(&file, "%s.%d.%s", net, image, info->name);
        float *got = golden_param(params, info, 0);
        float *want = t ? golden_floats(&file, t) : golden_param(kd_model_params(old), before, 0);
        ck_assert_uint_eq(info->count, t ? t->count : before->count);
        golden_compare(&worst, net, info->name, got, want, info->count);
        free(got);
        free(want);
    }
    golden_report(&worst, "positions of another size");
    kd_model_destroy(old);
    kd_model_destroy(model);
    golden_close(&file);
    kd_ctx_destroy(ctx);
}

START_TEST(test_resized)
{
    check_resized("vit_case", vit_spec, 56);
    check_resized("vit_case", vit_spec, 24);
    check_resized("deit_case", deit_spec, 48);
    check_resized("swin_wide_case", wide_spec, 64);
    check_resized("swin_case", swin_spec, 8);
}
END_TEST

/* ---- failing allocations --------------------------------------------------------------------- */

START_TEST(test_allocation_failures)
{
    char path[GOLDEN_PATH];
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    golden_path(path, "swin_wide_case.safetensors");
    const long live = heap.live;
    for (long n = 1;; n++) {
        kd_model *m;
        heap.count = 0;
        heap.fail_at = n;
        const kd_status status = kd_model_load_as(ctx, path,
                                                  &(kd_load_opt){.struct_size = sizeof(kd_load_opt),
                                                                 .spec = wide_spec,
                                                                 .change = "image=64",
                                                                 .seed = 1},
                                                  &m);
        if (!status) kd_model_destroy(m);
        heap.fail_at = 0;
        ck_assert_msg(heap.live == live, "allocation %ld failed and something leaked", n);
        if (!status) break;
        ck_assert_msg(status == KD_E_NOMEM, "allocation %ld: %s", n, kd_status_name(status));
        ck_assert_int_lt(n, 20000);
    }
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

TEST_SUITE(golden_transformers, 120, &test_full_vit, &test_full_deit, &test_full_swin, &test_heads,
           &test_distilled, &test_adamw, &test_resized, &test_allocation_failures)
