/* SPDX-License-Identifier: MIT
 * philox.c: the part of philox.h that needs libm. */
#include "philox.h"

#include <math.h>

float kdi_rng_normal(kdi_rng *r)
{
    /* u in (0, 1], so that the logarithm is finite */
    const double u = ((double)(kdi_rng_u32(r)) + 1) * 0x1p-32, v = kdi_rng_u32(r) * 0x1p-32;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}
