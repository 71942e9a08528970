/* SPDX-License-Identifier: MIT
 * evaluate.h: what the files of the evaluation share.
 *
 *   evaluate.c        plans, batches, the loop
 *   eval_classes.c    which class of the network a label stands for
 *   eval_measure.c    what is measured of a batch of logits, and the sums of it */
#ifndef KDT_EVALUATE_H
#define KDT_EVALUATE_H

#include "train.h"

/* ---- classes --------------------------------------------------------------------------------- */

typedef struct kdt_classes {
    int32_t *target;  /* [classes of the data]: the network's class */
    int32_t *teacher; /* [classes of the network]: the teacher's class; NULL: there is no teacher */
} kdt_classes;

/* KD_E_MISMATCH, in words, where labels or a teacher's classes cannot be told. */
kd_status kdt_classes_match(kd_model *model, const kd_data_info *info, const kd_eval_opt *opt,
                            kdt_classes *classes);
void kdt_classes_free(kd_ctx *ctx, kdt_classes *classes);

/* ---- sums ------------------------------------------------------------------------------------ */

/* Counts and sums over the samples so far. */
typedef struct kdt_sums_of_eval {
    size_t n, right, right5, right_cls, right_dist, agreed;
    double loss, kl;
    size_t bin_n[KD_EVAL_BINS], bin_right[KD_EVAL_BINS];
    double bin_confidence[KD_EVAL_BINS]; /* sums of probabilities */
} kdt_sums_of_eval;

typedef struct kdt_measure {
    kd_ctx *ctx;
    kd_model *model;
    const kd_eval_opt *opt;
    kdt_classes classes_of;
    size_t classes;
    float *answers; /* [batch, classes], of kd_eval_opt.answer; NULL: the model answers */
    float *row;     /* [classes]: the teacher's logits of a sample, in the network's order */
    bool heads;     /* the network has two */
    kdt_sums_of_eval sums;
} kdt_measure;

/* Logits of a batch. */
typedef struct kdt_logits {
    const float *mean;     /* [n, classes]: what the network answers */
    const float *heads[2]; /* [n, classes] each, or NULL: there is one head */
    const float *teacher;  /* [n, classes of the teacher], or NULL */
} kdt_logits;

kd_status kdt_measure_batch(kdt_measure *m, const kd_batch *batch, const kdt_logits *logits);
/* Means; what was not measured is NaN. seconds is left alone. */
void kdt_measure_result(const kdt_measure *m, kd_eval_result *result);

#endif
