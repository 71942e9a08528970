/* SPDX-License-Identifier: MIT
 * copy.c: two ops that differentiation needs. copy: y = x, of any type, and dx (+)= dy, which
 * brings a gradient into a parameter's place. one: the scalar 1, the loss's gradient by itself, or
 * the loss's weight where a run has one. */
#include "ops.h"
#include "shape.h"
#include "work.h"

#include <string.h>

static void forward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t size = kd_dtype_size(c->in[0].dtype);
    const char *x = c->in[0].data;
    char *y = c->out[0].data;
    memcpy(y + begin * size, x + begin * size, (end - begin) * size);
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->out[0].count, 1, forward_range, c);
    return KD_OK;
}

static void backward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    if (c->accumulate & 1)
        c->kernels->add(end - begin, dx + begin, dy + begin, dx + begin);
    else
        memcpy(dx + begin, dy + begin, (end - begin) * sizeof *dx);
}

static kd_status backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->dout[0].count, 1, backward_range, c);
    return KD_OK;
}

static kd_status copy_shape(kd_op_shapes *s)
{
    s->out[0] = s->in[0];
    s->out_dtype[0] = s->in_dtype[0];
    return KD_OK;
}

const kd_op kdi_op_copy = {
    .struct_size = sizeof(kd_op),
    .name = "copy",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = copy_shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
};

static kd_status one_forward(const kd_op_call *c)
{
    float *y = c->out[0].data;
    y[0] = c->weight;
    return KD_OK;
}

static kd_status one_shape(kd_op_shapes *s)
{
    s->out[0] = (kd_shape){.rank = 1, .dim = {1}};
    return KD_OK;
}

const kd_op kdi_op_one = {
    .struct_size = sizeof(kd_op),
    .name = "one",
    .n_out = 1,
    .shape = one_shape,
    .forward = one_forward,
};
