/* SPDX-License-Identifier: MIT
 * train.h: training, distillation, evaluation. They are written on the public headers alone: copy
 * lib/train and change it when you need another loop.
 *
 * Threads are as in ctx.h. A call uses its models, its data set and their contexts until it
 * returns; two runs at the same moment need models, data sets and contexts of their own. The
 * functions that options name are called from the thread that called, one at a time. kd_ctx_cancel
 * ends a run from any thread. Names are constants, which any thread may ask for. What options point
 * at must live until the call returns. */
#ifndef KD_TRAIN_H
#define KD_TRAIN_H

#include <kd/data.h>
#include <kd/model.h>
#include <kd/optim.h>
#include <kd/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what is reported ------------------------------------------------------------------------ */

/* What to evaluate on: the test split; the training split without its development part; that part,
 * the dev_count samples that kd_train_opt.dev_count sets aside. */
typedef enum kd_eval_split { KD_EVAL_TEST, KD_EVAL_TRAIN, KD_EVAL_DEV } kd_eval_split;

/* Seconds by part of a step. */
typedef struct kd_times {
    double data, teacher, forward, loss, backward, optimizer;
} kd_times;

/* Where nothing was measured a number is NaN. */
typedef struct kd_progress {
    size_t struct_size;   /* the library's: a member beyond it is not there */
    int epoch_end;        /* 0: after a step, 1: after an epoch */
    int evaluating;       /* 1: after a batch of an evaluation: step, batch, fraction, seconds, loss
                            * and accuracy are its own then, and what only training has is NaN or 0 */
    size_t epoch, epochs; /* epoch counts from 0; epochs 0: until the budget is used up */
    size_t step, steps;   /* optimiser steps so far, and in all (0: unknown) */
    size_t batch, batches; /* within the epoch */
    double fraction;       /* of the whole run, 0..1 */
    double loss, accuracy; /* means over the epoch so far: training loss, top-1 in percent */
    double hard_loss;      /* the same: the labels' part of the loss, before its weight */
    double soft_loss;      /* the teachers' part, before its weight; NaN: no teachers */
    double teacher_accuracy, agreement; /* the same, in percent: of the teachers' weighted mean; and
                                         * how often its class is the student's */
    double step_loss;                   /* of this step alone */
    double grad_norm;                   /* of this step, before clipping */
    double lr;                          /* that this step was done with */
    size_t skipped;                     /* steps of the run that were skipped (on_nan) */
    double images_per_second;           /* over the epoch so far */
    double seconds;                     /* of training, evaluation not counted; earlier parts of a
                                         * resumed run included */
    kd_times times;                     /* of the epoch so far */
    double dev_top1, dev_loss;          /* at the end of an epoch with a development split */
    const char *augment;      /* in training: kd_loader_augment, what "auto" or a recipe came to */
    kd_eval_split split;      /* while evaluating: what on */
    double epochs_done;       /* the one that has begun as a fraction */
    double epoch_seconds;     /* of training, of this epoch so far */
    size_t epoch_skipped;     /* steps of this epoch that were skipped */
    size_t student, students; /* of kd_distill_many: which of how many, from 0; else 0 of 1 */
    double
        feature_loss; /* over the epoch so far: what `feature` adds, before its weight; NaN: none */
} kd_progress;

/* Called after every step and every epoch. Non-zero stops after a checkpoint was written: the call
 * returns KD_E_STOPPED and a resume goes on from there. kd_ctx_error then says that it stopped, not
 * what the function may have told kd_ctx_fail. */
typedef int (*kd_progress_fn)(void *user, const kd_progress *progress);

/* Where nothing was measured a number is NaN. */
typedef struct kd_result {
    size_t struct_size;             /* sizeof(kd_result), set by the caller */
    double top1, top5, loss;        /* on the test split, after the last epoch; percent; top5 of six
                                     * classes and more */
    double train_loss, train_top1;  /* of the last epoch */
    double hard_loss, soft_loss;    /* its parts, before their weights */
    double teacher_top1, agreement; /* on the training pictures of the last epoch */
    double dev_top1, dev_loss;      /* of the network that is kept */
    double epochs;                  /* done; the last one may be a fraction */
    size_t best_epoch;              /* with KD_KEEP_BEST: the one that is kept, from 1 */
    size_t steps, skipped;          /* done, skipped ones included; skipped alone */
    double seconds;                 /* of training */
    double images_per_second;
    kd_times times;     /* of the whole run */
    size_t peak_bytes;  /* most memory the context held */
    size_t micro_batch; /* pictures that went forward and backward at a time */
} kd_result;

/* ---- training -------------------------------------------------------------------------------- */

typedef enum kd_on_nan { KD_NAN_STOP, KD_NAN_SKIP } kd_on_nan;

#define KD_MICRO_AUTO SIZE_MAX

/* Which epoch's network a run leaves in model.safetensors, and in the model. */
typedef enum kd_keep {
    KD_KEEP_LAST,
    KD_KEEP_BEST /* the best on the development split; the last one's is last.safetensors */
} kd_keep;

/* Zero means the default; options.h has them all with their ranges as a table, and
 * `kd train --help` prints it. Where zero is a sensible value itself, KD_OFF (-1) asks for it. */
typedef struct kd_train_opt {
    size_t struct_size; /* sizeof(kd_train_opt) */
    size_t epochs;      /* passes over the training split */
    size_t batch;       /* pictures */
    size_t accumulate;  /* batches whose gradients make one step */
    size_t
        micro_batch; /* pictures that go forward and backward at a time: the batch's gradients are
                         * summed over such pieces, and memory does not grow with the batch. The
                         * sums differ by rounding alone; dropout does not depend on it. Networks
                         * whose training mixes the batch (batch norm) cannot: KD_E_UNSUPPORTED
                         * [0: the whole batch] KD_MICRO_AUTO: as kd_train_plan finds */
    int drop_last; /* leave out an epoch's last batch where it is short [0: its gradient is the mean
                    * over the pictures it has] */
    kd_optimizer optimizer; /* [AUTO: SGD for CNNs, AdamW for transformers] */
    float lr;
    float momentum; /* SGD */
    int nesterov;   /* as in kd_optim_opt */
    float weight_decay;
    int decay_all;        /* also decay norms, biases, tokens, embeddings of positions */
    double beta1, beta2;  /* AdamW */
    float eps;            /* AdamW */
    float layer_decay;    /* as in kd_optim_opt */
    kd_schedule schedule; /* [AUTO] */
    float warmup;         /* epochs over which the rate first rises in a line: the schedule's rate
                            * is multiplied by step / steps of the warm-up, the first step being 1 */
    float min_lr;         /* where a falling schedule ends, instead of at zero */
    float label_smoothing;
    float clip; /* largest norm of the gradient; 0: no clipping */
    float ema; /* > 0: average = ema * average + (1 - ema) * weights after each step. The average is
                 * what is evaluated and what model.safetensors holds; a checkpoint has both */
    int fine_tune;         /* the model is trained already: defaults that suit that */
    const char *augment;   /* as in kd_loader_opt; NULL: "auto", what suits the data set */
    uint64_t seed;         /* of order, augmentation and dropout; at most 2^63 - 1024 */
    size_t max_steps;      /* stop after so many optimiser steps; 0: no limit */
    double budget_seconds; /* train for this long instead of `epochs`; the schedule follows the
                            * clock, and the last step may take fewer pictures. Evaluations and the
                            * progress function's time come on top */
    size_t dev_count; /* samples of the training split set aside, evaluated each epoch: the same
                            * ones whatever the seed */
    kd_keep keep;
    kd_on_nan on_nan; /* a loss or gradient that is not finite: stop the run, or skip the step;
                            * both name the step and the first bad array */
    const char *out;  /* folder for model, checkpoint and metrics; NULL: nothing is written */
    int resume;       /* go on from the checkpoint in out, if there is one */
    int overwrite;    /* replace the run in out; without it, KD_E_EXISTS */
    size_t log_steps; /* a line of metrics.jsonl every so many steps, too; 0: by epochs alone */
    double
        checkpoint_seconds; /* a checkpoint at least this often; also first, and after an epoch */
    int no_test;            /* do not evaluate on the test split at the end */
    kd_progress_fn progress;
    void *user;
    int depth;             /* batches prepared ahead, as in kd_loader_opt */
    size_t augment_epochs; /* epochs cycle through so many augmentations of each picture
                            * (kd_loader_opt.cycle); 0: each epoch has its own */
    /* Parameters that do not learn: names as kd_name_matches takes them; or "body", which stands
     * alone and is all but the head (kd_model_head_at). Nothing of the backward is computed for them
     * alone; they compute as in evaluation, batch norms by their running statistics, which stay
     * (kd_graph_freeze). An empty list, one with a part that no parameter has, and one that has them
     * all, is KD_E_INVALID. */
    const char *freeze;
    /* Learning rates of their own, which the schedule scales as it scales lr: of the head; of
     * parameters by their names, "blocks.0=1e-4,blocks.*.norm*=0.01", of which the last that matches
     * counts. */
    float head_lr;
    const char *group_lr;
} kd_train_opt;

/* Replace what means "the default" by the default for this network (NULL: a CNN), as far as the
 * other options read it, in as much of the struct as its struct_size says; KD_OFF stays. Set
 * options before: a default that is filled in counts as given. Nothing happens to NULL, or to a
 * struct that kd_train would refuse for its size. kd_train and kd_distill do it themselves on a
 * copy. */
KD_API void kd_train_defaults(kd_train_opt *opt, const kd_model *model);

/* Train a model in place. opt NULL: all defaults. result may be NULL; after KD_E_STOPPED it says
 * how far the run got. With `ema`, the averaged weights take the model's place at the end.
 *
 *   KD_E_INVALID      a mistake in the options (kd_options_check); data without training pictures,
 *                     or without labels
 *   KD_E_SHAPE        pictures of other channels than the network's, which has no normalisation;
 *                     KD_E_INVALID where it has one
 *   KD_E_MISMATCH     classes of the data are not the network's; a resume of another run
 *   KD_E_UNSUPPORTED  micro_batch with a network that mixes the batch
 *   KD_E_NONFINITE    a loss or a gradient is not finite, and on_nan is KD_NAN_STOP
 *   KD_E_EXISTS       `out` holds what may not be replaced: an earlier run without resume or
 *                     overwrite; files of a run's names that are none of a run
 *   KD_E_IO           a file can't be written or read; another run writes in `out`
 *   KD_E_FORMAT       a checkpoint, or a sample, is broken
 *   KD_E_STOPPED      progress, or kd_ctx_cancel */
KD_API kd_status kd_train(kd_model *model, kd_dataset *data, const kd_train_opt *opt,
                          kd_result *result);

/* ---- distillation ---------------------------------------------------------------------------- */

typedef enum kd_method {
    KD_METHOD_KD,           /* hard * CE + soft * T^2 * KL */
    KD_METHOD_HARD,         /* hard * CE + soft * CE against the teacher's class */
    KD_METHOD_DKD,          /* hard * CE + soft * (alpha * TCKD + beta * NCKD) * T^2, soft rising in
                             * a line over the first dkd_warmup epochs */
    KD_METHOD_STANDARDIZED, /* KD on z-scored logits */
    KD_METHOD_COUNT
} kd_method;
/* "kd", "hard", "dkd", "standardized"; NULL past the last. */
KD_API const char *kd_method_name(kd_method method);

/* What a student learns from inside its teacher, beside logits and labels. s and t are taps of
 * student and teacher (pairs of them), r(s) a linear layer from the student's channels to the
 * teacher's that learns with the student and is left behind. Maps of two sizes: the larger is
 * averaged to the smaller; tokens are the map of their patches. Losses are summed over the
 * pairs. */
typedef enum kd_feature {
    KD_FEATURE_NONE,
    KD_FEATURE_HINT, /* mean (r(s) - t)^2 (Romero et al. 2015, FitNets; as in RepDistiller) */
    KD_FEATURE_AT,   /* mean of squares of the difference of where two maps are active, mean over
                        * channels of x^2, normalised (Zagoruyko & Komodakis 2017, attention transfer) */
    KD_FEATURE_RKD, /* 25 * distances + 50 * angles between the pictures (Park et al. 2019, kd_loss_rkd) */
    KD_FEATURE_TOKENS, /* mean (r(s) - t)^2 of tokens, several blocks (Jiao et al. 2020, TinyBERT) */
    KD_FEATURE_ATTENTION, /* KL of attentions, row by row, averaged over heads where their numbers
                           * differ (Zhang et al. 2022, MiniViT) */
    KD_FEATURE_EMBEDDING, /* mean (r(s) - t)^2 of what the heads read */
    KD_FEATURE_COSINE,    /* 1 - cosine of r(s) and t, of what the heads read */
    KD_FEATURE_COUNT
} kd_feature;
/* "none", "hint", "at", "rkd", "tokens", "attention", "embedding", "cosine"; NULL past the last. */
KD_API const char *kd_feature_name(kd_feature feature);

enum { KD_MAX_TEACHERS = 8 };

/* How a teacher cache (kd/cache.h) keeps logits: as they are, or rounded. */
typedef enum kd_cache_precision { KD_CACHE_FLOAT32, KD_CACHE_FLOAT16 } kd_cache_precision;

/* A teacher of the caller's own: fill logits [batch->n, classes] for a batch of training pictures.
 * pictures: [n, height, width, channels], the batch in the view that was asked for. Called from the
 * caller's thread, once for each batch, before any student learns from it. A status other than
 * KD_OK ends the run. */
typedef kd_status (*kd_logits_fn)(void *user, const kd_batch *batch, const float *pictures,
                                  float *logits);

/* What a loss of one's own is built of: values of the graph of a step. */
typedef struct kd_loss_graph {
    size_t struct_size; /* the library's: a member beyond it is not there */
    kd_graph *graph;
    kd_value logits;          /* [N,classes], the student's; of two heads their mean */
    kd_value labels;          /* [N] i32, as the data has them */
    const kd_value *teachers; /* [n_teachers] of logits [N,classes] */
    size_t n_teachers;
    const kd_tap *student_taps; /* [n_student_taps], in the order in which they were asked for */
    size_t n_student_taps;
    const kd_tap *teacher_taps; /* [n_teacher_taps] of the teacher, which get no gradient */
    size_t n_teacher_taps;
} kd_loss_graph;

/* Add to the loss: build a scalar [1], the mean over the pictures, with any ops, and return it;
 * KD_NONE ends the run with the graph's error. It is called once, when the step is planned, before
 * anything runs. Parameters that it declares (by kd_linear, kd_conv2d, kd_param ...) are called
 * "loss.NAME" and begin as the run's seed says. They learn with the student by the same optimiser,
 * without rates of their own, and are part of the gradient's norm. Checkpoints hold them, models do
 * not. */
typedef kd_value (*kd_loss_fn)(void *user, const kd_loss_graph *step);

typedef struct kd_distill_opt {
    size_t struct_size;
    kd_model *teacher;            /* one teacher, or: */
    kd_model *const *teachers;    /* [n_teachers], with weights that sum to one */
    const float *teacher_weights; /* [n_teachers]; NULL: equal */
    size_t n_teachers;
    kd_method method;
    float temperature;
    float hard, soft;          /* weights of the labels and of the teachers */
    float alpha, beta;         /* DKD: weights of the target class and of the others */
    float dkd_warmup;          /* DKD: epochs over which soft first rises [a twelfth of the epochs,
                                * at most 20; with budget_seconds 1] */
    const kd_train_opt *train; /* NULL: all defaults */
    /* Where the teachers' logits, and the taps that a loss reads, come from besides live teachers: a
     * folder (kd/cache.h). It is read, and filled where it has nothing yet and teachers are given. If
     * it has all that the run needs, no teacher is planned, nor need one be given. */
    const char *cache;
    kd_cache_precision cache_precision; /* of a cache that begins: how it rounds */
    size_t cache_top; /* of a cache that begins: the most likely classes it keeps; 0: all */
    /* Or from a function, instead of teachers and cache; logits_view: how it wants to see the
     * pictures; NULL: as the student does. A resume cannot tell one function from another. */
    kd_logits_fn logits;
    void *logits_user;
    const kd_view *logits_view;
    /* A loss that is added to the others. The taps that it reads are named (kd_spec_taps); those of
     * the teacher are of a single one, live or in the cache. A resume cannot tell one function from
     * another. */
    kd_loss_fn loss;
    void *loss_user;
    const char *const *student_taps; /* [n_student_taps] */
    size_t n_student_taps;
    const char *const *teacher_taps; /* [n_teacher_taps] */
    size_t n_teacher_taps;
    /* Learn from inside one teacher, live or in the cache, whose classes may be others if soft is 0.
     * With a feature the defaults are hard 1 and soft 0, as the papers have it. */
    kd_feature feature;
    float feature_weight;
    /* Names of taps, joined by commas, as many of each [what suits the two networks]. */
    const char *student_tap, *teacher_tap;
} kd_distill_opt;

/* The same for these options, where the run is as long as opt->train says; what that points at
 * stays as it is. */
KD_API void kd_distill_defaults(kd_distill_opt *opt);

/* Train a student by a teacher in evaluation mode. Each teacher sees the same augmented pictures at
 * its own size and normalisation. The teachers' classes must be the student's, unless nothing reads
 * their logits (soft off, with a feature or a loss). A student with a distillation token (DeiT,
 * Touvron et al. 2021) learns the labels with its class head and from the teachers with its
 * distillation head, by whichever method. Errors are kd_train's; KD_E_INVALID also for a teacher
 * that is NULL, and weights that don't sum to 1; KD_E_MISMATCH for a teacher's classes and another
 * run's cache; others as the caller's functions return them. */
KD_API kd_status kd_distill(kd_model *student, kd_dataset *data, const kd_distill_opt *opt,
                            kd_result *result);

/* One of several students, an element of an array: it does not grow. */
typedef struct kd_student {
    kd_model *model;
    const kd_distill_opt *opt; /* its own; NULL: all defaults */
    kd_result *result;         /* or NULL */
    kd_status status;          /* what became of it */
    char error[400];           /* why, in words; "" */
} kd_student;

/* Train n students in one pass over data and teachers: each batch is prepared once, the teachers
 * run once, and every student learns from it. Each ends with the bits of a kd_distill of its own.
 *
 * What they share must be the same in all options: teachers with their weights, cache, batch, seed,
 * dev_count, drop_last, augment, augment_epochs; data whose pictures are framed also the larger of
 * the sizes of student and teachers. There are no budgets of seconds. All else may differ: network,
 * method, weights, optimiser, rates, epochs, accumulate, micro_batch, out. Models are of one
 * context. Their steps compute in one arena, which is as large as the largest.
 *
 * A student whose step, evaluation or files fail leaves, as its status says, and the others go on.
 * Non-zero from any student's progress function stops all: each has a checkpoint then. With
 * opt->train->resume students that were stopped at different places wait for each other. Seconds of
 * data and teachers are divided by the students that shared a batch.
 *
 * KD_OK: all came to their end. Else the first failure's status and words. KD_E_INVALID: students
 * that do not share what they must; the error names the option. */
KD_API kd_status kd_distill_many(kd_student *students, size_t n, kd_dataset *data);

/* ---- a step as a program --------------------------------------------------------------------- */

/* The plan that kd_train (no teachers in opt) and kd_distill run for each piece of a batch, forward
 * and backward: kd_plan_batch(plan) pictures at most. Inputs: "input", "labels", "teacher0"..., and
 * with DKD's warm-up "soft_weight" [1]; outputs "loss", "logits". opt as kd_distill takes it; only
 * the number of its teachers counts. KD_MICRO_AUTO: the whole batch if training mixes it; else as
 * few equal pieces as keep the values of one (kd_plan_values_size) within 256 MiB. So pieces depend
 * on network, batch and loss alone, not on this machine or its threads. KD_E_INVALID: a mistake in
 * the options; KD_E_UNSUPPORTED: pieces of a network that mixes the batch, or a loss or feature of
 * opt, which is part of a run. Destroy the plan with kd_plan_destroy. */
KD_API kd_status kd_train_plan(kd_model *model, const kd_distill_opt *opt, kd_plan **plan);

/* The learning rate by which kd_train does optimiser step `step` (from 0) of `steps` in all, where
 * an epoch has steps_per_epoch of them: lr, schedule, warmup and min_lr of opt, after
 * kd_train_defaults. 0 for NULL or a struct_size that is not set. */
KD_API double kd_train_rate(const kd_train_opt *opt, size_t step, size_t steps,
                            size_t steps_per_epoch);

/* ---- checkpoints of a loop of one's own ------------------------------------------------------ */

/* Model, optimiser and a text of the caller's (UTF-8; NULL: none; where the loop stands, say) in
 * one file, written atomically. It is a model file, too. Errors are kd_model_save's; a note that is
 * not UTF-8 is KD_E_INVALID. */
KD_API kd_status kd_checkpoint_save(const kd_model *model, kd_optim *optim, const char *note,
                                    const char *path);
/* The other way, into a model of the same spec and an optimiser made alike: from here on a loop
 * goes on to the same bits. *note: a copy of the text, to be freed with kd_ctx_free, "" if there
 * was none; note may be NULL. On failure model and optimiser are as they were:
 *
 *   KD_E_NOTFOUND, KD_E_IO, KD_E_FORMAT  as kd_file_open has it
 *   KD_E_MISMATCH                        it is no such checkpoint, or of another network or
 *                                        optimiser */
KD_API kd_status kd_checkpoint_load(kd_model *model, kd_optim *optim, const char *path,
                                    char **note);

/* ---- one step, for comparisons --------------------------------------------------------------- */

/* The step `kd step` does: no augmentation, no dropout. input [n,image,image,channels] normalised,
 * labels [n], teacher_logits [n,classes] or NULL. Gradients stay in the model's parameters, which
 * are updated with the optimiser's first step at opt->train.lr. opt->train.micro_batch holds, too.
 * result may be NULL. KD_E_INVALID: n is 0, or a mistake in the options; KD_E_NONFINITE: the loss
 * or the gradient is not finite, and no parameter is updated. */
typedef struct kd_step_result {
    size_t struct_size; /* sizeof(kd_step_result), set by the caller */
    float loss;
    float *logits; /* [n,classes], the caller's, or NULL */
    float *grads; /* [kd_params_flat_count], the caller's, or NULL: a copy from before the update */
} kd_step_result;
KD_API kd_status kd_train_step(kd_model *model, size_t n, const float *input, const int32_t *labels,
                               const float *teacher_logits, const kd_distill_opt *opt,
                               kd_step_result *result);

/* ---- evaluation ------------------------------------------------------------------------------ */

/* What an evaluation says of one sample; valid during the call. Classes are numbered as the
 * network's, but for `label`. */
typedef struct kd_eval_sample {
    size_t struct_size;  /* the library's: a member beyond it is not there */
    size_t id;           /* index within the data set's split, as kd_dataset_sample takes it */
    int32_t label;       /* as the data set has it */
    int32_t target;      /* the network's class that the label stands for */
    int32_t predicted;   /* the network's first class; of equal logits the lower one */
    int32_t teacher;     /* the teacher's first class; -1: there is no teacher */
    double probability;  /* of `predicted`, by the softmax */
    double loss;         /* cross-entropy, -log of the target's probability */
    double kl;           /* KL(teacher || network) at temperature 1, nats; NaN without a teacher */
    const float *logits; /* [classes] */
    const float *teacher_logits; /* [classes], in the network's order of classes; or NULL */
} kd_eval_sample;

/* Called for each sample that was measured, in order of id, from the caller's thread: the same
 * samples in the same order for every network, so that two networks' answers can be paired.
 * Non-zero stops the evaluation: KD_E_STOPPED. */
typedef int (*kd_eval_fn)(void *user, const kd_eval_sample *sample);

/* Computes logits [n, classes] of pictures [n, height, width, channels], normalised as the model's
 * are. */
typedef kd_status (*kd_answer_fn)(void *user, const float *pictures, size_t n, float *logits);

typedef struct kd_eval_opt {
    size_t struct_size;
    kd_eval_split split;     /* [KD_EVAL_TEST] */
    size_t dev_count;        /* of the training split; KD_EVAL_DEV needs it */
    size_t batch;            /* [128] */
    kd_model *teacher;       /* also compare with this one; NULL: none */
    const kd_params *params; /* evaluate these instead of the model's own; NULL: its own */
    kd_progress_fn progress; /* called after each batch; non-zero stops: KD_E_STOPPED */
    void *user;
    const char *augment; /* how pictures are framed, "centre:0.9+bicubic" [NULL: where they need it,
                          * as kd_model_framing says, else as kd_dataset_framing does] */
    kd_eval_fn each;     /* called for each sample; NULL: nobody asks */
    void *each_user;     /* its first argument */
    uint64_t *confusion; /* [classes, classes] of the network, the caller's, or NULL: samples of
                           * class `row` that the network says are of class `column` */
    /* Which class of the network each class of the data is: [classes of the data]. NULL: by name,
     * as kd_classes_match does. If the data or the network have no names, they need the same number
     * of classes, which are then taken to be in the same order; that is logged. Else KD_E_MISMATCH,
     * naming a class. The same between a teacher and the network, whose numbers must be equal. */
    const int32_t *class_map;
    int any_classes; /* ask for no names: without class_map, the data's classes are the network's
                      * first ones, and the teacher's are the network's */
    kd_answer_fn answer; /* answers instead of the model, of which all but the parameters is read
                          * (kd_blob_answer); NULL: the model does */
    void *answer_user;   /* its first argument */
} kd_eval_opt;

enum { KD_EVAL_BINS = 15 };

/* The samples whose first class has a probability in (i / KD_EVAL_BINS, (i + 1) / KD_EVAL_BINS]. */
typedef struct kd_eval_bin {
    size_t n;
    double accuracy;   /* percent of them that were right; NaN: there are none */
    double confidence; /* mean probability of their first class, percent; NaN: there are none */
} kd_eval_bin;

/* What was not measured is NaN. */
typedef struct kd_eval_result {
    size_t struct_size; /* sizeof(kd_eval_result), set by the caller */
    size_t n;           /* samples that were measured: broken ones that are skipped are not */
    double top1;        /* percent of the samples whose target has the highest logit */
    double top5;        /* or one of the five highest; NaN for a network of five classes or fewer */
    double loss;        /* mean cross-entropy */
    double agreement;   /* percent of samples where the teacher's first class is the model's */
    double kl;          /* mean KL(teacher || model) at temperature 1, nats */
    double seconds;
    /* Percent, by the class token's head alone and by the distillation token's; NaN: the model has
     * one head. */
    double top1_cls, top1_dist;
    /* Expected calibration error, percent: sum over bins of n_bin / n * |accuracy - confidence|
     * (Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 3). */
    double ece;
    kd_eval_bin bins[KD_EVAL_BINS];
} kd_eval_result;

/* Measure a network on a split, without augmentation, in evaluation mode, at the network's size and
 * normalisation; a teacher at its own. opt NULL: all defaults. result may be NULL.
 *   KD_E_INVALID    a mistake in the options; a split without samples, or without labels
 *   KD_E_MISMATCH   classes of the data, or of the teacher, are not the network's
 *   KD_E_NONFINITE  logits of the network or of the teacher are not finite: the error says whose,
 *                   and of which sample; nothing is measured by such numbers
 *   KD_E_FORMAT     no sample could be read
 *   KD_E_STOPPED    a callback asked for it, or kd_ctx_cancel
 *   others          a sample can't be read; what opt->answer returned
 * After an error result has the samples before it. */
KD_API kd_status kd_evaluate(kd_model *model, kd_dataset *data, const kd_eval_opt *opt,
                             kd_eval_result *result);

#ifdef __cplusplus
}
#endif
#endif
