/* SPDX-License-Identifier: MIT
 * costs.c: OUT/costs.json, the timing pass. Times are not taken from training runs: these take
 * hours, while the machine does other things. Here every pairing does a few steps in turn, round
 * after round, and then every network a few forward passes, so that a disturbance hits all of them.
 * Times are medians with the 10th and the 90th percentile. "data" is waiting for the loader, which
 * works in the background; "loss" is forward and backward of the loss; "step" is the whole step. */
#include "experiments.h"

#include "../common/run_record.h"
#include "../common/statistics.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PAIRINGS = 16, MAX_LATENCIES = 4000, LATENCY_BATCHES = 2 };
static const size_t latency_batches[LATENCY_BATCHES] = {1, 128};

typedef struct latency {
    double seconds[MAX_LATENCIES];
    size_t count, arena_bytes;
} latency;

typedef struct network_cost {
    char spec[KD_SPEC_SIZE];
    uint64_t params, macs;
    latency at[LATENCY_BATCHES];
} network_cost;

typedef struct costs {
    ex_trial trials[MAX_PAIRINGS];
    network_cost networks[EX_NETWORKS];
    char started[32];
    double load_before, load_after; /* of the last minute; -1: not known */
} costs;

/* ---- measuring ------------------------------------------------------------------------------- */

static double load_average(void)
{
    double load;
    return getloadavg(&load, 1) == 1 ? load : -1;
}

/* Pictures of noise [count]: on zeros some processors are faster. */
static void noise(float *x, size_t count)
{
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1;
    }
}

static kd_status run_often(kd_exec *exec, double seconds, latency *l)
{
    kd_status status = KD_OK;
    for (int i = 0; i < 2 && !status; i++) status = kd_exec_run(exec, NULL);
    const double end = kd_seconds() + seconds;
    for (int i = 0; !status && l->count < MAX_LATENCIES && (i < 3 || kd_seconds() < end); i++) {
        const double start = kd_seconds();
        status = kd_exec_run(exec, NULL);
        l->seconds[l->count++] = kd_seconds() - start;
    }
    return status;
}

static kd_status forward_passes(const ex_work *w, kd_model *model, size_t batch, latency *l)
{
    const size_t side = kd_model_image(model),
                 count = batch * side * side * kd_model_channels(model);
    kd_plan *plan = NULL;
    kd_exec *exec = NULL;
    float *input = kd_ctx_alloc(w->ctx, count, sizeof *input);
    kd_status status = input ? kd_model_plan(model, batch, &plan, &exec) : KD_E_NOMEM;
    if (!status) {
        noise(input, count);
        status = kd_exec_bind(exec, "input", input);
    }
    if (!status) {
        status = run_often(exec, w->opt.scale->cost_seconds, l);
        l->arena_bytes = kd_plan_arena_size(plan);
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_ctx_free(w->ctx, input);
    return status;
}

static int network_round(ex_work *w, ex_network network, network_cost *c)
{
    kd_model *model;
    const int code = ex_spec(w, network, c->spec);
    if (code) return code;
    if (kd_spec_count(w->ctx, c->spec, &c->params, &c->macs) ||
        kd_model_create(w->ctx, c->spec, 1, &model))
        return ex_fail_ctx(w);
    kd_status status = KD_OK;
    for (int b = 0; b < LATENCY_BATCHES && !status; b++)
        status = forward_passes(w, model, latency_batches[b], &c->at[b]);
    kd_model_destroy(model);
    return status ? ex_fail_ctx(w) : EX_DONE;
}

static int one_round(ex_work *w, costs *c)
{
    int code = EX_DONE;
    for (const ex_pairing *p = ex_pairings; p->name && !code; p++)
        code = ex_must_stop(w) ? ex_why_stopped(w)
                               : ex_try(w, p, (size_t)w->opt.scale->cost_steps, 1e9,
                                        &c->trials[p - ex_pairings]);
    if (!code) code = ex_open(w);
    for (int n = 0; n < EX_NETWORKS && !code; n++)
        code =
            ex_must_stop(w) ? ex_why_stopped(w) : network_round(w, (ex_network)n, &c->networks[n]);
    ex_close(w);
    return code;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Sorts x. */
static void quantiles_json(kd_json *j, const char *key, double *x, size_t n)
{
    if (n == 0) return;
    kd_json_object_begin(j, key);
    kd_json_number(j, "median_ms", 1e3 * stats_quantile(x, n, .5));
    kd_json_number(j, "p10_ms", 1e3 * stats_quantile(x, n, .1));
    kd_json_number(j, "p90_ms", 1e3 * stats_quantile(x, n, .9));
    kd_json_object_end(j);
}

static void pairing_json(kd_json *j, const ex_work *w, const costs *c, size_t i)
{
    static double x[EX_MAX_STEPS];
    const ex_pairing *p = &ex_pairings[i];
    const ex_trial *t = &c->trials[i];
    kd_json_object_begin(j, p->name);
    kd_json_string(j, "student_spec", c->networks[p->student].spec);
    kd_json_string(j, "teacher_spec", p->teacher >= 0 ? c->networks[p->teacher].spec : NULL);
    kd_json_integer(j, "batch", (int64_t)w->opt.scale->batch);
    kd_json_integer(j, "steps", (int64_t)t->steps);
    kd_json_integer(j, "steps_per_epoch", (int64_t)t->steps_per_epoch);
    kd_json_integer(j, "peak_bytes", (int64_t)t->peak_bytes);
    kd_json_integer(j, "data_bytes", (int64_t)t->data_bytes);
    for (size_t part = 0; part < EX_PARTS; part++) {
        for (size_t k = 0; k < t->steps; k++) x[k] = t->seconds[k][part];
        quantiles_json(j, ex_parts[part], x, t->steps);
    }
    kd_json_object_end(j);
}

static void network_json(kd_json *j, const char *name, network_cost *c)
{
    kd_json_object_begin(j, name);
    kd_json_string(j, "spec", c->spec);
    kd_json_integer(j, "params", (int64_t)c->params);
    kd_json_integer(j, "macs", (int64_t)c->macs);
    for (int b = 0; b < LATENCY_BATCHES; b++) {
        char key[40];
        snprintf(key, sizeof key, "forward_%zu", latency_batches[b]);
        quantiles_json(j, key, c->at[b].seconds, c->at[b].count);
        snprintf(key, sizeof key, "forward_%zu_runs", latency_batches[b]);
        kd_json_integer(j, key, (int64_t)c->at[b].count);
        snprintf(key, sizeof key, "arena_%zu_bytes", latency_batches[b]);
        kd_json_integer(j, key, (int64_t)c->at[b].arena_bytes);
    }
    kd_json_object_end(j);
}

static int write_costs(ex_work *w, costs *c)
{
    char now[32];
    kd_json *j;
    if (kd_json_create(w->ctx, 2, &j)) return ex_fail_ctx(w);
    record_time(now);
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "scale", w->opt.scale->name);
    kd_json_string(j, "data", w->data_name);
    kd_json_string(j, "started", c->started);
    kd_json_string(j, "ended", now);
    kd_json_integer(j, "rounds", w->opt.scale->cost_rounds);
    kd_json_number(j, "load_average_before", c->load_before);
    kd_json_number(j, "load_average_after", c->load_after);
    record_machine(j, w->ctx);
    kd_json_string(j, "version", kd_version());
    kd_json_string(j, "build", kd_build_info());
    kd_json_string(j, "blas", kd_ctx_blas(w->ctx));
    kd_json_object_begin(j, "pairings");
    for (size_t i = 0; ex_pairings[i].name; i++) pairing_json(j, w, c, i);
    kd_json_object_end(j);
    kd_json_object_begin(j, "networks");
    for (int n = 0; n < EX_NETWORKS; n++) network_json(j, ex_network_names[n], &c->networks[n]);
    kd_json_object_end(j);
    kd_json_object_end(j);
    return ex_write_json(w, ex_in(w, "costs.json", NULL).text, j);
}

int ex_costs(ex_work *w)
{
    const int rounds = w->opt.scale->cost_rounds;
    costs *c = calloc(1, sizeof *c);
    int code = c ? EX_DONE : ex_fail("out of memory");
    if (!code) {
        record_time(c->started);
        c->load_before = load_average();
    }
    for (int round = 0; round < rounds && !code; round++) {
        fprintf(stderr, "costs: round %d of %d\n", round + 1, rounds);
        code = one_round(w, c);
    }
    if (!code) c->load_after = load_average();
    if (!code) code = ex_open(w);
    if (!code) code = write_costs(w, c);
    ex_close(w);
    free(c);
    return code;
}
