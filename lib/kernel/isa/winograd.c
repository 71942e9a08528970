/* SPDX-License-Identifier: MIT
 * winograd.c: the transforms of Winograd's F(4x4,3x3) between images, filters and the 36 planes in
 * which the convolution is a product of matrices (conv_winograd.c has the whole).
 *
 * Interpolation points 0, +-5/8, +-3/2 and infinity. With a = 5/8 and b = 3/2, in one dimension:
 *   input    B' rows: (a2b2, 0, -a2-b2, 0, 1, 0), (0, -+ab2, -b2, +-a, 1, 0),
 *                     (0, -+ba2, -a2, +-b, 1, 0), (0, a2b2, 0, -a2-b2, 0, 1)
 *   filter   G  rows: (1, p, p2) / prod(p - q over the other finite points q), and (0, 0, 1)
 *   output   A' columns: (1, p, p2, p3), and (0, 0, 0, 1)
 * All of B' and A' are exact in float32. Errors are less than half of those of the customary points
 * 0, +-1, +-2 at the same number of operations.
 *
 * Planes hold channels in blocks of a vector, [plane][channel block][tile][KDI_VL]; lanes behind
 * the last channel are zero. at[] is where each pixel of a tile's window begins, in floats from the
 * image; SIZE_MAX marks pixels the image does not have. */
#include "isa.h"

#include "vec_math.h"

#include <string.h>

enum { L = KDI_VL };

#define PA 0.625f
#define PB 1.5f
#define PA2 (PA * PA)
#define PB2 (PB * PB)
#define PNA (2 * PA2 * (PA2 - PB2)) /* G's denominators */
#define PNB (2 * PB2 * (PB2 - PA2))

/* Channels c0... of c. */
static inline kdi_v load(const float *p, size_t left)
{
    return left >= L ? kdi_load(p) : kdi_load_part(p, left, 0);
}

static inline void store(float *p, kdi_v v, size_t left)
{
    if (left >= L)
        kdi_store(p, v);
    else
        kdi_store_part(p, left, v);
}

/* y[0..5] = B' x[0..5] */
static inline void input_1d(const kdi_v x[6], kdi_v y[6])
{
    const kdi_v ea = x[4] - PB2 * x[2], oa = x[3] - PB2 * x[1];
    const kdi_v eb = x[4] - PA2 * x[2], ob = x[3] - PA2 * x[1];
    y[0] = x[4] - (PA2 + PB2) * x[2] + PA2 * PB2 * x[0];
    y[1] = ea + PA * oa;
    y[2] = ea - PA * oa;
    y[3] = eb + PB * ob;
    y[4] = eb - PB * ob;
    y[5] = x[5] - (PA2 + PB2) * x[3] + PA2 * PB2 * x[1];
}

/* V = B' d B for one tile: d is the 6x6 window at at[] of x, c channels. */
void KDI_FN(winograd_input)(const float *x, const size_t at[36], size_t c, float *v, size_t plane,
                            size_t block)
{
    for (size_t c0 = 0; c0 < c; c0 += L, v += block) {
        kdi_v half[36], in[6], out[6];
        for (size_t j = 0; j < 6; j++) {
            for (size_t i = 0; i < 6; i++) {
                const size_t from = at[6 * i + j];
                in[i] = from != SIZE_MAX ? load(x + from + c0, c - c0) : (kdi_v){0};
            }
            input_1d(in, out);
            for (size_t i = 0; i < 6; i++) half[6 * i + j] = out[i];
        }
        for (size_t i = 0; i < 6; i++) {
            input_1d(half + 6 * i, out);
            for (size_t j = 0; j < 6; j++) kdi_store(v + (6 * i + j) * plane, out[j]);
        }
    }
}

/* y[0..3] = A' x[0..5] */
static inline void output_1d(const kdi_v x[6], kdi_v y[4])
{
    const kdi_v sa = x[1] + x[2], da = x[1] - x[2];
    const kdi_v sb = x[3] + x[4], db = x[3] - x[4];
    y[0] = x[0] + sa + sb;
    y[1] = PA * da + PB * db;
    y[2] = PA2 * sa + PB2 * sb;
    y[3] = x[5] + PA * PA2 * da + PB * PB2 * db;
}

/* Y = A' M A for one tile, through the epilogue (or NULL) to the 4x4 window at at[] of y: o
 * channels, beginning with channel `first` of y, bias and residual. */
void KDI_FN(winograd_output)(const float *m, size_t plane, size_t block, size_t first, size_t o,
                             const kdi_epilogue *epilogue, float *y, const size_t at[16])
{
    static const kdi_epilogue none = {0};
    const kdi_epilogue *e = epilogue ? epilogue : &none;
    for (size_t o0 = 0; o0 < o; o0 += L, m += block) {
        const size_t left = o - o0, to = first + o0;
        kdi_v half[24], in[6], out[4];
        for (size_t j = 0; j < 6; j++) {
            for (size_t i = 0; i < 6; i++) in[i] = kdi_load(m + (6 * i + j) * plane);
            output_1d(in, out);
            for (size_t i = 0; i < 4; i++) half[6 * i + j] = out[i];
        }
        const kdi_v bias = e->bias ? load(e->bias + to, left) : (kdi_v){0};
        for (size_t i = 0; i < 4; i++) {
            output_1d(half + 6 * i, out);
            for (size_t j = 0; j < 4; j++) {
                const size_t p = at[4 * i + j];
                if (p == SIZE_MAX) continue;
                kdi_v r = out[j] + bias;
                if (e->residual) r += load(e->residual + p + to, left);
                if (e->act == KDI_ACT_RELU) r = kdi_relu(r);
                if (e->act == KDI_ACT_GELU) r = kdi_gelu(r);
                store(y + p + to, r, left);
            }
        }
    }
}

/* Moments of a tile's pixels of y, o channels, kept as three rows of `step` floats: a shift, the
 * sum of (y - shift)^2 and the sum of y - shift. `begin` sets the shift to the tile's first pixel,
 * and the sums to zero. */
void KDI_FN(winograd_moments)(const float *y, const size_t at[16], size_t o, bool begin,
                              float *moments, size_t step)
{
    for (size_t o0 = 0; o0 < o; o0 += L) {
        float *m = moments + o0;
        const kdi_v shift = begin ? load(y + at[0] + o0, o - o0) : kdi_load(m);
        kdi_v square = begin ? (kdi_v){0} : kdi_load(m + step);
        kdi_v sum = begin ? (kdi_v){0} : kdi_load(m + 2 * step);
        for (size_t i = 0; i < 16; i++) {
            if (at[i] == SIZE_MAX) continue;
            const kdi_v d = load(y + at[i] + o0, o - o0) - shift;
            square += d * d;
            sum += d;
        }
        kdi_store(m, shift);
        kdi_store(m + step, square);
        kdi_store(m + 2 * step, sum);
    }
}

/* y[0..5] = A x[0..3] */
static inline void gradient_1d(const kdi_v x[4], kdi_v y[6])
{
    const kdi_v ea = x[0] + PA2 * x[2], oa = PA * x[1] + PA * PA2 * x[3];
    const kdi_v eb = x[0] + PB2 * x[2], ob = PB * x[1] + PB * PB2 * x[3];
    y[0] = x[0];
    y[1] = ea + oa;
    y[2] = ea - oa;
    y[3] = eb + ob;
    y[4] = eb - ob;
    y[5] = x[3];
}

/* dM = A dY A' for one tile, the adjoint of the output's transform; sum, where not NULL, has the
 * tile's dY added to it: [o], rounded up to whole vectors. */
void KDI_FN(winograd_gradient)(const float *dy, const size_t at[16], size_t o, float *m,
                               size_t plane, size_t block, float *sum)
{
    for (size_t o0 = 0; o0 < o; o0 += L, m += block) {
        kdi_v half[24], in[4], out[6], total = {0};
        for (size_t j = 0; j < 4; j++) {
            for (size_t i = 0; i < 4; i++) {
                const size_t from = at[4 * i + j];
                in[i] = from != SIZE_MAX ? load(dy + from + o0, o - o0) : (kdi_v){0};
                total += in[i];
            }
            gradient_1d(in, out);
            for (size_t i = 0; i < 6; i++) half[4 * i + j] = out[i];
        }
        if (sum) kdi_store(sum + o0, kdi_load(sum + o0) + total);
        for (size_t i = 0; i < 6; i++) {
            gradient_1d(half + 4 * i, out);
            for (size_t j = 0; j < 6; j++) kdi_store(m + (6 * i + j) * plane, out[j]);
        }
    }
}

/* y[0..5] = G x[0..2] */
static inline void filter_1d(const kdi_v x[3], kdi_v y[6])
{
    const kdi_v ea = (1 / PNA) * x[0] + (PA2 / PNA) * x[2], oa = (PA / PNA) * x[1];
    const kdi_v eb = (1 / PNB) * x[0] + (PB2 / PNB) * x[2], ob = (PB / PNB) * x[1];
    y[0] = (1 / (PA2 * PB2)) * x[0];
    y[1] = ea + oa;
    y[2] = ea - oa;
    y[3] = eb + ob;
    y[4] = eb - ob;
    y[5] = x[2];
}

/* u[36], a plane apart, = G g G' for g[9]. */
static inline void filter_2d(const kdi_v g[9], float *u, size_t plane)
{
    kdi_v half[18], out[6];
    for (size_t j = 0; j < 3; j++) {
        const kdi_v column[3] = {g[j], g[3 + j], g[6 + j]};
        filter_1d(column, out);
        for (size_t i = 0; i < 6; i++) half[3 * i + j] = out[i];
    }
    for (size_t i = 0; i < 6; i++) {
        filter_1d(half + 3 * i, out);
        for (size_t j = 0; j < 6; j++) kdi_store(u + (6 * i + j) * plane, out[j]);
    }
}

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (kdi_vi){__VA_ARGS__})
#endif
#if KDI_VL == 16
#define ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif KDI_VL == 8
#define ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define ZIP_LOW 0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#endif

/* Transpose a square of L vectors: log2(L) perfect shuffles of its rows. */
static inline void transpose(kdi_v x[L])
{
    for (int step = 1; step < L; step *= 2) {
        kdi_v y[L];
        for (size_t i = 0; i < L / 2; i++) {
            y[2 * i] = SHUFFLE(x[i], x[i + L / 2], ZIP_LOW);
            y[2 * i + 1] = SHUFFLE(x[i], x[i + L / 2], ZIP_HIGH);
        }
        memcpy(x, y, sizeof y);
    }
}

/* U = G g G' as the second factor of V U: w [o][3][3][c] with ldw floats from one filter to the
 * next and tap floats between taps, o at most width; u [plane][c][width], zero for filters there
 * are not. width is one vector or two. */
void KDI_FN(winograd_filter)(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                             size_t plane, size_t width)
{
    for (size_t c0 = 0; c0 < c; c0 += L)
        for (size_t o0 = 0; o0 < width; o0 += L) {
            kdi_v g[9][L]; /* [tap][channel], each a vector of filters */
            for (size_t t = 0; t < 9; t++) {
                for (size_t i = 0; i < L; i++)
                    g[t][i] =
                        o0 + i < o ? load(w + (o0 + i) * ldw + t * tap + c0, c - c0) : (kdi_v){0};
                transpose(g[t]);
            }
            for (size_t q = 0; q < L && c0 + q < c; q++) {
                const kdi_v taps[9] = {g[0][q], g[1][q], g[2][q], g[3][q], g[4][q],
                                       g[5][q], g[6][q], g[7][q], g[8][q]};
                filter_2d(taps, u + (c0 + q) * width + o0, plane);
            }
        }
}

/* The same for the filters turned by half a turn and with input and output exchanged, whose
 * convolution with dY is dX: c at most width; u [plane][o][width]. */
void KDI_FN(winograd_filter_turned)(const float *w, size_t ldw, size_t tap, size_t o, size_t c,
                                    float *u, size_t plane, size_t width)
{
    for (size_t i = 0; i < o; i++)
        for (size_t c0 = 0; c0 < width; c0 += L) {
            const float *from = w + i * ldw + c0;
            kdi_v taps[9];
            for (size_t t = 0; t < 9; t++) {
                /* Filters lie pages apart: ask early. */
                if (i + 2 < o) __builtin_prefetch(from + 2 * ldw + t * tap);
                taps[t] = c0 < c ? load(from + (8 - t) * tap, c - c0) : (kdi_v){0};
            }
            filter_2d(taps, u + i * width + c0, plane);
        }
}

/* y[0..2] = G' x[0..5] */
static inline void filter_gradient_1d(const kdi_v x[6], kdi_v y[3])
{
    const kdi_v sa = x[1] + x[2], da = x[1] - x[2];
    const kdi_v sb = x[3] + x[4], db = x[3] - x[4];
    y[0] = (1 / (PA2 * PB2)) * x[0] + (1 / PNA) * sa + (1 / PNB) * sb;
    y[1] = (PA / PNA) * da + (PB / PNB) * db;
    y[2] = (PA2 / PNA) * sa + (PB2 / PNB) * sb + x[5];
}

/* dW = G' dU G, written or added: du [plane][o][ldu], dw [o][3][3][c] with strides as above. */
void KDI_FN(winograd_filter_gradient)(const float *du, size_t plane, size_t ldu, size_t o, size_t c,
                                      float *dw, size_t ldw, size_t tap, bool accumulate)
{
    for (size_t i = 0; i < o; i++)
        for (size_t c0 = 0; c0 < c; c0 += L) {
            const float *u = du + i * ldu + c0;
            kdi_v half[18], in[6], out[3];
            for (size_t q = 0; q < 6; q++) {
                for (size_t p = 0; p < 6; p++) in[p] = kdi_load(u + (6 * p + q) * plane);
                filter_gradient_1d(in, out);
                for (size_t p = 0; p < 3; p++) half[6 * p + q] = out[p];
            }
            for (size_t p = 0; p < 3; p++) {
                filter_gradient_1d(half + 6 * p, out);
                for (size_t q = 0; q < 3; q++) {
                    float *to = dw + i * ldw + (3 * p + q) * tap + c0;
                    store(to, accumulate ? out[q] + load(to, c - c0) : out[q], c - c0);
                }
            }
        }
}
