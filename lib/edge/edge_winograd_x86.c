/* SPDX-License-Identifier: MIT
 * edge_winograd_x86.c: int8 convolutions of 3x3, stride 1, on a host with AVX2, in 16 products for four
 * outputs instead of 36, to the same bits. Empty elsewhere, and in freestanding builds.
 *
 * Winograd's F(2x2, 3x3) in integers: of a tile of 4x4 inputs d and a kernel g,
 * 4 y = A' [(2G g 2G') . (B' d B)] A, where A, B and 2G hold 0, 1, -1 and 2 alone. Inputs become at most
 * 4 * 128, weights 9 * 128: both fit int16, and vpmaddwd's pairs 2^21. The sum over all channels may wrap:
 * 4 y is right modulo 2^32, and |y| <= 9 * 256 * 2^14 < 2^29, so the division by four is exact.
 *
 * The transformed weights are made for eight channels at a time, and met by all tiles of a batch.
 * They are made in every run: a blob is used in place, so nothing can be kept. Lanes are four
 * channels by four inputs; a tile's four inputs are broadcast. */
#include "edge_conv_x86.h"

#if KD_EDGE_X86
#include "edge_x86.h"

/* Arrays of vectors are registers where their loops are written out. */
#define UNROLL _Pragma("GCC unroll 8")

enum {
    VALUES = 50176, /* int16 of a batch: weights of eight channels, then tiles */
    PLACES = 16,    /* of a tile, transformed */
    CHANNELS = 8,   /* whose weights are transformed at a time */
    GROUP = 6,      /* tiles multiplied at a time */
    MOST_IN = 256,  /* input channels */
    APART = 32 /* int16 from place to place besides: 4096 bytes apart, they displace each other */
};

typedef struct batch {
    int16_t w[VALUES] __attribute__((aligned(32))); /* [PLACES][in_channels / 4][CHANNELS][4] */
    int32_t sums[PLACES][GROUP][CHANNELS] __attribute__((aligned(32)));
    int16_t *x;    /* in w: [PLACES][most][in_channels] */
    size_t w_step; /* from place to place */
    size_t x_step;
    uint32_t most;    /* tiles that there is room for: whole rows of tiles */
    uint32_t tiles;   /* gathered */
    uint32_t columns; /* tiles in a row */
    uint32_t row;     /* of tiles: the batch's first */
} batch;

static uint32_t tile_columns(const kd_edge_conv *conv)
{
    return ((uint32_t)conv->out_width * conv->pool + 1) / 2;
}

/* Tiles that there is room for. */
static uint32_t most_tiles(const kd_edge_conv *conv)
{
    const uint32_t values = VALUES - 2 * PLACES * APART, each = values / conv->in_channels;
    return (each - PLACES * CHANNELS) / PLACES;
}

int kd_edge_winograd_can(const kd_edge_conv *conv)
{
    if (conv->kernel_height != 3 || conv->kernel_width != 3 || conv->stride_height != 1 ||
        conv->stride_width != 1 || conv->in_channels % 16 || conv->in_channels > MOST_IN)
        return 0;
    const uint32_t columns = tile_columns(conv);
    const uint32_t rows = ((uint32_t)conv->out_height * conv->pool + 1) / 2;
    return columns <= most_tiles(conv) && columns * rows >= 4 && __builtin_cpu_supports("avx2");
}

KD_EDGE_AVX2 static inline __m256i widen(const int8_t *at)
{
    const void *from = at;
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(from));
}

KD_EDGE_AVX2 static inline __m256i values(const int16_t *at)
{
    const void *from = at;
    return _mm256_load_si256(from);
}

KD_EDGE_AVX2 static inline void put(int16_t *at, __m256i x)
{
    void *to = at;
    _mm256_store_si256(to, x);
}

KD_EDGE_AVX2 static inline __m256i plus(__m256i a, __m256i b)
{
    return _mm256_add_epi16(a, b);
}

KD_EDGE_AVX2 static inline __m256i minus(__m256i a, __m256i b)
{
    return _mm256_sub_epi16(a, b);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* Four channels' 16 weights of one tap, to[4][4 channels][4]. */
KD_EDGE_AVX2 static inline void interleave(const int8_t *const w[4], size_t at, int8_t *to)
{
    __m128i v[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        const void *from = w[i] + at;
        v[i] = _mm_loadu_si128(from);
    }
    const __m128i a = _mm_unpacklo_epi32(v[0], v[1]), b = _mm_unpacklo_epi32(v[2], v[3]);
    const __m128i c = _mm_unpackhi_epi32(v[0], v[1]), d = _mm_unpackhi_epi32(v[2], v[3]);
    void *out[4] = {to, to + 16, to + 32, to + 48};
    _mm_store_si128(out[0], _mm_unpacklo_epi64(a, b));
    _mm_store_si128(out[1], _mm_unpackhi_epi64(a, b));
    _mm_store_si128(out[2], _mm_unpacklo_epi64(c, d));
    _mm_store_si128(out[3], _mm_unpackhi_epi64(c, d));
}

/* (2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2) times a, b, c. */
KD_EDGE_AVX2 static inline void kernel_side(__m256i a, __m256i b, __m256i c, __m256i out[4])
{
    const __m256i both = plus(a, c);
    out[0] = plus(a, a);
    out[1] = plus(both, b);
    out[2] = minus(both, b);
    out[3] = plus(c, c);
}

/* taps[9][4][16]: the weights of one vector, [ky][kx], 64 bytes apart; to: place 0; step: to the next. */
KD_EDGE_AVX2 static inline void transform_weights(const int8_t *taps, size_t step, int16_t *to)
{
    __m256i down[3][4]; /* [kx][row] */
    UNROLL
    for (size_t x = 0; x < 3; x++)
        kernel_side(widen(taps + 64 * x), widen(taps + 64 * (3 + x)), widen(taps + 64 * (6 + x)),
                    down[x]);
    UNROLL
    for (size_t r = 0; r < 4; r++) {
        __m256i across[4];
        kernel_side(down[0][r], down[1][r], down[2][r], across);
        UNROLL
        for (size_t x = 0; x < 4; x++) put(to + (4 * r + x) * step, across[x]);
    }
}

/* The weights of channels first to first + 7; what lies beyond the last is its copy. A vector has
 * channels 0, 1, 4, 5, the next one 2, 3, 6, 7: so vphaddd brings them in order. */
KD_EDGE_AVX2 static void pack(const kd_edge_model *model, const kd_edge_conv *conv, uint32_t first,
                              batch *p)
{
    static const uint8_t order[CHANNELS] = {0, 1, 4, 5, 2, 3, 6, 7};
    const int8_t *weights = kd_edge_section(model, conv->weights);
    const uint32_t in = conv->in_channels, last = conv->out_channels - 1u;
    const int8_t *w[CHANNELS];
    for (uint32_t i = 0; i < CHANNELS; i++) {
        const uint32_t c = first + order[i];
        w[i] = weights + (size_t)(c < last ? c : last) * kd_edge_weight_row(conv);
    }
    int8_t taps[9][4][16] __attribute__((aligned(32)));
    for (uint32_t k = 0; k < in; k += 16)
        for (uint32_t half = 0; half < 2; half++) {
            for (uint32_t tap = 0; tap < 9; tap++)
                interleave(w + 4 * half, (size_t)tap * in + k, taps[tap][0]);
            for (uint32_t i = 0; i < 4; i++)
                transform_weights(taps[0][i], p->w_step,
                                  p->w + (size_t)(k / 4 + i) * 4 * CHANNELS + 16 * half);
        }
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* One row of a tile, from its four columns; to: its first place; step: to the next. */
KD_EDGE_AVX2 static inline void store_row(const __m256i t[4], size_t step, int16_t *to)
{
    put(to, minus(t[0], t[2]));
    put(to + step, plus(t[1], t[2]));
    put(to + 2 * step, minus(t[2], t[1]));
    put(to + 3 * step, minus(t[1], t[3]));
}

/* Where a tile's four columns begin in a row: one beyond the line is the last, and used for no output. */
static void columns_of(const kd_edge_conv *conv, uint32_t tile, size_t at[4])
{
    const uint32_t last = kd_edge_columns(conv) - 1;
    for (uint32_t i = 0; i < 4; i++)
        at[i] = (size_t)(2 * tile + i < last ? 2 * tile + i : last) * conv->in_channels;
}

static const int8_t *signed_of(const uint8_t *row)
{
    const void *from = row;
    return from;
}

/* A row of tiles from the first three of its input rows: places 0 to 11. */
KD_EDGE_AVX2 static void gather_upper(const kd_edge_conv *conv, const uint8_t *const rows[],
                                      batch *p)
{
    const size_t in = conv->in_channels, step = p->x_step;
    const int8_t *d0 = signed_of(rows[0]), *d1 = signed_of(rows[1]), *d2 = signed_of(rows[2]);
    for (uint32_t tile = 0; tile < p->columns; tile++) {
        size_t at[4];
        columns_of(conv, tile, at);
        int16_t *to = p->x + (p->tiles + tile) * in;
        for (size_t k = 0; k < in; k += 16) {
            __m256i t0[4], t1[4], t2[4];
            UNROLL
            for (int i = 0; i < 4; i++) {
                const __m256i a = widen(d0 + at[i] + k), b = widen(d1 + at[i] + k);
                const __m256i c = widen(d2 + at[i] + k);
                t0[i] = minus(a, c);
                t1[i] = plus(b, c);
                t2[i] = minus(c, b);
            }
            store_row(t0, step, to + k);
            store_row(t1, step, to + 4 * step + k);
            store_row(t2, step, to + 8 * step + k);
        }
    }
}

/* The same row of tiles from its second and fourth input rows: places 12 to 15. */
KD_EDGE_AVX2 static void gather_lower(const kd_edge_conv *conv, const uint8_t *second,
                                      const uint8_t *fourth, batch *p)
{
    const size_t in = conv->in_channels, step = p->x_step;
    const int8_t *d1 = signed_of(second), *d3 = signed_of(fourth);
    for (uint32_t tile = 0; tile < p->columns; tile++) {
        size_t at[4];
        columns_of(conv, tile, at);
        int16_t *to = p->x + (p->tiles + tile) * in + 12 * step;
        for (size_t k = 0; k < in; k += 16) {
            __m256i t3[4];
            UNROLL
            for (int i = 0; i < 4; i++) t3[i] = minus(widen(d1 + at[i] + k), widen(d3 + at[i] + k));
            store_row(t3, step, to + k);
        }
    }
}

/* ---- products -------------------------------------------------------------------------------- */

/* Adds the products of four inputs with eight channels' weights u, v to a, b. Left to itself, gcc keeps
 * some sums in memory: 12 sums, u, v and two more are all registers. */
KD_EDGE_AVX2 static inline void add_products(const int16_t *x, __m256i u, __m256i v, __m256i *a,
                                             __m256i *b)
{
    const void *from = x;
    const struct {
        int16_t x[4];
    } *four = from;
    __m256i all, product;
    __asm__ volatile("vpbroadcastq %4, %2\n\t"
                     "vpmaddwd %5, %2, %3\n\t"
                     "vpmaddwd %6, %2, %2\n\t"
                     "vpaddd %3, %0, %0\n\t"
                     "vpaddd %2, %1, %1"
                     : "+x"(*a), "+x"(*b), "=&x"(all), "=&x"(product)
                     : "m"(*four), "x"(u), "x"(v));
}

/* The same with 32 registers and vpdpwssd. */
KD_EDGE_VNNI static inline void add_products_vnni(const int16_t *x, __m256i u, __m256i v,
                                                  __m256i *a, __m256i *b)
{
    int64_t four;
    memcpy(&four, x, sizeof four);
    const __m256i all = _mm256_set1_epi64x(four);
    *a = KD_EDGE_DOT_VNNI(*a, all, u);
    *b = KD_EDGE_DOT_VNNI(*b, all, v);
}

/* n <= GROUP tiles, of which the first is x: sums[n][CHANNELS] over `in` inputs. */
#define PRODUCTS(name, target, add, n)                                                             \
    target static void name(const int16_t *w, const int16_t *x, size_t in,                         \
                            int32_t(*sums)[CHANNELS])                                              \
    {                                                                                              \
        __m256i a[n], b[n];                                                                        \
        UNROLL for (size_t i = 0; i < n; i++) a[i] = b[i] = _mm256_setzero_si256();                \
        for (size_t k = 0; k < in; k += 4, w += 4 * CHANNELS) {                                    \
            const __m256i u = values(w), v = values(w + 16);                                       \
            UNROLL for (size_t i = 0; i < n; i++) add(x + i * in + k, u, v, &a[i], &b[i]);         \
        }                                                                                          \
        UNROLL for (size_t i = 0; i < n; i++)                                                      \
        {                                                                                          \
            void *to = sums[i];                                                                    \
            _mm256_store_si256(to, _mm256_hadd_epi32(a[i], b[i]));                                 \
        }                                                                                          \
    }
#define BOTH(n)                                                                                    \
    PRODUCTS(products_##n, KD_EDGE_AVX2, add_products, n)                                          \
    PRODUCTS(products_vnni_##n, KD_EDGE_VNNI, add_products_vnni, n)
BOTH(1)
BOTH(2)
BOTH(3)
BOTH(4)
BOTH(5)
BOTH(6)
#undef BOTH
#undef PRODUCTS

static void products(const kd_edge_conv *conv, uint32_t first, uint32_t n, batch *p)
{
    typedef void (*function)(const int16_t *, const int16_t *, size_t, int32_t(*)[CHANNELS]);
    static const function avx2[] = {0,          products_1, products_2, products_3,
                                    products_4, products_5, products_6};
    static const function vnni[] = {0,
                                    products_vnni_1,
                                    products_vnni_2,
                                    products_vnni_3,
                                    products_vnni_4,
                                    products_vnni_5,
                                    products_vnni_6};
    const function of = kd_edge_has_vnni() ? vnni[n] : avx2[n];
    const size_t in = conv->in_channels;
    for (size_t i = 0; i < PLACES; i++)
        of(p->w + i * p->w_step, p->x + i * p->x_step + first * in, in, p->sums[i]);
}

/* ---- outputs --------------------------------------------------------------------------------- */

/* The four sums of tile i of the group: y[2 * row + column]. */
KD_EDGE_AVX2 static inline void outputs_of(int32_t (*sums)[GROUP][CHANNELS], uint32_t i,
                                           __m256i y[4])
{
    __m256i up[4], low[4];
    UNROLL
    for (int x = 0; x < 4; x++) {
        const void *from[4];
        UNROLL
        for (int r = 0; r < 4; r++) from[r] = sums[4 * r + x][i];
        const __m256i m1 = _mm256_load_si256(from[1]), m2 = _mm256_load_si256(from[2]);
        up[x] = _mm256_add_epi32(_mm256_load_si256(from[0]), _mm256_add_epi32(m1, m2));
        low[x] = _mm256_sub_epi32(_mm256_sub_epi32(m1, m2), _mm256_load_si256(from[3]));
    }
    const __m256i *const rows[2] = {up, low};
    UNROLL
    for (int r = 0; r < 2; r++) {
        const __m256i *m = rows[r];
        const __m256i left = _mm256_add_epi32(m[0], _mm256_add_epi32(m[1], m[2]));
        const __m256i right = _mm256_sub_epi32(_mm256_sub_epi32(m[1], m[2]), m[3]);
        y[2 * r] = _mm256_srai_epi32(left, 2);
        y[2 * r + 1] = _mm256_srai_epi32(right, 2);
    }
}

/* Outputs of tiles first to first + n - 1, channels from c on. */
KD_EDGE_AVX2 static void write_outputs(const kd_edge_conv *conv, const kd_edge_eight *how,
                                       uint32_t c, uint32_t first, uint32_t n, batch *p,
                                       uint8_t *out)
{
    uint32_t row = p->row + first / p->columns, column = first % p->columns;
    for (uint32_t i = 0; i < n; i++) {
        __m256i y[4];
        outputs_of(p->sums, i, y);
        if (conv->pool == 2) {
            const __m256i most =
                _mm256_max_epi32(_mm256_max_epi32(y[0], y[1]), _mm256_max_epi32(y[2], y[3]));
            kd_edge_store_8(how, most,
                            ((size_t)row * conv->out_width + column) * conv->out_channels + c, out);
        } else {
            for (uint32_t j = 0; j < 4; j++) {
                const uint32_t oy = 2 * row + (j >> 1), ox = 2 * column + (j & 1);
                if (oy >= conv->out_height || ox >= conv->out_width) continue;
                kd_edge_store_8(how, y[j],
                                ((size_t)oy * conv->out_width + ox) * conv->out_channels + c, out);
            }
        }
        if (++column == p->columns) column = 0, row++;
    }
}

/* All outputs of the batch; then it is empty. */
KD_EDGE_AVX2 static void flush(const kd_edge_model *model, const kd_edge_conv *conv, batch *p,
                               uint8_t *out)
{
    for (uint32_t c = 0; c < conv->out_channels; c += CHANNELS) {
        const kd_edge_eight how = kd_edge_eight_of(model, conv, c);
        pack(model, conv, c, p);
        for (uint32_t first = 0; first < p->tiles; first += GROUP) {
            const uint32_t left = p->tiles - first, n = left < GROUP ? left : GROUP;
            products(conv, first, n, p);
            write_outputs(conv, &how, c, first, n, p, out);
        }
    }
    p->row += p->tiles / p->columns;
    p->tiles = 0;
}

void kd_edge_winograd_conv(const kd_edge_model *model, const kd_edge_conv *conv, uint8_t *arena)
{
    static const kd_edge_row_ops ops = {KD_EDGE_INT8, kd_edge_load_i8, 0};
    batch p;
    p.columns = tile_columns(conv);
    p.most = most_tiles(conv) / p.columns * p.columns;
    p.w_step = (size_t)conv->in_channels * CHANNELS + APART;
    p.x_step = (size_t)conv->in_channels * p.most + APART;
    p.x = p.w + PLACES * p.w_step;
    p.tiles = p.row = 0;
    kd_edge_window window;
    for (uint32_t r = 0; r < conv->out_height; r++) {
        kd_edge_slide(&ops, conv, arena, r, &window);
        const uint8_t *const *rows = window.rows;
        if (conv->pool == 2 || r % 2 == 0) gather_upper(conv, rows, &p);
        if (conv->pool == 2)
            gather_lower(conv, rows[1], rows[3], &p);
        else if (r % 2)
            gather_lower(conv, rows[0], rows[2], &p);
        else if (r + 1 == conv->out_height)
            gather_lower(conv, rows[1], rows[2], &p); /* for outputs that are not there */
        else
            continue;
        p.tiles += p.columns;
        if (p.tiles + p.columns > p.most) flush(model, conv, &p, arena + conv->out);
    }
    if (p.tiles) flush(model, conv, &p, arena + conv->out);
}
#else
typedef int kd_edge_no_winograd; /* a file is not empty */
#endif
