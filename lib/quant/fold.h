/* SPDX-License-Identifier: MIT
 * fold.h: what is computed once of a layer's weights: the batch norm behind them, and what a picture
 * is normalised by. */
#ifndef KDI_FOLD_H
#define KDI_FOLD_H

#include "net.h"

typedef struct kdi_folding {
    size_t out, taps;
    const float *weights; /* [out][taps] */
    const float *bias;    /* [out], or NULL */
    const float *norm[4]; /* weight, bias, mean, variance [out]; NULL: none */
    double eps;
} kdi_folding;

/* weights' = weights s, bias' = (bias - mean) s + shift, s = weight / sqrt(variance + eps); in
 * double, rounded once. */
void kdi_fold_norm(const kdi_folding *f, float *weights, float *bias);

/* The first layer's weights and bias for pixels from 0 to 255 instead of (pixel / 255 - mean) / std.
 * After every change of its weights. KD_E_UNSUPPORTED, naming it: the first layer has no weights, or pads
 * more than four channels of different means. KD_E_NONFINITE, naming it: a result is too large. */
kd_status kdi_fold_pixels(kdi_net *net);

/* Where the kernel's padding lies outside of the picture, a normalised pixel is 0: in pixels that
 * is 255 mean, by channel modulo 4. */
double kdi_pixel_pad(const kdi_net *net, size_t channel);

/* Cross-layer equalisation (Nagel et al. 2019): where a map lies between two layers with weights,
 * and only ReLU and pools between, channel i is divided by s_i before and multiplied behind. The
 * network computes the same. */
void kdi_equalise(kdi_net *net);

#endif
