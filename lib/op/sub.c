/* SPDX-License-Identifier: MIT
 * sub.c: y = a - b, element by element; da = dy, db = -dy. */
#include "ops.h"
#include "shape.h"
#include "work.h"

static void forward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *a = c->in[0].data, *b = c->in[1].data;
    float *y = c->out[0].data;
    for (size_t i = begin; i < end; i++) y[i] = a[i] - b[i];
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->out[0].count, 1, forward_range, c);
    return KD_OK;
}

/* a before b: if both are one parameter, both gradients have one place, and the second is added. */
static void backward_range(const void *arg, size_t begin, size_t end)
{
    static const float sign[] = {1, -1};
    const kd_op_call *c = arg;
    const float *dy = c->dout[0].data;
    for (int i = 0; i < 2; i++) {
        float *d = c->din[i].data;
        if (d)
            c->kernels->scale(end - begin, sign[i], dy + begin, d + begin,
                              (int)(c->accumulate >> i & 1));
    }
}

static kd_status backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->dout[0].count, 2, backward_range, c);
    return KD_OK;
}

const kd_op kdi_op_sub = {
    .struct_size = sizeof(kd_op),
    .name = "sub",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .shape = kdi_want_equal,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
    .in_place = 1,
};

kd_value kd_sub(kd_graph *g, kd_value a, kd_value b)
{
    const kd_value in[] = {a, b};
    return kd_graph_op(g, &kdi_op_sub, NULL, in, 2, NULL);
}
