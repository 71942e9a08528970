/* SPDX-License-Identifier: MIT
 * run_description.c: what must be the same for a resume, as one JSON object in the checkpoint's metadata
 * ("libkd.run"): the network and the weights it began with, the data by checksum, the teachers, and
 * every option that changes the result. Two descriptions are compared key by key; a key that an
 * older checkpoint lacks has the value that runs had before there was such a key. */
#include "train.h"

#include <math.h>
#include <stdarg.h>
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

static void hex(uint64_t x, char out[17])
{
    snprintf(out, 17, "%016llx", (unsigned long long)x);
}

void kdt_normalization_hash(const kd_model *m, const kd_data_info *info, char out[17])
{
    const kd_view v = kd_model_view(m, info);
    const float *const mean = v.mean ? v.mean : info->mean, *const std = v.std ? v.std : info->std;
    const size_t n = v.mean ? v.channels : info->channels;
    hex(hash(hash(0xCBF29CE484222325u, mean, n), std, n), out);
}

bool kdt_class_names_hash(const kd_data_info *info, char out[17])
{
    uint64_t h = 0xCBF29CE484222325u;
    if (!info->class_names) return false;
    for (size_t i = 0; i < info->classes; i++)
        for (const char *c = info->class_names[i];; c++) { /* its end, too */
            h = (h ^ (unsigned char)*c) * 0x100000001B3u;
            if (!*c) break;
        }
    hex(h, out);
    return true;
}

static void print_teachers(kd_json *j, const kdt_run *run)
{
    for (size_t t = 0; t < run->opt.n_teachers; t++) {
        const kdt_teacher *teacher = &run->feed->teachers[t];
        char key[48];
        snprintf(key, sizeof key, "teacher%zu", t);
        kd_json_string(j, key, teacher->spec);
        snprintf(key, sizeof key, "teacher%zu_hash", t);
        kd_json_string(j, key, *teacher->hash ? teacher->hash : NULL);
        snprintf(key, sizeof key, "teacher%zu_normalization_hash", t);
        kd_json_string(j, key, *teacher->normalization ? teacher->normalization : NULL);
        snprintf(key, sizeof key, "teacher%zu_weight", t);
        kd_json_float(j, key, teacher->weight);
    }
}

/* Logits that a cache has rounded; nothing where they are the teachers' own. */
static void print_rounding(kd_json *j, const kdt_feed *feed)
{
    const kdt_row_form *f = &feed->cache.layout.form;
    char text[64];
    if (!feed->cached || (!f->half && !f->top)) return;
    snprintf(text, sizeof text, f->top ? "%s of the %zu most likely classes" : "%s",
             f->half ? "float16" : "float32", f->top);
    kd_json_string(j, "teacher_logits", text);
}

static kd_status print(kdt_run *run, kd_json *j)
{
    char text[17];
    uint64_t data, start;
    const kd_data_info *info = kd_dataset_info(run->data);
    const size_t micro = kd_plan_batch(run->plan);
    kd_status status = kd_dataset_checksum(run->data, &data);
    if (!status) status = kd_model_hash(run->model, &start);
    if (!status) status = kdt_teachers_identify(run->feed);
    if (status) return status;
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "spec", kd_model_spec(run->model));
    print_hash(j, "start_hash", start);
    kd_json_string(j, "data", info->name);
    print_hash(j, "data_checksum", data);
    kdt_normalization_hash(run->model, info, text);
    kd_json_string(j, "normalization_hash", text);
    if (kdt_class_names_hash(info, text)) kd_json_string(j, "class_names_hash", text);
    if (micro < run->feed->most) kd_json_integer(j, "micro_batch", (int64_t)micro);
    if (run->feed->teacher_batch && run->feed->teacher_batch < run->feed->most)
        kd_json_integer(j, "teacher_batch", (int64_t)run->feed->teacher_batch);
    kd_json_string(j, "isa", kd_ctx_isa(run->ctx));
    kd_json_string(j, "augmentation", kd_loader_augment(run->feed->loader));
    kd_options_json(j, KD_CHANGES_RESULT, &run->train, run->opt.n_teachers ? &run->opt : NULL);
    print_rounding(j, run->feed);
    if (run->opt.loss) kd_json_bool(j, "own_loss", 1);
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
    kdt_list *differs;
    const char *reached;
    const kd_json_object *was, *now;
} pair;

void kdt_json_value(const kd_json_object *o, const char *key, char out[120])
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

/* Long texts that are the same for a while: "...", and from a little before they part. */
static void show_parting(const char *a, const char *b, char was[120], char now[120])
{
    enum { BEFORE = 30, LONG = 119 };
    size_t same = 0;
    if (strlen(a) < LONG && strlen(b) < LONG) return;
    while (a[same] && a[same] == b[same]) same++;
    if (same <= BEFORE) return;
    snprintf(was, 120, "...%s", a + same - BEFORE);
    snprintf(now, 120, "...%s", b + same - BEFORE);
}

bool kdt_json_same(const kd_json_object *a, const kd_json_object *b, const char *key, char was[120],
                   char now[120])
{
    double x, y;
    const char *text = kd_json_get_string(a, key), *other = kd_json_get_string(b, key);
    kdt_json_value(a, key, was);
    kdt_json_value(b, key, now);
    if (strcmp(was, now) && !(text && other)) return false;
    if (text && other) {
        if (!strcmp(text, other)) return true;
        show_parting(text, other, was, now);
        return false;
    }
    if (!kd_json_get_number(a, key, &x) || !kd_json_get_number(b, key, &y) || (x <= y && x >= y))
        return true;
    snprintf(was, 120, "%.17g", x);
    snprintf(now, 120, "%.17g", y);
    return false;
}

enum { COUNTED = 40 }; /* letters of "; and N more" */

void kdt_list_add(kdt_list *l, const char *format, ...)
{
    const size_t used = strlen(l->text), most = sizeof l->text - COUNTED;
    const size_t at = used + (used ? 2 : 0);
    va_list values;
    if (l->more++ || at >= most) return;
    va_start(values, format);
    const int n = vsnprintf(l->text + at, most - at, format, values);
    va_end(values);
    const bool whole = n > 0 && (size_t)n < most - at;
    if (whole) l->more = 0;
    if (whole && used) memcpy(l->text + used, "; ", 2);
    if (!whole) l->text[used] = 0;
}

const char *kdt_list_text(kdt_list *l)
{
    const size_t used = strlen(l->text);
    if (l->more)
        snprintf(l->text + used, sizeof l->text - used, "%s%zu more", used ? "; and " : "",
                 l->more);
    return l->text;
}

/* "" where there is none. */
static const char *text_of(const kd_json_object *o, const char *key)
{
    const char *text = kd_json_get_string(o, key);
    return text ? text : "";
}

static void differ(const pair *p, const char *key, const char *was, const char *now)
{
    kdt_list_add(p->differs, "its %s is %s, this run's is %s", key, was, now);
}

/* What an option was in runs of versions that did not have it yet. */
static const char *before(const char *key)
{
    static const char *const old[][2] = {
        {"drop_last", "true"}, {"keep", "last"}, {"on_nan", "stop"}};
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        if (!strcmp(old[i][0], key)) return old[i][1];
    return NULL;
}

static void compare(const pair *p, const char *key)
{
    char was[120], now[120];
    if (kdt_json_same(p->was, p->now, key, was, now)) return;
    if (!strcmp(was, "null") && before(key) && !strcmp(before(key), now)) return;
    differ(p, key, was, now);
}

/* A key of which an older version wrote nothing in the usual case. */
static void compare_known(const pair *p, const char *key)
{
    char was[120];
    kdt_json_value(p->was, key, was);
    if (strcmp(was, "null")) compare(p, key);
}

/* With a constant rate nothing depends on how long the run was meant to be: it may be prolonged. No
 * number is no end. */
static bool may_differ(const pair *p, const kd_option *o)
{
    double was, now;
    if (!(o->flags & KD_LENGTH) || p->run->train.schedule != KD_SCHEDULE_CONSTANT) return false;
    if (!kd_json_get_number(p->now, o->name, &now) || now == 0) return true;
    return !kd_json_get_number(p->was, o->name, &was) || was == 0 || now >= was;
}

/* The augmentation is the same if it comes to the same steps, however it was asked for. */
static bool same_augmentation(const pair *p, const kd_option *o)
{
    const char *was = text_of(p->was, "augmentation");
    return !strcmp(o->name, "augment") && *was && !strcmp(was, text_of(p->now, "augmentation"));
}

/* Rounding differs between kernel tables: such a run ends, but not with the same bits. */
static void say_table(const pair *p)
{
    const char *was = text_of(p->was, "isa"), *now = text_of(p->now, "isa");
    if (*was && strcmp(was, now))
        kdt_warn(p->run,
                 "the run went on the kernel table %s so far, now on %s: it does not end with the "
                 "bits that it would have had",
                 was, now);
}

/* Older versions wrote values that nothing reads, where there is null now. */
static bool unread(const pair *p, const kd_option *o)
{
    char now[120];
    kdt_json_value(p->now, o->name, now);
    return !strcmp(now, "null");
}

static void compare_options(const pair *p)
{
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++)
        if ((o->flags & KD_CHANGES_RESULT) && !may_differ(p, o) && !unread(p, o) &&
            !same_augmentation(p, o))
            compare(p, o->name);
}

/* The network it began with, which older versions did not write. A model that holds what the
 * checkpoint holds may go on, too: it was stopped there. */
static void compare_start(const pair *p)
{
    char was[120], now[120];
    kdt_json_value(p->was, "start_hash", was);
    kdt_json_value(p->now, "start_hash", now);
    if (!strcmp(was, "null") || !strcmp(was, now)) return;
    if (p->reached && !strcmp(p->reached, now)) return;
    kdt_list_add(p->differs, "it began with other weights (start_hash %s, this run's %s)", was,
                 now);
}

static void compare_teachers(const pair *p)
{
    char key[48];
    for (size_t t = 0; t < KD_MAX_TEACHERS; t++) {
        static const char *const parts[] = {"", "_hash", "_weight"};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            snprintf(key, sizeof key, "teacher%zu%s", t, parts[i]);
            compare(p, key);
        }
        snprintf(key, sizeof key, "teacher%zu_normalization_hash", t);
        compare_known(p, key);
    }
}

kd_status kdt_describe_compare(kdt_run *run, const char *path, const char *was, const char *reached)
{
    kd_json_object *then, *now;
    if (!strcmp(was, run->description)) return KD_OK;
    kd_status status = kd_json_parse(run->ctx, was, strlen(was), &then);
    if (status) return status;
    status = kd_json_parse(run->ctx, run->description, strlen(run->description), &now);
    kdt_list differs = {.more = 0};
    const pair p = {run, &differs, reached, then, now};
    if (!status) {
        compare(&p, "spec");
        compare(&p, "data_checksum");
        compare_known(&p, "normalization_hash");
        compare_known(&p, "class_names_hash");
        compare(&p, "micro_batch");
        compare(&p, "teacher_batch");
        compare(&p, "teacher_logits");
        compare(&p, "own_loss");
        compare_start(&p);
        compare_teachers(&p);
        compare_options(&p);
        say_table(&p);
    }
    if (*kdt_list_text(&differs))
        status = kd_ctx_fail(run->ctx, KD_E_MISMATCH, "%s belongs to another run: %s", path,
                             differs.text);
    kd_json_object_destroy(now);
    kd_json_object_destroy(then);
    return status;
}
