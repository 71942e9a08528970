/* SPDX-License-Identifier: MIT
 * test_attention.c: attention with and without bias and mask, the relative position bias, and the
 * kernels between attention's products. */
#include "harness.h"

#include "../../lib/kernel/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct attention_attr {
    int heads;
    float scale;
    bool bias, mask; /* inputs 1 and on, in this order */
    int queries;     /* 0: all */
} attention_attr;

static kd_value build(kd_graph *g, const kd_value *in, const void *attr)
{
    const attention_attr *a = attr;
    if (a->queries) return kd_attention_first(g, in[0], a->heads, a->scale, a->queries);
    return kd_attention(g, in[0], a->heads, a->scale, a->bias ? in[1] : KD_NONE,
                        a->mask ? in[1 + a->bias] : KD_NONE);
}

/* One query of one head: y[d] = softmax(...) v. */
static void attend(const op_oracle *o, size_t n, size_t head, size_t i, double *p, double *y)
{
    const attention_attr *a = o->attr;
    const size_t t = o->in[0].dim[1], width = o->in[0].dim[2] / 3, d = width / (size_t)a->heads;
    const double *qkv = o->in[0].data + n * t * 3 * width + head * d;
    const double scale = a->scale != 0 ? (double)a->scale : 1 / sqrt((double)d);
    double largest = -INFINITY, sum = 0;
    for (size_t j = 0; j < t; j++) {
        p[j] = 0;
        for (size_t c = 0; c < d; c++)
            p[j] += scale * qkv[i * 3 * width + c] * qkv[j * 3 * width + width + c];
        if (a->bias) p[j] += o->in[1].data[(head * t + i) * t + j];
        if (a->mask) {
            const op_array *mask = &o->in[1 + a->bias];
            p[j] += mask->data[(n % mask->dim[0] * t + i) * t + j];
        }
        if (p[j] > largest) largest = p[j];
    }
    for (size_t j = 0; j < t; j++) sum += p[j] = exp(p[j] - largest);
    for (size_t c = 0; c < d; c++) {
        y[c] = 0;
        for (size_t j = 0; j < t; j++) y[c] += p[j] / sum * qkv[j * 3 * width + 2 * width + c];
    }
}

static void oracle(const op_oracle *o)
{
    const attention_attr *a = o->attr;
    const size_t t = o->y.dim[1], width = o->y.dim[2], d = width / (size_t)a->heads;
    double *p = malloc(o->in[0].dim[1] * sizeof *p);
    ck_assert_ptr_nonnull(p);
    for (size_t n = 0; n < o->y.dim[0]; n++)
        for (size_t h = 0; h < (size_t)a->heads; h++)
            for (size_t i = 0; i < t; i++)
                attend(o, n, h, i, p, o->y.data + (n * t + i) * width + h * d);
    free(p);
}

/* Scores that spread; a mask of 0 and -100. */
static void fill(const op_case *c, int i, const char *name, float *x, size_t n)
{
    const attention_attr *a = c->attr;
    op_fill(c, i, name, x, n);
    for (size_t k = 0; k < n; k++) {
        if (i == 0) x[k] *= 2;
        if (i > 0 && i == a->bias + 1) x[k] = x[k] > .3f ? -100 : 0;
    }
}

START_TEST(test_attention)
{
    static const attention_attr plain = {.heads = 2}, scaled = {.heads = 3, .scale = .3f},
                                one = {.heads = 1}, bias = {.heads = 2, .bias = true},
                                mask = {.heads = 2, .mask = true},
                                both = {.heads = 3, .bias = true, .mask = true},
                                first = {.heads = 2, .queries = 1},
                                most = {.heads = 1, .queries = 100};
    const op_case cases[] = {
        {.name = "attention [N,5,2x4]",
         .batch = 3,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 5, 24}}},
         .attr = &plain},
        {.name = "attention [N,17,3x5]",
         .batch = 2,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 17, 45}}},
         .attr = &scaled},
        {.name = "attention [N,1,1x7]",
         .batch = 2,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 1, 21}}},
         .attr = &one},
        {.name = "attention [N,33,1x1]",
         .batch = 2,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 33, 3}}},
         .attr = &one},
        {.name = "attention [N,65,2x32]",
         .batch = 2,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 65, 192}}},
         .attr = &plain},
        {.name = "attention [N,190,1x6], blocks of rows",
         .batch = 1,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 190, 18}}},
         .attr = &one},
        {.name = "attention [N,256,1x2], rows a kilobyte apart",
         .batch = 1,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 256, 6}}},
         .attr = &one},
        {.name = "attention of one query [N,9,2x4]",
         .batch = 3,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 9, 24}}},
         .attr = &first},
        {.name = "attention of 100 queries [N,130,1x6], blocks of rows",
         .batch = 2,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 130, 18}}},
         .attr = &most},
        {.name = "attention with bias [N,9,2x4]",
         .batch = 5,
         .n_in = 2,
         .in = {{3, {KD_BATCH, 9, 24}}, {3, {2, 9, 9}}},
         .attr = &bias},
        {.name = "attention with bias [N,100,2x3], blocks of rows",
         .batch = 2,
         .n_in = 2,
         .in = {{3, {KD_BATCH, 100, 18}}, {3, {2, 100, 100}}},
         .attr = &bias},
        {.name = "attention with bias [N,3,2x1], more images than runs",
         .batch = 70,
         .n_in = 2,
         .in = {{3, {KD_BATCH, 3, 6}}, {3, {2, 3, 3}}},
         .attr = &bias},
        {.name = "attention with a mask [N,6,2x4]",
         .batch = 4,
         .n_in = 2,
         .in = {{3, {-2, 6, 24}}, {3, {2, 6, 6}, KD_F32, true}},
         .attr = &mask},
        {.name = "attention with both [N,16,3x8]",
         .batch = 2,
         .n_in = 3,
         .in = {{3, {-4, 16, 72}}, {3, {3, 16, 16}}, {3, {4, 16, 16}, KD_F32, true}},
         .attr = &both},
        {.name = "attention with both [N,100,3x4], blocks of rows",
         .batch = 1,
         .n_in = 3,
         .in = {{3, {-2, 100, 36}}, {3, {3, 100, 100}}, {3, {2, 100, 100}, KD_F32, true}},
         .attr = &both},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = cases[i];
        c.build = build;
        c.oracle = oracle;
        c.fill = fill;
        op_check(&c);
    }
}
END_TEST

/* ---- its probabilities ----------------------------------------------------------------------- */

static kd_value build_map(kd_graph *g, const kd_value *in, const void *attr)
{
    const attention_attr *a = attr;
    return kd_attention_map(g, in[0], a->heads, a->scale, a->bias ? in[1] : KD_NONE,
                            a->mask ? in[1 + a->bias] : KD_NONE);
}

/* What `attend` makes of values that are the rows of a unit matrix, one column after another. */
static void oracle_map(const op_oracle *o)
{
    const attention_attr *a = o->attr;
    const size_t n = o->y.dim[0], t = o->y.dim[2], width = o->in[0].dim[2] / 3;
    const size_t d = width / (size_t)a->heads;
    double *data = malloc(o->in[0].count * sizeof *data), *p = malloc(t * sizeof *p);
    double *y = malloc(d * sizeof *y);
    op_array in[3] = {o->in[0], o->in[1], o->in[2]};
    op_oracle one = *o;
    ck_assert(data && p && y);
    one.in = in;
    in[0].data = data;
    memcpy(data, o->in[0].data, o->in[0].count * sizeof *data);
    for (size_t j = 0; j < t; j++) {
        for (size_t row = 0; row < n * t; row++)
            for (size_t c = 0; c < width; c++) data[row * 3 * width + 2 * width + c] = row % t == j;
        for (size_t row = 0; row < n * (size_t)a->heads * t; row++) {
            const size_t image = row / t / (size_t)a->heads;
            attend(&one, image, row / t % (size_t)a->heads, row % t, p, y);
            o->y.data[row * t + j] = y[0];
        }
    }
    free(y);
    free(p);
    free(data);
}

START_TEST(test_attention_map)
{
    static const attention_attr plain = {.heads = 2}, scaled = {.heads = 3, .scale = .3f},
                                bias = {.heads = 2, .bias = true},
                                mask = {.heads = 2, .mask = true},
                                both = {.heads = 3, .bias = true, .mask = true};
    const op_case cases[] = {
        {.name = "attention_map [N,5,2x4]",
         .batch = 3,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 5, 24}}},
         .attr = &plain},
        {.name = "attention_map [N,17,3x5]",
         .batch = 2,
         .n_in = 1,
         .in = {{3, {KD_BATCH, 17, 45}}},
         .attr = &scaled},
        {.name = "attention_map with bias [N,9,2x4]",
         .batch = 5,
         .n_in = 2,
         .in = {{3, {KD_BATCH, 9, 24}}, {3, {2, 9, 9}}},
         .attr = &bias},
        {.name = "attention_map with a mask [N,6,2x4]",
         .batch = 4,
         .n_in = 2,
         .in = {{3, {-2, 6, 24}}, {3, {2, 6, 6}, KD_F32, true}},
         .attr = &mask},
        {.name = "attention_map with both [N,8,3x2]",
         .batch = 2,
         .n_in = 3,
         .in = {{3, {-4, 8, 18}}, {3, {3, 8, 8}}, {3, {4, 8, 8}, KD_F32, true}},
         .attr = &both},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = cases[i];
        c.build = build_map;
        c.oracle = oracle_map;
        c.fill = fill;
        op_check(&c);
    }
}
END_TEST

/* ---- the relative position bias -------------------------------------------------------------- */

typedef struct window_attr {
    int window[2];
} window_attr;

static kd_value build_bias(kd_graph *g, const kd_value *in, const void *attr)
{
    const window_attr *a = attr;
    return kd_position_bias(g, in[0], a->window);
}

/* By the pixels' coordinates. */
static void oracle_bias(const op_oracle *o)
{
    const window_attr *a = o->attr;
    const int h = a->window[0], w = a->window[1], t = h * w;
    const size_t heads = o->y.dim[0];
    for (size_t head = 0; head < heads; head++)
        for (int i = 0; i < t; i++)
            for (int j = 0; j < t; j++) {
                const int dy = i / w - j / w, dx = i % w - j % w;
                const size_t entry = (size_t)((dy + h - 1) * (2 * w - 1) + dx + w - 1);
                o->y.data[(head * (size_t)t + (size_t)i) * (size_t)t + (size_t)j] =
                    o->in[0].data[entry * heads + head];
            }
}

START_TEST(test_position_bias)
{
    static const window_attr square = {{3, 3}}, wide = {{2, 5}}, one = {{1, 1}}, large = {{7, 7}};
    const op_case cases[] = {
        {.name = "position_bias 3x3", .in = {{2, {25, 3}}}, .attr = &square},
        {.name = "position_bias 2x5", .in = {{2, {27, 2}}}, .attr = &wide},
        {.name = "position_bias 1x1", .in = {{2, {1, 4}}}, .attr = &one},
        {.name = "position_bias 7x7", .in = {{2, {169, 24}}}, .attr = &large},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = cases[i];
        c.n_in = 1;
        c.build = build_bias;
        c.oracle = oracle_bias;
        c.full_batch_only = true;
        op_check(&c);
    }
}
END_TEST

/* ---- kernels --------------------------------------------------------------------------------- */

enum { MOST = 70, STEP = 96, ROWS = 3 };
#define SCALE .75

typedef struct rows {
    float s[ROWS * STEP], dp[ROWS * STEP], bias[ROWS * MOST], mask[ROWS * MOST];
    float max[ROWS], inverse[ROWS], dbias[ROWS * MOST + 1];
} rows;

static double truth_score(const rows *x, int bits, size_t n, size_t r, size_t j)
{
    double s = SCALE * (double)x->s[r * STEP + j];
    if (bits & 1) s += (double)x->bias[r * n + j];
    if (bits & 2) s += (double)x->mask[r * n + j];
    return s;
}

/* The largest error of all that the two kernels write. */
static double kernel_error(const kdi_kernels *k, const rows *x, int bits, size_t n)
{
    const float *bias = bits & 1 ? x->bias : NULL, *mask = bits & 2 ? x->mask : NULL;
    rows f = *x, b = *x;
    double worst = 0;
    k->attention_softmax(ROWS, n, (float)SCALE, bias, mask, f.s, STEP, f.max, f.inverse);
    b.dbias[ROWS * n] = 9;
    k->attention_backward(ROWS, n, (float)SCALE, bias, mask, f.max, f.inverse, b.s, b.dp, STEP,
                          bits & 4 ? b.dbias : NULL);
    for (size_t r = 0; r < ROWS; r++) {
        double max = -INFINITY, sum = 0, dot = 0;
        for (size_t j = 0; j < n; j++) max = fmax(max, truth_score(x, bits, n, r, j));
        for (size_t j = 0; j < n; j++) sum += exp(truth_score(x, bits, n, r, j) - max);
        for (size_t j = 0; j < n; j++)
            dot += exp(truth_score(x, bits, n, r, j) - max) / sum * (double)x->dp[r * STEP + j];
        worst = fmax(worst, fabs((double)f.max[r] - max));
        worst = fmax(worst, fabs((double)f.inverse[r] * sum - 1));
        for (size_t j = 0; j < n; j++) {
            const double e = exp(truth_score(x, bits, n, r, j) - max);
            const double d = e / sum * ((double)x->dp[r * STEP + j] - dot);
            const double added = (double)x->dbias[r * n + j] + (bits & 4 ? d : 0);
            worst = fmax(worst, fabs((double)f.s[r * STEP + j] - e));
            worst = fmax(worst, fabs((double)b.s[r * STEP + j] - e / sum));
            worst = fmax(worst, fabs((double)b.dp[r * STEP + j] - SCALE * d));
            worst = fmax(worst, fabs((double)b.dbias[r * n + j] - added));
        }
        for (size_t j = n; j % k->vector; j++)
            if (f.s[r * STEP + j] != 0 || b.s[r * STEP + j] != 0) worst = INFINITY;
    }
    return b.dbias[ROWS * n] == 9 ? worst : INFINITY;
}

START_TEST(test_attention_kernels)
{
    const kdi_kernels *k;
    static rows x;
    test_fill(x.s, ROWS * STEP, 1, 5);
    test_fill(x.dp, ROWS * STEP, 2, 1);
    test_fill(x.bias, ROWS * MOST, 3, 1);
    test_fill(x.mask, ROWS * MOST, 4, 30);
    test_fill(x.dbias, ROWS * MOST, 5, 1);
    for (int table = 0; (k = kdi_kernels_at(table)); table++)
        for (size_t n = 1; n <= MOST; n++)
            for (int bits = 0; bits < 8; bits++) {
                const double error = kernel_error(k, &x, bits, n);
                ck_assert_msg(error < 4e-6, "%s: %zu columns, case %d: error %g", k->name, n, bits,
                              error);
            }
}
END_TEST

/* -infinity is probability 0; a row of it alone, NaN and infinity give NaN, in their row only. */
START_TEST(test_attention_extremes)
{
    enum { N = 37 };
    const kdi_kernels *k;
    for (int table = 0; (k = kdi_kernels_at(table)); table++) {
        float s[4 * STEP], max[4], inverse[4];
        test_fill(s, 4 * STEP, 1, 1000);
        for (size_t j = 0; j < N; j++) s[STEP + j] = -INFINITY;
        s[3] = s[35] = -INFINITY;
        s[2 * STEP + 36] = NAN;
        k->attention_softmax(4, N, 1, NULL, NULL, s, STEP, max, inverse);
        ck_assert(s[3] == 0 && s[35] == 0 && isfinite(inverse[0]) && inverse[0] > 0);
        ck_assert(isnan(s[STEP]) && isnan(inverse[1]));
        ck_assert(isnan(s[2 * STEP + 36]) && isnan(inverse[2]));
        for (size_t j = 0; j < N; j++) ck_assert(s[3 * STEP + j] >= 0 && s[3 * STEP + j] <= 1);
    }
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static kd_graph *fresh(kd_ctx *ctx, kd_value *x, kd_value *square, kd_value *labels)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, 4, 24}, four[] = {2, 4, 4};
    test_ok(ctx, kd_graph_create(ctx, &g));
    *x = kd_input(g, "x", KD_F32, 3, dim);
    *square = kd_input(g, "square", KD_F32, 3, four);
    *labels = kd_input(g, "labels", KD_I32, 3, dim);
    kd_graph_scope(g, "attn");
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

START_TEST(test_refusals)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_value x, square, labels;
    kd_graph *g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention(g, x, 3, 0, KD_NONE, KD_NONE),
            "attention 'attn': input [N,4,24] is not [N,T,3*C] with a C that 3 heads divide");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention(g, x, 0, 0, KD_NONE, KD_NONE), "attention 'attn': 0 heads");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention_first(g, x, 2, 0, 9),
            "attention 'attn': input [N,4,24] has no 9 queries");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention_first(g, x, 2, 0, 0),
            "attention 'attn': input [N,4,24] has no 0 queries");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention(g, x, 2, NAN, KD_NONE, KD_NONE), "attention 'attn': scale nan");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention(g, x, 4, 0, square, KD_NONE),
            "input [N,4,24] of 4 heads, bias [2,4,4]: they do not fit");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention(g, x, 2, 0, square, x),
            "input [N,4,24] of 2 heads, mask [N,4,24]: they do not fit");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention(g, x, 2, 0, KD_NONE, square),
            "input [N,4,24] of 2 heads, mask [2,4,4]: they do not fit");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention(g, labels, 2, 0, KD_NONE, KD_NONE), "input 0 is i32");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention_map(g, x, 0, 0, KD_NONE, KD_NONE), "attention_map 'attn': 0 heads");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention_map(g, x, 5, 0, KD_NONE, KD_NONE), "that 5 heads divide");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_attention_map(g, x, 4, 0, square, KD_NONE),
            "input [N,4,24] of 4 heads, bias [2,4,4]: they do not fit");
    const int window[] = {2, 2}, none[] = {0, 2};
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_position_bias(g, square, window),
            "position_bias 'attn': table [2,4,4] is not [9,heads], what windows of 2x2 need");
    g = fresh(ctx, &x, &square, &labels);
    refused(g, kd_position_bias(g, square, none), "windows of 0x2");
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(attention, 120, &test_attention, &test_attention_map, &test_position_bias,
           &test_attention_kernels, &test_attention_extremes, &test_refusals)
