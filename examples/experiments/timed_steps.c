/* SPDX-License-Identifier: MIT
 * timed_steps.c: training steps that are timed and thrown away, and --dry-run, which is made of
 * them. Networks are fresh: a step takes as long whatever the weights are. */
#include "experiments.h"

#include <stdlib.h>
#include <string.h>

const char *const ex_parts[EX_PARTS] = {"data",     "teacher",   "forward", "loss",
                                        "backward", "optimizer", "step"};

/* ---- steps ----------------------------------------------------------------------------------- */

typedef struct stopwatch {
    ex_work *w;
    ex_trial *trial;
    double before[EX_PARTS]; /* sums up to the step before */
    double until;
    size_t seen, wanted;
    bool cut;
} stopwatch;

static int note_step(void *user, const kd_progress *k)
{
    stopwatch *s = user;
    const kd_times *t = &k->times;
    const double sums[EX_PARTS] = {t->data,     t->teacher,   t->forward, t->loss,
                                   t->backward, t->optimizer, k->seconds};
    if (k->epoch_end) return 0;
    ex_trial *trial = s->trial;
    trial->steps_per_epoch = k->batches;
    if (k->batch == 1) memset(s->before, 0, sizeof s->before - sizeof *s->before);
    if (s->seen++ > 0 && trial->steps < EX_MAX_STEPS) {
        for (size_t i = 0; i < EX_PARTS; i++)
            trial->seconds[trial->steps][i] = sums[i] - s->before[i];
        trial->steps++;
    }
    memcpy(s->before, sums, sizeof sums);
    s->cut = ex_must_stop(s->w);
    return s->cut || s->seen > s->wanted || (s->seen > 2 && kd_seconds() > s->until);
}

static int fresh(ex_work *w, ex_network network, kd_model **model)
{
    char spec[KD_SPEC_SIZE];
    const int code = ex_spec(w, network, spec);
    if (code) return code;
    return kd_model_create(w->ctx, spec, 1, model) ? ex_fail_ctx(w) : EX_DONE;
}

/* With the recipe of the first kind of run that has this student: only its optimiser matters. */
static void options_for(const ex_work *w, const ex_pairing *pairing, kd_distill_opt *opt,
                        kd_train_opt *train)
{
    const ex_kind *kind = ex_kinds;
    while (kind->network != pairing->student) kind++;
    const ex_run run = ex_run_of(kind, 1);
    ex_options_of(w, &run, opt, train);
}

int ex_try(ex_work *w, const ex_pairing *pairing, size_t steps, double most, ex_trial *trial)
{
    kd_distill_opt opt;
    kd_train_opt train;
    kd_model *model = NULL, *teacher = NULL;
    stopwatch watch = {.w = w, .trial = trial, .wanted = steps, .until = kd_seconds() + most};
    int code = ex_open(w);
    if (!code) trial->data_bytes = kd_ctx_memory(w->ctx);
    if (!code) code = fresh(w, pairing->student, &model);
    if (!code && pairing->teacher >= 0) code = fresh(w, (ex_network)pairing->teacher, &teacher);
    if (!code) {
        options_for(w, pairing, &opt, &train);
        opt.teacher = teacher;
        train.epochs = 1000000; /* steps and time end it */
        train.max_steps = steps + 1;
        train.no_test = 1;
        train.progress = note_step;
        train.user = &watch;
        const kd_status status = teacher ? kd_distill(model, w->data, &opt, NULL)
                                         : kd_train(model, w->data, &train, NULL);
        if (status && status != KD_E_STOPPED) code = ex_fail_ctx(w);
        if (!code && watch.cut) code = ex_why_stopped(w);
        if (kd_ctx_memory_peak(w->ctx) > trial->peak_bytes)
            trial->peak_bytes = kd_ctx_memory_peak(w->ctx);
    }
    kd_model_destroy(model);
    kd_model_destroy(teacher);
    ex_close(w);
    return code;
}

/* ---- --dry-run ------------------------------------------------------------------------------- */

enum { TRIAL_STEPS = 20, MAX_PAIRINGS = 16 };
static const double TRIAL_SECONDS = 2;

static double mean_step(const ex_trial *t)
{
    double sum = 0;
    for (size_t i = 0; i < t->steps; i++) sum += t->seconds[i][EX_PARTS - 1];
    return t->steps ? sum / (double)t->steps : 0;
}

typedef struct estimate {
    double step;
    size_t steps_per_epoch, bytes;
} estimate;

static int estimate_for(ex_work *w, const ex_pairing *pairing, estimate known[MAX_PAIRINGS],
                        estimate *out)
{
    estimate *e = &known[pairing - ex_pairings];
    int code = EX_DONE;
    if (e->step <= 0) {
        ex_trial *trial = calloc(1, sizeof *trial);
        if (!trial) return ex_fail("out of memory");
        code = ex_try(w, pairing, TRIAL_STEPS, TRIAL_SECONDS, trial);
        *e = (estimate){mean_step(trial), trial->steps_per_epoch, trial->peak_bytes};
        free(trial);
    }
    *out = *e;
    return code;
}

int ex_dry_run(ex_work *w)
{
    ex_run runs[EX_MAX_RUNS];
    bool done[EX_MAX_RUNS] = {false};
    estimate known[MAX_PAIRINGS] = {{0}};
    const size_t n = ex_list(w, runs);
    double sum = 0;
    size_t finished = 0, most = 0;
    int code = ex_find_done(w, runs, n, done);
    if (!code)
        printf("%-42s %-4s %8s %7s %9s %7s %9s\n", "run", "", "steps", "epochs", "ms a step",
               "hours", "memory");
    for (size_t i = 0; i < n && !code; i++) {
        const ex_kind *kind = runs[i].kind;
        const size_t epochs = w->opt.scale->recipes[kind->recipe].epochs;
        estimate e = {0};
        code = estimate_for(w, ex_pairing_of(kind), known, &e);
        const double hours = e.step * (double)(epochs * e.steps_per_epoch) / 3600;
        if (code) break;
        printf("%-42s %-4s %8zu %7zu %9.1f %7.2f %5.0f MiB\n", runs[i].name, done[i] ? "done" : "",
               epochs * e.steps_per_epoch, epochs, 1e3 * e.step, hours, (double)e.bytes / 1048576);
        fflush(stdout);
        finished += done[i];
        if (!done[i]) sum += hours;
        if (!done[i] && e.bytes > most) most = e.bytes;
    }
    if (code) return code;
    printf("%zu runs, %zu of them done; the others take about %.1f hours, tests not counted, and "
           "at most %.0f MiB of memory, the data set included\n"
           "from a few steps of each just now; nothing was written (--dry-run)\n",
           n, finished, sum, (double)most / 1048576);
    return EX_DONE;
}
