/* SPDX-License-Identifier: MIT
 * fuzz_safetensors.c: a libFuzzer target. The input is a whole file, opened from memory; everything
 * its tables say is asked for, and every tensor is read in every way.
 *
 * Beyond what the sanitizers see, it checks that an opened file keeps its promises: tensors lie in
 * the file and follow one another, names and keys are found again, and opening took no more memory
 * than a small multiple of the input. */
#include "fuzz.h"

#include <kd/file.h>

#include <stdlib.h>
#include <string.h>

static void ask_metadata(const kd_file *f)
{
    const char *key, *value;
    for (size_t i = 0; i < kd_file_metadata_count(f); i++) {
        require(kd_file_metadata_at(f, i, &key, &value));
        require(kd_file_metadata_get(f, key) == value);
        require(strlen(value) < kd_file_size(f));
    }
}

static void read_tensors(kd_file *f)
{
    uint64_t end = 0;
    for (size_t i = 0; i < kd_file_count(f); i++) {
        const kd_file_tensor *t = kd_file_at(f, i);
        require(kd_file_find(f, t->name) == t);
        require(i == 0 || t->offset == end);
        end = t->offset + t->bytes;
        require(end <= kd_file_size(f) && t->count * kd_dtype_size(t->dtype) == t->bytes);
        /* No bigger than the file, whatever the shape says: eight bytes an element at most. */
        void *out = malloc(t->count * 8 + 1);
        require(out && !kd_file_read_bytes(f, t, 0, (size_t)t->bytes, out));
        (void)kd_file_read_f32(f, t, 0, t->count, out);
        (void)kd_file_read_i64(f, t, 0, t->count, out);
        if (t->count) (void)kd_file_read_f32(f, t, t->count - 1, 1, out);
        free(out);
    }
    require(kd_file_count(f) == 0 || end == kd_file_size(f));
}

int FUZZ_TARGET(safetensors)(const uint8_t *bytes, size_t size)
{
    kd_ctx *ctx = fuzz_begin(0);
    kd_file *f;
    const kd_status status = kd_file_from_memory(ctx, bytes, size, "input", &f);
    require(fuzz_peak() <= 12 * size + 4096);
    require(!status == (f != NULL));
    if (status) {
        fuzz_words(ctx);
    } else {
        ask_metadata(f);
        read_tensors(f);
        kd_file_close(f);
    }
    fuzz_end(ctx);
    return 0;
}
