/* SPDX-License-Identifier: MIT
 * best_epoch.c: the network of the best epoch on the development split (KD_KEEP_BEST). It is kept in
 * memory, and with an output folder in model.safetensors, which a resume reads back. The first of
 * two equal epochs is the best. */
#include "train.h"

#include <math.h>
#include <string.h>

static void copy(kd_params *to, kd_params *from)
{
    memcpy(kd_params_values(to), kd_params_values(from),
           kd_params_flat_count(from) * sizeof(float));
    memcpy(kd_params_buffers(to), kd_params_buffers(from), kd_params_buffer_bytes(from));
    kd_params_touch(to);
}

kd_status kdt_best_note(kdt_run *run)
{
    char path[KDT_PATH];
    kdt_best *b = &run->best;
    if (b->epoch && !(run->dev_top1 > b->top1)) return KD_OK;
    copy(b->params, run->ema ? run->ema : kd_model_params(run->model));
    b->top1 = run->dev_top1;
    b->loss = run->dev_loss;
    b->epoch = run->epoch + 1;
    if (!run->train.out) return KD_OK;
    kdt_path(run, "model.safetensors", path);
    return kd_model_save_params(run->model, b->params, path, KD_F32);
}

kd_status kdt_best_resume(kdt_run *run)
{
    char path[KDT_PATH];
    kd_model *model;
    if (run->train.keep != KD_KEEP_BEST || run->best.epoch == 0) return KD_OK;
    kdt_path(run, "model.safetensors", path);
    kd_status status = kd_model_load(run->ctx, path, NULL, &model);
    if (status) return status;
    if (strcmp(kd_model_spec(model), kd_model_spec(run->model)))
        status = kd_ctx_fail(run->ctx, KD_E_MISMATCH, "%s is of another network: %s", path,
                             kd_model_spec(model));
    else
        copy(run->best.params, kd_model_params(model));
    kd_model_destroy(model);
    return status;
}

kd_status kdt_best_adopt(kdt_run *run)
{
    char path[KDT_PATH];
    kd_params *params = kd_model_params(run->model);
    kd_status status = KD_OK;
    if (run->ema) copy(params, run->ema);
    if (run->train.keep != KD_KEEP_BEST || run->best.epoch == 0) return KD_OK;
    if (run->train.out) {
        kdt_path(run, "last.safetensors", path);
        status = kd_model_save(run->model, path);
    }
    if (!status) copy(params, run->best.params);
    return status;
}
