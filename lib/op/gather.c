/* SPDX-License-Identifier: MIT
 * gather.c: see gather.h. Neighbours that stay neighbours move as one piece. */
#include "gather.h"

#include "work.h"

#include "../kernel/kernels.h"

#include <string.h>

size_t kdi_gather_scratch(size_t here, size_t there)
{
    return (here + there) * sizeof(int32_t);
}

kdi_gather kdi_gather_make(size_t here, size_t there, size_t c, void *scratch)
{
    int32_t *table = scratch;
    return (kdi_gather){here, there, c, table, table + here};
}

kdi_gather kdi_gather_turn(const kdi_gather *g)
{
    for (size_t i = 0; i < g->there; i++) g->turned[i] = KDI_NO_ROW;
    for (size_t i = 0; i < g->here; i++)
        if (g->table[i] != KDI_NO_ROW) g->turned[g->table[i]] = (int32_t)i;
    return (kdi_gather){g->there, g->here, g->c, g->turned, g->table};
}

typedef struct moving {
    const kd_op_call *call;
    const kdi_gather *g;
    const float *from;
    float *to;
    bool accumulate;
} moving;

static void move_piece(const moving *m, const float *from, float *to, size_t n)
{
    if (m->accumulate && from)
        m->call->kernels->add(n, to, from, to);
    else if (from)
        memcpy(to, from, n * sizeof *to);
    else if (!m->accumulate)
        memset(to, 0, n * sizeof *to);
}

static void move_rows(const void *arg, size_t begin, size_t end)
{
    const moving *m = arg;
    const kdi_gather *g = m->g;
    while (begin < end) {
        const size_t image = begin / g->here, row = begin % g->here, left = g->here - row;
        const size_t most = left < end - begin ? left : end - begin;
        const int32_t *at = g->table + row, next = *at == KDI_NO_ROW ? 0 : 1;
        const float *from = NULL;
        size_t n = 1;
        while (n < most && at[n] == at[n - 1] + next) n++;
        if (*at != KDI_NO_ROW) from = m->from + (image * g->there + (size_t)*at) * g->c;
        move_piece(m, from, m->to + begin * g->c, n * g->c);
        begin += n;
    }
}

void kdi_gather_run(const kd_op_call *call, const kdi_gather *g, const kd_tensor *from,
                    const kd_tensor *to, bool accumulate)
{
    const moving m = {call, g, from->data, to->data, accumulate};
    kdi_ranges(call->ctx, to->count / g->c, g->c, move_rows, &m);
}
