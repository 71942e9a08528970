/* SPDX-License-Identifier: MIT
 * models.c: kd models: the family in two settings, or the taps of one network. Figures come from
 * graphs; no parameter is made. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *title, *keys;
} settings[] = {
    {"32 px, 10 classes", "classes=10,image=32"},
    {"224 px, 1000 classes, as published", "classes=1000,image=224"},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

typedef struct figures {
    uint64_t params, macs;
} figures;

static kd_status count(kd_ctx *ctx, const char *name, int setting, figures *f)
{
    char spec[KD_SPEC_SIZE];
    const bool published = setting == 1 && !strncmp(name, "vgg", 3);
    snprintf(spec, sizeof spec, "%s,%s%s", name, settings[setting].keys,
             published ? ",head=fc4096" : "");
    return kd_spec_count(ctx, spec, &f->params, &f->macs);
}

static void heading(void)
{
    printf("%-34s", "");
    for (int s = 0; s < SETTINGS; s++) printf("  %30s", settings[s].title);
    printf("\n%-34s", "name");
    for (int s = 0; s < SETTINGS; s++) printf("  %15s %14s", "parameters", "MMACs");
    putchar('\n');
}

static void as_json(kd_json *json, const char *name, const figures *f)
{
    static const char *const params[] = {"params", "params_224"};
    static const char *const macs[] = {"macs", "macs_224"};
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "name", name);
    for (int s = 0; s < SETTINGS; s++) {
        kd_json_integer(json, params[s], (int64_t)f[s].params);
        kd_json_integer(json, macs[s], (int64_t)f[s].macs);
    }
    kd_json_object_end(json);
}

static kd_status list(kd_ctx *ctx, kd_json *json)
{
    const char *name;
    for (size_t i = 0; (name = kd_model_name_at(i)); i++) {
        figures f[SETTINGS];
        for (int s = 0; s < SETTINGS; s++) {
            const kd_status status = count(ctx, name, s, &f[s]);
            if (status) return status;
        }
        if (json) {
            as_json(json, name, f);
            continue;
        }
        printf("%-34s", name);
        for (int s = 0; s < SETTINGS; s++)
            printf("  %15llu %14.1f", (unsigned long long)f[s].params, 1e-6 * (double)f[s].macs);
        putchar('\n');
    }
    return KD_OK;
}

/* ---- taps ------------------------------------------------------------------------------------ */

/* "[N,16,16,64]", "[4*N,3,49,49]" */
static void print_tap(const kd_tap_info *tap)
{
    printf("%-28s [", tap->name);
    if (tap->shape.dim[0] == KD_BATCH)
        printf("N");
    else
        printf("%lld*N", -(long long)tap->shape.dim[0]);
    for (int i = 1; i < tap->shape.rank; i++) printf(",%lld", (long long)tap->shape.dim[i]);
    printf("]\n");
}

static void tap_as_json(kd_json *json, const kd_tap_info *tap)
{
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "name", tap->name);
    kd_json_integer(json, "rows", -tap->shape.dim[0]);
    kd_json_array_begin(json, "shape");
    for (int i = 1; i < tap->shape.rank; i++) kd_json_integer(json, NULL, tap->shape.dim[i]);
    kd_json_array_end(json);
    kd_json_object_end(json);
}

static kd_status list_taps(kd_ctx *ctx, kd_json *json, const char *spec)
{
    enum { MOST = 1024 };
    kd_tap_info *taps = kd_ctx_alloc(ctx, MOST, sizeof *taps);
    size_t n;
    if (!taps) return kd_ctx_memory_status(ctx);
    const kd_status status = kd_spec_taps(ctx, spec, taps, MOST, &n);
    for (size_t t = 0; !status && t < n && t < MOST; t++) {
        if (json)
            tap_as_json(json, &taps[t]);
        else
            print_tap(&taps[t]);
    }
    kd_ctx_free(ctx, taps);
    return status;
}

int cmd_models(cli_args *args)
{
    kd_ctx *ctx;
    kd_json *json = NULL;
    int status = cli_open_ctx(args, &ctx);
    if (status) return status;
    if (args->json && kd_json_create(ctx, 0, &json)) status = cli_fail_ctx(ctx);
    if (json) {
        kd_json_object_begin(json, NULL);
        if (args->taps) kd_json_string(json, "spec", args->taps);
        kd_json_array_begin(json, args->taps ? "taps" : "models");
    } else if (!status && !args->taps) {
        heading();
    }
    if (!status && (args->taps ? list_taps(ctx, json, args->taps) : list(ctx, json)))
        status = cli_fail_ctx(ctx);
    if (json && !status) {
        kd_json_array_end(json);
        kd_json_object_end(json);
        status = cli_print_json(ctx, json);
    } else {
        kd_json_destroy(json);
        if (!status) status = cli_flush();
    }
    kd_ctx_destroy(ctx);
    return status;
}
