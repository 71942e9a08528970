/* SPDX-License-Identifier: MIT
 * transpose.c: any order of the dimensions: out dimension i is x's dimension order[i]; the backward
 * is the inverse order.
 *
 * First dimensions of size 1 are dropped and neighbours that stay neighbours become one. If the
 * last dimension stays last, rows are copied. Else the plane of the two last dimensions (out's and
 * in's) is transposed by the kernel, once for each index of the others. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include "../base/size.h"

#include <string.h>

typedef struct transpose_attr {
    int order[KD_MAX_RANK];
} transpose_attr;

/* The move in its simplest form. Axes are out's; from and to are strides in elements. */
typedef struct move {
    const kd_op_call *c;
    const float *x;
    float *y;
    int accumulate;
    int rank;
    size_t dim[KD_MAX_RANK], from[KD_MAX_RANK], to[KD_MAX_RANK];
    int fast;             /* the axis along which x is dense */
    size_t strip, strips; /* rows of a plane that are moved at once; how many such */
} move;

enum { STRIP = 64 };

/* Axis i of the output, in order, is a dimension of size dim, strides from and to. */
static void simplify(move *m, const kd_tensor *out, const size_t *stride)
{
    size_t to = out->count;
    m->rank = 0;
    for (int i = 0; i < out->rank; i++) {
        const size_t dim = out->dim[i];
        to /= dim;
        if (dim == 1) continue;
        const int last = m->rank - 1;
        if (last >= 0 && m->from[last] == stride[i] * dim) {
            m->dim[last] *= dim;
            m->from[last] = stride[i];
            m->to[last] = to;
            continue;
        }
        m->dim[m->rank] = dim;
        m->from[m->rank] = stride[i];
        m->to[m->rank] = to;
        m->rank++;
    }
    if (m->rank == 0) *m = (move){m->c, m->x, m->y, m->accumulate, 1, {1}, {1}, {1}, 0, 0, 0};
    for (m->fast = 0; m->from[m->fast] != 1; m->fast++) {}
}

/* Where the index-th plane begins: index counts all axes but the last and the fast one. */
static void locate(const move *m, size_t index, size_t *from, size_t *to)
{
    *from = *to = 0;
    for (int i = m->rank - 2; i >= 0; i--) {
        if (i == m->fast) continue;
        const size_t at = index % m->dim[i];
        index /= m->dim[i];
        *from += at * m->from[i];
        *to += at * m->to[i];
    }
}

/* The last axis stays: rows are dense on both sides. */
static void copy_rows(const void *arg, size_t begin, size_t end)
{
    const move *m = arg;
    const size_t n = m->dim[m->rank - 1];
    for (size_t i = begin; i < end; i++) {
        size_t from, to;
        locate(m, i, &from, &to);
        float *y = m->y + to;
        if (m->accumulate)
            m->c->kernels->add(n, y, m->x + from, y);
        else
            memcpy(y, m->x + from, n * sizeof *y);
    }
}

/* x's plane has its rows along out's last axis. A piece is a strip of those rows. */
static void transpose_planes(const void *arg, size_t begin, size_t end)
{
    const move *m = arg;
    const int last = m->rank - 1, fast = m->fast;
    for (size_t i = begin; i < end; i++) {
        const size_t row = i % m->strips * m->strip, left = m->dim[last] - row;
        size_t from, to;
        locate(m, i / m->strips, &from, &to);
        m->c->kernels->transpose(left < m->strip ? left : m->strip, m->dim[fast],
                                 m->x + from + row * m->from[last], m->from[last], m->y + to + row,
                                 m->to[fast], m->accumulate);
    }
}

/* y = x in another order; stride: for each axis of y, x's stride. */
static void run(const kd_op_call *c, const kd_tensor *x, const kd_tensor *y, const size_t *stride,
                int accumulate)
{
    move m = {.c = c, .x = x->data, .y = y->data, .accumulate = accumulate};
    simplify(&m, y, stride);
    const size_t row = m.dim[m.rank - 1];
    if (m.fast == m.rank - 1) {
        kdi_ranges(c->ctx, y->count / row, row, copy_rows, &m);
        return;
    }
    m.strip = row < STRIP ? row : STRIP;
    m.strips = kdi_pieces(row, m.strip);
    const size_t plane = row * m.dim[m.fast];
    kdi_ranges(c->ctx, y->count / plane * m.strips, 2 * m.strip * m.dim[m.fast], transpose_planes,
               &m);
}

static void strides(const kd_tensor *t, size_t *stride)
{
    size_t step = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= t->dim[i];
    }
}

static kd_status forward(const kd_op_call *c)
{
    const transpose_attr *attr = c->attr;
    size_t in[KD_MAX_RANK] = {0}, stride[KD_MAX_RANK] = {0};
    strides(&c->in[0], in);
    for (int i = 0; i < c->in[0].rank; i++) stride[i] = in[attr->order[i]];
    run(c, &c->in[0], &c->out[0], stride, 0);
    return KD_OK;
}

static kd_status backward(const kd_op_call *c)
{
    const transpose_attr *attr = c->attr;
    size_t out[KD_MAX_RANK] = {0}, stride[KD_MAX_RANK] = {0};
    strides(&c->dout[0], out);
    for (int i = 0; i < c->dout[0].rank; i++) stride[attr->order[i]] = out[i];
    run(c, &c->dout[0], &c->din[0], stride, (int)(c->accumulate & 1));
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    const transpose_attr *attr = s->attr;
    const kd_shape *in = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    uint32_t seen = 0;
    s->out[0].rank = in->rank;
    for (int i = 0; i < in->rank; i++) {
        const int from = attr->order[i];
        if (from < 0 || from >= in->rank || (seen >> from & 1))
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: dimension %d of %s: order %d is %s",
                               s->name, i, kdi_shape_text(in, text), from,
                               from < 0 || from >= in->rank ? "none of its" : "given twice");
        seen |= 1u << from;
        s->out[0].dim[i] = in->dim[from];
    }
    if (in->rank > 0 && in->dim[0] < 0 && attr->order[0] != 0)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: the batch must stay the first dimension of %s",
                           s->name, kdi_shape_text(in, text));
    return kdi_want_f32(s, 0);
}

static const kd_op_field fields[] = {KDI_INT(transpose_attr, order)};

const kd_op kdi_op_transpose = {
    .struct_size = sizeof(kd_op),
    .name = "transpose",
    .attr_size = sizeof(transpose_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
};

kd_value kd_transpose(kd_graph *g, kd_value x, const int *order)
{
    if (!order) return kdi_null(g, "kd_transpose: NULL order");
    transpose_attr attr = {{0}};
    const int rank = kd_graph_shape(g, x).rank;
    for (int i = 0; i < rank; i++) attr.order[i] = order[i];
    return kd_graph_op(g, &kdi_op_transpose, &attr, &x, 1, NULL);
}
