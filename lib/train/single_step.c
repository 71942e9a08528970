/* SPDX-License-Identifier: MIT
 * single_step.c: one optimiser step on a batch that is given, for comparisons with other frameworks. */
#include "train.h"

#include <math.h>
#include <string.h>

/* The arrays of a step's batch; teacher NULL: none. */
typedef struct given {
    kd_model *model;
    const kd_distill_opt *opt;
    size_t n;
    const float *input, *teacher;
    const int32_t *labels;
} given;

static kd_status bind_all(kd_exec *exec, const given *s, size_t first)
{
    static const float one = 1;
    const kd_distill_opt *o = s->opt;
    const size_t picture = kdt_picture(s->model);
    const bool taught = s->teacher && o->soft > 0;
    kd_status status = kd_exec_bind(exec, "input", s->input + first * picture);
    if (!status) status = kd_exec_bind(exec, "labels", s->labels + first);
    if (!status && taught)
        status = kd_exec_bind(exec, "teacher0", s->teacher + first * kd_model_classes(s->model));
    if (!status && taught && kdt_needs_soft_weight(o))
        status = kd_exec_bind(exec, "soft_weight", &one);
    return status;
}

/* Forward and backward, piece by piece. */
static kd_status run_pieces(kd_exec *exec, size_t most, const given *s, kd_step_result *result)
{
    const size_t classes = kd_model_classes(s->model);
    double loss = 0;
    kd_status status = KD_OK;
    for (size_t first = 0; first < s->n && !status; first += most) {
        const size_t n = s->n - first < most ? s->n - first : most;
        const double weight = (double)n / (double)s->n;
        const kd_run_opt run = {.struct_size = sizeof run,
                                .batch = n,
                                .first = first,
                                .weight = (float)weight,
                                .accumulate = first > 0};
        status = bind_all(exec, s, first);
        if (!status) status = kd_exec_run(exec, &run);
        if (status) return status;
        loss += weight * (double)*(const float *)kd_exec_output(exec, "loss");
        if (result->logits)
            memcpy(result->logits + first * classes, kd_exec_output(exec, "logits"),
                   n * classes * sizeof(float));
    }
    result->loss = (float)loss;
    return status;
}

/* A loss or a gradient that is not finite leaves the parameters as they were. */
static kd_status update(kd_model *model, const kd_train_opt *t, double loss)
{
    kd_optim *optim;
    const kd_params *params = kd_model_params(model);
    const double norm = kd_params_grad_norm(params);
    if (!isfinite(loss) || !isfinite(norm))
        return kd_ctx_fail(kd_params_ctx(params), KD_E_NONFINITE,
                           "kd_train_step: the loss is %g and the gradient's norm %g", loss, norm);
    const kd_status status = kdt_optim_create(model, t, &optim);
    if (status) return status;
    const bool clipped = t->clip > 0 && norm > (double)t->clip;
    kd_optim_step(optim, t->lr, clipped ? (float)((double)t->clip / (norm + 1e-6)) : 1);
    kd_optim_destroy(optim);
    return KD_OK;
}

/* The batch is the n pictures that are given. */
static kd_status take(kd_ctx *ctx, kd_model *model, size_t n, const kd_distill_opt *options,
                      bool taught, kd_train_opt *train, kd_distill_opt *o)
{
    const size_t most = (size_t)kd_option_find("batch")->high;
    kd_distill_opt with;
    kd_train_opt here;
    kd_status status = kd_options(ctx, "kd_distill_opt", &with, sizeof with, options);
    if (!status) status = kd_options(ctx, "kd_train_opt", &here, sizeof here, with.train);
    if (status) return status;
    here.batch = n < most ? n : most;
    with.train = &here;
    return kdt_take(ctx, model, NULL, &with, taught, train, o);
}

kd_status kd_train_step(kd_model *model, size_t n, const float *input, const int32_t *labels,
                        const float *teacher_logits, const kd_distill_opt *options,
                        kd_step_result *result)
{
    if (!model) return KD_E_INVALID;
    kd_ctx *ctx = kd_model_ctx(model);
    kd_params *params = kd_model_params(model);
    kd_distill_opt o;
    kd_train_opt train;
    kd_step_result here = {.struct_size = sizeof here};
    kd_plan *plan = NULL;
    kd_exec *exec = NULL;
    if (n == 0) return kd_ctx_fail(ctx, KD_E_INVALID, "a step needs at least one picture");
    if (!input || !labels)
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_train_step: no %s", input ? "labels" : "input");
    if (!teacher_logits && options && options->struct_size >= sizeof *options &&
        (options->teacher || options->n_teachers))
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_train_step: a teacher is given, but not its logits, which it takes");
    kd_status status = kd_results_check(ctx, "kd_step_result", result);
    if (!status) status = take(ctx, model, n, options, teacher_logits != NULL, &train, &o);
    if (status) return status;
    if (result)
        memcpy(&here, result,
               result->struct_size < sizeof here ? result->struct_size : sizeof here);
    o.n_teachers = teacher_logits ? 1 : 0;
    o.teacher_weights = NULL;
    const given batch = {model, &o, n, input, teacher_logits, labels};
    status = kdt_single_step_plan(model, &o, n, true, &plan);
    if (!status) status = kd_exec_create(plan, params, NULL, &exec);
    if (!status) kdt_clear_gradients(params, &train);
    if (!status) status = run_pieces(exec, kd_plan_batch(plan), &batch, &here);
    if (!status) {
        if (here.grads)
            memcpy(here.grads, kd_params_grads(params),
                   kd_params_flat_count(params) * sizeof(float));
        status = update(model, &train, (double)here.loss);
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    here.struct_size = sizeof here;
    kd_results(result, &here, sizeof here);
    return status;
}
