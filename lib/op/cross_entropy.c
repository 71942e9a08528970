/* SPDX-License-Identifier: MIT
 * cross_entropy.c: -sum_k w_k log p_k, p = softmax(logits), with w = 1 - e + e/K for the label and
 * e/K for the other classes, e being PyTorch's label smoothing. Gradient by the logits: p - w.
 *
 * For mixed pictures (mixup, CutMix) there are two labels: 1 - e is shared out between them,
 * `share` for the first. */
#include "fields.h"
#include "loss.h"
#include "shape.h"

#include <math.h>

typedef struct cross_entropy_attr {
    float smoothing;
} cross_entropy_attr;

/* The label's share, and the other label's number; 1 where there is but one. */
static double share_of(const kd_op_call *c, size_t i, size_t *other)
{
    if (c->n_in < 4) return 1;
    *other = kdi_loss_label(c, 2, i);
    return (double)((const float *)c->in[3].data)[i];
}

/* With z = x - max: log p_k = z_k - log sum, and the weights add up to 1. */
static double row_loss(const kd_op_call *c, size_t i)
{
    const cross_entropy_attr *attr = c->attr;
    const size_t k = c->in[0].dim[1], label = kdi_loss_label(c, 1, i);
    const float *x = kdi_loss_row(c, 0, i);
    const kdi_dist p = kdi_dist_of(c, k, x, 1);
    const double e = (double)attr->smoothing;
    size_t other = label;
    const double share = share_of(c, i, &other);
    double z = (double)x[label] - (double)p.max;
    if (share != 1) z = share * z + (1 - share) * ((double)x[other] - (double)p.max);
    double loss = log(p.sum) - (1 - e) * z;
    if (e > 0) loss -= e * c->kernels->row_sum(k, x, p.max) / (double)k;
    return loss;
}

static kd_status check(const kd_op_call *c)
{
    kd_status status = kdi_check_labels(c, 1, "cross_entropy");
    if (status || c->n_in < 4) return status;
    status = kdi_check_labels(c, 2, "cross_entropy");
    const float *shares = c->in[3].data;
    for (size_t i = 0; !status && i < c->in[3].count; i++)
        if (!(shares[i] >= 0 && shares[i] <= 1))
            status = kd_ctx_fail(c->ctx, KD_E_INVALID,
                                 "cross_entropy '%s': share %g of row %zu is not in [0,1]", c->name,
                                 (double)shares[i], i);
    return status;
}

static kd_status forward(const kd_op_call *c)
{
    const kd_status status = check(c);
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
    size_t other = 0;
    const double share = share_of(c, i, &other);
    d[kdi_loss_label(c, 1, i)] -= (float)(g * (1 - e) * share);
    if (share != 1) d[other] -= (float)(g * (1 - e) * (1 - share));
}

static kd_status backward(const kd_op_call *c)
{
    const kd_status status = check(c);
    return status ? status : kdi_loss_backward(c, row_grad);
}

static kd_status shape(kd_op_shapes *s)
{
    const cross_entropy_attr *attr = s->attr;
    if (!(attr->smoothing >= 0 && attr->smoothing < 1))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: label smoothing %g is not in [0,1)", s->name,
                           (double)attr->smoothing);
    if (s->n_in == 2) return kdi_loss_shape(s, false, true, 1);
    kd_op_shapes first = *s; /* logits and labels */
    first.n_in = 2;
    const kd_status status = kdi_loss_shape(&first, false, true, 1);
    if (status) return status;
    for (int i = 2; i < s->n_in; i++)
        if (s->n_in != 4 || !kdi_shape_equal(&s->in[i], &s->in[1]) ||
            s->in_dtype[i] != (i == 2 ? KD_I32 : KD_F32))
            return kd_ctx_fail(s->ctx, KD_E_SHAPE,
                               "%s: for mixed pictures, a second label (i32) and a share (f32) for "
                               "each row are wanted",
                               s->name);
    return KD_OK;
}

static const kd_op_field fields[] = {KDI_FLOAT(cross_entropy_attr, smoothing)};

const kd_op kdi_op_cross_entropy = {
    .struct_size = sizeof(kd_op),
    .name = "cross_entropy",
    .attr_size = sizeof(cross_entropy_attr),
    KDI_FIELDS(fields),
    .n_in_min = 2,
    .n_in_max = 4,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1) | KD_KEEP_IN(2) | KD_KEEP_IN(3),
    .no_grad = 1u << 1 | 1u << 2 | 1u << 3,
    .accumulates = 1,
    .scratch = kdi_loss_scratch,
};

kd_value kd_cross_entropy(kd_graph *g, kd_value logits, kd_value labels, float smoothing)
{
    const cross_entropy_attr attr = {smoothing};
    const kd_value in[] = {logits, labels};
    return kd_graph_op(g, &kdi_op_cross_entropy, &attr, in, 2, NULL);
}

kd_value kd_cross_entropy_mixed(kd_graph *g, kd_value logits, kd_value labels, kd_value partners,
                                kd_value shares, float smoothing)
{
    const cross_entropy_attr attr = {smoothing};
    const kd_value in[] = {logits, labels, partners, shares};
    return kd_graph_op(g, &kdi_op_cross_entropy, &attr, in, 4, NULL);
}
