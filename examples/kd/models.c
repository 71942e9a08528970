/* SPDX-License-Identifier: MIT
 * models.c: kd models: the family in two settings. Figures come from graphs; no parameter is made.
 */
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

int cmd_models(cli_args *args)
{
    kd_ctx *ctx;
    kd_json *json = NULL;
    int status = cli_open_ctx(args, &ctx);
    if (status) return status;
    if (args->json && kd_json_create(ctx, 0, &json)) status = cli_fail_ctx(ctx);
    if (json) {
        kd_json_object_begin(json, NULL);
        kd_json_array_begin(json, "models");
    } else if (!status) {
        heading();
    }
    if (!status && list(ctx, json)) status = cli_fail_ctx(ctx);
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
