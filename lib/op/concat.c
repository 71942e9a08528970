/* SPDX-License-Identifier: MIT
 * concat.c: arrays of any one type, joined along an axis. In memory that is `outer` rows, each of
 * the inputs' rows one after another; the backward hands the pieces of each row back. Inputs are
 * taken in order, each in parallel, so that an input given twice adds up. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include <string.h>

typedef struct concat_attr {
    int axis;
    /* Of a row, for a batch of 1: elements from the first k inputs. A backward may not know the
     * shapes of inputs that want no gradient. */
    size_t before[KD_MAX_OPERANDS + 1];
} concat_attr;

/* One input's part: rows of `wide` bytes at a distance of `step`, beside rows packed densely. */
typedef struct part {
    const kd_op_call *c;
    char *joined, *piece;
    size_t wide, step;
    bool split, accumulate;
} part;

/* Bytes [begin, end) of the packed rows, which may be pieces of rows. */
static void move_range(const void *arg, size_t begin, size_t end)
{
    const part *p = arg;
    while (begin < end) {
        const size_t row = begin / p->wide, at = begin % p->wide, left = p->wide - at;
        const size_t n = left < end - begin ? left : end - begin;
        void *joined = p->joined + row * p->step + at, *piece = p->piece + begin;
        if (!p->split)
            memcpy(joined, piece, n);
        else if (!p->accumulate)
            memcpy(piece, joined, n);
        else
            p->c->kernels->add(n / sizeof(float), piece, joined, piece);
        begin += n;
    }
}

/* Elements of one row: the dimensions from the axis on. */
static size_t row_size(const kd_tensor *t, int axis)
{
    size_t n = 1;
    for (int i = axis; i < t->rank; i++) n *= t->dim[i];
    return n;
}

static kd_status move_all(const kd_op_call *c, const kd_tensor *joined, const kd_tensor *pieces,
                          bool split)
{
    const concat_attr *attr = c->attr;
    const size_t size = kd_dtype_size(joined->dtype), row = row_size(joined, attr->axis);
    const size_t unit = row / attr->before[c->n_in] * size; /* the batch, if that is the axis */
    part p = {.c = c, .step = row * size, .split = split};
    for (int i = 0; i < c->n_in; i++) {
        p.wide = (attr->before[i + 1] - attr->before[i]) * unit;
        p.joined = (char *)joined->data + attr->before[i] * unit;
        p.piece = pieces[i].data;
        p.accumulate = split && (c->accumulate >> i & 1);
        /* A cost of 1 cuts at multiples of 4096 bytes, so never within an element. */
        if (p.piece) kdi_ranges(c->ctx, pieces[i].count * size, 1, move_range, &p);
    }
    return KD_OK;
}

static kd_status forward(const kd_op_call *c)
{
    return move_all(c, &c->out[0], c->in, false);
}

static kd_status backward(const kd_op_call *c)
{
    return move_all(c, &c->dout[0], c->din, true);
}

static kd_status misfit(const kd_op_shapes *s, int i, int axis)
{
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: %s and %s (input %d) do not fit along axis %d",
                       s->name, kdi_shape_text(&s->in[0], a), kdi_shape_text(&s->in[i], b), i,
                       axis);
}

static kd_status note_sizes(const kd_op_shapes *s, concat_attr *attr)
{
    for (int i = 0; i < s->n_in; i++) {
        kd_shape row = {.rank = s->in[i].rank - attr->axis};
        size_t count;
        for (int d = 0; d < row.rank; d++) row.dim[d] = s->in[i].dim[attr->axis + d];
        if (!kdi_shape_count(&row, 1, &count) ||
            !kdi_add(attr->before[i], count, &attr->before[i + 1]))
            return kd_ctx_fail(s->ctx, KD_E_LIMIT, "%s: the size overflows", s->name);
    }
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    concat_attr *attr = s->attr;
    const int rank = s->in[0].rank;
    if (attr->axis < -rank || attr->axis >= rank)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: axis %d of inputs of rank %d", s->name,
                           attr->axis, rank);
    const int axis = attr->axis += attr->axis < 0 ? rank : 0;
    kd_shape *out = &s->out[0];
    *out = s->in[0];
    s->out_dtype[0] = s->in_dtype[0];
    for (int i = 1; i < s->n_in; i++) {
        const kd_shape *x = &s->in[i];
        if (s->in_dtype[i] != s->in_dtype[0])
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %d is %s, input 0 is %s", s->name, i,
                               kd_dtype_name(s->in_dtype[i]), kd_dtype_name(s->in_dtype[0]));
        if (x->rank != rank) return misfit(s, i, axis);
        for (int d = 0; d < rank; d++) {
            /* Along the axis counts add up, and so do multiples of the batch, but not the two. */
            const bool fits =
                d == axis ? (x->dim[d] < 0) == (out->dim[d] < 0) : x->dim[d] == out->dim[d];
            if (!fits) return misfit(s, i, axis);
        }
        out->dim[axis] += x->dim[axis];
    }
    return note_sizes(s, attr);
}

static const kd_op_field fields[] = {KDI_INT(concat_attr, axis), KDI_SIZE(concat_attr, before)};

const kd_op kdi_op_concat = {
    .struct_size = sizeof(kd_op),
    .name = "concat",
    .attr_size = sizeof(concat_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = KD_MAX_OPERANDS,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
};

kd_value kd_concat(kd_graph *g, const kd_value *x, int count, int axis)
{
    const concat_attr attr = {.axis = axis};
    return kd_graph_op(g, &kdi_op_concat, &attr, x, count, NULL);
}
