/* SPDX-License-Identifier: MIT
 * conv_gemm.h: shared by conv_gemm.c and conv_gemm_weights.c: which point of the kernel meets which
 * pixel along one axis, and the gradient of the weights. */
#ifndef KDI_CONV_GEMM_H
#define KDI_CONV_GEMM_H

#include "conv.h"
#include "kernels.h"

#include "../base/size.h"

enum { PAD = 16, ALIGN = 16 };

/* ---- one axis -------------------------------------------------------------------------------- */

/* One axis of a convolution, from a map of `from` pixels to one of `to`. */
typedef struct side {
    size_t from, to, k, stride, pad, dilation;
    bool back; /* to the data: from is the output's map */
} side;

/* `count` points of the kernel: first, first + step, ... Grid position g writes pixel
 * phase + g * phases; its point t reads pixel g * stride + off + t * tap. */
typedef struct axis {
    size_t first, step, count;
    ptrdiff_t stride, off, tap;
    size_t begin, grid; /* positions */
} axis;

static inline size_t phases(const side *s)
{
    return s->back ? s->stride : 1;
}

static inline axis axis_of(const side *s, size_t phase)
{
    axis a = {.first = 0, .step = 1, .stride = 1};
    if (!s->back) {
        a.count = s->k;
        a.stride = (ptrdiff_t)s->stride;
        a.off = -(ptrdiff_t)s->pad;
        a.tap = (ptrdiff_t)s->dilation;
        a.grid = s->to;
        return a;
    }
    /* Point i of the kernel joins input pixel p and output pixel (p + pad - i * dilation) / stride
     * where that is whole: every step-th point. */
    const size_t at = phase + s->pad;
    while (a.first < s->k &&
           (at % s->stride + s->stride - a.first * s->dilation % s->stride) % s->stride != 0)
        a.first++;
    while (a.step * s->dilation % s->stride != 0) a.step++;
    a.count = a.first < s->k ? kdi_pieces(s->k - a.first, a.step) : 0;
    a.off = ((ptrdiff_t)at - (ptrdiff_t)(a.first * s->dilation)) / (ptrdiff_t)s->stride;
    a.tap = -(ptrdiff_t)(a.step * s->dilation / s->stride);
    a.grid = phase < s->to ? kdi_pieces(s->to - phase, s->stride) : 0;
    return a;
}

static inline bool inside(const side *s, const axis *a, size_t g, size_t t)
{
    const ptrdiff_t pixel = (ptrdiff_t)g * a->stride + a->off + (ptrdiff_t)t * a->tap;
    return pixel >= 0 && (size_t)pixel < s->from;
}

/* The axis of one pixel of the map written, with no point but those inside. */
static inline axis axis_at(const side *s, size_t pixel)
{
    axis a = axis_of(s, pixel % phases(s));
    a.begin = pixel / phases(s);
    a.grid = 1;
    size_t low = 0, high = a.count;
    while (low < high && !inside(s, &a, a.begin, low)) low++;
    while (high > low && !inside(s, &a, a.begin, high - 1)) high--;
    a.first += low * a.step;
    a.off += (ptrdiff_t)low * a.tap;
    a.count = high - low;
    return a;
}

/* Points inside, and points in all, summed over the pixels of the map written. */
static inline void count_points(const side *s, size_t *in, size_t *all)
{
    *in = *all = 0;
    for (size_t p = 0; p < s->to; p++) {
        *in += axis_at(s, p).count;
        *all += axis_of(s, p % phases(s)).count;
    }
}

/* Positions whose point t is inside: how many, and the first of them. */
static inline size_t span_of(const side *s, const axis *a, size_t t, size_t *first)
{
    size_t low = 0, high = a->grid;
    while (low < high && !inside(s, a, low, t)) low++;
    while (high > low && !inside(s, a, high - 1, t)) high--;
    *first = low;
    return high - low;
}

static inline size_t points_of(const kdi_conv *v)
{
    return v->kh * v->kw * (v->c / v->groups);
}

/* dW[o][kh * kw * c / groups] (+)= from x and dy. The scratch is in bytes, for this n or fewer. */
size_t kdi_conv_gemm_weights_scratch(kd_ctx *ctx, const kdi_conv *v);
void kdi_conv_gemm_weights(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *dy,
                           float *dw, bool accumulate, float *scratch);

#endif
