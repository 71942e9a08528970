/* SPDX-License-Identifier: MIT
 * gemm.c: the inside of matrix products on tiles of bfloat16 (AMX), as exact as float32.
 *
 * A float's 24 bits are cut into three bfloat16 of 8: x = high + middle + low, exactly. Of the nine
 * products of two such sums the six that matter are formed, exactly, and added up in float32; what
 * is left out is at most 2^-24 of the product. A tile instruction sums 32 products on their own
 * before it adds them to C, so that the sum of all is rounded less often than with multiply-adds.
 * Where there are infinities or NaN floats are multiplied; what lies below 2^-126 may be lost.
 * After Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for
 * higher-precision computations", ARITH 2019.
 *
 * A block of A is cut once, strip by strip, and kept in cache; then B panel by panel. Products over
 * few k or of few rows, and of an A packed in strips, are left to AVX-512. */
#include "../isa/vectors.h"

#include "../../base/size.h"
#include "../isa/vec_math.h"
#include "avx512.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

void KDI_FN(gemm_block)(const kdi_block *g);
size_t KDI_FN(gemm_scratch)(size_t m, size_t k);

enum {
    SIDE = 16,                 /* rows of a tile */
    STEP = 32,                 /* k of a tile: pair p of a row is k = p and k = 16 + p */
    TILE = SIDE * STEP,        /* bfloat16s */
    STRIP = 2 * SIDE,          /* rows of C at a time: two tiles of A by two of B */
    NR = KDI_GEMM_NR,          /* columns of a panel */
    GROUP = 3 * 2 * TILE,      /* both tiles' high, middle and low parts, of one step */
    ROWS = 352,                /* of A cut at a time */
    DEPTH = 13,                /* steps of A cut at a time: 416, the most the callers give */
    LEAST = 16,                /* k that are worth it */
    FEW = 48,                  /* rows that are not */
    AHEAD = 32,                /* rows that are fetched before they are wanted */
    LINE = 64 / sizeof(float), /* floats */
};
_Static_assert(NR == 2 * SIDE, "a panel is two tiles");

typedef uint16_t part;

/* ---- floats in three parts ------------------------------------------------------------------- */

/* Floats with 8 bits of mantissa each: the upper half of a lane is the bfloat16. */
typedef struct cut {
    __m512i part[3];
} cut;

enum { HALF = 0x8000, NOT_FINITE = 0x99 };

/* Round to nearest; x is finite, and not so large that it became infinite. */
INLINE __m512i rounded(__m512 x)
{
    const __m512i t = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(HALF));
    return _mm512_and_si512(t, _mm512_set1_epi32(~0xffff));
}

INLINE cut cut_below(__m512 x, __m512i high)
{
    const __m512 rest = _mm512_sub_ps(x, _mm512_castsi512_ps(high));
    const __m512i middle = rounded(rest);
    const __m512 low = _mm512_sub_ps(rest, _mm512_castsi512_ps(middle));
    return (cut){{high, middle, _mm512_castps_si512(low)}};
}

/* Which lanes would round to infinity, are infinite or NaN? */
INLINE __mmask16 large(__m512 x)
{
    return _mm512_cmpge_epu32_mask(_mm512_slli_epi32(_mm512_castps_si512(x), 1),
                                   _mm512_set1_epi32((int)0xfeff0000u));
}

/* The largest floats are cut off instead of rounded. Infinities and NaN have no parts (infinity
 * times a part that is 0 would be NaN): they are left out, and said. */
static __attribute__((noinline)) void cut_large(__m512 x, cut *to, bool *special)
{
    const __mmask16 finite = (__mmask16)~_mm512_fpclass_ps_mask(x, NOT_FINITE);
    const __m512 y = _mm512_maskz_mov_ps(finite, x);
    *to = cut_below(y, _mm512_mask_and_epi32(rounded(y), large(y), _mm512_castps_si512(y),
                                             _mm512_set1_epi32(~0xffff)));
    *special |= finite != 0xffff;
}

/* One row of the two tiles of each part: pairs of x[p] and y[p]. */
INLINE void put_pairs(__m512 x, __m512 y, part *to, bool *special)
{
    cut a = cut_below(x, rounded(x)), b = cut_below(y, rounded(y));
    if (__builtin_expect(large(x) | large(y), 0)) {
        cut_large(x, &a, special);
        cut_large(y, &b, special);
    }
    for (int i = 0; i < 3; i++)
        _mm512_store_si512(
            to + i * 2 * TILE,
            _mm512_or_si512(_mm512_srli_epi32(a.part[i], 16),
                            _mm512_and_si512(b.part[i], _mm512_set1_epi32(~0xffff))));
}

INLINE __m512 load(const float *x, size_t count)
{
    return count >= SIDE ? _mm512_loadu_ps(x)
                         : _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), x);
}

/* ---- A and B as tiles ------------------------------------------------------------------------ */

/* A place along k: step q of segment `segment`. */
typedef struct along {
    size_t segment, q;
} along;

INLINE along along_k(const kdi_block *g, size_t p)
{
    return g->segments > 1 ? (along){p / g->k, p % g->k} : (along){0, p};
}

INLINE size_t offset(const kdi_block *g, along at)
{
    return at.segment * g->segment + at.q * g->csa;
}

INLINE along next(const kdi_block *g, along at)
{
    if (++at.q < g->k) return at;
    return (along){at.segment + 1, 0};
}

/* Row r of A from p on, count numbers of it. */
static void cut_row(const kdi_block *g, const float *row, size_t p, size_t count, part *to,
                    bool *special)
{
    along at = along_k(g, p);
    for (; count >= STEP && g->csa == 1 && g->k - at.q >= STEP; count -= STEP, to += GROUP) {
        const float *x = row + offset(g, at);
        __builtin_prefetch(x + AHEAD * g->rsa);
        __builtin_prefetch(x + AHEAD * g->rsa + SIDE);
        put_pairs(_mm512_loadu_ps(x), _mm512_loadu_ps(x + SIDE), to, special);
        at.q += STEP;
        if (at.q == g->k) at = (along){at.segment + 1, 0};
    }
    while (count > 0) {
        float x[STEP] = {0};
        const size_t n = kdi_smaller(count, STEP);
        for (size_t q = 0; q < n; q++, at = next(g, at)) x[q] = row[offset(g, at)];
        put_pairs(_mm512_loadu_ps(x), _mm512_loadu_ps(x + SIDE), to, special);
        to += GROUP;
        count -= n;
    }
}

/* Rows [i, i + rows) of A, numbers [p, p + count). */
static void cut_rows(const kdi_block *g, size_t i, size_t rows, size_t p, size_t count, part *to,
                     bool *special)
{
    for (size_t r = 0; r < rows; r++)
        cut_row(g, g->a + (i + r) * g->rsa, p, count, to + r / SIDE * TILE + r % SIDE * STEP,
                special);
}

/* The same where columns lie in memory: rows [i, i + SIDE), rows of them there. */
static void cut_columns(const kdi_block *g, size_t i, size_t rows, size_t p, size_t count, part *to,
                        bool *special)
{
    along at = along_k(g, p);
    const size_t end = count;
    for (size_t q = 0; q < end; q += STEP, to += GROUP) {
        kdi_v x[STEP];
        for (size_t s = 0; s < STEP; s++) {
            x[s] = (kdi_v){0};
            if (q + s >= end) continue;
            x[s] = load(g->a + i + offset(g, at), rows);
            at = next(g, at);
        }
        kdi_transpose_square(x);
        kdi_transpose_square(x + SIDE);
        for (size_t r = 0; r < rows && r < SIDE; r++)
            put_pairs(x[r], x[SIDE + r], to + r * STEP, special);
    }
}

static void cut_a(const kdi_block *g, size_t i, size_t rows, size_t p, size_t count, part *to,
                  bool *special)
{
    if (g->rsa != 1 || g->csa == 1) {
        cut_rows(g, i, rows, p, count, to, special);
        return;
    }
    cut_columns(g, i, rows, p, count, to, special);
    if (rows > SIDE) cut_columns(g, i + SIDE, rows - SIDE, p, count, to + TILE, special);
}

/* Row s and half `half` of a step of B, of which there are count rows. */
INLINE void cut_b(const float *b, size_t count, size_t s, size_t half, part *to, bool *special)
{
    const float *x = b + s * NR + half * SIDE;
    put_pairs(s < count ? _mm512_loadu_ps(x) : _mm512_setzero_ps(),
              s + SIDE < count ? _mm512_loadu_ps(x + SIDE * NR) : _mm512_setzero_ps(),
              to + half * TILE + s * STEP, special);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

typedef struct __attribute__((packed)) shape {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
} shape;

static const shape whole_tiles = {
    1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

/* ---- what is done meanwhile ------------------------------------------------------------------ */

INLINE void put_part(float *to, size_t count, kdi_v x)
{
    if (count >= SIDE)
        kdi_store(to, x);
    else
        kdi_store_part(to, count, x);
}

/* Row i of C, columns [j, j + columns), from t. */
static void put_row(const kdi_block *g, size_t i, size_t j, size_t columns, const float *t,
                    bool add, const kdi_epilogue *e)
{
    for (size_t q = 0; q < columns; q += SIDE) {
        const size_t n = columns - q;
        float *c = g->c + i * g->ldc + j + q;
        kdi_v x = _mm512_load_ps(t + q);
        if (add) x += load(c, n);
        if (e) {
            if (e->bias) x += load(e->bias + j + q, n);
            if (e->residual) x += load(e->residual + i * e->ldr + j + q, n);
            if (e->preact) put_part(e->preact + i * e->ld_preact + j + q, n, x);
            if (e->act == KDI_ACT_RELU) x = kdi_relu(x);
            if (e->act == KDI_ACT_GELU) x = kdi_gelu(x);
        }
        put_part(c, n, x);
    }
}

/* A stretch of what is to be fetched. */
typedef struct stream {
    const kdi_fetch *f;
    size_t row, at, left; /* left: lines */
} stream;

INLINE void fetch(stream *s, size_t lines)
{
    for (; lines > 0 && s->left > 0; lines--, s->left--) {
        __builtin_prefetch(s->f->x + s->row * s->f->step + s->at, 0, 2);
        s->at += LINE;
        if (s->at < s->f->columns) continue;
        s->at = 0;
        s->row++;
    }
}

/* The tiles' unit works on its own; while it multiplies, what it will need next is cut and what it
 * has done is put where it belongs, a little with each step. Numbers are of items: item `at` is the
 * next, each of them a turn. */
typedef struct some {
    size_t at, end, each;
} some;

typedef struct chores {
    const kdi_block *g;
    some b; /* half rows of the next steps of B, which has count rows there */
    const float *b_from;
    size_t b_count;
    part *b_to;
    bool *b_special; /* was there an infinity or NaN? */
    some a;          /* rows of the next strip, for each step */
    const float *a_from;
    size_t a_steps;
    part *a_to;
    bool *a_special;
    some c; /* rows of the last panel of C */
    const float *c_from;
    size_t c_i, c_j, c_columns;
    bool add;
    const kdi_epilogue *epilogue;
    stream far[2];
    size_t lines[2];
} chores;

INLINE size_t until(const some *s, bool all)
{
    return all || s->end - s->at < s->each ? s->end : s->at + s->each;
}

INLINE void do_b(chores *o, bool all)
{
    for (const size_t end = until(&o->b, all); o->b.at < end; o->b.at++) {
        const size_t step = o->b.at / STEP, first = step * STEP;
        cut_b(o->b_from + first * NR, o->b_count - first, o->b.at / 2 % SIDE, o->b.at % 2,
              o->b_to + step * GROUP, o->b_special);
    }
}

INLINE void do_a(chores *o, bool all)
{
    for (const size_t end = until(&o->a, all); o->a.at < end; o->a.at++) {
        const size_t r = o->a.at / o->a_steps, step = o->a.at % o->a_steps;
        const float *x = o->a_from + r * o->g->rsa + step * STEP;
        __builtin_prefetch(x + STRIP * o->g->rsa);
        __builtin_prefetch(x + STRIP * o->g->rsa + SIDE);
        put_pairs(_mm512_loadu_ps(x), _mm512_loadu_ps(x + SIDE),
                  o->a_to + step * GROUP + r / SIDE * TILE + r % SIDE * STEP, o->a_special);
    }
}

/* A panel's row, to be read and written. */
INLINE void fetch_row(const float *x)
{
    __builtin_prefetch(x, 1, 2);
    __builtin_prefetch(x + SIDE, 1, 2);
}

INLINE void do_c(chores *o, bool all)
{
    for (const size_t end = until(&o->c, all); o->c.at < end; o->c.at++) {
        size_t row = o->c.at + AHEAD, j = o->c_j;
        if (row >= o->c.end) {
            row -= o->c.end;
            j += NR;
        }
        fetch_row(o->g->c + (o->c_i + row) * o->g->ldc + j);
        if (o->epilogue && o->epilogue->residual)
            fetch_row(o->epilogue->residual + (o->c_i + row) * o->epilogue->ldr + j);
        if (o->epilogue && o->epilogue->preact)
            fetch_row(o->epilogue->preact + (o->c_i + row) * o->epilogue->ld_preact + j);
        put_row(o->g, o->c_i + o->c.at, o->c_j, o->c_columns, o->c_from + o->c.at * NR, o->add,
                o->epilogue);
    }
}

static __attribute__((noinline)) void turn(chores *o)
{
    const size_t which = o->far[1].left > o->far[0].left;
    fetch(&o->far[which], o->lines[which]);
    if (o->b.at < o->b.end) do_b(o, false);
    if (o->c.at < o->c.end) do_c(o, false);
    if (o->a.at < o->a.end) do_a(o, false);
}

static some items(size_t count, size_t turns)
{
    return (some){0, count, (count + turns - 1) / turns};
}

/* Tiles 0 to 3: C; 4, 5: A; 6, 7: B. rows and columns are 1 or 2 tiles, constants once inlined. */
INLINE void multiply(const size_t rows, const size_t columns)
{
    _tile_dpbf16ps(0, 4, 6);
    if (columns > 1) _tile_dpbf16ps(1, 4, 7);
    if (rows > 1) _tile_dpbf16ps(2, 5, 6);
    if (rows > 1 && columns > 1) _tile_dpbf16ps(3, 5, 7);
}

#define LOAD_A(part)                                                                               \
    _tile_loadd(4, a + 2 * (part)*TILE, 64);                                                       \
    if (rows > 1) _tile_loadd(5, a + (2 * (part) + 1) * TILE, 64)
#define LOAD_B(part)                                                                               \
    _tile_loadd(6, b + 2 * (part)*TILE, 64);                                                       \
    if (columns > 1) _tile_loadd(7, b + (2 * (part) + 1) * TILE, 64)

/* c[STRIP][NR] = A B, over all steps: small products first, in each step. */
INLINE void tiles(const size_t rows, const size_t columns, size_t steps, const part *a,
                  const part *b, float *c, chores *o)
{
    const int bytes = NR * sizeof(float);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (; steps > 0; steps--, a += GROUP, b += GROUP) {
        LOAD_A(2);
        LOAD_B(0);
        multiply(rows, columns); /* low high */
        LOAD_A(1);
        multiply(rows, columns); /* middle high */
        turn(o);
        LOAD_B(1);
        multiply(rows, columns); /* middle middle */
        LOAD_A(0);
        multiply(rows, columns); /* high middle */
        turn(o);
        LOAD_B(0);
        multiply(rows, columns); /* high high */
        LOAD_B(2);
        multiply(rows, columns); /* high low */
        turn(o);
    }
    _tile_stored(0, c, bytes);
    if (columns > 1) _tile_stored(1, c + SIDE, bytes);
    if (rows > 1) _tile_stored(2, c + SIDE * NR, bytes);
    if (rows > 1 && columns > 1) _tile_stored(3, c + SIDE * NR + SIDE, bytes);
}

enum { TURNS = 3 }; /* of a step */

static void product(size_t rows, size_t columns, size_t steps, const part *a, const part *b,
                    float *c, chores *o)
{
    if (rows > SIDE && columns > SIDE)
        tiles(2, 2, steps, a, b, c, o);
    else if (rows > SIDE)
        tiles(2, 1, steps, a, b, c, o);
    else if (columns > SIDE)
        tiles(1, 2, steps, a, b, c, o);
    else
        tiles(1, 1, steps, a, b, c, o);
}

/* ---- a block --------------------------------------------------------------------------------- */

/* c[rows][NR] = A B as floats have it: where there are infinities or NaN. */
static __attribute__((noinline)) void in_floats(const kdi_block *g, size_t i, size_t rows, size_t p,
                                                size_t count, const float *b, float *c)
{
    for (size_t r = 0; r < rows; r++) {
        const float *row = g->a + (i + r) * g->rsa;
        along at = along_k(g, p);
        kdi_v x = {0}, y = {0};
        for (size_t q = 0; q < count; q++, at = next(g, at)) {
            const kdi_v number = kdi_splat(row[offset(g, at)]);
            x += number * kdi_load(b + q * NR);
            y += number * kdi_load(b + q * NR + SIDE);
        }
        kdi_store(c + r * NR, x);
        kdi_store(c + r * NR + SIDE, y);
    }
}

/* Rows [i, i + m) of the block, numbers [p, p + count) of k. While a panel's strips are multiplied
 * the next panel of B is cut, the last panel of C put away, and, the first time, the next strip of
 * A cut. */
static void rows_times_panels(const kdi_block *g, size_t i, size_t m, size_t p, size_t count,
                              bool last, stream far[2])
{
    const size_t steps = (count + STEP - 1) / STEP, panels = (g->n + NR - 1) / NR;
    const size_t strips = (m + STRIP - 1) / STRIP, turns = strips * steps * TURNS;
    const bool plain = g->csa == 1 && g->segments <= 1 && count % STEP == 0;
    part *a = (part *)(void *)g->scratch, *b[2] = {a + strips * steps * GROUP};
    b[1] = b[0] + steps * GROUP;
    float *c[2] = {(float *)(void *)(b[1] + steps * GROUP)};
    c[1] = c[0] + strips * STRIP * NR;
    bool a_special[ROWS / STRIP] = {false}, b_special[2] = {false};
    chores o = {.g = g,
                .b_from = g->b + p * NR,
                .b_count = count,
                .b_to = b[0],
                .b_special = b_special,
                .b = items(steps * STEP, 1),
                .a_steps = steps,
                .c_i = i,
                .add = g->accumulate || p > 0,
                .epilogue = last ? g->epilogue : NULL,
                .far = {far[0], far[1]}};
    for (int f = 0; f < 2; f++) o.lines[f] = (far[f].left + turns * panels - 1) / (turns * panels);
    for (size_t s = 0; s < (plain ? 1 : strips); s++)
        cut_a(g, i + s * STRIP, kdi_smaller(m - s * STRIP, STRIP), p, count, a + s * steps * GROUP,
              &a_special[s]);
    do_b(&o, true);
    _tile_loadconfig(&whole_tiles);
    for (size_t q = 0; q < panels; q++) {
        const size_t columns = kdi_smaller(g->n - q * NR, NR);
        if (q + 1 < panels) {
            o.b_from += g->panel;
            o.b_to = b[(q + 1) % 2];
            o.b_special = &b_special[(q + 1) % 2];
            *o.b_special = false;
            o.b = items(steps * STEP, turns);
        }
        for (size_t s = 0; s < strips; s++) {
            if (plain && q == 0 && s + 1 < strips) {
                o.a_from = g->a + (i + (s + 1) * STRIP) * g->rsa + p;
                o.a_to = a + (s + 1) * steps * GROUP;
                o.a_special = &a_special[s + 1];
                o.a = items(kdi_smaller(m - (s + 1) * STRIP, STRIP) * steps, steps * TURNS);
            }
            const size_t rows = kdi_smaller(m - s * STRIP, STRIP);
            float *to = c[q % 2] + s * STRIP * NR;
            product(rows, columns, steps, a + s * steps * GROUP, b[q % 2], to, &o);
            if (__builtin_expect(a_special[s] | b_special[q % 2], 0))
                in_floats(g, i + s * STRIP, rows, p, count, g->b + q * g->panel + p * NR, to);
            do_a(&o, true);
        }
        do_b(&o, true);
        do_c(&o, true);
        o.c_from = c[q % 2];
        o.c_j = q * NR;
        o.c_columns = columns;
        o.c = items(m, turns);
    }
    _tile_release();
    do_c(&o, true);
    far[0] = o.far[0];
    far[1] = o.far[1];
}

/* A's tiles, those of two panels of B, and two panels of C. */
size_t KDI_FN(gemm_scratch)(size_t m, size_t k)
{
    if (m < FEW || k < LEAST) return 0;
    const size_t strips = (kdi_smaller(m, ROWS) + STRIP - 1) / STRIP;
    const size_t steps = (kdi_smaller(k, DEPTH * STEP) + STEP - 1) / STEP;
    return ((strips + 2) * steps * GROUP * sizeof(part)) / sizeof(float) + 2 * strips * STRIP * NR;
}

static stream stream_of(const kdi_fetch *f)
{
    return (stream){.f = f, .left = f->rows * ((f->columns + LINE - 1) / LINE)};
}

void KDI_FN(gemm_block)(const kdi_block *g)
{
    const size_t k = g->segments > 1 ? g->segments * g->k : g->k, depth = DEPTH * STEP;
    if (k < LEAST || g->m < FEW || g->strip || !g->scratch) {
        kdi_gemm_block_avx512(g);
        return;
    }
    stream far[2] = {stream_of(&g->ahead[0]), stream_of(&g->ahead[1])};
    for (size_t i = 0; i < g->m; i += ROWS)
        for (size_t p = 0; p < k; p += depth)
            rows_times_panels(g, i, kdi_smaller(g->m - i, ROWS), p, kdi_smaller(k - p, depth),
                              k - p <= depth, far);
}
