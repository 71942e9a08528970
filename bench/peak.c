/* SPDX-License-Identifier: MIT
 * peak.c: the most multiply-adds a second that the machine reaches. */
#include "bench.h"

#include "../lib/base/base.h"
#include "../lib/kernel/kernels.h"

#include <stdio.h>
#include <stdlib.h>

void kdb_die(kd_ctx *ctx, const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, kd_ctx_error(ctx));
    exit(1);
}

enum { ROUNDS = 2000000 };

typedef struct burning {
    const kdi_kernels *kernels;
    size_t rounds;
    float sums[16 * 256]; /* a cache line for each */
} burning;

static void burn(void *arg, size_t index, int worker)
{
    (void)worker;
    burning *b = arg;
    b->sums[16 * index] = b->kernels->fma_peak(b->rounds, .5f);
}

static double rate_of(kd_ctx *ctx, size_t threads, size_t rounds)
{
    burning b = {.kernels = kdi_ctx_kernels(ctx), .rounds = rounds};
    const double start = kd_seconds();
    kd_parallel_for(ctx, threads, burn, &b);
    return 24.0 * (double)b.kernels->vector * (double)(rounds * threads) / (kd_seconds() - start);
}

double kdb_peak(kd_ctx *ctx)
{
    double best = 0;
    for (int i = 0; i < 7; i++) {
        const double rate = rate_of(ctx, (size_t)kd_ctx_threads(ctx), ROUNDS);
        if (rate > best) best = rate;
    }
    return best;
}

kdb_rates kdb_rates_now(kd_ctx *ctx)
{
    const size_t threads = (size_t)kd_ctx_threads(ctx);
    const double one = rate_of(ctx, 1, ROUNDS / 4);
    rate_of(ctx, threads, ROUNDS);
    return (kdb_rates){one, rate_of(ctx, threads, ROUNDS / 4)};
}
