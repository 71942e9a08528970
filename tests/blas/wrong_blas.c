/* SPDX-License-Identifier: MIT
 * wrong_blas.c: a BLAS for LD_PRELOAD that is wrong in the way the environment's WRONG_BLAS names,
 * as releases of OpenBLAS have been on processors newer than they: for the tests of the check that a
 * context makes. "none" is right, if slow. */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int openblas_get_num_threads(void);
void openblas_set_num_threads(int n);
int openblas_get_parallel(void);
void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc);

static bool fault(const char *name)
{
    const char *named = getenv("WRONG_BLAS");
    return named && !strcmp(named, name);
}

/* "threads": threads of its own, several; "sequential": none; "sticky": it takes what one thread
 * asks of OpenMP for the whole process's. */
static int threads = 2;

int openblas_get_num_threads(void)
{
    return fault("threads") || fault("sticky") ? threads : 1;
}

void openblas_set_num_threads(int n)
{
    threads = n;
}

int openblas_get_parallel(void)
{
    return fault("threads") ? 1 : fault("sequential") ? 0 : 2;
}

void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc)
{
    const bool at = ta == 112, bt = tb == 112, edge = fault("edge"), large = fault("large"),
               transposed = fault("transposed"), nan = fault("nan"), add = fault("add");
    const size_t as = (size_t)lda, bs = (size_t)ldb;
    (void)order;
    threads = 1;
    for (size_t i = 0; i < (size_t)m; i++)
        for (size_t j = 0; j < (size_t)n; j++) {
            float sum = 0, *to = &c[i * (size_t)ldc + j];
            size_t depth = (size_t)k;
            if (edge && j >= (size_t)n / 4 * 4) depth--;
            if (large && (double)m * n * k > 1e7 && i + 1 == (size_t)m) depth /= 2;
            if (transposed && at && bt && i % 16 == 15) depth--;
            for (size_t p = 0; p < depth; p++)
                sum += (at ? a[p * as + i] : a[i * as + p]) * (bt ? b[j * bs + p] : b[p * bs + j]);
            if (beta == 0 && !nan)
                *to = alpha * sum;
            else
                *to = alpha * sum + (add ? 0 : beta * *to);
        }
    if (fault("beyond") && ldc > n) c[n] = 0;
}
