/* SPDX-License-Identifier: MIT
 * run_json.c: DIR/run.json: all that is needed to do a run again, and what came of it. Written
 * when the run begins and again when it ends, each time as a whole. What `kd rerun` reads are plain
 * members of objects; arrays are for people and other programs. */
#include "cli.h"

#include "../common/run_record.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    case OPT_PICTURE: {
        const uint64_t image = *(const uint64_t *)field;
        if (image >> 32)
            kd_json_string(json, key, cli_picture_text(image).text);
        else if (image)
            kd_json_integer(json, key, (int64_t)image);
        else
            kd_json_null(json, key);
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
    case OPT_LIBRARY: /* all at once, see options_json */
        break;
    }
}

static void options_json(kd_json *json, const cli_args *a)
{
    const cli_option *o;
    kd_json_array_begin(json, "arguments");
    for (int i = 1; i < a->argc; i++) kd_json_string(json, NULL, a->argv[i]);
    kd_json_array_end(json);
    kd_json_object_begin(json, "options");
    for (size_t i = 0; (o = cli_option_at(i)); i++)
        if ((o->commands & a->command->bit) && strcmp(o->name, "help")) option_json(json, o, a);
    kd_options_json(json, 0, &a->train, cli_taught(a) ? &a->distill : NULL);
    kd_json_object_end(json);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void hash_json(kd_json *json, const char *key, uint64_t hash)
{
    const cli_hash text = cli_hash_text(hash);
    kd_json_string(json, key, text.text);
}

static void path_json(kd_json *json, const char *key, const char *path)
{
    char resolved[CLI_PATH];
    kd_json_string(json, key, path && cli_absolute(path, resolved) ? resolved : NULL);
}

static void data_json(kd_json *json, const cli_run *run)
{
    const kd_data_info *info = kd_dataset_info(run->data);
    kd_json_object_begin(json, "data");
    kd_json_string(json, "name", info->name);
    hash_json(json, "checksum", run->data_checksum);
    record_sizes(json, info);
    kd_json_integer(json, "dev", (int64_t)run->args->train.dev_count);
    if (info->class_names) {
        kd_json_array_begin(json, "class_names");
        for (size_t i = 0; i < info->classes; i++) kd_json_string(json, NULL, info->class_names[i]);
        kd_json_array_end(json);
    } else {
        kd_json_null(json, "class_names");
    }
    kd_json_integer(json, "broken", (int64_t)kd_dataset_broken(run->data)); /* left out so far */
    kd_json_object_end(json);
}

static void teachers_json(kd_json *json, const cli_run *run)
{
    const cli_args *a = run->args;
    kd_json_array_begin(json, "teachers");
    for (size_t i = 0; i < a->n_teachers; i++) {
        kd_json_object_begin(json, NULL);
        kd_json_string(json, "file", a->teachers[i]);
        path_json(json, "path", a->teachers[i]);
        kd_json_string(json, "spec", kd_model_spec(run->teachers[i]));
        hash_json(json, "hash", run->teacher_hash[i]);
        kd_json_float(json, "weight",
                      a->distill.teacher_weights ? a->distill.teacher_weights[i]
                                                 : 1 / (float)a->n_teachers);
        kd_json_object_end(json);
    }
    kd_json_array_end(json);
}

/* What `kd rerun` needs beside the options, under keys that stay. */
static void rerun_json(kd_json *json, const cli_run *run)
{
    const cli_args *a = run->args;
    char text[CLI_PATH], key[40];
    kd_json_object_begin(json, "rerun");
    kd_json_string(json, "directory", cli_absolute(".", text) ? text : NULL);
    if (a->train.fine_tune)
        path_json(json, "file", a->words[0]);
    else
        kd_json_string(json, "spec", kd_model_spec(run->model));
    hash_json(json, "start_hash", run->start_hash);
    kd_json_string(json, "data", cli_data_name(a, text) ? text : NULL);
    kd_json_string(json, "data_dir", cli_data_dir(a, text) ? text : NULL);
    for (size_t i = 0; i < a->n_teachers; i++) {
        snprintf(key, sizeof key, "teacher%zu", i);
        path_json(json, key, a->teachers[i]);
        snprintf(key, sizeof key, "teacher%zu_hash", i);
        hash_json(json, key, run->teacher_hash[i]);
        snprintf(key, sizeof key, "teacher%zu_weight", i);
        if (a->n_teacher_weights) kd_json_number(json, key, a->teacher_weights[i]);
    }
    if (a->distill.cache) path_json(json, "cache", a->distill.cache);
    kd_json_string(json, "isa", kd_ctx_isa(run->ctx));
    kd_json_string(json, "blas", kd_ctx_blas(run->ctx));
    kd_json_string(json, "KD_ISA", getenv("KD_ISA"));
    kd_json_string(json, "KD_CONV", getenv("KD_CONV"));
    kd_json_string(json, "KD_BLAS", getenv("KD_BLAS"));
    kd_json_object_end(json);
}

static void commit_json(kd_json *json)
{
    static const char key[] = "commit=";
    char commit[80] = "unknown";
    const char *at = strstr(kd_build_info(), key);
    if (at)
        snprintf(commit, sizeof commit, "%.*s", (int)strcspn(at + sizeof key - 1, " "),
                 at + sizeof key - 1);
    kd_json_string(json, "commit", commit);
}

void cli_json_result(kd_json *json, const kd_result *r)
{
    kd_json_number(json, "top1", r->top1); /* null if there is no test split */
    kd_json_number(json, "top5", r->top5);
    kd_json_number(json, "loss", r->loss);
    kd_json_number(json, "train_loss", r->train_loss);
    kd_json_number(json, "train_top1", r->train_top1);
    kd_json_number(json, "hard_loss", r->hard_loss);
    kd_json_number(json, "soft_loss", r->soft_loss);
    kd_json_number(json, "teacher_top1", r->teacher_top1);
    kd_json_number(json, "agreement", r->agreement);
    kd_json_number(json, "dev_top1", r->dev_top1);
    kd_json_number(json, "dev_loss", r->dev_loss);
    if (r->best_epoch)
        kd_json_integer(json, "best_epoch", (int64_t)r->best_epoch);
    else
        kd_json_null(json, "best_epoch");
    kd_json_integer(json, "skipped", (int64_t)r->skipped);
    kd_json_number(json, "epochs", r->epochs);
    kd_json_integer(json, "steps", (int64_t)r->steps);
    kd_json_number(json, "seconds", r->seconds);
    kd_json_number(json, "images_per_second", r->images_per_second);
    record_times(json, &r->times);
    kd_json_integer(json, "peak_bytes", (int64_t)r->peak_bytes);
    kd_json_integer(json, "micro_batch", (int64_t)r->micro_batch);
}

static void fill(kd_json *json, const cli_run *run, const char *status, const char *error)
{
    const cli_args *a = run->args;
    char now[32];
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "command", a->command->name);
    kd_json_string(json, "status", status);
    if (error) kd_json_string(json, "error", error);
    kd_json_string(json, "started", run->started);
    if (!strcmp(status, run->status) && strcmp(status, "running")) {
        record_time(now);
        kd_json_string(json, "ended", now);
    }
    kd_json_string(json, "spec", kd_model_spec(run->model));
    kd_json_integer(json, "seed", (int64_t)a->train.seed);
    kd_json_integer(json, "params", (int64_t)kd_params_count(kd_model_params(run->model)));
    kd_json_integer(json, "macs", (int64_t)run->macs);
    path_json(json, "out", a->train.out);
    options_json(json, a);
    rerun_json(json, run);
    kd_json_string(json, "augmentation", run->augment[0] ? run->augment : NULL);
    data_json(json, run);
    if (a->n_teachers) teachers_json(json, run);
    record_machine(json, run->ctx);
    kd_json_string(json, "version", kd_version());
    commit_json(json);
    kd_json_string(json, "build", kd_build_info());
    kd_json_string(json, "blas", kd_ctx_blas(run->ctx));
    kd_json_string(json, "openblas", *kd_blas_config() ? kd_blas_config() : NULL);
    kd_json_string(json, "openblas_core", *kd_blas_core() ? kd_blas_core() : NULL);
    if (run->result) {
        kd_json_object_begin(json, "result");
        cli_json_result(json, run->result);
        if (run->finished)
            hash_json(json, "network_hash", run->result_hash);
        else
            kd_json_null(json, "network_hash");
        kd_json_object_end(json);
    }
    kd_json_object_end(json);
}

/* If the record of the run's end cannot be written, on a full disk for example, the record from its
 * beginning is kept. Its status is then overwritten in place, as the run does not go on. */
static void mark_failed(const char *path)
{
    static const char running[] = "\"status\": \"running\",", failed[] = "\"status\": \"failed\" ,";
    char text[512];
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    const ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    const char *at = strstr(text, running);
    if (at && pwrite(fd, failed, sizeof failed - 1, at - text) > 0) fsync(fd);
    if (fd >= 0) close(fd);
}

static void copy_text(char *out, size_t size, const kd_json_object *o, const char *key)
{
    const char *text = kd_json_get_string(o, key);
    snprintf(out, size, "%s", text ? text : "");
}

void cli_read_earlier(kd_ctx *ctx, const char *out, cli_earlier *e)
{
    enum { LIMIT = 1 << 26 };
    char path[4200], status[20], *text;
    size_t size;
    int64_t bytes = 0;
    kd_json_object *all = NULL, *result = NULL;
    *e = (cli_earlier){.top1 = (double)NAN, .top5 = (double)NAN, .loss = (double)NAN};
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", out);
    if (access(path, F_OK)) return; /* nothing to go on with */
    snprintf(path, sizeof path, "%s/run.json", out);
    if (access(path, F_OK) || kd_file_read_all(ctx, path, LIMIT, &text, &size)) return;
    if (!kd_json_parse(ctx, text, size, &all)) {
        copy_text(status, sizeof status, all, "status");
        copy_text(e->started, sizeof e->started, all, "started");
        copy_text(e->augment, sizeof e->augment, all, "augmentation");
        if (!kd_json_get_object(all, "result", &result)) {
            copy_text(e->network_hash, sizeof e->network_hash, result, "network_hash");
            kd_json_get_number(result, "top1", &e->top1);
            kd_json_get_number(result, "top5", &e->top5);
            kd_json_get_number(result, "loss", &e->loss);
            if (kd_json_get_integer(result, "peak_bytes", &bytes) && bytes > 0)
                e->peak_bytes = (size_t)bytes;
        }
        e->done = !strcmp(status, "done") && e->network_hash[0];
    }
    kd_json_object_destroy(result);
    kd_json_object_destroy(all);
    kd_ctx_free(ctx, text);
}

int cli_write_run(const cli_run *run)
{
    char path[4200];
    kd_json *json;
    snprintf(path, sizeof path, "%s/run.json", run->args->train.out);
    if (kd_json_create(run->ctx, 2, &json)) return cli_fail_ctx(run->ctx);
    fill(json, run, run->status, run->error);
    if (record_write(run->ctx, path, json) == KD_OK) return CLI_DONE;
    if (strcmp(run->status, "running")) mark_failed(path);
    return cli_fail_ctx(run->ctx);
}

int cli_prepare_killed(cli_run *run, const cli_mark *was)
{
    const char *out = run->args->train.out, *text;
    cli_last_words *w = &run->last_words;
    size_t size;
    cli_leave_when_killed(NULL);
    kd_json_destroy(run->killed);
    if (kd_json_create(run->ctx, 2, &run->killed)) return cli_fail_ctx(run->ctx);
    fill(run->killed, run, "interrupted", "killed by a second interrupt in the midst of a step");
    if (kd_json_text(run->killed, &text, &size)) return cli_fail_ctx(run->ctx);
    snprintf(run->killed_path, sizeof run->killed_path, "%s/run.json", out);
    snprintf(run->killed_temp, sizeof run->killed_temp, "%s/run.json.tmp", out);
    snprintf(run->checkpoint, sizeof run->checkpoint, "%s/checkpoint.safetensors", out);
    *w = (cli_last_words){.path = run->killed_path,
                          .temp = run->killed_temp,
                          .text = text,
                          .size = size,
                          .witness = was ? run->checkpoint : NULL};
    if (was) w->was = *was;
    cli_leave_when_killed(w);
    return CLI_DONE;
}
