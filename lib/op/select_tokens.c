/* SPDX-License-Identifier: MIT
 * select_tokens.c: `count` tokens of each image, from token `first` on: [N,T,C] -> [N,count,C]. A
 * head reads them. The gradient of the others is 0. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include <string.h>

typedef struct select_attr {
    int first, count;
} select_attr;

static void forward_images(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const select_attr *attr = c->attr;
    const kd_tensor *x = &c->in[0];
    const size_t n = x->dim[2], image = x->dim[1] * n, piece = (size_t)attr->count * n;
    const float *from = x->data;
    float *y = c->out[0].data;
    for (size_t i = begin; i < end; i++)
        memcpy(y + i * piece, from + i * image + (size_t)attr->first * n, piece * sizeof *y);
}

static kd_status forward(const kd_op_call *c)
{
    const kd_tensor *y = &c->out[0];
    kdi_ranges(c->ctx, y->dim[0], y->dim[1] * y->dim[2], forward_images, c);
    return KD_OK;
}

static void backward_images(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const select_attr *attr = c->attr;
    const kd_tensor *dx = &c->din[0];
    const size_t n = dx->dim[2], image = dx->dim[1] * n, piece = (size_t)attr->count * n;
    const float *dy = c->dout[0].data;
    float *to = dx->data;
    for (size_t i = begin; i < end; i++) {
        float *all = to + i * image, *chosen = all + (size_t)attr->first * n;
        if (c->accumulate & 1) {
            c->kernels->add(piece, chosen, dy + i * piece, chosen);
        } else {
            memset(all, 0, image * sizeof *all);
            memcpy(chosen, dy + i * piece, piece * sizeof *chosen);
        }
    }
}

static kd_status backward(const kd_op_call *c)
{
    const kd_tensor *dx = &c->din[0];
    kdi_ranges(c->ctx, dx->dim[0], dx->dim[1] * dx->dim[2], backward_images, c);
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    const select_attr *attr = s->attr;
    const kd_shape *x = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    if (x->rank != 3)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is not tokens [N,T,C]", s->name,
                           kdi_shape_text(x, text));
    if (attr->first < 0 || attr->count < 1 || attr->first > x->dim[1] - attr->count)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s has no %d tokens from %d on", s->name,
                           kdi_shape_text(x, text), attr->count, attr->first);
    s->out[0] = *x;
    s->out[0].dim[1] = attr->count;
    return kdi_want_f32(s, 0);
}

static const kd_op_field fields[] = {KDI_INT(select_attr, first), KDI_INT(select_attr, count)};

const kd_op kdi_op_select_tokens = {
    .struct_size = sizeof(kd_op),
    .name = "select_tokens",
    .attr_size = sizeof(select_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
};

kd_value kd_select_tokens(kd_graph *g, kd_value x, int first, int count)
{
    const select_attr attr = {first, count};
    return kd_graph_op(g, &kdi_op_select_tokens, &attr, &x, 1, NULL);
}

kd_value kd_select_token(kd_graph *g, kd_value x, int index)
{
    const kd_value y = kd_select_tokens(g, x, index, 1);
    const kd_shape s = kd_graph_shape(g, y);
    const int64_t row[] = {s.dim[0], s.dim[2]};
    return y == KD_NONE ? KD_NONE : kd_reshape(g, y, 2, row);
}
