/* SPDX-License-Identifier: MIT
 * optimizer_step.c: one optimiser step, batch by batch, so that several runs can take theirs from one
 * feed: it begins with its learning rate, adds up the gradients of its batches, and ends with the
 * update. Where a budget of seconds ends, the last step takes as many pictures as there is time for. */
#include "train.h"

#include <math.h>

/* ---- where the run stands -------------------------------------------------------------------- */

double kdt_fraction(const kdt_run *run)
{
    const double budget = run->train.budget_seconds;
    const double by_time = budget > 0 ? run->seconds / budget : 0;
    const double by_steps = run->steps ? (double)run->step / (double)run->steps : 0;
    const double f = by_time > by_steps ? by_time : by_steps;
    return f < 1 ? f : 1;
}

/* Pictures that there is still time for, by the rate of the run so far; SIZE_MAX: as many as you
 * like. A budget's first step is a short one, which tells the rate. */
static size_t affordable(const kdt_run *run, double spent)
{
    const double budget = run->train.budget_seconds, left = budget - run->seconds - spent;
    if (budget <= 0) return SIZE_MAX;
    if (run->images == 0 || run->seconds <= 0) return run->train.batch / 8 + 1;
    const double pictures = left * (double)run->images / run->seconds;
    return pictures >= 1e9 ? SIZE_MAX : pictures > 0 ? (size_t)pictures : 0;
}

/* Seconds that a batch is waited for. A batch comes as a whole: where data are what takes time, the
 * run ends at the batch whose end is nearest. */
static double wait_for_batch(const kdt_run *run)
{
    const size_t batches = run->epoch * run->batches + run->batch;
    return batches ? (run->times.data + run->sums.times.data) / (double)batches : 0;
}

/* A budget is used up when what is left of it is less than a hundredth, or too short for a 32nd of a
 * batch: a step over a few pictures would be noise. */
bool kdt_finished(const kdt_run *run)
{
    const double budget = run->train.budget_seconds;
    if (budget > 0 && run->seconds >= .99 * budget) return true;
    if (affordable(run, 0) < run->train.batch / 32 + 1) return true;
    if (budget > 0 && budget - run->seconds < .5 * wait_for_batch(run)) return true;
    return run->steps && run->step >= run->steps;
}

/* At `fraction` of the way, for the step from 0. */
static double rate(const kd_train_opt *t, double fraction, size_t step, size_t steps_per_epoch)
{
    const double warm = (double)t->warmup * (double)steps_per_epoch;
    const double least = (double)t->min_lr > 0 ? (double)t->min_lr : 0;
    double lr = least + ((double)t->lr - least) * kd_schedule_factor(t->schedule, fraction);
    if (warm > 0 && (double)step + 1 < warm) lr *= ((double)step + 1) / warm;
    return lr;
}

double kd_train_rate(const kd_train_opt *opt, size_t step, size_t steps, size_t steps_per_epoch)
{
    kd_train_opt t;
    if (!opt || kd_options(NULL, "kd_train_opt", &t, sizeof t, opt)) return 0;
    return rate(&t, steps ? (double)step / (double)steps : 0, step, steps_per_epoch);
}

/* ---- the step -------------------------------------------------------------------------------- */

/* A single number that is not finite would spoil the weights for ever: the norm, which tells, is
 * always taken. The gradients are the sum over batches of pictures / batch * mean gradient; what the
 * optimiser sees is the mean over the step's pictures. */
static void update(kdt_run *run, const kdt_sums *step, const char **wrong)
{
    const kd_train_opt *t = &run->train;
    double scale = (double)t->batch / (double)step->images;
    run->grad_norm = kd_params_grad_norm(kd_model_params(run->model)) * scale;
    if (run->extra) run->grad_norm = hypot(run->grad_norm, kd_params_grad_norm(run->extra) * scale);
    if (!isfinite(run->grad_norm)) {
        *wrong = "the gradient is not finite";
        return;
    }
    if (t->clip > 0 && run->grad_norm > (double)t->clip)
        scale *= (double)t->clip / (run->grad_norm + 1e-6);
    kd_optim_step(run->optim, (float)run->lr, (float)scale);
    if (run->extra) kd_optim_step(run->extra_optim, (float)run->lr, (float)scale);
    if (run->ema) kd_params_average(run->ema, kd_model_params(run->model), t->ema);
    if (run->ema && t->freeze) kdt_keep_frozen(run->model, t, run->ema);
}

/* NULL: nothing. */
static const char *what_is_wrong(double loss)
{
    return isfinite(loss) ? NULL
           : isnan(loss)  ? "the loss is not a number"
                          : "the loss is infinite";
}

kd_status kdt_step_begin(kdt_run *run)
{
    const size_t left = run->batches - run->batch, accumulate = run->train.accumulate;
    run->now = (kdt_open_step){
        .open = true, .first = run->batch, .batches = accumulate < left ? accumulate : left};
    run->lr = rate(&run->train, kdt_fraction(run), run->step, run->steps_per_epoch);
    run->grad_norm = (double)NAN;
    if (kdt_needs_soft_weight(&run->opt)) {
        const double w =
            ((double)run->step + 1) / ((double)run->opt.dkd_warmup * (double)run->steps_per_epoch);
        run->soft_weight = (float)(w < 1 ? w : 1);
    }
    return kdt_keep_buffers(run);
}

size_t kdt_step_left(const kdt_run *run)
{
    return affordable(run, run->now.open ? run->now.sums.seconds : 0);
}

kd_status kdt_step_batch(kdt_run *run, double share)
{
    const double start = kd_seconds();
    kdt_feed *feed = run->feed;
    kdt_open_step *now = &run->now;
    kdt_sums *sums = &now->sums;
    kd_status status = KD_OK;
    sums->times.data += share * feed->seconds_data;
    sums->times.teacher += share * feed->seconds_teacher;
    run->how = (kd_run_opt){.struct_size = sizeof run->how,
                            .seed = run->train.seed,
                            .step = run->epoch * run->batches + run->batch,
                            .accumulate = sums->images > 0};
    run->batch++;
    if (feed->taken)
        status = kdt_batch_gradient(run, sums);
    else
        run->empty++; /* nothing in it could be read */
    now->wrong = what_is_wrong(sums->loss);
    now->full = now->wrong || run->batch == now->first + now->batches;
    sums->seconds += kd_seconds() - start + share * (feed->seconds_data + feed->seconds_teacher);
    return status;
}

kd_status kdt_step_end(kdt_run *run)
{
    const double start = kd_seconds();
    kdt_open_step *now = &run->now;
    kdt_sums *sums = &now->sums;
    kd_status status = KD_OK;
    if (!now->wrong && sums->images) update(run, sums, &now->wrong);
    sums->times.optimizer = kd_seconds() - start;
    if (now->wrong) status = kdt_nonfinite(run, now->wrong, now->first, now->batches);
    now->open = false;
    if (status) return status;
    run->step_loss = kdt_mean(run, sums, sums->loss);
    sums->seconds += kd_seconds() - start;
    run->seconds += sums->seconds;
    run->images += sums->images;
    run->step++;
    if (now->wrong) { /* its time was spent, its pictures do not count */
        run->skipped++;
        run->skipped_here++;
        *sums = (kdt_sums){.seconds = sums->seconds, .times = sums->times};
    }
    kdt_add_sums(&run->sums, sums);
    return KD_OK;
}

void kdt_step_abandon(kdt_run *run)
{
    if (!run->now.open) return;
    kdt_restore_buffers(run);
    run->batch = run->now.first;
    run->now.open = false;
}
