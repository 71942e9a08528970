/* SPDX-License-Identifier: MIT
 * cross_entropy.c: -sum_k w_k log p_k, p = softmax(logits), with w = 1 - e + e/K for the label and
 * e/K for the other classes, e being PyTorch's label smoothing. Gradient by the logits: p - w. */
#include "loss.h"

#include <math.h>

typedef struct cross_entropy_attr {
    float smoothing;
} cross_entropy_attr;

/* With z = x - max: log p_k = z_k - log sum, and the weights add up to 1. */
static double row_loss(const kd_op_call *c, size_t i)
{
    const cross_entropy_attr *attr = c->attr;
    const size_t k = c->in[0].dim[1], label = kdi_loss_label(c, 1, i);
    const float *x = kdi_loss_row(c, 0, i);
    const kdi_dist p = kdi_dist_of(c, k, x, 1);
    const double e = (double)attr->smoothing;
    double loss = log(p.sum) - (1 - e) * ((double)x[label] - (double)p.max);
    if (e > 0) loss -= e * c->kernels->row_sum(k, x, p.max) / (double)k;
    return loss;
}

static kd_status forward(const kd_op_call *c)
{
    const kd_status status = kdi_check_labels(c, 1, "cross_entropy");
    return status ? status : kdi_loss_forward(c, row_loss);
}

static void row_grad(const kd_op_call *c, size_t i, double g, float *d, int accumulate)
{
    const cross_entropy_attr *attr = c->attr;
    const size_t k = c->in[0].dim[1];
    const float *x = kdi_loss_row(c, 0, i);
    const kdi_dist p = kdi_dist_of(c, k, x, 1);
    const double e = (double)attr->smoothing;
    c->kernels->row_exp(k, x, p.max, 1, (float)(g / p.sum), (float)(-g * e / (double)k), d,
                        accumulate);
    d[kdi_loss_label(c, 1, i)] -= (float)(g * (1 - e));
}

static kd_status backward(const kd_op_call *c)
{
    const kd_status status = kdi_check_labels(c, 1, "cross_entropy");
    return status ? status : kdi_loss_backward(c, row_grad);
}

static kd_status shape(kd_op_shapes *s)
{
    const cross_entropy_attr *attr = s->attr;
    if (!(attr->smoothing >= 0 && attr->smoothing < 1))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: label smoothing %g is not in [0,1)", s->name,
                           (double)attr->smoothing);
    return kdi_loss_shape(s, false, true, 1);
}

const kd_op kdi_op_cross_entropy = {
    .struct_size = sizeof(kd_op),
    .name = "cross_entropy",
    .attr_size = sizeof(cross_entropy_attr),
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1),
    .no_grad = 1u << 1,
    .accumulates = 1,
    .scratch = kdi_loss_scratch,
};

kd_value kd_cross_entropy(kd_graph *g, kd_value logits, kd_value labels, float smoothing)
{
    const cross_entropy_attr attr = {smoothing};
    const kd_value in[] = {logits, labels};
    return kd_graph_op(g, &kdi_op_cross_entropy, &attr, in, 2, NULL);
}
