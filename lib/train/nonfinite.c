/* SPDX-License-Identifier: MIT
 * nonfinite.c: when a loss is not finite, say where that begins: weights before gradients, in the
 * order of the network. */
#include "train.h"

#include <math.h>

static bool finite_all(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

kd_status kdt_nonfinite(kdt_run *run, double loss)
{
    kd_params *params = kd_model_params(run->model);
    const char *what = "the pictures or the teacher's logits", *name = "";
    const float *arrays[] = {kd_params_values(params), kd_params_grads(params)};
    static const char *const kinds[] = {"weights", "gradient"};
    bool found = false;
    for (int k = 0; k < 2 && !found; k++)
        for (size_t i = 0; i < kd_params_entries(params) && !found; i++) {
            const kd_param_info *info = kd_params_info(params, i);
            if (info->buffer || !arrays[k] || finite_all(arrays[k] + info->offset, info->count))
                continue;
            what = kinds[k];
            name = info->name;
            found = true;
        }
    return kd_ctx_fail(run->ctx, KD_E_NONFINITE,
                       "step %zu (epoch %zu, batch %zu): the loss is %s; first in: %s%s%s%s",
                       run->step, run->epoch, run->batch, isnan(loss) ? "not a number" : "infinite",
                       what, found ? " of '" : "", name, found ? "'" : "");
}
