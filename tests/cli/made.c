/* SPDX-License-Identifier: MIT
 * made.c: see made.h. */
#include "made.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- pictures -------------------------------------------------------------------------------- */

typedef struct bytes {
    uint8_t *at;
    size_t n;
} bytes;

static void put32(bytes *b, uint32_t x)
{
    for (int shift = 24; shift >= 0; shift -= 8) b->at[b->n++] = (uint8_t)(x >> shift);
}

static uint32_t crc(const uint8_t *x, size_t n)
{
    uint32_t sum = 0xFFFFFFFF;
    for (size_t i = 0; i < n; i++) {
        sum ^= x[i];
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320 : 0);
    }
    return ~sum;
}

static void chunk(bytes *out, const char *kind, const uint8_t *body, size_t n)
{
    put32(out, (uint32_t)n);
    uint8_t *start = out->at + out->n;
    memcpy(start, kind, 4);
    if (n) memcpy(start + 4, body, n);
    out->n += 4 + n;
    put32(out, crc(start, 4 + n));
}

/* Rows behind their filter's byte, in one stored block of deflate. */
static void stored(bytes *out, size_t height, size_t row, const uint8_t *pixels)
{
    const size_t n = height * (row + 1);
    uint32_t a = 1, b = 0;
    ck_assert_uint_lt(n, 65536);
    const uint8_t head[] = {0x78,
                            1,
                            1,
                            (uint8_t)(n & 255),
                            (uint8_t)(n >> 8),
                            (uint8_t)(~n & 255),
                            (uint8_t)(~n >> 8 & 255)};
    memcpy(out->at, head, sizeof head);
    out->n = sizeof head;
    for (size_t y = 0; y < height; y++) {
        out->at[out->n++] = 0;
        memcpy(out->at + out->n, pixels + y * row, row);
        out->n += row;
    }
    for (size_t i = sizeof head; i < out->n; i++) {
        a = (a + out->at[i]) % 65521;
        b = (b + a) % 65521;
    }
    put32(out, b << 16 | a);
}

void made_text(const char *path, const void *text, size_t size)
{
    char folder[4200];
    kd_ctx *ctx = test_ctx(1, NULL);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    test_ok(ctx, kd_folder_make(ctx, folder));
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f != NULL, "%s", path);
    ck_assert_uint_eq(fwrite(text, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
    kd_ctx_destroy(ctx);
}

void made_png(const char *path, size_t height, size_t width, size_t channels, const uint8_t *pixels)
{
    const size_t capacity = height * (width * channels + 1) + 200;
    bytes file = {.at = malloc(capacity)}, body = {.at = malloc(capacity)},
          head = {.at = malloc(20)};
    ck_assert(file.at && body.at && head.at);
    put32(&head, (uint32_t)width);
    put32(&head, (uint32_t)height);
    memcpy(head.at + 8, (const uint8_t[]){8, channels == 3 ? 2 : 0, 0, 0, 0}, 5);
    stored(&body, height, width * channels, pixels);
    memcpy(file.at, "\x89PNG\r\n\x1a\n", 8);
    file.n = 8;
    chunk(&file, "IHDR", head.at, 13);
    chunk(&file, "IDAT", body.at, body.n);
    chunk(&file, "IEND", NULL, 0);
    made_text(path, file.at, file.n);
    free(file.at);
    free(body.at);
    free(head.at);
}

void made_picture(const char *path, size_t side, uint64_t seed)
{
    float *x = malloc(side * side * 3 * sizeof *x);
    uint8_t *pixels = malloc(side * side * 3);
    ck_assert(x && pixels);
    test_fill(x, side * side * 3, seed, 127);
    for (size_t i = 0; i < side * side * 3; i++) pixels[i] = (uint8_t)(x[i] + 128);
    made_png(path, side, side, 3, pixels);
    free(x);
    free(pixels);
}

/* ---- networks -------------------------------------------------------------------------------- */

void made_network(kd_ctx *ctx, const char *path, uint64_t seed, const made_about *about)
{
    kd_model *m;
    enum { MOST = 64 };
    float mean[MOST], std[MOST];
    test_ok(ctx, kd_model_create(ctx, about->spec, seed, &m));
    kd_params *p = kd_model_params(m);
    const kd_param_info *head = kd_params_find(p, "classifier.weight");
    float *w = calloc(head->count, sizeof *w);
    ck_assert_ptr_nonnull(w);
    if (!about->undecided) test_fill(w, head->count, seed, 20);
    test_ok(ctx, kd_params_set(p, head, w));
    free(w);
    for (size_t i = 0; i < MOST; i++) mean[i] = .5f, std[i] = .25f;
    if (about->normalized) test_ok(ctx, kd_model_set_normalization(m, mean, std));
    if (about->names) test_ok(ctx, kd_model_set_class_names(m, about->names));
    if (about->framing) test_ok(ctx, kd_model_set_framing(m, about->framing));
    if (about->data) test_ok(ctx, kd_model_set_data(m, about->data, 0x1234));
    test_ok(ctx, kd_model_save(m, path));
    kd_model_destroy(m);
}

/* ---- files ----------------------------------------------------------------------------------- */

char *made_bytes(kd_ctx *ctx, const char *path, size_t *size)
{
    char *text;
    test_ok(ctx, kd_file_read_all(ctx, path, 1 << 28, &text, size));
    return text;
}

float *made_read(kd_ctx *ctx, const char *path, const char *name, size_t count)
{
    kd_file *f;
    float *x = kd_ctx_alloc(ctx, count, sizeof *x);
    test_ok(ctx, kd_file_open(ctx, path, &f));
    const kd_file_tensor *t = kd_file_find(f, name);
    ck_assert_msg(t != NULL, "%s has no %s", path, name);
    ck_assert_uint_eq(t->count, count);
    test_ok(ctx, kd_file_read_f32(f, t, 0, count, x));
    kd_file_close(f);
    return x;
}

/* One tensor into a writer; the copy of its values, which must live until the end. */
static void *copy_tensor(kd_ctx *ctx, kd_file *f, const kd_file_tensor *t, kd_writer *w,
                         made_change change)
{
    char name[300];
    snprintf(name, sizeof name, "%s%s", change.prefix ? change.prefix : "", t->name);
    void *values = kd_ctx_alloc(ctx, t->count, 8);
    ck_assert_ptr_nonnull(values);
    test_ok(ctx, kd_file_read_bytes(f, t, 0, t->bytes, values));
    kd_dtype dtype = t->dtype;
    if (change.float_counters && strstr(name, "num_batches_tracked")) {
        int64_t counted;
        float as_float;
        memcpy(&counted, values, sizeof counted);
        as_float = (float)counted;
        memcpy(values, &as_float, sizeof as_float);
        dtype = KD_F32;
    }
    test_ok(ctx, kd_writer_tensor(w, name, dtype, t->rank, t->shape, values));
    return values;
}

void made_copy(kd_ctx *ctx, const char *from, const char *path, made_change change)
{
    enum { MOST = 200 };
    static void *copies[MOST];
    kd_file *f;
    kd_json *json;
    kd_writer *w[2] = {NULL, NULL};
    const char *text;
    test_path file[2] = {test_at(path, "part-1.safetensors"), test_at(path, "part-2.safetensors")};
    const test_path index = test_at(path, "model.safetensors.index.json");
    test_ok(ctx, kd_file_open(ctx, from, &f));
    if (change.shards) test_ok(ctx, kd_folder_make(ctx, path));
    for (int i = 0; i < 1 + change.shards; i++)
        test_ok(ctx, kd_writer_create(ctx, change.shards ? file[i].text : path, &w[i]));
    test_ok(ctx, kd_json_create(ctx, 0, &json));
    kd_json_object_begin(json, NULL);
    kd_json_object_begin(json, "weight_map");
    const size_t n = kd_file_count(f);
    ck_assert_uint_le(n, MOST);
    for (size_t i = 0; i < n; i++) {
        const kd_file_tensor *t = kd_file_at(f, i);
        const size_t part = change.shards ? i % 2 : 0;
        copies[i] = copy_tensor(ctx, f, t, w[part], change);
        kd_json_string(json, t->name, part ? "part-2.safetensors" : "part-1.safetensors");
    }
    kd_json_object_end(json);
    kd_json_object_end(json);
    test_ok(ctx, kd_json_text(json, &text, NULL));
    for (int i = 0; i < 1 + change.shards; i++) test_ok(ctx, kd_writer_finish(w[i]));
    if (change.shards) made_text(index.text, text, strlen(text));
    kd_json_destroy(json);
    for (size_t i = 0; i < n; i++) kd_ctx_free(ctx, copies[i]);
    kd_file_close(f);
}
