/* SPDX-License-Identifier: MIT
 * large_batch.c: what a large batch costs, whole, in micro-batches, and with recomputation: the
 * most bytes that the context holds, and the seconds of a step (teacher, student, optimiser). */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 256 };
static const char student_spec[] = "vit_tiny_patch16_224,image=32,patch=4,classes=10";
static const char teacher_spec[] = "vit_small_patch16_224,image=32,patch=4,classes=10";

typedef struct step {
    kd_ctx *ctx;
    kd_model *student, *teacher;
    kd_plan *plan, *teacher_plan;
    kd_exec *exec, *teacher_exec;
    kd_optim *optim;
    float *pictures; /* [BATCH,32,32,3] */
    int32_t *labels;
} step;

static void open_step(step *s, size_t micro, int threads, size_t limit)
{
    const size_t picture = 32 * 32 * 3;
    const kd_config config = {
        .struct_size = sizeof config, .threads = threads, .max_memory = limit};
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .n_teachers = 1,
                                .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                         .batch = BATCH,
                                                         .micro_batch = micro}};
    const kd_optim_opt sgd = {.struct_size = sizeof sgd};
    if (kd_ctx_create(&config, &s->ctx)) exit(1);
    s->pictures = kd_ctx_alloc(s->ctx, BATCH * picture, sizeof *s->pictures);
    s->labels = kd_ctx_alloc(s->ctx, BATCH, sizeof *s->labels);
    if (!s->pictures || !s->labels || kd_model_create(s->ctx, student_spec, 1, &s->student) ||
        kd_model_create(s->ctx, teacher_spec, 2, &s->teacher))
        kdb_die(s->ctx, "memory");
    const size_t pieces = micro == KD_MICRO_AUTO || micro == 0 ? BATCH : micro;
    if (kd_model_plan(s->teacher, pieces, &s->teacher_plan, &s->teacher_exec) ||
        kd_train_plan(s->student, &opt, &s->plan) ||
        kd_exec_create(s->plan, kd_model_params(s->student), NULL, &s->exec) ||
        kd_optim_create(kd_model_params(s->student), &sgd, &s->optim) ||
        kd_exec_bind(s->exec, "teacher0", kd_exec_output(s->teacher_exec, "logits")))
        kdb_die(s->ctx, "memory");
    for (size_t i = 0; i < BATCH * picture; i++) s->pictures[i] = (float)(i % 255) / 127 - 1;
}

static void close_step(step *s)
{
    kd_optim_destroy(s->optim);
    kd_exec_destroy(s->exec);
    kd_plan_destroy(s->plan);
    kd_exec_destroy(s->teacher_exec);
    kd_plan_destroy(s->teacher_plan);
    kd_model_destroy(s->student);
    kd_model_destroy(s->teacher);
    kd_ctx_free(s->ctx, s->pictures);
    kd_ctx_free(s->ctx, s->labels);
    kd_ctx_destroy(s->ctx);
}

static double run_step(step *s)
{
    const double start = kd_seconds();
    const size_t n = kd_plan_batch(s->plan);
    for (size_t at = 0; at < BATCH; at += n) {
        const kd_run_opt run = {.struct_size = sizeof run,
                                .batch = BATCH - at < n ? BATCH - at : n,
                                .first = at,
                                .weight = (float)(BATCH - at < n ? BATCH - at : n) / BATCH,
                                .accumulate = at > 0};
        const float *x = s->pictures + at * 32 * 32 * 3;
        if (kd_exec_bind(s->teacher_exec, "input", x) || kd_exec_run(s->teacher_exec, &run) ||
            kd_exec_bind(s->exec, "input", x) || kd_exec_bind(s->exec, "labels", s->labels + at) ||
            kd_exec_run(s->exec, &run))
            kdb_die(s->ctx, "memory");
    }
    kd_optim_step(s->optim, 1e-3f, 1);
    return kd_seconds() - start;
}

/* One step; the bytes of the context. */
static size_t row(const char *how, size_t micro, int threads, size_t limit, size_t whole)
{
    step s;
    open_step(&s, micro, threads, limit);
    const double seconds = run_step(&s);
    const size_t peak = kd_ctx_memory_peak(s.ctx);
    printf("%-26s%10zu%14.1f%14.1f%10.3f%10.0f%%%10.2f\n", how, kd_plan_batch(s.plan),
           (double)kd_plan_arena_size(s.plan) / 0x1p20, (double)peak / 0x1p20,
           whole ? (double)peak / (double)whole : 1,
           100 * (double)kd_plan_macs_recomputed(s.plan) / (double)kd_plan_macs(s.plan), seconds);
    close_step(&s);
    return peak;
}

int kdb_memory(int threads)
{
    printf("\nKD step vit_small -> vit_tiny, image 32, patch 4, batch %d, %d threads\n"
           "%-26s%10s%14s%14s%10s%11s%10s\n",
           BATCH, threads, "", "pieces of", "arena MiB", "in all MiB", "of whole", "recomputed", "s");
    const size_t whole = row("whole", 0, threads, 0, 0);
    row("whole, half the memory", 0, threads, whole / 2, whole);
    row("whole, a third", 0, threads, whole / 3, whole);
    row("micro-batch 32", 32, threads, 0, whole);
    row("micro-batch 8", 8, threads, 0, whole);
    return 0;
}
