/* SPDX-License-Identifier: MIT
 * test_golden_ops.c: every op against PyTorch: outputs, all gradients, updated buffers. The cases
 * and their attributes come from tests/golden/ops.safetensors (ops.py beside it made them, and says
 * what a case holds); here is one builder for each op, through the public graph API. A case runs
 * forward and backward, then forward alone as a frozen network would. */
#include "golden.h"

#include "../plan/apart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_INPUTS = 4 };

/* ---- attributes ------------------------------------------------------------------------------ */

static int whole(const kd_json_object *attr, const char *key)
{
    int64_t number;
    ck_assert_msg(kd_json_get_integer(attr, key, &number), "no attribute %s", key);
    return (int)number;
}

static int whole_or(const kd_json_object *attr, const char *key, int otherwise)
{
    int64_t number;
    return kd_json_get_integer(attr, key, &number) ? (int)number : otherwise;
}

static float real(const kd_json_object *attr, const char *key)
{
    double number;
    ck_assert_msg(kd_json_get_number(attr, key, &number), "no attribute %s", key);
    return (float)number;
}

/* ---- one builder an op; parameters are called op.NAME ---------------------------------------- */

typedef kd_value (*build_fn)(kd_graph *g, const kd_value *in, int n, const kd_json_object *attr);
#define BUILD(op)                                                                                  \
    static kd_value build_##op(kd_graph *g, const kd_value *in, int n, const kd_json_object *attr)

BUILD(conv2d)
{
    ck_assert_int_eq(n, 1);
    const kd_conv2d_opt opt = {.struct_size = sizeof opt,
                               .out = whole(attr, "out"),
                               .kernel = {whole(attr, "kernel_h"), whole(attr, "kernel_w")},
                               .stride = {whole(attr, "stride_h"), whole(attr, "stride_w")},
                               .pad = {whole(attr, "pad_h"), whole(attr, "pad_w")},
                               .dilation = {whole(attr, "dilation_h"), whole(attr, "dilation_w")},
                               .groups = whole(attr, "groups"),
                               .no_bias = !whole(attr, "bias")};
    return kd_conv2d(g, in[0], "op", &opt);
}

BUILD(linear)
{
    ck_assert_int_eq(n, 1);
    return kd_linear(g, in[0], "op", whole(attr, "out"), whole(attr, "bias"));
}

BUILD(flatten_linear)
{
    ck_assert_int_eq(n, 1);
    return kd_flatten_linear(g, in[0], "op", whole(attr, "out"), whole(attr, "bias"));
}

BUILD(batch_norm)
{
    ck_assert_int_eq(n, 1);
    return kd_batch_norm(g, in[0], "op", real(attr, "momentum"), real(attr, "eps"));
}

static kd_pool_opt pool_opt(const kd_json_object *attr)
{
    return (kd_pool_opt){.struct_size = sizeof(kd_pool_opt),
                         .kernel = {whole(attr, "kernel_h"), whole(attr, "kernel_w")},
                         .stride = {whole(attr, "stride_h"), whole(attr, "stride_w")},
                         .pad = {whole(attr, "pad_h"), whole(attr, "pad_w")},
                         .ceil_mode = whole(attr, "ceil_mode"),
                         .exclude_pad = whole(attr, "exclude_pad")};
}

BUILD(max_pool)
{
    const kd_pool_opt opt = pool_opt(attr);
    ck_assert_int_eq(n, 1);
    return kd_max_pool(g, in[0], &opt);
}

BUILD(avg_pool)
{
    const kd_pool_opt opt = pool_opt(attr);
    ck_assert_int_eq(n, 1);
    return kd_avg_pool(g, in[0], &opt);
}

BUILD(adaptive_avg_pool)
{
    ck_assert_int_eq(n, 1);
    return kd_adaptive_avg_pool(g, in[0], whole(attr, "h"), whole(attr, "w"));
}

BUILD(concat)
{
    return kd_concat(g, in, n, whole(attr, "axis"));
}

BUILD(reshape)
{
    int64_t dim[KD_MAX_RANK] = {KD_BATCH};
    char key[] = "dim_1";
    int rank = 1;
    ck_assert_int_eq(n, 1);
    for (; (dim[rank] = whole_or(attr, key, 0)) != 0; rank++) key[4]++;
    return kd_reshape(g, in[0], rank, dim);
}

BUILD(transpose)
{
    int order[KD_MAX_RANK];
    char key[] = "order_0";
    ck_assert_int_eq(n, 1);
    for (int i = 0; (order[i] = whole_or(attr, key, -1)) >= 0; i++) key[6]++;
    return kd_transpose(g, in[0], order);
}

BUILD(cross_entropy)
{
    ck_assert_int_eq(n, 2);
    return kd_cross_entropy(g, in[0], in[1], real(attr, "smoothing"));
}

BUILD(kd)
{
    ck_assert_int_eq(n, 2);
    return kd_loss_kd(g, in[0], in[1], real(attr, "temperature"));
}

BUILD(dkd)
{
    ck_assert_int_eq(n, 3);
    return kd_loss_dkd(g, in[0], in[1], in[2], real(attr, "temperature"), real(attr, "alpha"),
                       real(attr, "beta"));
}

BUILD(standardized_kd)
{
    ck_assert_int_eq(n, 2);
    const kd_value student = kd_standardize(g, in[0]), teacher = kd_standardize(g, in[1]);
    return kd_scale(g, kd_loss_kd(g, student, teacher, real(attr, "temperature")),
                    real(attr, "soft"));
}

BUILD(hinton)
{
    ck_assert_int_eq(n, 3);
    const kd_value hard = kd_cross_entropy(g, in[0], in[2], 0);
    const kd_value soft = kd_loss_kd(g, in[0], in[1], real(attr, "temperature"));
    return kd_add(g, kd_scale(g, hard, real(attr, "hard")), kd_scale(g, soft, real(attr, "soft")));
}

BUILD(layer_norm)
{
    ck_assert_int_eq(n, 1);
    return kd_layer_norm(g, in[0], "op", real(attr, "eps"));
}

BUILD(attention)
{
    ck_assert_int_eq(n, 1);
    return kd_attention(g, in[0], whole(attr, "heads"), 0, KD_NONE, KD_NONE);
}

static const kd_param_opt plain_param = {.struct_size = sizeof plain_param};

BUILD(tokens)
{
    (void)attr;
    const kd_shape s = kd_graph_shape(g, in[0]);
    const int64_t token[] = {1, 1, s.dim[2]}, positions[] = {1, s.dim[1] + 2, s.dim[2]};
    ck_assert_int_eq(n, 1);
    kd_graph_scope(g, "op");
    const kd_value tokens[] = {kd_param(g, "cls_token", 3, token, &plain_param),
                               kd_param(g, "dist_token", 3, token, &plain_param)};
    const kd_value position = kd_param(g, "pos_embed", 3, positions, &plain_param);
    kd_graph_unscope(g);
    return kd_add_broadcast(g, kd_prepend_tokens(g, in[0], tokens, 2), position);
}

BUILD(take)
{
    ck_assert_int_eq(n, 1);
    return kd_select_token(g, in[0], whole(attr, "index"));
}

typedef struct windows {
    int size[2], shift[2];
} windows;

static windows windows_of(const kd_json_object *attr)
{
    return (windows){{whole(attr, "window_h"), whole(attr, "window_w")},
                     {whole(attr, "shift_h"), whole(attr, "shift_w")}};
}

BUILD(windows)
{
    const windows w = windows_of(attr);
    ck_assert_int_eq(n, 1);
    return kd_window_partition(g, in[0], w.size, w.shift);
}

/* x + mlp(norm2(x)), the second half of a block. */
static kd_value perceptron(kd_graph *g, kd_value x, const kd_json_object *attr, float eps)
{
    const kd_shape s = kd_graph_shape(g, x);
    kd_value y = kd_layer_norm(g, x, "norm2", eps);
    y = kd_gelu(g, kd_linear(g, y, "mlp.fc1", whole(attr, "hidden"), 1));
    return kd_add(g, x, kd_linear(g, y, "mlp.fc2", (int)s.dim[s.rank - 1], 1));
}

BUILD(vit_block)
{
    const int width = (int)kd_graph_shape(g, in[0]).dim[2];
    ck_assert_int_eq(n, 1);
    kd_graph_scope(g, "op");
    kd_value y = kd_layer_norm(g, in[0], "norm1", 1e-6f);
    y = kd_linear(g, y, "attn.qkv", 3 * width, 1);
    y = kd_attention(g, y, whole(attr, "heads"), 0, KD_NONE, KD_NONE);
    y = kd_add(g, in[0], kd_linear(g, y, "attn.proj", width, 1));
    y = perceptron(g, y, attr, 1e-6f);
    kd_graph_unscope(g);
    return y;
}

BUILD(swin_block)
{
    const windows w = windows_of(attr);
    const kd_shape s = kd_graph_shape(g, in[0]);
    const int map[] = {(int)s.dim[1], (int)s.dim[2]}, width = (int)s.dim[3];
    const int64_t table[] = {(2 * w.size[0] - 1) * (2 * w.size[1] - 1), whole(attr, "heads")};
    ck_assert_int_eq(n, 1);
    kd_graph_scope(g, "op");
    const kd_value mask =
        w.shift[0] || w.shift[1] ? kd_window_mask(g, map, w.size, w.shift) : KD_NONE;
    const kd_value bias = kd_position_bias(
        g, kd_param(g, "attn.relative_position_bias_table", 2, table, &plain_param), w.size);
    kd_value y = kd_layer_norm(g, in[0], "norm1", 1e-5f);
    y = kd_window_partition(g, y, w.size, w.shift);
    y = kd_linear(g, y, "attn.qkv", 3 * width, 1);
    y = kd_attention(g, y, whole(attr, "heads"), 0, bias, mask);
    y = kd_linear(g, y, "attn.proj", width, 1);
    y = kd_add(g, in[0], kd_window_reverse(g, y, map, w.size, w.shift));
    y = perceptron(g, y, attr, 1e-5f);
    kd_graph_unscope(g);
    return y;
}

BUILD(patch_merging)
{
    ck_assert_int_eq(n, 1);
    kd_graph_scope(g, "op");
    kd_value y = kd_layer_norm(g, kd_patch_merge(g, in[0]), "norm", 1e-5f);
    y = kd_linear(g, y, "reduction", whole(attr, "out"), 0);
    kd_graph_unscope(g);
    return y;
}

/* Those without attributes: EXPRESSION of the inputs. */
#define BUILD_PLAIN(op, inputs, expression)                                                        \
    BUILD(op)                                                                                      \
    {                                                                                              \
        (void)attr;                                                                                \
        ck_assert_int_eq(n, inputs);                                                               \
        return expression;                                                                         \
    }
BUILD_PLAIN(relu, 1, kd_relu(g, in[0]))
BUILD_PLAIN(gelu, 1, kd_gelu(g, in[0]))
BUILD_PLAIN(add, 2, kd_add(g, in[0], in[1]))
BUILD_PLAIN(add_twice, 1, kd_add(g, in[0], kd_relu(g, in[0])))
BUILD_PLAIN(mul, 2, kd_mul(g, in[0], in[1]))
BUILD_PLAIN(square, 1, kd_mul(g, in[0], in[0]))
BUILD_PLAIN(scale, 1, kd_scale(g, in[0], real(attr, "factor")))
BUILD_PLAIN(softmax, 1, kd_softmax(g, in[0]))
BUILD_PLAIN(sub, 2, kd_sub(g, in[0], in[1]))
BUILD_PLAIN(sigmoid, 1, kd_sigmoid(g, in[0]))
BUILD_PLAIN(mean, 1, kd_mean(g, in[0]))
BUILD_PLAIN(mse, 2, kd_mean_square(g, kd_sub(g, in[0], in[1])))
BUILD_PLAIN(mse_teacher, 2,
            kd_mean_square(g, kd_sub(g, in[0], kd_stop_gradient(g, kd_mul(g, in[0], in[1])))))
BUILD_PLAIN(global_avg_pool, 1, kd_global_avg_pool(g, in[0]))
BUILD_PLAIN(hard, 2, kd_loss_hard(g, in[0], in[1]))
BUILD_PLAIN(standardize, 1, kd_standardize(g, in[0]))

/* X(op, least, tolerance): how many cases there are at least, so that a file cut short is noticed;
 * and the largest error, relative to the largest number of a tensor or to 1/100. Rounding in single
 * precision, of sums of up to a few hundred products. (dkd: with two classes its gradient is the
 * small difference of terms of size temperature * beta.) */
#define OPS(X)                                                                                     \
    X(conv2d, 24, 4e-6)                                                                            \
    X(linear, 4, 1e-6)                                                                             \
    X(flatten_linear, 2, 1e-6)                                                                     \
    X(batch_norm, 6, 1e-6)                                                                         \
    X(max_pool, 10, 1e-6)                                                                          \
    X(avg_pool, 11, 1e-6)                                                                          \
    X(adaptive_avg_pool, 5, 1e-6)                                                                  \
    X(global_avg_pool, 2, 1e-6)                                                                    \
    X(relu, 1, 1e-6)                                                                               \
    X(gelu, 1, 1e-6)                                                                               \
    X(add, 1, 1e-6)                                                                                \
    X(add_twice, 1, 1e-6)                                                                          \
    X(mul, 1, 1e-6)                                                                                \
    X(square, 1, 1e-6)                                                                             \
    X(scale, 1, 1e-6)                                                                              \
    X(softmax, 3, 1e-6)                                                                            \
    X(concat, 3, 1e-6)                                                                             \
    X(reshape, 2, 1e-6)                                                                            \
    X(transpose, 3, 1e-6)                                                                          \
    X(cross_entropy, 7, 1e-6)                                                                      \
    X(kd, 7, 2e-6)                                                                                 \
    X(hard, 3, 1e-6)                                                                               \
    X(dkd, 6, 1e-5)                                                                                \
    X(standardize, 3, 1e-6)                                                                        \
    X(standardized_kd, 3, 1e-6)                                                                    \
    X(hinton, 3, 2e-6)                                                                             \
    X(layer_norm, 3, 1e-6)                                                                         \
    X(attention, 4, 1e-6)                                                                          \
    X(tokens, 1, 1e-6)                                                                             \
    X(take, 1, 1e-6)                                                                               \
    X(windows, 1, 1e-6)                                                                            \
    X(vit_block, 1, 2e-6)                                                                          \
    X(swin_block, 6, 2e-6)                                                                         \
    X(patch_merging, 2, 2e-6)                                                                      \
    X(sub, 1, 1e-6)                                                                                \
    X(sigmoid, 1, 1e-6)                                                                            \
    X(mean, 1, 1e-6)                                                                               \
    X(mse, 1, 1e-6)                                                                                \
    X(mse_teacher, 1, 1e-6)

static const struct {
    const char *op;
    build_fn build;
    size_t least;
    double tolerance;
} builders[] = {
#define BUILDER(op, least, tolerance) {#op, build_##op, least, tolerance},
    OPS(BUILDER)
#undef BUILDER
};
enum { N_BUILDERS = sizeof builders / sizeof *builders };

/* ---- a case ---------------------------------------------------------------------------------- */

typedef struct op_errors {
    golden_worst out, grad, after;
} op_errors;

typedef struct op_case {
    const golden *file;
    const char *name;
    const kd_json_object *attr;
    build_fn build;
    bool pictures; /* rank 4 is [N,C,H,W] in the file */
    size_t batch;
    int n_in;
    const kd_file_tensor *in[MOST_INPUTS];
    void *data[MOST_INPUTS]; /* floats, or labels */
    op_errors *errors;
} op_case;

static float *read_floats(const op_case *c, const kd_file_tensor *t)
{
    return c->pictures ? golden_pictures(c->file, t) : golden_floats(c->file, t);
}

static void read_inputs(op_case *c)
{
    const kd_file_tensor *t;
    for (c->n_in = 0; (t = golden_find(c->file, "%s/in%d", c->name, c->n_in)); c->n_in++) {
        ck_assert_int_lt(c->n_in, MOST_INPUTS);
        c->in[c->n_in] = t;
        c->data[c->n_in] =
            t->dtype == KD_I64 ? (void *)golden_labels(c->file, t) : (void *)read_floats(c, t);
    }
    ck_assert_msg(c->n_in > 0, "%s has no input", c->name);
    c->batch = (size_t)c->in[0]->shape[0];
}

static void input_dims(const op_case *c, const kd_file_tensor *t, int64_t dim[KD_MAX_RANK])
{
    memcpy(dim, t->shape, (size_t)t->rank * sizeof *dim);
    dim[0] = KD_BATCH;
    if (c->pictures && t->rank == 4) {
        dim[1] = t->shape[2];
        dim[2] = t->shape[3];
        dim[3] = t->shape[1];
    }
}

/* The op, and with `grad` its loss and backward. */
static kd_graph *make_graph(const op_case *c, bool grad)
{
    kd_ctx *ctx = c->file->ctx;
    kd_graph *g;
    kd_value in[MOST_INPUTS];
    char name[32];
    test_ok(ctx, kd_graph_create(ctx, &g));
    for (int i = 0; i < c->n_in; i++) {
        int64_t dim[KD_MAX_RANK];
        const kd_file_tensor *t = c->in[i];
        input_dims(c, t, dim);
        snprintf(name, sizeof name, "in%d", i);
        in[i] = kd_input(g, name, t->dtype == KD_I64 ? KD_I32 : KD_F32, t->rank, dim);
        if (grad && golden_find(c->file, "%s/grad.in%d", c->name, i)) kd_graph_want_grad(g, in[i]);
    }
    const kd_value y = c->build(g, in, c->n_in, c->attr);
    test_ok(ctx, kd_graph_status(g));
    kd_output(g, y, "out");
    if (!grad) return g;
    kd_value loss = y;
    if (golden_find(c->file, "%s/weighting", c->name)) {
        const kd_shape shape = kd_graph_shape(g, y);
        const kd_value w = kd_input(g, "weighting", KD_F32, shape.rank, shape.dim);
        loss = golden_sum(g, kd_mul(g, y, w));
    }
    test_ok(ctx, kd_graph_grad(g, loss));
    for (int i = 0; i < c->n_in; i++) {
        snprintf(name, sizeof name, "grad.in%d", i);
        if (golden_find(c->file, "%s/%s", c->name, name))
            kd_output(g, kd_graph_grad_of(g, in[i]), name);
    }
    test_ok(ctx, kd_graph_status(g));
    return g;
}

static void compare_output(const op_case *c, kd_exec *exec, golden_worst *worst, const char *name)
{
    const kd_file_tensor *t = golden_find(c->file, "%s/%s", c->name, name);
    if (!t) return;
    const float *got = kd_exec_output(exec, name);
    const kd_shape shape = kd_exec_output_shape(exec, name);
    ck_assert_msg(got != NULL, "%s: no %s", c->name, name);
    size_t count = 1;
    for (int i = 0; i < shape.rank; i++) count *= (size_t)shape.dim[i];
    ck_assert_msg(count == t->count, "%s: %s has %zu elements, not %zu", c->name, name, count,
                  t->count);
    if (c->pictures && t->rank == 4) {
        const int64_t want[4] = {t->shape[0], t->shape[2], t->shape[3], t->shape[1]};
        ck_assert_int_eq(shape.rank, 4);
        for (int i = 0; i < 4; i++) ck_assert_int_eq(shape.dim[i], want[i]);
    } else if (t->rank > 0) {
        ck_assert_int_eq(shape.rank, t->rank);
        for (int i = 0; i < t->rank; i++) ck_assert_int_eq(shape.dim[i], t->shape[i]);
    }
    float *want = read_floats(c, t);
    golden_compare(worst, c->name, name, got, want, count);
    free(want);
}

static void compare_params(const op_case *c, const kd_params *params)
{
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        const char *name = info->name + strlen("op.");
        float *got = golden_param(params, info, !info->buffer);
        float *want = golden_floats(c->file, golden_find(c->file, "%s/%s.%s", c->name,
                                                         info->buffer ? "after" : "grad", name));
        golden_compare(info->buffer ? &c->errors->after : &c->errors->grad, c->name, name, got,
                       want, info->count);
        free(got);
        free(want);
    }
}

static void run_case(const op_case *c, bool grad, bool training, bool frozen)
{
    kd_ctx *ctx = c->file->ctx;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    char name[32];
    kd_graph *g = make_graph(c, grad);
    test_ok(ctx, kd_params_create(g, 1, &params));
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s/param.", c->name);
    golden_set_params(c->file, params, prefix, strlen("op."));
    const kd_plan_opt opt = {
        .struct_size = sizeof opt, .batch = c->batch, .training = training, .frozen = frozen};
    char names[MOST_INPUTS][32];
    apart_input inputs[MOST_INPUTS + 1];
    size_t n_inputs = 0;
    for (int i = 0; i < c->n_in; i++) {
        snprintf(names[i], sizeof names[i], "in%d", i);
        inputs[n_inputs++] = (apart_input){names[i], c->data[i]};
    }
    const kd_file_tensor *t = golden_find(c->file, "%s/weighting", c->name);
    float *weighting = t && grad ? read_floats(c, t) : NULL;
    if (weighting) inputs[n_inputs++] = (apart_input){"weighting", weighting};
    check_apart(ctx, g, &opt, params, inputs, n_inputs);
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    kd_graph_destroy(g);
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    for (size_t i = 0; i < n_inputs; i++)
        test_ok(ctx, kd_exec_bind(exec, inputs[i].name, inputs[i].data));
    const kd_run_opt run = {.struct_size = sizeof run, .batch = c->batch};
    test_ok(ctx, kd_exec_run(exec, &run));
    compare_output(c, exec, &c->errors->out, "out");
    for (int i = 0; i < c->n_in && grad; i++) {
        snprintf(name, sizeof name, "grad.in%d", i);
        compare_output(c, exec, &c->errors->grad, name);
    }
    if (grad) compare_params(c, params);
    free(weighting);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
}

static size_t builder_of(const char *op)
{
    size_t b = 0;
    while (b < N_BUILDERS && strcmp(builders[b].op, op)) b++;
    ck_assert_msg(b < N_BUILDERS, "nobody builds '%s'", op);
    return b;
}

/* All cases of an op. */
static void run_op(const char *op)
{
    kd_ctx *ctx = test_ctx(0, NULL);
    golden file = golden_open(ctx, "ops.safetensors");
    const size_t b = builder_of(op);
    const golden_worst none = {.tolerance = builders[b].tolerance, .least = 1e-2};
    op_errors errors = {none, none, none};
    size_t cases = 0;
    for (size_t i = 0; i < kd_file_metadata_count(file.file); i++) {
        const char *name, *text;
        kd_json_object *attr;
        kd_file_metadata_at(file.file, i, &name, &text);
        test_ok(ctx, kd_json_parse(ctx, text, strlen(text), &attr));
        if (builder_of(kd_json_get_string(attr, "op")) == b) {
            const bool training = whole(attr, "training");
            op_case c = {.file = &file,
                         .name = name,
                         .attr = attr,
                         .build = builders[b].build,
                         .pictures = whole_or(attr, "nchw", 0),
                         .errors = &errors};
            read_inputs(&c);
            run_case(&c, true, training, false);
            if (!training || strcmp(op, "batch_norm")) run_case(&c, false, false, true);
            for (int k = 0; k < c.n_in; k++) free(c.data[k]);
            cases++;
        }
        kd_json_object_destroy(attr);
    }
    ck_assert_msg(cases >= builders[b].least, "%s: %zu cases of %zu", op, cases, builders[b].least);
    golden_report(&errors.out, op);
    golden_report(&errors.grad, "  gradients");
    if (errors.after.compared) golden_report(&errors.after, "  buffers");
    golden_close(&file);
    kd_ctx_destroy(ctx);
}

#define TEST(op, least, tolerance)                                                                 \
    START_TEST(test_##op)                                                                          \
    {                                                                                              \
        run_op(#op);                                                                               \
    }                                                                                              \
    END_TEST
OPS(TEST)

#define NAME(op, least, tolerance) &test_##op,
TEST_SUITE(golden_ops, 60, OPS(NAME))
