/* SPDX-License-Identifier: MIT
 * demo.h: what the files of the demo share. The demo trains a teacher, then one student network
 * three times from the same start: distilled from the teacher, alone for as many steps, and alone
 * for as many seconds. It is written on the public headers alone. */
#ifndef DEMO_H
#define DEMO_H

#include "../common/statistics.h"

#include <kd/kd.h>

#include <stdbool.h>
#include <stdio.h>

/* In the order of the table; they are run in another one (demo.c). */
enum { TEACHER, SAME_STEPS, SAME_SECONDS, DISTILLED, RUNS };

/* What a network costs, whatever it has learnt. */
typedef struct demo_cost {
    size_t params;
    uint64_t macs;                      /* of one picture */
    double latency_median, latency_p95; /* batch 1, milliseconds */
    size_t latency_runs;
    size_t infer_bytes, train_bytes; /* arenas: batch 1; a training step, its teacher's included */
} demo_cost;

/* Accuracy on the training pictures of some steps, as they came by. */
typedef struct demo_point {
    double seconds, accuracy;
} demo_point;
enum { MAX_POINTS = 64 };

typedef struct demo_run {
    const char *key, *title; /* "distilled": its folder; "student distilled": its row */
    demo_point curve[MAX_POINTS];
    size_t n_points;
    kd_model *model;
    kd_result result;
    kd_eval_result test;
    uint8_t *right; /* [test pictures]: 1 where this network's answer is */
    demo_cost cost;
} demo_run;

typedef struct demo {
    kd_ctx *ctx;
    kd_dataset *data;
    const char *teacher, *student; /* specs, without what the data set says */
    const char *out;               /* folder */
    double seconds;                /* of training in all */
    size_t batch, dev_count;
    float teacher_lr, student_lr;
    float temperature, hard, soft;
    uint64_t seed;
    const char *augment;
    char cpu[200];
    demo_run runs[RUNS];
} demo;

/* Prints what went wrong and returns false, so that `return demo_fail(d)` reads well. */
bool demo_fail(const demo *d);
/* "OUT/name" or "OUT/name/more", cut at 4096 bytes. */
typedef struct demo_path {
    char text[4096];
} demo_path;
demo_path demo_in(const demo *d, const char *name, const char *more);
/* Samples the runs train on: the training split without the development part. */
size_t demo_samples(const demo *d);

/* cost.c */
bool demo_measure(demo *d, demo_run *run, kd_model *teacher);

/* results.c */
void demo_table(const demo *d);
bool demo_results(const demo *d, double seconds);
/* Of a run's accuracy, percent: Wilson's, from the number of test pictures. */
stats_interval demo_interval(const demo_run *run);

/* plots.c: writes demo.gp and runs gnuplot; a missing gnuplot is said, and is no failure. */
bool demo_picture(const demo *d);

#endif
