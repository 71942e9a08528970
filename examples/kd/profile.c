/* SPDX-License-Identifier: MIT
 * profile.c: kd profile: what a network costs. Latency is measured over whole runs, one after
 * another, after a warm-up: median and 95th percentile. MACs are counted as in textbooks, for the
 * forward pass of one picture, whatever algorithm computes it. */
#include "cli.h"

#include "../common/statistics.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MIN_RUNS = 5, MAX_RUNS = 20000, WARM_RUNS = 2 };

typedef struct profile {
    const cli_args *args;
    kd_ctx *ctx;
    kd_model *model;
    kd_plan *plan;
    kd_exec *exec;
    kd_optim *optim; /* NULL when inferring */
    float *input;
    double *seconds;
    int32_t *labels;
    size_t batch, piece, runs; /* piece: pictures at a time */
    uint64_t macs;
    double median, p95, least; /* milliseconds */
} profile;

/* ---- measuring ------------------------------------------------------------------------------- */

/* A word that does not look like a path is taken for a misspelt name, not for a missing file. */
static bool is_file(const char *word)
{
    return !cli_is_spec(word) && (strpbrk(word, "/.") || access(word, F_OK) == 0);
}

static int check_usage(const cli_args *a)
{
    if (a->micro_batch && !a->training)
        return cli_usage("profile", "--micro-batch: without --train nothing reads it");
    if (a->model && !is_file(a->words[0]))
        return cli_usage("profile", "--model says what a file holds; %s is no file", a->words[0]);
    return CLI_DONE;
}

static int open_model(profile *p)
{
    const char *word = p->args->words[0];
    char spec[KD_SPEC_SIZE];
    if (is_file(word)) return cli_load(p->ctx, word, p->args->model, 0, &p->model);
    int status = cli_complete(p->ctx, word, NULL, 0, spec);
    if (!status && kd_model_create(p->ctx, spec, 0, &p->model)) status = cli_fail_ctx(p->ctx);
    return status;
}

/* Pictures of noise: on zeros some processors are faster. */
static int make_batch(profile *p)
{
    const size_t picture =
        kd_model_height(p->model) * kd_model_width(p->model) * kd_model_channels(p->model);
    uint32_t state = 1;
    p->input = kd_ctx_alloc(p->ctx, p->batch, picture * sizeof *p->input);
    p->labels = kd_ctx_alloc(p->ctx, p->batch, sizeof *p->labels);
    p->seconds = kd_ctx_alloc(p->ctx, MAX_RUNS, sizeof *p->seconds);
    if (!p->input || !p->labels || !p->seconds) return cli_fail_ctx(p->ctx);
    for (size_t i = 0; i < p->batch * picture; i++) {
        state = state * 1664525u + 1013904223u;
        p->input[i] = (float)(state >> 8) / 8388608.0f - 1;
    }
    for (size_t i = 0; i < p->batch; i++) p->labels[i] = (int32_t)(i % kd_model_classes(p->model));
    return CLI_DONE;
}

static int make_plan(profile *p)
{
    if (!p->args->training) {
        if (kd_model_plan(p->model, p->batch, &p->plan, &p->exec)) return cli_fail_ctx(p->ctx);
    } else {
        kd_params *params = kd_model_params(p->model);
        const kd_optim_opt opt = {.struct_size = sizeof opt, .weight_decay = 5e-4f};
        const kd_distill_opt step = {
            .struct_size = sizeof step,
            .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                     .batch = p->batch,
                                     .micro_batch = p->args->micro_batch == CLI_AUTO
                                                        ? KD_MICRO_AUTO
                                                        : (size_t)p->args->micro_batch}};
        if (kd_train_plan(p->model, &step, &p->plan) ||
            kd_exec_create(p->plan, params, NULL, &p->exec) ||
            kd_optim_create(params, &opt, &p->optim))
            return cli_fail_ctx(p->ctx);
    }
    p->piece = kd_plan_batch(p->plan);
    return CLI_DONE;
}

/* Pictures [first, first + n) of the batch. */
static kd_status run_piece(profile *p, size_t first, size_t n)
{
    const size_t picture =
        kd_model_height(p->model) * kd_model_width(p->model) * kd_model_channels(p->model);
    const kd_run_opt run = {.struct_size = sizeof run,
                            .batch = n,
                            .first = first,
                            .weight = (float)n / (float)p->batch,
                            .accumulate = first > 0};
    kd_status status = kd_exec_bind(p->exec, "input", p->input + first * picture);
    if (!status && p->optim) status = kd_exec_bind(p->exec, "labels", p->labels + first);
    return status ? status : kd_exec_run(p->exec, &run);
}

static kd_status run_once(profile *p, double *seconds)
{
    const double start = kd_seconds();
    kd_status status = KD_OK;
    for (size_t at = 0; at < p->batch && !status; at += p->piece)
        status = run_piece(p, at, p->batch - at < p->piece ? p->batch - at : p->piece);
    if (!status && p->optim) kd_optim_step(p->optim, 1e-4f, 1);
    *seconds = kd_seconds() - start;
    return status;
}

static int measure(profile *p)
{
    double once;
    for (int i = 0; i < WARM_RUNS; i++)
        if (run_once(p, &once)) return cli_fail_ctx(p->ctx);
    kd_exec_reset_seconds(p->exec);
    const double start = kd_seconds();
    while (p->runs < MAX_RUNS && (p->runs < MIN_RUNS || kd_seconds() - start < p->args->seconds)) {
        if (run_once(p, &once)) return cli_fail_ctx(p->ctx);
        p->seconds[p->runs++] = once;
    }
    p->least = 1e3 * stats_quantile(p->seconds, p->runs, 0);
    p->median = 1e3 * stats_quantile(p->seconds, p->runs, .5);
    p->p95 = 1e3 * stats_quantile(p->seconds, p->runs, .95);
    return CLI_DONE;
}

/* ---- reporting ------------------------------------------------------------------------------- */

static double gflops(const profile *p, uint64_t macs, double milliseconds)
{
    return milliseconds > 0 ? 2e-6 * (double)macs * (double)p->batch / milliseconds : 0;
}

static void ops_json(const profile *p, kd_json *json)
{
    kd_json_array_begin(json, "ops");
    for (size_t i = 0; i < kd_plan_steps(p->plan); i++) {
        kd_plan_step s = {.struct_size = sizeof s};
        if (kd_plan_step_info(p->plan, i, &s)) break;
        const double ms = 1e3 * kd_exec_step_seconds(p->exec, i) / (double)p->runs;
        kd_json_object_begin(json, NULL);
        kd_json_string(json, "op", s.op);
        kd_json_string(json, "name", s.name);
        kd_json_bool(json, "backward", s.backward);
        kd_json_bool(json, "recomputed", s.recomputed);
        kd_json_number(json, "ms", ms);
        kd_json_integer(json, "macs", (int64_t)s.macs);
        kd_json_number(json, "gflops", gflops(p, s.macs, ms));
        kd_json_integer(json, "out_bytes", (int64_t)s.out_bytes);
        kd_json_integer(json, "scratch_bytes", (int64_t)s.scratch_bytes);
        kd_json_object_end(json);
    }
    kd_json_array_end(json);
}

static int as_json(const profile *p)
{
    kd_json *json;
    kd_params *params = kd_model_params(p->model);
    if (kd_json_create(p->ctx, 0, &json)) return cli_fail_ctx(p->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "spec", kd_model_spec(p->model));
    kd_json_integer(json, "params", (int64_t)kd_params_count(params));
    kd_json_integer(json, "macs", (int64_t)p->macs);
    kd_json_integer(json, "weight_bytes", (int64_t)(kd_params_count(params) * sizeof(float)));
    kd_json_integer(json, "buffer_bytes", (int64_t)kd_params_buffer_bytes(params));
    kd_json_integer(json, "arena_bytes", (int64_t)kd_plan_arena_size(p->plan));
    kd_json_integer(json, "macs_recomputed", (int64_t)kd_plan_macs_recomputed(p->plan));
    kd_json_integer(json, "peak_bytes", (int64_t)kd_ctx_memory_peak(p->ctx));
    kd_json_integer(json, "batch", (int64_t)p->batch);
    kd_json_integer(json, "micro_batch", (int64_t)p->piece);
    kd_json_bool(json, "train", p->args->training);
    kd_json_number(json, "latency_ms_median", p->median);
    kd_json_number(json, "latency_ms_p95", p->p95);
    kd_json_number(json, "latency_ms_min", p->least);
    kd_json_integer(json, "runs", (int64_t)p->runs);
    kd_json_number(json, "images_per_second", 1e3 * (double)p->batch / p->median);
    kd_json_integer(json, "threads", kd_ctx_threads(p->ctx));
    kd_json_string(json, "isa", kd_ctx_isa(p->ctx));
    if (p->args->per_op) ops_json(p, json);
    kd_json_object_end(json);
    return cli_print_json(p->ctx, json);
}

static void ops_table(const profile *p)
{
    double total = 0;
    printf("\n%-22s %-24s %10s %9s %9s %12s %12s\n", "op", "name", "ms", "MMACs", "GFLOP/s", "out",
           "scratch");
    for (size_t i = 0; i < kd_plan_steps(p->plan); i++) {
        kd_plan_step s = {.struct_size = sizeof s};
        char op[40], work[48] = "        -         -";
        if (kd_plan_step_info(p->plan, i, &s)) break;
        const double ms = 1e3 * kd_exec_step_seconds(p->exec, i) / (double)p->runs;
        total += ms;
        snprintf(op, sizeof op, "%s%s", s.op,
                 s.backward     ? " backward"
                 : s.recomputed ? " recomputed"
                                : "");
        if (s.macs)
            snprintf(work, sizeof work, "%9.2f %9.1f", 1e-6 * (double)s.macs,
                     gflops(p, s.macs, ms));
        printf("%-22s %-24s %10.4f %s %12s %12s\n", op, s.name && *s.name ? s.name : "-", ms, work,
               cli_bytes((double)s.out_bytes).text, cli_bytes((double)s.scratch_bytes).text);
    }
    printf("%-22s %-24s %10.4f   (means over %zu runs; MACs of one picture)\n", "sum", "", total,
           p->runs);
}

static int as_table(const profile *p)
{
    kd_params *params = kd_model_params(p->model);
    const size_t count = kd_params_count(params);
    printf("spec        %s\n", kd_model_spec(p->model));
    printf("parameters  %zu (%s), %s of weights\n", count, cli_amount((double)count).text,
           cli_bytes((double)count * sizeof(float)).text);
    printf("MACs        %llu of one picture (%s)\n", (unsigned long long)p->macs,
           cli_amount((double)p->macs).text);
    printf("arena       %zu bytes (%s) %s at batch %zu", kd_plan_arena_size(p->plan),
           cli_bytes((double)kd_plan_arena_size(p->plan)).text,
           p->args->training ? "for a training step" : "for inference", p->batch);
    if (p->piece < p->batch) printf(", %zu pictures at a time", p->piece);
    printf("\n");
    const uint64_t recomputed = kd_plan_macs_recomputed(p->plan);
    if (recomputed)
        printf("recomputed  %llu MACs of one picture (%s, %.1f %% of its forward pass) to need no "
               "more\n",
               (unsigned long long)recomputed, cli_amount((double)recomputed).text,
               100 * (double)recomputed / (double)p->macs);
    printf("latency     %.4g ms median, %.4g ms p95, %.4g ms least, of %zu %s\n", p->median, p->p95,
           p->least, p->runs, p->args->training ? "training steps" : "runs");
    printf("speed       %.4g images/s", 1e3 * (double)p->batch / p->median);
    if (!p->args->training) printf(", %.1f GFLOP/s", gflops(p, p->macs, p->median));
    const int threads = kd_ctx_threads(p->ctx);
    printf(" (%d thread%s, %s)\n", threads, threads == 1 ? "" : "s", kd_ctx_isa(p->ctx));
    if (p->args->per_op) ops_table(p);
    return cli_flush();
}

static int profile_blob(const cli_args *a)
{
    if (a->training || a->per_op || a->batch != 1)
        return cli_usage("profile",
                         "--%s: a .kde runs one picture at a time, and is always "
                         "listed by layers",
                         a->training ? "train"
                         : a->per_op ? "per-op"
                                     : "batch");
    return cli_list_blob(a, a->words[0], a->seconds);
}

int cmd_profile(cli_args *args)
{
    profile p = {.args = args, .batch = args->batch};
    int status = check_usage(args);
    if (status) return status;
    if (cli_is_blob(args->words[0])) return profile_blob(args);
    status = cli_open_ctx(args, &p.ctx);
    if (!status) status = open_model(&p);
    if (!status) status = cli_macs(p.model, &p.macs);
    if (!status) status = make_batch(&p);
    if (!status) status = make_plan(&p);
    if (!status) status = measure(&p);
    if (!status) status = args->json ? as_json(&p) : as_table(&p);
    kd_optim_destroy(p.optim);
    kd_exec_destroy(p.exec);
    kd_plan_destroy(p.plan);
    kd_model_destroy(p.model);
    if (p.ctx) {
        kd_ctx_free(p.ctx, p.input);
        kd_ctx_free(p.ctx, p.labels);
        kd_ctx_free(p.ctx, p.seconds);
    }
    kd_ctx_destroy(p.ctx);
    return status;
}
