/* SPDX-License-Identifier: MIT
 * test_tokens.c: ops on tokens and maps of them: layer norm, prepended tokens, position embeddings,
 * tokens taken, drop path, Swin's windows with their mask, and patch merging. */
#include "harness.h"

#include "../../lib/base/philox.h"
#include "../../lib/kernel/kernels.h"
#include "../../lib/op/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- layer norm ------------------------------------------------------------------------------ */

static kd_value build_norm(kd_graph *g, const kd_value *in, const void *attr)
{
    return kd_layer_norm(g, in[0], "norm", *(const float *)attr);
}

static void oracle_norm(const op_oracle *o)
{
    const float *attr = o->attr;
    const op_array *x = &o->in[0];
    const size_t c = x->dim[x->rank - 1];
    const double eps = *attr > 0 ? (double)*attr : 1e-5;
    const double *weight = op_find(o, "weight")->data, *bias = op_find(o, "bias")->data;
    for (size_t i = 0; i < x->count; i += c) {
        double mean = 0, var = 0;
        for (size_t j = 0; j < c; j++) mean += x->data[i + j] / (double)c;
        for (size_t j = 0; j < c; j++)
            var += (x->data[i + j] - mean) * (x->data[i + j] - mean) / (double)c;
        for (size_t j = 0; j < c; j++)
            o->y.data[i + j] = (x->data[i + j] - mean) / sqrt(var + eps) * weight[j] + bias[j];
    }
}

static void fill_far(const op_case *c, int i, const char *name, float *x, size_t n)
{
    op_fill(c, i, name, x, n);
    for (size_t k = 0; k < n && !*name; k++) x[k] += 100;
}

START_TEST(test_layer_norm)
{
    static const float usual = 0, small = 1e-6f;
    const op_case cases[] = {
        {.name = "layer_norm [N,5,20]", .batch = 3, .in = {{3, {KD_BATCH, 5, 20}}}, .attr = &usual},
        {.name = "layer_norm [N,7]", .batch = 6, .in = {{2, {KD_BATCH, 7}}}, .attr = &small},
        {.name = "layer_norm [N,3,3,96]",
         .batch = 2,
         .in = {{4, {KD_BATCH, 3, 3, 96}}},
         .attr = &small},
        {.name = "layer_norm [N,2]", .batch = 3, .in = {{2, {KD_BATCH, 2}}}, .attr = &usual},
        {.name = "layer_norm [N,65,384], several blocks",
         .batch = 2,
         .in = {{3, {KD_BATCH, 65, 384}}},
         .attr = &small},
        {.name = "layer_norm [N,9,3000], rows longer than a block's",
         .batch = 1,
         .in = {{3, {KD_BATCH, 9, 3000}}},
         .attr = &small},
        {.name = "layer_norm, far from zero",
         .batch = 4,
         .in = {{3, {KD_BATCH, 6, 33}}},
         .attr = &usual,
         .fill = fill_far,
         .tol = 2e-5,
         .grad_tol = 2e-4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = cases[i];
        c.n_in = 1;
        c.build = build_norm;
        c.oracle = oracle_norm;
        op_check(&c);
    }
}
END_TEST

enum { NORM_ROWS = 6, NORM_C = 150 };

typedef struct norm_block {
    size_t rows, c;
    int add, bits; /* bits: 1 for dx, 2 for the sums */
    float x[NORM_ROWS * NORM_C], dy[NORM_ROWS * NORM_C], weight[NORM_C], bias[NORM_C];
} norm_block;

/* The largest error of a block, forward and backward, against plain loops. */
static double norm_error(const kdi_kernels *k, const norm_block *b)
{
    const size_t c = b->c, n = b->rows * c;
    float y[NORM_ROWS * NORM_C + 1], dx[NORM_ROWS * NORM_C + 1], stats[2 * NORM_ROWS + 1];
    float dweight[NORM_C + 1], dbias[NORM_C + 1];
    double sums[2][NORM_C] = {{0}}, worst = 0;
    memcpy(dx, b->dy, n * sizeof *dx); /* in place: dx is dy, unless it is added to */
    y[n] = dx[n] = stats[2 * b->rows] = dweight[c] = dbias[c] = 9;
    k->layer_norm(b->rows, c, b->x, b->weight, b->bias, .01f, y, stats);
    k->layer_norm_backward(b->rows, c, b->x, stats, b->weight, b->add ? b->dy : dx,
                           b->bits & 1 ? dx : NULL, b->add, b->bits & 2 ? dweight : NULL,
                           b->bits & 2 ? dbias : NULL);
    for (size_t r = 0; r < b->rows; r++) {
        const float *x = b->x + r * c, *dy = b->dy + r * c;
        double mean = 0, var = 0, g = 0, gu = 0;
        for (size_t j = 0; j < c; j++) mean += (double)x[j] / (double)c;
        for (size_t j = 0; j < c; j++) var += pow((double)x[j] - mean, 2) / (double)c;
        const double inverse = 1 / sqrt(var + (double).01f);
        for (size_t j = 0; j < c; j++) {
            const double u = ((double)x[j] - mean) * inverse, d = (double)dy[j];
            const double want = u * (double)b->weight[j] + (double)b->bias[j];
            worst = fmax(worst, fabs((double)y[r * c + j] - want));
            g += d * (double)b->weight[j] / (double)c;
            gu += d * (double)b->weight[j] * u / (double)c;
            sums[0][j] += d * u;
            sums[1][j] += d;
        }
        for (size_t j = 0; j < c && b->bits & 1; j++) {
            const double u = ((double)x[j] - mean) * inverse;
            double want = inverse * ((double)dy[j] * (double)b->weight[j] - g - u * gu);
            if (b->add) want += (double)dy[j];
            worst = fmax(worst, fabs((double)dx[r * c + j] - want) / fmax(1, inverse));
        }
    }
    for (size_t j = 0; j < c && b->bits & 2; j++) {
        worst = fmax(worst, fabs((double)dweight[j] - sums[0][j]) / 4);
        worst = fmax(worst, fabs((double)dbias[j] - sums[1][j]) / 4);
    }
    const bool inside =
        y[n] == 9 && dx[n] == 9 && stats[2 * b->rows] == 9 && dweight[c] == 9 && dbias[c] == 9;
    return inside ? worst : INFINITY;
}

START_TEST(test_layer_norm_kernels)
{
    const kdi_kernels *k;
    static norm_block b;
    test_fill(b.x, NORM_ROWS * NORM_C, 1, 2);
    test_fill(b.dy, NORM_ROWS * NORM_C, 2, 1);
    test_fill(b.weight, NORM_C, 3, 1);
    test_fill(b.bias, NORM_C, 4, 1);
    for (int t = 0; (k = kdi_kernels_at(t)); t++)
        for (b.c = 1; b.c <= NORM_C; b.c++)
            for (b.rows = 1; b.rows <= NORM_ROWS; b.rows++)
                for (int way = 0; way < 6; way++) {
                    b.add = way & 1;
                    b.bits = 1 + way / 2;
                    const double error = norm_error(k, &b);
                    ck_assert_msg(error < 4e-6, "%s: %zu rows of %zu, case %d: error %g", k->name,
                                  b.rows, b.c, way, error);
                }
}
END_TEST

/* ---- tokens ---------------------------------------------------------------------------------- */

static kd_value build_prepend(kd_graph *g, const kd_value *in, const void *attr)
{
    return kd_prepend_tokens(g, in[0], in + 1, *(const int *)attr);
}

static void oracle_prepend(const op_oracle *o)
{
    const size_t count = (size_t) * (const int *)o->attr, t = o->y.dim[1], c = o->y.dim[2];
    for (size_t i = 0; i < o->y.count; i++) {
        const size_t n = i / c / t, row = i / c % t;
        o->y.data[i] = row < count ? o->in[1 + row].data[i % c]
                                   : o->in[0].data[(n * (t - count) + row - count) * c + i % c];
    }
}

static kd_value build_add(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_add_broadcast(g, in[0], in[1]);
}

static void oracle_add(const op_oracle *o)
{
    for (size_t i = 0; i < o->y.count; i++)
        o->y.data[i] = o->in[0].data[i] + o->in[1].data[i % o->in[1].count];
}

static kd_value build_take(kd_graph *g, const kd_value *in, const void *attr)
{
    const int *a = attr;
    return a[1] ? kd_select_tokens(g, in[0], a[0], a[1]) : kd_select_token(g, in[0], a[0]);
}

static void oracle_take(const op_oracle *o)
{
    const int *a = o->attr;
    const size_t t = o->in[0].dim[1], c = o->in[0].dim[2], count = a[1] ? (size_t)a[1] : 1;
    for (size_t i = 0; i < o->y.count; i++) {
        const size_t n = i / c / count, row = i / c % count + (size_t)a[0];
        o->y.data[i] = o->in[0].data[(n * t + row) * c + i % c];
    }
}

START_TEST(test_tokens)
{
    static const int one = 1, two = 2, last[] = {4, 0}, some[] = {1, 3}, all[] = {0, 5};
    const op_input x = {3, {KD_BATCH, 5, 7}}, token = {3, {1, 1, 7}};
    const op_case cases[] = {
        {"prepend a token", 4, 2, {x, token}, &one, build_prepend, oracle_prepend},
        {"prepend two tokens", 3, 3, {x, token, {1, {7}}}, &two, build_prepend, oracle_prepend},
        {"prepend to [N,300,40]",
         3,
         2,
         {{3, {KD_BATCH, 300, 40}}, {2, {1, 40}}},
         &one,
         build_prepend,
         oracle_prepend},
        {"position embedding", 4, 2, {x, {3, {1, 5, 7}}}, NULL, build_add, oracle_add},
        {"position embedding [N,150,40]",
         5,
         2,
         {{3, {KD_BATCH, 150, 40}}, {3, {1, 150, 40}}},
         NULL,
         build_add,
         oracle_add},
        {"take the last token", 4, 1, {x}, last, build_take, oracle_take},
        {"take three tokens", 4, 1, {x}, some, build_take, oracle_take},
        {"take all tokens", 3, 1, {x}, all, build_take, oracle_take},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) op_check(&cases[i]);
}
END_TEST

/* ---- drop path ------------------------------------------------------------------------------- */

typedef struct drop_attr {
    float rate; /* the op's attributes, as in lib/op/drop_path.c */
} drop_attr;

static kd_value build_drop(kd_graph *g, const kd_value *in, const void *attr)
{
    return kd_drop_path(g, in[0], *(const float *)attr);
}

/* The harness runs with seed 3 and step 5, and the op is node 1, behind a copy. */
static void oracle_drop(const op_oracle *o)
{
    const float rate = *(const float *)o->attr;
    const size_t sample = o->y.count / o->y.dim[0];
    for (size_t i = 0; i < o->y.count; i++) {
        const size_t n = i / sample;
        const kdi_u32x4 r = kdi_philox(3, (uint32_t)(n / 4), 5, 1, KDI_RNG_DROP_PATH);
        const bool keep = kdi_u32_to_unit(r.v[n % 4]) >= rate;
        o->y.data[i] = !o->training ? o->in[0].data[i]
                       : keep       ? o->in[0].data[i] / (1 - (double)rate)
                                    : 0;
    }
}

START_TEST(test_drop_path)
{
    static const float rates[] = {0, .1f, .5f, .9f};
    for (size_t i = 0; i < 4; i++) {
        op_check(&(op_case){.name = "drop_path [N,5,7]",
                            .batch = 11,
                            .n_in = 1,
                            .in = {{3, {KD_BATCH, 5, 7}}},
                            .attr = &rates[i],
                            .build = build_drop,
                            .oracle = oracle_drop,
                            .tol = 1e-6});
        op_check(&(op_case){.name = "drop_path [N,20,1000], several pieces",
                            .batch = 7,
                            .n_in = 1,
                            .in = {{3, {KD_BATCH, 20, 1000}}},
                            .attr = &rates[i],
                            .build = build_drop,
                            .oracle = oracle_drop,
                            .tol = 1e-6});
    }
}
END_TEST

/* As many samples as there should be, others with another seed, step or op; what is dropped may
 * be infinite. */
START_TEST(test_drop_path_keys)
{
    enum { N = 4000 };
    static float x[N], y[4][N];
    kd_ctx *ctx = test_ctx(2, NULL);
    const drop_attr attr = {.25f};
    for (int i = 0; i < N; i++) x[i] = 1;
    for (int i = 0; i < 4; i++) {
        const kd_tensor in = {x, KD_F32, 2, {N, 1}, N}, out = {y[i], KD_F32, 2, {N, 1}, N};
        const kd_op_call c = {.ctx = ctx,
                              .attr = &attr,
                              .n_in = 1,
                              .n_out = 1,
                              .in = &in,
                              .out = &out,
                              .training = 1,
                              .seed = i == 1 ? 8 : 7,
                              .step = i == 2 ? 6 : 5,
                              .id = i == 3 ? 4 : 3,
                              .kernels = kdi_kernels_select(NULL)};
        test_ok(ctx, kdi_op_drop_path.forward(&c));
        int kept = 0, same = 0;
        for (int k = 0; k < N; k++) {
            ck_assert(y[i][k] == 0 || y[i][k] == 1 / .75f);
            kept += y[i][k] != 0;
            same += (y[i][k] != 0) == (y[0][k] != 0);
        }
        ck_assert_int_le(abs(kept - N * 3 / 4), 150);
        ck_assert(i == 0 || same < N * 7 / 10);
    }
    for (int i = 0; i < N; i++) x[i] = INFINITY;
    const kd_tensor in = {x, KD_F32, 2, {N, 1}, N}, out = {y[1], KD_F32, 2, {N, 1}, N};
    const kd_op_call c = {.ctx = ctx,
                          .attr = &attr,
                          .n_in = 1,
                          .n_out = 1,
                          .in = &in,
                          .out = &out,
                          .training = 1,
                          .seed = 7,
                          .step = 5,
                          .id = 3,
                          .kernels = kdi_kernels_select(NULL)};
    test_ok(ctx, kdi_op_drop_path.forward(&c));
    for (int k = 0; k < N; k++) ck_assert(y[1][k] == (y[0][k] != 0 ? INFINITY : 0));
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- windows --------------------------------------------------------------------------------- */

typedef struct windows {
    int map[2], window[2], shift[2];
} windows;

static kd_value build_partition(kd_graph *g, const kd_value *in, const void *attr)
{
    const windows *a = attr;
    return kd_window_partition(g, in[0], a->window, a->shift);
}

static kd_value build_reverse(kd_graph *g, const kd_value *in, const void *attr)
{
    const windows *a = attr;
    return kd_window_reverse(g, in[0], a->map, a->window, a->shift);
}

static kd_value build_round(kd_graph *g, const kd_value *in, const void *attr)
{
    const kd_value y = build_partition(g, in, attr);
    return build_reverse(g, &y, attr);
}

/* Where pixel (y, x) of image n lies among the windows' rows: rolled, then cut. */
static size_t window_row(const windows *a, size_t n, size_t y, size_t x)
{
    const size_t h = (size_t)a->map[0], w = (size_t)a->map[1];
    const size_t wh = (size_t)a->window[0], ww = (size_t)a->window[1];
    const size_t down = (h + wh - 1) / wh, across = (w + ww - 1) / ww;
    const size_t i = (y + h - (size_t)a->shift[0]) % h, j = (x + w - (size_t)a->shift[1]) % w;
    const size_t window = (n * down + i / wh) * across + j / ww;
    return window * wh * ww + i % wh * ww + j % ww;
}

static void oracle_windows(const op_oracle *o, bool reverse)
{
    const windows *a = o->attr;
    const size_t h = (size_t)a->map[0], w = (size_t)a->map[1];
    const op_array *map = reverse ? &o->y : &o->in[0];
    const size_t c = map->dim[3];
    memset(o->y.data, 0, o->y.count * sizeof(double));
    for (size_t i = 0; i < map->count; i++) {
        const size_t pixel = i / c % (h * w), n = i / c / (h * w);
        const size_t at = window_row(a, n, pixel / w, pixel % w) * c + i % c;
        o->y.data[reverse ? i : at] = o->in[0].data[reverse ? at : i];
    }
}

static void oracle_partition(const op_oracle *o)
{
    oracle_windows(o, false);
}

static void oracle_reverse(const op_oracle *o)
{
    oracle_windows(o, true);
}

static void oracle_same(const op_oracle *o)
{
    memcpy(o->y.data, o->in[0].data, o->y.count * sizeof(double));
}

START_TEST(test_windows)
{
    static const windows all[] = {
        {{4, 4}, {2, 2}, {0, 0}}, {{4, 4}, {2, 2}, {1, 1}}, {{6, 4}, {3, 2}, {1, 1}},
        {{5, 7}, {3, 3}, {1, 1}}, {{5, 3}, {2, 4}, {1, 2}}, {{3, 3}, {3, 3}, {0, 0}},
        {{2, 3}, {4, 4}, {0, 0}}, {{7, 7}, {2, 3}, {0, 2}}, {{1, 1}, {1, 1}, {0, 0}},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const windows *a = &all[i];
        const int64_t count = (int64_t)((a->map[0] + a->window[0] - 1) / a->window[0]) *
                              ((a->map[1] + a->window[1] - 1) / a->window[1]);
        const op_input map = {4, {KD_BATCH, a->map[0], a->map[1], 5}};
        const op_input cut = {3, {-count, a->window[0] * a->window[1], 5}};
        op_check(&(op_case){"partition", 2, 1, {map}, a, build_partition, oracle_partition});
        op_check(&(op_case){"reverse", 2, 1, {cut}, a, build_reverse, oracle_reverse});
        op_check(&(op_case){"there and back", 2, 1, {map}, a, build_round, oracle_same});
    }
    static const windows large = {{56, 56}, {7, 7}, {3, 3}};
    op_check(&(op_case){.name = "partition, several pieces",
                        .batch = 1,
                        .n_in = 1,
                        .in = {{4, {KD_BATCH, 56, 56, 12}}},
                        .attr = &large,
                        .build = build_partition,
                        .oracle = oracle_partition});
}
END_TEST

/* The mask by its definition: a picture painted with nine zones, by slices as Python has them. */
static int slice_end(int at, int size)
{
    return at < 0 ? at + size : at;
}

static void paint(const windows *a, int h, int w, int *zones)
{
    int zone = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++, zone++) {
            const int rows[] = {0, -a->window[0], -a->shift[0], h};
            const int columns[] = {0, -a->window[1], -a->shift[1], w};
            for (int y = slice_end(rows[i], h); y < slice_end(rows[i + 1], h); y++)
                for (int x = slice_end(columns[j], w); x < slice_end(columns[j + 1], w); x++)
                    zones[y * w + x] = zone;
        }
}

static void check_mask(kd_ctx *ctx, const windows *a)
{
    enum { MOST = 40 };
    const int down = (a->map[0] + a->window[0] - 1) / a->window[0];
    const int across = (a->map[1] + a->window[1] - 1) / a->window[1];
    const int h = down * a->window[0], w = across * a->window[1], t = a->window[0] * a->window[1];
    int zones[MOST * MOST];
    const kd_tensor y = {.data = malloc((size_t)(down * across * t * t) * sizeof(float)),
                         .rank = 3,
                         .dim = {(size_t)(down * across), (size_t)t, (size_t)t},
                         .count = (size_t)(down * across * t * t)};
    const kd_op_call c = {
        .ctx = ctx, .attr = a, .n_out = 1, .out = &y, .kernels = kdi_kernels_select(NULL)};
    ck_assert(y.data && h <= MOST && w <= MOST);
    test_ok(ctx, kdi_op_window_mask.forward(&c));
    paint(a, h, w, zones);
    const float *got = y.data;
    for (int n = 0; n < down * across; n++)
        for (int i = 0; i < t; i++)
            for (int j = 0; j < t; j++, got++) {
                const int *corner =
                    zones + n / across * a->window[0] * w + n % across * a->window[1];
                const int zi = corner[i / a->window[1] * w + i % a->window[1]];
                const int zj = corner[j / a->window[1] * w + j % a->window[1]];
                ck_assert_msg(*got == (zi == zj ? 0 : -100), "mask %dx%d: window %d, pair %d, %d",
                              a->map[0], a->map[1], n, i, j);
            }
    free(y.data);
}

START_TEST(test_window_mask)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    for (int h = 1; h < 12; h += 2)
        for (int w = 1; w < 12; w += 3)
            for (int window = 2; window < 6; window++)
                for (int shift = 1; shift < window; shift++) {
                    const windows a = {{h, w}, {window, window + 1}, {shift, shift}};
                    check_mask(ctx, &a);
                }
    check_mask(ctx, &(windows){{6, 6}, {3, 3}, {0, 1}});
    check_mask(ctx, &(windows){{6, 6}, {3, 2}, {1, 0}});
    check_mask(ctx, &(windows){{28, 28}, {7, 7}, {3, 3}});
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- patch merging --------------------------------------------------------------------------- */

static kd_value build_merge(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_patch_merge(g, in[0]);
}

static void oracle_merge(const op_oracle *o)
{
    const op_array *x = &o->in[0];
    const size_t h = x->dim[1], w = x->dim[2], c = x->dim[3], oh = (h + 1) / 2, ow = (w + 1) / 2;
    for (size_t i = 0; i < o->y.count; i++) {
        const size_t q = i / c % 4, p = i / c / 4 % (oh * ow), n = i / c / 4 / (oh * ow);
        const size_t row = p / ow * 2 + q % 2, column = p % ow * 2 + q / 2;
        o->y.data[i] =
            row < h && column < w ? x->data[((n * h + row) * w + column) * c + i % c] : 0;
    }
}

START_TEST(test_patch_merge)
{
    const op_case cases[] = {
        {.name = "patch_merge [N,4,6,5]", .batch = 2, .in = {{4, {KD_BATCH, 4, 6, 5}}}},
        {.name = "patch_merge [N,5,3,4]", .batch = 2, .in = {{4, {KD_BATCH, 5, 3, 4}}}},
        {.name = "patch_merge [N,1,1,3]", .batch = 3, .in = {{4, {KD_BATCH, 1, 1, 3}}}},
        {.name = "patch_merge [N,29,28,20]", .batch = 2, .in = {{4, {KD_BATCH, 29, 28, 20}}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = cases[i];
        c.n_in = 1;
        c.build = build_merge;
        c.oracle = oracle_merge;
        op_check(&c);
    }
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static kd_graph *fresh(kd_ctx *ctx, kd_value *x, kd_value *map)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, 4, 6}, four[] = {KD_BATCH, 6, 5, 3};
    test_ok(ctx, kd_graph_create(ctx, &g));
    *x = kd_input(g, "x", KD_F32, 3, dim);
    *map = kd_input(g, "map", KD_F32, 4, four);
    kd_graph_scope(g, "block");
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

#define REFUSED(words, call)                                                                       \
    do {                                                                                           \
        kd_graph *g = fresh(ctx, &x, &map);                                                        \
        refused(g, call, words);                                                                   \
    } while (0)

START_TEST(test_refusals)
{
    static const int two[] = {2, 2}, none[] = {0, 0}, zero[] = {0, 2}, six[] = {6, 5};
    static const int one[] = {1, 1}, huge[] = {2147483647, 2147483647};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_value x, map;
    REFUSED("layer_norm 'block.n': eps -1", kd_layer_norm(g, x, "n", -1));
    REFUSED("layer_norm 'block.n': eps inf", kd_layer_norm(g, x, "n", INFINITY));
    REFUSED("prepend 'block': input [N,4,6], token [N,4,6]", kd_prepend_tokens(g, x, &x, 1));
    REFUSED("prepend 'block': input [N,6,5,3] is not tokens", kd_prepend_tokens(g, map, &x, 1));
    REFUSED("prepend 'block': 1 inputs", kd_prepend_tokens(g, x, NULL, 0));
    REFUSED("[N,6,5,3] cannot be added to each of [N,4,6]", kd_add_broadcast(g, x, map));
    REFUSED("select_tokens 'block': input [N,4,6] has no 1 tokens from 4 on",
            kd_select_token(g, x, 4));
    REFUSED("has no 2 tokens from -1 on", kd_select_tokens(g, x, -1, 2));
    REFUSED("has no 5 tokens from 0 on", kd_select_tokens(g, x, 0, 5));
    REFUSED("drop_path 'block': rate 1 is not", kd_drop_path(g, x, 1));
    REFUSED("input [N,4,6] is no map", kd_window_partition(g, x, two, none));
    REFUSED("windows of 0x2 on a map of 6x5", kd_window_partition(g, map, zero, none));
    REFUSED("a shift of 2,2 with windows of 2x2", kd_window_partition(g, map, two, two));
    REFUSED("is too large", kd_window_partition(g, map, huge, one));
    REFUSED("input [N,4,6], but a map of 6x5 has 9 windows of 2x2",
            kd_window_reverse(g, x, six, two, none));
    REFUSED("window_mask 'block': a shift of 2,2", kd_window_mask(g, six, two, two));
    REFUSED("window_mask 'block': a shift of 1,1", kd_window_mask(g, huge, two, one));
    REFUSED("patch_merge 'block': input [N,4,6] is no map", kd_patch_merge(g, x));
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(tokens, 120, &test_layer_norm, &test_layer_norm_kernels, &test_tokens, &test_drop_path,
           &test_drop_path_keys, &test_windows, &test_window_mask, &test_patch_merge,
           &test_refusals)
