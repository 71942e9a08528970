/* SPDX-License-Identifier: MIT
 * run_json.c: DIR/run.json: all that is needed to do a run again, and what came of it. Written
 * when the run begins and again when it ends, each time as a whole. */
#include "cli.h"

#include "../common/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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
    kd_options_json(json, 0, &a->train, a->n_teachers ? &a->distill : NULL);
    kd_json_object_end(json);
}

/* ---- the rest -------------------------------------------------------------------------------- */

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
    kd_json_number(json, "hard_loss", r->hard_loss);
    kd_json_number(json, "soft_loss", r->soft_loss);
    kd_json_number(json, "teacher_top1", r->teacher_top1);
    kd_json_number(json, "agreement", r->agreement);
    kd_json_number(json, "dev_top1", r->dev_top1);
    kd_json_number(json, "dev_loss", r->dev_loss);
    if (r->best_epoch) kd_json_integer(json, "best_epoch", (int64_t)r->best_epoch);
    kd_json_integer(json, "skipped", (int64_t)r->skipped);
    kd_json_number(json, "epochs", r->epochs);
    kd_json_integer(json, "steps", (int64_t)r->steps);
    kd_json_number(json, "seconds", r->seconds);
    kd_json_number(json, "images_per_second", r->images_per_second);
    record_times(json, &r->times);
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
        record_time(now);
        kd_json_string(json, "ended", now);
    }
    kd_json_string(json, "spec", kd_model_spec(run->model));
    kd_json_integer(json, "seed", (int64_t)a->train.seed);
    kd_json_integer(json, "params", (int64_t)kd_params_count(kd_model_params(run->model)));
    kd_json_integer(json, "macs", (int64_t)run->macs);
    options_json(json, a);
    kd_json_string(json, "augmentation", run->augment[0] ? run->augment : NULL);
    if (data_json(json, run->data)) return CLI_FAILED;
    if (a->n_teachers) teachers_json(json, run);
    record_machine(json, run->ctx);
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

int cli_write_run(const cli_run *run)
{
    char path[4200];
    kd_json *json;
    snprintf(path, sizeof path, "%s/run.json", run->args->train.out);
    if (kd_json_create(run->ctx, 2, &json)) return cli_fail_ctx(run->ctx);
    if (!fill(json, run))
        return record_write(run->ctx, path, json) ? cli_fail_ctx(run->ctx) : CLI_DONE;
    kd_json_destroy(json);
    return cli_fail_ctx(run->ctx);
}
