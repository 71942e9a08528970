/* SPDX-License-Identifier: MIT
 * train.h: a training run from the inside. Like everything in lib/train it rests on the public
 * headers alone.
 *
 *   loader ──views──▶ teachers ──logits──▶ student's program ──gradients──▶ optimiser */
#ifndef KDT_TRAIN_H
#define KDT_TRAIN_H

#include <kd/kd.h>

#include <stdbool.h>

/* One teacher: its weights frozen, a plan for the batch, and where its logits appear. */
typedef struct kdt_teacher {
    kd_model *model;
    kd_plan *plan;
    kd_exec *exec;
    size_t view; /* which of the loader's */
} kdt_teacher;

/* Sums over the epoch so far: what a checkpoint carries so that a resumed epoch reports the
 * same. */
typedef struct kdt_sums {
    double loss; /* of batches, a shorter one counted less */
    uint64_t images, correct, batches;
    double seconds; /* of the epoch; not compared after a resume */
    kd_times times;
} kdt_sums;

/* The plan of a step that is wanted: see kd_train_plan. */
typedef struct kdt_program {
    size_t batch; /* the whole */
    size_t micro; /* pictures of a piece; 0: the whole batch */
    bool mixed, no_dropout;
    size_t max_arena, *least; /* as in kd_plan_opt */
} kdt_program;

typedef struct kdt_run {
    kd_ctx *ctx;
    kd_model *model;
    kd_dataset *data;
    kd_distill_opt opt;     /* resolved; n_teachers 0: plain training */
    kd_train_opt train;     /* resolved; opt.train points here */
    char description[4096]; /* JSON: what must agree for a resume */
    kdt_program program;    /* the student's */
    kd_plan *plan;
    kd_exec *exec;
    kd_loader *loader;
    kdt_teacher teachers[KD_MAX_TEACHERS];
    size_t n_views;
    int folder; /* the output folder, locked; -1: none */
    kd_optim *optim;
    kd_params *ema;
    const kd_batch *now; /* this batch, until the next is taken */
    kd_run_opt how;      /* it is run */
    void *buffers;       /* the model's, as they were before this batch */
    float soft_weight;   /* of this step: DKD's warm-up */
    size_t epoch, batch, step, batches, steps_per_epoch, steps;
    double seconds;                  /* of training */
    double saved_at;                 /* clock of the last checkpoint */
    kd_times times;                  /* of the finished epochs */
    uint64_t images;                 /* of the whole run */
    size_t empty;                    /* batches of this epoch that held no readable picture */
    double last_loss, last_accuracy; /* of the last finished epoch */
    double dev_top1, dev_loss;
    kdt_sums sums;
} kdt_run;

/* run.c */
double kdt_seconds(void);

/* Mean loss of a picture, and percent of them that were right, over the epoch so far; 0: none. */
double kdt_mean_loss(const kdt_run *run);
double kdt_accuracy(const kdt_run *run);

/* options.c: take the caller's options: defaults filled in, and KD_OFF as zero. o->train points at t
 * afterwards. from is a kd_distill_opt, or NULL. */
kd_status kdt_take_train(kd_ctx *ctx, const kd_train_opt *from, kd_train_opt *t);
kd_status kdt_take_distill(kd_ctx *ctx, const kd_distill_opt *from, kd_distill_opt *o,
                           kd_train_opt *t);

/* loss.c: the loss of a step as ops, heads as kd_build_opt has them; soft_weight KD_NONE unless the
 * method needs it. Inputs of the graph: "labels", "teacher0"..., "soft_weight"; of mixed pictures
 * also "partners", "shares". */
kd_value kdt_build_loss(kd_graph *g, const kd_distill_opt *opt, kd_value logits,
                        const kd_value heads[2], size_t classes, bool mixed);
bool kdt_needs_soft_weight(const kd_distill_opt *opt);

/* program.c */
kd_status kdt_plan(kd_model *model, const kd_distill_opt *opt, const kdt_program *how,
                   kd_plan **plan);
/* Set how->micro as opt's micro_batch says; KD_MICRO_AUTO: a piece's values may have `room` bytes
 * (0: no limit). KD_E_UNSUPPORTED where the batch cannot be cut. */
kd_status kdt_cut(kd_model *model, const kd_distill_opt *opt, size_t room, kdt_program *how);

/* Bytes that an executor of the plan takes beside its arena, at most. */
size_t kdt_plan_tables(const kd_plan *plan);

/* fit.c: the plan within the context's limit of memory, of which `later` bytes are for what comes
 * after it. */
kd_status kdt_plan_fitting(kd_model *model, const kd_distill_opt *opt, const kdt_program *how,
                           size_t later, kd_plan **plan);
/* For kdt_cut: what a limit leaves; rest: bytes of all else, the same on every machine. */
size_t kdt_room(const kd_ctx *ctx, size_t rest);
/* What a run takes beside its open parts: checkpoints, evaluations. */
kd_status kdt_later_bytes(kdt_run *run, size_t *bytes);
/* KD_E_LIMIT if the test at the end will not fit: better said now. */
kd_status kdt_check_test(kdt_run *run);
/* A step alone: kdt_cut and kdt_plan_fitting. */
kd_status kdt_step_plan(kd_model *model, const kd_distill_opt *opt, kdt_program *how,
                        kd_plan **plan);
/* KD_E_LIMIT, in the allocator's words. */
kd_status kdt_refuse(kd_ctx *ctx, size_t held, size_t more, const char *hint);

/* step.c: the optimiser these options (resolved) ask for. */
kd_status kdt_optim_create(kd_params *params, const kd_train_opt *opt, kd_optim **optim);

/* evaluate.c: bytes that an evaluation takes, at most, if pictures are in memory. */
kd_status kdt_evaluate_bytes(kd_model *model, size_t samples, size_t *bytes);

/* teacher.c */
kd_status kdt_teachers_check(kdt_run *run);
/* Plans for pieces of at most so many pictures. */
kd_status kdt_teachers_open(kdt_run *run, size_t most);
void kdt_teachers_close(kdt_run *run);
/* Pictures [first, first + n) of this batch. */
kd_status kdt_teachers_run(kdt_run *run, size_t first, size_t n);

/* batch.c: forward and backward of run->now, as run->how says, piece by piece. */
typedef struct kdt_outcome {
    double loss; /* the mean, in units of a whole batch */
    uint64_t correct;
} kdt_outcome;
kd_status kdt_batch_run(kdt_run *run, kdt_outcome *outcome);

/* checkpoint.c */
kd_status kdt_describe(kdt_run *run);
kd_status kdt_checkpoint_save(kdt_run *run);
/* KD_OK without a checkpoint too: *found says. */
kd_status kdt_checkpoint_load(kdt_run *run, bool *found);
/* The same from a file that is open. A run that failed to read one must not go on. */
kd_status kdt_checkpoint_read(kdt_run *run, kd_file *file);

/* folder.c: the output folder, made if need be, and ours alone until it is closed. */
kd_status kdt_folder_open(kdt_run *run);
void kdt_folder_close(kdt_run *run);

/* metrics.c */
kd_status kdt_metrics_append(kdt_run *run, double lr);
/* Keep the lines of the first `epochs` epochs, one for each, and drop all else: in the run's file,
 * or in a text. */
kd_status kdt_metrics_trim(kdt_run *run, size_t epochs);
kd_status kdt_metrics_filter(kd_ctx *ctx, char *text, size_t *size, size_t epochs);

/* nonfinite.c: before each batch, keep what it may spoil; after one whose loss (`what`) is not
 * finite, undo that, name the first tensor that is not, and stop with KD_E_NONFINITE or log that
 * the step is skipped. */
kd_status kdt_keep_buffers(kdt_run *run);
kd_status kdt_nonfinite(kdt_run *run, const char *what);

#endif
