/* SPDX-License-Identifier: MIT
 * threads.h: threads of our own, owned by one context or one loader. */
#ifndef KDI_THREADS_H
#define KDI_THREADS_H

#include "team.h"

typedef struct kdi_threads kdi_threads;

/* width - 1 threads that sleep until there is work; fewer if the system refuses. NULL without
 * memory. */
kdi_threads *kdi_threads_create(kd_ctx *ctx, int width);
void kdi_threads_destroy(kd_ctx *ctx, kdi_threads *t);

/* kdi_team_run on them: a loop for `width` threads, this one among them. */
bool kdi_threads_run(kdi_threads *t, int width, kd_worker_fn fn, void *arg);

#endif
