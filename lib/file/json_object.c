/* SPDX-License-Identifier: MIT
 * json_object.c: the plain values of one JSON object, sorted by key. */
#include "json.h"
#include "number.h"

#include "../base/sort.h"

#include <kd/json.h>

#include <string.h>

typedef struct entry {
    const char *key;
    size_t token;       /* the value */
    const char *string; /* NULL unless the value is one */
} entry;

struct kd_json_object {
    kd_ctx *ctx;
    char *text;
    kdi_json json;
    entry *entries;
    size_t count;
};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->key, ((const entry *)b)->key);
}

static kd_status collect(kd_json_object *o)
{
    o->count = kdi_json_size(&o->json, 0);
    o->entries = kd_ctx_alloc(o->ctx, o->count, sizeof *o->entries);
    if (!o->entries) return kd_ctx_memory_status(o->ctx);
    size_t token = 1;
    for (size_t i = 0; i < o->count; i++) {
        entry *e = &o->entries[i];
        e->key = kdi_json_string(&o->json, token);
        e->token = token + 1;
        token = kdi_json_after(&o->json, e->token);
        if (kdi_json_kind(&o->json, e->token) == KDI_JSON_STRING)
            e->string = kdi_json_string(&o->json, e->token);
    }
    kdi_sort(o->entries, o->count, sizeof *o->entries, by_key);
    for (size_t i = 1; i < o->count; i++)
        if (by_key(&o->entries[i - 1], &o->entries[i]) == 0)
            return kd_ctx_fail(o->ctx, KD_E_FORMAT, "JSON: the key '%.100s' comes twice",
                               o->entries[i].key);
    return KD_OK;
}

kd_status kd_json_parse(kd_ctx *ctx, const char *text, size_t size, kd_json_object **object)
{
    if (object) *object = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!object || !text) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_json_parse: NULL");
    kd_json_object *o = kd_ctx_alloc(ctx, 1, sizeof *o);
    if (!o) return kd_ctx_memory_status(ctx);
    o->ctx = o->json.ctx = ctx;
    o->text = kd_ctx_alloc(ctx, size, 1);
    kd_status status = o->text ? KD_OK : kd_ctx_memory_status(ctx);
    if (!status) {
        if (size) memcpy(o->text, text, size);
        status = kdi_json_open(ctx, "JSON", o->text, size, SIZE_MAX, &o->json);
    }
    if (!status) status = collect(o);
    if (status)
        kd_json_object_destroy(o);
    else
        *object = o;
    return status;
}

void kd_json_object_destroy(kd_json_object *o)
{
    if (!o) return;
    kdi_json_close(&o->json);
    kd_ctx_free(o->ctx, o->entries);
    kd_ctx_free(o->ctx, o->text);
    kd_ctx_free(o->ctx, o);
}

static const entry *find(const kd_json_object *o, const char *key)
{
    size_t low = 0, high = o && key ? o->count : 0;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(key, o->entries[middle].key);
        if (order == 0) return &o->entries[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

kd_status kd_json_get_object(const kd_json_object *object, const char *key, kd_json_object **inner)
{
    if (inner) *inner = NULL;
    if (!object) return KD_E_INVALID;
    if (!key || !inner) return kd_ctx_fail(object->ctx, KD_E_INVALID, "kd_json_get_object: NULL");
    size_t length;
    const entry *e = find(object, key);
    if (!e || kdi_json_kind(&object->json, e->token) != KDI_JSON_OBJECT)
        return kd_ctx_fail(object->ctx, KD_E_NOTFOUND, "JSON: there is no object '%.100s'", key);
    /* strings within it were left as they stand: only the object's own are unescaped */
    const char *text = kdi_json_number(&object->json, e->token, &length);
    return kd_json_parse(object->ctx, text, length, inner);
}

const char *kd_json_get_string(const kd_json_object *object, const char *key)
{
    const entry *e = find(object, key);
    return e ? e->string : NULL;
}

int kd_json_get_number(const kd_json_object *object, const char *key, double *number)
{
    size_t length;
    const entry *e = find(object, key);
    if (!e || !number || kdi_json_kind(&object->json, e->token) != KDI_JSON_NUMBER) return 0;
    const char *text = kdi_json_number(&object->json, e->token, &length);
    return kdi_parse_double(text, length, number);
}

int kd_json_get_integer(const kd_json_object *object, const char *key, int64_t *number)
{
    size_t length;
    const entry *e = find(object, key);
    if (!e || !number || kdi_json_kind(&object->json, e->token) != KDI_JSON_NUMBER) return 0;
    const char *text = kdi_json_number(&object->json, e->token, &length);
    const bool negative = text[0] == '-';
    int64_t value = 0; /* kept at or below zero, where there is room for one more */
    for (size_t i = negative; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return 0;
        const int64_t digit = text[i] - '0';
        if (value < (INT64_MIN + digit) / 10) return 0;
        value = value * 10 - digit;
    }
    if (!negative && value == INT64_MIN) return 0;
    *number = negative ? value : -value;
    return 1;
}

int kd_json_get_bool(const kd_json_object *object, const char *key, int *truth)
{
    const entry *e = find(object, key);
    if (!e || !truth) return 0;
    const kdi_json_type kind = kdi_json_kind(&object->json, e->token);
    if (kind != KDI_JSON_TRUE && kind != KDI_JSON_FALSE) return 0;
    *truth = kind == KDI_JSON_TRUE;
    return 1;
}

const char *kd_json_key(const kd_json_object *object, size_t i)
{
    return object && i < object->count ? object->entries[i].key : NULL;
}

int kd_json_get_count(const kd_json_object *object, const char *key, size_t *count)
{
    const entry *e = find(object, key);
    if (!e || !count || kdi_json_kind(&object->json, e->token) != KDI_JSON_ARRAY) return 0;
    *count = kdi_json_size(&object->json, e->token);
    return 1;
}

/* A value's text as it stands. Strings in an array were not unescaped: their quotes are beside what
 * jsmn calls their text. */
static const char *text_of(const kd_json_object *o, size_t token, size_t *length)
{
    const char *text = kdi_json_number(&o->json, token, length);
    if (kdi_json_kind(&o->json, token) != KDI_JSON_STRING) return text;
    *length += 2;
    return text - 1;
}

kd_status kd_json_get_element(const kd_json_object *object, const char *key, size_t i,
                              kd_json_object **element)
{
    static const char before[] = "{\"value\":";
    size_t count, length;
    if (element) *element = NULL;
    if (!object) return KD_E_INVALID;
    if (!key || !element)
        return kd_ctx_fail(object->ctx, KD_E_INVALID, "kd_json_get_element: NULL");
    if (!kd_json_get_count(object, key, &count) || i >= count)
        return kd_ctx_fail(object->ctx, KD_E_NOTFOUND, "JSON: there is no element %zu of '%.100s'",
                           i, key);
    size_t token = find(object, key)->token + 1;
    while (i--) token = kdi_json_after(&object->json, token);
    const char *value = text_of(object, token, &length);
    char *text = kd_ctx_alloc(object->ctx, sizeof before + length, 1);
    if (!text) return kd_ctx_memory_status(object->ctx);
    memcpy(text, before, sizeof before - 1);
    memcpy(text + sizeof before - 1, value, length);
    text[sizeof before - 1 + length] = '}';
    const kd_status status = kd_json_parse(object->ctx, text, sizeof before + length, element);
    kd_ctx_free(object->ctx, text);
    return status;
}
