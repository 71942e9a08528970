/* SPDX-License-Identifier: MIT
 * calls_train.c: calls of training, distillation, caches, evaluation (calls.h). */
#include "calls.h"

static kd_status call_optim(world *w)
{
    kd_optim *o;
    const kd_optim_opt opt = {.struct_size = sizeof opt};
    const kd_status status = kd_optim_create(kd_model_params(w->model), &opt, &o);
    if (!status) kd_optim_destroy(o);
    return status;
}

static kd_status call_checkpoint(world *w)
{
    char path[600], *note = NULL;
    kd_optim *optim;
    calls_path(path, "failing_loop.safetensors");
    kd_status status = kd_optim_create(kd_model_params(w->model), NULL, &optim);
    if (status) return status;
    status = kd_checkpoint_save(w->model, optim, "here", path);
    if (!status) status = kd_checkpoint_load(w->model, optim, path, &note);
    kd_ctx_free(w->ctx, note);
    kd_optim_destroy(optim);
    return status;
}

static kd_status call_train(world *w)
{
    kd_train_opt opt = {.struct_size = sizeof opt,
                        .epochs = 1,
                        .batch = 16,
                        .lr = 1e-3f,
                        .on_nan = KD_NAN_SKIP,
                        .out = w->out,
                        .overwrite = 1};
    kd_status status = kd_train(w->model, w->data, &opt, NULL);
    opt.resume = 1;
    opt.overwrite = 0;
    opt.epochs = 1;
    return status ? status : kd_train(w->model, w->data, &opt, NULL);
}

static kd_status call_distill(world *w)
{
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .teacher = w->teacher,
                                .method = KD_METHOD_DKD,
                                .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                         .epochs = 1,
                                                         .batch = 16,
                                                         .ema = .5f,
                                                         .dev_count = 8}};
    return kd_distill(w->model, w->data, &opt, NULL);
}

/* From inside the teacher, and by a function. */
static kd_value own_loss(void *user, const kd_loss_graph *step)
{
    (void)user;
    const kd_value r = kd_linear(step->graph, step->student_taps[0].value, "mine", 4, 1);
    return kd_loss_mse(step->graph, r, step->teacher_taps[0].value);
}

static kd_status call_distill_inside(world *w)
{
    static const char *const tap = "stages.0.pool";
    const kd_train_opt train = {.struct_size = sizeof train,
                                .epochs = 1,
                                .batch = 16,
                                .lr = 1e-4f,
                                .freeze = "features.0",
                                .head_lr = 1e-3f,
                                .on_nan = KD_NAN_SKIP,
                                .out = w->out,
                                .overwrite = 1};
    kd_distill_opt opt = {.struct_size = sizeof opt,
                          .teacher = w->teacher,
                          .train = &train,
                          .loss = own_loss,
                          .student_taps = &tap,
                          .n_student_taps = 1,
                          .teacher_taps = &tap,
                          .n_teacher_taps = 1,
                          .feature = KD_FEATURE_HINT,
                          .feature_weight = .1f};
    return kd_distill(w->model, w->data, &opt, NULL);
}

/* Two students of one pass. */
static kd_status call_distill_many(world *w)
{
    kd_model *other;
    const kd_train_opt train = {.struct_size = sizeof train, .epochs = 1, .batch = 16};
    const kd_distill_opt opt = {.struct_size = sizeof opt, .teacher = w->teacher, .train = &train};
    kd_status status = kd_model_create(w->ctx, calls_spec, 3, &other);
    if (status) return status;
    kd_student students[] = {{.model = w->model, .opt = &opt}, {.model = other, .opt = &opt}};
    status = kd_distill_many(students, 2, w->data);
    kd_model_destroy(other);
    return status;
}

static kd_status call_cache(world *w)
{
    char path[600];
    const kd_train_opt train = {.struct_size = sizeof train, .epochs = 1, .batch = 16};
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .teacher = w->teacher,
                                .train = &train,
                                .cache = calls_path(path, "cache"),
                                .cache_top = 3};
    kd_status status = kd_cache_build(w->model, w->data, &opt);
    if (!status) status = kd_cache_verify(w->model, w->data, &opt, 1, NULL);
    const kd_student one = {.model = w->model, .opt = &opt};
    if (!status) status = kd_cache_agree(&one, w->data, &one, w->data);
    return status ? status : kd_cache_look(w->ctx, path, 0, 1, NULL);
}

static kd_status call_train_step(world *w)
{
    const kd_distill_opt opt = {.struct_size = sizeof opt};
    kd_step_result r = {.struct_size = sizeof r, .logits = w->logits};
    return kd_train_step(w->model, PICTURES, w->pictures, w->labels, w->logits, &opt, &r);
}

/* Pieces, whose size is looked for. */
static kd_status call_train_plan(world *w)
{
    const char *small = "vit_tiny_patch16_224,image=32,patch=8,dim=24,depth=1,heads=2,classes=10";
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                         .batch = 8,
                                                         .micro_batch = KD_MICRO_AUTO}};
    kd_model *m;
    kd_plan *plan;
    kd_status status = kd_model_create(w->ctx, small, 1, &m);
    if (status) return status;
    status = kd_train_plan(m, &opt, &plan);
    kd_plan_destroy(status ? NULL : plan);
    kd_model_destroy(m);
    return status;
}

static kd_status call_evaluate(world *w)
{
    const kd_eval_opt opt = {
        .struct_size = sizeof opt, .split = KD_EVAL_TEST, .batch = 8, .teacher = w->teacher};
    kd_eval_result r = {.struct_size = sizeof r};
    return kd_evaluate(w->model, w->data, &opt, &r);
}

static const call calls[] = {
    {call_optim, "kd_optim_create"},
    {call_checkpoint, "kd_checkpoint_save kd_checkpoint_load"},
    {call_train, "kd_train"},
    {call_distill, "kd_distill"},
    {call_distill_inside, "kd_distill"},
    {call_distill_many, "kd_distill_many"},
    {call_cache, "kd_cache_build kd_cache_verify kd_cache_agree kd_cache_look"},
    {call_train_step, "kd_train_step"},
    {call_train_plan, "kd_train_plan"},
    {call_evaluate, "kd_evaluate"},
};

const call_list calls_train = {calls, sizeof calls / sizeof *calls};
