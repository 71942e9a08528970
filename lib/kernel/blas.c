/* SPDX-License-Identifier: MIT
 * blas.c: where OpenBLAS wins, whether it can be kept to one thread, and the call. Its functions are
 * declared here, so that any of its packages will do. */
#include "blas.h"

/* Measured against OpenBLAS 0.3.21 by `make bench BENCH=kernels`, on the machines of
 * docs/performance.md. A table that is not here has no shape at which OpenBLAS is faster, or was not
 * measured. */
static const kdi_blas_rule rules[] = {
    {"avx512", 256, 1024, 1024, "large on every side: its blocks for the last-level cache pay"},
    {"avx2", 384, 1024, 4096, "the same: gradients of wide layers' weights"},
    {"avx2", 2048, 2048, 2048, "the same"},
};

const kdi_blas_rule *kdi_blas_rules(size_t *count)
{
    *count = sizeof rules / sizeof *rules;
    return rules;
}

#if KDI_OPENBLAS

#ifdef _OPENMP
#include <omp.h>
#endif

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
enum { SEQUENTIAL = 0, OPENMP = 2 }; /* of openblas_get_parallel */

/* Of another library: to be seen, also where all else is hidden (the amalgamation). */
#pragma GCC visibility push(default)
void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc);
int openblas_get_num_threads(void);
void openblas_set_num_threads(int threads);
int openblas_get_parallel(void);
char *openblas_get_config(void);
char *openblas_get_corename(void);
#pragma GCC visibility pop

bool kdi_blas_built(void)
{
    return true;
}

/* clang's OpenMP is another than the one that OpenBLAS was built with: one does not see the other's
 * regions. */
static bool shares_openmp(void)
{
#if defined(_OPENMP) && !defined(__clang__)
    return openblas_get_parallel() == OPENMP;
#else
    return false;
#endif
}

bool kdi_blas_usable(const char **why_not)
{
    *why_not = NULL;
    if (shares_openmp()) return true;
    if (openblas_get_parallel() == SEQUENTIAL)
        *why_not = "OpenBLAS was built without threads, and several may not call it";
    else if (openblas_get_num_threads() != 1)
        *why_not = "OpenBLAS uses more than one thread";
    return !*why_not;
}

const char *kdi_blas_config(void)
{
    return openblas_get_config();
}

const char *kdi_blas_core(void)
{
    return openblas_get_corename();
}

int kdi_blas_threads(void)
{
    return openblas_get_num_threads();
}

void kdi_blas_set_threads(int threads)
{
    openblas_set_num_threads(threads);
}

static void call(const kdi_gemm *g)
{
    cblas_sgemm(ROW_MAJOR, g->ta ? TRANSPOSED : PLAIN, g->tb ? TRANSPOSED : PLAIN, (int)g->m,
                (int)g->n, (int)g->k, 1, g->a, (int)g->lda, g->b, (int)g->ldb,
                g->accumulate ? 1 : 0, g->c, (int)g->ldc);
}

void kdi_blas_product(const kdi_gemm *g)
{
#ifdef _OPENMP
    /* The number is the calling thread's alone, and as it was when the call ends. */
    const int threads = omp_in_parallel() ? 1 : omp_get_max_threads();
    if (threads != 1) omp_set_num_threads(1);
    call(g);
    if (threads != 1) omp_set_num_threads(threads);
#else
    call(g);
#endif
}

#else

bool kdi_blas_built(void)
{
    return false;
}

bool kdi_blas_usable(const char **why_not)
{
    *why_not = "OpenBLAS is not in this build";
    return false;
}

const char *kdi_blas_config(void)
{
    return "";
}

const char *kdi_blas_core(void)
{
    return "";
}

int kdi_blas_threads(void)
{
    return 0;
}

void kdi_blas_set_threads(int threads)
{
    (void)threads;
}

void kdi_blas_product(const kdi_gemm *g)
{
    (void)g;
}

#endif
