/* SPDX-License-Identifier: MIT
 * patch.c: the patches of a convolution, copied block by block for the matrix product, and the
 * sums of a depthwise one. */
#include "vectors.h"

/* A row's position. */
typedef struct position {
    const float *image;
    size_t y, x; /* in the grid */
} position;

static position first(const kdi_patches *p)
{
    const size_t map = p->grid_h * p->grid_w, at = p->row % map;
    return (position){p->x + p->row / map * p->h * p->w * p->ld, at / p->grid_w, at % p->grid_w};
}

static void next(const kdi_patches *p, position *at)
{
    if (++at->x < p->grid_w) return;
    at->x = 0;
    if (++at->y < p->grid_h) return;
    at->y = 0;
    at->image += p->h * p->w * p->ld;
}

/* The pixel row and column of point (0, 0). A negative one wraps round to beyond the map. */
static size_t pixel_y(const kdi_patches *p, const position *at)
{
    return (size_t)((ptrdiff_t)(p->top + at->y) * p->step_h + p->off_h);
}

static size_t pixel_x(const kdi_patches *p, const position *at)
{
    return (size_t)((ptrdiff_t)(p->left + at->x) * p->step_w + p->off_w);
}

static inline float *copy(float *to, const float *from, size_t n)
{
    size_t i = 0;
    for (; i + KDI_VL <= n; i += KDI_VL) kdi_store(to + i, kdi_load(from + i));
    for (; i < n; i++) to[i] = from[i];
    return to + n;
}

static inline float *zero(float *to, size_t n)
{
    size_t i = 0;
    for (; i + KDI_VL <= n; i += KDI_VL) kdi_store(to + i, (kdi_v){0});
    for (; i < n; i++) to[i] = 0;
    return to + n;
}

/* Points [j, end) of one row of the kernel. line is the map's row, x the column of point 0. */
static float *points(const kdi_patches *p, const float *line, size_t x, size_t j, size_t end,
                     float *to)
{
    if (p->tap_w == 1 && p->channels == p->ld) {
        /* The points are neighbours in memory: what is inside the map is one piece. */
        size_t low = j, high = end;
        while (low < high && x + low >= p->w) low++;
        while (high > low && x + high - 1 >= p->w) high--;
        to = zero(to, (low - j) * p->ld);
        if (low < high) to = copy(to, line + (x + low) * p->ld, (high - low) * p->ld);
        return zero(to, (end - high) * p->ld);
    }
    for (; j < end; j++) {
        const size_t column = x + j * (size_t)p->tap_w;
        if (column < p->w)
            to = copy(to, line + column * p->ld, p->channels);
        else
            to = zero(to, p->channels);
    }
    return to;
}

void KDI_FN(patch_rows)(const kdi_patches *p, float *to, size_t ld)
{
    position at = first(p);
    for (size_t r = 0; r < p->rows; r++, to += ld, next(p, &at)) {
        const size_t y0 = pixel_y(p, &at), x0 = pixel_x(p, &at);
        size_t i = p->tap / p->tap_width, j = p->tap % p->tap_width, left = p->taps;
        float *row = to;
        while (left > 0) {
            const size_t count = left < p->tap_width - j ? left : p->tap_width - j;
            const size_t y = y0 + i * (size_t)p->tap_h;
            if (y < p->h)
                row = points(p, at.image + y * p->w * p->ld, x0, j, j + count, row);
            else
                row = zero(row, count * p->channels);
            left -= count;
            i++;
            j = 0;
        }
    }
}

/* One row's channels of one point, or zeros, dealt out to panels. Returns where the next point's
 * panels begin. */
static inline float *pieces(const float *from, size_t channels, float *to, size_t panel)
{
    for (size_t c = 0; c < channels; c += KDI_GEMM_NR, to += panel) {
        const size_t count = channels - c < KDI_GEMM_NR ? channels - c : KDI_GEMM_NR;
        if (from && count == KDI_GEMM_NR)
            copy(to, from + c, KDI_GEMM_NR);
        else if (from)
            zero(copy(to, from + c, count), KDI_GEMM_NR - count);
        else
            zero(to, KDI_GEMM_NR);
    }
    return to;
}

void KDI_FN(patch_panels)(const kdi_patches *p, float *to, size_t panel)
{
    position at = first(p);
    for (size_t r = 0; r < p->rows; r++, to += KDI_GEMM_NR, next(p, &at)) {
        const size_t y0 = pixel_y(p, &at), x0 = pixel_x(p, &at);
        size_t i = p->tap / p->tap_width, j = p->tap % p->tap_width;
        float *piece = to;
        for (size_t t = 0; t < p->taps; t++) {
            const size_t y = y0 + i * (size_t)p->tap_h, x = x0 + j * (size_t)p->tap_w;
            const bool inside = y < p->h && x < p->w;
            piece = pieces(inside ? at.image + (y * p->w + x) * p->ld : NULL, p->channels, piece,
                           panel);
            if (++j == p->tap_width) {
                j = 0;
                i++;
            }
        }
    }
}

void KDI_FN(sum_products)(size_t c, size_t count, const float *const *x, const float *const *w,
                          float *y, int accumulate)
{
    size_t i = 0;
    for (; i + KDI_VL <= c; i += KDI_VL) {
        kdi_v sum = accumulate ? kdi_load(y + i) : (kdi_v){0};
        for (size_t t = 0; t < count; t++) sum += kdi_load(x[t] + i) * kdi_load(w[t] + i);
        kdi_store(y + i, sum);
    }
    for (; i < c; i++) {
        float sum = accumulate ? y[i] : 0;
        for (size_t t = 0; t < count; t++) sum += x[t][i] * w[t][i];
        y[i] = sum;
    }
}
