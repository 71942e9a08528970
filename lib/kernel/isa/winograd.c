/* SPDX-License-Identifier: MIT
 * winograd.c: the transforms of Winograd's F(4x4,3x3) between images, filters and the 36 planes in
 * which the convolution is a product of matrices (conv_winograd.c has the whole).
 *
 * Interpolation points 0, +-5/8, +-3/2 and infinity. With a = 5/8 and b = 3/2, in one dimension:
 *   input    B' rows: (a2b2, 0, -a2-b2, 0, 1, 0), (0, -+ab2, -b2, +-a, 1, 0),
 *                     (0, -+ba2, -a2, +-b, 1, 0), (0, a2b2, 0, -a2-b2, 0, 1)
 *   filter   G  rows: (1, p, p2) / prod(p - q over the other finite points q), and (0, 0, 1)
 *   output   A' columns: (1, p, p2, p3), and (0, 0, 0, 1)
 * All of B' and A' are exact in float32. Errors are less than half of those of the customary points
 * 0, +-1, +-2 at the same number of operations. */
#include "planes.h"

#define PA 0.625f
#define PB 1.5f
#define PA2 (PA * PA)
#define PB2 (PB * PB)
#define PNA (2 * PA2 * (PA2 - PB2)) /* G's denominators */
#define PNB (2 * PB2 * (PB2 - PA2))

/* B' x[0..5]: rows 0 and 5, 1 and 2, or 3 and 4 of it. */
INLINE void input_pair(size_t pair, const kdi_v *x, kdi_v *y)
{
    if (pair == 0) {
        y[0] = x[4] - (PA2 + PB2) * x[2] + PA2 * PB2 * x[0];
        y[1] = x[5] - (PA2 + PB2) * x[3] + PA2 * PB2 * x[1];
    } else {
        const float p = pair == 1 ? PA : PB, q2 = pair == 1 ? PB2 : PA2;
        const kdi_v even = x[4] - q2 * x[2], odd = x[3] - q2 * x[1];
        y[0] = even + p * odd;
        y[1] = even - p * odd;
    }
}

/* A x[0..3], likewise. */
INLINE void gradient_pair(size_t pair, const kdi_v *x, kdi_v *y)
{
    if (pair == 0) {
        y[0] = x[0];
        y[1] = x[3];
    } else {
        const float p = pair == 1 ? PA : PB;
        const kdi_v even = x[0] + p * p * x[2], odd = p * x[1] + p * p * p * x[3];
        y[0] = even + odd;
        y[1] = even - odd;
    }
}

/* y[0..5], of three pairs. */
INLINE void six(pair_fn *two, const kdi_v *x, kdi_v *y)
{
    kdi_v ends[2];
    two(0, x, ends);
    two(1, x, y + 1);
    two(2, x, y + 3);
    y[0] = ends[0];
    y[5] = ends[1];
}

INLINE void input_1d(const kdi_v *x, kdi_v *y)
{
    six(input_pair, x, y);
}

INLINE void gradient_1d(const kdi_v *x, kdi_v *y)
{
    six(gradient_pair, x, y);
}

/* y[0..3] = A' x[0..5] */
INLINE void output_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v sa = x[1] + x[2], da = x[1] - x[2];
    const kdi_v sb = x[3] + x[4], db = x[3] - x[4];
    y[0] = x[0] + sa + sb;
    y[1] = PA * da + PB * db;
    y[2] = PA2 * sa + PB2 * sb;
    y[3] = x[5] + PA * PA2 * da + PB * PB2 * db;
}

/* y[0..5] = G x[0..2] */
INLINE void filter_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v ea = (1 / PNA) * x[0] + (PA2 / PNA) * x[2], oa = (PA / PNA) * x[1];
    const kdi_v eb = (1 / PNB) * x[0] + (PB2 / PNB) * x[2], ob = (PB / PNB) * x[1];
    y[0] = (1 / (PA2 * PB2)) * x[0];
    y[1] = ea + oa;
    y[2] = ea - oa;
    y[3] = eb + ob;
    y[4] = eb - ob;
    y[5] = x[2];
}

/* y[0..2] = G' x[0..5] */
INLINE void filter_gradient_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v sa = x[1] + x[2], da = x[1] - x[2];
    const kdi_v sb = x[3] + x[4], db = x[3] - x[4];
    y[0] = (1 / (PA2 * PB2)) * x[0] + (1 / PNA) * sa + (1 / PNB) * sb;
    y[1] = (PA / PNA) * da + (PB / PNB) * db;
    y[2] = (PA2 / PNA) * sa + (PB2 / PNB) * sb + x[5];
}

enum { TILE = 4, SIDE = 6, POINTS = 6 };

#include "separable.h"

const kdi_transforms KDI_FN(winograd) = SEPARABLE;

/* Moments of a tile's pixels of y, o channels, kept as three rows of `step` floats: a shift, the
 * sum of (y - shift)^2 and the sum of y - shift. `begin` sets the shift to the tile's first pixel,
 * and the sums to zero. */
void KDI_FN(pixel_moments)(const float *y, const size_t *at, size_t pixels, size_t o, bool begin,
                           float *moments, size_t step)
{
    for (size_t o0 = 0; o0 < o; o0 += L) {
        float *m = moments + o0;
        const kdi_v shift = begin ? load(y + at[0] + o0, o - o0) : kdi_load(m);
        kdi_v square = begin ? (kdi_v){0} : kdi_load(m + step);
        kdi_v sum = begin ? (kdi_v){0} : kdi_load(m + 2 * step);
        for (size_t i = 0; i < pixels; i++) {
            if (at[i] == SIZE_MAX) continue;
            const kdi_v d = load(y + at[i] + o0, o - o0) - shift;
            square += d * d;
            sum += d;
        }
        kdi_store(m, shift);
        kdi_store(m + step, square);
        kdi_store(m + 2 * step, sum);
    }
}
