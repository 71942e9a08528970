/* SPDX-License-Identifier: MIT
 * edge_float.h: what the float32 ops share. */
#ifndef KDI_EDGE_FLOAT_H
#define KDI_EDGE_FLOAT_H

#include "edge_shape.h"

/* n floats, by their bits: no exponent is that of infinity. */
static inline int kd_edge_all_finite(const void *floats, uint32_t n)
{
    const uint32_t *bits = floats;
    for (uint32_t i = 0; i < n; i++)
        if (((bits[i] >> 23) & 0xFF) == 0xFF) return 0;
    return 1;
}

static inline int kd_edge_limits_fit(const kd_edge_number *low, const kd_edge_number *high)
{
    return kd_edge_all_finite(low, 1) && kd_edge_all_finite(high, 1) && low->f <= high->f;
}

static inline float kd_edge_clamp_f32(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

#endif
