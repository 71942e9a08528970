/* SPDX-License-Identifier: MIT
 * test_recipes.c: the steps of the ImageNet recipes, on pictures in memory: what is drawn has the
 * right distribution, mixtures are mixtures, erased rectangles are noise, copies are of one sample.
 * Bounds are five standard deviations. */
#include "files.h"

#include "../../lib/data/crop_resize.h"
#include "../../lib/data/mix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 16, FLOATS = SIDE * SIDE * 3, COUNT = 24 };

static kd_dataset *noise(kd_ctx *ctx, size_t channels)
{
    static uint8_t pixels[COUNT * SIDE * SIDE * 3];
    static int32_t labels[COUNT];
    for (size_t i = 0; i < COUNT * SIDE * SIDE * channels; i++)
        pixels[i] = files_pixel(KD_SPLIT_TRAIN, i / 97, i % 3, i / 31, i);
    for (int i = 0; i < COUNT; i++) labels[i] = i % 10;
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = 10,
                               .height = SIDE,
                               .width = SIDE,
                               .channels = channels,
                               .count = {COUNT, 0}};
    const uint8_t *const images[] = {pixels, NULL};
    const int32_t *const all[] = {labels, NULL};
    kd_dataset *data;
    test_ok(ctx, kd_dataset_from_arrays(ctx, &info, images, all, 0, &data));
    return data;
}

static kd_loader *load(kd_dataset *data, kd_ctx *ctx, kd_loader_opt opt)
{
    kd_loader *l;
    opt.struct_size = sizeof opt;
    opt.depth = KD_LOADER_SYNC;
    test_ok(ctx, kd_loader_create(data, &opt, &l));
    return l;
}

/* ---- framing --------------------------------------------------------------------------------- */

static void parse(kd_ctx *ctx, const char *spec, size_t h, size_t w, kdi_augmentation *a)
{
    ck_assert_msg(kdi_augment_parse(ctx, spec, (kdi_shape){h, w, 3}, a) == KD_OK, "%s: %s", spec,
                  kd_ctx_error(ctx));
}

/* Parts lie within the picture, their areas are spread evenly, their ratios in the logarithm. */
START_TEST(test_rrc)
{
    enum { N = 20000, H = 400, W = 500 };
    kd_ctx *ctx = test_ctx(1, NULL);
    kdi_augmentation a;
    double area = 0, ratio = 0, left = 0;
    int tall = 0;
    parse(ctx, "rrc:0.08", 20, 20, &a);
    for (uint32_t i = 0; i < N; i++) {
        kdi_span y, x;
        a.framing.kind->place(&a.framing, (kdi_key){1, 2, i, 0}, H, W, &y, &x);
        ck_assert(y.total == 20 && y.count == 20 && y.from == 0 && x.total == 20);
        ck_assert(y.origin >= 0 && y.extent >= 1 && y.origin + y.extent <= H);
        ck_assert(x.origin >= 0 && x.extent >= 1 && x.origin + x.extent <= W);
        const double r = x.extent / y.extent, s = x.extent * y.extent / (H * W);
        ck_assert_msg(r > .72 && r < 1.39 && s > .078 && s <= 1, "ratio %g, area %g", r, s);
        area += s;
        ratio += log(r);
        left += x.extent < W ? x.origin / (W - x.extent) : .5;
        tall += y.extent > x.extent;
    }
    /* Large areas with some ratios do not fit and are drawn anew; torchvision's means for such
     * pictures, over 40,000 draws. */
    ck_assert_double_eq_tol(area / N, .4538, .01);
    ck_assert_double_eq_tol(ratio / N, .0284, .01);
    ck_assert_double_eq_tol(left / N, .5, .02);
    ck_assert_double_eq_tol((double)tall / N, .4206, .02);
    /* A picture of no such ratio at all: the middle of it. */
    kdi_span y, x;
    parse(ctx, "rrc:1", 20, 20, &a);
    a.framing.kind->place(&a.framing, (kdi_key){1, 2, 3, 0}, 100, 1000, &y, &x);
    ck_assert(y.extent == 100 && x.extent == 133 && x.origin == 433);
    a.framing.kind->place(&a.framing, (kdi_key){1, 2, 3, 0}, 1000, 90, &y, &x);
    ck_assert(x.extent == 90 && y.extent == 120 && y.origin == 440);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_specs)
{
    static const char *const good[][2] = {
        {"imagenet-train", "rrc:0.08+flip"},
        {"imagenet-eval", "centre:0.875"},
        {"imagenet-train+cutout:4", "rrc:0.08+flip+cutout:4"},
        {"swin", "rrc:0.08+bicubic+flip+randaugment:9+erase:0.25+mixup:0.8+cutmix:1"},
        {"deit", "rrc:0.08+bicubic+flip+randaugment:9+erase:0.25+mixup:0.8+cutmix:1+repeat:3"},
        {"rrc=0.25-mixup=0.8", "rrc:0.25+mixup:0.8"},
        {"rrc+bicubic+exact", "rrc:0.08+bicubic+exact"},
        {"mixup:1.50", "mixup:1.5"},
        {"erase:0.000001", "erase:0.000001"}};
    static const char *const bad[] = {
        "rrc:0",       "rrc:1.1",     "rrc:.5",         "rrc:0.5.5",       "rrc+centre",
        "mixup+mixup", "mixup:0",     "repeat:0",       "repeat:17",       "repeat:1.5",
        "centre:0.05", "bicubic:1",   "randaugment:11", "erase:2",         "imagenet",
        "deitflip",    "exact+exact", "exact:1",        "erase:0.0000001", "bilinear+bicubic",
        "mixup:1e1"};
    kd_ctx *ctx = test_ctx(1, NULL);
    kdi_augmentation a, b;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        parse(ctx, good[i][0], SIDE, SIDE, &a);
        ck_assert_str_eq(a.text, good[i][1]);
        parse(ctx, a.text, SIDE, SIDE, &b);
        ck_assert_str_eq(b.text, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(kdi_augment_parse(ctx, bad[i], (kdi_shape){SIDE, SIDE, 3}, &a) ==
                          KD_E_INVALID,
                      "'%s'", bad[i]);
    ck_assert_int_eq(kdi_augment_parse(ctx, "randaugment:9", (kdi_shape){SIDE, SIDE, 4}, &a),
                     KD_E_INVALID);
    ck_assert_int_eq(kdi_augment_parse(ctx, "randaugment:9", (kdi_shape){SIDE, SIDE, 2}, &a),
                     KD_E_INVALID);
    ck_assert_int_eq(kdi_augment_parse(ctx, "randaugment", (kdi_shape){SIDE, SIDE, 4}, &a),
                     KD_E_INVALID);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- mixing ---------------------------------------------------------------------------------- */

static void check_draws(const kdi_augmentation *a, double alpha, bool both)
{
    enum { N = 20000 };
    enum { HIGH = 63, WIDE = 48 };
    const kdi_shape canvas = {HIGH, WIDE, 3};
    double sum = 0, squares = 0;
    int cuts = 0, mixups = 0;
    for (size_t i = 0; i < N; i++) {
        const kdi_mix m = kdi_mix_draw(a, canvas, 9, 1, i);
        ck_assert(m.share >= 0 && m.share <= 1);
        if (m.cut) {
            const size_t h = m.bottom - m.top, w = m.right - m.left;
            ck_assert(m.top <= m.bottom && m.bottom <= HIGH && m.left <= m.right &&
                      m.right <= WIDE);
            ck_assert_double_eq_tol(1 - (double)(h * w) / (HIGH * WIDE), (double)m.share, 1e-6);
            /* timm's box is as far from its centre on both sides: an even length, unless cut */
            if (m.top > 0 && m.bottom < HIGH) ck_assert_uint_eq(h % 2, 0);
            if (m.left > 0 && m.right < WIDE) ck_assert_uint_eq(w % 2, 0);
            ck_assert(h < HIGH || a->cutmix < .2); /* 2 * (63 / 2) at most */
            cuts++;
            continue;
        }
        mixups++;
        sum += (double)m.share - .5;
        squares += ((double)m.share - .5) * ((double)m.share - .5);
    }
    const double variance = 1 / (4 * (2 * alpha + 1));
    if (both) ck_assert_double_eq_tol(cuts, N / 2.0, 5 * sqrt(N / 4.0));
    if (!mixups) return;
    ck_assert_double_eq_tol(sum / mixups, 0, 5 * sqrt(variance / mixups));
    ck_assert_double_eq_tol(squares / mixups / variance, 1, .05);
}

START_TEST(test_draws)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kdi_augmentation a;
    parse(ctx, "mixup:0.8+cutmix", SIDE, SIDE, &a);
    check_draws(&a, .8, true);
    parse(ctx, "mixup:0.1", SIDE, SIDE, &a);
    check_draws(&a, .1, false);
    parse(ctx, "mixup:3", SIDE, SIDE, &a);
    check_draws(&a, 3, false);
    parse(ctx, "cutmix:0.5", SIDE, SIDE, &a);
    check_draws(&a, 0, false);
    kd_ctx_destroy(ctx);
}
END_TEST

/* What is mixed are the pictures the same loader gives without mixing, and the shares are right. */
static void check_mixed(kd_ctx *ctx, kd_dataset *data, const char *steps, size_t side)
{
    char mixed[100];
    const bool cut = strstr(steps, "cutmix") != NULL;
    const kd_view views[] = {{0}, {side, side, 3, NULL, NULL}};
    snprintf(mixed, sizeof mixed, "crop:2-flip+%s", steps);
    kd_loader_opt opt = {.batch = 7,
                         .augment = "crop:2-flip",
                         .seed = 3,
                         .shuffle = 1,
                         .n_views = 2,
                         .views = views};
    kd_loader *plain = load(data, ctx, opt);
    opt.augment = mixed;
    kd_loader *l = load(data, ctx, opt);
    ck_assert(kd_loader_mixes(l) && !kd_loader_mixes(plain));
    for (int batch = 0; batch < 8; batch++) { /* the fourth has 3 samples */
        const kd_batch *a, *b;
        test_ok(ctx, kd_loader_next(plain, &a));
        test_ok(ctx, kd_loader_next(l, &b));
        ck_assert(a->n == b->n && !a->shares && !a->partners);
        for (size_t i = 0; i < b->n; i++) {
            const size_t j = b->n - 1 - i;
            size_t own = 0;
            ck_assert(b->labels[i] == a->labels[i] && b->partners[i] == a->labels[j]);
            const float s = b->shares[i];
            for (size_t v = 0; v < 2; v++) {
                const size_t n = v ? side * side * 3 : FLOATS;
                const float *x = a->views[v] + i * n, *y = a->views[v] + j * n;
                const float *z = b->views[v] + i * n;
                for (size_t p = 0; p < n; p++) {
                    if (!cut) /* resizing is linear */
                        ck_assert_double_eq_tol((double)z[p], (double)(s * x[p] + (1 - s) * y[p]),
                                                1e-5);
                    else if (v == 0)
                        ck_assert(z[p] == x[p] || z[p] == y[p]);
                    if (v == 0) own += z[p] == x[p];
                }
            }
            if (!cut) continue;
            /* pixels that are equal by chance count as its own */
            ck_assert_double_ge((double)own / FLOATS, (double)s - 1e-6);
            if (i != j) ck_assert_double_le((double)own / FLOATS, (double)s + .1);
        }
    }
    kd_loader_close(l);
    kd_loader_close(plain);
}

START_TEST(test_mixed)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_dataset *data = noise(ctx, 3);
    check_mixed(ctx, data, "mixup", 12);
    check_mixed(ctx, data, "cutmix", 24);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- erasing --------------------------------------------------------------------------------- */

/* One rectangle, of the right size, of standard normal numbers; the same in every view. */
START_TEST(test_erase)
{
    enum { S = 32, N = 2000 };
    static const float unit[3] = {1, 1, 1}, zero[3] = {0};
    const kdi_units units = {3, 3, unit, zero};
    kd_ctx *ctx = test_ctx(1, NULL);
    kdi_augmentation a;
    parse(ctx, "erase:0.6", S, S, &a);
    double sum = 0, squares = 0, values = 0, area = 0;
    int erased = 0;
    for (uint32_t i = 0; i < N; i++) {
        static float x[S * S * 3], y[S * S * 3];
        size_t top = S, bottom = 0, left = S, right = 0, n = 0;
        for (size_t p = 0; p < S * S * 3; p++) x[p] = y[p] = 100;
        kdi_augment_values(&a, (kdi_key){5, 1, i, 0}, &units, x);
        kdi_augment_values(&a, (kdi_key){5, 1, i, 0}, &units, y);
        ck_assert_int_eq(memcmp(x, y, sizeof x), 0);
        for (size_t p = 0; p < S * S * 3; p++) {
            if (x[p] == 100) continue;
            const size_t row = p / 3 / S, column = p / 3 % S;
            if (row < top) top = row;
            if (row + 1 > bottom) bottom = row + 1;
            if (column < left) left = column;
            if (column + 1 > right) right = column + 1;
            sum += (double)x[p];
            squares += (double)(x[p] * x[p]);
            n++;
        }
        if (n == 0) continue;
        erased++;
        values += (double)n;
        area += (double)n / (S * S * 3);
        ck_assert_uint_eq(n, (bottom - top) * (right - left) * 3);
        const double ratio = (double)(bottom - top) / (double)(right - left);
        ck_assert_double_ge(ratio, .2);
        ck_assert_double_le(ratio, 5);
    }
    ck_assert_double_eq_tol(erased, .6 * N, 5 * sqrt(.24 * N));
    ck_assert_double_eq_tol(sum / values, 0, 5 / sqrt(values));
    ck_assert_double_eq_tol(squares / values, 1, 5 * sqrt(2 / values));
    ck_assert_double_eq_tol(area / erased, .177, .02);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Views of other channels and another normalisation show the same pixels, changed parts and all. */
static void check_same_change(kd_ctx *ctx, size_t channels, const char *augment)
{
    static const float mean[3] = {.1f, .3f, .6f}, std[3] = {.5f, .2f, .9f};
    const kd_view views[] = {{0},
                             {.channels = 3},
                             {.channels = 3, .mean = mean, .std = std},
                             {.channels = 3, .std = std}};
    kd_dataset *data = noise(ctx, channels);
    kd_loader *l =
        load(data, ctx,
             (kd_loader_opt){
                 .batch = COUNT, .augment = augment, .seed = 8, .n_views = 4, .views = views});
    const kd_batch *b;
    size_t outside = 0;
    test_ok(ctx, kd_loader_next(l, &b));
    for (size_t i = 0; i < COUNT * FLOATS; i++) {
        const size_t p = i / 3 * channels + (channels == 3 ? i % 3 : 0);
        const double raw = (double)b->views[0][p] * .25 + .5; /* in 0..1, but for noise */
        outside += raw < 0 || raw > 1;
        for (size_t v = 1; v < 4; v++) {
            const double m = v == 2 ? (double)mean[i % 3] : .5;
            const double s = v == 1 ? .25 : (double)std[i % 3];
            ck_assert_double_eq_tol((double)b->views[v][i] * s + m, raw, 1e-5);
        }
    }
    ck_assert(strstr(augment, "erase") ? outside > 0 : outside == 0);
    kd_loader_close(l);
    kd_dataset_close(data);
}

START_TEST(test_same_change)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t channels = 1; channels <= 3; channels += 2) {
        check_same_change(ctx, channels, "erase:1");
        check_same_change(ctx, channels, "cutout:7");
        check_same_change(ctx, channels, "crop:2+flip+cutout:5+erase:0.5+cutmix");
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- repeating, RandAugment ------------------------------------------------------------------ */

START_TEST(test_repeat)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = noise(ctx, 3);
    kd_loader *l =
        load(data, ctx, (kd_loader_opt){.batch = 6, .augment = "rrc+flip+repeat:3", .shuffle = 1});
    ck_assert_uint_eq(kd_loader_batches(l), 4); /* as many as ever */
    int seen[2][COUNT] = {{0}};
    for (int epoch = 0; epoch < 2; epoch++)
        for (int batch = 0; batch < 4; batch++) {
            const kd_batch *b;
            test_ok(ctx, kd_loader_next(l, &b));
            ck_assert_uint_eq(b->n, 6);
            for (size_t i = 0; i < 6; i++) {
                seen[epoch][b->ids[i]]++;
                ck_assert_uint_eq(b->copies[i], i % 3);
                ck_assert_uint_eq(b->ids[i], b->ids[i / 3 * 3]);
                for (size_t j = i / 3 * 3; j < i; j++) /* each its own augmentation */
                    ck_assert_int_ne(memcmp(b->views[0] + i * FLOATS, b->views[0] + j * FLOATS,
                                            FLOATS * sizeof(float)),
                                     0);
            }
        }
    int different = 0;
    for (int i = 0; i < COUNT; i++) {
        ck_assert(seen[0][i] == 0 || seen[0][i] == 3);
        different += seen[0][i] != seen[1][i];
    }
    ck_assert_int_gt(different, 0);
    kd_loader_close(l);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The last, shorter batch of an epoch: its pictures, each once or as often as repeat says, partners
 * from the batch itself, a single one unmixed; after a seek as in a row. */
static void check_short(kd_ctx *ctx, kd_dataset *data, const char *augment, size_t batch)
{
    kd_loader *l =
        load(data, ctx, (kd_loader_opt){.batch = batch, .augment = augment, .shuffle = 1});
    const size_t batches = (COUNT + batch - 1) / batch, rest = COUNT - (batches - 1) * batch;
    const bool repeats = strstr(augment, "repeat") != NULL;
    static float last[COUNT * FLOATS];
    ck_assert(kd_loader_batches(l) == batches && kd_loader_samples(l) == COUNT);
    for (size_t epoch = 0; epoch < 2; epoch++) {
        int seen[COUNT] = {0};
        const kd_batch *b = NULL;
        for (size_t i = 0; i < batches; i++) {
            test_ok(ctx, kd_loader_next(l, &b));
            ck_assert(b->epoch == epoch && b->index == i &&
                      b->n == (i + 1 < batches ? batch : rest));
            for (size_t k = 0; k < b->n; k++) {
                ck_assert_int_eq(b->labels[k], (int)b->ids[k] % 10);
                seen[b->ids[k]]++;
                if (b->partners) ck_assert_int_eq(b->partners[k], b->labels[b->n - 1 - k]);
                if (b->shares && 2 * k + 1 == b->n) ck_assert(b->shares[k] == 1);
            }
        }
        memcpy(last, b->views[0], b->n * FLOATS * sizeof *last);
        for (int i = 0; i < COUNT && !repeats; i++) ck_assert_int_eq(seen[i], 1);
        for (int i = 0, all = 0; i < COUNT && repeats; i++) {
            ck_assert_int_le(seen[i], 5);
            all += seen[i];
            if (i == COUNT - 1) ck_assert_int_eq(all, COUNT);
        }
    }
    const kd_batch *b;
    test_ok(ctx, kd_loader_seek(l, 1, batches - 1));
    test_ok(ctx, kd_loader_next(l, &b));
    ck_assert_uint_eq(b->n, rest);
    ck_assert_int_eq(memcmp(last, b->views[0], rest * FLOATS * sizeof *last), 0);
    kd_loader_close(l);
}

START_TEST(test_short_batches)
{
    static const char *const augments[] = {"none", "crop:2+flip+mixup", "cutmix+repeat:5",
                                           "erase:1+mixup+cutmix"};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = noise(ctx, 3);
    for (size_t i = 0; i < sizeof augments / sizeof *augments; i++)
        for (size_t batch = 1; batch <= COUNT + 3; batch++)
            check_short(ctx, data, augments[i], batch);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Two operations, each with probability one half: a quarter of the pictures stay as they are (or
 * more, since some operations change nothing); the same key gives the same picture. */
START_TEST(test_randaugment)
{
    enum { N = 2000, BYTES = SIDE * SIDE * 3 };
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t channels = 1; channels <= 3; channels += 2) {
        kdi_augmentation a;
        static uint8_t in[BYTES], one[BYTES], two[BYTES], three[BYTES], four[BYTES];
        int same = 0;
        test_ok(ctx, kdi_augment_parse(ctx, "randaugment", (kdi_shape){SIDE, SIDE, channels}, &a));
        ck_assert_uint_eq(a.n_steps, 2);
        for (size_t i = 0; i < BYTES; i++)
            in[i] = (uint8_t)(60 + files_pixel(KD_SPLIT_TRAIN, 1, 0, i, i) % 120);
        for (uint32_t i = 0; i < N; i++) {
            const kdi_key key = {4, 0, i, 0};
            const uint8_t *x = kdi_augment_pixels(&a, key, in, one, two);
            const uint8_t *y = kdi_augment_pixels(&a, key, in, three, four);
            ck_assert_int_eq(memcmp(x, y, SIDE * SIDE * channels), 0);
            same += memcmp(x, in, SIDE * SIDE * channels) == 0;
        }
        ck_assert_int_gt(same, N / 5);
        ck_assert_int_lt(same, channels == 3 ? N * 3 / 10 : N * 2 / 5);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(recipes, 30, &test_rrc, &test_specs, &test_draws, &test_mixed, &test_erase,
           &test_same_change, &test_short_batches, &test_repeat, &test_randaugment)
