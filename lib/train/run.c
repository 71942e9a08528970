/* SPDX-License-Identifier: MIT
 * run.c: a run of training, or of distillation, which is training with teachers, from its
 * beginning or its checkpoint to the test at its end.
 *
 * A run's state is (epoch, batch, step, sums, weights, optimiser); everything random is a function
 * of the seed and these, so a checkpoint of them resumes to the same bits. */
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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
    const bool taught = run->opt.n_teachers > 0, heard = taught && !run->feed->mute;
    const double none = (double)NAN;
    *r = (kd_result){.struct_size = sizeof *r,
                     .top1 = none,
                     .top5 = none,
                     .loss = none,
                     .train_loss = kdt_mean(run, s, s->loss),
                     .train_top1 = kdt_accuracy(run, s, s->correct),
                     .hard_loss = kdt_mean(run, s, s->hard),
                     .soft_loss = taught ? kdt_mean(run, s, s->soft) : none,
                     .teacher_top1 = heard ? kdt_accuracy(run, s, s->teacher_correct) : none,
                     .agreement = heard ? kdt_percent(s, s->agreed) : none,
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

/* ---- runs from beginning to end -------------------------------------------------------------- */

static kd_status open_one(kdt_run *run)
{
    kd_status status = run->train.out ? kdt_run_folder_open(run) : KD_OK;
    return status ? status : kdt_run_check(run);
}

/* The error of one of several runs says which, once. */
static kd_status of_run(const kdt_run *run, size_t n, kd_status status)
{
    char text[800];
    if (!status || n == 1) return status;
    snprintf(text, sizeof text, "%s", kd_ctx_error(run->ctx));
    if (!strncmp(text, "student ", 8)) return status;
    return kd_ctx_fail(run->ctx, status, "student %zu: %s", run->number, text);
}

enum { EXECUTOR = 1 << 19 }; /* bytes of its tables, about */

/* The plans come last: they make do with what a limit of memory leaves. *short_of: bytes that were
 * held before, where the limit was met before or after that; else it stays. */
static kd_status open_runs(kdt_feed *feed, kdt_run *const *runs, size_t n, size_t *short_of)
{
    kd_status status = kd_ctx_check_cancel(runs[0]->ctx);
    for (size_t i = 0; i < n && !status; i++) {
        runs[i]->number = i;
        status = of_run(runs[i], n, open_one(runs[i]));
    }
    const size_t held = kd_ctx_memory(runs[0]->ctx);
    if (!status) status = kdt_feed_open(feed, runs, n);
    for (size_t i = 0; i < n && !status; i++) status = of_run(runs[i], n, kdt_run_open(runs[i]));
    if (kdt_lacks_memory(runs[0]->ctx, status)) *short_of = held;
    for (size_t i = 0; i < n && !status; i++)
        status = of_run(runs[i], n, kdt_run_plan(runs[i], held, (n - 1) * EXECUTOR));
    if (!status) {
        status = kdt_runs_execute(feed, runs, n);
        if (kdt_lacks_memory(runs[0]->ctx, status)) *short_of = held;
    }
    for (size_t i = 0; i < n && !status; i++) {
        status = of_run(runs[i], n, begin(runs[i]));
        runs[i]->began = !status;
    }
    return status;
}

static kd_status test_one(kdt_run *run, kd_result *result)
{
    const kd_status status = kd_model_check_finite(run->model);
    return status ? status : test(run, result);
}

/* results [n]. The first failure of a run is the status; others go on. */
static kd_status run_all(kdt_feed *feed, kdt_run *const *runs, size_t n, kd_result *results)
{
    size_t held = 0;
    kd_status status = open_runs(feed, runs, n, &held);
    if (!status) status = kdt_runs_loop(feed, runs, n);
    for (size_t i = 0; i < n; i++) {
        if (!status && !runs[i]->status) runs[i]->status = kdt_best_adopt(runs[i]);
        summarise(runs[i], &results[i]);
    }
    for (size_t i = 0; i < n; i++) kdt_run_close(runs[i]);
    kdt_feed_close(feed); /* before what follows, which needs memory of its own */
    if (held) status = of_run(runs[0], n, kdt_explain_limit(runs[0], held));
    for (size_t i = 0; i < n; i++) {
        kdt_run *run = runs[i];
        if (!status && !run->status) {
            run->status = test_one(run, &results[i]);
            if (run->status) snprintf(run->error, sizeof run->error, "%s", kd_ctx_error(run->ctx));
        }
        if (status && !run->status) run->status = status;
        kdt_run_folder_close(run);
    }
    return status;
}

static kd_status run_one(kdt_run *run, kd_result *result)
{
    const kd_status status = run_all(run->feed, &run, 1, result);
    if (status || !run->status) return status;
    return *run->error ? kd_ctx_fail(run->ctx, run->status, "%s", run->error) : run->status;
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
    if (o->n_teachers > KD_MAX_TEACHERS || (!o->teacher && !o->teachers && !o->cache && !o->logits))
        return kd_ctx_fail(run->ctx, KD_E_INVALID, "distillation takes 1 to %d teachers, not %zu",
                           (int)KD_MAX_TEACHERS, o->n_teachers);
    return KD_OK;
}

kd_status kd_distill(kd_model *student, kd_dataset *data, const kd_distill_opt *options,
                     kd_result *result)
{
    if (!student) return KD_E_INVALID;
    if (!data) return kd_ctx_fail(kd_model_ctx(student), KD_E_INVALID, "kd_distill: NULL");
    kdt_feed feed = {0};
    kdt_run run = {
        .ctx = kd_model_ctx(student), .model = student, .data = data, .feed = &feed, .folder = -1};
    kd_result here;
    kd_status status = kd_results_check(run.ctx, "kd_result", result);
    if (status) return status;
    begin_with_nothing(&run, &here);
    status = kdt_take(run.ctx, student, NULL, options, true, &run.train, &run.opt);
    if (!status) status = check_teachers(&run);
    if (!status) status = run_one(&run, &here);
    kd_results(result, &here, sizeof here);
    return status;
}

kd_status kd_train(kd_model *model, kd_dataset *data, const kd_train_opt *options,
                   kd_result *result)
{
    if (!model) return KD_E_INVALID;
    if (!data) return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID, "kd_train: NULL");
    kdt_feed feed = {0};
    kdt_run run = {
        .ctx = kd_model_ctx(model), .model = model, .data = data, .feed = &feed, .folder = -1};
    kd_result here;
    kd_status status = kd_results_check(run.ctx, "kd_result", result);
    if (status) return status;
    begin_with_nothing(&run, &here);
    status = kdt_take(run.ctx, model, options, NULL, false, &run.train, &run.opt);
    if (!status) status = run_one(&run, &here);
    kd_results(result, &here, sizeof here);
    return status;
}

/* ---- several students ------------------------------------------------------------------------ */

static kd_status differ(const kdt_run *run, const char *what)
{
    return kd_ctx_fail(run->ctx, KD_E_INVALID,
                       "student %zu: its %s is not that of student 0: students of one pass share "
                       "it",
                       run->number, what);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static bool same_teachers(const kd_distill_opt *a, const kd_distill_opt *b)
{
    if (a->teacher != b->teacher || a->n_teachers != b->n_teachers) return false;
    for (size_t t = 0; t < a->n_teachers; t++) {
        const float one = 1.0f / (float)a->n_teachers;
        const float x = a->teacher_weights ? a->teacher_weights[t] : one;
        const float y = b->teacher_weights ? b->teacher_weights[t] : one;
        if (a->teachers[t] != b->teachers[t] || x < y || x > y) return false;
    }
    return a->logits == b->logits && a->logits_user == b->logits_user &&
           a->logits_view == b->logits_view;
}

/* What runs of one feed have in common. */
static kd_status check_shared(const kdt_run *run, const kdt_run *first)
{
    const kd_train_opt *a = &run->train, *b = &first->train;
    if (run->ctx != first->ctx) return differ(run, "context");
    if (kd_model_classes(run->model) != kd_model_classes(first->model))
        return differ(run, "number of classes");
    if (!same_teachers(&run->opt, &first->opt)) return differ(run, "teacher");
    if (!same_text(run->opt.cache, first->opt.cache) ||
        run->opt.cache_precision != first->opt.cache_precision ||
        run->opt.cache_top != first->opt.cache_top)
        return differ(run, "cache");
    if (a->batch != b->batch) return differ(run, "batch");
    if (a->seed != b->seed) return differ(run, "seed");
    if (a->dev_count != b->dev_count) return differ(run, "dev_count");
    if (a->drop_last != b->drop_last) return differ(run, "drop_last");
    if (!same_text(a->augment, b->augment)) return differ(run, "augment");
    if (a->augment_epochs != b->augment_epochs) return differ(run, "augment_epochs");
    if (a->budget_seconds > 0 || b->budget_seconds > 0)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "budget_seconds: students that share a pass go by epochs, not by the "
                           "clock");
    return KD_OK;
}

static kd_status check_students(kdt_run *const *runs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        runs[i]->number = i;
        kd_status status = check_teachers(runs[i]);
        if (!status) status = check_shared(runs[i], runs[0]);
        for (size_t k = 0; k < i && !status; k++) {
            if (runs[k]->model == runs[i]->model)
                status = kd_ctx_fail(runs[i]->ctx, KD_E_INVALID,
                                     "students %zu and %zu are the same model", k, i);
            else if (runs[i]->train.out && same_text(runs[k]->train.out, runs[i]->train.out))
                status = kd_ctx_fail(runs[i]->ctx, KD_E_INVALID,
                                     "students %zu and %zu have the same folder: %s", k, i,
                                     runs[i]->train.out);
        }
        if (status) return status;
    }
    return KD_OK;
}

/* The words of the first student that did not come to its end. */
static kd_status first_failure(kdt_run *const *runs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const kdt_run *run = runs[i];
        if (!run->status) continue;
        return *run->error ? kd_ctx_fail(run->ctx, run->status, "student %zu: %s", i, run->error)
                           : run->status;
    }
    return KD_OK;
}

static kd_status distill_many(kd_ctx *ctx, const kd_student *students, size_t n, kd_dataset *data,
                              kdt_run **runs, kd_result *results)
{
    kdt_feed feed = {0};
    kd_status status = KD_OK;
    for (size_t i = 0; i < n; i++) {
        runs[i] = kd_ctx_alloc(ctx, 1, sizeof **runs);
        if (!runs[i]) return kd_ctx_memory_status(ctx);
        *runs[i] = (kdt_run){.ctx = kd_model_ctx(students[i].model),
                             .model = students[i].model,
                             .data = data,
                             .feed = &feed,
                             .number = i,
                             .folder = -1};
        begin_with_nothing(runs[i], &results[i]);
    }
    for (size_t i = 0; i < n && !status; i++) {
        status = kdt_take(ctx, runs[i]->model, NULL, students[i].opt, true, &runs[i]->train,
                          &runs[i]->opt);
        if (status && n > 1) kd_ctx_fail(ctx, status, "student %zu: %s", i, kd_ctx_error(ctx));
    }
    if (!status) status = check_students(runs, n);
    if (!status) status = run_all(&feed, runs, n, results);
    return status ? status : first_failure(runs, n);
}

static kd_status check_results(kd_ctx *ctx, const kd_student *students, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!students[i].model)
            return kd_ctx_fail(ctx, KD_E_INVALID, "student %zu has no model", i);
        const kd_status status = kd_results_check(ctx, "kd_result", students[i].result);
        if (status) return status;
    }
    return KD_OK;
}

kd_status kd_distill_many(kd_student *students, size_t n, kd_dataset *data)
{
    if (!students || n == 0 || !students[0].model) return KD_E_INVALID;
    kd_ctx *ctx = kd_model_ctx(students[0].model);
    if (!data) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_distill_many: NULL");
    kd_status status = check_results(ctx, students, n);
    if (status) return status;
    kdt_run **runs = kd_ctx_alloc(ctx, n, sizeof(kdt_run *));
    kd_result *results = kd_ctx_alloc(ctx, n, sizeof *results);
    status = runs && results ? KD_OK : kd_ctx_memory_status(ctx);
    if (!status) status = distill_many(ctx, students, n, data, runs, results);
    for (size_t i = 0; i < n; i++) {
        students[i].status = status;
        students[i].error[0] = 0;
        if (!runs || !results || !runs[i]) continue;
        if (runs[i]->status || runs[i]->began) students[i].status = runs[i]->status;
        snprintf(students[i].error, sizeof students[i].error, "%.390s", runs[i]->error);
        kd_results(students[i].result, &results[i], sizeof *results);
        kd_ctx_free(ctx, runs[i]);
    }
    kd_ctx_free(ctx, results);
    kd_ctx_free(ctx, runs);
    return status;
}
