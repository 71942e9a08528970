/* SPDX-License-Identifier: MIT
 * conv_moments.c: see conv_moments.h. */
#include "conv_moments.h"

#include "../base/size.h"

enum { JOIN = 16 }; /* channels of a task */

typedef struct job {
    const kdi_moment_parts *parts;
    float *moments;
} job;

static void join_task(void *arg, size_t index, int worker)
{
    const job *j = arg;
    const kdi_moment_parts *all = j->parts;
    const size_t o = index * JOIN, count = all->o - o < JOIN ? all->o - o : JOIN;
    double mean[JOIN] = {0}, m2[JOIN] = {0}, seen = 0;
    (void)worker;
    for (size_t p = 0; p < all->count; p++) {
        const double n = (double)all->pixels(all->arg, p);
        if (n == 0) continue;
        const float *shift = all->sums + 3 * p * all->step + o, *square = shift + all->step;
        const float *sum = square + all->step;
        for (size_t i = 0; i < count; i++) {
            const double s = (double)sum[i], d = (double)shift[i] + s / n - mean[i];
            m2[i] += (double)square[i] - s * s / n + d * d * seen * n / (seen + n);
            mean[i] += d * n / (seen + n);
        }
        seen += n;
    }
    for (size_t i = 0; i < count; i++) {
        j->moments[o + i] = (float)mean[i];
        j->moments[all->o + o + i] = (float)m2[i];
    }
}

void kdi_join_moments(kd_ctx *ctx, const kdi_moment_parts *parts, float *moments)
{
    job j = {parts, moments};
    kd_parallel_for(ctx, kdi_pieces(parts->o, JOIN), join_task, &j);
}
