/* SPDX-License-Identifier: MIT
 * edge_math.h: the integer arithmetic of int8 networks: requantisation, clamping, and checked sizes.
 * docs/edge-numerics.md has the formulas and the proofs. Right shifts of negative numbers are
 * arithmetic, which every compiler of these targets does and a test checks.
 *
 * 32-bit code throughout: a Cortex-M0+ has neither a 64-bit product nor a division, and libgcc's
 * would be one more thing that the runtime asks for. */
#ifndef KDI_EDGE_MATH_H
#define KDI_EDGE_MATH_H

#include "edge_format.h"

/* (acc * m + 2^30) >> 31 by products of 16 bits, 0 <= m < 2^30. */
static inline int32_t kd_edge_scale_split(int32_t acc, int32_t m)
{
    const int32_t acc_high = acc >> 16, m_high = m >> 16;
    const uint32_t acc_low = (uint32_t)acc & 0xFFFF, m_low = (uint32_t)m & 0xFFFF;
    const uint32_t lowest = acc_low * m_low;
    const int32_t middle = acc_high * (int32_t)m_low + (int32_t)(lowest >> 16);
    const uint32_t carry = acc_low * (uint32_t)m_high + ((uint32_t)middle & 0xFFFF);
    uint32_t high = (uint32_t)(acc_high * m_high + (middle >> 16)) + (carry >> 16);
    const uint32_t low = (carry << 16) | (lowest & 0xFFFF);
    const uint32_t rounded = low + 0x40000000u;
    high += rounded < low;
    return (int32_t)((high << 1) | (rounded >> 31));
}

/* (acc * m + 2^30) >> 31, 0 <= m < 2^30: acc * (m / 2^31), rounded to nearest, halves up. */
static inline int32_t kd_edge_scale(int32_t acc, int32_t m)
{
#if defined(__ARM_FEATURE_DSP) && !defined(__aarch64__)
    int32_t high; /* (acc * 2m + 2^31) >> 32, which is the same */
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(acc), "r"(m << 1));
    return high;
#elif defined(__ARM_ARCH_6M__) || defined(KD_EDGE_NO_LONG_PRODUCT)
    return kd_edge_scale_split(acc, m);
#else
    return (int32_t)(((int64_t)acc * m + 0x40000000) >> 31);
#endif
}

static inline int32_t kd_edge_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* a * b if that is below 2^31, else 0. (b has 16 bits so that no product needs 64.) */
static inline uint32_t kd_edge_mul(uint32_t a, uint32_t b)
{
    const uint32_t high = (a >> 16) * b, low = (a & 0xFFFF) * b;
    if (b > 0xFFFF || high > 0x7FFF) return 0;
    const uint32_t product = (high << 16) + low;
    return product < low || product > 0x7FFFFFFF ? 0 : product;
}

/* Bytes of a map [height,width,channels] of `size`-byte elements; 0 where it is none or too large. */
static inline uint32_t kd_edge_map_bytes(uint32_t height, uint32_t width, uint32_t channels,
                                         uint32_t size)
{
    return kd_edge_mul(kd_edge_mul(kd_edge_mul(height, width), channels), size);
}

static inline uint32_t kd_edge_size(uint8_t type)
{
    return type == KD_EDGE_INT8 ? 1 : 4;
}

/* Is [at, at + bytes) a section of the blob, and aligned? */
static inline int kd_edge_in_blob(const kd_edge_model *model, uint32_t at, uint32_t bytes)
{
    return bytes && at % KD_EDGE_ALIGN == 0 && at >= sizeof(kd_edge_header) &&
           at <= model->blob_bytes && bytes <= model->blob_bytes - at;
}

static inline int kd_edge_overlap(kd_edge_region a, kd_edge_region b)
{
    return a.bytes && b.bytes && a.at < b.at + b.bytes && b.at < a.at + a.bytes;
}

#endif
