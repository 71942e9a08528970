/* SPDX-License-Identifier: MIT
 * softmax.c: y = exp(x) / sum exp(x) over the last dimension, and from y alone
 * dx = y (dy - sum y dy). Row by row, in place if need be. */
#include "ops.h"
#include "shape.h"
#include "work.h"

/* An exponential costs about as much as so many additions. */
enum { EXP_COST = 8 };

static void forward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t k = kdi_cols(&c->in[0]);
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    for (size_t i = begin; i < end; i++) c->kernels->softmax(k, x + i * k, y + i * k);
}

static kd_status forward(const kd_op_call *c)
{
    const kd_tensor *x = &c->in[0];
    kdi_ranges(c->ctx, kdi_rows(x), EXP_COST * kdi_cols(x), forward_rows, c);
    return KD_OK;
}

static void backward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t k = kdi_cols(&c->dout[0]);
    const float *y = c->out[0].data, *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    for (size_t i = begin; i < end; i++)
        c->kernels->softmax_backward(k, y + i * k, dy + i * k, dx + i * k,
                                     (int)(c->accumulate & 1));
}

static kd_status backward(const kd_op_call *c)
{
    const kd_tensor *dy = &c->dout[0];
    kdi_ranges(c->ctx, kdi_rows(dy), 4 * kdi_cols(dy), backward_rows, c);
    return KD_OK;
}

const kd_op kdi_op_softmax = {
    .struct_size = sizeof(kd_op),
    .name = "softmax",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = kdi_want_rows,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_OUT(0),
    .accumulates = 1,
    .in_place = 1,
    .in_place_backward = 1,
};

kd_value kd_softmax(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_softmax, NULL, &x, 1, NULL);
}
