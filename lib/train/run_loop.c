/* SPDX-License-Identifier: MIT
 * run_loop.c: steps and epochs until a run is over: what is reported, what is evaluated, and when files
 * are written. */
#include "train.h"

#include <math.h>

/* ---- what is reported ------------------------------------------------------------------------ */

static kd_progress progress_of(const kdt_run *run, bool epoch_end)
{
    const kd_train_opt *t = &run->train;
    const kdt_sums *s = &run->sums;
    const bool taught = run->opt.n_teachers > 0;
    return (kd_progress){
        .struct_size = sizeof(kd_progress),
        .epoch_end = epoch_end,
        .epoch = run->epoch,
        .epochs = t->budget_seconds > 0 ? 0 : t->epochs,
        .step = run->step,
        .steps = run->steps,
        .batch = run->batch,
        .batches = run->batches,
        .fraction = kdt_fraction(run),
        .loss = kdt_mean(run, s, s->loss),
        .accuracy = kdt_percent(s, s->correct),
        .hard_loss = kdt_mean(run, s, s->hard),
        .soft_loss = taught ? kdt_mean(run, s, s->soft) : (double)NAN,
        .teacher_accuracy = taught ? kdt_percent(s, s->teacher_correct) : (double)NAN,
        .agreement = taught ? kdt_percent(s, s->agreed) : (double)NAN,
        .step_loss = run->step_loss,
        .grad_norm = run->grad_norm,
        .lr = run->lr,
        .skipped = run->skipped,
        .images_per_second =
            s->seconds > 0 && s->images ? (double)s->images / s->seconds : (double)NAN,
        .seconds = run->seconds,
        .times = s->times,
        .dev_top1 = epoch_end ? run->dev_top1 : (double)NAN,
        .dev_loss = epoch_end ? run->dev_loss : (double)NAN,
        .augment = kd_loader_augment(run->feed->loader),
        .epochs_done = kdt_epochs(run),
        .epoch_seconds = s->seconds,
        .epoch_skipped = run->skipped_here};
}

static bool report(kdt_run *run, bool epoch_end)
{
    const kd_train_opt *t = &run->train;
    if (!t->progress) return false;
    const kd_progress p = progress_of(run, epoch_end);
    return t->progress(t->user, &p) != 0;
}

/* A teacher that is no better than chance on the pictures of the training split is broken, or sees
 * them wrongly. Once enough pictures have been seen this is said, once. */
static void look_at_teacher(kdt_run *run)
{
    enum { ENOUGH = 1000 };
    const kdt_sums *s = &run->sums;
    const double chance = 1 / (double)kd_model_classes(run->model), n = (double)s->images;
    if (run->opt.n_teachers == 0 || run->warned || s->images < ENOUGH) return;
    run->warned = true;
    const double right = (double)s->teacher_correct / n;
    if (right > chance + 4 * sqrt(chance * (1 - chance) / n)) return;
    kd_ctx_log(run->ctx, KD_LOG_WARN,
               "the teacher is right on %.1f %% of the first %llu training pictures, which is no "
               "better than chance (%.1f %%): is it trained on these classes, with this "
               "normalisation?",
               100 * right, (unsigned long long)s->images, 100 * chance);
}

/* ---- an epoch's end -------------------------------------------------------------------------- */

static kd_status evaluate_dev(kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const kd_eval_opt opt = {.struct_size = sizeof opt,
                             .split = KD_EVAL_DEV,
                             .dev_count = t->dev_count,
                             .params = run->ema,
                             .progress = t->progress,
                             .user = t->user};
    kd_eval_result r = {.struct_size = sizeof r};
    if (!t->dev_count) return KD_OK;
    const kd_status status = kd_evaluate(run->model, run->data, &opt, &r);
    if (status) return status;
    run->dev_top1 = run->last_dev_top1 = r.top1;
    run->dev_loss = run->last_dev_loss = r.loss;
    return t->keep == KD_KEEP_BEST ? kdt_best_note(run) : KD_OK;
}

static kd_status check_epoch(const kdt_run *run)
{
    const char *name = kd_dataset_info(run->data)->name;
    if (run->empty && run->empty == run->batch)
        return kd_ctx_fail(run->ctx, KD_E_FORMAT, "%s: none of epoch %zu's pictures can be read",
                           name, run->epoch + 1);
    if (run->skipped_here && run->sums.images == 0)
        return kd_ctx_fail(run->ctx, KD_E_NONFINITE,
                           "every step of epoch %zu was skipped, %zu in all: nothing was learnt",
                           run->epoch + 1, run->skipped_here);
    return KD_OK;
}

/* An epoch that the run's end cuts short stays open: a run that is prolonged goes on in it. */
static void close_epoch(kdt_run *run)
{
    kdt_add_times(&run->times, &run->sums.times);
    run->sums = (kdt_sums){0};
    run->dev_top1 = run->dev_loss = (double)NAN;
    run->epoch++;
    run->batch = run->empty = run->skipped_here = 0;
}

/* The metrics' line goes to disk before the checkpoint that counts the epoch as done: killed in
 * between, a resume drops the line and does the epoch's end again. An evaluation that is stopped
 * leaves the epoch open, with all its batches done. */
static kd_status end_epoch(kdt_run *run, bool *stop)
{
    kd_status status = check_epoch(run);
    if (status) {
        if (run->train.out) kdt_metrics_append(run, true);
        return status;
    }
    status = evaluate_dev(run);
    if (status == KD_E_STOPPED && run->train.out) {
        const kd_status saved = kdt_checkpoint_save(run);
        if (saved) return saved;
        return kd_ctx_fail(run->ctx, status, "stopped in the evaluation after step %zu (epoch %zu)",
                           run->step, run->epoch + 1);
    }
    if (status) return status;
    *stop = report(run, true);
    if (run->train.out) status = kdt_metrics_append(run, true);
    run->last = run->sums;
    if (run->batch == run->batches) close_epoch(run);
    if (!status && run->train.out) status = kdt_checkpoint_save(run);
    return status;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static kd_status one_step(kdt_run *run, bool *stop)
{
    const size_t lines = run->train.log_steps;
    kd_status status = kdt_optimizer_step(run);
    if (status) return status;
    look_at_teacher(run);
    *stop = report(run, false);
    if (lines && run->step % lines == 0) status = kdt_metrics_append(run, false);
    return status;
}

kd_status kdt_run_loop(kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    kd_status status = KD_OK;
    bool open = run->batch > 0; /* an epoch has begun and not ended */
    run->saved_at = kd_seconds();
    while (open || !kdt_finished(run)) {
        bool stop = false;
        if (run->batch < run->batches && !kdt_finished(run)) status = one_step(run, &stop);
        if (status) return status;
        open = true;
        if (!stop && (run->batch == run->batches || kdt_finished(run))) {
            status = end_epoch(run, &stop);
            open = false;
        } else if (t->out && (stop || kd_seconds() - run->saved_at >= t->checkpoint_seconds)) {
            status = kdt_checkpoint_save(run);
        }
        if (status) return status;
        if (stop)
            return kd_ctx_fail(run->ctx, KD_E_STOPPED, "stopped after step %zu (epoch %zu)",
                               run->step, run->epoch + (run->batch > 0));
    }
    return KD_OK;
}
