/* SPDX-License-Identifier: MIT
 * conv_winograd.h: 3x3 convolutions in fewer multiplications, forward and backward. Four algorithms
 * of conv.h are this code with other transforms (transforms.h): WINOGRAD, WINOGRAD2, SMALL_MAP2,
 * SMALL_MAP4.
 *
 * Stride, dilation and groups are 1, channels any. Layouts are conv.h's. Scratch memory is the
 * caller's, 64-byte aligned; its size grows with n. The same bits for any number of threads, and
 * with or without prepared weights. */
#ifndef KDI_CONV_WINOGRAD_H
#define KDI_CONV_WINOGRAD_H

#include "conv.h"

#include "../base/size.h"

/* Bytes of the transformed filters: about 4 times the weights' size for WINOGRAD, 16/9 times for
 * WINOGRAD2, once for the small maps. They do not depend on n, h, w. */
size_t kdi_winograd_prepared_size(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo);
/* Needs no scratch: kdi_winograd_scratch(ctx, conv, KDI_CONV_PREPARE) is 0. */
void kdi_winograd_prepare(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo, const float *w,
                          void *prepared, void *scratch);

/* Bytes of scratch of a pass; SIZE_MAX: the size overflows. */
size_t kdi_winograd_scratch(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo,
                            kdi_conv_pass pass);

/* y[n,oh,ow,o] = act(conv(x[n,h,w,c], w[o,3,3,c]) + bias + residual). If prepared is set, w is not
 * read. epilogue may be NULL. Its residual has y's layout and may be y. */
void kdi_winograd_forward(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo, const float *x,
                          const float *w, const void *prepared, const kdi_epilogue *epilogue,
                          float *y, void *scratch);

/* The same with y's moments [2][o] (conv.h), summed while y is in cache. pass: which forward the
 * scratch is for; the last bits of the moments differ between the two. */
size_t kdi_winograd_moments_scratch(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo,
                                    kdi_conv_pass pass);
void kdi_winograd_forward_moments(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo,
                                  const float *x, const float *w, const void *prepared,
                                  const kdi_epilogue *epilogue, float *y, float *moments,
                                  void *scratch);

/* The gradients that are not NULL, written or added: dx[n,h,w,c] from w, dw[o,3,3,c] from x, and
 * db[o]. accumulate_dw is for dw and db. */
void kdi_winograd_backward(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo, const float *x,
                           const float *w, const float *dy, float *dx, float *dw, float *db,
                           bool accumulate_dx, bool accumulate_dw, void *scratch);

/* ---- shared by the conv_winograd_*.c files --------------------------------------------------- */

enum { KDI_TILE_PIXELS = 36 }; /* pixels of x that a tile needs, at most */

/* A correlation from x[n,h,w,c] to y[n,oh,ow,o], whose output is cut into tiles. */
typedef struct kdi_winograd {
    const kdi_kernels *kernels;
    const kdi_transforms *transforms;
    size_t planes, tile, side, rows; /* the transforms' */
    size_t lanes;                    /* floats of a vector: channels of a block */
    size_t h, w, c, oh, ow, o, ph, pw;
    const kdi_conv_bn_before *bn_before; /* of x, or NULL */
    bool pools;                          /* what is written is the largest of each 2x2 pixels */
    size_t yh, yw, ytile;                /* the map that is written, and a tile's side in it */
    size_t tiles_h, tiles_w, tiles;      /* of a map, and of all maps */
    size_t ahead;                        /* x is fetched so many tiles ahead */
    size_t c_blocks, o_blocks;
    bool turned; /* dX from dY: the filters are w[c,3,3,o], turned by 180 degrees */
} kdi_winograd;

kdi_winograd kdi_winograd_of(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo, bool turned);

/* Tiles that have about so many rows of V. */
static inline size_t kdi_winograd_tiles(const kdi_winograd *g, size_t rows)
{
    return kdi_pieces(rows, g->rows);
}

/* Parts of the output that have moments of their own. */
typedef struct kdi_winograd_parts {
    size_t tiles; /* of a part */
    size_t chunk; /* parts begin anew after so many tiles; chunk >= tiles */
    size_t count; /* parts */
    size_t most;  /* an upper bound of count that grows with n */
} kdi_winograd_parts;
kdi_winograd_parts kdi_winograd_parts_of(const kdi_winograd *g, bool prepared);

/* The correlation itself, which is the forward pass and dX, and its floats of scratch. moments, or
 * NULL: the parts' moments, [parts][3][o_blocks * lanes], as the kernel pixel_moments leaves
 * them. */
size_t kdi_winograd_run_scratch(kd_ctx *ctx, const kdi_winograd *g, bool prepared);
void kdi_winograd_run(kd_ctx *ctx, const kdi_winograd *g, const float *x, const float *w,
                      const float *prepared, const kdi_epilogue *epilogue, float *y, float *moments,
                      float *scratch);

/* V or M of some tiles, [planes][blocks][tiles * rows][lanes]. The strides spread one tile's
 * numbers over the sets of the cache. */
typedef struct kdi_planes {
    float *data;
    size_t plane, block; /* floats from one to the next */
} kdi_planes;

/* Where the pixels of x that a tile needs begin, and where its pixels of y: in floats, SIZE_MAX
 * outside of the map. */
void kdi_winograd_input_pixels(const kdi_winograd *g, size_t tile, size_t at[KDI_TILE_PIXELS]);
void kdi_winograd_output_pixels(const kdi_winograd *g, size_t tile, size_t at[KDI_TILE_PIXELS]);
/* V of a tile; it is number `row` of v. */
void kdi_winograd_input(const kdi_winograd *g, const float *x, size_t tile, kdi_planes v,
                        size_t row);
/* Bring a tile's share of x, or of y, into the cache. */
void kdi_winograd_fetch_x(const kdi_winograd *g, const float *x, size_t tile);
void kdi_winograd_fetch_y(const kdi_winograd *g, const float *y, size_t tile);

kdi_planes kdi_planes_of(const kdi_winograd *g, float *data, size_t blocks, size_t tiles);

/* *total += count * each floats, rounded up to 64 bytes; false on overflow. */
bool kdi_winograd_reserve(size_t *total, size_t count, size_t each);
/* Floats of kdi_planes; SIZE_MAX on overflow. */
size_t kdi_planes_size(const kdi_winograd *g, size_t blocks, size_t tiles);

#endif
