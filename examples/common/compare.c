/* SPDX-License-Identifier: MIT
 * compare.c: see compare.h. */
#include "compare.h"

#include <math.h>

/* Right (1) or wrong (0) on that picture; -1: not known. */
static int answer(const compare_side *side, size_t picture)
{
    const char c = side->right[picture];
    return c == '1' ? 1 : c == '0' ? 0 : -1;
}

/* How many pictures both of every seed answered; 0: some answers are not there. */
static size_t common_pictures(const compare_side *a, const compare_side *b, size_t seeds)
{
    size_t pictures = 0;
    for (size_t s = 0; s < seeds; s++) {
        if (!a[s].there || !b[s].there) continue;
        if (!a[s].right || !b[s].right || a[s].n_right != b[s].n_right) return 0;
        if (pictures && a[s].n_right != pictures) return 0;
        pictures = a[s].n_right;
    }
    return pictures;
}

/* The paired interval of the mean over n seeds; NAN unless every seed's answers are there. */
static stats_interval over_pictures(const compare_side *a, const compare_side *b, size_t seeds,
                                    size_t n)
{
    const size_t pictures = common_pictures(a, b, seeds);
    size_t counted = 0;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < pictures; i++) {
        double d = 0;
        bool known = true;
        for (size_t s = 0; s < seeds; s++) {
            if (!a[s].there || !b[s].there) continue;
            const int x = answer(&a[s], i), y = answer(&b[s], i);
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

compare_difference compare_paired(const compare_side *a, const compare_side *b, size_t seeds,
                                  double *each)
{
    compare_difference d = {.n = 0};
    for (size_t s = 0; s < seeds; s++)
        if (a[s].there && b[s].there) each[d.n++] = a[s].top1 - b[s].top1;
    stats_mean(each, d.n, &d.mean, &d.deviation);
    d.seeds = stats_t(d.mean, d.deviation, d.n);
    d.p = stats_t_test(d.mean, d.deviation, d.n);
    d.pictures = over_pictures(a, b, seeds, d.n);
    return d;
}

const char *compare_verdict(const compare_difference *d)
{
    if (d->n < COMPARE_MANY) return "too few seeds";
    if (d->p >= .05) return "not told from zero";
    return d->mean > 0 ? "better" : "worse";
}
