/* SPDX-License-Identifier: MIT
 * winograd_gemm.c: the two matrix products of Winograd's convolution. They read V, U and dM as the
 * transforms leave them (../transforms.h): nothing is packed. In a block of KDI_VL channels one
 * tile's lanes lie side by side, and the next tile's follow, so that every number that is broadcast
 * lies at a constant distance from one pointer.
 *
 * Each sum runs over its index in order, in one accumulator: how tiles are grouped changes no
 * bit. */
#include "vectors.h"

#define INLINE static inline __attribute__((always_inline))

/* Accumulators: MR tiles by 2 blocks of output channels for M; OR output channels by CV blocks of
 * input channels for dU. */
enum { L = KDI_VL, MR = KDI_GEMM_MR, STEPS = KDI_GEMM_STEPS };
enum { LINE = 64 }; /* bytes */
#if KDI_VL == 16
enum { OR = 8, CV = 2 };
#elif KDI_VL == 8
enum { OR = 4, CV = 3 };
#elif defined(__aarch64__)
enum { OR = 4, CV = 4 };
#else
enum { OR = 4, CV = 2 };
#endif

/* The next product's filters are prefetched by all strips together, `step` bytes by each with each
 * step of k. With few tiles the time is that of reading the filters from memory. */
typedef struct ahead {
    const char *at;
    size_t step;
} ahead;

INLINE void fetch_on(ahead *far)
{
    const size_t hop = STEPS > 1 ? far->step : far->step > LINE ? LINE : 0;
    KDI_UNROLL
    for (size_t i = 0; i < (STEPS > 1 ? STEPS : 2); i++) {
        __builtin_prefetch(far->at + i * hop, 0, 3);
    }
    far->at += STEPS * far->step;
}

/* One step of k. The asm keeps the compiler from mixing steps. */
INLINE void multiply(const size_t rows, const size_t vecs, const float *v, const float *u,
                     kdi_v sum[MR][2])
{
    kdi_v y[2];
    for (size_t j = 0; j < vecs; j++) y[j] = kdi_load(u + j * L);
    KDI_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const kdi_v x = kdi_splat(v[r * L]);
        for (size_t j = 0; j < vecs; j++) kdi_add_product(&sum[r][j], x, y[j]);
    }
    if (STEPS > 1) __asm__ volatile("" ::: "memory");
}

/* m[rows][vecs blocks] (+)= v[rows][k] u[k][vecs * L]; rows and vecs are constants once inlined. */
INLINE void product_tile(const size_t rows, const size_t vecs, size_t k, const float *v,
                         size_t v_block, const float *u, ahead far, float *m, size_t m_block,
                         bool accumulate)
{
    kdi_v sum[MR][2];
    KDI_UNROLL
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < vecs; j++)
            sum[r][j] = accumulate ? kdi_load(m + j * m_block + r * L) : (kdi_v){0};
    }
    for (; STEPS > 1 && k >= L; k -= L, v += v_block, u += L * vecs * L) {
        KDI_UNROLL
        for (size_t q = 0; q < L; q++) {
            if (q % STEPS == 0) fetch_on(&far);
            multiply(rows, vecs, v + q, u + q * vecs * L, sum);
        }
    }
    for (; k > 0; v += v_block) {
        const size_t lanes = k < L ? k : L;
        for (size_t q = 0; q < lanes; q++, u += vecs * L) {
            if (q % STEPS == 0) fetch_on(&far);
            multiply(rows, vecs, v + q, u, sum);
        }
        k -= lanes;
    }
    KDI_UNROLL
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < vecs; j++) kdi_store(m + j * m_block + r * L, sum[r][j]);
    }
}

typedef void product_fn(size_t k, const float *v, size_t v_block, const float *u, ahead far,
                        float *m, size_t m_block, bool accumulate);

#define PRODUCT(rows, vecs)                                                                        \
    static void KDI_FN(product_##rows##_##vecs)(size_t k, const float *v, size_t v_block,          \
                                                const float *u, ahead far, float *m,               \
                                                size_t m_block, bool accumulate)                   \
    {                                                                                              \
        product_tile(rows, vecs, k, v, v_block, u, far, m, m_block, accumulate);                   \
    }
#define PRODUCTS(rows) PRODUCT(rows, 1) PRODUCT(rows, 2)
#define ENTRY(rows) {KDI_FN(product_##rows##_1), KDI_FN(product_##rows##_2)},

#define UP_TO_6(x) x(1) x(2) x(3) x(4) x(5) x(6)
#define UP_TO_12(x) UP_TO_6(x) x(7) x(8) x(9) x(10) x(11) x(12)
#define UP_TO_14(x) UP_TO_12(x) x(13) x(14)
#if KDI_GEMM_MR == 14
#define EACH_ROWS UP_TO_14
#elif KDI_GEMM_MR == 12
#define EACH_ROWS UP_TO_12
#else
#define EACH_ROWS UP_TO_6
#endif

EACH_ROWS(PRODUCTS)
static product_fn *const products[MR][2] = {EACH_ROWS(ENTRY)};

void KDI_FN(winograd_product)(size_t tiles, size_t k, size_t vecs, const float *v, size_t v_block,
                              const float *u, const float *next, float *m, size_t m_block,
                              bool accumulate)
{
    /* As few register tiles as possible, all of nearly the same height. */
    const size_t strips = (tiles + MR - 1) / MR;
    const size_t share = (vecs * L * sizeof *u + strips - 1) / (strips ? strips : 1);
    for (size_t s = 0; s < strips; s++) {
        const size_t rows = tiles / strips + (s < tiles % strips);
        const ahead far = {(const char *)next + s * share * k, share};
        products[rows - 1][vecs - 1](k, v, v_block, u, far, m, m_block, accumulate);
        v += rows * L;
        m += rows * L;
    }
}

/* STEPS tiles prefetch at most one line of dM and one of V. With two blocks of outputs or fewer
 * that leaves some lines of V out. */
INLINE void fetch_both(ahead *a, ahead *b)
{
    __builtin_prefetch(a->at, 0, 3);
    __builtin_prefetch(b->at, 0, 3);
    a->at += STEPS * a->step;
    b->at += STEPS * b->step;
}

INLINE void add_outer(const size_t vecs, const float *dm, const float *v, size_t v_block,
                      kdi_v sum[OR][CV])
{
    kdi_v y[CV];
    for (size_t j = 0; j < vecs; j++) y[j] = kdi_load(v + j * v_block);
    KDI_UNROLL
    for (size_t r = 0; r < OR; r++) {
        const kdi_v x = kdi_splat(dm[r]);
        for (size_t j = 0; j < vecs; j++) kdi_add_product(&sum[r][j], x, y[j]);
    }
    if (STEPS > 1) __asm__ volatile("" ::: "memory");
}

/* du[OR][vecs * L] = sum over tiles of dm[t][OR] v[t][vecs * L] */
INLINE void outer_tile(const size_t vecs, size_t tiles, const float *dm, const float *v,
                       size_t v_block, const ahead far[2], float *du, size_t ldu)
{
    ahead far_m = far[0], far_v = far[1];
    kdi_v sum[OR][CV];
    KDI_UNROLL
    for (size_t r = 0; r < OR; r++) {
        for (size_t j = 0; j < vecs; j++) sum[r][j] = (kdi_v){0};
    }
    for (; STEPS > 1 && tiles >= STEPS; tiles -= STEPS, dm += STEPS * L, v += STEPS * L) {
        fetch_both(&far_m, &far_v);
        KDI_UNROLL
        for (size_t s = 0; s < STEPS; s++) {
            add_outer(vecs, dm + s * L, v + s * L, v_block, sum);
        }
    }
    for (; tiles > 0; tiles--, dm += L, v += L) {
        if (STEPS == 1) fetch_both(&far_m, &far_v);
        add_outer(vecs, dm, v, v_block, sum);
    }
    KDI_UNROLL
    for (size_t r = 0; r < OR; r++) {
        for (size_t j = 0; j < vecs; j++) kdi_store(du + r * ldu + j * L, sum[r][j]);
    }
}

void KDI_FN(winograd_outer)(size_t tiles, size_t o_blocks, size_t c_blocks, const float *dm,
                            const float *next_dm, size_t m_block, const float *v,
                            const float *next_v, size_t v_block, float *du, size_t ldu)
{
    /* All register tiles together prefetch the next plane's. */
    const size_t times = o_blocks * L / OR * ((c_blocks + CV - 1) / CV) * tiles;
    ahead far[2] = {{(const char *)next_dm, (o_blocks * m_block * sizeof *dm + times - 1) / times},
                    {(const char *)next_v, (c_blocks * v_block * sizeof *v + times - 1) / times}};
    for (size_t i = 0; i < o_blocks * L; i += OR) {
        const float *mi = dm + i / L * m_block + i % L;
        for (size_t j = 0; j < c_blocks; j += CV) {
            const float *vj = v + j * v_block;
            float *to = du + i * ldu + j * L;
            switch (c_blocks - j) {
            case 1:
                outer_tile(1, tiles, mi, vj, v_block, far, to, ldu);
                break;
#if KDI_VL == 8 || defined(__aarch64__)
            case 2:
                outer_tile(2, tiles, mi, vj, v_block, far, to, ldu);
                break;
#endif
#if defined(__aarch64__)
            case 3:
                outer_tile(3, tiles, mi, vj, v_block, far, to, ldu);
                break;
#endif
            default:
                outer_tile(CV, tiles, mi, vj, v_block, far, to, ldu);
            }
            for (size_t n = 0; n < 2; n++) far[n].at += far[n].step * tiles;
        }
    }
}
