/* SPDX-License-Identifier: MIT
 * compare.h: one recipe against another, seed by seed. Runs of the same seed have the same first
 * weights and the same order of pictures, and are tested on the same pictures. Two intervals say two
 * things:
 *
 *   over seeds     Student's t for the mean of n differences: would other seeds agree, on these
 *                  pictures?
 *   over pictures  paired, of the mean over these seeds: would other pictures agree, for these
 *                  networks?
 *
 * p is of the t test over seeds; who looks at several comparisons corrects it (stats_holm). A
 * verdict needs COMPARE_MANY seeds. */
#ifndef COMPARE_H
#define COMPARE_H

#include "statistics.h"

#include <stdbool.h>

enum { COMPARE_MANY = 5 };

/* What a recipe came to with one seed. */
typedef struct compare_side {
    bool there;
    double top1;       /* percent */
    const char *right; /* [n_right] of each test picture '1' right, '0' wrong, '-' not read */
    size_t n_right;    /* right NULL: not known */
} compare_side;

typedef struct compare_difference {
    size_t n;               /* seeds that both have */
    double mean, deviation; /* points; NAN: none, fewer than two */
    double p;
    stats_interval seeds, pictures; /* points; NAN: not known */
} compare_difference;

/* a minus b, both [seeds], by seed. each [seeds] takes the n differences. */
compare_difference compare_paired(const compare_side *a, const compare_side *b, size_t seeds,
                                  double *each);
/* In words; by d->p, after a correction for several comparisons. */
const char *compare_verdict(const compare_difference *d);

#endif
