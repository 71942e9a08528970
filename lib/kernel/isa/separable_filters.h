/* SPDX-License-Identifier: MIT
 * separable_filters.h: transforms of filters that do in two dimensions what they do in one. Whoever
 * includes it has filter_1d, filter_gradient_1d and POINTS, how many numbers they make of three. */
#ifndef KDI_SEPARABLE_FILTERS_H
#define KDI_SEPARABLE_FILTERS_H

#include "planes.h"

/* U of filters as the second factor of V U. */
static void filter(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                   size_t plane, size_t width)
{
    filters(POINTS, filter_1d, w, ldw, tap, o, c, u, plane, width);
}

static void filter_turned(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                          size_t plane, size_t width)
{
    filters_turned(POINTS, filter_1d, w, ldw, tap, o, c, u, plane, width);
}

/* dW from dU, the adjoint of the filters' transform. */
static void filter_gradient(const float *du, size_t plane, size_t ldu, size_t o, size_t c,
                            float *dw, size_t ldw, size_t tap, bool accumulate)
{
    filter_gradients(POINTS, filter_gradient_1d, du, plane, ldu, o, c, dw, ldw, tap, accumulate);
}

#endif
