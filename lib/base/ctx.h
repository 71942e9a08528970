/* SPDX-License-Identifier: MIT
 * ctx.h: the inside of a context; only lib/base sees it, and what fills it in
 * lib/kernel: context.c, blas_choice.c. */
#ifndef KDI_CTX_H
#define KDI_CTX_H

#include "base.h"

#include <stdatomic.h>

enum { KDI_ERROR_SIZE = 1024 };

struct kd_ctx {
    kd_config config;
    const struct kdi_kernels *kernels;
    int conv;                            /* algorithm of convolutions, or -1 */
    int width;                           /* of the parallel-for */
    struct kdi_threads *_Atomic threads; /* NULL until a parallel-for wants them */
    atomic_bool starting;
    atomic_bool cancelled; /* kd_ctx_cancel */
    /* bytes held through the allocator; the loader's thread counts too */
    atomic_size_t memory, peak;
    int blas_choice;       /* a kdi_blas_choice (lib/kernel/blas.h) */
    atomic_int blas_found; /* of OpenBLAS (lib/kernel/blas_choice.c) */
    char blas_text[200];   /* what kd_ctx_blas said last */
    atomic_flag failing;   /* somebody writes error */
    atomic_int status;     /* of the error in `error` */
    atomic_size_t said;    /* calls of kd_ctx_fail that wrote error */
    /* functions of the caller's that run now: see base.h */
    struct kdi_words *_Atomic listeners;
    char error[KDI_ERROR_SIZE];
};

void *kdi_default_alloc(void *user, void *ptr, size_t old_size, size_t new_size, size_t align);
int kdi_parallel_width(const kd_config *config);

#endif
