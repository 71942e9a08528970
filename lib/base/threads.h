/* SPDX-License-Identifier: MIT
 * threads.h: the default parallel-for's threads, owned by one context. */
#ifndef KDI_THREADS_H
#define KDI_THREADS_H

#include <kd/ctx.h>

#include <stdbool.h>

typedef struct kdi_threads kdi_threads;

/* width - 1 threads that sleep until there is work; fewer if the system refuses. NULL without
 * memory. */
kdi_threads *kdi_threads_create(kd_ctx *ctx, int width);
void kdi_threads_destroy(kd_ctx *ctx, kdi_threads *t);

/* Call fn(arg, 0) here and fn(arg, w) on such other threads as come in time; returns when all who
 * began have ended. False, and nothing was called, while another thread uses these. */
bool kdi_threads_run(kdi_threads *t, kd_worker_fn fn, void *arg);

#endif
