/* SPDX-License-Identifier: MIT
 * fuzz_shards.c: a fuzz target. The input is a recipe for three files: the content (fuzz_content) of
 * an index, and of a.safetensors and b.safetensors beside it. The index is opened, every tensor
 * looked up and read.
 *
 * Promises: opening takes no more memory than a small multiple of the files; what opens is one file:
 * offsets go up, every tensor is found and read. */
#include "fuzz.h"

#include <kd/file.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES = 3, LARGEST = 2048, MULTIPLE = 24, SPARE = 16384 };

static fuzz_file files[FILES] = {
    {.name = "model.safetensors.index.json"}, {.name = "a.safetensors"}, {.name = "b.safetensors"}};

static void look(kd_file *f)
{
    uint64_t end = 0;
    for (size_t i = 0; i < kd_file_count(f); i++) {
        const kd_file_tensor *t = kd_file_at(f, i);
        void *out = malloc((size_t)t->bytes + 1);
        require(kd_file_find(f, t->name) == t);
        require(t->offset >= end);
        end = t->offset + t->bytes;
        require(out && !kd_file_read_bytes(f, t, 0, (size_t)t->bytes, out));
        free(out);
    }
    require(end <= kd_file_size(f));
    for (size_t i = 0; i < kd_file_metadata_count(f); i++) {
        const char *key, *value;
        require(kd_file_metadata_at(f, i, &key, &value));
        require(kd_file_metadata_get(f, key) == value);
    }
}

int FUZZ_TARGET(shards)(const uint8_t *bytes, size_t size)
{
    static fuzz_place place;
    kd_ctx *ctx = fuzz_begin(0);
    fuzz_input in = {bytes, size};
    uint8_t content[LARGEST];
    size_t total = 0;
    kd_file *f;
    const char *folder = fuzz_folder(&place, "shards");
    for (size_t i = 0; i < FILES; i++) {
        const size_t n = fuzz_content(&in, content, sizeof content);
        fuzz_write(&files[i], folder, content, n);
        total += n;
    }
    char path[700];
    snprintf(path, sizeof path, "%s/%s", folder, files[0].name);
    const kd_status status = kd_file_open(ctx, path, &f);
    require(fuzz_peak() <= MULTIPLE * total + SPARE);
    require(!status == (f != NULL));
    if (status)
        fuzz_words(ctx);
    else
        look(f);
    kd_file_close(f);
    fuzz_end(ctx);
    return 0;
}
