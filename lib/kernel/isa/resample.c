/* SPDX-License-Identifier: MIT
 * resample.c: resizing of byte pictures, one axis at a time: along a row, and down columns.
 *
 * Weights are multiples of 2^-14 between -4 and 4; those of one pixel sum to 1, and their absolute
 * values to less than 2. With bytes every product and every sum fits the 24 bits of a float. So the
 * arithmetic is exact, in whatever order and with or without FMA: all tables, all machines and all
 * numbers of threads give the same bytes. Results are rounded to nearest, halves up, and
 * clamped. */
#include "vectors.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

typedef float four __attribute__((vector_size(16)));
typedef float four_u __attribute__((vector_size(16), aligned(4), may_alias));

/* x + 0.5 is never so large that the conversion overflows. */
static inline uint8_t to_byte(float x)
{
    return (uint8_t)(int)(x < 0 ? 0 : x > 255 ? 255 : x);
}

/* Bytes to floats and back. Compilers turn a vector conversion by a factor of four into code for
 * single bytes, so it is spelled out: for x86 by its instructions, else in two steps. */
#if defined(__AVX512BW__)
static inline kdi_v load_bytes(const uint8_t *x)
{
    return (kdi_v)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)x)));
}

static inline void store_bytes(uint8_t *y, kdi_v v)
{
    const __m512i whole = _mm512_max_epi32(_mm512_cvttps_epi32((__m512)v), _mm512_setzero_si512());
    _mm_storeu_si128((void *)y, _mm512_cvtusepi32_epi8(whole));
}
#elif defined(__AVX2__)
static inline kdi_v load_bytes(const uint8_t *x)
{
    return (kdi_v)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)x)));
}

static inline void store_bytes(uint8_t *y, kdi_v v)
{
    const __m256i whole = _mm256_cvttps_epi32((__m256)v);
    const __m128i half =
        _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64((void *)y, _mm_packus_epi16(half, half));
}
#else
typedef uint8_t bytes_u __attribute__((vector_size(KDI_VL), aligned(1), may_alias));
typedef uint16_t shorts __attribute__((vector_size(2 * KDI_VL)));

static inline kdi_v load_bytes(const uint8_t *x)
{
    const shorts wide = __builtin_convertvector(*(const bytes_u *)x, shorts);
    return __builtin_convertvector(__builtin_convertvector(wide, kdi_vi), kdi_v);
}

static inline void store_bytes(uint8_t *y, kdi_v v)
{
    const kdi_v low = kdi_splat(0), high = kdi_splat(255);
    v = kdi_select(v > low, v, low);
    v = kdi_select(v < high, v, high);
    const shorts wide = __builtin_convertvector(__builtin_convertvector(v, kdi_vi), shorts);
    *(bytes_u *)y = __builtin_convertvector(wide, bytes_u);
}
#endif

static void to_floats(size_t n, const uint8_t *x, float *y)
{
    size_t i = 0;
    for (; i + KDI_VL <= n; i += KDI_VL) kdi_store(y + i, load_bytes(x + i));
    for (; i < n; i++) y[i] = x[i];
}

static void to_bytes(size_t n, const float *x, uint8_t *y)
{
    size_t i = 0;
    for (; i + KDI_VL <= n; i += KDI_VL) store_bytes(y + i, kdi_load(x + i));
    for (; i < n; i++) y[i] = to_byte(x[i]);
}

/* Three colours and one float beside them, which the next pixel overwrites. */
static void across_rgb(size_t out, size_t taps, const uint32_t *first, const float *weight,
                       const float *x, float *y)
{
    for (size_t i = 0; i < out; i++, weight += taps, y += 3) {
        const float *from = x + 3 * (size_t)first[i];
        four a = {.5f, .5f, .5f, .5f}, b = {0};
        size_t t = 0;
        for (; t + 2 <= taps; t += 2) {
            a += *(const four_u *)(from + 3 * t) * weight[t];
            b += *(const four_u *)(from + 3 * t + 3) * weight[t + 1];
        }
        if (t < taps) a += *(const four_u *)(from + 3 * t) * weight[t];
        *(four_u *)y = a + b;
    }
}

void KDI_FN(resample_across)(size_t in, size_t out, size_t taps, const uint32_t *first,
                             const float *weight, size_t c, const uint8_t *x, float *scratch,
                             uint8_t *y)
{
    float *to = scratch + in * c + 4;
    to_floats(in * c, x, scratch);
    if (c == 3) {
        across_rgb(out, taps, first, weight, scratch, to);
    } else {
        float *at = to;
        for (size_t i = 0; i < out; i++, weight += taps)
            for (size_t k = 0; k < c; k++) {
                const float *from = scratch + first[i] * c + k;
                float sum = .5f;
                for (size_t t = 0; t < taps; t++) sum += weight[t] * from[t * c];
                *at++ = sum;
            }
    }
    to_bytes(out * c, to, y);
}

void KDI_FN(resample_down)(size_t n, size_t taps, const float *weight, const uint8_t *x,
                           size_t step, uint8_t *y)
{
    size_t i = 0;
    for (; i + 2 * KDI_VL <= n; i += 2 * KDI_VL) {
        kdi_v a = kdi_splat(.5f), b = a;
        for (size_t t = 0; t < taps; t++) {
            const uint8_t *from = x + t * step + i;
            a += load_bytes(from) * weight[t];
            b += load_bytes(from + KDI_VL) * weight[t];
        }
        store_bytes(y + i, a);
        store_bytes(y + i + KDI_VL, b);
    }
    for (; i < n; i++) {
        float sum = .5f;
        for (size_t t = 0; t < taps; t++) sum += weight[t] * (float)x[t * step + i];
        y[i] = to_byte(sum);
    }
}
