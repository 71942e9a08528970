/* SPDX-License-Identifier: MIT
 * taps.c: named values inside a network (kd_tap). A family says where they are by kdi_tap; this file
 * fills in what was asked for, and lists what there is. */
#include "model.h"

#include <stdio.h>
#include <string.h>

/* Of the deepest Swin: 256 blocks with their attentions, and its stages. */
enum { MOST = 1024 };

/* ---- while a network is built ---------------------------------------------------------------- */

static bool has(const kd_build_opt *opt, const char *name)
{
    for (size_t t = 0; t < opt->n_taps; t++)
        if (!strcmp(opt->taps[t].name, name)) return true;
    return false;
}

static kd_tap *next_empty(const kd_build_opt *opt)
{
    for (size_t t = 0; t < opt->n_taps; t++)
        if (!opt->taps[t].name[0]) return &opt->taps[t];
    return NULL;
}

bool kdi_tap_wanted(const kd_build_opt *opt, const char *format, ...)
{
    char name[KD_TAP_NAME];
    va_list args;
    if (opt->n_taps == 0) return false;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return has(opt, name) || next_empty(opt);
}

void kdi_tap(const kd_build_opt *opt, kd_value value, const char *format, ...)
{
    char name[KD_TAP_NAME];
    va_list args;
    if (opt->n_taps == 0) return;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    kd_tap *empty = has(opt, name) ? NULL : next_empty(opt);
    if (empty) memcpy(empty->name, name, sizeof name);
    for (size_t t = 0; t < opt->n_taps; t++)
        if (!strcmp(opt->taps[t].name, name)) opt->taps[t].value = value;
}

/* ---- what there is --------------------------------------------------------------------------- */

/* All taps of a network that is built for them: *taps, the caller's to free. */
static kd_status list(kd_ctx *ctx, const kdi_spec *spec, kd_graph *g, kd_tap **taps)
{
    kd_value heads[2];
    const int64_t dim[] = {KD_BATCH, spec->image[0], spec->image[1], spec->channels};
    *taps = kd_ctx_alloc(ctx, MOST, sizeof **taps);
    if (!*taps) return kd_ctx_memory_status(ctx);
    for (size_t t = 0; t < MOST; t++) (*taps)[t].value = KD_NONE;
    const kd_build_opt opt = {
        .struct_size = sizeof opt, .heads = heads, .taps = *taps, .n_taps = MOST};
    spec->family->build(spec, g, kd_input(g, "input", KD_F32, 4, dim), &opt);
    return kd_graph_status(g);
}

kd_status kd_spec_taps(kd_ctx *ctx, const char *text, kd_tap_info *out, size_t room, size_t *n)
{
    kdi_spec spec;
    kd_graph *g;
    kd_tap *taps = NULL;
    if (n) *n = 0;
    if (!ctx) return KD_E_INVALID;
    if (!text || !n) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_spec_taps: NULL");
    kd_status status = kdi_spec_parse(ctx, text, NULL, NULL, &spec);
    if (!status) status = kd_graph_create(ctx, &g);
    if (status) return status;
    status = list(ctx, &spec, g, &taps);
    for (size_t t = 0; !status && t < MOST && taps[t].name[0]; t++) {
        if (out && t < room) {
            memcpy(out[t].name, taps[t].name, sizeof out[t].name);
            out[t].shape = kd_graph_shape(g, taps[t].value);
        }
        ++*n;
    }
    kd_ctx_free(ctx, taps);
    kd_graph_destroy(g);
    return status;
}

/* ---- what there is not ----------------------------------------------------------------------- */

kd_status kdi_tap_name(kd_ctx *ctx, const char *name, kd_tap *tap)
{
    const size_t length = name ? strlen(name) : 0;
    if (length == 0 || length >= sizeof tap->name)
        return kd_ctx_fail(ctx, KD_E_NOTFOUND, "'%.60s' is no tap's name", name ? name : "");
    memcpy(tap->name, name, length + 1);
    return KD_OK;
}

/* "stages.0, stages.0.pool, ..., embedding" */
static void print_names(char *text, size_t size, const kd_tap *taps)
{
    enum { TAIL = KD_TAP_NAME + 8 };
    size_t used = 0, last = 0;
    while (last + 1 < MOST && taps[last + 1].name[0]) last++;
    text[0] = 0;
    for (size_t t = 0; t < last && used + 2 * TAIL < size; t++) {
        used += (size_t)snprintf(text + used, size - used, "%s, ", taps[t].name);
        if (used + 2 * TAIL >= size && t + 1 < last)
            used += (size_t)snprintf(text + used, size - used, "..., ");
    }
    snprintf(text + used, size - used, "%s", taps[last].name);
}

kd_status kdi_taps_check(kd_ctx *ctx, const kdi_spec *spec, const kd_build_opt *opt)
{
    char names[300], wrong[KD_TAP_NAME];
    kd_graph *g;
    kd_tap *taps = NULL;
    size_t t = 0;
    while (t < opt->n_taps && (opt->taps[t].value != KD_NONE || !opt->taps[t].name[0])) t++;
    if (t == opt->n_taps) return KD_OK;
    memcpy(wrong, opt->taps[t].name, sizeof wrong);
    wrong[sizeof wrong - 1] = 0;
    kd_status status = kd_graph_create(ctx, &g);
    if (status) return status;
    status = list(ctx, spec, g, &taps);
    if (!status) {
        print_names(names, sizeof names, taps);
        status = kd_ctx_fail(ctx, KD_E_NOTFOUND, "%s has no tap '%s'; it has %s", spec->name, wrong,
                             names);
    }
    kd_ctx_free(ctx, taps);
    kd_graph_destroy(g);
    return status;
}
