/* SPDX-License-Identifier: MIT
 * describe.c: what must be the same for a resume, as one JSON object in the checkpoint's metadata
 * ("libkd.run"): the network and the weights it began with, the data by checksum, the teachers, and
 * every option that changes the result. Two descriptions are compared key by key; a key that an
 * older checkpoint lacks has the value that runs had before there was such a key. */
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- writing --------------------------------------------------------------------------------- */

static void print_hash(kd_json *j, const char *key, uint64_t x)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)x);
    kd_json_string(j, key, text);
}

/* 64-bit FNV-1a, four bytes at a time, over x [n] after what made h. */
static uint64_t hash(uint64_t h, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        h = (h ^ bits) * 0x100000001B3u;
    }
    return h;
}

/* Only of a normalisation that is not the data's. */
static void print_normalization(kd_json *j, const char *key, const kd_model *m,
                                const kd_data_info *info)
{
    const float *const mean = kd_model_mean(m), *const std = kd_model_std(m);
    const size_t n = kd_model_channels(m), bytes = n * sizeof *mean;
    if (!mean ||
        (n == info->channels && !memcmp(mean, info->mean, bytes) && !memcmp(std, info->std, bytes)))
        return;
    print_hash(j, key, hash(hash(0xCBF29CE484222325u, mean, n), std, n));
}

static void print_teachers(kd_json *j, const kdt_run *run)
{
    const kd_data_info *info = kd_dataset_info(run->data);
    for (size_t t = 0; t < run->opt.n_teachers; t++) {
        const kdt_teacher *teacher = &run->teachers[t];
        char key[48];
        snprintf(key, sizeof key, "teacher%zu", t);
        kd_json_string(j, key, kd_model_spec(teacher->model));
        snprintf(key, sizeof key, "teacher%zu_hash", t);
        print_hash(j, key, teacher->hash);
        snprintf(key, sizeof key, "teacher%zu_normalization_hash", t);
        print_normalization(j, key, teacher->model, info);
        snprintf(key, sizeof key, "teacher%zu_weight", t);
        kd_json_float(j, key, teacher->weight);
    }
}

static kd_status print(kdt_run *run, kd_json *j)
{
    uint64_t data, start;
    const kd_data_info *info = kd_dataset_info(run->data);
    const size_t micro = kd_plan_batch(run->plan);
    kd_status status = kd_dataset_checksum(run->data, &data);
    if (!status) status = kd_model_hash(run->model, &start);
    for (size_t t = 0; t < run->opt.n_teachers && !status; t++)
        status = kd_model_hash(run->teachers[t].model, &run->teachers[t].hash);
    if (status) return status;
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "spec", kd_model_spec(run->model));
    print_hash(j, "start_hash", start);
    kd_json_string(j, "data", info->name);
    print_hash(j, "data_checksum", data);
    print_normalization(j, "normalization_hash", run->model, info);
    if (micro < run->train.batch) kd_json_integer(j, "micro_batch", (int64_t)micro);
    kd_options_json(j, KD_CHANGES_RESULT, &run->train, run->opt.n_teachers ? &run->opt : NULL);
    print_teachers(j, run);
    kd_json_object_end(j);
    return KD_OK;
}

kd_status kdt_describe(kdt_run *run)
{
    kd_json *j;
    const char *text;
    size_t size;
    kd_status status = kd_json_create(run->ctx, 0, &j);
    if (status) return status;
    status = print(run, j);
    if (!status) status = kd_json_text(j, &text, &size);
    if (!status) run->description = kd_ctx_alloc(run->ctx, size + 1, 1);
    if (!status && !run->description) status = kd_ctx_memory_status(run->ctx);
    if (!status) memcpy(run->description, text, size + 1);
    kd_json_destroy(j);
    return status;
}

/* ---- comparing ------------------------------------------------------------------------------- */

typedef struct pair {
    kdt_run *run;
    const char *path;
    const char *reached;
    const kd_json_object *was, *now;
} pair;

/* A value as text: "null" where there is none. */
static void value(const kd_json_object *o, const char *key, char out[120])
{
    double number;
    int64_t integer;
    int truth;
    const char *string = kd_json_get_string(o, key);
    if (string)
        snprintf(out, 120, "%s", string);
    else if (kd_json_get_integer(o, key, &integer))
        snprintf(out, 120, "%lld", (long long)integer);
    else if (kd_json_get_number(o, key, &number))
        snprintf(out, 120, "%.9g", number);
    else if (kd_json_get_bool(o, key, &truth))
        snprintf(out, 120, "%s", truth ? "true" : "false");
    else
        snprintf(out, 120, "null");
}

static kd_status differ(const pair *p, const char *key, const char *was, const char *now)
{
    return kd_ctx_fail(p->run->ctx, KD_E_MISMATCH,
                       "%s belongs to another run: its %s is %s, this run's is %s", p->path, key,
                       was, now);
}

/* What an option was in runs of versions that did not have it yet. */
static const char *before(const char *key)
{
    static const char *const old[][2] = {{"drop_last", "true"}, {"keep", "last"}};
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        if (!strcmp(old[i][0], key)) return old[i][1];
    return NULL;
}

static kd_status compare(const pair *p, const char *key)
{
    char was[120], now[120];
    value(p->was, key, was);
    value(p->now, key, now);
    if (!strcmp(was, now)) return KD_OK;
    if (!strcmp(was, "null") && before(key) && !strcmp(before(key), now)) return KD_OK;
    return differ(p, key, was, now);
}

/* With a constant rate nothing depends on how long the run was meant to be: it may be prolonged. */
static bool may_differ(const kdt_run *run, const kd_option *o)
{
    return (o->flags & KD_LENGTH) && run->train.schedule == KD_SCHEDULE_CONSTANT;
}

/* Older versions wrote values that nothing reads, where there is null now. */
static bool unread(const pair *p, const kd_option *o)
{
    char now[120];
    value(p->now, o->name, now);
    return !strcmp(now, "null");
}

static kd_status compare_options(const pair *p)
{
    const kd_option *o;
    kd_status status = KD_OK;
    for (size_t i = 0; (o = kd_option_at(i)) && !status; i++) {
        if (!(o->flags & KD_CHANGES_RESULT) || may_differ(p->run, o) || unread(p, o)) continue;
        status = compare(p, o->name);
    }
    return status;
}

/* The network it began with, which older versions did not write. A model that holds what the
 * checkpoint holds may go on, too: it was stopped there. */
static kd_status compare_start(const pair *p)
{
    char was[120], now[120];
    value(p->was, "start_hash", was);
    value(p->now, "start_hash", now);
    if (!strcmp(was, "null") || !strcmp(was, now)) return KD_OK;
    if (p->reached && !strcmp(p->reached, now)) return KD_OK;
    return kd_ctx_fail(
        p->run->ctx, KD_E_MISMATCH,
        "%s belongs to another run: it began with other weights (start_hash %s, this "
        "run's %s)",
        p->path, was, now);
}

static kd_status compare_teachers(const pair *p)
{
    static const char *const parts[] = {"", "_hash", "_normalization_hash", "_weight"};
    kd_status status = KD_OK;
    for (size_t t = 0; t < KD_MAX_TEACHERS && !status; t++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts && !status; i++) {
            char key[48];
            snprintf(key, sizeof key, "teacher%zu%s", t, parts[i]);
            status = compare(p, key);
        }
    return status;
}

kd_status kdt_describe_compare(kdt_run *run, const char *path, const char *was, const char *reached)
{
    kd_json_object *then, *now;
    if (!strcmp(was, run->description)) return KD_OK;
    kd_status status = kd_json_parse(run->ctx, was, strlen(was), &then);
    if (status) return status;
    status = kd_json_parse(run->ctx, run->description, strlen(run->description), &now);
    const pair p = {run, path, reached, then, now};
    static const char *const keys[] = {"spec", "data_checksum", "normalization_hash",
                                       "micro_batch"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !status; i++)
        status = compare(&p, keys[i]);
    if (!status) status = compare_start(&p);
    if (!status) status = compare_teachers(&p);
    if (!status) status = compare_options(&p);
    kd_json_object_destroy(now);
    kd_json_object_destroy(then);
    return status;
}
