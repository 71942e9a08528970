/* SPDX-License-Identifier: MIT
 * parallel.c: the parallel-for. Workers take indices from one counter, so an uneven machine stays
 * busy; nothing that is computed may depend on who took what. */
#include "ctx.h"

#include <sched.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#ifdef _OPENMP
static void openmp_run(int width, kd_worker_fn fn, void *arg)
{
#pragma omp parallel for num_threads(width) schedule(static, 1)
    for (int w = 0; w < width; w++) fn(arg, w);
}
#endif

int kdi_parallel_width(const kd_config *config)
{
    int width = config->threads;
    if (config->parallel) return width > 0 ? width : 1;
#ifdef _OPENMP
    if (width <= 0) width = omp_get_num_procs();
    return width < 256 ? width : 256;
#else
    return 1;
#endif
}

typedef struct loop {
    atomic_size_t next;
    size_t count;
    kd_task_fn fn;
    void *arg;
} loop;

static void work(void *arg, int worker)
{
    loop *l = arg;
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);
        if (i >= l->count) return;
        l->fn(l->arg, i, worker);
    }
}

void kd_parallel_for(kd_ctx *ctx, size_t count, kd_task_fn fn, void *arg)
{
    const int width = count < (size_t)ctx->width ? (int)count : ctx->width;
    if (width <= 1) {
        for (size_t i = 0; i < count; i++) fn(arg, i, 0);
        return;
    }
    loop l = {.count = count, .fn = fn, .arg = arg};
    atomic_init(&l.next, 0);
    if (ctx->config.parallel) {
        ctx->config.parallel(ctx->config.parallel_user, width, work, &l);
        return;
    }
#ifdef _OPENMP
    openmp_run(width, work, &l);
#else
    work(&l, 0);
#endif
}

double kdi_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
