/* SPDX-License-Identifier: MIT
 * peak.c: as many fused multiply-adds as the processor can do, on registers alone: what the other
 * kernels' rates are held against. */
#include "vectors.h"

#if defined(__x86_64__)
#if defined(__AVX512F__)
#define REGISTER(v) "+v"(v)
#else
#define REGISTER(v) "+x"(v)
#endif
#elif defined(__aarch64__)
#define REGISTER(v) "+w"(v)
#else
#define REGISTER(v) "+m"(v)
#endif

/* Twelve chains: enough to hide an FMA's latency on two units, few enough for 16 registers. The
 * empty statement keeps the compiler from seeing through the loop; an array would go to memory. */
float KDI_FN(fma_peak)(size_t rounds, float seed)
{
    const kdi_v a = kdi_splat(seed), b = kdi_splat(1 - seed);
    kdi_v x0 = a, x1 = a, x2 = a, x3 = a, x4 = a, x5 = a, x6 = a, x7 = a, x8 = a, x9 = a, x10 = a,
          x11 = a;
    for (size_t r = 0; r < rounds; r++) {
        x0 = x0 * a + b;
        x1 = x1 * a + b;
        x2 = x2 * a + b;
        x3 = x3 * a + b;
        x4 = x4 * a + b;
        x5 = x5 * a + b;
        x6 = x6 * a + b;
        x7 = x7 * a + b;
        x8 = x8 * a + b;
        x9 = x9 * a + b;
        x10 = x10 * a + b;
        x11 = x11 * a + b;
        __asm__ volatile(""
                         : REGISTER(x0), REGISTER(x1), REGISTER(x2), REGISTER(x3), REGISTER(x4),
                           REGISTER(x5), REGISTER(x6), REGISTER(x7), REGISTER(x8), REGISTER(x9),
                           REGISTER(x10), REGISTER(x11));
    }
    return kdi_sum(x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + x10 + x11);
}
