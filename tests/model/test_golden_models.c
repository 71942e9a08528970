/* SPDX-License-Identifier: MIT
 * test_golden_models.c: whole networks against torchvision and timm: their files load, ours are the
 * same to the byte; logits evaluating and training, the loss, every gradient and every buffer after
 * one training pass agree. models.py and timm_models.py in tests/golden made the files. */
#include "golden.h"

#include "../plan/apart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct net_case {
    const char *name;
    /* Weights too many for a file follow a formula there and here. */
    bool patterned;
} net_case;

/* X(name, patterned) */
#define CASES(X)                                                                                   \
    X(vgg8_bn, false)                                                                              \
    X(vgg11, false)                                                                                \
    X(vgg16_bn, false)                                                                             \
    X(vgg8_bn_no_pool4, false)                                                                     \
    X(vgg8_bn_stages, false)                                                                       \
    X(vgg8_classes, false)                                                                         \
    X(vgg11_fc4096, true)                                                                          \
    X(vit_case, false)                                                                             \
    X(vit_odd_case, false)                                                                         \
    X(deit_case, false)                                                                            \
    X(swin_case, false)                                                                            \
    X(swin_wide_case, false)                                                                       \
    X(swin_odd_case, false) X(swin_rect_case, false) X(vgg8_bn_rect, false)

/* Relative to the largest number of a tensor. */
static const double logits_tolerance = 1e-5, grad_tolerance = 3e-5, buffer_tolerance = 2e-6;

static void *need(size_t count, size_t size)
{
    void *block = calloc(count ? count : 1, size);
    ck_assert_ptr_nonnull(block);
    return block;
}

/* ---- the formula: models.py's pattern() ------------------------------------------------------ */

static double pattern(size_t i, uint32_t salt)
{
    uint32_t x = (uint32_t)i * 2654435761U + salt;
    x = (x ^ (x >> 15)) * 2246822519U;
    return (double)(x >> 16) / 65536 - 0.5;
}

/* Index of a tensor in torchvision's order, which is ours: the formula's salt. */
static bool is_patterned(const kd_param_info *info)
{
    return !strncmp(info->name, "classifier.", 11) && info->file_shape.rank == 2 &&
           info->file_shape.dim[1] > 300;
}

static void set_patterned(kd_model *model, const golden *state)
{
    kd_params *params = kd_model_params(model);
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        const kd_file_tensor *t = golden_find(state, "%s", info->name);
        float *x;
        if (is_patterned(info)) {
            const double scale = info->file_shape.dim[1] > 1024 ? 1.0 / 32 : 1.0 / 4;
            x = need(info->count, sizeof *x);
            for (size_t k = 0; k < info->count; k++)
                x[k] = (float)(scale * pattern(k, (uint32_t)i));
        } else {
            x = golden_floats(state, t);
        }
        test_ok(state->ctx, kd_params_set(params, info, x));
        free(x);
    }
}

/* The gradient's products with the pattern, from the right and from the left. */
static void compare_products(const golden *expected, const kd_param_info *info, const float *grad,
                             golden_worst *worst, const char *what)
{
    const size_t rows = (size_t)info->file_shape.dim[0], columns = (size_t)info->file_shape.dim[1];
    double *sum = need(columns, sizeof *sum);
    float *right = need(rows, sizeof *right), *left = need(columns, sizeof *left);
    for (size_t r = 0; r < rows; r++) {
        const double p = pattern(r, 2);
        double dot = 0;
        for (size_t c = 0; c < columns; c++) {
            dot += (double)grad[r * columns + c] * pattern(c, 1);
            sum[c] += (double)grad[r * columns + c] * p;
        }
        right[r] = (float)dot;
    }
    for (size_t c = 0; c < columns; c++) left[c] = (float)sum[c];
    float *want = golden_floats(expected, golden_find(expected, "rows.%s", info->name));
    golden_compare(worst, what, info->name, right, want, rows);
    free(want);
    want = golden_floats(expected, golden_find(expected, "columns.%s", info->name));
    golden_compare(worst, what, info->name, left, want, columns);
    free(want);
    free(sum);
    free(right);
    free(left);
}

/* ---- one case -------------------------------------------------------------------------------- */

typedef struct net {
    const net_case *c;
    kd_ctx *ctx;
    golden state, expected;
    kd_model *model;
    size_t n, classes;
    float *pictures; /* [n,image,image,channels] */
    int32_t *labels;
} net;

static void net_open(net *t, const net_case *c)
{
    char name[64], path[GOLDEN_PATH];
    *t = (net){.c = c, .ctx = test_ctx(0, NULL)};
    snprintf(name, sizeof name, "%s_expected.safetensors", c->name);
    t->expected = golden_open(t->ctx, name);
    snprintf(name, sizeof name, "%s.safetensors", c->name);
    t->state = golden_open(t->ctx, name);
    const char *spec = kd_file_metadata_get(t->expected.file, "spec");
    ck_assert_ptr_nonnull(spec);
    golden_path(path, name);
    if (c->patterned) {
        test_ok(t->ctx, kd_model_create(t->ctx, spec, 1, &t->model));
        set_patterned(t->model, &t->state);
    } else {
        test_ok(t->ctx, kd_model_load(t->ctx, path, spec, &t->model));
    }
    const kd_file_tensor *input = golden_find(&t->expected, "input");
    t->pictures = golden_pictures(&t->expected, input);
    t->labels = golden_labels(&t->expected, golden_find(&t->expected, "labels"));
    t->n = (size_t)input->shape[0];
    t->classes = kd_model_classes(t->model);
    ck_assert_uint_eq((size_t)input->shape[1], kd_model_channels(t->model));
    ck_assert_uint_eq((size_t)input->shape[2], kd_model_height(t->model));
    ck_assert_uint_eq((size_t)input->shape[3], kd_model_width(t->model));
}

static void net_close(net *t)
{
    free(t->pictures);
    free(t->labels);
    kd_model_destroy(t->model);
    golden_close(&t->state);
    golden_close(&t->expected);
    kd_ctx_destroy(t->ctx);
}

static kd_value net_input(net *t, kd_graph *g)
{
    const int64_t dim[] = {KD_BATCH, (int64_t)kd_model_height(t->model),
                           (int64_t)kd_model_width(t->model), (int64_t)kd_model_channels(t->model)};
    return kd_input(g, "input", KD_F32, 4, dim);
}

static void compare(net *t, golden_worst *worst, const char *tensor, const float *got)
{
    const kd_file_tensor *info = golden_find(&t->expected, "%s", tensor);
    float *want = golden_floats(&t->expected, info);
    golden_compare(worst, t->c->name, tensor, got, want, info->count);
    free(want);
}

/* Evaluating: as users do, and by a plan that neither folds nor fuses. */
static void check_evaluation(net *t, golden_worst *worst)
{
    float *logits = need(t->n * t->classes, sizeof *logits);
    test_ok(t->ctx, kd_model_predict(t->model, t->pictures, t->n, 0, logits));
    compare(t, worst, "logits_eval", logits);
    free(logits);
    kd_graph *g;
    kd_plan *plan;
    kd_exec *exec;
    test_ok(t->ctx, kd_graph_create(t->ctx, &g));
    kd_output(g, kd_model_build(t->model, g, net_input(t, g), NULL), "logits");
    const kd_plan_opt frozen = {.struct_size = sizeof frozen, .batch = t->n, .frozen = 1};
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = t->n, .no_fusion = 1};
    const apart_input input = {"input", t->pictures};
    check_apart(t->ctx, g, &frozen, kd_model_params(t->model), &input, 1);
    check_apart(t->ctx, g, &opt, kd_model_params(t->model), &input, 1);
    test_ok(t->ctx, kd_plan_create(g, &opt, &plan));
    test_ok(t->ctx, kd_exec_create(plan, kd_model_params(t->model), NULL, &exec));
    test_ok(t->ctx, kd_exec_bind(exec, "input", t->pictures));
    test_ok(t->ctx, kd_exec_run(exec, NULL));
    compare(t, worst, "logits_eval", kd_exec_output(exec, "logits"));
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_graph_destroy(g);
}

/* One pass of cross-entropy; results are left in the outputs and the model's parameters. */
static kd_exec *train_once(net *t, kd_plan **plan)
{
    kd_graph *g;
    kd_exec *exec;
    const kd_build_opt build = {.struct_size = sizeof build, .no_dropout = 1};
    const int64_t batch[] = {KD_BATCH};
    test_ok(t->ctx, kd_graph_create(t->ctx, &g));
    const kd_value logits = kd_model_build(t->model, g, net_input(t, g), &build);
    const kd_value loss = kd_cross_entropy(g, logits, kd_input(g, "labels", KD_I32, 1, batch), 0);
    test_ok(t->ctx, kd_graph_grad(g, loss));
    kd_output(g, logits, "logits_train");
    kd_output(g, loss, "loss");
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = t->n, .training = 1};
    const apart_input inputs[] = {{"input", t->pictures}, {"labels", t->labels}};
    check_apart(t->ctx, g, &opt, kd_model_params(t->model), inputs, 2);
    test_ok(t->ctx, kd_plan_create(g, &opt, plan));
    kd_graph_destroy(g);
    test_ok(t->ctx, kd_exec_create(*plan, kd_model_params(t->model), NULL, &exec));
    test_ok(t->ctx, kd_exec_bind(exec, "input", t->pictures));
    test_ok(t->ctx, kd_exec_bind(exec, "labels", t->labels));
    test_ok(t->ctx, kd_exec_run(exec, NULL));
    return exec;
}

static double largest(const float *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i]));
    return most;
}

/* A gradient, relative to its largest number. A bias before a batch norm has none but rounding:
 * that is seen beside the gradient of its convolution's weights, the tensor before it. */
static void compare_gradient(net *t, golden_worst *worst, size_t i, const float *got)
{
    const kd_params *params = kd_model_params(t->model);
    const kd_param_info *info = kd_params_info(params, i);
    float *want = golden_floats(&t->expected, golden_find(&t->expected, "grad.%s", info->name));
    if (largest(want, info->count) < 1e-9 && i > 0) {
        const kd_param_info *weights = kd_params_info(params, i - 1);
        float *beside = golden_param(params, weights, 1);
        worst->least = largest(beside, weights->count);
        free(beside);
    }
    golden_compare(worst, t->c->name, info->name, got, want, info->count);
    worst->least = 0;
    free(want);
}

static void check_training(net *t, golden_worst *logits, golden_worst *grads, golden_worst *buffers)
{
    kd_plan *plan;
    kd_exec *exec = train_once(t, &plan);
    compare(t, logits, "logits_train", kd_exec_output(exec, "logits_train"));
    compare(t, logits, "loss", kd_exec_output(exec, "loss"));
    const kd_params *params = kd_model_params(t->model);
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        char tensor[128];
        float *got = golden_param(params, info, !info->buffer);
        snprintf(tensor, sizeof tensor, "after.%s", info->name);
        if (t->c->patterned && is_patterned(info))
            compare_products(&t->expected, info, got, grads, t->c->name);
        else if (info->buffer)
            compare(t, buffers, tensor, got);
        else
            compare_gradient(t, grads, i, got);
        free(got);
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
}

static void check_numbers(const net_case *c)
{
    golden_worst logits = {.tolerance = logits_tolerance}, grads = {.tolerance = grad_tolerance},
                 buffers = {.tolerance = buffer_tolerance};
    net t;
    net_open(&t, c);
    check_evaluation(&t, &logits);
    check_training(&t, &logits, &grads, &buffers);
    golden_report(&logits, c->name);
    golden_report(&grads, "  gradients");
    if (buffers.compared) golden_report(&buffers, "  buffers");
    net_close(&t);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void check_same_tensor(golden *ours, const kd_file_tensor *a, golden *theirs,
                              const kd_file_tensor *b)
{
    ck_assert_str_eq(a->name, b->name);
    ck_assert_int_eq(a->dtype, b->dtype);
    ck_assert_int_eq(a->rank, b->rank);
    for (int d = 0; d < a->rank; d++) ck_assert_int_eq(a->shape[d], b->shape[d]);
    ck_assert_uint_eq(a->bytes, b->bytes);
    char *x = need(a->bytes, 1), *y = need(a->bytes, 1);
    test_ok(ours->ctx, kd_file_read_bytes(ours->file, a, 0, a->bytes, x));
    test_ok(theirs->ctx, kd_file_read_bytes(theirs->file, b, 0, b->bytes, y));
    ck_assert_msg(!memcmp(x, y, a->bytes), "%s was changed", a->name);
    free(x);
    free(y);
}

/* Loaded and saved: the same tensors in the same order, and the file describes itself. */
static void check_file(const net_case *c)
{
    char path[GOLDEN_PATH];
    net t;
    net_open(&t, c);
    snprintf(path, sizeof path, "%s/%s.safetensors", test_dir(), c->name);
    test_ok(t.ctx, kd_model_save(t.model, path));
    golden ours = {.ctx = t.ctx};
    test_ok(t.ctx, kd_file_open(t.ctx, path, &ours.file));
    ck_assert_uint_eq(kd_file_count(ours.file), kd_file_count(t.state.file));
    for (size_t i = 0; i < kd_file_count(ours.file); i++)
        check_same_tensor(&ours, kd_file_at(ours.file, i), &t.state, kd_file_at(t.state.file, i));
    golden_close(&ours);
    kd_model *again;
    test_ok(t.ctx, kd_model_load(t.ctx, path, NULL, &again));
    ck_assert_str_eq(kd_model_spec(again), kd_model_spec(t.model));
    kd_model_destroy(again);
    net_close(&t);
}

#define TEST(name, by_formula)                                                                     \
    START_TEST(test_##name)                                                                        \
    {                                                                                              \
        static const net_case c = {#name, by_formula};                                             \
        check_numbers(&c);                                                                         \
        if (!c.patterned) check_file(&c);                                                          \
    }                                                                                              \
    END_TEST
CASES(TEST)

/* A file that says nothing of itself needs a spec, and the right one. */
START_TEST(test_wrong_spec)
{
    kd_ctx *ctx = test_ctx(0, NULL);
    char path[GOLDEN_PATH];
    kd_model *model;
    golden_path(path, "vgg8_bn.safetensors");
    ck_assert_int_ne(kd_model_load(ctx, path, NULL, &model), KD_OK);
    ck_assert_int_eq(kd_model_load(ctx, path, "vgg8,width=0.0625,classes=10,image=32", &model),
                     KD_E_MISMATCH);
    ck_assert_int_eq(kd_model_load(ctx, path, "vgg8_bn,width=0.0625,classes=7,image=32", &model),
                     KD_E_MISMATCH);
    ck_assert_msg(strstr(kd_ctx_error(ctx), "classifier.weight") != NULL, "%s", kd_ctx_error(ctx));
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct listed {
    char model[16], name[64];
    int rank;
    int64_t dim[4];
    uint64_t count;
} listed;

/* A line of names.txt: MODEL NAME DIM,DIM... or - for a single number. */
static bool next_line(char **text, listed *l)
{
    char shape[64];
    int used = 0;
    if (sscanf(*text, "%15s %63s %63s %n", l->model, l->name, shape, &used) != 3) return false;
    *text += used;
    l->rank = 0;
    l->count = 1;
    for (char *at = shape; *at && *at != '-'; at += *at == ',') {
        ck_assert_int_lt(l->rank, 4);
        l->dim[l->rank] = strtol(at, &at, 10);
        l->count *= (uint64_t)l->dim[l->rank++];
    }
    return true;
}

/* An eighth of the width: all dimensions but pictures' channels, kernels and classes. */
static void check_narrow(kd_params *params, size_t i, const listed *l)
{
    const kd_param_info *info = kd_params_info(params, i);
    ck_assert_msg(info != NULL, "%s: no %s", l->model, l->name);
    ck_assert_str_eq(info->name, l->name);
    ck_assert_int_eq(info->file_shape.rank, l->rank);
    for (int d = 0; d < l->rank; d++) {
        const bool scaled = d == 0 || (d == 1 && l->dim[1] != 3);
        ck_assert_int_eq(info->file_shape.dim[d], scaled ? l->dim[d] / 8 : l->dim[d]);
    }
}

/* The features' names, shapes and order at an eighth of the width; at full width the number of
 * parameters, with the dense head. (That head's names: the case vgg11_fc4096.) */
static void check_listed(kd_ctx *ctx, const char *name, char *text)
{
    char spec[64];
    kd_model *model;
    listed l;
    size_t features = 0;
    uint64_t want = 0, count;
    snprintf(spec, sizeof spec, "%s,classes=10,image=32,width=0.125,head=gap", name);
    test_ok(ctx, kd_model_create(ctx, spec, 1, &model));
    while (next_line(&text, &l)) {
        if (strcmp(l.model, name)) continue;
        if (!strstr(l.name, "running_") && !strstr(l.name, "num_batches")) want += l.count;
        if (!strncmp(l.name, "features.", 9)) check_narrow(kd_model_params(model), features++, &l);
    }
    ck_assert_uint_gt(features, 0);
    ck_assert_uint_eq(kd_params_entries(kd_model_params(model)), features + 2);
    kd_model_destroy(model);
    snprintf(spec, sizeof spec, "%s,classes=10,image=224,head=fc4096", name);
    test_ok(ctx, kd_spec_count(ctx, spec, &count, NULL));
    ck_assert_msg(count == want, "%s: %llu parameters, torchvision has %llu", name,
                  (unsigned long long)count, (unsigned long long)want);
}

START_TEST(test_names)
{
    static const char *const names[] = {"vgg11", "vgg11_bn", "vgg13", "vgg13_bn",
                                        "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"};
    kd_ctx *ctx = test_ctx(0, NULL);
    char path[GOLDEN_PATH], *text;
    size_t size;
    golden_path(path, "names.txt");
    test_ok(ctx, kd_file_read_all(ctx, path, 1 << 20, &text, &size));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_listed(ctx, names[i], text);
    kd_ctx_free(ctx, text);
    kd_ctx_destroy(ctx);
}
END_TEST

#define NAME(name, by_formula) &test_##name,
TEST_SUITE(golden_models, 60, CASES(NAME) & test_wrong_spec, &test_names)
