/* SPDX-License-Identifier: MIT
 * mix.h: mixup and CutMix: two pictures of a batch become two mixtures of both. See mix.c. */
#ifndef KDI_MIX_H
#define KDI_MIX_H

#include "data.h"

/* How a batch is mixed: a mixture is `share` of its own picture, the rest of its partner. */
typedef struct kdi_mix {
    float share;
    bool cut;                        /* CutMix: the box comes from the partner */
    size_t top, bottom, left, right; /* rows and columns of the box: [top,bottom), [left,right) */
} kdi_mix;

/* The same for all pictures of a batch, as in timm; a function of seed, epoch and the batch. */
kdi_mix kdi_mix_draw(const kdi_augmentation *augmentation, kdi_shape canvas, uint64_t seed,
                     size_t epoch, size_t index);

/* a and b [canvas.h, canvas.w, channels] become mixtures of each other. */
void kdi_mix_apply(const kdi_mix *mix, kdi_shape canvas, size_t channels, float *a, float *b);

#endif
