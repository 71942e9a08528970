/* SPDX-License-Identifier: MIT
 * about.c: see about.h. Keys and texts:
 *
 *   libkd.version          The writer's.
 *   libkd.spec             The complete spec.
 *   libkd.mean, libkd.std  The normalisation: numbers joined by commas.
 *   libkd.classes          The classes' names: a JSON array of strings.
 *   libkd.data             The name of the data set it was trained on.
 *   libkd.data_checksum    That set's checksum: 16 hexadecimal digits.
 *   libkd.framing          How pictures were framed when it was evaluated. */
#include "about.h"

#include "number.h"

#include <kd/json.h>

#include <stdio.h>
#include <string.h>

typedef struct teller {
    kd_ctx *ctx;
    kdi_about_fn *take;
    void *user;
    kd_status status; /* the first failure */
} teller;

static void tell(teller *t, const char *key, const char *text)
{
    if (!t->status && text) t->status = t->take(t->user, key, text);
}

static void tell_numbers(teller *t, const char *key, const float *x, size_t n)
{
    char *text = t->status ? NULL : kd_ctx_alloc(t->ctx, n + 1, KDI_NUMBER_SIZE);
    size_t used = 0;
    if (!text && !t->status) t->status = kd_ctx_memory_status(t->ctx);
    for (size_t i = 0; i < n && text; i++) {
        if (i) text[used++] = ',';
        kdi_print_float(text + used, x[i]);
        used += strlen(text + used);
    }
    tell(t, key, text);
    kd_ctx_free(t->ctx, text);
}

static void tell_classes(teller *t, const char *const *names, size_t n)
{
    kd_json *j;
    const char *text = NULL;
    if (!t->status) t->status = kd_json_create(t->ctx, 0, &j);
    if (t->status) return;
    kd_json_array_begin(j, NULL);
    for (size_t i = 0; i < n; i++) kd_json_string(j, NULL, names[i]);
    kd_json_array_end(j);
    t->status = kd_json_text(j, &text, NULL);
    tell(t, "libkd.classes", text);
    kd_json_destroy(j);
}

kd_status kdi_about_tell(kd_ctx *ctx, const kdi_about *about, kdi_about_fn *take, void *user)
{
    char checksum[17];
    teller t = {.ctx = ctx, .take = take, .user = user};
    snprintf(checksum, sizeof checksum, "%016llx", (unsigned long long)about->data_checksum);
    tell(&t, "libkd.version", kd_version());
    tell(&t, "libkd.spec", about->spec);
    if (about->mean && about->std) {
        tell_numbers(&t, "libkd.mean", about->mean, about->channels);
        tell_numbers(&t, "libkd.std", about->std, about->channels);
    }
    if (about->class_names) tell_classes(&t, about->class_names, about->classes);
    tell(&t, "libkd.data", about->data);
    tell(&t, "libkd.data_checksum", about->data ? checksum : NULL);
    tell(&t, "libkd.framing", about->framing);
    return t.status;
}
