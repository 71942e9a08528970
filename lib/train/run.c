/* SPDX-License-Identifier: MIT
 * run.c: what all parts of a run use: its clock, its averages so far. */
#include "train.h"

#include <time.h>

double kdt_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double kdt_mean_loss(const kdt_run *run)
{
    const double batches = (double)run->sums.images / (double)run->train.batch;
    return run->sums.images ? run->sums.loss / batches : 0;
}

double kdt_accuracy(const kdt_run *run)
{
    const kdt_sums *s = &run->sums;
    return s->images ? 100.0 * (double)s->correct / (double)s->images : 0;
}
