/* SPDX-License-Identifier: MIT
 * prepend.c: tokens before the tokens: inputs x [N,T,C] and k arrays of C numbers (class token,
 * distillation token; Dosovitskiy et al. 2021, Touvron et al. 2021) give [N,k+T,C], every image
 * beginning with those k rows. A token's gradient is the sum over the images, in their order. */
#include "ops.h"
#include "shape.h"
#include "work.h"

#include <string.h>

static void forward_images(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const kd_tensor *y = &c->out[0];
    const size_t n = y->dim[2], image = y->dim[1] * n, tokens = (size_t)c->n_in - 1;
    const size_t body = image - tokens * n;
    const float *x = c->in[0].data;
    float *to = y->data;
    for (size_t i = begin; i < end; i++) {
        for (size_t k = 0; k < tokens; k++)
            memcpy(to + i * image + k * n, c->in[1 + k].data, n * sizeof *to);
        memcpy(to + i * image + tokens * n, x + i * body, body * sizeof *to);
    }
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
    const kd_tensor *dy = &c->dout[0];
    const size_t n = dy->dim[2], image = dy->dim[1] * n, skip = ((size_t)c->n_in - 1) * n;
    const float *from = dy->data;
    float *dx = c->din[0].data;
    for (size_t i = begin; i < end; i++) {
        const float *rows = from + i * image + skip;
        float *to = dx + i * (image - skip);
        if (c->accumulate & 1)
            c->kernels->add(image - skip, to, rows, to);
        else
            memcpy(to, rows, (image - skip) * sizeof *to);
    }
}

static kd_status backward(const kd_op_call *c)
{
    const kd_tensor *dy = &c->dout[0];
    const size_t n = dy->dim[2], image = dy->dim[1] * n;
    const float *from = dy->data;
    if (c->din[0].data) kdi_ranges(c->ctx, dy->dim[0], image, backward_images, c);
    for (int k = 1; k < c->n_in; k++)
        if (c->din[k].data)
            kdi_column_sums(c->ctx, dy->dim[0], n, from + (size_t)(k - 1) * n, image,
                            c->din[k].data, c->accumulate >> k & 1, c->scratch);
    return KD_OK;
}

static size_t scratch(const kd_op_call *c, int backwards)
{
    if (!backwards) return 0; /* and there are no gradients */
    const kd_tensor *dy = &c->dout[0];
    return kdi_column_sums_scratch(c->ctx, dy->dim[0], dy->dim[2]);
}

static kd_status shape(kd_op_shapes *s)
{
    const kd_shape *x = &s->in[0];
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    if (x->rank != 3)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is not tokens [N,T,C]", s->name,
                           kdi_shape_text(x, a));
    for (int i = 1; i < s->n_in; i++) {
        const kd_shape *token = &s->in[i];
        size_t count;
        if ((token->rank > 0 && token->dim[0] < 0) || !kdi_shape_count(token, 1, &count) ||
            count != (size_t)x->dim[2])
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s, token %s: they do not fit",
                               s->name, kdi_shape_text(x, a), kdi_shape_text(token, b));
    }
    s->out[0] = *x;
    s->out[0].dim[1] += s->n_in - 1;
    return kdi_want_f32(s, 0);
}

const kd_op kdi_op_prepend = {
    .struct_size = sizeof(kd_op),
    .name = "prepend",
    .n_in_min = 2,
    .n_in_max = KD_MAX_OPERANDS,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
    .scratch = scratch,
};

kd_value kd_prepend_tokens(kd_graph *g, kd_value x, const kd_value *tokens, int count)
{
    if (!tokens && count > 0) return kdi_null(g, "kd_prepend_tokens: NULL tokens");
    kd_value in[KD_MAX_OPERANDS] = {x};
    for (int i = 0; i < count && i + 1 < KD_MAX_OPERANDS; i++) in[i + 1] = tokens[i];
    return kd_graph_op(g, &kdi_op_prepend, NULL, in, count + 1, NULL);
}
