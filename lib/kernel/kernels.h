/* SPDX-License-Identifier: MIT
 * kernels.h: the kernel table. A kernel is single-threaded: arrays in, arrays out; it knows no
 * graph. The sources in lib/kernel/isa are portable C, compiled once per instruction set; each
 * compilation fills one table. Threads are the caller's business.
 *
 * To add a kernel: one line in kernels.def, one function KDI_FN(name) in a file of lib/kernel/isa.
 * An instruction set replaces an entry by a hand-tuned one inside that function's file. */
#ifndef KDI_KERNELS_H
#define KDI_KERNELS_H

#include "transforms.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum kdi_act { KDI_ACT_NONE, KDI_ACT_RELU, KDI_ACT_GELU } kdi_act; /* GELU: exact, erf */

/* Epilogue of a product, applied while the block is in cache: C = act(C + bias + residual). If
 * `preact` is set, the value before act is stored there. */
typedef struct kdi_epilogue {
    const float *bias;     /* [n] or NULL */
    const float *residual; /* [m,n], rows ldr apart, or NULL */
    size_t ldr;
    kdi_act act;
    float *preact; /* [m,n], rows ld_preact apart, or NULL */
    size_t ld_preact;
} kdi_epilogue;

/* An array to bring into the cache: [rows, columns] floats, rows `step` floats apart. x NULL:
 * none. */
typedef struct kdi_fetch {
    const float *x;
    size_t rows, columns, step;
} kdi_fetch;

/* A product whose operands fit the caches: C[m,n] (+)= A[m,k] B[k,n].
 *
 * A is read where it lies. Element (i, p) is a[i * rsa + p * csa]: rsa = lda, csa = 1 for A stored
 * by rows, rsa = 1, csa = lda for A stored transposed. Rows 1024 or 2048 bytes apart share cache
 * sets: whoever copies A pads the rows. B comes in panels of gemm_nr columns, [k][gemm_nr] each,
 * with zeros beyond n (pack_b, pack_bt). Rows are taken in strips of kdi_strip_rows. If strip > 0,
 * strip s of A begins at a + s * strip. If segments > 1, the sum has segments * k terms, and A
 * moves by `segment` floats after each k (the rows of a convolution's kernel). */
typedef struct kdi_block {
    size_t m, n, k;
    size_t segments, segment; /* 0, 0 for a plain product */
    const float *a;
    size_t rsa, csa, strip;
    const float *b;
    size_t panel; /* floats from one panel of B to the next, at least segments * k * gemm_nr */
    float *c;
    size_t ldc;
    bool accumulate;
    const kdi_epilogue *epilogue; /* or NULL */
    float *scratch;               /* gemm_scratch floats, 64-byte aligned; NULL: do without */
    kdi_fetch ahead[2];           /* brought into the cache meanwhile; [1] is read if [0] is set */
} kdi_block;

/* Patches of x[n,h,w,ld], one a row (the matrix that makes a convolution a product). Rows are
 * positions (y, x) of a grid, y = top to top + grid_h - 1, x = left to left + grid_w - 1, image
 * after image. A row holds `channels` floats of each of `taps` kernel points. Points are numbered
 * along rows of tap_width points; the first is number `tap`. Point (i, j) of position (y, x) is the
 * pixel (y * step_h + off_h + i * tap_h, x * step_w + off_w + j * tap_w), 0 outside x. */
typedef struct kdi_patches {
    const float *x; /* the first channel wanted */
    size_t h, w, ld;
    size_t top, left, grid_h, grid_w;
    ptrdiff_t step_h, step_w, off_h, off_w, tap_h, tap_w;
    size_t tap_width, tap, taps, channels;
    size_t row, rows; /* the first row wanted of n * grid_h * grid_w, and how many */
} kdi_patches;

/* Rows of a strip: m rows are cut into as few equal strips of at most mr rows as possible. The last
 * may be shorter. */
static inline size_t kdi_strip_rows(size_t m, size_t mr)
{
    const size_t strips = (m + mr - 1) / mr;
    return strips ? (m + strips - 1) / strips : 0;
}

/* Which elements a dropout keeps, and what they are multiplied by: see kernel dropout. */
typedef struct kdi_dropout {
    uint64_t seed;
    uint32_t step, id, threshold;
    float scale;
} kdi_dropout;

/* A pooling region along one axis: pixels begin to end - 1, all inside the map. An average is
 * divided by `extent`, which may count padding. */
typedef struct kdi_pooling_span {
    uint32_t begin, end, extent;
} kdi_pooling_span;

typedef struct kdi_kernels {
    const char *name; /* "generic", "avx2", "avx512", "amx", "neon" */
#define CONSTANT(name, type, value) type name;
#define KERNEL(name, result, arguments) result(*name) arguments;
#define TRANSFORMS(name) const kdi_transforms *name;
#include "block.def"
#include "kernels.def"
#undef TRANSFORMS
#undef KERNEL
#undef CONSTANT
} kdi_kernels;

/* The table of that name, or the best this processor runs when name is NULL. NULL if there is no
 * such table in this build or the processor lacks its instructions. */
const kdi_kernels *kdi_kernels_select(const char *name);

/* The i-th table this processor can run, best first, or NULL: for tests over all tables. */
const kdi_kernels *kdi_kernels_at(int i);

#endif
