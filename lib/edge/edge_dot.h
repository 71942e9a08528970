/* SPDX-License-Identifier: MIT
 * edge_dot.h: inner products of int8, by what the compiler's target has.
 *
 *   portable   one product at a time.
 *   SMLAD      Cortex-M4, M7, M33: a word of four bytes becomes two pairs of 16 bits (SXTB16), and
 *              each SMLAD adds two products. 4 + 8 + 8 instructions for 16 products of a block.
 *   Helium     Cortex-M55, M85: VMLADAVA adds 16 products; the last vector is loaded with zeros behind
 *              its end.
 *   NEON       arm64: SDOT where there is one, else SMULL and SADALP, which add pairs of products of
 *              16 bits (at most 2^14 each) to sums of 32.
 *
 * No sum overflows: see docs/edge-numerics.md. */
#ifndef KDI_EDGE_DOT_H
#define KDI_EDGE_DOT_H

#include <stdint.h>

#if defined(KD_EDGE_PORTABLE)
/* one product at a time */
#elif defined(__ARM_FEATURE_MVE)
#define KD_EDGE_HELIUM 1
#include <arm_mve.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define KD_EDGE_NEON 1
#include <arm_neon.h>
#elif defined(__ARM_FEATURE_DSP) && !defined(__aarch64__)
#define KD_EDGE_SMLAD 1
#endif
#ifndef KD_EDGE_HELIUM
#define KD_EDGE_HELIUM 0
#endif
#ifndef KD_EDGE_NEON
#define KD_EDGE_NEON 0
#endif
#ifndef KD_EDGE_SMLAD
#define KD_EDGE_SMLAD 0
#endif

#if KD_EDGE_SMLAD

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
#endif

#if KD_EDGE_NEON
/* acc + products of 16 values, summed by fours or, without SDOT, by pairs of pairs. */
static inline int32x4_t kd_edge_dot_16(int32x4_t acc, int8x16_t x, int8x16_t w)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, x, w);
#else
    acc = vpadalq_s16(acc, vmull_s8(vget_low_s8(x), vget_low_s8(w)));
    return vpadalq_s16(acc, vmull_high_s8(x, w));
#endif
}
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
#if KD_EDGE_HELIUM
    while (n) {
        const mve_pred16_t inside = vctp8q(n);
        const int8x16_t v0 = vldrbq_z_s8(w0, inside), v1 = vldrbq_z_s8(w1, inside);
        const int8x16_t u0 = vldrbq_z_s8(x0, inside), u1 = vldrbq_z_s8(x1, inside);
        a = vmladavaq_s8(a, u0, v0);
        b = vmladavaq_s8(b, u0, v1);
        c = vmladavaq_s8(c, u1, v0);
        d = vmladavaq_s8(d, u1, v1);
        const uint32_t step = n < 16 ? n : 16;
        w0 += step, w1 += step, x0 += step, x1 += step, n -= step;
    }
#endif
#if KD_EDGE_NEON
    if (n >= 16) {
        int32x4_t va = vdupq_n_s32(0), vb = va, vc = va, vd = va;
        for (; n >= 16; n -= 16, w0 += 16, w1 += 16, x0 += 16, x1 += 16) {
            const int8x16_t v0 = vld1q_s8(w0), v1 = vld1q_s8(w1);
            const int8x16_t u0 = vld1q_s8(x0), u1 = vld1q_s8(x1);
            va = kd_edge_dot_16(va, u0, v0);
            vb = kd_edge_dot_16(vb, u0, v1);
            vc = kd_edge_dot_16(vc, u1, v0);
            vd = kd_edge_dot_16(vd, u1, v1);
        }
        a += vaddvq_s32(va), b += vaddvq_s32(vb), c += vaddvq_s32(vc), d += vaddvq_s32(vd);
    }
#endif
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
#if KD_EDGE_HELIUM
    while (n) {
        const mve_pred16_t inside = vctp8q(n);
        const uint32_t step = n < 16 ? n : 16;
        sum = vmladavaq_s8(sum, vldrbq_z_s8(x, inside), vldrbq_z_s8(w, inside));
        w += step, x += step, n -= step;
    }
#endif
#if KD_EDGE_NEON
    int32x4_t sums = vdupq_n_s32(0);
    for (; n >= 16; n -= 16, w += 16, x += 16)
        sums = kd_edge_dot_16(sums, vld1q_s8(x), vld1q_s8(w));
    sum = vaddvq_s32(sums);
#endif
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
