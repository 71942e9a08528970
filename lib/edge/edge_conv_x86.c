/* SPDX-License-Identifier: MIT
 * edge_conv_x86.c: int8 convolutions on a host with AVX2, to the same bits. Empty elsewhere, and in
 * freestanding builds.
 *
 * Four pixels (of a row, or of the 2x2 that are pooled) are gathered as int16 [4][taps], rows of
 * kernels one behind another, zeros up to 16. vpmovsxbw widens 16 weights of a channel, vpmaddwd multiplies
 * and adds pairs: 2 * 128 * 128 fits in 32 bits, where vpmaddubsw would saturate in 16. Sums of
 * a block of channels go to int32 [4][CHANNELS], then maximum and requantisation in vectors. */
#include "edge_conv_x86.h"

#if KD_EDGE_X86
#include "edge_memory.h"
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

enum { PIXELS = 4, MOST_TAPS = 4608, CHANNELS = 64 };

typedef struct patches {
    int16_t x[PIXELS][MOST_TAPS] __attribute__((aligned(32)));
    int32_t sums[PIXELS][CHANNELS] __attribute__((aligned(32)));
} patches;

int kd_edge_x86_can(const kd_edge_conv *conv)
{
    return kd_edge_taps(conv) <= MOST_TAPS && __builtin_cpu_supports("avx2");
}

/* One pixel's values [taps], then zeros up to a multiple of 16. at: offset of the window in a row. */
AVX2 static void gather(const kd_edge_conv *conv, const uint8_t *const rows[], uint32_t at,
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

/* 16 weights, or the n that are left of the blob, a multiple of 4. What belongs to the next row meets
 * zeros among the values. */
AVX2 static inline __m256i widen(const int8_t *w, size_t n)
{
    const void *from = w;
    int8_t end[16] = {0};
    if (n >= 16) return _mm256_cvtepi8_epi16(_mm_loadu_si128(from));
    memcpy(end, w, n);
    from = end;
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(from));
}

/* The sums of the eight elements of four vectors. */
AVX2 static inline __m128i reduce(const __m256i v[4])
{
    const __m256i ab = _mm256_hadd_epi32(v[0], v[1]), cd = _mm256_hadd_epi32(v[2], v[3]);
    const __m256i abcd = _mm256_hadd_epi32(ab, cd);
    return _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256(abcd, 1));
}

/* Four pixels by two channels: sums of channel c, c + 1 of each pixel. left: bytes of the blob from
 * w1 on. */
AVX2 static void block(const int8_t *w0, const int8_t *w1, size_t left, uint32_t taps, patches *p,
                       uint32_t c)
{
    __m256i a[4], b[4];
    for (int i = 0; i < 4; i++) a[i] = b[i] = _mm256_setzero_si256();
    for (uint32_t k = 0; k < taps; k += 16) {
        const __m256i u = widen(w0 + k, left - k), v = widen(w1 + k, left - k);
        for (int i = 0; i < 4; i++) {
            const void *from = p->x[i] + k;
            const __m256i x = _mm256_load_si256(from);
            a[i] = _mm256_add_epi32(a[i], _mm256_madd_epi16(x, u));
            b[i] = _mm256_add_epi32(b[i], _mm256_madd_epi16(x, v));
        }
    }
    int32_t first[4], second[4];
    void *to = first;
    _mm_storeu_si128(to, reduce(a));
    to = second;
    _mm_storeu_si128(to, reduce(b));
    for (int i = 0; i < 4; i++) {
        p->sums[i][c] = first[i];
        p->sums[i][c + 1] = second[i];
    }
}

/* (acc * m + 2^30) >> 31 of eight: the lower halves of 64-bit products shifted right are right
 * whichever way the sign goes, as the result has 31 bits. */
AVX2 static inline __m256i scale(__m256i acc, __m256i m)
{
    const __m256i half = _mm256_set1_epi64x(0x40000000);
    const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(acc, m), half);
    const __m256i odd = _mm256_add_epi64(
        _mm256_mul_epi32(_mm256_srli_epi64(acc, 32), _mm256_srli_epi64(m, 32)), half);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 31),
                              _mm256_slli_epi64(_mm256_srli_epi64(odd, 31), 32), 0xAA);
}

/* n sums of one pixel to outputs: `sums` is written over. n is rounded up to 8. */
AVX2 static void requantise(const kd_edge_conv *conv, const int32_t *bias,
                            const int32_t *multipliers, uint32_t n, int32_t *sums)
{
    const __m256i zero = _mm256_set1_epi32(conv->zero), low = _mm256_set1_epi32(conv->low.i);
    const __m256i high = _mm256_set1_epi32(conv->high.i);
    for (uint32_t c = 0; c < n; c += 8) {
        int32_t ends[2][8] = {{0}};
        const void *b = bias + c, *m = multipliers + c;
        void *at = sums + c;
        if (n - c < 8) {
            memcpy(ends[0], b, (n - c) * 4);
            memcpy(ends[1], m, (n - c) * 4);
            b = ends[0], m = ends[1];
        }
        const __m256i acc = _mm256_add_epi32(_mm256_load_si256(at), _mm256_loadu_si256(b));
        __m256i q = _mm256_add_epi32(scale(acc, _mm256_loadu_si256(m)), zero);
        q = _mm256_min_epi32(_mm256_max_epi32(q, low), high);
        _mm256_store_si256(at, q);
    }
}

static void store(const kd_edge_conv *conv, const int32_t *q, uint32_t n, uint32_t at, uint8_t *out)
{
    if (conv->flags & KD_EDGE_SUMS) {
        memcpy(out + 4 * (size_t)at, q, 4 * (size_t)n);
        return;
    }
    for (uint32_t c = 0; c < n; c++) out[at + c] = (uint8_t)q[c];
}

AVX2 static void largest(patches *p, uint32_t n)
{
    for (uint32_t c = 0; c < n; c++)
        for (int i = 1; i < 4; i++)
            if (p->sums[i][c] > p->sums[0][c]) p->sums[0][c] = p->sums[i][c];
}

/* All channels of the gathered pixels; x: the first of `pixels` outputs (pooled: the one). */
AVX2 static void channels(const kd_edge_model *model, const kd_edge_conv *conv, patches *p,
                          uint32_t x, uint32_t pixels, uint8_t *out)
{
    const int8_t *w = kd_edge_section(model, conv->weights);
    const int32_t *bias = kd_edge_section(model, conv->bias);
    const int32_t *multipliers = kd_edge_section(model, conv->multipliers);
    const uint32_t row = kd_edge_weight_row(conv);
    for (uint32_t first = 0; first < conv->out_channels; first += CHANNELS) {
        const uint32_t left = conv->out_channels - first, n = left < CHANNELS ? left : CHANNELS;
        for (uint32_t c = 0; c < n; c += 2) {
            const int8_t *w0 = w + (size_t)(first + c) * row;
            const int8_t *w1 = c + 1 < n ? w0 + row : w0;
            block(w0, w1, model->blob_bytes - (size_t)((const uint8_t *)w1 - model->blob), row, p,
                  c);
        }
        if (conv->pool == 2) largest(p, n);
        for (uint32_t i = 0; i < pixels; i++) {
            requantise(conv, bias + first, multipliers + first, n, p->sums[i]);
            store(conv, p->sums[i], n, (x + i) * conv->out_channels + first, out);
        }
    }
}

void kd_edge_x86_row(const kd_edge_model *model, const kd_edge_conv *conv,
                     const uint8_t *const rows[], uint8_t *out)
{
    const uint32_t step = (uint32_t)conv->stride_width * conv->in_channels;
    patches p;
    memset(p.sums, 0, sizeof p.sums);
    if (conv->pool == 2) {
        for (uint32_t x = 0; x < conv->out_width; x++) {
            for (uint32_t i = 0; i < PIXELS; i++)
                gather(conv, rows + (i >> 1) * conv->stride_height, (2 * x + (i & 1)) * step,
                       p.x[i]);
            channels(model, conv, &p, x, 1, out);
        }
        return;
    }
    for (uint32_t x = 0; x < conv->out_width; x += PIXELS) {
        const uint32_t left = conv->out_width - x, n = left < PIXELS ? left : PIXELS;
        for (uint32_t i = 0; i < PIXELS; i++)
            gather(conv, rows, (x + (i < n ? i : 0)) * step, p.x[i]);
        channels(model, conv, &p, x, n, out);
    }
}
#else
typedef int kd_edge_no_x86; /* a file is not empty */
#endif
