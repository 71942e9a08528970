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

enum { TILE = 2, SIDE = 2, POINTS = 3 };
static pair_fn *const input_pair = NULL, *const gradient_pair = NULL;

#include "separable.h"

const kdi_transforms KDI_FN(small_map2) = SEPARABLE;
