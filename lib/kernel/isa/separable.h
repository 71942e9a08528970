/* SPDX-License-Identifier: MIT
 * separable.h: transforms that do in two dimensions what they do in one. Whoever includes it has
 * - what separable_filters.h wants, and input_1d, output_1d, gradient_1d;
 * - TILE: side of a tile of y. SIDE: of the pixels of x that it needs. POINTS: of its planes;
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

#include "separable_filters.h"

#define SEPARABLE                                                                                  \
    {                                                                                              \
        .planes = POINTS * POINTS, .tile = TILE, .side = SIDE, .rows = 1, .input = input,          \
        .output = output, .gradient = gradient, .filter = filter, .filter_turned = filter_turned,  \
        .filter_gradient = filter_gradient,                                                        \
    }

#endif
