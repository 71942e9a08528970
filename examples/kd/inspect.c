/* SPDX-License-Identifier: MIT
 * inspect.c: kd inspect: what a safetensors file holds, and whether it is whole. Every tensor is
 * read; numbers that are not finite are counted. Names and texts from the file are escaped. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 1 << 16 };

typedef struct inspection {
    const cli_args *args;
    kd_ctx *ctx;
    kd_file *file;
    const char *kind, *spec; /* spec NULL: the file does not say */
    bool fits;               /* the tensors are those of the spec */
    char misfit[2048];       /* or why they are not */
    char full[KD_SPEC_SIZE]; /* the complete spec */
    uint64_t elements, bytes, nonfinite;
    uint64_t *bad;         /* [tensors] numbers that are not finite */
    kd_json_object *state; /* a checkpoint's, or NULL */
    void *room;            /* CHUNK floats */
} inspection;

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_float(kd_dtype dtype)
{
    return dtype == KD_F32 || dtype == KD_F16 || dtype == KD_BF16 || dtype == KD_F64;
}

static kd_status read_tensor(inspection *s, const kd_file_tensor *t, uint64_t *bad)
{
    if (is_float(t->dtype)) {
        float *x = s->room;
        for (size_t at = 0; at < t->count; at += CHUNK) {
            const size_t n = t->count - at < CHUNK ? t->count - at : CHUNK;
            const kd_status status = kd_file_read_f32(s->file, t, at, n, x);
            if (status) return status;
            for (size_t i = 0; i < n; i++)
                if (!isfinite(x[i])) ++*bad;
        }
        return KD_OK;
    }
    for (uint64_t at = 0; at < t->bytes; at += CHUNK) {
        const size_t n = t->bytes - at < CHUNK ? (size_t)(t->bytes - at) : CHUNK;
        const kd_status status = kd_file_read_bytes(s->file, t, at, n, s->room);
        if (status) return status;
    }
    return KD_OK;
}

static int read_all(inspection *s)
{
    const size_t n = kd_file_count(s->file);
    s->bad = kd_ctx_alloc(s->ctx, n, sizeof *s->bad);
    s->room = kd_ctx_alloc(s->ctx, CHUNK, sizeof(float));
    if (!s->bad || !s->room) return cli_fail_ctx(s->ctx);
    for (size_t i = 0; i < n; i++) {
        const kd_file_tensor *t = kd_file_at(s->file, i);
        if (read_tensor(s, t, &s->bad[i])) return cli_fail_ctx(s->ctx);
        s->elements += t->count;
        s->bytes += t->bytes;
        s->nonfinite += s->bad[i];
    }
    return CLI_DONE;
}

/* A libkd file says what it is. Is it? */
static void identify(inspection *s)
{
    const char *kind = kd_file_metadata_get(s->file, "libkd.kind");
    const char *state = kd_file_metadata_get(s->file, "libkd.train");
    kd_model *model;
    s->spec = s->args->model ? s->args->model : kd_file_metadata_get(s->file, "libkd.spec");
    s->kind = kind && !strcmp(kind, "checkpoint") ? "checkpoint" : s->spec ? "network" : "tensors";
    if (state && kd_json_parse(s->ctx, state, strlen(state), &s->state)) s->state = NULL;
    if (!s->spec) return;
    if (kd_model_load(s->ctx, s->args->words[0], s->spec, &model)) {
        snprintf(s->misfit, sizeof s->misfit, "%s", kd_ctx_error(s->ctx));
        return;
    }
    s->fits = true;
    snprintf(s->full, sizeof s->full, "%s", kd_model_spec(model));
    kd_model_destroy(model);
}

/* ---- telling --------------------------------------------------------------------------------- */

static void shape_text(const kd_file_tensor *t, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < t->rank && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%lld", i ? "," : "",
                                 (long long)t->shape[i]);
    if (used < size) snprintf(out + used, size - used, "]");
}

static const char *const counters[] = {"epoch", "batch", "step", "seed"};
enum { COUNTERS = sizeof counters / sizeof *counters };

static void tensor_json(kd_json *json, const kd_file_tensor *t, uint64_t bad)
{
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "name", t->name);
    kd_json_string(json, "dtype", kd_dtype_name(t->dtype));
    kd_json_array_begin(json, "shape");
    for (int i = 0; i < t->rank; i++) kd_json_integer(json, NULL, t->shape[i]);
    kd_json_array_end(json);
    kd_json_integer(json, "bytes", (int64_t)t->bytes);
    kd_json_integer(json, "nonfinite", (int64_t)bad);
    kd_json_object_end(json);
}

static int as_json(const inspection *s)
{
    kd_json *json;
    const char *key, *value;
    int64_t number;
    if (kd_json_create(s->ctx, 0, &json)) return cli_fail_ctx(s->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "file", kd_file_path(s->file));
    kd_json_integer(json, "bytes", (int64_t)kd_file_size(s->file));
    kd_json_string(json, "kind", s->kind);
    kd_json_bool(json, "whole", 1);
    kd_json_string(json, "spec", s->fits ? s->full : s->spec);
    if (s->spec) kd_json_bool(json, "fits", s->fits);
    if (s->spec && !s->fits) kd_json_string(json, "misfit", s->misfit);
    kd_json_integer(json, "elements", (int64_t)s->elements);
    kd_json_integer(json, "nonfinite", (int64_t)s->nonfinite);
    for (size_t i = 0; i < COUNTERS; i++)
        if (s->state && kd_json_get_integer(s->state, counters[i], &number))
            kd_json_integer(json, counters[i], number);
    kd_json_object_begin(json, "metadata");
    for (size_t i = 0; kd_file_metadata_at(s->file, i, &key, &value); i++)
        kd_json_string(json, key, value);
    kd_json_object_end(json);
    kd_json_array_begin(json, "tensors");
    for (size_t i = 0; i < kd_file_count(s->file); i++)
        tensor_json(json, kd_file_at(s->file, i), s->bad[i]);
    kd_json_array_end(json);
    kd_json_object_end(json);
    return cli_print_json(s->ctx, json);
}

static void print_metadata(const inspection *s)
{
    const char *key, *value;
    char safe_key[100], safe[160];
    for (size_t i = 0; kd_file_metadata_at(s->file, i, &key, &value); i++)
        printf("metadata    %s = %s\n", cli_escape(key, safe_key, sizeof safe_key),
               cli_escape(value, safe, sizeof safe));
}

static void print_tensors(const inspection *s)
{
    char name[200], shape[200];
    printf("\n%-40s %-8s %-20s %14s\n", "tensor", "type", "shape", "bytes");
    for (size_t i = 0; i < kd_file_count(s->file); i++) {
        const kd_file_tensor *t = kd_file_at(s->file, i);
        shape_text(t, shape, sizeof shape);
        printf("%-40s %-8s %-20s %14llu", cli_escape(t->name, name, sizeof name),
               kd_dtype_name(t->dtype), shape, (unsigned long long)t->bytes);
        if (s->bad[i]) printf("  %llu not finite", (unsigned long long)s->bad[i]);
        putchar('\n');
    }
}

static int as_table(const inspection *s)
{
    char safe[2100];
    int64_t number;
    printf("file        %s, %llu bytes, whole\n",
           cli_escape(kd_file_path(s->file), safe, sizeof safe),
           (unsigned long long)kd_file_size(s->file));
    printf("kind        %s\n", s->kind);
    if (s->fits)
        printf("network     %s\n", s->full);
    else if (s->spec)
        printf("misfit      %s\n", cli_escape(s->misfit, safe, sizeof safe));
    else
        printf("network     the file does not say (--model SPEC checks one)\n");
    printf("tensors     %zu with %llu elements, %s\n", kd_file_count(s->file),
           (unsigned long long)s->elements, cli_bytes((double)s->bytes).text);
    if (s->nonfinite)
        printf("warning     %llu numbers are not finite\n", (unsigned long long)s->nonfinite);
    if (s->state) {
        printf("progress   ");
        for (size_t i = 0; i < COUNTERS; i++)
            if (kd_json_get_integer(s->state, counters[i], &number))
                printf(" %s %lld", counters[i], (long long)number);
        putchar('\n');
    }
    print_metadata(s);
    print_tensors(s);
    return cli_flush();
}

int cmd_inspect(cli_args *args)
{
    inspection s = {.args = args};
    int status = cli_open_ctx(args, &s.ctx);
    if (!status && kd_file_open(s.ctx, args->words[0], &s.file)) status = cli_fail_ctx(s.ctx);
    if (!status) status = read_all(&s);
    if (!status) {
        identify(&s);
        status = args->json ? as_json(&s) : as_table(&s);
    }
    if (!status && s.spec && !s.fits) status = cli_fail("%s", s.misfit);
    kd_json_object_destroy(s.state);
    kd_file_close(s.file);
    if (s.ctx) {
        kd_ctx_free(s.ctx, s.bad);
        kd_ctx_free(s.ctx, s.room);
    }
    kd_ctx_destroy(s.ctx);
    return status;
}
