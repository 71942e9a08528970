/* SPDX-License-Identifier: MIT
 * gemm_dot.c: C[m,n] = A[m,k] B[n,k]^T as dot products, for few rows of A. Both operands are read
 * where they lie, along k, so B is not packed for a single use. Tiles are 4 x 4 vectors of sums, or
 * 2 x 4 where there are 16 registers. Their lanes are added by transposing squares. */
#include "vectors.h"

#include "vec_math.h"

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__) || defined(__aarch64__)
#define TALL 4
#else
#define TALL 2
#endif
enum { SIDE = 4, SUMS = TALL * SIDE, DEPTH = 1024 };

/* The sums of the lanes of each vector. */
INLINE void lane_sums(const kdi_v *v, float *sums)
{
    KDI_UNROLL
    for (size_t s = 0; s < SUMS; s += KDI_VL) {
        kdi_v square[KDI_VL];
        KDI_UNROLL
        for (size_t i = 0; i < KDI_VL; i++) {
            square[i] = v[s + i];
        }
        kdi_transpose_square(square);
        kdi_v sum = square[0];
        KDI_UNROLL
        for (size_t i = 1; i < KDI_VL; i++) {
            sum += square[i];
        }
        kdi_store(sums + s, sum);
    }
}

/* rows and columns are constants after inlining. */
INLINE void tile(const size_t rows, const size_t columns, size_t k, const float *a, size_t lda,
                 const float *b, size_t ldb, float *c, size_t ldc, bool accumulate)
{
    kdi_v acc[SUMS];
    float sums[SUMS];
    KDI_UNROLL
    for (size_t i = 0; i < SUMS; i++) {
        acc[i] = (kdi_v){0};
    }
    size_t p = 0;
    for (; p + KDI_VL <= k; p += KDI_VL) {
        kdi_v bv[SIDE];
        KDI_UNROLL
        for (size_t j = 0; j < columns; j++) {
            bv[j] = kdi_load(b + j * ldb + p);
        }
        KDI_UNROLL
        for (size_t i = 0; i < rows; i++) {
            const kdi_v av = kdi_load(a + i * lda + p);
            KDI_UNROLL
            for (size_t j = 0; j < columns; j++) {
                acc[i * SIDE + j] += av * bv[j];
            }
        }
    }
    if (p < k) {
        KDI_UNROLL
        for (size_t i = 0; i < rows; i++) {
            const kdi_v av = kdi_load_part(a + i * lda + p, k - p, 0);
            KDI_UNROLL
            for (size_t j = 0; j < columns; j++) {
                acc[i * SIDE + j] += av * kdi_load_part(b + j * ldb + p, k - p, 0);
            }
        }
    }
    lane_sums(acc, sums);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            float *to = c + i * ldc + j;
            *to = accumulate ? *to + sums[i * SIDE + j] : sums[i * SIDE + j];
        }
}

/* R rows by 4 columns, or by 1 at a time. */
#define ROWS(R)                                                                                    \
    static void KDI_FN(rows_##R)(size_t columns, size_t k, const float *a, size_t lda,             \
                                 const float *b, size_t ldb, float *c, size_t ldc,                 \
                                 bool accumulate)                                                  \
    {                                                                                              \
        if (columns == SIDE) {                                                                     \
            tile(R, SIDE, k, a, lda, b, ldb, c, ldc, accumulate);                                  \
            return;                                                                                \
        }                                                                                          \
        for (size_t j = 0; j < columns; j++)                                                       \
            tile(R, 1, k, a, lda, b + j * ldb, ldb, c + j, ldc, accumulate);                       \
    }

ROWS(1)
ROWS(2)
#if TALL > 2
ROWS(3)
ROWS(4)
#endif

typedef void rows_fn(size_t columns, size_t k, const float *a, size_t lda, const float *b,
                     size_t ldb, float *c, size_t ldc, bool accumulate);

void KDI_FN(gemm_dot)(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                      size_t ldb, float *c, size_t ldc, int accumulate)
{
    static rows_fn *const rows[TALL + 1] = {
        NULL,
        KDI_FN(rows_1),
        KDI_FN(rows_2),
#if TALL > 2
        KDI_FN(rows_3),
        KDI_FN(rows_4),
#endif
    };
    /* With more rows than one tile has, a piece of B short enough to stay in cache for them all. */
    const size_t depth = m > TALL ? DEPTH : k;
    for (size_t j = 0; j < n; j += SIDE) {
        const size_t columns = n - j < SIDE ? n - j : SIDE;
        size_t p = 0;
        do {
            const size_t step = k - p < depth ? k - p : depth;
            for (size_t i = 0; i < m; i += TALL)
                rows[m - i < TALL ? m - i : TALL](columns, step, a + i * lda + p, lda,
                                                  b + j * ldb + p, ldb, c + i * ldc + j, ldc,
                                                  accumulate || p > 0);
            p += step;
        } while (p < k);
    }
}
