/* SPDX-License-Identifier: MIT
 * fuzz_cache.c: a fuzz target. The input begins with the length of a teacher cache's key (two
 * bytes); the key, as cache.json has it, and an epoch's file follow.
 *
 * Promises: a key that is taken describes rows that there can be; a row that is taken is of finite
 * numbers; memory is the key's, the file's and a row's. */
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/train/train.h"

enum { CLASSES = 512, NUMBERS = 1024, ROWS = 16 };

/* Floats of a row: each teacher's logits, then the features. */
static size_t numbers_of(const kdt_row_form *form)
{
    size_t n = form->teachers * form->classes;
    for (size_t i = 0; i < form->n_features; i++) n += form->feature[i].size;
    return n;
}

static void read_rows(kdt_epoch_file *e, const kdt_layout *l)
{
    const kdt_row_form *form = &l->form;
    const size_t n = numbers_of(form);
    unsigned char *bytes = malloc(l->row_bytes);
    float *numbers = malloc(n * sizeof *numbers), *at = numbers;
    float *rows[KD_MAX_TEACHERS], *features[KDT_FEATURES];
    require(bytes && numbers);
    for (size_t t = 0; t < form->teachers; t++, at += form->classes) rows[t] = at;
    for (size_t i = 0; i < form->n_features; at += form->feature[i++].size) features[i] = at;
    for (size_t row = 0; row < l->rows && row < ROWS; row++) {
        bool there;
        const kd_status status = kdt_epoch_read(e, row, (uint32_t)row, bytes, &there);
        if (status) fuzz_words(e->ctx);
        if (status || !there || !kdt_row_decode(l, bytes, rows, features)) continue;
        for (size_t i = 0; i < n; i++) require(isfinite(numbers[i]));
    }
    free(numbers);
    free(bytes);
}

/* What is said of features is read as it is written. */
static void check_features(const kdt_row_form *form)
{
    char text[KDT_FEATURES * (KD_TAP_NAME + 40)];
    static kdt_row_form again;
    require(form->n_features <= KDT_FEATURES);
    if (form->n_features == 0) return;
    kdt_features_print(form, text, sizeof text);
    require(strlen(text) + 1 < sizeof text && kdt_features_read(text, &again));
    require(again.n_features == form->n_features);
    for (size_t i = 0; i < form->n_features; i++) {
        require(!strcmp(again.feature[i].name, form->feature[i].name));
        require(again.feature[i].size == form->feature[i].size && again.feature[i].size > 0);
    }
}

static void open_file(kd_ctx *ctx, const kdt_key_facts *f, fuzz_input *in)
{
    kdt_layout l;
    kdt_epoch_file e;
    kd_file *file;
    if (f->form.classes > CLASSES || numbers_of(&f->form) > NUMBERS * KD_MAX_TEACHERS) return;
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
        require(f.rows > 0 && f.form.teachers > 0);
        require(f.form.classes > 0 || f.form.n_features > 0);
        check_features(&f.form);
        require(f.form.teachers <= KD_MAX_TEACHERS && f.form.top <= f.form.classes);
        open_file(ctx, &f, &in);
    }
    kd_json_object_destroy(key);
    fuzz_end(ctx);
    return 0;
}
