/* SPDX-License-Identifier: MIT
 * edge_x86.h: what the host's kernels for AVX2 share: from sums to outputs. Include after
 * edge_conv_x86.h, where KD_EDGE_X86 is 1. */
#ifndef KDI_EDGE_X86_H
#define KDI_EDGE_X86_H

#include "edge_memory.h"
#include "edge_shape.h"
#include <immintrin.h>

#define KD_EDGE_AVX2 __attribute__((target("avx2")))
/* vpdpwssd does in one step what vpmaddwd and vpaddd do in two: sums wrap, nothing saturates. */
#define KD_EDGE_VNNI __attribute__((target("avx2,avx512vl,avx512vnni")))
#define KD_EDGE_DOT_AVX2(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#define KD_EDGE_DOT_VNNI(sum, a, b) _mm256_dpwssd_epi32(sum, a, b)

static inline int kd_edge_has_vnni(void)
{
    return __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

/* (acc * m + 2^30) >> 31 of eight: the lower halves of 64-bit products shifted right are right
 * whichever way the sign goes, as the result has 31 bits. */
KD_EDGE_AVX2 static inline __m256i kd_edge_scale_8(__m256i acc, __m256i m)
{
    const __m256i half = _mm256_set1_epi64x(0x40000000);
    const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(acc, m), half);
    const __m256i odd = _mm256_add_epi64(
        _mm256_mul_epi32(_mm256_srli_epi64(acc, 32), _mm256_srli_epi64(m, 32)), half);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 31),
                              _mm256_slli_epi64(_mm256_srli_epi64(odd, 31), 32), 0xAA);
}

/* How eight channels become outputs. */
typedef struct kd_edge_eight {
    __m256i bias, multiplier, zero, low, high;
    uint32_t left; /* channels there are, 1 to 8 */
    uint32_t sums; /* int32 outputs */
} kd_edge_eight;

/* Of channels first, first + 1, ...: a vector that reaches beyond the last is filled with 0. */
KD_EDGE_AVX2 static inline kd_edge_eight kd_edge_eight_of(const kd_edge_model *model,
                                                          const kd_edge_conv *conv, uint32_t first)
{
    const int32_t *bias = kd_edge_section(model, conv->bias);
    const int32_t *multipliers = kd_edge_section(model, conv->multipliers);
    const uint32_t left = conv->out_channels - first < 8 ? conv->out_channels - first : 8;
    int32_t ends[2][8] = {{0}};
    const void *b = bias + first, *m = multipliers + first;
    if (left < 8) {
        memcpy(ends[0], b, left * 4);
        memcpy(ends[1], m, left * 4);
        b = ends[0], m = ends[1];
    }
    return (kd_edge_eight){.bias = _mm256_loadu_si256(b),
                           .multiplier = _mm256_loadu_si256(m),
                           .zero = _mm256_set1_epi32(conv->zero),
                           .low = _mm256_set1_epi32(conv->low.i),
                           .high = _mm256_set1_epi32(conv->high.i),
                           .left = left,
                           .sums = conv->flags & KD_EDGE_SUMS};
}

/* Sums of eight channels of one pixel to outputs, the first of them element `at` of out. */
KD_EDGE_AVX2 static inline void kd_edge_store_8(const kd_edge_eight *how, __m256i sums, size_t at,
                                                uint8_t *out)
{
    const __m256i acc = _mm256_add_epi32(sums, how->bias);
    __m256i q = _mm256_add_epi32(kd_edge_scale_8(acc, how->multiplier), how->zero);
    q = _mm256_min_epi32(_mm256_max_epi32(q, how->low), how->high);
    int32_t words[8];
    void *to = words;
    if (how->sums) {
        _mm256_storeu_si256(to, q);
        memcpy(out + 4 * at, words, 4 * how->left);
        return;
    }
    /* within int8: nothing saturates */
    const __m128i pairs =
        _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    const __m128i bytes = _mm_packs_epi16(pairs, pairs);
    if (how->left == 8) {
        to = out + at;
        _mm_storel_epi64(to, bytes);
        return;
    }
    _mm_storel_epi64(to, bytes);
    memcpy(out + at, words, how->left);
}

#endif
