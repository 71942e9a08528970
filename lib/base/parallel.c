/* SPDX-License-Identifier: MIT
 * parallel.c: the parallel-for: the caller's, else by the context's threads (threads.c). Each worker
 * begins with a range of its own, the same in every loop of as many indices: what it wrote in one
 * is in its cache in the next. One that is done takes what others have left, so an uneven machine
 * stays busy; nothing that is computed may depend on who took what. */
#include "ctx.h"

#include "processors.h"
#include "threads.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#ifndef KDI_THREADS
#define KDI_THREADS 1
#endif

enum { MOST = KD_MAX_THREADS };

/* OpenMP's number where the program or the environment has chosen one; else the processors, within
 * the quota. */
static int default_width(void)
{
#ifdef _OPENMP
    const int processors = omp_get_num_procs(), chosen = omp_get_max_threads();
    if (chosen != processors) return chosen;
#else
    const int processors = kdi_processors();
#endif
    const int quota = kdi_processors_quota("");
    return quota < processors ? quota : processors;
}

int kdi_parallel_width(const kd_config *config)
{
    int width = config->threads;
    if (config->parallel) return width > 0 ? width : 1;
    if (!KDI_THREADS) return 1;
    if (width <= 0) width = default_width();
    return width < MOST ? width : MOST;
}

/* What is left of a worker's own indices: [first, end) in one word. It takes them from the front;
 * one that has none left takes from the others' back. */
typedef struct share {
    _Alignas(64) atomic_uint_fast64_t range;
} share;

typedef struct loop {
    kd_task_fn fn;
    void *arg;
    size_t base; /* added to the indices of the shares */
    int width;
    share shares[MOST];
} loop;

static bool take(share *s, bool own, size_t *index)
{
    uint64_t now = atomic_load_explicit(&s->range, memory_order_relaxed);
    for (;;) {
        const uint32_t first = (uint32_t)(now >> 32), end = (uint32_t)now;
        if (first == end) return false;
        *index = own ? first : end - 1;
        const uint64_t left = own ? now + ((uint64_t)1 << 32) : now - 1;
        if (atomic_compare_exchange_weak_explicit(&s->range, &now, left, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    }
}

static void work(void *arg, int worker)
{
    loop *l = arg;
    size_t i;
    for (int w = 0; w < l->width; w++)
        while (take(&l->shares[(worker + w) % l->width], w == 0, &i))
            l->fn(l->arg, l->base + i, worker);
}

/* Is this a task of a parallel region of the program's own, where OpenMP would give no more threads?
 * The region's tasks then are all there is to do at once. */
static bool enclosed(void)
{
#ifdef _OPENMP
    return omp_get_active_level() >= omp_get_max_active_levels();
#else
    return false;
#endif
}

kd_status kdi_ctx_start_threads(kd_ctx *ctx)
{
    if (ctx->threads || ctx->config.parallel || ctx->width <= 1 || enclosed()) return KD_OK;
    /* Two executors of one context may come here at once: one makes them, the other goes without
     * this time. */
    if (atomic_exchange(&ctx->starting, true)) return KD_E_SYSTEM;
    if (!ctx->threads) ctx->threads = kdi_threads_create(ctx, ctx->width);
    atomic_store(&ctx->starting, false);
    return ctx->threads ? KD_OK : KD_E_NOMEM;
}

static void run(kd_ctx *ctx, loop *l)
{
    if (ctx->config.parallel) {
        ctx->config.parallel(ctx->config.parallel_user, l->width, work, l);
        return;
    }
    /* Without threads, or while another thread of the program runs a loop of this context, the
     * caller does all. */
    if (enclosed() || kdi_ctx_start_threads(ctx) ||
        !kdi_threads_run(ctx->threads, l->width, work, l))
        work(l, 0);
}

void kd_parallel_for(kd_ctx *ctx, size_t count, kd_task_fn fn, void *arg)
{
    if (!ctx || !fn) return;
    if (count <= 1 || ctx->width <= 1) {
        for (size_t i = 0; i < count; i++) fn(arg, i, 0);
        return;
    }
    const size_t workers = ctx->width < MOST ? (size_t)ctx->width : MOST;
    loop l;
    l.fn = fn;
    l.arg = arg;
    for (l.base = 0; count > 0;) {
        const size_t most = count < INT32_MAX ? count : INT32_MAX;
        l.width = (int)(most < workers ? most : workers);
        for (size_t w = 0, width = (size_t)l.width; w < width; w++)
            atomic_init(&l.shares[w].range,
                        (uint64_t)(most * w / width) << 32 | most * (w + 1) / width);
        run(ctx, &l);
        l.base += most;
        count -= most;
    }
}
