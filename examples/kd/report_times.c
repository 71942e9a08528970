/* SPDX-License-Identifier: MIT
 * report_times.c: where a training step's time goes: data, teacher's forward, student's forward,
 * loss, backward, optimiser. Of the runs themselves, whatever else the machine did meanwhile; and of a
 * quiet timing pass (costs.json), where there is one. */
#include "report.h"

#include "report_svg.h"

#include <math.h>
#include <string.h>

enum { MOST_BARS = 48 };

static const char *const parts[REPORT_PARTS] = {"waiting for data",  "teacher’s forward",
                                                "student’s forward", "loss, forward and backward",
                                                "backward",          "optimiser"};

typedef struct bars {
    double *values;     /* [n,REPORT_PARTS] ms of a step */
    double *whole;      /* [n] */
    const char **names; /* [n] */
    size_t *groups;     /* [n]; of the timing pass SIZE_MAX */
    const char **words; /* [n] */
    size_t n;
} bars;

static bool make(report *r, bars *b, size_t n)
{
    b->values = report_alloc(r, n * REPORT_PARTS, sizeof *b->values);
    b->whole = report_alloc(r, n, sizeof *b->whole);
    b->names = report_alloc(r, n, sizeof *b->names);
    b->words = report_alloc(r, n, sizeof *b->words);
    b->groups = report_alloc(r, n, sizeof *b->groups);
    b->n = 0;
    return !r->failed;
}

static double sum_of(const double *values)
{
    double sum = 0;
    for (size_t p = 0; p < REPORT_PARTS; p++) sum += isnan(values[p]) ? 0 : values[p];
    return sum;
}

/* ---- the table ------------------------------------------------------------------------------- */

static void row(report *r, const bars *b, size_t i, FILE *f)
{
    const double *v = b->values + i * REPORT_PARTS;
    fputs("<tr>", f);
    if (b->groups[i] < r->n_groups) {
        html_group_cell(f, r, b->groups[i]);
    } else {
        fputs("<th scope=\"row\"><b class=\"n\">", f);
        html(f, b->names[i]);
        fputs("</b> ", f);
        html(f, b->words[i]);
        fputs("</th>", f);
    }
    for (size_t p = 0; p < REPORT_PARTS; p++) html_cell(f, "%.3g", v[p]);
    html_cell(f, "%.4g", b->whole[i]);
    html_cell(f, "%.1f", 100 * v[FIG_TEACHER - FIG_DATA] / b->whole[i]);
    html_cell(f, "%.2f", 100 * v[FIG_LOSS_TIME - FIG_DATA] / b->whole[i]);
    fputs("</tr>\n", f);
}

static void table(report *r, const bars *b, const char *caption, FILE *f)
{
    static const char *const columns[] = {"<step of",        "data",      "teacher",
                                          "forward",         "loss",      "backward",
                                          "optimiser",       "whole, ms", "teacher’s share, %",
                                          "loss’s share, %", NULL};
    fputs("<details open=\"\"><summary>The numbers</summary>\n", f);
    html_table(f, caption, columns);
    for (size_t i = 0; i < b->n; i++) row(r, b, i, f);
    html_table_end(f);
    fputs("</details>\n", f);
}

static void draw(report *r, const bars *b, const char *title, FILE *f)
{
    const unsigned id = r->next_id++;
    fputs("<figure><figcaption>", f);
    html(f, title);
    fputs("</figcaption>\n", f);
    svg_bars(
        f, id, b->values, b->n, REPORT_PARTS, b->names, "ms", title,
        "A bar each, made of its parts in the order of the key. The numbers are in the table.");
    fputs("<ul class=\"key\">", f);
    for (size_t p = 0; p < REPORT_PARTS; p++) {
        fputs("<li>", f);
        svg_key_fill(f, id, p);
        fprintf(f, "<span>%s</span></li>\n", parts[p]);
    }
    fputs("</ul></figure>\n", f);
}

/* ---- of the runs ----------------------------------------------------------------------------- */

/* Means over the group's runs; false: no run has times. */
static bool take_group(const report_group *g, double *out)
{
    bool any = false;
    for (size_t p = 0; p < REPORT_PARTS; p++) {
        double sum = 0;
        size_t n = 0;
        for (size_t i = 0; i < g->n; i++) {
            const double *x = g->runs[i]->figures;
            const double ms = 1e3 * x[FIG_DATA + (int)p] / x[FIG_STEPS];
            if (!isfinite(ms)) continue;
            sum += ms;
            n++;
        }
        out[p] = n ? sum / (double)n : (double)NAN;
        any = any || n;
    }
    return any && sum_of(out) > 0;
}

static void of_runs(report *r, FILE *f)
{
    bars b;
    if (!make(r, &b, r->n_groups)) return;
    size_t left_out = 0;
    for (size_t g = 0; g < r->n_groups; g++) {
        double *v = b.values + b.n * REPORT_PARTS;
        if (!take_group(&r->groups[g], v)) continue;
        if (b.n == MOST_BARS) {
            left_out++;
            continue;
        }
        b.whole[b.n] = sum_of(v);
        b.groups[b.n] = g;
        b.names[b.n++] = report_print(r, "%zu", g + 1);
    }
    if (!b.n) {
        fputs("<p>No run has its time by part.</p>\n", f);
        return;
    }
    draw(r, &b, "A training step of the runs, mean milliseconds by part", f);
    table(r, &b, "A step of the runs, ms", f);
    if (left_out) fprintf(f, "<p>%zu more groups are left out.</p>\n", left_out);
}

/* ---- of the timing pass ---------------------------------------------------------------------- */

static void of_timings(report *r, FILE *f)
{
    bars b;
    const size_t n = r->n_timings < MOST_BARS ? r->n_timings : MOST_BARS;
    if (!n || !make(r, &b, n)) return;
    for (size_t i = 0; i < n; i++) {
        const report_timing *t = &r->timings[i];
        memcpy(b.values + i * REPORT_PARTS, t->parts, REPORT_PARTS * sizeof(double));
        b.whole[i] = t->parts[REPORT_PARTS];
        b.groups[i] = SIZE_MAX;
        b.names[i] = report_print(r, "T%zu", i + 1);
        b.words[i] = report_print(r, "%s%s%s", report_short_spec(r, t->student),
                                  t->teacher ? " from " : " alone",
                                  t->teacher ? report_short_spec(r, t->teacher) : "");
        b.n = i + 1;
    }
    fputs(
        "<h3>The timing pass</h3>\n<p>Of <code>costs.json</code>: medians of steps that were timed "
        "one by one, each part by itself.</p>\n",
        f);
    draw(r, &b, "A training step of the timing pass, median milliseconds by part", f);
    table(r, &b, "A step of the timing pass, ms", f);
}

void report_times(report *r, FILE *f)
{
    fputs(
        "<p>Time of the runs is as they had it: another job on the machine makes all parts longer. "
        "Compare parts within a bar before bars.</p>\n",
        f);
    of_runs(r, f);
    of_timings(r, f);
}
