/* SPDX-License-Identifier: MIT
 * ops.h: the library's op records, and the attributes that fusion (lib/plan/fuse.c) rewrites. */
#ifndef KDI_OPS_H
#define KDI_OPS_H

#include "../base/base.h"
#include "../kernel/gemm.h"

#include <kd/op.h>

#define OP(name) extern const kd_op kdi_op_##name;
#include "ops.def"
#undef OP

/* Inputs: x [N,H,W,C], weight [O,kh,kw,C/groups], bias [O] if has_bias; then, if bn (evaluation
 * alone: fusion adds it), weight, bias, running_mean, running_var of the batch norm, [O] each.
 * If norms (training alone: fusion adds it): weight, bias, mean, inverse standard deviation of the
 * batch norm before it, [C] each, which x then goes through.
 * If behind (training, fusion again), the backward alone has five more: the same four of the batch
 * norm behind it, [O] each, and y. Its dout[0] is then the gradient of what that norm makes, dout[1]
 * [2,O] the slope and constant of conv.h's kdi_conv_bn_after; if bn_after_writes, what it writes as the
 * gradient of that last y is y's gradient, and may lie over it. */
typedef struct kdi_conv2d_attr {
    int out, kernel[2], stride[2], pad[2], dilation[2], groups;
    int has_bias, bn;
    float bn_eps;
    kdi_act act; /* fused behind it; evaluation alone */
    int pools;   /* y [N,OH/2,OW/2,O] is the largest of each 2x2 pixels; evaluation alone */
    int moments; /* out[1] [2,O]: y's mean, and the sum of its squared distances from it */
    int bn_before, bn_before_relu; /* x is normed first, and rectified */
    int bn_after, bn_after_relu, bn_after_pools,
        bn_after_writes; /* the backward takes a norm's along */
} kdi_conv2d_attr;
/* Whether it can tell them at almost no cost. */
bool kdi_conv2d_can_moments(const kd_ctx *ctx, const kdi_conv2d_attr *attr, const kd_shape *x,
                            size_t batch);
/* Whether its backward can take that of a norm behind it along, if it writes y's gradient, and if
 * not. */
bool kdi_conv2d_can_bn_after(const kd_ctx *ctx, const kdi_conv2d_attr *attr, const kd_shape *x,
                             size_t batch, bool writes);
/* Whether it can norm x while reading it. */
bool kdi_conv2d_can_bn_before(const kd_ctx *ctx, const kdi_conv2d_attr *attr, const kd_shape *x,
                              size_t batch);
/* Whether it can pool in one pass. */
bool kdi_conv2d_can_pool(const kd_ctx *ctx, const kdi_conv2d_attr *attr, const kd_shape *x,
                         size_t batch);

/* Inputs: x [...,C], weight [O,C] (flatten: x [N,H,W,C], weight [O,H,W,C]), bias [O] if
 * has_bias. */
typedef struct kdi_linear_attr {
    int out, has_bias, flatten;
    kdi_act act;  /* fused behind it; evaluation alone */
    int residual; /* the same: the last input, of y's shape, is added */
} kdi_linear_attr;

/* Inputs: x, weight, bias, running_mean, running_var [C], num_batches_tracked [] i64, and where a
 * convolution before it tells them, x's moments [2,C].
 * Instead of the gradient of x the backward may write its slope and constant, [2,C], as that of the
 * moments: the convolution before it then does the rest.
 * Outputs: y (optional: a convolution may make it while reading x), and for the backward: mean [C],
 * inverse standard deviation [C]. */
typedef struct kdi_batch_norm_attr {
    float momentum, eps;
    int relu;  /* fused behind it: y = max(0, ...) */
    int pools; /* fused behind that: a max_pool of 2x2 pixels; x is [N,H,W,C], H and W even */
} kdi_batch_norm_attr;

#endif
