/* SPDX-License-Identifier: MIT
 * cost.c: parameters, multiply-accumulates, memory and latency of a network.
 *
 * Memory is taken from the plan: the size of its arena, which is all working memory besides
 * parameters, gradients and the batch. Latency is the median over single pictures, one after
 * another, after a warm-up. */
#include "demo.h"

enum { WARM_RUNS = 20, MAX_RUNS = 4000 };
static const double LATENCY_SECONDS = .6;

/* Runs of one picture until the time is up. seconds [MAX_RUNS] */
static kd_status run_often(kd_exec *exec, double *seconds, size_t *n)
{
    for (int i = 0; i < WARM_RUNS; i++) {
        const kd_status status = kd_exec_run(exec, NULL);
        if (status) return status;
    }
    const double end = kd_seconds() + LATENCY_SECONDS;
    for (*n = 0; *n < MAX_RUNS && (*n < 5 || kd_seconds() < end); ++*n) {
        const double start = kd_seconds();
        const kd_status status = kd_exec_run(exec, NULL);
        if (status) return status;
        seconds[*n] = kd_seconds() - start;
    }
    return KD_OK;
}

/* The first picture of the test split, normalised for the model: input [1,H,W,C]. */
static kd_status first_picture(demo *d, kd_model *model, kd_loader **loader, const float **input)
{
    const kd_view view = {kd_model_height(model), kd_model_width(model), kd_model_channels(model),
                          kd_model_mean(model), kd_model_std(model)};
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TEST,
                               .batch = 1,
                               .depth = KD_LOADER_SYNC,
                               .n_views = 1,
                               .views = &view};
    const kd_batch *batch;
    kd_status status = kd_loader_create(d->data, &opt, loader);
    if (!status) status = kd_loader_next(*loader, &batch);
    if (!status) *input = batch->views[0];
    return status;
}

static kd_status latency(demo *d, kd_model *model, demo_cost *cost)
{
    kd_plan *plan = NULL;
    kd_exec *exec = NULL;
    kd_loader *loader = NULL;
    const float *input = NULL;
    double *seconds = kd_ctx_alloc(d->ctx, MAX_RUNS, sizeof *seconds);
    size_t n = 0;
    kd_status status = seconds ? kd_model_plan(model, 1, &plan, &exec) : KD_E_NOMEM;
    if (!status) status = first_picture(d, model, &loader, &input);
    if (!status) status = kd_exec_bind(exec, "input", input);
    if (!status) status = run_often(exec, seconds, &n);
    if (!status) {
        cost->latency_median = 1000 * stats_quantile(seconds, n, .5);
        cost->latency_p95 = 1000 * stats_quantile(seconds, n, .95);
        cost->latency_runs = n;
        cost->infer_bytes = kd_plan_arena_size(plan);
        cost->macs = kd_plan_macs(plan);
    }
    kd_loader_close(loader);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_ctx_free(d->ctx, seconds);
    return status;
}

/* The arena of a training step, and of the teacher's forward beside it. */
static kd_status training_memory(demo *d, kd_model *model, kd_model *teacher, size_t *bytes)
{
    const int64_t side = (int64_t)kd_model_image(model), classes = (int64_t)kd_model_classes(model);
    const int64_t picture[] = {KD_BATCH, side, side, (int64_t)kd_model_channels(model)};
    const int64_t rows[] = {KD_BATCH, classes};
    kd_graph *g;
    kd_plan *plan = NULL;
    kd_status status = kd_graph_create(d->ctx, &g);
    if (status) return status;
    const kd_value logits =
        kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, picture), NULL);
    kd_graph_part(g, KD_PART_LOSS);
    kd_value loss = kd_cross_entropy(g, logits, kd_input(g, "labels", KD_I32, 1, rows), 0);
    if (teacher) {
        const kd_value soft =
            kd_loss_kd(g, logits, kd_input(g, "teacher", KD_F32, 2, rows), d->temperature);
        loss = kd_add(g, kd_scale(g, loss, d->hard), kd_scale(g, soft, d->soft));
    }
    kd_output(g, logits, "logits");
    kd_output(g, loss, "loss");
    status = kd_graph_grad(g, loss);
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = d->batch, .training = 1};
    if (!status) status = kd_plan_create(g, &opt, &plan);
    kd_graph_destroy(g);
    if (!status) *bytes = kd_plan_arena_size(plan);
    kd_plan_destroy(plan);
    if (status || !teacher) return status;
    kd_exec *exec;
    status = kd_model_plan(teacher, d->batch, &plan, &exec);
    if (status) return status;
    *bytes += kd_plan_arena_size(plan);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    return KD_OK;
}

bool demo_measure(demo *d, demo_run *run, kd_model *teacher)
{
    run->cost.params = kd_params_count(kd_model_params(run->model));
    kd_status status = latency(d, run->model, &run->cost);
    if (!status) status = training_memory(d, run->model, teacher, &run->cost.train_bytes);
    return status ? demo_fail(d) : true;
}
