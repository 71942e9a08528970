/* SPDX-License-Identifier: MIT
 * test_file_write.c: writing safetensors, the same bytes as the reference implementation; files replaced
 * as a whole or not at all when the disk, the memory or the process fails. */
#include "../test.h"

#include "../../lib/base/philox.h"
#include "../../lib/file/atomic.h"
#include "../../lib/file/half.h"
#include "reference_file.h"

#include <kd/file.h>

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A folder of its own for each test, so that what is left behind can be counted. */
static char folder[300], path[400];

/* What is replaced: the smallest safetensors file. */
static const char old[16] = "\x08\0\0\0\0\0\0\0{}      ";

static void use_folder(const char *name)
{
    snprintf(folder, sizeof folder, "%s/%s", test_dir(), name);
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    snprintf(path, sizeof path, "%s/file", folder);
}

static size_t files(void)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    while (d && readdir(d)) n++;
    ck_assert(d && closedir(d) == 0);
    return n - 2;
}

static void expect(kd_ctx *ctx, const void *bytes, size_t size)
{
    char *found;
    size_t n;
    test_ok(ctx, kd_file_read_all(ctx, path, 1 << 24, &found, &n));
    ck_assert_uint_eq(n, size);
    ck_assert_int_eq(memcmp(found, bytes, n), 0);
    kd_ctx_free(ctx, found);
}

static void expect_text(kd_ctx *ctx, const char *text)
{
    expect(ctx, text, strlen(text));
}

typedef struct tensor {
    const char *name;
    kd_dtype dtype;
    int rank;
    int64_t shape[2];
    const void *data;
} tensor;

static const tensor tensors[] = {
    {"half", KD_F16, 1, {3}, (const float[]){1.5f, -65504, 6e-8f}},
    {"brain", KD_BF16, 2, {2, 1}, (const float[]){1.5f, -123.5f}},
    {"mask", KD_BOOL, 1, {2}, (const uint8_t[]){0, 1}},
    {"empty", KD_F32, 2, {0, 7}, NULL},
    {"features.0.weight", KD_F32, 2, {2, 3}, (const float[]){1, -2, .5f, 1e-40f, 3e38f, INFINITY}},
    {"labels", KD_I32, 2, {2, 2}, (const int32_t[]){1, -2, 3, INT32_MIN}},
    {"steps", KD_I64, 0, {0}, (const int64_t[]){-((int64_t)1 << 40)}},
    {"double", KD_F64, 1, {2}, (const double[]){.1, -1e300}},
    {"bytes", KD_U8, 1, {5}, (const uint8_t[]){0, 1, 127, 128, 255}},
    {"Größe \"\\\n\x01\xF0\x9F\x98\x80", KD_I16, 1, {1}, (const int16_t[]){-300}},
};
enum { TENSORS = sizeof tensors / sizeof *tensors };

/* The elements a fill function is asked for, in memory's type. */
static size_t memory_size(kd_dtype dtype)
{
    return dtype == KD_F16 || dtype == KD_BF16 ? 4 : kd_dtype_size(dtype);
}

static kd_status fill_sample(void *user, size_t first, size_t count, void *out)
{
    const tensor *t = user;
    const size_t size = memory_size(t->dtype);
    ck_assert_uint_eq((uintptr_t)out % 64, 0);
    memcpy(out, (const char *)t->data + first * size, count * size);
    return KD_OK;
}

/* The reference file's content, added in an order that starts at `first`. */
static kd_status write_reference(kd_ctx *ctx, const char *to, size_t first, bool fill)
{
    kd_writer *w;
    const kd_status status = kd_writer_create(ctx, to, &w);
    if (status) return status;
    for (size_t i = 0; i < TENSORS; i++) {
        const tensor *t = &tensors[(first + i) % TENSORS];
        tensor copy = *t;
        if (fill && t->data)
            kd_writer_tensor_fn(w, t->name, t->dtype, t->rank, t->shape, fill_sample, (void *)t);
        else
            kd_writer_tensor(w, copy.name, t->dtype, t->rank, copy.shape, t->data);
    }
    kd_writer_metadata(w, "format", "pt");
    return kd_writer_finish(w);
}

START_TEST(test_write_reference)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    use_folder("reference");
    for (size_t first = 0; first < TENSORS; first++)
        for (int fill = 0; fill < 2; fill++) {
            test_ok(ctx, write_reference(ctx, path, first, fill));
            expect(ctx, reference, sizeof reference);
        }
    ck_assert_uint_eq(files(), 1);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Element i of an array of integers of that type; false if it is none that int64 can hold. */
static bool integer(kd_dtype dtype, const void *data, size_t i, int64_t *out)
{
    const size_t size = kd_dtype_size(dtype);
    const bool is_signed = dtype == KD_I64 || dtype == KD_I32 || dtype == KD_I16 || dtype == KD_I8;
    uint64_t bits = 0;
    memcpy(&bits, (const char *)data + i * size, size);
    if (is_signed) {
        const unsigned unused = 64 - 8 * (unsigned)size;
        *out = (int64_t)(bits << unused) >> unused;
        return true;
    }
    *out = dtype == KD_BOOL ? bits != 0 : (int64_t)bits;
    return dtype == KD_U32 || dtype == KD_U16 || dtype == KD_U8 || dtype == KD_BOOL;
}

static void check_integers(kd_ctx *ctx, kd_file *f, const kd_file_tensor *t, const void *data)
{
    int64_t want, *got = malloc(t->count * sizeof *got + 1);
    if (t->count && integer(t->dtype, data, 0, &want)) {
        test_ok(ctx, kd_file_read_i64(f, t, 0, t->count, got));
        for (size_t i = 0; i < t->count; i++) {
            integer(t->dtype, data, i, &want);
            ck_assert_int_eq(got[i], want);
        }
    }
    free(got);
}

/* Every type, in sizes around the pieces in which files are read and written. */
START_TEST(test_write_types)
{
    static const int64_t sizes[] = {0, 1, 7, 2048, 4097, 32768, 70001};
    kd_ctx *ctx = test_ctx(1, NULL);
    use_folder("types");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t n = (size_t)sizes[s];
        uint32_t *data = malloc(n * 8 + 8), *back = malloc(n * 8 + 8);
        kdi_rng r = kdi_rng_make(s, KDI_RNG_TEST, 0, 0);
        for (size_t i = 0; i < 2 * n + 2; i++) data[i] = kdi_rng_u32(&r);
        kd_writer *w;
        kd_file *f;
        test_ok(ctx, kd_writer_create(ctx, path, &w));
        for (int d = 0; d < KD_DTYPE_COUNT; d++)
            kd_writer_tensor(w, kd_dtype_name((kd_dtype)d), (kd_dtype)d, 1, &sizes[s], data);
        test_ok(ctx, kd_writer_finish(w));
        test_ok(ctx, kd_file_open(ctx, path, &f));
        ck_assert_uint_eq(kd_file_count(f), KD_DTYPE_COUNT);
        for (int d = 0; d < KD_DTYPE_COUNT; d++) {
            const kd_file_tensor *t = kd_file_find(f, kd_dtype_name((kd_dtype)d));
            ck_assert(t && t->dtype == (kd_dtype)d && t->rank == 1 && t->count == n);
            ck_assert_uint_eq(t->offset % kd_dtype_size(t->dtype), 0);
            test_ok(ctx, kd_file_read_bytes(f, t, 0, t->bytes, back));
            if (memory_size(t->dtype) == kd_dtype_size(t->dtype)) {
                ck_assert_int_eq(memcmp(back, data, t->bytes), 0);
                check_integers(ctx, f, t, data);
                continue;
            }
            const uint16_t *half = (const uint16_t *)(const void *)back;
            for (size_t i = 0; i < n; i++) {
                const float x = kdi_bits_float(data[i]);
                ck_assert_uint_eq(half[i], d == KD_F16 ? kdi_f32_to_f16(x) : kdi_f32_to_bf16(x));
            }
            float *values = malloc(n * sizeof *values + 1);
            test_ok(ctx, kd_file_read_f32(f, t, 0, n, values));
            for (size_t i = 0; i < n; i++)
                ck_assert_uint_eq(kdi_float_bits(values[i]),
                                  kdi_float_bits(d == KD_F16 ? kdi_f16_to_f32(half[i])
                                                             : kdi_bf16_to_f32(half[i])));
            free(values);
        }
        kd_file_close(f);
        free(data);
        free(back);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* A permuted tensor in pieces: [O,H,W,I] in memory, [O,I,H,W] in the file. */
typedef struct permuted {
    const float *w;
    size_t o, i, h, wd, next;
} permuted;

static kd_status fill_permuted(void *user, size_t first, size_t count, void *out)
{
    permuted *p = user;
    float *y = out;
    ck_assert_uint_eq(first, p->next);
    p->next += count;
    for (size_t k = first; k < first + count; k++) {
        const size_t x = k % p->wd, v = k / p->wd % p->h, c = k / p->wd / p->h % p->i;
        const size_t o = k / p->wd / p->h / p->i;
        y[k - first] = p->w[((o * p->h + v) * p->wd + x) * p->i + c];
    }
    return KD_OK;
}

START_TEST(test_write_permuted)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_writer *w;
    kd_file *f;
    const size_t n = 64 * 3 * 3 * 130;
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    use_folder("permuted");
    test_fill(x, n, 3, 1);
    permuted p = {x, 64, 130, 3, 3, 0};
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    test_ok(ctx, kd_writer_tensor_fn(w, "w", KD_F32, 4, (const int64_t[]){64, 130, 3, 3},
                                     fill_permuted, &p));
    test_ok(ctx, kd_writer_finish(w));
    ck_assert_uint_eq(p.next, n);
    test_ok(ctx, kd_file_open(ctx, path, &f));
    test_ok(ctx, kd_file_read_f32(f, kd_file_at(f, 0), 0, n, y));
    kd_file_close(f);
    p.next = 0;
    float *z = malloc(n * sizeof *z);
    fill_permuted(&p, 0, n, z);
    ck_assert_int_eq(memcmp(y, z, n * sizeof *y), 0);
    free(x);
    free(y);
    free(z);
    kd_ctx_destroy(ctx);
}
END_TEST

static kd_status fill_fails(void *user, size_t first, size_t count, void *out)
{
    (void)out;
    return first + count > 40000 ? kd_ctx_fail(user, KD_E_STOPPED, "enough") : KD_OK;
}

START_TEST(test_write_fill_fails)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_writer *w;
    use_folder("fill");
    test_ok(ctx, kd_file_write_atomic(ctx, path, old, sizeof old));
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    test_ok(ctx,
            kd_writer_tensor_fn(w, "a", KD_BF16, 1, (const int64_t[]){100000}, fill_fails, ctx));
    ck_assert_int_eq(kd_writer_finish(w), KD_E_STOPPED);
    ck_assert_str_eq(kd_ctx_error(ctx), "enough");
    expect(ctx, old, sizeof old);
    ck_assert_uint_eq(files(), 1);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_write_metadata)
{
    static const char *const keys[] = {"z", "a\"\\/\b\f\n\r\t\x01\x7F", "", "spec",
                                       "é\xF0\x9F\x98\x80"};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_writer *w;
    kd_file *f;
    use_folder("metadata");
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    for (size_t i = 0; i < 5; i++) test_ok(ctx, kd_writer_metadata(w, keys[i], keys[4 - i]));
    test_ok(ctx, kd_writer_finish(w));
    test_ok(ctx, kd_file_open(ctx, path, &f));
    ck_assert_uint_eq(kd_file_size(f) % 8, 0);
    ck_assert_uint_eq(kd_file_metadata_count(f), 5);
    for (size_t i = 0; i < 5; i++) ck_assert_str_eq(kd_file_metadata_get(f, keys[i]), keys[4 - i]);
    kd_file_close(f);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_write_refused)
{
    static const float x[4] = {0};
    static const struct {
        const char *name;
        kd_dtype dtype;
        int rank;
        int64_t shape[2];
        const float *data;
        kd_status status;
        const char *error;
    } calls[] = {
        {"__metadata__", KD_F32, 1, {4}, x, KD_E_INVALID, "the name is taken"},
        {"a\xFF", KD_F32, 1, {4}, x, KD_E_INVALID, "tensor 'a?': its name is not UTF-8"},
        {NULL, KD_F32, 1, {4}, x, KD_E_INVALID, "UTF-8"},
        {"a", KD_DTYPE_COUNT, 1, {4}, x, KD_E_INVALID, "dtype"},
        {"a", KD_F32, 9, {4}, x, KD_E_INVALID, "rank"},
        {"a", KD_F32, -1, {4}, x, KD_E_INVALID, "rank"},
        {"a", KD_F32, 1, {-4}, x, KD_E_SHAPE, "negative"},
        {"a", KD_F32, 2, {INT64_MAX, 3}, x, KD_E_SHAPE, "overflow"},
        {"a", KD_F32, 1, {INT64_MAX}, x, KD_E_SHAPE, "overflow"},
        {"a", KD_F32, 1, {4}, NULL, KD_E_INVALID, "no data"},
        {"good", KD_F32, 1, {4}, x, KD_E_INVALID, "tensor 'good': it was given twice"},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_writer *w;
    use_folder("refused");
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        test_ok(ctx, kd_writer_create(ctx, path, &w));
        test_ok(ctx, kd_writer_tensor(w, "good", KD_F32, 1, (const int64_t[]){4}, x));
        kd_writer_tensor(w, calls[i].name, calls[i].dtype, calls[i].rank, calls[i].shape,
                         calls[i].data);
        kd_writer_tensor(w, "later", KD_F32, 1, (const int64_t[]){4}, x);
        kd_ctx_fail(ctx, KD_E_IO, "something else in between");
        ck_assert_int_eq(kd_writer_finish(w), calls[i].status);
        ck_assert_msg(strstr(kd_ctx_error(ctx), calls[i].error) != NULL, "%s", kd_ctx_error(ctx));
    }
    const int64_t huge = INT64_MAX / 2;
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    for (int i = 0; i < 3; i++)
        test_ok(ctx, kd_writer_tensor_fn(w, &"abc"[i], KD_U8, 1, &huge, fill_fails, NULL));
    ck_assert_int_eq(kd_writer_finish(w), KD_E_LIMIT);
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    test_ok(ctx, kd_writer_metadata(w, "k", "1"));
    test_ok(ctx, kd_writer_metadata(w, "k", "2"));
    ck_assert_int_eq(kd_writer_finish(w), KD_E_INVALID);
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    ck_assert_int_eq(kd_writer_metadata(w, "k", "\xC0\x80"), KD_E_INVALID);
    ck_assert_int_eq(kd_writer_metadata(w, "k", "v"), KD_E_INVALID);
    kd_writer_abandon(w);
    kd_writer_abandon(NULL);
    ck_assert_int_eq(kd_writer_create(ctx, "", &w), KD_E_INVALID);
    ck_assert_int_eq(kd_writer_create(ctx, NULL, &w), KD_E_INVALID);
    ck_assert_uint_eq(files(), 0);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_write_memory)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    char lines[420];
    use_folder("memory");
    snprintf(lines, sizeof lines, "%s.lines", path);
    for (long n = 1;; n++) {
        heap.fail_at = 0;
        test_ok(ctx, kd_file_write_atomic(ctx, path, old, sizeof old));
        heap.fail_at = heap.count + n;
        const kd_status status = write_reference(ctx, path, 0, n % 2);
        const bool failed = heap.count >= heap.fail_at;
        heap.fail_at = 0;
        ck_assert_int_eq(status, failed ? KD_E_NOMEM : KD_OK);
        ck_assert_int_eq(heap.live, 1);
        ck_assert_uint_eq(files(), 1);
        if (failed)
            expect(ctx, old, sizeof old);
        else
            expect(ctx, reference, sizeof reference);
        if (!failed) break;
    }
    for (long n = 1; n < 4; n++) {
        char *bytes;
        size_t size;
        heap.fail_at = heap.count + n;
        (void)kd_file_write_atomic(ctx, lines, "new", 3);
        (void)kd_file_append_line(ctx, lines, "line");
        if (!kd_file_read_all(ctx, path, 10000, &bytes, &size)) kd_ctx_free(ctx, bytes);
        ck_assert_int_eq(heap.live, 1);
        ck_assert_uint_le(files(), 2);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_atomic_paths)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char other[400];
    struct stat st;
    use_folder("paths");
    ck_assert_int_eq(kd_file_write_atomic(ctx, "/nonexistent/file", "x", 1), KD_E_IO);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "'/nonexistent/file'"));
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), strerror(ENOENT)));
    ck_assert_int_eq(kd_file_write_atomic(ctx, folder, "x", 1), KD_E_IO);
    ck_assert_int_eq(kd_file_write_atomic(ctx, "/dev/null", "x", 1), KD_E_IO);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "not a regular file"));
    ck_assert_int_eq(kd_file_write_atomic(ctx, "", "x", 1), KD_E_INVALID);

    test_ok(ctx, kd_file_write_atomic(ctx, path, "one", 3));
    expect_text(ctx, "one");
    ck_assert_int_eq(chmod(path, 0640), 0);
    test_ok(ctx, kd_file_write_atomic(ctx, path, "", 0));
    expect_text(ctx, "");
    ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0640);
    snprintf(other, sizeof other, "%s/file/below", folder);
    ck_assert_int_eq(kd_file_write_atomic(ctx, other, "x", 1), KD_E_IO);

    /* Someone takes the temporary file away. */
    kdi_atomic a;
    test_ok(ctx, kdi_atomic_begin(ctx, path, &a));
    ck_assert_int_eq(unlink(a.temp), 0);
    ck_assert_int_eq(kdi_atomic_commit(&a), KD_E_IO);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "renaming"));
    expect_text(ctx, "");
    ck_assert_uint_eq(files(), 1);

    /* A symbolic link stays, its target is replaced. */
    snprintf(other, sizeof other, "%s/link", folder);
    ck_assert_int_eq(symlink("file", other), 0);
    test_ok(ctx, kd_file_write_atomic(ctx, other, "two", 3));
    expect_text(ctx, "two");
    ck_assert(lstat(other, &st) == 0 && S_ISLNK(st.st_mode));
    ck_assert_uint_eq(files(), 2);

    /* Without a folder in the path. */
    ck_assert_int_eq(chdir(folder), 0);
    test_ok(ctx, kd_file_write_atomic(ctx, "file", "three", 5));
    expect_text(ctx, "three");
    kd_ctx_destroy(ctx);
}
END_TEST

/* Two writers of one path: neither's bytes get into the other's, and the last to finish wins. */
START_TEST(test_atomic_two)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kdi_atomic a, b;
    use_folder("two");
    test_ok(ctx, kdi_atomic_begin(ctx, path, &a));
    test_ok(ctx, kdi_atomic_begin(ctx, path, &b));
    ck_assert_str_ne(a.temp, b.temp);
    test_ok(ctx, kdi_atomic_write(&a, "aaaa", 4));
    test_ok(ctx, kdi_atomic_write(&b, "bb", 2));
    test_ok(ctx, kdi_atomic_commit(&a));
    expect_text(ctx, "aaaa");
    test_ok(ctx, kdi_atomic_begin(ctx, path, &a));
    test_ok(ctx, kdi_atomic_commit(&b));
    expect_text(ctx, "bb");
    kdi_atomic_abort(&a);
    kdi_atomic_abort(&a);
    expect_text(ctx, "bb");
    ck_assert_uint_eq(files(), 1);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A process that dies while it writes leaves the old file whole; what it left is taken over. A file
 * of the temporary's name that is not ours to write is left alone. */
START_TEST(test_atomic_killed)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char temp[420], victim[400];
    struct stat st;
    use_folder("killed");
    snprintf(temp, sizeof temp, "%s.tmp", path);
    test_ok(ctx, kd_file_write_atomic(ctx, path, "old", 3));
    for (int i = 0; i < 3; i++) {
        const pid_t child = fork();
        if (child == 0) {
            kdi_atomic a;
            if (!kdi_atomic_begin(ctx, path, &a) && !kdi_atomic_write(&a, "half of it", 10))
                raise(SIGKILL);
            _exit(1);
        }
        int status;
        ck_assert(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
        expect_text(ctx, "old");
        ck_assert_uint_eq(files(), 2);
        ck_assert(stat(temp, &st) == 0 && st.st_size == 10);
    }
    test_ok(ctx, kd_file_write_atomic(ctx, path, "new", 3));
    expect_text(ctx, "new");
    ck_assert_uint_eq(files(), 1);

    snprintf(victim, sizeof victim, "%s/victim", folder);
    for (int hard = 0; hard < 2; hard++) {
        FILE *out = fopen(victim, "w");
        ck_assert(out && fputs("precious", out) > 0 && fclose(out) == 0);
        ck_assert_int_eq(hard ? link(victim, temp) : symlink(victim, temp), 0);
        test_ok(ctx, kd_file_write_atomic(ctx, path, "newer", 5));
        expect_text(ctx, "newer");
        ck_assert(stat(victim, &st) == 0 && st.st_size == 8);
        ck_assert_int_eq(unlink(temp), 0);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* A disk that fills up, played by a limit on the size of files, in a process of its own. The child
 * returns the number of the check that failed. */
static int with_full_disk(kd_ctx *ctx)
{
    static char big[100000];
    const struct rlimit limit = {4096, 4096};
    memset(big, 'x', sizeof big - 1);
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit)) return 1;
    if (kd_file_write_atomic(ctx, path, big, sizeof big) != KD_E_IO) return 2;
    if (!strstr(kd_ctx_error(ctx), path)) return 3;
    if (!strstr(kd_ctx_error(ctx), strerror(EFBIG))) return 4;
    kd_writer *w;
    const int64_t n = 20000;
    char other[420];
    snprintf(other, sizeof other, "%s.safetensors", path);
    if (kd_writer_create(ctx, other, &w)) return 5;
    if (kd_writer_tensor(w, "a", KD_F32, 1, &n, big)) return 6;
    if (kd_writer_finish(w) != KD_E_IO) return 7;
    if (kd_file_append_line(ctx, path, big) != KD_E_IO) return 8;
    if (!strstr(kd_ctx_error(ctx), path)) return 9;
    return 0;
}

START_TEST(test_atomic_full_disk)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    int status;
    use_folder("full");
    test_ok(ctx, kd_file_write_atomic(ctx, path, "old\n", 4));
    const pid_t child = fork();
    if (child == 0) _exit(with_full_disk(ctx));
    ck_assert(waitpid(child, &status, 0) == child && WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    expect_text(ctx, "old\n");
    ck_assert_uint_eq(files(), 1);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_append_line)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    use_folder("lines");
    test_ok(ctx, kd_file_append_line(ctx, path, "{\"epoch\":1}"));
    test_ok(ctx, kd_file_append_line(ctx, path, "{\"epoch\":2}"));
    expect_text(ctx, "{\"epoch\":1}\n{\"epoch\":2}\n");
    FILE *out = fopen(path, "a");
    ck_assert(out && fputs("{\"epo", out) > 0 && fclose(out) == 0);
    test_ok(ctx, kd_file_append_line(ctx, path, "{\"epoch\":3}"));
    expect_text(ctx, "{\"epoch\":1}\n{\"epoch\":2}\n{\"epo\n{\"epoch\":3}\n");
    ck_assert_int_eq(kd_file_append_line(ctx, path, "two\nlines"), KD_E_INVALID);
    ck_assert_int_eq(kd_file_append_line(ctx, path, NULL), KD_E_INVALID);
    ck_assert_int_eq(kd_file_append_line(ctx, folder, "x"), KD_E_IO);
    ck_assert_int_eq(kd_file_append_line(ctx, "/nonexistent/x", "x"), KD_E_IO);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_read_all)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char *bytes, *big = malloc(50000);
    size_t size;
    use_folder("whole");
    memset(big, 'a', 50000);
    static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 8191, 50000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        test_ok(ctx, kd_file_write_atomic(ctx, path, big, sizes[i]));
        test_ok(ctx, kd_file_read_all(ctx, path, sizes[i], &bytes, &size));
        ck_assert(size == sizes[i] && bytes[size] == 0 && memcmp(bytes, big, size) == 0);
        kd_ctx_free(ctx, bytes);
    }
    ck_assert_int_eq(kd_file_read_all(ctx, path, 49999, &bytes, &size), KD_E_LIMIT);
    ck_assert_int_eq(kd_file_read_all(ctx, "/dev/zero", 100000, &bytes, &size), KD_E_LIMIT);
    ck_assert_int_eq(kd_file_read_all(ctx, "/nonexistent", 100, &bytes, &size), KD_E_NOTFOUND);
    ck_assert_int_eq(kd_file_read_all(ctx, folder, 100, &bytes, &size), KD_E_IO);
    ck_assert_int_eq(kd_file_read_all(ctx, NULL, 100, &bytes, &size), KD_E_INVALID);
    char pipe[300];
    snprintf(pipe, sizeof pipe, "%s/read_all_pipe", test_dir());
    ck_assert_int_eq(mkfifo(pipe, 0600), 0);
    ck_assert_int_eq(kd_file_read_all(ctx, pipe, 100, &bytes, &size), KD_E_IO);
    free(big);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_folder_make)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char deep[300], way[300];
    struct stat about;
    snprintf(deep, sizeof deep, "%s/made//two/three/", test_dir());
    for (int again = 0; again < 2; again++) {
        test_ok(ctx, kd_folder_make(ctx, deep));
        ck_assert(stat(deep, &about) == 0 && S_ISDIR(about.st_mode));
    }
    snprintf(way, sizeof way, "%s/made/file", test_dir());
    test_ok(ctx, kd_file_write_atomic(ctx, way, "x", 1));
    ck_assert_int_eq(kd_folder_make(ctx, way), KD_E_IO);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "made/file: Not a directory"));
    snprintf(way, sizeof way, "%s/made/file/below", test_dir());
    ck_assert_int_eq(kd_folder_make(ctx, way), KD_E_IO);
    ck_assert_int_eq(kd_folder_make(ctx, ""), KD_E_INVALID);
    ck_assert_int_eq(kd_folder_make(ctx, NULL), KD_E_INVALID);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(file_write, 60, &test_write_reference, &test_write_types, &test_write_permuted,
           &test_write_fill_fails, &test_write_metadata, &test_write_refused, &test_write_memory,
           &test_atomic_paths, &test_atomic_two, &test_atomic_killed, &test_atomic_full_disk,
           &test_append_line, &test_read_all, &test_folder_make)
