/* SPDX-License-Identifier: MIT
 * blas.h: OpenBLAS beside the built-in matrix product, in a build with BLAS=openblas.
 *
 * The library cuts the work itself and wants each call on one thread. OpenBLAS's thread count is
 * one number for the whole process, the host program's to set; changing it for the length of a call
 * would race with the host's own calls. So it serves only while the host has it at 1
 * (OPENBLAS_NUM_THREADS=1, openblas_set_num_threads(1), or an OpenBLAS built without threads), and
 * the built-in product serves otherwise. */
#ifndef KDI_BLAS_H
#define KDI_BLAS_H

#include "gemm.h"

/* Shapes from these sizes on are OpenBLAS's, where it is faster. */
typedef struct kdi_blas_rule {
    size_t min_m, min_n, min_k;
    const char *why;
} kdi_blas_rule;
const kdi_blas_rule *kdi_blas_rules(size_t *count);

/* Whether this build has OpenBLAS, how many threads that uses now (0: not built), and whether this
 * context calls it now: it was found right, and has one thread. */
bool kdi_blas_built(void);
int kdi_blas_threads(void);
bool kdi_blas_ready(const kd_ctx *ctx);

/* blas_check.c: does it compute what the built-in products do? memory: so many bytes, 64-byte
 * aligned. If not, *wrong is a product it gets wrong. */
size_t kdi_blas_check_bytes(kd_ctx *ctx);
bool kdi_blas_agrees(kd_ctx *ctx, float *memory, kdi_gemm *wrong);

/* Whether a rule gives this product to OpenBLAS: no packed B, and sizes it can count. */
bool kdi_blas_wants(const kdi_gemm *g);

/* C[m,n] of g, or a block of it, with g's transposes: without the epilogue, on this thread. */
void kdi_blas_product(const kdi_gemm *g);

#endif
