/* SPDX-License-Identifier: MIT
 * safetensors.c: opening and checking a safetensors file, and its tables.
 *
 * The rules are those of the format's reference implementation, and one more from the format's
 * text: no key may come twice. The header is kept in memory and its strings are unescaped in place;
 * names and metadata point into it. Tensors are sorted by offset. Their bytes must follow one
 * another from the end of the header to the end of the file, without a gap or an overlap.
 * read_tensor.c reads values. */
#include "safetensors.h"

#include "atomic.h"
#include "json.h"
#include "replaceable.h"
#include "open_file.h"
#include "shards.h"
#include "printable.h"

#include "../base/sort.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A tensor's entry has at least these bytes, "":{"dtype":"U8","shape":[],"data_offsets":[0,0]}. So
 * the table of tensors is never much larger than the header. */
enum { SHORTEST_ENTRY = 40 };

const kdi_file_type kdi_file_types[] = {
    {"BOOL", KD_BOOL},
    {"U8", KD_U8},
    {"I8", KD_I8},
    {"F8_E5M2", KD_F8_E5M2},
    {"F8_E4M3", KD_F8_E4M3},
    {"F8_E8M0", KD_F8_E8M0},
    {"F8_E4M3FNUZ", KD_F8_E4M3FNUZ},
    {"F8_E5M2FNUZ", KD_F8_E5M2FNUZ},
    {"I16", KD_I16},
    {"U16", KD_U16},
    {"F16", KD_F16},
    {"BF16", KD_BF16},
    {"I32", KD_I32},
    {"U32", KD_U32},
    {"F32", KD_F32},
    {"C64", KD_C64},
    {"F64", KD_F64},
    {"I64", KD_I64},
    {"U64", KD_U64},
};
_Static_assert(sizeof kdi_file_types / sizeof *kdi_file_types == KDI_FILE_TYPES,
               "every element type has its name in files");

bool kdi_file_extent(kd_dtype dtype, int rank, const int64_t *shape, size_t *count, size_t *bytes)
{
    size_t n = 1;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || (uint64_t)shape[i] > SIZE_MAX || !kdi_mul(n, (size_t)shape[i], &n))
            return false;
    *count = n;
    return kdi_mul(n, kd_dtype_size(dtype), bytes);
}

/* ---- one tensor's entry in the header -------------------------------------------------------- */

/* Record an error about tensor t. */
static kd_status bad(const kd_file *f, const kd_file_tensor *t, const char *what)
{
    return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': tensor '%s': %s", f->path,
                       kdi_show(t->name).text, what);
}

static kd_status parse_dtype(kd_file *f, kdi_json *json, size_t token, kd_file_tensor *t)
{
    if (kdi_json_kind(json, token) != KDI_JSON_STRING) return bad(f, t, "dtype is no string");
    const char *name = kdi_json_string(json, token);
    for (size_t i = 0; i < KDI_FILE_TYPES; i++) {
        if (strcmp(name, kdi_file_types[i].name) != 0) continue;
        t->dtype = kdi_file_types[i].dtype;
        return KD_OK;
    }
    return kd_ctx_fail(f->ctx, KD_E_UNSUPPORTED,
                       "'%s': tensor '%s' is of type %s, which is not read: weights are f32, f16, "
                       "bf16 or f64; convert the file where it was made",
                       f->path, kdi_show(t->name).text, kdi_show(name).text);
}

static kd_status parse_shape(kd_file *f, const kdi_json *json, size_t token, kd_file_tensor *t)
{
    if (kdi_json_kind(json, token) != KDI_JSON_ARRAY) return bad(f, t, "shape is no array");
    const size_t rank = kdi_json_size(json, token);
    if (rank > KD_FILE_MAX_RANK)
        return kd_ctx_fail(f->ctx, KD_E_UNSUPPORTED, "'%s': tensor '%s': %zu dimensions, of %d",
                           f->path, kdi_show(t->name).text, rank, KD_FILE_MAX_RANK);
    t->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        uint64_t size;
        if (!kdi_json_u64(json, token + 1 + i, &size) || size > INT64_MAX)
            return bad(f, t, "shape holds something that is no size");
        t->shape[i] = (int64_t)size;
    }
    return KD_OK;
}

/* t->offset and t->bytes, still counted from the header's end. */
static kd_status parse_offsets(kd_file *f, const kdi_json *json, size_t token, kd_file_tensor *t)
{
    uint64_t begin, end;
    if (kdi_json_kind(json, token) != KDI_JSON_ARRAY || kdi_json_size(json, token) != 2 ||
        !kdi_json_u64(json, token + 1, &begin) || !kdi_json_u64(json, token + 2, &end))
        return bad(f, t, "data_offsets are not two numbers");
    if (begin > end || end > f->size - f->data)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT,
                           "'%s': tensor '%s': data_offsets [%llu,%llu] in a file with %llu bytes "
                           "of data",
                           f->path, kdi_show(t->name).text, (unsigned long long)begin,
                           (unsigned long long)end, (unsigned long long)(f->size - f->data));
    t->offset = begin;
    t->bytes = end - begin;
    return KD_OK;
}

/* An entry is {"dtype":...,"shape":[...],"data_offsets":[begin,end]}; other keys are skipped. */
static kd_status parse_tensor(kd_file *f, kdi_json *json, size_t token, kd_file_tensor *t)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    unsigned seen = 0;
    if (kdi_json_kind(json, token) != KDI_JSON_OBJECT) return bad(f, t, "its entry is no object");
    const size_t n = kdi_json_size(json, token);
    size_t key = token + 1;
    for (size_t i = 0; i < n; i++) {
        const size_t value = key + 1, after = kdi_json_after(json, value);
        const char *name = kdi_json_string(json, key);
        unsigned which = 0;
        while (which < 3 && strcmp(name, keys[which]) != 0) which++;
        if (which < 3 && seen & 1u << which) return bad(f, t, "a key comes twice in its entry");
        kd_status status = which == 0   ? parse_dtype(f, json, value, t)
                           : which == 1 ? parse_shape(f, json, value, t)
                           : which == 2 ? parse_offsets(f, json, value, t)
                                        : KD_OK;
        if (status) return status;
        seen |= 1u << which;
        key = after;
    }
    if ((seen & 7) != 7) return bad(f, t, "dtype, shape or data_offsets are missing");
    size_t bytes;
    if (!kdi_file_extent(t->dtype, t->rank, t->shape, &t->count, &bytes))
        return bad(f, t, "the size of its shape overflows");
    if (bytes != t->bytes)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT,
                           "'%s': tensor '%s': its shape needs %zu bytes, data_offsets give %llu",
                           f->path, kdi_show(t->name).text, bytes, (unsigned long long)t->bytes);
    return KD_OK;
}

/* ---- the header ------------------------------------------------------------------------------ */

static int pair_by_key(const void *a, const void *b)
{
    return strcmp(((const kdi_file_pair *)a)->key, ((const kdi_file_pair *)b)->key);
}

static int tensor_by_bytes(const void *a, const void *b)
{
    const kd_file_tensor *s = a, *t = b;
    if (s->offset != t->offset) return s->offset < t->offset ? -1 : 1;
    if (s->bytes != t->bytes) return s->bytes < t->bytes ? -1 : 1;
    return strcmp(s->name, t->name);
}

static int tensor_by_name(const void *a, const void *b)
{
    return strcmp((*(const kd_file_tensor *const *)a)->name,
                  (*(const kd_file_tensor *const *)b)->name);
}

static kd_status parse_metadata(kd_file *f, kdi_json *json, size_t token)
{
    const kdi_json_type kind = kdi_json_kind(json, token);
    if (f->metadata) return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': two __metadata__", f->path);
    if (kind != KDI_JSON_OBJECT && kind != KDI_JSON_NULL)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': __metadata__ is no object", f->path);
    const size_t n = kind == KDI_JSON_OBJECT ? kdi_json_size(json, token) : 0;
    f->metadata = kd_ctx_alloc(f->ctx, n, sizeof *f->metadata);
    if (!f->metadata) return kd_ctx_memory_status(f->ctx);
    size_t key = token + 1;
    for (size_t i = 0; i < n; i++) {
        kdi_file_pair *pair = &f->metadata[i];
        const size_t after = kdi_json_after(json, key + 1);
        pair->key = kdi_json_string(json, key);
        if (kdi_json_kind(json, key + 1) != KDI_JSON_STRING)
            return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': metadata '%s' is no string", f->path,
                               kdi_show(pair->key).text);
        pair->value = kdi_json_string(json, key + 1);
        key = after;
    }
    f->metadata_count = n;
    kdi_sort(f->metadata, n, sizeof *f->metadata, pair_by_key);
    for (size_t i = 1; i < n; i++)
        if (pair_by_key(&f->metadata[i - 1], &f->metadata[i]) == 0)
            return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': metadata '%s' comes twice", f->path,
                               kdi_show(f->metadata[i].key).text);
    return KD_OK;
}

static kd_status parse_entries(kd_file *f, kdi_json *json)
{
    const size_t n = kdi_json_size(json, 0);
    if (n > 1 + f->data / SHORTEST_ENTRY)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': %zu entries do not fit into the header",
                           f->path, n);
    f->tensors = kd_ctx_alloc(f->ctx, n, sizeof *f->tensors);
    if (!f->tensors) return kd_ctx_memory_status(f->ctx);
    size_t key = 1;
    for (size_t i = 0; i < n; i++) {
        const size_t after = kdi_json_after(json, key + 1);
        const char *name = kdi_json_string(json, key);
        kd_status status;
        if (strcmp(name, KDI_METADATA) == 0) {
            status = parse_metadata(f, json, key + 1);
        } else {
            kd_file_tensor *t = &f->tensors[f->count++];
            t->name = name;
            status = parse_tensor(f, json, key + 1, t);
        }
        if (status) return status;
        key = after;
    }
    return KD_OK;
}

/* Sort tensors by their bytes, see that these cover the file, and make offsets count from its
 * start. */
static kd_status check_cover(kd_file *f)
{
    uint64_t end = 0;
    kdi_sort(f->tensors, f->count, sizeof *f->tensors, tensor_by_bytes);
    for (size_t i = 0; i < f->count; i++) {
        kd_file_tensor *t = &f->tensors[i];
        if (t->offset != end)
            return bad(f, t,
                       t->offset > end ? "there is a gap before its data"
                                       : "its data overlaps another's");
        end += t->bytes;
        t->offset += f->data;
    }
    if (end != f->size - f->data)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT,
                           "'%s': %llu bytes of tensors, but %llu bytes of data", f->path,
                           (unsigned long long)end, (unsigned long long)(f->size - f->data));
    return KD_OK;
}

kd_status kdi_file_index_names(kd_file *f)
{
    f->by_name = kd_ctx_alloc(f->ctx, f->count, sizeof *f->by_name);
    if (!f->by_name) return kd_ctx_memory_status(f->ctx);
    for (size_t i = 0; i < f->count; i++) f->by_name[i] = &f->tensors[i];
    kdi_sort(f->by_name, f->count, sizeof *f->by_name, tensor_by_name);
    for (size_t i = 1; i < f->count; i++)
        if (tensor_by_name(&f->by_name[i - 1], &f->by_name[i]) == 0)
            return bad(f, f->by_name[i], "it comes twice");
    return KD_OK;
}

/* A tensor's entry has at least three bytes of text for each JSON value. A header with more values
 * is refused, as its tokens would take much more memory than the file. */
static kd_status parse_header(kd_file *f, size_t size)
{
    kdi_json json;
    if (size == 0 || f->header[0] != '{')
        return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': not a safetensors file: no JSON header",
                           f->path);
    kd_status status = kdi_json_open(f->ctx, f->path, f->header, size, 64 + size / 3, &json);
    if (status) return status;
    status = parse_entries(f, &json);
    kdi_json_close(&json);
    if (!status) status = check_cover(f);
    if (!status) status = kdi_file_index_names(f);
    return status;
}

/* The file is not safetensors, as its header cannot have `claimed` bytes. Say what it is. */
static kd_status other_kind(kd_file *f, bool index, uint64_t claimed)
{
    unsigned char bytes[KDI_KIND_BYTES];
    const size_t size = f->size < sizeof bytes ? (size_t)f->size : sizeof bytes;
    const kd_status status = kdi_file_bytes(f, 0, bytes, size);
    if (status) return status;
    const kdi_file_kind kind = kdi_kind_of(bytes, size);
    if (kind == KDI_KIND_JSON && index) return kdi_shards_open(f);
    if (kind == KDI_KIND_JSON)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT,
                           "'%s' is a JSON text, no safetensors file; an index of shards is opened "
                           "by its path",
                           f->path);
    if (kind != KDI_KIND_OTHER && kind != KDI_KIND_BINARY && kind != KDI_KIND_SAFETENSORS)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s' is %s, no safetensors file%s", f->path,
                           kdi_kind_name(kind), kdi_safetensors_advice(kind));
    if (f->size < KDI_LENGTH_BYTES)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': not a safetensors file: %llu bytes", f->path,
                           (unsigned long long)f->size);
    return kd_ctx_fail(f->ctx, KD_E_FORMAT,
                       "'%s': not a safetensors file, or cut off: a header of %llu bytes in a file "
                       "of %llu",
                       f->path, (unsigned long long)claimed, (unsigned long long)f->size);
}

static kd_status load_header(kd_file *f, bool index)
{
    uint64_t size;
    if (f->size < KDI_LENGTH_BYTES) return other_kind(f, index, f->size);
    kd_status status = kdi_file_bytes(f, 0, &size, sizeof size);
    if (status) return status;
    if (size > KDI_MAX_HEADER || size > f->size - KDI_LENGTH_BYTES)
        return other_kind(f, index, size);
    f->data = KDI_LENGTH_BYTES + size;
    f->header = kd_ctx_alloc(f->ctx, (size_t)size, 1);
    if (!f->header) return kd_ctx_memory_status(f->ctx);
    status = kdi_file_bytes(f, KDI_LENGTH_BYTES, f->header, (size_t)size);
    return status ? status : parse_header(f, (size_t)size);
}

/* ---- opening and closing --------------------------------------------------------------------- */

static kd_status make(kd_ctx *ctx, const char *path, kd_file **file)
{
    *file = NULL;
    kd_file *f = kd_ctx_alloc(ctx, 1, sizeof *f);
    if (!f) return kd_ctx_memory_status(ctx);
    f->ctx = ctx;
    f->fd = -1;
    f->path = kdi_strdup(ctx, path);
    if (!f->path) {
        kd_ctx_free(ctx, f);
        return kd_ctx_memory_status(ctx);
    }
    *file = f;
    return KD_OK;
}

/* index: the file may also be an index of shards. */
static kd_status finish(kd_file **file, kd_status status, bool index)
{
    if (!status) status = load_header(*file, index);
    if (!status) return KD_OK;
    kd_file_close(*file);
    *file = NULL;
    return status;
}

/* Of a link that leads to nothing the error says where to, as git-annex's do until the file is
 * fetched. */
static kd_status cannot_open(kd_ctx *ctx, const char *path, int error)
{
    char to[1024];
    const bool missing = error == ENOENT;
    const ssize_t n = missing ? readlink(path, to, sizeof to - 1) : -1;
    if (n < 0)
        return kd_ctx_fail(ctx, missing ? KD_E_NOTFOUND : KD_E_IO, "cannot open '%s': %s", path,
                           strerror(error));
    to[n] = 0;
    return kd_ctx_fail(
        ctx, KD_E_NOTFOUND, "cannot open '%s': it is a link to '%s', which is not there%s", path,
        kdi_show(to).text, strstr(to, "annex/objects") ? kdi_kind_advice(KDI_KIND_ANNEX) : "");
}

static kd_status open_path(kd_ctx *ctx, const char *path, bool index, kd_file **file)
{
    struct stat st;
    kd_status status = make(ctx, path, file);
    if (status) return status;
    kd_file *f = *file;
    f->fd = kdi_open(path, O_RDONLY | O_NONBLOCK); /* opening a pipe must not wait for a writer */
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        status = cannot_open(ctx, path, errno);
    else if (!S_ISREG(st.st_mode))
        status = kd_ctx_fail(ctx, KD_E_IO, "cannot open '%s': it is not a regular file", path);
    else
        f->size = (uint64_t)st.st_size;
    return finish(file, status, index);
}

kd_status kdi_file_open_one(kd_ctx *ctx, const char *path, kd_file **file)
{
    return open_path(ctx, path, false, file);
}

/* A folder without what is read: is there a pickle of PyTorch's that can be converted? */
static kd_status nothing_in(kd_ctx *ctx, const char *folder, const char *one, const char *other)
{
    static const char *const pickles[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                          "model.pth", "model.pt", "pytorch_model.pth"};
    const size_t size = strlen(folder) + 40;
    char *path = kd_ctx_alloc(ctx, size, 1);
    if (!path) return kd_ctx_memory_status(ctx);
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++) {
        struct stat st;
        snprintf(path, size, "%s/%s", folder, pickles[i]);
        if (stat(path, &st)) continue;
        kd_ctx_fail(ctx, KD_E_NOTFOUND, "the folder '%s' has neither %s nor %s, but %s, %s%s",
                    folder, one, other, pickles[i], kdi_kind_name(KDI_KIND_PICKLE),
                    kdi_safetensors_advice(KDI_KIND_PICKLE));
        kd_ctx_free(ctx, path);
        return KD_E_NOTFOUND;
    }
    kd_ctx_free(ctx, path);
    return kd_ctx_fail(ctx, KD_E_NOTFOUND, "the folder '%s' has neither %s nor %s", folder, one,
                       other);
}

/* What a run or Hugging Face's libraries leave in a folder. */
static kd_status open_folder(kd_ctx *ctx, const char *folder, kd_file **file)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    const size_t length = strlen(folder), size = length + 32;
    struct stat st;
    char *path = kd_ctx_alloc(ctx, size, 1);
    kd_status status = path ? KD_E_NOTFOUND : kd_ctx_memory_status(ctx);
    for (size_t i = 0; i < 2 && status == KD_E_NOTFOUND; i++) {
        const bool slash = length > 0 && folder[length - 1] == '/';
        snprintf(path, size, "%s%s%s", folder, slash ? "" : "/", names[i]);
        if (stat(path, &st) == 0) status = open_path(ctx, path, true, file);
    }
    kd_ctx_free(ctx, path);
    return status == KD_E_NOTFOUND ? nothing_in(ctx, folder, names[0], names[1]) : status;
}

kd_status kd_file_open(kd_ctx *ctx, const char *path, kd_file **file)
{
    if (file) *file = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!file) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_file_open: NULL");
    struct stat st;
    if (!path) return kd_ctx_fail(ctx, KD_E_INVALID, "opening a file: no path is given");
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return open_folder(ctx, path, file);
    return open_path(ctx, path, true, file);
}

kd_status kd_file_from_memory(kd_ctx *ctx, const void *bytes, size_t size, const char *name,
                              kd_file **file)
{
    if (file) *file = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!file || (!bytes && size))
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_file_from_memory: NULL");
    kd_status status = make(ctx, name ? name : "memory", file);
    if (status) return status;
    (*file)->memory = bytes;
    (*file)->size = size;
    return finish(file, KD_OK, false);
}

void kd_file_close(kd_file *f)
{
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    for (size_t i = 0; i < f->n_parts; i++) kd_file_close(f->parts[i]);
    kd_ctx_free(f->ctx, f->parts);
    kd_ctx_free(f->ctx, f->by_name);
    kd_ctx_free(f->ctx, f->metadata);
    kd_ctx_free(f->ctx, f->tensors);
    kd_ctx_free(f->ctx, f->header);
    kd_ctx_free(f->ctx, f->path);
    kd_ctx_free(f->ctx, f);
}

/* ---- tables ---------------------------------------------------------------------------------- */

const char *kd_file_path(const kd_file *file)
{
    return file ? file->path : NULL;
}

uint64_t kd_file_size(const kd_file *file)
{
    return file ? file->size : 0;
}

size_t kd_file_count(const kd_file *file)
{
    return file ? file->count : 0;
}

const kd_file_tensor *kd_file_at(const kd_file *file, size_t index)
{
    return file && index < file->count ? &file->tensors[index] : NULL;
}

const kd_file_tensor *kd_file_find(const kd_file *file, const char *name)
{
    size_t low = 0, high = file && name ? file->count : 0;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, file->by_name[middle]->name);
        if (order == 0) return file->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

size_t kd_file_metadata_count(const kd_file *file)
{
    return file ? file->metadata_count : 0;
}

const char *kd_file_metadata_get(const kd_file *file, const char *key)
{
    for (size_t i = 0; file && key && i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0) return file->metadata[i].value;
    return NULL;
}

int kd_file_metadata_at(const kd_file *file, size_t index, const char **key, const char **value)
{
    if (!file || index >= file->metadata_count) return 0;
    if (key) *key = file->metadata[index].key;
    if (value) *value = file->metadata[index].value;
    return 1;
}
