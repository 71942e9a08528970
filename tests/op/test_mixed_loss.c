/* SPDX-License-Identifier: MIT
 * test_mixed_loss.c: cross-entropy of mixed pictures, with a second label and shares: against the
 * mixture of two cross-entropies in double precision; what is refused. */
#include "harness.h"

#include <math.h>
#include <string.h>

static double log_share(const double *x, size_t k, size_t label, double smoothing)
{
    double max = x[0], sum = 0, all = 0;
    for (size_t i = 1; i < k; i++) max = fmax(max, x[i]);
    for (size_t i = 0; i < k; i++) sum += exp(x[i] - max);
    for (size_t i = 0; i < k; i++) all += x[i] - max - log(sum);
    return -(1 - smoothing) * (x[label] - max - log(sum)) - smoothing * all / (double)k;
}

static void oracle(const op_oracle *o)
{
    const double smoothing = (double)*(const float *)o->attr;
    const size_t n = o->in[0].dim[0], k = o->in[0].dim[1];
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double *x = o->in[0].data + i * k, share = o->in[3].data[i];
        sum += share * log_share(x, k, (size_t)o->in[1].data[i], smoothing);
        sum += (1 - share) * log_share(x, k, (size_t)o->in[2].data[i], smoothing);
    }
    o->y.data[0] = sum / (double)n;
}

static void fill(const op_case *c, int i, const char *name, float *x, size_t n)
{
    op_fill(c, i, name, x, n);
    const size_t k = (size_t)c->in[0].dim[1];
    for (size_t j = 0; j < n && (i == 1 || i == 2); j++)
        x[j] = (float)((j * (i == 1 ? 7 : 3) + (size_t)i) % k);
    for (size_t j = 0; j < n && i == 3; j++) x[j] = j % 5 == 0 ? 1 : j % 5 == 1 ? 0 : fabsf(x[j]);
}

static kd_value build(kd_graph *g, const kd_value *in, const void *attr)
{
    return kd_cross_entropy_mixed(g, in[0], in[1], in[2], in[3], *(const float *)attr);
}

START_TEST(test_mixed)
{
    static const float smoothings[] = {0, .1f};
    static const int64_t classes[] = {1, 2, 10, 33};
    for (size_t s = 0; s < 2; s++)
        for (size_t k = 0; k < 4; k++) {
            const op_case c = {.name = "cross_entropy, mixed",
                               .batch = 12,
                               .n_in = 4,
                               .in = {{2, {KD_BATCH, classes[k]}, KD_F32, false},
                                      {1, {KD_BATCH}, KD_I32, true},
                                      {1, {KD_BATCH}, KD_I32, true},
                                      {1, {KD_BATCH}, KD_F32, true}},
                               .attr = &smoothings[s],
                               .build = build,
                               .oracle = oracle,
                               .fill = fill};
            op_check(&c);
        }
}
END_TEST

static kd_status run(kd_ctx *ctx, int32_t partner, float share)
{
    static const float x[4] = {1, 2, 3, 4};
    static const int32_t labels[2] = {0, 1};
    const int32_t partners[2] = {1, partner};
    const float shares[2] = {.5f, share};
    const int64_t dim[] = {KD_BATCH, 2};
    kd_graph *g;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value in[] = {kd_input(g, "x", KD_F32, 2, dim), kd_input(g, "y", KD_I32, 1, dim),
                           kd_input(g, "p", KD_I32, 1, dim), kd_input(g, "s", KD_F32, 1, dim)};
    const float smoothing = 0;
    kd_output(g, build(g, in, &smoothing), "loss");
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = 2};
    test_ok(ctx, kd_params_create(g, 1, &params));
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "x", x));
    test_ok(ctx, kd_exec_bind(exec, "y", labels));
    test_ok(ctx, kd_exec_bind(exec, "p", partners));
    test_ok(ctx, kd_exec_bind(exec, "s", shares));
    const kd_status status = kd_exec_run(exec, NULL);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    return status;
}

START_TEST(test_refused)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, 2};
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value x = kd_input(g, "x", KD_F32, 2, dim), y = kd_input(g, "y", KD_I32, 1, dim);
    ck_assert_int_eq(kd_cross_entropy_mixed(g, x, y, y, y, 0), KD_NONE);
    ck_assert_int_eq(kd_graph_status(g), KD_E_SHAPE);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "second label"));
    kd_graph_destroy(g);
    test_ok(ctx, run(ctx, 0, 1));
    ck_assert_int_eq(run(ctx, 2, .5f), KD_E_INVALID);
    ck_assert_int_eq(run(ctx, -1, .5f), KD_E_INVALID);
    ck_assert_int_eq(run(ctx, 0, 1.5f), KD_E_INVALID);
    ck_assert_int_eq(run(ctx, 0, NAN), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "share"));
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(mixed_loss, 30, &test_mixed, &test_refused)
