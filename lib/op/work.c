/* SPDX-License-Identifier: MIT
 * work.c: kdi_ranges. A piece takes about ten microseconds, so that handing it to a thread costs
 * little; smaller ops stay on the calling thread. */
#include "work.h"

enum { PIECE_COST = 32768 };

typedef struct ranges {
    size_t count, piece;
    kdi_range_fn fn;
    const void *arg;
} ranges;

static void run_piece(void *arg, size_t index, int worker)
{
    const ranges *r = arg;
    const size_t begin = index * r->piece, left = r->count - begin;
    (void)worker;
    r->fn(r->arg, begin, begin + (left < r->piece ? left : r->piece));
}

void kdi_ranges(kd_ctx *ctx, size_t count, size_t cost, kdi_range_fn fn, const void *arg)
{
    const size_t piece = cost < 1 ? PIECE_COST : cost < PIECE_COST ? PIECE_COST / cost : 1;
    ranges r = {count, piece, fn, arg};
    kd_parallel_for(ctx, count / piece + (count % piece != 0), run_piece, &r);
}
