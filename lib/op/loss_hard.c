/* SPDX-License-Identifier: MIT
 * loss_hard.c: cross-entropy against the teacher's most likely class, the first of several (hard
 * distillation: Touvron et al. 2021, "DeiT"). Gradient by the student's logits: p - onehot. */
#include "loss.h"

#include <math.h>

/* The teacher's class of row i; K if one of its logits is NaN, and it has none. */
static size_t teacher_class(const kd_op_call *c, size_t i)
{
    const size_t k = c->in[1].dim[1];
    const float *x = kdi_loss_row(c, 1, i);
    size_t best = 0;
    for (size_t j = 0; j < k; j++) {
        if (isnan(x[j])) return k;
        if (x[j] > x[best]) best = j;
    }
    return best;
}

static double row_loss(const kd_op_call *c, size_t i)
{
    const size_t k = c->in[0].dim[1], label = teacher_class(c, i);
    const float *x = kdi_loss_row(c, 0, i);
    if (label == k) return NAN;
    const kdi_dist p = kdi_dist_of(c, k, x, 1);
    return log(p.sum) - ((double)x[label] - (double)p.max);
}

static kd_status forward(const kd_op_call *c)
{
    return kdi_loss_forward(c, row_loss);
}

static void row_grad(const kd_op_call *c, size_t i, double g, float *d, int accumulate)
{
    const size_t k = c->in[0].dim[1], label = teacher_class(c, i);
    const float *x = kdi_loss_row(c, 0, i);
    const kdi_dist p = kdi_dist_of(c, k, x, 1);
    c->kernels->row_exp(k, x, p.max, 1, label == k ? NAN : (float)(g / p.sum), 0, d, accumulate);
    if (label < k) d[label] -= (float)g;
}

static kd_status backward(const kd_op_call *c)
{
    return kdi_loss_backward(c, row_grad);
}

static kd_status shape(kd_op_shapes *s)
{
    return kdi_loss_shape(s, true, false, 1);
}

const kd_op kdi_op_loss_hard = {
    .struct_size = sizeof(kd_op),
    .name = "loss_hard",
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

kd_value kd_loss_hard(kd_graph *g, kd_value logits, kd_value teacher)
{
    const kd_value in[] = {logits, teacher};
    return kd_graph_op(g, &kdi_op_loss_hard, NULL, in, 2, NULL);
}
