/* SPDX-License-Identifier: MIT
 * follow.h: a run of the library that must follow the reference's step by step: see follow.c. */
#ifndef FOLLOW_H
#define FOLLOW_H

#include "reference.h"

/* vgg3, vgg3_bn, a small ViT, a small DeiT with two heads */
typedef enum follow_network { PLAIN, NORMED, VIT, DEIT } follow_network;

enum { FOLLOW_TEACHERS = 3 };

/* A line of the table. What is zero in `train` and not an option's default gets the value that all
 * lines share: 2 epochs, batches of 6, no augmentation. */
typedef struct follow_line {
    const char *name;
    follow_network network;
    size_t teachers;      /* so many of the three there are */
    const float *weights; /* theirs; NULL: equal */
    size_t bad_step;      /* the loss of this one, from 1, is no number [0: none] */
    kd_train_opt train;
    kd_distill_opt distill;
} follow_line;

void follow(const follow_line *line);

#endif
