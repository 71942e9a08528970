/* SPDX-License-Identifier: MIT
 * test_activation.c: relu, gelu and sigmoid, and the vector functions behind them. */
#include "harness.h"

#include "../../lib/kernel/kernels.h"

#include <math.h>
#include <string.h>

static kd_value build_relu(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_relu(g, in[0]);
}

static void oracle_relu(const op_oracle *o)
{
    const double *x = o->in[0].data;
    for (size_t i = 0; i < o->y.count; i++) o->y.data[i] = x[i] > 0 ? x[i] : 0;
}

static kd_value build_gelu(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_gelu(g, in[0]);
}

static void oracle_gelu(const op_oracle *o)
{
    const double *x = o->in[0].data;
    for (size_t i = 0; i < o->y.count; i++) o->y.data[i] = x[i] * .5 * erfc(-x[i] / sqrt(2));
}

static kd_value build_sigmoid(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_sigmoid(g, in[0]);
}

static void oracle_sigmoid(const op_oracle *o)
{
    const double *x = o->in[0].data;
    for (size_t i = 0; i < o->y.count; i++) o->y.data[i] = 1 / (1 + exp(-x[i]));
}

static void fill_wide(const op_case *c, int i, const char *name, float *x, size_t n)
{
    (void)c;
    (void)name;
    test_fill(x, n, (uint64_t)i, 6);
}

START_TEST(test_relu)
{
    const op_case cases[] = {
        {.name = "relu [N,3,5,7]",
         .batch = 4,
         .n_in = 1,
         .in = {{4, {KD_BATCH, 3, 5, 7}}},
         .build = build_relu,
         .oracle = oracle_relu,
         .fill = op_fill_spread},
        {.name = "relu [N,33000]", /* several pieces */
         .batch = 3,
         .n_in = 1,
         .in = {{2, {KD_BATCH, 33000}}},
         .build = build_relu,
         .oracle = oracle_relu,
         .fill = op_fill_spread},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) op_check(&cases[i]);
}
END_TEST

START_TEST(test_gelu)
{
    const op_case cases[] = {
        {.name = "gelu [N,3,5,7]",
         .batch = 4,
         .n_in = 1,
         .in = {{4, {KD_BATCH, 3, 5, 7}}},
         .build = build_gelu,
         .oracle = oracle_gelu,
         .fill = fill_wide,
         .tol = 1e-6,
         .grad_tol = 2e-6},
        {.name = "gelu [N,9000]",
         .batch = 3,
         .n_in = 1,
         .in = {{2, {KD_BATCH, 9000}}},
         .build = build_gelu,
         .oracle = oracle_gelu,
         .fill = fill_wide,
         .tol = 1e-6,
         .grad_tol = 2e-6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) op_check(&cases[i]);
}
END_TEST

START_TEST(test_sigmoid)
{
    const op_case cases[] = {
        {.name = "sigmoid [N,3,5,7]",
         .batch = 4,
         .n_in = 1,
         .in = {{4, {KD_BATCH, 3, 5, 7}}},
         .build = build_sigmoid,
         .oracle = oracle_sigmoid,
         .fill = fill_wide,
         .tol = 1e-6,
         .grad_tol = 2e-6},
        {.name = "sigmoid [N,9000]",
         .batch = 3,
         .n_in = 1,
         .in = {{2, {KD_BATCH, 9000}}},
         .build = build_sigmoid,
         .oracle = oracle_sigmoid,
         .fill = fill_wide,
         .tol = 1e-6,
         .grad_tol = 2e-6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) op_check(&cases[i]);
}
END_TEST

/* Relative to the value itself; beyond the exponential's range the limits. */
static bool near_sigmoid(float x, float y)
{
    const double want = 1 / (1 + exp(-(double)x));
    if (isnan(want)) return isnan(y);
    return fabs((double)y - want) <= 3e-7 * want + 1e-38;
}

static bool near_gelu(float x, float y)
{
    const double want = (double)x * .5 * erfc(-(double)x / sqrt(2));
    if (isnan(want)) return isnan(y);
    return isinf(want) ? y == x : fabs((double)y - want) <= 4e-7 * fabs((double)x);
}

/* NaN stays, infinity too; nothing beyond n numbers is written; twice the gradient when adding. */
static bool kernels_right(const kdi_kernels *k, size_t n)
{
    float x[72], y[72], dy[72], dx[72];
    bool right = true;
    test_fill(x, 72, n, 5);
    test_fill(dy, 72, n + 1, 1);
    for (size_t i = 0; i < 72; i++) y[i] = dx[i] = 9;
    if (n > 2) {
        x[n - 1] = NAN;
        x[n - 2] = INFINITY;
        x[n - 3] = -7;
    }
    k->relu(n, x, y);
    k->relu_backward(n, y, dy, dx, 0);
    k->relu_backward(n, y, dy, dx, 1);
    for (size_t i = 0; i < n; i++) {
        right &= isnan(x[i]) ? isnan(y[i]) : y[i] == (x[i] > 0 ? x[i] : 0);
        right &= dx[i] == (isnan(y[i]) || y[i] > 0 ? 2 * dy[i] : 0);
    }
    k->gelu(n, x, y);
    for (size_t i = 0; i < n; i++) right &= near_gelu(x[i], y[i]);
    k->sigmoid(n, x, y);
    for (size_t i = 0; i < n; i++) right &= near_sigmoid(x[i], y[i]);
    const float far[] = {-INFINITY, -1e4f, -89, -20, 0, 20, 1e4f, INFINITY};
    float limit[8];
    k->sigmoid(8, far, limit);
    for (size_t i = 0; i < 8; i++) right &= near_sigmoid(far[i], limit[i]);
    right &= y[n] == 9 && dx[n] == 9;
    k->relu(n, x, x);
    for (size_t i = 0; i < n; i++) right &= !(x[i] < 0);
    return right;
}

START_TEST(test_activation_kernels)
{
    const kdi_kernels *k;
    for (int t = 0; (k = kdi_kernels_at(t)); t++)
        for (size_t n = 0; n < 70; n++)
            ck_assert_msg(kernels_right(k, n), "%s, %zu numbers", k->name, n);
}
END_TEST

TEST_SUITE(activation, 60, &test_relu, &test_gelu, &test_sigmoid, &test_activation_kernels)
