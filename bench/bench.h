/* SPDX-License-Identifier: MIT
 * bench.h: what the benchmarks share. */
#ifndef KDB_BENCH_H
#define KDB_BENCH_H

#include "../examples/common/statistics.h"

#include <kd/kd.h>

#include <stdbool.h>

/* Print what went wrong and leave with status 1: a benchmark has nobody to return to. */
void kdb_die(kd_ctx *ctx, const char *what);

/* FLOP/s of fused multiply-adds on registers, on that many threads at once. */
double kdb_peak(kd_ctx *ctx);
/* The same right now, of one thread and of all, once they are awake: some 30 ms. */
typedef struct kdb_rates {
    double one, all;
} kdb_rates;
kdb_rates kdb_rates_now(kd_ctx *ctx);

int kdb_kernels(int threads);
int kdb_steps(int threads, char *const *names, int count); /* count 0: all works */
int kdb_memory(int threads);
/* Serve one work to the peers' script over stdin and stdout. */
int kdb_serve(const char *name, int threads);
/* Serve batches of framed pictures: crops.c. */
int kdb_crops(const char *folder, const char *augment, size_t side, int threads);

/* A whole step that can be repeated: inference, training, or distillation on a fixed batch. */
typedef struct kdb_work kdb_work;
typedef struct kdb_work_info {
    const char *name, *student, *teacher; /* specs; teacher NULL: none */
    size_t batch;
    bool training;
    size_t piece; /* pictures that train at a time: a micro-batch; 0: all */
} kdb_work_info;
const kdb_work_info *kdb_work_at(size_t i);
const kdb_work_info *kdb_work_find(const char *name);
/* The graph of inference, or of a step without a teacher. */
kd_graph *kdb_graph(kd_ctx *ctx, const kd_model *m, bool training);
kdb_work *kdb_work_open(kd_ctx *ctx, const kdb_work_info *info);
void kdb_work_close(kdb_work *w);
/* Seconds of one step. */
double kdb_work_step(kdb_work *w);
/* Seconds so far by part: teacher, forward, loss, backward, optimiser. */
void kdb_work_parts(const kdb_work *w, double parts[5]);
/* The student's and teacher's weights, the batch and what comes out of the first step, as
 * safetensors files in a folder: for checking that peers compute the same. */
void kdb_work_dump(kdb_work *w, const char *dir);

#endif
