/* SPDX-License-Identifier: MIT
 * test_single.c: single pictures and sets of the caller's bytes: a framer gives the numbers of a loader
 * over the same files, whatever the stride; decoded bytes are the file's; a set of encoded bytes is
 * the set of the files; what cannot be is refused in words, and memory that was reserved suffices. */
#include "../model/golden.h"
#include "files.h"

#include <kd/data.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float mean[] = {.4f, .5f, .6f}, deviation[] = {.2f, .25f, .3f};

static void refused(kd_ctx *ctx, kd_status got, kd_status want, const char *words)
{
    ck_assert_msg(got == want, "%s: %s", kd_status_name(got), kd_ctx_error(ctx));
    ck_assert_msg(strstr(kd_ctx_error(ctx), words) != NULL, "'%s' lacks '%s'", kd_ctx_error(ctx),
                  words);
}

/* A picture whose bytes differ from pixel to pixel. */
static uint8_t *make_pixels(size_t h, size_t w, size_t c, size_t stride)
{
    uint8_t *p = malloc(h * stride);
    ck_assert_ptr_nonnull(p);
    memset(p, 0xee, h * stride);
    for (size_t y = 0; y < h; y++)
        for (size_t i = 0; i < w * c; i++) p[y * stride + i] = (uint8_t)(y * 37 + i * 11 + i / 7);
    return p;
}

/* ---- framing --------------------------------------------------------------------------------- */

/* The same pixels from a data set whose pictures are all of one size. */
static void by_loader(kd_ctx *ctx, const uint8_t *pixels, size_t h, size_t w, const kd_view *view,
                      const char *augment, float *out)
{
    const int32_t label = 0;
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = 1,
                               .height = h,
                               .width = w,
                               .channels = view->channels,
                               .count = {0, 1}};
    const uint8_t *const images[] = {NULL, pixels};
    const int32_t *const labels[] = {NULL, &label};
    kd_dataset *data;
    kd_loader *loader;
    const kd_batch *batch;
    test_ok(ctx, kd_dataset_from_arrays(ctx, &info, images, labels, 1, &data));
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TEST,
                               .augment = augment,
                               .depth = KD_LOADER_SYNC,
                               .n_views = 1,
                               .views = view};
    test_ok(ctx, kd_loader_create(data, &opt, &loader));
    test_ok(ctx, kd_loader_next(loader, &batch));
    memcpy(out, batch->views[0], view->height * view->width * view->channels * sizeof *out);
    kd_loader_close(loader);
    kd_dataset_close(data);
}

START_TEST(test_framer_is_the_loader)
{
    static const size_t sizes[][2] = {{24, 40}, {25, 33}, {100, 31}, {7, 90}, {300, 220}, {1, 1}};
    static const char *const framings[][2] = {{NULL, "centre:0.875+bilinear"},
                                              {"none", "centre:1"},
                                              {"bicubic", "centre:0.875+bicubic"},
                                              {"centre:0.5+bicubic", "centre:0.5+bicubic"}};
    const kd_view view = {24, 40, 3, mean, deviation};
    kd_ctx *ctx = test_ctx(1, NULL);
    float *want = malloc(sizeof(float) * 24 * 40 * 3), *got = malloc(sizeof(float) * 24 * 40 * 3);
    for (size_t f = 0; f < sizeof framings / sizeof *framings; f++) {
        const kd_framer_opt opt = {
            .struct_size = sizeof opt, .view = view, .framing = framings[f][0]};
        kd_framer *framer;
        test_ok(ctx, kd_framer_create(ctx, &opt, &framer));
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const size_t h = sizes[s][0], w = sizes[s][1], stride = w * 3 + 5 * s;
            uint8_t *plain = make_pixels(h, w, 3, w * 3), *spread = make_pixels(h, w, 3, stride);
            const kd_picture p = {spread, (h - 1) * stride + w * 3, h, w, 3, s ? stride : 0};
            by_loader(ctx, plain, h, w, &view, framings[f][1], want);
            test_ok(ctx, kd_framer_show(framer, &p, got));
            ck_assert_msg(!memcmp(want, got, sizeof(float) * 24 * 40 * 3), "%s of %zux%zu",
                          framings[f][1], h, w);
            free(plain);
            free(spread);
        }
        kd_framer_destroy(framer);
    }
    free(want);
    free(got);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Grey is repeated; a grey network takes grey. */
START_TEST(test_framer_grey)
{
    enum { H = 9, W = 5 };
    const float one = .5f, two = .25f;
    kd_ctx *ctx = test_ctx(1, NULL);
    uint8_t *grey = make_pixels(H, W, 1, W);
    float got[H * W * 3];
    kd_framer *framer;
    kd_framer_opt opt = {.struct_size = sizeof opt, .view = {H, W, 3, mean, deviation}};
    const kd_picture p = {grey, H * W, H, W, 1, 0};
    test_ok(ctx, kd_framer_create(ctx, &opt, &framer));
    test_ok(ctx, kd_framer_show(framer, &p, got));
    for (size_t i = 0; i < H * W * 3; i++)
        ck_assert_float_eq(got[i], ((float)grey[i / 3] / 255.0f - mean[i % 3]) / deviation[i % 3]);
    kd_framer_destroy(framer);
    opt.view = (kd_view){H, W, 1, &one, &two};
    test_ok(ctx, kd_framer_create(ctx, &opt, &framer));
    test_ok(ctx, kd_framer_show(framer, &p, got));
    for (size_t i = 0; i < H * W; i++)
        ck_assert_float_eq(got[i], ((float)grey[i] / 255.0f - one) / two);
    const kd_picture colour = {grey, H * W, 3, W, 3, 0};
    refused(ctx, kd_framer_show(framer, &colour, got), KD_E_SHAPE, "3 channels, where 1 are");
    kd_framer_destroy(framer);
    free(grey);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_framer_bad_pictures)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    uint8_t *pixels = make_pixels(10, 8, 3, 30);
    float out[6 * 6 * 3];
    kd_framer *framer;
    const kd_framer_opt opt = {.struct_size = sizeof opt, .view = {6, 6, 3, mean, deviation}};
    test_ok(ctx, kd_framer_create(ctx, &opt, &framer));
    kd_picture p = {pixels, 300, 10, 8, 3, 23};
    refused(ctx, kd_framer_show(framer, &p, out), KD_E_INVALID, "stride of 23 bytes is shorter");
    p.stride = 30;
    p.bytes = 293;
    refused(ctx, kd_framer_show(framer, &p, out), KD_E_INVALID, "293 bytes end before");
    p.bytes = 294; /* the last row has no gap behind it */
    test_ok(ctx, kd_framer_show(framer, &p, out));
    p.stride = SIZE_MAX;
    refused(ctx, kd_framer_show(framer, &p, out), KD_E_INVALID, "bytes end before");
    p.stride = 0;
    p.height = 0;
    refused(ctx, kd_framer_show(framer, &p, out), KD_E_INVALID, "0x8 pixels");
    p.height = 65536;
    refused(ctx, kd_framer_show(framer, &p, out), KD_E_INVALID, "sides must be 1..65535");
    p.height = 10;
    p.channels = 4;
    refused(ctx, kd_framer_show(framer, &p, out), KD_E_SHAPE, "4 channels");
    p.pixels = NULL;
    refused(ctx, kd_framer_show(framer, &p, out), KD_E_INVALID, "NULL");
    ck_assert_int_eq(kd_framer_show(NULL, &p, out), KD_E_INVALID);
    kd_framer_destroy(framer);
    kd_framer_destroy(NULL);
    free(pixels);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_framer_refusals)
{
    static const struct {
        const char *framing, *words;
    } odd[] = {{"rrc", "may say which part"},
               {"centre+flip", "may say which part"},
               {"cutout", "may say which part"},
               {"mixup", "may say which part"},
               {"sideways", "unknown augmentation"}};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_framer *framer;
    kd_framer_opt opt = {.struct_size = sizeof opt, .view = {16, 16, 3, mean, deviation}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        opt.framing = odd[i].framing;
        refused(ctx, kd_framer_create(ctx, &opt, &framer), KD_E_INVALID, odd[i].words);
        ck_assert_ptr_null(framer);
    }
    opt.framing = NULL;
    opt.view.mean = NULL;
    refused(ctx, kd_framer_create(ctx, &opt, &framer), KD_E_INVALID, "no mean");
    opt.view = (kd_view){0, 16, 3, mean, deviation};
    refused(ctx, kd_framer_create(ctx, &opt, &framer), KD_E_INVALID, "view of 0x16x3");
    const float zero[3] = {0};
    opt.view = (kd_view){16, 16, 3, mean, zero};
    refused(ctx, kd_framer_create(ctx, &opt, &framer), KD_E_INVALID, "standard deviation 0");
    opt.view = (kd_view){16, 16, 3, mean, deviation};
    opt.width = 70000;
    refused(ctx, kd_framer_create(ctx, &opt, &framer), KD_E_INVALID, "sides are at most");
    kd_ctx_destroy(ctx);
}
END_TEST

/* Within what was reserved nothing is allocated, whatever the shape. */
START_TEST(test_framer_allocates_nothing)
{
    static const char *const framings[] = {"centre:0.875+bilinear", "centre:1+bicubic",
                                           "centre:0.1+bicubic"};
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    float out[32 * 20 * 3];
    uint8_t *pixels = make_pixels(200, 300, 3, 900);
    for (size_t f = 0; f < 3; f++) {
        kd_framer *framer;
        const kd_framer_opt opt = {.struct_size = sizeof opt,
                                   .view = {32, 20, 3, mean, deviation},
                                   .framing = framings[f],
                                   .height = 200,
                                   .width = 300};
        test_ok(ctx, kd_framer_create(ctx, &opt, &framer));
        const long before = heap.count;
        for (size_t h = 1; h <= 200; h += h < 40 ? 1 : 53)
            for (size_t w = 1; w <= 300; w += w < 40 ? 3 : 43) {
                const kd_picture p = {pixels, 200 * 900, h, w, 3, 900};
                test_ok(ctx, kd_framer_show(framer, &p, out));
            }
        ck_assert_int_eq(heap.count, before);
        kd_framer_destroy(framer);
    }
    free(pixels);
    ck_assert_int_eq(heap.live, 1);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- bytes of files -------------------------------------------------------------------------- */

enum { MOST = 32 };

typedef struct files {
    golden file;
    size_t n;
    const char *name[MOST]; /* "jpeg_..." */
    void *bytes[MOST];
    size_t size[MOST];
    size_t calls;
} files;

static bool built(const char *name)
{
    return strncmp(name, "jpeg", 4) == 0 ? KDI_JPEG : KDI_PNG;
}

static void open_files(kd_ctx *ctx, files *f)
{
    *f = (files){.file = golden_open(ctx, "pictures.safetensors")};
    for (size_t i = 0; i < kd_file_count(f->file.file) && f->n < MOST; i++) {
        const kd_file_tensor *t = kd_file_at(f->file.file, i);
        if (strncmp(t->name, "file.", 5) || !built(t->name + 5)) continue;
        f->name[f->n] = t->name + 5;
        f->size[f->n] = t->count;
        f->bytes[f->n] = malloc(t->count);
        test_ok(ctx, kd_file_read_bytes(f->file.file, t, 0, t->count, f->bytes[f->n]));
        f->n++;
    }
}

static void close_files(files *f)
{
    for (size_t i = 0; i < f->n; i++) free(f->bytes[i]);
    golden_close(&f->file);
}

/* Pillow's bytes, within 1 but for one in a thousand. */
START_TEST(test_decode)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    files f;
    open_files(ctx, &f);
    for (size_t i = 0; i < f.n; i++) {
        const kd_file_tensor *t = golden_find(&f.file, "rgb.%s", f.name[i]);
        uint8_t *want = malloc(t->count), *got;
        size_t h, w, off = 0;
        test_ok(ctx, kd_file_read_bytes(f.file.file, t, 0, t->count, want));
        test_ok(ctx, kd_picture_decode(ctx, f.bytes[i], f.size[i], &got, &h, &w));
        ck_assert(h == (size_t)t->shape[0] && w == (size_t)t->shape[1]);
        for (size_t k = 0; k < t->count; k++) off += abs(got[k] - want[k]) > 1;
        ck_assert_msg(1000 * off <= t->count, "%s: %zu bytes off", f.name[i], off);
        kd_ctx_free(ctx, got);
        const kd_status cut = kd_picture_decode(ctx, f.bytes[i], 40, &got, &h, &w);
        refused(ctx, cut, KD_E_FORMAT, "a picture ");
        ck_assert_ptr_null(got);
        free(want);
    }
    uint8_t *got = (uint8_t *)&f;
    size_t h, w;
    refused(ctx, kd_picture_decode(ctx, "GIF89a??", 8, &got, &h, &w), KD_E_FORMAT,
            "neither JPEG nor PNG");
    ck_assert_ptr_null(got);
    refused(ctx, kd_picture_decode(ctx, "", 0, &got, &h, &w), KD_E_FORMAT, "empty");
    refused(ctx, kd_picture_decode(ctx, NULL, 8, &got, &h, &w), KD_E_INVALID, "NULL");
    close_files(&f);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

static kd_status give(void *user, kd_split split, size_t index, const void **bytes, size_t *size,
                      int32_t *label)
{
    files *f = user;
    ck_assert_int_eq(split, KD_SPLIT_TEST);
    *bytes = f->bytes[index];
    *size = f->size[index];
    *label = (int32_t)(index % 2);
    f->calls++;
    return KD_OK;
}

static kd_loader *all_of(kd_ctx *ctx, kd_dataset *data, size_t n, const kd_batch **batch)
{
    kd_loader *loader;
    const kd_view view = {20, 32, 3, mean, deviation};
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TEST,
                               .batch = n,
                               .n_views = 1,
                               .views = &view,
                               .threads = 2};
    test_ok(ctx, kd_loader_create(data, &opt, &loader));
    test_ok(ctx, kd_loader_next(loader, batch));
    ck_assert_uint_eq((*batch)->n, n);
    return loader;
}

/* The same bytes on disk give the same batches, and so do their pixels in a framer. */
START_TEST(test_encoded_is_the_folder)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    files f;
    open_files(ctx, &f);
    const char *folder = files_folder("encoded");
    char paths[MOST][700];
    const char *list[MOST];
    for (size_t i = 0; i < f.n; i++) {
        files_write(folder, f.name[i], f.bytes[i], f.size[i]);
        snprintf(paths[i], sizeof paths[i], "%s/%s", folder, f.name[i]);
        list[i] = paths[i];
    }
    kd_dataset *data[2];
    kd_loader *loader[2];
    const kd_batch *batch[2];
    const kd_data_info info = {.struct_size = sizeof info, .classes = 2, .count = {0, f.n}};
    test_ok(ctx, kd_dataset_from_pictures(ctx, list, f.n, &data[0]));
    test_ok(ctx, kd_dataset_from_encoded(ctx, &info, give, &f, &data[1]));
    const kd_data_info *told = kd_dataset_info(data[1]);
    ck_assert(told->height == 224 && told->width == 224 && told->channels == 3 && told->guess);
    ck_assert_str_eq(kd_dataset_framing(data[1]), kd_dataset_framing(data[0]));
    for (size_t k = 0; k < 2; k++) loader[k] = all_of(ctx, data[k], f.n, &batch[k]);
    const size_t floats = 20 * 32 * 3;
    ck_assert_mem_eq(batch[0]->views[0], batch[1]->views[0], f.n * floats * sizeof(float));
    ck_assert_int_eq(batch[1]->labels[1], 1);
    kd_framer *framer;
    float shown[20 * 32 * 3];
    const kd_framer_opt opt = {.struct_size = sizeof opt, .view = {20, 32, 3, mean, deviation}};
    test_ok(ctx, kd_framer_create(ctx, &opt, &framer));
    for (size_t i = 0; i < f.n; i++) {
        kd_picture p = {.channels = 3};
        uint8_t *pixels;
        test_ok(ctx, kd_picture_decode(ctx, f.bytes[i], f.size[i], &pixels, &p.height, &p.width));
        p.pixels = pixels;
        p.bytes = p.height * p.width * 3;
        test_ok(ctx, kd_framer_show(framer, &p, shown));
        ck_assert_msg(!memcmp(shown, batch[0]->views[0] + i * floats, sizeof shown), "%s",
                      f.name[i]);
        kd_ctx_free(ctx, pixels);
    }
    uint8_t one[224 * 224 * 3], other[224 * 224 * 3];
    test_ok(ctx, kd_dataset_sample(data[0], KD_SPLIT_TEST, 0, one, NULL));
    test_ok(ctx, kd_dataset_sample(data[1], KD_SPLIT_TEST, 0, other, NULL));
    ck_assert_mem_eq(one, other, sizeof one);
    kd_framer_destroy(framer);
    for (size_t k = 0; k < 2; k++) {
        kd_loader_close(loader[k]);
        kd_dataset_close(data[k]);
    }
    close_files(&f);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

static kd_status give_badly(void *user, kd_split split, size_t index, const void **bytes,
                            size_t *size, int32_t *label)
{
    kd_ctx *ctx = user;
    (void)split;
    *label = index == 1 ? 7 : 0;
    *bytes = "no picture";
    *size = 10;
    return index == 2 ? kd_ctx_fail(ctx, KD_E_IO, "frame 2 is dark") : KD_OK;
}

START_TEST(test_encoded_bad)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    kd_data_info info = {.struct_size = sizeof info, .classes = 2, .count = {0, 3}};
    test_ok(ctx, kd_dataset_from_encoded(ctx, &info, give_badly, ctx, &data));
    refused(ctx, kd_dataset_sample(data, KD_SPLIT_TEST, 0, NULL, NULL), KD_E_FORMAT,
            "test sample 0: is neither JPEG nor PNG");
    refused(ctx, kd_dataset_sample(data, KD_SPLIT_TEST, 1, NULL, NULL), KD_E_INVALID, "label 7");
    refused(ctx, kd_dataset_sample(data, KD_SPLIT_TEST, 2, NULL, NULL), KD_E_IO, "frame 2 is dark");
    kd_dataset_close(data);
    info.channels = 1;
    refused(ctx, kd_dataset_from_encoded(ctx, &info, give_badly, ctx, &data), KD_E_INVALID,
            "3 channels, not 1");
    info.channels = 0;
    refused(ctx, kd_dataset_from_encoded(ctx, &info, NULL, ctx, &data), KD_E_INVALID, "function");
    ck_assert_ptr_null(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- floats ---------------------------------------------------------------------------------- */

enum { H = 12, W = 10, N = 30 };

static kd_data_info float_info(size_t channels)
{
    return (kd_data_info){.struct_size = sizeof(kd_data_info),
                          .classes = 3,
                          .height = H,
                          .width = W,
                          .channels = channels,
                          .count = {N, 0},
                          .mean = mean,
                          .std = deviation};
}

/* Bytes, and the same as floats, give the same batches to the bit: moved, cut, erased, mixed. */
START_TEST(test_floats_are_the_bytes)
{
    static const char *const augments[] = {"none",    "auto",       "crop:2+altflip+cutout:4",
                                           "erase:1", "flip+mixup", "cutmix+repeat:2"};
    static uint8_t bytes[N * H * W * 3];
    static float floats[N * H * W * 3];
    int32_t labels[N];
    kd_ctx *ctx = test_ctx(1, NULL);
    const kd_data_info info = float_info(3);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 31 + i / 17);
        floats[i] = (float)bytes[i] / 255.0f;
    }
    for (size_t i = 0; i < N; i++) labels[i] = (int32_t)(i % 3);
    const uint8_t *const pixels[] = {bytes, NULL};
    const float *const numbers[] = {floats, NULL};
    const int32_t *const known[] = {labels, NULL};
    kd_dataset *data[2];
    test_ok(ctx, kd_dataset_from_arrays(ctx, &info, pixels, known, 1, &data[0]));
    test_ok(ctx, kd_dataset_from_floats(ctx, &info, numbers, known, 0, &data[1]));
    const kd_view views[] = {{H, W, 3, NULL, NULL}, {7, 15, 3, deviation, mean}};
    for (size_t a = 0; a < sizeof augments / sizeof *augments; a++) {
        kd_loader *loader[2];
        const kd_batch *batch[2];
        const kd_loader_opt opt = {.struct_size = sizeof opt,
                                   .batch = 7,
                                   .shuffle = 1,
                                   .augment = augments[a],
                                   .seed = 5,
                                   .n_views = 2,
                                   .views = views};
        for (size_t k = 0; k < 2; k++) test_ok(ctx, kd_loader_create(data[k], &opt, &loader[k]));
        ck_assert_str_eq(kd_loader_augment(loader[0]), kd_loader_augment(loader[1]));
        for (size_t b = 0; b < 10; b++) {
            for (size_t k = 0; k < 2; k++) test_ok(ctx, kd_loader_next(loader[k], &batch[k]));
            ck_assert_uint_eq(batch[0]->n, batch[1]->n);
            for (size_t v = 0; v < 2; v++)
                ck_assert_msg(!memcmp(batch[0]->views[v], batch[1]->views[v],
                                      batch[0]->n * (v ? 7 * 15 : H * W) * 3 * sizeof(float)),
                              "%s, batch %zu, view %zu", augments[a], b, v);
        }
        for (size_t k = 0; k < 2; k++) kd_loader_close(loader[k]);
    }
    float m[2][3], s[2][3];
    for (size_t k = 0; k < 2; k++) test_ok(ctx, kd_dataset_measure(data[k], m[k], s[k]));
    for (size_t c = 0; c < 3; c++) {
        ck_assert_double_le(fabs((double)m[0][c] - (double)m[1][c]), 1e-6);
        ck_assert_double_le(fabs((double)s[0][c] - (double)s[1][c]), 1e-6);
    }
    uint64_t one, two;
    test_ok(ctx, kd_dataset_checksum(data[1], &one));
    kd_dataset_close(data[1]);
    floats[5] += 1e-3f;
    test_ok(ctx, kd_dataset_from_floats(ctx, &info, numbers, known, 1, &data[1]));
    test_ok(ctx, kd_dataset_checksum(data[1], &two));
    ck_assert(one != two);
    for (size_t k = 0; k < 2; k++) kd_dataset_close(data[k]);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_floats_refused)
{
    static float floats[N * H * W];
    int32_t labels[N] = {0};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_data_info info = float_info(1);
    const float *const numbers[] = {floats, NULL};
    const int32_t *const known[] = {labels, NULL};
    kd_dataset *data;
    kd_loader *loader;
    uint8_t image[H * W];
    info.mean = info.std = NULL;
    test_ok(ctx, kd_dataset_from_floats(ctx, &info, numbers, known, 1, &data));
    const kd_data_info *told = kd_dataset_info(data);
    ck_assert(told->mean[0] == 0 && told->std[0] == 1 && !told->guess);
    static const char *const odd[] = {"rrc", "centre:0.5", "randaugment"};
    for (size_t i = 0; i < 3; i++) {
        const kd_loader_opt opt = {.struct_size = sizeof opt, .augment = odd[i], .batch = 4};
        refused(ctx, kd_loader_create(data, &opt, &loader), KD_E_UNSUPPORTED, "are floats, and");
    }
    refused(ctx, kd_dataset_sample(data, KD_SPLIT_TRAIN, 0, image, NULL), KD_E_UNSUPPORTED,
            "are floats");
    test_ok(ctx, kd_dataset_sample(data, KD_SPLIT_TRAIN, 0, NULL, labels));
    kd_dataset_close(data);
    floats[3 * H * W + 5] = INFINITY;
    refused(ctx, kd_dataset_from_floats(ctx, &info, numbers, known, 0, &data), KD_E_INVALID,
            "train sample 3: number 5");
    floats[3 * H * W + 5] = 0;
    labels[9] = 3;
    refused(ctx, kd_dataset_from_floats(ctx, &info, numbers, known, 0, &data), KD_E_INVALID,
            "label 3");
    refused(ctx, kd_dataset_from_floats(ctx, &info, NULL, known, 0, &data), KD_E_INVALID, "arrays");
    ck_assert_ptr_null(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The same numbers, and their mean and deviation, 256 times as large: to the bit the same batches,
 * the same training and the same evaluation. The network keeps no normalisation for bytes. */
START_TEST(test_floats_in_a_unit_of_their_own)
{
    static float floats[2][N * H * W];
    int32_t labels[N];
    float means[2], stds[2];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data[2];
    kd_result r[2] = {{.struct_size = sizeof *r}, {.struct_size = sizeof *r}};
    uint64_t hash[2];
    for (size_t i = 0; i < N * H * W; i++) {
        floats[0][i] = (float)(i * 31 % 256 + i / W % 7) / 300.0f;
        floats[1][i] = 256 * floats[0][i];
    }
    for (size_t i = 0; i < N; i++) labels[i] = (int32_t)(i % 3);
    for (size_t k = 0; k < 2; k++) {
        kd_data_info info = float_info(1);
        const float *const numbers[] = {floats[k], floats[k]};
        const int32_t *const known[] = {labels, labels};
        kd_model *model;
        info.count[KD_SPLIT_TEST] = N;
        info.mean = info.std = NULL;
        test_ok(ctx, kd_dataset_from_floats(ctx, &info, numbers, known, 1, &data[k]));
        test_ok(ctx, kd_dataset_measure(data[k], &means[k], &stds[k]));
        kd_dataset_close(data[k]);
        info.mean = &means[k];
        info.std = &stds[k];
        test_ok(ctx, kd_dataset_from_floats(ctx, &info, numbers, known, 1, &data[k]));
        test_ok(ctx, kd_model_create(ctx, "vgg2_bn,width=0.125,classes=3,image=12x10,channels=1", 1,
                                     &model));
        const kd_train_opt opt = {.struct_size = sizeof opt, .epochs = 2, .batch = 10};
        test_ok(ctx, kd_train(model, data[k], &opt, &r[k]));
        test_ok(ctx, kd_model_hash(model, &hash[k]));
        ck_assert((kd_model_mean(model) == NULL) == (k == 1));
        kd_model_destroy(model);
    }
    ck_assert(means[1] == 256 * means[0] && stds[1] == 256 * stds[0]);
    ck_assert_float_gt(stds[1], 1);
    ck_assert_uint_eq(hash[0], hash[1]);
    ck_assert(r[0].top1 == r[1].top1 && r[0].loss == r[1].loss);
    kd_loader *loader[2];
    const kd_batch *batch[2];
    for (size_t k = 0; k < 2; k++) {
        const kd_loader_opt opt = {.struct_size = sizeof opt, .augment = "crop+cutout+erase:1"};
        test_ok(ctx, kd_loader_create(data[k], &opt, &loader[k]));
        test_ok(ctx, kd_loader_next(loader[k], &batch[k]));
    }
    ck_assert_mem_eq(batch[0]->views[0], batch[1]->views[0], N * H * W * sizeof(float));
    for (size_t k = 0; k < 2; k++) {
        kd_loader_close(loader[k]);
        kd_dataset_close(data[k]);
    }
    static const struct {
        float mean, std;
    } bad[] = {{NAN, 1}, {INFINITY, 1}, {0, NAN}, {0, INFINITY}, {0, 0}, {0, -1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_data_info info = float_info(1);
        info.mean = &bad[i].mean;
        info.std = &bad[i].std;
        refused(ctx,
                kd_dataset_from_floats(ctx, &info, (const float *const[]){floats[0], NULL},
                                       (const int32_t *const[]){labels, NULL}, 1, &data[0]),
                KD_E_INVALID, "channel 0: mean ");
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(single, 60, &test_decode, &test_encoded_is_the_folder, &test_encoded_bad,
           &test_floats_are_the_bytes, &test_floats_refused, &test_floats_in_a_unit_of_their_own,
           &test_framer_is_the_loader, &test_framer_grey, &test_framer_bad_pictures,
           &test_framer_refusals, &test_framer_allocates_nothing)
