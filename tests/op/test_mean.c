/* SPDX-License-Identifier: MIT
 * test_mean.c: what losses of one's own are made of: means and mean squares of sizes around a block
 * and of several pieces, and values through which no gradient flows. */
#include "harness.h"

#include <math.h>
#include <string.h>

static kd_value build_mean(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_mean(g, in[0]);
}

static void oracle_mean(const op_oracle *o)
{
    double sum = 0;
    for (size_t i = 0; i < o->in[0].count; i++) sum += o->in[0].data[i];
    o->y.data[0] = sum / (double)o->in[0].count;
}

static kd_value build_square(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_mean_square(g, in[0]);
}

static void oracle_square(const op_oracle *o)
{
    double sum = 0;
    for (size_t i = 0; i < o->in[0].count; i++) sum += o->in[0].data[i] * o->in[0].data[i];
    o->y.data[0] = sum / (double)o->in[0].count;
}

static kd_value build_mse(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_mean_square(g, kd_sub(g, in[0], in[1]));
}

static void oracle_mse(const op_oracle *o)
{
    double sum = 0;
    for (size_t i = 0; i < o->in[0].count; i++) sum += pow(o->in[0].data[i] - o->in[1].data[i], 2);
    o->y.data[0] = sum / (double)o->in[0].count;
}

START_TEST(test_means)
{
    static const op_input shapes[] = {{1, {1}, KD_F32, false},
                                      {2, {KD_BATCH, 7}, KD_F32, false},
                                      {4, {KD_BATCH, 5, 3, 2}, KD_F32, false},
                                      {2, {KD_BATCH, 257}, KD_F32, false},
                                      {2, {-3, 11}, KD_F32, false}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        op_case c = {
            .batch = 2, .n_in = 1, .in = {shapes[s], shapes[s]}, .tol = 1e-6, .grad_tol = 1e-4};
        c.name = "mean", c.build = build_mean, c.oracle = oracle_mean;
        op_check(&c);
        c.name = "mean_square", c.build = build_square, c.oracle = oracle_square;
        op_check(&c);
        c.n_in = 2;
        c.name = "mean of squared differences", c.build = build_mse, c.oracle = oracle_mse;
        op_check(&c);
    }
}
END_TEST

/* Sizes around a block and of several pieces: the sum in double, the same bits for any threads. */
START_TEST(test_large)
{
    enum { MOST = 100003 };
    static float x[MOST];
    static const size_t sizes[] = {4095, 4096, 4097, 8192, 40961, MOST};
    test_fill(x, MOST, 1, 3);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        float first[2] = {0};
        double sum = 0, squares = 0;
        for (size_t i = 0; i < sizes[s]; i++) sum += (double)x[i];
        for (size_t i = 0; i < sizes[s]; i++) squares += (double)x[i] * (double)x[i];
        for (int threads = 1; threads <= 7; threads += threads == 3 ? 4 : 1) {
            const int64_t dim[] = {(int64_t)sizes[s]};
            kd_ctx *ctx = test_ctx(threads, NULL);
            kd_graph *g;
            kd_params *params;
            kd_plan *plan;
            kd_exec *exec;
            test_ok(ctx, kd_graph_create(ctx, &g));
            const kd_value in = kd_input(g, "x", KD_F32, 1, dim);
            kd_output(g, kd_mean(g, in), "mean");
            kd_output(g, kd_mean_square(g, in), "square");
            test_ok(ctx, kd_params_create(g, 1, &params));
            test_ok(ctx, kd_plan_create(g, NULL, &plan));
            test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
            test_ok(ctx, kd_exec_bind(exec, "x", x));
            test_ok(ctx, kd_exec_run(exec, NULL));
            const float got[] = {*(const float *)kd_exec_output(exec, "mean"),
                                 *(const float *)kd_exec_output(exec, "square")};
            ck_assert_double_le(fabs((double)got[0] - sum / (double)sizes[s]), 1e-7);
            ck_assert_double_le(fabs((double)got[1] - squares / (double)sizes[s]), 3e-7);
            if (threads == 1) memcpy(first, got, sizeof first);
            ck_assert_mem_eq(first, got, sizeof first);
            kd_exec_destroy(exec);
            kd_plan_destroy(plan);
            kd_params_destroy(params);
            kd_graph_destroy(g);
            kd_ctx_destroy(ctx);
        }
    }
}
END_TEST

/* mean((x - stop(x y))^2): the gradient is 2 (x - x y) / n, as if x y were a constant, and y has
 * none. */
START_TEST(test_stopped)
{
    enum { N = 6 };
    const float x[N] = {1, -2, 3, .5f, 0, 4}, y[N] = {2, 1, -1, 4, 3, .25f};
    const int64_t dim[] = {KD_BATCH, 3};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value a = kd_input(g, "x", KD_F32, 2, dim), b = kd_input(g, "y", KD_F32, 2, dim);
    kd_graph_want_grad(g, a);
    kd_graph_want_grad(g, b);
    const kd_value stopped = kd_stop_gradient(g, kd_mul(g, a, b));
    const kd_value loss = kd_mean_square(g, kd_sub(g, a, stopped));
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, loss, "loss");
    kd_output(g, stopped, "stopped");
    kd_output(g, kd_graph_grad_of(g, a), "grad");
    ck_assert_int_eq(kd_graph_grad_of(g, b), KD_NONE);
    test_ok(ctx, kd_params_create(g, 1, &params));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = 2, .training = 1, .guard = 1};
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "x", x));
    test_ok(ctx, kd_exec_bind(exec, "y", y));
    test_ok(ctx, kd_exec_run(exec, NULL));
    const float *grad = kd_exec_output(exec, "grad"), *out = kd_exec_output(exec, "stopped");
    double want = 0;
    for (size_t i = 0; i < N; i++) {
        const double d = (double)x[i] - (double)x[i] * (double)y[i];
        want += d * d / N;
        ck_assert_float_eq(out[i], x[i] * y[i]);
        ck_assert_double_le(fabs((double)grad[i] - 2 * d / N), 1e-6);
    }
    ck_assert_double_le(fabs((double)*(const float *)kd_exec_output(exec, "loss") - want), 1e-5);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A loss of which nothing is learnt has no gradient to form. */
START_TEST(test_stopped_whole)
{
    const int64_t dim[] = {KD_BATCH, 3};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value x = kd_input(g, "x", KD_F32, 2, dim);
    kd_graph_want_grad(g, x);
    test_ok(ctx, kd_graph_grad(g, kd_mean(g, kd_stop_gradient(g, x))));
    ck_assert_int_eq(kd_graph_grad_of(g, x), KD_NONE);
    kd_graph_destroy(g);
    test_ok(ctx, kd_graph_create(ctx, &g));
    ck_assert_int_eq(kd_mean(g, kd_input(g, "labels", KD_I32, 2, dim)), KD_NONE);
    ck_assert_int_eq(kd_graph_status(g), KD_E_SHAPE);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(mean, 60, &test_means, &test_large, &test_stopped, &test_stopped_whole)
