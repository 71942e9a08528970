/* SPDX-License-Identifier: MIT
 * step.c: one optimiser step on a batch that is given, for comparisons with other frameworks. */
#include "train.h"

#include <string.h>

static kd_status plan_step(kd_model *model, size_t n, const kd_distill_opt *o, kd_plan **plan)
{
    kd_graph *g;
    kd_status status = kd_graph_create(kd_model_ctx(model), &g);
    if (status) return status;
    const int64_t size = (int64_t)kd_model_image(model);
    const int64_t dim[] = {KD_BATCH, size, size, (int64_t)kd_model_channels(model)};
    kd_value heads[2];
    const kd_build_opt build = {.struct_size = sizeof build, .no_dropout = 1, .heads = heads};
    const kd_value logits = kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), &build);
    const kd_value loss = kdt_build_loss(g, o, logits, heads, kd_model_classes(model), false);
    kd_output(g, logits, "logits");
    kd_output(g, loss, "loss");
    status = kd_graph_grad(g, loss);
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = n, .training = 1};
    if (!status) status = kd_plan_create(g, &opt, plan);
    kd_graph_destroy(g);
    return status;
}

static kd_status bind_all(kd_exec *exec, const kd_distill_opt *o, const float *input,
                          const int32_t *labels, const float *teacher)
{
    static const float one = 1;
    kd_status status = kd_exec_bind(exec, "input", input);
    if (!status) status = kd_exec_bind(exec, "labels", labels);
    if (!status && teacher && o->soft > 0) status = kd_exec_bind(exec, "teacher0", teacher);
    if (!status && teacher && o->soft > 0 && kdt_needs_soft_weight(o))
        status = kd_exec_bind(exec, "soft_weight", &one);
    return status;
}

static float or_off(float x)
{
    return x > 0 ? x : KD_OFF;
}

kd_status kdt_optim_create(kd_params *params, const kd_train_opt *t, kd_optim **optim)
{
    const kd_optim_opt opt = {.struct_size = sizeof opt,
                              .optimizer = t->optimizer,
                              .momentum = or_off(t->momentum),
                              .nesterov = t->nesterov,
                              .weight_decay = or_off(t->weight_decay),
                              .decay_all = t->decay_all,
                              .beta1 = t->beta1 > 0 ? t->beta1 : (double)KD_OFF,
                              .beta2 = t->beta2 > 0 ? t->beta2 : (double)KD_OFF,
                              .eps = or_off(t->eps),
                              .layer_decay = t->layer_decay};
    return kd_optim_create(params, &opt, optim);
}

static kd_status update(kd_params *params, const kd_train_opt *t)
{
    kd_optim *optim;
    const kd_status status = kdt_optim_create(params, t, &optim);
    if (status) return status;
    const double norm = t->clip > 0 ? kd_params_grad_norm(params) : 0;
    const bool clipped = t->clip > 0 && norm > (double)t->clip;
    kd_optim_step(optim, t->lr, clipped ? (float)((double)t->clip / (norm + 1e-6)) : 1);
    kd_optim_destroy(optim);
    return KD_OK;
}

kd_status kd_train_step(kd_model *model, size_t n, const float *input, const int32_t *labels,
                        const float *teacher_logits, const kd_distill_opt *options,
                        kd_step_result *result)
{
    kd_ctx *ctx = kd_model_ctx(model);
    kd_params *params = kd_model_params(model);
    kd_distill_opt o;
    kd_plan *plan = NULL;
    kd_exec *exec = NULL;
    if (n == 0) return kd_ctx_fail(ctx, KD_E_INVALID, "a step needs at least one picture");
    if (!kdt_options(&o, sizeof o, options, options ? options->struct_size : 0))
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_train_step: unknown options");
    o.n_teachers = teacher_logits ? 1 : 0;
    o.teacher_weights = NULL;
    kd_distill_defaults(&o);
    kd_status status = plan_step(model, n, &o, &plan);
    if (!status) status = kd_exec_create(plan, params, NULL, &exec);
    if (!status) status = bind_all(exec, &o, input, labels, teacher_logits);
    if (!status) status = kd_exec_run(exec, NULL);
    if (!status) {
        result->loss = *(const float *)kd_exec_output(exec, "loss");
        if (result->logits)
            memcpy(result->logits, kd_exec_output(exec, "logits"),
                   n * kd_model_classes(model) * sizeof(float));
        if (result->grads)
            memcpy(result->grads, kd_params_grads(params),
                   kd_params_flat_count(params) * sizeof(float));
        status = update(params, &o.train);
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    return status;
}
