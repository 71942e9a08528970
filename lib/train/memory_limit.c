/* SPDX-License-Identifier: MIT
 * memory_limit.c: bytes that a run takes, counted before they are taken, against the context's
 * limit of memory. */
#include "train.h"

#include <stdio.h>

/* The other half is for what depends on the machine, scratch memory above all. */
size_t kdt_values_limit(const kd_ctx *ctx, size_t rest)
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

/* The allocator knows one block more. What is counted here is a run's arrays, pictures, and the least
 * values of a step, where there is memory to plan it. Teachers' values come on top. */
kd_status kdt_explain_limit(kdt_run *run, size_t held, size_t fixed)
{
    char text[400];
    size_t later = 0, least = 0;
    kd_plan *plan = NULL;
    kd_ctx *ctx = run->ctx;
    snprintf(text, sizeof text, "%s", kd_ctx_error(ctx));
    kd_status status = kdt_later_bytes(run, &later);
    const kdt_step step = {
        .batch = run->feed->most, .later = fixed + later, .values = 1, .least = &least};
    if (!status && run->feed->most && !kdt_has_features(&run->opt))
        status = kdt_step_plan(run->model, &run->opt, &step, &plan, NULL);
    kd_plan_destroy(plan);
    if (least < held + fixed + later) least = held + fixed + later;
    if (least > kd_ctx_memory_limit(ctx))
        return kdt_refuse(ctx, held, least - held, run->feed->n_teachers ? ", and teachers" : "");
    return kd_ctx_fail(ctx, KD_E_LIMIT, "%s", text);
}

size_t kdt_fixed_bytes(const kdt_run *run)
{
    const kdt_feed *feed = run->feed;
    const size_t flat = kd_params_flat_count(kd_model_params(run->model));
    size_t bytes = flat * sizeof(float) * (run->train.ema > 0 ? 4 : 3);
    for (size_t k = 0; k <= feed->n_teachers; k++) {
        const kd_model *m = k ? feed->teachers[k - 1].model : run->model;
        if (!m) continue;
        bytes += (KD_LOADER_DEPTH + 1) * feed->most * kdt_picture(m) * sizeof(float);
        if (k)
            bytes +=
                kd_params_flat_count(kd_model_params(feed->teachers[k - 1].model)) * sizeof(float);
    }
    return bytes;
}

/* What a checkpoint's writer takes: an array, and a note of each tensor. */
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
