/* SPDX-License-Identifier: MIT
 * edge_conv_x86.c: int8 convolutions and linear layers on a host with AVX2, to the same bits. Empty
 * elsewhere, and in freestanding builds.
 *
 * A batch of pixels, of one output row or of several, is gathered as int16: each pixel's taps, rows of
 * kernels one behind another, zeros up to 16. Blocks of four channels by two pixels run along the
 * taps: vpmovsxbw widens 16 weights of a channel, vpmaddwd multiplies and adds pairs. 2 * 128 * 128
 * fits in its 32 bits; vpmaddubsw would saturate in 16. The batch meets four channels' weights
 * while they are in the first cache, so that large weights come from memory once for each batch.
 * Outputs of the batch are written when all its rows have been gathered: later than
 * docs/edge-format.md asks.
 *
 * Few taps, a first layer's 27, are not worth a sum across a vector at their end: there, lanes are
 * channels, and pairs of weights are put in order once. */
#include "edge_conv_x86.h"

#if KD_EDGE_X86
#include "edge_x86.h"

enum {
    VALUES = 36864, /* int16 of a batch: 16 pixels of 2,304 taps, 8 of 4,608 */
    FEW = 8192,     /* of a batch that stays in the first cache */
    PIXELS = 64,    /* of a batch, a multiple of 4 */
    CHANNELS = 32,  /* whose sums are held, a multiple of LANES */
    FEW_TAPS = 64,  /* of a layer whose lanes are channels */
    LANES = 16,     /* channels of one of its blocks */
    CACHED = 131072 /* bytes of weights that stay in the second cache from batch to batch */
};

typedef struct batch {
    int16_t x[VALUES] __attribute__((aligned(32))); /* [pixels][steps * 16] */
    int32_t sums[PIXELS][CHANNELS] __attribute__((aligned(32)));
    uint32_t steps;  /* vectors of 16 taps */
    uint32_t most;   /* pixels that there is room for: whole outputs */
    uint32_t pixels; /* gathered; pooled: four for each output */
    uint32_t pairs;  /* of taps whose weights lie at x + FEW; 0: not put in order */
} batch;

static uint32_t steps_of(const kd_edge_conv *conv)
{
    return (kd_edge_taps(conv) + 15) / 16;
}

static uint32_t pixels_of_output(const kd_edge_conv *conv)
{
    return conv->pool == 2 ? 4 : 1;
}

int kd_edge_x86_can(const kd_edge_conv *conv)
{
    return steps_of(conv) * 16 * pixels_of_output(conv) <= VALUES && __builtin_cpu_supports("avx2");
}

/* One pixel's values [taps], then zeros up to a multiple of 16. at: offset of the window in a row. */
KD_EDGE_AVX2 static void gather(const kd_edge_conv *conv, const uint8_t *const rows[], uint32_t at,
                                int16_t *x)
{
    const uint32_t run = (uint32_t)conv->kernel_width * conv->in_channels;
    for (uint32_t ky = 0; ky < conv->kernel_height; ky++) {
        const void *row = rows[ky] + at;
        const int8_t *in = row;
        uint32_t i = 0;
        for (; i + 16 <= run; i += 16) {
            const void *from = in + i;
            void *to = x + i;
            _mm256_storeu_si256(to, _mm256_cvtepi8_epi16(_mm_loadu_si128(from)));
        }
        if (i + 8 <= run) {
            const void *from = in + i;
            void *to = x + i;
            _mm_storeu_si128(to, _mm_cvtepi8_epi16(_mm_loadl_epi64(from)));
            i += 8;
        }
        for (; i < run; i++) x[i] = in[i];
        x += run;
    }
    for (uint32_t i = kd_edge_taps(conv); i % 16; i++) *x++ = 0;
}

/* The sums of the eight elements of four vectors. */
KD_EDGE_AVX2 static inline __m128i reduce(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i ab = _mm256_hadd_epi32(a, b), cd = _mm256_hadd_epi32(c, d);
    const __m256i abcd = _mm256_hadd_epi32(ab, cd);
    return _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256(abcd, 1));
}

/* Weights of four channels: rows, and their taps behind the last 16, then zeros. */
typedef struct quad {
    const int8_t *w[4];
    int8_t end[4][16] __attribute__((aligned(16)));
} quad;

KD_EDGE_AVX2 static inline __m256i widen(const int8_t *w)
{
    const void *from = w;
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(from));
}

KD_EDGE_AVX2 static inline __m256i values(const int16_t *x)
{
    const void *from = x;
    return _mm256_load_si256(from);
}

#define CHANNEL(dot, i, w)                                                                         \
    do {                                                                                           \
        const __m256i wide = widen(w);                                                             \
        a##i = dot(a##i, u, wide);                                                                 \
        b##i = dot(b##i, v, wide);                                                                 \
    } while (0)

/* Sums of two pixels a, b by four channels: to0[4], to1[4]. taps: of each channel. */
#define BLOCK(name, target, dot)                                                                   \
    target static void name(const quad *weights, uint32_t taps, const int16_t *x0,                 \
                            const int16_t *x1, int32_t *to0, int32_t *to1)                         \
    {                                                                                              \
        const int8_t *const *w = weights->w;                                                       \
        const int8_t *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3];                               \
        __m256i a0 = _mm256_setzero_si256(), a1 = a0, a2 = a0, a3 = a0;                            \
        __m256i b0 = a0, b1 = a0, b2 = a0, b3 = a0;                                                \
        uint32_t k = 0;                                                                            \
        for (; k + 16 <= taps; k += 16) {                                                          \
            const __m256i u = values(x0 + k), v = values(x1 + k);                                  \
            CHANNEL(dot, 0, w0 + k);                                                               \
            CHANNEL(dot, 1, w1 + k);                                                               \
            CHANNEL(dot, 2, w2 + k);                                                               \
            CHANNEL(dot, 3, w3 + k);                                                               \
        }                                                                                          \
        if (k < taps) {                                                                            \
            const __m256i u = values(x0 + k), v = values(x1 + k);                                  \
            CHANNEL(dot, 0, weights->end[0]);                                                      \
            CHANNEL(dot, 1, weights->end[1]);                                                      \
            CHANNEL(dot, 2, weights->end[2]);                                                      \
            CHANNEL(dot, 3, weights->end[3]);                                                      \
        }                                                                                          \
        void *to = to0;                                                                            \
        _mm_store_si128(to, reduce(a0, a1, a2, a3));                                               \
        to = to1;                                                                                  \
        _mm_store_si128(to, reduce(b0, b1, b2, b3));                                               \
    }
BLOCK(block_avx2, KD_EDGE_AVX2, KD_EDGE_DOT_AVX2)
BLOCK(block_vnni, KD_EDGE_VNNI, KD_EDGE_DOT_VNNI)
#undef BLOCK
#undef CHANNEL

/* n channels of all pixels, from w on: the batch's sums. */
KD_EDGE_AVX2 static void multiply(const kd_edge_conv *conv, const int8_t *w, uint32_t n, batch *p)
{
    const uint32_t row = kd_edge_weight_row(conv), taps = kd_edge_taps(conv);
    const uint32_t whole = taps & ~15u, line = p->steps * 16;
    void (*const block)(const quad *, uint32_t, const int16_t *, const int16_t *, int32_t *,
                        int32_t *) = kd_edge_has_vnni() ? block_vnni : block_avx2;
    for (uint32_t c = 0; c < n; c += 4) {
        quad weights = {.end = {{0}}};
        for (uint32_t i = 0; i < 4; i++) {
            weights.w[i] = w + (size_t)(c + i < n ? c + i : n - 1) * row;
            memcpy(weights.end[i], weights.w[i] + whole, taps - whole);
        }
        for (uint32_t i = 0; i < p->pixels; i += 2) {
            const int16_t *x = p->x + i * line;
            block(&weights, taps, x, i + 1 < p->pixels ? x + line : x, p->sums[i] + c,
                  p->sums[i + 1] + c);
        }
    }
}

/* Weights [out_channels][taps] to [out_channels / LANES][pairs][LANES][2], zeros behind the last. */
static void pack(const kd_edge_conv *conv, const int8_t *w, batch *p)
{
    const uint32_t taps = kd_edge_taps(conv), row = kd_edge_weight_row(conv);
    const uint32_t blocks = (conv->out_channels + LANES - 1u) / LANES, pairs = (taps + 1) / 2;
    p->pairs = 0;
    if (taps > FEW_TAPS || (uint32_t)conv->out_height * conv->out_width < PIXELS) return;
    if (blocks * pairs * LANES * 2 > VALUES - FEW) return;
    p->pairs = pairs;
    int16_t *to = p->x + FEW;
    memset(to, 0, blocks * pairs * LANES * 2 * sizeof *to);
    for (uint32_t c = 0; c < conv->out_channels; c++)
        for (uint32_t k = 0; k < taps; k++)
            to[((c / LANES * pairs + k / 2) * LANES + c % LANES) * 2 + k % 2] = w[c * row + k];
}

/* As multiply, for few taps: n channels from `first` on, a multiple of LANES. Blocks of four pixels
 * by LANES channels. */
KD_EDGE_AVX2 static void multiply_few(uint32_t first, uint32_t n, batch *p)
{
    const uint32_t line = p->steps * 16;
    for (uint32_t c = 0; c < n; c += LANES) {
        const int16_t *w = p->x + FEW + (size_t)(first + c) * p->pairs * 2;
        for (uint32_t i = 0; i < p->pixels; i += 4) {
            const int16_t *x[4];
            for (uint32_t q = 0; q < 4; q++) x[q] = p->x + (i + q < p->pixels ? i + q : i) * line;
            __m256i a0 = _mm256_setzero_si256(), a1 = a0, a2 = a0, a3 = a0;
            __m256i b0 = a0, b1 = a0, b2 = a0, b3 = a0;
#define PIXEL(q)                                                                                   \
    do {                                                                                           \
        int32_t pair;                                                                              \
        memcpy(&pair, x[q] + 2 * k, sizeof pair);                                                  \
        const __m256i both = _mm256_set1_epi32(pair);                                              \
        a##q = _mm256_add_epi32(a##q, _mm256_madd_epi16(both, u));                                 \
        b##q = _mm256_add_epi32(b##q, _mm256_madd_epi16(both, v));                                 \
    } while (0)
            for (uint32_t k = 0; k < p->pairs; k++) {
                const __m256i u = values(w + k * LANES * 2), v = values(w + k * LANES * 2 + LANES);
                PIXEL(0);
                PIXEL(1);
                PIXEL(2);
                PIXEL(3);
            }
#undef PIXEL
            const __m256i all[4][2] = {{a0, b0}, {a1, b1}, {a2, b2}, {a3, b3}};
            for (uint32_t q = 0; q < 4; q++) {
                void *to = p->sums[i + q] + c, *behind = p->sums[i + q] + c + 8;
                _mm256_store_si256(to, all[q][0]);
                _mm256_store_si256(behind, all[q][1]);
            }
        }
    }
}

/* The largest sum of four pixels, n channels: in the first one's place. */
KD_EDGE_AVX2 static void largest(int32_t (*sums)[CHANNELS], uint32_t n)
{
    for (uint32_t c = 0; c < n; c += 8) {
        void *at[4];
        for (int i = 0; i < 4; i++) at[i] = sums[i] + c;
        const __m256i a = _mm256_max_epi32(_mm256_load_si256(at[0]), _mm256_load_si256(at[1]));
        const __m256i b = _mm256_max_epi32(_mm256_load_si256(at[2]), _mm256_load_si256(at[3]));
        _mm256_store_si256(at[0], _mm256_max_epi32(a, b));
    }
}

/* Channels first + c to first + c + 7 of all outputs of the batch, from pixel `at` of the map on. */
KD_EDGE_AVX2 static void write_eight(const kd_edge_model *model, const kd_edge_conv *conv,
                                     uint32_t first, uint32_t c, const batch *p, size_t at,
                                     uint8_t *out)
{
    const kd_edge_eight how = kd_edge_eight_of(model, conv, first + c);
    const uint32_t each = pixels_of_output(conv);
    for (uint32_t i = 0; i < p->pixels; i += each) {
        const void *from = p->sums[i] + c;
        kd_edge_store_8(&how, _mm256_load_si256(from),
                        (at + i / each) * conv->out_channels + first + c, out);
    }
}

/* All outputs of the batch, from pixel `at` of the map on; then the batch is empty. */
static void flush(const kd_edge_model *model, const kd_edge_conv *conv, batch *p, size_t at,
                  uint8_t *out)
{
    const int8_t *w = kd_edge_section(model, conv->weights);
    const uint32_t row = kd_edge_weight_row(conv), each = pixels_of_output(conv);
    for (uint32_t first = 0; first < conv->out_channels; first += CHANNELS) {
        const uint32_t left = conv->out_channels - first, n = left < CHANNELS ? left : CHANNELS;
        if (p->pairs)
            multiply_few(first, n, p);
        else
            multiply(conv, w + (size_t)first * row, n, p);
        if (each == 4)
            for (uint32_t i = 0; i < p->pixels; i += 4) largest(p->sums + i, n);
        for (uint32_t c = 0; c < n; c += 8) write_eight(model, conv, first, c, p, at, out);
    }
    p->pixels = 0;
}

/* Gathers the pixels of output x of a row. */
static void add_output(const kd_edge_conv *conv, const uint8_t *const rows[], uint32_t x, batch *p)
{
    const uint32_t step = (uint32_t)conv->stride_width * conv->in_channels;
    for (uint32_t i = 0; i < pixels_of_output(conv); i++, p->pixels++)
        gather(conv, rows + (i >> 1) * conv->stride_height, (x * conv->pool + (i & 1)) * step,
               p->x + p->pixels * p->steps * 16);
}

void kd_edge_x86_conv(const kd_edge_model *model, const kd_edge_conv *conv, uint8_t *arena)
{
    static const kd_edge_row_ops ops = {KD_EDGE_INT8, kd_edge_load_i8, 0};
    const uint32_t each = pixels_of_output(conv);
    const int cached = (size_t)conv->out_channels * kd_edge_weight_row(conv) <= CACHED;
    batch p;
    memset(p.sums, 0, sizeof p.sums); /* those behind the last channel are read, and not used */
    p.pixels = 0, p.steps = steps_of(conv);
    p.most = (cached ? FEW : VALUES) / (p.steps * 16) & ~3u;
    if (p.most > PIXELS) p.most = PIXELS;
    if (p.most < 4) p.most = p.steps * 16 * 4 <= VALUES ? 4 : each;
    pack(conv, kd_edge_section(model, conv->weights), &p);
    kd_edge_window window;
    size_t done = 0, next = 0; /* outputs written, gathered */
    for (uint32_t r = 0; r < conv->out_height; r++) {
        kd_edge_slide(&ops, conv, arena, r, &window);
        for (uint32_t x = 0; x < conv->out_width; x++) {
            if (p.pixels + each > p.most) {
                flush(model, conv, &p, done, arena + conv->out);
                done = next;
            }
            add_output(conv, window.rows, x, &p);
            next++;
        }
    }
    flush(model, conv, &p, done, arena + conv->out);
}
#else
typedef int kd_edge_no_x86; /* a file is not empty */
#endif
