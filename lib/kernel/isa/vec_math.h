/* SPDX-License-Identifier: MIT
 * vec_math.h: exp, log and erf of a vector, and loads of a part of one: for kernel sources.
 *
 * Each lane's result depends on that lane alone, so a tail gives the same bits wherever an array is
 * cut. NaN stays NaN, infinities give the limits. Relative errors over all floats (6e-8 is half a
 * unit in the last place): exp 8e-8, log 9e-8, erf 4e-7; gelu is within 4e-7 * |x|.
 *
 * exp: x = n ln2 + r, |r| <= ln2/2, a polynomial in r, then 2^n in two factors. log: x = 2^e m,
 * log m = 2 artanh((m-1)/(m+1)), a series. erf: x P(x^2) / Q(x^2) up to 3.92, where erf rounds to 1
 * soon after. The polynomials of exp and erf are least-maximum-error fits of our own. */
#ifndef KDI_VEC_MATH_H
#define KDI_VEC_MATH_H

#include "vectors.h"

#include <math.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

/* The first n < KDI_VL floats, the other lanes `other`; nothing beyond p[n - 1] is touched. */
static inline kdi_v kdi_load_part(const float *p, size_t n, float other)
{
#if defined(__AVX512F__)
    return _mm512_mask_loadu_ps(kdi_splat(other), (__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__)
    const kdi_vi lane = {0, 1, 2, 3, 4, 5, 6, 7}, mask = lane < (int32_t)n;
    return kdi_select(mask, _mm256_maskload_ps(p, (__m256i)mask), kdi_splat(other));
#else
    float lanes[KDI_VL];
    for (size_t i = 0; i < KDI_VL; i++) lanes[i] = i < n ? p[i] : other;
    return kdi_load(lanes);
#endif
}

static inline void kdi_store_part(float *p, size_t n, kdi_v v)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
#elif defined(__AVX2__)
    const kdi_vi lane = {0, 1, 2, 3, 4, 5, 6, 7};
    _mm256_maskstore_ps(p, (__m256i)(lane < (int32_t)n), v);
#else
    float lanes[KDI_VL];
    kdi_store(lanes, v);
    for (size_t i = 0; i < n; i++) p[i] = lanes[i];
#endif
}

/* The same for n <= KDI_VL: in a function that is inlined, a whole vector costs nothing extra. */
static inline kdi_v kdi_get(const float *p, size_t n)
{
    return n == KDI_VL ? kdi_load(p) : kdi_load_part(p, n, 0);
}

static inline void kdi_put(float *p, size_t n, kdi_v v)
{
    if (n == KDI_VL)
        kdi_store(p, v);
    else
        kdi_store_part(p, n, v);
}

/* b where a is NaN. */
static inline kdi_v kdi_min(kdi_v a, kdi_v b)
{
    return kdi_select(a < b, a, b);
}

static inline kdi_vi kdi_isplat(int32_t x)
{
    return (kdi_vi){0} + x;
}

static inline kdi_v kdi_abs(kdi_v x)
{
    return (kdi_v)((kdi_vi)x & kdi_isplat(0x7fffffff));
}

/* x with the sign of s */
static inline kdi_v kdi_copysign(kdi_v x, kdi_v s)
{
    const kdi_vi sign = kdi_isplat(INT32_MIN);
    return (kdi_v)(((kdi_vi)x & ~sign) | ((kdi_vi)s & sign));
}

/* Whole numbers to floats; exact below 2^24. */
static inline kdi_v kdi_to_float(kdi_vi i)
{
    return __builtin_convertvector(i, kdi_v);
}

static inline kdi_v kdi_exp(kdi_v x)
{
    /* Beyond these the result is 0 or infinity by itself. Adding 1.5 * 2^23 rounds to a whole
     * number, which then lies in the low bits. */
    const kdi_v magic = kdi_splat(0x1.8p23f);
    const kdi_v c = kdi_min(kdi_max(x, kdi_splat(-105)), kdi_splat(90));
    const kdi_v shifted = c * 0x1.715476p+0f + magic, n = shifted - magic;
    const kdi_v r = (c - n * 0.693145751953125f) - n * 1.42860677e-6f;
    kdi_v p = kdi_splat(1.98578426e-4f);
    p = p * r + 1.39337267e-3f;
    p = p * r + 8.33336088e-3f;
    p = p * r + 4.16664644e-2f;
    p = p * r + 0.166666665f;
    p = p * r + 0.5f;
    p = (p * r) * r + r + 1;
    const kdi_vi k = (kdi_vi)shifted - (kdi_vi)magic, half = k >> 1;
    p *= (kdi_v)((half + 127) << 23);
    p *= (kdi_v)((k - half + 127) << 23);
    return kdi_select(x == x, p, x);
}

/* The same for x <= 0, in fewer steps: what a softmax needs. */
static inline kdi_v kdi_exp_negative(kdi_v x)
{
    const kdi_v magic = kdi_splat(0x1.8p23f);
    const kdi_v c = kdi_max(kdi_splat(-105), x); /* NaN stays */
    const kdi_v shifted = c * 0x1.715476p+0f + magic, n = shifted - magic;
    const kdi_v r = (c - n * 0.693145751953125f) - n * 1.42860677e-6f;
    kdi_v p = kdi_splat(1.98578426e-4f);
    p = p * r + 1.39337267e-3f;
    p = p * r + 8.33336088e-3f;
    p = p * r + 4.16664644e-2f;
    p = p * r + 0.166666665f;
    p = p * r + 0.5f;
    p = (p * r) * r + r + 1;
#if defined(__AVX512F__)
    return _mm512_scalef_ps(p, n);
#else
    const kdi_vi k = (kdi_vi)shifted - (kdi_vi)magic, half = k >> 1;
    p *= (kdi_v)((half + 127) << 23);
    return p * (kdi_v)((k - half + 127) << 23);
#endif
}

static inline kdi_v kdi_log(kdi_v x)
{
    const kdi_vi tiny = x < 0x1p-126f;
    const kdi_v scaled = kdi_select(tiny, x * 0x1p23f, x);
    /* m in [sqrt(1/2), sqrt(2)): the bits of sqrt(1/2) are 0x3f3504f3. */
    const kdi_vi bits = (kdi_vi)scaled - 0x3f3504f3, e = bits >> 23;
    const kdi_v m = (kdi_v)((bits & 0x7fffff) + 0x3f3504f3);
    const kdi_v exponent = kdi_to_float(e) - kdi_select(tiny, kdi_splat(23), kdi_splat(0));
    const kdi_v f = m - 1, s = f / (m + 1), z = s * s;
    kdi_v p = kdi_splat(0.22222222f);
    p = p * z + 0.28571429f;
    p = p * z + 0.4f;
    p = p * z + 0.66666667f;
    /* log m = 2s + s z p, with 2s = f - s f: f is exact, and most of the result. */
    const kdi_v small = s * (z * p - f) + exponent * 1.42860677e-6f;
    kdi_v y = exponent * 0.693145751953125f + (f + small);
    y = kdi_select(x == INFINITY, x, y);
    y = kdi_select(x == 0, kdi_splat(-INFINITY), y);
    return kdi_select(x >= 0, y, kdi_splat(NAN));
}

static inline kdi_v kdi_erf(kdi_v x)
{
    const kdi_v one = kdi_splat(1), a = kdi_abs(x);
    const kdi_v c = kdi_min(a, kdi_splat(3.92f)), z = c * c;
    kdi_v p = kdi_splat(2.05003894e-6f), q = kdi_splat(3.80910242e-5f);
    p = p * z + 2.84878945e-4f;
    q = q * z + 1.16252678e-3f;
    p = p * z + 3.76561075e-3f;
    q = q * z + 1.49692148e-2f;
    p = p * z + 5.27487136e-2f;
    q = q * z + 0.114109196f;
    p = p * z + 0.190406799f;
    q = q * z + 0.502076387f;
    p = p * z + 1.12837911f;
    q = q * z + 1;
    const kdi_v y = kdi_select(a >= 3.92f, one, kdi_min(c * p / q, one));
    return kdi_select(x == x, kdi_copysign(y, x), x);
}

/* max(0, x); NaN stays NaN. */
static inline kdi_v kdi_relu(kdi_v x)
{
    return kdi_max(kdi_splat(0), x);
}

/* x Phi(x), Phi being the normal distribution. -infinity gives NaN, as in PyTorch. */
static inline kdi_v kdi_gelu(kdi_v x)
{
    return 0.5f * x * (1 + kdi_erf(x * 0.707106781f));
}

/* Its derivative, Phi(x) + x phi(x). */
static inline kdi_v kdi_gelu_slope(kdi_v x)
{
    const kdi_v phi = 0.398942280f * kdi_exp_negative(-0.5f * x * x);
    return 0.5f * (1 + kdi_erf(x * 0.707106781f)) + x * phi;
}

#endif
