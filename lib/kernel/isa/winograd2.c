/* SPDX-License-Identifier: MIT
 * winograd2.c: the transforms of Winograd's F(2x2,3x3), for few tiles and many channels, where time
 * is that of reading the filters: in 16 planes they are 16 / 9 of the weights, where F(4x4,3x3)
 * has four times as many. Points 0, 1, -1 and infinity; the layout is winograd.c's. */
#include "planes.h"

INLINE void input_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[0] - x[2];
    y[1] = x[1] + x[2];
    y[2] = x[2] - x[1];
    y[3] = x[1] - x[3];
}

INLINE void output_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[0] + x[1] + x[2];
    y[1] = x[1] - x[2] - x[3];
}

/* The adjoint of output_1d. */
INLINE void gradient_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[0];
    y[1] = x[0] + x[1];
    y[2] = x[0] - x[1];
    y[3] = -x[1];
}

INLINE void filter_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v even = .5f * (x[0] + x[2]), odd = .5f * x[1];
    y[0] = x[0];
    y[1] = even + odd;
    y[2] = even - odd;
    y[3] = x[2];
}

/* The adjoint of filter_1d. */
INLINE void filter_gradient_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v even = .5f * (x[1] + x[2]);
    y[0] = x[0] + even;
    y[1] = .5f * (x[1] - x[2]);
    y[2] = even + x[3];
}

/* V of one tile. */
static void input(const float *x, const size_t *at, size_t c, float *v, size_t plane, size_t block)
{
    spread(4, 4, input_1d, NULL, x, at, c, v, plane, block, NULL);
}

/* A tile of y from M, through the epilogue. */
static void output(const float *m, size_t plane, size_t block, size_t first, size_t o,
                   const kdi_epilogue *epilogue, bool pools, float *y, const size_t *at)
{
    if (pools)
        gather(4, 2, output_1d, m, plane, block, first, o, epilogue, true, y, at);
    else
        gather(4, 2, output_1d, m, plane, block, first, o, epilogue, false, y, at);
}

/* dM of one tile, the adjoint of the output's transform, and the sum of its dY. */
static void gradient(const float *dy, const size_t *at, size_t o, float *m, size_t plane,
                     size_t block, float *sum)
{
    spread(2, 4, gradient_1d, NULL, dy, at, o, m, plane, block, sum);
}

/* U of filters as the second factor of V U. */
static void filter(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                   size_t plane, size_t width)
{
    filters(4, filter_1d, w, ldw, tap, o, c, u, plane, width);
}

static void filter_turned(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                          size_t plane, size_t width)
{
    filters_turned(4, filter_1d, w, ldw, tap, o, c, u, plane, width);
}

/* dW from dU, the adjoint of the filters' transform. */
static void filter_gradient(const float *du, size_t plane, size_t ldu, size_t o, size_t c,
                            float *dw, size_t ldw, size_t tap, bool accumulate)
{
    filter_gradients(4, filter_gradient_1d, du, plane, ldu, o, c, dw, ldw, tap, accumulate);
}

const kdi_transforms KDI_FN(winograd2) = {
    .planes = 16,
    .tile = 2,
    .side = 4,
    .rows = 1,
    .input = input,
    .output = output,
    .gradient = gradient,
    .filter = filter,
    .filter_turned = filter_turned,
    .filter_gradient = filter_gradient,
};
