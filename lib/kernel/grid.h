/* SPDX-License-Identifier: MIT
 * grid.h: the order of tasks, by which a worker finds in its cache what it needs.
 *
 * Tasks are blocks, rows by columns. The rows are cut into shares. Tasks go through one share,
 * column by column, then through the next. What a column needs stays in the cache for the rows of a
 * share. kd_parallel_for gives each thread the same range of tasks in every loop: with one share
 * for each thread, rows are read by the thread that wrote them. */
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

/* How many tasks there are. If the last share is smaller, some are no block. */
static inline size_t kdi_grid_tasks(const kdi_grid *g)
{
    return (g->rows / g->share + (g->rows % g->share != 0)) * g->share * g->columns;
}

/* The block of a task; false: it is none. */
static inline bool kdi_grid_at(const kdi_grid *g, size_t task, size_t *row, size_t *column)
{
    const size_t size = g->share * g->columns, rest = task % size;
    *row = task / size * g->share + rest % g->share;
    *column = rest / g->share;
    return *row < g->rows;
}

/* Floats from one worker's scratch to the next one's, if each needs so many (a multiple of 16):
 * above 128 KiB the next power of two, above 512 KiB the next multiple of that. Most layers come to
 * the same number, so that a worker's scratch lies where it was in the layer before, and is still
 * in its cache. SIZE_MAX stays SIZE_MAX. */
static inline size_t kdi_worker_step(size_t floats, size_t workers)
{
    const size_t small = (size_t)32 << 10, step = 4 * small;
    size_t apart = small;
    if (workers <= 1 || floats <= small) return floats;
    if (floats > step) return kdi_round_up(floats, step, &apart) ? apart : SIZE_MAX;
    while (apart < floats) apart *= 2;
    return apart;
}

#endif
