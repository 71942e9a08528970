/* SPDX-License-Identifier: MIT
 * nonfinite.c: when a loss or a gradient is not finite. The batch is run once more, which gives the
 * same numbers, to find where that begins; then the run stops, or goes on without this step. What
 * the batch did to the running statistics is undone: a single bad batch would spoil them for
 * ever. */
#include "train.h"

#include <stdio.h>
#include <string.h>

static void restore(kdt_run *run)
{
    kd_params *params = kd_model_params(run->model);
    memcpy(kd_params_buffers(params), run->buffers, kd_params_buffer_bytes(params));
    kd_params_touch(params);
}

kd_status kdt_keep_buffers(kdt_run *run)
{
    const kd_params *params = kd_model_params(run->model);
    const size_t size = kd_params_buffer_bytes(params);
    if (!run->buffers) run->buffers = kd_ctx_alloc(run->ctx, size, 1);
    if (!run->buffers) return KD_E_NOMEM;
    memcpy(run->buffers, kd_params_buffers(kd_model_params(run->model)), size);
    return KD_OK;
}

kd_status kdt_nonfinite(kdt_run *run, const char *what)
{
    char first[512];
    const size_t batch = (size_t)run->how.step - run->epoch * run->batches;
    kdt_outcome outcome;
    run->how.check_finite = 1;
    restore(run);
    const kd_status status = kdt_batch_run(run, &outcome);
    restore(run);
    if (status != KD_OK && status != KD_E_NONFINITE) return status;
    snprintf(first, sizeof first, "%s", status ? kd_ctx_error(run->ctx) : "but not once more");
    if (run->train.on_nan == KD_NAN_STOP)
        return kd_ctx_fail(run->ctx, KD_E_NONFINITE, "step %zu (epoch %zu, batch %zu): %s; %s",
                           run->step, run->epoch, batch, what, first);
    kd_ctx_log(run->ctx, KD_LOG_WARN, "step %zu (epoch %zu, batch %zu) is skipped: %s; %s",
               run->step, run->epoch, batch, what, first);
    return KD_OK;
}
