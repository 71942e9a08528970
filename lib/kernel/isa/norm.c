/* SPDX-License-Identifier: MIT
 * norm.c: batch normalisation of a block of rows, x[rows,c]. Statistics run down the columns; rows
 * are taken four at a time, added in pairs, so that a column's sum is a short chain of additions.
 * The caller keeps blocks small enough for the second-level cache and joins them in double.
 *
 *   y = (x - mean) scale + shift, then max(0, y) with relu
 *
 * The backward with relu computes y again for the mask, by the same expression as the forward. */
#include "vec_math.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* All columns by vectors, the last by a part of one: body(arguments, first column, columns). */
#define COLUMNS(c, body, ...)                                                                      \
    do {                                                                                           \
        size_t j_ = 0;                                                                             \
        for (; j_ + KDI_VL <= (c); j_ += KDI_VL) body(__VA_ARGS__, j_, KDI_VL);                    \
        if (j_ < (c)) body(__VA_ARGS__, j_, (c)-j_);                                               \
    } while (0)

enum { AHEAD = 1024 }; /* floats to prefetch ahead: the hardware's own prefetching is too slow */

typedef struct sums {
    size_t c;
    const float *x;
    float *mean, *m2, *rest;
} sums;

INLINE void add_rows(const sums *s, size_t row, size_t rows, size_t j, size_t n)
{
    const float *x = s->x + row * s->c + j;
    for (size_t r = 0; r < rows; r++) kdi_prefetch(x + r * s->c + AHEAD);
    kdi_v sum = kdi_get(x, n);
    if (rows == 4)
        sum = (sum + kdi_get(x + s->c, n)) + (kdi_get(x + 2 * s->c, n) + kdi_get(x + 3 * s->c, n));
    kdi_put(s->mean + j, n, kdi_get(s->mean + j, n) + sum);
}

INLINE void add_squares(const sums *s, size_t row, size_t rows, size_t j, size_t n)
{
    const float *x = s->x + row * s->c + j;
    const kdi_v mean = kdi_get(s->mean + j, n);
    kdi_v d[4];
    for (size_t r = 0; r < rows; r++) d[r] = kdi_get(x + r * s->c, n) - mean;
    kdi_v square = d[0] * d[0], rest = d[0];
    if (rows == 4) {
        square = (square + d[1] * d[1]) + (d[2] * d[2] + d[3] * d[3]);
        rest = (rest + d[1]) + (d[2] + d[3]);
    }
    kdi_put(s->m2 + j, n, kdi_get(s->m2 + j, n) + square);
    kdi_put(s->rest + j, n, kdi_get(s->rest + j, n) + rest);
}

void KDI_FN(bn_sums)(size_t rows, size_t c, const float *x, float *mean, float *m2, float *rest)
{
    const sums s = {c, x, mean, m2, rest};
    const float inverse = 1 / (float)rows;
    size_t r;
    memset(mean, 0, c * sizeof *mean);
    memset(m2, 0, c * sizeof *m2);
    memset(rest, 0, c * sizeof *rest);
    for (r = 0; r + 4 <= rows; r += 4) COLUMNS(c, add_rows, &s, r, 4);
    for (; r < rows; r++) COLUMNS(c, add_rows, &s, r, 1);
    for (size_t j = 0; j < c; j++) mean[j] *= inverse;
    for (r = 0; r + 4 <= rows; r += 4) COLUMNS(c, add_squares, &s, r, 4);
    for (; r < rows; r++) COLUMNS(c, add_squares, &s, r, 1);
}

/* d scale + shift, d = x - mean, with the same bits in every place: forward and backward must agree
 * on y > 0. Nothing is loaded between the product and the sum, so that the compiler contracts them
 * to one multiply-add everywhere, or nowhere. */
INLINE kdi_v normed(kdi_v d, kdi_v scale, kdi_v shift)
{
    return d * scale + shift;
}

typedef struct apply {
    const float *mean, *scale, *shift;
    bool relu;
} apply;

INLINE void apply_row(const apply *a, const float *x, float *y, size_t j, size_t n)
{
    kdi_prefetch(x + j + AHEAD);
    kdi_prefetch(y + j + AHEAD);
    const kdi_v scale = kdi_get(a->scale + j, n), shift = kdi_get(a->shift + j, n);
    const kdi_v d = kdi_get(x + j, n) - kdi_get(a->mean + j, n);
    kdi_v v = normed(d, scale, shift);
    if (a->relu) v = kdi_relu(v);
    kdi_put(y + j, n, v);
}

void KDI_FN(bn_apply)(size_t rows, size_t c, const float *x, const float *mean, const float *scale,
                      const float *shift, int relu, float *y)
{
    const apply plain = {mean, scale, shift, false}, rectified = {mean, scale, shift, true};
    if (relu)
        for (size_t r = 0; r < rows; r++) COLUMNS(c, apply_row, &rectified, x + r * c, y + r * c);
    else
        for (size_t r = 0; r < rows; r++) COLUMNS(c, apply_row, &plain, x + r * c, y + r * c);
}

INLINE void gather_pixels(const apply *a, size_t pixels, size_t c, const float *x, const size_t *at,
                          float *y, size_t j, size_t n)
{
    const kdi_v mean = kdi_get(a->mean + j, n), scale = kdi_get(a->scale + j, n);
    const kdi_v shift = kdi_get(a->shift + j, n);
    for (size_t i = 0; i < pixels; i++) {
        kdi_v v = {0};
        if (at[i] != SIZE_MAX) {
            v = normed(kdi_get(x + at[i] + j, n) - mean, scale, shift);
            if (a->relu) v = kdi_relu(v);
        }
        kdi_put(y + i * c + j, n, v);
    }
}

void KDI_FN(bn_gather)(size_t pixels, size_t c, const float *x, const size_t *at, const float *mean,
                       const float *scale, const float *shift, int relu, float *y)
{
    const apply plain = {mean, scale, shift, false}, rectified = {mean, scale, shift, true};
    if (relu)
        COLUMNS(c, gather_pixels, &rectified, pixels, c, x, at, y);
    else
        COLUMNS(c, gather_pixels, &plain, pixels, c, x, at, y);
}

typedef struct back {
    size_t c;
    const float *x, *dy, *mean, *scale, *shift;
    bool relu, statistics, accumulate;
    float *sum, *product;          /* the sums' results */
    const float *slope, *constant; /* the gradient's coefficients */
    float *dx;
} back;

/* The relu's backward: dy where y > 0. d = x - mean. */
INLINE kdi_v masked(const back *b, const float *dy, kdi_v d, size_t j, size_t n)
{
    const kdi_v g = kdi_get(dy, n);
    if (!b->relu) return g;
    const kdi_v scale = kdi_get(b->scale + j, n), shift = kdi_get(b->shift + j, n);
    const kdi_v y = normed(d, scale, shift);
    return kdi_select(y <= 0, kdi_splat(0), g);
}

INLINE void add_gradients(const back *b, size_t row, size_t rows, size_t j, size_t n)
{
    const float *x = b->x + row * b->c + j, *dy = b->dy + row * b->c + j;
    const kdi_v mean = kdi_get(b->mean + j, n);
    kdi_v d[4], g[4];
    for (size_t r = 0; r < rows; r++) {
        kdi_prefetch(x + r * b->c + AHEAD);
        kdi_prefetch(dy + r * b->c + AHEAD);
        d[r] = kdi_get(x + r * b->c, n) - mean;
        g[r] = masked(b, dy + r * b->c, d[r], j, n);
    }
    kdi_v sum = g[0], product = g[0] * d[0];
    if (rows == 4) {
        sum = (sum + g[1]) + (g[2] + g[3]);
        product = (product + g[1] * d[1]) + (g[2] * d[2] + g[3] * d[3]);
    }
    kdi_put(b->sum + j, n, kdi_get(b->sum + j, n) + sum);
    kdi_put(b->product + j, n, kdi_get(b->product + j, n) + product);
}

INLINE void all_gradients(const back *b, size_t rows)
{
    size_t r;
    for (r = 0; r + 4 <= rows; r += 4) COLUMNS(b->c, add_gradients, b, r, 4);
    for (; r < rows; r++) COLUMNS(b->c, add_gradients, b, r, 1);
}

void KDI_FN(bn_backward_sums)(size_t rows, size_t c, const float *x, const float *dy,
                              const float *mean, const float *scale, const float *shift, int relu,
                              float *sum, float *product)
{
    back b = {.c = c, .x = x, .dy = dy, .mean = mean, .scale = scale, .shift = shift};
    b.sum = sum;
    b.product = product;
    memset(sum, 0, c * sizeof *sum);
    memset(product, 0, c * sizeof *product);
    if (relu) {
        b.relu = true;
        all_gradients(&b, rows);
    } else {
        b.relu = false;
        all_gradients(&b, rows);
    }
}

INLINE void gradient_row(const back *b, size_t offset, size_t j, size_t n)
{
    const size_t at = offset + j;
    kdi_v d = {0};
    kdi_prefetch(b->dy + at + AHEAD);
    if (b->relu || b->statistics) {
        kdi_prefetch(b->x + at + AHEAD);
        d = kdi_get(b->x + at, n) - kdi_get(b->mean + j, n);
    }
    kdi_v v = masked(b, b->dy + at, d, j, n) * kdi_get(b->scale + j, n);
    if (b->statistics) v += d * kdi_get(b->slope + j, n) + kdi_get(b->constant + j, n);
    if (b->accumulate) v += kdi_get(b->dx + at, n);
    kdi_put(b->dx + at, n, v);
}

INLINE void gradient_rows(const back *from, size_t rows, bool relu, bool statistics)
{
    back b = *from;
    b.relu = relu;
    b.statistics = statistics;
    if (from->accumulate) {
        b.accumulate = true;
        for (size_t r = 0; r < rows; r++) COLUMNS(b.c, gradient_row, &b, r * b.c);
    } else {
        b.accumulate = false;
        for (size_t r = 0; r < rows; r++) COLUMNS(b.c, gradient_row, &b, r * b.c);
    }
}

void KDI_FN(bn_backward)(size_t rows, size_t c, const float *x, const float *dy, const float *mean,
                         const float *scale, const float *shift, int relu, const float *slope,
                         const float *constant, float *dx, int accumulate)
{
    back b = {.c = c, .x = x, .dy = dy, .mean = mean, .scale = scale, .shift = shift};
    b.slope = slope;
    b.constant = constant;
    b.dx = dx;
    b.accumulate = accumulate;
    if (relu && slope)
        gradient_rows(&b, rows, true, true);
    else if (relu)
        gradient_rows(&b, rows, true, false);
    else if (slope)
        gradient_rows(&b, rows, false, true);
    else
        gradient_rows(&b, rows, false, false);
}
