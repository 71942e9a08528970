/* SPDX-License-Identifier: MIT
 * blas_check.c: is this OpenBLAS right on this processor? Some of its releases are not: kernels for
 * processors that came later, edges of a block, transposed operands, its path for small products.
 * A few products of awkward sizes, with every pair of transposes, overwriting (what stood there is
 * NaN) and adding, rows further apart than they are long, are compared with the built-in ones; the
 * gaps between rows must stay as they are. Some milliseconds, once for each context. */
#include "blas.h"

#include "../base/size.h"

#include <math.h>
#include <string.h>

enum { PAD = 3 };

/* Below and above a kernel's tile, its blocks, and the limit of the small products' path. */
static const struct {
    size_t m, n, k;
    bool all; /* all transposes, overwriting and adding; else two of them */
} shapes[] = {{1, 1, 1, true},        {5, 3, 7, true},       {17, 33, 65, true},
              {31, 129, 47, true},    {64, 63, 127, true},   {97, 101, 103, true},
              {130, 145, 400, false}, {67, 263, 1031, false}};

enum { SHAPES = sizeof shapes / sizeof *shapes };

static size_t matrix(size_t rows, size_t columns)
{
    return (rows + PAD) * (columns + PAD);
}

/* Floats of the four matrices: the largest of each over the shapes. */
typedef struct sizes {
    size_t a, b, c, scratch;
} sizes;

static kdi_gemm product(size_t s, unsigned how)
{
    kdi_gemm g = {.m = shapes[s].m,
                  .n = shapes[s].n,
                  .k = shapes[s].k,
                  .ta = how & 1,
                  .tb = how & 2,
                  .accumulate = how & 4};
    g.lda = (g.ta ? g.m : g.k) + PAD;
    g.ldb = (g.tb ? g.k : g.n) + PAD;
    g.ldc = g.n + PAD;
    return g;
}

static sizes sizes_of(kd_ctx *ctx)
{
    sizes r = {0};
    for (size_t s = 0; s < SHAPES; s++) {
        const size_t m = shapes[s].m, n = shapes[s].n, k = shapes[s].k;
        r.a = kdi_larger(r.a, kdi_larger(matrix(m, k), matrix(k, m)));
        r.b = kdi_larger(r.b, kdi_larger(matrix(k, n), matrix(n, k)));
        r.c = kdi_larger(r.c, matrix(m, n));
        for (unsigned how = 0; how < 8; how++) {
            const kdi_gemm g = product(s, how);
            r.scratch = kdi_larger(r.scratch, kdi_gemm_serial_scratch(ctx, &g) / sizeof(float));
        }
    }
    r.a = (r.a + 15) & ~(size_t)15; /* scratch wants whole lines */
    r.b = (r.b + 15) & ~(size_t)15;
    r.c = (r.c + 15) & ~(size_t)15;
    return r;
}

size_t kdi_blas_check_bytes(kd_ctx *ctx)
{
    const sizes r = sizes_of(ctx);
    return (r.a + r.b + 2 * r.c + r.scratch) * sizeof(float);
}

/* Numbers in [-1, 1): a generator of its own for speed. */
static void fill(float *x, size_t n, uint32_t seed)
{
    uint32_t state = seed * 2654435761u | 1;
    for (size_t i = 0; i < n; i++) {
        state *= 1664525u;
        x[i] = (float)(state >> 8) * 0x1p-23f - 1;
    }
}

/* What C holds before: NaN where it will be overwritten, numbers where it is added to, and in the
 * gaps between the rows, a number. */
static void fill_c(const kdi_gemm *g, float *c)
{
    fill(c, matrix(g->m, g->n), 3);
    for (size_t i = 0; i < g->m && !g->accumulate; i++)
        for (size_t j = 0; j < g->n; j++) c[i * g->ldc + j] = NAN;
}

/* Sums of k products of numbers below one, in whatever order. */
static bool agree(const kdi_gemm *g, const float *ours, const float *theirs)
{
    const float tolerance = 1e-6f * (float)(g->k + 10);
    for (size_t i = 0; i < g->m; i++) {
        const float *p = ours + i * g->ldc, *q = theirs + i * g->ldc;
        for (size_t j = 0; j < g->n; j++)
            if (!(fabsf(p[j] - q[j]) <= tolerance)) return false;
        if (memcmp(p + g->n, q + g->n, PAD * sizeof *p)) return false;
    }
    const size_t done = g->m * g->ldc;
    return !memcmp(ours + done, theirs + done, (matrix(g->m, g->n) - done) * sizeof *ours);
}

bool kdi_blas_agrees(kd_ctx *ctx, float *memory, kdi_gemm *wrong)
{
    const sizes r = sizes_of(ctx);
    float *a = memory, *b = a + r.a, *ours = b + r.b, *theirs = ours + r.c, *scratch = theirs + r.c;
    fill(a, r.a, 1);
    fill(b, r.b, 2);
    for (size_t s = 0; s < SHAPES; s++)
        for (unsigned how = 0; how < 8; how++) {
            kdi_gemm g = product(s, how);
            if (!shapes[s].all && how != 2 && how != 5) continue;
            g.a = a;
            g.b = b;
            fill_c(&g, ours);
            fill_c(&g, theirs);
            g.c = ours;
            kdi_gemm_serial(ctx, &g, scratch);
            g.c = theirs;
            kdi_blas_product(&g);
            if (agree(&g, ours, theirs)) continue;
            *wrong = g;
            return false;
        }
    return true;
}
