/* SPDX-License-Identifier: MIT
 * gelu.c: y = x Phi(x), Phi being the normal distribution (Hendrycks and Gimpel 2016), by erf and
 * not by the tanh approximation; dx = dy (Phi(x) + x phi(x)). */
#include "ops.h"
#include "shape.h"
#include "work.h"

static void forward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    c->kernels->gelu(end - begin, x + begin, y + begin);
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->out[0].count, 4, forward_range, c);
    return KD_OK;
}

static void backward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *x = c->in[0].data, *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    c->kernels->gelu_backward(end - begin, x + begin, dy + begin, dx + begin,
                              (int)(c->accumulate & 1));
}

static kd_status backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->dout[0].count, 8, backward_range, c);
    return KD_OK;
}

const kd_op kdi_op_gelu = {
    .struct_size = sizeof(kd_op),
    .name = "gelu",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = kdi_want_equal,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0),
    .accumulates = 1,
    .in_place = 1,
    .in_place_backward = 1,
};

kd_value kd_gelu(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_gelu, NULL, &x, 1, NULL);
}
