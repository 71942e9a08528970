/* SPDX-License-Identifier: MIT
 * teacher.c: live teachers: evaluation mode, weights frozen, each fed with its own view (size and
 * normalisation) of the same augmented pictures. */
#include "train.h"

kd_status kdt_teachers_open(kdt_run *run)
{
    for (size_t t = 0; t < run->opt.n_teachers; t++) {
        kdt_teacher *teacher = &run->teachers[t];
        teacher->model = run->opt.teachers[t];
        if (kd_model_classes(teacher->model) != kd_model_classes(run->model))
            return kd_ctx_fail(run->ctx, KD_E_MISMATCH,
                               "teacher %zu (%s) has %zu classes, the student %zu", t,
                               kd_model_spec(teacher->model), kd_model_classes(teacher->model),
                               kd_model_classes(run->model));
        const kd_status status =
            kd_model_plan(teacher->model, run->opt.train.batch, &teacher->plan, &teacher->exec);
        if (status) return status;
    }
    return KD_OK;
}

void kdt_teachers_close(kdt_run *run)
{
    for (size_t t = 0; t < run->opt.n_teachers; t++) {
        kd_exec_destroy(run->teachers[t].exec);
        kd_plan_destroy(run->teachers[t].plan);
    }
}

kd_status kdt_teachers_run(kdt_run *run, const kd_batch *batch)
{
    for (size_t t = 0; t < run->opt.n_teachers; t++) {
        const kdt_teacher *teacher = &run->teachers[t];
        const kd_run_opt opt = {.struct_size = sizeof opt, .batch = batch->n};
        kd_status status = kd_exec_bind(teacher->exec, "input", batch->views[teacher->view]);
        if (!status) status = kd_exec_run(teacher->exec, &opt);
        if (status) return status;
    }
    return KD_OK;
}
