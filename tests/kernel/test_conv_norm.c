/* SPDX-License-Identifier: MIT
 * test_conv_norm.c: convolutions that norm what they read, and whose backward takes that of a norm
 * behind them along: the same bits as with the norm's own kernels before and behind, for every
 * algorithm that can, every kernel table, several numbers of threads. Arrays and scratch are heap
 * blocks of exactly the size they may have, poisoned with NaN. */
#include "../test.h"

#include "../../lib/kernel/conv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Maps with and without tiles that are partly outside, channels around the lengths of vectors and of
 * what is normed at a time, each way of cutting the work. */
static const kdi_conv shapes[] = {
    {.n = 2, .h = 8, .w = 8, .c = 3, .o = 20, .ph = 1, .pw = 1},
    {.n = 2, .h = 70, .w = 74, .c = 3, .o = 17, .ph = 1, .pw = 1},
    {.n = 1, .h = 9, .w = 75, .c = 4, .o = 33, .ph = 1, .pw = 1},
    {.n = 2, .h = 13, .w = 11, .c = 20, .o = 37, .ph = 1, .pw = 1},
    {.n = 3, .h = 6, .w = 10, .c = 150, .o = 40, .ph = 1, .pw = 1},
    {.n = 2, .h = 7, .w = 5, .c = 64, .o = 21, .ph = 0, .pw = 2},
    {.n = 3, .h = 4, .w = 4, .c = 130, .o = 150, .ph = 1, .pw = 1},
    {.n = 9, .h = 2, .w = 2, .c = 67, .o = 40, .ph = 1, .pw = 1},
    {.n = 70, .h = 8, .w = 6, .c = 35, .o = 34, .ph = 1, .pw = 1},
    {.n = 0, .h = 4, .w = 4, .c = 20, .o = 20, .ph = 1, .pw = 1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, MOST = 256 };

static kdi_conv shape_of(int i)
{
    kdi_conv v = shapes[i];
    v.kh = v.kw = 3;
    v.sh = v.sw = v.dh = v.dw = v.groups = 1;
    v.oh = v.h + 2 * v.ph - 2;
    v.ow = v.w + 2 * v.pw - 2;
    return v;
}

static float *block_of(size_t floats)
{
    void *p = NULL;
    ck_assert_int_eq(posix_memalign(&p, 64, floats ? floats * sizeof(float) : 64), 0);
    memset(p, 0xff, floats * sizeof(float));
    return p;
}

static float *filled(size_t floats, uint64_t seed)
{
    float *p = block_of(floats);
    test_fill(p, floats, seed, 1);
    return p;
}

static float *scratch_of(size_t bytes)
{
    ck_assert_uint_ne(bytes, SIZE_MAX);
    return block_of(bytes / sizeof(float));
}

/* Everything there is around a convolution. */
typedef struct setting {
    kdi_conv v;
    size_t nx, nw, ny;
    float *x, *normed, *w, *y, *dy, *pooled, *through;
    float stats[5][MOST]; /* mean, scale, shift, slope, constant */
} setting;

static setting setting_of(int i)
{
    setting s = {.v = shape_of(i)};
    const kdi_conv *v = &s.v;
    s.nx = v->n * v->h * v->w * v->c;
    s.nw = v->o * 9 * v->c;
    s.ny = v->n * v->oh * v->ow * v->o;
    s.x = filled(s.nx, 1);
    s.normed = block_of(s.nx);
    s.w = filled(s.nw, 2);
    s.y = filled(s.ny, 3);
    s.dy = filled(s.ny, 4);
    s.pooled = filled(v->n * (v->oh / 2) * (v->ow / 2) * v->o, 5);
    s.through = block_of(s.ny);
    for (int k = 0; k < 5; k++) test_fill(s.stats[k], MOST, 6 + (uint64_t)k, 1);
    return s;
}

static void setting_free(setting *s)
{
    float *const all[] = {s->x, s->normed, s->w, s->y, s->dy, s->pooled, s->through};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* All that a convolution makes, in one block: y, moments, dx, dw, db. */
static float *made(kd_ctx *ctx, const setting *s, const kdi_conv *v, kdi_conv_algo algo,
                   const float *x, const float *dy, bool with_dx, size_t *count)
{
    *count = s->ny + 2 * v->o + s->nx + s->nw + v->o;
    float *y = block_of(*count), *moments = y + s->ny, *dx = moments + 2 * v->o, *dw = dx + s->nx;
    memset(moments, 0, 2 * v->o * sizeof *moments);
    if (!with_dx) memset(dx, 0, s->nx * sizeof *dx);
    if (v->n > 0) {
        float *scratch = scratch_of(kdi_conv_moments_scratch(ctx, v, algo));
        kdi_conv_forward_moments(ctx, v, algo, x, s->w, NULL, y, moments, scratch);
        free(scratch);
        float *again = block_of(s->ny);
        scratch = scratch_of(kdi_conv_scratch(ctx, v, algo, KDI_CONV_FORWARD));
        kdi_conv_forward(ctx, v, algo, x, s->w, NULL, NULL, again, scratch);
        ck_assert_mem_eq(again, y, s->ny * sizeof *y);
        free(scratch);
        free(again);
    }
    float *scratch = scratch_of(kdi_conv_scratch(ctx, v, algo, KDI_CONV_BACKWARD));
    kdi_conv_backward(ctx, v, algo, x, s->w, dy, with_dx ? dx : NULL, dw, dw + s->nw, false, false,
                      scratch);
    free(scratch);
    return y;
}

START_TEST(test_normed)
{
    setting s = setting_of(_i);
    const kdi_kernels *k;
    for (int t = 0; (k = kdi_kernels_at(t)); t++)
        for (int bits = 0; bits < 6; bits++)
            for (kdi_conv_algo algo = KDI_CONV_GEMM; algo < KDI_CONV_ALGOS; algo++) {
                const kdi_conv_bn_before norm = {s.stats[0], s.stats[1], s.stats[2], bits % 2 != 0};
                kdi_conv v = s.v;
                size_t count;
                v.bn_before = &norm;
                if (!kdi_conv_can(&v, algo)) continue;
                kd_ctx *ctx = test_ctx(1 + bits / 2, k->name);
                k->bn_apply(v.n * v.h * v.w, v.c, s.x, norm.mean, norm.scale, norm.shift, norm.relu,
                            s.normed);
                float *got = made(ctx, &s, &v, algo, s.x, s.dy, true, &count);
                float *want = made(ctx, &s, &s.v, algo, s.normed, s.dy, true, &count);
                ck_assert_msg(!memcmp(got, want, count * sizeof *got), "%s, %s, case %d", k->name,
                              kdi_conv_algo_name(algo), bits);
                free(got);
                free(want);
                kd_ctx_destroy(ctx);
            }
    setting_free(&s);
}
END_TEST

/* dY behind the norm, by its own kernels. */
static void take_through(const kdi_kernels *k, setting *s, const kdi_conv_bn_after *b)
{
    const kdi_conv *v = &s->v;
    const size_t line = v->ow * v->o;
    if (!b->pools) {
        k->bn_backward(v->n * v->oh * v->ow, v->o, b->y, s->dy, b->mean, b->scale, b->shift,
                       b->relu, b->slope, b->constant, s->through, 0);
        return;
    }
    for (size_t r = 0; r < v->n * v->oh; r += 2)
        k->bn_pool_backward(v->ow / 2, v->o, b->y + r * line, line, s->pooled + r * line / 4,
                            b->mean, b->scale, b->shift, b->relu, b->slope, b->constant,
                            s->through + r * line, 0);
}

/* The largest difference, over the largest number. */
static double distance(const float *a, const float *b, size_t n)
{
    double worst = 0, most = 1;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d < (double)INFINITY)) return (double)INFINITY;
        worst = fmax(worst, d);
        most = fmax(most, fabs((double)b[i]));
    }
    return worst / most;
}

/* What is written may lie over y. */
START_TEST(test_behind)
{
    setting s = setting_of(_i);
    float *through = block_of(s.ny);
    const kdi_kernels *k;
    for (int t = 0; (k = kdi_kernels_at(t)); t++)
        for (int bits = 0; bits < 24; bits++)
            for (kdi_conv_algo algo = KDI_CONV_GEMM; algo < KDI_CONV_ALGOS; algo++) {
                kdi_conv_bn_after behind = {s.y,           s.stats[0],        s.stats[1],
                                            s.stats[2],    s.stats[3],        s.stats[4],
                                            bits % 2 != 0, bits / 2 % 2 != 0, bits / 4 % 2 != 0};
                kdi_conv v = s.v;
                size_t count;
                v.bn_after = &behind;
                if (behind.pools && (v.oh % 2 || v.ow % 2)) continue;
                if (!kdi_conv_can(&v, algo)) continue;
                kd_ctx *ctx = test_ctx(1 + bits / 8, k->name);
                take_through(k, &s, &behind);
                if (behind.writes) {
                    memcpy(through, s.y, s.ny * sizeof *through);
                    behind.y = behind.dy = through;
                }
                const float *dy = behind.pools ? s.pooled : s.dy;
                float *got = made(ctx, &s, &v, algo, s.x, dy, false, &count);
                float *want = made(ctx, &s, &s.v, algo, s.x, s.through, false, &count);
                /* Pairs of rows may cut the work of the direct one elsewhere. */
                if (algo == KDI_CONV_DIRECT && behind.pools)
                    ck_assert_double_lt(distance(got, want, count), 1e-6);
                else
                    ck_assert_msg(!memcmp(got, want, count * sizeof *got), "%s, %s, case %d",
                                  k->name, kdi_conv_algo_name(algo), bits);
                if (behind.writes) ck_assert_mem_eq(through, s.through, s.ny * sizeof *through);
                free(got);
                free(want);
                kd_ctx_destroy(ctx);
            }
    free(through);
    setting_free(&s);
}
END_TEST

/* A plan made for the largest batch must do for every smaller one. */
START_TEST(test_scratch_grows)
{
    const kdi_conv_bn_before norm = {0};
    const kdi_conv_bn_after behind = {.pools = true, .writes = true};
    kd_ctx *ctx = test_ctx(3, NULL);
    kdi_conv v = shape_of(_i);
    v.bn_before = &norm;
    v.bn_after = &behind;
    for (kdi_conv_algo algo = KDI_CONV_GEMM; algo < KDI_CONV_ALGOS; algo++) {
        size_t before = 0;
        if (!kdi_conv_can(&v, algo)) continue;
        for (v.n = 1; v.n < 300; v.n += 1 + v.n / 9) {
            const size_t now = kdi_conv_scratch(ctx, &v, algo, KDI_CONV_BACKWARD);
            ck_assert_uint_ge(now, before);
            before = now;
        }
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* A suite of its own making: the tests loop over the shapes. */
Suite *conv_norm_suite(void);
Suite *conv_norm_suite(void)
{
    Suite *suite = suite_create("conv_norm");
    TCase *tcase = tcase_create("conv_norm");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, test_normed, 0, SHAPES);
    tcase_add_loop_test(tcase, test_behind, 0, SHAPES);
    tcase_add_loop_test(tcase, test_scratch_grows, 0, SHAPES);
    suite_add_tcase(suite, tcase);
    return suite;
}
