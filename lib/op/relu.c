/* SPDX-License-Identifier: MIT
 * relu.c: y = max(0, x); dx = dy where y > 0. Both may be written in place. */
#include "ops.h"
#include "shape.h"
#include "work.h"

static void forward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    c->kernels->relu(end - begin, x + begin, y + begin);
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->out[0].count, 1, forward_range, c);
    return KD_OK;
}

static void backward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *y = c->out[0].data, *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    c->kernels->relu_backward(end - begin, y + begin, dy + begin, dx + begin,
                              (int)(c->accumulate & 1));
}

static kd_status backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->dout[0].count, 1, backward_range, c);
    return KD_OK;
}

const kd_op kdi_op_relu = {
    .struct_size = sizeof(kd_op),
    .name = "relu",
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

kd_value kd_relu(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_relu, NULL, &x, 1, NULL);
}
