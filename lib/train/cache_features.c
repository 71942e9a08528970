/* SPDX-License-Identifier: MIT
 * cache_features.c: the features of a teacher cache, as its key says them: the name and the shape of
 * each, of one picture: "embedding=512,stages.3=4x4x256". */
#include "cache.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 1 << 24 }; /* floats of a picture */

const kdt_feature *kdt_features_named(const kdt_row_form *form, const char *name)
{
    for (size_t i = 0; i < form->n_features; i++)
        if (!strcmp(form->feature[i].name, name)) return &form->feature[i];
    return NULL;
}

/* Letters that need no escape in a JSON text, and part nothing in this one. */
static bool good_name(const char *name)
{
    const size_t length = strlen(name);
    for (const char *c = name; *c; c++)
        if (*c <= ' ' || *c >= 127 || strchr("=,\"\\", *c)) return false;
    return length > 0 && length < KD_TAP_NAME;
}

bool kdt_features_add(kdt_row_form *form, const char *name, const kd_shape *shape)
{
    kdt_feature f = {.shape = *shape, .size = 1};
    if (form->n_features == KDT_FEATURES || !good_name(name)) return false;
    if (shape->rank < 2 || shape->rank > 4 || shape->dim[0] != KD_BATCH) return false;
    for (int i = 1; i < shape->rank; i++) {
        if (shape->dim[i] < 1 || shape->dim[i] > MOST) return false;
        f.size *= (size_t)shape->dim[i];
        if (f.size > MOST) return false;
    }
    memcpy(f.name, name, strlen(name) + 1);
    form->feature[form->n_features++] = f;
    return true;
}

void kdt_features_print(const kdt_row_form *form, char *out, size_t size)
{
    size_t used = 0;
    if (size) *out = 0;
    for (size_t i = 0; i < form->n_features; i++) {
        const kdt_feature *f = &form->feature[i];
        for (int d = 0; d < f->shape.rank && used < size; d++) {
            if (d == 0)
                used += (size_t)snprintf(out + used, size - used, "%s%s", i ? "," : "", f->name);
            else
                used += (size_t)snprintf(out + used, size - used, "%c%lld", d == 1 ? '=' : 'x',
                                         (long long)f->shape.dim[d]);
        }
    }
}

void kdt_features_names(const kdt_row_form *form, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s", form->n_features ? "" : "no features");
    for (size_t i = 0; i < form->n_features && used < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", form->feature[i].name);
}

/* A decimal number without zeros before it, whole as far as it can be one of a shape; 0: none. */
static int64_t number(const char **at)
{
    int64_t n = 0;
    if (**at == '0') return 0;
    for (; **at >= '0' && **at <= '9' && n <= MOST; ++*at) n = 10 * n + (**at - '0');
    return n;
}

bool kdt_features_read(const char *text, kdt_row_form *form)
{
    form->n_features = 0;
    for (const char *at = text;; at++) {
        char name[KD_TAP_NAME];
        kd_shape shape = {.rank = 1, .dim = {KD_BATCH}};
        const size_t length = strcspn(at, "=");
        if (length >= sizeof name || !at[length]) return false;
        memcpy(name, at, length);
        name[length] = 0;
        at += length;
        do {
            at++;
            if (shape.rank == 4) return false;
            shape.dim[shape.rank++] = number(&at);
        } while (*at == 'x');
        if (kdt_features_named(form, name) || !kdt_features_add(form, name, &shape)) return false;
        if (!*at) return true;
        if (*at != ',') return false;
    }
}
