/* SPDX-License-Identifier: MIT
 * vectors.h: for kernel sources: names and vectors of the instruction set being compiled.
 * kernel.mk defines KDI_ISA (generic, avx2, avx512, neon).
 *
 * kdi_v is KDI_VL floats. Arithmetic on it is C's: a + b, a * b + c (contracted to an FMA where
 * there is one). Loads and stores need no alignment. */
#ifndef KDI_VECTORS_H
#define KDI_VECTORS_H

#include "../../base/prefetch.h"
#include "../kernels.h"

/* The table's name for what leaves its file, and for static functions whose names a macro pastes: in
 * the amalgamation all tables are in one file. */
#define KDI_CAT2(a, b) kdi_##a##_##b
#define KDI_CAT(a, b) KDI_CAT2(a, b)
#define KDI_FN(name) KDI_CAT(name, KDI_ISA)
#define KDI_STR2(x) #x
#define KDI_STR(x) KDI_STR2(x)
#define KDI_ISA_NAME KDI_STR(KDI_ISA)

#if defined(KDI_BASELINE) && (defined(__SSE3__) || defined(__AVX__) || defined(__ARM_FEATURE_SVE))
#error "the generic table is for every processor: it is compiled without -march, -mcpu and -mavx"
#endif

/* The matrix product's tile.
 *   KDI_GEMM_MR x KDI_GEMM_NR  fits the registers, beside two vectors of B and a broadcast of A
 *   KDI_GEMM_STEPS   steps of k at a time. With a small tile the loop's own instructions cost as
 *                    much as a part of it: then it is more than 1.
 *   KDI_GEMM_WIDE    panels of B at a time, for a tile of one or two rows. Memory is faster when it
 *                    is read in two places at once.
 *   KDI_DOT_ROWS     up to so many rows, dot products are faster than packing B. */
#if defined(__AVX512F__)
#define KDI_VL 16
#define KDI_GEMM_MR 14
#define KDI_GEMM_STEPS 1
#define KDI_GEMM_WIDE 1
#define KDI_GEMM_NR 32
#define KDI_DOT_ROWS 128
#elif defined(__AVX2__)
#define KDI_VL 8
#define KDI_GEMM_MR 6
#define KDI_GEMM_STEPS 4
#define KDI_GEMM_WIDE 2
#define KDI_GEMM_NR 16
#define KDI_DOT_ROWS 32
#elif defined(__aarch64__)
#define KDI_VL 4
#define KDI_GEMM_MR 12
#define KDI_GEMM_STEPS 1
#define KDI_GEMM_WIDE 1
#define KDI_GEMM_NR 8
#define KDI_DOT_ROWS 32
#else
#define KDI_VL 4
#define KDI_GEMM_MR 6
#define KDI_GEMM_STEPS 1
#define KDI_GEMM_WIDE 1
#define KDI_GEMM_NR 8
#define KDI_DOT_ROWS 32
#endif

#define KDI_GEMM_UNIT 8
#define KDI_GEMM_TASK (1 << 20)
#define KDI_GEMM_COPIES false

typedef float kdi_v __attribute__((vector_size(4 * KDI_VL)));
typedef int32_t kdi_vi __attribute__((vector_size(4 * KDI_VL)));
typedef float kdi_vu __attribute__((vector_size(4 * KDI_VL), aligned(4), may_alias));

static inline kdi_v kdi_load(const float *p)
{
    return *(const kdi_vu *)p;
}

static inline void kdi_store(float *p, kdi_v v)
{
    *(kdi_vu *)p = v;
}

static inline kdi_v kdi_splat(float x)
{
    return x - (kdi_v){0}; /* not + 0, which would turn -0 into 0 and cost an addition */
}

/* *sum += a * b for loops that use all registers. gcc's own multiply-add would move sums between
 * registers and into memory. */
static inline __attribute__((always_inline)) void kdi_add_product(kdi_v *sum, kdi_v a, kdi_v b)
{
#if defined(__AVX2__) && !defined(__AVX512F__)
    __asm__ volatile("vfmadd231ps %2, %1, %0" : "+x"(*sum) : "x"(a), "x"(b));
#else
    *sum += a * b;
#endif
}

/* Before a loop whose length is a constant. */
#if defined(__clang__)
#define KDI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define KDI_UNROLL _Pragma("GCC unroll 16")
#endif

/* n, as a number the compiler knows nothing about. Otherwise it computes all its multiples before a
 * loop; if they are more than the registers, each store waits for an address from memory. */
static inline __attribute__((always_inline)) size_t kdi_opaque(size_t n)
{
    __asm__ volatile("" : "+r"(n));
    return n;
}

/* a where m has all bits set, b where it has none. */
static inline kdi_v kdi_select(kdi_vi m, kdi_v a, kdi_v b)
{
    return (kdi_v)((m & (kdi_vi)a) | (~m & (kdi_vi)b));
}

/* Where x is larger than the largest so far. The first of equal numbers wins; NaN beats all. */
static inline kdi_vi kdi_beats(kdi_v x, kdi_v best)
{
    return (x > best) | (x != x);
}

static inline kdi_v kdi_max(kdi_v a, kdi_v b)
{
    return kdi_select(a > b, a, b);
}

/* The first halves of a and b interleaved, and the second halves. */
#if defined(__clang__)
#define KDI_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define KDI_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (kdi_vi){__VA_ARGS__})
#endif
#if KDI_VL == 16
#define KDI_LOW(a, b) KDI_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define KDI_HIGH(a, b)                                                                             \
    KDI_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif KDI_VL == 8
#define KDI_LOW(a, b) KDI_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define KDI_HIGH(a, b) KDI_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define KDI_LOW(a, b) KDI_SHUFFLE(a, b, 0, 4, 1, 5)
#define KDI_HIGH(a, b) KDI_SHUFFLE(a, b, 2, 6, 3, 7)
#endif

/* Transpose KDI_VL rows of KDI_VL numbers: log2 KDI_VL times, deal the rows' two halves. */
static inline __attribute__((always_inline)) void kdi_transpose_square(kdi_v row[KDI_VL])
{
    for (int stage = 1; stage < KDI_VL; stage *= 2) {
        kdi_v next[KDI_VL];
        for (int i = 0; i < KDI_VL / 2; i++) {
            next[2 * i] = KDI_LOW(row[i], row[i + KDI_VL / 2]);
            next[2 * i + 1] = KDI_HIGH(row[i], row[i + KDI_VL / 2]);
        }
        for (int i = 0; i < KDI_VL; i++) row[i] = next[i];
    }
}

/* The lanes rotated by n places. */
#if KDI_VL == 16
#define KDI_TURN(v, n)                                                                             \
    KDI_SHUFFLE(v, v, (0 + n) % 16, (1 + n) % 16, (2 + n) % 16, (3 + n) % 16, (4 + n) % 16,        \
                (5 + n) % 16, (6 + n) % 16, (7 + n) % 16, (8 + n) % 16, (9 + n) % 16,              \
                (10 + n) % 16, (11 + n) % 16, (12 + n) % 16, (13 + n) % 16, (14 + n) % 16,         \
                (15 + n) % 16)
#elif KDI_VL == 8
#define KDI_TURN(v, n)                                                                             \
    KDI_SHUFFLE(v, v, (0 + n) % 8, (1 + n) % 8, (2 + n) % 8, (3 + n) % 8, (4 + n) % 8,             \
                (5 + n) % 8, (6 + n) % 8, (7 + n) % 8)
#else
#define KDI_TURN(v, n) KDI_SHUFFLE(v, v, (0 + n) % 4, (1 + n) % 4, (2 + n) % 4, (3 + n) % 4)
#endif

/* The sum of the lanes, by halves: the same order on every call. */
static inline float kdi_sum(kdi_v v)
{
#if KDI_VL > 8
    v += KDI_TURN(v, 8);
#endif
#if KDI_VL > 4
    v += KDI_TURN(v, 4);
#endif
    v += KDI_TURN(v, 2);
    return v[0] + v[1];
}

/* The largest lane; what NaN does to it is not defined. */
static inline float kdi_largest(kdi_v v)
{
#if KDI_VL > 8
    v = kdi_max(v, KDI_TURN(v, 8));
#endif
#if KDI_VL > 4
    v = kdi_max(v, KDI_TURN(v, 4));
#endif
    v = kdi_max(v, KDI_TURN(v, 2));
    return v[0] > v[1] ? v[0] : v[1];
}

#endif
