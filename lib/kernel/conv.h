/* SPDX-License-Identifier: MIT
 * conv.h: two-dimensional convolutions (cross-correlations, as in every framework), float32.
 * Activations are NHWC: x[n,h,w,c], y[n,oh,ow,o]; weights w[o,kh,kw,c/groups].
 *
 *   y[n,p,q,o] = sum over i, j, c of x[n, p*sh - ph + i*dh, q*sw - pw + j*dw, c] w[o,i,j,c]
 *
 * Which algorithm computes which shape is decided by a table of rules (conv_choose.c). All cut
 * their work by shape: the same bits for any number of threads. Scratch memory is the caller's,
 * 64-byte aligned; nothing allocates. */
#ifndef KDI_CONV_H
#define KDI_CONV_H

#include "gemm.h"

/* A batch norm before the convolution, applied to x as it is read: (x - mean) scale + shift, then
 * max(0, .) if relu. Arrays are [c]. */
typedef struct kdi_conv_bn_before {
    const float *mean, *scale, *shift;
    bool relu;
} kdi_conv_bn_before;

/* The backward of a batch norm after the convolution, applied to dy as it is read. With d = y -
 * mean the result is g scale + d slope + constant. g is dy; with relu it is 0 where d scale + shift
 * <= 0. If a 2x2 max pooling follows the norm, dy is the pooling's gradient (isa/norm_pool.c), and
 * h and w are even. Arrays are [o]. */
typedef struct kdi_conv_bn_after {
    const float *y; /* of the convolution */
    const float *mean, *scale, *shift, *slope, *constant;
    bool relu, pools;
    bool writes; /* store the result in dy. Some algorithms must, others cannot: kdi_conv_can */
    float *dy;   /* there, [n,oh,ow,o]; may be y */
} kdi_conv_bn_after;

typedef struct kdi_conv {
    size_t n, h, w, c; /* input */
    size_t o, kh, kw;  /* output channels, kernel */
    size_t sh, sw;     /* stride */
    size_t ph, pw;     /* padding with zeros on each side */
    size_t dh, dw;     /* dilation */
    size_t groups;     /* divides c and o */
    size_t oh, ow;     /* output map: (h + 2 ph - dh (kh - 1) - 1) / sh + 1 */
    bool pools;        /* forward: y is [n,oh/2,ow/2,o], the largest of each 2x2 pixels */
    const kdi_conv_bn_before
        *bn_before; /* of x, padding excluded; NULL: none. dx is the gradient of what
                                * comes of it */
    const kdi_conv_bn_after
        *bn_after; /* backward, without dx: what dy goes through first, or NULL */
} kdi_conv;

typedef enum kdi_conv_algo {
    KDI_CONV_GEMM,       /* patches times packed weights; any shape */
    KDI_CONV_DIRECT,     /* few input channels: rows of the padded image are the patches */
    KDI_CONV_DEPTHWISE,  /* groups == c, o a multiple of c */
    KDI_CONV_WINOGRAD,   /* F(4x4,3x3): 3x3, stride 1, dilation 1, groups 1 */
    KDI_CONV_WINOGRAD2,  /* F(2x2,3x3): the same shapes, smaller filters, more multiplications */
    KDI_CONV_SMALL_MAP2, /* 2x2 maps, 3x3, padding 1: 9 products for 16 */
    KDI_CONV_SMALL_MAP4, /* 4x4 maps, 3x3, padding 1: 81 products for 100, filters as many */
    KDI_CONV_ALGOS
} kdi_conv_algo;

typedef enum kdi_conv_pass {
    KDI_CONV_FORWARD,          /* without prepared weights */
    KDI_CONV_FORWARD_PREPARED, /* with them */
    KDI_CONV_BACKWARD,
    KDI_CONV_PREPARE
} kdi_conv_pass;

const char *kdi_conv_algo_name(kdi_conv_algo algo);
int kdi_conv_algo_named(const char *name); /* -1: none is called so */

/* Whether the algorithm can compute this convolution at all. */
bool kdi_conv_can(const kdi_conv *v, kdi_conv_algo algo);

/* A rule holds for shapes within all its bounds. The first rule that holds, and whose algorithm can
 * compute the shape, decides. */
typedef struct kdi_conv_rule {
    kdi_conv_algo algo;
    size_t min_c, max_c;     /* input channels of a group */
    size_t min_o, max_o;     /* output channels of a group */
    size_t min_map, max_map; /* output pixels of an image, oh * ow */
    size_t max_pixels;       /* of the largest batch */
    const char *why;
} kdi_conv_rule;
const kdi_conv_rule *kdi_conv_rules(size_t *count);

/* The algorithm for a shape whose batches are at most `batch` (0: large). n is not looked at, so
 * that prepared weights and gradients fit every run of a plan. forced: NULL, or an algorithm to use
 * wherever it can. */
kdi_conv_algo kdi_conv_choose_for(const kdi_conv *v, size_t batch, const kdi_conv_algo *forced);
kdi_conv_algo kdi_conv_choose(const kdi_conv *v, const kdi_conv_algo *forced); /* batch 0 */

/* Bytes of scratch of a pass; grows with n. SIZE_MAX: the size overflows. */
size_t kdi_conv_scratch(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, kdi_conv_pass pass);

/* The weights in the algorithm's own form. It does not depend on n; for GEMM, DIRECT and DEPTHWISE
 * not on h and w either. */
size_t kdi_conv_prepared_size(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo);
void kdi_conv_prepare(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *w,
                      void *prepared, void *scratch);

/* y = act(conv(x, w) + bias + residual). If prepared (from kdi_conv_prepare) is set, it is read
 * instead of w, and the scratch is KDI_CONV_FORWARD_PREPARED's. epilogue may be NULL. Its residual
 * has y's layout, ldr = o; if v->pools there is none. */
void kdi_conv_forward(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                      const float *w, const void *prepared, const kdi_epilogue *epilogue, float *y,
                      void *scratch);

/* A forward that also gives y's moments, for a batch norm after it: moments [2][o] are the mean
 * over all pixels, and the sum of the squared distances from it. Some algorithms can, at almost no
 * cost. The scratch is in bytes, without prepared weights. */
bool kdi_conv_can_moments(kdi_conv_algo algo);
size_t kdi_conv_moments_scratch(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo);
void kdi_conv_forward_moments(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                              const float *w, const kdi_epilogue *epilogue, float *y,
                              float *moments, void *scratch);

/* The gradients that are not NULL: dx[n,h,w,c], read from w; dw[o,kh,kw,c/groups], read from x;
 * db[o]. accumulate_dw is for dw and db. */
void kdi_conv_backward(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                       const float *w, const float *dy, float *dx, float *dw, float *db,
                       bool accumulate_dx, bool accumulate_dw, void *scratch);

#endif
