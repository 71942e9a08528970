/* SPDX-License-Identifier: MIT
 * l2_normalize.c: y = x / max(|x|, 1e-12) over the last dimension, |x| the Euclidean norm, as
 * torch.nn.functional.normalize has it. dx = (dy - y (y dy)) / |x|; of a norm below 1e-12 dy / 1e-12.
 * Norms and products are summed in double, in order. */
#include "ops.h"
#include "shape.h"
#include "work.h"

#include <math.h>

static const double least = 1e-12;

static double dot(size_t n, const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static void forward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t k = kdi_cols(&c->in[0]);
    for (size_t i = begin; i < end; i++) {
        const float *x = (const float *)c->in[0].data + i * k;
        float *y = (float *)c->out[0].data + i * k;
        const double norm = fmax(sqrt(dot(k, x, x)), least);
        for (size_t j = 0; j < k; j++) y[j] = (float)((double)x[j] / norm);
    }
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, kdi_rows(&c->in[0]), 4 * kdi_cols(&c->in[0]), forward_rows, c);
    return KD_OK;
}

static void backward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t k = kdi_cols(&c->in[0]);
    for (size_t i = begin; i < end; i++) {
        const float *x = (const float *)c->in[0].data + i * k;
        const float *y = (const float *)c->out[0].data + i * k;
        const float *dy = (const float *)c->dout[0].data + i * k;
        float *dx = (float *)c->din[0].data + i * k;
        const double norm = sqrt(dot(k, x, x)), along = norm > least ? dot(k, y, dy) : 0;
        for (size_t j = 0; j < k; j++) {
            const double d = ((double)dy[j] - along * (double)y[j]) / fmax(norm, least);
            dx[j] = c->accumulate & 1 ? dx[j] + (float)d : (float)d;
        }
    }
}

static kd_status backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, kdi_rows(&c->in[0]), 8 * kdi_cols(&c->in[0]), backward_rows, c);
    return KD_OK;
}

const kd_op kdi_op_l2_normalize = {
    .struct_size = sizeof(kd_op),
    .name = "l2_normalize",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = kdi_want_rows,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_OUT(0),
    .accumulates = 1,
};

kd_value kd_l2_normalize(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_l2_normalize, NULL, &x, 1, NULL);
}
