/* SPDX-License-Identifier: MIT
 * test_fuse.c: a max_pool of 2x2 pixels joins the convolution or the batch norm before it where
 * nothing else wants what lies between, and only there; likewise a batch norm joins the convolutions
 * around it, training. The numbers are those of the plan without fusion. */
#include "../test.h"

#include "../../lib/op/ops.h"

#include <kd/kd.h>

#include <string.h>

enum { N = 3, SIDE = 9, CHANNELS = 5 };

typedef struct variant {
    const char *name;
    const char *conv; /* the algorithm, or NULL: by shape */
    int channels, norm, relu, kernel, stride, pad, ceil_mode;
    int twice;    /* what is pooled is an output, too */
    int training; /* with a backward */
    size_t pools; /* steps left */
} variant;

static const variant variants[] = {
    {"by shape", NULL, 20, 1, 1, 2, 2, 0, 0, 0, 0, 0},
    {"no norm", NULL, 20, 0, 1, 2, 2, 0, 0, 0, 0, 0},
    {"no activation", NULL, 20, 1, 0, 2, 2, 0, 0, 0, 0, 0},
    {"direct", "direct", 20, 1, 1, 2, 2, 0, 0, 0, 0, 0},
    {"winograd2", "winograd2", 20, 1, 1, 2, 2, 0, 0, 0, 0, 0},
    {"products", "gemm", 20, 1, 1, 2, 2, 0, 0, 0, 0, 1},
    {"windows of 3x3", NULL, 20, 1, 1, 3, 2, 0, 0, 0, 0, 1},
    {"overlapping windows", NULL, 20, 1, 1, 2, 1, 0, 0, 0, 0, 1},
    {"padding", NULL, 20, 1, 1, 2, 2, 1, 0, 0, 0, 1},
    {"windows partly outside", NULL, 20, 1, 1, 2, 2, 0, 1, 0, 0, 1},
    {"two readers", NULL, 20, 1, 1, 2, 2, 0, 0, 1, 0, 1},
    {"training", NULL, 20, 1, 1, 2, 2, 0, 0, 0, 1, 1},
};

static kd_graph *graph_of(kd_ctx *ctx, const variant *v)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, SIDE, SIDE, CHANNELS};
    const kd_conv2d_opt conv = {
        .struct_size = sizeof conv, .out = v->channels, .kernel = {3, 3}, .pad = {1, 1}};
    const kd_pool_opt pool = {.struct_size = sizeof pool,
                              .kernel = {v->kernel, v->kernel},
                              .stride = {v->stride, v->stride},
                              .pad = {v->pad, v->pad},
                              .ceil_mode = v->ceil_mode};
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_value x = kd_input(g, "x", KD_F32, 4, dim);
    x = kd_conv2d(g, x, "conv", &conv);
    if (v->norm) x = kd_batch_norm(g, x, "norm", .1f, 1e-5f);
    if (v->relu) x = kd_relu(g, x);
    if (v->twice) kd_output(g, x, "between");
    x = kd_max_pool(g, x, &pool);
    kd_output(g, x, "y");
    if (v->training) {
        const kd_value labels = kd_input(g, "labels", KD_I32, 1, dim);
        const kd_value logits = kd_flatten_linear(g, x, "classifier", 4, 1);
        const kd_value loss = kd_cross_entropy(g, logits, labels, 0);
        test_ok(ctx, kd_graph_grad(g, loss));
        kd_output(g, loss, "loss");
    }
    test_ok(ctx, kd_graph_status(g));
    return g;
}

static size_t count_pools(const kd_plan *plan)
{
    size_t pools = 0;
    kd_plan_step step = {.struct_size = sizeof step};
    for (size_t i = 0; i < kd_plan_steps(plan); i++) {
        ck_assert_int_eq(kd_plan_step_info(plan, i, &step), KD_OK);
        pools += step.part == KD_PART_FORWARD && !strcmp(step.op, "max_pool");
    }
    return pools;
}

typedef struct session {
    kd_ctx *ctx;
    kd_graph *graph;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
} session;

/* A session that has its graph gets all else. */
static void start(session *s, const kd_plan_opt *opt, const float *x, const int32_t *labels)
{
    test_ok(s->ctx, kd_params_create(s->graph, 1, &s->params));
    test_ok(s->ctx, kd_plan_create(s->graph, opt, &s->plan));
    test_ok(s->ctx, kd_exec_create(s->plan, s->params, NULL, &s->exec));
    test_ok(s->ctx, kd_exec_bind(s->exec, "x", x));
    if (labels) test_ok(s->ctx, kd_exec_bind(s->exec, "labels", labels));
}

/* The numbers of y of so many images, and the pooling steps of the plan; then the end of it all. */
static size_t stop(session *s, size_t images, float *y, size_t *pools)
{
    const kd_shape shape = kd_exec_output_shape(s->exec, "y");
    const size_t count = images * (size_t)(shape.dim[1] * shape.dim[2] * shape.dim[3]);
    memcpy(y, kd_exec_output(s->exec, "y"), count * sizeof *y);
    *pools = count_pools(s->plan);
    kd_exec_destroy(s->exec);
    kd_plan_destroy(s->plan);
    kd_params_destroy(s->params);
    kd_graph_destroy(s->graph);
    ck_assert_uint_eq(kd_ctx_memory(s->ctx), 0);
    kd_ctx_destroy(s->ctx);
    return count;
}

/* y, and the pooling steps of the plan. */
static size_t run(const variant *v, int no_fusion, size_t batch, float *y, size_t *count)
{
    const kd_config config = {.struct_size = sizeof config, .threads = 2, .conv = v->conv};
    const kd_plan_opt opt = {
        .struct_size = sizeof opt, .batch = batch, .training = v->training, .no_fusion = no_fusion};
    const kd_run_opt run_opt = {.struct_size = sizeof run_opt, .batch = N};
    static float x[N * SIDE * SIDE * CHANNELS];
    const int32_t labels[N] = {0, 3, 1};
    session s;
    size_t pools;
    test_fill(x, sizeof x / sizeof *x, 5, 1);
    ck_assert_int_eq(kd_ctx_create(&config, &s.ctx), KD_OK);
    s.graph = graph_of(s.ctx, v);
    start(&s, &opt, x, v->training ? labels : NULL);
    test_ok(s.ctx, kd_exec_run(s.exec, &run_opt));
    *count = stop(&s, N, y, &pools);
    return pools;
}

START_TEST(test_pool_behind_convolution)
{
    static float a[N * SIDE * SIDE * 20], b[N * SIDE * SIDE * 20];
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        for (size_t batch = N; batch < 200; batch += 150) {
            const variant *v = &variants[i];
            size_t n_a, n_b;
            const size_t fused = run(v, 0, batch, a, &n_a), plain = run(v, 1, batch, b, &n_b);
            ck_assert_uint_eq(plain, 1);
            ck_assert_msg(fused == v->pools, "%s: %zu pooling steps", v->name, fused);
            ck_assert_uint_eq(n_a, n_b);
            ck_assert_msg(test_distance(a, b, n_a) < 1e-5, "%s: other numbers", v->name);
        }
}
END_TEST

/* ---- behind a batch norm, with gradients ------------------------------------------------------- */

typedef struct norm_variant {
    const char *name;
    int h, w, channels, relu, kernel, twice;
    size_t pools; /* steps left */
} norm_variant;

static const norm_variant norm_variants[] = {
    {"whole vectors", 6, 8, 32, 1, 2, 0, 0},   {"part of one", 4, 10, 21, 1, 2, 0, 0},
    {"no activation", 6, 8, 21, 0, 2, 0, 0},   {"one window", 2, 2, 70, 1, 2, 0, 0},
    {"a row left over", 7, 8, 21, 1, 2, 0, 1}, {"a column left over", 6, 9, 21, 1, 2, 0, 1},
    {"windows of 3x3", 6, 9, 21, 1, 3, 0, 1},  {"two readers", 6, 8, 21, 1, 2, 1, 1},
};

enum { IMAGES = 5, MAP = 10 * 10, FLAT = 50000 };

typedef struct outcome {
    float loss, grads[FLAT], y[IMAGES * MAP * 70];
    size_t count, n_y, pools;
} outcome;

static kd_graph *norm_graph(kd_ctx *ctx, const norm_variant *v)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, v->h, v->w, 3};
    const kd_conv2d_opt conv = {.struct_size = sizeof conv, .out = v->channels, .kernel = {1, 1}};
    const kd_pool_opt pool = {.struct_size = sizeof pool,
                              .kernel = {v->kernel, v->kernel},
                              .stride = {v->kernel, v->kernel}};
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_value x = kd_input(g, "x", KD_F32, 4, dim);
    const kd_value labels = kd_input(g, "labels", KD_I32, 1, dim);
    x = kd_conv2d(g, x, "conv", &conv);
    x = kd_batch_norm(g, x, "norm", .1f, 1e-5f);
    if (v->relu) x = kd_relu(g, x);
    if (v->twice) kd_output(g, x, "between");
    x = kd_max_pool(g, x, &pool);
    kd_output(g, x, "y");
    const kd_value logits = kd_flatten_linear(g, x, "classifier", 4, 1);
    const kd_value loss = kd_cross_entropy(g, logits, labels, 0);
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, loss, "loss");
    test_ok(ctx, kd_graph_status(g));
    return g;
}

/* Two runs, the second adding its gradients to the first's; then the end of the session. */
static void train_twice(session *s, outcome *o)
{
    for (int i = 0; i < 2; i++) {
        const kd_run_opt run_opt = {.struct_size = sizeof run_opt, .accumulate = i};
        test_ok(s->ctx, kd_exec_run(s->exec, &run_opt));
    }
    o->count = kd_params_flat_count(s->params);
    ck_assert_uint_le(o->count, FLAT);
    o->loss = *(const float *)kd_exec_output(s->exec, "loss");
    memcpy(o->grads, kd_params_grads(s->params), o->count * sizeof *o->grads);
    o->n_y = stop(s, IMAGES, o->y, &o->pools);
}

static void run_norm(const norm_variant *v, int training, int no_fusion, int threads, outcome *o)
{
    const kd_config config = {.struct_size = sizeof config, .threads = threads};
    const kd_plan_opt opt = {
        .struct_size = sizeof opt, .batch = IMAGES, .training = training, .no_fusion = no_fusion};
    static float x[IMAGES * MAP * 3];
    const int32_t labels[IMAGES] = {0, 3, 1, 2, 2};
    session s;
    test_fill(x, sizeof x / sizeof *x, 7, 1);
    ck_assert_int_eq(kd_ctx_create(&config, &s.ctx), KD_OK);
    s.graph = norm_graph(s.ctx, v);
    start(&s, &opt, x, labels);
    /* Of equal numbers the first is the largest, and x tells who it was. */
    memset(kd_params_values(s.params) + kd_params_find(s.params, "conv.weight")->offset, 0,
           sizeof(float[4][3]));
    train_twice(&s, o);
}

START_TEST(test_pool_behind_norm)
{
    static outcome fused, plain, alone;
    for (size_t i = 0; i < 2 * sizeof norm_variants / sizeof *norm_variants; i++) {
        const norm_variant *v = &norm_variants[i / 2];
        const int training = i % 2 != 0;
        run_norm(v, training, 0, 3, &fused);
        run_norm(v, training, 0, 1, &alone);
        run_norm(v, training, 1, 1, &plain);
        ck_assert_uint_eq(plain.pools, 1);
        ck_assert_msg(fused.pools == v->pools, "%s: %zu pooling steps", v->name, fused.pools);
        ck_assert_uint_eq(fused.n_y, plain.n_y);
        ck_assert_msg(!memcmp(fused.y, plain.y, plain.n_y * sizeof *plain.y), "%s: y", v->name);
        ck_assert_double_eq_tol((double)fused.loss, (double)plain.loss, 1e-6);
        ck_assert_msg(test_distance(fused.grads, plain.grads, plain.count) < 1e-5,
                      "%s: gradients, %g", v->name,
                      test_distance(fused.grads, plain.grads, plain.count));
        ck_assert_msg(!memcmp(fused.grads, alone.grads, alone.count * sizeof *alone.grads),
                      "%s: other bits with other threads", v->name);
    }
}
END_TEST

/* ---- norms that convolutions take along, training ---------------------------------------------- */

enum { WIDE = 30, SEED = 8 };

typedef struct chain_variant {
    const char *name;
    const char *conv;
    int kernel, relu, twice, bias;
    int tied;       /* two convolutions have the weights in common, but not the bias */
    size_t written; /* norms that write what they make */
} chain_variant;

static const chain_variant chain_variants[] = {
    {"by shape", NULL, 3, 1, 0, 1, 0, 2},          {"no activation", NULL, 3, 0, 0, 0, 0, 2},
    {"winograd2", "winograd2", 3, 1, 0, 1, 0, 2},  {"products", "gemm", 3, 1, 0, 1, 0, 6},
    {"pointwise", NULL, 1, 1, 0, 1, 0, 6},         {"two readers", NULL, 3, 1, 1, 1, 0, 3},
    {"weights in common", NULL, 3, 1, 0, 1, 1, 2},
};

/* A convolution of 3x3 that keeps the channels, with these weights. */
static kd_value tied_conv(kd_graph *g, kd_value x, kd_value weight, const char *bias)
{
    const int64_t channels = kd_graph_shape(g, weight).dim[0];
    const kdi_conv2d_attr attr = {.out = (int)channels,
                                  .kernel = {3, 3},
                                  .stride = {1, 1},
                                  .pad = {1, 1},
                                  .dilation = {1, 1},
                                  .groups = 1,
                                  .has_bias = 1};
    const kd_param_opt opt = {.struct_size = sizeof opt};
    const kd_value in[] = {x, weight, kd_param(g, bias, 1, &channels, &opt)};
    return kd_graph_op(g, &kdi_op_conv2d, &attr, in, 3, NULL);
}

/* Six convolutions with norms, a pooling behind the fourth. */
static kd_graph *chain_graph(kd_ctx *ctx, const chain_variant *v)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, WIDE, WIDE, 3};
    const int reach = v->kernel / 2;
    const kd_pool_opt pool = {.struct_size = sizeof pool, .kernel = {2, 2}, .stride = {2, 2}};
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_value x = kd_input(g, "x", KD_F32, 4, dim);
    const kd_value labels = kd_input(g, "labels", KD_I32, 1, dim);
    kd_value weight = KD_NONE;
    if (v->tied) {
        const int64_t shape[] = {17, 3, 3, 17};
        const kd_param_opt opt = {
            .struct_size = sizeof opt, .init = KD_INIT_KAIMING_FAN_OUT, .layout = KD_LAYOUT_CONV};
        weight = kd_param(g, "tied", 4, shape, &opt);
    }
    for (int i = 0; i < 6; i++) {
        const bool tied = v->tied && (i == 1 || i == 2);
        const kd_conv2d_opt conv = {.struct_size = sizeof conv,
                                    .out = 17 + 2 * i,
                                    .kernel = {v->kernel, v->kernel},
                                    .pad = {reach, reach},
                                    .no_bias = !v->bias};
        const char name[] = {(char)('a' + i), 0}, norm[] = {'n', (char)('a' + i), 0};
        x = tied ? tied_conv(g, x, weight, name) : kd_conv2d(g, x, name, &conv);
        x = kd_batch_norm(g, x, norm, .1f, 1e-5f);
        if (v->relu) x = kd_relu(g, x);
        if (v->twice && i == 2) kd_output(g, x, "between");
        if (i == 3) x = kd_max_pool(g, x, &pool);
    }
    kd_output(g, x, "y");
    const kd_value loss =
        kd_cross_entropy(g, kd_flatten_linear(g, x, "classifier", 4, 1), labels, 0);
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, loss, "loss");
    test_ok(ctx, kd_graph_status(g));
    return g;
}

/* Norms that write more than a batch's statistics. */
static size_t count_written(const kd_plan *plan)
{
    size_t norms = 0;
    kd_plan_step step = {.struct_size = sizeof step};
    for (size_t i = 0; i < kd_plan_steps(plan); i++) {
        ck_assert_int_eq(kd_plan_step_info(plan, i, &step), KD_OK);
        norms += step.part == KD_PART_FORWARD && !strcmp(step.op, "batch_norm") &&
                 step.out_bytes > 2 * 27 * sizeof(float);
    }
    return norms;
}

typedef struct sizes {
    size_t written, values, arena; /* norms that write; bytes */
} sizes;

static void run_chain(const chain_variant *v, int no_fusion, int threads, size_t arena, outcome *o,
                      sizes *size)
{
    const kd_config config = {.struct_size = sizeof config, .threads = threads, .conv = v->conv};
    const kd_plan_opt opt = {.struct_size = sizeof opt,
                             .batch = IMAGES,
                             .training = 1,
                             .no_fusion = no_fusion,
                             .max_arena = arena};
    static float x[IMAGES * WIDE * WIDE * 3];
    const int32_t labels[IMAGES] = {0, 3, 1, 2, 2};
    session s;
    /* Of some other pictures two numbers are so near each other, or one so near 0, that rounding
     * decides which way a gradient goes. */
    test_fill(x, sizeof x / sizeof *x, SEED, 1);
    ck_assert_int_eq(kd_ctx_create(&config, &s.ctx), KD_OK);
    s.graph = chain_graph(s.ctx, v);
    start(&s, &opt, x, labels);
    *size = (sizes){count_written(s.plan), kd_plan_values_size(s.plan), kd_plan_arena_size(s.plan)};
    train_twice(&s, o);
}

START_TEST(test_norms_taken_along)
{
    static outcome fused, plain, alone, limited;
    for (size_t i = 0; i < sizeof chain_variants / sizeof *chain_variants; i++) {
        const chain_variant *v = &chain_variants[i];
        sizes size, all, less;
        run_chain(v, 0, 3, 0, &fused, &size);
        run_chain(v, 1, 1, 0, &plain, &all);
        ck_assert_uint_eq(all.written, 6);
        ck_assert_msg(size.written == v->written, "%s: %zu norms write", v->name, size.written);
        ck_assert_msg(test_distance(fused.y, plain.y, plain.n_y) < 2e-5, "%s: y, %g", v->name,
                      test_distance(fused.y, plain.y, plain.n_y));
        ck_assert_double_eq_tol((double)fused.loss, (double)plain.loss, 1e-5);
        ck_assert_msg(test_distance(fused.grads, plain.grads, plain.count) < 2e-5,
                      "%s: gradients, %g", v->name,
                      test_distance(fused.grads, plain.grads, plain.count));
        run_chain(v, 0, 1, 0, &alone, &size);
        ck_assert_msg(size.values < all.values, "%s: %zu bytes of %zu", v->name, size.values,
                      all.values);
        ck_assert_msg(!memcmp(fused.grads, alone.grads, alone.count * sizeof *alone.grads),
                      "%s: other bits with other threads", v->name);
        run_chain(v, 0, 1, size.arena - size.values / 8, &limited, &less);
        ck_assert_uint_lt(less.arena, size.arena);
        ck_assert_msg(!memcmp(limited.grads, alone.grads, alone.count * sizeof *alone.grads),
                      "%s: other bits within a limit", v->name);
    }
}
END_TEST

TEST_SUITE(fuse, 60, &test_pool_behind_convolution, &test_pool_behind_norm, &test_norms_taken_along)
