/* SPDX-License-Identifier: MIT
 * test_readers.c: CIFAR, idx and synthetic data sets; files that are damaged in every way. */
#include "files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CIFAR10 "cifar-10-batches-bin"
#define CIFAR100 "cifar-100-binary"

/* Opening must fail with that status and words; nothing may stay. */
static void must_fail(kd_ctx *ctx, const char *name, const char *dir, kd_status status,
                      const char *words, const char *more)
{
    kd_dataset *data = (kd_dataset *)&ctx;
    const size_t before = kd_ctx_memory(ctx);
    const kd_status got = kd_dataset_open(ctx, name, dir, &data);
    ck_assert_msg(got == status, "%s: %s instead of %s: %s", name, kd_status_name(got),
                  kd_status_name(status), kd_ctx_error(ctx));
    ck_assert_ptr_null(data);
    ck_assert_msg(strstr(kd_ctx_error(ctx), words) && strstr(kd_ctx_error(ctx), more),
                  "no '%s' and '%s' in: %s", words, more, kd_ctx_error(ctx));
    ck_assert_uint_eq(kd_ctx_memory(ctx), before);
}

/* All samples are those files.c wrote, pad pixels of black around them. */
static void check_samples(kd_ctx *ctx, kd_dataset *data, size_t pad)
{
    const kd_data_info *info = kd_dataset_info(data);
    const size_t h = info->height, w = info->width, c = info->channels;
    uint8_t *image = malloc(h * w * c);
    for (int s = 0; s < KD_SPLIT_COUNT; s++)
        for (size_t i = 0; i < info->count[s]; i++) {
            int32_t label;
            test_ok(ctx, kd_dataset_sample(data, (kd_split)s, i, image, &label));
            ck_assert_int_eq(label, files_label((kd_split)s, i, info->classes));
            for (size_t p = 0; p < h * w * c; p++) {
                const size_t y = p / c / w, x = p / c % w;
                const bool inside = y >= pad && y < h - pad && x >= pad && x < w - pad;
                const int wanted =
                    inside ? files_pixel((kd_split)s, i, p % c, y - pad, x - pad) : 0;
                ck_assert_int_eq(image[p], wanted);
            }
        }
    free(image);
}

static void count_warnings(void *user, kd_log_level level, const char *text)
{
    if (level == KD_LOG_WARN && strstr(text, "subset")) ++*(int *)user;
}

/* ---- CIFAR ----------------------------------------------------------------------------------- */

START_TEST(test_cifar10)
{
    const char *dir = files_folder("cifar10"), *dirs[2] = {dir, NULL};
    char inner[600];
    files_cifar(dir, false, 3, 4);
    snprintf(inner, sizeof inner, "%s/" CIFAR10, dir);
    files_write(inner, "batches.meta.txt", "a\nb\nc\r\nd\ne\nf\ng\nh\ni\nship\xc3\xa4\n\n", 26);
    dirs[1] = inner;
    for (int d = 0; d < 2; d++) {
        int warnings = 0;
        kd_ctx *ctx;
        const kd_config config = {
            .struct_size = sizeof config, .log = count_warnings, .log_user = &warnings};
        kd_dataset *data;
        ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
        test_ok(ctx, kd_dataset_open(ctx, "cifar-10", dirs[d], &data));
        const kd_data_info *info = kd_dataset_info(data);
        ck_assert_str_eq(info->name, "cifar-10");
        ck_assert_uint_eq(info->struct_size, sizeof *info);
        ck_assert_uint_eq(info->classes, 10);
        ck_assert_uint_eq(info->height, 32);
        ck_assert_uint_eq(info->width, 32);
        ck_assert_uint_eq(info->channels, 3);
        ck_assert_uint_eq(info->count[KD_SPLIT_TRAIN], 15);
        ck_assert_uint_eq(info->count[KD_SPLIT_TEST], 4);
        ck_assert_float_eq(info->mean[1], .4822f);
        ck_assert_float_eq(info->std[2], .2616f);
        ck_assert_str_eq(info->class_names[2], "c");
        ck_assert_str_eq(info->class_names[9], "ship\xc3\xa4");
        ck_assert_int_eq(warnings, 1);
        check_samples(ctx, data, 0);
        int32_t label;
        ck_assert_int_eq(kd_dataset_sample(data, KD_SPLIT_TEST, 4, NULL, &label), KD_E_INVALID);
        ck_assert_int_eq(kd_dataset_sample(data, (kd_split)7, 0, NULL, &label), KD_E_INVALID);
        kd_dataset_close(data);
        ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

START_TEST(test_cifar100)
{
    const char *dir = files_folder("cifar100");
    char inner[600];
    files_cifar(dir, true, 7, 2);
    snprintf(inner, sizeof inner, "%s/" CIFAR100, dir);
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    test_ok(ctx, kd_dataset_open(ctx, "cifar-100", dir, &data));
    const kd_data_info *info = kd_dataset_info(data);
    ck_assert_uint_eq(info->classes, 100);
    ck_assert_uint_eq(info->count[KD_SPLIT_TRAIN], 7);
    ck_assert_float_eq(info->mean[0], .5071f);
    ck_assert_str_eq(info->class_names[0], "apple");
    ck_assert_str_eq(info->class_names[47], "maple_tree");
    ck_assert_str_eq(info->class_names[99], "worm");
    for (size_t i = 1; i < 100; i++)
        ck_assert_int_lt(strcmp(info->class_names[i - 1], info->class_names[i]), 0);
    check_samples(ctx, data, 0);
    kd_dataset_close(data);

    files_poke(inner, "train.bin", 2 * 3074 + 1, 100);
    must_fail(ctx, "cifar-100", dir, KD_E_FORMAT, "train.bin': offset 6149", "label 100");
    files_poke(inner, "train.bin", 2 * 3074, 20);
    must_fail(ctx, "cifar-100", dir, KD_E_FORMAT, "train.bin': offset 6148", "coarse label 20");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_cifar_damaged)
{
    const char *dir = files_folder("damaged");
    char inner[600], path[700];
    kd_ctx *ctx = test_ctx(1, NULL);
    must_fail(ctx, "cifar-10", dir, KD_E_NOTFOUND, dir, "cifar-10-binary.tar.gz");
    must_fail(ctx, "cifar-100", "/nonexistent", KD_E_NOTFOUND, "'/nonexistent/cifar-100-binary'",
              "cifar-100-binary.tar.gz");
    must_fail(ctx, "cifar-10:x=1", dir, KD_E_INVALID, "no options", "x=1");
    files_cifar(dir, false, 3, 4);
    snprintf(inner, sizeof inner, "%s/" CIFAR10, dir);

    files_resize(inner, "data_batch_3.bin", -1);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "data_batch_3.bin", "offset 6146");
    files_resize(inner, "data_batch_3.bin", 2);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "data_batch_3.bin", "offset 9219");
    files_resize(inner, "data_batch_3.bin", -1);
    files_resize(inner, "test_batch.bin", -4 * 3073);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "test_batch.bin", "0 records");
    files_resize(inner, "test_batch.bin", 10001L * 3073);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "test_batch.bin", "10001 records");
    files_resize(inner, "test_batch.bin", -10000L * 3073);
    files_poke(inner, "data_batch_5.bin", 3073, 10);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "data_batch_5.bin': offset 3073", "label 10");
    files_poke(inner, "data_batch_5.bin", 3073, 0x1f);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "data_batch_5.bin", "label 31");
    files_poke(inner, "data_batch_5.bin", 3073, 9);
    files_poke(inner, "data_batch_5.bin", 0, 0x1f);
    files_poke(inner, "data_batch_5.bin", 1, 0x8b);
    must_fail(ctx, "cifar-10", dir, KDI_ZLIB ? KD_E_FORMAT : KD_E_UNSUPPORTED, "data_batch_5.bin",
              "is gzip");
    files_poke(inner, "data_batch_5.bin", 0, 1);

    snprintf(path, sizeof path, "%s/data_batch_4.bin", inner);
    ck_assert_int_eq(unlink(path), 0);
    must_fail(ctx, "cifar-10", dir, KD_E_NOTFOUND, "data_batch_4.bin", "No such file");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "data_batch_4.bin", "not a regular file");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "data_batch_4.bin", "not a regular file");
    kd_ctx_destroy(ctx);
}
END_TEST

/* Without the file of names they are the published ones. */
START_TEST(test_published_names)
{
    static const char *const ten[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                      "dog",      "frog",       "horse", "ship", "truck"};
    const char *dir = files_folder("published");
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    files_cifar(dir, false, 1, 1);
    test_ok(ctx, kd_dataset_open(ctx, "cifar-10", dir, &data));
    for (size_t i = 0; i < 10; i++) ck_assert_str_eq(kd_dataset_info(data)->class_names[i], ten[i]);
    ck_assert_ptr_nonnull(strstr(kd_dataset_note(data, 0), "is a subset: 5 + 1 pictures"));
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_class_names)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "0 class names instead of 10"},
        {"a\nb\n\n", "2 class names instead of 10"},
        {"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n", "line 11: more than 10"},
        {"a\nb\nc\nd\ne\nf\ng\nh\ni\n\033[31mj\n", "line 10 holds a control character"},
    };
    const char *dir = files_folder("names");
    char inner[600];
    files_cifar(dir, false, 1, 1);
    snprintf(inner, sizeof inner, "%s/" CIFAR10, dir);
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        files_write(inner, "batches.meta.txt", bad[i].text, strlen(bad[i].text));
        must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "batches.meta.txt", bad[i].words);
    }
    files_write(inner, "batches.meta.txt", "a\0b", 3);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "batches.meta.txt", "zero byte");
    files_resize(inner, "batches.meta.txt", 100000);
    must_fail(ctx, "cifar-10", dir, KD_E_FORMAT, "batches.meta.txt", "no list");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- idx ------------------------------------------------------------------------------------- */

static void check_fashion(kd_ctx *ctx, const char *dir)
{
    kd_dataset *data;
    test_ok(ctx, kd_dataset_open(ctx, "fashion-mnist", dir, &data));
    const kd_data_info *info = kd_dataset_info(data);
    ck_assert_uint_eq(info->classes, 10);
    ck_assert_uint_eq(info->height, 32);
    ck_assert_uint_eq(info->width, 32);
    ck_assert_uint_eq(info->channels, 1);
    ck_assert_uint_eq(info->count[KD_SPLIT_TRAIN], 5);
    ck_assert_uint_eq(info->count[KD_SPLIT_TEST], 3);
    ck_assert_str_eq(info->class_names[9], "Ankle boot");
    ck_assert_ptr_nonnull(
        strstr(kd_dataset_note(data, 0), "is a subset: 5 + 3 pictures of 60000 + 10000"));
    check_samples(ctx, data, 2);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
}

/* Whole in one split is a subset all the same; with the real counts nothing is remarked. */
START_TEST(test_whole_splits)
{
    static const struct {
        size_t train, test;
        bool subset;
    } cases[] = {{5, 10000, true}, {60000, 3, true}, {60000, 10000, false}};
    const char *dir = files_folder("whole");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_ctx *ctx = test_ctx(1, NULL);
        kd_dataset *data;
        files_idx(dir, cases[i].train, cases[i].test, false);
        test_ok(ctx, kd_dataset_open(ctx, "fashion-mnist", dir, &data));
        const char *note = kd_dataset_note(data, 0);
        ck_assert_msg((note && strstr(note, "is a subset")) == cases[i].subset, "%zu + %zu: %s",
                      cases[i].train, cases[i].test, note ? note : "no note");
        kd_dataset_close(data);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

START_TEST(test_idx)
{
    const char *dir = files_folder("idx");
    char inner[600];
    kd_ctx *ctx = test_ctx(1, NULL);
    files_idx(dir, 5, 3, false);
    check_fashion(ctx, dir);
    snprintf(inner, sizeof inner, "%s/fashion-mnist", files_folder("idx-inner"));
    ck_assert_int_eq(mkdir(inner, 0700), 0);
    files_idx(inner, 5, 3, false);
    *strrchr(inner, '/') = 0;
    check_fashion(ctx, inner);
    ck_assert_int_eq(setenv("KD_DATA", inner, 1), 0);
    check_fashion(ctx, NULL);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_idx_damaged)
{
    static const char images[] = "train-images-idx3-ubyte", labels[] = "t10k-labels-idx1-ubyte";
    const char *dir = files_folder("idx-damaged");
    kd_ctx *ctx = test_ctx(1, NULL);
    files_idx(dir, 5, 3, false);
    const struct {
        const char *file;
        long offset;
        unsigned char byte, right;
        const char *words;
    } pokes[] = {
        {images, 0, 1, 0, "offset 0: no idx file"},
        {images, 2, 0x0d, 8, "offset 0: no idx file"},
        {images, 3, 1, 3, "offset 0: no idx file"},
        {images, 7, 0, 5, "offset 4: 0 pictures"},
        {images, 4, 255, 0, "offset 4: 4278190085 pictures, not 1..60000"},
        {images, 6, 1, 0, "offset 4: 261 pictures cannot be in a file of 3936 bytes"},
        {images, 7, 4, 5, "goes on after offset 3152"},
        {images, 11, 29, 28, "offset 8: pictures of 29x28"},
        {images, 15, 0, 28, "offset 8: pictures of 28x0"},
        {labels, 3, 3, 1, "offset 0: no idx file"},
        {labels, 7, 4, 3, "4 labels for 3 pictures"},
        {labels, 9, 10, 1, "offset 9: label 10"},
        {labels, 10, 255, 8, "offset 10: label 255"},
    };
    for (size_t i = 0; i < sizeof pokes / sizeof *pokes; i++) {
        files_poke(dir, pokes[i].file, pokes[i].offset, pokes[i].byte);
        must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, pokes[i].file, pokes[i].words);
        files_poke(dir, pokes[i].file, pokes[i].offset, pokes[i].right);
    }
    check_fashion(ctx, dir);
    files_resize(dir, labels, -1);
    must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, labels, "ends at offset 10, where 1 more");
    files_resize(dir, labels, 2);
    must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, labels, "goes on after offset 11");
    files_resize(dir, labels, -11);
    must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, labels, "ends at offset 1");
    files_resize(dir, images, -3936);
    must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, images, "ends at offset 0");
    kd_ctx_destroy(ctx);
}
END_TEST

#if KDI_ZLIB
START_TEST(test_gzip)
{
    static const char images[] = "train-images-idx3-ubyte.gz";
    const char *dir = files_folder("gzip");
    kd_ctx *ctx = test_ctx(1, NULL);
    files_idx(dir, 5, 3, true);
    check_fashion(ctx, dir);
    const long size = files_size(dir, images);
    uint8_t *bytes = malloc((size_t)size);
    char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, images);
    FILE *f = fopen(path, "rb");
    ck_assert_uint_eq(fread(bytes, 1, (size_t)size, f), (size_t)size);
    fclose(f);

    /* every length that is too short; garbage behind the end; a wrong check sum */
    for (long n = 0; n < size; n += n < 40 || n > size - 40 ? 1 : 97) {
        files_write(dir, images, bytes, (size_t)n);
        must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, images, "");
    }
    files_write(dir, images, bytes, (size_t)size);
    files_resize(dir, images, 1);
    must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, images, "goes on after offset 3936");
    files_resize(dir, images, -1);
    files_poke(dir, images, size - 6, (unsigned char)(bytes[size - 6] ^ 1));
    must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, images, "incorrect data check");
    /* any byte flipped: an error or the same pictures (the gzip header's time says nothing) */
    for (long n = 0; n < size; n += 13) {
        kd_dataset *data;
        files_write(dir, images, bytes, (size_t)size);
        files_poke(dir, images, n, (unsigned char)(bytes[n] ^ 0x55));
        if (kd_dataset_open(ctx, "fashion-mnist", dir, &data) == KD_OK) {
            check_samples(ctx, data, 2);
            kd_dataset_close(data);
        }
        ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    }
    free(bytes);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_gzip_bomb)
{
    static const char images[] = "train-images-idx3-ubyte.gz";
    const char *dir = files_folder("bomb");
    kd_ctx *ctx = test_ctx(1, NULL);
    files_idx(dir, 5, 3, true);
    /* five pictures announced, 40 MB sent: no more than five are unpacked */
    const size_t size = 40 << 20;
    uint8_t *bytes = calloc(size, 1);
    const uint8_t head[16] = {0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 28, 0, 0, 0, 28};
    memcpy(bytes, head, sizeof head);
    files_write_gzip(dir, images, bytes, size);
    must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, images, "goes on after offset 3936");
    /* 60,000 announced, in a file too small for them whatever it holds */
    bytes[6] = 0xea;
    bytes[7] = 0x60;
    files_write_gzip(dir, images, bytes, 3936);
    must_fail(ctx, "fashion-mnist", dir, KD_E_FORMAT, images, "60000 pictures cannot be in");
    ck_assert_uint_lt(kd_ctx_memory_peak(ctx), 200000);
    free(bytes);
    kd_ctx_destroy(ctx);
}
END_TEST
#else
START_TEST(test_gzip)
{
    const char *dir = files_folder("gzip");
    kd_ctx *ctx = test_ctx(1, NULL);
    files_write(dir, "train-images-idx3-ubyte.gz", "\x1f\x8b", 2);
    must_fail(ctx, "fashion-mnist", dir, KD_E_UNSUPPORTED, "without zlib", "gunzip");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_gzip_bomb)
{
}
END_TEST
#endif

/* ---- synthetic ------------------------------------------------------------------------------- */

START_TEST(test_synthetic)
{
    uint64_t sums[4];
    for (int threads = 1; threads <= 3; threads++) {
        kd_ctx *ctx = test_ctx(threads, NULL);
        kd_dataset *data;
        test_ok(ctx, kd_dataset_open(ctx, "synthetic", "/nonexistent", &data));
        const kd_data_info *info = kd_dataset_info(data);
        ck_assert_uint_eq(info->count[KD_SPLIT_TRAIN], 2000);
        ck_assert_uint_eq(info->count[KD_SPLIT_TEST], 500);
        ck_assert_uint_eq(info->classes, 10);
        ck_assert_float_eq(info->mean[2], .5f);
        ck_assert_str_eq(info->class_names[0], "class0");
        ck_assert_str_eq(info->class_names[9], "class9");
        ck_assert_ptr_null(kd_dataset_note(data, 0));
        test_ok(ctx, kd_dataset_checksum(data, &sums[threads]));
        /* the name opens it again */
        kd_dataset *again;
        test_ok(ctx, kd_dataset_open(ctx, info->name, NULL, &again));
        test_ok(ctx, kd_dataset_checksum(again, &sums[0]));
        ck_assert_uint_eq(sums[0], sums[threads]);
        kd_dataset_close(again);
        kd_dataset_close(data);
        kd_ctx_destroy(ctx);
    }
    ck_assert_uint_eq(sums[1], sums[2]);
    ck_assert_uint_eq(sums[1], sums[3]);
    /* the same on every machine, so a run can be repeated elsewhere */
    ck_assert_uint_eq(sums[1], 0x79b6eb9dfca6dfa9u);
}
END_TEST

START_TEST(test_synthetic_options)
{
    static const char *const bad[] = {"classes",     "classes=",
                                      "classes=1",   "classes=x",
                                      "classes=10,", "clases=10",
                                      "classes=10x", "image=7",
                                      "image=1025",  "channels=5",
                                      "train=0",     "test=-1",
                                      ",",           "seed=99999999999999999999",
                                      "image= 32",   "classes=10,,image=8"};
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_dataset *data;
    test_ok(ctx,
            kd_dataset_open(ctx, "synthetic:test=3,image=9,channels=1,train=7,classes=4,seed=5",
                            NULL, &data));
    const kd_data_info *info = kd_dataset_info(data);
    ck_assert_str_eq(info->name, "synthetic:classes=4,image=9,channels=1,train=7,test=3,seed=5");
    ck_assert_str_eq(info->class_names[3], "class3-seed5");
    ck_assert_uint_eq(info->width, 9);
    ck_assert_uint_eq(info->channels, 1);
    kd_dataset_close(data);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[100];
        snprintf(name, sizeof name, "synthetic:%s", bad[i]);
        must_fail(ctx, name, NULL, KD_E_INVALID, "synthetic", "");
    }
    must_fail(ctx, "mnist", NULL, KD_E_INVALID, "'mnist'",
              "cifar-10 cifar-100 fashion-mnist folder synth");
    must_fail(ctx, "", NULL, KD_E_INVALID, "unknown", "");
    must_fail(ctx, NULL, NULL, KD_E_INVALID, "no name", "");
    kd_ctx_destroy(ctx);
    const kd_config config = {.struct_size = sizeof config, .max_memory = 1000000};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    ck_assert_int_ne(kd_dataset_open(ctx, "synthetic", NULL, &data), KD_OK);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "memory limit"));
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- out of memory --------------------------------------------------------------------------- */

START_TEST(test_open_out_of_memory)
{
    const char *dir = files_folder("nomem");
    char inner[600];
    files_cifar(dir, false, 2, 1);
    files_cifar(dir, true, 2, 1);
    files_idx(dir, 2, 1, KDI_ZLIB == 1);
    snprintf(inner, sizeof inner, "%s/" CIFAR10, dir);
    files_write(inner, "batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", 20);
    static const char *const names[] = {"cifar-10", "cifar-100", "fashion-mnist",
                                        "synthetic:train=4,test=2,image=8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool done = false;
        for (long n = 1; !done; n++) {
            test_heap heap = {0};
            kd_ctx *ctx = test_ctx_counting(&heap, 1);
            const long before = heap.live;
            kd_dataset *data;
            heap.fail_at = heap.count + n;
            const kd_status status = kd_dataset_open(ctx, names[i], dir, &data);
            done = heap.count < heap.fail_at;
            if (done)
                ck_assert_int_eq(status, KD_OK);
            else
                ck_assert_msg(status == KD_E_NOMEM, "%s: %s", names[i], kd_ctx_error(ctx));
            heap.fail_at = 0;
            if (!done) { /* the context is still good */
                ck_assert_int_eq(heap.live, before);
                test_ok(ctx, kd_dataset_open(ctx, names[i], dir, &data));
            }
            kd_dataset_close(data);
            ck_assert_int_eq(heap.live, before);
            kd_ctx_destroy(ctx);
            ck_assert_int_lt(n, 100);
        }
    }
}
END_TEST

/* ---- the real files, where they are ---------------------------------------------------------- */

START_TEST(test_real_cifar10)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    const kd_status status =
        getenv("KD_DATA") ? kd_dataset_open(ctx, "cifar-10", NULL, &data) : KD_E_NOTFOUND;
    if (status != KD_E_NOTFOUND) {
        ck_assert_msg(status == KD_OK, "%s", kd_ctx_error(ctx));
        const kd_data_info *info = kd_dataset_info(data);
        if (info->count[0] == 50000) {
            uint8_t image[32 * 32 * 3];
            int32_t label;
            size_t seen[10] = {0};
            test_ok(ctx, kd_dataset_sample(data, KD_SPLIT_TRAIN, 0, image, &label));
            ck_assert_int_eq(label, 6);
            ck_assert_int_eq(image[0], 59);
            ck_assert_int_eq(image[1], 62);
            ck_assert_int_eq(image[2], 63);
            test_ok(ctx, kd_dataset_sample(data, KD_SPLIT_TEST, 0, image, &label));
            ck_assert_int_eq(label, 3);
            ck_assert_int_eq(image[0], 158);
            ck_assert_int_eq(image[1], 112);
            ck_assert_int_eq(image[2], 49);
            for (size_t i = 0; i < 50000; i++) {
                test_ok(ctx, kd_dataset_sample(data, KD_SPLIT_TRAIN, i, NULL, &label));
                seen[label]++;
            }
            for (size_t k = 0; k < 10; k++) ck_assert_uint_eq(seen[k], 5000);
        }
        kd_dataset_close(data);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_real_fashion)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    if (KDI_ZLIB == 1 && access("/usr/share/datasets/fashion-mnist", R_OK) == 0) {
        test_ok(ctx, kd_dataset_open(ctx, "fashion-mnist", "/nonexistent", &data));
        const kd_data_info *info = kd_dataset_info(data);
        ck_assert_uint_eq(info->count[KD_SPLIT_TRAIN], 60000);
        ck_assert_uint_eq(info->count[KD_SPLIT_TEST], 10000);
        uint8_t image[32 * 32];
        int32_t label;
        double sum = 0, squares = 0;
        for (size_t i = 60000; i-- > 0;) {
            test_ok(ctx, kd_dataset_sample(data, KD_SPLIT_TRAIN, i, image, &label));
            for (size_t p = 0; p < sizeof image; p++) {
                sum += image[p];
                squares += image[p] * image[p];
            }
        }
        ck_assert_int_eq(label, 9);
        const double n = 60000. * sizeof image, mean = sum / n / 255;
        ck_assert_double_eq_tol(info->mean[0], mean, 5e-5);
        ck_assert_double_eq_tol(info->std[0], sqrt(squares / n / 65025 - mean * mean), 5e-5);
        kd_dataset_close(data);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(readers, 60, &test_cifar10, &test_cifar100, &test_cifar_damaged, &test_published_names,
           &test_class_names, &test_whole_splits, &test_idx, &test_idx_damaged, &test_gzip,
           &test_gzip_bomb, &test_synthetic, &test_synthetic_options, &test_open_out_of_memory,
           &test_real_cifar10, &test_real_fashion)
