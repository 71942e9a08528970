/* SPDX-License-Identifier: MIT
 * test_measure.c: mean and deviation of the training pictures against plain loops over pixels;
 * picture files, threads, errors, memory. */
#include "../model/golden.h"
#include "files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { H = 5, W = 7, COUNT = 61 };

typedef struct pictures {
    size_t channels;
    kd_status status; /* of sample fails_at */
    size_t fails_at;
    uint8_t pixels[COUNT * H * W * 3];
    int32_t labels[COUNT];
} pictures;

/* Each channel has a range of its own. */
static void fill(pictures *p, size_t channels)
{
    p->channels = channels;
    for (size_t i = 0; i < COUNT * H * W * channels; i++)
        p->pixels[i] = (uint8_t)(files_pixel(KD_SPLIT_TRAIN, i / 97, i % channels, i / 31, i) %
                                     (200 - 60 * (i % channels)) +
                                 50 * (i % channels));
}

static kd_status tell(void *user, kd_split split, size_t index, uint8_t *image, int32_t *label)
{
    const pictures *p = user;
    (void)split;
    if (p->status && index == p->fails_at) return p->status;
    memcpy(image, p->pixels + index * H * W * p->channels, H * W * p->channels);
    *label = 0;
    return KD_OK;
}

static kd_data_info describe(const pictures *p, size_t count)
{
    return (kd_data_info){.struct_size = sizeof(kd_data_info),
                          .classes = 1,
                          .height = H,
                          .width = W,
                          .channels = p->channels,
                          .count = {count, count}};
}

static kd_dataset *open_set(kd_ctx *ctx, pictures *p, bool callback)
{
    kd_dataset *data;
    const kd_data_info info = describe(p, COUNT);
    if (callback)
        test_ok(ctx, kd_dataset_from_callback(ctx, &info, tell, p, &data));
    else
        test_ok(ctx,
                kd_dataset_from_arrays(ctx, &info, (const uint8_t *const[]){p->pixels, p->pixels},
                                       (const int32_t *const[]){p->labels, p->labels}, 1, &data));
    return data;
}

/* Two passes over n pixels of a channel. */
static void plain_loops(const uint8_t *pixels, size_t n, size_t channels, size_t c, double *mean,
                        double *std)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += pixels[i * channels + c] / 255.0;
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        const double away = pixels[i * channels + c] / 255.0 - *mean;
        squares += away * away;
    }
    *std = sqrt(squares / (double)n);
}

START_TEST(test_plain)
{
    static pictures p;
    float first[2][3];
    for (size_t channels = 1; channels <= 3; channels++)
        for (int threads = 1; threads <= 5; threads += 2)
            for (int callback = 0; callback < 2; callback++) {
                kd_ctx *ctx = test_ctx(threads, NULL);
                float mean[3], std[3], one[3];
                fill(&p, channels);
                kd_dataset *data = open_set(ctx, &p, callback);
                test_ok(ctx, kd_dataset_measure(data, mean, std));
                for (size_t c = 0; c < channels; c++) {
                    double m, s;
                    plain_loops(p.pixels, COUNT * H * W, channels, c, &m, &s);
                    ck_assert_double_eq_tol((double)mean[c], m, 1e-7);
                    ck_assert_double_eq_tol((double)std[c], s, 1e-7);
                }
                if (threads == 1 && !callback) memcpy(first[0], mean, sizeof mean);
                if (threads == 1 && !callback) memcpy(first[1], std, sizeof std);
                ck_assert(!memcmp(first[0], mean, channels * sizeof *mean));
                ck_assert(!memcmp(first[1], std, channels * sizeof *std));
                test_ok(ctx, kd_dataset_measure(data, one, NULL));
                ck_assert(!memcmp(one, mean, channels * sizeof *mean));
                test_ok(ctx, kd_dataset_measure(data, NULL, one));
                ck_assert(!memcmp(one, std, channels * sizeof *std));
                ck_assert(kd_dataset_info(data)->mean[0] == .5f); /* stays as it was */
                kd_dataset_close(data);
                ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
                kd_ctx_destroy(ctx);
            }
}
END_TEST

/* What was measured normalises: a view of it has mean 0 and deviation 1. */
START_TEST(test_normalises)
{
    static pictures p;
    float mean[3], std[3];
    kd_ctx *ctx = test_ctx(1, NULL);
    fill(&p, 3);
    kd_dataset *data = open_set(ctx, &p, false);
    test_ok(ctx, kd_dataset_measure(data, mean, std));
    const kd_view view = {.mean = mean, .std = std};
    const kd_loader_opt opt = {
        .struct_size = sizeof opt, .augment = "none", .n_views = 1, .views = &view};
    kd_loader *l;
    const kd_batch *b;
    double sum = 0, squares = 0;
    test_ok(ctx, kd_loader_create(data, &opt, &l));
    test_ok(ctx, kd_loader_next(l, &b));
    for (size_t i = 0; i < COUNT * H * W; i++) {
        const double x = (double)b->views[0][3 * i + 1];
        sum += x;
        squares += x * x;
    }
    ck_assert_double_eq_tol(sum / (COUNT * H * W), 0, 1e-5);
    ck_assert_double_eq_tol(squares / (COUNT * H * W), 1, 1e-5);
    kd_loader_close(l);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_errors)
{
    static pictures p;
    float mean[3], std[3];
    kd_ctx *ctx = test_ctx(3, NULL);
    kd_dataset *data;
    ck_assert_int_eq(kd_dataset_measure(NULL, mean, std), KD_E_INVALID);
    fill(&p, 2);
    p.fails_at = 7;
    p.status = KD_E_IO;
    data = open_set(ctx, &p, true);
    ck_assert_int_eq(kd_dataset_measure(data, mean, std), KD_E_IO);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "train sample 7"));
    /* left out where that was allowed: the rest is measured */
    test_ok(ctx, kd_dataset_skip_broken(data));
    test_ok(ctx, kd_dataset_measure(data, mean, std));
    uint8_t *rest = malloc(sizeof p.pixels);
    memcpy(rest, p.pixels, 7 * H * W * 2);
    memcpy(rest + 7 * H * W * 2, p.pixels + 8 * H * W * 2, (COUNT - 8) * H * W * 2);
    double m, s;
    plain_loops(rest, (COUNT - 1) * H * W, 2, 1, &m, &s);
    ck_assert_double_eq_tol((double)mean[1], m, 1e-7);
    ck_assert_double_eq_tol((double)std[1], s, 1e-7);
    free(rest);
    kd_dataset_close(data);
    /* no training pictures; nothing but one colour */
    kd_data_info info = describe(&p, 1);
    info.count[KD_SPLIT_TRAIN] = 0;
    test_ok(ctx, kd_dataset_from_callback(ctx, &info, tell, &p, &data));
    ck_assert_int_eq(kd_dataset_measure(data, mean, std), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "no training pictures"));
    kd_dataset_close(data);
    memset(p.pixels, 51, sizeof p.pixels);
    data = open_set(ctx, &p, false);
    test_ok(ctx, kd_dataset_measure(data, mean, std));
    ck_assert(mean[0] == .2f && std[0] == 0 && std[1] == 0);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_out_of_memory)
{
    static pictures p;
    float mean[3], std[3];
    fill(&p, 3);
    for (int callback = 0; callback < 2; callback++) {
        bool done = false;
        for (long n = 1; !done; n++) {
            test_heap heap = {0};
            kd_ctx *ctx = test_ctx_counting(&heap, 2);
            kd_dataset *data = open_set(ctx, &p, callback);
            const long before = heap.live;
            heap.fail_at = heap.count + n;
            const kd_status status = kd_dataset_measure(data, mean, std);
            done = heap.count < heap.fail_at;
            ck_assert_msg(status == KD_OK || (status == KD_E_NOMEM && !done), "%ld", n);
            ck_assert(!done || status == KD_OK);
            heap.fail_at = 0;
            ck_assert(status == KD_OK || heap.live == before);
            kd_dataset_close(data);
            kd_ctx_destroy(ctx);
            ck_assert_int_eq(heap.live, 0);
            ck_assert_int_lt(n, 50);
        }
    }
}
END_TEST

#if KDI_JPEG && KDI_PNG
/* Files are measured as kd_dataset_sample shows them; a broken one is named, or left out. */
START_TEST(test_files)
{
    static const char *const forms[] = {"jpeg_420", "png_rgb", "jpeg_grey", "png_palette"};
    enum { PIXELS = 224 * 224, FORMS = sizeof forms / sizeof *forms };
    kd_ctx *ctx = test_ctx(3, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    char path[700], name[720];
    const char *root = files_folder("measured");
    snprintf(path, sizeof path, "%s/train", root);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/train/a", root);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    for (size_t i = 0; i < FORMS; i++) {
        const kd_file_tensor *t = golden_find(&g, "file.%s", forms[i]);
        uint8_t *bytes = malloc(t->count);
        test_ok(ctx, kd_file_read_bytes(g.file, t, 0, t->count, bytes));
        files_write(path, forms[i], bytes, t->count);
        if (i == 0) files_write(path, "z.jpg", bytes, t->count / 2);
        free(bytes);
    }
    kd_dataset *data;
    float mean[3], std[3];
    snprintf(name, sizeof name, "folder:%s", root);
    test_ok(ctx, kd_dataset_open(ctx, name, NULL, &data));
    ck_assert_int_eq(kd_dataset_measure(data, mean, std), KD_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "train/a/z.jpg'"));
    test_ok(ctx, kd_dataset_skip_broken(data));
    test_ok(ctx, kd_dataset_measure(data, mean, std));
    uint8_t *all = malloc(FORMS * PIXELS * 3);
    for (size_t i = 0; i < FORMS; i++)
        test_ok(ctx, kd_dataset_sample(data, KD_SPLIT_TRAIN, i, all + i * PIXELS * 3, NULL));
    for (size_t c = 0; c < 3; c++) {
        double m, s;
        plain_loops(all, FORMS * PIXELS, 3, c, &m, &s);
        ck_assert_double_eq_tol((double)mean[c], m, 1e-6);
        ck_assert_double_eq_tol((double)std[c], s, 1e-6);
    }
    free(all);
    kd_dataset_close(data);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST
#endif

TEST_SUITE(measure, 60, &test_plain, &test_normalises,
#if KDI_JPEG && KDI_PNG
           &test_files,
#endif
           &test_errors, &test_out_of_memory)
