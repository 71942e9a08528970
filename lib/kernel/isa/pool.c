/* SPDX-License-Identifier: MIT
 * pool.c: one row of the output of a pooling over x[h,w,c], forward or backward. Regions come as
 * tables (kdi_pooling_span), so that one code serves any kernel, stride, padding and the adaptive
 * poolings. Vectors are of channels; a block of them stays in registers for its whole region.
 *
 * The largest number of a region is the first of equals; NaN is larger than any number
 * (kdi_beats). */
#include "vec_math.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef uint8_t bytes __attribute__((vector_size(KDI_VL)));
typedef uint8_t bytes_in_memory __attribute__((vector_size(KDI_VL), aligned(1), may_alias));
typedef int32_t ints_in_memory __attribute__((vector_size(4 * KDI_VL), aligned(4), may_alias));

/* Indices of n <= KDI_VL channels from channel j of an array of bytes or, if wide, of ints. */
INLINE void put_index(void *index, int wide, size_t j, size_t n, kdi_vi k)
{
    if (wide && n == KDI_VL) {
        *(ints_in_memory *)((int32_t *)index + j) = k;
    } else if (n == KDI_VL) {
        *(bytes_in_memory *)((uint8_t *)index + j) = __builtin_convertvector(k, bytes);
    } else {
        for (size_t i = 0; i < n; i++)
            if (wide)
                ((int32_t *)index)[j + i] = k[i];
            else
                ((uint8_t *)index)[j + i] = (uint8_t)k[i];
    }
}

/* KDI_VL bytes to ints: written out, for compilers take it apart. */
INLINE kdi_vi widen(const uint8_t *p)
{
#if defined(__AVX512F__)
    return (kdi_vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
#elif defined(__AVX2__)
    return (kdi_vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
#else
    return __builtin_convertvector(*(const bytes_in_memory *)p, kdi_vi);
#endif
}

INLINE kdi_vi get_index(const void *index, int wide, size_t j, size_t n)
{
    kdi_vi k = {0};
    if (wide && n == KDI_VL) return *(const ints_in_memory *)((const int32_t *)index + j);
    if (n == KDI_VL) return widen((const uint8_t *)index + j);
    for (size_t i = 0; i < n; i++)
        k[i] = wide ? ((const int32_t *)index)[j + i] : ((const uint8_t *)index)[j + i];
    return k;
}

INLINE void larger(kdi_v *best, kdi_vi *at, kdi_v v, int32_t k, bool indexed)
{
    const kdi_vi m = kdi_beats(v, *best);
    if (indexed) *at = (m & kdi_isplat(k)) | (~m & *at);
    *best = kdi_select(m, v, *best);
}

typedef struct cell {
    const float *x; /* the region's first pixel */
    size_t rows, columns, c, step;
} cell;

/* n channels from j of one output pixel. */
INLINE void max_channels(const cell *w, size_t j, size_t n, float *y, void *index, int wide,
                         bool indexed)
{
    const float *x = w->x + j;
    kdi_v best = kdi_get(x, n);
    kdi_vi at = {0};
    if (w->rows == 2 && w->columns == 2) {
        larger(&best, &at, kdi_get(x + w->c, n), 1, indexed);
        larger(&best, &at, kdi_get(x + w->step, n), 2, indexed);
        larger(&best, &at, kdi_get(x + w->step + w->c, n), 3, indexed);
    } else {
        int32_t k = 0;
        for (size_t r = 0; r < w->rows; r++)
            for (size_t q = 0; q < w->columns; q++)
                larger(&best, &at, kdi_get(x + r * w->step + q * w->c, n), k++, indexed);
    }
    kdi_put(y + j, n, best);
    if (indexed) put_index(index, wide, j, n, at);
}

INLINE void max_row(size_t out, const cell *first, const kdi_pooling_span *columns, float *y,
                    void *index, int wide, bool indexed)
{
    cell w = *first;
    for (size_t o = 0; o < out; o++) {
        size_t j = 0;
        w.x = first->x + columns[o].begin * w.c;
        w.columns = columns[o].end - columns[o].begin;
        void *to = indexed ? (char *)index + o * w.c * (wide ? 4 : 1) : NULL;
        for (; j + KDI_VL <= w.c; j += KDI_VL)
            max_channels(&w, j, KDI_VL, y + o * w.c, to, wide, indexed);
        if (j < w.c) max_channels(&w, j, w.c - j, y + o * w.c, to, wide, indexed);
    }
}

void KDI_FN(max_pool)(size_t out, size_t c, const kdi_pooling_span *row,
                      const kdi_pooling_span *columns, const float *x, size_t step, float *y,
                      void *index, int wide)
{
    const cell w = {
        .x = x + row->begin * step, .rows = row->end - row->begin, .c = c, .step = step};
    if (!index)
        max_row(out, &w, columns, y, NULL, 0, false);
    else if (wide)
        max_row(out, &w, columns, y, index, 1, true);
    else
        max_row(out, &w, columns, y, index, 0, true);
}

/* One row of dx, `width` pixels, to which the regions' gradients are added in order. If the regions
 * do not overlap it is overwritten, with zeros between them. */
typedef struct strip {
    float *dx;
    size_t c, width, done; /* pixels before `done` are written */
    bool fresh;
} strip;

INLINE float *line_begin(strip *l, const kdi_pooling_span *window)
{
    if (l->fresh && window->begin > l->done)
        memset(l->dx + l->done * l->c, 0, (window->begin - l->done) * l->c * sizeof *l->dx);
    l->done = window->end;
    return l->dx + window->begin * l->c;
}

INLINE void line_end(const strip *l)
{
    if (l->fresh && l->width > l->done)
        memset(l->dx + l->done * l->c, 0, (l->width - l->done) * l->c * sizeof *l->dx);
}

INLINE void line_put(float *to, size_t n, kdi_v d, bool fresh)
{
    kdi_put(to, n, fresh ? d : kdi_get(to, n) + d);
}

/* dx[columns][c] gets dy[c] where index says first, first + 1, ... */
INLINE void max_back(size_t c, size_t columns, int32_t first, size_t j, size_t n, const float *dy,
                     const void *index, int wide, float *dx, bool fresh)
{
    const kdi_vi at = get_index(index, wide, j, n);
    const kdi_v d = kdi_get(dy + j, n);
    for (size_t q = 0; q < columns; q++)
        line_put(dx + q * c + j, n, kdi_select(at == first + (int32_t)q, d, kdi_splat(0)), fresh);
}

INLINE void max_back_row(size_t out, strip *l, size_t row, const kdi_pooling_span *columns,
                         const float *dy, const void *index, int wide)
{
    const size_t c = l->c;
    for (size_t o = 0; o < out; o++, dy += c) {
        const size_t width = columns[o].end - columns[o].begin;
        const int32_t first = (int32_t)(row * width);
        const void *from = (const char *)index + o * c * (wide ? 4 : 1);
        float *to = line_begin(l, &columns[o]);
        size_t j = 0;
        for (; j + KDI_VL <= c; j += KDI_VL)
            max_back(c, width, first, j, KDI_VL, dy, from, wide, to, l->fresh);
        if (j < c) max_back(c, width, first, j, c - j, dy, from, wide, to, l->fresh);
    }
    line_end(l);
}

void KDI_FN(max_pool_backward)(size_t out, size_t c, size_t row, const kdi_pooling_span *columns,
                               const float *dy, const void *index, int wide, float *dx,
                               size_t width)
{
    strip l = {dx, c, width, 0, width > 0};
    if (wide) {
        max_back_row(out, &l, row, columns, dy, index, 1);
    } else if (width > 0) {
        l.fresh = true;
        max_back_row(out, &l, row, columns, dy, index, 0);
    } else {
        l.fresh = false;
        max_back_row(out, &l, row, columns, dy, index, 0);
    }
}

/* vecs * KDI_VL channels, or a part of one vector: rows are summed apart, for short chains. */
INLINE void avg_channels(const cell *w, size_t j, size_t vecs, size_t n, float factor, float *y)
{
    const float *x = w->x + j;
    kdi_v sum[4] = {{0}};
    for (size_t r = 0; r < w->rows; r++) {
        kdi_v line[4] = {{0}};
        for (size_t q = 0; q < w->columns; q++)
            for (size_t v = 0; v < vecs; v++)
                line[v] += kdi_get(x + r * w->step + q * w->c + v * KDI_VL, n);
        for (size_t v = 0; v < vecs; v++) sum[v] += line[v];
    }
    for (size_t v = 0; v < vecs; v++) kdi_put(y + j + v * KDI_VL, n, factor * sum[v]);
}

void KDI_FN(avg_pool)(size_t out, size_t c, const kdi_pooling_span *row,
                      const kdi_pooling_span *columns, const float *x, size_t step, float *y)
{
    cell w = {.rows = row->end - row->begin, .c = c, .step = step};
    for (size_t o = 0; o < out; o++, y += c) {
        const float factor = 1 / ((float)row->extent * (float)columns[o].extent);
        size_t j = 0;
        w.x = x + row->begin * step + columns[o].begin * c;
        w.columns = columns[o].end - columns[o].begin;
        for (; j + 4 * KDI_VL <= c; j += 4 * KDI_VL) avg_channels(&w, j, 4, KDI_VL, factor, y);
        for (; j + KDI_VL <= c; j += KDI_VL) avg_channels(&w, j, 1, KDI_VL, factor, y);
        if (j < c) avg_channels(&w, j, 1, c - j, factor, y);
    }
}

INLINE void avg_back(size_t c, size_t columns, float factor, size_t j, size_t n, const float *dy,
                     float *dx, bool fresh)
{
    const kdi_v d = factor * kdi_get(dy + j, n);
    for (size_t q = 0; q < columns; q++) line_put(dx + q * c + j, n, d, fresh);
}

INLINE void avg_back_row(size_t out, strip *l, const kdi_pooling_span *row,
                         const kdi_pooling_span *columns, const float *dy)
{
    const size_t c = l->c;
    for (size_t o = 0; o < out; o++, dy += c) {
        const float factor = 1 / ((float)row->extent * (float)columns[o].extent);
        const size_t width = columns[o].end - columns[o].begin;
        float *to = line_begin(l, &columns[o]);
        size_t j = 0;
        for (; j + KDI_VL <= c; j += KDI_VL)
            avg_back(c, width, factor, j, KDI_VL, dy, to, l->fresh);
        if (j < c) avg_back(c, width, factor, j, c - j, dy, to, l->fresh);
    }
    line_end(l);
}

void KDI_FN(avg_pool_backward)(size_t out, size_t c, const kdi_pooling_span *row,
                               const kdi_pooling_span *columns, const float *dy, float *dx,
                               size_t width)
{
    strip l = {dx, c, width, 0, width > 0};
    if (width > 0) {
        l.fresh = true;
        avg_back_row(out, &l, row, columns, dy);
    } else {
        l.fresh = false;
        avg_back_row(out, &l, row, columns, dy);
    }
}
