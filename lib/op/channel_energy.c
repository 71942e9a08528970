/* SPDX-License-Identifier: MIT
 * channel_energy.c: where a map is active, for attention transfer (Zagoruyko & Komodakis 2017, the
 * mean of squares): x [N,...,C] -> y [N,P], P the product of the dimensions between,
 * y = mean over the channels of x^2; dx = 2 x dy / C. Summed in double, in order. */
#include "ops.h"
#include "shape.h"
#include "work.h"

static void forward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t k = kdi_cols(&c->in[0]);
    float *y = c->out[0].data;
    for (size_t i = begin; i < end; i++) {
        const float *x = (const float *)c->in[0].data + i * k;
        double sum = 0;
        for (size_t j = 0; j < k; j++) sum += (double)x[j] * (double)x[j];
        y[i] = (float)(sum / (double)k);
    }
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, kdi_rows(&c->in[0]), 2 * kdi_cols(&c->in[0]), forward_rows, c);
    return KD_OK;
}

static void backward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t k = kdi_cols(&c->in[0]);
    const float *dy = c->dout[0].data;
    for (size_t i = begin; i < end; i++) {
        const float *x = (const float *)c->in[0].data + i * k;
        float *dx = (float *)c->din[0].data + i * k;
        const float scale = 2 * dy[i] / (float)k;
        for (size_t j = 0; j < k; j++)
            dx[j] = c->accumulate & 1 ? dx[j] + scale * x[j] : scale * x[j];
    }
}

static kd_status backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, kdi_rows(&c->in[0]), 2 * kdi_cols(&c->in[0]), backward_rows, c);
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    const kd_shape *x = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    const kd_status status = kdi_want_rows(s);
    if (status) return status;
    if (x->rank < 3)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is neither a map nor tokens", s->name,
                           kdi_shape_text(x, text));
    s->out[0] = (kd_shape){.rank = 2, .dim = {x->dim[0], 1}};
    for (int i = 1; i < x->rank - 1; i++) s->out[0].dim[1] *= x->dim[i];
    return KD_OK;
}

const kd_op kdi_op_channel_energy = {
    .struct_size = sizeof(kd_op),
    .name = "channel_energy",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0),
    .accumulates = 1,
};

kd_value kd_channel_energy(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_channel_energy, NULL, &x, 1, NULL);
}
