/* SPDX-License-Identifier: MIT
 * half.h: float16 (IEEE 754 binary16) and bfloat16 to float32 and back.
 *
 * To float32 the conversion is exact. From float32 it rounds to nearest, ties to even. Too large a
 * value becomes infinity. NaN becomes a quiet NaN with the upper bits of its payload. The
 * arithmetic is of integers alone, so the host's rounding mode and flush-to-zero do not matter. */
#ifndef KDI_HALF_H
#define KDI_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t kdi_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float kdi_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float kdi_bf16_to_f32(uint16_t h)
{
    return kdi_bits_float((uint32_t)h << 16);
}

static inline uint16_t kdi_f32_to_bf16(float x)
{
    const uint32_t bits = kdi_float_bits(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static inline float kdi_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = h >> 10 & 31, fraction = h & 0x3FF;
    if (exponent == 31) return kdi_bits_float(sign | 0x7F800000u | fraction << 13);
    if (exponent == 0) {
        if (fraction == 0) return kdi_bits_float(sign);
        /* Subnormal: shift the leading one to where float32 hides it. */
        for (exponent = 1; !(fraction & 0x400); exponent--) fraction <<= 1;
        fraction &= 0x3FF;
    }
    return kdi_bits_float(sign | (exponent + 112) << 23 | fraction << 13);
}

static inline uint16_t kdi_f32_to_f16(float x)
{
    const uint32_t all = kdi_float_bits(x), sign = all >> 16 & 0x8000, bits = all & 0x7FFFFFFFu;
    if (bits > 0x7F800000u) return (uint16_t)(sign | 0x7E00 | (bits >> 13 & 0x3FF));
    if (bits >= 0x47800000u) return (uint16_t)(sign | 0x7C00); /* 2^16 and above */
    if (bits >= 0x38800000u) /* 2^-14 and above: normal; a carry runs into the exponent */
        return (uint16_t)(sign | (bits - 0x38000000u + 0xFFF + (bits >> 13 & 1)) >> 13);
    /* Subnormal: the fraction with its leading one, in units of 2^-24. */
    const uint32_t shift = 126 - (bits >> 23);
    if (shift > 24) return (uint16_t)sign;
    const uint32_t fraction = (bits & 0x7FFFFFu) | 0x800000u, half = 1u << (shift - 1);
    const uint32_t kept = fraction >> shift, rest = fraction & ((1u << shift) - 1);
    return (uint16_t)(sign | (kept + (rest > half || (rest == half && (kept & 1)))));
}

#endif
