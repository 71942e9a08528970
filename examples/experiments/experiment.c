/* SPDX-License-Identifier: MIT
 * experiment.c: what the three programs have in common: options, and the order of work. */
#include "experiments.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* ---- options --------------------------------------------------------------------------------- */

static int usage(const ex_experiment *e, int status)
{
    fprintf(status ? stderr : stdout,
            "experiment-%s [options]\n%s\n\n"
            "  --scale S      smoke, short or full [smoke]\n"
            "  --out DIR      where the runs are [build/experiments/SCALE]\n"
            "  --data NAME    data set [smoke: synthetic, else cifar-10]\n"
            "  --data-dir DIR where it is [the environment's KD_DATA, else data]\n"
            "  --only PART    only runs whose names contain PART, and those they need\n"
            "  --seeds N      only the first N seeds\n"
            "  --max-hours H  end after so long; the same command goes on\n"
            "  --threads N    [as many as processors may be used]\n"
            "  --dry-run      say for each run whether it is done, its steps, hours and memory\n"
            "  --costs        only the timing pass: costs.json\n"
            "  --half RUN     only write a finished run's network in float16, and test it\n"
            "  --report       only tables and pictures, from what is there\n"
            "  --help         this text\n"
            "Runs that are done are left as they are; others go on from their checkpoints. After "
            "the\nlast one comes the timing pass, if there was none yet, and always the report.\n"
            "Exit status: 0 all done, 1 an error, 2 usage, 3 the hours are over, 130 a signal.\n",
            e->name, e->question);
    return status;
}

static bool number(const char *text, double low, double high, double *x)
{
    char *end;
    *x = strtod(text, &end);
    return end != text && !*end && *x >= low && *x <= high;
}

static bool scale_named(const char *name, ex_options *o)
{
    for (o->scale = ex_scales; o->scale->name; o->scale++)
        if (!strcmp(o->scale->name, name)) return true;
    return false;
}

/* An option with a value; false if it is none of ours or the value is not one of its. */
static bool take(ex_options *o, const char *name, const char *value)
{
    double x;
    if (!strcmp(name, "--scale")) return scale_named(value, o);
    if (!strcmp(name, "--out")) return (o->out = value)[0] != 0;
    if (!strcmp(name, "--data")) return (o->data = value)[0] != 0;
    if (!strcmp(name, "--data-dir")) return (o->data_dir = value)[0] != 0;
    if (!strcmp(name, "--only")) return (o->only = value)[0] != 0;
    if (!strcmp(name, "--half")) return (o->half = value)[0] != 0;
    if (!strcmp(name, "--max-hours") && number(value, 0, 1e6, &x)) {
        o->max_hours = x;
        return true;
    }
    if (!strcmp(name, "--threads") && number(value, 1, 1024, &x)) {
        o->threads = (int)x;
        return true;
    }
    if (!strcmp(name, "--seeds") && number(value, 1, 1000, &x)) {
        o->seeds = (size_t)x;
        return true;
    }
    return false;
}

/* EX_DONE: go on; -1: help was given. */
static int read_arguments(const ex_experiment *e, ex_options *o, int argc, char **argv)
{
    static char out[64];
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (!strcmp(name, "--help")) return usage(e, EX_DONE) - 1;
        if (!strcmp(name, "--dry-run"))
            o->dry_run = true;
        else if (!strcmp(name, "--costs"))
            o->costs = true;
        else if (!strcmp(name, "--report"))
            o->report = true;
        else if (i + 1 < argc && take(o, name, argv[i + 1]))
            i++;
        else {
            ex_fail("'%s'%s%s: no such option or value", name, i + 1 < argc ? " " : "",
                    i + 1 < argc ? argv[i + 1] : "");
            return usage(e, EX_USAGE);
        }
    }
    snprintf(out, sizeof out, "build/experiments/%s", o->scale->name);
    if (!o->out) o->out = out;
    if (!o->data) o->data = o->scale->data;
    if (!o->seeds || o->seeds > o->scale->seeds) o->seeds = o->scale->seeds;
    return EX_DONE;
}

/* ---- work ------------------------------------------------------------------------------------ */

/* Carry out runs one after another, but not those that are done. */
static int do_runs(ex_work *w)
{
    ex_run runs[EX_MAX_RUNS];
    bool done[EX_MAX_RUNS] = {false};
    size_t before = 0;
    w->count = ex_list(w, runs);
    if (!w->count) return ex_fail("no run's name contains '%s'", w->opt.only);
    int code = ex_find_done(w, runs, w->count, done);
    for (size_t i = 0; i < w->count && !code; i++) {
        before += done[i];
        if (done[i]) continue;
        if (ex_must_stop(w)) return ex_why_stopped(w);
        w->number = i + 1;
        code = ex_open(w);
        if (!code) code = ex_carry_out(w, &runs[i]);
        ex_close(w);
    }
    if (!code)
        fprintf(stderr, "%s: %zu runs, %zu of them were done before\n", w->experiment->name,
                w->count, before);
    return code;
}

/* Lock the folder: two programs in it would write the same files. A program that was just killed
 * may hold the lock for a moment. */
static int lock(ex_work *w, int *fd)
{
    const struct timespec moment = {.tv_nsec = 100000000};
    int code = ex_open_ctx(w);
    if (!code && kd_folder_make(w->ctx, w->opt.out)) code = ex_fail_ctx(w);
    ex_close(w);
    if (code) return code;
    *fd = open(w->opt.out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int tries = 0; *fd >= 0 && tries < 20; tries++) {
        if (flock(*fd, LOCK_EX | LOCK_NB) == 0) return EX_DONE;
        nanosleep(&moment, NULL);
    }
    return ex_fail("%s: another experiment is at work there", w->opt.out);
}

/* All runs are done, and nobody has timed anything yet. */
static bool wants_costs(const ex_work *w)
{
    return !w->opt.only && w->opt.seeds == w->opt.scale->seeds &&
           access(ex_in(w, "costs.json", NULL).text, R_OK);
}

static int work(ex_work *w)
{
    int fd = -1, code;
    if (w->opt.dry_run) return ex_dry_run(w);
    if (w->opt.half) return ex_half(w);
    code = lock(w, &fd);
    if (!code && w->opt.costs) code = ex_costs(w);
    if (!code && !w->opt.costs && !w->opt.report) {
        code = do_runs(w);
        if (!code && wants_costs(w)) code = ex_costs(w);
    }
    if (!w->opt.costs && (!code || code == EX_TIME_UP)) {
        const int reported = ex_report(w);
        if (!code) code = reported;
    }
    if (fd >= 0) close(fd);
    return code;
}

int ex_main(const ex_experiment *experiment, int argc, char **argv)
{
    ex_work w = {.experiment = experiment, .opt = {.scale = ex_scales}, .started = kd_seconds()};
    int code = read_arguments(experiment, &w.opt, argc, argv);
    if (code) return code < 0 ? EX_DONE : code;
    ex_signals();
    code = work(&w);
    if (code == EX_INTERRUPTED) ex_fail("interrupted; the same command goes on");
    if (code == EX_TIME_UP) ex_fail("the time is up; the same command goes on");
    return code;
}
