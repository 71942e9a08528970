/* SPDX-License-Identifier: MIT
 * grid.h: which worker has what in its cache.
 *
 * The order of tasks that are rows by columns of blocks: a share of the rows, column by column, then
 * the next share. What a column needs stays in the cache for the rows of a share; and with a share
 * for each thread (parallel.c gives each the same range in every loop) rows are read by who wrote
 * them. */
#ifndef KDI_GRID_H
#define KDI_GRID_H

#include <stdbool.h>
#include <stddef.h>

#include "../base/checked.h"

typedef struct kdi_grid {
    size_t rows, columns, share; /* rows of a share */
} kdi_grid;

static inline kdi_grid kdi_grid_of(size_t rows, size_t columns, size_t shares)
{
    const size_t share = rows / shares + (rows % shares != 0);
    return (kdi_grid){rows, columns, share ? share : 1};
}

/* Tasks; where the last share is smaller some are no block. */
static inline size_t kdi_grid_tasks(const kdi_grid *g)
{
    return (g->rows / g->share + (g->rows % g->share != 0)) * g->share * g->columns;
}

/* The block of a task; false if it is none. */
static inline bool kdi_grid_at(const kdi_grid *g, size_t task, size_t *row, size_t *column)
{
    const size_t size = g->share * g->columns, rest = task % size;
    *row = task / size * g->share + rest % g->share;
    *column = rest / g->share;
    return *row < g->rows;
}

/* Floats from one worker's scratch to the next one's, of which each needs so many, a multiple of 16:
 * above 128 KiB a power of two, above 512 a multiple of that. Many layers agree on it, so a worker's
 * scratch lies where it was in the layer before; a line that another processor wrote takes long to
 * come. SIZE_MAX stays. */
static inline size_t kdi_worker_room(size_t floats, size_t workers)
{
    const size_t small = (size_t)32 << 10, step = 4 * small;
    size_t room = small;
    if (workers <= 1 || floats <= small) return floats;
    if (floats > step) return kdi_round_up(floats, step, &room) ? room : SIZE_MAX;
    while (room < floats) room *= 2;
    return room;
}

#endif
