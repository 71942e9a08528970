/* SPDX-License-Identifier: MIT
 * loss.h: what the losses share. A loss is the mean over the batch of one number a row of logits
 * [N,K]; rows are independent, computed in parallel and summed in their order in double. */
#ifndef KDI_LOSS_H
#define KDI_LOSS_H

#include "ops.h"

/* Inputs: logits [N,K], a teacher's logits [N,K] if `teacher`, labels [N] i32 if `labels`; K is at
 * least `classes`. Output: [1]. */
kd_status kdi_loss_shape(kd_op_shapes *s, bool teacher, bool labels, int64_t classes);
/* A temperature must be finite and above 0. */
kd_status kdi_check_temperature(const kd_op_shapes *s, float temperature);
/* Every label of that input is in [0,K); op is for the error's text. */
kd_status kdi_check_labels(const kd_op_call *c, int input, const char *op);

/* The loss of row i. */
typedef double (*kdi_row_loss)(const kd_op_call *c, size_t i);
kd_status kdi_loss_forward(const kd_op_call *c, kdi_row_loss loss);
/* d (+)= g times the gradient of the loss of row i by its logits. */
typedef void (*kdi_row_grad)(const kd_op_call *c, size_t i, double g, float *d, int accumulate);
kd_status kdi_loss_backward(const kd_op_call *c, kdi_row_grad grad);
/* For kd_op.scratch: the forward keeps a number a row. */
size_t kdi_loss_scratch(const kd_op_call *c, int backward);

static inline const float *kdi_loss_row(const kd_op_call *c, int input, size_t i)
{
    return (const float *)c->in[input].data + i * c->in[input].dim[1];
}

static inline size_t kdi_loss_label(const kd_op_call *c, int input, size_t i)
{
    return (size_t)((const int32_t *)c->in[input].data)[i];
}

/* softmax(x/T) of n logits: log q = (x - max)/T - log sum. */
typedef struct kdi_dist {
    float max;
    double sum;
} kdi_dist;

static inline kdi_dist kdi_dist_of(const kd_op_call *c, size_t n, const float *x, float t)
{
    const float max = c->kernels->row_max(n, x);
    return (kdi_dist){max, c->kernels->row_exp_sum(n, x, max, t)};
}

#endif
