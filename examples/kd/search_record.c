/* SPDX-License-Identifier: MIT
 * search_record.c: what kd search leaves beside its runs: search.json, the candidates before they are
 * trained, from which a search goes on; search.jsonl and search.csv, a line for each with what it
 * costs and how far it came; and what is printed. */
#include "search.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void path_of(const search *s, const char *file, char out[CLI_PATH])
{
    snprintf(out, CLI_PATH, "%.4000s/%s", s->args->train.out, file);
}

/* ---- the plan -------------------------------------------------------------------------------- */

static uint64_t add(uint64_t h, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001B3u;
    return (h ^ 0xFF) * 0x100000001B3u;
}

/* A sum of what was typed, but for what changes no result, and of the space: a search goes on only
 * with the same. */
static cli_text key_of(const search *s)
{
    static const char *const free[] = {"--resume", "--json", "--quiet", "-q"};
    uint64_t h = 0xCBF29CE484222325u;
    cli_text text;
    for (int i = 2; i < s->args->argc; i++) {
        const char *word = s->args->argv[i];
        bool skip = false;
        for (size_t k = 0; k < sizeof free / sizeof *free; k++) skip |= !strcmp(word, free[k]);
        if (!strncmp(word, "--threads", 9) || !strncmp(word, "--out", 5)) {
            i += !strchr(word, '=');
            skip = true;
        }
        if (!skip) h = add(h, word, strlen(word));
    }
    if (s->space) h = add(h, s->space, s->space_size);
    snprintf(text.text, sizeof text.text, "%016llx", (unsigned long long)h);
    return text;
}

static void print_cost(kd_json *j, const search_cost *c)
{
    kd_json_integer(j, "params", (int64_t)c->params);
    kd_json_integer(j, "macs", (int64_t)c->macs);
    kd_json_integer(j, "flash_bytes", (int64_t)c->flash);
    kd_json_integer(j, "memory_bytes", (int64_t)c->memory);
    kd_json_number(j, "latency_ms", c->latency);
}

static void print_sieve(kd_json *j, const search_sieve *v)
{
    kd_json_object_begin(j, "networks");
    kd_json_integer(j, "considered", (int64_t)v->considered);
    kd_json_integer(j, "over_macs", (int64_t)v->macs);
    kd_json_integer(j, "over_flash", (int64_t)v->flash);
    kd_json_integer(j, "over_memory", (int64_t)v->memory);
    kd_json_integer(j, "unsupported", (int64_t)v->unsupported);
    kd_json_integer(j, "within", (int64_t)v->within);
    kd_json_integer(j, "over_latency", (int64_t)v->latency);
    kd_json_object_end(j);
}

static void print_plan(const search *s, kd_json *j)
{
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "key", key_of(s).text);
    kd_json_integer(j, "seed", (int64_t)s->args->train.seed);
    kd_json_integer(j, "dev_count", (int64_t)s->dev_count);
    kd_json_bool(j, "int8", s->args->int8);
    kd_json_array_begin(j, "rungs");
    for (size_t i = 0; i < s->n_rungs; i++) kd_json_integer(j, NULL, (int64_t)s->rung[i]);
    kd_json_array_end(j);
    print_sieve(j, &s->sieve);
    kd_json_array_begin(j, "candidates");
    for (size_t i = 0; i < s->n; i++) {
        const search_candidate *c = &s->candidates[i];
        kd_json_object_begin(j, NULL);
        kd_json_string(j, "name", c->name);
        kd_json_string(j, "spec", c->spec);
        kd_json_string(j, "options", c->options);
        print_cost(j, &c->cost);
        kd_json_object_end(j);
    }
    kd_json_array_end(j);
    kd_json_object_end(j);
}

static int write_text(search *s, const char *file, const char *text, size_t size)
{
    char path[CLI_PATH];
    path_of(s, file, path);
    return kd_file_write_atomic(s->ctx, path, text, size) ? cli_fail_ctx(s->ctx) : CLI_DONE;
}

int search_write_plan(search *s)
{
    kd_json *j;
    const char *text;
    size_t size;
    if (kd_folder_make(s->ctx, s->args->train.out) || kd_json_create(s->ctx, 1, &j))
        return cli_fail_ctx(s->ctx);
    print_plan(s, j);
    int status = kd_json_text(j, &text, &size) ? cli_fail_ctx(s->ctx) : CLI_DONE;
    if (!status) status = write_text(s, "search.json", text, size);
    kd_json_destroy(j);
    return status;
}

/* ---- the plan read back ---------------------------------------------------------------------- */

static bool number_of(const kd_json_object *o, const char *key, uint64_t *out)
{
    int64_t number;
    if (!kd_json_get_integer(o, key, &number) || number < 0) return false;
    *out = (uint64_t)number;
    return true;
}

static bool text_of(const kd_json_object *o, const char *key, char *out, size_t size)
{
    const char *text = kd_json_get_string(o, key);
    return text && snprintf(out, size, "%s", text) < (int)size;
}

static bool read_candidate(const search *s, const kd_json_object *o, search_candidate *c)
{
    char name[16];
    *c = (search_candidate){
        .top1 = (double)NAN, .loss = (double)NAN, .cost = {.sized = true, .latency = (double)NAN}};
    for (size_t i = 0; i < SEARCH_RUNGS; i++) c->dev[i] = (double)NAN;
    snprintf(name, sizeof name, "c%03zu", (size_t)(c - s->candidates) + 1);
    kd_json_get_number(o, "latency_ms", &c->cost.latency);
    return text_of(o, "name", c->name, sizeof c->name) && !strcmp(c->name, name) &&
           text_of(o, "spec", c->spec, sizeof c->spec) && cli_is_spec(c->spec) &&
           text_of(o, "options", c->options, sizeof c->options) &&
           number_of(o, "params", &c->cost.params) && number_of(o, "macs", &c->cost.macs) &&
           number_of(o, "flash_bytes", &c->cost.flash) &&
           number_of(o, "memory_bytes", &c->cost.memory);
}

static int read_candidates(search *s, const kd_json_object *root, const char *path)
{
    size_t count;
    bool good = kd_json_get_count(root, "candidates", &count) && count > 0 && count <= SWEEP_MOST;
    if (good) s->candidates = kd_ctx_alloc(s->ctx, count, sizeof *s->candidates);
    if (good && !s->candidates) return cli_fail_ctx(s->ctx);
    for (size_t i = 0; good && i < count; i++) {
        kd_json_object *element, *o = NULL;
        good = !kd_json_get_element(root, "candidates", i, &element) &&
               !kd_json_get_object(element, "value", &o) && read_candidate(s, o, &s->candidates[i]);
        kd_json_object_destroy(o);
        kd_json_object_destroy(element);
        s->n = i + 1;
    }
    return good ? CLI_DONE : cli_fail("%s: it is damaged", path);
}

int search_read_plan(search *s, bool *found)
{
    enum { LARGEST = 1 << 24 };
    char path[CLI_PATH], *text;
    size_t size;
    kd_json_object *root;
    path_of(s, "search.json", path);
    const kd_status read = kd_file_read_all(s->ctx, path, LARGEST, &text, &size);
    if (read == KD_E_NOTFOUND) return CLI_DONE;
    if (read) return cli_fail_ctx(s->ctx);
    const kd_status parsed = kd_json_parse(s->ctx, text, size, &root);
    kd_ctx_free(s->ctx, text);
    if (parsed) return cli_fail("%s: %s", path, kd_ctx_error(s->ctx));
    const char *key = kd_json_get_string(root, "key");
    int status = search_open_space(s); /* it counts in the key */
    if (!status && !s->args->train.resume)
        status =
            cli_fail("%s is there already, of an earlier search (--resume goes on with it)", path);
    if (!status && (!key || strcmp(key, key_of(s).text)))
        status = cli_fail("%s is of a search with other options, limits or another space", path);
    if (!status) status = read_candidates(s, root, path);
    kd_json_object_destroy(root);
    *found = !status;
    return status;
}

/* ---- the record ------------------------------------------------------------------------------ */

static size_t epochs_of(const search *s, const search_candidate *c)
{
    return c->rungs ? s->rung[c->rungs - 1] : 0;
}

static double dev_of(const search_candidate *c)
{
    return c->rungs ? c->dev[c->rungs - 1] : (double)NAN;
}

static void print_candidate(const search *s, kd_json *j, size_t place)
{
    const search_candidate *c = s->order[place];
    kd_json_object_begin(j, NULL);
    kd_json_integer(j, "place", (int64_t)place + 1);
    kd_json_string(j, "name", c->name);
    kd_json_string(j, "spec", c->spec);
    kd_json_string(j, "options", c->options);
    print_cost(j, &c->cost);
    kd_json_integer(j, "epochs", (int64_t)epochs_of(s, c));
    kd_json_array_begin(j, "dev_top1");
    for (size_t i = 0; i < s->n_rungs; i++) kd_json_number(j, NULL, c->dev[i]);
    kd_json_array_end(j);
    kd_json_number(j, "top1", c->top1);
    kd_json_number(j, "loss", c->loss);
    kd_json_object_end(j);
}

static int write_lines(search *s)
{
    char *all = NULL;
    size_t used = 0;
    int status = CLI_DONE;
    for (size_t i = 0; i < s->n && !status; i++) {
        kd_json *j;
        const char *text;
        size_t size;
        if (kd_json_create(s->ctx, 0, &j)) return cli_fail_ctx(s->ctx);
        print_candidate(s, j, i);
        status = kd_json_text(j, &text, &size) ? cli_fail_ctx(s->ctx) : CLI_DONE;
        char *more = status ? NULL : realloc(all, used + size + 1);
        if (!status && !more) status = cli_fail("no memory");
        if (more) {
            all = more;
            memcpy(all + used, text, size);
            used += size;
            all[used++] = '\n';
        }
        kd_json_destroy(j);
    }
    if (!status) status = write_text(s, "search.jsonl", all, used);
    free(all);
    return status;
}

static int write_csv(search *s)
{
    const size_t capacity = 400 + s->n * (KD_SPEC_SIZE + SEARCH_OPTIONS + 300);
    char *all = kd_ctx_alloc(s->ctx, capacity, 1), number[40];
    if (!all) return cli_fail_ctx(s->ctx);
    size_t used =
        (size_t)snprintf(all, capacity,
                         "place,name,epochs,dev_top1,top1,params,macs,flash_bytes,memory_bytes,"
                         "latency_ms,spec,options\n");
    for (size_t i = 0; i < s->n; i++) {
        const search_candidate *c = s->order[i];
        const double values[] = {dev_of(c), c->top1};
        used += (size_t)snprintf(all + used, capacity - used, "%zu,%s,%zu,", i + 1, c->name,
                                 epochs_of(s, c));
        for (size_t k = 0; k < 2; k++) {
            snprintf(number, sizeof number, "%.4f", values[k]);
            used += (size_t)snprintf(all + used, capacity - used, "%s,",
                                     isnan(values[k]) ? "" : number);
        }
        used += (size_t)snprintf(
            all + used, capacity - used, "%llu,%llu,%llu,%llu,%.6g,\"%s\",\"%s\"\n",
            (unsigned long long)c->cost.params, (unsigned long long)c->cost.macs,
            (unsigned long long)c->cost.flash, (unsigned long long)c->cost.memory, c->cost.latency,
            c->spec, c->options);
    }
    const int status = write_text(s, "search.csv", all, used);
    kd_ctx_free(s->ctx, all);
    return status;
}

/* Those who are out are ranked by how far they came. */
int search_write_record(search *s)
{
    const int status = write_lines(s);
    return status ? status : write_csv(s);
}

/* ---- printed --------------------------------------------------------------------------------- */

static void print_row(const search *s, size_t place)
{
    const search_candidate *c = s->order[place];
    char dev[20] = "";
    if (c->rungs) snprintf(dev, sizeof dev, "%.2f", dev_of(c));
    printf("%5zu  %-5s %6zu  %7s  %8s %9s %10s %10s %8.3g  %s%s%s\n", place + 1, c->name,
           epochs_of(s, c), dev, cli_amount((double)c->cost.macs).text,
           cli_amount((double)c->cost.params).text, cli_bytes((double)c->cost.flash).text,
           cli_bytes((double)c->cost.memory).text, c->cost.latency, c->spec, *c->options ? " " : "",
           c->options);
}

static void print_rows(const search *s)
{
    printf(
        "place  name  epochs    dev %%      MACs    params      flash     memory       ms  network "
        "and options\n");
    for (size_t i = 0; i < s->n; i++) print_row(s, i);
}

int search_print(search *s)
{
    const search_candidate *best = s->order[0];
    kd_json *j;
    if (!s->args->json) {
        char safe[400];
        print_rows(s);
        cli_escape(s->args->train.out, safe, sizeof safe);
        printf("best        %s/best (%s): %s%s%s\n", safe, best->name, best->spec,
               *best->options ? " " : "", best->options);
        printf("development top-1 %.2f %%\n", dev_of(best));
        if (!isnan(best->top1)) printf("test        top-1 %.2f %%\n", best->top1);
        return cli_flush();
    }
    if (kd_json_create(s->ctx, 0, &j)) return cli_fail_ctx(s->ctx);
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "best", best->name);
    kd_json_string(j, "spec", best->spec);
    kd_json_string(j, "options", best->options);
    kd_json_number(j, "dev_top1", dev_of(best));
    kd_json_number(j, "top1", best->top1);
    print_cost(j, &best->cost);
    kd_json_array_begin(j, "candidates");
    for (size_t i = 0; i < s->n; i++) print_candidate(s, j, i);
    kd_json_array_end(j);
    kd_json_object_end(j);
    return cli_print_json(s->ctx, j);
}

/* --dry-run */
int search_print_plan(search *s)
{
    const search_sieve *v = &s->sieve;
    const double hours = search_seconds(s, s->n) / 3600;
    kd_json *j;
    if (s->args->json) {
        if (kd_json_create(s->ctx, 0, &j)) return cli_fail_ctx(s->ctx);
        kd_json_object_begin(j, NULL);
        kd_json_bool(j, "dry_run", 1);
        print_sieve(j, v);
        kd_json_number(j, "hours", hours);
        kd_json_array_begin(j, "candidates");
        for (size_t i = 0; i < s->n; i++) print_candidate(s, j, i);
        kd_json_array_end(j);
        kd_json_object_end(j);
        return cli_print_json(s->ctx, j);
    }
    print_rows(s);
    printf(
        "networks    %zu of the space, %zu over the MACs, %zu over the flash, %zu over the memory, "
        "%zu not for the device's format: %zu are within\n",
        s->n_networks, v->macs, v->flash, v->memory, v->unsupported, v->within);
    printf("candidates  %zu", s->n);
    for (size_t r = 0; r < s->n_rungs; r++)
        printf("%s%zu train to epoch %zu", r ? ", " : ": ", search_kept(s->n, r), s->rung[r]);
    printf("\ntime        %s (%.4f hours), evaluations not counted\n",
           cli_duration(3600 * hours).text, hours);
    printf("nothing was written (--dry-run)\n");
    return cli_flush();
}
