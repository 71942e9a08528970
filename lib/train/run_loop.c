/* SPDX-License-Identifier: MIT
 * run_loop.c: steps and epochs until runs are over: what is reported, what is evaluated, and when files
 * are written. Each run has a place of its own in the data, and those that stand at the same batch
 * share it. */
#include "train.h"

#include <math.h>
#include <stdio.h>

/* ---- what is reported ------------------------------------------------------------------------ */

static kd_progress progress_of(const kdt_run *run, bool epoch_end)
{
    const kd_train_opt *t = &run->train;
    const kdt_sums *s = &run->sums;
    const bool taught = run->opt.n_teachers > 0, heard = taught && !run->feed->mute;
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
        .accuracy = kdt_accuracy(run, s, s->correct),
        .hard_loss = kdt_mean(run, s, s->hard),
        .soft_loss = taught ? kdt_mean(run, s, s->soft) : (double)NAN,
        .teacher_accuracy = heard ? kdt_accuracy(run, s, s->teacher_correct) : (double)NAN,
        .agreement = heard ? kdt_percent(s, s->agreed) : (double)NAN,
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
        .epoch_skipped = run->skipped_here,
        .student = run->number,
        .students = run->feed->runs,
        .feature_loss = run->opt.feature ? kdt_mean(run, s, s->feature) : (double)NAN};
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
    if (run->opt.n_teachers == 0 || run->feed->mute || run->warned || s->images < ENOUGH) return;
    if (kd_dataset_info(run->data)->unlabelled) return;
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

/* ---- after a step ---------------------------------------------------------------------------- */

static kd_status stopped(kdt_run *run)
{
    return kd_ctx_fail(run->ctx, KD_E_STOPPED, "stopped after step %zu (epoch %zu)", run->step,
                       run->epoch + (run->batch > 0));
}

/* Where an epoch ends, or a checkpoint is due. stop: the caller asked for it after the step. */
static kd_status settle(kdt_run *run, bool stop)
{
    const kd_train_opt *t = &run->train;
    kd_status status = KD_OK;
    if (!stop && (run->batch == run->batches || kdt_finished(run))) {
        status = end_epoch(run, &stop);
        run->open = false;
    } else if (t->out && (stop || kd_seconds() - run->saved_at >= t->checkpoint_seconds)) {
        status = kdt_checkpoint_save(run);
    }
    return status ? status : stop ? stopped(run) : KD_OK;
}

static kd_status end_step(kdt_run *run)
{
    const size_t lines = run->train.log_steps;
    kd_status status = kdt_step_end(run);
    if (status) return status;
    run->open = true;
    look_at_teacher(run);
    const bool stop = report(run, false);
    if (lines && run->step % lines == 0) status = kdt_metrics_append(run, false);
    return status ? status : settle(run, stop);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool goes_on(const kdt_run *run)
{
    return !run->status && (run->open || !kdt_finished(run));
}

/* A run whose step, evaluation or files failed leaves the others. */
static void leave(kdt_run *run, kd_status status)
{
    if (!status) return;
    run->status = status;
    snprintf(run->error, sizeof run->error, "%s", kd_ctx_error(run->ctx));
}

static bool before(const kdt_run *a, const kdt_run *b)
{
    return a->epoch < b->epoch || (a->epoch == b->epoch && a->batch < b->batch);
}

/* The run that is least far; NULL: all are over. */
static kdt_run *last_of(kdt_run *const *runs, size_t n)
{
    kdt_run *last = NULL;
    for (size_t i = 0; i < n; i++)
        if (goes_on(runs[i]) && (!last || before(runs[i], last))) last = runs[i];
    return last;
}

static bool at(const kdt_run *run, size_t epoch, size_t batch)
{
    return goes_on(run) && run->epoch == epoch && run->batch == batch;
}

/* One batch for every run that stands there. A run that is further on, as after a resume, or after a
 * step that was skipped, waits. Steps end when all have seen the batch: finding what is not finite
 * goes back to earlier ones. KD_E_STOPPED: it was cancelled on the way. */
static kd_status one_batch(kdt_feed *feed, kdt_run *const *runs, size_t n, const kdt_run *last)
{
    const size_t epoch = last->epoch, batch = last->batch;
    const size_t most = kdt_step_left(last);
    size_t sharing = 0;
    const kd_status status = kdt_feed_take(feed, epoch, batch, most ? most : 1);
    if (status) return status;
    for (size_t i = 0; i < n; i++) sharing += at(runs[i], epoch, batch);
    for (size_t i = 0; i < n; i++) {
        kdt_run *run = runs[i];
        if (!at(run, epoch, batch)) continue;
        if (!run->now.open) leave(run, kdt_step_begin(run));
        if (run->status) continue;
        const kd_status step = kdt_step_batch(run, 1 / (double)sharing);
        if (step == KD_E_STOPPED) return step;
        leave(run, step);
    }
    for (size_t i = 0; i < n; i++)
        if (!runs[i]->status && runs[i]->now.open && runs[i]->now.full)
            leave(runs[i], end_step(runs[i]));
    return KD_OK;
}

/* One run was asked to stop, or the context was cancelled: the others keep what they have. */
static void stop_all(kdt_run *const *runs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        kdt_run *run = runs[i];
        if (!goes_on(run)) continue;
        kdt_step_abandon(run);
        kd_status status = run->train.out ? kdt_checkpoint_save(run) : KD_OK;
        leave(run, status ? status : stopped(run));
    }
}

static bool asked_to_stop(kdt_run *const *runs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (runs[i]->status == KD_E_STOPPED) return true;
    return false;
}

/* A budget of seconds may end a step before all of its batches. */
static bool ends_early(const kdt_run *run)
{
    return run->now.open && kdt_step_left(run) == 0;
}

kd_status kdt_runs_loop(kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    kdt_run *last;
    for (size_t i = 0; i < n; i++) {
        kdt_run *run = runs[i];
        run->saved_at = kd_seconds();
        run->open = run->batch > 0; /* an epoch has begun and not ended */
        if (run->open && (run->batch == run->batches || kdt_finished(run)))
            leave(run, settle(run, false));
    }
    while ((last = last_of(runs, n)) && !asked_to_stop(runs, n)) {
        if (ends_early(last)) {
            leave(last, end_step(last));
            continue;
        }
        const kd_status status = one_batch(feed, runs, n, last);
        if (status == KD_E_STOPPED) break;
        if (status) return status;
    }
    if (last) stop_all(runs, n);
    return KD_OK;
}
