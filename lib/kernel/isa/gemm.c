/* SPDX-License-Identifier: MIT
 * gemm.c: the inside of every matrix product: tiles of C in registers, and the packing of B.
 *
 * A tile is R <= gemm_mr rows by gemm_nr columns (V = gemm_nr / KDI_VL vectors). Each step of k
 * loads V vectors of B and broadcasts R numbers of A, for R * V multiply-adds. The loop exists once
 * for each R, so that strips of any height run at full speed. One pointer serves EACH rows of A:
 * there are not enough integer registers for one a row. */
#include "vectors.h"

#include "vec_math.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* gcc for arm64 would load all of A first and have no registers left for the sums. */
#if defined(__aarch64__)
#define LOADS_STAY __asm__ volatile("" ::: "memory")
#else
#define LOADS_STAY (void)0
#endif

enum { MR = KDI_GEMM_MR, NR = KDI_GEMM_NR, V = NR / KDI_VL };
/* Tiles of at most FLAT rows read SPAN panels at once and do not prefetch: two streams already use
 * the memory's full bandwidth. */
enum { SPAN = KDI_GEMM_WIDE, FLAT = SPAN > 1 ? 2 : 0 };
enum {
    STEPS = KDI_GEMM_STEPS,   /* steps of k at a time */
    EACH = STEPS > 1 ? 3 : 4, /* rows of A that one pointer serves; 3: x86's addresses reach them */
    LINES = STEPS > 1 ? STEPS : 2, /* cache lines fetched at a time */
};

/* Tile number t of `tiles`: it begins at row i and column j of the block. */
typedef struct place {
    const kdi_block *g;
    size_t i, j, t, tiles;
} place;

/* What a tile prefetches while it runs: its share of an array, some lines every STEPS steps of k.
 * If `step` is shorter than a line some lines are asked for twice, which costs little. */
typedef struct stream {
    const char *row;  /* the row that is fetched */
    size_t at, end;   /* the byte in it, and where it ends */
    size_t jump;      /* bytes from row to row */
    size_t step, hop; /* bytes from one time to the next, and from line to line */
} stream;

enum { LINE = 64 };

/* This tile's share of what the block fetches. Of two arrays, even tiles fetch the first, odd tiles
 * the second. */
INLINE stream stream_of(place at)
{
    const kdi_block *g = at.g;
    const bool both = g->ahead[1].rows > 0 && at.tiles > 1;
    const kdi_fetch *f = &g->ahead[both ? at.t % 2 : 0];
    const size_t tiles = both ? (at.tiles + 1) / 2 : at.tiles, t = both ? at.t / 2 : at.t;
    const size_t width = f->columns * sizeof(float), all = f->rows * width;
    const size_t k = g->segments > 1 ? g->segments * g->k : g->k;
    if (all == 0 || k == 0) return (stream){(const char *)g->b, 0, SIZE_MAX, 0, 0, 0};
    const size_t share = (all + tiles - 1) / tiles, first = t * share;
    const size_t row = first / width, step = STEPS * share / k + 1;
    if (row >= f->rows) return (stream){(const char *)g->b, 0, SIZE_MAX, 0, 0, 0};
    return (stream){.row = (const char *)(f->x + row * f->step),
                    .at = first - row * width,
                    .end = width,
                    .jump = f->step * sizeof(float),
                    .step = step,
                    .hop = STEPS > 1     ? step / LINES
                           : step > LINE ? LINE
                                         : 0};
}

INLINE kdi_v finish(const kdi_epilogue *e, kdi_v v)
{
    if (e->act == KDI_ACT_RELU) v = kdi_relu(v);
    if (e->act == KDI_ACT_GELU) v = kdi_gelu(v);
    return v;
}

/* A tile of fewer than vecs * KDI_VL columns, from memory. */
static __attribute__((noinline)) void put_partial(place at, size_t rows, size_t columns,
                                                  const float *tile, size_t ld)
{
    const kdi_block *g = at.g;
    const kdi_epilogue *e = g->epilogue;
    for (size_t i = 0; i < rows; i++) {
        float *c = g->c + (at.i + i) * g->ldc + at.j;
        for (size_t j = 0; j < columns; j += KDI_VL) {
            const size_t count = columns - j < KDI_VL ? columns - j : KDI_VL;
            float v[KDI_VL] = {0}, bias[KDI_VL] = {0}, residual[KDI_VL] = {0};
            if (g->accumulate) memcpy(v, c + j, count * sizeof *v);
            kdi_v x = kdi_load(tile + i * ld + j) + kdi_load(v);
            if (e) {
                if (e->bias) memcpy(bias, e->bias + at.j + j, count * sizeof *v);
                if (e->residual)
                    memcpy(residual, e->residual + (at.i + i) * e->ldr + at.j + j,
                           count * sizeof *v);
                if (e->bias) x += kdi_load(bias);
                if (e->residual) x += kdi_load(residual);
                if (e->preact) {
                    kdi_store(v, x);
                    memcpy(e->preact + (at.i + i) * e->ld_preact + at.j + j, v, count * sizeof *v);
                }
                x = finish(e, x);
            }
            kdi_store(v, x);
            memcpy(c + j, v, count * sizeof *v);
        }
    }
}

/* GELU is too long to be inlined into every tile. */
static __attribute__((noinline)) void gelu_tile(size_t rows, size_t vecs, float *c, size_t ldc)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < vecs * KDI_VL; j += KDI_VL)
            kdi_store(c + i * ldc + j, kdi_gelu(kdi_load(c + i * ldc + j)));
}

INLINE void fetch_on(stream *s)
{
    KDI_UNROLL
    for (size_t i = 0; i < LINES; i++) {
        __builtin_prefetch(s->row + s->at + i * s->hop, 0, 2);
    }
    s->at += s->step;
    s->row += s->at >= s->end ? s->jump : 0;
    s->at -= s->at >= s->end ? s->end : 0;
}

/* One step of k. row has a pointer for every EACH rows; their numbers lie `at` floats further. The
 * asm keeps the compiler from mixing steps and from keeping addresses in registers: there are too
 * few. */
INLINE void multiply(const size_t rows, const size_t vecs, const float *b, size_t panel,
                     size_t *rsa, float const *const row[MR], const size_t at,
                     kdi_v acc[MR][SPAN * V])
{
    kdi_v bv[SPAN * V];
    KDI_UNROLL
    for (size_t j = 0; j < vecs; j++) {
        bv[j] = kdi_load(b + j / V * panel + j % V * KDI_VL);
    }
    KDI_UNROLL
    for (size_t i = 0; i < rows; i++) {
        const kdi_v av = kdi_splat(row[i / EACH][i % EACH * *rsa + at]);
        KDI_UNROLL
        for (size_t j = 0; j < vecs; j++) {
            kdi_add_product(&acc[i][j], av, bv[j]);
        }
        if (i % EACH == EACH - 1) LOADS_STAY;
    }
    if (STEPS > 1) __asm__ volatile("" : "+r"(*rsa)::"memory");
}

/* The empty asm keeps the compiler from giving each row a pointer of its own: there are too few
 * registers. */
INLINE void advance(const size_t rows, size_t by, const float *row[MR])
{
    KDI_UNROLL
    for (size_t i = 0; i < (rows + EACH - 1) / EACH; i++) {
        row[i] += by;
        __asm__("" : "+r"(row[i]));
    }
}

/* The tile at `at`: rows and vecs are constants after inlining. */
INLINE void tile(const size_t rows, const size_t vecs, place at, const float *a, const float *b,
                 size_t columns)
{
    const kdi_block *g = at.g;
    size_t rsa = g->rsa;
    const size_t csa = g->csa;
    kdi_v acc[MR][SPAN * V];
    KDI_UNROLL
    for (size_t i = 0; i < rows; i++) {
        KDI_UNROLL
        for (size_t j = 0; j < vecs; j++) {
            acc[i][j] = (kdi_v){0};
        }
    }
    float *c = g->c + at.i * g->ldc + at.j;
    KDI_UNROLL
    for (size_t i = 0; i < rows; i++) {
        KDI_UNROLL
        for (size_t j = 0; j < vecs * KDI_VL; j += 16) {
            __builtin_prefetch(c + i * g->ldc + j, 1, 3);
        }
    }
    if (g->epilogue && g->epilogue->residual)
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < vecs * KDI_VL; j += 16)
                __builtin_prefetch(g->epilogue->residual + (at.i + i) * g->epilogue->ldr + at.j +
                                   j);
    if (g->epilogue && g->epilogue->preact)
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < vecs * KDI_VL; j += 16)
                __builtin_prefetch(
                    g->epilogue->preact + (at.i + i) * g->epilogue->ld_preact + at.j + j, 1);
    size_t segments = g->segments;
    const bool asks = vecs <= V;
    stream far = stream_of(at);
    do {
        const float *row[MR] = {a};
        KDI_UNROLL
        for (size_t i = 1; i < (rows + EACH - 1) / EACH; i++) {
            row[i] = a + i * EACH * rsa;
        }
        size_t p = g->k;
        if (STEPS > 1 && csa == 1)
            for (; p >= STEPS; p -= STEPS, b += STEPS * NR, advance(rows, STEPS, row)) {
                if (asks) fetch_on(&far);
                KDI_UNROLL
                for (size_t q = 0; q < STEPS; q++) {
                    multiply(rows, vecs, b + q * NR, g->panel, &rsa, row, q, acc);
                }
            }
        for (; p > 0; p--, b += NR, advance(rows, csa, row)) {
            if (asks && p % STEPS == 0) fetch_on(&far);
            multiply(rows, vecs, b, g->panel, &rsa, row, 0, acc);
        }
        a += g->segment;
    } while (segments > 1 && --segments);

    if (asks && columns < vecs * KDI_VL) {
        float edge[MR * NR];
        KDI_UNROLL
        for (size_t i = 0; i < rows; i++) {
            KDI_UNROLL
            for (size_t j = 0; j < vecs; j++) {
                kdi_store(edge + i * NR + j * KDI_VL, acc[i][j]);
            }
        }
        put_partial(at, rows, columns, edge, NR);
        return;
    }
    const kdi_epilogue *e = g->epilogue;
    if (g->accumulate) {
        KDI_UNROLL
        for (size_t i = 0; i < rows; i++) {
            KDI_UNROLL
            for (size_t j = 0; j < vecs; j++) {
                acc[i][j] += kdi_load(c + i * g->ldc + j * KDI_VL);
            }
        }
    }
    if (e && e->bias) {
        KDI_UNROLL
        for (size_t j = 0; j < vecs; j++) {
            const kdi_v bias = kdi_load(e->bias + at.j + j * KDI_VL);
            KDI_UNROLL
            for (size_t i = 0; i < rows; i++) {
                acc[i][j] += bias;
            }
        }
    }
    if (e && e->residual) {
        KDI_UNROLL
        for (size_t i = 0; i < rows; i++) {
            KDI_UNROLL
            for (size_t j = 0; j < vecs; j++) {
                acc[i][j] += kdi_load(e->residual + (at.i + i) * e->ldr + at.j + j * KDI_VL);
            }
        }
    }
    if (e && e->preact) {
        KDI_UNROLL
        for (size_t i = 0; i < rows; i++) {
            KDI_UNROLL
            for (size_t j = 0; j < vecs; j++) {
                kdi_store(e->preact + (at.i + i) * e->ld_preact + at.j + j * KDI_VL, acc[i][j]);
            }
        }
    }
    if (e && e->act == KDI_ACT_RELU) {
        KDI_UNROLL
        for (size_t i = 0; i < rows; i++) {
            KDI_UNROLL
            for (size_t j = 0; j < vecs; j++) {
                acc[i][j] = kdi_relu(acc[i][j]);
            }
        }
    }
    KDI_UNROLL
    for (size_t i = 0; i < rows; i++) {
        KDI_UNROLL
        for (size_t j = 0; j < vecs; j++) {
            kdi_store(c + i * g->ldc + j * KDI_VL, acc[i][j]);
        }
    }
    if (e && e->act == KDI_ACT_GELU) gelu_tile(rows, vecs, c, g->ldc);
}

/* Prefetch columns [p, end) of an array's rows. */
static void fetch(const kdi_fetch *f, size_t p, size_t end)
{
    for (size_t row = 0; row < f->rows; row++)
        for (size_t q = p; q < end; q += LINE / sizeof(float))
            kdi_prefetch_far(f->x + row * f->step + q);
}

/* One strip of R rows over all columns. Each tile prefetches a part of the next strip's A. */
#define STRIP(R)                                                                                   \
    static void KDI_FN(strip_##R)(place at, const float *a, const kdi_fetch *next)                 \
    {                                                                                              \
        const kdi_block *g = at.g;                                                                 \
        const float *b = g->b;                                                                     \
        const size_t share = next->columns * NR / (g->n + NR) + 1;                                 \
        for (size_t p = 0, panels; at.j < g->n; at.j += panels * NR, at.t++) {                     \
            const size_t columns = g->n - at.j, end = p + share;                                   \
            fetch(next, p, end < next->columns ? end : next->columns);                             \
            p = end;                                                                               \
            panels = R <= FLAT && columns >= SPAN * NR ? SPAN : 1;                                 \
            if (R <= FLAT && panels == SPAN)                                                       \
                tile(R, (SPAN * V), at, a, b, (SPAN * NR));                                        \
            else if (columns > NR - KDI_VL)                                                        \
                tile(R, V, at, a, b, columns < NR ? columns : NR);                                 \
            else                                                                                   \
                tile(R, 1, at, a, b, columns);                                                     \
            b += panels * g->panel;                                                                \
        }                                                                                          \
    }
_Static_assert(V == 2, "a strip's last panel has one vector or two");

STRIP(1)
STRIP(2)
STRIP(3)
STRIP(4)
STRIP(5)
STRIP(6)
#if KDI_GEMM_MR > 6
STRIP(7)
STRIP(8)
#endif
#if KDI_GEMM_MR > 8
STRIP(9)
STRIP(10)
STRIP(11)
STRIP(12)
#endif
#if KDI_GEMM_MR > 12
STRIP(13)
STRIP(14)
#endif

static void (*const strips[MR + 1])(place, const float *, const kdi_fetch *) = {
    NULL,
    KDI_FN(strip_1),
    KDI_FN(strip_2),
    KDI_FN(strip_3),
    KDI_FN(strip_4),
    KDI_FN(strip_5),
    KDI_FN(strip_6),
#if KDI_GEMM_MR > 6
    KDI_FN(strip_7),
    KDI_FN(strip_8),
#endif
#if KDI_GEMM_MR > 8
    KDI_FN(strip_9),
    KDI_FN(strip_10),
    KDI_FN(strip_11),
    KDI_FN(strip_12),
#endif
#if KDI_GEMM_MR > 12
    KDI_FN(strip_13),
    KDI_FN(strip_14),
#endif
};

/* Strip by strip. All tiles prefetch what lies ahead, each a share. */
void KDI_FN(gemm_block)(const kdi_block *g)
{
    const size_t h = kdi_strip_rows(g->m, MR);
    if (h == 0) return; /* no rows */
    const size_t panels = (g->n + NR - 1) / NR, tiles = ((g->m - 1) / h + 1) * panels;
    const size_t strip = g->strip ? g->strip : h * g->rsa;
    const float *a = g->a;
    for (size_t i = 0, t = 0; i < g->m; i += h, a += strip, t += panels) {
        const size_t rows = g->m - i < h ? g->m - i : h, left = g->m - i - rows;
        const kdi_fetch next = {a + strip, left < h ? left : h, g->csa == 1 ? g->k : 0, g->rsa};
        strips[rows]((place){g, i, 0, t, tiles}, a, &next);
    }
}

size_t KDI_FN(gemm_scratch)(size_t m, size_t k)
{
    (void)m;
    (void)k;
    return 0;
}

/* Row by row, as B lies in memory; each row is dealt out to the panels. */
void KDI_FN(pack_b)(size_t k, size_t n, const float *b, size_t ldb, float *packed, size_t panel)
{
    for (size_t p = 0; p < k; p++, b += ldb) {
        float *to = packed + p * NR;
        size_t j = 0;
        for (; j + NR <= n; j += NR, to += panel) {
            __builtin_prefetch(b + 2 * ldb + j);
            __builtin_prefetch(b + 2 * ldb + j + NR / 2);
            KDI_UNROLL
            for (size_t v = 0; v < V; v++) {
                kdi_store(to + v * KDI_VL, kdi_load(b + j + v * KDI_VL));
            }
        }
        if (j == n) continue;
        size_t i = 0;
        for (; j + i < n; i++) to[i] = b[j + i];
        for (; i < NR; i++) to[i] = 0;
    }
}

/* A square of KDI_VL columns by KDI_VL steps of k; `count` columns and `depth` steps are in the
 * matrix. */
INLINE void turn(const float *b, size_t ldb, size_t count, size_t depth, float *to)
{
    if (depth >= KDI_VL) {
        kdi_v square[KDI_VL];
        KDI_UNROLL
        for (size_t i = 0; i < KDI_VL; i++) {
            if (i < count) __builtin_prefetch(b + i * ldb + 4 * KDI_VL);
            square[i] = i < count ? kdi_load(b + i * ldb) : kdi_splat(0);
        }
        kdi_transpose_square(square);
        KDI_UNROLL
        for (size_t p = 0; p < KDI_VL; p++) {
            kdi_store(to + p * NR, square[p]);
        }
        return;
    }
    for (size_t p = 0; p < depth && p < KDI_VL; p++)
        for (size_t i = 0; i < KDI_VL; i++) to[p * NR + i] = i < count ? b[i * ldb + p] : 0;
}

void KDI_FN(pack_bt)(size_t k, size_t n, const float *b, size_t ldb, float *packed, size_t panel)
{
    for (size_t j = 0; j < n; j += NR, packed += panel)
        for (size_t p = 0; p < k; p += KDI_VL)
            for (size_t i = 0; i < NR; i += KDI_VL)
                if (n - j >= NR) /* all columns are there */
                    turn(b + (j + i) * ldb + p, ldb, KDI_VL, k - p, packed + p * NR + i);
                else
                    turn(b + (j + i) * ldb + p, ldb, j + i < n ? n - j - i : 0, k - p,
                         packed + p * NR + i);
}

/* Row by row, as A lies in memory; each row is dealt out to the strips in whole vectors. What a
 * vector writes beyond its row of a strip, the strip's next row overwrites. The last row writes
 * only what it has. So a vector must not reach beyond the next row: if there are two strips or
 * more, each has at least MR / 2 + 1 rows. */
_Static_assert(2 * (MR / 2 + 1) >= KDI_VL, "a vector would reach beyond a strip's next row");
void KDI_FN(pack_strips)(size_t k, size_t m, const float *a, size_t lda, size_t readable, size_t h,
                         float *packed)
{
    const size_t strip = k * h;
    for (size_t p = 0; p < k; p++, a += lda, packed += h) {
        float *to = packed;
        size_t i = 0;
        if (h <= KDI_VL && p + 1 < k)
            for (; i + KDI_VL <= readable && i < m; i += h, to += strip)
                kdi_store(to, kdi_load(a + i));
        for (; i < m; i += h, to += strip) memcpy(to, a + i, (m - i < h ? m - i : h) * sizeof *to);
    }
}

void KDI_FN(copy_rows)(size_t m, size_t n, const float *x, size_t ldx, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; i++, x += ldx, y += ldy) {
        size_t j = 0;
        for (; j + KDI_VL <= n; j += KDI_VL) kdi_store(y + j, kdi_load(x + j));
        for (; j < n; j++) y[j] = x[j];
    }
}

void KDI_FN(sum_parts)(size_t n, size_t parts, const float *x, size_t step, float *y,
                       int accumulate)
{
    enum { WIDE = 4 };
    size_t j = 0;
    for (; j + WIDE * KDI_VL <= n; j += WIDE * KDI_VL) {
        kdi_v sum[WIDE] = {{0}};
        for (size_t p = 0; p < parts; p++) {
            KDI_UNROLL
            for (size_t v = 0; v < WIDE; v++) {
                sum[v] += kdi_load(x + p * step + j + v * KDI_VL);
            }
        }
        KDI_UNROLL
        for (size_t v = 0; v < WIDE; v++) {
            if (accumulate) sum[v] += kdi_load(y + j + v * KDI_VL);
            kdi_store(y + j + v * KDI_VL, sum[v]);
        }
    }
    for (; j < n; j++) {
        float sum = 0;
        for (size_t p = 0; p < parts; p++) sum += x[p * step + j];
        y[j] = accumulate ? sum + y[j] : sum;
    }
}
