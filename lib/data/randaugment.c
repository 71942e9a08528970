/* SPDX-License-Identifier: MIT
 * randaugment.c: RandAugment (Cubuk et al. 2020) in timm's form rand-mM-mstd0.5-inc1. Twice in a
 * row, with probability one half, one of fifteen operations is done. Its magnitude is drawn from
 * N(M, 0.5) and cut to 0..10. randaugment_ops.c has the operations. */
#include "randaugment_ops.h"

static void rand_range(kdi_shape shape, size_t *low, size_t *high, size_t *value)
{
    const bool known = shape.c == 1 || shape.c == 3; /* the operations are for grey and RGB */
    *low = known ? 0 : 1;
    *high = known ? 10 : 0;
    *value = 9;
}

static double either_sign(kdi_rng *rng, double x)
{
    return kdi_rng_u32(rng) >> 31 ? -x : x;
}

/* The argument of an operation at a level of 0 to 1. */
static double argument_of(kdi_rand_op op, double level, kdi_rng *rng)
{
    switch (op) {
    case KDI_RAND_ROTATE:
        return either_sign(rng, 30 * level);
    case KDI_RAND_POSTERIZE:
        return 4 - (int)(4 * level);
    case KDI_RAND_SOLARIZE:
        return 256 - (int)(256 * level);
    case KDI_RAND_SOLARIZEADD:
        return (int)(110 * level);
    case KDI_RAND_COLOR:
    case KDI_RAND_CONTRAST:
    case KDI_RAND_BRIGHTNESS:
    case KDI_RAND_SHARPNESS:
        return 1 + either_sign(rng, .9 * level);
    case KDI_RAND_SHEARX:
    case KDI_RAND_SHEARY:
        return either_sign(rng, .3 * level);
    case KDI_RAND_TRANSLATEX:
    case KDI_RAND_TRANSLATEY:
        return either_sign(rng, .45 * level);
    default:
        return 0;
    }
}

static bool randaugment(const kdi_augment_step *step, kdi_key key, const uint8_t *in, uint8_t *out)
{
    kdi_rng rng = kdi_augment_rng(step, key);
    if (kdi_rng_u32(&rng) >> 31) return false;
    const kdi_rand_op op = (kdi_rand_op)kdi_rng_below(&rng, KDI_RAND_OPS);
    const double level = ((double)step->value + .5 * (double)kdi_rng_normal(&rng)) / 10;
    const double argument = argument_of(op, level < 0 ? 0 : level > 1 ? 1 : level, &rng);
    kdi_rand_apply(op, argument, step->shape, step->fill, in, out);
    return true;
}

const kdi_augment kdi_augment_randaugment = {.name = "randaugment",
                                             .has_value = true,
                                             .random = true,
                                             .twice = true,
                                             .range = rand_range,
                                             .pixels = randaugment};
