/* SPDX-License-Identifier: MIT
 * experiments.h: what the files of the experiments share. Three programs ask a question of the
 * study each (arXiv 2407.12808): cnn_to_cnn.c, vit_to_cnn.c, vit_to_vit.c. Two tables say
 * what they train (settings.c). A run has a folder of its own below OUT. It is done once, even if
 * several programs need it, and can be stopped at any moment. */
#ifndef EXPERIMENTS_H
#define EXPERIMENTS_H

#include <kd/kd.h>

#include <stdbool.h>
#include <stdio.h>

/* How a part of the work, and the program, ends. */
enum { EX_DONE = 0, EX_FAILED = 1, EX_USAGE = 2, EX_TIME_UP = 3, EX_INTERRUPTED = 130 };

/* ---- what is run (settings.c) ---------------------------------------------------------------- */

typedef enum ex_network {
    CNN_TEACHER,
    CNN_STUDENT,
    VIT_TEACHER,
    VIT_STUDENT,
    EX_NETWORKS
} ex_network;

typedef enum ex_recipe_id {
    TRAIN_CNN_TEACHER,
    TRAIN_VIT_TEACHER,
    TRAIN_CNN,
    TRAIN_CNN_LONGER, /* as long as distilling takes by the clock */
    TRAIN_VIT,
    TUNE_CNN, /* a few epochs at a small rate, from weights there are */
    TUNE_VIT,
    RETRAIN_CNN, /* as many with the recipe of training from scratch */
    RETRAIN_VIT,
    EX_RECIPES
} ex_recipe_id;

typedef struct ex_recipe {
    size_t epochs;
    kd_optimizer optimizer; /* SGD: with Nesterov's momentum .9; AdamW: .9 and .999 */
    float lr, weight_decay;
    kd_schedule schedule;
    float warmup; /* epochs */
} ex_recipe;

/* How large networks are and how long they train: --scale. */
typedef struct ex_scale {
    const char *name, *data, *augment;
    size_t batch, seeds;           /* seeds 1..seeds of every student; teachers have one, 0 */
    float temperature, hard, soft; /* of every distillation */
    int cost_rounds, cost_steps;   /* timed steps: rounds of so many for each pairing */
    double cost_seconds;           /* of forward passes a round, for each network and batch */
    const char *networks[EX_NETWORKS];
    ex_recipe recipes[EX_RECIPES];
} ex_scale;

/* A kind of run: the same at every scale and for every seed. */
typedef struct ex_kind {
    const char *name; /* its folder, with "-seedN" behind it unless it is run once */
    const char *title;
    ex_network network;
    ex_recipe_id recipe;
    const char *teacher; /* name of the kind that teaches; NULL: labels alone */
    const char *start;   /* name of the kind whose weights, of the same seed, it starts from */
    bool once;
    bool half; /* kept in float16, to be committed: its students can be trained anywhere */
} ex_kind;

/* A student and its teacher: the cost of a step depends on these alone. */
typedef struct ex_pairing {
    const char *name; /* "vgg13_bn > vgg8_bn" */
    ex_network student;
    int teacher; /* an ex_network, or -1 */
} ex_pairing;

extern const ex_scale ex_scales[];     /* ends with a NULL name */
extern const ex_kind ex_kinds[];       /* ends with a NULL name */
extern const ex_pairing ex_pairings[]; /* ends with a NULL name */
extern const char *const ex_network_names[EX_NETWORKS];
const ex_kind *ex_kind_named(const char *name); /* NULL: there is none */
const ex_pairing *ex_pairing_of(const ex_kind *kind);

/* ---- a program ------------------------------------------------------------------------------- */

/* One kind against another, seed by seed. */
typedef struct ex_comparison {
    const char *words; /* "distilled against alone, the same steps" */
    const char *kind, *control;
} ex_comparison;

enum { EX_MAX_KINDS = 16, EX_MAX_COMPARISONS = 12 };

typedef struct ex_experiment {
    const char *name;                /* "cnn-to-cnn" */
    const char *title, *question;    /* for the report */
    const char *kinds[EX_MAX_KINDS]; /* names, the most needed first; NULL behind the last */
    ex_comparison comparisons[EX_MAX_COMPARISONS];
} ex_experiment;

typedef struct ex_options {
    const ex_scale *scale;
    const char *out, *data, *data_dir, *only, *half;
    bool dry_run, costs, report;
    double max_hours; /* 0: no limit */
    int threads;
    size_t seeds;
} ex_options;

/* What is open while the program works. Each run opens a context of its own, whose peak of memory
 * is then the run's. */
typedef struct ex_work {
    const ex_experiment *experiment;
    ex_options opt;
    double started;
    kd_ctx *ctx;
    kd_dataset *data;
    char data_name[160], data_sum[24]; /* of the data set, once it was open */
    size_t number, count;              /* of the run under way, of those to do */
} ex_work;

/* A program is this call. */
int ex_main(const ex_experiment *experiment, int argc, char **argv);
/* Has a signal come, or is the time up? */
bool ex_must_stop(const ex_work *w);
/* EX_INTERRUPTED or EX_TIME_UP. */
int ex_why_stopped(const ex_work *w);

/* ---- small things (support.c) ---------------------------------------------------------------- */

typedef struct ex_path {
    char text[4096];
} ex_path;
/* "OUT/name" or "OUT/name/more". */
ex_path ex_in(const ex_work *w, const char *name, const char *more);

/* Prints a line on standard error and returns EX_FAILED. */
int ex_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int ex_fail_ctx(const ex_work *w);
void ex_duration(double seconds, char out[32]); /* "1 h 02 min" */
void ex_signals(void);                          /* from here on SIGINT and SIGTERM are noted */
bool ex_signalled(void);

/* A context, or one with the data set; and back. */
int ex_open_ctx(ex_work *w);
int ex_open(ex_work *w);
void ex_close(ex_work *w);
/* A network of the scale, complete for the data set that is open. */
int ex_spec(const ex_work *w, ex_network network, char out[KD_SPEC_SIZE]);
/* A JSON object from a file; NULL, without a word, if there is none. */
kd_json_object *ex_read_json(kd_ctx *ctx, const char *path);
/* Write what json holds, with a newline at its end, and destroy it. */
int ex_write_json(const ex_work *w, const char *path, kd_json *json);

/* ---- runs (runs.c) --------------------------------------------------------------------------- */

typedef struct ex_run {
    const ex_kind *kind;
    uint64_t seed; /* which of the seeds; 0 for what is run once */
    char name[96];
} ex_run;

enum { EX_MAX_RUNS = 128 };

ex_run ex_run_of(const ex_kind *kind, uint64_t seed);
/* The program's runs in their order, those chosen by --only and those they need. */
size_t ex_list(const ex_work *w, ex_run runs[EX_MAX_RUNS]);
/* The run's options, complete; teacher and folder are left to the caller. */
void ex_options_of(const ex_work *w, const ex_run *run, kd_distill_opt *opt, kd_train_opt *train);
/* By the records, not by the models' files: is the run done with these settings, and all that it
 * needs? */
bool ex_is_recorded(const ex_work *w, const ex_run *run);
bool ex_has_model(const ex_work *w, const ex_run *run);
/* Which of the runs have nothing left to do: a record, and a model if a run that is not done needs
 * it. */
int ex_find_done(ex_work *w, const ex_run *runs, size_t n, bool *done);
/* Do it, or go on with it. The data set must be open. */
int ex_carry_out(ex_work *w, const ex_run *run);

/* ---- run.json (run_json.c) ------------------------------------------------------------------- */

enum { EX_SETTINGS_SIZE = 1536 };

/* What the programs read back. */
typedef struct ex_record {
    bool there, done;
    char settings[EX_SETTINGS_SIZE];           /* "" in a file that kd wrote */
    char started[32], ended[32], begun_by[40]; /* begun_by: "kd train", or "" */
    char weights[24];                          /* a sum over them */
    char spec[KD_SPEC_SIZE], cpu[200], data_name[160], data_sum[24];
    double top1, top5, loss, train_top1, seconds, agreement; /* agreement NAN: no teacher */
    int64_t steps, epochs, params, macs, peak_bytes, test_pictures;
} ex_record;

void ex_record_read(kd_ctx *ctx, const ex_work *w, const ex_run *run, ex_record *record);

/* What there is to write. */
typedef struct ex_story {
    const ex_run *run;
    const kd_distill_opt *opt; /* complete */
    kd_model *model, *teacher; /* teacher may be NULL */
    const char *settings, *started, *begun_by;
    const char *ended;          /* NULL: now */
    const char *status, *error; /* "running", "done", "interrupted", "failed" */
    const kd_result *result;    /* NULL: not yet */
    const kd_eval_result *test; /* NULL: not yet */
} ex_story;

int ex_record_write(const ex_work *w, const ex_story *story);
/* A sum over values and buffers, the same on every machine. */
void ex_weights_sum(kd_model *model, char out[24]);
/* Which test pictures the finished network has right (answers.c): right [n], in their order, '1' or
 * '0', '-' for one that was not read. read: NULL if there is no such file, or it is another
 * network's than the record's; kd_ctx_free it. */
int ex_answers_write(const ex_work *w, const ex_run *run, const char *weights, const char *right,
                     size_t n);
char *ex_answers_read(const ex_work *w, const ex_run *run, const ex_record *record, size_t *n);
/* All that must be the same for a finished run to count as this one, as one line. teacher and
 * start: records of those runs, or NULL. */
void ex_settings(const ex_work *w, const ex_run *run, const ex_record *teacher,
                 const ex_record *start, char out[EX_SETTINGS_SIZE]);

/* ---- costs (costs.c) and reports ------------------------------------------------------------- */

enum { EX_PARTS = 7, EX_MAX_STEPS = 1000 };  /* the parts of a step, and the whole of it, last */
extern const char *const ex_parts[EX_PARTS]; /* as in kd_times; "step" */

/* Training steps of a pairing, done with fresh networks and thrown away. */
typedef struct ex_trial {
    double seconds[EX_MAX_STEPS][EX_PARTS];
    size_t steps; /* of these; a first one, which warms up, is left out */
    size_t steps_per_epoch;
    size_t peak_bytes, data_bytes; /* the most the context held, and what the data set has of it */
} ex_trial;
/* Add so many steps to a trial; fewer once `most` seconds have passed. */
int ex_try(ex_work *w, const ex_pairing *pairing, size_t steps, double most, ex_trial *trial);

/* What the runs would take (--dry-run), as a table on standard output. */
int ex_dry_run(ex_work *w);
/* The timing pass: OUT/costs.json. */
int ex_costs(ex_work *w);
/* OUT/RUN/half.safetensors of the run --half names (half.c). */
int ex_half(ex_work *w);
/* OUT/NAME.md of this program, its pictures, and OUT/results.md of all programs' parts. */
int ex_report(ex_work *w);

#endif
