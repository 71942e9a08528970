/* SPDX-License-Identifier: MIT
 * planes.h: shared by winograd*.c and small_map*.c. A one-dimensional transform of a few numbers is
 * applied to the columns of a square, then to its rows, a vector of channels at a time. Sizes and
 * the transform are constants once these bodies are inlined.
 *
 * Layouts and at[] are those of ../transforms.h. Lanes beyond the last channel are zero. */
#ifndef KDI_PLANES_H
#define KDI_PLANES_H

#include "vectors.h"

#include "vec_math.h"

/* MOST: the largest side of a square. RUN: channels of a tile at a time. */
enum { L = KDI_VL, MOST = 6, RUN = 256 };
#define INLINE static inline __attribute__((always_inline))

/* A one-dimensional transform: y of x. */
typedef void line_fn(const kdi_v *x, kdi_v *y);
/* The same of six y, two at a time. Pair 0 is y[0] and y[5], 1 is y[1] and y[2], 2 is y[3] and
 * y[4]. */
typedef void pair_fn(size_t pair, const kdi_v *x, kdi_v *y);

/* Channels c0... of c. */
INLINE kdi_v load(const float *p, size_t left)
{
    return left >= L ? kdi_load(p) : kdi_load_part(p, left, 0);
}

INLINE void store(float *p, kdi_v v, size_t left)
{
    if (left >= L)
        kdi_store(p, v);
    else
        kdi_store_part(p, left, v);
}

/* Where channel `begin` of a tile's pixels is, for up to RUN channels. A pixel outside of the map
 * is a line of zeros. */
INLINE void find(const size_t pixels, const float *x, const size_t *at, size_t begin,
                 const float **from)
{
    static const float outside[RUN];
    for (size_t i = 0; i < pixels; i++) from[i] = at[i] != SIZE_MAX ? x + at[i] + begin : outside;
}

/* Transform a square of side x side pixels, channels from c0 on, to `to` x `to` numbers of v,
 * planes `plane` apart. Returns the sum of the pixels. */
INLINE kdi_v square(const size_t side, const size_t to, line_fn *line, const float *const *from,
                    size_t c0, size_t left, float *v, size_t plane)
{
    kdi_v half[MOST * MOST], in[MOST], out[MOST], total = {0};
    for (size_t j = 0; j < side; j++) {
        for (size_t i = 0; i < side; i++) {
            in[i] = load(from[side * i + j] + c0, left);
            total += in[i];
        }
        line(in, out);
        for (size_t i = 0; i < to; i++) half[side * i + j] = out[i];
    }
    for (size_t i = 0; i < to; i++) {
        line(half + side * i, out);
        for (size_t j = 0; j < to; j++) kdi_store(v + (to * i + j) * plane, out[j]);
    }
    return total;
}

/* The same to 6 x 6 numbers, two rows at a time: all half-transformed numbers at once would not fit
 * the registers. Pixels are loaded three times instead, which costs nothing; `two` computes two
 * rows from what they have in common, so that nothing is computed twice. */
INLINE kdi_v square_by_pairs(const size_t side, pair_fn *two, line_fn *line,
                             const float *const *from, size_t c0, size_t left, float *v,
                             size_t plane)
{
    static const size_t rows[3][2] = {{0, 5}, {1, 2}, {3, 4}};
    kdi_v total = {0};
    KDI_UNROLL
    for (size_t pair = 0; pair < 3; pair++) {
        kdi_v half[2][6], in[MOST], out[6];
        KDI_UNROLL
        for (size_t j = 0; j < side; j++) {
            for (size_t i = 0; i < side; i++) {
                in[i] = load(from[side * i + j] + c0, left);
                if (pair == 1) total += in[i];
            }
            two(pair, in, out);
            half[0][j] = out[0];
            half[1][j] = out[1];
        }
        for (size_t i = 0; i < 2; i++) {
            line(half[i], out);
            for (size_t j = 0; j < 6; j++) kdi_store(v + (6 * rows[pair][i] + j) * plane, out[j]);
        }
    }
    return total;
}

/* A tile's side x side pixels of x, c channels, to `to` x `to` planes. If `two` is not NULL, rows
 * are made in pairs. If sum is not NULL, the pixels are added to it: [c], rounded up to whole
 * vectors. */
INLINE void spread(const size_t side, const size_t to, line_fn *line, pair_fn *two, const float *x,
                   const size_t *at, size_t c, float *v, size_t plane, size_t block, float *sum)
{
    for (size_t begin = 0; begin < c; begin += RUN) {
        const size_t count = c - begin < RUN ? c - begin : RUN;
        const float *found[MOST * MOST];
        find(side * side, x, at, begin, found);
        for (size_t c0 = 0; c0 < count; c0 += L, v += block) {
            const float *const *from = found;
            const size_t apart = kdi_opaque(plane);
            __asm__ volatile("" : "+r"(from)); /* addresses, too, stay where they are */
            const kdi_v total =
                two ? square_by_pairs(side, two, line, from, c0, count - c0, v, apart)
                    : square(side, to, line, from, c0, count - c0, v, apart);
            if (sum) kdi_store(sum + begin + c0, kdi_load(sum + begin + c0) + total);
        }
    }
}

/* The largest number, as a max_pool has it (kdi_beats). */
INLINE kdi_v larger(kdi_v best, kdi_v x)
{
    return kdi_select(kdi_beats(x, best), x, best);
}

/* The second half of an output transform, for a vector of channels. `half` has side lines of `from`
 * numbers. They are transformed, go through the epilogue (or NULL), and are stored in the side x
 * side pixels of y, from channel `to` on; `left` channels are left. If it pools, the pixels are
 * those of half the side, and there is no residual. */
INLINE void finish(const size_t side, const size_t from, line_fn *line, const kdi_v *half,
                   size_t to, size_t left, const kdi_epilogue *epilogue, const bool pools, float *y,
                   const size_t *at)
{
    static const kdi_epilogue none = {0};
    const kdi_epilogue *e = epilogue ? epilogue : &none;
    const kdi_v bias = e->bias ? load(e->bias + to, left) : (kdi_v){0};
    kdi_v best[MOST] = {0};
    for (size_t i = 0; i < side; i++) {
        kdi_v out[MOST];
        line(half + from * i, out);
        for (size_t j = 0; j < side; j++) {
            const size_t p = pools ? 0 : at[side * i + j];
            if (p == SIZE_MAX) continue;
            out[j] += bias;
            if (e->residual) out[j] += load(e->residual + p + to, left);
            if (e->act == KDI_ACT_RELU) out[j] = kdi_relu(out[j]);
            if (e->act == KDI_ACT_GELU) out[j] = kdi_gelu(out[j]);
            if (!pools) store(y + p + to, out[j], left);
        }
        for (size_t j = 0; pools && j < side / 2; j++) {
            const kdi_v pair = larger(out[2 * j], out[2 * j + 1]);
            const size_t p = at[i / 2 * (side / 2) + j];
            best[j] = i % 2 ? larger(best[j], pair) : pair;
            if (i % 2 && p != SIZE_MAX) store(y + p + to, best[j], left);
        }
    }
}

/* from x from planes, through the epilogue (or NULL), to side x side pixels of y: o channels, from
 * channel `first` of y, bias and residual on. */
INLINE void gather(const size_t from, const size_t side, line_fn *line, const float *m,
                   size_t plane, size_t block, size_t first, size_t o, const kdi_epilogue *epilogue,
                   const bool pools, float *y, const size_t *at)
{
    for (size_t o0 = 0; o0 < o; o0 += L, m += block) {
        kdi_v half[MOST * MOST], in[MOST], out[MOST];
        const size_t apart = kdi_opaque(plane);
        for (size_t j = 0; j < from; j++) {
            for (size_t i = 0; i < from; i++) in[i] = kdi_load(m + (from * i + j) * apart);
            line(in, out);
            for (size_t i = 0; i < side; i++) half[from * i + j] = out[i];
        }
        finish(side, from, line, half, first + o0, o - o0, epilogue, pools, y, at);
    }
}

/* A filter's nine points to `to` x `to` planes. */
INLINE void filter_square(const size_t to, line_fn *line, const kdi_v g[9], float *u, size_t plane)
{
    kdi_v half[3 * MOST], out[MOST];
    for (size_t j = 0; j < 3; j++) {
        const kdi_v column[3] = {g[j], g[3 + j], g[6 + j]};
        line(column, out);
        for (size_t i = 0; i < to; i++) half[3 * i + j] = out[i];
    }
    for (size_t i = 0; i < to; i++) {
        line(half + 3 * i, out);
        for (size_t j = 0; j < to; j++) kdi_store(u + (to * i + j) * plane, out[j]);
    }
}

/* Filters w[o][3][3][c], ldw floats from filter to filter and tap from point to point, to
 * u [plane][c][width]. o <= width, which is one vector or two; the rest of u is zero. */
INLINE void filters(const size_t to, line_fn *line, const float *w, size_t ldw, size_t tap,
                    size_t o, size_t c, float *u, size_t plane, size_t width)
{
    for (size_t c0 = 0; c0 < c; c0 += L)
        for (size_t o0 = 0; o0 < width; o0 += L) {
            kdi_v g[9][L]; /* [tap][channel], each a vector of filters */
            for (size_t t = 0; t < 9; t++) {
                for (size_t i = 0; i < L; i++) {
                    g[t][i] = (kdi_v){0};
                    if (o0 + i >= o) continue;
                    const float *from = w + (o0 + i) * ldw + t * tap + c0;
                    if (c0 + L < c) __builtin_prefetch(from + L);
                    g[t][i] = load(from, c - c0);
                }
                kdi_transpose_square(g[t]);
            }
            for (size_t q = 0; q < L && c0 + q < c; q++) {
                const kdi_v taps[9] = {g[0][q], g[1][q], g[2][q], g[3][q], g[4][q],
                                       g[5][q], g[6][q], g[7][q], g[8][q]};
                filter_square(to, line, taps, u + (c0 + q) * width + o0, plane);
            }
        }
}

/* The same of the filters turned by 180 degrees, with input and output exchanged (their convolution
 * with dY is dX): u [plane][o][width], c <= width. */
INLINE void filters_turned(const size_t to, line_fn *line, const float *w, size_t ldw, size_t tap,
                           size_t o, size_t c, float *u, size_t plane, size_t width)
{
    for (size_t i = 0; i < o; i++)
        for (size_t c0 = 0; c0 < width; c0 += L) {
            const float *from = w + i * ldw + c0;
            kdi_v taps[9];
            for (size_t t = 0; t < 9; t++) {
                /* Filters lie pages apart: prefetch early. */
                if (i + 2 < o) __builtin_prefetch(from + 2 * ldw + t * tap);
                taps[t] = c0 < c ? load(from + (8 - t) * tap, c - c0) : (kdi_v){0};
            }
            filter_square(to, line, taps, u + i * width + c0, plane);
        }
}

/* du [plane][o][ldu], from x from planes, to dw[o][3][3][c], written or added; strides as above. */
INLINE void filter_gradients(const size_t from, line_fn *line, const float *du, size_t plane,
                             size_t ldu, size_t o, size_t c, float *dw, size_t ldw, size_t tap,
                             bool accumulate)
{
    for (size_t i = 0; i < o; i++)
        for (size_t c0 = 0; c0 < c; c0 += L) {
            const float *u = du + i * ldu + c0;
            kdi_v half[3 * MOST], in[MOST], out[3];
            for (size_t q = 0; q < from; q++) {
                for (size_t p = 0; p < from; p++) in[p] = kdi_load(u + (from * p + q) * plane);
                line(in, out);
                for (size_t p = 0; p < 3; p++) half[from * p + q] = out[p];
            }
            for (size_t p = 0; p < 3; p++) {
                line(half + from * p, out);
                for (size_t q = 0; q < 3; q++) {
                    float *to = dw + i * ldw + (3 * p + q) * tap + c0;
                    store(to, accumulate ? out[q] + load(to, c - c0) : out[q], c - c0);
                }
            }
        }
}

#endif
