/* SPDX-License-Identifier: MIT
 * report_compare.c: the table of differences between kinds of runs, which are taken seed by seed
 * (common/compare.h). p is Holm's for all rows of a table. */
#include "report.h"

#include "../common/compare.h"

#include <math.h>

typedef struct difference {
    const ex_comparison *what;
    double each[REPORT_MAX_SEEDS]; /* [d.n] points, by seed */
    compare_difference d;
} difference;

static void sides(const report_kind *k, compare_side out[REPORT_MAX_SEEDS])
{
    for (size_t s = 0; s < k->seeds; s++)
        out[s] = (compare_side){.there = k->done[s],
                                .top1 = k->records[s].top1,
                                .right = k->right[s],
                                .n_right = k->n_right[s]};
}

/* False: a kind is not of this program. */
static bool take(const report *r, const ex_comparison *what, difference *out)
{
    compare_side x[REPORT_MAX_SEEDS], y[REPORT_MAX_SEEDS];
    const report_kind *a = report_find(r, what->kind), *b = report_find(r, what->control);
    *out = (difference){.what = what};
    if (!a || !b) return false;
    sides(a, x);
    sides(b, y);
    out->d = compare_paired(x, y, a->seeds < b->seeds ? a->seeds : b->seeds, out->each);
    return true;
}

static void interval_cell(FILE *f, stats_interval i)
{
    if (isnan(i.low))
        fputs(" – |", f);
    else
        fprintf(f, " %+.2f to %+.2f |", i.low, i.high);
}

static void row(const difference *x, FILE *f)
{
    const compare_difference *d = &x->d;
    fprintf(f, "| %s |", x->what->words);
    if (d->n == 0)
        fputs(" – | 0 | – |", f);
    else if (d->n == 1)
        fprintf(f, " %+.2f | 1 | %+.2f |", d->mean, x->each[0]);
    else
        fprintf(f, " %+.2f ± %.2f | %zu |", d->mean, d->deviation, d->n);
    for (size_t i = 0; d->n > 1 && i < d->n; i++)
        fprintf(f, "%s%+.2f%s", i ? ", " : " ", x->each[i], i + 1 < d->n ? "" : " |");
    interval_cell(f, d->seeds);
    interval_cell(f, d->pictures);
    fprintf(f, " %s | %s |\n", isnan(d->p) ? "–" : stats_print_p(d->p).text, compare_verdict(d));
}

void report_write_comparisons(const report *r, FILE *f)
{
    difference all[EX_MAX_COMPARISONS];
    double p[EX_MAX_COMPARISONS];
    size_t n = 0;
    for (const ex_comparison *c = r->w->experiment->comparisons; c->words; c++)
        n += take(r, c, &all[n]) ? 1 : 0;
    for (size_t i = 0; i < n; i++) p[i] = all[i].d.p;
    stats_holm(p, n);
    for (size_t i = 0; i < n; i++) all[i].d.p = p[i];
    fprintf(
        f,
        "### Differences\n\n"
        "In points of test accuracy, seed by seed: mean ± standard deviation of the differences. "
        "Two 95 %% intervals: *over seeds* (Student's t; these test pictures are fixed) and *over "
        "pictures* (paired; these networks are fixed; – where a record has no answers to single "
        "pictures). p is the t test's over seeds, with Holm's correction for the rows of this "
        "table; a verdict needs %d seeds. Fixed in both: the data set, the recipes, and the "
        "teachers, of which there is one of each kind.\n\n"
        "| | difference | seeds | each | over seeds | over pictures | p | "
        "|\n|---|---|---|---|---|---|---|---|\n",
        COMPARE_MANY);
    for (size_t i = 0; i < n; i++) row(&all[i], f);
    fputc('\n', f);
}
