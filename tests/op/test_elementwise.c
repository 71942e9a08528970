/* SPDX-License-Identifier: MIT
 * test_elementwise.c: add, sub, mul, scale, copy, softmax and dropout. Dropout's oracle draws Philox's
 * numbers one by one. */
#include "harness.h"

#include "../../lib/base/philox.h"
#include "../../lib/kernel/kernels.h"
#include "../../lib/op/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- add, mul, scale, copy ------------------------------------------------------------------- */

static kd_value build_add(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_add(g, in[0], in[1]);
}

static void oracle_add(const op_oracle *o)
{
    for (size_t i = 0; i < o->y.count; i++) o->y.data[i] = o->in[0].data[i] + o->in[1].data[i];
}

static kd_value build_sub(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_sub(g, in[0], in[1]);
}

static void oracle_sub(const op_oracle *o)
{
    for (size_t i = 0; i < o->y.count; i++) o->y.data[i] = o->in[0].data[i] - o->in[1].data[i];
}

static kd_value build_mul(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_mul(g, in[0], in[1]);
}

static void oracle_mul(const op_oracle *o)
{
    for (size_t i = 0; i < o->y.count; i++) o->y.data[i] = o->in[0].data[i] * o->in[1].data[i];
}

static kd_value build_scale(kd_graph *g, const kd_value *in, const void *attr)
{
    return kd_scale(g, in[0], *(const float *)attr);
}

static void oracle_scale(const op_oracle *o)
{
    for (size_t i = 0; i < o->y.count; i++)
        o->y.data[i] = (double)*(const float *)o->attr * o->in[0].data[i];
}

static kd_value build_copy(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_graph_op(g, &kdi_op_copy, NULL, in, 1, NULL);
}

static void oracle_copy(const op_oracle *o)
{
    memcpy(o->y.data, o->in[0].data, o->y.count * sizeof(double));
}

static void fill_small(const op_case *c, int i, const char *name, float *x, size_t n)
{
    op_fill(c, i, name, x, n);
}

/* A parameter on both sides: x x is w w here, whose gradient adds up in the flat array. */
static kd_value build_square_param(kd_graph *g, const kd_value *in, const void *attr)
{
    const int64_t dim[] = {3, 5};
    const kd_param_opt opt = {.struct_size = sizeof opt, .init = KD_INIT_ONE};
    const kd_value w = kd_param(g, "w", 2, dim, &opt);
    (void)attr;
    const kd_value twice = kd_sub(g, kd_scale(g, w, 3), kd_sub(g, w, kd_sub(g, w, w)));
    return kd_add(g, kd_mul(g, kd_mul(g, w, w), in[0]), twice);
}

static void oracle_square_param(const op_oracle *o)
{
    const double *w = op_find(o, "w")->data;
    for (size_t i = 0; i < o->y.count; i++)
        o->y.data[i] = w[i] * w[i] * o->in[0].data[i] + 2 * w[i];
}

START_TEST(test_arithmetic)
{
    static const op_input shapes[] = {{2, {KD_BATCH, 7}, KD_F32, false},
                                      {4, {KD_BATCH, 5, 3, 2}, KD_F32, false},
                                      {2, {-3, 11}, KD_F32, false},
                                      {1, {1}, KD_F32, false}};
    static const float factor = -1.75f;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        op_case c = {.batch = 3,
                     .n_in = 2,
                     .in = {shapes[s], shapes[s]},
                     .fill = fill_small,
                     .attr = &factor,
                     .tol = 1e-6,
                     .grad_tol = 2e-6};
        c.name = "add", c.build = build_add, c.oracle = oracle_add;
        op_check(&c);
        c.name = "sub", c.build = build_sub, c.oracle = oracle_sub;
        op_check(&c);
        c.name = "mul", c.build = build_mul, c.oracle = oracle_mul;
        op_check(&c);
        c.n_in = 1;
        c.name = "scale", c.build = build_scale, c.oracle = oracle_scale;
        op_check(&c);
        c.name = "copy", c.build = build_copy, c.oracle = oracle_copy;
        op_check(&c);
    }
    op_check(&(op_case){.name = "square of a parameter",
                        .n_in = 1,
                        .in = {{2, {3, 5}, KD_F32, false}},
                        .build = build_square_param,
                        .oracle = oracle_square_param,
                        .tol = 1e-6,
                        .grad_tol = 2e-6});
}
END_TEST

/* Arrays of several pieces, by direct calls: threads share the work and change no bit. */
START_TEST(test_large)
{
    enum { N = 100003 };
    static float a[N], b[N], y[2][N], da[2][N], db[2][N];
    static const kd_op *const ops[] = {&kdi_op_add, &kdi_op_mul, &kdi_op_scale, &kdi_op_copy,
                                       &kdi_op_sub};
    static const float factor = .3f;
    test_fill(a, N, 1, 1);
    test_fill(b, N, 2, 1);
    for (int o = 0; o < 5; o++)
        for (int threads = 1; threads <= 7; threads += threads == 3 ? 4 : 1) {
            kd_ctx *ctx = test_ctx(threads, NULL);
            const int at = threads > 1;
            const size_t n = N;
            test_fill(da[at], N, 3, 1);
            memcpy(db[at], b, sizeof b);
            const kd_tensor in[] = {{a, KD_F32, 1, {n}, n}, {b, KD_F32, 1, {n}, n}};
            const kd_tensor out = {y[at], KD_F32, 1, {n}, n}, dout = {a, KD_F32, 1, {n}, n};
            const kd_tensor din[] = {{da[at], KD_F32, 1, {n}, n}, {db[at], KD_F32, 1, {n}, n}};
            const kd_op_call c = {.ctx = ctx,
                                  .attr = &factor,
                                  .n_in = ops[o]->n_in_min,
                                  .n_out = 1,
                                  .in = in,
                                  .out = &out,
                                  .dout = &dout,
                                  .din = din,
                                  .accumulate = 1,
                                  .kernels = kdi_kernels_select(kd_ctx_isa(ctx))};
            test_ok(ctx, ops[o]->forward(&c));
            if (ops[o]->backward) test_ok(ctx, ops[o]->backward(&c));
            size_t wrong = 0;
            for (size_t i = 0; i < N; i++) {
                const float want[] = {a[i] + b[i], a[i] * b[i], factor * a[i], a[i], a[i] - b[i]};
                wrong += y[at][i] != want[o];
            }
            ck_assert_uint_eq(wrong, 0);
            ck_assert(!memcmp(y[0], y[at], sizeof y[0]));
            ck_assert(!memcmp(da[0], da[at], sizeof da[0]));
            ck_assert(!memcmp(db[0], db[at], sizeof db[0]));
            if (o == 1) ck_assert_float_eq(db[0][N - 1], a[N - 1] * a[N - 1]);
            kd_ctx_destroy(ctx);
        }
}
END_TEST

START_TEST(test_one)
{
    float y = 0;
    const kd_tensor out = {&y, KD_F32, 1, {1}, 1};
    const kd_op_call c = {.out = &out, .n_out = 1, .weight = 1};
    ck_assert_int_eq(kdi_op_one.forward(&c), KD_OK);
    ck_assert_float_eq(y, 1);
}
END_TEST

/* ---- softmax --------------------------------------------------------------------------------- */

static kd_value build_softmax(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_softmax(g, in[0]);
}

static void oracle_softmax(const op_oracle *o)
{
    const size_t k = o->y.dim[o->y.rank - 1];
    for (size_t r = 0; r < o->y.count; r += k) {
        const double *x = o->in[0].data + r;
        double max = -INFINITY, sum = 0;
        for (size_t i = 0; i < k; i++) max = fmax(max, x[i]);
        for (size_t i = 0; i < k; i++) sum += exp(x[i] - max);
        for (size_t i = 0; i < k; i++) o->y.data[r + i] = exp(x[i] - max) / sum;
    }
}

static void fill_wide(const op_case *c, int i, const char *name, float *x, size_t n)
{
    op_fill(c, i, name, x, n);
    for (size_t k = 0; k < n; k++) x[k] *= 6;
}

START_TEST(test_softmax)
{
    static const op_input shapes[] = {{2, {KD_BATCH, 1}, KD_F32, false},
                                      {2, {KD_BATCH, 2}, KD_F32, false},
                                      {2, {KD_BATCH, 10}, KD_F32, false},
                                      {4, {KD_BATCH, 3, 5, 17}, KD_F32, false},
                                      {3, {KD_BATCH, 6, 197}, KD_F32, false},
                                      {2, {KD_BATCH, 1000}, KD_F32, false},
                                      {1, {33}, KD_F32, false}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        op_check(&(op_case){.name = "softmax",
                            .batch = 2,
                            .n_in = 1,
                            .in = {shapes[s]},
                            .build = build_softmax,
                            .oracle = oracle_softmax,
                            .fill = fill_wide,
                            .tol = 1e-6,
                            .grad_tol = 5e-6});
}
END_TEST

/* ---- dropout --------------------------------------------------------------------------------- */

typedef struct drop_attr {
    float rate; /* the op's attributes, as in lib/op/dropout.c */
} drop_attr;

/* By direct calls: any seed, step, id and place. */
static void drop(const char *isa, int threads, float rate, const kd_op_call *keys, bool backward,
                 float *x, float *y, size_t n)
{
    kd_ctx *ctx = test_ctx(threads, isa);
    const drop_attr attr = {rate};
    const kd_tensor a = {x, KD_F32, 1, {n}, n}, b = {y, KD_F32, 1, {n}, n};
    kd_op_call c = *keys;
    c.ctx = ctx;
    c.attr = &attr;
    c.n_in = c.n_out = 1;
    c.kernels = kdi_kernels_select(isa);
    if (backward)
        c.dout = &a, c.din = &b;
    else
        c.in = &a, c.out = &b;
    test_ok(ctx, backward ? kdi_op_dropout.backward(&c) : kdi_op_dropout.forward(&c));
    kd_ctx_destroy(ctx);
}

static bool kept(const kd_op_call *keys, size_t i, float rate)
{
    const kdi_u32x4 r =
        kdi_philox(keys->seed, (uint32_t)(i / 4), (uint32_t)keys->step, keys->id, KDI_RNG_DROPOUT);
    return kdi_u32_to_unit(r.v[i % 4]) >= rate;
}

START_TEST(test_dropout_numbers)
{
    enum { N = 70001 };
    static float x[N], y[N], z[N];
    static const float rates[] = {0, .1f, .5f, .9f, 0.999f};
    const kd_op_call keys = {.training = 1, .seed = 0x123456789abcdefu, .step = 17, .id = 5};
    const kdi_kernels *k;
    test_fill(x, N, 1, 1);
    for (int table = 0; (k = kdi_kernels_at(table)); table++)
        for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
            const float rate = rates[r], factor = 1 / (1 - rate);
            size_t count = 0, wrong = 0;
            drop(k->name, 1, rate, &keys, false, x, y, N);
            for (size_t i = 0; i < N; i++) {
                const bool keep = kept(&keys, i, rate);
                wrong += y[i] != (keep ? x[i] * factor : 0);
                count += keep;
            }
            ck_assert_uint_eq(wrong, 0);
            /* as many as there should be, within five deviations */
            const double p = 1 - (double)rate;
            ck_assert_double_le(fabs((double)count - p * N), 5 * sqrt(p * (1 - p) * N) + 1e-3);
            for (int threads = 2; threads <= 7; threads += threads == 3 ? 4 : 1) {
                drop(k->name, threads, rate, &keys, false, x, z, N);
                ck_assert(!memcmp(y, z, sizeof y));
            }
            drop(k->name, 2, rate, &keys, true, x, z, N); /* the backward: the same elements */
            ck_assert(!memcmp(y, z, sizeof y));
            memcpy(z, x, sizeof z); /* in place, and added */
            drop(k->name, 2, rate, &keys, false, z, z, N);
            ck_assert(!memcmp(y, z, sizeof y));
            kd_op_call add = keys;
            add.accumulate = 1;
            memcpy(z, x, sizeof z);
            drop(k->name, 2, rate, &add, true, x, z, N);
            for (size_t i = 0; i < N; i++)
                wrong += !(fabsf(z[i] - (x[i] + y[i])) <= 1e-6f * fabsf(y[i]) + 1e-9f);
            ck_assert_uint_eq(wrong, 0);
        }
}
END_TEST

/* Another seed, step or op is another choice. */
START_TEST(test_dropout_keys)
{
    enum { N = 4096 };
    static float x[N], y[4][N];
    kd_op_call keys[4];
    for (int i = 0; i < 4; i++)
        keys[i] = (kd_op_call){.training = 1, .seed = 1, .step = 2, .id = 3};
    keys[1].seed++;
    keys[2].step++;
    keys[3].id++;
    for (size_t i = 0; i < N; i++) x[i] = 1;
    for (int i = 0; i < 4; i++) drop("generic", 1, .5f, &keys[i], false, x, y[i], N);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++) {
            int same = 0;
            for (size_t e = 0; e < N; e++) same += (y[i][e] > 0) == (y[j][e] > 0);
            ck_assert_int_gt(same, N / 2 - 200);
            ck_assert_int_lt(same, N / 2 + 200);
        }
}
END_TEST

static kd_value build_dropout(kd_graph *g, const kd_value *in, const void *attr)
{
    return kd_dropout(g, in[0], *(const float *)attr);
}

/* Evaluating, nothing happens; with a gradient asked for, too. */
START_TEST(test_dropout_eval)
{
    static const float rate = .5f;
    op_check(&(op_case){.name = "dropout",
                        .batch = 3,
                        .n_in = 1,
                        .in = {{3, {KD_BATCH, 5, 7}, KD_F32, false}},
                        .attr = &rate,
                        .build = build_dropout,
                        .oracle = oracle_copy,
                        .modes = OP_EVAL,
                        .tol = 1e-7,
                        .grad_tol = 1e-6});
}
END_TEST

/* Training: d dot(y) / dx is the constant times y / x; two dropouts of a graph differ. */
START_TEST(test_dropout_graph)
{
    enum { N = 600 };
    const int64_t dim[] = {KD_BATCH, 100};
    static float x[N], y[2][2][N];
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_graph *g;
    kd_params *params;
    test_fill(x, N, 1, 1);
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value in = kd_input(g, "x", KD_F32, 2, dim);
    kd_graph_want_grad(g, in);
    const kd_value a = kd_dropout(g, in, .5f), b = kd_dropout(g, in, .5f);
    const kd_value both[] = {a, b};
    test_ok(ctx, kd_graph_grad(g, op_test_dot(g, both, 2)));
    kd_output(g, a, "a");
    kd_output(g, b, "b");
    kd_output(g, kd_graph_grad_of(g, in), "grad");
    test_ok(ctx, kd_params_create(g, 1, &params));
    for (int sharing = 0; sharing < 2; sharing++) {
        kd_plan *plan;
        kd_exec *exec;
        const kd_plan_opt opt = {
            .struct_size = sizeof opt, .batch = 6, .training = 1, .no_sharing = sharing};
        test_ok(ctx, kd_plan_create(g, &opt, &plan));
        test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
        test_ok(ctx, kd_exec_bind(exec, "x", x));
        test_ok(ctx,
                kd_exec_run(exec, &(kd_run_opt){.struct_size = sizeof(kd_run_opt), .seed = 9}));
        memcpy(y[sharing][0], kd_exec_output(exec, "a"), sizeof x);
        memcpy(y[sharing][1], kd_exec_output(exec, "b"), sizeof x);
        const float *grad = kd_exec_output(exec, "grad");
        int same = 0;
        for (size_t i = 0; i < N; i++) {
            const double da = y[sharing][0][i] != 0 ? 2 * op_test_constant(0, i) : 0;
            const double db = y[sharing][1][i] != 0 ? 2 * op_test_constant(1, i) : 0;
            ck_assert_double_le(fabs((double)grad[i] - da - db), 1e-6);
            same += (y[sharing][0][i] != 0) == (y[sharing][1][i] != 0);
        }
        ck_assert_int_lt(same, N * 2 / 3);
        kd_exec_destroy(exec);
        kd_plan_destroy(plan);
    }
    ck_assert(!memcmp(y[0], y[1], sizeof y[0]));
    kd_params_destroy(params);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static void refused(kd_graph *g, kd_value v, const char *words)
{
    kd_ctx *ctx = kd_graph_ctx(g);
    ck_assert_int_eq(v, KD_NONE);
    ck_assert_int_ne(kd_graph_status(g), KD_OK);
    ck_assert_msg(strstr(kd_ctx_error(ctx), words) != NULL, "'%s' lacks '%s'", kd_ctx_error(ctx),
                  words);
    kd_graph_destroy(g);
}

static kd_graph *fresh(kd_ctx *ctx, kd_value *x, kd_value *other, kd_value *labels)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, 4, 6}, swapped[] = {KD_BATCH, 6, 4};
    test_ok(ctx, kd_graph_create(ctx, &g));
    *x = kd_input(g, "x", KD_F32, 3, dim);
    *other = kd_input(g, "other", KD_F32, 3, swapped);
    *labels = kd_input(g, "labels", KD_I32, 3, dim);
    kd_graph_scope(g, "block");
    return g;
}

START_TEST(test_refusals)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_value x, other, labels;
    kd_graph *g = fresh(ctx, &x, &other, &labels);
    refused(g, kd_add(g, x, other), "add 'block': shapes [N,4,6] and [N,6,4] differ");
    g = fresh(ctx, &x, &other, &labels);
    refused(g, kd_mul(g, x, labels), "mul 'block': input 1 is i32");
    g = fresh(ctx, &x, &other, &labels);
    refused(g, kd_sub(g, x, other), "sub 'block': shapes [N,4,6] and [N,6,4] differ");
    g = fresh(ctx, &x, &other, &labels);
    refused(g, kd_scale(g, x, INFINITY), "scale 'block': factor inf");
    g = fresh(ctx, &x, &other, &labels);
    refused(g, kd_softmax(g, labels), "softmax 'block': input 0 is i32");
    const float rates[] = {1, -.1f, 1.5f, NAN};
    for (int i = 0; i < 4; i++) {
        g = fresh(ctx, &x, &other, &labels);
        refused(g, kd_dropout(g, x, rates[i]), "dropout 'block': rate ");
    }
    test_ok(ctx, kd_graph_create(ctx, &g));
    const int64_t batch = KD_BATCH;
    refused(g, kd_softmax(g, kd_input(g, "x", KD_F32, 1, &batch)), "not the batch");
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(elementwise, 60, &test_arithmetic, &test_large, &test_one, &test_softmax,
           &test_dropout_numbers, &test_dropout_keys, &test_dropout_eval, &test_dropout_graph,
           &test_refusals)
