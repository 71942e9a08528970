/* SPDX-License-Identifier: MIT
 * linear.c: y[M,out] = x[M,C] W[out,C]^T + bias, x's leading dimensions taken as rows M. A
 * flattening layer reads a picture [N,H,W,C] as N rows of H*W*C; its weight is [out,H,W,C].
 *   dx = dy W, dW = dy^T x, dbias = column sums of dy
 * All are products of kernel/gemm.h, which says how they are cut. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include "../base/size.h"

/* y = x W^T: m rows of k numbers to n. */
static kdi_gemm product(const kd_op_call *c)
{
    const kd_tensor *w = &c->in[1];
    const size_t n = w->dim[0], k = w->count / n;
    return (kdi_gemm){.m = c->in[0].count / k,
                      .n = n,
                      .k = k,
                      .tb = true,
                      .a = c->in[0].data,
                      .lda = k,
                      .b = w->data,
                      .ldb = k,
                      .ldc = n,
                      .packed_b = c->prepared};
}

static kd_status forward(const kd_op_call *c)
{
    const kdi_linear_attr *attr = c->attr;
    kdi_gemm g = product(c);
    const kdi_epilogue epilogue = {.bias = attr->has_bias ? c->in[2].data : NULL,
                                   .act = attr->act,
                                   .residual = attr->residual ? c->in[c->n_in - 1].data : NULL,
                                   .ldr = g.n,
                                   .preact = c->n_out > 1 ? c->out[0].data : NULL,
                                   .ld_preact = g.n};
    g.c = c->out[c->n_out - 1].data;
    if (epilogue.bias || epilogue.act || epilogue.residual) g.epilogue = &epilogue;
    kdi_gemm_run(c->ctx, &g, c->scratch);
    return KD_OK;
}

/* dx[m,k] = dy[m,n] W[n,k] */
static kdi_gemm input_gradient(const kd_op_call *c)
{
    const kdi_gemm y = product(c);
    return (kdi_gemm){.m = y.m,
                      .n = y.k,
                      .k = y.n,
                      .a = c->dout[0].data,
                      .lda = y.n,
                      .b = y.b,
                      .ldb = y.k,
                      .c = c->din[0].data,
                      .ldc = y.k,
                      .accumulate = c->accumulate & 1};
}

/* dW[n,k] = dy[m,n]^T x[m,k] */
static kdi_gemm weight_gradient(const kd_op_call *c)
{
    const kdi_gemm y = product(c);
    return (kdi_gemm){.m = y.n,
                      .n = y.k,
                      .k = y.m,
                      .ta = true,
                      .a = c->dout[0].data,
                      .lda = y.n,
                      .b = y.a,
                      .ldb = y.k,
                      .c = c->din[1].data,
                      .ldc = y.k,
                      .accumulate = c->accumulate & 2};
}

static kd_status backward(const kd_op_call *c)
{
    const kdi_linear_attr *attr = c->attr;
    const kdi_gemm dx = input_gradient(c), dw = weight_gradient(c);
    if (dx.c) kdi_gemm_run(c->ctx, &dx, c->scratch);
    if (dw.c) kdi_gemm_run(c->ctx, &dw, c->scratch);
    if (attr->has_bias && c->din[2].data)
        kdi_column_sums(c->ctx, dx.m, dx.k, dx.a, dx.k, c->din[2].data, c->accumulate & 4,
                        c->scratch);
    return KD_OK;
}

/* A product's scratch grows with m, but the weights' gradient has the batch as its k: the most that
 * any smaller batch needs is searched for. */
static size_t scratch(const kd_op_call *c, int backwards)
{
    const kdi_gemm y = product(c);
    if (!backwards) return kdi_gemm_scratch(c->ctx, &y);
    const kdi_gemm dx = input_gradient(c);
    kdi_gemm dw = weight_gradient(c);
    size_t most =
        kdi_larger(kdi_gemm_scratch(c->ctx, &dx), kdi_column_sums_scratch(c->ctx, y.m, y.n));
    const size_t rows = y.m / c->in[0].dim[0];
    for (size_t n = c->in[0].dim[0]; n > 0; n--) {
        dw.k = n * rows;
        most = kdi_larger(most, kdi_gemm_scratch(c->ctx, &dw));
    }
    return most;
}

static size_t prepared(const kd_op_call *c)
{
    const kdi_gemm y = product(c);
    return kdi_gemm_packed_size(c->ctx, y.n, y.k);
}

static kd_status prepare(const kd_op_call *c)
{
    const kdi_gemm y = product(c);
    kdi_gemm_pack_b(c->ctx, y.n, y.k, true, y.b, y.ldb, c->prepared);
    return KD_OK;
}

static uint64_t macs(const kd_op_call *c)
{
    const kdi_gemm y = product(c);
    return (uint64_t)y.m * y.n * y.k;
}

static kd_status shape(kd_op_shapes *s)
{
    const kdi_linear_attr *attr = s->attr;
    const kd_shape *x = &s->in[0], *w = &s->in[1];
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    const int from = attr->flatten ? 1 : x->rank - 1; /* the first dimension that is summed over */
    if (from < 1 || x->rank <= from || (attr->flatten && x->rank != 4))
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is not %s", s->name,
                           kdi_shape_text(x, a), attr->flatten ? "[N,H,W,C]" : "rows [...,C]");
    if (attr->out < 1)
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: %d outputs", s->name, attr->out);
    if (s->n_in != (attr->has_bias ? 3 : 2))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: it has %d inputs", s->name, s->n_in);
    bool fits = w->rank == x->rank - from + 1 && w->dim[0] == attr->out;
    for (int i = 1; i < w->rank && fits; i++) fits = w->dim[i] == x->dim[from + i - 1];
    if (!fits)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s, weight %s: they do not fit", s->name,
                           kdi_shape_text(x, a), kdi_shape_text(w, b));
    const kd_shape bias = {.rank = 1, .dim = {attr->out}};
    if (attr->has_bias && !kdi_shape_equal(&s->in[2], &bias))
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: %d outputs, bias %s", s->name, attr->out,
                           kdi_shape_text(&s->in[2], a));
    s->out[0] = *x;
    s->out[0].rank = from + 1;
    s->out[0].dim[from] = attr->out;
    return kdi_want_f32(s, 0);
}

static const kd_op_field fields[] = {
    KDI_INT(kdi_linear_attr, out),      KDI_INT(kdi_linear_attr, has_bias),
    KDI_INT(kdi_linear_attr, flatten),  KDI_INT(kdi_linear_attr, act),
    KDI_INT(kdi_linear_attr, residual),
};

const kd_op kdi_op_linear = {
    .struct_size = sizeof(kd_op),
    .name = "linear",
    .attr_size = sizeof(kdi_linear_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 4,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1),
    .accumulates = 1,
    .scratch = scratch,
    .prepared = prepared,
    .prepare = prepare,
    .macs = macs,
};

static kd_value build(kd_graph *g, kd_value x, const char *name, int out, int bias, int flatten)
{
    const kd_param_opt weight = {.struct_size = sizeof weight,
                                 .init = KD_INIT_NORMAL,
                                 .scale = .01f,
                                 .layout = flatten ? KD_LAYOUT_FLATTEN : KD_LAYOUT_SAME};
    static const kd_param_opt zero = {.struct_size = sizeof zero, .no_decay = 1};
    const kdi_linear_attr attr = {.out = out, .has_bias = bias != 0, .flatten = flatten};
    const kd_shape s = kd_graph_shape(g, x);
    kd_value in[3] = {x};
    int n_in = 1; /* a wrong x: the shape rule says so before parameters are made for it */
    kd_graph_scope(g, "%s", name);
    if (out > 0 && (flatten ? s.rank == 4 : s.rank >= 2)) {
        const int64_t picture[] = {out, s.dim[1], s.dim[2], s.dim[3]};
        const int64_t row[] = {out, s.dim[s.rank - 1]};
        in[n_in++] = kd_param(g, "weight", flatten ? 4 : 2, flatten ? picture : row, &weight);
        if (bias) in[n_in++] = kd_param(g, "bias", 1, row, &zero);
    }
    const kd_value y = kd_graph_op(g, &kdi_op_linear, &attr, in, n_in, NULL);
    kd_graph_unscope(g);
    return y;
}

kd_value kd_linear(kd_graph *g, kd_value x, const char *name, int out, int bias)
{
    if (!name) return kdi_null(g, "kd_linear: NULL name");
    return build(g, x, name, out, bias, 0);
}

kd_value kd_flatten_linear(kd_graph *g, kd_value x, const char *name, int out, int bias)
{
    if (!name) return kdi_null(g, "kd_flatten_linear: NULL name");
    return build(g, x, name, out, bias, 1);
}
