/* SPDX-License-Identifier: MIT
 * prefetch.h: ask for a cache line. To gcc, a function that does nothing else has no effect, and it
 * drops calls of it. The empty asm statement prevents that. */
#ifndef KDI_PREFETCH_H
#define KDI_PREFETCH_H

static inline __attribute__((always_inline)) void kdi_prefetch(const void *p)
{
    __builtin_prefetch(p, 0, 3);
    __asm__ __volatile__("" : : "r"(p));
}

/* Into the second-level cache alone. */
static inline __attribute__((always_inline)) void kdi_prefetch_far(const void *p)
{
    __builtin_prefetch(p, 0, 2);
    __asm__ __volatile__("" : : "r"(p));
}

#endif
