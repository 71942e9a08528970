/* SPDX-License-Identifier: MIT
 * threads.c: a team of threads for one context's parallel-for.
 *
 * The caller offers a job and works on it at once. A thread that sees the offer in time joins; one
 * that the system lets run only later finds the offer closed and goes back to waiting, so nobody
 * ever waits for a thread that has not begun. On a busy machine that is the difference to a
 * fork-join barrier, which waits for the last thread to show up (docs/design.md has figures).
 *
 * `offer` holds, in one word: the job's number, whether it is open, and how many are inside. After
 * fork the child has no such threads: its jobs find nobody to join and are done by the caller. */
#include "threads.h"

#include "ctx.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { SPINS = 2000, OPEN = 1 << 16, INSIDE = OPEN - 1 };
#define NEXT_JOB ((uint64_t)1 << 17)

struct kdi_threads {
    _Alignas(64) atomic_uint_fast64_t offer;
    _Alignas(64) atomic_int asleep;
    atomic_bool busy, stop;
    kd_worker_fn fn;
    void *arg;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pid_t owner; /* the process that has the threads */
    int count;
    size_t size; /* of this block */
    struct member {
        kdi_threads *team;
        pthread_t thread;
        int worker;
    } members[];
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Wait for a job other than `last`: awake for some microseconds, then asleep. */
static uint64_t wait_for_job(kdi_threads *t, uint64_t last)
{
    for (int i = 0; i < SPINS; i++) {
        const uint64_t now = atomic_load_explicit(&t->offer, memory_order_acquire);
        if (now / NEXT_JOB != last || atomic_load(&t->stop)) return now;
        pause_briefly();
    }
    pthread_mutex_lock(&t->mutex);
    atomic_fetch_add(&t->asleep, 1);
    uint64_t now = atomic_load(&t->offer);
    while (now / NEXT_JOB == last && !atomic_load(&t->stop)) {
        pthread_cond_wait(&t->wake, &t->mutex);
        now = atomic_load(&t->offer);
    }
    atomic_fetch_sub(&t->asleep, 1);
    pthread_mutex_unlock(&t->mutex);
    return now;
}

static void *serve(void *arg)
{
    const struct member *me = arg;
    kdi_threads *t = me->team;
    uint64_t last = 0;
    while (!atomic_load(&t->stop)) {
        uint64_t now = wait_for_job(t, last);
        last = now / NEXT_JOB;
        while (now & OPEN) {
            if (!atomic_compare_exchange_weak(&t->offer, &now, now + 1)) continue;
            t->fn(t->arg, me->worker);
            atomic_fetch_sub_explicit(&t->offer, 1, memory_order_release);
            break;
        }
    }
    return NULL;
}

kdi_threads *kdi_threads_create(kd_ctx *ctx, int width)
{
    /* Part of the context, like the context itself not counted as memory it holds. */
    const size_t size = sizeof(kdi_threads) + (size_t)(width - 1) * sizeof(struct member);
    kdi_threads *t = ctx->config.alloc(ctx->config.alloc_user, NULL, 0, size, 64);
    sigset_t all, before;
    if (!t) return NULL;
    memset(t, 0, size);
    t->size = size;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->wake, NULL);
    t->owner = getpid();
    /* The program's signal handlers run on the program's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < width - 1; i++) {
        struct member *m = &t->members[t->count];
        *m = (struct member){.team = t, .worker = t->count + 1};
        if (pthread_create(&m->thread, NULL, serve, m)) break;
        t->count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return t;
}

void kdi_threads_destroy(kd_ctx *ctx, kdi_threads *t)
{
    if (!t) return;
    if (t->owner == getpid()) {
        pthread_mutex_lock(&t->mutex);
        atomic_store(&t->stop, true);
        pthread_cond_broadcast(&t->wake);
        pthread_mutex_unlock(&t->mutex);
        for (int i = 0; i < t->count; i++) pthread_join(t->members[i].thread, NULL);
        pthread_mutex_destroy(&t->mutex);
        pthread_cond_destroy(&t->wake);
    }
    ctx->config.alloc(ctx->config.alloc_user, t, t->size, 0, 64);
}

static void wake_sleepers(kdi_threads *t)
{
    if (atomic_load(&t->asleep) == 0) return;
    pthread_mutex_lock(&t->mutex);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->mutex);
}

bool kdi_threads_run(kdi_threads *t, kd_worker_fn fn, void *arg)
{
    if (atomic_exchange(&t->busy, true)) return false;
    t->fn = fn;
    t->arg = arg;
    const uint64_t before = atomic_load(&t->offer);
    atomic_store(&t->offer, before / NEXT_JOB * NEXT_JOB + NEXT_JOB + OPEN);
    if (t->owner == getpid()) wake_sleepers(t);
    fn(arg, 0);
    atomic_fetch_and(&t->offer, ~(uint64_t)OPEN);
    for (int i = 0; atomic_load_explicit(&t->offer, memory_order_acquire) & INSIDE; i++) {
        if (i < SPINS)
            pause_briefly();
        else
            sched_yield();
    }
    atomic_store(&t->busy, false);
    return true;
}
