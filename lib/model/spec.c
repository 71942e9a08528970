/* SPDX-License-Identifier: MIT
 * spec.c: spec strings, "name[,key=value...]", read and printed by one table of keys. */
#include "spec.h"

#include "../file/number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const kdi_family *const families[] = {
#define FAMILY(name) &kdi_family_##name,
#include "models.def"
#undef FAMILY
};
enum { N_FAMILIES = sizeof families / sizeof *families };

static const kdi_key common[] = {
    {"classes", KDI_KEY_INT, offsetof(kdi_spec, classes), 1, 1e6, NULL, NULL, NULL},
    {"image", KDI_KEY_SIZE, offsetof(kdi_spec, image), 1, 16384, NULL, NULL, NULL},
    {"channels", KDI_KEY_INT, offsetof(kdi_spec, channels), 1, 64, NULL, NULL, NULL},
};
enum { N_COMMON = sizeof common / sizeof *common };

const char *kd_model_name_at(size_t i)
{
    for (size_t f = 0; f < N_FAMILIES; f++) {
        const char *name;
        for (size_t k = 0; (name = families[f]->name(k)); k++)
            if (i-- == 0) return name;
    }
    return NULL;
}

/* The i-th key that this network has. */
static const kdi_key *key_at(const kdi_spec *s, size_t i)
{
    if (i < N_COMMON) return &common[i];
    i -= N_COMMON;
    for (size_t k = 0; k < s->family->n_keys; k++) {
        const kdi_key *key = &s->family->keys[k];
        if (key->has && !key->has(s)) continue;
        if (i-- == 0) return key;
    }
    return NULL;
}

static kd_status unknown_key(kd_ctx *ctx, const kdi_spec *s, const char *key, size_t length)
{
    char list[256] = "";
    size_t used = 0;
    const kdi_key *k;
    for (size_t i = 0; (k = key_at(s, i)) && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", k->name);
    return kd_ctx_fail(ctx, KD_E_INVALID, "%s has no key '%.*s'; it has: %s", s->name, (int)length,
                       key, list);
}

static kd_status set_choice(kd_ctx *ctx, kdi_spec *s, const kdi_key *k, const char *value,
                            size_t length)
{
    char list[128] = "";
    size_t used = 0;
    for (int i = 0; k->choices[i]; i++) {
        if (strlen(k->choices[i]) == length && !memcmp(k->choices[i], value, length)) {
            *(int *)(void *)((char *)s + k->offset) = i;
            return KD_OK;
        }
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? "|" : "",
                                     k->choices[i]);
    }
    return kd_ctx_fail(ctx, KD_E_INVALID, "%s=%.*s: it must be %s", k->name, (int)length, value,
                       list);
}

/* A key's value as it was typed: what errors show, also where a part of it is wrong. */
typedef struct typed {
    const kdi_key *key;
    const char *text;
    size_t length;
} typed;

static kd_status read_number(kd_ctx *ctx, const typed *t, const char *part, size_t length,
                             double *number)
{
    static const char *const wanted[] = {[KDI_KEY_INT] = "a whole number",
                                         [KDI_KEY_REAL] = "a number",
                                         [KDI_KEY_LIST] = "whole numbers, as 2-2-6-2",
                                         [KDI_KEY_SIZE] = "a whole number, or two, as 48x96"};
    const kdi_key *k = t->key;
    if (!kdi_parse_double(part, length, number) || !isfinite(*number) ||
        (k->type != KDI_KEY_REAL && *number != floor(*number)))
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s=%.*s: it must be %s", k->name, (int)t->length,
                           t->text, wanted[k->type]);
    if (*number < k->low || *number > k->high)
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s=%.*s: it must be from %g to %g", k->name,
                           (int)t->length, t->text, k->low, k->high);
    return KD_OK;
}

/* "2-2-6-2" */
static kd_status set_list(kd_ctx *ctx, kdi_list *list, const kdi_key *k, const char *value,
                          size_t length)
{
    const char *const end = value + length;
    const typed whole = {k, value, length};
    list->count = 0;
    for (const char *at = value;; at++) {
        const char *stop = at;
        double number;
        while (stop < end && *stop != '-') stop++;
        if (list->count == KDI_MAX_LIST)
            return kd_ctx_fail(ctx, KD_E_INVALID, "%s=%.*s: at most %d numbers", k->name,
                               (int)length, value, KDI_MAX_LIST);
        const kd_status status = read_number(ctx, &whole, at, (size_t)(stop - at), &number);
        if (status) return status;
        list->at[list->count++] = (int)number;
        if (stop == end) return KD_OK;
        at = stop;
    }
}

/* "48" or "48x96" */
static kd_status set_size(kd_ctx *ctx, int size[2], const kdi_key *k, const char *value,
                          size_t length)
{
    const char *cross = memchr(value, 'x', length);
    const size_t first = cross ? (size_t)(cross - value) : length;
    const typed whole = {k, value, length};
    double number[2];
    kd_status status = read_number(ctx, &whole, value, first, &number[0]);
    number[1] = number[0];
    if (!status && cross)
        status = read_number(ctx, &whole, cross + 1, length - first - 1, &number[1]);
    for (int i = 0; i < 2 && !status; i++) size[i] = (int)number[i];
    return status;
}

static kd_status set_key(kd_ctx *ctx, kdi_spec *s, const kdi_key *k, const char *value,
                         size_t length)
{
    double number;
    void *const at = (char *)s + k->offset;
    if (k->type == KDI_KEY_CHOICE) return set_choice(ctx, s, k, value, length);
    if (k->type == KDI_KEY_LIST) return set_list(ctx, at, k, value, length);
    if (k->type == KDI_KEY_SIZE) return set_size(ctx, at, k, value, length);
    const kd_status status = read_number(ctx, &(typed){k, value, length}, value, length, &number);
    if (status) return status;
    if (k->type == KDI_KEY_INT)
        *(int *)at = (int)number;
    else
        *(double *)at = number;
    return KD_OK;
}

/* "key=value,key=value" into s. */
static kd_status set_keys(kd_ctx *ctx, kdi_spec *s, const char *text)
{
    uint64_t given = 0;
    while (text && *text) {
        const char *end = strchr(text, ','), *equals = strchr(text, '=');
        if (!end) end = text + strlen(text);
        if (!equals || equals > end)
            return kd_ctx_fail(ctx, KD_E_INVALID, "'%.*s' in a model's spec is not key=value",
                               (int)(end - text > 40 ? 40 : end - text), text);
        const size_t length = (size_t)(equals - text);
        const kdi_key *k = NULL;
        size_t i = 0;
        for (; (k = key_at(s, i)); i++)
            if (strlen(k->name) == length && !memcmp(k->name, text, length)) break;
        if (!k) return unknown_key(ctx, s, text, length > 40 ? 40 : length);
        if (given >> i & 1)
            return kd_ctx_fail(ctx, KD_E_INVALID, "a model's spec gives %s twice", k->name);
        given |= (uint64_t)1 << i;
        const kd_status status = set_key(ctx, s, k, equals + 1, (size_t)(end - equals - 1));
        if (status) return status;
        text = *end ? end + 1 : end;
        if (*end && !*text)
            return kd_ctx_fail(ctx, KD_E_INVALID, "a model's spec ends with a comma");
    }
    return KD_OK;
}

kd_status kdi_spec_parse(kd_ctx *ctx, const char *spec, const char *defaults, const char *change,
                         kdi_spec *s)
{
    memset(s, 0, sizeof *s);
    const size_t length = strcspn(spec, ",");
    if (length == 0 || length >= sizeof s->name)
        return kd_ctx_fail(ctx, KD_E_INVALID, "'%.60s' names no model", spec);
    memcpy(s->name, spec, length);
    for (size_t f = 0; f < N_FAMILIES && !s->family; f++)
        if (families[f]->recognise(s->name, s)) s->family = families[f];
    if (!s->family)
        return kd_ctx_fail(ctx, KD_E_INVALID, "there is no model '%s'; names are like %s and %s",
                           s->name, kd_model_name_at(0), "vit_tiny_patch16_224");
    if (spec[length] && !spec[length + 1])
        return kd_ctx_fail(ctx, KD_E_INVALID, "a model's spec ends with a comma");
    kd_status status = set_keys(ctx, s, defaults);
    if (!status) status = set_keys(ctx, s, spec[length] ? spec + length + 1 : NULL);
    if (!status) status = set_keys(ctx, s, change);
    return status ? status : s->family->complete(ctx, s);
}

static void print_list(char *out, size_t size, const kdi_list *list)
{
    size_t used = 0;
    for (int i = 0; i < list->count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%d", i ? "-" : "", list->at[i]);
}

const char *kdi_size_text(const int size[2], char text[KDI_SIZE_TEXT])
{
    if (size[0] == size[1])
        snprintf(text, KDI_SIZE_TEXT, "%d", size[0]);
    else
        snprintf(text, KDI_SIZE_TEXT, "%dx%d", size[0], size[1]);
    return text;
}

void kdi_spec_print(const kdi_spec *s, char *out, size_t size)
{
    const kdi_key *k;
    size_t used = (size_t)snprintf(out, size, "%s", s->name);
    for (size_t i = 0; (k = key_at(s, i)) && used < size; i++) {
        if (k->told && !k->told(s)) continue;
        const void *at = (const char *)s + k->offset;
        char value[KDI_NUMBER_SIZE + 12 * KDI_MAX_LIST];
        const char *text = value;
        if (k->type == KDI_KEY_REAL)
            kdi_print_double(value, *(const double *)at);
        else if (k->type == KDI_KEY_LIST)
            print_list(value, sizeof value, at);
        else if (k->type == KDI_KEY_SIZE)
            kdi_size_text(at, value);
        else if (k->type == KDI_KEY_CHOICE)
            text = k->choices[*(const int *)at];
        else
            snprintf(value, sizeof value, "%d", *(const int *)at);
        used += (size_t)snprintf(out + used, size - used, ",%s=%s", k->name, text);
    }
}

kd_status kd_spec_complete(kd_ctx *ctx, const char *spec, const char *defaults, char *out,
                           size_t size)
{
    if (!ctx) return KD_E_INVALID;
    kdi_spec s;
    if (!spec || !out || !size) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_spec_complete: NULL");
    const kd_status status = kdi_spec_parse(ctx, spec, defaults, NULL, &s);
    if (!status) kdi_spec_print(&s, out, size);
    return status;
}
