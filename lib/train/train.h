/* SPDX-License-Identifier: MIT
 * train.h: a training run from the inside. Like everything in lib/train it rests on the public
 * headers alone.
 *
 *   kdt_feed: loader ──views──▶ teachers ──logits──┐
 *   kdt_run:  student's step ◀──views, logits──────┘ ──gradients──▶ optimiser ──▶ files
 *
 * kdt_ is the prefix of what lib/train shares among its files; nobody else sees it. */
#ifndef KDT_TRAIN_H
#define KDT_TRAIN_H

#include "cache.h"

#include <kd/kd.h>

#include <stdbool.h>

enum {
    KDT_PATH = 4096,
    KDT_NAMES = 2048,      /* bytes of a list of parameters' names */
    KDT_VALUES = 256 << 20 /* bytes that the values of a micro-batch, or of a teacher's, may take */
};

/* Numbers in one picture as the network takes it. */
static inline size_t kdt_picture(const kd_model *m)
{
    return kd_model_height(m) * kd_model_width(m) * kd_model_channels(m);
}

/* ---- what feeds ------------------------------------------------------------------------------ */

/* One teacher: its weights frozen, and a plan. */
typedef struct kdt_teacher {
    kd_model *model; /* NULL: its logits come from a cache or from the caller's function */
    kd_plan *plan;   /* NULL: all logits are in the cache */
    kd_exec *exec;
    size_t view; /* which of the loader's */
    float weight;
    const char *spec;
    size_t height, width;             /* of its pictures; 0: unknown */
    char hash[17], normalization[17]; /* "": not computed yet, or unknown */
} kdt_teacher;

/* Taps that a loss reads (feature.c): the student's, and the teacher's, which are inputs of the step
 * called "teacher0.NAME". Those that the caller's function asks for come first. */
enum { KDT_TAPS = 32, KDT_FEED_TAPS = 64 };
typedef struct kdt_features {
    kd_tap student[KDT_TAPS], teacher[KDT_TAPS];
    kd_shape shapes[KDT_TAPS]; /* of the teacher's */
    size_t n_student, n_teacher;
    size_t own_student, own_teacher; /* of them the function's */
} kdt_features;

/* What a tap of the teacher has for this batch. */
typedef struct kdt_tap_rows {
    char name[KD_TAP_NAME];
    size_t size; /* floats of a picture */
    float *rows; /* [most, size] */
} kdt_tap_rows;

/* Batches of pictures, and the teachers' logits of them. */
typedef struct kdt_feed {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_loader *loader;
    size_t batch;   /* pictures of a whole batch, as it is asked for */
    size_t most;    /* pictures that a batch can hold: fewer where the set is smaller */
    size_t batches; /* of an epoch */
    size_t classes;
    kdt_teacher teachers[KD_MAX_TEACHERS];
    size_t n_teachers;
    size_t teacher_batch; /* pictures that a teacher takes at a time */
    bool live;            /* teachers are planned, or the caller's function is asked */
    bool cached;          /* `cache` is open */
    kdt_cache cache;
    kd_logits_fn function; /* the caller's, in place of teachers; NULL: none */
    void *function_user;
    size_t function_view;
    const kd_batch *now; /* this batch, until the next is taken */
    size_t taken;        /* pictures of it that are used: all but in a budget's last step */
    float *logits;       /* [n_teachers, batch, classes] of this batch */
    kdt_tap_rows *taps;  /* [n_taps] of teacher 0, that some run reads */
    size_t n_taps;
    bool mute; /* the teacher has other classes: its logits are not looked at */
    double seconds_data, seconds_teacher; /* that this batch took */
    size_t next_epoch, next_batch;        /* what the loader gives next */
    struct kdt_run *const *members;       /* [runs] */
    size_t runs;                          /* that share the feed */
    void *arena;                          /* in which they compute */
    bool always_live;                     /* plan the teachers in any case */
    bool looks_only;                      /* nothing is written or computed: only the key is made */
} kdt_feed;

/* ---- what learns ----------------------------------------------------------------------------- */

/* Sums over pictures: what a checkpoint carries so that a resumed epoch reports the same. A loss
 * counts in units of a whole batch: one over n of B pictures is n/B of its mean. */
typedef struct kdt_sums {
    double loss, hard, soft, feature; /* the loss; its parts before their weights */
    uint64_t images, correct;
    uint64_t teacher_correct, agreed;
    double seconds; /* of the epoch; not compared after a resume */
    kd_times times;
} kdt_sums;

/* The network of the best epoch so far on the development split. */
typedef struct kdt_best {
    kd_params *params;
    double top1, loss; /* NaN: none yet */
    size_t epoch;      /* from 1 */
} kdt_best;

/* A step that has begun: its batches are [first, first + batches) of the epoch. */
typedef struct kdt_open_step {
    bool open, full; /* full: all of its batches were seen */
    size_t first, batches;
    const char *wrong; /* what is not finite; NULL: nothing */
    kdt_sums sums;
} kdt_open_step;

/* One student: its network, its step, its optimiser, its files. */
typedef struct kdt_run {
    kd_ctx *ctx;
    kdt_feed *feed;
    kd_model *model;
    kd_dataset *data;
    kd_distill_opt opt; /* resolved; n_teachers 0: plain training */
    kd_train_opt train; /* resolved; opt.train points here */
    char *description;  /* JSON: what must agree for a resume; NULL without an output folder */
    kd_plan *plan;      /* of a micro-batch */
    kd_exec *exec;
    size_t view;      /* which of the loader's */
    int folder;       /* the output folder, locked; -1: none */
    bool folder_made; /* it was not there before, but for its path's first folder_existed bytes */
    size_t folder_existed;
    kd_optim *optim;
    kdt_features features;
    kd_params *extra; /* parameters of the loss, with an optimiser of their own; NULL: none */
    kd_optim *extra_optim;
    kd_params *ema;
    kdt_best best;
    kd_run_opt how;      /* how this batch is run */
    void *buffers;       /* the model's, as they were before this step */
    void *extra_buffers; /* the same of `extra`, once there is one */
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
    size_t number;                       /* among the feed's runs */
    bool began, open;                    /* open: an epoch has begun and not ended */
    kdt_open_step now;
    kd_status status; /* not KD_OK: it has left, and `error` says why */
    char error[800];
} kdt_run;

/* run_sums.c */
/* Log a warning about this run, which is named by its number where it is one of several. */
void kdt_warn(const kdt_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Means over the pictures of these sums; NaN where there is none. */
double kdt_mean(const kdt_run *run, const kdt_sums *sums, double loss);
double kdt_percent(const kdt_sums *sums, uint64_t count);
/* The same of answers that are right; NaN where the training pictures have no labels. */
double kdt_accuracy(const kdt_run *run, const kdt_sums *sums, uint64_t correct);
/* Epochs done, the last one as a fraction. */
double kdt_epochs(const kdt_run *run);
/* Path of a file in the output folder. */
void kdt_path(const kdt_run *run, const char *file, char out[KDT_PATH]);
/* sums += more */
void kdt_add_sums(kdt_sums *sums, const kdt_sums *more);
void kdt_add_times(kd_times *times, const kd_times *more);

/* options.c: check the caller's options, fill in defaults, and set what is KD_OFF to zero. distill
 * may be NULL: then train counts, which may be NULL, too. d->train points at t afterwards. taught:
 * there are teachers, so that options of distillation are read. */
kd_status kdt_take(kd_ctx *ctx, const kd_model *model, const kd_train_opt *train,
                   const kd_distill_opt *distill, bool taught, kd_train_opt *t, kd_distill_opt *d);

/* ---- the plan of a step ---------------------------------------------------------------------- */

/* The step that is wanted. */
typedef struct kdt_step {
    size_t batch;    /* pictures of the whole batch */
    bool mixed;      /* by mixup or cutmix */
    bool no_dropout; /* nor drop path */
    size_t values;   /* bytes that KD_MICRO_AUTO may give a micro-batch's values; 0: no limit */
    size_t later;    /* bytes of the context's limit for what is allocated after the plan */
    const kdt_features *features; /* NULL: the loss reads none */
    size_t
        *least; /* of a step that is refused: bytes that it needs with all else; NULL: not asked */
} kdt_step;

/* step_loss.c: the loss of a step as ops, heads as kd_build_opt has them; soft_weight KD_NONE unless
 * the method needs it. Inputs of the graph: "labels", "teacher0"..., "soft_weight"; of mixed pictures
 * also "partners", "shares". Its parts before their weights become outputs: "loss_hard",
 * "loss_soft". */
kd_value kdt_step_loss(kd_graph *g, const kd_distill_opt *opt, const kdt_step *step,
                       kd_value logits, const kd_value heads[2], size_t classes);
/* Are the teachers' logits inputs of the step? */
bool kdt_reads_logits(const kd_distill_opt *opt);
bool kdt_needs_soft_weight(const kd_distill_opt *opt);

/* feature.c */
/* The taps that the run's loss reads, and what they need: teachers are checked. */
kd_status kdt_features_find(kdt_run *run);
bool kdt_has_features(const kd_distill_opt *opt);
kd_status kdt_features_check(const kdt_feed *feed);
bool kdt_same_shape(const kd_shape *a, const kd_shape *b);
/* The rows of the teacher's taps that the runs read. */
kd_status kdt_taps_open(kdt_feed *feed, kdt_run *const *runs, size_t n);
void kdt_taps_close(kdt_feed *feed);
const kdt_tap_rows *kdt_taps_find(const kdt_feed *feed, const char *name);
/* What the caller's function adds; taps with their values. */
kd_value kdt_own_loss(kd_graph *g, const kd_distill_opt *opt, const kdt_features *f,
                      kd_value logits, kd_value labels, const kd_value *teachers);

/* feature_loss.c: what the option `feature` adds; taps with their values. */
kd_value kdt_feature_loss(kd_graph *g, const kd_distill_opt *opt, const kdt_features *f);
/* feature_taps.c: the pairs of taps that it compares, as names appended to *f. */
kd_status kdt_feature_taps(const kdt_run *run, kdt_features *f);
/* feature.c: append a name. */
kd_status kdt_add_tap(kd_ctx *ctx, const char *name, kd_tap *taps, size_t *n);

/* step_graph.c: network, loss and gradient, with the outputs "logits" and "loss" besides. */
kd_status kdt_step_graph(kd_model *model, const kd_distill_opt *opt, const kdt_step *step,
                         kd_graph **out);

/* step_plan.c: the plan of a micro-batch (kd_plan_batch pictures), cut as opt->train->micro_batch
 * says, within the context's limit. KD_E_UNSUPPORTED where the batch cannot be cut. extra: NULL, or
 * set to the parameters that the loss has of its own. */
kd_status kdt_step_plan(kd_model *model, const kd_distill_opt *opt, const kdt_step *step,
                        kd_plan **plan, kd_params **extra);
/* The same of a step that is no run's. */
kd_status kdt_single_step_plan(kd_model *model, const kd_distill_opt *opt, size_t batch,
                               bool no_dropout, kd_plan **plan);
/* Bytes that an executor of the plan takes beside its arena, at most. */
size_t kdt_plan_tables(const kd_plan *plan);

/* ---- memory ---------------------------------------------------------------------------------- */

/* memory_limit.c. */
/* kdt_step.values: half of what the limit leaves beside `rest` bytes; 0: no limit. */
size_t kdt_values_limit(const kd_ctx *ctx, size_t rest);
/* Bytes of what a run holds beside its plan, counted by shapes: the same on every machine. */
size_t kdt_fixed_bytes(const kdt_run *run);
/* Bytes that a run takes beside its open parts: checkpoints, evaluations. */
kd_status kdt_later_bytes(kdt_run *run, size_t *bytes);
/* KD_E_LIMIT if the test at the end will not fit: better said now. */
kd_status kdt_check_test(kdt_run *run);
/* KD_E_LIMIT, in the allocator's words. */
kd_status kdt_refuse(kd_ctx *ctx, size_t held, size_t more, const char *hint);
/* Is it the limit that a call met? KD_E_LIMIT is of other things, too. */
bool kdt_lacks_memory(const kd_ctx *ctx, kd_status status);
/* A run that met the limit before its step was planned, and is closed again: KD_E_LIMIT with what all
 * of it needs at least. held: bytes in use when it began. */
kd_status kdt_explain_limit(kdt_run *run, size_t held);
/* The same of an evaluation of a network and its teacher, NULL where there is none to plan; and of a
 * feed without students. */
kd_status kdt_explain_evaluation(kd_ctx *ctx, kd_model *const both[2], size_t samples, size_t batch,
                                 size_t held);
kd_status kdt_explain_feed(kdt_run *run, size_t held);
/* evaluate.c: bytes that an evaluation takes, at most, if pictures are in memory; batch 0: the
 * default. */
kd_status kdt_evaluate_bytes(kd_model *model, size_t samples, size_t batch, size_t *bytes);

/* ---- the feed -------------------------------------------------------------------------------- */

/* feed.c */
bool kdt_same_view(const kd_view *a, const kd_view *b);
/* The runs' options say which pictures and how many: they are the same in all of them. Each
 * run's view is set. kdt_teachers_check comes before. */
kd_status kdt_feed_open(kdt_feed *feed, kdt_run *const *runs, size_t n);
/* Teachers that a whole cache made needless are planned after all, and this batch is taken again. */
kd_status kdt_feed_wake(kdt_feed *feed);
void kdt_feed_close(kdt_feed *feed);
/* That batch of that epoch, of which at most so many pictures are used, and the teachers' logits of
 * them. */
kd_status kdt_feed_take(kdt_feed *feed, size_t epoch, size_t batch, size_t most);

/* cache.c */
/* The cache in a folder, if there is one (c->key). The name must live on. */
kd_status kdt_cache_find(kd_ctx *ctx, const char *folder, kdt_cache *c);
/* The same, were `text` its cache.json; NULL: there is none. */
kd_status kdt_cache_lend(kd_ctx *ctx, const char *folder, const char *text, size_t size,
                         kdt_cache *c);
/* The feed's loader and teachers' names are known: is it the cache of these logits? Where there is
 * none it begins. */
kd_status kdt_cache_open(kdt_feed *feed, const kd_train_opt *t, const kd_distill_opt *o);
void kdt_cache_close(kdt_cache *c);
/* cache_mend.c */
/* Is this the failure of an epoch's file that the teachers can compute anew? */
bool kdt_cache_damaged(const kdt_feed *feed, kd_status status);
/* Set the file of that number aside; c->now is the new one, with the rows that were whole. */
kd_status kdt_cache_mend(kdt_cache *c, size_t number);
/* The first of the run's epochs that is missing, a damaged one mended first; at least `epochs` or the
 * cycle: none. */
kd_status kdt_cache_covers(kdt_feed *feed, size_t epochs, size_t *missing);
/* Can the teachers make all that a row holds? A mute one's logits are not looked at. */
kd_status kdt_cache_can_fill(const kdt_feed *feed);
/* The teachers' logits and taps of this batch, from the cache or from the teachers. */
kd_status kdt_cache_logits(kdt_feed *feed);

/* The number of the row of picture i of this batch. */
size_t kdt_cache_row(const kdt_feed *feed, size_t i);
/* Where the numbers of a row are in memory; a feature that no run reads is NULL. */
typedef struct kdt_row {
    float *logits[KD_MAX_TEACHERS], *features[KDT_FEATURES];
    const float *in[KD_MAX_TEACHERS], *features_in[KDT_FEATURES]; /* the same, to be read */
} kdt_row;
void kdt_cache_row_of(const kdt_feed *feed, size_t i, kdt_row *row);
bool kdt_cache_decode(const kdt_feed *feed, const unsigned char *bytes, kdt_row *row);

/* cache_key.c */
kd_status kdt_key_print(const kdt_feed *feed, const kd_train_opt *t, kd_json *j);
kd_status kdt_key_read(kd_ctx *ctx, const char *path, const kd_json_object *key, kdt_key_facts *f);
/* Who teacher t is, by the key. Strings live as long as the key does. */
void kdt_key_teacher(const kd_json_object *key, size_t t, uint64_t key_hash, kdt_teacher *teacher);
/* KD_E_MISMATCH, naming what differs. teachers: are they compared, too? */
kd_status kdt_key_compare(const kdt_feed *feed, const char *path, const kd_json_object *was,
                          const kd_json_object *now, bool any_augmentation, bool teachers);

/* teacher.c */
/* Who the teachers are: their sums and normalisations, unless they are known. */
kd_status kdt_teachers_identify(kdt_feed *feed);
/* Take the run's teachers for the feed: are they teachers of this student? */
kd_status kdt_teachers_check(kdt_feed *feed, kdt_run *run);
/* Choose feed->teacher_batch; 0: there are no teachers, or nobody knows. */
kd_status kdt_teachers_batch(kdt_feed *feed);
/* Plan them: from now on they can be asked. */
kd_status kdt_teachers_open(kdt_feed *feed);
void kdt_teachers_close(kdt_feed *feed);
kd_status kdt_teachers_run(kdt_feed *feed);
/* Bytes that these teachers' plans and executors take, for batches of so many pictures, within a
 * limit. */
kd_status kdt_teachers_bytes(kd_model *const *models, size_t n, size_t batch, size_t limit,
                             size_t *bytes);
/* Rows of this batch's logits, from picture `first` on. */
float *kdt_teacher_logits(const kdt_feed *feed, size_t teacher, size_t first);
/* The class of picture i by the teachers' weighted mean of probabilities. */
size_t kdt_teachers_class(const kdt_feed *feed, size_t i);

/* ---- the run --------------------------------------------------------------------------------- */

/* run_setup.c */
/* The run's options against its data and teachers, before anything is opened. */
kd_status kdt_run_check(kdt_run *run);
/* What it consists of, but for its plan; the feed is open. */
kd_status kdt_run_open(kdt_run *run);
/* The plan of its step. held: bytes that the context held before the feed was open; others: bytes
 * that other runs take afterwards. */
kd_status kdt_run_plan(kdt_run *run, size_t held, size_t others);
/* Executors for all runs, in one arena. */
kd_status kdt_runs_execute(kdt_feed *feed, kdt_run *const *runs, size_t n);
void kdt_run_close(kdt_run *run);

/* groups.c */
/* Names of what is frozen, as kd_name_matches takes them; "": nothing. */
kd_status kdt_frozen_names(const kd_model *model, const kd_train_opt *t, char *out, size_t size);
/* KD_E_INVALID: what freeze, head_lr or group_lr name is not there, or would leave nothing. */
kd_status kdt_groups_check(kd_model *model, const kd_train_opt *t);
/* Of what is frozen no backward writes a gradient: it is zero from here on. */
void kdt_clear_gradients(kd_params *params, const kd_train_opt *t);
/* What is frozen is the same in an average, which rounding would move. */
void kdt_keep_frozen(kd_model *model, const kd_train_opt *t, kd_params *average);
/* The optimiser these options (resolved) ask for. */
kd_status kdt_optim_create(kd_model *model, const kd_train_opt *t, kd_optim **optim);
/* The same for parameters of a loss. */
kd_status kdt_extra_optim_create(kd_params *params, const kd_train_opt *t, kd_optim **optim);

/* batch_gradient.c: forward and backward of the first feed->taken pictures of the feed's batch, as
 * run->how says, micro-batch by micro-batch; what was measured is added to *sums. */
kd_status kdt_batch_gradient(kdt_run *run, kdt_sums *sums);

/* optimizer_step.c: one optimiser step over up to `accumulate` batches of this epoch. */
kd_status kdt_step_begin(kdt_run *run);
/* Forward and backward of the feed's batch; share: of the feed's seconds, those that count as the
 * run's. */
kd_status kdt_step_batch(kdt_run *run, double share);
/* The update, or what is done about numbers that are not finite. */
kd_status kdt_step_end(kdt_run *run);
/* Undo a step that was cut off. */
void kdt_step_abandon(kdt_run *run);
/* Pictures that a budget of seconds leaves time for; SIZE_MAX: as many as you like. */
size_t kdt_step_left(const kdt_run *run);
/* How far the run is, 0..1; and whether it is over. */
double kdt_fraction(const kdt_run *run);
bool kdt_finished(const kdt_run *run);

/* run_loop.c: steps and epochs until all runs are over, or one is stopped. What ends a run alone is
 * in its status; a failure of the feed is returned. */
kd_status kdt_runs_loop(kdt_feed *feed, kdt_run *const *runs, size_t n);

/* best_epoch.c: KD_KEEP_BEST. */
/* After an evaluation of the development split: is this the best network so far? Then keep it. */
kd_status kdt_best_note(kdt_run *run);
/* Read the best network so far back, after a resume. */
kd_status kdt_best_resume(kdt_run *run);
/* The network that is kept takes the model's place; the last one goes to a file of its own. */
kd_status kdt_best_adopt(kdt_run *run);

/* run_description.c: what must be the same for a resume. */
kd_status kdt_describe(kdt_run *run);
/* A sum of the normalisation in which a network sees this data; of the classes' names: false where
 * there are none. */
void kdt_normalization_hash(const kd_model *m, const kd_data_info *info, char out[17]);
bool kdt_class_names_hash(const kd_data_info *info, char out[17]);
/* A value of a JSON object as text; "null" where there is none. */
void kdt_json_value(const kd_json_object *o, const char *key, char out[120]);
/* Is it the same in both, the whole text and every digit? If not, was and now say so: of long texts
 * what is around the first difference. */
bool kdt_json_same(const kd_json_object *a, const kd_json_object *b, const char *key, char was[120],
                   char now[120]);
/* What differs, joined by "; ". What has no place is counted: "; and 3 more". */
typedef struct kdt_list {
    char text[800];
    size_t more;
} kdt_list;
void kdt_list_add(kdt_list *list, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The whole text, "" where there is nothing; nothing is added afterwards. */
const char *kdt_list_text(kdt_list *list);
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

/* run_folder.c: the output folder, made if need be, and ours alone until it is closed. A run that is
 * there already is KD_E_EXISTS, unless this one resumes or overwrites it. */
kd_status kdt_run_folder_open(kdt_run *run);
void kdt_run_folder_close(kdt_run *run);
/* Remove the network of an earlier run and its record; of this run, before it goes on (begun), the
 * network alone. */
kd_status kdt_run_folder_clear(kdt_run *run, bool begun);

/* metrics.c: a line for this epoch, or for this step. */
kd_status kdt_metrics_append(kdt_run *run, bool epoch_end);
/* Keep the lines of the first `epochs` epochs and `steps` steps, one for each, and drop all else: in
 * the run's file, or in a text. */
kd_status kdt_metrics_trim(kdt_run *run, size_t epochs, size_t steps);
kd_status kdt_metrics_filter(kd_ctx *ctx, char *text, size_t *size, size_t epochs, size_t steps);

/* nonfinite.c */
/* Copy the running statistics, which a step may spoil; and back. */
kd_status kdt_keep_buffers(kdt_run *run);
void kdt_restore_buffers(kdt_run *run);
/* A step's loss or gradient (`what`) is not finite: undo the step and name the first array that is
 * not finite. Then stop with KD_E_NONFINITE, or log that the step is skipped. The step's batches are
 * [first, first + n) of this epoch; the feed goes on after them. */
kd_status kdt_nonfinite(kdt_run *run, const char *what, size_t first, size_t n);

#endif
