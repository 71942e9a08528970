/* SPDX-License-Identifier: MIT
 * test_folder.c: picture files in folders: layout and order, what a loader shows of them, any
 * number of threads, broken files and hostile ones, failing allocations. The files are those of
 * tests/golden/pictures.safetensors, or PNGs as libpng writes them. */
#include "../model/golden.h"
#include "files.h"

#include "../../lib/base/philox.h"
#include "../../lib/data/crop_resize.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if KDI_JPEG && KDI_PNG

enum { PATH = 1200 };

typedef struct path {
    char text[PATH];
} path;

static path join(const char *folder, const char *name)
{
    path p;
    ck_assert_int_lt(snprintf(p.text, PATH, "%s/%s", folder, name), PATH);
    return p;
}

static void make_folder(const char *folder, const char *name)
{
    const path p = join(folder, name);
    ck_assert_msg(mkdir(p.text, 0700) == 0, "%s", p.text);
}

/* A file of the golden ones; cut > 0: all but the last bytes. */
static void put(const golden *g, const char *form, const char *folder, const char *name, size_t cut)
{
    const kd_file_tensor *t = golden_find(g, "file.%s", form);
    ck_assert_ptr_nonnull(t);
    uint8_t *bytes = malloc(t->count);
    test_ok(g->ctx, kd_file_read_bytes(g->file, t, 0, t->count, bytes));
    files_write(folder, name, bytes, t->count - cut);
    free(bytes);
}

/* Two classes; seven pictures to train on, three to test on, of all kinds. */
static const char *make_set(const golden *g, const char *name)
{
    const char *root = files_folder(name);
    static const char *const folders[] = {"train",   "val",     "train/n02",   "train/n01",
                                          "val/n02", "val/n01", "train/n01/b", "train/n01/a-b"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) make_folder(root, folders[i]);
    put(g, "jpeg_420", join(root, "train/n01").text, "z.JPEG", 0);
    put(g, "jpeg_grey", join(root, "train/n01").text, "B.jpg", 0);
    put(g, "jpeg_cmyk", join(root, "train/n01/b").text, "c.jpeg", 0);
    put(g, "png_rgba", join(root, "train/n01/a-b").text, "mislabelled.JPEG", 0);
    put(g, "jpeg_progressive", join(root, "train/n02").text, "10.png", 0);
    put(g, "png_palette", join(root, "train/n02").text, "9.PNG", 0);
    put(g, "png_deep", join(root, "train/n02").text, "no ending", 0);
    put(g, "jpeg_444", join(root, "val/n01").text, "1.JPEG", 0);
    put(g, "png_rgb", join(root, "val/n02").text, "1.JPEG", 0);
    put(g, "jpeg_422", join(root, "val/n02").text, "2.JPEG", 0);
    files_write(join(root, "train/n02").text, "readme.txt", "nothing", 7);
    files_write(join(root, "train/n02").text, ".hidden.jpg", "nothing", 7);
    files_write(join(root, "train").text, "list.txt", "nothing", 7);
    return root;
}

static kd_dataset *open_set(kd_ctx *ctx, const char *root)
{
    char name[PATH + 8];
    kd_dataset *data;
    snprintf(name, sizeof name, "folder:%s", root);
    test_ok(ctx, kd_dataset_open(ctx, name, "/nonexistent", &data));
    return data;
}

/* ---- layout ---------------------------------------------------------------------------------- */

START_TEST(test_layout)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    const char *root = make_set(&g, "layout");
    kd_dataset *data = open_set(ctx, root), *other;
    const kd_data_info *info = kd_dataset_info(data);
    ck_assert(info->classes == 2 && info->channels == 3 && info->height == 224);
    ck_assert(info->count[KD_SPLIT_TRAIN] == 7 && info->count[KD_SPLIT_TEST] == 3);
    ck_assert_str_eq(info->class_names[0], "n01");
    ck_assert_str_eq(info->class_names[1], "n02");
    ck_assert(info->mean[0] == .485f && info->std[2] == .225f);
    static const int32_t train[] = {0, 0, 0, 0, 1, 1, 1}, test[] = {0, 1, 1};
    for (size_t i = 0; i < 7; i++) {
        int32_t label;
        test_ok(ctx, kd_dataset_sample(data, KD_SPLIT_TRAIN, i, NULL, &label));
        ck_assert_int_eq(label, train[i]);
        if (i < 3) test_ok(ctx, kd_dataset_sample(data, KD_SPLIT_TEST, i, NULL, &label));
        if (i < 3) ck_assert_int_eq(label, test[i]);
    }
    /* The checksum is of names and sizes, and stays; a relative path is looked for below dir. */
    uint64_t sum, again;
    test_ok(ctx, kd_dataset_checksum(data, &sum));
    test_ok(ctx, kd_dataset_open(ctx, "folder:layout", test_dir(), &other));
    ck_assert_uint_eq(kd_dataset_info(other)->count[KD_SPLIT_TRAIN], 7);
    test_ok(ctx, kd_dataset_checksum(other, &again));
    ck_assert_uint_eq(sum, again);
    kd_dataset_close(other);
    ck_assert_int_eq(rename(join(root, "val/n02/2.JPEG").text, join(root, "val/n02/3.JPEG").text),
                     0);
    other = open_set(ctx, root);
    test_ok(ctx, kd_dataset_checksum(other, &again));
    ck_assert_uint_ne(sum, again);
    kd_dataset_close(other);
    /* without train and val: a test split */
    other = open_set(ctx, join(root, "train").text);
    ck_assert_uint_eq(kd_dataset_info(other)->count[KD_SPLIT_TEST], 7);
    ck_assert_uint_eq(kd_dataset_info(other)->count[KD_SPLIT_TRAIN], 0);
    kd_dataset_close(other);
    /* a link to nowhere is missed, not overlooked */
    ck_assert_int_eq(symlink("nowhere", join(root, "train/n02/z.jpg").text), 0);
    ck_assert_int_eq(symlink("nowhere", join(root, "train/n02/z").text), 0);
    other = open_set(ctx, root);
    ck_assert_uint_eq(kd_dataset_info(other)->count[KD_SPLIT_TRAIN], 8);
    ck_assert(kd_dataset_sample(other, KD_SPLIT_TRAIN, 7, NULL, NULL) != KD_OK);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "n02/z.jpg'"));
    kd_dataset_close(other);
    kd_dataset_close(data);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

static void must_fail(kd_ctx *ctx, const char *name, kd_status status, const char *says)
{
    kd_dataset *data;
    ck_assert_int_eq(kd_dataset_open(ctx, name, "/nonexistent", &data), status);
    ck_assert_ptr_null(data);
    ck_assert_msg(strstr(kd_ctx_error(ctx), says) != NULL, "no '%s' in: %s", says,
                  kd_ctx_error(ctx));
}

START_TEST(test_bad_layout)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    const char *root = make_set(&g, "bad");
    char name[PATH + 8];
    must_fail(ctx, "folder", KD_E_INVALID, "folder:PATH");
    must_fail(ctx, "folder:", KD_E_INVALID, "folder:PATH");
    must_fail(ctx, "folder:/nowhere/at/all", KD_E_NOTFOUND, "/nowhere/at/all");
    make_folder(root, "nothing");
    snprintf(name, sizeof name, "folder:%s/nothing", root);
    must_fail(ctx, name, KD_E_NOTFOUND, "no pictures");
    snprintf(name, sizeof name, "folder:%s", root);
    make_folder(root, "val/n03");
    must_fail(ctx, name, KD_E_FORMAT, "no class 'n03'");
    ck_assert_int_eq(rmdir(join(root, "val/n03").text), 0);
    ck_assert_int_eq(symlink("..", join(root, "train/n02/up").text), 0);
    must_fail(ctx, name, KD_E_FORMAT, "too deep");
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- what a loader shows --------------------------------------------------------------------- */

static kd_loader *load(kd_dataset *data, kd_ctx *ctx, kd_loader_opt opt)
{
    kd_loader *l;
    opt.struct_size = sizeof opt;
    test_ok(ctx, kd_loader_create(data, &opt, &l));
    return l;
}

/* An evaluation's view is the resized middle of the picture, here of one that is stored as it
 * is. */
START_TEST(test_centre)
{
    static const float zero[3] = {0, 0, 0}, unit[3] = {1, 1, 1};
    kd_ctx *ctx = test_ctx(1, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    kd_dataset *data = open_set(ctx, make_set(&g, "centre"));
    const kd_view views[] = {{32, 32, 3, zero, unit}, {16, 16, 3, zero, unit}};
    kd_loader *l = load(data, ctx,
                        (kd_loader_opt){.split = KD_SPLIT_TEST,
                                        .first = 1,
                                        .batch = 1,
                                        .augment = "centre:0.9+bicubic",
                                        .n_views = 2,
                                        .views = views});
    const kd_batch *batch;
    const kd_file_tensor *t = golden_find(&g, "base");
    uint8_t *base = malloc(t->count), want[32 * 32 * 3];
    test_ok(ctx, kd_file_read_bytes(g.file, t, 0, t->count, base));
    test_ok(ctx, kd_loader_next(l, &batch));
    ck_assert_str_eq(kd_loader_augment(l), "centre:0.9+bicubic");
    ck_assert_int_eq(batch->labels[0], 1);
    /* 61 x 83: the shorter side becomes floor(32 / 0.9) = 35, the other 47 */
    kdi_framer f;
    kdi_failure failure = {0};
    kdi_framer_init(ctx, &f);
    test_ok(ctx,
            kdi_frame_copy(&f, base, (kdi_shape){61, 83, 3}, true, (kdi_span){0, 61, 35, 2, 32},
                           (kdi_span){0, 83, 47, 8, 32}, want, &failure));
    for (size_t i = 0; i < sizeof want; i++)
        ck_assert(batch->views[0][i] == (float)want[i] / 255.0f);
    /* the smaller view is the same picture */
    double mean[2] = {0, 0};
    for (size_t i = 0; i < sizeof want; i++) mean[0] += (double)batch->views[0][i] / sizeof want;
    for (size_t i = 0; i < 768; i++) mean[1] += (double)batch->views[1][i] / 768;
    ck_assert_double_eq_tol(mean[0], mean[1], 1e-3);
    kdi_framer_free(&f);
    free(base);
    kd_loader_close(l);
    kd_dataset_close(data);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The loader's first batch of floats in 0..1 as bytes [n,h,w,3]; what the augmentation came to. */
static void show(kd_ctx *ctx, kd_dataset *data, const char *augment, size_t first, size_t h,
                 size_t w, uint8_t *out, const char *text)
{
    static const float zero[3] = {0, 0, 0}, unit[3] = {1, 1, 1};
    const kd_view view = {h, w, 3, zero, unit};
    kd_loader *l = load(data, ctx,
                        (kd_loader_opt){.split = KD_SPLIT_TEST,
                                        .first = first,
                                        .batch = 1,
                                        .augment = augment,
                                        .n_views = 1,
                                        .views = &view});
    const kd_batch *b;
    test_ok(ctx, kd_loader_next(l, &b));
    for (size_t i = 0; i < h * w * 3; i++) out[i] = (uint8_t)lroundf(b->views[0][i] * 255);
    if (text) ck_assert_str_eq(kd_loader_augment(l), text);
    kd_loader_close(l);
}

static uint8_t *rgb_of(const golden *g, const char *form)
{
    const kd_file_tensor *t = golden_find(g, "rgb.%s", form);
    uint8_t *rgb = malloc(t->count);
    test_ok(g->ctx, kd_file_read_bytes(g->file, t, 0, t->count, rgb));
    return rgb;
}

enum { HIGH = 61, WIDE = 83, ALL = HIGH * WIDE * 3 }; /* the golden pictures */

/* A picture of exactly the view's size is shown as it is, pixel for pixel, whatever share of it the
 * centre would be: from a folder, as a single file, and as an array. */
START_TEST(test_exact_size)
{
    static const char *const augments[] = {
        NULL,      "none", "centre", "centre:0.875+bilinear", "centre:0.3+bicubic", "imagenet-eval",
        "centre:1"};
    kd_ctx *ctx = test_ctx(1, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    const char *root = make_set(&g, "exact_size");
    const path file = join(root, "val/n02/1.JPEG");
    const char *const paths[] = {file.text};
    kd_dataset *data = open_set(ctx, root), *single, *array;
    uint8_t *rgb = rgb_of(&g, "png_rgb");
    static uint8_t shown[ALL], other[ALL];
    static const int32_t label = 0;
    test_ok(ctx, kd_dataset_from_pictures(ctx, paths, 1, &single));
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = 1,
                               .height = HIGH,
                               .width = WIDE,
                               .channels = 3,
                               .count = {0, 1}};
    test_ok(ctx, kd_dataset_from_arrays(ctx, &info, (const uint8_t *const[]){NULL, rgb},
                                        (const int32_t *const[]){NULL, &label}, 1, &array));
    ck_assert_str_eq(kd_dataset_framing(data), "centre:0.875+bilinear");
    ck_assert_str_eq(kd_dataset_framing(single), "centre:0.875+bilinear");
    ck_assert_str_eq(kd_dataset_framing(array), "none");
    for (size_t i = 0; i < sizeof augments / sizeof *augments; i++) {
        show(ctx, data, augments[i], 1, HIGH, WIDE, shown,
             i == 0   ? "centre:0.875+bilinear"
             : i == 1 ? "centre:1"
                      : NULL);
        ck_assert_int_eq(memcmp(shown, rgb, ALL), 0);
        show(ctx, single, augments[i], 0, HIGH, WIDE, shown, NULL);
        ck_assert_int_eq(memcmp(shown, rgb, ALL), 0);
        show(ctx, array, augments[i], 0, HIGH, WIDE, shown, NULL);
        ck_assert_int_eq(memcmp(shown, rgb, ALL), 0);
        /* one row less is another size, and then the share counts */
        show(ctx, single, augments[i], 0, HIGH - 1, WIDE, shown, NULL);
        show(ctx, single, "centre:1", 0, HIGH - 1, WIDE, other, NULL);
        ck_assert((memcmp(shown, other, ALL - 3 * WIDE) == 0) == (i == 1 || i == 6));
    }
    free(rgb);
    kd_dataset_close(array);
    kd_dataset_close(single);
    kd_dataset_close(data);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* "none": the picture's shorter side becomes the view's, and nothing more is cut off than what is
 * longer than the view. By default the view has 0.875 of it. */
START_TEST(test_none)
{
    enum { SIDE = 20, FULL = 27, BYTES = SIDE * SIDE * 3 }; /* 20 * 83 / 61, rounded down */
    kd_ctx *ctx = test_ctx(1, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    kd_dataset *data = open_set(ctx, make_set(&g, "nothing"));
    uint8_t *rgb = rgb_of(&g, "png_rgb");
    uint8_t shown[BYTES], want[BYTES];
    kdi_framer f;
    kdi_failure failure = {0};
    kdi_framer_init(ctx, &f);
    const kdi_shape shape = {HIGH, WIDE, 3};
    test_ok(ctx, kdi_frame_copy(&f, rgb, shape, false, (kdi_span){0, HIGH, SIDE, 0, SIDE},
                                (kdi_span){0, WIDE, FULL, 4, SIDE}, want, &failure));
    show(ctx, data, "none", 1, SIDE, SIDE, shown, "centre:1");
    ck_assert_int_eq(memcmp(shown, want, BYTES), 0);
    /* 20 / 0.875 is 22, of which 1 is cut off before; 22 * 83 / 61 is 29, of which 4 are */
    test_ok(ctx, kdi_frame_copy(&f, rgb, shape, false, (kdi_span){0, HIGH, 22, 1, SIDE},
                                (kdi_span){0, WIDE, 29, 4, SIDE}, want, &failure));
    show(ctx, data, NULL, 1, SIDE, SIDE, shown, "centre:0.875+bilinear");
    ck_assert_int_eq(memcmp(shown, want, BYTES), 0);
    show(ctx, data, kd_dataset_framing(data), 1, SIDE, SIDE, shown, NULL);
    ck_assert_int_eq(memcmp(shown, want, BYTES), 0);
    /* steps that frame nothing come after the data set's framing */
    show(ctx, data, "cutout:1", 1, SIDE, SIDE, shown, "centre:0.875+cutout:1");
    size_t same = 0;
    for (size_t i = 0; i < BYTES; i++) same += shown[i] == want[i];
    ck_assert_uint_ge(same, BYTES - 3);
    free(rgb);
    kdi_framer_free(&f);
    kd_dataset_close(data);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A small view of a JPEG is that of all its pixels, if asked to be; else it is near. */
START_TEST(test_exact)
{
    enum { SIDE = 8, BYTES = SIDE * SIDE * 3 };
    static const float zero[3] = {0, 0, 0}, unit[3] = {1, 1, 1};
    static const char *const augments[] = {"rrc:1+exact", "rrc:1"};
    kd_ctx *ctx = test_ctx(1, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    kd_dataset *data = open_set(ctx, make_set(&g, "exact"));
    const kd_view view = {SIDE, SIDE, 3, zero, unit};
    const kd_file_tensor *t = golden_find(&g, "rgb.jpeg_444");
    uint8_t *rgb = malloc(t->count), want[BYTES];
    test_ok(ctx, kd_file_read_bytes(g.file, t, 0, t->count, rgb));
    kdi_framer f;
    kdi_failure failure = {0};
    kdi_framer_init(ctx, &f);
    /* 61 x 83: no part of that area is 3:4 to 4:3; the middle of 61 x 81 is */
    test_ok(ctx,
            kdi_frame_copy(&f, rgb, (kdi_shape){61, 83, 3}, false, (kdi_span){0, 61, SIDE, 0, SIDE},
                           (kdi_span){1, 81, SIDE, 0, SIDE}, want, &failure));
    for (int a = 0; a < 2; a++) {
        kd_loader *l = load(data, ctx,
                            (kd_loader_opt){.split = KD_SPLIT_TEST,
                                            .batch = 1,
                                            .augment = augments[a],
                                            .n_views = 1,
                                            .views = &view});
        const kd_batch *batch;
        int most = 0;
        test_ok(ctx, kd_loader_next(l, &batch));
        for (size_t i = 0; i < BYTES; i++) {
            const int off = abs((int)lroundf(batch->views[0][i] * 255) - want[i]);
            if (off > most) most = off;
        }
        if (a == 0) ck_assert_int_eq(most, 0);
        if (a == 1) ck_assert(most > 0 && most < 64);
        kd_loader_close(l);
    }
    kdi_framer_free(&f);
    free(rgb);
    kd_dataset_close(data);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A sum over everything a batch holds. */
static uint64_t sum_of(const kd_batch *b, const size_t *floats)
{
    uint64_t sum = kdi_hash(b->labels, b->n * sizeof *b->labels);
    sum = sum * 31 + kdi_hash(b->ids, b->n * sizeof *b->ids);
    sum = sum * 31 + kdi_hash(b->copies, b->n * sizeof *b->copies);
    if (b->shares) sum = sum * 31 + kdi_hash(b->shares, b->n * sizeof *b->shares);
    if (b->shares) sum = sum * 31 + kdi_hash(b->partners, b->n * sizeof *b->partners);
    for (size_t v = 0; v < b->n_views; v++)
        sum = sum * 31 + kdi_hash(b->views[v], b->n * floats[v] * sizeof(float));
    return sum;
}

/* The same bits for any number of threads, any depth, after any seek. */
START_TEST(test_replay)
{
    static const char *const augments[] = {"auto", "none", "deit", "swin+crop:3",
                                           "rrc:0.3+erase:1+repeat:2"};
    static const struct {
        int threads, depth;
    } ways[] = {{1, KD_LOADER_SYNC}, {1, 1}, {2, 2}, {3, 1}, {7, 3}, {2, KD_LOADER_SYNC}};
    const kd_view views[] = {{24, 24, 3, NULL, NULL}, {32, 20, 3, NULL, NULL}};
    const size_t floats[] = {24 * 24 * 3, 32 * 20 * 3};
    kd_ctx *ctx = test_ctx(3, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    kd_dataset *data = open_set(ctx, make_set(&g, "replay"));
    for (size_t a = 0; a < sizeof augments / sizeof *augments; a++) {
        uint64_t sums[12];
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            kd_loader *l = load(data, ctx,
                                (kd_loader_opt){.batch = 3,
                                                .shuffle = 1,
                                                .augment = augments[a],
                                                .seed = 5,
                                                .depth = ways[w].depth,
                                                .threads = ways[w].threads,
                                                .n_views = 2,
                                                .views = views});
            const kd_batch *b;
            for (size_t i = 0; i < 12; i++) {
                if (w == 4 && i == 5) test_ok(ctx, kd_loader_seek(l, 1, 2));
                test_ok(ctx, kd_loader_next(l, &b));
                const uint64_t sum = sum_of(b, floats);
                if (w == 0) sums[i] = sum;
                ck_assert_msg(sums[i] == sum, "%s, %d threads: batch %zu differs", augments[a],
                              ways[w].threads, i);
                if (i) ck_assert(sums[i] != sums[i - 1]);
            }
            kd_loader_close(l);
        }
    }
    kd_dataset_close(data);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- broken files ---------------------------------------------------------------------------- */

typedef struct journal {
    int lines;
    char all[4096];
} journal;

static void note_line(void *user, kd_log_level level, const char *text)
{
    journal *j = user;
    if (level != KD_LOG_WARN) return;
    const size_t used = strlen(j->all);
    j->lines++;
    snprintf(j->all + used, sizeof j->all - used, "%s\n", text);
}

/* The first error from sample `first` on names number and file. */
static void check_error(kd_ctx *ctx, kd_dataset *data, size_t first, int threads,
                        const char *number, const char *file)
{
    kd_loader *l =
        load(data, ctx,
             (kd_loader_opt){.first = first, .batch = 9, .augment = "none", .threads = threads});
    const kd_batch *b;
    ck_assert_int_eq(kd_loader_next(l, &b), KD_E_FORMAT);
    ck_assert_msg(strstr(kd_ctx_error(ctx), number) && strstr(kd_ctx_error(ctx), file), "%s",
                  kd_ctx_error(ctx));
    kd_loader_close(l);
}

static void check_skipped(kd_ctx *ctx, kd_dataset *data, const char *augment, journal *j)
{
    kd_loader *l = load(data, ctx, (kd_loader_opt){.batch = 10, .augment = augment, .threads = 2});
    const kd_batch *b;
    for (int epoch = 0; epoch < 2; epoch++) {
        test_ok(ctx, kd_loader_next(l, &b));
        ck_assert_uint_eq(b->n, 7);
        for (size_t i = 0; i < b->n; i++) {
            ck_assert_int_eq(b->labels[i], b->ids[i] >= 6);
            if (!b->shares) continue;
            /* 10 samples, of which 1, 3 and 7 are broken: 8, 6 and 2 lost their partner */
            const bool alone = b->ids[i] == 8 || b->ids[i] == 6 || b->ids[i] == 2;
            ck_assert(alone ? b->shares[i] == 1 : b->shares[i] < 1);
        }
    }
    ck_assert_uint_eq(kd_dataset_broken(data), 3);
    ck_assert_int_eq(j->lines, 3); /* the first time only */
    const char *const first = strstr(j->all, "n01/Broken.jpg'"), *const last =
                                                                     strstr(j->all, "7.png'");
    ck_assert(first && last && first < strstr(j->all, "mis.jpg'"));
    ck_assert(strstr(first, "mis.jpg'") < last);
    kd_loader_close(l);
}

START_TEST(test_broken)
{
    journal j = {0};
    kd_ctx *ctx;
    const kd_config config = {
        .struct_size = sizeof config, .threads = 2, .log = note_line, .log_user = &j};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    golden g = golden_open(ctx, "pictures.safetensors");
    const char *root = make_set(&g, "broken");
    files_write(join(root, "train/n01").text, "Broken.jpg", "not a picture", 13); /* number 1 */
    put(&g, "jpeg_420", join(root, "train/n01/a-b").text, "mis.jpg", 900);        /* 3 */
    put(&g, "png_rgb", join(root, "train/n02").text, "7.png", 3000);
    kd_dataset *data = open_set(ctx, root);
    ck_assert_uint_eq(kd_dataset_info(data)->count[KD_SPLIT_TRAIN], 10);
    for (int threads = 1; threads <= 3; threads++)
        check_error(ctx, data, 0, threads, "train sample 1:", "train/n01/Broken.jpg'");
    check_error(ctx, data, 2, 1, "train sample 3:", "train/n01/a-b/mis.jpg'"); /* in its pixels */
    check_error(ctx, data, 4, 1, "train sample 7:", "train/n02/7.png'");
    ck_assert_int_eq(kd_dataset_sample(data, KD_SPLIT_TRAIN, 3, NULL, NULL), KD_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "train/n01/a-b/mis.jpg'"));
    test_ok(ctx, kd_dataset_skip_broken(data));
    check_skipped(ctx, data, "none", &j);
    check_skipped(ctx, data, "swin", &j);
    /* a batch of nothing else */
    kd_loader *l = load(data, ctx, (kd_loader_opt){.batch = 1, .first = 1, .augment = "none"});
    const kd_batch *b;
    test_ok(ctx, kd_loader_next(l, &b));
    ck_assert_uint_eq(b->n, 0);
    test_ok(ctx, kd_loader_next(l, &b));
    ck_assert_uint_eq(b->n, 1);
    kd_loader_close(l);
    kd_dataset_close(data);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

static void ignore_row(void *arg, const uint8_t *rgb)
{
    size_t *sum = arg;
    *sum += rgb[0];
}

/* Read whatever the bytes say; the failure must tell what is wrong if that fails. */
static kd_status try(kdi_decoder *d, const uint8_t *bytes, size_t size)
{
    kdi_failure failure = {0};
    size_t sum = 0;
    kd_status status = kdi_decoder_open_bytes(d, bytes, size, &failure);
    if (!status) {
        const kdi_area all = {0, 0, d->width, d->height};
        status = kdi_decoder_rows(d, 1, all, ignore_row, &sum, &failure);
    }
    ck_assert_int_eq(status, failure.status);
    ck_assert(!status || failure.text[0]);
    return status;
}

/* Cut off anywhere: an error, but for the very last bytes. Changed anywhere: whatever, but
 * safely. */
START_TEST(test_hostile)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    kdi_rng rng = kdi_rng_make(3, KDI_RNG_TEST, 0, 0);
    kdi_decoder d;
    kdi_decoder_init(ctx, &d);
    for (size_t i = 0; i < kd_file_count(g.file); i++) {
        const kd_file_tensor *t = kd_file_at(g.file, i);
        if (strncmp(t->name, "file.", 5)) continue;
        uint8_t *bytes = malloc(t->count);
        test_ok(ctx, kd_file_read_bytes(g.file, t, 0, t->count, bytes));
        for (size_t cut = 1; cut < t->count; cut += 1 + cut / 9) {
            /* of exactly that size, so that a memory checker sees a step beyond */
            uint8_t *part = malloc(t->count - cut);
            memcpy(part, bytes, t->count - cut);
            const kd_status status = try(&d, part, t->count - cut);
            ck_assert_msg(status == KD_E_FORMAT || cut < 32, "%s cut by %zu", t->name, cut);
            free(part);
        }
        for (int round = 0; round < 60; round++) {
            uint8_t *changed = malloc(t->count);
            memcpy(changed, bytes, t->count);
            for (int k = 0; k < 4; k++)
                changed[kdi_rng_below(&rng, (uint32_t)t->count)] = (uint8_t)kdi_rng_u32(&rng);
            try(&d, changed, t->count);
            free(changed);
        }
        ck_assert_int_eq(try(&d, bytes, t->count), KD_OK);
        free(bytes);
    }
    kdi_decoder_free(&d);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Headers that promise more than the bytes can hold, and more than the context allows. */
START_TEST(test_bombs)
{
    kd_ctx *ctx;
    const kd_config config = {.struct_size = sizeof config, .threads = 1, .max_memory = 100000};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    kd_ctx *plain = test_ctx(1, NULL);
    golden g = golden_open(plain, "pictures.safetensors");
    const kd_file_tensor *t = golden_find(&g, "file.jpeg_progressive");
    uint8_t *bytes = malloc(t->count);
    test_ok(plain, kd_file_read_bytes(g.file, t, 0, t->count, bytes));
    kdi_decoder d;
    kdi_decoder_init(ctx, &d);
    kdi_failure failure = {0};
    ck_assert_int_eq(try(&d, bytes, t->count), KD_OK);
    for (size_t i = 0; i + 9 < t->count; i++) /* the frame header: height, width */
        if (bytes[i] == 0xFF && bytes[i + 1] == 0xC2) {
            bytes[i + 5] = bytes[i + 7] = 0x02;
            break;
        }
    ck_assert_int_eq(try(&d, bytes, t->count), KD_E_LIMIT);
    for (size_t i = 0; i + 9 < t->count; i++)
        if (bytes[i] == 0xFF && bytes[i + 1] == 0xC2) bytes[i + 5] = bytes[i + 7] = 0xF0;
    ck_assert_int_eq(kdi_decoder_open_bytes(&d, bytes, t->count, &failure), KD_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(failure.text, "sides must be"));
    for (size_t i = 0; i + 9 < t->count; i++)
        if (bytes[i] == 0xFF && bytes[i + 1] == 0xC2) bytes[i + 5] = bytes[i + 7] = 0x20;
    ck_assert_int_eq(kdi_decoder_open_bytes(&d, bytes, t->count, &failure), KD_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(failure.text, "cannot hold"));
    free(bytes);
    kdi_decoder_free(&d);
    golden_close(&g);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    kd_ctx_destroy(plain);
}
END_TEST

/* Every allocation fails once: an error, and nothing is lost. */
START_TEST(test_no_memory)
{
    test_heap heap = {0};
    kd_ctx *plain = test_ctx(1, NULL), *ctx = test_ctx_counting(&heap, 1);
    golden g = golden_open(plain, "pictures.safetensors");
    char name[PATH + 8];
    snprintf(name, sizeof name, "folder:%s", make_set(&g, "pictures_memory"));
    const long before = heap.live;
    const kd_view view = {20, 20, 3, NULL, NULL};
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .batch = 7,
                               .augment = "deit",
                               .depth = KD_LOADER_SYNC,
                               .n_views = 1,
                               .views = &view};
    long n = 0;
    for (bool done = false; !done;) {
        kd_dataset *data = NULL;
        kd_loader *l = NULL;
        const kd_batch *b;
        heap.count = 0;
        heap.fail_at = ++n;
        kd_status status = kd_dataset_open(ctx, name, NULL, &data);
        if (!status) status = kd_loader_create(data, &opt, &l);
        if (!status) status = kd_loader_next(l, &b);
        done = heap.count < heap.fail_at;
        ck_assert_msg(status == (done ? KD_OK : KD_E_NOMEM), "allocation %ld: %s: %s", n,
                      kd_status_name(status), kd_ctx_error(ctx));
        kd_loader_close(l);
        kd_dataset_close(data);
        ck_assert_int_eq(heap.live, before);
    }
    ck_assert_int_gt(n, 60);
    golden_close(&g);
    kd_ctx_destroy(ctx);
    kd_ctx_destroy(plain);
}
END_TEST

TEST_SUITE(folder, 60, &test_layout, &test_bad_layout, &test_centre, &test_exact_size, &test_none,
           &test_exact, &test_replay, &test_broken, &test_hostile, &test_bombs, &test_no_memory)
#else
/* Without the libraries a picture is an error that says how to get them. */
START_TEST(test_unsupported)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const char *folder = files_folder("unsupported");
    char path[1200];
    files_write(folder, "a.jpg", "\xFF\xD8\xFF\xE0 and so on", 14);
    files_write(folder, "b.jpg", "\x89PNG\r\n\x1a\n and so on", 18);
    kd_dataset *data;
    for (int i = 0; i < 2; i++) {
        const char *const paths[] = {path};
        snprintf(path, sizeof path, "%s/%c.jpg", folder, 'a' + i);
        if (i == 0 ? KDI_JPEG : KDI_PNG) continue;
        test_ok(ctx, kd_dataset_from_pictures(ctx, paths, 1, &data));
        ck_assert_int_eq(kd_dataset_sample(data, KD_SPLIT_TEST, 0, NULL, NULL), KD_E_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "was built without"));
        kd_dataset_close(data);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(folder, 60, &test_unsupported)
#endif
