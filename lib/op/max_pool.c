/* SPDX-License-Identifier: MIT
 * max_pool.c: the largest number of each region. Padding never wins, NaN always does. The second
 * output, [N,OH,OW,C], says which of the region's pixels inside the map it was; it has bytes if
 * regions have at most 256 pixels. The backward needs nothing else, so x is not kept. It gathers:
 * each row of dx is written by one task, from the regions that cover it. */
#include "pooling.h"
#include "work.h"

static void forward_rows(const void *arg, size_t begin, size_t end)
{
    const kdi_pooling *w = arg;
    const kd_op_call *c = w->call;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    char *index = c->out[1].data;
    const size_t row = w->ow * w->c, bytes = kd_dtype_size(c->out[1].dtype);
    for (size_t i = begin; i < end; i++)
        c->kernels->max_pool(w->ow, w->c, &w->rows[i % w->oh], w->columns,
                             x + i / w->oh * w->h * w->w * w->c, w->w * w->c, y + i * row,
                             index ? index + i * row * bytes : NULL, bytes == 4);
}

static kd_status forward(const kd_op_call *c)
{
    const kdi_pooling w = kdi_pooling_of(c, &c->in[0], &c->out[0]);
    const kdi_pooling_attr *attr = c->attr;
    const size_t cost = w.ow * w.c * (size_t)attr->kernel[0] * (size_t)attr->kernel[1];
    kdi_ranges(c->ctx, w.n * w.oh, cost, forward_rows, &w);
    return KD_OK;
}

static void backward_row(const kdi_pooling *w, size_t n, size_t h, size_t oh, float *dx)
{
    const kd_op_call *c = w->call;
    const float *dy = c->dout[0].data;
    const char *index = c->out[1].data;
    const size_t at = (n * w->oh + oh) * w->ow * w->c, bytes = kd_dtype_size(c->out[1].dtype);
    c->kernels->max_pool_backward(w->ow, w->c, h - w->rows[oh].begin, w->columns, dy + at,
                                  index + at * bytes, bytes == 4, dx, w->fresh);
}

static kd_status backward(const kd_op_call *c)
{
    kdi_pooling w = kdi_pooling_of(c, &c->din[0], &c->dout[0]);
    kdi_pooling_back(&w, backward_row);
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    const kdi_pooling_attr *attr = s->attr;
    const kd_status status = kdi_pooling_shape(s);
    if (status) return status;
    const int64_t most = (int64_t)attr->kernel[0] * attr->kernel[1];
    s->out[1] = s->out[0];
    s->out_dtype[1] = most <= 256 ? KD_U8 : KD_I32;
    return KD_OK;
}

static size_t scratch(const kd_op_call *c, int backwards)
{
    return kdi_pooling_scratch(backwards ? &c->dout[0] : &c->out[0]);
}

const kd_op kdi_op_max_pool = {
    .struct_size = sizeof(kd_op),
    .name = "max_pool",
    .attr_size = sizeof(kdi_pooling_attr),
    KDI_FIELDS(kdi_pooling_fields),
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 2,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_OUT(1),
    .optional_out = 1u << 1,
    .accumulates = 1,
    .scratch = scratch,
};

kd_value kd_max_pool(kd_graph *g, kd_value x, const kd_pool_opt *opt)
{
    return kdi_pooling_build(g, &kdi_op_max_pool, x, opt);
}
