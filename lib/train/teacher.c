/* SPDX-License-Identifier: MIT
 * teacher.c: live teachers: evaluation mode, weights frozen, each fed with its own view (size and
 * normalisation) of the same augmented pictures. */
#include "train.h"

#include <math.h>

/* The caller's list, with its weights; a teacher alone is a list of one. */
static kd_status take_list(kdt_run *run)
{
    kd_distill_opt *o = &run->opt;
    double sum = 0;
    if (o->teacher && o->n_teachers)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "kd_distill_opt: teacher and teachers are both given");
    if (o->teacher) o->n_teachers = 1;
    for (size_t t = 0; t < o->n_teachers; t++) {
        kdt_teacher *teacher = &run->teachers[t];
        teacher->model = o->teacher ? o->teacher : o->teachers[t];
        teacher->weight = o->teacher_weights ? o->teacher_weights[t] : 1.0f / (float)o->n_teachers;
        if (!teacher->model) return kd_ctx_fail(run->ctx, KD_E_INVALID, "teacher %zu is NULL", t);
        if (teacher->model == run->model)
            return kd_ctx_fail(run->ctx, KD_E_INVALID,
                               "teacher %zu is the student itself: load it twice", t);
        if (!(teacher->weight >= 0))
            return kd_ctx_fail(run->ctx, KD_E_INVALID, "teacher %zu: a weight of %g", t,
                               (double)teacher->weight);
        sum += (double)teacher->weight;
    }
    if (o->n_teachers && !(fabs(sum - 1) < 1e-4))
        return kd_ctx_fail(run->ctx, KD_E_INVALID, "the teachers' weights sum to %g, not to 1",
                           sum);
    return KD_OK;
}

kd_status kdt_teachers_check(kdt_run *run)
{
    kd_status status = take_list(run);
    for (size_t t = 0; t < run->opt.n_teachers && !status; t++) {
        kd_model *model = run->teachers[t].model;
        status = kd_model_check_finite(model);
        if (status == KD_E_NONFINITE)
            kd_ctx_fail(run->ctx, status, "teacher %zu: %s", t, kd_ctx_error(run->ctx));
        if (status) return status;
        if (kd_model_classes(model) != kd_model_classes(run->model))
            return kd_ctx_fail(
                run->ctx, KD_E_MISMATCH, "teacher %zu (%s) has %zu classes, the student %zu", t,
                kd_model_spec(model), kd_model_classes(model), kd_model_classes(run->model));
    }
    return status;
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
    for (size_t t = 0; t < run->opt.n_teachers && t < KD_MAX_TEACHERS; t++) {
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

static double log_sum_exp(const float *x, size_t n)
{
    double most = (double)x[0], sum = 0;
    for (size_t k = 1; k < n; k++)
        if ((double)x[k] > most) most = (double)x[k];
    for (size_t k = 0; k < n; k++) sum += exp((double)x[k] - most);
    return most + log(sum);
}

size_t kdt_teachers_class(const kdt_run *run, size_t i)
{
    const size_t classes = kd_model_classes(run->model), n = run->opt.n_teachers;
    const float *rows[KD_MAX_TEACHERS];
    double norms[KD_MAX_TEACHERS], most = -1;
    size_t best = 0;
    for (size_t t = 0; t < n; t++) {
        rows[t] = (const float *)kd_exec_output(run->teachers[t].exec, "logits") + i * classes;
        norms[t] = n > 1 ? log_sum_exp(rows[t], classes) : 0;
    }
    for (size_t k = 0; k < classes; k++) {
        double p = n == 1 ? (double)rows[0][k] : 0;
        for (size_t t = 0; t < n && n > 1; t++)
            p += (double)run->teachers[t].weight * exp((double)rows[t][k] - norms[t]);
        if (k && !(p > most)) continue;
        most = p;
        best = k;
    }
    return best;
}
