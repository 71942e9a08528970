/* SPDX-License-Identifier: MIT
 * augment_frame.c: framings: which part of a picture the canvas shows. rrc is torchvision's
 * RandomResizedCrop, centre its Resize and CenterCrop. crop_resize.c decodes and resizes that
 * part. */
#include "crop_resize.h"

#include <math.h>

static double uniform(kdi_rng *rng, double low, double high)
{
    return low + (high - low) * (double)kdi_rng_uniform(rng);
}

/* ---- rrc ------------------------------------------------------------------------------------- */

/* The smallest share of the area. */
static void rrc_range(kdi_shape shape, size_t *low, size_t *high, size_t *value)
{
    (void)shape;
    *low = KDI_MILLION / 1000;
    *high = KDI_MILLION;
    *value = KDI_MILLION * 8 / 100;
}

static const double LEAST_RATIO = 3.0 / 4, MOST_RATIO = 4.0 / 3; /* width by height */

/* Ten tries to find a part within the picture; else as much of its middle as the ratios allow. */
static void rrc_place(const kdi_augment_step *step, kdi_key key, size_t height, size_t width,
                      kdi_span *y, kdi_span *x)
{
    kdi_rng rng = kdi_augment_rng(step, key);
    const double h = (double)height, w = (double)width;
    for (int i = 0; i < 10; i++) {
        const double area = h * w * uniform(&rng, kdi_augment_number(step), 1);
        const double ratio = exp(uniform(&rng, log(LEAST_RATIO), log(MOST_RATIO)));
        const double part_w = rint(sqrt(area * ratio)), part_h = rint(sqrt(area / ratio));
        if (part_w < 1 || part_w > w || part_h < 1 || part_h > h) continue;
        const uint32_t top = kdi_rng_below(&rng, (uint32_t)(h - part_h + 1));
        const uint32_t left = kdi_rng_below(&rng, (uint32_t)(w - part_w + 1));
        *y = (kdi_span){top, part_h, step->shape.h, 0, step->shape.h};
        *x = (kdi_span){left, part_w, step->shape.w, 0, step->shape.w};
        return;
    }
    double part_w = w, part_h = h;
    if (w / h < LEAST_RATIO) part_h = fmin(h, rint(w / LEAST_RATIO));
    if (w / h > MOST_RATIO) part_w = fmin(w, rint(h * MOST_RATIO));
    *y = (kdi_span){floor((h - part_h) / 2), part_h, step->shape.h, 0, step->shape.h};
    *x = (kdi_span){floor((w - part_w) / 2), part_w, step->shape.w, 0, step->shape.w};
}

const kdi_augment kdi_augment_rrc = {.name = "rrc",
                                     .has_value = true,
                                     .decimal = true,
                                     .random = true,
                                     .reducible = true,
                                     .group = KDI_GROUP_FRAMING,
                                     .range = rrc_range,
                                     .place = rrc_place};

/* ---- centre ---------------------------------------------------------------------------------- */

/* The share of the resized picture's shorter side that is shown. A picture of exactly the canvas's
 * size is shown as it is, whatever the share: enlarging it to cut the borders off would only blur
 * it. */
static void centre_range(kdi_shape shape, size_t *low, size_t *high, size_t *value)
{
    (void)shape;
    *low = KDI_MILLION / 10;
    *high = KDI_MILLION;
    *value = KDI_MILLION * 875 / 1000;
}

static void centre_place(const kdi_augment_step *step, kdi_key key, size_t height, size_t width,
                         kdi_span *y, kdi_span *x)
{
    const uint64_t h = step->shape.h, w = step->shape.w;
    /* in millionths, so that 224 / 0.875 is 256 */
    const uint64_t least_h = h * KDI_MILLION / step->value, least_w = w * KDI_MILLION / step->value;
    uint64_t full_h = least_h, full_w = least_w;
    (void)key;
    if (height == h && width == w) { /* nothing to resize, and nothing to cut */
        *y = (kdi_span){0, (double)h, h, 0, h};
        *x = (kdi_span){0, (double)w, w, 0, w};
        return;
    }
    if (least_w * height >= least_h * width)
        full_h = least_w * height / width;
    else
        full_w = least_h * width / height;
    const size_t top = (size_t)rint((double)(full_h - h) / 2);
    const size_t left = (size_t)rint((double)(full_w - w) / 2);
    *y = (kdi_span){0, (double)height, (size_t)full_h, top, step->shape.h};
    *x = (kdi_span){0, (double)width, (size_t)full_w, left, step->shape.w};
}

const kdi_augment kdi_augment_centre = {.name = "centre",
                                        .has_value = true,
                                        .decimal = true,
                                        .group = KDI_GROUP_FRAMING,
                                        .range = centre_range,
                                        .place = centre_place};
