/* SPDX-License-Identifier: MIT
 * small_map4.c: transforms for 3x3 convolutions of 4x4 maps with padding 1, for few images and many
 * channels. Their time is that of reading the filters: these have no more than the definition.
 *
 * In one dimension such a map is a product with t0 D + t1 + t2 U, a Toeplitz matrix with D ones
 * below the diagonal and U above it. These two have rank 3, and the identity 4; but
 *
 *   R = D + U - p 1,  p = (1 + sqrt 5) / 2,   eigenvalues 2 cos(k pi / 5) - p, k = 1 to 4,
 *
 * has rank 3, too, as the first of them is 0. So the map is (t0 + t1/p) D + (t2 + t1/p) U - t1/p R:
 * three planes of three products each, 9 where the definition has 10 without its padding; in two
 * dimensions 9 planes with 9 rows of V for each image, 81 for 100. R is taken apart by symmetry:
 *   sums        e = x0 + x3, f = x1 + x2:  R (e, f) = (-p, 1) (e - f/p)
 *   differences o = x0 - x3, g = x1 - x2:  R (o, g) = (g - p o, o - (1 + p) g)
 * each half of which is y0 and y1, plus or minus y3 and y2.
 *
 * Errors are smaller than the definition's in float32: its sums are nine times as long. The layout
 * is winograd.c's but that a tile, which is the whole map, has nine rows in each plane. */
#include "planes.h"

#define P 1.6180339887498948f /* 1 / P == P - 1 */
#define Q 0.6180339887498948f

enum { SIDE = 4, POINTS = 3, LINES = 9 }; /* LINES: numbers of a line, [plane][row] */

INLINE void input_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v e = x[0] + x[3], f = x[1] + x[2];
    y[0] = x[0];
    y[1] = x[1];
    y[2] = x[2];
    y[3] = e - Q * f;
    y[4] = x[0] - x[3];
    y[5] = x[1] - x[2];
    y[6] = x[1];
    y[7] = x[2];
    y[8] = x[3];
}

INLINE void output_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v d0 = x[5] - P * x[4], d1 = x[4] - (1 + P) * x[5], s0 = -P * x[3];
    y[0] = s0 + d0 + x[6];
    y[1] = x[3] + d1 + x[0] + x[7];
    y[2] = x[3] - d1 + x[1] + x[8];
    y[3] = s0 - d0 + x[2];
}

/* The adjoint of output_1d. */
INLINE void gradient_1d(const kdi_v *x, kdi_v *y)
{
    const kdi_v e = x[0] + x[3], f = x[1] + x[2], o = x[0] - x[3], g = x[1] - x[2];
    y[0] = x[1];
    y[1] = x[2];
    y[2] = x[3];
    y[3] = f - P * e;
    y[4] = g - P * o;
    y[5] = o - (1 + P) * g;
    y[6] = x[0];
    y[7] = x[1];
    y[8] = x[2];
}

INLINE void filter_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[0] + Q * x[1];
    y[1] = (-Q / 2) * x[1];
    y[2] = x[2] + Q * x[1];
}

/* The adjoint of filter_1d. */
INLINE void filter_gradient_1d(const kdi_v *x, kdi_v *y)
{
    y[0] = x[0];
    y[1] = Q * (x[0] + x[2]) - (Q / 2) * x[1];
    y[2] = x[2];
}

/* Number i of a column and j of a row, in its plane and row of V or M. */
INLINE size_t place(size_t i, size_t j, size_t plane)
{
    return (i / POINTS * POINTS + j / POINTS) * plane + (i % POINTS * POINTS + j % POINTS) * L;
}

/* An image of x or dY to its rows of V or dM; sum, where not NULL, has the pixels added to it. */
INLINE void spread_map(line_fn *line, const float *x, const size_t *at, size_t c, float *v,
                       size_t plane, size_t block, float *sum)
{
    for (size_t c0 = 0; c0 < c; c0 += L, v += block) {
        kdi_v half[LINES][SIDE], in[SIDE], out[LINES], total = {0};
        const size_t apart = kdi_opaque(plane);
        for (size_t j = 0; j < SIDE; j++) {
            for (size_t i = 0; i < SIDE; i++) {
                in[i] = load(x + at[SIDE * i + j] + c0, c - c0);
                total += in[i];
            }
            line(in, out);
            for (size_t i = 0; i < LINES; i++) half[i][j] = out[i];
        }
        if (sum) kdi_store(sum + c0, kdi_load(sum + c0) + total);
        for (size_t i = 0; i < LINES; i++) {
            line(half[i], out);
            for (size_t j = 0; j < LINES; j++) kdi_store(v + place(i, j, apart), out[j]);
        }
    }
}

/* V of one image. */
static void input(const float *x, const size_t *at, size_t c, float *v, size_t plane, size_t block)
{
    spread_map(input_1d, x, at, c, v, plane, block, NULL);
}

/* An image of y from M, through the epilogue. */
static void output(const float *m, size_t plane, size_t block, size_t first, size_t o,
                   const kdi_epilogue *epilogue, bool pools, float *y, const size_t *at)
{
    for (size_t o0 = 0; o0 < o; o0 += L, m += block) {
        kdi_v half[SIDE][LINES], in[LINES], out[SIDE];
        const size_t apart = kdi_opaque(plane);
        for (size_t j = 0; j < LINES; j++) {
            for (size_t i = 0; i < LINES; i++) in[i] = kdi_load(m + place(i, j, apart));
            output_1d(in, out);
            for (size_t i = 0; i < SIDE; i++) half[i][j] = out[i];
        }
        finish(SIDE, LINES, output_1d, half[0], first + o0, o - o0, epilogue, pools, y, at);
    }
}

/* dM of one image, the adjoint of the output's transform, and the sum of its dY. */
static void gradient(const float *dy, const size_t *at, size_t o, float *m, size_t plane,
                     size_t block, float *sum)
{
    spread_map(gradient_1d, dy, at, o, m, plane, block, sum);
}

#include "separable_filters.h"

const kdi_transforms KDI_FN(small_map4) = {
    .planes = POINTS * POINTS,
    .tile = SIDE,
    .side = SIDE,
    .rows = LINES / POINTS * (LINES / POINTS),
    .input = input,
    .output = output,
    .gradient = gradient,
    .filter = filter,
    .filter_turned = filter_turned,
    .filter_gradient = filter_gradient,
};
