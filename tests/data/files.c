/* SPDX-License-Identifier: MIT
 * files.c: tiny data sets in their file formats, and ways to damage them. */
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if KDI_ZLIB
#include <zlib.h>
#endif

enum { PATH = 1024 };

const char *files_folder(const char *name)
{
    static char folder[PATH];
    snprintf(folder, sizeof folder, "%s/%s", test_dir(), name);
    ck_assert_msg(mkdir(folder, 0700) == 0, "mkdir %s", folder);
    return folder;
}

static void join(char path[PATH], const char *folder, const char *name)
{
    const int n = snprintf(path, PATH, "%s/%s", folder, name);
    ck_assert_int_lt(n, PATH);
}

void files_write(const char *folder, const char *name, const void *bytes, size_t count)
{
    char path[PATH];
    join(path, folder, name);
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f != NULL, "%s", path);
    ck_assert_uint_eq(fwrite(bytes, 1, count, f), count);
    ck_assert_int_eq(fclose(f), 0);
}

void files_write_gzip(const char *folder, const char *name, const void *bytes, size_t count)
{
#if KDI_ZLIB
    char path[PATH];
    join(path, folder, name);
    gzFile f = gzopen(path, "wb");
    ck_assert_msg(f != NULL, "%s", path);
    ck_assert_int_eq(gzwrite(f, bytes, (unsigned)count), (int)count);
    ck_assert_int_eq(gzclose(f), Z_OK);
#else
    (void)folder, (void)name, (void)bytes, (void)count;
    ck_abort_msg("no zlib");
#endif
}

long files_size(const char *folder, const char *name)
{
    char path[PATH];
    struct stat st;
    join(path, folder, name);
    ck_assert_int_eq(stat(path, &st), 0);
    return (long)st.st_size;
}

void files_resize(const char *folder, const char *name, long change)
{
    char path[PATH];
    join(path, folder, name);
    ck_assert_int_eq(truncate(path, files_size(folder, name) + change), 0);
}

void files_poke(const char *folder, const char *name, long offset, unsigned char byte)
{
    char path[PATH];
    join(path, folder, name);
    FILE *f = fopen(path, "r+b");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, offset, SEEK_SET), 0);
    ck_assert_int_eq(fputc(byte, f), byte);
    ck_assert_int_eq(fclose(f), 0);
}

uint8_t files_pixel(kd_split split, size_t sample, size_t channel, size_t y, size_t x)
{
    const size_t mixed = (((size_t)split * 331 + sample) * 61 + channel * 17 + y) * 131 + x;
    return (uint8_t)(mixed * 2654435761u >> 11);
}

int32_t files_label(kd_split split, size_t sample, size_t classes)
{
    return (int32_t)((sample * 7 + 3 + (size_t)split) % classes);
}

void files_cifar(const char *folder, bool hundred, size_t per_file, size_t test)
{
    static const char *const ten[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                      "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};
    static const char *const two[] = {"train.bin", "test.bin"};
    const size_t files = hundred ? 2 : 6, most = per_file > test ? per_file : test;
    char inner[PATH];
    join(inner, folder, hundred ? "cifar-100-binary" : "cifar-10-batches-bin");
    ck_assert_int_eq(mkdir(inner, 0700), 0);
    uint8_t *bytes = malloc(most * 3074);
    for (size_t f = 0; f < files; f++) {
        const kd_split split = f + 1 < files ? KD_SPLIT_TRAIN : KD_SPLIT_TEST;
        const size_t count = split == KD_SPLIT_TRAIN ? per_file : test;
        uint8_t *out = bytes;
        for (size_t i = 0; i < count; i++) {
            const size_t sample = split == KD_SPLIT_TRAIN ? f * per_file + i : i;
            if (hundred) *out++ = (uint8_t)(sample % 20);
            *out++ = (uint8_t)files_label(split, sample, hundred ? 100 : 10);
            for (size_t c = 0; c < 3; c++)
                for (size_t y = 0; y < 32; y++)
                    for (size_t x = 0; x < 32; x++) *out++ = files_pixel(split, sample, c, y, x);
        }
        files_write(inner, hundred ? two[f] : ten[f], bytes, (size_t)(out - bytes));
    }
    free(bytes);
}

static uint8_t *put32(uint8_t *out, size_t number)
{
    for (size_t shift = 32; shift; shift -= 8) *out++ = (uint8_t)(number >> (shift - 8));
    return out;
}

static void idx_split(const char *folder, kd_split split, size_t count, bool gzip)
{
    void (*const write)(const char *, const char *, const void *, size_t) =
        gzip ? files_write_gzip : files_write;
    const char *stem = split == KD_SPLIT_TRAIN ? "train" : "t10k", *end = gzip ? ".gz" : "";
    char name[64];
    uint8_t *bytes = malloc(16 + count * 28 * 28), *out;
    out = put32(put32(put32(put32(bytes, 0x803), count), 28), 28);
    for (size_t i = 0; i < count; i++)
        for (size_t y = 0; y < 28; y++)
            for (size_t x = 0; x < 28; x++) *out++ = files_pixel(split, i, 0, y, x);
    snprintf(name, sizeof name, "%s-images-idx3-ubyte%s", stem, end);
    write(folder, name, bytes, (size_t)(out - bytes));
    out = put32(put32(bytes, 0x801), count);
    for (size_t i = 0; i < count; i++) *out++ = (uint8_t)files_label(split, i, 10);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte%s", stem, end);
    write(folder, name, bytes, (size_t)(out - bytes));
    free(bytes);
}

void files_idx(const char *folder, size_t train, size_t test, bool gzip)
{
    idx_split(folder, KD_SPLIT_TRAIN, train, gzip);
    idx_split(folder, KD_SPLIT_TEST, test, gzip);
}
