/* SPDX-License-Identifier: MIT
 * small_map2.c: transforms for 3x3 convolutions of 2x2 maps with padding 1, where most of a larger
 * tile would be padding. In one dimension such a map is a product with a Toeplitz matrix,
 *
 *   y0 = t1 x0 + t2 x1 = t1 (x0 + x1) + (t2 - t1) x1
 *   y1 = t0 x0 + t1 x1 = t1 (x0 + x1) + (t0 - t1) x0
 *
 * three multiplications for four; in two, nine planes for the sixteen products of the definition.
 * No number is divided or grows much: errors are those of the definition in float32 but for a small
 * factor. The layout is winograd.c's. */
#include "planes.h"

/* x0, x0 + x1, x1 */
INLINE void input_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[0];
    y[1] = x[0] + x[1];
    y[2] = x[1];
}

INLINE void output_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[1] + x[2];
    y[1] = x[1] + x[0];
}

/* The adjoint of output_1d. */
INLINE void gradient_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[1];
    y[1] = x[0] + x[1];
    y[2] = x[0];
}

INLINE void filter_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[0] - x[1];
    y[1] = x[1];
    y[2] = x[2] - x[1];
}

/* The adjoint of filter_1d. */
INLINE void filter_gradient_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[0];
    y[1] = x[1] - (x[0] + x[2]);
    y[2] = x[2];
}

/* V of one tile. */
static void input(const float *x, const size_t *at, size_t c, float *v, size_t plane, size_t block)
{
    spread(2, 3, input_1d, NULL, x, at, c, v, plane, block, NULL);
}

/* A tile of y from M, through the epilogue. */
static void output(const float *m, size_t plane, size_t block, size_t first, size_t o,
                   const kdi_epilogue *epilogue, bool pools, float *y, const size_t *at)
{
    if (pools)
        gather(3, 2, output_1d, m, plane, block, first, o, epilogue, true, y, at);
    else
        gather(3, 2, output_1d, m, plane, block, first, o, epilogue, false, y, at);
}

/* dM of one tile, the adjoint of the output's transform, and the sum of its dY. */
static void gradient(const float *dy, const size_t *at, size_t o, float *m, size_t plane,
                     size_t block, float *sum)
{
    spread(2, 3, gradient_1d, NULL, dy, at, o, m, plane, block, sum);
}

/* U of filters as the second factor of V U. */
static void filter(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                   size_t plane, size_t width)
{
    filters(3, filter_1d, w, ldw, tap, o, c, u, plane, width);
}

static void filter_turned(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                          size_t plane, size_t width)
{
    filters_turned(3, filter_1d, w, ldw, tap, o, c, u, plane, width);
}

/* dW from dU, the adjoint of the filters' transform. */
static void filter_gradient(const float *du, size_t plane, size_t ldu, size_t o, size_t c,
                            float *dw, size_t ldw, size_t tap, bool accumulate)
{
    filter_gradients(3, filter_gradient_1d, du, plane, ldu, o, c, dw, ldw, tap, accumulate);
}

const kdi_transforms KDI_FN(small_map2) = {
    .planes = 9,
    .tile = 2,
    .side = 2,
    .rows = 1,
    .input = input,
    .output = output,
    .gradient = gradient,
    .filter = filter,
    .filter_turned = filter_turned,
    .filter_gradient = filter_gradient,
};
