/* SPDX-License-Identifier: MIT
 * fuzz_cache.c: a fuzz target. The input begins with the length of a teacher cache's key (two
 * bytes); the key, as cache.json has it, and an epoch's file follow.
 *
 * Promises: a key that is taken describes rows that there can be; a row that is taken is of finite
 * numbers; memory is the key's, the file's and a row's. */
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>

#include "../../lib/train/train.h"

enum { CLASSES = 512, ROWS = 16 };

static void read_rows(kdt_epoch_file *e, const kdt_layout *l)
{
    unsigned char *bytes = malloc(l->row_bytes);
    float *room = malloc(l->form.teachers * l->form.classes * sizeof *room);
    float *rows[KD_MAX_TEACHERS];
    require(bytes && room);
    for (size_t t = 0; t < l->form.teachers; t++) rows[t] = room + t * l->form.classes;
    for (size_t row = 0; row < l->rows && row < ROWS; row++) {
        bool there;
        const kd_status status = kdt_epoch_read(e, row, (uint32_t)row, bytes, &there);
        if (status) fuzz_words(e->ctx);
        if (status || !there || !kdt_row_decode(l, bytes, rows)) continue;
        for (size_t i = 0; i < l->form.teachers * l->form.classes; i++) require(isfinite(room[i]));
    }
    free(room);
    free(bytes);
}

static void open_file(kd_ctx *ctx, const kdt_key_facts *f, fuzz_input *in)
{
    kdt_layout l;
    kdt_epoch_file e;
    kd_file *file;
    if (f->form.classes > CLASSES) return;
    kd_status status = kdt_layout_make(ctx, &f->form, f->rows, 0, &l);
    if (!status) status = kd_file_from_memory(ctx, in->at, in->left, "input", &file);
    if (!status) status = kdt_epoch_adopt(ctx, &l, 0, file, &e);
    if (status) fuzz_words(ctx);
    if (!status) read_rows(&e, &l);
    if (!status) kdt_epoch_close(&e);
    require(fuzz_peak() <= 24 * in->left + (1 << 16));
    kdt_layout_free(ctx, &l);
}

int FUZZ_TARGET(cache)(const uint8_t *bytes, size_t size)
{
    kd_ctx *ctx = fuzz_begin(0);
    fuzz_input in = {bytes, size};
    kd_json_object *key;
    kdt_key_facts f;
    const size_t asked = fuzz_number(&in), length = asked < in.left ? asked : in.left;
    kd_status status = kd_json_parse(ctx, (const char *)in.at, length, &key);
    require(fuzz_peak() <= 24 * length + 4096);
    in.at += length;
    in.left -= length;
    if (!status) status = kdt_key_read(ctx, "input", key, &f);
    if (status) fuzz_words(ctx);
    if (!status) {
        require(f.rows > 0 && f.form.classes > 0 && f.form.teachers > 0);
        require(f.form.teachers <= KD_MAX_TEACHERS && f.form.top <= f.form.classes);
        open_file(ctx, &f, &in);
    }
    kd_json_object_destroy(key);
    fuzz_end(ctx);
    return 0;
}
