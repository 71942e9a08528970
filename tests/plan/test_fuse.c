/* SPDX-License-Identifier: MIT
 * test_fuse.c: a max_pool of 2x2 pixels joins the convolution before it where nothing else wants
 * what lies between, and only there; the numbers are those of the plan without fusion. */
#include "../test.h"

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
    kd_plan_step step;
    for (size_t i = 0; i < kd_plan_steps(plan); i++) {
        ck_assert_int_eq(kd_plan_step_info(plan, i, &step), KD_OK);
        pools += step.part == KD_PART_FORWARD && !strcmp(step.op, "max_pool");
    }
    return pools;
}

/* y, and the pooling steps of the plan. */
static size_t run(const variant *v, int no_fusion, size_t batch, float *y, size_t *count)
{
    const kd_config config = {.struct_size = sizeof config, .threads = 2, .conv = v->conv};
    const kd_plan_opt opt = {
        .struct_size = sizeof opt, .batch = batch, .training = v->training, .no_fusion = no_fusion};
    static float x[N * SIDE * SIDE * CHANNELS];
    const int32_t labels[N] = {0, 3, 1};
    kd_ctx *ctx;
    kd_plan *plan;
    kd_exec *exec;
    kd_params *params;
    test_fill(x, sizeof x / sizeof *x, 5, 1);
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    kd_graph *g = graph_of(ctx, v);
    test_ok(ctx, kd_params_create(g, 1, &params));
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "x", x));
    if (v->training) test_ok(ctx, kd_exec_bind(exec, "labels", labels));
    const kd_run_opt run_opt = {.struct_size = sizeof run_opt, .batch = N};
    test_ok(ctx, kd_exec_run(exec, &run_opt));
    const kd_shape shape = kd_exec_output_shape(exec, "y");
    *count = (size_t)(N * shape.dim[1] * shape.dim[2] * shape.dim[3]);
    memcpy(y, kd_exec_output(exec, "y"), *count * sizeof *y);
    const size_t pools = count_pools(plan);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
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

TEST_SUITE(fuse, 60, &test_pool_behind_convolution)
