/* SPDX-License-Identifier: MIT
 * select.c: which kernel tables this build has and which this processor can run. */
#include "kernels.h"

#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* KDI_TABLE(name) for each table of this build, the best first. */
#ifndef KDI_TABLES
#define KDI_TABLES KDI_TABLE(generic)
#endif

#define KDI_TABLE(isa) extern const kdi_kernels kdi_kernels_##isa;
KDI_TABLES
#undef KDI_TABLE
#define KDI_TABLE(isa) &kdi_kernels_##isa,
static const kdi_kernels *const tables[] = {KDI_TABLES};
#undef KDI_TABLE

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}

/* Linux lets a process use the tiles' registers after it has asked to. Signal frames are larger
 * from then on; a process whose signal stacks are too small for them is refused. */
static bool has_amx(void)
{
#ifdef SYS_arch_prctl
    enum { BF16 = 1 << 22, TILES = 1 << 24, REQUEST = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    if (!(d & BF16) || !(d & TILES)) return false;
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
    return false;
#endif
}
#endif

/* Whether this processor, under this system, runs the table called isa. */
static bool runs(const char *isa)
{
#if defined(__x86_64__)
    if (!strcmp(isa, "avx2")) return has_avx2();
    if (!strcmp(isa, "avx512")) return has_avx512();
    if (!strcmp(isa, "amx")) return has_amx();
#elif defined(__aarch64__)
    if (!strcmp(isa, "neon")) return true;
#endif
    return !strcmp(isa, "generic");
}

const kdi_kernels *kdi_kernels_at(int i)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        if (runs(tables[t]->name) && i-- == 0) return tables[t];
    return NULL;
}

const kdi_kernels *kdi_kernels_select(const char *name)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        if ((!name || strcmp(tables[t]->name, name) == 0) && runs(tables[t]->name))
            return tables[t];
    return NULL;
}
