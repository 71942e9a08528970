/* SPDX-License-Identifier: MIT
 * parallel.c: the parallel-for: the caller's, OpenMP if built so, else threads.c. Workers take indices from one counter, so an uneven machine stays
 * busy; nothing that is computed may depend on who took what. */
#include "ctx.h"

#include "threads.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#ifndef KDI_THREADS
#define KDI_THREADS 1
#endif

enum { MOST = 256 };

#ifdef _OPENMP
static void openmp_run(int width, kd_worker_fn fn, void *arg)
{
#pragma omp parallel for num_threads(width) schedule(static, 1)
    for (int w = 0; w < width; w++) fn(arg, w);
}
#endif

/* Processors this process may run on. */
static int processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int kdi_parallel_width(const kd_config *config)
{
    int width = config->threads;
    if (config->parallel) return width > 0 ? width : 1;
    if (!KDI_THREADS) return 1;
    if (width <= 0) width = processors();
    return width < MOST ? width : MOST;
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

kd_status kdi_ctx_start_threads(kd_ctx *ctx)
{
#ifdef _OPENMP
    (void)ctx;
    return KD_OK;
#else
    if (ctx->threads || ctx->config.parallel || ctx->width <= 1) return KD_OK;
    /* Two executors of one context may come here at once: one makes them, the other goes without
     * this time. */
    if (atomic_exchange(&ctx->starting, true)) return KD_E_SYSTEM;
    if (!ctx->threads) ctx->threads = kdi_threads_create(ctx, ctx->width);
    atomic_store(&ctx->starting, false);
    return ctx->threads ? KD_OK : KD_E_NOMEM;
#endif
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
    /* Without threads, or while another thread of the program runs a loop of this context, the
     * caller does all. */
    if (kdi_ctx_start_threads(ctx) || !kdi_threads_run(ctx->threads, work, &l)) work(&l, 0);
#endif
}

double kdi_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
