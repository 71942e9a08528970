/* SPDX-License-Identifier: MIT
 * fit.c: a step's program within the context's limit of memory. First as it is; where a batch may
 * be cut at will, in smaller pieces; then with values that are computed again
 * (kd_plan_opt.max_arena); else the refusal says how many bytes would do.
 *
 * How a batch is cut changes results by rounding, so it follows from numbers that are the same on
 * every machine, threads or not: what is held when the run begins, and sizes of arrays. How many
 * values are computed again changes no bit, and goes by exact sizes. */
#include "train.h"

/* A piece's values may take half of what the rest leaves: the other half is for what depends on the
 * machine, scratch memory above all. */
size_t kdt_room(const kd_ctx *ctx, size_t rest)
{
    const size_t limit = kd_ctx_memory_limit(ctx);
    if (limit == 0) return 0;
    return limit > rest + 1 ? (limit - rest) / 2 : 1;
}

kd_status kdt_refuse(kd_ctx *ctx, size_t held, size_t more, const char *hint)
{
    return kd_ctx_fail(
        ctx, KD_E_LIMIT,
        "memory limit of %zu bytes: %zu are held and %zu more are needed (%zu in all)%s",
        kd_ctx_memory_limit(ctx), held, more, held + more, hint);
}

kd_status kdt_plan_fitting(kd_model *model, const kd_distill_opt *opt, const kdt_program *how,
                           size_t later, kd_plan **plan)
{
    kd_ctx *ctx = kd_model_ctx(model);
    const size_t limit = kd_ctx_memory_limit(ctx);
    kdt_program within = *how;
    size_t least = 0;
    kd_status status = kdt_plan(model, opt, how, plan);
    if (status || limit == 0) return status;
    const size_t held = kd_ctx_memory(ctx), more = later + kdt_plan_tables(*plan);
    if (held + more + kd_plan_arena_size(*plan) <= limit) return KD_OK;
    const bool whole = kd_plan_batch(*plan) == how->batch;
    const bool mixes = kd_plan_mixes(*plan) < kd_plan_steps(*plan);
    kd_plan_destroy(*plan);
    *plan = NULL;
    within.max_arena = limit > held + more ? limit - held - more : 1;
    within.least = &least;
    status = kdt_plan(model, opt, &within, plan);
    if (status != KD_E_LIMIT || least == 0) return status;
    return kdt_refuse(ctx, held, more + least,
                      whole && !mixes ? "; smaller pieces of the batch (micro_batch) need less"
                                      : "");
}

/* A checkpoint's room, and what its writer notes of each array. */
static size_t checkpoint_bytes(const kdt_run *run)
{
    enum { NOTE = 1024, ARRAYS = 4, MARGIN = 1 << 18 };
    const kd_params *params = kd_model_params(run->model);
    const size_t entries = kd_params_entries(params);
    size_t largest = 1;
    for (size_t i = 0; i < entries; i++)
        if (kd_params_info(params, i)->count > largest) largest = kd_params_info(params, i)->count;
    return largest * sizeof(int64_t) + entries * ARRAYS * NOTE + MARGIN;
}

kd_status kdt_later_bytes(kdt_run *run, size_t *bytes)
{
    const kd_train_opt *t = &run->train;
    size_t test = 0;
    kd_status status = KD_OK;
    *bytes = t->out ? checkpoint_bytes(run) : 0;
    if (kd_ctx_memory_limit(run->ctx) && t->dev_count)
        status = kdt_evaluate_bytes(run->model, t->dev_count, &test);
    if (test > *bytes) *bytes = test;
    return status;
}

kd_status kdt_check_test(kdt_run *run)
{
    const size_t limit = kd_ctx_memory_limit(run->ctx), held = kd_ctx_memory(run->ctx);
    const size_t samples = kd_dataset_info(run->data)->count[KD_SPLIT_TEST];
    size_t bytes;
    if (limit == 0 || run->train.no_test || samples == 0) return KD_OK;
    const kd_status status = kdt_evaluate_bytes(run->model, samples, &bytes);
    kd_params *p = kd_model_params(run->model);
    if (!kd_params_grads(p)) bytes += kd_params_flat_count(p) * sizeof(float); /* they stay */
    if (status || held + bytes <= limit) return status;
    return kdt_refuse(run->ctx, held, bytes, ", for the test at the end");
}

/* ---- a step alone ---------------------------------------------------------------------------- */

/* Gradients, which may be there already, and the optimiser's arrays. */
static size_t later_bytes(kd_model *model)
{
    kd_params *p = kd_model_params(model);
    const size_t one = kd_params_flat_count(p) * sizeof(float);
    return (kd_params_grads(p) ? 2 : 3) * one;
}

kd_status kdt_step_plan(kd_model *model, const kd_distill_opt *o, kdt_program *how, kd_plan **plan)
{
    const kd_ctx *ctx = kd_model_ctx(model);
    const size_t later = later_bytes(model);
    const kd_status status = kdt_cut(model, o, kdt_room(ctx, kd_ctx_memory(ctx) + later), how);
    return status ? status : kdt_plan_fitting(model, o, how, later, plan);
}

kd_status kd_train_plan(kd_model *model, const kd_distill_opt *options, kd_plan **plan)
{
    kd_distill_opt o;
    kd_train_opt train;
    if (plan) *plan = NULL;
    if (!model) return KD_E_INVALID;
    if (!plan) return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID, "kd_train_plan: NULL");
    const bool taught = options && (options->teacher || options->n_teachers);
    const kd_status status =
        kdt_take(kd_model_ctx(model), model, NULL, options, taught, &train, &o);
    if (status) return status;
    if (o.teacher && !o.n_teachers) o.n_teachers = 1;
    if (o.n_teachers > KD_MAX_TEACHERS)
        return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID, "%zu teachers are too many",
                           o.n_teachers);
    o.teacher_weights = NULL;
    return kdt_step_plan(model, &o, &(kdt_program){.batch = train.batch}, plan);
}
