/* SPDX-License-Identifier: MIT
 * avg_pool.c: averages over regions: avg_pool with a kernel, adaptive_avg_pool with a wanted size,
 * and the global pool, which is the latter to one pixel. The backward gathers: each row of dx is
 * written by one task, from the regions that cover it. */
#include "pooling.h"
#include "work.h"

static void forward_rows(const void *arg, size_t begin, size_t end)
{
    const kdi_pooling *w = arg;
    const kd_op_call *c = w->call;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    const size_t row = w->w * w->c;
    for (size_t i = begin; i < end; i++)
        c->kernels->avg_pool(w->ow, w->c, &w->rows[i % w->oh], w->columns,
                             x + i / w->oh * w->h * row, row, y + i * w->ow * w->c);
}

static kd_status forward(const kd_op_call *c)
{
    const kdi_pooling w = kdi_pooling_of(c, &c->in[0], &c->out[0]);
    const size_t pixels = w.rows[0].extent * w.columns[0].extent;
    kdi_ranges(c->ctx, w.n * w.oh, w.ow * w.c * pixels, forward_rows, &w);
    return KD_OK;
}

static void backward_row(const kdi_pooling *w, size_t n, size_t h, size_t oh, float *dx)
{
    const kd_op_call *c = w->call;
    const float *dy = c->dout[0].data;
    (void)h;
    c->kernels->avg_pool_backward(w->ow, w->c, &w->rows[oh], w->columns,
                                  dy + (n * w->oh + oh) * w->ow * w->c, dx, w->fresh);
}

static kd_status backward(const kd_op_call *c)
{
    kdi_pooling w = kdi_pooling_of(c, &c->din[0], &c->dout[0]);
    kdi_pooling_back(&w, backward_row);
    return KD_OK;
}

static size_t scratch(const kd_op_call *c, int backwards)
{
    return kdi_pooling_scratch(backwards ? &c->dout[0] : &c->out[0]);
}

const kd_op kdi_op_avg_pool = {
    .struct_size = sizeof(kd_op),
    .name = "avg_pool",
    .attr_size = sizeof(kdi_pooling_attr),
    KDI_FIELDS(kdi_pooling_fields),
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = kdi_pooling_shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
    .scratch = scratch,
};

const kd_op kdi_op_adaptive_avg_pool = {
    .struct_size = sizeof(kd_op),
    .name = "adaptive_avg_pool",
    .attr_size = sizeof(kdi_pooling_attr),
    KDI_FIELDS(kdi_pooling_fields),
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = kdi_pooling_shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
    .scratch = scratch,
};

kd_value kd_avg_pool(kd_graph *g, kd_value x, const kd_pool_opt *opt)
{
    return kdi_pooling_build(g, &kdi_op_avg_pool, x, opt);
}

kd_value kd_adaptive_avg_pool(kd_graph *g, kd_value x, int h, int w)
{
    const kdi_pooling_attr attr = {.kernel = {h, w}, .adaptive = 1};
    return kd_graph_op(g, &kdi_op_adaptive_avg_pool, &attr, &x, 1, NULL);
}

kd_value kd_global_avg_pool(kd_graph *g, kd_value x)
{
    kd_shape s = kd_graph_shape(g, x);
    if (s.rank == 3) { /* tokens are a picture one pixel wide */
        const int64_t picture[] = {s.dim[0], s.dim[1], 1, s.dim[2]};
        x = kd_reshape(g, x, 4, picture);
        s = kd_graph_shape(g, x);
    }
    const kd_value y = kd_adaptive_avg_pool(g, x, 1, 1);
    const int64_t flat[] = {s.dim[0], s.dim[3]};
    return y == KD_NONE ? KD_NONE : kd_reshape(g, y, 2, flat);
}
