/* SPDX-License-Identifier: MIT
 * add_broadcast.c: y = x + p for x [N,...] and p [1,...], the same p for every image: position
 * embeddings. dp is the sum of dy over the images, in their order; columns are cut, images are
 * not. */
#include "ops.h"
#include "shape.h"
#include "work.h"

static void forward_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t image = c->in[1].count;
    const float *x = c->in[0].data, *p = c->in[1].data;
    float *y = c->out[0].data;
    while (begin < end) {
        const size_t at = begin % image, left = image - at;
        const size_t n = left < end - begin ? left : end - begin;
        c->kernels->add(n, x + begin, p + at, y + begin);
        begin += n;
    }
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->out[0].count, 1, forward_range, c);
    return KD_OK;
}

static void input_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    c->kernels->scale(end - begin, 1, dy + begin, dx + begin, (int)(c->accumulate & 1));
}

static void sum_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const size_t image = c->din[1].count;
    const float *dy = c->dout[0].data;
    float *dp = c->din[1].data;
    c->kernels->sum_parts(end - begin, c->dout[0].dim[0], dy + begin, image, dp + begin,
                          (int)(c->accumulate >> 1 & 1));
}

static kd_status backward(const kd_op_call *c)
{
    const kd_tensor *dy = &c->dout[0];
    if (c->din[1].data) kdi_ranges(c->ctx, c->din[1].count, dy->dim[0], sum_range, c);
    if (c->din[0].data && c->din[0].data != dy->data)
        kdi_ranges(c->ctx, dy->count, 1, input_range, c);
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    kd_shape want = s->in[0];
    want.dim[0] = 1;
    if (want.rank < 2 || !kdi_shape_equal(&s->in[1], &want))
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: %s cannot be added to each of %s", s->name,
                           kdi_shape_text(&s->in[1], a), kdi_shape_text(&s->in[0], b));
    s->out[0] = s->in[0];
    return kdi_want_f32(s, 0);
}

const kd_op kdi_op_add_broadcast = {
    .struct_size = sizeof(kd_op),
    .name = "add_broadcast",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
    .in_place = 1,
    .in_place_backward = 1,
};

kd_value kd_add_broadcast(kd_graph *g, kd_value x, kd_value p)
{
    const kd_value in[] = {x, p};
    return kd_graph_op(g, &kdi_op_add_broadcast, NULL, in, 2, NULL);
}
