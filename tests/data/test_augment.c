/* SPDX-License-Identifier: MIT
 * test_augment.c: augmentation and resizing against naive oracles that know nothing of how the
 * numbers are drawn. Each result must be one of the pictures that could come out. Over many samples
 * each of those must come out about equally often. */
#include "files.h"

#include "../../lib/data/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { H = 7, W = 6, PAD = 2, SPAN = 2 * PAD + 1 };

static void make_picture(uint8_t *picture, size_t c)
{
    for (size_t p = 0; p < H * W * c; p++)
        picture[p] =
            (uint8_t)(1 + files_pixel(KD_SPLIT_TRAIN, 0, p % c, p / c / W, p / c % W) % 255);
}

/* Padded, cut out at (top, left) of the padded picture, mirrored: by the definition. */
static void naive(const uint8_t *in, size_t c, size_t top, size_t left, bool mirrored, uint8_t *out)
{
    for (size_t y = 0; y < H; y++)
        for (size_t x = 0; x < W; x++)
            for (size_t k = 0; k < c; k++) {
                const long sy = (long)(y + top) - PAD;
                const long sx = (long)((mirrored ? W - 1 - x : x) + left) - PAD;
                const bool inside = sy >= 0 && sy < H && sx >= 0 && sx < W;
                out[(y * W + x) * c + k] = inside ? in[((size_t)sy * W + (size_t)sx) * c + k] : 0;
            }
}

/* Which of the 2 * SPAN * SPAN crops and flips result is; there is but one. */
static size_t identify(const uint8_t *in, size_t c, const uint8_t *result)
{
    uint8_t wanted[H * W * 4];
    size_t found = SIZE_MAX;
    for (size_t v = 0; v < 2 * SPAN * SPAN; v++) {
        naive(in, c, v / SPAN % SPAN, v % SPAN, v >= SPAN * SPAN, wanted);
        if (memcmp(wanted, result, H * W * c)) continue;
        ck_assert_uint_eq(found, SIZE_MAX);
        found = v;
    }
    ck_assert_uint_ne(found, SIZE_MAX);
    return found;
}

static const uint8_t *augmented(kd_ctx *ctx, const char *spec, size_t c, kdi_key key,
                                const uint8_t *in)
{
    static uint8_t a[H * W * 4], b[H * W * 4];
    kdi_augmentation augmentation;
    test_ok(ctx, kdi_augment_parse(ctx, spec, (kdi_shape){H, W, c}, &augmentation));
    return kdi_augment_pixels(&augmentation, key, in, a, b);
}

START_TEST(test_crop_flip)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t c = 1; c <= 4; c++) {
        uint8_t in[H * W * 4];
        int seen[2 * SPAN * SPAN] = {0};
        const int rounds = 5000, fair = rounds / (2 * SPAN * SPAN);
        make_picture(in, c);
        for (int i = 0; i < rounds; i++) {
            const kdi_key key = {42, (uint32_t)(i % 3), (uint32_t)i};
            seen[identify(in, c, augmented(ctx, "crop:2-flip", c, key, in))]++;
        }
        for (size_t v = 0; v < 2 * SPAN * SPAN; v++) { /* within five standard deviations */
            ck_assert_double_gt(seen[v], fair - 5 * sqrt(fair));
            ck_assert_double_lt(seen[v], fair + 5 * sqrt(fair));
        }
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* A sample's result depends on seed, epoch and sample, on each of them, and on nothing else; a
 * step more does not change what the ones before it do. */
START_TEST(test_key)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    uint8_t in[H * W * 3];
    size_t results[4][64];
    make_picture(in, 3);
    for (int variant = 0; variant < 4; variant++)
        for (uint32_t i = 0; i < 64; i++) {
            const kdi_key key = {variant == 1 ? 8 : 7, variant == 2 ? 4 : 3, i};
            const char *spec = variant == 3 ? "crop:2+flip+cutout:3" : "crop:2+flip";
            results[variant][i] = identify(in, 3, augmented(ctx, spec, 3, key, in));
        }
    ck_assert_int_ne(memcmp(results[0], results[1], sizeof *results), 0);
    ck_assert_int_ne(memcmp(results[0], results[2], sizeof *results), 0);
    ck_assert_int_eq(memcmp(results[0], results[3], sizeof *results), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_altflip)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    uint8_t in[H * W * 3];
    int mirrored = 0;
    make_picture(in, 3);
    for (uint32_t i = 0; i < 400; i++) {
        size_t first = 0;
        for (uint32_t epoch = 0; epoch < 4; epoch++) {
            const kdi_key key = {5, epoch, i};
            const size_t is = identify(in, 3, augmented(ctx, "altflip", 3, key, in));
            const size_t still = PAD * SPAN + PAD;
            ck_assert(is == still || is == still + SPAN * SPAN);
            if (epoch == 0) first = is;
            ck_assert_int_eq(is == first, epoch % 2 == 0);
        }
        mirrored += first >= SPAN * SPAN;
    }
    ck_assert_int_gt(mirrored, 150);
    ck_assert_int_lt(mirrored, 250);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The mean colour is exactly the pixels of a square around one of the pixels; every channel, every
 * view: 0 in the data set's units, the offset in others. */
START_TEST(test_cutout)
{
    static const float unit[3] = {1, 2, 3}, zero[3] = {0}, offset[3] = {-4, 5, 6};
    const kdi_units grey = {1, 1, unit, zero}, other = {3, 1, unit, offset};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t size = 1; size <= 4; size++) {
        char spec[16] = "cutout:1";
        int seen[H * W] = {0};
        kdi_augmentation augmentation;
        spec[7] = (char)('0' + size);
        test_ok(ctx, kdi_augment_parse(ctx, spec, (kdi_shape){H, W, 1}, &augmentation));
        for (uint32_t i = 0; i < 3000; i++) {
            const kdi_key key = {1, 0, i};
            float one[H * W], three[H * W * 3];
            for (size_t p = 0; p < H * W; p++) one[p] = 1;
            for (size_t p = 0; p < H * W * 3; p++) three[p] = 1;
            kdi_augment_values(&augmentation, key, &grey, one);
            kdi_augment_values(&augmentation, key, &other, three);
            for (size_t p = 0; p < H * W * 3; p++)
                ck_assert(three[p] == (one[p / 3] == 0 ? offset[p % 3] : 1));
            size_t matches = 0;
            for (size_t centre = 0; centre < H * W; centre++) {
                bool same = true;
                for (size_t p = 0; p < H * W; p++) {
                    const long dy = (long)(p / W) - (long)(centre / W) + (long)size / 2;
                    const long dx = (long)(p % W) - (long)(centre % W) + (long)size / 2;
                    const bool out = dy >= 0 && dy < (long)size && dx >= 0 && dx < (long)size;
                    same = same && one[p] == (out ? 0.0f : 1.0f);
                }
                if (same) seen[centre]++;
                matches += same;
            }
            ck_assert_uint_eq(matches, 1);
        }
        for (size_t p = 0; p < H * W; p++) ck_assert_int_gt(seen[p], 3000 / (H * W) / 2);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_specs)
{
    static const char *const good[][2] = {{"none", "none"},
                                          {"crop", "crop:4"},
                                          {"crop-flip", "crop:4+flip"},
                                          {"flip+crop:6", "flip+crop:6"},
                                          {"crop-altflip", "crop:4+altflip"},
                                          {"cutout", "cutout:5"},
                                          {"crop-flip+cutout:8", "crop:4+flip+cutout:8"}};
    static const char *const bad[] = {"",
                                      "crop:",
                                      "crop:0",
                                      "crop:7",
                                      "crop:x",
                                      "crop:2x",
                                      "crop--",
                                      "+flip",
                                      "flip+",
                                      "flip:1",
                                      "cutout:0",
                                      "cutout:21",
                                      "turn",
                                      "none+flip",
                                      "Flip",
                                      "crop:2 ",
                                      "flip,crop",
                                      "crop:-1",
                                      "crop:99999999999999999999999",
                                      ("flip-flip-flip-flip-flip-flip-flip-flip-"
                                       "flip-flip-flip-flip-flip-flip-flip-flip")};
    kd_ctx *ctx = test_ctx(1, NULL);
    kdi_augmentation a, b;
    const kdi_shape shape = {10, 7, 3};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        test_ok(ctx, kdi_augment_parse(ctx, good[i][0], shape, &a));
        ck_assert_str_eq(a.text, good[i][1]);
        test_ok(ctx, kdi_augment_parse(ctx, a.text, shape, &b));
        ck_assert_str_eq(b.text, a.text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(kdi_augment_parse(ctx, bad[i], shape, &a) == KD_E_INVALID, "'%s'", bad[i]);
    ck_assert_int_eq(kdi_augment_parse(ctx, "turn", shape, &a), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "known are: none crop flip altflip cutout"));
    /* no room to move, or for the default */
    const kdi_shape dot = {1, 1, 1};
    test_ok(ctx, kdi_augment_parse(ctx, "flip+cutout", dot, &a));
    ck_assert_int_eq(kdi_augment_parse(ctx, "crop", dot, &a), KD_E_INVALID);
    ck_assert_int_eq(kdi_augment_parse(ctx, "crop", (kdi_shape){4, 9, 1}, &a), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "does not fit pictures of 4x9"));
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- resizing -------------------------------------------------------------------------------- */

static void resize(kd_ctx *ctx, size_t h, size_t w, size_t c, const float *in, size_t oh, size_t ow,
                   float *out)
{
    kdi_axis y, x;
    test_ok(ctx, kdi_axis_make(ctx, h, oh, &y));
    test_ok(ctx, kdi_axis_make(ctx, w, ow, &x));
    float *scratch = malloc(h * ow * c * sizeof *scratch);
    kdi_resize(&y, &x, c, in, scratch, out);
    free(scratch);
    kdi_axis_free(ctx, &y);
    kdi_axis_free(ctx, &x);
}

/* The triangle's weight of input pixel j for output i, not yet normalised. */
static double triangle(size_t in, size_t out, size_t i, size_t j)
{
    const double scale = (double)in / (double)out, centre = ((double)i + .5) * scale;
    const double w = 1 - fabs((double)j + .5 - centre) / (scale > 1 ? scale : 1);
    return w > 0 ? w : 0;
}

START_TEST(test_resize)
{
    static const size_t sizes[][4] = {{8, 8, 8, 8},   {32, 32, 224, 224}, {28, 28, 32, 32},
                                      {32, 32, 7, 9}, {1, 1, 5, 3},       {5, 3, 1, 1},
                                      {9, 2, 4, 31},  {16, 40, 33, 20},   {100, 3, 3, 100}};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t c = 1; c <= 3; c++) {
            const size_t h = sizes[s][0], w = sizes[s][1], oh = sizes[s][2], ow = sizes[s][3];
            float *in = malloc(h * w * c * sizeof *in), *out = malloc(oh * ow * c * sizeof *out);
            double *half = malloc(h * ow * c * sizeof *half);
            test_fill(in, h * w * c, s, 2);
            resize(ctx, h, w, c, in, oh, ow, out);
            for (size_t i = 0; i < h * ow * c; i++) {
                double sum = 0, weights = 0;
                for (size_t j = 0; j < w; j++) {
                    const double t = triangle(w, ow, i / c % ow, j);
                    weights += t;
                    sum += t * (double)in[(i / c / ow * w + j) * c + i % c];
                }
                half[i] = sum / weights;
            }
            for (size_t i = 0; i < oh * ow * c; i++) {
                double sum = 0, weights = 0;
                for (size_t j = 0; j < h; j++) {
                    const double t = triangle(h, oh, i / c / ow, j);
                    weights += t;
                    sum += t * half[(j * ow + i / c % ow) * c + i % c];
                }
                ck_assert_double_eq_tol((double)out[i], sum / weights, 1e-6);
            }
            if (h == oh && w == ow) ck_assert_int_eq(memcmp(in, out, h * w * c * sizeof *in), 0);
            free(in);
            free(out);
            free(half);
        }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* interpolate(x, size, mode="bilinear", antialias=True) of torch 2.14 for x[i] = i * i % 7. */
START_TEST(test_resize_torch)
{
    static const float small[3 * 7] = {
        0.8571428f, 1.367347f,  2.1836734f, 2.5f,       2.6020405f, 1.7040814f, 1.1428572f,
        1.8888888f, 2.404762f,  3.2301588f, 2.3333335f, 1.3333334f, 1.3333334f, 1.3333334f,
        4.0f,       3.1326528f, 1.7448977f, 1.3571427f, 1.2551022f, 2.1530612f, 2.7142854f};
    static const float tall[9 * 2] = {1.0f,       2.7142859f, 1.5714287f, 2.1428571f, 2.5238094f,
                                      1.1904761f, 2.5873015f, 1.5714288f, 2.4285715f, 2.2857144f,
                                      2.2698412f, 1.333333f,  2.2222221f, 0.825397f,  2.6190479f,
                                      2.0952389f, 2.8571429f, 2.8571429f};
    kd_ctx *ctx = test_ctx(1, NULL);
    float in[5 * 4], out[3 * 7];
    for (int i = 0; i < 20; i++) in[i] = (float)(i * i % 7);
    resize(ctx, 5, 4, 1, in, 3, 7, out);
    ck_assert_double_lt(test_distance(out, small, 21), 1e-6);
    resize(ctx, 5, 4, 1, in, 9, 2, out);
    ck_assert_double_lt(test_distance(out, tall, 18), 1e-6);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(augment, 30, &test_crop_flip, &test_key, &test_altflip, &test_cutout, &test_specs,
           &test_resize, &test_resize_torch)
