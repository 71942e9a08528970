/* SPDX-License-Identifier: MIT
 * fuzz_cifar.c: a fuzz target. The input is a recipe for the files of CIFAR-10 or CIFAR-100, which
 * kd_dataset_open then reads: byte 0 says which set, and which of the files are missing; then comes
 * the content of each file (fuzz_content), the class names' last. Where the input ends, the other
 * files are like the last one described.
 *
 * Promises: a set that opens has labels in range and as many pictures as its files; opening takes
 * little more memory than the files' sizes. */
#include "fuzz.h"

#include <kd/data.h>

#include <string.h>

/* SPARE: what unpacking takes, should a file be gzip. */
enum { FILES = 7, PICTURE = 3072, LARGEST = 2 * (PICTURE + 2) + 8, SPARE = 160 * 1024 };

/* The training files, the test file, the class names. */
static fuzz_file ten[FILES] = {{.name = "data_batch_1.bin"}, {.name = "data_batch_2.bin"},
                               {.name = "data_batch_3.bin"}, {.name = "data_batch_4.bin"},
                               {.name = "data_batch_5.bin"}, {.name = "test_batch.bin"},
                               {.name = "batches.meta.txt"}};
static fuzz_file hundred[] = {
    {.name = "train.bin"}, {.name = "test.bin"}, {.name = "fine_label_names.txt"}};

/* The bytes of all files. */
static size_t write_files(fuzz_input *in, fuzz_file *files, size_t n, unsigned missing,
                          const char *folder)
{
    uint8_t content[LARGEST]; /* two records are as good as more */
    size_t total = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        if (in->left) size = fuzz_content(in, content, sizeof content);
        if (missing >> i & 1)
            fuzz_remove(&files[i], folder);
        else
            fuzz_write(&files[i], folder, content, size);
        total += size;
    }
    return total;
}

static void look(kd_dataset *data, size_t total, size_t record)
{
    const kd_data_info *info = kd_dataset_info(data);
    uint8_t picture[PICTURE];
    int32_t label;
    uint64_t sum;
    require((info->count[0] + info->count[1]) * record <= total);
    for (int s = 0; s < KD_SPLIT_COUNT; s++)
        for (size_t i = 0; i < info->count[s]; i++) {
            require(!kd_dataset_sample(data, (kd_split)s, i, picture, &label));
            require(label >= 0 && (size_t)label < info->classes);
        }
    for (size_t i = 0; info->class_names && i < info->classes; i++)
        require(info->class_names[i][0]);
    require(!kd_dataset_checksum(data, &sum));
}

int FUZZ_TARGET(cifar)(const uint8_t *bytes, size_t size)
{
    static fuzz_place place;
    const char *folder = fuzz_folder(&place, "cifar");
    kd_ctx *ctx = fuzz_begin(0);
    fuzz_input in = {bytes, size};
    kd_dataset *data;
    const unsigned flags = fuzz_byte(&in);
    const bool big = flags & 1;
    /* Seldom anything but the class names is missing. */
    const unsigned missing = flags >> 4 == 15 ? flags >> 1 & 7 : flags & 2 ? big ? 4 : 64 : 0;
    const size_t total = big ? write_files(&in, hundred, 3, missing, folder)
                             : write_files(&in, ten, FILES, missing, folder);
    const kd_status status = kd_dataset_open(ctx, big ? "cifar-100" : "cifar-10", folder, &data);
    require(fuzz_peak() <= 2 * total + SPARE);
    require(!status == (data != NULL));
    if (status)
        fuzz_words(ctx);
    else
        look(data, total, PICTURE + (big ? 2 : 1));
    kd_dataset_close(data);
    fuzz_end(ctx);
    return 0;
}
