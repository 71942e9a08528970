/* SPDX-License-Identifier: MIT
 * pooling.c: see pooling.h. Sizes are PyTorch's: along an axis of n pixels
 *   out = floor((n + 2 pad - kernel) / stride) + 1, or with ceil_mode the ceiling, less one if the
 *   last region would begin beyond the map and its leading padding.
 * Region i covers pixel i * stride - pad and the kernel - 1 pixels after it; its extent ends at the
 * end of the trailing padding. Adaptive: floor(i * n / out) to ceil((i + 1) * n / out) - 1. */
#include "pooling.h"
#include "shape.h"
#include "work.h"

#include <string.h>

const kd_op_field kdi_pooling_fields[] = {
    KDI_INT(kdi_pooling_attr, kernel),      KDI_INT(kdi_pooling_attr, stride),
    KDI_INT(kdi_pooling_attr, pad),         KDI_INT(kdi_pooling_attr, ceil_mode),
    KDI_INT(kdi_pooling_attr, exclude_pad), KDI_INT(kdi_pooling_attr, adaptive),
};

kd_value kdi_pooling_build(kd_graph *g, const kd_op *op, kd_value x, const kd_pool_opt *options)
{
    kd_pool_opt opt;
    kdi_pooling_attr attr = {0};
    const kd_status status = kd_options(kd_graph_ctx(g), "kd_pool_opt", &opt, sizeof opt, options);
    if (status) return kd_graph_fail(g, status);
    for (int i = 0; i < 2; i++) {
        attr.kernel[i] = opt.kernel[i] || i == 0 ? opt.kernel[i] : attr.kernel[0];
        attr.stride[i] = opt.stride[i] || i == 0 ? opt.stride[i] : attr.stride[0];
        attr.pad[i] = opt.pad[i] >= 0 || i == 0 ? opt.pad[i] : attr.pad[0];
        if (attr.stride[i] == 0) attr.stride[i] = attr.kernel[i];
    }
    attr.ceil_mode = opt.ceil_mode != 0;
    attr.exclude_pad = opt.exclude_pad != 0;
    return kd_graph_op(g, op, &attr, &x, 1, NULL);
}

static int64_t out_size(const kdi_pooling_attr *a, int axis, int64_t n)
{
    const int64_t stride = a->stride[axis], pad = a->pad[axis];
    const int64_t slack = n + 2 * pad - a->kernel[axis];
    if (slack < 0) return 0;
    int64_t out = (slack + (a->ceil_mode ? stride - 1 : 0)) / stride + 1;
    if (a->ceil_mode && (out - 1) * stride >= n + pad) out--;
    return out;
}

kd_status kdi_pooling_shape(kd_op_shapes *s)
{
    const kdi_pooling_attr *a = s->attr;
    const kd_shape *x = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    if (x->rank != 4)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is no picture [N,H,W,C]", s->name,
                           kdi_shape_text(x, text));
    s->out[0] = *x;
    for (int i = 0; i < 2; i++) {
        if (a->kernel[i] < 1)
            return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: a size of %d", s->name, a->kernel[i]);
        if (!a->adaptive && (a->stride[i] < 1 || a->pad[i] < 0 || a->pad[i] > a->kernel[i] / 2))
            return kd_ctx_fail(s->ctx, KD_E_INVALID,
                               "%s: kernel %d, stride %d, padding %d: the stride must be at least "
                               "1, the padding at most half of the kernel",
                               s->name, a->kernel[i], a->stride[i], a->pad[i]);
        s->out[0].dim[1 + i] = a->adaptive ? a->kernel[i] : out_size(a, i, x->dim[1 + i]);
        if (s->out[0].dim[1 + i] < 1)
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is smaller than the kernel %dx%d",
                               s->name, kdi_shape_text(x, text), a->kernel[0], a->kernel[1]);
    }
    return kdi_want_f32(s, 0);
}

bool kdi_pooling_is_2x2(const kdi_pooling_attr *a)
{
    return !a->adaptive && !a->ceil_mode && a->kernel[0] == 2 && a->kernel[1] == 2 &&
           a->stride[0] == 2 && a->stride[1] == 2 && !a->pad[0] && !a->pad[1];
}

static void fill(const kdi_pooling_attr *a, int axis, size_t n, size_t out, kdi_pooling_span *w)
{
    const int64_t stride = a->stride[axis], pad = a->pad[axis], size = (int64_t)n;
    for (size_t i = 0; i < out; i++) {
        if (a->adaptive) {
            w[i].begin = (uint32_t)(i * n / out);
            w[i].end = (uint32_t)(((i + 1) * n + out - 1) / out);
            w[i].extent = w[i].end - w[i].begin;
            continue;
        }
        const int64_t begin = (int64_t)i * stride - pad, end = begin + a->kernel[axis];
        w[i].begin = (uint32_t)(begin > 0 ? begin : 0);
        w[i].end = (uint32_t)(end < size ? end : size);
        w[i].extent = a->exclude_pad ? w[i].end - w[i].begin
                                     : (uint32_t)((end < size + pad ? end : size + pad) - begin);
    }
}

size_t kdi_pooling_scratch(const kd_tensor *y)
{
    return (y->dim[1] + y->dim[2]) * sizeof(kdi_pooling_span);
}

kdi_pooling kdi_pooling_of(const kd_op_call *c, const kd_tensor *x, const kd_tensor *y)
{
    kdi_pooling_span *table = c->scratch;
    const kdi_pooling w = {.call = c,
                           .n = x->dim[0],
                           .h = x->dim[1],
                           .w = x->dim[2],
                           .c = x->dim[3],
                           .oh = y->dim[1],
                           .ow = y->dim[2],
                           .rows = table,
                           .columns = table + y->dim[1]};
    fill(c->attr, 0, w.h, w.oh, table);
    fill(c->attr, 1, w.w, w.ow, table + w.oh);
    return w;
}

typedef struct back {
    const kdi_pooling *w;
    kdi_pooling_fn fn;
} back;

/* Regions begin and end in order, so those that cover a row follow each other. */
static void back_rows(const void *arg, size_t begin, size_t end)
{
    const back *b = arg;
    const kdi_pooling *w = b->w;
    float *dx = w->call->din[0].data;
    size_t first = 0;
    for (size_t i = begin; i < end; i++) {
        const size_t h = i % w->h;
        float *row = dx + i * w->w * w->c;
        if (h == 0) first = 0;
        while (first < w->oh && w->rows[first].end <= h) first++;
        const bool covered = first < w->oh && w->rows[first].begin <= h;
        if (!(w->call->accumulate & 1) && !(covered && w->fresh))
            memset(row, 0, w->w * w->c * sizeof *row);
        for (size_t o = first; o < w->oh && w->rows[o].begin <= h; o++)
            b->fn(w, i / w->h, h, o, row);
    }
}

static bool disjoint(const kdi_pooling_span *w, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (w[i].begin < w[i - 1].end) return false;
    return true;
}

void kdi_pooling_back(kdi_pooling *w, kdi_pooling_fn fn)
{
    const back b = {w, fn};
    if (!(w->call->accumulate & 1) && disjoint(w->rows, w->oh) && disjoint(w->columns, w->ow))
        w->fresh = w->w;
    kdi_ranges(w->call->ctx, w->n * w->h, 2 * w->w * w->c, back_rows, &b);
}
