/* SPDX-License-Identifier: MIT
 * course.h: the library used from end to end, for tests that look at what it leaves of the program
 * around it: data, two networks, a distillation into a folder, a file saved and loaded, predictions. */
#ifndef TEST_COURSE_H
#define TEST_COURSE_H

#include <kd/kd.h>

#include <stdbool.h>

enum { PICTURES = 8, PICTURE = 32 * 32 * 3, CLASSES = 10 };

/* What it computes: the same wherever and whenever it is used. */
typedef struct answer {
    double loss, top1;
    float logits[PICTURES * CLASSES];
} answer;

/* What is used of it. */
typedef struct course {
    const char *teacher, *student, *augment;
    kd_optimizer optimizer;
} course;

extern const course cnn, transformer;

answer use_course(const course *c, kd_ctx *ctx, const char *folder);
/* The CNN's. */
answer use(kd_ctx *ctx, const char *folder);
/* The same with a context of its own, into a folder of that name. */
answer use_with(int threads, const char *name);
/* Path of a folder of the test's; it lasts until the next call. */
const char *folder(const char *name);
bool equal(const answer *a, const answer *b);

#endif
