/* SPDX-License-Identifier: MIT
 * safetensors_write.c: collecting tensors and metadata, and writing them as one file.
 *
 * Tensors are sorted as the reference implementation sorts them: by element type, the widest first,
 * then by name. With at most one metadata entry the file has the same bytes as its file. The header
 * is padded with spaces to a multiple of 8 bytes. As the widest types come first, every tensor is
 * aligned for its type. */
#include "safetensors.h"

#include "atomic.h"
#include "half.h"
#include "replaceable.h"
#include "printable.h"
#include "utf8.h"
#include "writer.h"

#include "../base/sort.h"

#include <kd/json.h>

#include <stdio.h>
#include <string.h>

enum { PIECE = 32768 }; /* elements made or converted at a time */

typedef struct entry {
    const char *name;
    kd_dtype dtype;
    size_t order; /* of the type, in kdi_file_types */
    int rank;
    int64_t shape[KD_FILE_MAX_RANK];
    size_t count, bytes;
    const void *data; /* or else: */
    kd_fill_fn fill;
    void *user;
} entry;

typedef struct pair {
    const char *key, *value;
} pair;

struct kd_writer {
    kd_ctx *ctx;
    kdi_pool names; /* and metadata */
    char *path;
    entry *entries;
    size_t count, capacity;
    pair *pairs;
    size_t pair_count, pair_capacity;
    kdi_writer_buffer buffer;
    bool to_memory;
    kd_status status; /* the first failure, and what was said about it (NULL: no memory for that) */
    const char *error;
};

/* path: as errors show it. */
static kd_status create(kd_ctx *ctx, const char *path, kd_writer **writer)
{
    kd_writer *w = kd_ctx_alloc(ctx, 1, sizeof *w);
    if (!w) return kd_ctx_memory_status(ctx);
    w->ctx = ctx;
    w->names.ctx = ctx;
    w->path = kdi_pool_strdup(&w->names, path);
    if (!w->path) {
        kd_ctx_free(ctx, w);
        return kd_ctx_memory_status(ctx);
    }
    *writer = w;
    return KD_OK;
}

kd_status kd_writer_create(kd_ctx *ctx, const char *path, kd_writer **writer)
{
    if (writer) *writer = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!writer) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_writer_create: NULL");
    if (!path || !*path) return kd_ctx_fail(ctx, KD_E_INVALID, "writing a file: no path is given");
    const kd_status status = kdi_kind_replaces(ctx, path, KDI_KIND_SAFETENSORS);
    return status ? status : create(ctx, path, writer);
}

kd_status kd_writer_create_memory(kd_ctx *ctx, kd_writer **writer)
{
    if (writer) *writer = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!writer) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_writer_create_memory: NULL");
    const kd_status status = create(ctx, "memory", writer);
    if (!status) (*writer)->to_memory = true;
    return status;
}

void kd_writer_abandon(kd_writer *w)
{
    if (!w) return;
    kd_ctx_free(w->ctx, w->entries);
    kd_ctx_free(w->ctx, w->pairs);
    kd_ctx_free(w->ctx, w->buffer.bytes);
    kdi_pool_free(&w->names);
    kd_ctx_free(w->ctx, w);
}

/* Record an error about a tensor or a metadata key. */
static kd_status bad(kd_writer *w, kd_status status, const char *kind, const char *name,
                     const char *what)
{
    kd_ctx_fail(w->ctx, status, "writing '%s': %s '%s': %s", w->path, kind, kdi_show(name).text,
                what);
    w->status = status;
    w->error = kdi_pool_strdup(&w->names, kd_ctx_error(w->ctx));
    return status;
}

static kd_status no_memory(kd_writer *w)
{
    return w->status = kd_ctx_memory_status(w->ctx);
}

kd_status kdi_writer_fail(kd_writer *w, kd_status status)
{
    if (w->status) return w->status;
    w->status = status;
    if (status != kd_ctx_memory_status(w->ctx))
        w->error = kdi_pool_strdup(&w->names, kd_ctx_error(w->ctx));
    return status;
}

kd_ctx *kdi_writer_ctx(const kd_writer *w)
{
    return w->ctx;
}

void *kdi_writer_alloc(kd_writer *w, size_t count, size_t size)
{
    void *block = w->status ? NULL : kdi_pool_alloc(&w->names, count, size);
    if (!block && !w->status) no_memory(w);
    return block;
}

kdi_writer_buffer *kdi_writer_reserve(kd_writer *w, size_t size)
{
    if (w->status) return NULL;
    if (size > w->buffer.size) {
        kd_ctx_free(w->ctx, w->buffer.bytes);
        w->buffer = (kdi_writer_buffer){.bytes = kd_ctx_alloc(w->ctx, size, 1), .size = size};
        if (!w->buffer.bytes) {
            w->buffer.size = 0;
            no_memory(w);
            return NULL;
        }
    }
    return &w->buffer;
}

kd_status kd_writer_metadata(kd_writer *w, const char *key, const char *value)
{
    if (!w) return KD_E_INVALID;
    if (w->status) return w->status;
    if (!key || !value || !kdi_utf8_valid(key, strlen(key)) ||
        !kdi_utf8_valid(value, strlen(value)))
        return bad(w, KD_E_INVALID, "metadata", key ? key : "", "key or value is not UTF-8 text");
    pair p = {kdi_pool_strdup(&w->names, key), kdi_pool_strdup(&w->names, value)};
    void *pairs = w->pairs;
    if (!p.key || !p.value ||
        !kdi_grow(w->ctx, &pairs, w->pair_count, &w->pair_capacity, sizeof *w->pairs))
        return no_memory(w);
    w->pairs = pairs;
    w->pairs[w->pair_count++] = p;
    return KD_OK;
}

static kd_status add(kd_writer *w, const char *name, entry e, const int64_t *shape)
{
    if (w->status) return w->status;
    if (!name || !kdi_utf8_valid(name, strlen(name)))
        return bad(w, KD_E_INVALID, "tensor", name ? name : "", "its name is not UTF-8 text");
    if (strcmp(name, KDI_METADATA) == 0)
        return bad(w, KD_E_INVALID, "tensor", name, "the name is taken");
    while (e.order < KDI_FILE_TYPES && kdi_file_types[e.order].dtype != e.dtype) e.order++;
    if (e.order == KDI_FILE_TYPES) return bad(w, KD_E_INVALID, "tensor", name, "unknown dtype");
    if (e.rank < 0 || e.rank > KD_FILE_MAX_RANK || (e.rank > 0 && !shape))
        return bad(w, KD_E_INVALID, "tensor", name, "a rank outside [0, 8], or no shape");
    if (e.rank) memcpy(e.shape, shape, (size_t)e.rank * sizeof *shape);
    if (!kdi_file_extent(e.dtype, e.rank, e.shape, &e.count, &e.bytes))
        return bad(w, KD_E_SHAPE, "tensor", name, "a negative size in its shape, or an overflow");
    if (e.count && !e.data && !e.fill) return bad(w, KD_E_INVALID, "tensor", name, "no data");
    e.name = kdi_pool_strdup(&w->names, name);
    void *entries = w->entries;
    if (!e.name || !kdi_grow(w->ctx, &entries, w->count, &w->capacity, sizeof *w->entries))
        return no_memory(w);
    w->entries = entries;
    w->entries[w->count++] = e;
    return KD_OK;
}

kd_status kd_writer_tensor(kd_writer *writer, const char *name, kd_dtype dtype, int rank,
                           const int64_t *shape, const void *data)
{
    if (!writer) return KD_E_INVALID;
    return add(writer, name, (entry){.dtype = dtype, .rank = rank, .data = data}, shape);
}

kd_status kd_writer_tensor_fn(kd_writer *writer, const char *name, kd_dtype dtype, int rank,
                              const int64_t *shape, kd_fill_fn fill, void *user)
{
    if (!writer) return KD_E_INVALID;
    return add(writer, name, (entry){.dtype = dtype, .rank = rank, .fill = fill, .user = user},
               shape);
}

/* ---- the header ------------------------------------------------------------------------------ */

static int pair_by_key(const void *a, const void *b)
{
    return strcmp(((const pair *)a)->key, ((const pair *)b)->key);
}

static int entry_by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static int entry_by_type(const void *a, const void *b)
{
    const entry *s = a, *t = b;
    if (s->order != t->order) return s->order > t->order ? -1 : 1;
    return entry_by_name(a, b);
}

static kd_status sort(kd_writer *w)
{
    kdi_sort(w->pairs, w->pair_count, sizeof *w->pairs, pair_by_key);
    for (size_t i = 1; i < w->pair_count; i++)
        if (pair_by_key(&w->pairs[i - 1], &w->pairs[i]) == 0)
            return bad(w, KD_E_INVALID, "metadata", w->pairs[i].key, "it was given twice");
    kdi_sort(w->entries, w->count, sizeof *w->entries, entry_by_name);
    for (size_t i = 1; i < w->count; i++)
        if (entry_by_name(&w->entries[i - 1], &w->entries[i]) == 0)
            return bad(w, KD_E_INVALID, "tensor", w->entries[i].name, "it was given twice");
    kdi_sort(w->entries, w->count, sizeof *w->entries, entry_by_type);
    return KD_OK;
}

static kd_status describe(kd_writer *w, kd_json *json)
{
    size_t begin = 0, end;
    kd_json_object_begin(json, NULL);
    if (w->pair_count) kd_json_object_begin(json, KDI_METADATA);
    for (size_t i = 0; i < w->pair_count; i++)
        kd_json_string(json, w->pairs[i].key, w->pairs[i].value);
    if (w->pair_count) kd_json_object_end(json);
    for (size_t i = 0; i < w->count; i++, begin = end) {
        const entry *e = &w->entries[i];
        if (!kdi_add(begin, e->bytes, &end) || end > INT64_MAX)
            return bad(w, KD_E_LIMIT, "tensor", e->name, "the file's size overflows");
        kd_json_object_begin(json, e->name);
        kd_json_string(json, "dtype", kdi_file_types[e->order].name);
        kd_json_array_begin(json, "shape");
        for (int d = 0; d < e->rank; d++) kd_json_integer(json, NULL, e->shape[d]);
        kd_json_array_end(json);
        kd_json_array_begin(json, "data_offsets");
        kd_json_integer(json, NULL, (int64_t)begin);
        kd_json_integer(json, NULL, (int64_t)end);
        kd_json_array_end(json);
        kd_json_object_end(json);
    }
    kd_json_object_end(json);
    return KD_OK;
}

/* Where the bytes go: into a file, into an array of the right size, or to a function. */
typedef struct sink {
    kdi_atomic file;
    kd_ctx *ctx;
    bool to_memory; /* or to the function */
    kd_write_fn fn;
    void *user;
    char *bytes; /* [size] */
    size_t used, size;
} sink;

static kd_status put(sink *s, const void *bytes, size_t size)
{
    if (s->fn && size) {
        const size_t before = kd_ctx_failures(s->ctx);
        return kd_ctx_called(s->ctx, before, s->fn(s->user, bytes, size),
                             "the callback that takes the file");
    }
    if (s->fn) return KD_OK;
    if (!s->to_memory) return kdi_atomic_write(&s->file, bytes, size);
    if (size) memcpy(s->bytes + s->used, bytes, size);
    s->used += size;
    return KD_OK;
}

/* The array for a header of so many bytes and all tensors. */
static kd_status make_array(const kd_writer *w, uint64_t header, sink *s)
{
    size_t size = KDI_LENGTH_BYTES + (size_t)header;
    for (size_t i = 0; i < w->count; i++)
        if (!kdi_add(size, w->entries[i].bytes, &size))
            return kd_ctx_fail(w->ctx, KD_E_LIMIT, "writing to memory: too many bytes");
    s->size = size;
    s->bytes = kd_ctx_alloc(w->ctx, size, 1);
    return s->bytes ? KD_OK : kd_ctx_memory_status(w->ctx);
}

static kd_status write_header(kd_writer *w, kd_json *json, sink *s)
{
    static const char spaces[] = "       ";
    const char *text;
    size_t size;
    kd_status status = describe(w, json);
    if (!status) status = kd_json_text(json, &text, &size);
    if (status) return status;
    const size_t pad = (KDI_LENGTH_BYTES - size % KDI_LENGTH_BYTES) % KDI_LENGTH_BYTES;
    const uint64_t length = size + pad;
    if (length > KDI_MAX_HEADER)
        return kd_ctx_fail(w->ctx, KD_E_LIMIT, "writing '%s': a header of %zu bytes is too long",
                           w->path, size);
    status = s->to_memory && !s->fn ? make_array(w, length, s) : KD_OK;
    if (!status) status = put(s, &length, sizeof length);
    if (!status) status = put(s, text, size);
    if (!status) status = put(s, spaces, pad);
    return status;
}

/* ---- the data -------------------------------------------------------------------------------- */

/* Buffers for one piece: as the caller makes it, and as the file holds it. */
typedef struct piece_buffers {
    _Alignas(64) uint64_t in[PIECE];
    uint16_t half[PIECE];
} piece_buffers;

static const void *to_half(const entry *e, const float *x, size_t count, uint16_t *half)
{
    if (e->dtype == KD_F16)
        for (size_t i = 0; i < count; i++) half[i] = kdi_f32_to_f16(x[i]);
    else
        for (size_t i = 0; i < count; i++) half[i] = kdi_f32_to_bf16(x[i]);
    return half;
}

static kd_status fill(const entry *e, size_t first, size_t n, piece_buffers *r, const sink *s)
{
    char what[400];
    const size_t before = kd_ctx_failures(s->ctx);
    const kd_status status = e->fill(e->user, first, n, r->in);
    if (!status) return KD_OK;
    snprintf(what, sizeof what, "the callback that fills tensor '%s'", kdi_show(e->name).text);
    return kd_ctx_called(s->ctx, before, status, what);
}

static kd_status write_tensor(const entry *e, piece_buffers *r, sink *s)
{
    const bool halves = e->dtype == KD_F16 || e->dtype == KD_BF16;
    if (e->count == 0) return KD_OK;
    if (e->data && !halves) return put(s, e->data, e->bytes);
    for (size_t done = 0, n; done < e->count; done += n) {
        n = e->count - done < PIECE ? e->count - done : PIECE;
        kd_status status = KD_OK;
        const void *piece = r->in;
        if (e->fill)
            status = fill(e, done, n, r, s);
        else if (e->data) /* kd_writer_tensor takes care that there is one of them */
            piece = (const float *)e->data + done;
        if (halves && !status) piece = to_half(e, piece, n, r->half);
        if (!status) status = put(s, piece, n * kd_dtype_size(e->dtype));
        if (status) return status;
    }
    return KD_OK;
}

static kd_status write_all(kd_writer *w, kd_json *json, piece_buffers *r, sink *s)
{
    kd_status status = write_header(w, json, s);
    for (size_t i = 0; i < w->count && !status; i++) status = write_tensor(&w->entries[i], r, s);
    return status;
}

static kd_status write_file(kd_writer *w, kd_json *json, piece_buffers *r, sink *s)
{
    kd_status status = kdi_kind_replaces(w->ctx, w->path, KDI_KIND_SAFETENSORS);
    if (!status) status = kdi_atomic_begin(w->ctx, w->path, &s->file);
    if (status) return status;
    status = write_all(w, json, r, s);
    if (!status) return kdi_atomic_commit(&s->file);
    kdi_atomic_abort(&s->file);
    return status;
}

static kd_status write_memory(kd_writer *w, kd_json *json, piece_buffers *r, sink *s)
{
    const kd_status status = write_all(w, json, r, s);
    if (!status) return KD_OK;
    kd_ctx_free(w->ctx, s->bytes);
    s->bytes = NULL;
    return status;
}

static kd_status finish(kd_writer *w, sink *s)
{
    kd_status status = w->status ? w->status : sort(w);
    kd_json *json = NULL;
    piece_buffers *r = NULL;
    s->ctx = w->ctx;
    if (!status && s->to_memory != w->to_memory)
        status = kd_ctx_fail(w->ctx, KD_E_INVALID, "writing '%s': %s", w->path,
                             w->to_memory ? "it goes to memory (kd_writer_finish_memory, _fn)"
                                          : "it goes to a file (kd_writer_finish)");
    if (!status) status = kd_json_create(w->ctx, 0, &json);
    if (!status) {
        r = kd_ctx_alloc(w->ctx, 1, sizeof *r);
        if (!r) status = kd_ctx_memory_status(w->ctx);
    }
    if (!status) status = s->to_memory ? write_memory(w, json, r, s) : write_file(w, json, r, s);
    if (w->error) kd_ctx_fail(w->ctx, status, "%s", w->error);
    kd_ctx_free(w->ctx, r);
    kd_json_destroy(json);
    kd_writer_abandon(w);
    return status;
}

kd_status kd_writer_finish(kd_writer *w)
{
    if (!w) return KD_E_INVALID;
    return finish(w, &(sink){.to_memory = false});
}

kd_status kd_writer_finish_memory(kd_writer *w, void **bytes, size_t *size)
{
    sink s = {.to_memory = true};
    if (bytes) *bytes = NULL;
    if (!w) return KD_E_INVALID;
    if (!bytes || !size) {
        const kd_status refused =
            kd_ctx_fail(w->ctx, KD_E_INVALID, "kd_writer_finish_memory: NULL");
        kd_writer_abandon(w);
        return refused;
    }
    const kd_status status = finish(w, &s);
    *bytes = s.bytes;
    *size = s.bytes ? s.size : 0;
    return status;
}

kd_status kd_writer_finish_fn(kd_writer *w, kd_write_fn fn, void *user)
{
    if (!w) return KD_E_INVALID;
    if (!fn) {
        const kd_status refused = kd_ctx_fail(w->ctx, KD_E_INVALID, "kd_writer_finish_fn: NULL");
        kd_writer_abandon(w);
        return refused;
    }
    return finish(w, &(sink){.to_memory = true, .fn = fn, .user = user});
}
