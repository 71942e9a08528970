/* SPDX-License-Identifier: MIT
 * checked.h: size arithmetic that tells of overflow. Each returns false, and leaves *out alone,
 * when the true result does not fit. Sizes from files and options go through these. */
#ifndef KDI_CHECKED_H
#define KDI_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool kdi_add(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}

static inline bool kdi_mul(size_t a, size_t b, size_t *out)
{
    if (b != 0 && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}

/* The next multiple of align, a power of two. */
static inline bool kdi_round_up(size_t a, size_t align, size_t *out)
{
    if (!kdi_add(a, align - 1, &a)) return false;
    *out = a & ~(align - 1);
    return true;
}

#endif
