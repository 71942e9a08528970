/* SPDX-License-Identifier: MIT
 * select.c: which kernel tables this build has and which this processor can run. */
#include "kernels.h"

#include <string.h>

#if KDI_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

#if KDI_AMX
extern const kdi_kernels kdi_kernels_amx;

/* Linux lets a process use the tiles' registers after it has asked to. Signal frames are larger
 * from then on; a process whose signal stacks are too small for them is refused. */
static bool has_amx(void)
{
    enum { BF16 = 1 << 22, TILES = 1 << 24, REQUEST = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    if (!(d & BF16) || !(d & TILES)) return false;
#ifdef SYS_arch_prctl
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
    return false;
#endif
}
#endif
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
#if KDI_AMX
    {&kdi_kernels_amx, has_amx},
#endif
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
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        if ((!name || strcmp(tables[t].table->name, name) == 0) && tables[t].runs())
            return tables[t].table;
    return NULL;
}
