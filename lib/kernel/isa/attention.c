/* SPDX-License-Identifier: MIT
 * attention.c: the softmax between attention's two products, and its backward, on rows of scores
 * s[rows][step]. n columns count; step is a multiple of KDI_VL, and the columns from n to the end
 * of the vector become 0.
 *
 *   forward    s = exp(scale s + bias + mask - max), unnormalised: the caller multiplies its
 *              product's rows by 1 / sum
 *   backward   p = exp(scale s + bias + mask - max) / sum in s, and scale p (dp - sum p dp) in dp
 *
 * bias and mask are [rows][n], or NULL. Where all of a row is -infinity it becomes NaN. */
#include "vec_math.h"

#define INLINE static inline __attribute__((always_inline))

/* A vector of a row's scores, -infinity beyond its end. */
INLINE kdi_v score(const float *s, float scale, const float *bias, const float *mask, size_t j,
                   size_t n)
{
    kdi_v v = scale * kdi_load(s + j);
    const size_t count = n - j < KDI_VL ? n - j : KDI_VL;
    if (count == KDI_VL) {
        if (bias) v += kdi_load(bias + j);
        if (mask) v += kdi_load(mask + j);
        return v;
    }
    if (bias) v += kdi_load_part(bias + j, count, 0);
    if (mask) v += kdi_load_part(mask + j, count, 0);
    float lane[KDI_VL];
    for (int i = 0; i < KDI_VL; i++) lane[i] = (float)i;
    return kdi_select(kdi_load(lane) < (float)count, v, kdi_splat(-INFINITY));
}

/* exp(x), x <= 0, but 0 instead of denormal numbers. A masked score would give 1e-44, and products
 * of denormals take a hundred times as long as others. The row's sum is at least 1, so it does not
 * change. */
INLINE kdi_v weight(kdi_v x)
{
    return kdi_select(x < kdi_splat(-64), kdi_splat(0), kdi_exp_negative(x));
}

INLINE void softmax_row(size_t n, float scale, const float *bias, const float *mask, float *s,
                        float *max, float *inverse)
{
    kdi_v m = kdi_splat(-INFINITY), sum = {0};
    for (size_t j = 0; j < n; j += KDI_VL) {
        const kdi_v v = score(s, scale, bias, mask, j, n);
        kdi_store(s + j, v);
        m = kdi_max(v, m);
    }
    const float largest = kdi_largest(m);
    for (size_t j = 0; j < n; j += KDI_VL) {
        const kdi_v e = weight(kdi_load(s + j) - largest);
        kdi_store(s + j, e);
        sum += e;
    }
    *max = largest;
    *inverse = 1 / kdi_sum(sum);
}

void KDI_FN(attention_softmax)(size_t rows, size_t n, float scale, const float *bias,
                               const float *mask, float *s, size_t step, float *max, float *inverse)
{
    for (size_t r = 0; r < rows; r++)
        softmax_row(n, scale, bias ? bias + r * n : NULL, mask ? mask + r * n : NULL, s + r * step,
                    max + r, inverse + r);
}

INLINE void backward_row(size_t n, float scale, const float *bias, const float *mask, float max,
                         float inverse, float *s, float *dp, float *dbias)
{
    kdi_v sum = {0};
    for (size_t j = 0; j < n; j += KDI_VL) {
        const kdi_v p = weight(score(s, scale, bias, mask, j, n) - max) * inverse;
        kdi_store(s + j, p);
        sum += p * kdi_load(dp + j);
    }
    const float dot = kdi_sum(sum);
    for (size_t j = 0; j < n; j += KDI_VL) {
        const size_t count = n - j < KDI_VL ? n - j : KDI_VL;
        const kdi_v d = kdi_load(s + j) * (kdi_load(dp + j) - dot);
        kdi_store(dp + j, scale * d);
        if (dbias) kdi_put(dbias + j, count, kdi_get(dbias + j, count) + d);
    }
}

void KDI_FN(attention_backward)(size_t rows, size_t n, float scale, const float *bias,
                                const float *mask, const float *max, const float *inverse, float *s,
                                float *dp, size_t step, float *dbias)
{
    for (size_t r = 0; r < rows; r++)
        backward_row(n, scale, bias ? bias + r * n : NULL, mask ? mask + r * n : NULL, max[r],
                     inverse[r], s + r * step, dp + r * step, dbias ? dbias + r * n : NULL);
}

void KDI_FN(scale_rows)(size_t rows, size_t n, const float *factor, size_t step, const float *x,
                        size_t ldx, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy, factor += step) {
        size_t j = 0;
        for (; j + KDI_VL <= n; j += KDI_VL) kdi_store(y + j, *factor * kdi_load(x + j));
        if (j < n) kdi_store_part(y + j, n - j, *factor * kdi_load_part(x + j, n - j, 0));
    }
}
