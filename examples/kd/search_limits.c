/* SPDX-License-Identifier: MIT
 * search_limits.c: networks against limits, before anything is trained. MACs, weights and memory are
 * exact: counted, or those of a plan for one picture, or with --int8 those of the very blob that kd
 * export would write. The latency is measured: the median of some tenths of a second. */
#include "search.h"

#include "../common/statistics.h"

#include <kd/export.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- bytes ----------------------------------------------------------------------------------- */

/* A new network of the data's classes and normalisation. */
static int create(search *s, const char *spec, kd_model **m)
{
    const kd_data_info *info = kd_dataset_info(s->data);
    kd_status status = kd_model_create(s->ctx, spec, 1, m);
    if (!status && info->class_names && info->classes == kd_model_classes(*m))
        status = kd_model_set_class_names(*m, info->class_names);
    if (!status) status = kd_model_take_normalization(*m, info);
    return status ? cli_fail_ctx(s->ctx) : CLI_DONE;
}

/* Its blob in int8. How many bytes it has depends on the shapes, not on what the weights are. */
static int export_of(search *s, kd_model *m, kd_export **e, kd_edge_model *edge, bool *taken)
{
    enum { PICTURES = 2 };
    const size_t bytes = kd_model_height(m) * kd_model_width(m) * kd_model_channels(m);
    const void *blob;
    size_t size;
    *taken = false;
    kd_status status = kd_export_create(m, e);
    uint8_t *noise = status ? NULL : kd_ctx_alloc(s->ctx, PICTURES, bytes);
    if (!status && !noise) return cli_fail_ctx(s->ctx);
    uint32_t state = 1;
    for (size_t i = 0; noise && i < PICTURES * bytes; i++) {
        state = state * 1664525u + 1013904223u;
        noise[i] = (uint8_t)(state >> 24);
    }
    const kd_quantise_opt opt = {.struct_size = sizeof opt, .pictures = noise, .count = PICTURES};
    if (!status) status = kd_export_quantise(*e, &opt);
    if (!status) status = kd_export_blob(*e, &blob, &size);
    kd_ctx_free(s->ctx, noise);
    if (status == KD_E_UNSUPPORTED) return CLI_DONE;
    if (status) return cli_fail_ctx(s->ctx);
    *taken = kd_edge_open(edge, blob, size, kd_edge_ops_i8) == KD_EDGE_OK;
    return CLI_DONE;
}

static int size_blob(search *s, search_network *n, kd_model *m, bool *taken)
{
    kd_export *e = NULL;
    kd_edge_model edge;
    const int status = export_of(s, m, &e, &edge, taken);
    if (!status && *taken) {
        n->cost.flash = edge.blob_bytes;
        n->cost.memory = edge.arena_bytes;
    }
    kd_export_destroy(e);
    return status;
}

static int size_plan(search *s, search_network *n, kd_model *m)
{
    kd_plan *plan;
    kd_exec *exec;
    if (kd_model_plan(m, 1, &plan, &exec)) return cli_fail_ctx(s->ctx);
    n->cost.flash = kd_params_count(kd_model_params(m)) * sizeof(float);
    n->cost.memory = kd_plan_arena_size(plan);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    return CLI_DONE;
}

int search_size(search *s, search_network *n, bool *taken)
{
    kd_model *m = NULL;
    *taken = true;
    if (n->cost.sized) return CLI_DONE;
    int status = create(s, n->spec, &m);
    if (!status) status = s->args->int8 ? size_blob(s, n, m, taken) : size_plan(s, n, m);
    kd_model_destroy(m);
    n->cost.sized = !status && *taken;
    return status;
}

/* ---- time ------------------------------------------------------------------------------------ */

enum { WARM_RUNS = 2, MIN_RUNS = 5, MAX_RUNS = 4000 };
static const double MEASURED_SECONDS = .2;

typedef struct runner {
    kd_exec *exec; /* NULL: edge */
    kd_edge_model edge;
    void *arena;
    float *picture; /* of noise: on zeros some processors are faster */
    const uint8_t *pixels;
} runner;

static bool run_once(const runner *r, double *seconds)
{
    const double start = kd_seconds();
    bool fine;
    if (r->exec)
        fine =
            !kd_exec_bind(r->exec, "input", r->picture) &&
            !kd_exec_run(r->exec,
                         &(kd_run_opt){.struct_size = sizeof(kd_run_opt), .batch = 1, .weight = 1});
    else
        fine = kd_edge_run(&r->edge, r->arena, r->edge.arena_bytes, r->pixels, NULL) == KD_EDGE_OK;
    *seconds = kd_seconds() - start;
    return fine;
}

/* The median, in milliseconds; NAN: a run failed. */
static double time_runs(search *s, const runner *r)
{
    double once, *seconds = kd_ctx_alloc(s->ctx, MAX_RUNS, sizeof *seconds);
    size_t n = 0;
    bool fine = seconds != NULL;
    for (int i = 0; i < WARM_RUNS && fine; i++) fine = run_once(r, &once);
    const double start = kd_seconds();
    while (fine && n < MAX_RUNS && (n < MIN_RUNS || kd_seconds() - start < MEASURED_SECONDS))
        fine = run_once(r, &seconds[n++]);
    const double median = fine ? 1e3 * stats_quantile(seconds, n, .5) : (double)NAN;
    kd_ctx_free(s->ctx, seconds);
    return median;
}

static int measure_blob(search *s, kd_model *m, runner *r, double *ms)
{
    kd_export *e = NULL;
    bool taken;
    int status = export_of(s, m, &e, &r->edge, &taken);
    if (!status && taken) r->arena = kd_ctx_alloc(s->ctx, r->edge.arena_bytes, 1);
    if (!status && taken && !r->arena) status = cli_fail_ctx(s->ctx);
    if (!status && taken) *ms = time_runs(s, r);
    kd_ctx_free(s->ctx, r->arena);
    kd_export_destroy(e);
    return status;
}

static int measure_plan(search *s, kd_model *m, runner *r, double *ms)
{
    kd_plan *plan;
    if (kd_model_plan(m, 1, &plan, &r->exec)) return cli_fail_ctx(s->ctx);
    *ms = time_runs(s, r);
    kd_exec_destroy(r->exec);
    kd_plan_destroy(plan);
    return CLI_DONE;
}

int search_measure(search *s, search_network *n)
{
    kd_model *m = NULL;
    runner r = {0};
    if (!isnan(n->cost.latency)) return CLI_DONE;
    int status = create(s, n->spec, &m);
    const size_t picture = m ? kd_model_height(m) * kd_model_width(m) * kd_model_channels(m) : 0;
    uint32_t state = 1;
    r.picture = status ? NULL : kd_ctx_alloc(s->ctx, picture, sizeof *r.picture);
    if (!status && !r.picture) status = cli_fail_ctx(s->ctx);
    for (size_t i = 0; !status && i < picture; i++) {
        state = state * 1664525u + 1013904223u;
        r.picture[i] = (float)(state >> 8) / 8388608.0f - 1;
    }
    r.pixels = (const uint8_t *)r.picture; /* any bytes are pixels */
    if (!status)
        status = s->args->int8 ? measure_blob(s, m, &r, &n->cost.latency)
                               : measure_plan(s, m, &r, &n->cost.latency);
    kd_ctx_free(s->ctx, r.picture);
    kd_model_destroy(m);
    if (!status && isnan(n->cost.latency)) return cli_fail("%s: it does not run", n->spec);
    return status;
}

/* ---- the limits ------------------------------------------------------------------------------ */

static bool over(double value, double limit, size_t *count, double *least)
{
    if (!(limit > 0) || value <= limit) return false;
    if (*count == 0 || value < *least) *least = value;
    ++*count;
    return true;
}

/* Cheap ones first. */
static int is_within(search *s, search_network *n, bool *within)
{
    const cli_args *a = s->args;
    search_sieve *v = &s->sieve;
    bool taken = true;
    *within = !over((double)n->cost.macs, a->limit_macs, &v->macs, &v->least_macs);
    if (!*within) return CLI_DONE;
    if (a->limit_flash || a->limit_memory || a->int8) {
        const int status = search_size(s, n, &taken);
        if (status) return status;
    }
    v->unsupported += !taken;
    *within = taken &&
              !over((double)n->cost.flash, (double)a->limit_flash, &v->flash, &v->least_flash) &&
              !over((double)n->cost.memory, (double)a->limit_memory, &v->memory, &v->least_memory);
    return CLI_DONE;
}

int search_none_within(const search *s)
{
    const search_sieve *v = &s->sieve;
    char text[600];
    size_t used = 0;
    const struct {
        size_t count;
        const char *what;
        cli_text least;
    } reasons[] = {
        {v->macs, "more MACs", cli_amount(v->least_macs)},
        {v->flash, "more flash", cli_bytes(v->least_flash)},
        {v->memory, "more memory", cli_bytes(v->least_memory)},
    };
    for (size_t i = 0; i < 3; i++)
        if (reasons[i].count)
            used += (size_t)snprintf(text + used, sizeof text - used,
                                     "%s%zu need %s (the least %s)", used ? ", " : "",
                                     reasons[i].count, reasons[i].what, reasons[i].least.text);
    if (v->latency)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "%s%zu need more time (the least %.4g ms)", used ? ", " : "",
                                 v->latency, v->least_latency);
    if (v->unsupported)
        snprintf(text + used, sizeof text - used, "%s%zu are not for the device's format",
                 used ? ", " : "", v->unsupported);
    return cli_fail("none of the %zu networks is within the limits: %s", s->n_networks, text);
}

int search_sieve_networks(search *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->n_networks; i++) {
        bool within;
        const int status = is_within(s, &s->networks[i], &within);
        if (status) return status;
        if (cli_interrupted()) return CLI_INTERRUPTED;
        if (!within) continue;
        const search_network n = s->networks[i];
        s->networks[i] = s->networks[kept];
        s->networks[kept++] = n;
    }
    s->sieve.within = kept;
    return kept ? CLI_DONE : search_none_within(s);
}
