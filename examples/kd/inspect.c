/* SPDX-License-Identifier: MIT
 * inspect.c: kd inspect: what a safetensors file holds, and whether it is whole. Every tensor is
 * read; numbers that are not finite are counted. Names and texts from the file are escaped. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 1 << 16, SHOWN = 8, INDEX_LIMIT = 1 << 28 }; /* SHOWN: names of classes */

typedef struct inspection {
    const cli_args *args;
    kd_ctx *ctx;
    kd_file *file;
    const char *kind, *spec; /* spec NULL: the file does not say */
    kd_model *model;         /* NULL: the tensors are not those of the spec, or there is none */
    uint64_t hash;           /* the model's */
    char misfit[2048];       /* why they are not */
    kd_json_object *index;   /* which tensor lies in which shard; NULL: there are no shards */
    const char **shards;     /* [n_shards] their names */
    size_t n_shards;
    uint64_t elements, bytes, nonfinite;
    uint64_t *bad;         /* [tensors] numbers that are not finite */
    kd_json_object *state; /* a checkpoint's, or NULL */
    void *buffer;          /* CHUNK floats */
} inspection;

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_float(kd_dtype dtype)
{
    return dtype == KD_F32 || dtype == KD_F16 || dtype == KD_BF16 || dtype == KD_F64;
}

static kd_status read_tensor(inspection *s, const kd_file_tensor *t, uint64_t *bad)
{
    if (is_float(t->dtype)) {
        float *x = s->buffer;
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
        const kd_status status = kd_file_read_bytes(s->file, t, at, n, s->buffer);
        if (status) return status;
    }
    return KD_OK;
}

static int read_all(inspection *s)
{
    const size_t n = kd_file_count(s->file);
    s->bad = kd_ctx_alloc(s->ctx, n, sizeof *s->bad);
    s->buffer = kd_ctx_alloc(s->ctx, CHUNK, sizeof(float));
    if (!s->bad || !s->buffer) return cli_fail_ctx(s->ctx);
    for (size_t i = 0; i < n; i++) {
        const kd_file_tensor *t = kd_file_at(s->file, i);
        if (read_tensor(s, t, &s->bad[i])) return cli_fail_ctx(s->ctx);
        s->elements += t->count;
        s->bytes += t->bytes;
        s->nonfinite += s->bad[i];
    }
    return CLI_DONE;
}

/* The names of the shards, in the order of their first tensors. */
static int find_shards(inspection *s)
{
    char *text;
    size_t size;
    kd_json_object *all = NULL;
    const char *path = kd_file_path(s->file), *ending = strrchr(path, '.');
    const size_t n = kd_file_count(s->file);
    if (!ending || strcmp(ending, ".json")) return CLI_DONE;
    if (kd_file_read_all(s->ctx, path, INDEX_LIMIT, &text, &size)) return cli_fail_ctx(s->ctx);
    kd_status status = kd_json_parse(s->ctx, text, size, &all);
    if (!status) status = kd_json_get_object(all, "weight_map", &s->index);
    kd_json_object_destroy(all);
    kd_ctx_free(s->ctx, text);
    s->shards = status ? NULL : kd_ctx_alloc(s->ctx, n + 1, sizeof *s->shards);
    if (!s->shards) return cli_fail_ctx(s->ctx);
    for (size_t i = 0; i < n; i++) {
        const char *name = kd_json_get_string(s->index, kd_file_at(s->file, i)->name);
        size_t k = 0;
        while (name && k < s->n_shards && strcmp(s->shards[k], name)) k++;
        if (name && k == s->n_shards) s->shards[s->n_shards++] = name;
    }
    return CLI_DONE;
}

/* What the file says it is. A kind that is not known here is another program's. */
static const char *kind_of(const inspection *s)
{
    static const char *const kinds[] = {"checkpoint", "loop", "predictions", "step"};
    const char *kind = kd_file_metadata_get(s->file, "libkd.kind");
    for (size_t i = 0; kind && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kind, kinds[i])) return kinds[i];
    return s->spec ? "network" : "tensors";
}

/* Check a file of libkd against what it says of itself. */
static int identify(inspection *s)
{
    const char *state = kd_file_metadata_get(s->file, "libkd.train");
    s->spec = s->args->model ? s->args->model : kd_file_metadata_get(s->file, "libkd.spec");
    s->kind = kind_of(s);
    if (!s->args->model && !strcmp(s->kind, "step")) s->spec = NULL; /* what came of a network */
    if (state && kd_json_parse(s->ctx, state, strlen(state), &s->state)) s->state = NULL;
    if (!s->spec) return CLI_DONE;
    const kd_load_opt opt = {.struct_size = sizeof opt, .spec = s->args->model};
    if (!kd_model_load_file(s->ctx, s->file, &opt, &s->model))
        return kd_model_hash(s->model, &s->hash) ? cli_fail_ctx(s->ctx) : CLI_DONE;
    snprintf(s->misfit, sizeof s->misfit, "%s", kd_ctx_error(s->ctx));
    return CLI_DONE;
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

static void numbers_json(kd_json *json, const char *key, const float *x, size_t n)
{
    if (!x) {
        kd_json_null(json, key);
        return;
    }
    kd_json_array_begin(json, key);
    for (size_t i = 0; i < n; i++) kd_json_float(json, NULL, x[i]);
    kd_json_array_end(json);
}

static void names_json(kd_json *json, const char *key, const char *const *names, size_t n)
{
    if (!names) {
        kd_json_null(json, key);
        return;
    }
    kd_json_array_begin(json, key);
    for (size_t i = 0; i < n; i++) kd_json_string(json, NULL, names[i]);
    kd_json_array_end(json);
}

/* What the file says of the network in it; null: nothing. */
static void model_json(kd_json *json, const inspection *s)
{
    char text[20];
    uint64_t checksum;
    const kd_model *m = s->model;
    const char *data = kd_model_data(m, &checksum);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)s->hash);
    kd_json_string(json, "hash", text);
    kd_json_integer(json, "classes", (int64_t)kd_model_classes(m));
    names_json(json, "class_names", kd_model_class_names(m), kd_model_classes(m));
    snprintf(text, sizeof text, "%016llx", (unsigned long long)checksum);
    kd_json_string(json, "data", data);
    kd_json_string(json, "data_checksum", data ? text : NULL);
    kd_json_string(json, "framing", kd_model_framing(m));
    numbers_json(json, "mean", kd_model_mean(m), kd_model_channels(m));
    numbers_json(json, "std", kd_model_std(m), kd_model_channels(m));
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
    if (s->index) names_json(json, "shards", s->shards, s->n_shards);
    kd_json_string(json, "spec", s->model ? kd_model_spec(s->model) : s->spec);
    if (s->spec) kd_json_bool(json, "fits", s->model != NULL);
    if (s->spec && !s->model) kd_json_string(json, "misfit", s->misfit);
    if (s->model) model_json(json, s);
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

static void print_classes(const kd_model *m)
{
    char name[100];
    const size_t n = kd_model_classes(m);
    const char *const *names = kd_model_class_names(m);
    printf("classes     %zu", n);
    for (size_t k = 0; names && k < n && k < SHOWN; k++)
        printf("%s%s", k ? ", " : ": ", cli_escape(names[k], name, sizeof name));
    printf("%s\n", !names ? "; the file does not name them" : n > SHOWN ? ", ..." : "");
}

static void print_numbers(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) printf("%s%.4g", i ? "," : "", (double)x[i]);
}

static void print_model(const inspection *s)
{
    char safe[300];
    uint64_t checksum;
    const kd_model *m = s->model;
    const char *data = kd_model_data(m, &checksum), *framing = kd_model_framing(m);
    const size_t channels = kd_model_channels(m);
    printf("hash        %016llx\n", (unsigned long long)s->hash);
    print_classes(m);
    if (data)
        printf("trained on  %s (checksum %016llx)\n", cli_escape(data, safe, sizeof safe),
               (unsigned long long)checksum);
    else
        printf("trained on  the file does not say\n");
    printf("framing     %s\n",
           framing ? cli_escape(framing, safe, sizeof safe) : "the file does not say");
    if (!kd_model_mean(m)) {
        printf("normalised  the file does not say by what: it will be guessed (--normalize)\n");
        return;
    }
    printf("normalised  mean ");
    print_numbers(kd_model_mean(m), channels);
    printf(", deviation ");
    print_numbers(kd_model_std(m), channels);
    putchar('\n');
}

static int as_table(const inspection *s)
{
    char safe[2100];
    int64_t number;
    printf("file        %s, %llu bytes, whole\n",
           cli_escape(kd_file_path(s->file), safe, sizeof safe),
           (unsigned long long)kd_file_size(s->file));
    if (s->index) printf("shards      %zu\n", s->n_shards);
    printf("kind        %s\n", s->kind);
    if (s->model)
        printf("network     %s\n", kd_model_spec(s->model));
    else if (s->spec)
        printf("misfit      %s\n", cli_escape(s->misfit, safe, sizeof safe));
    else if (!strcmp(s->kind, "tensors"))
        printf("network     the file does not say (--model SPEC checks one)\n");
    if (s->model) print_model(s);
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
    if (cli_is_blob(args->words[0])) return cli_list_blob(args, args->words[0], 0);
    int status = cli_open_ctx(args, &s.ctx);
    const kd_status opened = status ? KD_OK : kd_file_open(s.ctx, args->words[0], &s.file);
    if (opened) status = cli_fail_open(s.ctx, args->words[0], opened);
    if (!status) status = read_all(&s);
    if (!status) status = find_shards(&s);
    if (!status) status = identify(&s);
    if (!status) status = args->json ? as_json(&s) : as_table(&s);
    if (!status && s.spec && !s.model) status = cli_fail("%s", s.misfit);
    kd_json_object_destroy(s.state);
    kd_json_object_destroy(s.index);
    kd_model_destroy(s.model);
    kd_file_close(s.file);
    if (s.ctx) {
        kd_ctx_free(s.ctx, s.bad);
        kd_ctx_free(s.ctx, s.shards);
        kd_ctx_free(s.ctx, s.buffer);
    }
    kd_ctx_destroy(s.ctx);
    return status;
}
