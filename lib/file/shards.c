/* SPDX-License-Identifier: MIT
 * shards.c: an index of shards, as Hugging Face's libraries write them beside the shards:
 *
 *   {"metadata": {...}, "weight_map": {"TENSOR": "model-00001-of-00002.safetensors", ...}}
 *
 * The shards are sorted by name. A tensor's offset counts from the beginning of the first shard, as
 * if all shards were one file. The index must name every tensor of every shard, and nothing else.
 * Shards are names of files in the index's folder, without a path. */
#include "shards.h"

#include "../base/sort.h"

#include "json.h"
#include "safetensors.h"
#include "printable.h"

#include <string.h>

/* One line of the index. */
typedef struct place {
    const char *tensor, *shard;
} place;

typedef struct map {
    kd_file *file;
    place *places; /* [count], by tensor */
    size_t count;
    const char **shards; /* [n_shards], sorted */
    size_t n_shards;
} map;

static kd_status bad(const kd_file *f, const char *what, const char *name, const char *why)
{
    return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': %s '%s' %s", f->path, what, kdi_show(name).text,
                       why);
}

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const place *)a)->tensor, ((const place *)b)->tensor);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ---- the index ------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), n = strlen(end);
    return length >= n && !strcmp(text + length - n, end);
}

static kd_status check_shard(const kd_file *f, const char *name)
{
    if (!*name || !strcmp(name, ".") || !strcmp(name, "..") || strpbrk(name, "/\\") ||
        strlen(name) > 255)
        return bad(f, "shard", name, "is no plain name of a file beside the index");
    if (ends_with(name, ".bin") || ends_with(name, ".pt") || ends_with(name, ".pth"))
        return bad(f, "shard", name,
                   "is PyTorch's: convert the network in Python, "
                   "model.save_pretrained(DIR, safe_serialization=True)");
    return KD_OK;
}

/* The value of "weight_map"; 0: there is none. */
static size_t find_map(kdi_json *json)
{
    size_t key = 1, found = 0;
    for (size_t i = 0; i < kdi_json_size(json, 0); i++) {
        const size_t after = kdi_json_after(json, key + 1);
        if (!strcmp(kdi_json_string(json, key), "weight_map")) found = key + 1;
        key = after;
    }
    return found;
}

static kd_status read_places(map *m, kdi_json *json)
{
    const kd_file *f = m->file;
    const size_t at = find_map(json);
    if (!at || kdi_json_kind(json, at) != KDI_JSON_OBJECT)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT,
                           "'%s' is a JSON text, and no index of shards: it has no weight_map",
                           f->path);
    m->count = kdi_json_size(json, at);
    m->places = kd_ctx_alloc(f->ctx, m->count, sizeof *m->places);
    m->shards = kd_ctx_alloc(f->ctx, m->count, sizeof *m->shards);
    if (!m->places || !m->shards) return kd_ctx_memory_status(m->file->ctx);
    size_t key = at + 1;
    for (size_t i = 0; i < m->count; i++) {
        const size_t after = kdi_json_after(json, key + 1);
        place *p = &m->places[i];
        p->tensor = kdi_json_string(json, key);
        if (kdi_json_kind(json, key + 1) != KDI_JSON_STRING)
            return bad(f, "tensor", p->tensor, "is in no shard: its value is no string");
        p->shard = kdi_json_string(json, key + 1);
        const kd_status status = check_shard(f, p->shard);
        if (status) return status;
        m->shards[i] = p->shard;
        key = after;
    }
    return KD_OK;
}

/* Sort tensors and shards, each of which must be there once. */
static kd_status sort_places(map *m)
{
    const kd_file *f = m->file;
    kdi_sort(m->places, m->count, sizeof *m->places, by_tensor);
    for (size_t i = 1; i < m->count; i++)
        if (!by_tensor(&m->places[i - 1], &m->places[i]))
            return bad(f, "tensor", m->places[i].tensor, "comes twice in weight_map");
    kdi_sort(m->shards, m->count, sizeof *m->shards, by_text);
    for (size_t i = 0; i < m->count; i++)
        if (i == 0 || strcmp(m->shards[m->n_shards - 1], m->shards[i]))
            m->shards[m->n_shards++] = m->shards[i];
    if (m->n_shards == 0)
        return kd_ctx_fail(f->ctx, KD_E_FORMAT, "'%s': its weight_map is empty", f->path);
    if (m->n_shards > KDI_MAX_SHARDS)
        return kd_ctx_fail(f->ctx, KD_E_LIMIT, "'%s': %zu shards; the most is %d", f->path,
                           m->n_shards, KDI_MAX_SHARDS);
    return KD_OK;
}

/* ---- the shards ------------------------------------------------------------------------------ */

static kd_status open_shard(kd_file *f, const char *name)
{
    const char *const slash = strrchr(f->path, '/');
    const size_t folder = slash ? (size_t)(slash - f->path) + 1 : 0, length = strlen(name);
    char *path = kd_ctx_alloc(f->ctx, folder + length + 1, 1);
    if (!path) return kd_ctx_memory_status(f->ctx);
    memcpy(path, f->path, folder);
    memcpy(path + folder, name, length);
    kd_file **part = &f->parts[f->n_parts];
    kd_status status = kdi_file_open_one(f->ctx, path, part);
    kd_ctx_free(f->ctx, path);
    if (status && status != KD_E_NOMEM && status != KD_E_LIMIT)
        return kd_ctx_fail(
            f->ctx, status == KD_E_NOTFOUND ? KD_E_IO : status, /* the index is there */
            "'%s' names a shard that can't be read: %s", f->path, kd_ctx_error(f->ctx));
    if (!status) f->n_parts++;
    return status;
}

/* The shard in which the index has a tensor; NULL: none. */
static const char *shard_of(const map *m, const char *tensor)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(tensor, m->places[middle].tensor);
        if (order == 0) return m->places[middle].shard;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* The tensors of a shard behind those that are there. The index must say the same. */
static kd_status add_tensors(const map *m, size_t part)
{
    kd_file *f = m->file;
    const kd_file *from = f->parts[part];
    for (size_t i = 0; i < from->count; i++) {
        kd_file_tensor *t = &f->tensors[f->count++];
        *t = from->tensors[i];
        t->offset += f->size;
        const char *shard = shard_of(m, t->name);
        if (!shard || strcmp(shard, m->shards[part]))
            return kd_ctx_fail(f->ctx, KD_E_FORMAT,
                               "'%s': tensor '%s' is in shard '%s', and the index doesn't say so",
                               f->path, kdi_show(t->name).text, kdi_show(m->shards[part]).text);
    }
    return KD_OK;
}

static kd_status open_shards(const map *m)
{
    kd_file *f = m->file;
    size_t tensors = 0, size = 0;
    kd_status status = KD_OK;
    f->parts = kd_ctx_alloc(f->ctx, m->n_shards, sizeof *f->parts);
    if (!f->parts) return kd_ctx_memory_status(m->file->ctx);
    for (size_t i = 0; i < m->n_shards && !status; i++) {
        status = open_shard(f, m->shards[i]);
        if (status) return status;
        if (!kdi_add(tensors, f->parts[i]->count, &tensors) ||
            !kdi_add(size, (size_t)f->parts[i]->size, &size) || size > INT64_MAX)
            return kd_ctx_fail(f->ctx, KD_E_LIMIT, "'%s': the shards are too large", f->path);
    }
    f->tensors = kd_ctx_alloc(f->ctx, tensors, sizeof *f->tensors);
    if (!f->tensors) return kd_ctx_memory_status(m->file->ctx);
    f->size = 0;
    for (size_t i = 0; i < m->n_shards && !status; i++) {
        status = add_tensors(m, i);
        f->size += f->parts[i]->size;
    }
    if (!status) status = kdi_file_index_names(f);
    for (size_t i = 0; i < m->count && !status; i++)
        if (!kd_file_find(f, m->places[i].tensor))
            status = bad(f, "tensor", m->places[i].tensor, "is in none of the shards");
    return status;
}

/* Metadata are those of the first shard: writers give all shards the same. */
static kd_status copy_metadata(kd_file *f)
{
    const kd_file *from = f->parts[0];
    f->metadata = kd_ctx_alloc(f->ctx, from->metadata_count, sizeof *f->metadata);
    if (!f->metadata) return kd_ctx_memory_status(f->ctx);
    f->metadata_count = from->metadata_count;
    if (f->metadata_count)
        memcpy(f->metadata, from->metadata, f->metadata_count * sizeof *f->metadata);
    return KD_OK;
}

/* A line of the index has at least six bytes of text for its two values. */
static kd_status read_index(map *m, char *text, size_t size)
{
    kdi_json json;
    kd_file *f = m->file;
    kd_status status = kdi_json_open(f->ctx, f->path, text, size, 64 + size / 2, &json);
    if (status) return status;
    status = read_places(m, &json);
    kdi_json_close(&json);
    if (!status) status = sort_places(m);
    if (!status) status = open_shards(m);
    if (!status) status = copy_metadata(f);
    return status;
}

kd_status kdi_shards_open(kd_file *f)
{
    map m = {.file = f};
    if (f->size > KDI_MAX_HEADER)
        return kd_ctx_fail(f->ctx, KD_E_LIMIT, "'%s': an index of %llu bytes is too long", f->path,
                           (unsigned long long)f->size);
    const size_t size = (size_t)f->size;
    char *text = kd_ctx_alloc(f->ctx, size, 1);
    kd_status status = text ? kdi_file_bytes(f, 0, text, size) : kd_ctx_memory_status(f->ctx);
    if (!status) status = read_index(&m, text, size);
    kd_ctx_free(f->ctx, m.places);
    kd_ctx_free(f->ctx, m.shards);
    kd_ctx_free(f->ctx, text);
    return status;
}
