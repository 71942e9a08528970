/* SPDX-License-Identifier: MIT
 * nonfinite.c: when a loss or a gradient is not finite. The step's batches are run once more, which
 * gives the same numbers, to find where that begins; then the run stops, or goes on without this
 * step. What the step did to the running statistics is undone: a single bad batch would spoil them
 * for ever. */
#include "train.h"

#include <stdio.h>
#include <string.h>

void kdt_restore_buffers(kdt_run *run)
{
    kd_params *params = kd_model_params(run->model);
    memcpy(kd_params_buffers(params), run->buffers, kd_params_buffer_bytes(params));
    kd_params_touch(params);
    if (!run->extra) return;
    memcpy(kd_params_buffers(run->extra), run->extra_buffers, kd_params_buffer_bytes(run->extra));
    kd_params_touch(run->extra);
}

static kd_status keep(kd_ctx *ctx, kd_params *params, void **kept)
{
    const size_t size = kd_params_buffer_bytes(params);
    if (!*kept) *kept = kd_ctx_alloc(ctx, size, 1);
    if (!*kept) return kd_ctx_memory_status(ctx);
    memcpy(*kept, kd_params_buffers(params), size);
    return KD_OK;
}

kd_status kdt_keep_buffers(kdt_run *run)
{
    const kd_status status = keep(run->ctx, kd_model_params(run->model), &run->buffers);
    return status || !run->extra ? status : keep(run->ctx, run->extra, &run->extra_buffers);
}

/* Run the step's batches again, looking at every array, until one is not finite: KD_E_NONFINITE with
 * the context's error naming it, and *batch. */
static kd_status find(kdt_run *run, size_t first, size_t n, size_t *batch)
{
    kd_status status = KD_OK;
    kdt_sums unused = {0};
    for (*batch = first; *batch < first + n && !status; ++*batch) {
        status = kdt_feed_take(run->feed, run->epoch, *batch, SIZE_MAX);
        if (status || run->feed->taken == 0) continue;
        run->how = (kd_run_opt){.struct_size = sizeof run->how,
                                .seed = run->train.seed,
                                .step = run->epoch * run->batches + *batch,
                                .accumulate = unused.images > 0,
                                .check_finite = 1};
        status = kdt_batch_gradient(run, &unused);
        if (status == KD_E_NONFINITE) break;
    }
    return status;
}

kd_status kdt_nonfinite(kdt_run *run, const char *what, size_t first, size_t n)
{
    char where[512];
    size_t batch;
    kdt_restore_buffers(run);
    kd_status status = find(run, first, n, &batch);
    kdt_restore_buffers(run);
    if (status != KD_OK && status != KD_E_NONFINITE) return status;
    snprintf(where, sizeof where, "%s",
             status ? kd_ctx_error(run->ctx) : "when run again it was finite");
    if (batch >= first + n) batch = first + n - 1;
    run->batch = first; /* the step was not done */
    if (run->train.on_nan == KD_NAN_STOP)
        return kd_ctx_fail(run->ctx, KD_E_NONFINITE, "step %zu (epoch %zu, batch %zu): %s; %s",
                           run->step + 1, run->epoch + 1, batch + 1, what, where);
    kdt_warn(run, "step %zu (epoch %zu, batch %zu) is skipped: %s; %s", run->step + 1,
             run->epoch + 1, batch + 1, what, where);
    run->batch = first + n;
    return KD_OK;
}
