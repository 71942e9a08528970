/* SPDX-License-Identifier: MIT
 * report_record.c: a run's own files: run.json as kd and the experiments' programs write it, the
 * epochs of metrics.jsonl, answers.txt. A record that is broken, of a run that is not done, or
 * without an accuracy is kept with the reason why it does not count. */
#include "report.h"

#include "../common/answers.h"
#include "../common/run_record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_RECORD = 1 << 24, LARGEST_METRICS = 1 << 27, MOST_EPOCHS = 100000 };

const report_figure report_figures[REPORT_FIGURES] = {
    [FIG_TOP1] = {"top1", 100},
    [FIG_TOP5] = {"top5", 100},
    [FIG_LOSS] = {"loss", 1e12},
    [FIG_TRAIN_TOP1] = {"train_top1", 100},
    [FIG_TRAIN_LOSS] = {"train_loss", 1e12},
    [FIG_DEV_TOP1] = {"dev_top1", 100},
    [FIG_EPOCHS] = {"epochs", 1e12},
    [FIG_STEPS] = {"steps", 1e15},
    [FIG_PARAMS] = {"params", 1e15},
    [FIG_MACS] = {"macs", 1e18},
    [FIG_PEAK] = {"peak_bytes", 1e18},
    [FIG_SECONDS] = {"seconds", 1e12},
    [FIG_SPEED] = {"images_per_second", 1e12},
    [FIG_DATA] = {"seconds_data", 1e12},
    [FIG_TEACHER] = {"seconds_teacher", 1e12},
    [FIG_FORWARD] = {"seconds_forward", 1e12},
    [FIG_LOSS_TIME] = {"seconds_loss", 1e12},
    [FIG_BACKWARD] = {"seconds_backward", 1e12},
    [FIG_OPTIMIZER] = {"seconds_optimizer", 1e12},
    [FIG_LATENCY] = {"latency_ms", 1e12},
    [FIG_ARENA] = {"arena_bytes", 1e18},
    [FIG_FLASH] = {"flash_bytes", 1e18},
    [FIG_DEVICE_TOP1] = {"device_top1", 100},
    [FIG_AGREEMENT] = {"agreement", 100},
    [FIG_KL] = {"kl", 1e12},
    [FIG_ECE] = {"ece", 100},
    [FIG_TRAIN_AGREEMENT] = {"train_agreement", 100},
    [FIG_TEACHER_TOP1] = {"train_teacher_top1", 100},
};

/* ---- JSON ------------------------------------------------------------------------------------ */

kd_json_object *report_json_of(report *r, const char *folder, const char *name, const char **why)
{
    char path[CLI_PATH + 40], *text;
    size_t size;
    kd_json_object *o = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    kd_status status = kd_file_read_all(r->ctx, path, LARGEST_RECORD, &text, &size);
    *why = NULL;
    if (status == KD_E_NOTFOUND) return NULL;
    if (!status) {
        status = kd_json_parse(r->ctx, text, size, &o);
        kd_ctx_free(r->ctx, text);
    }
    if (status == KD_E_NOMEM) r->failed = true;
    if (status)
        *why = report_print(r, "%s: %s", name,
                            status == KD_E_FORMAT  ? "it is broken"
                            : status == KD_E_LIMIT ? "it is too large"
                                                   : "it cannot be read");
    return o;
}

double report_number(const kd_json_object *o, const char *key, double most)
{
    double x;
    return o && kd_json_get_number(o, key, &x) && x >= 0 && x <= most ? x : (double)NAN;
}

static const char *text_of(report *r, const kd_json_object *o, const char *key)
{
    const char *text = o ? kd_json_get_string(o, key) : NULL;
    return text ? report_copy(r, text) : NULL;
}

static const char *text_or_none(report *r, const kd_json_object *o, const char *key)
{
    const char *text = text_of(r, o, key);
    return text ? text : "";
}

/* ---- options --------------------------------------------------------------------------------- */

/* Options that leave the result as it is, or that the record says better elsewhere. */
static bool is_apart(const char *key)
{
    static const char *const apart[] = {
        "seed", "teacher", "data",       "data_dir", "threads",     "json",  "quiet",
        "help", "dry_run", "max_memory", "model",    "skip_broken", "scale", "teacher_model"};
    const kd_option *o = kd_option_find(key);
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (!strcmp(apart[i], key)) return true;
    return o && !(o->flags & KD_CHANGES_RESULT);
}

/* A plain value as text; NULL: null, an object. A list is its plain values. */
static const char *value_text(report *r, const kd_json_object *o, const char *key)
{
    const char *text = kd_json_get_string(o, key);
    int64_t integer;
    double number;
    int truth;
    size_t count;
    if (text) return report_copy(r, text);
    if (kd_json_get_bool(o, key, &truth)) return truth ? "on" : NULL; /* off is as good as absent */
    if (kd_json_get_integer(o, key, &integer)) return report_print(r, "%lld", (long long)integer);
    if (kd_json_get_number(o, key, &number)) return report_print(r, "%.10g", number);
    if (!kd_json_get_count(o, key, &count) || !count) return NULL;
    const char *all = "";
    for (size_t i = 0; i < count && i < 32 && all; i++) {
        kd_json_object *element;
        if (kd_json_get_element(o, key, i, &element)) break;
        const char *one = value_text(r, element, "value");
        all = report_print(r, "%s%s%s", all, i ? " " : "", one ? one : "-");
        kd_json_object_destroy(element);
    }
    return all;
}

static void read_options(report *r, report_run *run, const kd_json_object *all)
{
    enum { MOST = 400 };
    kd_json_object *o;
    const char *key;
    if (kd_json_get_object(all, "options", &o)) return;
    for (size_t i = 0; i < MOST && (key = kd_json_key(o, i)); i++)
        if (!is_apart(key)) report_add_setting(r, run, key, value_text(r, o, key));
    kd_json_object_destroy(o);
}

/* ---- others' networks ------------------------------------------------------------------------ */

/* A cache of logits may teach alone: it stands for the teacher. */
static const char *cache_of(report *r, const kd_json_object *all)
{
    kd_json_object *options;
    if (kd_json_get_object(all, "options", &options)) return NULL;
    const char *cache = kd_json_get_string(options, "cache");
    const char *name = cache ? report_print(r, "cache %s", report_title(r, cache)) : NULL;
    kd_json_object_destroy(options);
    return name;
}

static void read_teachers(report *r, report_run *run, const kd_json_object *all)
{
    size_t count = 0;
    kd_json_get_count(all, "teachers", &count);
    for (size_t i = 0; i < count && i < KD_MAX_TEACHERS; i++) {
        kd_json_object *element, *teacher = NULL;
        if (kd_json_get_element(all, "teachers", i, &element)) return;
        if (!kd_json_get_object(element, "value", &teacher)) {
            const char *spec = text_or_none(r, teacher, "spec");
            const char *path = text_of(r, teacher, "path");
            run->teacher_spec =
                run->teacher_spec ? report_print(r, "%s + %s", run->teacher_spec, spec) : spec;
            if (i == 0) {
                run->teacher_file = path ? path : text_or_none(r, teacher, "file");
                run->teacher_hash = text_or_none(r, teacher, "hash");
            }
        }
        kd_json_object_destroy(teacher);
        kd_json_object_destroy(element);
    }
    if (!run->teacher_spec) run->teacher_spec = cache_of(r, all);
}

static void read_start(report *r, report_run *run, const kd_json_object *all)
{
    kd_json_object *rerun = NULL;
    kd_json_get_object(all, "rerun", &rerun);
    run->start_file = text_of(r, all, "start");
    if (!run->start_file) run->start_file = text_of(r, rerun, "file");
    if (run->start_file) run->start_hash = text_or_none(r, rerun, "start_hash");
    kd_json_object_destroy(rerun);
}

/* ---- the result ------------------------------------------------------------------------------ */

static void read_result(report *r, report_run *run, const kd_json_object *all)
{
    static const report_figure_id whole[] = {FIG_PARAMS, FIG_MACS};
    kd_json_object *o = NULL, *times = NULL;
    double *f = run->figures;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        f[whole[i]] =
            report_number(all, report_figures[whole[i]].name, report_figures[whole[i]].most);
    if (kd_json_get_object(all, "result", &o)) return;
    for (int i = FIG_TOP1; i <= FIG_SPEED; i++)
        if (i != FIG_PARAMS && i != FIG_MACS)
            f[i] = report_number(o, report_figures[i].name, report_figures[i].most);
    if (f[FIG_STEPS] < 1) f[FIG_STEPS] = (double)NAN;
    run->test_pictures = report_number(o, "test_pictures", 1e12);
    f[FIG_TEACHER_TOP1] = report_number(o, "teacher_top1", 100);
    /* the experiments' programs test it; kd has the last epoch's, of training pictures */
    f[isnan(run->test_pictures) ? FIG_TRAIN_AGREEMENT : FIG_AGREEMENT] =
        report_number(o, "agreement", 100);
    f[FIG_KL] = report_number(o, "kl", 1e12);
    if (!kd_json_get_object(o, "times", &times)) {
        for (int i = FIG_DATA; i <= FIG_OPTIMIZER; i++)
            f[i] = report_number(times, report_figures[i].name + strlen("seconds_"), 1e12);
        kd_json_object_destroy(times);
    }
    run->hash = text_or_none(r, o, "network_hash");
    kd_json_object_destroy(o);
}

static void read_data(report *r, report_run *run, const kd_json_object *all)
{
    kd_json_object *o;
    if (!kd_json_get_object(all, "data", &o)) {
        run->data = text_or_none(r, o, "name");
        run->checksum = text_or_none(r, o, "checksum");
        if (isnan(run->test_pictures)) run->test_pictures = report_number(o, "test", 1e12);
        kd_json_object_destroy(o);
    }
    if (!kd_json_get_object(all, "machine", &o)) {
        run->cpu = text_or_none(r, o, "cpu");
        kd_json_object_destroy(o);
    }
}

/* ---- metrics.jsonl --------------------------------------------------------------------------- */

static void take_epoch(report *r, report_run *run, const kd_json_object *o)
{
    double epoch;
    const char *event = kd_json_get_string(o, "event");
    if (event && strcmp(event, "epoch")) return;
    if (!kd_json_get_number(o, "epoch", &epoch) || !(epoch >= 0 && epoch < 1e9)) return;
    const double ends = report_number(o, "epochs", 1e9); /* a fraction, if it was cut short */
    report_epoch *list = report_more(r, run->epochs, &run->n_epochs, sizeof *list);
    if (!list) return;
    run->epochs = list;
    list[run->n_epochs - 1] = (report_epoch){.epoch = isnan(ends) ? epoch : ends,
                                             .dev = report_number(o, "dev_top1", 100),
                                             .accuracy = report_number(o, "accuracy", 100),
                                             .loss = report_number(o, "loss", 1e12)};
}

static void read_metrics(report *r, report_run *run)
{
    char path[CLI_PATH + 20], *text;
    size_t size, at = 0;
    kd_json_object *o;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run->folder);
    if (kd_file_read_all(r->ctx, path, LARGEST_METRICS, &text, &size)) return;
    while (run->n_epochs < MOST_EPOCHS && (o = record_next_line(r->ctx, text, size, &at))) {
        take_epoch(r, run, o);
        kd_json_object_destroy(o);
    }
    kd_ctx_free(r->ctx, text);
}

/* answers.txt belongs to the network whose sum it has. */
static void read_answers(report *r, report_run *run)
{
    char path[CLI_PATH + 20];
    snprintf(path, sizeof path, "%s/answers.txt", run->folder);
    char *right = answers_read(r->ctx, path, run->weights, &run->n_right);
    if (!right) return;
    char *kept = report_alloc(r, run->n_right + 1, 1);
    if (kept) memcpy(kept, right, run->n_right);
    run->right = kept;
    kd_ctx_free(r->ctx, right);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static const char *why_bad(report *r, const report_run *run, const kd_json_object *all)
{
    const char *status = kd_json_get_string(all, "status"),
               *error = kd_json_get_string(all, "error");
    if (!run->spec || !*run->spec) return "run.json: it names no network";
    if (!status) return "run.json: it does not say whether the run is done";
    if (strcmp(status, "done"))
        return report_print(r, "%.40s%s%.300s", status, error ? ": " : "", error ? error : "");
    if (isnan(run->figures[FIG_TOP1])) return "it has no test accuracy";
    return NULL;
}

void report_read_run(report *r, report_run *run)
{
    for (int i = 0; i < REPORT_FIGURES; i++) run->figures[i] = (double)NAN;
    run->test_pictures = (double)NAN;
    run->weights = run->hash = run->teacher_file = run->teacher_hash = run->data = run->checksum =
        "";
    run->cpu = run->version = run->out = "";
    kd_json_object *all = report_json_of(r, run->folder, "run.json", &run->bad);
    if (!all) {
        if (!run->bad) run->bad = "run.json is missing";
        return;
    }
    run->spec = text_of(r, all, "spec");
    run->weights = text_or_none(r, all, "weights");
    run->version = text_or_none(r, all, "version");
    run->out = text_or_none(r, all, "out");
    kd_json_get_integer(all, "seed", &run->seed);
    read_options(r, run, all);
    read_teachers(r, run, all);
    read_start(r, run, all);
    read_result(r, run, all);
    if (!*run->hash) run->hash = run->weights;
    read_data(r, run, all);
    run->bad = why_bad(r, run, all);
    kd_json_object_destroy(all);
    if (run->bad) return;
    read_metrics(r, run);
    read_answers(r, run);
}
