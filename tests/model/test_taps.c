/* SPDX-License-Identifier: MIT
 * test_taps.c: named values inside networks: their names and shapes, their values against hooks on
 * torchvision's and timm's modules (tests/golden/taps.py), for any threads and however a plan is
 * made; what is not there; and that nobody pays for taps that nobody asks for. */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64 };

static const char swin_spec[] = "swin_tiny_patch4_window7_224,image=32,patch=4,dim=6,depth=2-1,"
                                "heads=2-1,window=3,classes=3";

/* ---- names and shapes ------------------------------------------------------------------------ */

static void expect_taps(kd_ctx *ctx, const char *spec, const char *want)
{
    static kd_tap_info taps[MOST];
    char text[4000] = "";
    size_t n;
    test_ok(ctx, kd_spec_taps(ctx, spec, taps, MOST, &n));
    for (size_t t = 0; t < n; t++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%.39s %lld", taps[t].name,
                 -(long long)taps[t].shape.dim[0]);
        for (int i = 1; i < taps[t].shape.rank; i++) {
            used = strlen(text);
            snprintf(text + used, sizeof text - used, ",%lld", (long long)taps[t].shape.dim[i]);
        }
        used = strlen(text);
        snprintf(text + used, sizeof text - used, "; ");
    }
    ck_assert_str_eq(text, want);
}

START_TEST(test_names)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    expect_taps(ctx, "vgg8_bn,image=32",
                "stages.0 1,32,32,64; stages.0.pool 1,16,16,64; stages.1 1,16,16,128; "
                "stages.1.pool 1,8,8,128; stages.2 1,8,8,256; stages.2.pool 1,4,4,256; "
                "stages.3 1,4,4,512; stages.3.pool 1,2,2,512; stages.4 1,2,2,512; "
                "stages.4.pool 1,1,1,512; embedding 1,512; ");
    expect_taps(ctx, "vgg4,image=40,head=fc4096,dense=17,width=0.125",
                "stages.0 1,40,40,8; stages.0.pool 1,20,20,8; stages.1 1,20,20,16; "
                "stages.1.pool 1,10,10,16; stages.2 1,10,10,32; stages.2.pool 1,5,5,32; "
                "embedding 1,17; ");
    expect_taps(ctx, "deit_tiny_distilled_patch16_224,depth=2",
                "patch_embed 1,198,192; blocks.0.attn 1,3,198,198; blocks.0 1,198,192; "
                "blocks.1.attn 1,3,198,198; blocks.1 1,198,192; norm 1,198,192; "
                "embedding 1,192; ");
    expect_taps(ctx, "swin_tiny_patch4_window7_224,depth=2-1,heads=3-6,image=64",
                "patch_embed 1,16,16,96; layers.0.blocks.0.attn 9,3,49,49; "
                "layers.0.blocks.0 1,16,16,96; layers.0.blocks.1.attn 9,3,49,49; "
                "layers.0.blocks.1 1,16,16,96; layers.0 1,16,16,96; "
                "layers.1.blocks.0.attn 4,6,49,49; layers.1.blocks.0 1,8,8,192; "
                "layers.1 1,8,8,192; norm 1,8,8,192; embedding 1,192; ");
    kd_tap_info one = {.name = "as it was"};
    size_t n;
    test_ok(ctx, kd_spec_taps(ctx, "vgg8_bn", &one, 0, &n));
    ck_assert_str_eq(one.name, "as it was");
    ck_assert_uint_eq(n, 11);
    test_ok(ctx, kd_spec_taps(ctx, "swin_base_patch4_window7_224,depth=64-64-64-64", NULL, 0, &n));
    ck_assert_uint_eq(n, 3 + 4 + 2 * 256);
    ck_assert_int_eq(kd_spec_taps(ctx, "vgg1", NULL, 0, &n), KD_E_INVALID);
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- values ---------------------------------------------------------------------------------- */

/* Every tap of a golden network, all in one plan, for the first picture of a batch of two. */
static void check_case(const golden *taps, const char *name, int threads)
{
    char path[GOLDEN_PATH], file[120];
    static kd_tap_info list[MOST];
    const char *names[MOST];
    kd_ctx *ctx = test_ctx(threads, NULL);
    kd_model *model;
    kd_plan *plan;
    kd_exec *exec;
    size_t n;
    golden_worst worst = {.tolerance = 1e-5};
    snprintf(file, sizeof file, "%s_expected.safetensors", name);
    golden expected = golden_open(ctx, file);
    const char *spec = kd_file_metadata_get(expected.file, "spec");
    snprintf(file, sizeof file, "%s.safetensors", name);
    golden_path(path, file);
    test_ok(ctx, kd_model_load(ctx, path, spec, &model));
    test_ok(ctx, kd_spec_taps(ctx, spec, list, MOST, &n));
    for (size_t t = 0; t < n; t++) names[t] = list[t].name;
    float *x = golden_pictures(&expected, golden_find(&expected, "input"));
    test_ok(ctx, kd_model_plan_taps(model, 2, names, n, &plan, &exec));
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    test_ok(ctx, kd_exec_run(exec, NULL));
    for (size_t t = 0; t < n; t++) {
        const kd_file_tensor *want = golden_find(taps, "%s/%s", name, names[t]);
        ck_assert_msg(want != NULL, "%s has no %s", name, names[t]);
        const bool channels_first = !strncmp(name, "vgg", 3) && want->rank == 4;
        float *w = channels_first ? golden_pictures(taps, want) : golden_floats(taps, want);
        const kd_shape s = kd_exec_output_shape(exec, names[t]);
        size_t count = 1;
        for (int i = 0; i < s.rank; i++) count *= (size_t)s.dim[i];
        ck_assert_uint_eq(count, 2 * want->count);
        golden_compare(&worst, name, names[t], kd_exec_output(exec, names[t]), w, want->count);
        free(w);
    }
    golden_report(&worst, name);
    free(x);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_model_destroy(model);
    golden_close(&expected);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}

START_TEST(test_values)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    golden taps = golden_open(ctx, "taps.safetensors");
    static const char *const cases[] = {"vgg8_bn", "vit_case", "swin_case"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_case(&taps, cases[i], 1);
        check_case(&taps, cases[i], 3);
    }
    golden_close(&taps);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Of each tap alone, a larger batch and every way of planning: the same bits as with all. */
static void *output_of(kd_model *model, const char *const *names, size_t n, const kd_plan_opt *opt,
                       const float *x, const char *what, size_t *bytes)
{
    kd_ctx *ctx = kd_model_ctx(model);
    const int64_t side = (int64_t)kd_model_image(model);
    const int64_t dim[] = {KD_BATCH, side, side, 3};
    kd_tap taps[MOST] = {{.value = KD_NONE}};
    kd_graph *g;
    kd_plan *plan;
    kd_exec *exec;
    for (size_t t = 0; t < n; t++) snprintf(taps[t].name, sizeof taps[t].name, "%s", names[t]);
    const kd_build_opt build = {.struct_size = sizeof build, .taps = taps, .n_taps = n};
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value logits = kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), &build);
    kd_output(g, logits, "logits");
    for (size_t t = 0; t < n; t++) kd_output(g, taps[t].value, taps[t].name);
    test_ok(ctx, kd_plan_create(g, opt, &plan));
    test_ok(ctx, kd_exec_create(plan, kd_model_params(model), NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    test_ok(ctx, kd_exec_run(exec, NULL));
    const kd_shape s = kd_exec_output_shape(exec, what);
    *bytes = sizeof(float);
    for (int i = 0; i < s.rank; i++) *bytes *= (size_t)s.dim[i];
    void *copy = malloc(*bytes);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, kd_exec_output(exec, what), *bytes);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_graph_destroy(g);
    return copy;
}

START_TEST(test_alone)
{
    static const char *const specs[] = {
        "vgg4_bn,width=0.125,image=16,classes=3",
        "deit_tiny_distilled_patch16_224,image=16,patch=4,dim=12,heads=3,depth=2,classes=3",
        swin_spec};
    enum { BATCH = 5 };
    static float x[BATCH * 32 * 32 * 3];
    kd_ctx *ctx = test_ctx(2, NULL);
    test_fill(x, sizeof x / sizeof *x, 3, 1);
    for (size_t i = 0; i < 3; i++) {
        static kd_tap_info list[MOST];
        const char *names[MOST];
        kd_model *model;
        size_t n, bytes, same;
        test_ok(ctx, kd_model_create(ctx, specs[i], 5, &model));
        test_ok(ctx, kd_spec_taps(ctx, specs[i], list, MOST, &n));
        for (size_t t = 0; t < n; t++) names[t] = list[t].name;
        const kd_plan_opt frozen = {.struct_size = sizeof frozen, .batch = BATCH, .frozen = 1};
        const kd_plan_opt plain = {.struct_size = sizeof plain,
                                   .batch = BATCH,
                                   .no_sharing = 1,
                                   .whole_batch = 1,
                                   .guard = 1};
        void *logits = output_of(model, NULL, 0, &frozen, x, "logits", &bytes);
        for (size_t t = 0; t < n; t++) {
            void *a = output_of(model, names, n, &plain, x, names[t], &bytes);
            void *b = output_of(model, &names[t], 1, &frozen, x, names[t], &same);
            ck_assert_uint_eq(bytes, same);
            ck_assert_msg(test_distance(a, b, bytes / sizeof(float)) < 1e-5, "%s: %s", specs[i],
                          names[t]);
            free(b);
            b = output_of(model, &names[t], 1, &frozen, x, "logits", &same);
            ck_assert_msg(test_distance(logits, b, same / sizeof(float)) < 1e-5, "%s: %s", specs[i],
                          names[t]);
            free(a);
            free(b);
        }
        free(logits);
        kd_model_destroy(model);
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- what is not there ----------------------------------------------------------------------- */

static void refused(kd_model *model, const char *tap, const char *says)
{
    kd_plan *plan = NULL;
    kd_exec *exec = NULL;
    kd_ctx *ctx = kd_model_ctx(model);
    ck_assert_int_eq(kd_model_plan_taps(model, 1, &tap, 1, &plan, &exec), KD_E_NOTFOUND);
    ck_assert_ptr_null(plan);
    ck_assert_ptr_null(exec);
    ck_assert_msg(strstr(kd_ctx_error(ctx), says) != NULL, "%s", kd_ctx_error(ctx));
}

START_TEST(test_refused)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model;
    char text[100];
    test_ok(ctx, kd_model_create(ctx, "vgg3_bn,width=0.125,image=16,classes=3", 1, &model));
    refused(model, "stages.2",
            "vgg3_bn has no tap 'stages.2'; it has stages.0, stages.0.pool, stages.1, "
            "stages.1.pool, embedding");
    refused(model, "", "'' is no tap's name");
    refused(model, NULL, "'' is no tap's name");
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    refused(model, text, "is no tap's name");
    text[KD_TAP_NAME - 1] = 0;
    refused(model, text, "has no tap 'xxx");
    kd_model_destroy(model);
    test_ok(ctx, kd_model_create(ctx, "vit_tiny_patch16_224", 1, &model));
    refused(model, "stages.2", "blocks.0.attn, blocks.0, ");
    refused(model, "stages.2", "..., embedding");
    kd_model_destroy(model);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Two entries of one name, and entries without one. */
START_TEST(test_entries)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model;
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, 16, 16, 3};
    kd_tap taps[] = {{.name = "embedding"}, {.name = ""}, {.name = "embedding"},
                     {.name = "stages.0"},  {.name = ""}, {.name = ""},
                     {.name = ""}};
    test_ok(ctx, kd_model_create(ctx, "vgg3_bn,width=0.125,image=16,classes=3", 1, &model));
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_build_opt build = {.struct_size = sizeof build, .taps = taps, .n_taps = 7};
    kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), &build);
    test_ok(ctx, kd_graph_status(g));
    ck_assert_int_eq(taps[0].value, taps[2].value);
    ck_assert_str_eq(taps[1].name, "stages.0.pool");
    ck_assert_str_eq(taps[4].name, "stages.1");
    ck_assert_str_eq(taps[5].name, "stages.1.pool");
    ck_assert_str_eq(taps[6].name, "");
    ck_assert_int_eq(taps[6].value, KD_NONE);
    ck_assert_int_eq(kd_graph_shape(g, taps[0].value).rank, 2);
    kd_graph_destroy(g);
    kd_model_destroy(model);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(taps, 60, &test_names, &test_values, &test_alone, &test_refused, &test_entries)
