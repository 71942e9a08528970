/* SPDX-License-Identifier: MIT
 * report_curves.c: learning curves: accuracy on the development split where every run of a picture
 * has one, else training accuracy and loss, by epoch: the mean over a group's runs as a line, their
 * range as a band. Groups of one network on one data set share a picture, SVG_STYLES at most. */
#include "report.h"

#include "report_svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_POINTS = 300, MOST_ROWS = 24, MOST_PICTURES = 40 };

typedef enum quantity { DEV, ACCURACY, LOSS } quantity;

typedef struct curve {
    size_t group, n;
    double *epoch, *mean, *low, *high; /* [n] */
} curve;

typedef struct chart {
    size_t groups[SVG_STYLES], n;
    curve curves[SVG_STYLES];
    const char *student, *data;
    bool continued, mixed;
} chart;

static double value_of(const report_epoch *e, quantity what)
{
    return what == DEV ? e->dev : what == ACCURACY ? e->accuracy : e->loss;
}

/* ---- the mean over runs ---------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* All epochs of the group's runs, each once; at most MOST_POINTS, evenly chosen, the last kept. */
static size_t epochs_of(report *r, const report_group *g, double **out)
{
    size_t all = 0, n = 0;
    for (size_t i = 0; i < g->n; i++) all += g->runs[i]->n_epochs;
    double *x = report_alloc(r, all, sizeof *x);
    *out = x;
    if (!x) return 0;
    for (size_t i = 0, k = 0; i < g->n; i++)
        for (size_t e = 0; e < g->runs[i]->n_epochs; e++) x[k++] = g->runs[i]->epochs[e].epoch;
    if (all) qsort(x, all, sizeof *x, ascending);
    for (size_t i = 0; i < all; i++)
        if (!n || x[i] != x[n - 1]) x[n++] = x[i];
    if (n <= MOST_POINTS) return n;
    for (size_t i = 0; i < MOST_POINTS; i++) x[i] = x[i * (n - 1) / (MOST_POINTS - 1)];
    return MOST_POINTS;
}

static curve curve_of(report *r, size_t group, quantity what)
{
    const report_group *g = &r->groups[group];
    curve c = {.group = group};
    const size_t points = epochs_of(r, g, &c.epoch);
    c.mean = report_alloc(r, points, sizeof *c.mean);
    c.low = report_alloc(r, points, sizeof *c.low);
    c.high = report_alloc(r, points, sizeof *c.high);
    if (r->failed) return c;
    size_t *next = report_alloc(r, g->n, sizeof *next); /* of each run: epochs come in order */
    for (size_t i = 0; next && i < points; i++) {
        double sum = 0, low = HUGE_VAL, high = -HUGE_VAL;
        size_t n = 0;
        for (size_t k = 0; k < g->n; k++) {
            const report_run *run = g->runs[k];
            while (next[k] < run->n_epochs && run->epochs[next[k]].epoch < c.epoch[i]) next[k]++;
            const bool there = next[k] < run->n_epochs && run->epochs[next[k]].epoch == c.epoch[i];
            const double v = there ? value_of(&run->epochs[next[k]], what) : (double)NAN;
            if (isnan(v)) continue;
            sum += v;
            n++;
            low = v < low ? v : low;
            high = v > high ? v : high;
        }
        if (!n) continue;
        c.epoch[c.n] = c.epoch[i];
        c.mean[c.n] = sum / (double)n;
        c.low[c.n] = low;
        c.high[c.n++] = high;
    }
    return c;
}

/* ---- a picture ------------------------------------------------------------------------------- */

static const char *const quantity_names[] = {"accuracy on the development split, %",
                                             "training accuracy, %", "training loss"};

static bool axes_of(const chart *c, quantity what, svg_axis *x, svg_axis *y)
{
    double low = HUGE_VAL, high = -HUGE_VAL, first = HUGE_VAL, last = 0;
    size_t points = 0;
    for (size_t i = 0; i < c->n; i++)
        for (size_t k = 0; k < c->curves[i].n; k++) {
            const curve *v = &c->curves[i];
            low = v->low[k] < low ? v->low[k] : low;
            high = v->high[k] > high ? v->high[k] : high;
            first = v->epoch[k] < first ? v->epoch[k] : first;
            last = v->epoch[k] > last ? v->epoch[k] : last;
            points++;
        }
    *x = svg_axis_of(0, last, false, "epoch");
    const double margin = .03 * (last - first) + .01;
    x->low = points ? first - margin : 0; /* no room for epochs that are not there */
    x->high = points ? last + margin : 1;
    x->whole = true;
    *y = svg_axis_of(low, high, what == LOSS && high > 8 * low, quantity_names[what]);
    return points > 0;
}

static void key(const report *r, const chart *c, FILE *f)
{
    fputs("<ul class=\"key\">", f);
    for (size_t i = 0; i < c->n; i++) {
        if (!c->curves[i].n) continue;
        fputs("<li>", f);
        svg_key_line(f, i);
        fprintf(f, "<span><b class=\"n\">%zu</b> ", c->groups[i] + 1);
        html(f, r->groups[c->groups[i]].label);
        fputs("</span></li>\n", f);
    }
    fputs("</ul>\n", f);
}

static const char *const columns[] = {"epoch", NULL};

/* The mean, and the range where there is one. */
static void point_cell(FILE *f, const curve *c, double epoch, const char *format)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->epoch[i] != epoch) continue;
        fputs("<td>", f);
        html_number(f, format, c->mean[i]);
        if (c->low[i] != c->high[i]) {
            fputs(" (", f);
            html_number(f, format, c->low[i]);
            fputs("–", f);
            html_number(f, format, c->high[i]);
            fputs(")", f);
        }
        fputs("</td>", f);
        return;
    }
    fputs("<td>–</td>", f);
}

/* The epochs of the longest curve, MOST_ROWS at most. */
static void data_table(report *r, const chart *c, quantity what, FILE *f)
{
    const curve *longest = &c->curves[0];
    const char **head = report_alloc(r, c->n + 2, sizeof *head);
    if (!head) return;
    head[0] = columns[0];
    for (size_t i = 0; i < c->n; i++) {
        if (c->curves[i].n > longest->n) longest = &c->curves[i];
        head[i + 1] = report_print(r, "%zu", c->groups[i] + 1);
    }
    const size_t rows = longest->n < MOST_ROWS ? longest->n : MOST_ROWS;
    fputs("<details><summary>The numbers</summary>\n", f);
    html_table(f,
               report_print(r, "%s by group: mean (lowest–highest)%s", quantity_names[what],
                            rows < longest->n ? ", some of the epochs" : ""),
               head);
    for (size_t i = 0; i < rows; i++) {
        const double epoch =
            longest->epoch[rows < 2 ? longest->n - 1 : i * (longest->n - 1) / (rows - 1)];
        fputs("<tr>", f);
        html_cell(f, "%.4g", epoch);
        for (size_t k = 0; k < c->n; k++)
            point_cell(f, &c->curves[k], epoch, what == LOSS ? "%.3f" : "%.2f");
        fputs("</tr>\n", f);
    }
    html_table_end(f);
    fputs("</details>\n", f);
}

static void draw(report *r, chart *c, quantity what, FILE *f)
{
    svg_axis x, y;
    svg_end_label ends[SVG_STYLES];
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) c->curves[i] = curve_of(r, c->groups[i], what);
    if (r->failed || !axes_of(c, what, &x, &y)) return;
    const char *title = report_print(
        r, "%s on %s%s: %s", c->mixed ? "several networks" : report_short_spec(r, c->student),
        c->data, c->continued ? ", trained further" : "", quantity_names[what]);
    fputs("<figure><figcaption>", f);
    html(f, title);
    fputs("</figcaption>\n", f);
    svg s = svg_begin(f, r->next_id++, 270, x, y, title,
                      "A line a group, numbered as in the tables: the mean over its runs by epoch, "
                      "with their range. The numbers are in the table below.");
    for (size_t i = 0; i < c->n; i++)
        if (c->groups[i] < r->n_groups && r->groups[c->groups[i]].n > 1)
            svg_band(&s, c->curves[i].epoch, c->curves[i].low, c->curves[i].high, c->curves[i].n,
                     i);
    for (size_t i = 0; i < c->n; i++) {
        const curve *v = &c->curves[i];
        svg_line(&s, v->epoch, v->mean, v->n, i);
        if (v->n)
            ends[n++] = (svg_end_label){v->epoch[v->n - 1], v->mean[v->n - 1], c->groups[i] + 1, i};
    }
    svg_end_labels(&s, ends, n);
    svg_end(&s);
    key(r, c, f);
    data_table(r, c, what, f);
    fputs("</figure>\n", f);
}

/* ---- which ----------------------------------------------------------------------------------- */

static bool belongs(const report_run *a, const report_run *b)
{
    return !strcmp(a->spec, b->spec) && !strcmp(a->data, b->data) &&
           !a->start_file == !b->start_file;
}

static bool has_epochs(const report_group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->runs[i]->n_epochs) return true;
    return false;
}

static bool all_have_dev(const report *r, const chart *c)
{
    for (size_t i = 0; i < c->n; i++)
        for (size_t k = 0; k < r->groups[c->groups[i]].n; k++) {
            const report_run *run = r->groups[c->groups[i]].runs[k];
            if (run->n_epochs && isnan(run->epochs[run->n_epochs - 1].dev)) return false;
        }
    return true;
}

/* From `from` on; false: nothing is left. */
static bool next_chart(const report *r, bool *done, chart *c)
{
    *c = (chart){.n = 0};
    const report_run *first = NULL;
    for (size_t g = 0; g < r->n_groups && c->n < SVG_STYLES; g++) {
        const report_run *run = report_first(&r->groups[g]);
        if (done[g] || !has_epochs(&r->groups[g])) continue;
        if (first && (!belongs(first, run) || c->mixed != r->groups[g].mixed)) continue;
        if (!first) c->mixed = r->groups[g].mixed;
        if (!first) first = run;
        done[g] = true;
        c->groups[c->n++] = g;
    }
    if (!first) return false;
    c->student = first->spec;
    c->data = first->data;
    c->continued = first->start_file != NULL;
    return true;
}

void report_curves(report *r, FILE *f)
{
    bool *done = report_alloc(r, r->n_groups, sizeof *done);
    chart c;
    size_t pictures = 0;
    bool more = done && next_chart(r, done, &c);
    if (!more) {
        fputs("<p>No run has a metrics.jsonl with an epoch in it.</p>\n", f);
        return;
    }
    fputs(
        "<p>Lines are means over a group’s runs, bands their range from the lowest to the highest. "
        "Training accuracy is of the pictures as they come, augmented, while the weights change; "
        "the loss of a taught network has the teacher’s part in it, and is not comparable with "
        "that of "
        "one without. Epochs are counted from the run’s own beginning.</p>\n<div "
        "class=\"figures\">\n",
        f);
    for (; more && pictures < MOST_PICTURES; more = next_chart(r, done, &c)) {
        const bool dev = all_have_dev(r, &c);
        draw(r, &c, dev ? DEV : ACCURACY, f);
        if (!dev) draw(r, &c, LOSS, f);
        pictures++;
    }
    fputs("</div>\n", f);
    if (more)
        fputs("<p>There are more groups; they are not drawn. <code>--by</code> joins groups.</p>\n",
              f);
}
