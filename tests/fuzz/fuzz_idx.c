/* SPDX-License-Identifier: MIT
 * fuzz_idx.c: a fuzz target. The input is a recipe for the four idx files of Fashion-MNIST, which
 * kd_dataset_open then reads: byte 0 says whether they bear the names of gzip files (bit 0) and
 * which are wrapped into one with a right check sum (bits 4-7); then comes the content of each
 * (fuzz_content). Without a wrapping the content may itself be gzip, a damaged one, too.
 *
 * Promises as for CIFAR; a gzip file counts as what deflate can unpack from it at most. */
#include "fuzz.h"

#include <kd/data.h>

enum { FILES = 4, LARGEST = 4096, SIDE = 32, SPARE = 256 * 1024, INFLATION = 1032 };

static fuzz_file plain[FILES] = {{.name = "train-images-idx3-ubyte"},
                                 {.name = "train-labels-idx1-ubyte"},
                                 {.name = "t10k-images-idx3-ubyte"},
                                 {.name = "t10k-labels-idx1-ubyte"}};
static fuzz_file packed[FILES] = {{.name = "train-images-idx3-ubyte.gz"},
                                  {.name = "train-labels-idx1-ubyte.gz"},
                                  {.name = "t10k-images-idx3-ubyte.gz"},
                                  {.name = "t10k-labels-idx1-ubyte.gz"}};

/* The most bytes all files can unpack to. */
static size_t write_files(fuzz_input *in, unsigned flags, fuzz_file *files, const char *folder)
{
    uint8_t content[LARGEST], wrapped[LARGEST + 64];
    size_t total = 0;
    for (size_t i = 0; i < FILES; i++) {
        const bool wrap = flags >> (4 + i) & 1;
        const uint8_t *bytes = wrap ? wrapped : content;
        size_t size = fuzz_content(in, content, sizeof content);
        if (wrap) size = fuzz_wrap(content, size, wrapped);
        fuzz_write(&files[i], folder, bytes, size);
        total += size > 1 && bytes[0] == 0x1F ? size * INFLATION : size;
    }
    return total;
}

static void look(kd_dataset *data)
{
    const kd_data_info *info = kd_dataset_info(data);
    uint8_t picture[SIDE * SIDE];
    int32_t label;
    for (int s = 0; s < KD_SPLIT_COUNT; s++)
        for (size_t i = 0; i < info->count[s]; i++) {
            require(!kd_dataset_sample(data, (kd_split)s, i, picture, &label));
            require(label >= 0 && (size_t)label < info->classes);
            require(picture[0] == 0 && picture[SIDE * SIDE - 1] == 0);
        }
}

int FUZZ_TARGET(idx)(const uint8_t *bytes, size_t size)
{
    /* A folder for each kind of names: nothing needs to be removed. */
    static fuzz_place places[2];
    kd_ctx *ctx = fuzz_begin(0);
    fuzz_input in = {bytes, size};
    kd_dataset *data;
    const unsigned flags = fuzz_byte(&in);
    const char *folder = fuzz_folder(&places[flags & 1], flags & 1 ? "idx_gz" : "idx");
    const size_t total = write_files(&in, flags, flags & 1 ? packed : plain, folder);
    const kd_status status = kd_dataset_open(ctx, "fashion-mnist", folder, &data);
    /* 1024 pixels and a label of a picture for 784 bytes of a file. */
    require(fuzz_peak() <= 2 * total + SPARE);
    require(!status == (data != NULL));
    if (status)
        fuzz_words(ctx);
    else
        look(data);
    kd_dataset_close(data);
    fuzz_end(ctx);
    return 0;
}
