/* SPDX-License-Identifier: MIT
 * report_json.c: kd report --json: groups, their figures, and differences. null is what was not
 * measured. */
#include "report.h"

#include <math.h>

static void interval(kd_json *json, const char *key, stats_interval i)
{
    kd_json_array_begin(json, key);
    kd_json_number(json, NULL, i.low);
    kd_json_number(json, NULL, i.high);
    kd_json_array_end(json);
}

static void group_json(kd_json *json, const report *r, size_t group)
{
    const report_group *g = &r->groups[group];
    kd_json_object_begin(json, NULL);
    kd_json_integer(json, "group", (int64_t)group + 1);
    kd_json_string(json, "label", g->label);
    kd_json_array_begin(json, "runs");
    for (size_t i = 0; i < g->n; i++) kd_json_string(json, NULL, g->runs[i]->name);
    kd_json_array_end(json);
    kd_json_array_begin(json, "seeds");
    for (size_t i = 0; i < g->n_seeds; i++) kd_json_integer(json, NULL, g->seeds[i]);
    kd_json_array_end(json);
    kd_json_array_begin(json, "each");
    for (size_t i = 0; i < g->n_seeds; i++) kd_json_number(json, NULL, g->top1[i]);
    kd_json_array_end(json);
    kd_json_number(json, "mean", g->mean);
    kd_json_number(json, "deviation", g->deviation);
    interval(json, "interval", g->interval);
    kd_json_object_begin(json, "figures");
    for (int i = 0; i < REPORT_FIGURES; i++)
        kd_json_number(json, report_figures[i].name, g->figures[i]);
    kd_json_object_end(json);
    kd_json_object_end(json);
}

static void comparison_json(kd_json *json, const report_comparison *c)
{
    kd_json_object_begin(json, NULL);
    kd_json_integer(json, "group", (int64_t)c->a + 1);
    kd_json_integer(json, "against", (int64_t)c->b + 1);
    kd_json_string(json, "which_is", c->why);
    kd_json_integer(json, "seeds", (int64_t)c->d.n);
    kd_json_array_begin(json, "each");
    for (size_t i = 0; i < c->d.n; i++) kd_json_number(json, NULL, c->each[i]);
    kd_json_array_end(json);
    kd_json_number(json, "mean", c->d.mean);
    kd_json_number(json, "deviation", c->d.deviation);
    interval(json, "interval", c->d.seeds);
    interval(json, "interval_pictures", c->d.pictures);
    kd_json_number(json, "p", c->p_alone);
    kd_json_number(json, "p_holm", c->d.p);
    kd_json_string(json, "verdict", compare_verdict(&c->d));
    kd_json_object_end(json);
}

int report_json(report *r)
{
    kd_json *json;
    if (kd_json_create(r->ctx, 0, &json)) return cli_fail_ctx(r->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_integer(json, "runs", (int64_t)r->n_runs);
    kd_json_integer(json, "counted", (int64_t)r->n_good);
    kd_json_array_begin(json, "left_out");
    for (size_t i = 0; i < r->n_runs; i++) {
        if (!r->runs[i]->bad) continue;
        kd_json_object_begin(json, NULL);
        kd_json_string(json, "run", r->runs[i]->name);
        kd_json_string(json, "why", r->runs[i]->bad);
        kd_json_object_end(json);
    }
    kd_json_array_end(json);
    kd_json_array_begin(json, "groups");
    for (size_t g = 0; g < r->n_groups; g++) group_json(json, r, g);
    kd_json_array_end(json);
    kd_json_array_begin(json, "differences");
    for (size_t i = 0; i < r->n_comparisons; i++) comparison_json(json, &r->comparisons[i]);
    kd_json_array_end(json);
    kd_json_object_end(json);
    return cli_print_json(r->ctx, json);
}
