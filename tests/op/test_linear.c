/* SPDX-License-Identifier: MIT
 * test_linear.c: linear layers, plain and flattening, with an activation fused behind them. */
#include "harness.h"

#include <math.h>
#include <string.h>

typedef struct linear_attr {
    int out;
    bool bias, flatten, relu, gelu;
} linear_attr;

static kd_value build(kd_graph *g, const kd_value *in, const void *attr)
{
    const linear_attr *a = attr;
    const kd_value y =
        (a->flatten ? kd_flatten_linear : kd_linear)(g, in[0], "fc", a->out, a->bias);
    return a->relu ? kd_relu(g, y) : a->gelu ? kd_gelu(g, y) : y;
}

static void oracle(const op_oracle *o)
{
    const linear_attr *a = o->attr;
    const op_array *x = &o->in[0], *w = op_find(o, "weight");
    const size_t n = (size_t)a->out, k = w->count / n;
    const double *bias = a->bias ? op_find(o, "bias")->data : NULL;
    for (size_t i = 0; i < x->count / k; i++)
        for (size_t j = 0; j < n; j++) {
            double y = bias ? bias[j] : 0;
            for (size_t p = 0; p < k; p++) y += x->data[i * k + p] * w->data[j * k + p];
            if (a->relu && y < 0) y = 0;
            if (a->gelu) y *= .5 * erfc(-y / sqrt(2));
            o->y.data[i * n + j] = y;
        }
}

START_TEST(test_linear)
{
    static const linear_attr plain = {.out = 10, .bias = true}, bare = {.out = 37};
    static const linear_attr gelu = {.out = 19, .bias = true, .gelu = true};
    static const linear_attr relu = {.out = 19, .bias = true, .relu = true};
    static const linear_attr flat = {.out = 21, .bias = true, .flatten = true};
    static const linear_attr long_k = {.out = 3, .bias = true};
    const op_case cases[] = {
        {.name = "linear [N,33]", .batch = 6, .in = {{2, {KD_BATCH, 33}}}, .attr = &plain},
        {.name = "linear [N,5,8]", .batch = 4, .in = {{3, {KD_BATCH, 5, 8}}}, .attr = &bare},
        {.name = "linear [1,1]", .batch = 1, .in = {{2, {KD_BATCH, 1}}}, .attr = &plain},
        {.name = "linear, gelu", .batch = 7, .in = {{2, {KD_BATCH, 16}}}, .attr = &gelu},
        {.name = "linear, relu", .batch = 7, .in = {{2, {KD_BATCH, 16}}}, .attr = &relu},
        {.name = "flatten", .batch = 5, .in = {{4, {KD_BATCH, 2, 3, 7}}}, .attr = &flat},
        {.name = "linear, long", .batch = 2, .in = {{2, {KD_BATCH, 3000}}}, .attr = &long_k},
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

START_TEST(test_linear_params)
{
    const int64_t dim[] = {KD_BATCH, 2, 3, 5};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    kd_params *params;
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value x = kd_input(g, "x", KD_F32, 4, dim);
    kd_output(g, kd_flatten_linear(g, x, "classifier.0", 4, 1), "y");
    test_ok(ctx, kd_params_create(g, 1, &params));
    const kd_param_info *w = kd_params_find(params, "classifier.0.weight");
    const kd_param_info *b = kd_params_find(params, "classifier.0.bias");
    ck_assert_ptr_nonnull(w);
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(w->file_shape.rank, 2);
    ck_assert_int_eq(w->file_shape.dim[1], 30);
    ck_assert_int_eq(w->no_decay, 0);
    ck_assert_int_eq(b->no_decay, 1);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    test_ok(ctx, kd_graph_create(ctx, &g));
    ck_assert_int_eq(kd_linear(g, kd_input(g, "x", KD_F32, 4, dim), "fc", 0, 1), KD_NONE);
    ck_assert_int_eq(kd_graph_status(g), KD_E_INVALID);
    kd_graph_destroy(g);
    test_ok(ctx, kd_graph_create(ctx, &g));
    ck_assert_int_eq(kd_flatten_linear(g, kd_input(g, "x", KD_F32, 3, dim), "fc", 3, 1), KD_NONE);
    ck_assert_int_eq(kd_graph_status(g), KD_E_SHAPE);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "linear 'fc': input [N,2,3]"));
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(linear, 120, &test_linear, &test_linear_params)
