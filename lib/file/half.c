/* SPDX-License-Identifier: MIT
 * half.c: half.h's conversions of f16 for programs. */
#include "half.h"

#include <kd/dtype.h>

uint16_t kd_f32_to_f16(float x)
{
    return kdi_f32_to_f16(x);
}

float kd_f16_to_f32(uint16_t bits)
{
    return kdi_f16_to_f32(bits);
}
