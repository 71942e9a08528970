/* SPDX-License-Identifier: MIT
 * layer_norm.c: over the last dimension, x as rows [M,C] (Ba, Kiros and Hinton 2016).
 *   y = (x - mean) / sqrt(var + eps) * weight + bias
 * Mean and biased variance are the row's own, so training and evaluating are the same. The backward
 * finds them in a second output, [...,2]. Rows are cut into blocks; the gradients of weight and
 * bias are one sum for each block, added in order. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include "../base/size.h"
#include "../kernel/kernels.h"

#include <math.h>

/* Floats of a block of rows: 64 KB, so that x, dy and dx stay in the second-level cache. */
enum { BLOCK = 16384, ROWS = 8 };

typedef struct layer_norm_attr {
    float eps;
} layer_norm_attr;

/* Rows of a block: a multiple of 4, which the kernel takes at a time. */
static size_t block_rows(size_t c)
{
    return c * ROWS < BLOCK ? BLOCK / c / 4 * 4 : ROWS;
}

static void forward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const layer_norm_attr *attr = c->attr;
    const size_t n = kdi_cols(&c->in[0]);
    const float *x = c->in[0].data;
    float *y = c->out[0].data, *stats = c->out[1].data;
    c->kernels->layer_norm(end - begin, n, x + begin * n, c->in[1].data, c->in[2].data, attr->eps,
                           y + begin * n, stats ? stats + 2 * begin : NULL);
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, kdi_rows(&c->in[0]), 2 * kdi_cols(&c->in[0]), forward_rows, c);
    return KD_OK;
}

static size_t blocks_of(const kd_tensor *x)
{
    const size_t rows = block_rows(kdi_cols(x));
    return kdi_pieces(kdi_rows(x), rows);
}

/* [blocks][2][c] */
static size_t scratch(const kd_op_call *c, int backwards)
{
    const kd_tensor *x = &c->in[0];
    return backwards ? blocks_of(x) * 2 * kdi_cols(x) * sizeof(float) : 0;
}

static void backward_block(void *arg, size_t b, int worker)
{
    const kd_op_call *c = *(const kd_op_call **)arg;
    const kd_tensor *x = &c->in[0];
    const size_t n = kdi_cols(x), rows = block_rows(n), r = b * rows, left = kdi_rows(x) - r;
    const float *xs = x->data, *stats = c->out[1].data, *dy = c->dout[0].data;
    float *dx = c->din[0].data, *sums = c->scratch;
    const bool wanted = c->din[1].data || c->din[2].data;
    (void)worker;
    sums += b * 2 * n;
    c->kernels->layer_norm_backward(left < rows ? left : rows, n, xs + r * n, stats + 2 * r,
                                    c->in[1].data, dy + r * n, dx ? dx + r * n : NULL,
                                    (int)(c->accumulate & 1), wanted ? sums : NULL,
                                    wanted ? sums + n : NULL);
}

static kd_status backward(const kd_op_call *c)
{
    const kd_tensor *x = &c->in[0];
    const size_t n = kdi_cols(x), blocks = blocks_of(x);
    const float *sums = c->scratch;
    kd_parallel_for(c->ctx, blocks, backward_block, &c);
    for (int i = 1; i < 3; i++)
        if (c->din[i].data)
            c->kernels->sum_parts(n, blocks, sums + (i == 2 ? n : 0), 2 * n, c->din[i].data,
                                  (int)(c->accumulate >> i & 1));
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    const layer_norm_attr *attr = s->attr;
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    if (!(attr->eps > 0 && isfinite(attr->eps)))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: eps %g is not finite and above 0", s->name,
                           (double)attr->eps);
    const kd_status status = kdi_want_rows(s);
    if (status) return status;
    const kd_shape *x = &s->in[0], row = {.rank = 1, .dim = {x->dim[x->rank - 1]}};
    for (int i = 1; i < s->n_in; i++)
        if (!kdi_shape_equal(&s->in[i], &row))
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s, parameter %s: they do not fit",
                               s->name, kdi_shape_text(x, a), kdi_shape_text(&s->in[i], b));
    s->out[1] = *x;
    s->out[1].dim[x->rank - 1] = 2;
    return kdi_want_f32(s, 1);
}

static const kd_op_field fields[] = {KDI_FLOAT(layer_norm_attr, eps)};

const kd_op kdi_op_layer_norm = {
    .struct_size = sizeof(kd_op),
    .name = "layer_norm",
    .attr_size = sizeof(layer_norm_attr),
    KDI_FIELDS(fields),
    .n_in_min = 3,
    .n_in_max = 3,
    .n_out = 2,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1) | KD_KEEP_OUT(1),
    .optional_out = 1u << 1,
    .accumulates = 1,
    .in_place = 1,
    .in_place_backward = 1,
    .scratch = scratch,
};

kd_value kd_layer_norm(kd_graph *g, kd_value x, const char *name, float eps)
{
    if (!name) return kdi_null(g, "kd_layer_norm: NULL name");
    static const kd_param_opt one = {.struct_size = sizeof one, .init = KD_INIT_ONE, .no_decay = 1};
    static const kd_param_opt zero = {.struct_size = sizeof zero, .no_decay = 1};
    const layer_norm_attr attr = {eps == 0 ? 1e-5f : eps};
    const kd_shape s = kd_graph_shape(g, x);
    const int64_t c = s.rank > 0 ? s.dim[s.rank - 1] : 0;
    kd_value in[3] = {x, x, x}; /* a wrong x: the shape rule says so, and no parameter is made */
    kd_graph_scope(g, "%s", name);
    if (s.rank > 1 && c > 0 && kd_graph_dtype(g, x) == KD_F32) {
        in[1] = kd_param(g, "weight", 1, &c, &one);
        in[2] = kd_param(g, "bias", 1, &c, &zero);
    }
    const kd_value y = kd_graph_op(g, &kdi_op_layer_norm, &attr, in, 3, NULL);
    kd_graph_unscope(g);
    return y;
}
