/* SPDX-License-Identifier: MIT
 * threads.c: the threads that serve a team (team.c): a context's, or a loader's. OpenMP gives them,
 * or, in a build without it, the system.
 *
 * With OpenMP a thread of ours opens one parallel region, whose other threads serve until the end,
 * and sleeps; the callers of loops stand in its place. No call of the library begins or ends a
 * region. Three things come of that:
 * - No call waits until each thread of a region has run (docs/design.md has figures).
 * - The caller's own regions and OpenMP's settings are left alone.
 * - A child made by fork can start new threads. GNU's OpenMP would wait there for ever, for the
 *   threads that stayed in the parent.
 *
 * After fork the child has no such threads: its loops find nobody to join and are done by the
 * caller. */
#include "threads.h"

#include "ctx.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

struct kdi_threads {
    kdi_team team;
    int width, count; /* of the loops, of members */
    size_t size;      /* of this block */
    struct member {
        kdi_threads *threads;
        pthread_t thread;
        int worker;
    } members[]; /* [width - 1], or with OpenMP the thread that opens the region */
};

#ifdef _OPENMP

enum { OPENMP = 1 };

static void *serve(void *arg)
{
    kdi_threads *t = ((const struct member *)arg)->threads;
#pragma omp parallel num_threads(t->width)
    {
        const int worker = omp_get_thread_num();
        if (worker > 0)
            kdi_team_serve(&t->team, worker);
        else
            kdi_team_sleep(&t->team);
    }
    return NULL;
}

#else

enum { OPENMP = 0 };

static void *serve(void *arg)
{
    const struct member *me = arg;
    kdi_team_serve(&me->threads->team, me->worker);
    return NULL;
}

#endif

kdi_threads *kdi_threads_create(kd_ctx *ctx, int width)
{
    /* Part of the context, like the context itself not counted as memory it holds. */
    const int most = OPENMP ? 1 : width - 1;
    const size_t size = sizeof(kdi_threads) + (size_t)most * sizeof(struct member);
    kdi_threads *t = ctx->config.alloc(ctx->config.alloc_user, NULL, 0, size, 64);
    sigset_t all, before;
    if (!t) return NULL;
    memset(t, 0, size);
    t->size = size;
    t->width = width;
    kdi_team_init(&t->team);
    /* The program's signal handlers run on the program's threads; OpenMP's inherit the mask. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < most; i++) {
        struct member *m = &t->members[t->count];
        *m = (struct member){.threads = t, .worker = t->count + 1};
        if (pthread_create(&m->thread, NULL, serve, m)) break;
        t->count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return t;
}

void kdi_threads_destroy(kd_ctx *ctx, kdi_threads *t)
{
    if (!t) return;
    if (t->team.process == getpid()) {
        kdi_team_dismiss(&t->team);
        for (int i = 0; i < t->count; i++) pthread_join(t->members[i].thread, NULL);
        kdi_team_clear(&t->team);
    }
    ctx->config.alloc(ctx->config.alloc_user, t, t->size, 0, 64);
}

bool kdi_threads_run(kdi_threads *t, int width, kd_worker_fn fn, void *arg)
{
    return kdi_team_run(&t->team, width, fn, arg);
}
