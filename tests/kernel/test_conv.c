/* SPDX-License-Identifier: MIT
 * test_conv.c: convolutions against a naive one in double precision, forward and all gradients:
 * kernels, strides, paddings, dilations, groups, every algorithm that can, every kernel table,
 * every number of threads. Arrays and scratch are heap blocks of exactly the size they may have. */
#include "../test.h"

#include "../../lib/base/philox.h"
#include "../../lib/kernel/conv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *array(size_t n, uint64_t seed)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    test_fill(x, n, seed, 1);
    return x;
}

static void *scratch_of(size_t bytes)
{
    void *s = NULL;
    ck_assert_uint_ne(bytes, SIZE_MAX);
    ck_assert_int_eq(posix_memalign(&s, 64, bytes ? bytes : 64), 0);
    memset(s, 0xff, bytes);
    return s;
}

static double *zeros(size_t n)
{
    double *x = calloc(n ? n : 1, sizeof *x);
    ck_assert_ptr_nonnull(x);
    return x;
}

/* What a convolution is: all sums, and with them the sums of absolute values, which the tolerance
 * is measured by. */
typedef struct oracle {
    double *y, *dx, *dw, *db, *y_size, *dx_size, *dw_size, *db_size;
} oracle;

static void naive(const kdi_conv *v, const float *x, const float *w, const float *dy, oracle *r)
{
    const size_t c = v->c / v->groups, o = v->o / v->groups;
    for (size_t n = 0; n < v->n; n++)
        for (size_t p = 0; p < v->oh; p++)
            for (size_t q = 0; q < v->ow; q++)
                for (size_t k = 0; k < v->o; k++) {
                    const size_t to = ((n * v->oh + p) * v->ow + q) * v->o + k;
                    const double d = (double)dy[to];
                    r->db[k] += d;
                    r->db_size[k] += fabs(d);
                    for (size_t i = 0; i < v->kh; i++)
                        for (size_t j = 0; j < v->kw; j++)
                            for (size_t e = 0; e < c; e++) {
                                const size_t row = p * v->sh + i * v->dh;
                                const size_t column = q * v->sw + j * v->dw;
                                if (row < v->ph || row - v->ph >= v->h || column < v->pw ||
                                    column - v->pw >= v->w)
                                    continue;
                                const size_t from =
                                    ((n * v->h + row - v->ph) * v->w + column - v->pw) * v->c +
                                    k / o * c + e;
                                const size_t at = ((k * v->kh + i) * v->kw + j) * c + e;
                                const double a = (double)x[from], b = (double)w[at];
                                r->y[to] += a * b;
                                r->y_size[to] += fabs(a * b);
                                r->dx[from] += d * b;
                                r->dx_size[from] += fabs(d * b);
                                r->dw[at] += d * a;
                                r->dw_size[at] += fabs(d * a);
                            }
                }
}

typedef struct sizes {
    size_t x, w, y;
} sizes;

static sizes sizes_of(const kdi_conv *v)
{
    return (sizes){v->n * v->h * v->w * v->c, v->o * v->kh * v->kw * (v->c / v->groups),
                   v->n * v->oh * v->ow * v->o};
}

static oracle oracle_of(const kdi_conv *v, const float *x, const float *w, const float *dy)
{
    const sizes s = sizes_of(v);
    oracle r = {zeros(s.y), zeros(s.x), zeros(s.w), zeros(v->o),
                zeros(s.y), zeros(s.x), zeros(s.w), zeros(v->o)};
    naive(v, x, w, dy, &r);
    return r;
}

static void drop(oracle *r)
{
    double *all[] = {r->y, r->dx, r->dw, r->db, r->y_size, r->dx_size, r->dw_size, r->db_size};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static const char *describe(const kdi_conv *v, const char *isa, kdi_conv_algo algo)
{
    static char text[300];
    snprintf(text, sizeof text,
             "%s %s: x[%zu,%zu,%zu,%zu] w[%zu,%zu,%zu] stride %zu,%zu pad %zu,%zu dilation %zu,%zu "
             "groups %zu",
             isa, kdi_conv_algo_name(algo), v->n, v->h, v->w, v->c, v->o, v->kh, v->kw, v->sh,
             v->sw, v->ph, v->pw, v->dh, v->dw, v->groups);
    return text;
}

static void compare(const char *what, const char *shape, const float *got, const float *before,
                    const double *want, const double *size, size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++) {
        const double w = want[i] + (before ? (double)before[i] : 0);
        ck_assert_msg(fabs((double)got[i] - w) <= tolerance * (size[i] + 2),
                      "%s: %s[%zu] is %g, not %g", shape, what, i, (double)got[i], w);
    }
}

/* Results of one algorithm, in one block: y, y from prepared weights, dx, dw, db. */
static float *results(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                      const float *w, const float *dy, const kdi_epilogue *e, const float *before,
                      bool accumulate)
{
    const sizes s = sizes_of(v);
    float *all = malloc((2 * s.y + s.x + s.w + v->o) * sizeof *all);
    float *dx = all + 2 * s.y, *dw = dx + s.x;
    memcpy(dx, before, (s.x + s.w + v->o) * sizeof *dx);
    void *scratch = scratch_of(kdi_conv_scratch(ctx, v, algo, KDI_CONV_FORWARD));
    kdi_conv_forward(ctx, v, algo, x, w, NULL, e, all, scratch);
    free(scratch);

    void *prepared = scratch_of(kdi_conv_prepared_size(ctx, v, algo));
    scratch = scratch_of(kdi_conv_scratch(ctx, v, algo, KDI_CONV_PREPARE));
    kdi_conv_prepare(ctx, v, algo, w, prepared, scratch);
    free(scratch);
    scratch = scratch_of(kdi_conv_scratch(ctx, v, algo, KDI_CONV_FORWARD_PREPARED));
    kdi_conv_forward(ctx, v, algo, x, NULL, prepared, e, all + s.y, scratch);
    free(scratch);
    free(prepared);

    scratch = scratch_of(kdi_conv_scratch(ctx, v, algo, KDI_CONV_BACKWARD));
    kdi_conv_backward(ctx, v, algo, x, w, dy, dx, dw, dw + s.w, accumulate, accumulate, scratch);
    free(scratch);
    return all;
}

static double tolerance_of(kdi_conv_algo algo)
{
    return algo == KDI_CONV_WINOGRAD ? 2e-5 : 1e-6;
}

/* Every algorithm that can, on every table, with 1 thread against the oracle and with others for
 * the same bits. */
static void check_shape(const kdi_conv *v, uint64_t seed, bool accumulate, int most_threads)
{
    const kdi_kernels *k;
    const sizes s = sizes_of(v);
    float *x = array(s.x, seed), *w = array(s.w, seed + 1), *dy = array(s.y, seed + 2);
    float *bias = array(v->o, seed + 3), *residual = array(s.y, seed + 4);
    float *before = array(s.x + s.w + v->o, seed + 5), *y = array(s.y, 0);
    const kdi_epilogue e = {.bias = bias,
                            .residual = residual,
                            .ldr = v->o,
                            .act = seed % 2 ? KDI_ACT_RELU : KDI_ACT_NONE};
    const kdi_epilogue *use = seed % 3 ? &e : NULL;
    oracle r = oracle_of(v, x, w, dy);
    for (size_t i = 0; i < s.y && use; i++) {
        r.y[i] += (double)bias[i % v->o] + (double)residual[i];
        if (e.act == KDI_ACT_RELU && r.y[i] < 0) r.y[i] = 0;
    }
    for (int i = 0; (k = kdi_kernels_at(i)); i++)
        for (kdi_conv_algo algo = KDI_CONV_GEMM; algo < KDI_CONV_ALGOS; algo++) {
            if (!kdi_conv_can(v, algo)) continue;
            float *first = NULL;
            for (int threads = 1; threads <= most_threads; threads += threads < 3 ? 1 : 4) {
                kd_ctx *ctx = test_ctx(threads, k->name);
                float *got = results(ctx, v, algo, x, w, dy, use, before, accumulate);
                kd_ctx_destroy(ctx);
                if (first) {
                    ck_assert_mem_eq(got, first, (2 * s.y + s.x + s.w + v->o) * sizeof *got);
                    free(got);
                    continue;
                }
                first = got;
                const char *shape = describe(v, k->name, algo);
                const double t = tolerance_of(algo);
                float *dx = got + 2 * s.y, *dw = dx + s.x;
                compare("y", shape, got, NULL, r.y, r.y_size, s.y, t);
                compare("prepared y", shape, got + s.y, NULL, r.y, r.y_size, s.y, t);
                compare("dx", shape, dx, accumulate ? before : NULL, r.dx, r.dx_size, s.x, t);
                compare("dw", shape, dw, accumulate ? before + s.x : NULL, r.dw, r.dw_size, s.w, t);
                compare("db", shape, dw + s.w, accumulate ? before + s.x + s.w : NULL, r.db,
                        r.db_size, v->o, t);
            }
            free(first);
        }
    drop(&r);
    free(x);
    free(w);
    free(dy);
    free(bias);
    free(residual);
    free(before);
    free(y);
}

static bool output_map(kdi_conv *v)
{
    const size_t kh = v->dh * (v->kh - 1) + 1, kw = v->dw * (v->kw - 1) + 1;
    if (v->h + 2 * v->ph < kh || v->w + 2 * v->pw < kw) return false;
    v->oh = (v->h + 2 * v->ph - kh) / v->sh + 1;
    v->ow = (v->w + 2 * v->pw - kw) / v->sw + 1;
    return true;
}

START_TEST(test_random_shapes)
{
    kdi_rng r = kdi_rng_make(3, KDI_RNG_TEST, 0, 0);
    for (uint64_t t = 0; t < 60;) {
        const size_t groups = kdi_rng_below(&r, 4) ? 1 : 1 + kdi_rng_below(&r, 3);
        kdi_conv v = {.n = 1 + kdi_rng_below(&r, 3),
                      .h = 1 + kdi_rng_below(&r, 11),
                      .w = 1 + kdi_rng_below(&r, 11),
                      .c = groups * (1 + kdi_rng_below(&r, 20)),
                      .o = groups * (1 + kdi_rng_below(&r, 20)),
                      .kh = 1 + kdi_rng_below(&r, 5),
                      .kw = 1 + kdi_rng_below(&r, 5),
                      .sh = 1 + kdi_rng_below(&r, 3),
                      .sw = 1 + kdi_rng_below(&r, 3),
                      .ph = kdi_rng_below(&r, 3),
                      .pw = kdi_rng_below(&r, 3),
                      .dh = 1 + kdi_rng_below(&r, 2),
                      .dw = 1 + kdi_rng_below(&r, 2),
                      .groups = groups};
        if (!output_map(&v)) continue;
        check_shape(&v, t, t & 1, 2);
        t++;
    }
}
END_TEST

/* A few images of a few pixels, so many channels that each point of the kernel is a step. */
START_TEST(test_random_few_pixels)
{
    kdi_rng r = kdi_rng_make(4, KDI_RNG_TEST, 0, 0);
    for (uint64_t t = 0; t < 40;) {
        kdi_conv v = {.n = 1 + kdi_rng_below(&r, 5),
                      .h = 1 + kdi_rng_below(&r, 6),
                      .w = 1 + kdi_rng_below(&r, 6),
                      .c = 257 + kdi_rng_below(&r, 60),
                      .o = 1 + kdi_rng_below(&r, 70),
                      .kh = 1 + kdi_rng_below(&r, 4),
                      .kw = 1 + kdi_rng_below(&r, 4),
                      .sh = 1 + kdi_rng_below(&r, 3) / 2,
                      .sw = 1 + kdi_rng_below(&r, 3) / 2,
                      .ph = kdi_rng_below(&r, 3),
                      .pw = kdi_rng_below(&r, 3),
                      .dh = 1 + kdi_rng_below(&r, 3) / 2,
                      .dw = 1 + kdi_rng_below(&r, 3) / 2,
                      .groups = 1};
        if (!output_map(&v)) continue;
        check_shape(&v, t, t & 1, 3);
        t++;
    }
}
END_TEST

/* Shapes that the networks have, small, and that each way of cutting needs. */
START_TEST(test_chosen_shapes)
{
    static const kdi_conv shapes[] = {
        {2, 9, 9, 3, 33, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},     /* first layer */
        {1, 20, 37, 3, 20, 3, 3, 2, 2, 1, 1, 1, 1, 1, 0, 0},   /* the same, strided */
        {9, 2, 2, 37, 40, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},    /* deep: one pixel a product */
        {8, 1, 1, 330, 35, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},   /* one point of nine */
        {8, 3, 2, 300, 9, 3, 3, 2, 2, 1, 1, 1, 1, 1, 0, 0},    /* and strided */
        {2, 6, 5, 300, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},   /* one point at a time */
        {2, 7, 7, 64, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},    /* several points in panels */
        {1, 33, 40, 7, 30, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},   /* several parts of dw */
        {3, 5, 5, 40, 37, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0},    /* pointwise */
        {2, 6, 6, 18, 37, 1, 1, 2, 2, 0, 0, 1, 1, 1, 0, 0},    /* strided pointwise: empty phases */
        {2, 8, 8, 3, 24, 4, 4, 4, 4, 0, 0, 1, 1, 1, 0, 0},     /* patch embedding */
        {2, 7, 6, 35, 35, 3, 3, 1, 1, 1, 1, 1, 1, 35, 0, 0},   /* depthwise */
        {2, 9, 9, 5, 5, 7, 7, 2, 1, 3, 3, 1, 1, 5, 0, 0},      /* depthwise, more than 32 points */
        {1, 8, 8, 17, 600, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},   /* several blocks of columns */
        {1, 4, 4, 300, 100, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},  /* patches of many steps kept */
        {1, 1, 1, 300, 40, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},   /* one pixel: eight points nowhere */
        {1, 3, 1, 260, 70, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},   /* one column */
        {2, 2, 2, 450, 100, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},  /* the same of two pictures */
        {3, 4, 4, 37, 40, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},    /* 4x4 maps, by tiles */
        {2, 4, 4, 150, 230, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},  /* by panels, each V its own */
        {17, 4, 4, 140, 170, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0}, /* and not */
        {0, 4, 4, 20, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},    /* nothing */
        {0, 2, 2, 200, 260, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0},  /* and much of it */
        {1, 5, 5, 2, 2, 3, 3, 1, 1, 4, 4, 1, 1, 1, 0, 0},      /* more padding than kernel */
        {1, 4, 4, 2, 2, 1, 1, 3, 3, 2, 2, 1, 1, 1, 0, 0},      /* outputs that see nothing */
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        kdi_conv v = shapes[i];
        ck_assert(output_map(&v));
        check_shape(&v, i + 1, i & 1, 7);
    }
}
END_TEST

/* A plan made for the largest batch must do for every smaller one, and prepared weights for any. */
START_TEST(test_scratch_grows)
{
    static const kdi_conv shapes[] = {{0, 32, 32, 3, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 32, 32},
                                      {0, 8, 8, 64, 128, 3, 3, 1, 1, 1, 1, 1, 1, 1, 8, 8},
                                      {0, 2, 2, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1, 1, 2, 2},
                                      {0, 2, 2, 64, 64, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1},
                                      {0, 8, 8, 64, 96, 1, 1, 1, 1, 0, 0, 1, 1, 1, 8, 8},
                                      {0, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, 64, 8, 8}};
    kd_ctx *ctx = test_ctx(3, NULL);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (kdi_conv_algo algo = KDI_CONV_GEMM; algo < KDI_CONV_ALGOS; algo++) {
            kdi_conv v = shapes[s];
            if (!kdi_conv_can(&v, algo)) continue;
            for (kdi_conv_pass pass = KDI_CONV_FORWARD; pass <= KDI_CONV_PREPARE; pass++) {
                size_t before = 0, prepared = 0;
                for (v.n = 1; v.n < 300; v.n += 1 + v.n / 9) {
                    const size_t now = kdi_conv_scratch(ctx, &v, algo, pass);
                    const size_t size = kdi_conv_prepared_size(ctx, &v, algo);
                    ck_assert_msg(now >= before, "%s pass %d: %zu bytes, with fewer images %zu",
                                  describe(&v, kd_ctx_isa(ctx), algo), (int)pass, now, before);
                    if (prepared) ck_assert_uint_eq(size, prepared);
                    before = now;
                    prepared = size;
                }
            }
            size_t before = 0;
            for (v.n = 1; kdi_conv_can_moments(algo) && v.n < 300; v.n += 1 + v.n / 9) {
                const size_t now = kdi_conv_moments_scratch(ctx, &v, algo);
                ck_assert_uint_ge(now, before);
                before = now;
            }
        }
    kd_ctx_destroy(ctx);
}
END_TEST

/* y of the prepared convolution, or of the one with weights. */
static float *output_of(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                        const float *w, const kdi_epilogue *e, bool prepare, size_t floats)
{
    float *y = malloc((floats ? floats : 1) * sizeof *y);
    void *prepared = NULL;
    if (prepare) {
        void *scratch = scratch_of(kdi_conv_scratch(ctx, v, algo, KDI_CONV_PREPARE));
        prepared = scratch_of(kdi_conv_prepared_size(ctx, v, algo));
        kdi_conv_prepare(ctx, v, algo, w, prepared, scratch);
        free(scratch);
    }
    void *scratch = scratch_of(
        kdi_conv_scratch(ctx, v, algo, prepare ? KDI_CONV_FORWARD_PREPARED : KDI_CONV_FORWARD));
    kdi_conv_forward(ctx, v, algo, x, w, prepared, e, y, scratch);
    free(scratch);
    free(prepared);
    return y;
}

/* The first among equals, NaN over all. */
static void pool(const kdi_conv *v, const float *y, float *pooled)
{
    const size_t h = v->oh / 2, w = v->ow / 2;
    for (size_t i = 0; i < v->n * h * w * v->o; i++) {
        const size_t k = i % v->o, q = i / v->o % w, p = i / v->o / w % h, n = i / v->o / w / h;
        for (size_t j = 0; j < 4; j++) {
            const float f = y[((n * v->oh + 2 * p + j / 2) * v->ow + 2 * q + j % 2) * v->o + k];
            if (j == 0 || f > pooled[i] || isnan(f)) pooled[i] = f;
        }
    }
}

/* Pooled on the way: the same bits as pooled afterwards. NaN among the inputs, whose bits may
 * differ. */
START_TEST(test_pooled)
{
    static const kdi_conv shapes[] = {
        {2, 8, 8, 3, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false},
        {1, 9, 75, 3, 33, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false},   /* direct: odd, wide */
        {2, 40, 21, 4, 30, 5, 5, 2, 2, 2, 2, 1, 1, 1, 0, 0, false},  /* strided */
        {2, 6, 6, 18, 37, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false},   /* half a tile */
        {1, 13, 11, 20, 17, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false}, /* odd maps */
        {3, 5, 3, 130, 150, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false}, /* by panels */
        {9, 2, 2, 37, 40, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false},
        {3, 4, 4, 40, 37, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false},
    };
    const kdi_kernels *k;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        kdi_conv v = shapes[i];
        ck_assert(output_map(&v));
        const sizes s = sizes_of(&v);
        const size_t pooled = v.n * (v.oh / 2) * (v.ow / 2) * v.o;
        float *x = array(s.x, i), *w = array(s.w, i + 1), *bias = array(v.o, i + 2);
        float *want = malloc(pooled * sizeof *want);
        x[s.x / 3] = NAN;
        for (int t = 0; (k = kdi_kernels_at(t)); t++)
            for (kdi_conv_algo algo = KDI_CONV_GEMM; algo < KDI_CONV_ALGOS; algo++)
                for (int threads = 1; threads <= 3; threads++) {
                    const kdi_epilogue e = {.bias = bias, .act = (kdi_act)((threads + (int)i) % 3)};
                    kdi_conv to = v;
                    to.pools = true;
                    if (!kdi_conv_can(&to, algo)) continue;
                    ck_assert(kdi_conv_can(&v, algo));
                    kd_ctx *ctx = test_ctx(threads, k->name);
                    float *y = output_of(ctx, &v, algo, x, w, &e, threads == 2, s.y);
                    float *got = output_of(ctx, &to, algo, x, w, &e, threads == 2, pooled);
                    pool(&v, y, want);
                    for (size_t j = 0; j < pooled; j++)
                        ck_assert_msg(!memcmp(got + j, want + j, sizeof *got) ||
                                          (isnan(got[j]) && isnan(want[j])),
                                      "%s, pooled: y[%zu] is %g, not %g",
                                      describe(&v, k->name, algo), j, (double)got[j],
                                      (double)want[j]);
                    free(y);
                    free(got);
                    kd_ctx_destroy(ctx);
                }
        free(x);
        free(w);
        free(bias);
        free(want);
    }
}
END_TEST

/* Mean and squared deviations of y as it was written, far from zero, by all that tell them; y is what
 * it is without. */
START_TEST(test_moments)
{
    static const kdi_conv shapes[] = {
        {3, 8, 8, 3, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false},
        {2, 70, 75, 3, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false}, /* direct: several bands */
        {2, 90, 71, 1, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false},  /* many pixels in one */
        {2, 40, 21, 4, 30, 5, 5, 2, 2, 2, 2, 1, 1, 1, 0, 0, false}, /* strided */
        {3, 5, 3, 130, 150, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false},
        {9, 2, 2, 37, 40, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, false},
    };
    const kdi_kernels *k;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        kdi_conv v = shapes[i];
        ck_assert(output_map(&v));
        const sizes s = sizes_of(&v);
        const size_t pixels = s.y / v.o;
        float *x = array(s.x, i), *w = array(s.w, i + 1), *bias = array(v.o, i + 2);
        float *y = malloc(s.y * sizeof *y), moments[2 * 150], first[2 * 150];
        for (size_t j = 0; j < v.o; j++) bias[j] *= 1000;
        const kdi_epilogue e = {.bias = bias};
        for (int t = 0; (k = kdi_kernels_at(t)); t++)
            for (kdi_conv_algo algo = KDI_CONV_GEMM; algo < KDI_CONV_ALGOS; algo++)
                for (int threads = 1; threads <= 3; threads++) {
                    if (!kdi_conv_can(&v, algo) || !kdi_conv_can_moments(algo)) continue;
                    kd_ctx *ctx = test_ctx(threads, k->name);
                    const char *shape = describe(&v, k->name, algo);
                    void *scratch = scratch_of(kdi_conv_moments_scratch(ctx, &v, algo));
                    float *plain = output_of(ctx, &v, algo, x, w, &e, false, s.y);
                    kdi_conv_forward_moments(ctx, &v, algo, x, w, &e, y, moments, scratch);
                    ck_assert_mem_eq(y, plain, s.y * sizeof *y);
                    if (threads == 1) memcpy(first, moments, sizeof first);
                    ck_assert_mem_eq(moments, first, 2 * v.o * sizeof *moments);
                    for (size_t o = 0; o < v.o && threads == 1; o++) {
                        double mean = 0, square = 0;
                        for (size_t q = 0; q < pixels; q++)
                            mean += (double)y[q * v.o + o] / (double)pixels;
                        for (size_t q = 0; q < pixels; q++)
                            square += pow((double)y[q * v.o + o] - mean, 2);
                        ck_assert_msg(fabs((double)moments[o] - mean) <
                                          2e-6 * sqrt(square / (double)pixels) + 1e-7 * fabs(mean),
                                      "%s: mean %g, not %g", shape, (double)moments[o], mean);
                        ck_assert_msg(fabs((double)moments[v.o + o] - square) < 1e-5 * square,
                                      "%s: deviations %g, not %g", shape, (double)moments[v.o + o],
                                      square);
                    }
                    free(plain);
                    free(scratch);
                    kd_ctx_destroy(ctx);
                }
        free(x);
        free(w);
        free(bias);
        free(y);
    }
}
END_TEST

START_TEST(test_choice)
{
    size_t count;
    const kdi_conv_rule *rules = kdi_conv_rules(&count);
    const kdi_conv any = {4, 7, 7, 6, 9, 5, 3, 2, 1, 1, 1, 2, 2, 3, 0, 0};
    ck_assert_uint_gt(count, 0);
    ck_assert_int_eq(rules[count - 1].algo, KDI_CONV_GEMM);
    ck_assert(kdi_conv_can(&any, KDI_CONV_GEMM));
    ck_assert_int_eq(kdi_conv_choose(&any, NULL), KDI_CONV_GEMM);

    const kdi_conv first = {128, 32, 32, 3, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 32, 32};
    const kdi_conv deep = {128, 2, 2, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1, 1, 2, 2};
    const kdi_conv depthwise = {4, 8, 8, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 32, 8, 8};
    const kdi_conv pointwise = {4, 8, 8, 32, 32, 1, 1, 1, 1, 0, 0, 1, 1, 1, 8, 8};
    ck_assert_int_eq(kdi_conv_choose(&first, NULL), KDI_CONV_DIRECT);
    ck_assert_int_eq(kdi_conv_choose(&deep, NULL), KDI_CONV_SMALL_MAP2);
    ck_assert_int_eq(kdi_conv_choose_for(&deep, 1, NULL), KDI_CONV_GEMM);
    ck_assert_int_eq(kdi_conv_choose_for(&deep, 2, NULL), KDI_CONV_SMALL_MAP2);
    ck_assert_int_eq(kdi_conv_choose(&depthwise, NULL), KDI_CONV_DEPTHWISE);
    ck_assert_int_eq(kdi_conv_choose(&pointwise, NULL), KDI_CONV_GEMM);

    /* Few pixels: Winograd's weights, four times as many, would be read for little. */
    const kdi_conv late = {1, 4, 4, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1, 1, 4, 4};
    ck_assert_int_eq(kdi_conv_choose_for(&late, 1, NULL), KDI_CONV_SMALL_MAP4);
    ck_assert_int_eq(kdi_conv_choose_for(&late, 4, NULL), KDI_CONV_WINOGRAD2);
    ck_assert_int_eq(kdi_conv_choose_for(&late, 128, NULL), KDI_CONV_WINOGRAD);
    ck_assert_int_eq(kdi_conv_choose(&late, NULL), KDI_CONV_WINOGRAD);

    const kdi_conv_algo gemm = KDI_CONV_GEMM, only = KDI_CONV_DEPTHWISE;
    ck_assert_int_eq(kdi_conv_choose(&first, &gemm), KDI_CONV_GEMM);
    ck_assert_int_eq(kdi_conv_choose(&first, &only), KDI_CONV_DIRECT);
    ck_assert_str_eq(kdi_conv_algo_name(KDI_CONV_WINOGRAD), "winograd");
    ck_assert_str_eq(kdi_conv_algo_name((kdi_conv_algo)77), "unknown");
}
END_TEST

TEST_SUITE(conv, 120, &test_random_shapes, &test_random_few_pixels, &test_chosen_shapes,
           &test_scratch_grows, &test_pooled, &test_moments, &test_choice)
