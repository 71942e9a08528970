/* SPDX-License-Identifier: MIT
 * pooling.h: what the pooling ops share: attributes, the output's shape, tables of regions. */
#ifndef KDI_POOLING_H
#define KDI_POOLING_H

#include "fields.h"
#include "ops.h"

typedef struct kdi_pooling_attr {
    int kernel[2], stride[2], pad[2]; /* adaptive: kernel is the output's size */
    int ceil_mode, exclude_pad, adaptive;
} kdi_pooling_attr;
extern const kd_op_field kdi_pooling_fields[6];

/* A pooling op from its options, whose defaults are filled in. */
kd_value kdi_pooling_build(kd_graph *g, const kd_op *op, kd_value x, const kd_pool_opt *opt);

/* Regions of 2x2 pixels, side by side, none partly outside. */
bool kdi_pooling_is_2x2(const kdi_pooling_attr *a);

/* Output 0 is [N,OH,OW,C]. Checks input 0 and the attributes. */
kd_status kdi_pooling_shape(kd_op_shapes *s);

/* A call's sizes, and its regions' rows [oh] and columns [ow], both in its scratch. */
typedef struct kdi_pooling {
    const kd_op_call *call;
    size_t n, h, w, c, oh, ow;
    const kdi_pooling_span *rows, *columns;
    size_t fresh; /* backward: w if rows of dx are overwritten, 0 if they are added to */
} kdi_pooling;

/* x [N,H,W,C], y [N,OH,OW,C]: tensors of the call whose shapes are known. */
kdi_pooling kdi_pooling_of(const kd_op_call *c, const kd_tensor *x, const kd_tensor *y);
size_t kdi_pooling_scratch(const kd_tensor *y);

/* A backward: for each row h of dx, in parallel, call fn for each row of regions that covers it.
 * Rows are set to 0 before they are added to, unless the op accumulates. */
typedef void (*kdi_pooling_fn)(const kdi_pooling *w, size_t n, size_t h, size_t oh, float *dx);
void kdi_pooling_back(kdi_pooling *w, kdi_pooling_fn fn);

#endif
