/* SPDX-License-Identifier: MIT
 * test_file_read.c: reading safetensors: a file of the reference implementation, every rule of the
 * format broken once, cut and bent files, bombs, failing memory. */
#include "../test.h"

#include "../../lib/file/printable.h"
#include "reference_file.h"

#include <kd/file.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file's bytes from its header's text and its data, in a block of exactly that size. */
static unsigned char *build(const char *header, size_t header_size, size_t data, size_t *size)
{
    const uint64_t length = header_size;
    *size = 8 + header_size + data;
    unsigned char *bytes = calloc(*size, 1);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, header_size);
    return bytes;
}

/* Read every tensor in every way; what comes is not looked at, but must be there to look at. */
static void read_all(kd_file *f)
{
    for (size_t i = 0; i < kd_file_count(f); i++) {
        const kd_file_tensor *t = kd_file_at(f, i);
        ck_assert_ptr_eq(kd_file_find(f, t->name), t);
        ck_assert_uint_le(t->offset + t->bytes, kd_file_size(f));
        void *out = malloc(t->count * 8 + 1);
        ck_assert_int_eq(kd_file_read_bytes(f, t, 0, (size_t)t->bytes, out), KD_OK);
        (void)kd_file_read_f32(f, t, 0, t->count, out);
        (void)kd_file_read_i64(f, t, 0, t->count, out);
        free(out);
    }
}

START_TEST(test_read_reference)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    test_ok(ctx, kd_file_from_memory(ctx, reference, sizeof reference, NULL, &f));
    ck_assert_uint_eq(kd_file_count(f), 10);
    ck_assert_uint_eq(kd_file_size(f), sizeof reference);
    ck_assert_uint_eq(kd_file_metadata_count(f), 1);
    ck_assert_str_eq(kd_file_metadata_get(f, "format"), "pt");
    ck_assert_ptr_null(kd_file_metadata_get(f, "absent"));
    const char *key, *value;
    ck_assert(kd_file_metadata_at(f, 0, &key, &value) && !kd_file_metadata_at(f, 1, &key, &value));
    ck_assert_str_eq(key, "format");

    float x[6];
    const kd_file_tensor *t = kd_file_find(f, "features.0.weight");
    ck_assert(t && t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->dtype == KD_F32);
    test_ok(ctx, kd_file_read_f32(f, t, 0, 6, x));
    ck_assert(x[0] == 1 && x[1] == -2 && x[2] == .5f && x[3] == 1e-40f && x[4] == 3e38f);
    ck_assert(isinf(x[5]));
    test_ok(ctx, kd_file_read_f32(f, t, 1, 2, x));
    ck_assert(x[0] == -2 && x[1] == .5f);
    test_ok(ctx, kd_file_read_f32(f, t, 6, 0, x));
    ck_assert_int_eq(kd_file_read_f32(f, t, 5, 2, x), KD_E_INVALID);
    ck_assert_int_eq(kd_file_read_f32(f, t, SIZE_MAX, 2, x), KD_E_INVALID);
    ck_assert_int_eq(kd_file_read_f32(f, NULL, 0, 1, x), KD_E_INVALID);
    test_ok(ctx, kd_file_read_f32(f, kd_file_find(f, "half"), 0, 3, x));
    ck_assert(x[0] == 1.5f && x[1] == -65504 && x[2] == 0x1p-24f);
    test_ok(ctx, kd_file_read_f32(f, kd_file_find(f, "brain"), 0, 2, x));
    ck_assert(x[0] == 1.5f && x[1] == -123.5f);
    test_ok(ctx, kd_file_read_f32(f, kd_file_find(f, "double"), 0, 2, x));
    ck_assert(x[0] == .1f && x[1] == -INFINITY);
    test_ok(ctx, kd_file_read_f32(f, kd_file_find(f, "empty"), 0, 0, x));

    int64_t k[5];
    t = kd_file_find(f, "steps");
    ck_assert(t && t->rank == 0 && t->count == 1 && t->bytes == 8);
    test_ok(ctx, kd_file_read_i64(f, t, 0, 1, k));
    ck_assert_int_eq(k[0], -((int64_t)1 << 40));
    test_ok(ctx, kd_file_read_i64(f, kd_file_find(f, "labels"), 0, 4, k));
    ck_assert(k[0] == 1 && k[1] == -2 && k[2] == 3 && k[3] == INT32_MIN);
    test_ok(ctx, kd_file_read_i64(f, kd_file_find(f, "bytes"), 0, 5, k));
    ck_assert(k[1] == 1 && k[3] == 128 && k[4] == 255);
    test_ok(ctx, kd_file_read_i64(f, kd_file_find(f, "mask"), 0, 2, k));
    ck_assert(k[0] == 0 && k[1] == 1);
    test_ok(ctx, kd_file_read_i64(f, kd_file_find(f, "Größe \"\\\n\x01\xF0\x9F\x98\x80"), 0, 1, k));
    ck_assert_int_eq(k[0], -300);
    ck_assert_int_eq(kd_file_read_i64(f, kd_file_find(f, "half"), 0, 3, k), KD_E_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "tensor 'half': f16 cannot be read as i64"));
    ck_assert_int_eq(kd_file_read_f32(f, kd_file_find(f, "labels"), 0, 4, x), KD_E_UNSUPPORTED);
    ck_assert_int_eq(kd_file_read_bytes(f, t, 4, 5, k), KD_E_INVALID);
    ck_assert_ptr_null(kd_file_find(f, "absent"));
    ck_assert_ptr_null(kd_file_at(f, 10));
    kd_file_close(f);
    kd_file_close(NULL);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

#define ONE(entry) "{\"a\":{" entry "}}"
#define F32(shape, offsets) "\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets

static const struct {
    const char *header;
    size_t data;
    kd_status status;
    const char *error; /* a piece of it; NULL: it opens */
} rules[] = {
    {"{}", 0, KD_OK, NULL},
    {"{}   \t\n", 0, KD_OK, NULL},
    {ONE(F32("[]", "[0,4]")), 4, KD_OK, NULL},
    {ONE(F32("[1,1]", "[0,4],\"more\":[{\"x\":1},2]")), 4, KD_OK, NULL},
    {"{\"__metadata__\":null}", 0, KD_OK, NULL},
    {"{\"__metadata__\":{}}", 0, KD_OK, NULL},
    {"{\"__metadata__\":{\"b\":\"1\",\"a\":\"\"}}", 0, KD_OK, NULL},
    {"{\"\":{" F32("[0]", "[0,0]") "},\"a\":{" F32("[1]", "[0,4]") "}}", 4, KD_OK, NULL},
    {"{\"b\":{" F32("[1]", "[4,8]") "},\"a\":{" F32("[1]", "[0,4]") "}}", 8, KD_OK, NULL},
    {ONE("\"data_offsets\":[0,4],\"shape\":[4],\"dtype\":\"\\u00558\""), 4, KD_OK, NULL},
    {ONE(F32("[0,9223372036854775807,4]", "[0,0]")), 0, KD_OK, NULL},

    {"", 0, KD_E_FORMAT, "no JSON header"},
    {" {}", 0, KD_E_FORMAT, "no JSON header"},
    {"[]", 0, KD_E_FORMAT, "no JSON header"},
    {"{}x", 0, KD_E_FORMAT, "malformed JSON at byte 2: something follows"},
    {"{", 0, KD_E_FORMAT, "ends too early"},
    {"{\"a\":1}", 0, KD_E_FORMAT, "tensor 'a': its entry is no object"},
    {"{\"a\":[\"F32\",[],[0,4]]}", 4, KD_E_FORMAT, "its entry is no object"},
    {ONE(""), 0, KD_E_FORMAT, "missing"},
    {ONE("\"dtype\":\"F32\",\"shape\":[]"), 4, KD_E_FORMAT, "missing"},
    {ONE("\"shape\":[],\"data_offsets\":[0,4]"), 4, KD_E_FORMAT, "missing"},
    {ONE("\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]"), 4, KD_E_FORMAT,
     "a key comes twice"},
    {ONE("\"dtype\":32,\"shape\":[],\"data_offsets\":[0,4]"), 4, KD_E_FORMAT, "dtype is no string"},
    {ONE("\"dtype\":\"F31\",\"shape\":[],\"data_offsets\":[0,4]"), 4, KD_E_UNSUPPORTED,
     "tensor 'a' is of type F31, which is not read: weights are f32, f16, bf16 or f64"},
    {ONE("\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]"), 1, KD_E_UNSUPPORTED,
     "of type F4, which"},
    {ONE(F32("4", "[0,4]")), 4, KD_E_FORMAT, "shape is no array"},
    {ONE(F32("[-1]", "[0,4]")), 4, KD_E_FORMAT, "no size"},
    {ONE(F32("[1.0]", "[0,4]")), 4, KD_E_FORMAT, "no size"},
    {ONE(F32("[\"1\"]", "[0,4]")), 4, KD_E_FORMAT, "no size"},
    {ONE(F32("[[1]]", "[0,4]")), 4, KD_E_FORMAT, "no size"},
    {ONE(F32("[18446744073709551616]", "[0,4]")), 4, KD_E_FORMAT, "no size"},
    {ONE(F32("[9223372036854775808]", "[0,4]")), 4, KD_E_FORMAT, "no size"},
    {ONE(F32("[4294967296,4294967296]", "[0,0]")), 0, KD_E_FORMAT, "overflows"},
    {ONE(F32("[4611686018427387904]", "[0,0]")), 0, KD_E_FORMAT, "overflows"},
    {ONE(F32("[9223372036854775807,4,0]", "[0,0]")), 0, KD_E_FORMAT, "overflows"},
    {ONE(F32("[1,1,1,1,1,1,1,1,1]", "[0,4]")), 4, KD_E_UNSUPPORTED, "9 dimensions"},
    {ONE(F32("[1]", "[0]")), 4, KD_E_FORMAT, "not two numbers"},
    {ONE(F32("[1]", "[0,4,4]")), 4, KD_E_FORMAT, "not two numbers"},
    {ONE(F32("[1]", "[-4,0]")), 4, KD_E_FORMAT, "not two numbers"},
    {ONE(F32("[1]", "\"0,4\"")), 4, KD_E_FORMAT, "not two numbers"},
    {ONE(F32("[1]", "[4,0]")), 4, KD_E_FORMAT, "[4,0]"},
    {ONE(F32("[2]", "[0,8]")), 4, KD_E_FORMAT, "[0,8] in a file with 4 bytes"},
    {ONE(F32("[1]", "[18446744073709551612,18446744073709551615]")), 4, KD_E_FORMAT, "in a file"},
    {ONE(F32("[2]", "[0,4]")), 4, KD_E_FORMAT, "needs 8 bytes, data_offsets give 4"},
    {ONE(F32("[1]", "[0,4]")), 5, KD_E_FORMAT, "4 bytes of tensors, but 5"},
    {ONE(F32("[1]", "[1,5]")), 5, KD_E_FORMAT, "a gap"},
    {ONE(F32("[0]", "[2,2]")), 4, KD_E_FORMAT, "a gap"},
    {"{\"a\":{" F32("[1]", "[0,4]") "},\"b\":{" F32("[1]", "[5,9]") "}}", 9, KD_E_FORMAT,
     "tensor 'b': there is a gap"},
    {"{\"a\":{" F32("[1]", "[0,4]") "},\"b\":{" F32("[1]", "[0,4]") "}}", 4, KD_E_FORMAT,
     "tensor 'b': its data overlaps"},
    {"{\"a\":{" F32("[2]", "[0,8]") "},\"b\":{" F32("[1]", "[4,8]") "}}", 8, KD_E_FORMAT,
     "overlaps"},
    {"{\"a\":{" F32("[1]", "[0,4]") "},\"\\u0061\":{" F32("[1]", "[4,8]") "}}", 8, KD_E_FORMAT,
     "tensor 'a': it comes twice"},
    {"{\"a\\u0000\":{" F32("[1]", "[0,4]") "}}", 4, KD_E_FORMAT, "NUL"},
    {"{\"\\ud800\":{" F32("[1]", "[0,4]") "}}", 4, KD_E_FORMAT, "surrogate"},
    {"{\"\xFF\":{" F32("[1]", "[0,4]") "}}", 4, KD_E_FORMAT, "UTF-8"},
    {"{\"\\u001b[2J\":{" F32("[1]", "[0,8]") "}}", 4, KD_E_FORMAT, "tensor '?[2J'"},
    {"{\"__metadata__\":[]}", 0, KD_E_FORMAT, "no object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, KD_E_FORMAT, "metadata 'a' is no string"},
    {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}}", 0, KD_E_FORMAT, "metadata 'a' comes twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, KD_E_FORMAT, "two __metadata__"},
};

START_TEST(test_read_rules)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        size_t size;
        kd_file *f;
        unsigned char *bytes =
            build(rules[i].header, strlen(rules[i].header), rules[i].data, &size);
        const kd_status status = kd_file_from_memory(ctx, bytes, size, "some.file", &f);
        ck_assert_msg(status == rules[i].status, "%s: %s", rules[i].header,
                      status ? kd_ctx_error(ctx) : "opened");
        ck_assert((status == KD_OK) == (f != NULL));
        if (status) {
            ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "some.file"));
            ck_assert_msg(strstr(kd_ctx_error(ctx), rules[i].error) != NULL, "%s: %s",
                          rules[i].header, kd_ctx_error(ctx));
        } else {
            read_all(f);
        }
        kd_file_close(f);
        free(bytes);
        ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_read_length)
{
    static const uint64_t lengths[] = {3,         UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63,
                                       100000001, 100000000,  INT64_MAX,      UINT32_MAX};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    unsigned char bytes[10] = "\2\0\0\0\0\0\0\0{}";
    test_ok(ctx, kd_file_from_memory(ctx, bytes, 10, NULL, &f));
    ck_assert_ptr_eq(kd_file_at(f, 0), NULL);
    kd_file_close(f);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(bytes, &lengths[i], 8);
        ck_assert_int_eq(kd_file_from_memory(ctx, bytes, 10, NULL, &f), KD_E_FORMAT);
        ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "cut off"));
    }
    ck_assert_uint_lt(kd_ctx_memory_peak(ctx), 4096);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_read_cut)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char path[300];
    snprintf(path, sizeof path, "%s/cut.safetensors", test_dir());
    for (size_t size = 0; size < sizeof reference; size++) {
        kd_file *f;
        unsigned char *bytes = malloc(size ? size : 1);
        memcpy(bytes, reference, size);
        ck_assert_int_eq(kd_file_from_memory(ctx, bytes, size, NULL, &f), KD_E_FORMAT);
        FILE *out = fopen(path, "wb");
        ck_assert(out && fwrite(bytes, 1, size, out) == size && fclose(out) == 0);
        ck_assert_int_eq(kd_file_open(ctx, path, &f), KD_E_FORMAT);
        free(bytes);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* Every bit of length and header turned, and every byte of the header replaced by characters that
 * mean something. Some of these are whole files again; all must be survived. */
START_TEST(test_read_bent)
{
    static const char meaning[] = "\"\\{}[]:,0-9u \xFF\xC3";
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    size_t end, opened = 0;
    memcpy(&end, reference, sizeof end);
    end += 8;
    unsigned char *bytes = malloc(sizeof reference);
    for (size_t at = 0; at < end; at++) {
        memcpy(bytes, reference, sizeof reference);
        for (size_t k = 0; k < 8 + strlen(meaning); k++) {
            if (k < 8)
                bytes[at] ^= (unsigned char)(1u << k);
            else
                bytes[at] = (unsigned char)meaning[k - 8];
            if (kd_file_from_memory(ctx, bytes, sizeof reference, NULL, &f)) continue;
            opened++;
            read_all(f);
            kd_file_close(f);
        }
    }
    ck_assert_uint_gt(opened, 100);
    free(bytes);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

static void bomb(const char *head, const char *piece, size_t count, const char *tail)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    const size_t a = strlen(head), b = strlen(piece), c = strlen(tail);
    size_t size;
    char *header = malloc(a + b * count + c);
    memcpy(header, head, a);
    for (size_t i = 0; i < count; i++) memcpy(header + a + i * b, piece, b);
    memcpy(header + a + b * count, tail, c);
    unsigned char *bytes = build(header, a + b * count + c, 0, &size);
    ck_assert_int_ne(kd_file_from_memory(ctx, bytes, size, NULL, &f), KD_OK);
    ck_assert_uint_lt(kd_ctx_memory_peak(ctx), 12 * size + 4096);
    free(bytes);
    free(header);
    kd_ctx_destroy(ctx);
}

START_TEST(test_read_bombs)
{
    bomb("{\"a\":", "[", 100000, "}");
    bomb("{\"a\":", "{\"a\":", 100000, "}");
    bomb("{\"a\":[0", ",0", 100000, "]}");
    bomb("{\"a\":[[]", ",[]", 100000, "]}");
    bomb("{\"a\":{\"shape\":[0", ",0000", 100000, "]}}");
    bomb("{\"a\":{\"shape\":[0", ",   0", 100000, "]}}");
    bomb("{\"a\":1", ",\"\":1", 100000, "}");
    bomb("{\"a\":1", ",\"abcdef\":1", 100000, "}");
    bomb("{\"__metadata__\":{\"a\":\"\"", ",\"b\":\"\"", 100000, "}}");
    bomb("{", "\\u0000", 100000, "}");
    bomb("", "{}", 100000, "");
    bomb("", "\"", 100000, "");
    bomb("{\"a", "\xC3\xA9", 100000, "");
}
END_TEST

START_TEST(test_read_many)
{
    enum { COUNT = 20000 };
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    char *header = malloc(COUNT * 100), name[32];
    size_t n = 1, size;
    header[0] = '{';
    for (int i = 0; i < COUNT; i++)
        n += (size_t)sprintf(header + n,
                             "%s\"blocks.%d.weight\":{\"dtype\":\"U8\",\"shape\":[1],"
                             "\"data_offsets\":[%d,%d]}",
                             i ? "," : "", i, COUNT - 1 - i, COUNT - i);
    header[n++] = '}';
    unsigned char *bytes = build(header, n, COUNT, &size);
    test_ok(ctx, kd_file_from_memory(ctx, bytes, size, NULL, &f));
    ck_assert_uint_lt(kd_ctx_memory_peak(ctx), 12 * size);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "blocks.%d.weight", i);
        ck_assert_ptr_eq(kd_file_find(f, name), kd_file_at(f, (size_t)(COUNT - 1 - i)));
    }
    kd_file_close(f);
    free(bytes);
    free(header);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_read_paths)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    char path[300];
    float x[6];
    ck_assert_int_eq(kd_file_open(ctx, NULL, &f), KD_E_INVALID);
    ck_assert_int_eq(kd_file_open(ctx, "/nonexistent/x.safetensors", &f), KD_E_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "/nonexistent/x.safetensors"));
    ck_assert_int_eq(kd_file_open(ctx, test_dir(), &f), KD_E_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "model.safetensors.index.json"));
    ck_assert_int_eq(kd_file_open(ctx, "/dev/zero", &f), KD_E_IO);
    snprintf(path, sizeof path, "%s/pipe", test_dir());
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(kd_file_open(ctx, path, &f), KD_E_IO);

    /* One that shrinks under us. */
    snprintf(path, sizeof path, "%s/shrinks.safetensors", test_dir());
    FILE *out = fopen(path, "wb");
    ck_assert(out && fwrite(reference, 1, sizeof reference, out) == sizeof reference);
    ck_assert_int_eq(fclose(out), 0);
    test_ok(ctx, kd_file_open(ctx, path, &f));
    ck_assert_str_eq(kd_file_path(f), path);
    read_all(f);
    ck_assert_int_eq(truncate(path, 100), 0);
    ck_assert_int_eq(kd_file_read_f32(f, kd_file_find(f, "features.0.weight"), 0, 6, x), KD_E_IO);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "shorter"));
    kd_file_close(f);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_read_show)
{
    char name[300];
    ck_assert_str_eq(kdi_show("features.0.weight").text, "features.0.weight");
    ck_assert_str_eq(kdi_show("a\x1B[2J\n\x7F\xC2\x9B\xC2\xA0\xFF"
                              "b")
                         .text,
                     "a?[2J???\xC2\xA0?b");
    for (size_t n = 95; n < 105; n++) {
        memset(name, 'x', n);
        strcpy(name + n, "é");
        const size_t shown = strlen(kdi_show(name).text);
        ck_assert_uint_eq(shown, n + 2 <= 100 ? n + 2 : n < 100 ? n + 3 : 103);
    }
}
END_TEST

START_TEST(test_read_u64)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    size_t size;
    int64_t k[2];
    static const char header[] = ONE("\"dtype\":\"U64\",\"shape\":[2],\"data_offsets\":[0,16]");
    unsigned char *bytes = build(header, strlen(header), 16, &size);
    memset(bytes + size - 16, 0xFF, 16);
    bytes[size - 9] = 0x7F;
    test_ok(ctx, kd_file_from_memory(ctx, bytes, size, NULL, &f));
    test_ok(ctx, kd_file_read_i64(f, kd_file_at(f, 0), 0, 1, k));
    ck_assert_int_eq(k[0], INT64_MAX);
    ck_assert_int_eq(kd_file_read_i64(f, kd_file_at(f, 0), 0, 2, k), KD_E_UNSUPPORTED);
    kd_file_close(f);
    free(bytes);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_read_memory)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    for (long n = 1;; n++) {
        kd_file *f;
        heap.fail_at = heap.count + n;
        const kd_status status = kd_file_from_memory(ctx, reference, sizeof reference, NULL, &f);
        const bool failed = heap.count >= heap.fail_at;
        ck_assert_int_eq(status, failed ? KD_E_NOMEM : KD_OK);
        ck_assert(failed ? f == NULL : f != NULL);
        heap.fail_at = 0;
        if (f) read_all(f);
        kd_file_close(f);
        ck_assert_int_eq(heap.live, 1);
        if (!failed) break;
    }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(file_read, 60, &test_read_reference, &test_read_rules, &test_read_length, &test_read_cut,
           &test_read_bent, &test_read_bombs, &test_read_many, &test_read_paths, &test_read_show,
           &test_read_u64, &test_read_memory)
