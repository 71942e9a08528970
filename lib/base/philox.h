/* SPDX-License-Identifier: MIT
 * philox.h: counter-based random numbers, Philox4x32-10 (Salmon et al., "Parallel random numbers:
 * as easy as 1, 2, 3", SC 2011). A number is a function of (key, counter), so order, threads and
 * restarts do not change it.
 *
 * The key is the seed; the counter is {index, sample, epoch, purpose}. */
#ifndef KDI_PHILOX_H
#define KDI_PHILOX_H

#include <stdint.h>

/* What a number is for: two purposes never share numbers. */
enum kdi_purpose {
    KDI_RNG_INIT = 1,
    KDI_RNG_SHUFFLE,
    KDI_RNG_AUGMENT,
    KDI_RNG_DROPOUT,
    KDI_RNG_SYNTHETIC,
    KDI_RNG_SPLIT,
    KDI_RNG_DROP_PATH,
    KDI_RNG_MIX,
    KDI_RNG_ERASE,
    KDI_RNG_TEST = 1000
};

typedef struct kdi_u32x4 {
    uint32_t v[4];
} kdi_u32x4;

static inline kdi_u32x4 kdi_philox(uint64_t key, uint32_t index, uint32_t sample, uint32_t epoch,
                                   uint32_t purpose)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = index, c1 = sample, c2 = epoch, c3 = purpose;
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (kdi_u32x4){{c0, c1, c2, c3}};
}

/* A stream of numbers under one (seed, sample, epoch, purpose). */
typedef struct kdi_rng {
    uint64_t key;
    uint32_t index, sample, epoch, purpose;
    kdi_u32x4 block;
    int left;
} kdi_rng;

static inline kdi_rng kdi_rng_make(uint64_t seed, uint32_t purpose, uint32_t epoch, uint32_t sample)
{
    kdi_rng r = {seed, 0, sample, epoch, purpose, {{0}}, 0};
    return r;
}

static inline uint32_t kdi_rng_u32(kdi_rng *r)
{
    if (r->left == 0) {
        r->block = kdi_philox(r->key, r->index++, r->sample, r->epoch, r->purpose);
        r->left = 4;
    }
    return r->block.v[--r->left];
}

/* Uniform in [0, 1), 24 bits. */
static inline float kdi_u32_to_unit(uint32_t u)
{
    return (float)(u >> 8) * 0x1p-24f;
}

static inline float kdi_rng_uniform(kdi_rng *r)
{
    return kdi_u32_to_unit(kdi_rng_u32(r));
}

/* Uniform in [0, n), n > 0; the bias, below n / 2^32, is accepted. */
static inline uint32_t kdi_rng_below(kdi_rng *r, uint32_t n)
{
    return (uint32_t)(((uint64_t)kdi_rng_u32(r) * n) >> 32);
}

/* Standard normal (Box-Muller); in philox.c, since it needs libm. */
float kdi_rng_normal(kdi_rng *r);

#endif
