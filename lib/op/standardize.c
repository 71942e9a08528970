/* SPDX-License-Identifier: MIT
 * standardize.c: y = (x - mean) / (s + 1e-7) for each row of K, s^2 = sum (x - mean)^2 / (K - 1)
 * (Sun et al. 2024, "Logit standardization in knowledge distillation"; torch.std's divisor, as
 * published). With q = s + 1e-7 and d = x - mean:
 *   dx = (dy - mean dy - d sum(d dy) / ((K - 1) s q)) / q, without the last term where s = 0. */
#include "ops.h"
#include "shape.h"
#include "work.h"

#include <math.h>

typedef struct moments {
    float mean;
    double s, q;
} moments;

static moments moments_of(const kd_op_call *c, size_t k, const float *x)
{
    const float mean = (float)(c->kernels->row_sum(k, x, 0) / (double)k);
    const double s = sqrt(c->kernels->row_dot(k, x, mean, x, mean) / ((double)k - 1));
    return (moments){mean, s, s + 1e-7};
}

static void forward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t k = kdi_cols(&c->in[0]);
    for (size_t i = begin; i < end; i++) {
        const float *x = (const float *)c->in[0].data + i * k;
        float *y = (float *)c->out[0].data + i * k;
        const moments m = moments_of(c, k, x);
        c->kernels->row_combine(k, (float)(1 / m.q), x, m.mean, 0, x, m.mean, y, 0);
    }
}

static kd_status forward(const kd_op_call *c)
{
    const kd_tensor *x = &c->in[0];
    kdi_ranges(c->ctx, kdi_rows(x), 4 * kdi_cols(x), forward_rows, c);
    return KD_OK;
}

static void backward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t k = kdi_cols(&c->in[0]);
    for (size_t i = begin; i < end; i++) {
        const float *x = (const float *)c->in[0].data + i * k;
        const float *dy = (const float *)c->dout[0].data + i * k;
        float *dx = (float *)c->din[0].data + i * k;
        const moments m = moments_of(c, k, x);
        const float dy_mean = (float)(c->kernels->row_sum(k, dy, 0) / (double)k);
        const double dot = c->kernels->row_dot(k, x, m.mean, dy, dy_mean);
        const double b = m.s > 0 ? -dot / (((double)k - 1) * m.s * m.q * m.q) : 0;
        c->kernels->row_combine(k, (float)(1 / m.q), dy, dy_mean, (float)b, x, m.mean, dx,
                                (int)(c->accumulate & 1));
    }
}

static kd_status backward(const kd_op_call *c)
{
    const kd_tensor *x = &c->in[0];
    kdi_ranges(c->ctx, kdi_rows(x), 8 * kdi_cols(x), backward_rows, c);
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    const kd_status status = kdi_want_rows(s);
    char text[KDI_SHAPE_TEXT];
    if (!status && s->in[0].dim[s->in[0].rank - 1] < 2)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: shape %s: a row of one has no deviation",
                           s->name, kdi_shape_text(&s->in[0], text));
    return status;
}

const kd_op kdi_op_standardize = {
    .struct_size = sizeof(kd_op),
    .name = "standardize",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0),
    .accumulates = 1,
    .in_place = 1,
    .in_place_backward = 1,
};

kd_value kd_standardize(kd_graph *g, kd_value logits)
{
    return kd_graph_op(g, &kdi_op_standardize, NULL, &logits, 1, NULL);
}
