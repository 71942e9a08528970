/* SPDX-License-Identifier: MIT
 * blas.h: OpenBLAS beside the built-in matrix product, in a build with BLAS=openblas.
 *
 * Which products are OpenBLAS's follows from the kernel table and the shape alone. The library cuts
 * the work itself and wants each call on one thread. OpenBLAS's thread count is one number for the
 * whole process, the host program's to set; changing it for the length of a call would race with
 * the host's own calls. Its OpenMP variant needs no such change. In a parallel region it keeps to
 * one thread. Outside of one it takes as many as OpenMP would give the calling thread, which is a
 * number of that thread's own. Other variants serve while the host has them at one thread. */
#ifndef KDI_BLAS_H
#define KDI_BLAS_H

#include "gemm.h"

/* Shapes from these sizes on are OpenBLAS's on that kernel table, where it was measured to win. */
typedef struct kdi_blas_rule {
    const char *isa;
    size_t min_m, min_n, min_k;
    const char *why;
} kdi_blas_rule;
const kdi_blas_rule *kdi_blas_rules(size_t *count);

/* Whether this build has OpenBLAS; whether it can be called now, each call on one thread; and, else,
 * why not. */
bool kdi_blas_built(void);
bool kdi_blas_usable(const char **why_not);
/* Its settings, "OpenBLAS 0.3.21 ...", and the processor it chose its kernels for; "" without. */
const char *kdi_blas_config(void);
const char *kdi_blas_core(void);
/* Its thread count. */
int kdi_blas_threads(void);
void kdi_blas_set_threads(int threads);

/* C[m,n] of g, or a block of it, with g's transposes: without the epilogue, on this thread. */
void kdi_blas_product(const kdi_gemm *g);

/* blas_check.c: does it compute what the built-in products do? memory: so many bytes, 64-byte
 * aligned. If not, *wrong is a product it gets wrong. */
size_t kdi_blas_check_bytes(kd_ctx *ctx);
bool kdi_blas_agrees(kd_ctx *ctx, float *memory, kdi_gemm *wrong);

/* ---- blas_choice.c: in a context ------------------------------------------------------------- */

/* What kd_config.blas, or the environment's KD_BLAS, asks for. */
typedef enum kdi_blas_choice {
    KDI_BLAS_BY_RULE, /* where it was measured to win */
    KDI_BLAS_NEVER,
    KDI_BLAS_ALWAYS, /* every product it can count */
} kdi_blas_choice;
/* By name, NULL or "": by rule; -1: there is no such choice. */
int kdi_blas_choice_named(const char *name);

/* Whether this product is OpenBLAS's by choice and rule: no packed B, and sizes it can count. */
bool kdi_blas_wants(const kd_ctx *ctx, const kdi_gemm *g);
/* When a product is first wanted, before it is run: look at what OpenBLAS computes, once for each
 * context. */
void kdi_blas_prepare(kd_ctx *ctx);
/* Whether this context calls it now: it was found right, and is usable. */
bool kdi_blas_ready(const kd_ctx *ctx);

#endif
