/* SPDX-License-Identifier: MIT
 * run.c: a run of training, or of distillation, which is training with teachers, from its
 * beginning or its checkpoint to the test at its end.
 *
 * A run's state is (epoch, batch, step, sums, weights, optimiser); everything random is a function
 * of the seed and these, so a checkpoint of them resumes to the same bits. */
#include "train.h"

#include <math.h>

/* A run that begins writes its first checkpoint at once: a folder that can't be written is found
 * out now, and the checkpoint of an earlier run is replaced before its metrics are dropped, so that
 * the two belong together whenever the process is killed. What another run left is removed before
 * that: a folder never holds its network beside this run's record. */
static kd_status begin(kdt_run *run)
{
    bool found = false;
    if (!run->train.out) return KD_OK;
    kd_status status = kdt_describe(run);
    if (!status && run->train.resume) status = kdt_checkpoint_load(run, &found);
    if (!status && found && run->steps && run->step > run->steps)
        status = kd_ctx_fail(run->ctx, KD_E_MISMATCH,
                             "the run in %s has done %zu steps, more than the %zu asked for",
                             run->train.out, run->step, run->steps);
    if (!status && found) status = kdt_best_resume(run);
    const bool over = found && run->batch == 0 && kdt_finished(run); /* its network stays */
    if (!status && !over && !(found && run->best.epoch)) status = kdt_run_folder_clear(run, found);
    if (!status && !found) status = kdt_checkpoint_save(run);
    if (!status) status = kdt_metrics_trim(run, run->epoch, run->step);
    if (!status && found) status = kdt_feed_seek(run->feed, run->epoch, run->batch);
    return status;
}

/* The model is written, then tested. */
static kd_status test(kdt_run *run, kd_result *result)
{
    const kd_train_opt *t = &run->train;
    kd_status status = KD_OK;
    if (t->out) {
        char path[KDT_PATH];
        kdt_path(run, "model.safetensors", path);
        status = kd_model_save(run->model, path);
    }
    if (status || t->no_test || kd_dataset_info(run->data)->count[KD_SPLIT_TEST] == 0)
        return status;
    const kd_eval_opt opt = {.struct_size = sizeof opt, .progress = t->progress, .user = t->user};
    kd_eval_result r = {.struct_size = sizeof r};
    status = kd_evaluate(run->model, run->data, &opt, &r);
    if (status) return status;
    result->top1 = r.top1;
    result->top5 = r.top5;
    result->loss = r.loss;
    return KD_OK;
}

/* Of the epoch that is open, if there is one, else of the last one. */
static void summarise(const kdt_run *run, kd_result *r)
{
    const kdt_sums *s = run->sums.images ? &run->sums : &run->last;
    const bool taught = run->opt.n_teachers > 0;
    const double none = (double)NAN;
    *r = (kd_result){.struct_size = sizeof *r,
                     .top1 = none,
                     .top5 = none,
                     .loss = none,
                     .train_loss = kdt_mean(run, s, s->loss),
                     .train_top1 = kdt_percent(s, s->correct),
                     .hard_loss = kdt_mean(run, s, s->hard),
                     .soft_loss = taught ? kdt_mean(run, s, s->soft) : none,
                     .teacher_top1 = taught ? kdt_percent(s, s->teacher_correct) : none,
                     .agreement = taught ? kdt_percent(s, s->agreed) : none,
                     .dev_top1 = run->best.epoch ? run->best.top1 : run->last_dev_top1,
                     .dev_loss = run->best.epoch ? run->best.loss : run->last_dev_loss,
                     .epochs = kdt_epochs(run),
                     .best_epoch = run->best.epoch,
                     .steps = run->step,
                     .skipped = run->skipped,
                     .seconds = run->seconds,
                     .images_per_second =
                         run->seconds > 0 ? (double)run->images / run->seconds : none,
                     .times = run->times,
                     .peak_bytes = kd_ctx_memory_peak(run->ctx),
                     .micro_batch = run->plan ? kd_plan_batch(run->plan) : 0};
    kdt_add_times(&r->times, &run->sums.times);
}

static kd_status run_all(kdt_run *run, kd_result *result)
{
    kd_status status = run->train.out ? kdt_run_folder_open(run) : KD_OK;
    if (!status) status = kdt_run_check(run);
    const size_t held = kd_ctx_memory(run->ctx);
    if (!status) status = kdt_feed_open(run->feed, &run, 1);
    if (!status) status = kdt_run_open(run, held);
    if (!status) status = begin(run);
    if (!status) status = kdt_run_loop(run);
    if (!status) status = kdt_best_adopt(run);
    summarise(run, result);
    kdt_run_close(run);
    kdt_feed_close(run->feed); /* before what follows, which needs memory of its own */
    if (!status) status = kd_model_check_finite(run->model);
    if (!status) status = test(run, result);
    kdt_run_folder_close(run);
    return status;
}

/* What a run that does not begin has to report. */
static void begin_with_nothing(kdt_run *run, kd_result *result)
{
    run->dev_top1 = run->dev_loss = run->last_dev_top1 = run->last_dev_loss = (double)NAN;
    run->best.top1 = run->best.loss = run->step_loss = run->grad_norm = run->lr = (double)NAN;
    run->train.batch = 1;
    summarise(run, result);
}

static kd_status check_teachers(const kdt_run *run)
{
    const kd_distill_opt *o = &run->opt;
    if (o->teachers && o->n_teachers == 0)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "kd_distill_opt: teachers are given, but n_teachers is 0");
    if (!o->teachers && o->n_teachers)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "kd_distill_opt: n_teachers is %zu, but teachers is NULL",
                           o->n_teachers);
    if (o->n_teachers > KD_MAX_TEACHERS || (!o->teacher && !o->teachers))
        return kd_ctx_fail(run->ctx, KD_E_INVALID, "distillation takes 1 to %d teachers, not %zu",
                           (int)KD_MAX_TEACHERS, o->n_teachers);
    return KD_OK;
}

kd_status kd_distill(kd_model *student, kd_dataset *data, const kd_distill_opt *options,
                     kd_result *result)
{
    if (!student || !data) return KD_E_INVALID;
    kdt_feed feed = {0};
    kdt_run run = {
        .ctx = kd_model_ctx(student), .model = student, .data = data, .feed = &feed, .folder = -1};
    kd_result here;
    kd_status status = kd_results_check(run.ctx, "kd_result", result);
    if (status) return status;
    begin_with_nothing(&run, &here);
    status = kdt_take(run.ctx, student, NULL, options, true, &run.train, &run.opt);
    if (!status) status = check_teachers(&run);
    if (!status) status = run_all(&run, &here);
    kd_results(result, &here, sizeof here);
    return status;
}

kd_status kd_train(kd_model *model, kd_dataset *data, const kd_train_opt *options,
                   kd_result *result)
{
    if (!model || !data) return KD_E_INVALID;
    kdt_feed feed = {0};
    kdt_run run = {
        .ctx = kd_model_ctx(model), .model = model, .data = data, .feed = &feed, .folder = -1};
    kd_result here;
    kd_status status = kd_results_check(run.ctx, "kd_result", result);
    if (status) return status;
    begin_with_nothing(&run, &here);
    status = kdt_take(run.ctx, model, options, NULL, false, &run.train, &run.opt);
    if (!status) status = run_all(&run, &here);
    kd_results(result, &here, sizeof here);
    return status;
}
