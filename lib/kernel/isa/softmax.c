/* SPDX-License-Identifier: MIT
 * softmax.c: kernels over one row of n logits: its maximum, sums, softmax, and the terms of the
 * distillation losses and of logit standardisation.
 *
 * Exponents are of (x - max) / t, never positive, so nothing overflows. Sums are of floats over
 * pieces of PIECE vectors, and of doubles over the pieces: a row of a thousand classes loses no
 * digits. NaN in a row makes its sums NaN; -infinity counts as probability 0. */
#include "vec_math.h"

enum { PIECE = 8 };

/* The vector at i; behind the end of the row its lanes are `other`. */
static inline kdi_v get(const float *x, size_t i, size_t n, float other)
{
    return n - i >= KDI_VL ? kdi_load(x + i) : kdi_load_part(x + i, n - i, other);
}

/* d = v, or d += v, there. */
static inline void put(float *d, size_t i, size_t n, kdi_v v, int accumulate)
{
    if (accumulate) v += get(d, i, n, 0);
    if (n - i >= KDI_VL)
        kdi_store(d + i, v);
    else
        kdi_store_part(d + i, n - i, v);
}

float KDI_FN(row_max)(size_t n, const float *x)
{
    kdi_v m = kdi_splat(-INFINITY);
    for (size_t i = 0; i < n; i += KDI_VL) m = kdi_max(get(x, i, n, -INFINITY), m);
    float lanes[KDI_VL], max = -INFINITY;
    kdi_store(lanes, m);
    for (int l = 0; l < KDI_VL; l++) max = lanes[l] > max ? lanes[l] : max;
    return max;
}

/* What the terms of a sum over a row depend on besides x and y: their shifts and a divisor. */
typedef struct row {
    float x0, y0, t;
} row;
typedef kdi_v (*term)(kdi_v x, kdi_v y, const row *r);

/* The sum of f(x, y) over a row; f must be 0 at (x_end, y_end), which fill the last vector. */
static inline double row_sum(size_t n, const float *x, const float *y, const row *r, term f,
                             float x_end, float y_end)
{
    double total = 0;
    kdi_v piece = {0};
    for (size_t i = 0, v = 1; i < n; i += KDI_VL, v++) {
        piece += f(get(x, i, n, x_end), get(y, i, n, y_end), r);
        if (v % PIECE) continue;
        total += (double)kdi_sum(piece);
        piece = kdi_splat(0);
    }
    return total + (double)kdi_sum(piece);
}

static inline kdi_v exp_term(kdi_v x, kdi_v y, const row *r)
{
    (void)y;
    return kdi_exp((x - r->x0) / r->t);
}

double KDI_FN(row_exp_sum)(size_t n, const float *x, float max, float t)
{
    const row r = {.x0 = max, .t = t};
    return row_sum(n, x, x, &r, exp_term, -INFINITY, 0);
}

/* 0 where the weight is 0, though the difference may be infinite. */
static inline kdi_v kl_term(kdi_v x, kdi_v y, const row *r)
{
    const kdi_v a = (x - r->x0) / r->t, b = (y - r->y0) / r->t, e = kdi_exp(a);
    return kdi_select(e == 0, kdi_splat(0), e * (a - b));
}

double KDI_FN(row_kl_sum)(size_t n, const float *x, float x_max, const float *y, float y_max,
                          float t)
{
    const row r = {x_max, y_max, t};
    return row_sum(n, x, y, &r, kl_term, -INFINITY, 0);
}

static inline kdi_v shifted(kdi_v x, kdi_v y, const row *r)
{
    (void)y;
    return x - r->x0;
}

double KDI_FN(row_sum)(size_t n, const float *x, float shift)
{
    const row r = {.x0 = shift};
    return row_sum(n, x, x, &r, shifted, shift, 0);
}

static inline kdi_v product(kdi_v x, kdi_v y, const row *r)
{
    return (x - r->x0) * (y - r->y0);
}

double KDI_FN(row_dot)(size_t n, const float *x, float x_shift, const float *y, float y_shift)
{
    const row r = {.x0 = x_shift, .y0 = y_shift};
    return row_sum(n, x, y, &r, product, x_shift, y_shift);
}

void KDI_FN(row_exp)(size_t n, const float *x, float max, float t, float a, float b, float *d,
                     int accumulate)
{
    for (size_t i = 0; i < n; i += KDI_VL)
        put(d, i, n, a * kdi_exp((get(x, i, n, max) - max) / t) + b, accumulate);
}

void KDI_FN(row_combine)(size_t n, float a, const float *x, float x_shift, float b, const float *y,
                         float y_shift, float *d, int accumulate)
{
    for (size_t i = 0; i < n; i += KDI_VL)
        put(d, i, n, a * (get(x, i, n, 0) - x_shift) + b * (get(y, i, n, 0) - y_shift), accumulate);
}

void KDI_FN(softmax)(size_t n, const float *x, float *y)
{
    const float max = KDI_FN(row_max)(n, x);
    double sum = 0;
    kdi_v piece = {0};
    for (size_t i = 0, v = 1; i < n; i += KDI_VL, v++) {
        const kdi_v e = kdi_exp(get(x, i, n, -INFINITY) - max);
        put(y, i, n, e, 0);
        piece += e;
        if (v % PIECE) continue;
        sum += (double)kdi_sum(piece);
        piece = kdi_splat(0);
    }
    const float factor = (float)(1 / (sum + (double)kdi_sum(piece)));
    for (size_t i = 0; i < n; i += KDI_VL) put(y, i, n, get(y, i, n, 0) * factor, 0);
}

void KDI_FN(softmax_backward)(size_t n, const float *y, const float *dy, float *dx, int accumulate)
{
    const float dot = (float)KDI_FN(row_dot)(n, y, 0, dy, 0);
    for (size_t i = 0; i < n; i += KDI_VL)
        put(dx, i, n, get(y, i, n, 0) * (get(dy, i, n, 0) - dot), accumulate);
}
