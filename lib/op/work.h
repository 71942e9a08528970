/* SPDX-License-Identifier: MIT
 * work.h: cutting an op's work into pieces for the parallel-for, by its size alone: never by the
 * number of threads, so that results do not depend on it. */
#ifndef KDI_WORK_H
#define KDI_WORK_H

#include <kd/op.h>

typedef void (*kdi_range_fn)(const void *arg, size_t begin, size_t end);

/* fn(arg, begin, end) for pieces that cover [0, count), in parallel. An item costs about as much as
 * `cost` additions; with a cost of 1, 2, 4 or 8 each begin is a multiple of 4096. */
void kdi_ranges(kd_ctx *ctx, size_t count, size_t cost, kdi_range_fn fn, const void *arg);

/* count / last dimension, and the last dimension. */
static inline size_t kdi_cols(const kd_tensor *x)
{
    return x->dim[x->rank - 1];
}

static inline size_t kdi_rows(const kd_tensor *x)
{
    return x->count / kdi_cols(x);
}

#endif
