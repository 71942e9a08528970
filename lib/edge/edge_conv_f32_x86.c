/* SPDX-License-Identifier: MIT
 * edge_conv_f32_x86.c: rows of float32 convolutions and linear layers on a host with AVX2 and FMA: blocks of
 * four channels by two pixels, eight taps at a time. Few taps, a first layer's 27, are not worth a sum across a
 * vector at their end: there, lanes are channels. Empty elsewhere, and in freestanding builds. */
#include "edge_conv_x86.h"

#if KD_EDGE_X86
#include "edge_float.h"
#include <immintrin.h>

#define FMA __attribute__((target("avx2,fma")))

int kd_edge_x86_can_f32(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

/* Four channels: their weights [taps], biases, places in an output pixel. At the end of channels that are
 * no multiple of four the last one fills up. */
typedef struct quad {
    const float *w[4];
    float bias[4];
    uint32_t at[4];
} quad;

static quad quad_of(const kd_edge_model *model, const kd_edge_conv *conv, uint32_t first)
{
    const float *bias = kd_edge_section(model, conv->bias);
    const float *weights = kd_edge_section(model, conv->weights);
    quad q;
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t c = first + i < conv->out_channels ? first + i : conv->out_channels - 1u;
        q.w[i] = weights + (size_t)c * kd_edge_weight_row(conv);
        q.bias[i] = bias[c];
        q.at[i] = c;
    }
    return q;
}

/* The sums of the eight elements of four vectors. */
FMA static inline __m128 reduce(__m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

static const float *floats_of(const uint8_t *row)
{
    const void *from = row;
    return from;
}

/* Sums of two pixels, whose windows begin at x0 and x1 of each row: sums[2][4]. */
FMA static void block(const kd_edge_conv *conv, const quad *q, const uint8_t *const rows[],
                      uint32_t x0, uint32_t x1, float sums[2][4])
{
    const uint32_t run = (uint32_t)conv->kernel_width * conv->in_channels, whole = run & ~7u;
    int32_t inside[8]; /* which of the last taps of a row of the kernel there are */
    for (uint32_t i = 0; i < 8; i++) inside[i] = whole + i < run ? -1 : 0;
    const void *from = inside;
    const __m256i mask = _mm256_loadu_si256(from);
    const float *w0 = q->w[0], *w1 = q->w[1], *w2 = q->w[2], *w3 = q->w[3];
    __m256 a0 = _mm256_setzero_ps(), a1 = a0, a2 = a0, a3 = a0;
    __m256 b0 = a0, b1 = a0, b2 = a0, b3 = a0;
#define CHANNEL(i, weights)                                                                        \
    do {                                                                                           \
        const __m256 v = weights;                                                                  \
        a##i = _mm256_fmadd_ps(x, v, a##i);                                                        \
        b##i = _mm256_fmadd_ps(y, v, b##i);                                                        \
    } while (0)
    for (uint32_t ky = 0; ky < conv->kernel_height; ky++) {
        const float *in0 = floats_of(rows[ky]) + x0, *in1 = floats_of(rows[ky]) + x1;
        for (uint32_t k = 0; k < whole; k += 8) {
            const __m256 x = _mm256_loadu_ps(in0 + k), y = _mm256_loadu_ps(in1 + k);
            CHANNEL(0, _mm256_loadu_ps(w0 + k));
            CHANNEL(1, _mm256_loadu_ps(w1 + k));
            CHANNEL(2, _mm256_loadu_ps(w2 + k));
            CHANNEL(3, _mm256_loadu_ps(w3 + k));
        }
        if (whole < run) {
            const __m256 x = _mm256_maskload_ps(in0 + whole, mask);
            const __m256 y = _mm256_maskload_ps(in1 + whole, mask);
            CHANNEL(0, _mm256_maskload_ps(w0 + whole, mask));
            CHANNEL(1, _mm256_maskload_ps(w1 + whole, mask));
            CHANNEL(2, _mm256_maskload_ps(w2 + whole, mask));
            CHANNEL(3, _mm256_maskload_ps(w3 + whole, mask));
        }
        w0 += run, w1 += run, w2 += run, w3 += run;
    }
#undef CHANNEL
    const __m128 bias = _mm_loadu_ps(q->bias);
    _mm_storeu_ps(sums[0], _mm_add_ps(bias, reduce(a0, a1, a2, a3)));
    _mm_storeu_ps(sums[1], _mm_add_ps(bias, reduce(b0, b1, b2, b3)));
}

static void store(const kd_edge_conv *conv, const quad *q, const float sums[4], float *y)
{
    for (uint32_t i = 0; i < 4; i++)
        y[q->at[i]] = kd_edge_clamp_f32(sums[i], conv->low.f, conv->high.f);
}

/* Four channels of an output row. */
static void quad_row(const kd_edge_conv *conv, const quad *q, const uint8_t *const rows[], float *y)
{
    const uint32_t step = (uint32_t)conv->stride_width * conv->in_channels;
    float sums[4][4];
    if (conv->pool == 1) {
        for (uint32_t x = 0; x < conv->out_width; x += 2) {
            const int two = x + 1 < conv->out_width;
            block(conv, q, rows, x * step, (two ? x + 1 : x) * step, sums);
            store(conv, q, sums[0], y + x * conv->out_channels);
            if (two) store(conv, q, sums[1], y + (x + 1) * conv->out_channels);
        }
        return;
    }
    for (uint32_t x = 0; x < conv->out_width; x++) {
        const uint32_t at = 2 * x * step;
        block(conv, q, rows, at, at + step, sums);
        block(conv, q, rows + conv->stride_height, at, at + step, sums + 2);
        for (uint32_t i = 1; i < 4; i++)
            for (uint32_t c = 0; c < 4; c++)
                if (sums[i][c] > sums[0][c]) sums[0][c] = sums[i][c];
        store(conv, q, sums[0], y + x * conv->out_channels);
    }
}

/* ---- few taps --------------------------------------------------------------------------------- */

enum { FEW_TAPS = 32 };

/* Adds the products of eight channels' weights, w [taps][8], to the sums of four pixels, whose windows
 * begin at x[i] of rows[i]. */
FMA static void block_few(const kd_edge_conv *conv, const float *w, const uint8_t *const *rows[4],
                          const uint32_t x[4], __m256 sums[4])
{
    const uint32_t run = (uint32_t)conv->kernel_width * conv->in_channels;
    __m256 a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    for (uint32_t ky = 0; ky < conv->kernel_height; ky++) {
        const float *in0 = floats_of(rows[0][ky]) + x[0], *in1 = floats_of(rows[1][ky]) + x[1];
        const float *in2 = floats_of(rows[2][ky]) + x[2], *in3 = floats_of(rows[3][ky]) + x[3];
        for (uint32_t k = 0; k < run; k++, w += 8) {
            const __m256 v = _mm256_loadu_ps(w);
            a = _mm256_fmadd_ps(_mm256_broadcast_ss(in0 + k), v, a);
            b = _mm256_fmadd_ps(_mm256_broadcast_ss(in1 + k), v, b);
            c = _mm256_fmadd_ps(_mm256_broadcast_ss(in2 + k), v, c);
            d = _mm256_fmadd_ps(_mm256_broadcast_ss(in3 + k), v, d);
        }
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

/* Weights of eight channels, first ...: to w [taps][8]. */
static void transpose(const kd_edge_model *model, const kd_edge_conv *conv, uint32_t first,
                      float *w)
{
    const uint32_t taps = kd_edge_taps(conv);
    const float *weights = kd_edge_section(model, conv->weights);
    for (uint32_t c = 0; c < 8; c++)
        for (uint32_t k = 0; k < taps; k++)
            w[8 * k + c] = weights[(size_t)(first + c) * kd_edge_weight_row(conv) + k];
}

/* Eight channels of an output row. */
FMA static void eight_row(const kd_edge_model *model, const kd_edge_conv *conv, uint32_t first,
                          const uint8_t *const rows[], float *y)
{
    const uint32_t each = conv->pool == 2 ? 1 : 4;
    const uint32_t step = (uint32_t)conv->stride_width * conv->in_channels;
    const float *biases = kd_edge_section(model, conv->bias);
    const __m256 low = _mm256_set1_ps(conv->low.f), high = _mm256_set1_ps(conv->high.f);
    const __m256 bias = _mm256_loadu_ps(biases + first);
    float w[FEW_TAPS * 8];
    transpose(model, conv, first, w);
    for (uint32_t x = 0; x < conv->out_width; x += each) {
        const uint8_t *const *in[4] = {rows, rows, rows, rows};
        uint32_t at[4];
        for (uint32_t i = 0; i < 4; i++) {
            at[i] = step * (each == 1 ? 2 * x + (i & 1) : x + i < conv->out_width ? x + i : x);
            if (each == 1) in[i] = rows + (i >> 1) * conv->stride_height;
        }
        __m256 sums[4] = {bias, bias, bias, bias};
        block_few(conv, w, in, at, sums);
        if (each == 1)
            sums[0] =
                _mm256_max_ps(_mm256_max_ps(sums[0], sums[1]), _mm256_max_ps(sums[2], sums[3]));
        for (uint32_t i = 0; i < each && x + i < conv->out_width; i++)
            _mm256_storeu_ps(y + (x + i) * conv->out_channels + first,
                             _mm256_min_ps(_mm256_max_ps(sums[i], low), high));
    }
}

void kd_edge_x86_row_f32(const kd_edge_model *model, const kd_edge_conv *conv,
                         const uint8_t *const rows[], uint8_t *out)
{
    void *to = out;
    uint32_t c = 0;
    if (kd_edge_taps(conv) <= FEW_TAPS && conv->out_width > 1)
        for (; c + 8 <= conv->out_channels; c += 8) eight_row(model, conv, c, rows, to);
    for (; c < conv->out_channels; c += 4) {
        const quad q = quad_of(model, conv, c);
        quad_row(conv, &q, rows, to);
    }
}
#else
typedef int kd_edge_no_x86_f32; /* a file is not empty */
#endif
