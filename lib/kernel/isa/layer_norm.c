/* SPDX-License-Identifier: MIT
 * layer_norm.c: layer normalisation of rows x[rows,c], forward and backward.
 *
 *   y = (x - mean) inverse weight + bias, inverse = 1 / sqrt(var + eps), var biased
 *
 * A row is read for its mean, again for its squared deviations, and once more for y: the first
 * level of cache holds it meanwhile. The backward takes four rows at a time, so that the sums over
 * rows (gradients of weight and bias) are loaded and stored once for four. With u = (x - mean)
 * inverse and g = dy weight,
 *   dx = inverse (g - mean(g) - u mean(g u)) */
#include "vec_math.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))
enum { WIDE = 4 }; /* vectors, or rows, at a time */

/* sum (x - shift) over a row, or of the squares: SUMS vectors side by side. */
INLINE float row_sum(size_t c, const float *x, float shift, bool squares)
{
    kdi_v sum[WIDE] = {{0}};
    size_t j = 0;
    for (; j + WIDE * KDI_VL <= c; j += WIDE * KDI_VL)
        for (size_t v = 0; v < WIDE; v++) {
            const kdi_v d = kdi_load(x + j + v * KDI_VL) - shift;
            sum[v] += squares ? d * d : d;
        }
    for (; j < c; j += KDI_VL) {
        const kdi_v d =
            (c - j >= KDI_VL ? kdi_load(x + j) : kdi_load_part(x + j, c - j, shift)) - shift;
        sum[0] += squares ? d * d : d;
    }
    return kdi_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

INLINE void apply(const float *x, const float *weight, const float *bias, const float *stats,
                  float *y, size_t n)
{
    const kdi_v u = (kdi_get(x, n) - stats[0]) * stats[1];
    kdi_put(y, n, u * kdi_get(weight, n) + kdi_get(bias, n));
}

void KDI_FN(layer_norm)(size_t rows, size_t c, const float *x, const float *weight,
                        const float *bias, float eps, float *y, float *stats)
{
    for (size_t r = 0; r < rows; r++, x += c, y += c) {
        const float mean = row_sum(c, x, 0, false) / (float)c;
        const float var = row_sum(c, x, mean, true) / (float)c;
        const float s[2] = {mean, 1 / sqrtf(var + eps)};
        size_t j = 0;
        for (; j + KDI_VL <= c; j += KDI_VL) apply(x + j, weight + j, bias + j, s, y + j, KDI_VL);
        if (j < c) apply(x + j, weight + j, bias + j, s, y + j, c - j);
        if (stats) memcpy(stats + 2 * r, s, sizeof s);
    }
}

typedef struct back {
    size_t c;
    const float *weight;
    float *dx, *dweight, *dbias;
    bool accumulate;
} back;

/* The means of g and g u of a row, times -1. */
INLINE void row_means(const back *b, const float *x, const float *dy, const float *stats,
                      float *mean, float *mean_u)
{
    kdi_v sum[2] = {{0}}, sum_u[2] = {{0}};
    size_t j = 0;
    for (; j + 2 * KDI_VL <= b->c; j += 2 * KDI_VL)
        for (size_t v = 0; v < 2; v++) {
            const size_t at = j + v * KDI_VL;
            const kdi_v g = kdi_load(dy + at) * kdi_load(b->weight + at);
            sum[v] += g;
            sum_u[v] += g * (kdi_load(x + at) - stats[0]);
        }
    for (; j < b->c; j += KDI_VL) {
        const size_t n = b->c - j < KDI_VL ? b->c - j : KDI_VL;
        const kdi_v g = kdi_get(dy + j, n) * kdi_get(b->weight + j, n);
        sum[0] += g;
        sum_u[0] += g * (kdi_get(x + j, n) - stats[0]);
    }
    *mean = -kdi_sum(sum[0] + sum[1]) / (float)b->c;
    *mean_u = -kdi_sum(sum_u[0] + sum_u[1]) * stats[1] / (float)b->c;
}

/* Columns j to j + n - 1 of some rows. */
INLINE void columns(const back *b, size_t rows, const float *x, const float *dy, const float *stats,
                    float *dx, const float *mean, const float *mean_u, size_t j, size_t n)
{
    kdi_v dweight = {0}, dbias = {0};
    const kdi_v weight = kdi_get(b->weight + j, n);
    for (size_t r = 0; r < rows; r++) {
        const size_t at = r * b->c + j;
        const kdi_v d = kdi_get(dy + at, n);
        const kdi_v u = (kdi_get(x + at, n) - stats[2 * r]) * stats[2 * r + 1];
        dweight += d * u;
        dbias += d;
        if (!dx) continue;
        kdi_v v = (d * weight + (mean[r] + u * mean_u[r])) * stats[2 * r + 1];
        if (b->accumulate) v += kdi_get(dx + at, n);
        kdi_put(dx + at, n, v);
    }
    if (!b->dweight) return;
    kdi_put(b->dweight + j, n, kdi_get(b->dweight + j, n) + dweight);
    kdi_put(b->dbias + j, n, kdi_get(b->dbias + j, n) + dbias);
}

INLINE void some_rows(const back *b, size_t rows, const float *x, const float *dy,
                      const float *stats, float *dx)
{
    float mean[WIDE], mean_u[WIDE];
    for (size_t r = 0; r < rows && dx; r++)
        row_means(b, x + r * b->c, dy + r * b->c, stats + 2 * r, mean + r, mean_u + r);
    size_t j = 0;
    for (; j + KDI_VL <= b->c; j += KDI_VL)
        columns(b, rows, x, dy, stats, dx, mean, mean_u, j, KDI_VL);
    if (j < b->c) columns(b, rows, x, dy, stats, dx, mean, mean_u, j, b->c - j);
}

void KDI_FN(layer_norm_backward)(size_t rows, size_t c, const float *x, const float *stats,
                                 const float *weight, const float *dy, float *dx, int accumulate,
                                 float *dweight, float *dbias)
{
    const back b = {c, weight, dx, dweight, dbias, accumulate};
    size_t r = 0;
    if (dweight) memset(dweight, 0, c * sizeof *dweight);
    if (dweight) memset(dbias, 0, c * sizeof *dbias);
    for (; r + WIDE <= rows; r += WIDE)
        some_rows(&b, WIDE, x + r * c, dy + r * c, stats + 2 * r, dx ? dx + r * c : NULL);
    for (; r < rows; r++)
        some_rows(&b, 1, x + r * c, dy + r * c, stats + 2 * r, dx ? dx + r * c : NULL);
}
