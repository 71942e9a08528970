/* SPDX-License-Identifier: MIT
 * blob.c: .kde files where networks may stand: which file is one, and what kd profile and kd inspect
 * say of it: flash and memory, layer by layer. */
#include "cli.h"

#include <kd/export.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cli_is_blob(const char *path)
{
    char first[4];
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    const bool is = fread(first, 1, 4, file) == 4 && !memcmp(first, "KDE\x1a", 4);
    fclose(file);
    return is;
}

int cli_open_blob(const cli_args *args, kd_ctx *ctx, const char *path, kd_blob **blob,
                  kd_model **model)
{
    static const char *const what = "a .kde says by itself";
    if (args->model) return cli_usage(args->command->name, "--model: %s which network it is", what);
    if (args->normalize)
        return cli_usage(args->command->name, "--normalize: %s how pictures are normalised", what);
    if (args->image)
        return cli_usage(args->command->name, "--image: %s how large its pictures are", what);
    if (kd_blob_open(ctx, path, blob)) return cli_fail_ctx(ctx);
    return model && kd_blob_network(*blob, model) ? cli_fail("%s: %s", path, kd_ctx_error(ctx))
                                                  : CLI_DONE;
}

static const char *type_name(uint8_t type)
{
    return type == KD_EDGE_INT8 ? "int8" : type == KD_EDGE_INT32 ? "int32" : "float32";
}

/* ---- the listing ----------------------------------------------------------------------------- */

typedef struct listing {
    kd_ctx *ctx;
    kd_blob *blob;
    const kd_edge_model *m;
    kd_edge_status test;
    uint64_t macs, flash;
    double milliseconds; /* of one picture on this machine; 0: not measured */
} listing;

static void layer_json(kd_json *json, const kd_edge_layer *l)
{
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "op", l->op);
    if (l->name) kd_json_string(json, "name", l->name);
    kd_json_array_begin(json, "out");
    for (int i = 0; i < 3; i++) kd_json_integer(json, NULL, l->out[i]);
    kd_json_array_end(json);
    kd_json_integer(json, "macs", (int64_t)l->macs);
    kd_json_integer(json, "flash_bytes", l->flash_bytes);
    kd_json_integer(json, "in_at", l->in_at);
    kd_json_integer(json, "in_bytes", l->in_bytes);
    kd_json_integer(json, "out_at", l->out_at);
    kd_json_integer(json, "out_bytes", l->out_bytes);
    kd_json_integer(json, "scratch_bytes", l->scratch_bytes);
    kd_json_object_end(json);
}

static int as_json(const listing *s)
{
    const kd_edge_model *m = s->m;
    kd_edge_layer l;
    kd_json *json;
    if (kd_json_create(s->ctx, 0, &json)) return cli_fail_ctx(s->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "kind", "blob");
    if (kd_blob_spec(s->blob)) kd_json_string(json, "spec", kd_blob_spec(s->blob));
    kd_json_string(json, "type", type_name(m->type));
    kd_json_integer(json, "bytes", m->blob_bytes);
    kd_json_integer(json, "arena_bytes", m->arena_bytes);
    kd_json_integer(json, "macs", (int64_t)s->macs);
    kd_json_integer(json, "image", m->input_height);
    kd_json_integer(json, "channels", m->input_channels);
    kd_json_integer(json, "classes", m->classes);
    kd_json_string(json, "output_type", type_name(m->output_type));
    kd_json_number(json, "output_scale", (double)m->output_scale);
    kd_json_integer(json, "output_zero", m->output_zero);
    kd_json_bool(json, "selftest", s->test == KD_EDGE_OK);
    if (s->milliseconds > 0) kd_json_number(json, "latency_ms_median", s->milliseconds);
    if (kd_edge_label(m, 0)) {
        kd_json_array_begin(json, "class_names");
        for (uint32_t i = 0; i < m->classes; i++) kd_json_string(json, NULL, kd_edge_label(m, i));
        kd_json_array_end(json);
    }
    kd_json_array_begin(json, "layers");
    for (uint32_t i = 0; i < m->records && !kd_edge_layer_get(m, i, &l); i++) layer_json(json, &l);
    kd_json_array_end(json);
    kd_json_object_end(json);
    return cli_print_json(s->ctx, json);
}

static void layer_line(const kd_edge_layer *l)
{
    char name[80] = "", out[40];
    snprintf(out, sizeof out, "%ux%ux%u", (unsigned)l->out[0], (unsigned)l->out[1],
             (unsigned)l->out[2]);
    printf("%-9s %-20s %12s %9.3f %9lu %8lu %8lu %8lu %8lu\n", l->op,
           l->name ? cli_escape(l->name, name, sizeof name) : "-", out, 1e-6 * (double)l->macs,
           (unsigned long)l->flash_bytes, (unsigned long)l->in_bytes, (unsigned long)l->out_bytes,
           (unsigned long)l->scratch_bytes, (unsigned long)l->out_at);
}

static int as_table(const listing *s)
{
    const kd_edge_model *m = s->m;
    char spec[300] = "";
    kd_edge_layer l;
    printf("spec        %s\n", kd_blob_spec(s->blob)
                                   ? cli_escape(kd_blob_spec(s->blob), spec, sizeof spec)
                                   : "not told");
    printf("pictures    %u x %u, %u channels, uint8\n", (unsigned)m->input_height,
           (unsigned)m->input_width, (unsigned)m->input_channels);
    printf("logits      %u, %s, scale %.6g, zero %ld%s\n", (unsigned)m->classes,
           type_name(m->output_type), (double)m->output_scale, (long)m->output_zero,
           kd_edge_label(m, 0) ? ", with names" : "");
    printf("flash       %lu bytes (%s), of them layers %llu\n", (unsigned long)m->blob_bytes,
           cli_bytes((double)m->blob_bytes).text, (unsigned long long)s->flash);
    printf("RAM         %lu bytes (%s): the arena\n", (unsigned long)m->arena_bytes,
           cli_bytes((double)m->arena_bytes).text);
    printf("MACs        %llu of one picture (%s)\n", (unsigned long long)s->macs,
           cli_amount((double)s->macs).text);
    if (s->milliseconds > 0)
        printf("latency     %.4g ms median on this machine, one thread\n", s->milliseconds);
    printf("self-test   %s\n\n", s->test ? kd_edge_text(s->test) : "passed");
    printf("%-9s %-20s %12s %9s %9s %8s %8s %8s %8s\n", "layer", "", "out", "MMACs", "flash", "in",
           "out", "lines", "out at");
    for (uint32_t i = 0; i < m->records && !kd_edge_layer_get(m, i, &l); i++) layer_line(&l);
    return cli_flush();
}

/* ---- the commands ---------------------------------------------------------------------------- */

enum { RUNS = 1000 };

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of runs on an empty picture, for about so many seconds. */
static int measure(listing *s, double seconds)
{
    double *times = kd_ctx_alloc(s->ctx, RUNS, sizeof *times);
    void *arena = kd_ctx_alloc(s->ctx, s->m->arena_bytes, 1);
    uint8_t *picture = kd_ctx_alloc(s->ctx, s->m->input_bytes, 1);
    int n = 0, code = times && arena && picture ? CLI_DONE : cli_fail_ctx(s->ctx);
    const double start = kd_seconds();
    while (!code && n < RUNS && (n < 5 || kd_seconds() - start < seconds)) {
        const double begun = kd_seconds();
        if (kd_edge_run(s->m, arena, s->m->arena_bytes, picture, NULL))
            code = cli_fail("the blob did not run");
        times[n++] = 1e3 * (kd_seconds() - begun);
    }
    if (!code) {
        qsort(times, (size_t)n, sizeof *times, by_value);
        s->milliseconds = times[n / 2];
    }
    kd_ctx_free(s->ctx, times);
    kd_ctx_free(s->ctx, arena);
    kd_ctx_free(s->ctx, picture);
    return code;
}

static int self_test(listing *s)
{
    void *arena = kd_ctx_alloc(s->ctx, s->m->arena_bytes, 1);
    if (!arena) return cli_fail_ctx(s->ctx);
    s->test = kd_edge_selftest(s->m, arena, s->m->arena_bytes);
    kd_ctx_free(s->ctx, arena);
    return CLI_DONE;
}

int cli_list_blob(const cli_args *args, const char *path, double seconds)
{
    listing s = {0};
    kd_edge_layer l;
    int code = cli_open_ctx(args, &s.ctx);
    if (!code) code = cli_open_blob(args, s.ctx, path, &s.blob, NULL);
    if (!code) {
        s.m = kd_blob_model(s.blob);
        for (uint32_t i = 0; i < s.m->records && !kd_edge_layer_get(s.m, i, &l); i++) {
            s.macs += l.macs;
            s.flash += l.flash_bytes;
        }
        code = self_test(&s);
    }
    if (!code && seconds > 0) code = measure(&s, seconds);
    if (!code) code = args->json ? as_json(&s) : as_table(&s);
    if (!code && s.test) code = CLI_FAILED;
    kd_blob_close(s.blob);
    kd_ctx_destroy(s.ctx);
    return code;
}
