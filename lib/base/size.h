/* SPDX-License-Identifier: MIT
 * size.h: arithmetic of sizes that are known to be small enough; checked.h is for all others. */
#ifndef KDI_SIZE_H
#define KDI_SIZE_H

#include <stddef.h>

static inline size_t kdi_smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t kdi_larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Pieces of size b that a is cut into, the last maybe smaller. */
static inline size_t kdi_pieces(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

/* The next multiple of b. */
static inline size_t kdi_multiple(size_t a, size_t b)
{
    return kdi_pieces(a, b) * b;
}

#endif
