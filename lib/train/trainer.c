/* SPDX-License-Identifier: MIT
 * trainer.c: the loop of training and of distillation, which is training with teachers.
 *
 * A run's state is (epoch, batch, step, sums, weights, optimiser); everything random is a function
 * of the seed and these, so a checkpoint of them resumes to the same bits. */
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- setting up ------------------------------------------------------------------------------ */

static kd_status check_options(kdt_run *run)
{
    const kd_distill_opt *o = &run->opt;
    const kd_train_opt *t = o->train;
    kd_ctx *ctx = run->ctx;
    const kd_data_info *info = kd_dataset_info(run->data);
    if (!(t->lr >= 0 && t->lr <= 1e6f) || !(t->warmup <= 1e6f) || !(t->clip <= 1e30f))
        return kd_ctx_fail(ctx, KD_E_INVALID, "learning rate %g, warm-up %g, clip %g: out of range",
                           (double)t->lr, (double)t->warmup, (double)t->clip);
    if (!(t->min_lr <= t->lr))
        return kd_ctx_fail(ctx, KD_E_INVALID, "a least learning rate of %g is above the rate, %g",
                           (double)t->min_lr, (double)t->lr);
    if (!(t->ema < 1)) return kd_ctx_fail(ctx, KD_E_INVALID, "ema must be below 1");
    if (!(t->label_smoothing < 1))
        return kd_ctx_fail(ctx, KD_E_INVALID, "label smoothing must be below 1");
    if ((unsigned)t->schedule >= KD_SCHEDULES || (unsigned)o->method >= KD_METHODS)
        return kd_ctx_fail(ctx, KD_E_INVALID, "there is no such schedule or method");
    if (!(t->budget_seconds >= 0 && t->budget_seconds <= 1e9))
        return kd_ctx_fail(ctx, KD_E_INVALID, "a budget of %g seconds", t->budget_seconds);
    if (o->n_teachers && !(o->temperature > 0 && o->temperature <= 1e4f))
        return kd_ctx_fail(ctx, KD_E_INVALID, "a temperature of %g", (double)o->temperature);
    if (o->n_teachers && o->hard == 0 && o->soft == 0)
        return kd_ctx_fail(ctx, KD_E_INVALID, "hard and soft are both zero: there is no loss");
    if (t->dev_count >= info->count[KD_SPLIT_TRAIN])
        return kd_ctx_fail(ctx, KD_E_INVALID, "a development split of %zu leaves nothing of %zu",
                           t->dev_count, info->count[KD_SPLIT_TRAIN]);
    if (t->resume && !t->out)
        return kd_ctx_fail(ctx, KD_E_INVALID, "resuming needs the folder of the run (out)");
    if (info->classes > kd_model_classes(run->model))
        return kd_ctx_fail(ctx, KD_E_MISMATCH, "%s has %zu classes, the model only %zu", info->name,
                           info->classes, kd_model_classes(run->model));
    return KD_OK;
}

/* The view of a model: its size, and its normalisation or the data set's. */
static kd_view view_for(const kdt_run *run, const kd_model *model)
{
    const kd_data_info *info = kd_dataset_info(run->data);
    kd_view v = {.height = kd_model_image(model),
                 .width = kd_model_image(model),
                 .channels = kd_model_channels(model),
                 .mean = info->mean,
                 .std = info->std};
    if (kd_model_mean(model)) {
        v.mean = kd_model_mean(model);
        v.std = kd_model_std(model);
    }
    return v;
}

static bool same_view(const kd_view *a, const kd_view *b)
{
    if (a->height != b->height || a->width != b->width || a->channels != b->channels) return false;
    const size_t bytes = a->channels * sizeof(float);
    return !memcmp(a->mean, b->mean, bytes) && !memcmp(a->std, b->std, bytes);
}

/* Views that are equal are prepared once. */
static kd_status open_loader(kdt_run *run)
{
    kd_view views[1 + KD_MAX_TEACHERS];
    const kd_train_opt *t = &run->train;
    views[0] = view_for(run, run->model);
    run->n_views = 1;
    for (size_t k = 0; k < run->opt.n_teachers; k++) {
        views[run->n_views] = view_for(run, run->teachers[k].model);
        size_t v = 0;
        while (!same_view(&views[v], &views[run->n_views])) v++;
        run->teachers[k].view = v;
        if (v == run->n_views) run->n_views++;
    }
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TRAIN,
                               .dev_count = t->dev_count,
                               .batch = t->batch,
                               .shuffle = 1,
                               .drop_last = 1,
                               .augment = t->augment,
                               .seed = t->seed,
                               .depth = t->depth,
                               .n_views = run->n_views,
                               .views = views};
    const kd_status status = kd_loader_create(run->data, &opt, &run->loader);
    if (status) return status;
    if (kd_loader_mixes(run->loader) && run->opt.n_teachers && run->opt.method == KD_METHOD_DKD)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "dkd knows one label a picture: it does not go with mixup or cutmix");
    run->batches = kd_loader_batches(run->loader);
    if (run->batches == 0)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "the training set is smaller than a batch of %zu", t->batch);
    run->steps_per_epoch = (run->batches + t->accumulate - 1) / t->accumulate;
    run->steps = t->budget_seconds > 0 ? 0 : run->steps_per_epoch * t->epochs;
    if (t->max_steps && (run->steps == 0 || t->max_steps < run->steps)) run->steps = t->max_steps;
    return KD_OK;
}

/* Into pieces. held: bytes when the run began; what it adds, teachers' arenas but for their weights
 * apart, is counted by shapes: threads must not matter here. */
static kd_status cut_batch(kdt_run *run, size_t held)
{
    const kd_train_opt *t = &run->train;
    size_t rest = held, flat = kd_params_flat_count(kd_model_params(run->model));
    rest += flat * sizeof(float) * (t->ema > 0 ? 4 : 3);
    for (size_t k = 0; k <= run->opt.n_teachers; k++) {
        kd_model *m = k ? run->teachers[k - 1].model : run->model;
        const size_t image = kd_model_image(m), picture = image * image * kd_model_channels(m);
        rest += (KD_LOADER_DEPTH + 1) * t->batch * picture * sizeof(float);
        if (k) rest += kd_params_flat_count(kd_model_params(m)) * sizeof(float);
    }
    run->program = (kdt_program){.batch = t->batch, .mixed = kd_loader_mixes(run->loader)};
    return kdt_cut(run->model, &run->opt, kdt_room(run->ctx, rest), &run->program);
}

/* After all else: its plan makes do with what a limit of memory leaves. */
static kd_status open_student(kdt_run *run)
{
    size_t later;
    kd_params *params = kd_model_params(run->model);
    kd_status status = kdt_later_bytes(run, &later);
    if (!status) status = kdt_plan_fitting(run->model, &run->opt, &run->program, later, &run->plan);
    if (!status) status = kd_exec_create(run->plan, params, NULL, &run->exec);
    for (size_t t = 0; t < run->opt.n_teachers && !status && run->opt.soft > 0; t++) {
        char name[32];
        snprintf(name, sizeof name, "teacher%zu", t);
        status = kd_exec_bind(run->exec, name, kd_exec_output(run->teachers[t].exec, "logits"));
    }
    if (!status && run->opt.soft > 0 && kdt_needs_soft_weight(&run->opt))
        status = kd_exec_bind(run->exec, "soft_weight", &run->soft_weight);
    return status;
}

static kd_status open_run(kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const kd_data_info *info = kd_dataset_info(run->data);
    kd_params *params = kd_model_params(run->model);
    kd_status status = check_options(run);
    if (!status && !kd_model_mean(run->model))
        status = kd_model_set_normalization(run->model, info->mean, info->std);
    if (!status) status = kdt_teachers_check(run);
    if (!status) status = kdt_check_test(run);
    const size_t held = kd_ctx_memory(run->ctx);
    if (!status) status = open_loader(run);
    if (!status) status = cut_batch(run, held);
    if (!status) status = kdt_teachers_open(run, run->program.micro);
    if (!status) status = kdt_optim_create(params, t, &run->optim);
    if (!status && t->ema > 0) status = kd_params_clone(params, &run->ema);
    if (!status) status = kd_params_need_grads(params);
    if (!status) status = kdt_keep_buffers(run);
    if (!status) status = open_student(run);
    return status;
}

static void close_run(kdt_run *run)
{
    kd_loader_close(run->loader);
    kd_exec_destroy(run->exec);
    kd_plan_destroy(run->plan);
    kdt_teachers_close(run);
    kd_optim_destroy(run->optim);
    kd_params_destroy(run->ema);
    kd_ctx_free(run->ctx, run->buffers);
}

/* ---- a step ---------------------------------------------------------------------------------- */

static double fraction(const kdt_run *run)
{
    const double budget = run->train.budget_seconds;
    const double by_time = budget > 0 ? run->seconds / budget : 0;
    const double by_steps = run->steps ? (double)run->step / (double)run->steps : 0;
    const double f = by_time > by_steps ? by_time : by_steps;
    return f < 1 ? f : 1;
}

static bool finished(const kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    if (t->budget_seconds > 0 && run->seconds >= t->budget_seconds) return true;
    return run->steps && run->step >= run->steps;
}

static double learning_rate(const kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const double warm = (double)t->warmup * (double)run->steps_per_epoch;
    const double least = (double)t->min_lr, range = (double)t->lr - least;
    double lr = least + range * kd_schedule_factor(t->schedule, fraction(run));
    if (warm > 0 && (double)run->step + 1 < warm) lr *= ((double)run->step + 1) / warm;
    return lr;
}

/* The batches of a step: the gradients are the sum over them of pictures / batch * mean
 * gradient. */
typedef struct batches {
    size_t pictures;
    bool finite;
} batches;

/* Forward and backward of one batch, whose gradients are added to those of the ones before it. */
static kd_status run_batch(kdt_run *run, batches *all)
{
    kd_times *times = &run->sums.times;
    const double start = kdt_seconds();
    kdt_outcome outcome;
    kd_status status = kd_loader_next(run->loader, &run->now);
    if (status) return status;
    times->data += kdt_seconds() - start;
    if (run->now->n == 0) { /* nothing in it could be read */
        run->empty++;
        run->batch++;
        return KD_OK;
    }
    if (kdt_needs_soft_weight(&run->opt)) {
        const double w =
            ((double)run->step + 1) / ((double)run->opt.dkd_warmup * (double)run->steps_per_epoch);
        run->soft_weight = (float)(w < 1 ? w : 1);
    }
    run->how = (kd_run_opt){.struct_size = sizeof run->how,
                            .seed = run->train.seed,
                            .step = run->epoch * run->batches + run->batch,
                            .accumulate = all->pictures > 0};
    all->pictures += run->now->n;
    status = kdt_keep_buffers(run);
    if (!status) status = kdt_batch_run(run, &outcome);
    if (status) return status;
    if (isfinite(outcome.loss)) {
        run->sums.loss += outcome.loss;
        run->sums.correct += outcome.correct;
        run->sums.images += run->now->n;
        run->sums.batches++;
    } else {
        status = kdt_nonfinite(run, isnan(outcome.loss) ? "the loss is not a number"
                                                        : "the loss is infinite");
    }
    if (status) return status;
    all->finite &= isfinite(outcome.loss) != 0;
    run->images += run->now->n;
    run->batch++;
    return KD_OK;
}

/* One bad number in a gradient would spoil the weights for ever: the norm, which tells, is always
 * taken. */
static kd_status update(kdt_run *run, const batches *all, double lr)
{
    const kd_train_opt *t = &run->train;
    const double start = kdt_seconds();
    double scale = (double)t->batch / (double)all->pictures;
    const double norm = kd_params_grad_norm(kd_model_params(run->model)) * scale;
    if (!isfinite(norm)) return kdt_nonfinite(run, "the gradient is not finite");
    if (t->clip > 0 && norm > (double)t->clip) scale *= (double)t->clip / (norm + 1e-6);
    kd_optim_step(run->optim, (float)lr, (float)scale);
    if (run->ema) kd_params_average(run->ema, kd_model_params(run->model), t->ema);
    run->sums.times.optimizer += kdt_seconds() - start;
    return KD_OK;
}

/* One optimiser step over up to `accumulate` batches of this epoch. */
static kd_status one_step(kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const double start = kdt_seconds(), lr = learning_rate(run);
    batches all = {.finite = true};
    kd_status status = KD_OK;
    for (size_t n = 0; n < t->accumulate && run->batch < run->batches && !status; n++)
        status = run_batch(run, &all);
    if (!status && all.finite && all.pictures) status = update(run, &all, lr);
    if (status) return status;
    run->step++;
    const double spent = kdt_seconds() - start;
    run->seconds += spent;
    run->sums.seconds += spent;
    return KD_OK;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool report(kdt_run *run, bool epoch_end)
{
    const kd_train_opt *t = &run->train;
    const kdt_sums *s = &run->sums;
    if (!t->progress) return false;
    const kd_progress p = {.struct_size = sizeof p,
                           .epoch_end = epoch_end,
                           .epoch = run->epoch,
                           .epochs = t->budget_seconds > 0 ? 0 : t->epochs,
                           .step = run->step,
                           .steps = run->steps,
                           .batch = run->batch,
                           .batches = run->batches,
                           .fraction = fraction(run),
                           .loss = kdt_mean_loss(run),
                           .accuracy = kdt_accuracy(run),
                           .lr = learning_rate(run),
                           .images_per_second = s->seconds > 0 ? (double)s->images / s->seconds : 0,
                           .seconds = run->seconds,
                           .times = s->times,
                           .dev_top1 = run->dev_top1,
                           .dev_loss = run->dev_loss,
                           .augment = kd_loader_augment(run->loader)};
    return t->progress(t->user, &p) != 0;
}

static kd_status evaluate_dev(kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const kd_eval_opt opt = {.struct_size = sizeof opt,
                             .split = KD_EVAL_DEV,
                             .dev_count = t->dev_count,
                             .params = run->ema};
    kd_eval_result r = {.struct_size = sizeof r};
    if (!t->dev_count) return KD_OK;
    const kd_status status = kd_evaluate(run->model, run->data, &opt, &r);
    if (status) return status;
    run->dev_top1 = r.top1;
    run->dev_loss = r.loss;
    return KD_OK;
}

static void add_times(kd_times *to, const kd_times *from)
{
    to->data += from->data;
    to->teacher += from->teacher;
    to->forward += from->forward;
    to->loss += from->loss;
    to->backward += from->backward;
    to->optimizer += from->optimizer;
}

/* The metrics' line goes to disk before the checkpoint that counts the epoch as done: killed in
 * between, a resume drops the line and does the epoch's end again. */
static kd_status end_epoch(kdt_run *run, bool *stop)
{
    const double lr = learning_rate(run);
    if (run->empty && run->empty == run->batch)
        return kd_ctx_fail(run->ctx, KD_E_FORMAT, "%s: none of epoch %zu's pictures can be read",
                           kd_dataset_info(run->data)->name, run->epoch);
    kd_status status = evaluate_dev(run);
    if (status) return status;
    *stop = report(run, true);
    if (run->train.out) status = kdt_metrics_append(run, lr);
    const kdt_sums *s = &run->sums;
    run->last_loss = kdt_mean_loss(run);
    run->last_accuracy = kdt_accuracy(run);
    add_times(&run->times, &s->times);
    run->sums = (kdt_sums){0};
    run->epoch++;
    run->batch = run->empty = 0;
    if (!status && run->train.out) status = kdt_checkpoint_save(run);
    return status;
}

static kd_status loop(kdt_run *run)
{
    kd_status status = KD_OK;
    const kd_train_opt *t = &run->train;
    run->saved_at = kdt_seconds();
    while (!finished(run)) {
        bool stop;
        status = one_step(run);
        if (status) return status;
        stop = report(run, false);
        if (run->batch == run->batches || finished(run)) {
            bool stop_too = false;
            status = end_epoch(run, &stop_too);
            stop |= stop_too;
        } else if (t->out && (stop || kdt_seconds() - run->saved_at >= t->checkpoint_seconds)) {
            status = kdt_checkpoint_save(run);
        }
        if (status) return status;
        if (stop && !finished(run))
            return kd_ctx_fail(run->ctx, KD_E_STOPPED, "stopped after step %zu (epoch %zu)",
                               run->step, run->epoch);
    }
    return KD_OK;
}

/* A run that begins writes its first checkpoint at once: a folder that can't be written is found
 * out now, and the checkpoint of an earlier run is replaced before its metrics are dropped, so that
 * the two belong together whenever the process is killed. */
static kd_status resume(kdt_run *run)
{
    bool found = false;
    if (!run->train.out) return KD_OK;
    kd_status status = kdt_folder_open(run);
    if (!status) status = kdt_describe(run);
    if (!status && run->train.resume) status = kdt_checkpoint_load(run, &found);
    if (!status && !found) status = kdt_checkpoint_save(run);
    if (!status) status = kdt_metrics_trim(run, run->epoch);
    if (!status && found) status = kd_loader_seek(run->loader, run->epoch, run->batch);
    return status;
}

/* The averaged weights take the model's place. */
static void adopt_average(kdt_run *run)
{
    kd_params *p = kd_model_params(run->model);
    memcpy(kd_params_values(p), kd_params_values(run->ema),
           kd_params_flat_count(p) * sizeof(float));
    memcpy(kd_params_buffers(p), kd_params_buffers(run->ema), kd_params_buffer_bytes(p));
    kd_params_touch(p);
}

/* The model is written, then tested. */
static kd_status finish(kdt_run *run, kd_result *result)
{
    const kd_train_opt *t = &run->train;
    kd_status status = KD_OK;
    if (t->out) {
        char path[4096];
        snprintf(path, sizeof path, "%s/model.safetensors", t->out);
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

static void summarise(const kdt_run *run, kd_result *result)
{
    const kdt_sums *s = &run->sums;
    result->train_loss = s->images ? kdt_mean_loss(run) : run->last_loss;
    result->train_top1 = s->images ? kdt_accuracy(run) : run->last_accuracy;
    result->seconds = run->seconds;
    result->images_per_second = run->seconds > 0 ? (double)run->images / run->seconds : 0;
    result->epochs = run->epoch;
    result->steps = run->step;
    result->times = run->times;
    add_times(&result->times, &s->times);
    result->peak_bytes = kd_ctx_memory_peak(run->ctx);
    result->micro_batch = run->plan ? kd_plan_batch(run->plan) : 0;
}

static kd_status run_all(kdt_run *run, kd_result *result)
{
    run->dev_top1 = run->dev_loss = -1;
    kd_status status = open_run(run);
    if (!status) status = resume(run);
    if (!status) status = loop(run);
    if (!status && run->ema) adopt_average(run);
    summarise(run, result);
    close_run(run); /* before the test, whose plan needs memory of its own */
    return status;
}

kd_status kd_distill(kd_model *student, kd_dataset *data, const kd_distill_opt *options,
                     kd_result *result)
{
    kdt_run run = {.ctx = kd_model_ctx(student), .model = student, .data = data, .folder = -1};
    kd_result here = {.struct_size = sizeof here};
    kd_status status = kd_results_check(run.ctx, "kd_result", result);
    if (!status) status = kdt_take_distill(run.ctx, options, &run.opt, &run.train);
    if (status) return status;
    if (run.opt.teacher && !run.opt.n_teachers) {
        run.opt.teachers = &run.opt.teacher;
        run.opt.n_teachers = 1;
    }
    if (run.opt.n_teachers == 0 || run.opt.n_teachers > KD_MAX_TEACHERS)
        return kd_ctx_fail(run.ctx, KD_E_INVALID, "distillation takes 1 to %d teachers, not %zu",
                           (int)KD_MAX_TEACHERS, run.opt.n_teachers);
    status = run_all(&run, &here);
    if (!status) status = finish(&run, &here);
    kdt_folder_close(&run);
    kd_results(result, &here, sizeof here);
    return status;
}

kd_status kd_train(kd_model *model, kd_dataset *data, const kd_train_opt *options,
                   kd_result *result)
{
    kdt_run run = {.ctx = kd_model_ctx(model), .model = model, .data = data, .folder = -1};
    kd_result here = {.struct_size = sizeof here};
    kd_status status = kd_results_check(run.ctx, "kd_result", result);
    if (!status) status = kdt_take_train(run.ctx, options, &run.train);
    if (status) return status;
    run.opt.train = &run.train;
    status = run_all(&run, &here);
    if (!status) status = finish(&run, &here);
    kdt_folder_close(&run);
    kd_results(result, &here, sizeof here);
    return status;
}
