/* SPDX-License-Identifier: MIT
 * cache_row.c: a row of a teacher cache as bytes, and the layout of a file of rows.
 *
 * A row holds each teacher's logits as float32 or float16; or, of the `top` most likely classes, the
 * classes' numbers and the logarithms of their probabilities. What those leave of the probability is
 * spread evenly over the other classes, as in TinyViT (Wu et al. 2022). Logits are read back up to a
 * constant then, which no loss here depends on. Features follow, as numbers of the same kind. */
#include "cache.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- layout ---------------------------------------------------------------------------------- */

static void add_segment(kdt_layout *l, const char *name, kd_dtype dtype, size_t width)
{
    kdt_segment *s = &l->segment[l->n_segments++];
    snprintf(s->name, sizeof s->name, "%s", name);
    s->dtype = dtype;
    s->width = width;
    s->bytes = width * kd_dtype_size(dtype);
}

/* What is four bytes wide comes first, so that everything is aligned. */
static void add_segments(kdt_layout *l)
{
    const kdt_row_form *f = &l->form;
    add_segment(l, "rows", KD_U32, 2);
    for (int wide = 1; wide >= 0; wide--) {
        for (size_t t = 0; t < f->teachers && f->classes; t++) {
            char name[40];
            snprintf(name, sizeof name, f->top ? "log_probabilities%zu" : "logits%zu", t);
            if (f->half != wide)
                add_segment(l, name, f->half ? KD_F16 : KD_F32, f->top ? f->top : f->classes);
            snprintf(name, sizeof name, "classes%zu", t);
            if (f->top && !wide) add_segment(l, name, KD_U16, f->top);
        }
        for (size_t i = 0; i < f->n_features && f->half != wide; i++) {
            char name[KD_TAP_NAME + 16];
            snprintf(name, sizeof name, "feature.%s", f->feature[i].name);
            add_segment(l, name, f->half ? KD_F16 : KD_F32, f->feature[i].size);
        }
    }
    for (size_t i = 1; i < l->n_segments; i++) l->row_bytes += l->segment[i].bytes;
}

static const char *type_name(kd_dtype dtype)
{
    return dtype == KD_F32 ? "F32" : dtype == KD_F16 ? "F16" : dtype == KD_U16 ? "U16" : "U32";
}

static void print_header(const kdt_layout *l, uint64_t key, kd_json *j)
{
    uint64_t at = 0;
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)key);
    kd_json_object_begin(j, NULL);
    kd_json_object_begin(j, "__metadata__");
    kd_json_string(j, "libkd.cache", hash);
    kd_json_string(j, "libkd.kind", "teacher-cache");
    kd_json_object_end(j);
    for (size_t i = 0; i < l->n_segments; i++) {
        const kdt_segment *s = &l->segment[i];
        kd_json_object_begin(j, s->name);
        kd_json_string(j, "dtype", type_name(s->dtype));
        kd_json_array_begin(j, "shape");
        kd_json_integer(j, NULL, (int64_t)l->rows);
        kd_json_integer(j, NULL, (int64_t)s->width);
        kd_json_array_end(j);
        kd_json_array_begin(j, "data_offsets");
        kd_json_integer(j, NULL, (int64_t)at);
        at += (uint64_t)s->bytes * l->rows;
        kd_json_integer(j, NULL, (int64_t)at);
        kd_json_array_end(j);
        kd_json_object_end(j);
    }
    kd_json_object_end(j);
}

/* The 8 bytes of the header's length, the header, and spaces up to a multiple of 8. */
static kd_status make_header(kd_ctx *ctx, kdt_layout *l, uint64_t key)
{
    kd_json *j;
    const char *text;
    size_t size;
    kd_status status = kd_json_create(ctx, 0, &j);
    if (status) return status;
    print_header(l, key, j);
    status = kd_json_text(j, &text, &size);
    const size_t padded = status ? 0 : (size + 7) / 8 * 8;
    if (!status) l->header = kd_ctx_alloc(ctx, 8 + padded, 1);
    if (!status && !l->header) status = kd_ctx_memory_status(ctx);
    if (!status) {
        const uint64_t length = padded;
        memset(l->header, ' ', 8 + padded);
        memcpy(l->header, &length, 8);
        memcpy(l->header + 8, text, size);
        l->header_bytes = 8 + padded;
    }
    kd_json_destroy(j);
    return status;
}

kd_status kdt_layout_make(kd_ctx *ctx, const kdt_row_form *form, size_t rows, uint64_t key,
                          kdt_layout *l)
{
    enum { MOST_CLASSES = 1 << 24 };
    *l = (kdt_layout){.form = *form, .rows = rows};
    const bool empty = form->classes == 0 && form->n_features == 0;
    if (empty || form->classes > MOST_CLASSES || form->teachers == 0 ||
        form->teachers > KD_MAX_TEACHERS || rows == 0 || rows > UINT32_MAX ||
        (form->n_features && form->teachers > 1))
        return kd_ctx_fail(ctx, KD_E_FORMAT,
                           "a teacher cache of %zu rows, %zu teachers and %zu classes", rows,
                           form->teachers, form->classes);
    if (form->top && (form->top > form->classes || form->classes > 65536))
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "cache_top: %zu of %zu classes: it must be at most their number, and "
                           "they at most 65536",
                           form->top, form->classes);
    add_segments(l);
    const kd_status status = make_header(ctx, l, key);
    if (status) return status;
    l->file_bytes = l->header_bytes;
    for (size_t i = 0; i < l->n_segments; i++) {
        l->segment[i].offset = l->file_bytes;
        l->file_bytes += (uint64_t)l->segment[i].bytes * rows;
    }
    return KD_OK;
}

void kdt_layout_free(kd_ctx *ctx, kdt_layout *l)
{
    if (l->header) kd_ctx_free(ctx, l->header);
    *l = (kdt_layout){0};
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Where the bytes of a segment are within a row. */
static size_t find_named(const kdt_layout *l, const char *name)
{
    size_t at = 0;
    for (size_t i = 1; i < l->n_segments && strcmp(l->segment[i].name, name); i++)
        at += l->segment[i].bytes;
    return at;
}

/* The same of teacher t's segment of a kind. */
static size_t find(const kdt_layout *l, const char *kind, size_t t)
{
    char name[40];
    snprintf(name, sizeof name, "%s%zu", kind, t);
    return find_named(l, name);
}

static size_t find_feature(const kdt_layout *l, size_t i)
{
    char name[KD_TAP_NAME + 16];
    snprintf(name, sizeof name, "feature.%s", l->form.feature[i].name);
    return find_named(l, name);
}

static bool put(const kdt_layout *l, unsigned char *to, float x)
{
    const uint16_t half = kd_f32_to_f16(x);
    if (l->form.half)
        memcpy(to, &half, sizeof half);
    else
        memcpy(to, &x, sizeof x);
    return isfinite(l->form.half ? kd_f16_to_f32(half) : x);
}

static float get(const kdt_layout *l, const unsigned char *from)
{
    uint16_t half;
    float x;
    if (!l->form.half) {
        memcpy(&x, from, sizeof x);
        return x;
    }
    memcpy(&half, from, sizeof half);
    return kd_f16_to_f32(half);
}

static double log_sum_exp(const float *x, size_t n)
{
    double most = (double)x[0], sum = 0;
    for (size_t k = 1; k < n; k++)
        if ((double)x[k] > most) most = (double)x[k];
    for (size_t k = 0; k < n; k++) sum += exp((double)x[k] - most);
    return most + log(sum);
}

/* The class with the largest logit among those below (x[last], last) in the order of logits, of
 * equal ones the lower class first. last == n: the first of all. */
static size_t next_class(const float *x, size_t n, size_t last)
{
    size_t best = n;
    for (size_t k = 0; k < n; k++) {
        const bool below = last == n || x[k] < x[last] || (!(x[k] > x[last]) && k > last);
        if (below && (best == n || x[k] > x[best])) best = k;
    }
    return best;
}

static bool encode_top(const kdt_layout *l, size_t t, const float *x, unsigned char *bytes)
{
    const size_t size = l->form.half ? 2 : 4, n = l->form.classes;
    unsigned char *values = bytes + find(l, "log_probabilities", t);
    unsigned char *classes = bytes + find(l, "classes", t);
    const double norm = log_sum_exp(x, n);
    size_t k = n;
    for (size_t i = 0; i < l->form.top; i++) {
        k = next_class(x, n, k);
        if (k == n) return false; /* not a number */
        const uint16_t number = (uint16_t)k;
        memcpy(classes + i * sizeof number, &number, sizeof number);
        if (!put(l, values + i * size, (float)((double)x[k] - norm))) return false;
    }
    return true;
}

/* Numbers one after the other; false: one is not finite, or not as it is kept. */
static bool put_all(const kdt_layout *l, unsigned char *to, const float *x, size_t n)
{
    const size_t size = l->form.half ? 2 : 4;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]) || !put(l, to + i * size, x[i])) return false;
    return true;
}

static bool get_all(const kdt_layout *l, const unsigned char *from, float *x, size_t n)
{
    const size_t size = l->form.half ? 2 : 4;
    for (size_t i = 0; i < n; i++) {
        x[i] = get(l, from + i * size);
        if (!isfinite(x[i])) return false;
    }
    return true;
}

bool kdt_row_encode(const kdt_layout *l, const float *const *logits, const float *const *features,
                    unsigned char *bytes)
{
    const size_t n = l->form.classes;
    for (size_t t = 0; t < l->form.teachers && n; t++) {
        for (size_t k = 0; k < n; k++)
            if (!isfinite(logits[t][k])) return false;
        if (l->form.top ? !encode_top(l, t, logits[t], bytes)
                        : !put_all(l, bytes + find(l, "logits", t), logits[t], n))
            return false;
    }
    for (size_t i = 0; i < l->form.n_features; i++)
        if (!put_all(l, bytes + find_feature(l, i), features[i], l->form.feature[i].size))
            return false;
    return true;
}

static bool decode_top(const kdt_layout *l, size_t t, const unsigned char *bytes, float *x)
{
    const double least = 1e-7; /* that is left to the other classes */
    const size_t size = l->form.half ? 2 : 4, n = l->form.classes, top = l->form.top;
    const unsigned char *values = bytes + find(l, "log_probabilities", t);
    const unsigned char *classes = bytes + find(l, "classes", t);
    double mass = 0;
    for (size_t i = 0; i < top; i++) {
        const float p = get(l, values + i * size);
        if (!isfinite(p) || p > 1) return false;
        mass += exp((double)p);
    }
    const double rest = 1 - mass > least ? 1 - mass : least;
    for (size_t k = 0; k < n; k++) x[k] = (float)log(rest / (double)(n > top ? n - top : 1));
    for (size_t i = 0; i < top; i++) {
        uint16_t k;
        memcpy(&k, classes + i * sizeof k, sizeof k);
        if (k >= n) return false;
        x[k] = get(l, values + i * size);
    }
    return true;
}

bool kdt_row_decode(const kdt_layout *l, const unsigned char *bytes, float *const *logits,
                    float *const *features)
{
    const size_t n = l->form.classes;
    for (size_t t = 0; t < l->form.teachers && n && logits; t++)
        if (l->form.top ? !decode_top(l, t, bytes, logits[t])
                        : !get_all(l, bytes + find(l, "logits", t), logits[t], n))
            return false;
    for (size_t i = 0; i < l->form.n_features; i++)
        if (features[i] &&
            !get_all(l, bytes + find_feature(l, i), features[i], l->form.feature[i].size))
            return false;
    return true;
}

uint32_t kdt_row_sum(const kdt_layout *l, size_t epoch, uint32_t id, const unsigned char *bytes)
{
    uint64_t h = (0xCBF29CE484222325u ^ (uint32_t)epoch) * 0x100000001B3u;
    h = (h ^ id) * 0x100000001B3u;
    size_t i = 0;
    for (; i + 4 <= l->row_bytes; i += 4) {
        uint32_t word;
        memcpy(&word, bytes + i, sizeof word);
        h = (h ^ word) * 0x100000001B3u;
    }
    for (; i < l->row_bytes; i++) h = (h ^ bytes[i]) * 0x100000001B3u;
    return (uint32_t)(h >> 32 ^ h);
}
