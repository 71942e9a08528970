/* SPDX-License-Identifier: MIT
 * support.c: what the programs need besides the library: signals, durations, a context with its
 * data set, JSON files. */
#include "experiments.h"

#include "../common/run_record.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

/* ---- failing and stopping -------------------------------------------------------------------- */

int ex_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("experiment: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    return EX_FAILED;
}

int ex_fail_ctx(const ex_work *w)
{
    return ex_fail("%s", kd_ctx_error(w->ctx));
}

static volatile sig_atomic_t signalled;

static void note_signal(int number)
{
    (void)number;
    signalled = 1;
}

/* The second one kills. */
void ex_signals(void)
{
    const struct sigaction action = {.sa_handler = note_signal,
                                     .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool ex_signalled(void)
{
    return signalled != 0;
}

bool ex_must_stop(const ex_work *w)
{
    return signalled ||
           (w->opt.max_hours > 0 && kd_seconds() - w->started >= 3600 * w->opt.max_hours);
}

int ex_why_stopped(const ex_work *w)
{
    (void)w;
    return signalled ? EX_INTERRUPTED : EX_TIME_UP;
}

/* ---- texts ----------------------------------------------------------------------------------- */

void ex_duration(double seconds, char out[32])
{
    const double whole = floor(seconds + .5);
    if (!(seconds < 1e9))
        snprintf(out, 32, "for ever");
    else if (whole < 100)
        snprintf(out, 32, "%.3g s", seconds);
    else if (whole < 3600)
        snprintf(out, 32, "%.0f min %02.0f s", floor(whole / 60), fmod(whole, 60));
    else
        snprintf(out, 32, "%.0f h %02.0f min", floor(whole / 3600), floor(fmod(whole, 3600) / 60));
}

/* ---- files ----------------------------------------------------------------------------------- */

ex_path ex_in(const ex_work *w, const char *name, const char *more)
{
    ex_path p;
    snprintf(p.text, sizeof p.text, "%s/%s%s%s", w->opt.out, name, more ? "/" : "",
             more ? more : "");
    return p;
}

kd_json_object *ex_read_json(kd_ctx *ctx, const char *path)
{
    enum { LIMIT = 1 << 22 };
    char *text;
    size_t size;
    kd_json_object *o;
    if (kd_file_read_all(ctx, path, LIMIT, &text, &size)) return NULL;
    if (kd_json_parse(ctx, text, size, &o)) o = NULL;
    kd_ctx_free(ctx, text);
    return o;
}

int ex_write_json(const ex_work *w, const char *path, kd_json *json)
{
    return record_write(w->ctx, path, json) ? ex_fail_ctx(w) : EX_DONE;
}

/* ---- context and data ------------------------------------------------------------------------ */

static void log_line(void *user, kd_log_level level, const char *text)
{
    (void)user;
    if (level >= KD_LOG_WARN) fprintf(stderr, "experiment: warning: %s\n", text);
}

int ex_open_ctx(ex_work *w)
{
    const kd_config config = {
        .struct_size = sizeof config, .log = log_line, .threads = w->opt.threads};
    return kd_ctx_create(&config, &w->ctx)
               ? ex_fail("no context: out of memory, or KD_ISA, KD_CONV or KD_BLAS names what this "
                         "build or processor lacks (%s)",
                         kd_build_info())
               : EX_DONE;
}

int ex_open(ex_work *w)
{
    uint64_t sum;
    const int code = ex_open_ctx(w);
    if (code) return code;
    if (kd_dataset_open(w->ctx, w->opt.data, w->opt.data_dir, &w->data)) return ex_fail_ctx(w);
    if (w->data_sum[0]) return EX_DONE;
    snprintf(w->data_name, sizeof w->data_name, "%s", kd_dataset_info(w->data)->name);
    if (kd_dataset_checksum(w->data, &sum)) return ex_fail_ctx(w);
    snprintf(w->data_sum, sizeof w->data_sum, "%016llx", (unsigned long long)sum);
    return EX_DONE;
}

void ex_close(ex_work *w)
{
    kd_dataset_close(w->data);
    kd_ctx_destroy(w->ctx);
    w->data = NULL;
    w->ctx = NULL;
}

int ex_spec(const ex_work *w, ex_network network, char out[KD_SPEC_SIZE])
{
    char defaults[80];
    const kd_data_info *info = kd_dataset_info(w->data);
    snprintf(defaults, sizeof defaults, "classes=%zu,image=%zu,channels=%zu", info->classes,
             info->height, info->channels);
    return kd_spec_complete(w->ctx, w->opt.scale->networks[network], defaults, out, KD_SPEC_SIZE)
               ? ex_fail_ctx(w)
               : EX_DONE;
}
