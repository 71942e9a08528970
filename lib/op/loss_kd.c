/* SPDX-License-Identifier: MIT
 * loss_kd.c: distillation after Hinton, Vinyals and Dean (2015): T^2 KL(q_t || q_s), q being
 * softmax(logits / T) of teacher and student. Gradient by the student's logits: T (q_s - q_t);
 * T^2 keeps its size about the same whatever T is. */
#include "fields.h"
#include "loss.h"

#include <math.h>

typedef struct loss_kd_attr {
    float temperature;
} loss_kd_attr;

/* KL = sum q_t (z_t - z_s) + log sum_s - log sum_t, with z = (x - max) / T. */
static double row_loss(const kd_op_call *c, size_t i)
{
    const loss_kd_attr *attr = c->attr;
    const size_t k = c->in[0].dim[1];
    const float *xs = kdi_loss_row(c, 0, i), *xt = kdi_loss_row(c, 1, i), t = attr->temperature;
    const kdi_dist s = kdi_dist_of(c, k, xs, t), q = kdi_dist_of(c, k, xt, t);
    const double kl = c->kernels->row_kl_sum(k, xt, q.max, xs, s.max, t) / q.sum;
    return (double)t * (double)t * (kl + log(s.sum) - log(q.sum));
}

static kd_status forward(const kd_op_call *c)
{
    return kdi_loss_forward(c, row_loss);
}

static void row_grad(const kd_op_call *c, size_t i, double g, float *d, int accumulate)
{
    const loss_kd_attr *attr = c->attr;
    const size_t k = c->in[0].dim[1];
    const float *xs = kdi_loss_row(c, 0, i), *xt = kdi_loss_row(c, 1, i), t = attr->temperature;
    const kdi_dist s = kdi_dist_of(c, k, xs, t), q = kdi_dist_of(c, k, xt, t);
    const double a = g * (double)t;
    c->kernels->row_exp(k, xs, s.max, t, (float)(a / s.sum), 0, d, accumulate);
    c->kernels->row_exp(k, xt, q.max, t, (float)(-a / q.sum), 0, d, 1);
}

static kd_status backward(const kd_op_call *c)
{
    return kdi_loss_backward(c, row_grad);
}

static kd_status shape(kd_op_shapes *s)
{
    const loss_kd_attr *attr = s->attr;
    const kd_status status = kdi_check_temperature(s, attr->temperature);
    return status ? status : kdi_loss_shape(s, true, false, 1);
}

static const kd_op_field fields[] = {KDI_FLOAT(loss_kd_attr, temperature)};

const kd_op kdi_op_loss_kd = {
    .struct_size = sizeof(kd_op),
    .name = "loss_kd",
    .attr_size = sizeof(loss_kd_attr),
    KDI_FIELDS(fields),
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

kd_value kd_loss_kd(kd_graph *g, kd_value logits, kd_value teacher, float temperature)
{
    const loss_kd_attr attr = {temperature};
    const kd_value in[] = {logits, teacher};
    return kd_graph_op(g, &kdi_op_loss_kd, &attr, in, 2, NULL);
}
