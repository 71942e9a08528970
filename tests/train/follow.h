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
    size_t first; /* of the teachers, the first that teaches */
} follow_line;

extern const follow_line follow_lines[];
extern const size_t follow_line_count;

/* A whole run. */
void follow(const follow_line *line);
/* The same, stopped after every step and resumed. Not of lines with a bad step. */
void follow_stopped(const follow_line *line);
/* One call of kd_train_step with what it reads of the line's options. */
void follow_step(const follow_line *line);
/* Is element i of this array determined by more than rounding? */
bool follow_counts(const follow_line *line, const ref_array *a, size_t i);
/* A network as the lines have it. */
kd_model *follow_model(kd_ctx *ctx, follow_network network);

#endif
