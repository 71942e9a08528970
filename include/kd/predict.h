/* SPDX-License-Identifier: MIT
 * predict.h: what a network says of the caller's pictures, as they are: bytes of any size. One call
 * frames, resizes, normalises and runs; it allocates nothing.
 *
 * Threads: kd_predictor_run may run in several threads at the same moment, each with a predictor of
 * its own (kd_predictor_share), under the rules of plan.h. All else is as in ctx.h. */
#ifndef KD_PREDICT_H
#define KD_PREDICT_H

#include <kd/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A network with a plan, and memory for its pictures. */
typedef struct kd_predictor kd_predictor;

typedef struct kd_predictor_opt {
    size_t struct_size; /* sizeof(kd_predictor_opt) */
    size_t batch;       /* pictures that run at a time; 0: 1 */
    const char
        *framing; /* as in kd_framer_opt; NULL: kd_model_framing, else centre:0.875+bilinear */
    size_t height,
        width; /* the largest picture that memory is taken for now, as in kd_framer_opt */
} kd_predictor_opt;

/* opt NULL: all defaults. The model must outlive it, and its parameters stay as they are.
 *
 *   KD_E_INVALID  the model has no normalisation (kd_model_set_normalization gives it one);
 *                 the text is no framing, or leaves something to chance
 *   KD_E_LIMIT, KD_E_NOMEM */
KD_API kd_status kd_predictor_create(kd_model *model, const kd_predictor_opt *opt,
                                     kd_predictor **predictor);
/* Another one with the same plan, for another thread: predictors of one plan may run at the same
 * time, each in one thread. `of` must outlive it. May not be called while `of` runs. KD_E_LIMIT,
 * KD_E_NOMEM. */
KD_API kd_status kd_predictor_share(const kd_predictor *of, kd_predictor **predictor);
/* Those that share its plan first. NULL is allowed. */
KD_API void kd_predictor_destroy(kd_predictor *predictor);

/* logits [n, classes] of n pictures, which may differ in size. Their channels are the network's, or
 * 1. Nothing is allocated but for a picture larger than any before and than was reserved for.
 *
 *   KD_E_INVALID, KD_E_SHAPE  a picture, as kd_framer_show has it: the error says which
 *   KD_E_STOPPED              kd_ctx_cancel
 *   KD_E_LIMIT, KD_E_NOMEM    a picture larger than was reserved for
 *
 * n 0: nothing happens. After a failure logits are undefined. */
KD_API kd_status kd_predictor_run(kd_predictor *predictor, const kd_picture *pictures, size_t n,
                                  float *logits);

/* A class and how likely it is. An element of arrays: it does not grow. */
typedef struct kd_guess {
    size_t index;     /* of the class */
    const char *name; /* as the model has it; NULL: it has no names. Valid as long as the model's */
    double probability; /* by the softmax of the logits, 0..1 */
} kd_guess;
/* The `count` likeliest classes by logits [classes], the likeliest first; of equal ones the lower
 * first. guesses [count]. KD_E_INVALID: more than there are classes; KD_E_NONFINITE: a logit is not
 * finite. */
KD_API kd_status kd_model_guess(const kd_model *model, const float *logits, size_t count,
                                kd_guess *guesses);

#ifdef __cplusplus
}
#endif
#endif
