/* SPDX-License-Identifier: MIT
 * progress.c: what is seen of a long run, on standard error: on a terminal a bar drawn at most ten
 * times a second, elsewhere a line now and then and one an epoch. And how a run is stopped: the
 * first signal sets a flag, which the library asks for after each step; the second one kills. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double DRAW_SECONDS = .1, LINE_SECONDS = 10;

/* ---- signals --------------------------------------------------------------------------------- */

static volatile sig_atomic_t signalled;

static void note_signal(int number)
{
    (void)number;
    signalled = 1;
}

void cli_catch_signals(void)
{
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = note_signal;
    /* the second one does what it always did; reads and writes go on */
    action.sa_flags = (int)(SA_RESETHAND | SA_RESTART);
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* the terminal is gone; under nohup nothing happens */
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    /* whoever read our output is gone: an error of that output, not the end of a run */
    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    sigaction(SIGPIPE, &action, NULL);
}

bool cli_interrupted(void)
{
    return signalled != 0;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static size_t columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static double fraction_of(const cli_progress *p, const kd_progress *k)
{
    const double f = (p->epochs && !k->evaluating) || !k->batches
                         ? k->fraction
                         : (double)k->batch / (double)k->batches;
    return f < 0 ? 0 : f > 1 ? 1 : f;
}

/* "epoch 3/10" or "evaluation" */
static void title(const kd_progress *k, char *out, size_t size)
{
    if (k->evaluating)
        snprintf(out, size, "evaluation");
    else if (k->epochs)
        snprintf(out, size, "epoch %zu/%zu", k->epoch + 1, k->epochs);
    else
        snprintf(out, size, "epoch %zu", k->epoch + 1);
}

/* " 1:02:03 left", or nothing while there is no telling. */
static void time_left(const cli_progress *p, double fraction, char *out, size_t size)
{
    const double done = fraction - p->first_fraction;
    out[0] = 0;
    if (done <= 0 || fraction >= 1) return;
    const double left = (cli_now() - p->started) * (1 - fraction) / done;
    if (left > 1e8) return;
    const unsigned long s = (unsigned long)(left + .5);
    if (s < 3600)
        snprintf(out, size, ", %lu:%02lu left", s / 60, s % 60);
    else
        snprintf(out, size, ", %lu:%02lu:%02lu left", s / 3600, s / 60 % 60, s % 60);
}

static void draw_bar(cli_progress *p, const kd_progress *k)
{
    enum { CELLS = 30 };
    char name[60], left[60], cells[CELLS + 1] = "", line[400];
    const double fraction = fraction_of(p, k);
    const size_t width = columns(), n = width < 90 ? 8 : width < 110 ? 16 : CELLS;
    const size_t full = (size_t)(fraction * (double)n + .5);
    for (size_t i = 0; i < n; i++) cells[i] = i < full ? '#' : '.';
    title(k, name, sizeof name);
    time_left(p, fraction, left, sizeof left);
    snprintf(line, sizeof line, "%s [%s] %.0f %%%s, loss %.3f, top-1 %.1f %%, %.0f images/s", name,
             cells, 100 * fraction, left, k->loss, k->accuracy, k->images_per_second);
    fprintf(stderr, "\r%.*s\033[K", (int)(width - 1), line);
    fflush(stderr);
    p->shown = true;
}

static void print_line(cli_progress *p, const kd_progress *k)
{
    char name[60], left[60], dev[60] = "";
    const double fraction = fraction_of(p, k);
    title(k, name, sizeof name);
    time_left(p, fraction, left, sizeof left);
    if (k->evaluating) {
        fprintf(stderr, "%s: %.0f %%, loss %.4f, top-1 %.2f %%, %.0f images/s%s\n", name,
                100 * fraction, k->loss, k->accuracy, k->images_per_second, left);
        return;
    }
    if (k->epoch_end && k->dev_top1 >= 0)
        snprintf(dev, sizeof dev, ", dev top-1 %.2f %% loss %.4f", k->dev_top1, k->dev_loss);
    fprintf(stderr, "%s%s%s: %.0f %%, loss %.4f, top-1 %.2f %%%s, lr %.3g, %.0f images/s%s\n",
            p->shown ? "\r" : "", name, k->epoch_end ? "" : " so far", 100 * fraction, k->loss,
            k->accuracy, dev, k->lr, k->images_per_second, p->shown ? "\033[K" : left);
    p->shown = false;
}

/* ---- the callback ---------------------------------------------------------------------------- */

void cli_progress_start(cli_progress *p, const cli_args *args, bool epochs)
{
    *p = (cli_progress){.quiet = args->quiet, .epochs = epochs, .started = cli_now()};
    p->terminal = isatty(STDERR_FILENO) != 0;
    p->last = p->started;
    p->first_fraction = -1;
}

int cli_progress_step(void *user, const kd_progress *k)
{
    cli_progress *p = user;
    const double now = cli_now();
    if (!k->evaluating) p->latest = *k;
    if (p->first_fraction < 0) { /* the first step warms up, and a resumed run begins late */
        p->first_fraction = fraction_of(p, k);
        p->started = now;
    }
    if (!p->quiet) {
        if (k->epoch_end && p->epochs) {
            print_line(p, k);
            p->last = now;
        } else if (now - p->last >= (p->terminal ? DRAW_SECONDS : LINE_SECONDS)) {
            if (p->terminal)
                draw_bar(p, k);
            else
                print_line(p, k);
            p->last = now;
        }
    }
    return cli_interrupted();
}

void cli_progress_end(cli_progress *p)
{
    if (p->shown) fprintf(stderr, "\r\033[K");
    p->shown = false;
}
