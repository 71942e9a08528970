/* SPDX-License-Identifier: MIT
 * augment.c: doing the steps of an augmentation.
 *
 * Each step draws its numbers from a stream of its own, keyed by (seed, epoch, sample) and the
 * step's number: no step depends on what another drew, nor on the order of samples. */
#include "augment.h"

void kdi_augment_fill(kdi_augmentation *a, const float *mean, size_t channels)
{
    for (size_t i = 0; i < a->n_steps; i++)
        for (size_t c = 0; c < 4; c++) {
            const float x = mean[channels > c ? c : channels - 1] * 255 + .5f;
            a->steps[i].fill[c] = (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
        }
}

kdi_rng kdi_augment_rng(const kdi_augment_step *step, kdi_key key)
{
    kdi_rng rng = kdi_rng_make(key.seed, KDI_RNG_AUGMENT, key.epoch, key.sample);
    rng.index = key.copy << 24 | step->slot << 16;
    return rng;
}

const uint8_t *kdi_augment_pixels(const kdi_augmentation *a, kdi_key key, const uint8_t *picture,
                                  uint8_t *one, uint8_t *other)
{
    uint8_t *to = one;
    for (size_t i = 0; i < a->n_steps; i++) {
        const kdi_augment_step *step = &a->steps[i];
        if (!step->kind->pixels || !step->kind->pixels(step, key, picture, to)) continue;
        picture = to;
        to = to == one ? other : one;
    }
    return picture;
}

void kdi_augment_values(const kdi_augmentation *a, kdi_key key, const kdi_units *units,
                        float *picture)
{
    for (size_t i = 0; i < a->n_steps; i++)
        if (a->steps[i].kind->values) a->steps[i].kind->values(&a->steps[i], key, units, picture);
}
