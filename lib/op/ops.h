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

/* Inputs: x [N,H,W,C], weight [O,kh,kw,C/groups], bias [O] if has_bias. Fusion appends others:
 *   bn         evaluation: weight, bias, running_mean, running_var [O] of a batch norm after the
 *              convolution, which is folded into the weights
 *   bn_before  training: weight, bias, mean, inverse standard deviation [C] of a batch norm before
 *              the convolution, which is applied to x
 *   bn_after   training, the backward alone: the same four [O] of a batch norm after the
 *              convolution, and y. dout[0] is the gradient of that norm's output, dout[1] [2,O]
 *              the slope and constant of kdi_conv_bn_after. If bn_after_writes, din of that y is
 *              written: it is y's gradient, and may lie over y. */
typedef struct kdi_conv2d_attr {
    int out, kernel[2], stride[2], pad[2], dilation[2], groups;
    int has_bias, bn;
    float bn_eps;
    kdi_act act; /* applied to y; evaluation alone */
    int pools;   /* y [N,OH/2,OW/2,O] is the largest of each 2x2 pixels; evaluation alone */
    int moments; /* out[1] [2,O]: y's mean, and the sum of its squared distances from it */
    int bn_before, bn_before_relu;
    int bn_after, bn_after_relu, bn_after_pools, bn_after_writes;
} kdi_conv2d_attr;
/* Whether the algorithm that is chosen for the shape can do this: moments, */
bool kdi_conv2d_can_moments(const kd_ctx *ctx, const kdi_conv2d_attr *attr, const kd_shape *x,
                            size_t batch);
/* bn_after, with bn_after_writes or without, */
bool kdi_conv2d_can_bn_after(const kd_ctx *ctx, const kdi_conv2d_attr *attr, const kd_shape *x,
                             size_t batch, bool writes);
/* bn_before, */
bool kdi_conv2d_can_bn_before(const kd_ctx *ctx, const kdi_conv2d_attr *attr, const kd_shape *x,
                              size_t batch);
/* pools. */
bool kdi_conv2d_can_pool(const kd_ctx *ctx, const kdi_conv2d_attr *attr, const kd_shape *x,
                         size_t batch);

/* Inputs: x [...,C], weight [O,C] (flatten: x [N,H,W,C], weight [O,H,W,C]), bias [O] if
 * has_bias. */
typedef struct kdi_linear_attr {
    int out, has_bias, flatten;
    kdi_act act;  /* applied to y. Training: y is then out[1], out[0] is its preactivation */
    int residual; /* the last input, of y's shape, is added */
} kdi_linear_attr;

/* Inputs: x, weight, bias, running_mean, running_var [C], num_batches_tracked [] i64, and x's
 * moments [2,C] if the convolution before it has them. Outputs: y (optional: the convolution after
 * it may compute it while reading x), and for the backward mean [C] and inverse standard deviation
 * [C]. If the convolution before it has bn_after, the backward writes slope and constant, [2,C], as
 * the gradient of the moments, and no gradient of x. */
typedef struct kdi_batch_norm_attr {
    float momentum, eps;
    int relu;  /* y = max(0, ...) */
    int pools; /* then a 2x2 max pooling; x is [N,H,W,C], H and W even */
} kdi_batch_norm_attr;

#endif
