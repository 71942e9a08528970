/* SPDX-License-Identifier: MIT
 * isa.c: which kernel tables this build has and which this processor can run. */
#include "kernels.h"

#include <string.h>

#if defined(__x86_64__)
extern const kdi_kernels kdi_kernels_generic, kdi_kernels_avx2, kdi_kernels_avx512;

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#elif defined(__aarch64__)
extern const kdi_kernels kdi_kernels_generic, kdi_kernels_neon;
#else
extern const kdi_kernels kdi_kernels_generic;
#endif

static bool always(void)
{
    return true;
}

static const struct {
    const kdi_kernels *table;
    bool (*runs)(void);
} tables[] = {
#if defined(__x86_64__)
    {&kdi_kernels_avx512, has_avx512},
    {&kdi_kernels_avx2, has_avx2},
#elif defined(__aarch64__)
    {&kdi_kernels_neon, always},
#endif
    {&kdi_kernels_generic, always},
};

const kdi_kernels *kdi_kernels_at(int i)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        if (tables[t].runs() && i-- == 0) return tables[t].table;
    return NULL;
}

const kdi_kernels *kdi_kernels_select(const char *name)
{
    const kdi_kernels *k;
    for (int i = 0; (k = kdi_kernels_at(i)); i++)
        if (!name || strcmp(k->name, name) == 0) return k;
    return NULL;
}
