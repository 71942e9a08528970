/* SPDX-License-Identifier: MIT
 * augment_basic.c: the CIFAR classics: crop, flip, altflip, cutout.
 *
 * crop pads with black before normalisation, as torchvision's RandomCrop(size, padding) does.
 * altflip is the alternating flip of Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU"
 * (2024): every two epochs show a sample both ways. cutout is DeVries and Taylor (2017): the
 * square's centre is a pixel of the picture, so a part of the square may lie outside; it becomes
 * the data set's mean colour, which is 0 in the data set's normalisation. */
#include "data.h"

#include "../base/size.h"

#include <string.h>

/* ---- crop ------------------------------------------------------------------------------------ */

static void crop_range(kdi_shape shape, size_t *low, size_t *high, size_t *value)
{
    *low = 1;
    *high = kdi_smaller(shape.h, shape.w) - 1;
    *value = 4;
}

/* Row y of out is row y + dy of in, columns moved by dx, where there is such; black elsewhere. */
static bool crop(const kdi_augment_step *step, kdi_key key, const uint8_t *in, uint8_t *out)
{
    const size_t h = step->shape.h, row = step->shape.w * step->shape.c, pad = step->value;
    kdi_rng rng = kdi_augment_rng(step, key);
    const size_t top = kdi_rng_below(&rng, (uint32_t)(2 * pad + 1));
    const size_t left = kdi_rng_below(&rng, (uint32_t)(2 * pad + 1));
    if (top == pad && left == pad) return false;
    const size_t before = left < pad ? (pad - left) * step->shape.c : 0;
    const size_t skipped = left > pad ? (left - pad) * step->shape.c : 0;
    const size_t kept = row - before - skipped;
    for (size_t y = 0; y < h; y++, out += row) {
        if (y + top < pad || y + top >= pad + h) {
            memset(out, 0, row);
            continue;
        }
        memset(out, 0, before);
        memcpy(out + before, in + (y + top - pad) * row + skipped, kept);
        memset(out + before + kept, 0, skipped);
    }
    return true;
}

const kdi_augment kdi_augment_crop = {.name = "crop",
                                      .random = true,
                                      .has_value = true,
                                      .range = crop_range,
                                      .pixels = crop,
                                      .moves = true};

/* ---- flip ------------------------------------------------------------------------------------ */

static void mirror(kdi_shape shape, const uint8_t *in, uint8_t *out)
{
    const size_t w = shape.w, c = shape.c;
    for (size_t y = 0; y < shape.h; y++, in += w * c, out += w * c) {
        if (c == 3) {
            for (size_t x = 0; x < w; x++) {
                out[3 * x] = in[3 * (w - 1 - x)];
                out[3 * x + 1] = in[3 * (w - 1 - x) + 1];
                out[3 * x + 2] = in[3 * (w - 1 - x) + 2];
            }
            continue;
        }
        for (size_t x = 0; x < w; x++)
            for (size_t i = 0; i < c; i++) out[x * c + i] = in[(w - 1 - x) * c + i];
    }
}

static bool flip(const kdi_augment_step *step, kdi_key key, const uint8_t *in, uint8_t *out)
{
    kdi_rng rng = kdi_augment_rng(step, key);
    if (kdi_rng_u32(&rng) >> 31) return false;
    mirror(step->shape, in, out);
    return true;
}

const kdi_augment kdi_augment_flip = {
    .name = "flip", .random = true, .pixels = flip, .moves = true};

static bool altflip(const kdi_augment_step *step, kdi_key key, const uint8_t *in, uint8_t *out)
{
    const uint32_t epoch = key.epoch;
    key.epoch = 0;
    kdi_rng rng = kdi_augment_rng(step, key);
    if (((kdi_rng_u32(&rng) >> 31) + epoch) & 1) return false;
    mirror(step->shape, in, out);
    return true;
}

const kdi_augment kdi_augment_altflip = {
    .name = "altflip", .random = true, .pixels = altflip, .moves = true};

/* ---- cutout ---------------------------------------------------------------------------------- */

static void cutout_range(kdi_shape shape, size_t *low, size_t *high, size_t *value)
{
    *low = 1;
    *high = 2 * (shape.h > shape.w ? shape.h : shape.w);
    *value = shape.h > 1 ? shape.h / 2 : 1;
}

/* The part within [0, length) of size pixels around centre. */
static void span(size_t centre, size_t size, size_t length, size_t *from, size_t *to)
{
    *from = centre > size / 2 ? centre - size / 2 : 0;
    *to = kdi_smaller(centre + size - size / 2, length);
}

static void cutout(const kdi_augment_step *step, kdi_key key, const kdi_units *units,
                   float *picture)
{
    const size_t h = step->shape.h, w = step->shape.w;
    size_t y0, y1, x0, x1;
    kdi_rng rng = kdi_augment_rng(step, key);
    span(kdi_rng_below(&rng, (uint32_t)h), step->value, h, &y0, &y1);
    span(kdi_rng_below(&rng, (uint32_t)w), step->value, w, &x0, &x1);
    for (size_t y = y0; y < y1; y++) {
        float *row = picture + (y * w + x0) * units->channels;
        for (size_t x = x0; x < x1; x++, row += units->channels)
            memcpy(row, units->offset, units->channels * sizeof *row);
    }
}

const kdi_augment kdi_augment_cutout = {
    .name = "cutout", .random = true, .has_value = true, .range = cutout_range, .values = cutout};
