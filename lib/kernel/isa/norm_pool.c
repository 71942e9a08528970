/* SPDX-License-Identifier: MIT
 * norm_pool.c: batch normalisation (norm.c), then a 2x2 max pooling, for one row of the pooled map.
 * The normalised map and its gradient are never in memory. Which of four pixels is the largest is
 * found from x each time, by the max_pool's rule (kdi_beats). A relu between norm and pooling does
 * not change the choice: where all four are 0 no gradient passes. */
#include "vectors.h"

#include "vec_math.h"

#define INLINE static inline __attribute__((always_inline))

enum { PIXELS = 4 };

typedef struct map {
    size_t c, step; /* channels, floats from a row of pixels to the next */
    const float *mean, *scale, *shift;
    bool relu;
} map;

/* Channels [j, j + n) of four pixels. */
typedef struct region {
    kdi_v d[PIXELS], y[PIXELS]; /* x - mean, and normalised */
    kdi_v best;                 /* the largest of y */
} region;

INLINE size_t pixel(const map *m, size_t i)
{
    return i / 2 * m->step + i % 2 * m->c;
}

INLINE region look(const map *m, const float *x, size_t j, size_t n)
{
    const kdi_v mean = kdi_get(m->mean + j, n), scale = kdi_get(m->scale + j, n);
    const kdi_v shift = kdi_get(m->shift + j, n);
    region w;
    for (size_t i = 0; i < PIXELS; i++) {
        const float *from = x + pixel(m, i) + j;
        kdi_prefetch(from + 2 * m->step); /* the same of the next two rows */
        w.d[i] = kdi_get(from, n) - mean;
        w.y[i] = w.d[i] * scale + shift;
        w.best = i == 0 ? w.y[0] : kdi_select(kdi_beats(w.y[i], w.best), w.y[i], w.best);
    }
    return w;
}

/* Whether pixel i is as large as the largest. */
INLINE kdi_vi is_best(const region *w, size_t i)
{
    return (w->y[i] >= w->best) | (w->y[i] != w->y[i]);
}

/* dy as it reaches the largest pixel: through the relu. */
INLINE kdi_v passed(const map *m, const region *w, const float *dy, size_t n)
{
    const kdi_v g = kdi_get(dy, n);
    return m->relu ? kdi_select(w->best <= 0, kdi_splat(0), g) : g;
}

INLINE void pool_channels(const map *m, const float *x, size_t j, size_t n, float *y)
{
    const region w = look(m, x, j, n);
    kdi_put(y + j, n, m->relu ? kdi_relu(w.best) : w.best);
}

void KDI_FN(bn_pool)(size_t out, size_t c, const float *x, size_t step, const float *mean,
                     const float *scale, const float *shift, int relu, float *y)
{
    const map m = {c, step, mean, scale, shift, relu != 0};
    for (size_t o = 0; o < out; o++, x += 2 * c, y += c) {
        size_t j = 0;
        for (; j + KDI_VL <= c; j += KDI_VL) pool_channels(&m, x, j, KDI_VL, y);
        if (j < c) pool_channels(&m, x, j, c - j, y);
    }
}

INLINE void add_channels(const map *m, const float *x, const float *dy, size_t j, size_t n,
                         float *sum, float *product)
{
    const region w = look(m, x, j, n);
    const kdi_v g = passed(m, &w, dy + j, n);
    kdi_v d = w.d[PIXELS - 1];
    for (size_t i = PIXELS - 1; i-- > 0;) d = kdi_select(is_best(&w, i), w.d[i], d);
    kdi_put(sum + j, n, kdi_get(sum + j, n) + g);
    kdi_put(product + j, n, kdi_get(product + j, n) + g * d);
}

void KDI_FN(bn_pool_backward_sums)(size_t out, size_t c, const float *x, size_t step,
                                   const float *dy, const float *mean, const float *scale,
                                   const float *shift, int relu, float *sum, float *product)
{
    const map m = {c, step, mean, scale, shift, relu != 0};
    for (size_t o = 0; o < out; o++, x += 2 * c, dy += c) {
        size_t j = 0;
        for (; j + KDI_VL <= c; j += KDI_VL) add_channels(&m, x, dy, j, KDI_VL, sum, product);
        if (j < c) add_channels(&m, x, dy, j, c - j, sum, product);
    }
}

typedef struct coefficients {
    const float *slope, *constant; /* slope NULL: none */
    bool accumulate;
} coefficients;

INLINE void gradient_channels(const map *m, const coefficients *k, const float *x, const float *dy,
                              size_t j, size_t n, float *dx)
{
    const region w = look(m, x, j, n);
    kdi_v g =
        passed(m, &w, dy + j, n) * kdi_get(m->scale + j, n); /* for the first of the largest */
    kdi_v slope = {0}, constant = {0};
    if (k->slope) {
        slope = kdi_get(k->slope + j, n);
        constant = kdi_get(k->constant + j, n);
    }
    for (size_t i = 0; i < PIXELS; i++) {
        float *to = dx + pixel(m, i) + j;
        const kdi_vi best = is_best(&w, i);
        kdi_v v = kdi_select(best, g, kdi_splat(0));
        g = kdi_select(best, kdi_splat(0), g);
        if (k->slope) v += w.d[i] * slope + constant;
        if (k->accumulate) v += kdi_get(to, n);
        kdi_put(to, n, v);
    }
}

void KDI_FN(bn_pool_backward)(size_t out, size_t c, const float *x, size_t step, const float *dy,
                              const float *mean, const float *scale, const float *shift, int relu,
                              const float *slope, const float *constant, float *dx, int accumulate)
{
    const map m = {c, step, mean, scale, shift, relu != 0};
    const coefficients k = {slope, constant, accumulate != 0};
    for (size_t o = 0; o < out; o++, x += 2 * c, dy += c, dx += 2 * c) {
        size_t j = 0;
        for (; j + KDI_VL <= c; j += KDI_VL) gradient_channels(&m, &k, x, dy, j, KDI_VL, dx);
        if (j < c) gradient_channels(&m, &k, x, dy, j, c - j, dx);
    }
}
