/* SPDX-License-Identifier: MIT
 * resample.h: the weights by which one axis of a picture is resized, with antialiasing.
 *
 * Output pixel i lies at (i + 0.5) * scale among the input pixels, scale = input size / output size.
 * Its weights are a filter around that place. Where the picture shrinks, the filter is widened by
 * the scale. It is cut at the borders, and the weights are divided by their sum.
 *
 * Who resizes does so in a type of its own: views in float, as PyTorch does (data/resize_view.c);
 * canvases in fixed point, as Pillow does (data/crop_resize.c); position embeddings in double, as
 * they are resized once (model/position_tables.c). */
#ifndef KDI_RESAMPLE_H
#define KDI_RESAMPLE_H

#include <math.h>
#include <stddef.h>

typedef double (*kdi_filter)(double x);

/* Bilinear; 0 from 1 on. */
static inline double kdi_triangle(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* Keys' cubic with a = -1/2: bicubic; 0 from 2 on. */
static inline double kdi_cubic(double x)
{
    x = fabs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/* The pixels [*from, *to) within [low, high) that a filter reaches from centre. */
static inline void kdi_resample_range(double centre, double reach, size_t low, size_t high,
                                      size_t *from, size_t *to)
{
    const double first = floor(centre - reach + .5), end = floor(centre + reach + .5);
    *from = first > (double)low ? (size_t)first : low;
    *to = end < (double)high ? (size_t)end : high;
}

/* The weights of the pixels [from, to): weight [to - from], which sum to one. */
static inline void kdi_resample_weights(kdi_filter filter, double centre, double widened,
                                        size_t from, size_t to, double *weight)
{
    double sum = 0;
    for (size_t i = from; i < to; i++)
        sum += weight[i - from] = filter(((double)i + .5 - centre) / widened);
    for (size_t i = from; i < to; i++) weight[i - from] /= sum;
}

#endif
