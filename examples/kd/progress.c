/* SPDX-License-Identifier: MIT
 * progress.c: progress of a long run, on standard error. On a terminal it is a bar, drawn at most
 * ten times a second; elsewhere a line now and then, and one for each epoch. With --json lines are
 * JSON objects. A number that was not measured is left out of a text, and null in an object. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double DRAW_SECONDS = .1, LINE_SECONDS = 10;

/* ---- texts ----------------------------------------------------------------------------------- */

static size_t columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static double fraction_of(const kd_progress *k)
{
    const double f =
        k->evaluating && k->batches ? (double)k->batch / (double)k->batches : k->fraction;
    return f > 0 ? f < 1 ? f : 1 : 0;
}

/* The split of an evaluation within a training run. After an epoch's last step it is the
 * development split; after the last epoch also the test split. For a run that is resumed just there
 * it is not known. */
static const char *evaluated(const cli_progress *p)
{
    if (p->what) return p->what;
    if (p->dev_count && p->latest.step && !p->latest.epoch_end) return "development split";
    return p->dev_count && !p->latest.step ? "evaluation" : "test split";
}

/* What the percentage is of: "run", "test split"; and after it where the run is: ", epoch 3/10". */
static const char *title(const cli_progress *p, const kd_progress *k, char *where, size_t size)
{
    where[0] = 0;
    if (k->evaluating) return evaluated(p);
    if (k->epochs)
        snprintf(where, size, ", epoch %zu/%zu", k->epoch + 1, k->epochs);
    else
        snprintf(where, size, ", epoch %zu", k->epoch + 1);
    return "run";
}

/* " 1:02:03 left", or nothing as long as it cannot be estimated. */
static void time_left(const cli_progress *p, double fraction, char *out, size_t size)
{
    const cli_stretch *s = &p->stretch[p->evaluating];
    const double done = fraction - s->first_fraction;
    out[0] = 0;
    if (done <= 0 || fraction >= 1) return;
    const double left = (kd_seconds() - s->started) * (1 - fraction) / done;
    if (left > 1e8) return;
    const unsigned long n = (unsigned long)(left + .5);
    if (n < 3600)
        snprintf(out, size, ", %lu:%02lu left", n / 60, n % 60);
    else
        snprintf(out, size, ", %lu:%02lu:%02lu left", n / 3600, n / 60 % 60, n % 60);
}

typedef struct text {
    char at[600];
    size_t used;
} text;

static void add(text *t, const char *format, double x)
{
    if (isnan(x)) return;
    const int n = snprintf(t->at + t->used, sizeof t->at - t->used, format, x);
    if (n > 0) t->used += (size_t)n;
    if (t->used >= sizeof t->at) t->used = sizeof t->at - 1;
}

static void add_skipped(text *t, const kd_progress *k)
{
    if (k->skipped)
        add(t, k->skipped == 1 ? ", %.0f step skipped" : ", %.0f steps skipped",
            (double)k->skipped);
}

static void draw_bar(cli_progress *p, const kd_progress *k)
{
    enum { CELLS = 30 };
    char where[60], left[60], cells[CELLS + 1] = "";
    text line = {"", 0};
    const double fraction = fraction_of(k);
    const size_t width = columns(), n = width < 90 ? 8 : width < 110 ? 16 : CELLS;
    const size_t full = (size_t)(fraction * (double)n + .5);
    for (size_t i = 0; i < n; i++) cells[i] = i < full ? '#' : '.';
    const char *name = title(p, k, where, sizeof where);
    time_left(p, fraction, left, sizeof left);
    line.used = (size_t)snprintf(line.at, sizeof line.at, "%s [%s] %.0f %%%s%s", name, cells,
                                 100 * fraction, where, left);
    add(&line, ", loss %.3f", k->loss);
    add(&line, ", top-1 %.1f %%", k->accuracy);
    add_skipped(&line, k);
    add(&line, ", %.0f images/s", k->images_per_second);
    fprintf(stderr, "\r%.*s\033[K", (int)(width - 1), line.at);
    fflush(stderr);
    p->shown = true;
}

static void print_line(cli_progress *p, const kd_progress *k)
{
    char where[60], left[60];
    text line = {"", 0};
    const double fraction = fraction_of(k);
    const char *name = title(p, k, where, sizeof where);
    const char *so_far = k->evaluating || k->epoch_end ? "" : " so far";
    time_left(p, fraction, left, sizeof left);
    line.used = (size_t)snprintf(line.at, sizeof line.at, "%s %.0f %%%s%s:", name, 100 * fraction,
                                 where, so_far);
    add(&line, " loss %.4f", k->loss);
    add(&line, ", top-1 %.2f %%", k->accuracy);
    add(&line, ", teacher top-1 %.2f %%", k->teacher_accuracy);
    add(&line, ", agreement %.2f %%", k->agreement);
    if (k->epoch_end) add(&line, ", dev top-1 %.2f %%", k->dev_top1);
    if (k->epoch_end) add(&line, " loss %.4f", k->dev_loss);
    if (!k->evaluating) add(&line, ", lr %.3g", k->lr);
    add_skipped(&line, k);
    add(&line, ", %.0f images/s", k->images_per_second);
    fprintf(stderr, "%s%s%s\n", p->shown ? "\r" : "", line.at, p->shown ? "\033[K" : left);
    p->shown = false;
}

/* ---- objects --------------------------------------------------------------------------------- */

/* A count of which 0 says that it is not known. */
static void known(kd_json *j, const char *key, size_t n)
{
    if (n)
        kd_json_integer(j, key, (int64_t)n);
    else
        kd_json_null(j, key);
}

/* Means over the epoch so far, under the names of metrics.jsonl; in a line of a step, whose own
 * loss is `loss` there, with "epoch_" before them. */
static void print_means(kd_json *j, const cli_progress *p, const kd_progress *k, const char *before)
{
    const struct {
        const char *key;
        double x;
        bool there;
    } means[] = {{"loss", k->loss, true},
                 {"loss_hard", k->hard_loss, true},
                 {"loss_soft", k->soft_loss, true},
                 {"accuracy", k->accuracy, true},
                 {"teacher_accuracy", k->teacher_accuracy, p->taught},
                 {"agreement", k->agreement, p->taught}};
    for (size_t i = 0; i < sizeof means / sizeof *means; i++) {
        char key[40];
        snprintf(key, sizeof key, "%s%s", before, means[i].key);
        if (means[i].there) kd_json_number(j, key, means[i].x);
    }
}

static void print_epoch(kd_json *j, const cli_progress *p, const kd_progress *k)
{
    print_means(j, p, k, "");
    if (p->dev_count) {
        kd_json_number(j, "dev_top1", k->dev_top1);
        kd_json_number(j, "dev_loss", k->dev_loss);
    }
    kd_json_integer(j, "skipped", (int64_t)k->epoch_skipped);
    kd_json_number(j, "images_per_second", k->images_per_second);
    kd_json_number(j, "seconds", k->epoch_seconds);
    kd_json_number(j, "seconds_data", k->times.data);
    kd_json_number(j, "seconds_teacher", k->times.teacher);
    kd_json_number(j, "seconds_forward", k->times.forward);
    kd_json_number(j, "seconds_loss", k->times.loss);
    kd_json_number(j, "seconds_backward", k->times.backward);
    kd_json_number(j, "seconds_optimizer", k->times.optimizer);
}

static void print_step(kd_json *j, const cli_progress *p, const kd_progress *k)
{
    kd_json_number(j, "loss", k->step_loss);
    kd_json_number(j, "grad_norm", k->grad_norm);
    kd_json_number(j, "seconds", k->seconds);
    print_means(j, p, k, "epoch_");
    kd_json_integer(j, "epoch_skipped", (int64_t)k->epoch_skipped);
    kd_json_number(j, "images_per_second", k->images_per_second);
}

static void print_evaluation(kd_json *j, const cli_progress *p, const kd_progress *k)
{
    kd_json_string(j, "of", evaluated(p));
    kd_json_number(j, "loss", k->loss);
    kd_json_number(j, "accuracy", k->accuracy);
    kd_json_number(j, "images_per_second", k->images_per_second);
}

/* What metrics.jsonl has of an epoch or a step has the same names here. */
static void fill(kd_json *j, const cli_progress *p, const kd_progress *k)
{
    const char *event = k->evaluating ? "evaluation" : k->epoch_end ? "epoch" : "step";
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "event", event);
    if (!k->evaluating) {
        kd_json_integer(j, "epoch", (int64_t)k->epoch + 1);
        kd_json_number(j, "epochs", k->epochs_done);
        known(j, "epochs_in_all", k->epochs);
        kd_json_integer(j, "step", (int64_t)k->step);
        known(j, "steps_in_all", k->steps);
        kd_json_float(j, "lr", (float)k->lr);
    }
    kd_json_integer(j, "batch", (int64_t)k->batch);
    known(j, "batches", k->batches);
    kd_json_number(j, "fraction", fraction_of(k));
    if (k->evaluating)
        print_evaluation(j, p, k);
    else if (k->epoch_end)
        print_epoch(j, p, k);
    else
        print_step(j, p, k);
    kd_json_object_end(j);
}

/* If there is no memory for a line, it is left out. */
static void print_event(const cli_progress *p, const kd_progress *k)
{
    kd_json *j;
    const char *line;
    size_t size;
    if (kd_json_create(p->ctx, 0, &j)) return;
    fill(j, p, k);
    if (!kd_json_text(j, &line, &size)) fprintf(stderr, "%s\n", line);
    kd_json_destroy(j);
}

/* ---- the callback ---------------------------------------------------------------------------- */

void cli_progress_start(cli_progress *p, kd_ctx *ctx, const cli_args *args, bool epochs)
{
    static const char *const splits[] = {"test split", "training split", "development split"};
    *p = (cli_progress){.ctx = ctx, .quiet = args->quiet, .json = args->json, .last = kd_seconds()};
    p->taught = args->n_teachers > 0;
    if (!epochs) p->what = splits[args->split];
    p->dev_count = args->train.dev_count;
    p->log_steps = args->train.log_steps;
    p->terminal = isatty(STDERR_FILENO) != 0 && !args->json;
    p->stretch[0].first_fraction = -1;
}

static void show(cli_progress *p, const kd_progress *k)
{
    const double now = kd_seconds();
    const bool epoch = k->epoch_end && !p->what;
    const bool asked = p->json && p->log_steps && !k->evaluating && k->step % p->log_steps == 0;
    if (!epoch && !asked && now - p->last < (p->terminal ? DRAW_SECONDS : LINE_SECONDS)) return;
    p->last = now;
    if (p->json)
        print_event(p, k);
    else if (p->terminal && !epoch)
        draw_bar(p, k);
    else
        print_line(p, k);
}

int cli_progress_step(void *user, const kd_progress *k)
{
    cli_progress *p = user;
    const bool begins = k->evaluating ? !p->evaluating : p->stretch[0].first_fraction < 0;
    p->evaluating = k->evaluating != 0;
    if (begins) /* the first step warms up, and a resumed run begins late */
        p->stretch[p->evaluating] = (cli_stretch){kd_seconds(), fraction_of(k)};
    if (!p->quiet) show(p, k);
    if (!k->evaluating) p->latest = *k;
    return cli_interrupted();
}

void cli_progress_end(cli_progress *p)
{
    if (p->shown) fprintf(stderr, "\r\033[K");
    p->shown = false;
}
