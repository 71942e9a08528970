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

/* y[0..5] = B' x[0..5] */
INLINE void input_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v ea = x[4] - PB2 * x[2], oa = x[3] - PB2 * x[1];
    const kdi_v eb = x[4] - PA2 * x[2], ob = x[3] - PA2 * x[1];
    y[0] = x[4] - (PA2 + PB2) * x[2] + PA2 * PB2 * x[0];
    y[1] = ea + PA * oa;
    y[2] = ea - PA * oa;
    y[3] = eb + PB * ob;
    y[4] = eb - PB * ob;
    y[5] = x[5] - (PA2 + PB2) * x[3] + PA2 * PB2 * x[1];
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

/* y[0..5] = A x[0..3] */
INLINE void gradient_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v ea = x[0] + PA2 * x[2], oa = PA * x[1] + PA * PA2 * x[3];
    const kdi_v eb = x[0] + PB2 * x[2], ob = PB * x[1] + PB * PB2 * x[3];
    y[0] = x[0];
    y[1] = ea + oa;
    y[2] = ea - oa;
    y[3] = eb + ob;
    y[4] = eb - ob;
    y[5] = x[3];
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

/* V of one tile from its window of x. */
void KDI_FN(winograd_input)(const float *x, const size_t *at, size_t c, float *v, size_t plane,
                            size_t block)
{
    spread(6, 6, input_1d, x, at, c, v, plane, block, NULL);
}

/* A tile of y from M, through the epilogue. */
void KDI_FN(winograd_output)(const float *m, size_t plane, size_t block, size_t first, size_t o,
                             const kdi_epilogue *epilogue, bool pools, float *y, const size_t *at)
{
    if (pools)
        gather(6, 4, output_1d, m, plane, block, first, o, epilogue, true, y, at);
    else
        gather(6, 4, output_1d, m, plane, block, first, o, epilogue, false, y, at);
}

/* dM of one tile, the adjoint of the output's transform, and the sum of its dY. */
void KDI_FN(winograd_gradient)(const float *dy, const size_t *at, size_t o, float *m, size_t plane,
                               size_t block, float *sum)
{
    spread(4, 6, gradient_1d, dy, at, o, m, plane, block, sum);
}

/* U of filters as the second factor of V U. */
void KDI_FN(winograd_filter)(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                             size_t plane, size_t width)
{
    filters(6, filter_1d, w, ldw, tap, o, c, u, plane, width);
}

void KDI_FN(winograd_filter_turned)(const float *w, size_t ldw, size_t tap, size_t o, size_t c,
                                    float *u, size_t plane, size_t width)
{
    filters_turned(6, filter_1d, w, ldw, tap, o, c, u, plane, width);
}

/* dW from dU, the adjoint of the filters' transform. */
void KDI_FN(winograd_filter_gradient)(const float *du, size_t plane, size_t ldu, size_t o, size_t c,
                                      float *dw, size_t ldw, size_t tap, bool accumulate)
{
    filter_gradients(6, filter_gradient_1d, du, plane, ldu, o, c, dw, ldw, tap, accumulate);
}

/* Moments of a tile's pixels of y, o channels, kept as three rows of `step` floats: a shift, the
 * sum of (y - shift)^2 and the sum of y - shift. `begin` sets the shift to the tile's first pixel,
 * and the sums to zero. */
void KDI_FN(winograd_moments)(const float *y, const size_t *at, size_t pixels, size_t o, bool begin,
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
