/* SPDX-License-Identifier: MIT
 * optimizer_step.c: one optimiser step: its learning rate, its batches, its update; and, where a budget of
 * seconds ends, a last step over as many pictures as there is time for. */
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

static double learning_rate(const kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const double warm = (double)t->warmup * (double)run->steps_per_epoch;
    const double least = (double)t->min_lr, range = (double)t->lr - least;
    double lr = least + range * kd_schedule_factor(t->schedule, kdt_fraction(run));
    if (warm > 0 && (double)run->step + 1 < warm) lr *= ((double)run->step + 1) / warm;
    return lr;
}

/* ---- batches --------------------------------------------------------------------------------- */

/* Forward and backward of the next batch, whose gradients are added to those of the step's batches
 * before it. most: pictures to take of it. */
static kd_status run_batch(kdt_run *run, size_t most, kdt_sums *step)
{
    const kd_status status = kdt_feed_next(run->feed, most);
    if (status) return status;
    step->times.data += run->feed->seconds_data;
    step->times.teacher += run->feed->seconds_teacher;
    run->how = (kd_run_opt){.struct_size = sizeof run->how,
                            .seed = run->train.seed,
                            .step = run->epoch * run->batches + run->batch,
                            .accumulate = step->images > 0};
    run->batch++;
    if (run->feed->taken == 0) { /* nothing in it could be read */
        run->empty++;
        return KD_OK;
    }
    return kdt_batch_gradient(run, step);
}

/* A single number that is not finite would spoil the weights for ever: the norm, which tells, is
 * always taken. The gradients are the sum over batches of pictures / batch * mean gradient; what the
 * optimiser sees is the mean over the step's pictures. */
static void update(kdt_run *run, const kdt_sums *step, const char **wrong)
{
    const kd_train_opt *t = &run->train;
    double scale = (double)t->batch / (double)step->images;
    run->grad_norm = kd_params_grad_norm(kd_model_params(run->model)) * scale;
    if (!isfinite(run->grad_norm)) {
        *wrong = "the gradient is not finite";
        return;
    }
    if (t->clip > 0 && run->grad_norm > (double)t->clip)
        scale *= (double)t->clip / (run->grad_norm + 1e-6);
    kd_optim_step(run->optim, (float)run->lr, (float)scale);
    if (run->ema) kd_params_average(run->ema, kd_model_params(run->model), t->ema);
}

static const char *what_is_wrong(double loss)
{
    return isfinite(loss) ? NULL
           : isnan(loss)  ? "the loss is not a number"
                          : "the loss is infinite";
}

/* The step's batches, until one's loss is not finite: *wrong says so. */
static kd_status run_batches(kdt_run *run, double start, kdt_sums *step, const char **wrong)
{
    for (size_t n = 0; n < run->train.accumulate && run->batch < run->batches && !*wrong; n++) {
        const size_t most = affordable(run, kd_seconds() - start);
        if (n > 0 && most == 0) break;
        const kd_status status = run_batch(run, most ? most : 1, step);
        if (status) return status;
        *wrong = what_is_wrong(step->loss);
    }
    return KD_OK;
}

kd_status kdt_optimizer_step(kdt_run *run)
{
    const double start = kd_seconds();
    const size_t first = run->batch, left = run->batches - first;
    const size_t n = run->train.accumulate < left ? run->train.accumulate : left;
    const char *wrong = NULL;
    kdt_sums step = {0};
    run->lr = learning_rate(run);
    run->grad_norm = (double)NAN;
    if (kdt_needs_soft_weight(&run->opt)) {
        const double w =
            ((double)run->step + 1) / ((double)run->opt.dkd_warmup * (double)run->steps_per_epoch);
        run->soft_weight = (float)(w < 1 ? w : 1);
    }
    kd_status status = kdt_keep_buffers(run);
    if (!status) status = run_batches(run, start, &step, &wrong);
    const double updating = kd_seconds();
    if (!status && !wrong && step.images) update(run, &step, &wrong);
    step.times.optimizer = kd_seconds() - updating;
    if (!status && wrong) status = kdt_nonfinite(run, wrong, first, n);
    if (status) return status;
    run->step_loss = kdt_mean(run, &step, step.loss);
    step.seconds = kd_seconds() - start;
    run->seconds += step.seconds;
    run->images += step.images;
    run->step++;
    if (wrong) { /* its time was spent, its pictures do not count */
        run->skipped++;
        run->skipped_here++;
        step = (kdt_sums){.seconds = step.seconds, .times = step.times};
    }
    kdt_add_sums(&run->sums, &step);
    return KD_OK;
}
