/* SPDX-License-Identifier: MIT
 * conv_moments.h: the mean and the squared deviations of what a convolution writes. Its tasks sum
 * those of their parts while the pixels are in cache; here the parts are joined. */
#ifndef KDI_CONV_MOMENTS_H
#define KDI_CONV_MOMENTS_H

#include "conv.h"

/* Parts' sums, [count][3][step], as the kernel pixel_moments leaves them, of o channels. */
typedef struct kdi_moment_parts {
    const float *sums;
    size_t count, step, o;
    size_t (*pixels)(const void *arg, size_t part); /* of a part; may be 0 */
    const void *arg;
} kdi_moment_parts;

/* moments [2][o]: the mean over all pixels, and the sum of the squared distances from it. The parts
 * are joined in their order, in double precision (Chan, Golub and LeVeque 1979). */
void kdi_join_moments(kd_ctx *ctx, const kdi_moment_parts *parts, float *moments);

#endif
