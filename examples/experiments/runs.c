/* SPDX-License-Identifier: MIT
 * runs.c: which runs there are, and how one is carried out. A run that is done with the same
 * settings is left as it is. Any other is given to the library with resume set: it goes on from its
 * checkpoint, also from one that kd wrote. If the checkpoint has other settings, the error names
 * the difference, and nothing is overwritten. */
#include "experiments.h"

#include "../common/run_record.h"

#include <string.h>
#include <unistd.h>

/* ---- which ----------------------------------------------------------------------------------- */

ex_run ex_run_of(const ex_kind *kind, uint64_t seed)
{
    ex_run run = {.kind = kind, .seed = kind->once ? 0 : seed};
    if (kind->once)
        snprintf(run.name, sizeof run.name, "%s", kind->name);
    else
        snprintf(run.name, sizeof run.name, "%s-seed%llu", kind->name, (unsigned long long)seed);
    return run;
}

/* Add a run after those it needs, unless it is listed already. */
static void add_run(ex_run runs[EX_MAX_RUNS], size_t *n, const ex_kind *kind, uint64_t seed)
{
    const ex_run run = ex_run_of(kind, seed);
    for (size_t i = 0; i < *n; i++)
        if (!strcmp(runs[i].name, run.name)) return;
    if (kind->teacher) add_run(runs, n, ex_kind_named(kind->teacher), seed);
    if (kind->start) add_run(runs, n, ex_kind_named(kind->start), seed);
    if (*n < EX_MAX_RUNS) runs[(*n)++] = run;
}

/* All kinds of one seed before the next seed: what is there at any time can be compared. */
size_t ex_list(const ex_work *w, ex_run runs[EX_MAX_RUNS])
{
    size_t n = 0;
    for (uint64_t seed = 1; seed <= w->opt.seeds; seed++)
        for (const char *const *name = w->experiment->kinds; *name; name++) {
            const ex_kind *kind = ex_kind_named(*name);
            const ex_run run = ex_run_of(kind, seed);
            if (!w->opt.only || strstr(run.name, w->opt.only)) add_run(runs, &n, kind, seed);
        }
    return n;
}

/* Fine-tuning has a seed of its own, so that its pictures do not come in the order of the first
 * epochs. */
enum { TUNING_SEED = 1000 };

void ex_options_of(const ex_work *w, const ex_run *run, kd_distill_opt *opt, kd_train_opt *train)
{
    const ex_scale *scale = w->opt.scale;
    const ex_recipe *r = &scale->recipes[run->kind->recipe];
    *opt = (kd_distill_opt){.struct_size = sizeof *opt,
                            .method = KD_METHOD_KD,
                            .temperature = scale->temperature,
                            .hard = scale->hard,
                            .soft = scale->soft};
    *train = (kd_train_opt){.struct_size = sizeof *train,
                            .epochs = r->epochs,
                            .batch = scale->batch,
                            .drop_last = 1, /* as in the runs that docs/results has */
                            .lr = r->lr,
                            .optimizer = r->optimizer,
                            .nesterov = r->optimizer == KD_OPTIMIZER_SGD,
                            .weight_decay = r->weight_decay,
                            .schedule = r->schedule,
                            .warmup = r->warmup,
                            .augment = scale->augment,
                            .seed = run->seed + (run->kind->start ? TUNING_SEED : 0)};
    opt->train = train;
    kd_train_defaults(train, NULL);
    kd_distill_defaults(opt);
}

/* ---- progress -------------------------------------------------------------------------------- */

typedef struct watcher {
    ex_work *w;
    ex_story *story;
    bool recorded, terminal;
    int record_failed;
    double shown, begun, first; /* first: the fraction that was done before */
} watcher;

static void show(watcher *x, const kd_progress *k)
{
    char left[32] = "?";
    const double now = kd_seconds(), done = k->fraction - x->first;
    const bool line = k->epoch_end && !k->evaluating;
    if (!line && now - x->shown < (x->terminal ? .3 : 60)) return;
    x->shown = now;
    if (done > 0) ex_duration((now - x->begun) * (1 - k->fraction) / done, left);
    fprintf(stderr, "%s[%zu/%zu] %s: ", x->terminal ? "\r" : "", x->w->number, x->w->count,
            x->story->run->name);
    if (k->evaluating)
        fprintf(stderr, "test, %zu of %zu batches", k->batch, k->batches);
    else
        fprintf(stderr,
                "epoch %zu of %zu, %.0f %%, loss %.3f, top-1 %.1f %%, %.0f images/s, %s left",
                k->epoch + 1, k->epochs, 100 * k->fraction, k->loss, k->accuracy,
                k->images_per_second, left);
    fputs(x->terminal ? "\033[K" : "\n", stderr);
    if (x->terminal && line) fputc('\n', stderr);
    fflush(stderr);
}

/* run.json is written once a step is done: what is refused must not replace the record that stands
 * there. */
static int watch(void *user, const kd_progress *k)
{
    watcher *x = user;
    if (!x->recorded && !k->evaluating) {
        x->record_failed = ex_record_write(x->w, x->story);
        if (x->record_failed) return 1;
        x->recorded = true;
        x->begun = kd_seconds();
        x->first = k->fraction;
    }
    show(x, k);
    return ex_must_stop(x->w);
}

/* ---- one run --------------------------------------------------------------------------------- */

/* The finished network of another run. */
static int load(ex_work *w, const ex_run *run, const ex_record *record, kd_model **model)
{
    char sum[24];
    const ex_path path = ex_in(w, run->name, "model.safetensors");
    if (kd_model_load(w->ctx, path.text, NULL, model)) return ex_fail_ctx(w);
    ex_weights_sum(*model, sum);
    return strcmp(sum, record->weights)
               ? ex_fail("%s does not hold the weights its run.json speaks of", path.text)
               : EX_DONE;
}

/* The records of the runs this one needs; those that are not done are NULL, an error if asked
 * for. */
typedef struct needs {
    ex_run teacher_run, start_run;
    ex_record teacher_record, start_record;
    const ex_record *teacher, *start;
    bool all;
} needs;

static void find_needs(const ex_work *w, const ex_run *run, needs *n)
{
    const ex_kind *teacher = ex_kind_named(run->kind->teacher);
    const ex_kind *start = ex_kind_named(run->kind->start);
    n->teacher = n->start = NULL;
    n->all = true;
    if (teacher) {
        n->teacher_run = ex_run_of(teacher, run->seed);
        ex_record_read(w->ctx, w, &n->teacher_run, &n->teacher_record);
        n->teacher = &n->teacher_record;
        n->all &= n->teacher->done;
    }
    if (start) {
        n->start_run = ex_run_of(start, run->seed);
        ex_record_read(w->ctx, w, &n->start_run, &n->start_record);
        n->start = &n->start_record;
        n->all &= n->start->done;
    }
}

bool ex_is_recorded(const ex_work *w, const ex_run *run)
{
    needs n;
    ex_record record;
    char settings[EX_SETTINGS_SIZE];
    find_needs(w, run, &n);
    ex_record_read(w->ctx, w, run, &record);
    if (!n.all || !record.done) return false;
    ex_settings(w, run, n.teacher, n.start, settings);
    return !strcmp(settings, record.settings);
}

bool ex_has_model(const ex_work *w, const ex_run *run)
{
    return access(ex_in(w, run->name, "model.safetensors").text, R_OK) == 0;
}

static bool needs_run(const ex_run *run, const ex_run *other)
{
    const ex_kind *kind = run->kind;
    return (kind->teacher && ex_kind_named(kind->teacher) == other->kind) ||
           (kind->start && ex_kind_named(kind->start) == other->kind && run->seed == other->seed);
}

int ex_find_done(ex_work *w, const ex_run *runs, size_t n, bool *done)
{
    const int code = ex_open(w);
    for (size_t i = n; !code && i-- > 0;) {
        bool model = false;
        for (size_t k = i + 1; k < n; k++) model |= !done[k] && needs_run(&runs[k], &runs[i]);
        done[i] = ex_is_recorded(w, &runs[i]) && (!model || ex_has_model(w, &runs[i]));
    }
    ex_close(w);
    return code;
}

static int open_models(ex_work *w, const ex_run *run, const needs *n, kd_model **model,
                       kd_model **teacher)
{
    char spec[KD_SPEC_SIZE];
    int status = n->teacher ? load(w, &n->teacher_run, n->teacher, teacher) : EX_DONE;
    if (status || n->start) return status ? status : load(w, &n->start_run, n->start, model);
    status = ex_spec(w, run->kind->network, spec);
    if (status) return status;
    return kd_model_create(w->ctx, spec, run->seed, model) ? ex_fail_ctx(w) : EX_DONE;
}

/* Round the run's network to float16. */
static kd_status keep_half(ex_work *w, ex_story *s)
{
    const ex_path path = ex_in(w, s->run->name, "model.safetensors");
    kd_model *half;
    kd_status status = kd_model_save_as(s->model, path.text, KD_F16);
    if (!status) status = kd_model_load(w->ctx, path.text, NULL, &half);
    if (status) return status;
    kd_model_destroy(s->model);
    s->model = half;
    return KD_OK;
}

static int note_answer(void *user, const kd_eval_sample *s)
{
    char *right = user;
    right[s->id] = s->predicted == s->target ? '1' : '0';
    return 0;
}

/* The test, and which pictures were right. */
static kd_status test_it(ex_work *w, watcher *x, kd_eval_result *test)
{
    char sum[24];
    ex_story *s = x->story;
    const size_t n = kd_dataset_info(w->data)->count[KD_SPLIT_TEST];
    char *right = kd_ctx_alloc(w->ctx, n, 1);
    if (!right) return KD_E_NOMEM;
    memset(right, '-', n);
    const kd_eval_opt eval = {.struct_size = sizeof eval,
                              .split = KD_EVAL_TEST,
                              .teacher = s->teacher,
                              .progress = watch,
                              .user = x,
                              .each = note_answer,
                              .each_user = right};
    const kd_status status = kd_evaluate(s->model, w->data, &eval, test);
    if (!status) {
        ex_weights_sum(s->model, sum);
        x->record_failed = ex_answers_write(w, s->run, sum, right, n);
    }
    kd_ctx_free(w->ctx, right);
    return status;
}

/* Training, then the test, with the teacher beside it if there is one. */
static kd_status train_and_test(ex_work *w, watcher *x, kd_distill_opt *opt, kd_result *result,
                                kd_eval_result *test)
{
    ex_story *s = x->story;
    kd_status status = s->teacher ? kd_distill(s->model, w->data, opt, result)
                                  : kd_train(s->model, w->data, opt->train, result);
    if (!status && s->run->kind->half) status = keep_half(w, s);
    if (status) return status;
    status = test_it(w, x, test);
    if (status) return status;
    s->result = result;
    s->test = test;
    return KD_OK;
}

static int finish(ex_work *w, watcher *x, kd_status status)
{
    char why[600];
    ex_story *s = x->story;
    int code = EX_DONE;
    if (x->terminal) fputs("\r\033[K", stderr);
    if (x->record_failed) return x->record_failed;
    s->status = "done";
    if (status == KD_E_STOPPED) {
        s->status = "interrupted";
        code = ex_why_stopped(w);
    } else if (status) {
        snprintf(why, sizeof why, "%s", kd_ctx_error(w->ctx));
        s->status = "failed";
        s->error = why;
        code = ex_fail("%s: %s%s", s->run->name, why,
                       status == KD_E_MISMATCH ? "; or move the folder away" : "");
    }
    if (status && !x->recorded) return code;
    if (x->recorded) s->ended = NULL; /* else it had been trained to its end before */
    const int written = ex_record_write(w, s);
    if (status || written) return code ? code : written;
    fprintf(stderr, "[%zu/%zu] %s: %.2f %% of the test pictures right, %zu steps\n", w->number,
            w->count, s->run->name, s->test->top1, s->result->steps);
    return EX_DONE;
}

int ex_carry_out(ex_work *w, const ex_run *run)
{
    needs n;
    ex_record before;
    char settings[EX_SETTINGS_SIZE], started[32];
    kd_distill_opt opt;
    kd_train_opt train;
    kd_result result = {.struct_size = sizeof result};
    kd_eval_result test = {.struct_size = sizeof test};
    const ex_path out = ex_in(w, run->name, NULL);
    ex_story story = {.run = run,
                      .opt = &opt,
                      .settings = settings,
                      .started = started,
                      .begun_by = before.begun_by,
                      .status = "running"};
    watcher x = {.w = w, .story = &story, .terminal = isatty(STDERR_FILENO) != 0};
    find_needs(w, run, &n);
    if (!n.all) return ex_fail("%s: a run it needs is not done", run->name);
    ex_settings(w, run, n.teacher, n.start, settings);
    ex_record_read(w->ctx, w, run, &before);
    if (before.settings[0] && strcmp(before.settings, settings))
        return ex_fail("%s holds a run with other settings; move it away, or choose another --out\n"
                       "  there: %s\n  now:   %s",
                       out.text, before.settings, settings);
    if (before.ended[0]) story.ended = before.ended;
    record_time(started);
    if (before.started[0]) snprintf(started, sizeof started, "%s", before.started);
    int code = open_models(w, run, &n, &story.model, &story.teacher);
    if (!code) {
        ex_options_of(w, run, &opt, &train);
        opt.teacher = story.teacher;
        train.out = out.text;
        train.resume = 1;
        train.no_test = 1;
        train.progress = watch;
        train.user = &x;
        code = finish(w, &x, train_and_test(w, &x, &opt, &result, &test));
    }
    kd_model_destroy(story.model);
    kd_model_destroy(story.teacher);
    return code;
}
