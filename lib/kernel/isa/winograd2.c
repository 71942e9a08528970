/* SPDX-License-Identifier: MIT
 * winograd2.c: the transforms of Winograd's F(2x2,3x3), for few tiles and many channels. There the
 * time is that of reading the filters: in 16 planes they are 16 / 9 of the weights, and four times
 * the weights in F(4x4,3x3). Points are 0, 1, -1 and infinity; the layout is winograd.c's. */
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

enum { TILE = 2, SIDE = 4, POINTS = 4 };
static pair_fn *const input_pair = NULL, *const gradient_pair = NULL;

#include "separable.h"

const kdi_transforms KDI_FN(winograd2) = SEPARABLE;
