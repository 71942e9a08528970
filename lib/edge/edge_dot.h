/* SPDX-License-Identifier: MIT
 * edge_dot.h: inner products of int8, by what the compiler's target has.
 *
 *   portable   one product at a time.
 *   SMLAD      Cortex-M4, M7, M33: a word of four bytes becomes two pairs of 16 bits (SXTB16), and
 *              each SMLAD adds two products. 6 + 6 + 8 instructions for 16 products of a block.
 *
 * No sum overflows: see docs/edge-numerics.md. */
#ifndef KDI_EDGE_DOT_H
#define KDI_EDGE_DOT_H

#include <stdint.h>

#if defined(__ARM_FEATURE_DSP) && !defined(__aarch64__) && !defined(KD_EDGE_PORTABLE)
#define KD_EDGE_SMLAD 1

/* Bytes 0 and 2, and bytes 1 and 3, of the word at `at`, as pairs of 16 bits. */
static inline void kd_edge_widen(const int8_t *at, uint32_t *even, uint32_t *odd)
{
    uint32_t word;
    __builtin_memcpy(&word, at, sizeof word); /* one load: these cores need no alignment */
    __asm__("sxtb16 %0, %1" : "=r"(*even) : "r"(word));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(*odd) : "r"(word));
}

static inline int32_t kd_edge_smlad(uint32_t a, uint32_t b, int32_t acc)
{
    int32_t sum;
    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}
#else
#define KD_EDGE_SMLAD 0
#endif

#if KD_EDGE_SMLAD
/* The same as kd_edge_dot_2x2 over 16 * blocks taps, blocks >= 1: edge_dot_smlad.c. */
void kd_edge_dot_2x2_blocks(const int8_t *w0, const int8_t *w1, const int8_t *x0, const int8_t *x1,
                            uint32_t blocks, int32_t acc[4]);
#endif

/* acc[2 p + c] += sum over n of x_p * w_c. */
static inline void kd_edge_dot_2x2(const int8_t *w0, const int8_t *w1, const int8_t *x0,
                                   const int8_t *x1, uint32_t n, int32_t acc[4])
{
#if KD_EDGE_SMLAD
    if (n >= 16) {
        const uint32_t taps = n & ~15u;
        kd_edge_dot_2x2_blocks(w0, w1, x0, x1, n >> 4, acc);
        w0 += taps, w1 += taps, x0 += taps, x1 += taps, n -= taps;
    }
#endif
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
#if KD_EDGE_SMLAD
    for (; n >= 4; n -= 4, w0 += 4, w1 += 4, x0 += 4, x1 += 4) {
        uint32_t we0, wo0, we1, wo1, xe, xo;
        kd_edge_widen(w0, &we0, &wo0);
        kd_edge_widen(w1, &we1, &wo1);
        kd_edge_widen(x0, &xe, &xo);
        a = kd_edge_smlad(xo, wo0, kd_edge_smlad(xe, we0, a));
        b = kd_edge_smlad(xo, wo1, kd_edge_smlad(xe, we1, b));
        kd_edge_widen(x1, &xe, &xo);
        c = kd_edge_smlad(xo, wo0, kd_edge_smlad(xe, we0, c));
        d = kd_edge_smlad(xo, wo1, kd_edge_smlad(xe, we1, d));
    }
#endif
    for (; n; n--, w0++, w1++, x0++, x1++) {
        a += *x0 * *w0;
        b += *x0 * *w1;
        c += *x1 * *w0;
        d += *x1 * *w1;
    }
    acc[0] = a, acc[1] = b, acc[2] = c, acc[3] = d;
}

/* The sum over n of x * w. */
static inline int32_t kd_edge_dot(const int8_t *w, const int8_t *x, uint32_t n)
{
    int32_t sum = 0;
#if KD_EDGE_SMLAD
    for (; n >= 4; n -= 4, w += 4, x += 4) {
        uint32_t we, wo, xe, xo;
        kd_edge_widen(w, &we, &wo);
        kd_edge_widen(x, &xe, &xo);
        sum = kd_edge_smlad(xe, we, sum);
        sum = kd_edge_smlad(xo, wo, sum);
    }
#endif
    for (; n; n--) sum += *x++ * *w++;
    return sum;
}

#endif
