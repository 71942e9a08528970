/* SPDX-License-Identifier: MIT
 * test_losses.c: the losses and logit standardisation against oracles in double precision, written
 * row by row from the papers' formulas; against PyTorch (golden_losses.h); the distillation
 * gradient against its closed form; extreme logits; labels and attributes that are refused. */
#include "golden_losses.h"
#include "harness.h"

#include "../../lib/base/philox.h"
#include "../../lib/kernel/kernels.h"
#include "../../lib/op/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- oracles: the loss of one row ------------------------------------------------------------ */

typedef struct params {
    double t, alpha, beta, smoothing;
} params;

/* log softmax(x / t) in place of x. */
static void log_softmax(double *x, size_t k, double t)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < k; i++) x[i] /= t;
    for (size_t i = 0; i < k; i++) max = fmax(max, x[i]);
    for (size_t i = 0; i < k; i++) sum += exp(x[i] - max);
    for (size_t i = 0; i < k; i++) x[i] -= max + log(sum);
}

static double kl(const double *log_q, const double *log_p, size_t k)
{
    double sum = 0;
    for (size_t i = 0; i < k; i++)
        if (exp(log_q[i]) > 0) sum += exp(log_q[i]) * (log_q[i] - log_p[i]);
    return sum;
}

enum { MOST_CLASSES = 1000 };

static double ce_row(const double *s, const double *t, size_t k, size_t label, const params *p)
{
    double x[MOST_CLASSES], sum = 0;
    (void)t;
    memcpy(x, s, k * sizeof *x);
    log_softmax(x, k, 1);
    for (size_t i = 0; i < k; i++)
        sum -= ((i == label ? 1 - p->smoothing : 0) + p->smoothing / (double)k) * x[i];
    return sum;
}

static double kd_row(const double *s, const double *t, size_t k, size_t label, const params *p)
{
    double x[MOST_CLASSES], y[MOST_CLASSES];
    (void)label;
    memcpy(x, s, k * sizeof *x);
    memcpy(y, t, k * sizeof *y);
    log_softmax(x, k, p->t);
    log_softmax(y, k, p->t);
    return p->t * p->t * kl(y, x, k);
}

static double hard_row(const double *s, const double *t, size_t k, size_t label, const params *p)
{
    label = 0;
    for (size_t i = 0; i < k; i++)
        if (t[i] > t[label]) label = i;
    return ce_row(s, t, k, label, p);
}

/* As published: the label masked by -1000. */
static double dkd_row(const double *s, const double *t, size_t k, size_t label, const params *p)
{
    double x[MOST_CLASSES], y[MOST_CLASSES];
    memcpy(x, s, k * sizeof *x);
    memcpy(y, t, k * sizeof *y);
    log_softmax(x, k, p->t);
    log_softmax(y, k, p->t);
    double rest_x = 0, rest_y = 0;
    for (size_t i = 0; i < k; i++)
        if (i != label) {
            rest_x += exp(x[i]);
            rest_y += exp(y[i]);
        }
    const double two_x[2] = {x[label], log(rest_x)}, two_y[2] = {y[label], log(rest_y)};
    for (size_t i = 0; i < k; i++) {
        x[i] = s[i] / p->t - (i == label ? 1000 : 0);
        y[i] = t[i] / p->t - (i == label ? 1000 : 0);
    }
    log_softmax(x, k, 1);
    log_softmax(y, k, 1);
    return p->t * p->t * (p->alpha * kl(two_y, two_x, 2) + p->beta * kl(y, x, k));
}

static void z_score(const double *x, double *y, size_t k)
{
    double mean = 0, var = 0;
    for (size_t i = 0; i < k; i++) mean += x[i] / (double)k;
    for (size_t i = 0; i < k; i++) var += (x[i] - mean) * (x[i] - mean) / (double)(k - 1);
    for (size_t i = 0; i < k; i++) y[i] = (x[i] - mean) / (sqrt(var) + 1e-7);
}

static double kd_std_row(const double *s, const double *t, size_t k, size_t label, const params *p)
{
    double x[MOST_CLASSES], y[MOST_CLASSES];
    z_score(s, x, k);
    z_score(t, y, k);
    return kd_row(x, y, k, label, p);
}

static double mix_row(const double *s, const double *t, size_t k, size_t label, const params *p)
{
    return .1 * ce_row(s, t, k, label, p) + .9 * kd_row(s, t, k, label, p);
}

/* ---- the same, built by the library ---------------------------------------------------------- */

static kd_value build_ce(kd_graph *g, kd_value s, kd_value t, kd_value y, const params *p)
{
    (void)t;
    return kd_cross_entropy(g, s, y, (float)p->smoothing);
}

static kd_value build_kd(kd_graph *g, kd_value s, kd_value t, kd_value y, const params *p)
{
    (void)y;
    return kd_loss_kd(g, s, t, (float)p->t);
}

static kd_value build_hard(kd_graph *g, kd_value s, kd_value t, kd_value y, const params *p)
{
    (void)y, (void)p;
    return kd_loss_hard(g, s, t);
}

static kd_value build_dkd(kd_graph *g, kd_value s, kd_value t, kd_value y, const params *p)
{
    return kd_loss_dkd(g, s, t, y, (float)p->t, (float)p->alpha, (float)p->beta);
}

static kd_value build_kd_std(kd_graph *g, kd_value s, kd_value t, kd_value y, const params *p)
{
    return build_kd(g, kd_standardize(g, s), kd_standardize(g, t), y, p);
}

static kd_value build_mix(kd_graph *g, kd_value s, kd_value t, kd_value y, const params *p)
{
    return kd_add(g, kd_scale(g, build_ce(g, s, t, y, p), .1f),
                  kd_scale(g, build_kd(g, s, t, y, p), .9f));
}

typedef struct loss {
    const char *name;
    kd_value (*build)(kd_graph *g, kd_value s, kd_value t, kd_value y, const params *p);
    double (*row)(const double *s, const double *t, size_t k, size_t label, const params *p);
    params p;
    double size; /* about how large a row's gradient can be */
    double unit; /* what its numbers are multiplied by in the end, and their rounding with them */
} loss;

static const loss losses[] = {
    {"ce", build_ce, ce_row, {.t = 0}, 1, 1},
    {"ce, smoothing .1", build_ce, ce_row, {.smoothing = .1f}, 1, 1},
    {"kd, T 4", build_kd, kd_row, {.t = 4}, 4, 16},
    {"kd, T 1", build_kd, kd_row, {.t = 1}, 1, 1},
    {"kd, T 20", build_kd, kd_row, {.t = 20}, 20, 400},
    {"hard", build_hard, hard_row, {.t = 0}, 1, 1},
    {"dkd", build_dkd, dkd_row, {.t = 4, .alpha = 1, .beta = 8}, 32, 128},
    {"dkd, T 1", build_dkd, dkd_row, {.t = 1, .alpha = 2, .beta = .5}, 2, 2},
    {"kd, standardized", build_kd_std, kd_std_row, {.t = 2}, 2, 4},
    {"ce + kd", build_mix, mix_row, {.t = 4}, 4, 16},
};
enum { LOSSES = sizeof losses / sizeof *losses };

/* ---- one run --------------------------------------------------------------------------------- */

typedef struct batch {
    size_t n, k;
    float *s, *t; /* [n,k] */
    int32_t *labels;
    float loss, *grad; /* [n,k] */
} batch;

static void *need(size_t count, size_t size)
{
    void *block = calloc(count, size);
    ck_assert_ptr_nonnull(block);
    return block;
}

static batch batch_make(size_t n, size_t k, uint64_t seed, float scale)
{
    batch b = {n, k, need(n * k, 4), need(n * k, 4), need(n, 4), 0, need(n * k, 4)};
    kdi_rng r = kdi_rng_make(seed, KDI_RNG_TEST, 1, 0);
    test_fill(b.s, n * k, 2 * seed, scale);
    test_fill(b.t, n * k, 2 * seed + 1, scale);
    for (size_t i = 0; i < n; i++) b.labels[i] = (int32_t)kdi_rng_below(&r, (uint32_t)k);
    return b;
}

static void batch_free(batch *b)
{
    free(b->s);
    free(b->t);
    free(b->labels);
    free(b->grad);
}

static kd_graph *graph_of(kd_ctx *ctx, const loss *l, size_t k)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, (int64_t)k};
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value s = kd_input(g, "s", KD_F32, 2, dim), t = kd_input(g, "t", KD_F32, 2, dim);
    const kd_value y = kd_input(g, "y", KD_I32, 1, dim);
    kd_graph_want_grad(g, s);
    kd_graph_scope(g, "head");
    const kd_value out = l->build(g, s, t, y, &l->p);
    kd_graph_unscope(g);
    test_ok(ctx, kd_graph_grad(g, out));
    ck_assert_int_eq(kd_graph_grad_of(g, t), KD_NONE);
    kd_output(g, out, "loss");
    kd_output(g, kd_graph_grad_of(g, s), "grad");
    return g;
}

/* Fills b->loss and b->grad. */
static kd_status run(kd_ctx *ctx, const loss *l, batch *b)
{
    kd_graph *g = graph_of(ctx, l, b->k);
    kd_params *values;
    kd_plan *plan;
    kd_exec *exec;
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = b->n, .training = 1};
    test_ok(ctx, kd_params_create(g, 1, &values));
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, values, NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "s", b->s));
    test_ok(ctx, kd_exec_bind(exec, "t", b->t));
    test_ok(ctx, kd_exec_bind(exec, "y", b->labels));
    const kd_status status = kd_exec_run(exec, NULL);
    if (!status) {
        b->loss = *(float *)kd_exec_output(exec, "loss");
        memcpy(b->grad, kd_exec_output(exec, "grad"), b->n * b->k * sizeof(float));
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(values);
    kd_graph_destroy(g);
    return status;
}

static double row_of(const loss *l, const batch *b, size_t i, size_t moved, double by)
{
    double s[MOST_CLASSES], t[MOST_CLASSES];
    for (size_t j = 0; j < b->k; j++) {
        s[j] = (double)b->s[i * b->k + j] + (j == moved ? by : 0);
        t[j] = (double)b->t[i * b->k + j];
    }
    return l->row(s, t, b->k, (size_t)b->labels[i], &l->p);
}

/* Loss and, at some elements, gradient are the oracle's. */
static void compare(const loss *l, const batch *b, const char *isa)
{
    double want = 0;
    for (size_t i = 0; i < b->n; i++) want += row_of(l, b, i, 0, 0) / (double)b->n;
    ck_assert_msg(fabs((double)b->loss - want) <= 1e-6 * fabs(want) + 2e-7 * l->unit,
                  "%s [%zu,%zu] %s: loss %.9g, not %.9g", l->name, b->n, b->k, isa, (double)b->loss,
                  want);
    const size_t count = b->n * b->k, step = count / 60 + 1;
    for (size_t e = 0; e < count; e += e % 7 == 0 ? 1 : step) {
        const size_t i = e / b->k, j = e % b->k;
        const double h = 1e-5;
        const double d = (row_of(l, b, i, j, h) - row_of(l, b, i, j, -h)) / (2 * h * (double)b->n);
        ck_assert_msg(fabs((double)b->grad[e] - d) * (double)b->n <= 1e-6 * l->size,
                      "%s [%zu,%zu] %s: gradient [%zu,%zu] is %.9g, not %.9g", l->name, b->n, b->k,
                      isa, i, j, (double)b->grad[e], d);
    }
}

/* Every loss, many shapes, every kernel table; the same bits for any number of threads. */
START_TEST(test_sweep)
{
    static const size_t shapes[][2] = {{1, 2},    {3, 2},     {7, 3},   {64, 10},   {5, 15},
                                       {2, 16},   {4, 17},    {9, 33},  {300, 100}, {128, 10},
                                       {1, 1000}, {33, 1000}, {13, 129}};
    const kdi_kernels *k;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        batch b = batch_make(shapes[s][0], shapes[s][1], s, s % 3 ? 8 : 1);
        float *first = need(b.n * b.k, sizeof *first);
        for (int table = 0; (k = kdi_kernels_at(table)); table++)
            for (int l = 0; l < LOSSES; l++) {
                static const int threads[] = {1, 2, 3, 7};
                float value = 0;
                for (int w = 0; w < 4; w++) {
                    kd_ctx *ctx = test_ctx(threads[w], k->name);
                    test_ok(ctx, run(ctx, &losses[l], &b));
                    if (w == 0) {
                        compare(&losses[l], &b, k->name);
                        memcpy(first, b.grad, b.n * b.k * sizeof *first);
                        value = b.loss;
                    }
                    ck_assert_msg(!memcmp(first, b.grad, b.n * b.k * sizeof *first) &&
                                      !memcmp(&value, &b.loss, sizeof value),
                                  "%s: bits differ with %d threads", losses[l].name, threads[w]);
                    kd_ctx_destroy(ctx);
                }
            }
        free(first);
        batch_free(&b);
    }
}
END_TEST

/* One class: its probability is 1. */
START_TEST(test_one_class)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    batch b = batch_make(5, 1, 3, 4);
    for (int l = 0; l < 6; l++) {
        test_ok(ctx, run(ctx, &losses[l], &b));
        ck_assert_float_eq(b.loss, 0);
        for (int i = 0; i < 5; i++) ck_assert_float_eq(b.grad[i], 0);
    }
    batch_free(&b);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- through the harness: planning, accumulation, half batches, failing allocations ---------- */

static void fill_case(const op_case *c, int i, const char *name, float *x, size_t n)
{
    const int64_t k = c->in[0].dim[1];
    if (c->in[i].dtype == KD_F32) {
        op_fill(c, i, name, x, n);
        for (size_t e = 0; e < n; e++) x[e] *= 5;
    } else {
        for (size_t e = 0; e < n; e++) x[e] = (float)((int64_t)(e * 7 + 3) % k);
    }
}

static kd_value build_case(kd_graph *g, const kd_value *in, const void *attr)
{
    const loss *l = attr;
    return l->build(g, in[0], in[1], in[2], &l->p);
}

static void oracle_case(const op_oracle *o)
{
    const loss *l = o->attr;
    const size_t n = o->in[0].dim[0], k = o->in[0].dim[1];
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += l->row(o->in[0].data + i * k, o->in[1].data + i * k, k, (size_t)o->in[2].data[i],
                      &l->p);
    o->y.data[0] = sum / (double)n;
}

START_TEST(test_losses_as_ops)
{
    for (int l = 0; l < LOSSES; l++) {
        op_case c = {.name = losses[l].name,
                     .batch = 6,
                     .n_in = 3,
                     .in = {{2, {KD_BATCH, 10}, KD_F32, false},
                            {2, {KD_BATCH, 10}, KD_F32, true},
                            {1, {KD_BATCH}, KD_I32, true}},
                     .attr = &losses[l],
                     .build = build_case,
                     .oracle = oracle_case,
                     .fill = fill_case,
                     .tol = 2e-6,
                     .grad_tol = 2e-6};
        op_check(&c);
    }
}
END_TEST

static kd_value build_standardize(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_standardize(g, in[0]);
}

static void oracle_standardize(const op_oracle *o)
{
    const size_t k = o->y.dim[o->y.rank - 1];
    for (size_t i = 0; i < o->y.count; i += k) z_score(o->in[0].data + i, o->y.data + i, k);
}

START_TEST(test_standardize)
{
    static const int64_t classes[] = {3, 10, 100, 257};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        op_check(&(op_case){.name = "standardize",
                            .batch = 5,
                            .n_in = 1,
                            .in = {{2, {KD_BATCH, classes[i]}, KD_F32, false}},
                            .build = build_standardize,
                            .oracle = oracle_standardize,
                            .tol = 2e-6,
                            .grad_tol = 1e-5});
    /* Two numbers always become -+1/sqrt(2): the gradient is what rounding leaves of 0. */
    op_check(&(op_case){.name = "standardize 2",
                        .batch = 5,
                        .n_in = 1,
                        .in = {{2, {KD_BATCH, 2}, KD_F32, false}},
                        .build = build_standardize,
                        .oracle = oracle_standardize,
                        .tol = 2e-6});
    op_check(&(op_case){.name = "standardize 3d",
                        .batch = 2,
                        .n_in = 1,
                        .in = {{3, {KD_BATCH, 3, 10}, KD_F32, false}},
                        .build = build_standardize,
                        .oracle = oracle_standardize,
                        .tol = 2e-6,
                        .grad_tol = 1e-5});
}
END_TEST

/* ---- PyTorch --------------------------------------------------------------------------------- */

static void near(const char *what, const float *got, const float *want, size_t n, double tol)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(
            fabs((double)got[i] - (double)want[i]) <= tol * fmax(1, fabs((double)want[i])),
            "%s[%zu] is %.9g, PyTorch says %.9g", what, i, (double)got[i], (double)want[i]);
}

START_TEST(test_golden_losses)
{
    const struct {
        loss l;
        const float *value, *grad;
    } golden[] = {
        {{"ce", build_ce, NULL, {.t = 0}, 1, 1}, golden_ce, golden_ce_grad},
        {{"ce_smooth", build_ce, NULL, {.smoothing = .1}, 1, 1},
         golden_ce_smooth,
         golden_ce_smooth_grad},
        {{"kd", build_kd, NULL, {.t = 4}, 1, 1}, golden_kd, golden_kd_grad},
        {{"kd_1", build_kd, NULL, {.t = 1}, 1, 1}, golden_kd_1, golden_kd_1_grad},
        {{"hard", build_hard, NULL, {.t = 0}, 1, 1}, golden_hard, golden_hard_grad},
        {{"dkd", build_dkd, NULL, {.t = 4, .alpha = 1, .beta = 8}, 1, 1},
         golden_dkd,
         golden_dkd_grad},
        {{"kd_std", build_kd_std, NULL, {.t = 2}, 1, 1}, golden_kd_std, golden_kd_std_grad},
        {{"mix", build_mix, NULL, {.t = 4}, 1, 1}, golden_mix, golden_mix_grad},
    };
    const kdi_kernels *k;
    for (int table = 0; (k = kdi_kernels_at(table)); table++) {
        kd_ctx *ctx = test_ctx(2, k->name);
        batch b = batch_make(GOLDEN_N, GOLDEN_K, 0, 1);
        memcpy(b.s, golden_student, sizeof golden_student);
        memcpy(b.t, golden_teacher, sizeof golden_teacher);
        memcpy(b.labels, golden_labels, sizeof golden_labels);
        for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
            test_ok(ctx, run(ctx, &golden[i].l, &b));
            near(golden[i].l.name, &b.loss, golden[i].value, 1, 5e-7);
            near(golden[i].l.name, b.grad, golden[i].grad, b.n * b.k, 5e-7);
        }
        batch_free(&b);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

static kd_tensor matrix(float *data)
{
    return (kd_tensor){data, KD_F32, 2, {GOLDEN_N, GOLDEN_K}, GOLDEN_N * GOLDEN_K};
}

/* forward, then backward from golden_weight. */
static void golden_rows(const kd_op *op, const float *want, const float *want_grad)
{
    float x[GOLDEN_N * GOLDEN_K], y[GOLDEN_N * GOLDEN_K], dy[GOLDEN_N * GOLDEN_K];
    float dx[GOLDEN_N * GOLDEN_K];
    memcpy(x, golden_student, sizeof x);
    memcpy(dy, golden_weight, sizeof dy);
    const kd_tensor in = matrix(x), out = matrix(y), dout = matrix(dy), din = matrix(dx);
    const kdi_kernels *k;
    for (int table = 0; (k = kdi_kernels_at(table)); table++) {
        kd_ctx *ctx = test_ctx(1, k->name);
        const kd_op_call c = {.ctx = ctx,
                              .n_in = 1,
                              .n_out = 1,
                              .in = &in,
                              .out = &out,
                              .dout = &dout,
                              .din = &din,
                              .kernels = k};
        test_ok(ctx, op->forward(&c));
        test_ok(ctx, op->backward(&c));
        near(op->name, y, want, GOLDEN_N * GOLDEN_K, 5e-7);
        near(op->name, dx, want_grad, GOLDEN_N * GOLDEN_K, 5e-7);
        kd_ctx_destroy(ctx);
    }
}

START_TEST(test_golden_rows)
{
    golden_rows(&kdi_op_softmax, golden_softmax, golden_softmax_grad);
    golden_rows(&kdi_op_standardize, golden_standardize, golden_standardize_grad);
}
END_TEST

/* ---- the distillation gradient, hard (p - y) / N + soft T (q_s - q_t) / N -------------------- */

START_TEST(test_kd_gradient)
{
    const double hard = (double).1f, soft = (double).9f, t = 4;
    const loss *mix = &losses[LOSSES - 1];
    for (size_t k = 10; k <= 100; k *= 10) {
        kd_ctx *ctx = test_ctx(2, NULL);
        batch b = batch_make(64, k, k, 10);
        test_ok(ctx, run(ctx, mix, &b));
        for (size_t i = 0; i < b.n; i++) {
            double p[100], s[100], q[100];
            for (size_t j = 0; j < k; j++) {
                p[j] = s[j] = (double)b.s[i * k + j];
                q[j] = (double)b.t[i * k + j];
            }
            log_softmax(p, k, 1);
            log_softmax(s, k, t);
            log_softmax(q, k, t);
            for (size_t j = 0; j < k; j++) {
                const double y = (size_t)b.labels[i] == j;
                const double want = (hard * (exp(p[j]) - y) + soft * t * (exp(s[j]) - exp(q[j])));
                ck_assert_double_le(fabs((double)b.grad[i * k + j] * (double)b.n - want), 1e-6);
            }
        }
        batch_free(&b);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

/* ---- extremes -------------------------------------------------------------------------------- */

static void set_all(float *x, size_t n, float value)
{
    for (size_t i = 0; i < n; i++) x[i] = value;
}

/* Logits of +-10000: sums of exponentials that all vanish but one. */
START_TEST(test_large_logits)
{
    const kdi_kernels *k;
    for (int table = 0; (k = kdi_kernels_at(table)); table++) {
        kd_ctx *ctx = test_ctx(1, k->name);
        batch b = batch_make(40, 10, 5, 1);
        for (size_t i = 0; i < b.n * b.k; i++) {
            b.s[i] = b.s[i] > 0 ? 1e4f : -1e4f;
            b.t[i] = b.t[i] > 0 ? 1e4f : -1e4f;
        }
        for (int l = 0; l < LOSSES; l++) {
            test_ok(ctx, run(ctx, &losses[l], &b));
            ck_assert_msg(isfinite(b.loss), "%s: %g", losses[l].name, (double)b.loss);
            compare(&losses[l], &b, k->name);
        }
        set_all(b.s, b.n * b.k, 1e4f); /* and rows that are constant */
        set_all(b.t, b.n * b.k, -1e4f);
        for (int l = 0; l < LOSSES; l++) {
            test_ok(ctx, run(ctx, &losses[l], &b));
            ck_assert(isfinite(b.loss));
            for (size_t i = 0; i < b.n * b.k; i++) ck_assert(isfinite(b.grad[i]));
        }
        batch_free(&b);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

static bool uses_teacher(const loss *l)
{
    return l->build != build_ce;
}

/* What is not a number comes out as NaN, wherever in a row it stands. */
START_TEST(test_not_finite)
{
    const kdi_kernels *k;
    for (int table = 0; (k = kdi_kernels_at(table)); table++) {
        kd_ctx *ctx = test_ctx(1, k->name);
        for (int l = 0; l < LOSSES; l++)
            for (size_t at = 0; at < 37; at += 4) {
                batch b = batch_make(3, 37, 8, 1);
                b.s[37 + at] = NAN;
                test_ok(ctx, run(ctx, &losses[l], &b));
                ck_assert_msg(isnan(b.loss), "%s: %g", losses[l].name, (double)b.loss);
                ck_assert(isnan(b.grad[37]) && isfinite(b.grad[0]) && isfinite(b.grad[74]));
                b.s[37 + at] = INFINITY;
                test_ok(ctx, run(ctx, &losses[l], &b));
                ck_assert_msg(isnan(b.loss) || losses[l].build == build_dkd, "%s: %g",
                              losses[l].name, (double)b.loss);
                set_all(b.s + 37, 37, -INFINITY);
                test_ok(ctx, run(ctx, &losses[l], &b));
                ck_assert(isnan(b.loss));
                test_fill(b.s, 3 * 37, 16, 1);
                b.t[37 + at] = NAN;
                test_ok(ctx, run(ctx, &losses[l], &b));
                ck_assert(isnan(b.loss) == uses_teacher(&losses[l]));
                batch_free(&b);
            }
        kd_ctx_destroy(ctx);
    }
}
END_TEST

/* A class at -infinity has probability 0: harmless unless it is the label. */
START_TEST(test_masked_class)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    batch b = batch_make(1, 4, 9, 2), rest = batch_make(1, 3, 9, 2);
    b.labels[0] = rest.labels[0] = 1;
    memcpy(rest.s, b.s, 3 * sizeof *b.s);
    b.s[3] = -INFINITY;
    test_ok(ctx, run(ctx, &losses[0], &b));
    test_ok(ctx, run(ctx, &losses[0], &rest));
    ck_assert_float_eq_tol(b.loss, rest.loss, 1e-6f);
    ck_assert_float_eq(b.grad[3], 0);
    memcpy(rest.t, b.t, 3 * sizeof *b.t);
    b.t[3] = -INFINITY;
    test_ok(ctx, run(ctx, &losses[2], &b));
    test_ok(ctx, run(ctx, &losses[2], &rest));
    ck_assert_float_eq_tol(b.loss, rest.loss, 1e-6f);
    b.labels[0] = 3;
    test_ok(ctx, run(ctx, &losses[0], &b));
    ck_assert(isinf(b.loss) && b.loss > 0);
    batch_free(&b);
    batch_free(&rest);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A teacher's tie goes to its first class, as argmax does. */
START_TEST(test_hard_tie)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    batch b = batch_make(1, 5, 9, 2);
    const float teacher[] = {0, 2, 1, 2, -1};
    memcpy(b.t, teacher, sizeof teacher);
    test_ok(ctx, run(ctx, &losses[5], &b));
    for (int i = 0; i < 5; i++) ck_assert((b.grad[i] < 0) == (i == 1));
    batch_free(&b);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(test_labels)
{
    static const int32_t bad[] = {12, 10, -1, INT32_MAX, INT32_MIN};
    kd_ctx *ctx = test_ctx(2, NULL);
    for (int l = 0; l < LOSSES; l++) {
        if (losses[l].build != build_ce && losses[l].build != build_dkd) continue;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            batch b = batch_make(5, 10, 3, 4);
            char want[100];
            b.labels[3] = bad[i];
            snprintf(want, sizeof want, "%s 'head': label %d of row 3 is not in [0,10)",
                     losses[l].build == build_ce ? "cross_entropy" : "loss_dkd", (int)bad[i]);
            ck_assert_int_eq(run(ctx, &losses[l], &b), KD_E_INVALID);
            ck_assert_str_eq(kd_ctx_error(ctx), want);
            batch_free(&b);
        }
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* A builder's complaint has each of the words. */
static void refuse(kd_ctx *ctx,
                   kd_value (*build)(kd_graph *g, kd_value s, kd_value t, kd_value y,
                                     const params *p),
                   params p, int64_t classes, kd_status status, const char *words)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, classes};
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value s = kd_input(g, "s", KD_F32, 2, dim), t = kd_input(g, "t", KD_F32, 2, dim);
    const kd_value y = kd_input(g, "y", KD_I32, 1, dim);
    ck_assert_int_eq(build(g, s, t, y, &p), KD_NONE);
    ck_assert_int_eq(kd_graph_status(g), status);
    ck_assert_msg(strstr(kd_ctx_error(ctx), words) != NULL, "'%s' lacks '%s'", kd_ctx_error(ctx),
                  words);
    kd_graph_destroy(g);
}

static kd_value build_swapped(kd_graph *g, kd_value s, kd_value t, kd_value y, const params *p)
{
    (void)s, (void)p;
    return kd_cross_entropy(g, y, t, 0);
}

static kd_value build_float_labels(kd_graph *g, kd_value s, kd_value t, kd_value y, const params *p)
{
    (void)y, (void)p;
    return kd_cross_entropy(g, s, t, 0);
}

static kd_value build_other_teacher(kd_graph *g, kd_value s, kd_value t, kd_value y,
                                    const params *p)
{
    const int64_t flat[] = {0, 5};
    (void)y;
    return kd_loss_kd(g, s, kd_reshape(g, t, 2, flat), (float)p->t);
}

START_TEST(test_refusals)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const double bad[] = {0, -1, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        refuse(ctx, build_kd, (params){.t = bad[i]}, 10, KD_E_INVALID, "loss_kd '': temperature");
        refuse(ctx, build_dkd, (params){.t = bad[i]}, 10, KD_E_INVALID, "loss_dkd '': temperature");
    }
    refuse(ctx, build_kd, (params){.t = -1.5}, 10, KD_E_INVALID, "temperature -1.5 is not");
    refuse(ctx, build_dkd, (params){.t = 1, .alpha = NAN}, 10, KD_E_INVALID, "alpha nan");
    refuse(ctx, build_dkd, (params){.t = 1, .beta = INFINITY}, 10, KD_E_INVALID, "beta inf");
    refuse(ctx, build_ce, (params){.smoothing = 1}, 10, KD_E_INVALID,
           "cross_entropy '': label smoothing 1 is not in [0,1)");
    refuse(ctx, build_ce, (params){.smoothing = -.25}, 10, KD_E_INVALID, "label smoothing -0.25");
    refuse(ctx, build_ce, (params){.smoothing = NAN}, 10, KD_E_INVALID, "label smoothing nan");
    refuse(ctx, build_dkd, (params){.t = 1}, 1, KD_E_SHAPE, "[N,1]: at least 2 classes");
    refuse(ctx, build_kd_std, (params){.t = 1}, 1, KD_E_SHAPE, "standardize '': shape [N,1]");
    refuse(ctx, build_swapped, (params){.t = 1}, 10, KD_E_SHAPE, "logits are [N] i32");
    refuse(ctx, build_float_labels, (params){.t = 1}, 10, KD_E_SHAPE, "labels are [N,10] f32");
    refuse(ctx, build_other_teacher, (params){.t = 1}, 10, KD_E_SHAPE,
           "logits [N,10] f32 and the teacher's [2N,5] f32 differ");
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(losses, 60, &test_sweep, &test_one_class, &test_losses_as_ops, &test_standardize,
           &test_golden_losses, &test_golden_rows, &test_kd_gradient, &test_large_logits,
           &test_not_finite, &test_masked_class, &test_hard_tie, &test_labels, &test_refusals)
