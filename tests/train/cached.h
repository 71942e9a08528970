/* SPDX-License-Identifier: MIT
 * cached.h: short runs with a teacher cache, in contexts of their own, and what came out. */
#ifndef KDI_TEST_CACHED_H
#define KDI_TEST_CACHED_H

#include "../test.h"

#include <kd/kd.h>

#include <sys/types.h>

#define CACHED_SMALL "vgg4_bn,width=0.125,image=16,classes=10"
#define CACHED_LARGE "vgg4_bn,width=0.25,image=24,classes=10"
#define CACHED_VIT                                                                                 \
    "vit_tiny_patch16_224,image=16,patch=4,dim=24,depth=2,heads=3,classes=10,drop_path=0.2"

typedef struct course {
    const char *student, *teacher, *second; /* specs; NULL: none */
    const char *data;
    kd_train_opt train;
    kd_distill_opt distill;
    size_t stop_at; /* after so many steps */
    uint64_t teacher_seed;
    int threads;
} course;

typedef struct outcome {
    kd_status status;
    kd_result result;
    float *weights; /* to be freed */
    size_t count, peak;
    char error[900];
    char warning[900];
} outcome;

/* Two epochs of 80 pictures, 32 a batch, unless the course says otherwise. */
outcome cached_run(course c);
/* The same weights and results, to the bit. */
void cached_same(const outcome *a, const outcome *b, const char *what);
/* Four runs of the same weights: live; filling a cache, which has so many files then; reading it; and
 * reading it with no teacher at all, which takes less memory. */
void cached_check(course c, const char *what, size_t files);
/* The run in processes that are killed at random moments, each within so many microseconds. */
void cached_killed(course c, int times, unsigned within);
/* The run fails, with these words. */
void cached_refused(course c, kd_status status, const char *words);
/* A name in test_dir() that nothing has yet. */
void cached_fresh(char *path, size_t size, const char *name);
/* Is that epoch's file there, from 0? */
bool cached_there(const char *folder, size_t epoch);
/* Change a bit of it, or of the unfinished file. */
void cached_flip(const char *folder, size_t epoch, bool part, off_t from_end);

enum { CACHED_ROWS = 80 }; /* pictures to train on */

/* A cache as another program writes it: cache.json, and one file of rows by the picture's number. */
typedef struct foreign {
    const char *folder, *key;
    const float *logits; /* [80,10], or NULL */
    const char *name;    /* of the features [80,width] */
    const float *features;
    size_t width;
} foreign;

void cached_foreign(kd_ctx *ctx, const foreign *f);

#endif
