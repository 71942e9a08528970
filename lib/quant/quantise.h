/* SPDX-License-Identifier: MIT
 * quantise.h: a net in int8, by what was seen on some pictures. The formulas are those of
 * docs/edge-numerics.md, what is chosen freely within them stands in docs/quantisation.md. */
#ifndef KDI_QUANTISE_H
#define KDI_QUANTISE_H

#include "histogram.h"
#include "net.h"

/* What was seen of a map. */
typedef struct kdi_seen {
    kdi_histogram *histogram;
    double *mean; /* [h,w,c]: over the pictures */
    kdi_range range;
} kdi_seen;

/* Runs the pictures; seen [n_maps] is zero before, and freed by kdi_seen_free also on failure. */
kd_status kdi_see(const kdi_net *net, const uint8_t *pictures, size_t count, kdi_seen *seen);
void kdi_seen_free(kd_ctx *ctx, kdi_seen *seen, size_t n_maps);
/* Sets each range. */
void kdi_choose_ranges(const kdi_net *net, const kd_quantise_opt *opt, kdi_seen *seen);

/* Scales, zeros, weights, biases and multipliers of every map and layer. The pixels are folded
 * already. KD_E_UNSUPPORTED, naming the layer, where the formulas cannot hold its numbers. */
kd_status kdi_quantise(kdi_net *net, const kd_quantise_opt *opt, const kdi_seen *seen);

/* weights.c: those of one layer, whose input and output have their scales. */
kd_status kdi_quantise_weights(kdi_net *net, kdi_layer *layer, const double *mean);

#endif
