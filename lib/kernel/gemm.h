/* SPDX-License-Identifier: MIT
 * gemm.h: matrix products, C[m,n] (+)= op(A)[m,k] op(B)[k,n], row-major float32.
 *
 * The product is cut into blocks of C by shape alone, so the result has the same bits for any
 * number of threads. Bias, residual and activation are applied while a block is in cache. Inside a
 * block the kernel gemm_block (kernels.h) runs over packed panels of B; callers that cut their work
 * themselves (Winograd, attention) use kdi_gemm_serial or gemm_block directly.
 *
 * In a build with OpenBLAS, kdi_gemm_run passes on the shapes that blas.h names.
 *
 * Nothing here allocates: scratch memory is the caller's, 64-byte aligned. */
#ifndef KDI_GEMM_H
#define KDI_GEMM_H

#include "kernels.h"

#include "../base/base.h"

typedef struct kdi_gemm {
    size_t m, n, k;
    bool ta, tb; /* A is stored [k,m], B is stored [n,k] */
    const float *a;
    size_t lda;
    const float *b; /* may be NULL with packed_b */
    size_t ldb;
    float *c; /* [m,n]; may not overlap A, B */
    size_t ldc;
    bool accumulate;              /* add to what C holds, before the epilogue */
    const kdi_epilogue *epilogue; /* or NULL */
    const float *packed_b;        /* from kdi_gemm_pack_b, or NULL */
} kdi_gemm;

/* Bytes of scratch for kdi_gemm_run: from the shape, ta, tb, whether there is a packed_b, and the
 * context's threads; grows with m. A shape whose size overflows gives SIZE_MAX. */
size_t kdi_gemm_scratch(kd_ctx *ctx, const kdi_gemm *g);
void kdi_gemm_run(kd_ctx *ctx, const kdi_gemm *g, void *scratch);

/* The same on the calling thread alone: for use inside a task. */
size_t kdi_gemm_serial_scratch(kd_ctx *ctx, const kdi_gemm *g);
void kdi_gemm_serial(kd_ctx *ctx, const kdi_gemm *g, void *scratch);

/* op(B) in the kernels' own form, panels [ceil(n / gemm_nr)][k][gemm_nr]: for weights used many
 * times. Bytes, and the packing of b (stored [n,k] if tb), threaded over panels. */
size_t kdi_gemm_packed_size(kd_ctx *ctx, size_t n, size_t k);
void kdi_gemm_pack_b(kd_ctx *ctx, size_t n, size_t k, bool tb, const float *b, size_t ldb,
                     float *packed);

/* For callers that walk along k themselves: the blocks mb x nb that C[m,n] is cut into when
 * `products` products run side by side. nb is a multiple of gemm_nr. The constants bound mb, nb and
 * a step along k from above. */
enum { KDI_GEMM_ROWS = 168, KDI_GEMM_COLUMNS = 512, KDI_GEMM_DEPTH = 416 };
void kdi_gemm_blocks(const kdi_kernels *kernels, size_t m, size_t n, size_t k, size_t products,
                     size_t *mb, size_t *nb);

/* size cut into equal pieces of at most `most`, each a multiple of unit. */
static inline size_t kdi_piece(size_t size, size_t most, size_t unit)
{
    const size_t pieces = size ? (size + most - 1) / most : 1;
    const size_t even = ((size + pieces - 1) / pieces + unit - 1) / unit * unit;
    return even < unit ? unit : even;
}

/* The epilogue of the block whose first element is C[i,j]. */
kdi_epilogue kdi_epilogue_at(const kdi_epilogue *e, size_t i, size_t j);

/* y[n] (+)= the sums of the columns of x[m,n], rows ldx apart: a bias' gradient. The order of
 * summation depends on m and n alone. The scratch is in bytes. */
size_t kdi_column_sums_scratch(kd_ctx *ctx, size_t m, size_t n);
void kdi_column_sums(kd_ctx *ctx, size_t m, size_t n, const float *x, size_t ldx, float *y,
                     bool accumulate, void *scratch);

#endif
