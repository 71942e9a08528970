/* SPDX-License-Identifier: MIT
 * blas.c: which products OpenBLAS computes, and the call. Its functions are declared here, so that
 * any of its packages will do. Measured on one Zen 4 core against OpenBLAS 0.3.21: the built-in
 * product is level or ahead at the networks' shapes; OpenBLAS leads by 3 to 10 % where every side
 * is large. */
#include "blas.h"

#include <limits.h>

static const kdi_blas_rule rules[] = {
    {256, 1024, 1024, "large on every side: its blocks for the last-level cache pay"},
};

const kdi_blas_rule *kdi_blas_rules(size_t *count)
{
    *count = sizeof rules / sizeof *rules;
    return rules;
}

bool kdi_blas_wants(const kdi_gemm *g)
{
    const size_t most = INT_MAX;
    if (g->packed_b || g->m > most || g->n > most || g->k > most || g->lda > most ||
        g->ldb > most || g->ldc > most)
        return false;
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
        if (g->m >= rules[r].min_m && g->n >= rules[r].min_n && g->k >= rules[r].min_k) return true;
    return false;
}

bool kdi_blas_ready(const kd_ctx *ctx)
{
    return kdi_blas_threads() == 1 && kdi_ctx_trusts_blas(ctx);
}

#if KDI_OPENBLAS

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc);
int openblas_get_num_threads(void);

bool kdi_blas_built(void)
{
    return true;
}

int kdi_blas_threads(void)
{
    return openblas_get_num_threads();
}

void kdi_blas_product(const kdi_gemm *g)
{
    cblas_sgemm(ROW_MAJOR, g->ta ? TRANSPOSED : PLAIN, g->tb ? TRANSPOSED : PLAIN, (int)g->m,
                (int)g->n, (int)g->k, 1, g->a, (int)g->lda, g->b, (int)g->ldb,
                g->accumulate ? 1 : 0, g->c, (int)g->ldc);
}

#else

bool kdi_blas_built(void)
{
    return false;
}

int kdi_blas_threads(void)
{
    return 0;
}

void kdi_blas_product(const kdi_gemm *g)
{
    (void)g;
}

#endif
