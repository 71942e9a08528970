/* SPDX-License-Identifier: MIT
 * run_json.c: DIR/run.json: all that is needed to do a run again, and what came of it. Written
 * when the run begins and again when it ends, each time as a whole. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

void cli_time_text(char out[32])
{
    const time_t now = time(NULL);
    struct tm parts;
    out[0] = 0;
    if (gmtime_r(&now, &parts)) strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

/* ---- options --------------------------------------------------------------------------------- */

static void list_json(kd_json *json, const char *key, const cli_args *a, opt_kind kind)
{
    kd_json_array_begin(json, key);
    if (kind == OPT_FILES)
        for (size_t i = 0; i < a->n_teachers; i++) kd_json_string(json, NULL, a->teachers[i]);
    else
        for (size_t i = 0; i < a->n_teacher_weights; i++)
            kd_json_number(json, NULL, a->teacher_weights[i]);
    kd_json_array_end(json);
}

static void option_json(kd_json *json, const cli_option *o, const cli_args *a)
{
    const void *field = (const char *)a + o->offset;
    char key[40];
    snprintf(key, sizeof key, "%s", o->name);
    for (char *c = key; *c; c++)
        if (*c == '-') *c = '_';
    switch (o->kind) {
    case OPT_FLAG:
        kd_json_bool(json, key, *(const bool *)field);
        break;
    case OPT_TEXT:
        kd_json_string(json, key, *(const char *const *)field);
        break;
    case OPT_COUNT:
    case OPT_BYTES:
    case OPT_PIECES: {
        const uint64_t n = *(const uint64_t *)field;
        if (!o->standard && n == 0) /* not given */
            kd_json_null(json, key);
        else if (o->kind == OPT_PIECES && n == CLI_AUTO)
            kd_json_string(json, key, "auto");
        else
            kd_json_integer(json, key, (int64_t)n);
        break;
    }
    case OPT_NUMBER:
        kd_json_number(json, key, *(const double *)field); /* NAN, not given, is null */
        break;
    case OPT_CHOICE:
        kd_json_string(json, key, o->choice(*(const int *)field));
        break;
    case OPT_FILES:
    case OPT_NUMBERS:
        list_json(json, key, a, o->kind);
        break;
    }
}

static void options_json(kd_json *json, const cli_args *a)
{
    kd_json_array_begin(json, "arguments");
    for (int i = 1; i < a->argc; i++) kd_json_string(json, NULL, a->argv[i]);
    kd_json_array_end(json);
    kd_json_object_begin(json, "options");
    for (size_t i = 0; i < cli_n_options; i++)
        if ((cli_options[i].commands & a->command->bit) && strcmp(cli_options[i].name, "help"))
            option_json(json, &cli_options[i], a);
    kd_json_object_end(json);
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* "model name : ..." of Linux' /proc/cpuinfo; "" where there is none. */
static void cpu_model(char *out, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    out[0] = 0;
    if (!f) return;
    while (!out[0] && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, size, "%s", colon);
    }
    fclose(f);
}

static void machine_json(kd_json *json, kd_ctx *ctx)
{
    struct utsname u;
    char cpu[200];
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    kd_json_object_begin(json, "machine");
    cpu_model(cpu, sizeof cpu);
    kd_json_string(json, "cpu", cpu[0] ? cpu : NULL);
    if (uname(&u) == 0) {
        kd_json_string(json, "architecture", u.machine);
        kd_json_string(json, "system", u.sysname);
        kd_json_string(json, "kernel", u.release);
    }
    kd_json_integer(json, "cores", cores);
    kd_json_integer(json, "threads", kd_ctx_threads(ctx));
    kd_json_string(json, "isa", kd_ctx_isa(ctx));
    kd_json_integer(json, "memory_bytes", pages > 0 && page > 0 ? (int64_t)pages * page : 0);
    kd_json_object_end(json);
}

static int data_json(kd_json *json, kd_dataset *data)
{
    const kd_data_info *info = kd_dataset_info(data);
    uint64_t checksum;
    char text[24];
    if (kd_dataset_checksum(data, &checksum)) return CLI_FAILED;
    snprintf(text, sizeof text, "%016llx", (unsigned long long)checksum);
    kd_json_object_begin(json, "data");
    kd_json_string(json, "name", info->name);
    kd_json_string(json, "checksum", text);
    kd_json_integer(json, "classes", (int64_t)info->classes);
    kd_json_integer(json, "height", (int64_t)info->height);
    kd_json_integer(json, "width", (int64_t)info->width);
    kd_json_integer(json, "channels", (int64_t)info->channels);
    kd_json_integer(json, "train", (int64_t)info->count[KD_SPLIT_TRAIN]);
    kd_json_integer(json, "test", (int64_t)info->count[KD_SPLIT_TEST]);
    kd_json_object_end(json);
    return CLI_DONE;
}

static void teachers_json(kd_json *json, const cli_run *run)
{
    kd_json_array_begin(json, "teachers");
    for (size_t i = 0; i < run->args->n_teachers; i++) {
        kd_json_object_begin(json, NULL);
        kd_json_string(json, "file", run->args->teachers[i]);
        kd_json_string(json, "spec", kd_model_spec(run->teachers[i]));
        kd_json_object_end(json);
    }
    kd_json_array_end(json);
}

void cli_json_result(kd_json *json, const kd_result *r)
{
    kd_json_number(json, "top1", r->top1); /* null if there is no test split */
    kd_json_number(json, "top5", r->top5);
    kd_json_number(json, "loss", r->loss);
    kd_json_number(json, "train_loss", r->train_loss);
    kd_json_number(json, "train_top1", r->train_top1);
    kd_json_integer(json, "epochs", (int64_t)r->epochs);
    kd_json_integer(json, "steps", (int64_t)r->steps);
    kd_json_number(json, "seconds", r->seconds);
    kd_json_number(json, "images_per_second", r->images_per_second);
    kd_json_object_begin(json, "times");
    kd_json_number(json, "data", r->times.data);
    kd_json_number(json, "teacher", r->times.teacher);
    kd_json_number(json, "forward", r->times.forward);
    kd_json_number(json, "loss", r->times.loss);
    kd_json_number(json, "backward", r->times.backward);
    kd_json_number(json, "optimizer", r->times.optimizer);
    kd_json_object_end(json);
    kd_json_integer(json, "peak_bytes", (int64_t)r->peak_bytes);
    kd_json_integer(json, "micro_batch", (int64_t)r->micro_batch);
}

static int fill(kd_json *json, const cli_run *run)
{
    const cli_args *a = run->args;
    char now[32];
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "command", a->command->name);
    kd_json_string(json, "status", run->status);
    if (run->error) kd_json_string(json, "error", run->error);
    kd_json_string(json, "started", run->started);
    if (strcmp(run->status, "running")) {
        cli_time_text(now);
        kd_json_string(json, "ended", now);
    }
    kd_json_string(json, "spec", kd_model_spec(run->model));
    kd_json_integer(json, "seed", (int64_t)a->seed);
    kd_json_integer(json, "params", (int64_t)kd_params_count(kd_model_params(run->model)));
    kd_json_integer(json, "macs", (int64_t)run->macs);
    options_json(json, a);
    kd_json_string(json, "augmentation", run->augment[0] ? run->augment : NULL);
    if (data_json(json, run->data)) return CLI_FAILED;
    if (a->command->bit == CMD_DISTILL) teachers_json(json, run);
    machine_json(json, run->ctx);
    kd_json_string(json, "version", kd_version());
    kd_json_string(json, "build", kd_build_info());
    kd_json_string(json, "blas", kd_ctx_blas(run->ctx));
    if (run->result) {
        kd_json_object_begin(json, "result");
        cli_json_result(json, run->result);
        kd_json_object_end(json);
    }
    kd_json_object_end(json);
    return CLI_DONE;
}

/* Like mkdir -p. */
int cli_make_folders(kd_ctx *ctx, const char *path)
{
    char part[4096];
    struct stat about;
    if (strlen(path) >= sizeof part) return cli_fail("--out: the path is too long");
    for (size_t i = 0; path[i]; i++) {
        part[i] = path[i];
        part[i + 1] = 0;
        if (path[i + 1] != '/' && path[i + 1] != 0) continue;
        if ((path[i + 1] == 0 || stat(part, &about)) && kd_folder_make(ctx, part))
            return cli_fail_ctx(ctx);
    }
    return CLI_DONE;
}

/* The text, with a newline at its end, which JSON lacks and tools like. */
static kd_status write_text(kd_ctx *ctx, const char *path, const char *text, size_t size)
{
    char *line = kd_alloc(ctx, size + 1, 1);
    if (!line) return KD_E_NOMEM;
    memcpy(line, text, size);
    line[size] = '\n';
    const kd_status status = kd_file_write_atomic(ctx, path, line, size + 1);
    kd_free(ctx, line);
    return status;
}

int cli_write_run(const cli_run *run)
{
    char path[4200];
    const char *text;
    size_t size;
    kd_json *json = NULL;
    int status = CLI_DONE;
    snprintf(path, sizeof path, "%s/run.json", run->args->out);
    if (kd_json_create(run->ctx, 2, &json) || fill(json, run) || kd_json_text(json, &text, &size) ||
        write_text(run->ctx, path, text, size))
        status = cli_fail_ctx(run->ctx);
    kd_json_destroy(json);
    return status;
}
