/* SPDX-License-Identifier: MIT
 * sigmoid.c: y = 1 / (1 + exp(-x)); dx = dy y (1 - y). Both may be written in place. */
#include "ops.h"
#include "shape.h"
#include "work.h"

static void forward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    c->kernels->sigmoid(end - begin, x + begin, y + begin);
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->out[0].count, 4, forward_range, c);
    return KD_OK;
}

static void backward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *y = c->out[0].data, *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    for (size_t i = begin; i < end; i++) {
        const float d = dy[i] * (y[i] * (1 - y[i]));
        dx[i] = c->accumulate & 1 ? dx[i] + d : d;
    }
}

static kd_status backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->dout[0].count, 2, backward_range, c);
    return KD_OK;
}

const kd_op kdi_op_sigmoid = {
    .struct_size = sizeof(kd_op),
    .name = "sigmoid",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = kdi_want_equal,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_OUT(0),
    .accumulates = 1,
    .in_place = 1,
    .in_place_backward = 1,
};

kd_value kd_sigmoid(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_sigmoid, NULL, &x, 1, NULL);
}
