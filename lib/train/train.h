/* SPDX-License-Identifier: MIT
 * train.h: a training run from the inside. Like everything in lib/train it rests on the public
 * headers alone.
 *
 *   loader ──views──▶ teachers ──logits──▶ student's program ──gradients──▶ optimiser */
#ifndef KDT_TRAIN_H
#define KDT_TRAIN_H

#include <kd/kd.h>

#include <stdbool.h>

enum { KDT_PATH = 4096 };

/* One teacher: its weights frozen, a plan for the batch, and where its logits appear. */
typedef struct kdt_teacher {
    kd_model *model;
    kd_plan *plan;
    kd_exec *exec;
    size_t view; /* which of the loader's */
    float weight;
    uint64_t hash;
} kdt_teacher;

/* Sums over pictures: what a checkpoint carries so that a resumed epoch reports the same. A loss
 * counts in units of a whole batch: one over n of B pictures is n/B of its mean. */
typedef struct kdt_sums {
    double loss, hard, soft; /* the loss; its parts before their weights */
    uint64_t images, correct;
    uint64_t teacher_correct, agreed;
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

/* The network of the best epoch so far on the development split. */
typedef struct kdt_best {
    kd_params *params;
    double top1, loss; /* NaN: none yet */
    size_t epoch;      /* from 1 */
} kdt_best;

typedef struct kdt_run {
    kd_ctx *ctx;
    kd_model *model;
    kd_dataset *data;
    kd_distill_opt opt;  /* resolved; n_teachers 0: plain training */
    kd_train_opt train;  /* resolved; opt.train points here */
    char *description;   /* JSON: what must agree for a resume; NULL without an output folder */
    kdt_program program; /* the student's */
    kd_plan *plan;
    kd_exec *exec;
    kd_loader *loader;
    kdt_teacher teachers[KD_MAX_TEACHERS];
    size_t n_views, view; /* of the loader; the student's */
    int folder;           /* the output folder, locked; -1: none */
    kd_optim *optim;
    kd_params *ema;
    kdt_best best;
    const kd_batch *now; /* this batch, until the next is taken */
    size_t taken;        /* pictures of it that are used: all but in a budget's last step */
    kd_run_opt how;      /* it is run */
    void *buffers;       /* the model's, as they were before this step */
    float soft_weight;   /* of this step: DKD's warm-up */
    size_t epoch, batch, step, batches, steps_per_epoch, steps;
    size_t skipped;                      /* steps of the run */
    size_t skipped_here;                 /* of this epoch */
    double lr, step_loss, grad_norm;     /* of the last step */
    double seconds;                      /* of training */
    double saved_at;                     /* clock of the last checkpoint */
    kd_times times;                      /* of the finished epochs */
    uint64_t images;                     /* of the whole run */
    size_t empty;                        /* batches of this epoch that held no readable picture */
    kdt_sums last;                       /* of the last finished epoch */
    double dev_top1, dev_loss;           /* of this epoch; NaN before its end */
    double last_dev_top1, last_dev_loss; /* of the last evaluation */
    bool warned;                         /* of a teacher that is no better than chance */
    kdt_sums sums;                       /* of the epoch so far */
} kdt_run;

/* run.c */
double kdt_seconds(void);
/* Means over the pictures of these sums; NaN where there is none. */
double kdt_mean(const kdt_run *run, const kdt_sums *sums, double loss);
double kdt_percent(const kdt_sums *sums, uint64_t count);
/* Epochs done, the last one as a fraction. */
double kdt_epochs(const kdt_run *run);
/* Path of a file in the output folder. */
void kdt_path(const kdt_run *run, const char *file, char out[KDT_PATH]);
/* sums += more */
void kdt_add_sums(kdt_sums *sums, const kdt_sums *more);
void kdt_add_times(kd_times *times, const kd_times *more);

/* options.c: take the caller's options (distill, or train where that is NULL; both may be): checked,
 * defaults filled in, and KD_OFF as zero; d->train points at t afterwards. taught: there are
 * teachers, so that what is only for distillation is read. */
kd_status kdt_take(kd_ctx *ctx, const kd_model *model, const kd_train_opt *train,
                   const kd_distill_opt *distill, bool taught, kd_train_opt *t, kd_distill_opt *d);

/* loss.c: the loss of a step as ops, heads as kd_build_opt has them; soft_weight KD_NONE unless the
 * method needs it. Inputs of the graph: "labels", "teacher0"..., "soft_weight"; of mixed pictures
 * also "partners", "shares". Its parts before their weights become outputs: "loss_hard",
 * "loss_soft". */
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

/* setup.c: what a run consists of, opened and closed. */
kd_status kdt_open(kdt_run *run);
void kdt_close(kdt_run *run);

/* teacher.c */
kd_status kdt_teachers_check(kdt_run *run);
/* Plans for pieces of at most so many pictures. */
kd_status kdt_teachers_open(kdt_run *run, size_t most);
void kdt_teachers_close(kdt_run *run);
/* Pictures [first, first + n) of this batch. */
kd_status kdt_teachers_run(kdt_run *run, size_t first, size_t n);
/* The class of picture i of those just run by the teachers' weighted mean of probabilities. */
size_t kdt_teachers_class(const kdt_run *run, size_t i);

/* batch.c: forward and backward of the first run->taken pictures of run->now, as run->how says,
 * piece by piece; what was measured is added to *sums. */
kd_status kdt_batch_run(kdt_run *run, kdt_sums *sums);

/* advance.c: one optimiser step over up to `accumulate` batches of this epoch. */
kd_status kdt_advance(kdt_run *run);
/* How far the run is, 0..1; and whether it is over. */
double kdt_fraction(const kdt_run *run);
bool kdt_finished(const kdt_run *run);

/* loop.c: steps and epochs until the run is over. */
kd_status kdt_loop(kdt_run *run);

/* best.c: KD_KEEP_BEST. */
/* After an evaluation of the development split: is this the best network so far? Then keep it. */
kd_status kdt_best_note(kdt_run *run);
/* Read the best network so far back, after a resume. */
kd_status kdt_best_resume(kdt_run *run);
/* The network that is kept takes the model's place; the last one goes to a file of its own. */
kd_status kdt_best_adopt(kdt_run *run);

/* describe.c: what must be the same for a resume. */
kd_status kdt_describe(kdt_run *run);
/* KD_E_MISMATCH, naming what differs, key by key, if `was` is of another run. reached: the hash of
 * the network in the checkpoint, which the model may hold already; or NULL. */
kd_status kdt_describe_compare(kdt_run *run, const char *path, const char *was,
                               const char *reached);

/* checkpoint.c */
kd_status kdt_checkpoint_save(kdt_run *run);
/* KD_OK without a checkpoint too: *found says. */
kd_status kdt_checkpoint_load(kdt_run *run, bool *found);
/* The same from a file that is open. A run that failed to read one must not go on. */
kd_status kdt_checkpoint_read(kdt_run *run, kd_file *file);

/* folder.c: the output folder, made if need be, and ours alone until it is closed. A run that is
 * there already is KD_E_EXISTS, unless this one resumes or overwrites it. */
kd_status kdt_folder_open(kdt_run *run);
void kdt_folder_close(kdt_run *run);
/* Remove the network of an earlier run and its record; of this run, before it goes on (begun), the
 * network alone. */
kd_status kdt_folder_clear(kdt_run *run, bool begun);

/* metrics.c: a line for this epoch, or for this step. */
kd_status kdt_metrics_append(kdt_run *run, bool epoch_end);
/* Keep the lines of the first `epochs` epochs and `steps` steps, one for each, and drop all else: in
 * the run's file, or in a text. */
kd_status kdt_metrics_trim(kdt_run *run, size_t epochs, size_t steps);
kd_status kdt_metrics_filter(kd_ctx *ctx, char *text, size_t *size, size_t epochs, size_t steps);

/* nonfinite.c: before each step, keep what it may spoil; after one whose loss or gradient (`what`)
 * is not finite, undo that, name the first tensor that is not, and stop with KD_E_NONFINITE or log
 * that the step is skipped. The step's batches are [first, first + n) of this epoch; the loader goes
 * on behind them. */
kd_status kdt_keep_buffers(kdt_run *run);
kd_status kdt_nonfinite(kdt_run *run, const char *what, size_t first, size_t n);

#endif
