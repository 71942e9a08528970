/* SPDX-License-Identifier: MIT
 * report_beside.c: figures that a run's own record does not have, from files beside it. In a folder
 * of runs: costs.json (an experiment's timing pass: latency and arena of each network, milliseconds
 * of each pairing's step by part) and search.jsonl (a search's candidates). In a run's own folder:
 * profile.json, eval.json and export.json, what kd profile --json, kd eval --json and kd export
 * --report have to say of its network. */
#include "report.h"

#include "../common/run_record.h"

#include <math.h>
#include <string.h>

enum { LARGEST = 1 << 24 };

static report_cost *add_cost(report *r, const char *spec, const char *folder)
{
    report_cost *list = report_more(r, r->costs, &r->n_costs, sizeof *list);
    if (!list) return NULL;
    r->costs = list;
    report_cost *c = &list[r->n_costs - 1];
    *c = (report_cost){.spec = spec,
                       .folder = folder,
                       .latency = (double)NAN,
                       .arena = (double)NAN,
                       .flash = (double)NAN};
    return c;
}

/* ---- costs.json ------------------------------------------------------------------------------ */

static double median_of(const kd_json_object *o, const char *key)
{
    kd_json_object *inner;
    if (kd_json_get_object(o, key, &inner)) return (double)NAN;
    const double x = report_number(inner, "median_ms", 1e12);
    kd_json_object_destroy(inner);
    return x;
}

static void take_network(report *r, const kd_json_object *network)
{
    const char *spec = kd_json_get_string(network, "spec");
    report_cost *c = spec ? add_cost(r, report_copy(r, spec), NULL) : NULL;
    if (!c) return;
    c->latency = median_of(network, "forward_1");
    c->arena = report_number(network, "arena_1_bytes", 1e18);
}

static void take_pairing(report *r, const kd_json_object *pairing)
{
    static const char *const parts[] = {"data",     "teacher",   "forward", "loss",
                                        "backward", "optimizer", "step"};
    const char *student = kd_json_get_string(pairing, "student_spec");
    const char *teacher = kd_json_get_string(pairing, "teacher_spec");
    report_timing *list = student ? report_more(r, r->timings, &r->n_timings, sizeof *list) : NULL;
    if (!list) return;
    r->timings = list;
    report_timing *t = &list[r->n_timings - 1];
    t->student = report_copy(r, student);
    t->teacher = teacher ? report_copy(r, teacher) : NULL;
    for (size_t i = 0; i <= REPORT_PARTS; i++) t->parts[i] = median_of(pairing, parts[i]);
}

/* Each object of all[key] to one of the two. */
static void take_each(report *r, const kd_json_object *all, const char *key,
                      void (*take)(report *r, const kd_json_object *o))
{
    enum { MOST = 1000 };
    kd_json_object *list, *one;
    const char *name;
    if (kd_json_get_object(all, key, &list)) return;
    for (size_t i = 0; i < MOST && (name = kd_json_key(list, i)); i++)
        if (!kd_json_get_object(list, name, &one)) {
            take(r, one);
            kd_json_object_destroy(one);
        }
    kd_json_object_destroy(list);
}

static void read_costs(report *r, const char *folder)
{
    const char *why;
    kd_json_object *all = report_json_of(r, folder, "costs.json", &why);
    if (why) report_note(r, "%s/%s", folder, why);
    if (!all) return;
    take_each(r, all, "networks", take_network);
    take_each(r, all, "pairings", take_pairing);
    kd_json_object_destroy(all);
}

/* ---- search.jsonl ---------------------------------------------------------------------------- */

static void take_candidate(report *r, const char *folder, const kd_json_object *o)
{
    const char *name = kd_json_get_string(o, "name");
    report_cost *c = name ? add_cost(r, NULL, report_print(r, "%s/%s", folder, name)) : NULL;
    if (!c) return;
    c->latency = report_number(o, "latency_ms", 1e12);
    c->arena = report_number(o, "memory_bytes", 1e18);
    c->flash = report_number(o, "flash_bytes", 1e18);
    if (c->latency == 0) c->latency = (double)NAN; /* not measured */
}

static void read_search(report *r, const char *folder)
{
    char path[CLI_PATH + 20], *text;
    size_t size, at = 0;
    kd_json_object *o;
    snprintf(path, sizeof path, "%s/search.jsonl", folder);
    if (kd_file_read_all(r->ctx, path, LARGEST, &text, &size)) return;
    while ((o = record_next_line(r->ctx, text, size, &at))) {
        take_candidate(r, folder, o);
        kd_json_object_destroy(o);
    }
    kd_ctx_free(r->ctx, text);
}

void report_read_beside(report *r, const char *folder)
{
    read_costs(r, folder);
    read_search(r, folder);
}

/* ---- in the run's folder --------------------------------------------------------------------- */

static void set(double *figure, double x)
{
    if (!isnan(x)) *figure = x;
}

/* NULL: there is none, or it is broken, or of another network. */
static kd_json_object *open_own(report *r, const report_run *run, const char *name)
{
    const char *why;
    kd_json_object *o = report_json_of(r, run->folder, name, &why);
    const char *spec = o ? kd_json_get_string(o, "spec") : NULL;
    if (o && !why && (!spec || strcmp(spec, run->spec)))
        why = report_print(r, "%s: it is not of this run’s network", name);
    if (!why) return o;
    report_note(r, "%s/%s", run->name, why);
    kd_json_object_destroy(o);
    return NULL;
}

/* Of one picture, not of a training step. */
static bool is_inference(const kd_json_object *profile)
{
    int training = 0;
    return report_number(profile, "batch", 1e9) == 1 &&
           (!kd_json_get_bool(profile, "train", &training) || !training);
}

static void read_own(report *r, report_run *run)
{
    double *f = run->figures;
    kd_json_object *o = open_own(r, run, "profile.json");
    if (o && is_inference(o)) {
        set(&f[FIG_LATENCY], report_number(o, "latency_ms_median", 1e12));
        set(&f[FIG_ARENA], report_number(o, "arena_bytes", 1e18));
    }
    kd_json_object_destroy(o);
    o = open_own(r, run, "eval.json");
    const char *split = o ? kd_json_get_string(o, "split") : NULL;
    if (split && !strcmp(split, "test")) {
        set(&f[FIG_AGREEMENT], report_number(o, "agreement", 100));
        set(&f[FIG_KL], report_number(o, "kl", 1e12));
        set(&f[FIG_ECE], report_number(o, "ece", 100));
    }
    kd_json_object_destroy(o);
    o = open_own(r, run, "export.json");
    set(&f[FIG_FLASH], report_number(o, "blob_bytes", 1e18));
    set(&f[FIG_ARENA], report_number(o, "arena_bytes", 1e18));
    set(&f[FIG_DEVICE_TOP1], report_number(o, "top1", 100));
    kd_json_object_destroy(o);
}

static bool is_costs_of(const report_cost *c, const report_run *run)
{
    return c->spec ? !strcmp(c->spec, run->spec) : !strcmp(c->folder, run->folder);
}

void report_take_costs(report *r)
{
    for (size_t i = 0; i < r->n_runs; i++) {
        report_run *run = r->runs[i];
        if (run->bad) continue;
        for (size_t k = 0; k < r->n_costs; k++) {
            if (!is_costs_of(&r->costs[k], run)) continue;
            set(&run->figures[FIG_LATENCY], r->costs[k].latency);
            set(&run->figures[FIG_ARENA], r->costs[k].arena);
            set(&run->figures[FIG_FLASH], r->costs[k].flash);
        }
        read_own(r, run);
    }
}
