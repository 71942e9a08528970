/* SPDX-License-Identifier: MIT
 * team.c: offering a loop, joining it, waiting for the next.
 *
 * The caller offers a loop and works on it at once. A member that sees the offer in time joins. One
 * that the system lets run only later finds the offer closed and goes back to waiting. So nobody
 * ever waits for a thread that has not begun. On a busy machine that is the difference to a
 * fork-join barrier, which waits for the last thread to show up (docs/design.md has figures).
 *
 * `offer` holds, from its low bits on: how many members are inside, whether it is open, how many
 * threads it is for, its number. Members beyond the width stay out of it, and asleep: worker w is
 * in group log2(w), and only the groups that a loop is for are woken. A loop whose members are all
 * awake makes no system call. */
#include "team.h"

#include <sched.h>
#include <stdint.h>
#include <unistd.h>

enum {
    SPINS = 2000,
    COUNT_BITS = 9, /* KD_MAX_THREADS fits */
    INSIDE = (1 << COUNT_BITS) - 1,
    OPEN = 1 << COUNT_BITS,
    WIDTH_SHIFT = COUNT_BITS + 1,
    NUMBER_SHIFT = WIDTH_SHIFT + COUNT_BITS
};

static uint64_t number_of(uint64_t offer)
{
    return offer >> NUMBER_SHIFT;
}

static int width_of(uint64_t offer)
{
    return (int)(offer >> WIDTH_SHIFT & INSIDE);
}

static int group_of(int worker)
{
    int g = 0;
    while (worker >> (g + 1)) g++;
    return g;
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void kdi_team_init(kdi_team *t)
{
    atomic_init(&t->offer, 0);
    atomic_init(&t->asleep, 0);
    atomic_init(&t->busy, false);
    atomic_init(&t->over, false);
    pthread_mutex_init(&t->mutex, NULL);
    for (int g = 0; g < KDI_TEAM_GROUPS; g++) pthread_cond_init(&t->wake[g], NULL);
    pthread_cond_init(&t->end, NULL);
    t->process = getpid();
}

void kdi_team_clear(kdi_team *t)
{
    for (int g = 0; g < KDI_TEAM_GROUPS; g++) pthread_cond_destroy(&t->wake[g]);
    pthread_cond_destroy(&t->end);
    pthread_mutex_destroy(&t->mutex);
}

/* Wait for an offer other than number `last`: awake for some microseconds, then asleep. */
static uint64_t wait_for_offer(kdi_team *t, uint64_t last, int group)
{
    for (int i = 0; i < SPINS; i++) {
        const uint64_t now = atomic_load_explicit(&t->offer, memory_order_acquire);
        if (number_of(now) != last || atomic_load_explicit(&t->over, memory_order_acquire))
            return now;
        pause_briefly();
    }
    pthread_mutex_lock(&t->mutex);
    for (;;) {
        atomic_fetch_or(&t->asleep, 1u << group); /* before the last look at the offer */
        const uint64_t now = atomic_load(&t->offer);
        if (number_of(now) != last || atomic_load(&t->over)) {
            pthread_mutex_unlock(&t->mutex);
            return now;
        }
        pthread_cond_wait(&t->wake[group], &t->mutex);
    }
}

void kdi_team_serve(kdi_team *t, int worker)
{
    const int group = group_of(worker);
    uint64_t last = UINT64_MAX; /* no offer's */
    while (!atomic_load(&t->over)) {
        uint64_t now = wait_for_offer(t, last, group);
        last = number_of(now);
        while (now & OPEN && worker < width_of(now) && number_of(now) == last) {
            if (!atomic_compare_exchange_weak(&t->offer, &now, now + 1)) continue;
            t->fn(t->arg, worker);
            atomic_fetch_sub_explicit(&t->offer, 1, memory_order_release);
            break;
        }
    }
}

/* Those that a loop of this width is for. */
static void wake_sleepers(kdi_team *t, int width)
{
    const unsigned groups = (2u << group_of(width - 1)) - 1;
    if (!(atomic_load(&t->asleep) & groups)) return;
    if (t->process != getpid()) return; /* after a fork the mutex may be locked for ever */
    pthread_mutex_lock(&t->mutex);
    const unsigned sleeping = atomic_fetch_and(&t->asleep, ~groups) & groups;
    for (int g = 0; sleeping >> g; g++)
        if (sleeping >> g & 1) pthread_cond_broadcast(&t->wake[g]);
    pthread_mutex_unlock(&t->mutex);
}

void kdi_team_sleep(kdi_team *t)
{
    pthread_mutex_lock(&t->mutex);
    while (!atomic_load(&t->over)) pthread_cond_wait(&t->end, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

void kdi_team_dismiss(kdi_team *t)
{
    pthread_mutex_lock(&t->mutex);
    atomic_store(&t->over, true);
    for (int g = 0; g < KDI_TEAM_GROUPS; g++) pthread_cond_broadcast(&t->wake[g]);
    pthread_cond_broadcast(&t->end);
    pthread_mutex_unlock(&t->mutex);
}

bool kdi_team_run(kdi_team *t, int width, kd_worker_fn fn, void *arg)
{
    if (atomic_exchange(&t->busy, true)) return false;
    t->fn = fn;
    t->arg = arg;
    const uint64_t number = number_of(atomic_load(&t->offer)) + 1;
    atomic_store(&t->offer, number << NUMBER_SHIFT | (uint64_t)width << WIDTH_SHIFT | OPEN);
    wake_sleepers(t, width);
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
