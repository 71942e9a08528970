/* SPDX-License-Identifier: MIT
 * peak.c: as many fused multiply-adds as the processor can do, on registers alone: what the other
 * kernels' rates are held against. */
#include "isa.h"

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

enum { CHAINS = 12 }; /* enough to hide an FMA's latency on two units; few enough for 16 registers */

float KDI_FN(fma_peak)(size_t rounds, float seed)
{
    kdi_v x[CHAINS];
    const kdi_v a = kdi_splat(seed), b = kdi_splat(1 - seed);
    for (int i = 0; i < CHAINS; i++) x[i] = kdi_splat((float)i);
    for (size_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) x[i] = x[i] * a + b;
        /* The compiler must not see through the loop. */
        for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : REGISTER(x[i]));
    }
    kdi_v sum = x[0];
    for (int i = 1; i < CHAINS; i++) sum += x[i];
    return kdi_sum(sum);
}
