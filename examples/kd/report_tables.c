/* SPDX-License-Identifier: MIT
 * report_tables.c: the tables of groups: accuracy over seeds; what each costs; differences. */
#include "report.h"

#include "report_svg.h"

#include <math.h>
#include <string.h>

/* ---- accuracy -------------------------------------------------------------------------------- */

static void mean_cell(FILE *f, double mean, double deviation, const char *format)
{
    fputs("<td>", f);
    html_number(f, format, mean);
    if (!isnan(deviation)) {
        fputs(" ± ", f);
        html_number(f, "%.2f", deviation);
    }
    fputs("</td>", f);
}

static void each_cell(FILE *f, const double *x, size_t n, const char *format)
{
    fputs("<td class=\"each\">", f);
    for (size_t i = 0; i < n; i++) {
        if (i) fputs(", ", f);
        html_number(f, format, x[i]);
    }
    if (!n) fputs("–", f);
    fputs("</td>", f);
}

/* Half of Wilson's interval of the mean accuracy, of the pictures alone. */
static double sampling_error(const report_group *g)
{
    const double n = report_first(g)->test_pictures;
    if (isnan(n) || n < 1) return (double)NAN;
    const stats_interval i = stats_wilson(g->mean / 100 * n, (size_t)n);
    return 50 * (i.high - i.low);
}

static void accuracy_row(report *r, size_t group, FILE *f)
{
    const report_group *g = &r->groups[group];
    html_group_cell(f, r, group);
    mean_cell(f, g->mean, g->deviation, "%.2f");
    html_interval_cell(f, g->interval, "%.2f");
    if (g->n == g->n_seeds)
        fprintf(f, "<td>%zu</td>", g->n_seeds);
    else
        fprintf(f, "<td>%zu (%zu runs)</td>", g->n_seeds, g->n);
    each_cell(f, g->top1, g->n_seeds, "%.2f");
    fputs("<td>", f);
    html_number(f, "±%.2f", sampling_error(g));
    fputs("</td>", f);
}

void report_accuracy_table(report *r, FILE *f)
{
    static const char *const columns[] = {
        "<group", "top-1, %", "95 % over seeds", "seeds", "each", "sampling error", NULL};
    static const html_figure figures[] = {{"top-5, %", FIG_TOP5, "%.2f", AS_NUMBER},
                                          {"development, %", FIG_DEV_TOP1, "%.2f", AS_NUMBER},
                                          {"training, %", FIG_TRAIN_TOP1, "%.2f", AS_NUMBER},
                                          {"test loss", FIG_LOSS, "%.4f", AS_NUMBER},
                                          {"epochs", FIG_EPOCHS, "%.4g", AS_NUMBER},
                                          {"steps", FIG_STEPS, "%.0f", AS_NUMBER},
                                          {.title = NULL}};
    fputs(
        "<p>Test pictures, in percent: mean ± standard deviation over seeds, and the 95 % interval "
        "of that mean (Student’s t), which speaks of other seeds on these pictures. Sampling "
        "error: half of Wilson’s 95 % interval, which speaks of other pictures. A dash is what was "
        "not measured; a column of dashes is left out.</p>\n",
        f);
    html_group_table(r, f, "Accuracy", columns, accuracy_row, figures, NULL);
}

/* ---- costs ----------------------------------------------------------------------------------- */

static void cost_row(report *r, size_t group, FILE *f)
{
    const double total = r->groups[group].total_seconds;
    html_group_cell(f, r, group);
    fprintf(f, "<td>%s</td>", isnan(total) ? "–" : cli_duration(total).text);
}

void report_cost_table(report *r, FILE *f)
{
    static const char *const columns[] = {"<group", "training, with its starts’", NULL};
    static const html_figure figures[] = {
        {"training", FIG_SECONDS, NULL, AS_TIME},
        {"images/s", FIG_SPEED, "%.0f", AS_NUMBER},
        {"peak memory", FIG_PEAK, NULL, AS_BYTES},
        {"parameters", FIG_PARAMS, NULL, AS_AMOUNT},
        {"MACs", FIG_MACS, NULL, AS_AMOUNT},
        {"latency, ms", FIG_LATENCY, "%.3g", AS_NUMBER},
        {"arena", FIG_ARENA, NULL, AS_BYTES},
        {"flash", FIG_FLASH, NULL, AS_BYTES},
        {"top-1 on a device, %", FIG_DEVICE_TOP1, "%.2f", AS_NUMBER},
        {.title = NULL}};
    fputs("<p>Means over runs. MACs are of one picture. Training times are the runs’ own, with "
          "whatever else the machine did meanwhile. Latency, arena and flash are of one picture: "
          "from costs.json, search.jsonl, profile.json and export.json, where they lie beside the "
          "runs.</p>\n",
          f);
    html_group_table(r, f, "Costs", columns, cost_row, figures, NULL);
}

/* ---- differences ----------------------------------------------------------------------------- */

static bool has_pictures(const report *r)
{
    for (size_t i = 0; i < r->n_comparisons; i++)
        if (!isnan(r->comparisons[i].d.pictures.low)) return true;
    return false;
}

static void difference_row(report *r, const report_comparison *c, bool pictures, FILE *f)
{
    const compare_difference *d = &c->d;
    fputs("<tr>", f);
    html_group_cell(f, r, c->a);
    fprintf(f, "<td class=\"t g\"><b class=\"n\">%zu</b> ", c->b + 1);
    html(f, r->groups[c->b].label);
    fputs(", <span class=\"why\">", f);
    html(f, c->why);
    fputs("</span></td>", f);
    mean_cell(f, d->mean, d->deviation, "%+.2f");
    html_interval_cell(f, d->seeds, "%+.2f");
    if (pictures) html_interval_cell(f, d->pictures, "%+.2f");
    fprintf(f, "<td>%zu</td>", d->n);
    each_cell(f, c->each, d->n, "%+.2f");
    html_minus_cell(f, isnan(c->p_alone) ? "–" : stats_print_p(c->p_alone).text);
    html_minus_cell(f, isnan(d->p) ? "–" : stats_print_p(d->p).text);
    html_text_cell(f, compare_verdict(d));
    fputs("</tr>\n", f);
}

/* The table's rows as a picture; of many the first. */
static void draw_differences(report *r, FILE *f)
{
    enum { MOST = 60 };
    svg_interval rows[MOST];
    const size_t n = r->n_comparisons < MOST ? r->n_comparisons : MOST;
    for (size_t i = 0; i < n; i++) {
        const report_comparison *c = &r->comparisons[i];
        rows[i] = (svg_interval){.name = report_print(r, "%zu − %zu", c->a + 1, c->b + 1),
                                 .mean = c->d.mean,
                                 .low = c->d.seeds.low,
                                 .high = c->d.seeds.high};
    }
    static const char title[] = "Differences, with 95 % intervals over seeds";
    fprintf(f, "<figure><figcaption>%s</figcaption>\n", title);
    svg_intervals(
        f, r->next_id++, rows, n, "points of test accuracy", title,
        "A row a comparison, group minus group as numbered in the tables, in the order of "
        "the table below, which has the numbers.");
    fputs("<p>Group minus group. Filled: the interval excludes zero, without a correction for the "
          "number of comparisons.",
          f);
    if (n < r->n_comparisons) fprintf(f, " The first %zu of %zu.", n, r->n_comparisons);
    fputs("</p></figure>\n", f);
}

void report_difference_table(report *r, FILE *f)
{
    static const char *const with[] = {
        "<group", "<against", "points", "95 % over seeds", "95 % over pictures",
        "seeds",  "each",     "p",      "Holm’s p",        "<verdict",
        NULL};
    static const char *const without[] = {"<group",   "<against", "points", "95 % over seeds",
                                          "seeds",    "each",     "p",      "Holm’s p",
                                          "<verdict", NULL};
    const bool pictures = has_pictures(r);
    if (!r->n_comparisons) {
        fputs(
            "<p>No two groups are each other’s control: none is the same network on the same data "
            "for as many steps, with and without a teacher. <code>--against</code> names a "
            "control, <code>--paired</code> compares every two.</p>\n",
            f);
        return;
    }
    fputs("<p>Points of test accuracy, seed by seed: mean ± standard deviation of the differences. "
          "Over seeds: Student’s t, these pictures are fixed. ",
          f);
    fputs(pictures ? "Over pictures: paired, these networks are fixed (a dash where no answers to "
                     "single pictures were kept). "
                   : "Of other pictures nothing is said: no answers to single pictures were kept. ",
          f);
    fprintf(f,
            "p is the t test’s over seeds; Holm’s p is corrected for all %zu comparisons of this "
            "table, and the verdict goes by it. A verdict needs %d seeds.</p>\n",
            r->n_comparisons, COMPARE_MANY);
    draw_differences(r, f);
    html_table(f, "Differences", pictures ? with : without);
    for (size_t i = 0; i < r->n_comparisons; i++)
        difference_row(r, &r->comparisons[i], pictures, f);
    html_table_end(f);
    if (r->alone)
        fprintf(f, "<p>%zu of %zu groups have no control here, and are compared with none.</p>\n",
                r->alone, r->n_groups);
}
