/* SPDX-License-Identifier: MIT
 * teacher.c: live teachers: evaluation mode, weights frozen, each fed with its own view (size and
 * normalisation) of the same augmented pictures. */
#include "train.h"

kd_status kdt_teachers_check(kdt_run *run)
{
    for (size_t t = 0; t < run->opt.n_teachers; t++) {
        kd_model *model = run->teachers[t].model = run->opt.teachers[t];
        if (kd_model_classes(model) != kd_model_classes(run->model))
            return kd_ctx_fail(
                run->ctx, KD_E_MISMATCH, "teacher %zu (%s) has %zu classes, the student %zu", t,
                kd_model_spec(model), kd_model_classes(model), kd_model_classes(run->model));
    }
    return KD_OK;
}

kd_status kdt_teachers_open(kdt_run *run, size_t most)
{
    kd_status status = KD_OK;
    for (size_t t = 0; t < run->opt.n_teachers && !status; t++) {
        kdt_teacher *teacher = &run->teachers[t];
        status = kd_model_plan(teacher->model, most, &teacher->plan, &teacher->exec);
    }
    return status;
}

void kdt_teachers_close(kdt_run *run)
{
    for (size_t t = 0; t < run->opt.n_teachers; t++) {
        kd_exec_destroy(run->teachers[t].exec);
        kd_plan_destroy(run->teachers[t].plan);
    }
}

kd_status kdt_teachers_run(kdt_run *run, size_t first, size_t n)
{
    for (size_t t = 0; t < run->opt.n_teachers; t++) {
        const kdt_teacher *teacher = &run->teachers[t];
        const size_t side = kd_model_image(teacher->model);
        const size_t picture = side * side * kd_model_channels(teacher->model);
        const float *views = run->now->views[teacher->view];
        const kd_run_opt opt = {.struct_size = sizeof opt, .batch = n, .first = first};
        kd_status status = kd_exec_bind(teacher->exec, "input", views + first * picture);
        if (!status) status = kd_exec_run(teacher->exec, &opt);
        if (status) return status;
    }
    return KD_OK;
}
