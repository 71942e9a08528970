/* SPDX-License-Identifier: MIT
 * augment_settings.c: the words of an augmentation that change no picture by themselves.
 *
 *   bilinear, bicubic, exact   how framed pictures are resized (crop_resize.c)
 *   mixup, cutmix              batches are mixed (mix.c); the value is alpha of Beta(alpha, alpha)
 *   repeat                     an epoch shows a part of the samples, each so many times
 *                              (pipeline.c) */
#include "augment.h"

/* ---- resizing -------------------------------------------------------------------------------- */

static void set_bilinear(kdi_augmentation *a, const kdi_augment_step *word)
{
    (void)word;
    a->bicubic = false;
}

static void set_bicubic(kdi_augmentation *a, const kdi_augment_step *word)
{
    (void)word;
    a->bicubic = true;
}

static void set_exact(kdi_augmentation *a, const kdi_augment_step *word)
{
    (void)word;
    a->exact = true;
}

const kdi_augment kdi_augment_bilinear = {
    .name = "bilinear", .group = KDI_GROUP_FILTER, .set = set_bilinear};
const kdi_augment kdi_augment_bicubic = {
    .name = "bicubic", .group = KDI_GROUP_FILTER, .set = set_bicubic};
const kdi_augment kdi_augment_exact = {.name = "exact", .group = KDI_GROUP_EXACT, .set = set_exact};

/* ---- mixing ---------------------------------------------------------------------------------- */

static void alpha_range(kdi_shape shape, size_t *low, size_t *high, size_t *value)
{
    (void)shape;
    *low = KDI_MILLION / 100;
    *high = 100 * KDI_MILLION;
    *value = KDI_MILLION;
}

static void mixup_range(kdi_shape shape, size_t *low, size_t *high, size_t *value)
{
    alpha_range(shape, low, high, value);
    *value = KDI_MILLION * 8 / 10;
}

static void set_mixup(kdi_augmentation *a, const kdi_augment_step *word)
{
    a->mixup = kdi_augment_number(word);
}

static void set_cutmix(kdi_augmentation *a, const kdi_augment_step *word)
{
    a->cutmix = kdi_augment_number(word);
}

const kdi_augment kdi_augment_mixup = {.name = "mixup",
                                       .group = KDI_GROUP_MIXUP,
                                       .has_value = true,
                                       .decimal = true,
                                       .random = true,
                                       .range = mixup_range,
                                       .set = set_mixup};
const kdi_augment kdi_augment_cutmix = {.name = "cutmix",
                                        .group = KDI_GROUP_CUTMIX,
                                        .has_value = true,
                                        .decimal = true,
                                        .random = true,
                                        .range = alpha_range,
                                        .set = set_cutmix};

/* ---- repeats --------------------------------------------------------------------------------- */

static void repeat_range(kdi_shape shape, size_t *low, size_t *high, size_t *value)
{
    (void)shape;
    *low = 1;
    *high = KDI_COPIES;
    *value = 3;
}

static void set_repeat(kdi_augmentation *a, const kdi_augment_step *word)
{
    a->repeat = word->value;
}

const kdi_augment kdi_augment_repeat = {.name = "repeat",
                                        .group = KDI_GROUP_REPEAT,
                                        .has_value = true,
                                        .random = true,
                                        .range = repeat_range,
                                        .set = set_repeat};
