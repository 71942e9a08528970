/* SPDX-License-Identifier: MIT
 * histogram.h: how often a map's numbers fall near each value: one count for each bfloat16, that
 * is, for each sign, exponent and first seven bits of mantissa. Counts need no range beforehand and
 * no order, so that they are the same for any number of threads. */
#ifndef KDI_HISTOGRAM_H
#define KDI_HISTOGRAM_H

#include <kd/export.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KDI_BINS = 1 << 16 };

typedef struct kdi_histogram {
    uint64_t count[KDI_BINS]; /* by the upper half of a float's bits */
} kdi_histogram;

typedef struct kdi_range {
    double low, high; /* low <= 0 <= high, low < high */
} kdi_range;

void kdi_histogram_add(kdi_histogram *h, const float *x, size_t count);
bool kdi_histogram_is_finite(const kdi_histogram *h);
/* The part of the line that 256 steps are spread over. share: of KD_CALIBRATE_PERCENTILE, in 0..1;
 * that share of the numbers on each side of 0 lies within. */
kdi_range kdi_histogram_range(const kdi_histogram *h, kd_calibration method, double share);

#endif
