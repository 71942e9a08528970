/* SPDX-License-Identifier: MIT
 * test_norm.c: batch norm, alone and with a relu fused behind it, training and evaluating. */
#include "harness.h"

#include "../../lib/kernel/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct norm_attr {
    float momentum, eps;
    bool relu;
} norm_attr;

static kd_value build(kd_graph *g, const kd_value *in, const void *attr)
{
    const norm_attr *a = attr;
    const kd_value y = kd_batch_norm(g, in[0], "bn", a->momentum, a->eps);
    return a->relu ? kd_relu(g, y) : y;
}

/* As PyTorch documents it. */
static void oracle(const op_oracle *o)
{
    const norm_attr *a = o->attr;
    const op_array *x = &o->in[0];
    const size_t c = x->dim[x->rank - 1], m = x->count / c;
    const double eps = a->eps > 0 ? (double)a->eps : 1e-5;
    const double momentum = a->momentum > 0 ? (double)a->momentum : .1;
    const double *weight = op_find(o, "weight")->data, *bias = op_find(o, ".bias")->data;
    double *running_mean = op_find(o, "running_mean")->data;
    double *running_var = op_find(o, "running_var")->data;
    for (size_t j = 0; j < c; j++) {
        double mean = 0, var = 0;
        for (size_t i = 0; i < m; i++) mean += x->data[i * c + j] / (double)m;
        for (size_t i = 0; i < m; i++)
            var += (x->data[i * c + j] - mean) * (x->data[i * c + j] - mean) / (double)m;
        if (!o->training) {
            mean = running_mean[j];
            var = running_var[j];
        }
        for (size_t i = 0; i < m; i++) {
            const double y = (x->data[i * c + j] - mean) / sqrt(var + eps) * weight[j] + bias[j];
            o->y.data[i * c + j] = a->relu && y < 0 ? 0 : y;
        }
        if (!o->training) continue;
        running_mean[j] += momentum * (mean - running_mean[j]);
        running_var[j] += momentum * (var * (double)m / (double)(m - 1) - running_var[j]);
    }
    if (o->training) op_find(o, "num_batches_tracked")->data[0] += 1;
}

static void fill_far(const op_case *c, int i, const char *name, float *x, size_t n)
{
    op_fill(c, i, name, x, n);
    for (size_t k = 0; k < n && !*name; k++) x[k] += 1000;
}

START_TEST(test_batch_norm)
{
    static const norm_attr usual, other = {.momentum = .3f, .eps = .01f}, relu = {.relu = true};
    const op_case cases[] = {
        {.name = "batch_norm [N,3,5,20]",
         .batch = 4,
         .in = {{4, {KD_BATCH, 3, 5, 20}}},
         .attr = &usual},
        {.name = "batch_norm [N,7]", .batch = 6, .in = {{2, {KD_BATCH, 7}}}, .attr = &other},
        {.name = "batch_norm [N,5,64]", .batch = 2, .in = {{3, {KD_BATCH, 5, 64}}}, .attr = &other},
        {.name = "batch_norm, several blocks",
         .batch = 8,
         .in = {{4, {KD_BATCH, 9, 9, 33}}},
         .attr = &usual},
        {.name = "batch_norm + relu", .batch = 4, .in = {{4, {KD_BATCH, 3, 5, 20}}}, .attr = &relu},
        {.name = "batch_norm, far from zero",
         .batch = 4,
         .in = {{4, {KD_BATCH, 6, 6, 3}}},
         .attr = &usual,
         .fill = fill_far,
         .tol = 1e-4,
         .grad_tol = 1e-3,
         .modes = OP_TRAIN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = cases[i];
        c.n_in = 1;
        c.build = build;
        c.oracle = oracle;
        op_check(&c);
    }
}
END_TEST

/* One row has no variance to speak of; channels that differ; options out of range. */
START_TEST(test_batch_norm_errors)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    const float x[3] = {1, 2, 3};
    const int64_t dim[] = {KD_BATCH, 3};
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_output(g, kd_batch_norm(g, kd_input(g, "x", KD_F32, 2, dim), "bn", 0, 0), "y");
    test_ok(ctx, kd_params_create(g, 1, &params));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .training = 1};
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "x", x));
    ck_assert_int_eq(kd_exec_run(exec, &(kd_run_opt){.struct_size = sizeof(kd_run_opt)}),
                     KD_E_SHAPE);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "'bn'"));
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);

    test_ok(ctx, kd_graph_create(ctx, &g));
    ck_assert_int_eq(kd_batch_norm(g, kd_input(g, "x", KD_F32, 2, dim), "bn", -1, 0), KD_NONE);
    ck_assert_int_eq(kd_graph_status(g), KD_E_INVALID);
    kd_graph_destroy(g);
    test_ok(ctx, kd_graph_create(ctx, &g));
    ck_assert_int_eq(kd_batch_norm(g, kd_input(g, "x", KD_F32, 1, dim), "bn", 0, 0), KD_NONE);
    ck_assert_int_eq(kd_graph_status(g), KD_E_SHAPE);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

enum { ROWS = 11, C = 40 };

typedef struct block {
    size_t rows, c;
    int relu, slope, add;
    float x[ROWS * C], dy[ROWS * C];
    float mean[C], scale[C], shift[C], slopes[C], constant[C];
} block;

/* The largest error of channel j, in either sum or in dx, against plain loops. */
static double channel_error(const block *b, size_t j, float sum, float product, const float *dx)
{
    double want_sum = 0, want_product = 0, worst = 0;
    for (size_t i = j; i < b->rows * b->c; i += b->c) {
        const double d = (double)(b->x[i] - b->mean[j]);
        const double y = d * (double)b->scale[j] + (double)b->shift[j];
        const double g = b->relu && y <= 0 ? 0 : (double)b->dy[i];
        double want = g * (double)b->scale[j];
        if (b->slope) want += d * (double)b->slopes[j] + (double)b->constant[j];
        if (b->add) want += (double)b->x[i];
        worst = fmax(worst, fabs((double)dx[i] - want));
        want_sum += g;
        want_product += g * d;
    }
    worst = fmax(worst, fabs((double)sum - want_sum) / 8);
    return fmax(worst, fabs((double)product - want_product) / 16);
}

static double block_error(const kdi_kernels *k, const block *b)
{
    const size_t n = b->rows * b->c;
    float sum[C + 1], product[C + 1], dx[ROWS * C + 1];
    double worst = 0;
    for (size_t i = 0; i < n; i++) dx[i] = b->add ? b->x[i] : 0;
    sum[b->c] = product[b->c] = dx[n] = 9;
    k->bn_backward_sums(b->rows, b->c, b->x, b->dy, b->mean, b->scale, b->shift, b->relu, sum,
                        product);
    k->bn_backward(b->rows, b->c, b->x, b->dy, b->mean, b->scale, b->shift, b->relu,
                   b->slope ? b->slopes : NULL, b->constant, dx, b->add);
    for (size_t j = 0; j < b->c; j++)
        worst = fmax(worst, channel_error(b, j, sum[j], product[j], dx));
    return sum[b->c] == 9 && product[b->c] == 9 && dx[n] == 9 ? worst : INFINITY;
}

/* Every table, width of a row and number of rows. */
START_TEST(test_norm_kernels)
{
    const kdi_kernels *k;
    block b;
    test_fill(b.x, ROWS * C, 1, 2);
    test_fill(b.dy, ROWS * C, 2, 1);
    test_fill(b.mean, C, 3, 1);
    test_fill(b.scale, C, 4, 1);
    test_fill(b.shift, C, 5, 1);
    test_fill(b.slopes, C, 6, 1);
    test_fill(b.constant, C, 7, 1);
    for (int t = 0; (k = kdi_kernels_at(t)); t++)
        for (b.c = 1; b.c <= C; b.c++)
            for (b.rows = 1; b.rows <= ROWS; b.rows++)
                for (int bits = 0; bits < 8; bits++) {
                    b.relu = bits & 1;
                    b.slope = bits & 2;
                    b.add = bits & 4;
                    const double error = block_error(k, &b);
                    ck_assert_msg(error < 2e-6, "%s: %zu rows of %zu, case %d: error %g", k->name,
                                  b.rows, b.c, bits, error);
                }
}
END_TEST

TEST_SUITE(norm, 120, &test_batch_norm, &test_batch_norm_errors, &test_norm_kernels)
