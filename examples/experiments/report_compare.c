/* SPDX-License-Identifier: MIT
 * report_compare.c: differences between kinds of runs. They are taken between runs of the same seed,
 * which have the same first weights and the same order of pictures, and on the same test pictures.
 * Two intervals say two things:
 *
 *   over seeds     Student's t for the mean of n differences: would other seeds agree, on these
 *                  pictures?
 *   over pictures  paired, of the mean over these seeds: would other pictures agree, for these
 *                  networks?
 *
 * p is of the t test, and Holm's for all rows of a table. A verdict needs MANY seeds. */
#include "report.h"

#include "../common/statistics.h"

#include <math.h>

enum { MANY = 5 };

typedef struct difference {
    const ex_comparison *what;
    double each[REPORT_MAX_SEEDS]; /* [n] points, by seed */
    size_t n;
    double mean, deviation, p;
    stats_interval seeds, pictures; /* points */
} difference;

/* Right (1) or wrong (0) on that picture; -1: not known. */
static int answer(const report_kind *k, size_t seed, size_t picture)
{
    const char c = k->right[seed][picture];
    return c == '1' ? 1 : c == '0' ? 0 : -1;
}

/* Both networks' answers of that seed are known, for the same pictures. */
static bool have_answers(const report_kind *a, const report_kind *b, size_t seed)
{
    return a->done[seed] && b->done[seed] && a->right[seed] && b->right[seed] &&
           a->n_right[seed] == b->n_right[seed];
}

/* The paired interval of the mean over seeds; NAN unless every seed's answers are there. */
static stats_interval over_pictures(const report_kind *a, const report_kind *b, size_t seeds,
                                    size_t n)
{
    const stats_interval none = {(double)NAN, (double)NAN};
    size_t pictures = 0, counted = 0;
    double sum = 0, squares = 0;
    for (size_t s = 0; s < seeds; s++) {
        if (!a->done[s] || !b->done[s]) continue;
        if (!have_answers(a, b, s) || (pictures && a->n_right[s] != pictures)) return none;
        pictures = a->n_right[s];
    }
    for (size_t i = 0; i < pictures; i++) {
        double d = 0;
        bool known = true;
        for (size_t s = 0; s < seeds; s++) {
            if (!a->done[s] || !b->done[s]) continue;
            const int x = answer(a, s, i), y = answer(b, s, i);
            known = known && x >= 0 && y >= 0;
            d += (x - y) / (double)n;
        }
        if (!known) continue;
        sum += d;
        squares += d * d;
        counted++;
    }
    const stats_interval share = stats_paired(sum, squares, counted);
    return (stats_interval){100 * share.low, 100 * share.high};
}

/* False: a kind is not of this program. */
static bool take(const report *r, const ex_comparison *what, difference *d)
{
    const report_kind *a = report_find(r, what->kind), *b = report_find(r, what->control);
    *d = (difference){.what = what};
    if (!a || !b) return false;
    const size_t seeds = a->seeds < b->seeds ? a->seeds : b->seeds;
    for (size_t s = 0; s < seeds; s++)
        if (a->done[s] && b->done[s]) d->each[d->n++] = a->records[s].top1 - b->records[s].top1;
    stats_mean(d->each, d->n, &d->mean, &d->deviation);
    d->seeds = stats_t(d->mean, d->deviation, d->n);
    d->p = stats_t_test(d->mean, d->deviation, d->n);
    d->pictures = over_pictures(a, b, seeds, d->n);
    return true;
}

static const char *verdict(const difference *d)
{
    if (d->n < MANY) return "too few seeds";
    if (d->p >= .05) return "not told from zero";
    return d->mean > 0 ? "better" : "worse";
}

static void interval_cell(FILE *f, stats_interval i)
{
    if (isnan(i.low))
        fputs(" – |", f);
    else
        fprintf(f, " %+.2f to %+.2f |", i.low, i.high);
}

static void row(const difference *d, FILE *f)
{
    fprintf(f, "| %s |", d->what->words);
    if (d->n == 0)
        fputs(" – | 0 | – |", f);
    else if (d->n == 1)
        fprintf(f, " %+.2f | 1 | %+.2f |", d->mean, d->each[0]);
    else
        fprintf(f, " %+.2f ± %.2f | %zu |", d->mean, d->deviation, d->n);
    for (size_t i = 0; d->n > 1 && i < d->n; i++)
        fprintf(f, "%s%+.2f%s", i ? ", " : " ", d->each[i], i + 1 < d->n ? "" : " |");
    interval_cell(f, d->seeds);
    interval_cell(f, d->pictures);
    fprintf(f, " %s | %s |\n", isnan(d->p) ? "–" : stats_print_p(d->p).text, verdict(d));
}

void report_write_comparisons(const report *r, FILE *f)
{
    difference all[EX_MAX_COMPARISONS];
    double p[EX_MAX_COMPARISONS];
    size_t n = 0;
    for (const ex_comparison *c = r->w->experiment->comparisons; c->words; c++)
        n += take(r, c, &all[n]) ? 1 : 0;
    for (size_t i = 0; i < n; i++) p[i] = all[i].p;
    stats_holm(p, n);
    for (size_t i = 0; i < n; i++) all[i].p = p[i];
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
        MANY);
    for (size_t i = 0; i < n; i++) row(&all[i], f);
    fputc('\n', f);
}
