/* SPDX-License-Identifier: MIT
 * test_shape_ops.c: concat, reshape, transpose: where each element goes, and its gradient comes
 * from; every order of dimensions; shapes that are refused, and in which words. */
#include "harness.h"

#include "../../lib/kernel/kernels.h"
#include "../../lib/op/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- concat ---------------------------------------------------------------------------------- */

typedef struct joined {
    int axis, count;
    int which[16]; /* of the case's inputs, which may be repeated */
} joined;

static kd_value build_concat(kd_graph *g, const kd_value *in, const void *attr)
{
    const joined *j = attr;
    kd_value x[16];
    for (int i = 0; i < j->count; i++) x[i] = in[j->which[i]];
    return kd_concat(g, x, j->count, j->axis);
}

static void oracle_concat(const op_oracle *o)
{
    const joined *j = o->attr;
    const int axis = j->axis < 0 ? j->axis + o->y.rank : j->axis;
    size_t outer = 1, at = 0;
    for (int d = 0; d < axis; d++) outer *= o->y.dim[d];
    for (size_t row = 0; row < outer; row++)
        for (int i = 0; i < j->count; i++) {
            const op_array *x = &o->in[j->which[i]];
            for (size_t e = 0; e < x->count / outer; e++)
                o->y.data[at++] = x->data[row * (x->count / outer) + e];
        }
}

START_TEST(test_concat)
{
    static const struct {
        joined j;
        op_input in[3];
    } cases[] = {
        {{1, 2, {0, 1}}, {{2, {KD_BATCH, 3}, KD_F32, false}, {2, {KD_BATCH, 5}, KD_F32, false}}},
        {{-1, 3, {0, 1, 2}},
         {{3, {KD_BATCH, 4, 1}, KD_F32, false},
          {3, {KD_BATCH, 4, 7}, KD_F32, false},
          {3, {KD_BATCH, 4, 2}, KD_F32, false}}},
        {{1, 2, {1, 0}}, /* a class token before the patches */
         {{3, {KD_BATCH, 9, 6}, KD_F32, false}, {3, {KD_BATCH, 1, 6}, KD_F32, false}}},
        {{0, 2, {0, 1}}, {{2, {KD_BATCH, 3}, KD_F32, false}, {2, {-2, 3}, KD_F32, false}}},
        {{0, 2, {0, 1}}, {{3, {2, 3, 4}, KD_F32, false}, {3, {5, 3, 4}, KD_F32, false}}},
        {{2, 1, {0}}, {{4, {KD_BATCH, 2, 3, 4}, KD_F32, false}}},
        {{1, 3, {0, 0, 0}}, {{2, {KD_BATCH, 4}, KD_F32, false}}},
        {{0, 3, {0, 1, 0}}, {{2, {KD_BATCH, 4}, KD_F32, false}, {2, {KD_BATCH, 4}, KD_F32, false}}},
        {{1, 3, {0, 1, 2}}, /* the middle one wants no gradient */
         {{2, {KD_BATCH, 4}, KD_F32, false},
          {2, {KD_BATCH, 3}, KD_F32, true},
          {2, {KD_BATCH, 2}, KD_F32, false}}},
        {{1, 16, {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1}},
         {{2, {KD_BATCH, 2}, KD_F32, false}, {2, {KD_BATCH, 1}, KD_F32, false}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = {.name = "concat",
                     .batch = 4,
                     .attr = &cases[i].j,
                     .build = build_concat,
                     .oracle = oracle_concat,
                     .tol = 1e-7,
                     .grad_tol = 2e-6};
        memcpy(c.in, cases[i].in, sizeof cases[i].in);
        while (c.n_in < 3 && c.in[c.n_in].rank) c.n_in++;
        op_check(&c);
    }
}
END_TEST

/* A parameter twice: its gradient is the sum of both pieces'. */
static kd_value build_concat_param(kd_graph *g, const kd_value *in, const void *attr)
{
    const int64_t dim[] = {3, 5};
    const kd_param_opt opt = {.struct_size = sizeof opt, .init = KD_INIT_ONE};
    const kd_value w = kd_param(g, "w", 2, dim, &opt), x[] = {w, in[0], w};
    return kd_concat(g, x, 3, *(const int *)attr);
}

static void oracle_concat_param(const op_oracle *o)
{
    op_array in[] = {o->in[1], o->in[0]};
    const joined j = {*(const int *)o->attr, 3, {0, 1, 0}};
    op_oracle all = *o;
    all.attr = &j;
    all.in = in;
    oracle_concat(&all);
}

START_TEST(test_concat_param)
{
    for (int axis = 0; axis < 2; axis++)
        op_check(&(op_case){.name = "concat of a parameter",
                            .n_in = 1,
                            .in = {{2, {3, 5}, KD_F32, false}},
                            .attr = &axis,
                            .build = build_concat_param,
                            .oracle = oracle_concat_param,
                            .tol = 1e-7,
                            .grad_tol = 2e-6});
}
END_TEST

/* Whole numbers go through concat, reshape and copy too, and more bytes than a piece has. */
START_TEST(test_types)
{
    enum { N = 7000, A = 3, B = 2 };
    static int32_t a[N * A], b[N * B];
    kd_ctx *ctx = test_ctx(3, NULL);
    kd_graph *g;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    const int64_t left[] = {KD_BATCH, A}, right[] = {KD_BATCH, B}, flat[] = {0};
    for (int i = 0; i < N * A; i++) a[i] = i;
    for (int i = 0; i < N * B; i++) b[i] = -i;
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value in[] = {kd_input(g, "a", KD_I32, 2, left), kd_input(g, "b", KD_I32, 2, right)};
    kd_value y = kd_reshape(g, kd_concat(g, in, 2, 1), 1, flat);
    y = kd_graph_op(g, &kdi_op_copy, NULL, &y, 1, NULL);
    ck_assert_int_eq(kd_graph_dtype(g, y), KD_I32);
    ck_assert_int_eq(kd_graph_shape(g, y).dim[0], -(A + B));
    kd_output(g, y, "y");
    test_ok(ctx, kd_params_create(g, 1, &params));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = N};
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "a", a));
    test_ok(ctx, kd_exec_bind(exec, "b", b));
    test_ok(ctx, kd_exec_run(exec, NULL));
    const int32_t *got = kd_exec_output(exec, "y");
    size_t wrong = 0;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < A + B; k++)
            wrong += got[i * (A + B) + k] != (k < A ? a[i * A + k] : b[i * B + k - A]);
    ck_assert_uint_eq(wrong, 0);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- transpose ------------------------------------------------------------------------------- */

static kd_value build_transpose(kd_graph *g, const kd_value *in, const void *attr)
{
    return kd_transpose(g, in[0], attr);
}

/* Element by element: out[i0,i1,...] = x[...] with x's index order[d] being out's d-th. */
static void oracle_transpose(const op_oracle *o)
{
    const int *order = o->attr;
    const op_array *x = &o->in[0];
    for (size_t e = 0; e < o->y.count; e++) {
        size_t index[KD_MAX_RANK], rest = e, at = 0;
        for (int d = o->y.rank - 1; d >= 0; d--) {
            index[order[d]] = rest % o->y.dim[d];
            rest /= o->y.dim[d];
        }
        for (int d = 0; d < x->rank; d++) at = at * x->dim[d] + index[d];
        o->y.data[e] = x->data[at];
    }
}

static void check_transpose(const op_input *in, const int *order)
{
    op_check(&(op_case){.name = "transpose",
                        .batch = 2,
                        .n_in = 1,
                        .in = {*in},
                        .attr = order,
                        .build = build_transpose,
                        .oracle = oracle_transpose,
                        .tol = 1e-7,
                        .grad_tol = 2e-6});
}

/* All orders of `rank` dimensions from `from` on. */
static void all_orders(const op_input *in, int from, int *order)
{
    if (from == in->rank) check_transpose(in, order);
    for (int i = from; i < in->rank; i++) {
        const int a = order[from], b = order[i];
        order[from] = b, order[i] = a;
        all_orders(in, from + 1, order);
        order[from] = a, order[i] = b;
    }
}

START_TEST(test_transpose_orders)
{
    static const op_input inputs[] = {
        {1, {5}, KD_F32, false},          {2, {KD_BATCH, 3}, KD_F32, false},
        {2, {4, 3}, KD_F32, false},       {3, {KD_BATCH, 3, 4}, KD_F32, false},
        {3, {2, 1, 4}, KD_F32, false},    {3, {1, 1, 1}, KD_F32, false},
        {4, {2, 3, 4, 5}, KD_F32, false}, {5, {KD_BATCH, 2, 1, 4, 3}, KD_F32, false}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        int order[KD_MAX_RANK] = {0, 1, 2, 3, 4, 5};
        all_orders(&inputs[i], inputs[i].dim[0] < 0, order);
    }
}
END_TEST

START_TEST(test_transpose_sizes)
{
    static const struct {
        op_input in;
        int order[KD_MAX_RANK];
    } cases[] = {
        {{3, {KD_BATCH, 37, 65}, KD_F32, false}, {0, 2, 1}},
        {{3, {KD_BATCH, 16, 32}, KD_F32, false}, {0, 2, 1}},
        {{3, {KD_BATCH, 1, 100}, KD_F32, false}, {0, 2, 1}},
        {{4, {KD_BATCH, 17, 3, 8}, KD_F32, false}, {0, 2, 1, 3}}, /* heads of attention */
        {{4, {KD_BATCH, 9, 9, 3}, KD_F32, false}, {0, 3, 1, 2}},  /* NHWC to NCHW */
        {{6, {KD_BATCH, 2, 3, 2, 3, 4}, KD_F32, false}, {0, 1, 3, 2, 4, 5}}, /* Swin's windows */
        {{6, {KD_BATCH, 2, 3, 2, 3, 4}, KD_F32, false}, {0, 5, 4, 3, 2, 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_transpose(&cases[i].in, cases[i].order);
}
END_TEST

/* Large ones by direct calls: threads share the work. */
static void large_transpose(const size_t *dim, const int *order, int threads)
{
    kd_ctx *ctx = test_ctx(threads, NULL);
    kd_tensor x = {NULL, KD_F32, 3, {dim[0], dim[1], dim[2]}, dim[0] * dim[1] * dim[2]}, y = x,
              z = x;
    for (int d = 0; d < 3; d++) y.dim[d] = dim[order[d]];
    float *from = calloc(x.count, sizeof *from), *to = calloc(x.count, sizeof *to);
    float *back = calloc(x.count, sizeof *back);
    ck_assert(from && to && back);
    for (size_t i = 0; i < x.count; i++) from[i] = (float)i;
    x.data = from, y.data = to, z.data = back;
    const kd_op_call c = {.ctx = ctx,
                          .attr = order,
                          .n_in = 1,
                          .n_out = 1,
                          .in = &x,
                          .out = &y,
                          .dout = &y,
                          .din = &z,
                          .kernels = kdi_kernels_select(kd_ctx_isa(ctx))};
    test_ok(ctx, kdi_op_transpose.forward(&c));
    test_ok(ctx, kdi_op_transpose.backward(&c));
    ck_assert(!memcmp(from, back, x.count * sizeof *from));
    size_t wrong = 0, index[3];
    for (size_t e = 0; e < y.count; e++) {
        index[order[0]] = e / (y.dim[1] * y.dim[2]);
        index[order[1]] = e / y.dim[2] % y.dim[1];
        index[order[2]] = e % y.dim[2];
        wrong += to[e] != from[(index[0] * dim[1] + index[1]) * dim[2] + index[2]];
    }
    ck_assert_uint_eq(wrong, 0);
    free(from);
    free(to);
    free(back);
    kd_ctx_destroy(ctx);
}

START_TEST(test_transpose_large)
{
    static const size_t dims[][3] = {{3, 197, 192}, {200, 30, 33}, {1, 1000, 300}, {64, 1, 2048}};
    static const int orders[][KD_MAX_RANK] = {
        {0, 2, 1}, {2, 0, 1}, {1, 0, 2}, {2, 1, 0}, {1, 2, 0}};
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (size_t o = 0; o < sizeof orders / sizeof *orders; o++)
            for (int threads = 1; threads <= 3; threads++)
                large_transpose(dims[d], orders[o], threads);
}
END_TEST

/* ---- reshape --------------------------------------------------------------------------------- */

static kd_value build_reshape(kd_graph *g, const kd_value *in, const void *attr)
{
    const kd_shape *to = attr;
    return kd_mul(g, kd_reshape(g, in[0], to->rank, to->dim), in[1]);
}

static void oracle_reshape(const op_oracle *o)
{
    for (size_t i = 0; i < o->y.count; i++) o->y.data[i] = o->in[0].data[i] * o->in[1].data[i];
}

START_TEST(test_reshape)
{
    static const struct {
        op_input in;
        kd_shape to, out;
    } cases[] = {
        {{2, {KD_BATCH, 12}, KD_F32, false}, {3, {KD_BATCH, 3, 4}}, {3, {KD_BATCH, 3, 4}}},
        {{2, {KD_BATCH, 12}, KD_F32, false}, {3, {KD_BATCH, 0, 4}}, {3, {KD_BATCH, 3, 4}}},
        {{2, {KD_BATCH, 12}, KD_F32, false}, {2, {-3, 4}}, {2, {-3, 4}}},
        {{2, {KD_BATCH, 12}, KD_F32, false}, {2, {0, 2}}, {2, {-6, 2}}},
        {{2, {-6, 2}, KD_F32, false}, {3, {-2, 3, 0}}, {3, {-2, 3, 2}}},
        {{2, {-6, 2}, KD_F32, false}, {1, {0}}, {1, {-12}}},
        {{4, {KD_BATCH, 2, 3, 2}, KD_F32, false}, {2, {KD_BATCH, 0}}, {2, {KD_BATCH, 12}}},
        {{2, {4, 6}, KD_F32, false}, {3, {0, 3, 2}}, {3, {4, 3, 2}}},
        {{2, {4, 6}, KD_F32, false}, {2, {4, 6}}, {2, {4, 6}}},
        {{1, {24}, KD_F32, false}, {6, {1, 2, 3, 0, 1, 1}}, {6, {1, 2, 3, 4, 1, 1}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = {.name = "reshape",
                     .batch = 2,
                     .n_in = 2,
                     .in = {cases[i].in, {cases[i].out.rank, {0}, KD_F32, false}},
                     .attr = &cases[i].to,
                     .build = build_reshape,
                     .oracle = oracle_reshape,
                     .tol = 1e-6,
                     .grad_tol = 2e-6};
        memcpy(c.in[1].dim, cases[i].out.dim, sizeof c.in[1].dim);
        op_check(&c);
    }
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static kd_graph *fresh(kd_ctx *ctx, kd_value *x, int rank, const int64_t *dim)
{
    kd_graph *g;
    test_ok(ctx, kd_graph_create(ctx, &g));
    *x = kd_input(g, "x", KD_F32, rank, dim);
    kd_graph_scope(g, "neck");
    return g;
}

static void refused(kd_graph *g, kd_value v, const char *words)
{
    kd_ctx *ctx = kd_graph_ctx(g);
    ck_assert_int_eq(v, KD_NONE);
    ck_assert_int_ne(kd_graph_status(g), KD_OK);
    ck_assert_msg(strstr(kd_ctx_error(ctx), words) != NULL, "'%s' lacks '%s'", kd_ctx_error(ctx),
                  words);
    kd_graph_destroy(g);
}

START_TEST(test_reshape_refusals)
{
    static const int64_t symbolic[] = {KD_BATCH, 12}, fixed[] = {2, 12};
    static const struct {
        const int64_t *in;
        int rank;
        int64_t to[7];
        const char *words;
    } cases[] = {
        {symbolic, 2, {KD_BATCH, 13}, "reshape 'neck': [N,12] to [N,13]: the numbers of elements"},
        {symbolic, 2, {-2, 12}, "[N,12] to [2N,12]"},
        {symbolic, 2, {KD_BATCH, -1}, "reshape 'neck': dimension 1 cannot be -1"},
        {symbolic, 2, {4, 3}, "both must be multiples of the batch, or neither"},
        {symbolic, 2, {4, 0}, "both must be multiples of the batch, or neither"},
        {fixed, 2, {KD_BATCH, 24}, "both must be multiples of the batch, or neither"},
        {symbolic, 3, {0, 0, 12}, "[N,12] to [0,0,12]: only one dimension may be 0"},
        {symbolic, 2, {KD_BATCH * 5, 0}, "no size fits"},
        {symbolic, 2, {KD_BATCH, INT64_MAX}, "dimension 1 cannot be"},
        {symbolic, 2, {INT64_MIN, 12}, "dimension 0 cannot be"},
        {symbolic, 4, {INT32_MAX, INT32_MAX, INT32_MAX, 0}, "overflows"},
        {symbolic, 0, {0}, "rank 0 is not in 1..6"},
        {symbolic, 7, {KD_BATCH, 12, 1, 1, 1, 1, 1}, "rank 7 is not in 1..6"},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_value x;
        kd_graph *g = fresh(ctx, &x, 2, cases[i].in);
        refused(g, kd_reshape(g, x, cases[i].rank, cases[i].to), cases[i].words);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_transpose_refusals)
{
    static const int64_t dim[] = {KD_BATCH, 3, 4};
    static const struct {
        int order[3];
        const char *words;
    } cases[] = {
        {{1, 0, 2}, "transpose 'neck': the batch must stay the first dimension of [N,3,4]"},
        {{0, 1, 1}, "dimension 2 of [N,3,4]: order 1 is given twice"},
        {{0, 1, 3}, "order 3 is none of its"},
        {{0, -1, 2}, "order -1 is none of its"}};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_value x;
        kd_graph *g = fresh(ctx, &x, 3, dim);
        refused(g, kd_transpose(g, x, cases[i].order), cases[i].words);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_concat_refusals)
{
    static const int64_t dim[] = {KD_BATCH, 3, 4}, thin[] = {KD_BATCH, 3, 5},
                         flat[] = {KD_BATCH, 12};
    static const int64_t fixed[] = {2, 3, 4};
    static const struct {
        int rank;
        const int64_t *other;
        kd_dtype dtype;
        int axis, count;
        const char *words;
    } cases[] = {
        {3, thin, KD_F32, 1, 2,
         "concat 'neck': [N,3,4] and [N,3,5] (input 1) do not fit along axis 1"},
        {2, flat, KD_F32, 1, 2, "[N,3,4] and [N,12]"},
        {3, fixed, KD_F32, 0, 2, "[N,3,4] and [2,3,4] (input 1) do not fit along axis 0"},
        {3, fixed, KD_F32, 1, 2, "[N,3,4] and [2,3,4] (input 1) do not fit along axis 1"},
        {3, dim, KD_I32, 1, 2, "input 1 is i32, input 0 is f32"},
        {3, dim, KD_F32, 3, 2, "axis 3 of inputs of rank 3"},
        {3, dim, KD_F32, -4, 2, "axis -4 of inputs of rank 3"},
        {3, dim, KD_F32, 1, 0, "0 inputs, 1 to 16 are wanted"},
        {3, dim, KD_F32, 1, 17, "17 inputs, 1 to 16 are wanted"},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_value x;
        kd_graph *g = fresh(ctx, &x, 3, dim);
        const kd_value other = kd_input(g, "other", cases[i].dtype, cases[i].rank, cases[i].other);
        const kd_value in[17] = {x, other};
        refused(g, kd_concat(g, in, cases[i].count, cases[i].axis), cases[i].words);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(shape_ops, 60, &test_concat, &test_concat_param, &test_types, &test_transpose_orders,
           &test_transpose_sizes, &test_transpose_large, &test_reshape, &test_reshape_refusals,
           &test_transpose_refusals, &test_concat_refusals)
