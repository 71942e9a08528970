/* SPDX-License-Identifier: MIT
 * conv_winograd.h: 3x3 convolutions of stride 1 in fewer multiplications, float32, forward and
 * backward, in four ways that differ in their transforms alone.
 *
 * Stride, dilation and groups are 1, channels any. Layouts are conv.h's. Scratch memory is the
 * caller's, 64-byte aligned; its size grows with n. The same bits for any number of threads, and
 * with or without prepared weights. */
#ifndef KDI_CONV_WINOGRAD_H
#define KDI_CONV_WINOGRAD_H

#include "conv.h"

typedef enum kdi_winograd_kind {
    KDI_WINOGRAD_F4,  /* F(4x4,3x3): a quarter of the multiplications; any maps, padding 0 to 2 */
    KDI_WINOGRAD_F2,  /* F(2x2,3x3): 4 multiplications for 9, half the filters; any maps, too */
    KDI_WINOGRAD_2X2, /* 2x2 maps with padding 1: 9 for 16 (isa/small_map2.c) */
    KDI_WINOGRAD_4X4  /* 4x4 maps with padding 1: 81 for 100 (isa/small_map4.c) */
} kdi_winograd_kind;

/* Bytes of the transformed filters: four times the weights' and a little, whatever n, h, w; less
 * than twice with F2, as much as theirs for 2x2 and 4x4 maps. */
size_t kdi_winograd_prepared_size(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind);
/* Needs no scratch: kdi_winograd_scratch(ctx, conv, KDI_CONV_PREPARE) is 0. */
void kdi_winograd_prepare(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind, const float *w,
                          void *prepared, void *scratch);

/* Bytes a pass needs; SIZE_MAX if the size overflows. */
size_t kdi_winograd_scratch(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind,
                            kdi_conv_pass pass);

/* y[n,oh,ow,o] = act(conv(x[n,h,w,c], w[o,3,3,c]) + bias + residual). With prepared, w is not
 * read. epilogue may be NULL; its residual has y's layout and may be y. */
void kdi_winograd_forward(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind, const float *x,
                          const float *w, const void *prepared, const kdi_epilogue *epilogue,
                          float *y, void *scratch);

/* The same, and the moments [2][o] of y while it is in cache, for a batch norm behind: the mean
 * over all pixels of all images, and the sum of the squared distances from it. pass tells which
 * forward the scratch is for. The moments' last bits may differ between the two. */
size_t kdi_winograd_moments_scratch(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind,
                                    kdi_conv_pass pass);
void kdi_winograd_forward_moments(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind,
                                  const float *x, const float *w, const void *prepared,
                                  const kdi_epilogue *epilogue, float *y, float *moments,
                                  void *scratch);

/* The gradients that are not NULL, written or added: dx[n,h,w,c] from w, dw[o,3,3,c] from x, and
 * db[o]. accumulate_dw is for dw and db. */
void kdi_winograd_backward(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind,
                           const float *x, const float *w, const float *dy, float *dx, float *dw,
                           float *db, bool accumulate_dx, bool accumulate_dw, void *scratch);

/* ---- shared by the conv_winograd_*.c files --------------------------------------------------- */

/* The transforms of a kind (kernels.def). */
typedef struct kdi_transforms {
    void (*input)(const float *x, const size_t *at, size_t c, float *v, size_t plane, size_t block);
    void (*output)(const float *m, size_t plane, size_t block, size_t first, size_t o,
                   const kdi_epilogue *epilogue, bool pools, float *y, const size_t *at);
    void (*gradient)(const float *dy, const size_t *at, size_t o, float *m, size_t plane,
                     size_t block, float *sum);
    void (*filter)(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                   size_t plane, size_t width);
    void (*filter_turned)(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                          size_t plane, size_t width);
    void (*filter_gradient)(const float *du, size_t plane, size_t ldu, size_t o, size_t c,
                            float *dw, size_t ldw, size_t tap, bool accumulate);
} kdi_transforms;

enum { KDI_TILE_PIXELS = 36 }; /* pixels of a window, at most */

/* A correlation, x[n,h,w,c] to y[n,oh,ow,o], whose output is cut into tiles. */
typedef struct kdi_winograd {
    const kdi_kernels *kernels;
    kdi_transforms transforms;
    size_t planes, tile, side; /* products; sides of a tile of y and of its window of x */
    size_t rows;               /* of V and M for a tile */
    size_t lanes;              /* floats in a block of channels */
    size_t h, w, c, oh, ow, o, ph, pw;
    const kdi_conv_bn_before *bn_before; /* of x, or NULL */
    bool pools;           /* written is the largest of each 2x2 pixels of the output: */
    size_t yh, yw, ytile; /* the map written, and a tile's side of it; else oh, ow, tile */
    size_t tiles_h, tiles_w, tiles; /* of a map, and of all maps */
    size_t ahead;                   /* tiles, to fetch */
    size_t c_blocks, o_blocks;
    bool turned; /* filters w[c,3,3,o] of the opposite direction, to be turned: dX from dY */
} kdi_winograd;

kdi_winograd kdi_winograd_of(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind,
                             bool turned);

/* As many tiles as have about so many rows. */
static inline size_t kdi_winograd_tiles(const kdi_winograd *g, size_t rows)
{
    return (rows + g->rows - 1) / g->rows;
}

/* Floats of scratch, and the correlation itself: what forward and dX have in common. moments, or
 * NULL, is where it leaves y's moments: [parts][3][o_blocks * lanes] as pixel_moments has them,
 * a part for every so many tiles. */
typedef struct kdi_winograd_parts {
    size_t tiles, chunk; /* of a part, and how many after which parts begin anew; chunk >= tiles */
    size_t count, room;  /* parts, and a bound of them that grows with n */
} kdi_winograd_parts;
kdi_winograd_parts kdi_winograd_parts_of(const kdi_winograd *g, bool prepared);
size_t kdi_winograd_run_scratch(kd_ctx *ctx, const kdi_winograd *g, bool prepared);
void kdi_winograd_run(kd_ctx *ctx, const kdi_winograd *g, const float *x, const float *w,
                      const float *prepared, const kdi_epilogue *epilogue, float *y, float *moments,
                      float *scratch);

/* The planes of some tiles: [planes][blocks][tiles * rows][lanes], strides that spread the numbers of
 * one tile and channel over the sets of the cache. */
typedef struct kdi_planes {
    float *data;
    size_t plane, block; /* floats from one to the next */
} kdi_planes;

/* Where the pixels of a tile's window of x or y begin, in floats; SIZE_MAX outside. */
void kdi_winograd_input_pixels(const kdi_winograd *g, size_t tile, size_t at[KDI_TILE_PIXELS]);
void kdi_winograd_output_pixels(const kdi_winograd *g, size_t tile, size_t at[KDI_TILE_PIXELS]);
/* V of a tile, which is number `row` of v. */
void kdi_winograd_input(const kdi_winograd *g, const float *x, size_t tile, kdi_planes v,
                        size_t row);
/* Bring into the cache a tile's share of x, or of y: what tiles in order add to those before
 * them. */
void kdi_winograd_fetch_x(const kdi_winograd *g, const float *x, size_t tile);
void kdi_winograd_fetch_y(const kdi_winograd *g, const float *y, size_t tile);

kdi_planes kdi_planes_of(const kdi_winograd *g, float *data, size_t blocks, size_t tiles);

/* *total += count * each floats, rounded up to 64 bytes; false on overflow. */
bool kdi_winograd_reserve(size_t *total, size_t count, size_t each);
/* Floats of kdi_planes; SIZE_MAX on overflow. */
size_t kdi_planes_size(const kdi_winograd *g, size_t blocks, size_t tiles);

#endif
