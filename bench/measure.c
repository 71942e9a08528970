/* SPDX-License-Identifier: MIT
 * measure.c: the clock, quantiles, the machine's peak. */
#include "bench.h"

#include "../lib/base/base.h"
#include "../lib/kernel/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double kdb_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double kdb_quantile(double *x, size_t n, double p)
{
    qsort(x, n, sizeof *x, ascending);
    return x[(size_t)(p * (double)(n - 1) + .5)];
}

void kdb_die(kd_ctx *ctx, const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, kd_ctx_error(ctx));
    exit(1);
}

enum { ROUNDS = 2000000 };

typedef struct burning {
    const kdi_kernels *kernels;
    float sums[16 * 256]; /* a cache line for each */
} burning;

static void burn(void *arg, size_t index, int worker)
{
    (void)worker;
    burning *b = arg;
    b->sums[16 * index] = b->kernels->fma_peak(ROUNDS, .5f);
}

double kdb_peak(kd_ctx *ctx)
{
    const size_t threads = (size_t)kd_ctx_threads(ctx);
    burning b = {.kernels = kdi_ctx_kernels(ctx)};
    double best = 0;
    for (int i = 0; i < 7; i++) {
        const double start = kdb_seconds();
        kd_parallel_for(ctx, threads, burn, &b);
        const double rate =
            24.0 * (double)b.kernels->vector * ROUNDS * (double)threads / (kdb_seconds() - start);
        if (rate > best) best = rate;
    }
    return best;
}
