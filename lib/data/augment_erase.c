/* SPDX-License-Identifier: MIT
 * augment_erase.c: random erasing (Zhong et al. 2017) as timm has it with mode "pixel". With the
 * given probability a rectangle becomes normal noise. It has 2 to 33 % of the area, and its sides'
 * ratio is between 0.3 and 1 / 0.3.
 *
 * The noise is drawn in the data set's normalisation, one number for each of the data's channels,
 * and then brought to the view's units: views of other channels or another normalisation show the
 * same noise. A view with the data set's own normalisation gets N(0, 1), as in timm. */
#include "data.h"

#include <math.h>

static void erase_range(kdi_shape shape, size_t *low, size_t *high, size_t *value)
{
    (void)shape;
    *low = 1;
    *high = KDI_MILLION;
    *value = KDI_MILLION / 4;
}

typedef struct box {
    size_t top, left, h, w;
} box;

/* Ten tries; false: none fits. */
static bool choose(kdi_rng *rng, size_t h, size_t w, box *b)
{
    const double area = (double)h * (double)w;
    for (int i = 0; i < 10; i++) {
        const double part = area * (.02 + (1.0 / 3 - .02) * (double)kdi_rng_uniform(rng));
        const double ratio = exp(log(.3) * (1 - 2 * (double)kdi_rng_uniform(rng)));
        const double high = rint(sqrt(part * ratio)), wide = rint(sqrt(part / ratio));
        if (!(high < (double)h && wide < (double)w)) continue;
        b->h = (size_t)high;
        b->w = (size_t)wide;
        b->top = kdi_rng_below(rng, (uint32_t)(h - b->h + 1));
        b->left = kdi_rng_below(rng, (uint32_t)(w - b->w + 1));
        return true;
    }
    return false;
}

/* One pixel's noise. */
static void draw(kdi_rng *rng, const kdi_units *u, float *pixel)
{
    float noise = 0;
    for (size_t c = 0; c < u->channels; c++) {
        if (c < u->stored) noise = kdi_rng_normal(rng); /* else grey, repeated */
        pixel[c] = u->scale[c] * noise + u->offset[c];
    }
}

static void erase(const kdi_augment_step *step, kdi_key key, const kdi_units *units, float *picture)
{
    box b;
    const size_t w = step->shape.w;
    kdi_rng rng = kdi_augment_rng(step, key);
    if ((double)kdi_rng_uniform(&rng) >= kdi_augment_number(step)) return;
    if (!choose(&rng, step->shape.h, w, &b)) return;
    kdi_rng noise = kdi_rng_make(key.seed, KDI_RNG_ERASE, key.epoch, key.sample);
    noise.index = key.copy << 28;
    for (size_t y = b.top; y < b.top + b.h; y++) {
        float *row = picture + (y * w + b.left) * units->channels;
        for (size_t x = 0; x < b.w; x++) draw(&noise, units, row + x * units->channels);
    }
}

const kdi_augment kdi_augment_erase = {.name = "erase",
                                       .random = true,
                                       .has_value = true,
                                       .decimal = true,
                                       .range = erase_range,
                                       .values = erase};
