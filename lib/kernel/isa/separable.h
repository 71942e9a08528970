/* SPDX-License-Identifier: MIT
 * separable.h: transforms that do in two dimensions what they do in one. Whoever includes it has
 * - TILE: side of a tile of y. SIDE: of the pixels of x that it needs. POINTS: of its planes;
 * - input_1d, output_1d, gradient_1d, filter_1d, filter_gradient_1d;
 * - input_pair, gradient_pair: the same of two rows at once, or NULL. */
#ifndef KDI_SEPARABLE_H
#define KDI_SEPARABLE_H

#include "planes.h"

/* V of one tile. */
static void input(const float *x, const size_t *at, size_t c, float *v, size_t plane, size_t block)
{
    spread(SIDE, POINTS, input_1d, input_pair, x, at, c, v, plane, block, NULL);
}

/* A tile of y from M, through the epilogue. */
static void output(const float *m, size_t plane, size_t block, size_t first, size_t o,
                   const kdi_epilogue *epilogue, bool pools, float *y, const size_t *at)
{
    if (pools)
        gather(POINTS, TILE, output_1d, m, plane, block, first, o, epilogue, true, y, at);
    else
        gather(POINTS, TILE, output_1d, m, plane, block, first, o, epilogue, false, y, at);
}

/* dM of one tile, the adjoint of the output's transform, and the sum of its dY. */
static void gradient(const float *dy, const size_t *at, size_t o, float *m, size_t plane,
                     size_t block, float *sum)
{
    spread(TILE, POINTS, gradient_1d, gradient_pair, dy, at, o, m, plane, block, sum);
}

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

#define SEPARABLE                                                                                  \
    {                                                                                              \
        .planes = POINTS * POINTS, .tile = TILE, .side = SIDE, .rows = 1, .input = input,          \
        .output = output, .gradient = gradient, .filter = filter, .filter_turned = filter_turned,  \
        .filter_gradient = filter_gradient,                                                        \
    }

#endif
