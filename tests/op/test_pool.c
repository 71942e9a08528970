/* SPDX-License-Identifier: MIT
 * test_pool.c: max, average, adaptive and global pools. The oracles go through padded pictures
 * pixel by pixel, as the definition reads; sizes of outputs are PyTorch's, noted by hand. */
#include "harness.h"

#include "../../lib/kernel/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum pool_kind { MAX, AVERAGE, ADAPTIVE, GLOBAL } pool_kind;

typedef struct pool_attr {
    pool_kind kind;
    kd_pool_opt opt;
    int h, w; /* the output's size */
} pool_attr;

static kd_value build(kd_graph *g, const kd_value *in, const void *attr)
{
    const pool_attr *a = attr;
    switch (a->kind) {
    case MAX:
        return kd_max_pool(g, in[0], &a->opt);
    case AVERAGE:
        return kd_avg_pool(g, in[0], &a->opt);
    case ADAPTIVE:
        return kd_adaptive_avg_pool(g, in[0], a->h, a->w);
    case GLOBAL:
        break;
    }
    return kd_global_avg_pool(g, in[0]);
}

/* One output number: pixels [h0,h1) x [w0,w1), which may lie outside x. */
static double window(const pool_attr *a, const op_array *x, size_t n, int h0, int h1, int w0,
                     int w1, size_t c)
{
    const int h = (int)x->dim[1], w = (int)x->dim[2], ph = a->opt.pad[0], pw = a->opt.pad[1];
    double largest = -INFINITY, sum = 0, inside = 0, padded = 0;
    for (int i = h0; i < h1; i++)
        for (int j = w0; j < w1; j++) {
            if (i < h + ph && j < w + pw) padded++;
            if (i < 0 || i >= h || j < 0 || j >= w) continue;
            const double v =
                x->data[((n * x->dim[1] + (size_t)i) * x->dim[2] + (size_t)j) * x->dim[3] + c];
            if (v > largest) largest = v;
            sum += v;
            inside++;
        }
    if (a->kind == MAX) return largest;
    return sum / (a->kind != AVERAGE || a->opt.exclude_pad ? inside : padded);
}

static void oracle(const op_oracle *o)
{
    const pool_attr *a = o->attr;
    op_array x = o->in[0];
    double *y = o->y.data;
    if (x.rank == 3) {
        x.dim[3] = x.dim[2];
        x.dim[2] = 1;
    }
    const int h = (int)x.dim[1], w = (int)x.dim[2];
    const int oh = a->kind == GLOBAL ? 1 : a->h, ow = a->kind == GLOBAL ? 1 : a->w;
    ck_assert_uint_eq(o->y.count, x.dim[0] * (size_t)(oh * ow) * x.dim[3]);
    for (size_t n = 0; n < x.dim[0]; n++)
        for (int i = 0; i < oh; i++)
            for (int j = 0; j < ow; j++)
                for (size_t c = 0; c < x.dim[3]; c++) {
                    const kd_pool_opt *p = &a->opt;
                    if (a->kind == ADAPTIVE || a->kind == GLOBAL) {
                        *y++ = window(a, &x, n, i * h / oh, ((i + 1) * h + oh - 1) / oh, j * w / ow,
                                      ((j + 1) * w + ow - 1) / ow, c);
                        continue;
                    }
                    const int sh = p->stride[0] ? p->stride[0] : p->kernel[0];
                    const int sw = p->stride[1]   ? p->stride[1]
                                   : p->stride[0] ? p->stride[0]
                                   : p->kernel[1] ? p->kernel[1]
                                                  : p->kernel[0];
                    const int kw = p->kernel[1] ? p->kernel[1] : p->kernel[0];
                    const int top = i * sh - p->pad[0], left = j * sw - p->pad[1];
                    *y++ = window(a, &x, n, top, top + p->kernel[0], left, left + kw, c);
                }
}

#define SIZE .struct_size = sizeof(kd_pool_opt)

START_TEST(test_pools)
{
    static const struct {
        pool_attr attr;
        int64_t dim[3]; /* H, W, C */
    } cases[] = {
        {{MAX, {SIZE, .kernel = {2}}, 2, 3}, {4, 6, 20}},
        {{MAX, {SIZE, .kernel = {2}}, 3, 2}, {7, 5, 3}}, /* a row and a column left over */
        {{MAX, {SIZE, .kernel = {2}, .ceil_mode = 1}, 4, 3}, {7, 5, 3}},
        {{MAX, {SIZE, .kernel = {3}, .stride = {2}, .pad = {1, 1}}, 4, 3}, {8, 6, 17}},
        {{MAX, {SIZE, .kernel = {3, 2}, .stride = {1, 2}, .pad = {0, 1}}, 4, 4}, {6, 7, 5}},
        {{MAX, {SIZE, .kernel = {3}, .stride = {2}, .pad = {1, 1}, .ceil_mode = 1}, 4, 4},
         {7, 7, 4}},
        {{MAX, {SIZE, .kernel = {2}, .stride = {3}}, 3, 2}, {8, 6, 8}},        /* gaps */
        {{MAX, {SIZE, .kernel = {17, 16}, .stride = {1}}, 2, 2}, {18, 17, 2}}, /* wide indices */
        {{AVERAGE, {SIZE, .kernel = {2}}, 2, 3}, {5, 6, 70}},
        {{AVERAGE, {SIZE, .kernel = {3}, .stride = {2}, .pad = {1, 1}}, 4, 3}, {8, 6, 17}},
        {{AVERAGE, {SIZE, .kernel = {3}, .stride = {2}, .pad = {1, 1}, .exclude_pad = 1}, 4, 3},
         {8, 6, 17}},
        {{AVERAGE, {SIZE, .kernel = {3}, .stride = {2}, .pad = {1, 1}, .ceil_mode = 1}, 5, 4},
         {8, 6, 3}},
        {{AVERAGE,
          {SIZE, .kernel = {4, 3}, .stride = {3, 1}, .ceil_mode = 1, .exclude_pad = 1},
          3,
          4},
         {9, 6, 3}},
        {{.kind = ADAPTIVE, .h = 3, .w = 2}, {7, 5, 20}},
        {{.kind = ADAPTIVE, .h = 7, .w = 7},
         {2, 2, 5}}, /* larger than the picture, as VGG at 64 x 64 */
        {{.kind = GLOBAL}, {4, 5, 70}},
        {{.kind = GLOBAL}, {4, 0, 37}}, /* tokens */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        const int64_t *d = cases[i].dim;
        snprintf(name, sizeof name, "pool case %zu", i);
        op_case c = {.name = name,
                     .batch = 3,
                     .n_in = 1,
                     .in = {{4, {KD_BATCH, d[0], d[1], d[2]}}},
                     .attr = &cases[i].attr,
                     .build = build,
                     .oracle = oracle,
                     .fill = op_fill_spread};
        if (d[1] == 0) c.in[0] = (op_input){.rank = 3, .dim = {KD_BATCH, d[0], d[2]}};
        op_check(&c);
    }
}
END_TEST

/* Among equals the first wins, NaN always; rows of several pieces. */
START_TEST(test_max_pool_ties)
{
    const kdi_kernels *k;
    const kdi_pooling_span row = {0, 2, 2}, columns[] = {{0, 2, 2}, {2, 4, 2}};
    for (int t = 0; (k = kdi_kernels_at(t)); t++)
        for (int wide = 0; wide < 2; wide++) {
            enum { C = 19 };
            float x[2 * 4 * C], y[2 * C];
            int32_t index[2 * C];
            for (size_t i = 0; i < 2 * 4 * C; i++) x[i] = -INFINITY;
            for (size_t c = 0; c < C; c++) {
                x[2 * C + c] = 3;       /* row 0, column 2 */
                x[(4 + 3) * C + c] = 3; /* row 1, column 3 */
                if (c == 5) x[(4 + 2) * C + c] = NAN;
            }
            k->max_pool(2, C, &row, columns, x, 4 * C, y, index, wide);
            for (size_t c = 0; c < C; c++) {
                const int32_t first = wide ? index[c] : ((uint8_t *)index)[c];
                const int32_t second = wide ? index[C + c] : ((uint8_t *)index)[C + c];
                ck_assert(isinf(y[c]));
                ck_assert_int_eq(first, 0);
                ck_assert_int_eq(second, c == 5 ? 2 : 0);
                ck_assert(c == 5 ? isnan(y[C + c]) : y[C + c] == 3);
            }
        }
}
END_TEST

START_TEST(test_pool_errors)
{
    static const struct {
        kd_pool_opt opt;
        kd_status status;
        const char *says;
    } cases[] = {
        {{SIZE, .kernel = {5}}, KD_E_SHAPE, "[N,4,6,3] is smaller than the kernel 5x5"},
        {{SIZE, .kernel = {0}}, KD_E_INVALID, "a size of 0"},
        {{SIZE, .kernel = {-1}}, KD_E_INVALID, "a size of -1"},
        {{SIZE, .kernel = {3}, .stride = {-2}}, KD_E_INVALID, "stride -2"},
        {{SIZE, .kernel = {3}, .pad = {2, 2}}, KD_E_INVALID, "padding 2"},
        {{.struct_size = 0}, KD_E_INVALID, "a size of 0"},
    };
    const int64_t dim[] = {KD_BATCH, 4, 6, 3};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int average = 0; average < 2; average++) {
            kd_graph *g;
            test_ok(ctx, kd_graph_create(ctx, &g));
            const kd_value x = kd_input(g, "x", KD_F32, 4, dim);
            kd_pool_opt opt = cases[i].opt;
            opt.struct_size = sizeof opt;
            const kd_value y = (average ? kd_avg_pool : kd_max_pool)(g, x, &opt);
            ck_assert_int_eq(y, KD_NONE);
            ck_assert_int_eq(kd_graph_status(g), cases[i].status);
            ck_assert_msg(strstr(kd_ctx_error(ctx), cases[i].says) != NULL, "%s",
                          kd_ctx_error(ctx));
            kd_graph_destroy(g);
        }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(pool, 120, &test_pools, &test_max_pool_ties, &test_pool_errors)
