/* SPDX-License-Identifier: MIT
 * reference.h: a second trainer, for the tests: networks, losses, optimisers and the loop over a
 * run, as plain loops in double precision, written from the formulas of PyTorch and of the papers.
 * It has from the library only a model's first weights and the loader's batches.
 *
 *   reference_ops.c    layers and their gradients, on a tape
 *   reference_net.c    VGG, ViT and DeiT put together of them, by the names of their parameters
 *   reference_loss.c   losses and their gradients by the logits
 *   reference_feature.c  losses on what is inside networks
 *   reference_optim.c  learning rates, SGD, AdamW, clipping, averages
 *   reference.c        the loop: steps, epochs, evaluations, what is reported of them */
#ifndef REFERENCE_H
#define REFERENCE_H

#include "../test.h"

#include <kd/kd.h>

/* ---- networks -------------------------------------------------------------------------------- */

/* A parameter, or a buffer, in the file's layout: PyTorch's. */
typedef struct ref_array {
    char name[96];
    size_t count, rank, dim[KD_MAX_RANK];
    double *value, *grad;
    double *first, *second; /* the optimiser's: momentum, or the averages of AdamW */
    double *average;        /* of the values over the steps */
    double *kept;           /* those of an epoch that was the best */
    bool buffer, decays, frozen;
    double rate;  /* factor on the learning rate */
    size_t layer; /* 0: the embedding, or the first layer */
} ref_array;

/* Which numbers a network runs with. */
typedef enum ref_which { REF_VALUES, REF_AVERAGES, REF_KEPT } ref_which;
const double *ref_values(const ref_array *a, ref_which which);

typedef struct ref_net {
    kd_model *model;
    ref_array *arrays;
    size_t n, layers; /* arrays; layers of the network, the head included */
    size_t image, channels, classes, heads;
    double least_gap; /* how near the inputs of ReLU came to zero, or the largest two of a pool to
                       * each other: there the gradient jumps */
} ref_net;

/* Arrays of parameters, without a model. */
void ref_arrays_open(ref_net *net, const kd_params *params);
void ref_arrays_close(ref_net *net);
ref_net *ref_net_open(kd_model *model);
void ref_net_close(ref_net *net);
ref_array *ref_find(const ref_net *net, const char *name); /* NULL: there is none */

/* Values between the layers, and what their gradients are made by. */
typedef struct ref_tape ref_tape;
typedef struct ref_value {
    size_t n, h, w, c;
    double *x, *g; /* [n,h,w,c]; g: the gradient */
} ref_value;

/* What a network gives for n pictures. One head: all three are the same. */
enum { REF_LEVELS = 4 };
typedef struct ref_logits {
    ref_tape *tape;
    ref_value *mean, *labels, *teacher; /* of both heads; of the class token; of the other */
    /* What is inside: of each stage the last ReLU, or of each block the tokens; the last attention
     * [n * heads,T,1,T], or NULL; what the head reads. */
    ref_value *level[REF_LEVELS], *map, *embedding;
    size_t levels;
} ref_logits;

/* training: norms by the batch's moments, which go into the running ones. */
ref_logits ref_net_forward(ref_net *net, const float *pictures, size_t n, bool training,
                           ref_which which);
/* From the gradients by the logits to those by the parameters, which are added up. */
void ref_net_backward(const ref_logits *logits);
void ref_logits_free(ref_logits *logits);

/* ---- layers ---------------------------------------------------------------------------------- */

ref_tape *ref_tape_open(ref_net *net, ref_which which);
void ref_tape_close(ref_tape *tape);
void ref_tape_backward(ref_tape *tape);
ref_value *ref_value_make(ref_tape *tape, size_t n, size_t h, size_t w, size_t c);
/* weight [out,c,k,k]; bias NULL: none */
ref_value *ref_conv(ref_tape *t, ref_value *x, ref_array *weight, ref_array *bias, size_t stride,
                    size_t pad);
ref_value *ref_batch_norm(ref_tape *t, ref_value *x, const char *name, bool training);
ref_value *ref_layer_norm(ref_tape *t, ref_value *x, const char *name, double eps);
ref_value *ref_linear(ref_tape *t, ref_value *x, const char *name);
ref_value *ref_relu(ref_tape *t, ref_value *x);
ref_value *ref_gelu(ref_tape *t, ref_value *x);
ref_value *ref_max_pool(ref_tape *t, ref_value *x); /* 2x2 */
ref_value *ref_mean(ref_tape *t, ref_value *x);     /* over h and w */
ref_value *ref_add(ref_tape *t, ref_value *a, ref_value *b, double factor);
/* Tokens before the patches [n,p,1,c], and positions for all of them. */
ref_value *ref_tokens(ref_tape *t, ref_value *x, ref_array *const *tokens, size_t count,
                      ref_array *positions);
ref_value *ref_attention(ref_tape *t, ref_value *qkv, size_t heads);
/* Its probabilities, [n * heads,T,1,T]. */
ref_value *ref_attention_map(ref_tape *t, ref_value *qkv, size_t heads);
ref_value *ref_token(ref_tape *t, ref_value *x, size_t index);

/* ---- losses ---------------------------------------------------------------------------------- */

/* Each adds factor * loss, of all rows together, to the sum returned, and its gradient to grad.
 * logits, grad [n,k]. */
/* targets [n,k]: a distribution over the classes for each row */
double ref_loss_classes(const double *logits, const double *targets, size_t n, size_t k,
                        double factor, double *grad);
double ref_loss_kd(const double *logits, const double *teacher, size_t n, size_t k,
                   double temperature, double factor, double *grad);
double ref_loss_hard(const double *logits, const double *teacher, size_t n, size_t k, double factor,
                     double *grad);
double ref_loss_dkd(const double *logits, const double *teacher, const int32_t *labels, size_t n,
                    size_t k, double temperature, double alpha, double beta, double factor,
                    double *grad);
double ref_loss_standardized(const double *logits, const double *teacher, size_t n, size_t k,
                             double temperature, double factor, double *grad);
/* p [k]: softmax(x / T) of a row */
void ref_softmax(const double *x, size_t k, double temperature, double *p);
size_t ref_argmax(const double *row, size_t k);

/* A loss on what is inside two networks, with layers that learn with the student. */
typedef struct ref_feature {
    kd_ctx *ctx;
    uint64_t seed;
    ref_net net; /* of those layers */
    bool open;   /* there are some */
} ref_feature;
/* factor * weight * n * the mean; gradients by the student's values, and by the layers, are added. */
double ref_feature_loss(ref_feature *f, const kd_distill_opt *d, const ref_logits *s,
                        const ref_logits *t, size_t n, double factor);
void ref_feature_close(ref_feature *f);

/* ---- optimisers ------------------------------------------------------------------------------ */

double ref_schedule(kd_schedule schedule, double progress);
double ref_grad_norm(const ref_net *net);
/* The options with their defaults filled in; gradients as they are, times scale. */
void ref_update(ref_net *net, const kd_train_opt *opt, double lr, double scale, size_t t);
void ref_average(ref_net *net, double decay);

/* One step as kd_train_step does it: on these pictures, with these logits of a teacher (NULL:
 * none), at the rate as it is. Returns the loss; logits [n,k], the mean of two heads. */
typedef struct ref_step_in {
    size_t n;
    const float *input, *teacher;
    const int32_t *labels;
} ref_step_in;
double ref_step(ref_net *net, const ref_step_in *in, const kd_train_opt *t, const kd_distill_opt *d,
                double *logits);

/* ---- runs ------------------------------------------------------------------------------------ */

/* Top-1 and top-5 in percent, mean cross-entropy. */
typedef struct ref_score {
    double top1, top5, loss;
    size_t n;
} ref_score;

/* Sums over pictures. */
typedef struct ref_sums {
    double pictures, loss, correct;
    double hard, soft; /* the labels' part and the teachers', before their weights */
    double feature;    /* that of what is inside, likewise */
    double teacher_correct, agreed;
} ref_sums;

typedef struct ref_run {
    kd_train_opt train;     /* with defaults */
    kd_distill_opt distill; /* n_teachers 0: training */
    kd_dataset *data;
    ref_feature feature;
    ref_net *student, *teachers[KD_MAX_TEACHERS];
    kd_loader *loader;
    size_t batches, steps_an_epoch, steps;
    size_t epoch, batch, step; /* batch within the epoch */
    size_t updates;            /* steps that were not skipped */
    double lr, norm;           /* of the last step; the gradient's norm before clipping */
    ref_sums now, sums;        /* of the last step, of the epoch so far */
    double seen;               /* pictures that went forward, those of skipped steps, too */
} ref_run;

/* teachers in opt may be 0; train NULL: defaults. The student's weights are taken now. */
void ref_run_open(ref_run *run, kd_model *student, kd_dataset *data, const kd_distill_opt *opt);
void ref_run_close(ref_run *run);
/* One optimiser step; `bad`: its loss is no number, so it is skipped. */
void ref_run_step(ref_run *run, bool bad);
/* Whether the epoch has no more batches, or the run no more steps. */
bool ref_run_epoch_over(const ref_run *run);
bool ref_run_over(const ref_run *run);
void ref_run_next_epoch(ref_run *run);
/* A part of the loss is 0 where its weight is: was there nothing to measure? */
bool ref_run_has_hard(const ref_run *run);
bool ref_run_has_soft(const ref_run *run);
/* What is evaluated and saved: the averages if the run has them. */
ref_which ref_run_which(const ref_run *run);
void ref_net_keep(ref_net *net, ref_which which);
ref_score ref_run_evaluate(const ref_run *run, kd_eval_split split, ref_which which);

#endif
