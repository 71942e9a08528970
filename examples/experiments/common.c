/* SPDX-License-Identifier: MIT
 * common.c: what the programs need besides the library: signals, clocks, folders, a context with its
 * data set, JSON files, what machine this is. */
#include "experiments.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
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
    return signalled || (w->opt.max_hours > 0 && ex_now() - w->started >= 3600 * w->opt.max_hours);
}

int ex_why_stopped(const ex_work *w)
{
    (void)w;
    return signalled ? EX_INTERRUPTED : EX_TIME_UP;
}

/* ---- clocks and texts ------------------------------------------------------------------------ */

double ex_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void ex_time(char out[32])
{
    const time_t now = time(NULL);
    struct tm parts;
    out[0] = 0;
    if (gmtime_r(&now, &parts)) strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

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

/* "model name : ..." of Linux' /proc/cpuinfo */
void ex_cpu(char out[200])
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    out[0] = 0;
    while (f && !out[0] && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, 200, "%.*s", (int)strcspn(colon, "\n"), colon);
    }
    if (f) fclose(f);
}

/* ---- files ----------------------------------------------------------------------------------- */

ex_path ex_in(const ex_work *w, const char *name, const char *more)
{
    ex_path p;
    snprintf(p.text, sizeof p.text, "%s/%s%s%s", w->opt.out, name, more ? "/" : "",
             more ? more : "");
    return p;
}

/* Like mkdir -p. */
bool ex_make_folders(const char *path)
{
    char part[4096];
    for (size_t i = 0; path[i] && i + 1 < sizeof part; i++) {
        part[i] = path[i];
        part[i + 1] = 0;
        if (path[i + 1] && path[i + 1] != '/') continue;
        if (mkdir(part, 0777) && errno != EEXIST && !path[i + 1]) {
            ex_fail("%s: %s", path, strerror(errno));
            return false;
        }
    }
    return true;
}

kd_json_object *ex_read_json(kd_ctx *ctx, const char *path)
{
    enum { LIMIT = 1 << 22 };
    char *text;
    size_t size;
    kd_json_object *o;
    if (kd_file_read_all(ctx, path, LIMIT, &text, &size)) return NULL;
    if (kd_json_parse(ctx, text, size, &o)) o = NULL;
    kd_free(ctx, text);
    return o;
}

int ex_write_json(const ex_work *w, const char *path, kd_json *json)
{
    const char *text;
    size_t size;
    kd_status status = kd_json_text(json, &text, &size);
    char *line = status ? NULL : kd_alloc(w->ctx, size + 1, 1);
    if (!status && !line) status = KD_E_NOMEM;
    if (!status) {
        memcpy(line, text, size);
        line[size] = '\n';
        status = kd_file_write_atomic(w->ctx, path, line, size + 1);
    }
    kd_free(w->ctx, line);
    kd_json_destroy(json);
    return status ? ex_fail_ctx(w) : EX_DONE;
}

void ex_json_machine(kd_json *json, const kd_ctx *ctx)
{
    struct utsname u;
    char cpu[200];
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    kd_json_object_begin(json, "machine");
    ex_cpu(cpu);
    kd_json_string(json, "cpu", cpu[0] ? cpu : NULL);
    if (uname(&u) == 0) {
        kd_json_string(json, "architecture", u.machine);
        kd_json_string(json, "system", u.sysname);
        kd_json_string(json, "kernel", u.release);
    }
    kd_json_integer(json, "cores", sysconf(_SC_NPROCESSORS_ONLN));
    kd_json_integer(json, "threads", kd_ctx_threads(ctx));
    kd_json_string(json, "isa", kd_ctx_isa(ctx));
    kd_json_integer(json, "memory_bytes", pages > 0 && page > 0 ? (int64_t)pages * page : 0);
    kd_json_object_end(json);
}

void ex_json_times(kd_json *json, const kd_times *t)
{
    kd_json_object_begin(json, "times");
    kd_json_number(json, "data", t->data);
    kd_json_number(json, "teacher", t->teacher);
    kd_json_number(json, "forward", t->forward);
    kd_json_number(json, "loss", t->loss);
    kd_json_number(json, "backward", t->backward);
    kd_json_number(json, "optimizer", t->optimizer);
    kd_json_object_end(json);
}

/* ---- context and data ------------------------------------------------------------------------ */

static void log_line(void *user, kd_log_level level, const char *text)
{
    (void)user;
    if (level >= KD_LOG_WARN) fprintf(stderr, "experiment: warning: %s\n", text);
}

int ex_open(ex_work *w)
{
    const kd_config config = {
        .struct_size = sizeof config, .log = log_line, .threads = w->opt.threads};
    uint64_t sum;
    if (kd_ctx_create(&config, &w->ctx))
        return ex_fail("no context: out of memory, or KD_ISA or KD_CONV names what this build or "
                       "processor lacks (%s)",
                       kd_build_info());
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
