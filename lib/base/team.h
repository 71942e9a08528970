/* SPDX-License-Identifier: MIT
 * team.h: loops that one thread offers to others. Who starts the others is threads.c's business. */
#ifndef KDI_TEAM_H
#define KDI_TEAM_H

#include <kd/ctx.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

enum { KDI_TEAM_GROUPS = 8 }; /* of members that are woken together: KD_MAX_THREADS is 2^8 */

typedef struct kdi_team {
    _Alignas(64) atomic_uint_fast64_t offer; /* team.c says what is in it */
    _Alignas(64) atomic_uint asleep; /* bit g: members of group g sleep and are not yet woken */
    atomic_bool busy;                /* somebody offers a loop */
    atomic_bool over;                /* members leave */
    kd_worker_fn fn;
    void *arg;
    pthread_mutex_t mutex;
    pthread_cond_t wake[KDI_TEAM_GROUPS], end;
    pid_t process; /* where the members are; a forked child has none */
} kdi_team;

void kdi_team_init(kdi_team *t);
void kdi_team_clear(kdi_team *t);

/* Members, numbered from 1, take part in loops until they are dismissed. They wait awake for some
 * microseconds, then asleep. */
void kdi_team_serve(kdi_team *t, int worker);
/* Sleep until the members are dismissed. */
void kdi_team_sleep(kdi_team *t);
void kdi_team_dismiss(kdi_team *t);

/* Call fn(arg, 0) here and fn(arg, w), w < width, on such members as come in time; returns when all
 * who began have ended. False, and nothing was called, while another thread offers a loop. */
bool kdi_team_run(kdi_team *t, int width, kd_worker_fn fn, void *arg);

#endif
