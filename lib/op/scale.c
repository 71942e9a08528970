/* SPDX-License-Identifier: MIT
 * scale.c: y = factor * x, dx = factor * dy: weights of losses, 1/sqrt(d). */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include <math.h>

typedef struct scale_attr {
    float factor;
} scale_attr;

static void forward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const scale_attr *attr = c->attr;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    c->kernels->scale(end - begin, attr->factor, x + begin, y + begin, 0);
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->out[0].count, 1, forward_range, c);
    return KD_OK;
}

static void backward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const scale_attr *attr = c->attr;
    const float *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    c->kernels->scale(end - begin, attr->factor, dy + begin, dx + begin, (int)(c->accumulate & 1));
}

static kd_status backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->dout[0].count, 1, backward_range, c);
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    const scale_attr *attr = s->attr;
    if (!isfinite(attr->factor))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: factor %g is not finite", s->name,
                           (double)attr->factor);
    return kdi_want_equal(s);
}

static const kd_op_field fields[] = {KDI_FLOAT(scale_attr, factor)};

const kd_op kdi_op_scale = {
    .struct_size = sizeof(kd_op),
    .name = "scale",
    .attr_size = sizeof(scale_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
    .in_place = 1,
    .in_place_backward = 1,
};

kd_value kd_scale(kd_graph *g, kd_value x, float factor)
{
    const scale_attr attr = {factor};
    return kd_graph_op(g, &kdi_op_scale, &attr, &x, 1, NULL);
}
