/* SPDX-License-Identifier: MIT
 * mul.c: y = a * b, element by element; da = dy * b, db = dy * a. */
#include "ops.h"
#include "shape.h"
#include "work.h"

static void forward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *a = c->in[0].data, *b = c->in[1].data;
    float *y = c->out[0].data;
    c->kernels->mul(end - begin, a + begin, b + begin, y + begin, 0);
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->out[0].count, 1, forward_range, c);
    return KD_OK;
}

/* a before b: if both are one parameter, both gradients have one place, and the second is added. */
static void backward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *dy = c->dout[0].data;
    for (int i = 0; i < 2; i++) {
        const float *other = c->in[1 - i].data;
        float *d = c->din[i].data;
        if (d)
            c->kernels->mul(end - begin, dy + begin, other + begin, d + begin,
                            (int)(c->accumulate >> i & 1));
    }
}

static kd_status backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->dout[0].count, 2, backward_range, c);
    return KD_OK;
}

const kd_op kdi_op_mul = {
    .struct_size = sizeof(kd_op),
    .name = "mul",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .shape = kdi_want_equal,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1),
    .accumulates = 1,
    .in_place = 1,
};

kd_value kd_mul(kd_graph *g, kd_value a, kd_value b)
{
    const kd_value in[] = {a, b};
    return kd_graph_op(g, &kdi_op_mul, NULL, in, 2, NULL);
}
