/* SPDX-License-Identifier: MIT
 * conv2d.c: the convolution op around lib/kernel/conv.h, which has the algorithms.
 *
 * Evaluating, fusion may append a batch norm, an activation and a pooling. The norm is folded: with
 * s = weight_bn / sqrt(var + eps), w' = w s and bias' = (bias - mean) s + bias_bn. Frozen plans
 * keep w' in the algorithm's own form ("prepared"); others fold at each run, into scratch memory.
 *
 * The algorithm follows from the shape and the plan's largest batch, whatever the batch of a run:
 * lib/kernel/conv_choose.c. */
#include "fields.h"
#include "ops.h"
#include "shape.h"

#include "../base/size.h"
#include "../kernel/conv.h"

#include <math.h>

enum { ALIGN = 16 }; /* floats: 64 bytes */

static size_t pad(size_t floats)
{
    return kdi_multiple(floats, ALIGN);
}

static size_t sum(size_t a, size_t b)
{
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

static size_t out_size(size_t n, int padding, int dilation, int kernel, int stride)
{
    return (n + 2 * (size_t)padding - (size_t)dilation * (size_t)(kernel - 1) - 1) /
               (size_t)stride +
           1;
}

static kdi_conv conv_from(const kdi_conv2d_attr *a, const size_t x[4])
{
    kdi_conv v = {.n = x[0],
                  .h = x[1],
                  .w = x[2],
                  .c = x[3],
                  .o = (size_t)a->out,
                  .kh = (size_t)a->kernel[0],
                  .kw = (size_t)a->kernel[1],
                  .sh = (size_t)a->stride[0],
                  .sw = (size_t)a->stride[1],
                  .ph = (size_t)a->pad[0],
                  .pw = (size_t)a->pad[1],
                  .dh = (size_t)a->dilation[0],
                  .dw = (size_t)a->dilation[1],
                  .groups = (size_t)a->groups,
                  .pools = a->pools != 0};
    v.oh = out_size(v.h, a->pad[0], a->dilation[0], a->kernel[0], a->stride[0]);
    v.ow = out_size(v.w, a->pad[1], a->dilation[1], a->kernel[1], a->stride[1]);
    return v;
}

static kdi_conv conv_of(const kd_op_call *c)
{
    return conv_from(c->attr, c->in[0].dim);
}

static kdi_conv_algo choose(const kd_ctx *ctx, const kdi_conv *v, size_t largest)
{
    const int conv = kdi_ctx_conv(ctx);
    const kdi_conv_algo forced = (kdi_conv_algo)conv;
    return kdi_conv_choose_for(v, largest, conv >= 0 ? &forced : NULL);
}

static kdi_conv_algo algo_of(const kd_op_call *c, const kdi_conv *v)
{
    return choose(c->ctx, v, c->largest);
}

/* ---- the batch norm folded into weights and bias --------------------------------------------- */

static size_t weight_row(const kdi_conv *v)
{
    return v->kh * v->kw * (v->c / v->groups);
}

/* The bias [O] that goes with the weights; a norm's is written to `folded`. */
static const float *bias_of(const kd_op_call *c, float *folded)
{
    const kdi_conv2d_attr *a = c->attr;
    const float *bias = a->has_bias ? c->in[2].data : NULL;
    if (!a->bn || !folded) return bias;
    const kd_tensor *bn = c->in + 2 + a->has_bias;
    const float *weight = bn[0].data, *shift = bn[1].data, *mean = bn[2].data, *var = bn[3].data;
    for (int o = 0; o < a->out; o++) {
        const double s = (double)weight[o] / sqrt((double)var[o] + (double)a->bn_eps);
        const double b = bias ? (double)bias[o] : 0;
        folded[o] = (float)((b - (double)mean[o]) * s + (double)shift[o]);
    }
    return folded;
}

static void fold_weights(const kd_op_call *c, const kdi_conv *v, float *folded)
{
    const kdi_conv2d_attr *a = c->attr;
    const kd_tensor *bn = c->in + 2 + a->has_bias;
    const float *w = c->in[1].data, *weight = bn[0].data, *var = bn[3].data;
    const size_t row = weight_row(v);
    for (size_t o = 0; o < v->o; o++) {
        const float s = (float)((double)weight[o] / sqrt((double)var[o] + (double)a->bn_eps));
        c->kernels->scale(row, s, w + o * row, folded + o * row, 0);
    }
}

/* Bytes of folded bias and weights, in the scratch of a run without prepared weights. */
static size_t folded_size(const kd_op_call *c, const kdi_conv *v)
{
    const kdi_conv2d_attr *a = c->attr;
    return a->bn ? (pad(v->o) + pad(v->o * weight_row(v))) * sizeof(float) : 0;
}

/* ---- batch norms before and after it --------------------------------------------------------- */

/* The weights' gradient needs bn_before's parameters as the forward does. */
static uint32_t keeps(const void *attr)
{
    const kdi_conv2d_attr *a = attr;
    uint32_t bits = KD_KEEP_IN(0) | KD_KEEP_IN(1);
    const int first = 2 + a->has_bias, count = 4 * a->bn_before + 5 * a->bn_after;
    for (int i = first; i < first + count; i++) bits |= KD_KEEP_IN(i);
    return bits;
}

static size_t norm_size(const kdi_conv2d_attr *a, const kdi_conv *v)
{
    return a->bn_before ? pad(v->c) : 0;
}

/* bn_before. Its scale [C] is computed as batch_norm.c does, to the same bits. */
static kdi_conv_bn_before bn_before_of(const kd_op_call *c, float *scale)
{
    const kdi_conv2d_attr *a = c->attr;
    const kd_tensor *norm = c->in + 2 + a->has_bias;
    const float *weight = norm[0].data, *inverse = norm[3].data;
    for (size_t j = 0; j < c->in[0].dim[3]; j++) scale[j] = weight[j] * inverse[j];
    return (kdi_conv_bn_before){norm[2].data, scale, norm[1].data, a->bn_before_relu != 0};
}

/* bn_after, likewise. */
static kdi_conv_bn_after bn_after_of(const kd_op_call *c, float *scale)
{
    const kdi_conv2d_attr *a = c->attr;
    const int first = 2 + a->has_bias + 4 * a->bn_before;
    const kd_tensor *norm = c->in + first;
    const float *weight = norm[0].data, *inverse = norm[3].data, *slope = c->dout[1].data;
    for (int j = 0; j < a->out; j++) scale[j] = weight[j] * inverse[j];
    return (kdi_conv_bn_after){.y = norm[4].data,
                               .mean = norm[2].data,
                               .scale = scale,
                               .shift = norm[1].data,
                               .slope = slope,
                               .constant = slope + a->out,
                               .relu = a->bn_after_relu != 0,
                               .pools = a->bn_after_pools != 0,
                               .writes = a->bn_after_writes != 0,
                               .dy = c->din[first + 4].data};
}

/* ---- prepared weights: the bias [O], then the weights in the algorithm's form ---------------- */

static size_t prepared(const kd_op_call *c)
{
    const kdi_conv v = conv_of(c);
    return sum(pad(v.o) * sizeof(float), kdi_conv_prepared_size(c->ctx, &v, algo_of(c, &v)));
}

static kd_status prepare(const kd_op_call *c)
{
    const kdi_conv2d_attr *a = c->attr;
    const kdi_conv v = conv_of(c);
    float *bias = c->prepared, *scratch = c->scratch;
    const float *w = c->in[1].data;
    bias_of(c, bias);
    if (a->bn) {
        fold_weights(c, &v, scratch);
        w = scratch;
        scratch += pad(v.o * weight_row(&v));
    }
    kdi_conv_prepare(c->ctx, &v, algo_of(c, &v), w, bias + pad(v.o), scratch);
    return KD_OK;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static kd_status forward(const kd_op_call *c)
{
    const kdi_conv2d_attr *a = c->attr;
    kdi_conv v = conv_of(c);
    const float *x = c->in[0].data, *w = c->in[1].data, *packed = NULL;
    float *scratch = c->scratch, *bias = c->prepared;
    kdi_epilogue epilogue = {.act = a->act};
    kdi_conv_bn_before bn_before;
    if (a->bn_before) {
        bn_before = bn_before_of(c, scratch);
        scratch += norm_size(a, &v);
        v.bn_before = &bn_before;
    }
    if (a->moments) {
        epilogue.bias = bias_of(c, NULL);
        kdi_conv_forward_moments(c->ctx, &v, algo_of(c, &v), x, w, &epilogue, c->out[0].data,
                                 c->out[1].data, scratch);
        return KD_OK;
    }
    if (bias) {
        epilogue.bias = a->bn ? bias : bias_of(c, NULL);
        packed = bias + pad(v.o);
    } else {
        epilogue.bias = bias_of(c, scratch);
        if (a->bn) {
            w = scratch + pad(v.o);
            fold_weights(c, &v, scratch + pad(v.o));
            scratch += pad(v.o) + pad(v.o * weight_row(&v));
        }
    }
    kdi_conv_forward(c->ctx, &v, algo_of(c, &v), x, w, packed, &epilogue, c->out[0].data, scratch);
    return KD_OK;
}

static kd_status backward(const kd_op_call *c)
{
    const kdi_conv2d_attr *a = c->attr;
    kdi_conv v = conv_of(c);
    const kdi_conv_algo algo = algo_of(c, &v);
    const float *x = c->in[0].data, *w = c->in[1].data, *dy = c->dout[0].data;
    float *scratch = c->scratch;
    kdi_conv_bn_before bn_before;
    if (a->bn_before) {
        bn_before = bn_before_of(c, scratch);
        scratch += norm_size(a, &v);
        v.bn_before = &bn_before;
    }
    kdi_conv_bn_after bn_after;
    if (a->bn_after) {
        bn_after = bn_after_of(c, scratch);
        scratch += pad(v.o);
        v.bn_after = &bn_after;
    }
    float *dx = c->din[0].data, *dw = c->din[1].data, *db = a->has_bias ? c->din[2].data : NULL;
    const bool add_x = c->accumulate & 1, add_w = c->accumulate & 2, add_b = c->accumulate & 4;
    if (dw && db && add_w != add_b) {
        kdi_conv_backward(c->ctx, &v, algo, x, w, dy, NULL, NULL, db, false, add_b, scratch);
        db = NULL;
        if (v.bn_after && v.bn_after->writes) { /* where y may have been */
            dy = v.bn_after->dy;
            v.bn_after = NULL;
        }
    }
    kdi_conv_backward(c->ctx, &v, algo, x, w, dy, dx, dw, db, add_x, dw ? add_w : add_b, scratch);
    return KD_OK;
}

/* A run with prepared weights uses the scratch of their preparation, too. */
static size_t scratch_bytes(const kd_op_call *c, int backwards)
{
    const kdi_conv2d_attr *a = c->attr;
    kdi_conv v = conv_of(c);
    const kdi_conv_algo algo = algo_of(c, &v);
    const size_t norm = norm_size(a, &v) * sizeof(float);
    if (backwards) {
        const kdi_conv_bn_after bn_after = {.pools = a->bn_after_pools != 0};
        if (a->bn_after) v.bn_after = &bn_after;
        return sum(norm + (a->bn_after ? pad(v.o) * sizeof(float) : 0),
                   kdi_conv_scratch(c->ctx, &v, algo, KDI_CONV_BACKWARD));
    }
    if (a->moments) return sum(norm, kdi_conv_moments_scratch(c->ctx, &v, algo));
    if (c->prepared)
        return kdi_larger(
            kdi_conv_scratch(c->ctx, &v, algo, KDI_CONV_FORWARD_PREPARED),
            sum(folded_size(c, &v), kdi_conv_scratch(c->ctx, &v, algo, KDI_CONV_PREPARE)));
    return sum(norm + folded_size(c, &v), kdi_conv_scratch(c->ctx, &v, algo, KDI_CONV_FORWARD));
}

static uint64_t macs(const kd_op_call *c)
{
    const kdi_conv v = conv_of(c);
    return (uint64_t)v.n * v.oh * v.ow * v.o * weight_row(&v);
}

static kdi_conv conv_for(const kdi_conv2d_attr *a, const kd_shape *x, size_t batch)
{
    const size_t dim[4] = {batch, (size_t)x->dim[1], (size_t)x->dim[2], (size_t)x->dim[3]};
    return conv_from(a, dim);
}

bool kdi_conv2d_can_moments(const kd_ctx *ctx, const kdi_conv2d_attr *a, const kd_shape *x,
                            size_t batch)
{
    const kdi_conv v = conv_for(a, x, batch);
    return kdi_conv_can_moments(choose(ctx, &v, batch));
}

/* Whether the algorithm that is chosen without them can also do bn_before and bn_after. */
static bool can_with(const kd_ctx *ctx, kdi_conv v, size_t batch,
                     const kdi_conv_bn_before *bn_before, const kdi_conv_bn_after *bn_after)
{
    const kdi_conv_algo algo = choose(ctx, &v, batch);
    v.bn_before = bn_before;
    v.bn_after = bn_after;
    return kdi_conv_can(&v, algo);
}

bool kdi_conv2d_can_bn_after(const kd_ctx *ctx, const kdi_conv2d_attr *a, const kd_shape *x,
                             size_t batch, bool writes)
{
    const kdi_conv_bn_after any = {.writes = writes};
    return can_with(ctx, conv_for(a, x, batch), batch, NULL, &any);
}

bool kdi_conv2d_can_bn_before(const kd_ctx *ctx, const kdi_conv2d_attr *a, const kd_shape *x,
                              size_t batch)
{
    const kdi_conv_bn_before any = {0};
    return can_with(ctx, conv_for(a, x, batch), batch, &any, NULL);
}

bool kdi_conv2d_can_pool(const kd_ctx *ctx, const kdi_conv2d_attr *a, const kd_shape *x,
                         size_t batch)
{
    kdi_conv v = conv_for(a, x, batch);
    const kdi_conv_algo algo = choose(ctx, &v, batch);
    v.pools = true;
    return kdi_conv_can(&v, algo) && choose(ctx, &v, batch) == algo;
}

/* ---- the op ---------------------------------------------------------------------------------- */

static kd_status check_attr(const kd_op_shapes *s, const kdi_conv2d_attr *a)
{
    if (a->out < 1 || a->groups < 1)
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: %d output channels, %d groups", s->name,
                           a->out, a->groups);
    for (int i = 0; i < 2; i++)
        if (a->kernel[i] < 1 || a->stride[i] < 1 || a->dilation[i] < 1 || a->pad[i] < 0)
            return kd_ctx_fail(s->ctx, KD_E_INVALID,
                               "%s: kernel %d, stride %d, dilation %d, padding %d", s->name,
                               a->kernel[i], a->stride[i], a->dilation[i], a->pad[i]);
    return KD_OK;
}

/* Weight [out,kh,kw,C/groups] and every other parameter [out]. */
static kd_status check_params(const kd_op_shapes *s, const kdi_conv2d_attr *a)
{
    char x[KDI_SHAPE_TEXT], w[KDI_SHAPE_TEXT];
    const kd_shape weight = {
        .rank = 4, .dim = {a->out, a->kernel[0], a->kernel[1], s->in[0].dim[3] / a->groups}};
    const kd_shape channels = {.rank = 1, .dim = {a->out}};
    if (s->n_in != 2 + a->has_bias + 4 * a->bn)
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: it has %d inputs", s->name, s->n_in);
    if (!kdi_shape_equal(&s->in[1], &weight))
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s, weight %s: they do not fit", s->name,
                           kdi_shape_text(&s->in[0], x), kdi_shape_text(&s->in[1], w));
    for (int i = 2; i < s->n_in; i++)
        if (!kdi_shape_equal(&s->in[i], &channels))
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: %d output channels, parameter %d is %s",
                               s->name, a->out, i, kdi_shape_text(&s->in[i], w));
    return kdi_want_f32(s, 0);
}

static kd_status shape(kd_op_shapes *s)
{
    const kdi_conv2d_attr *a = s->attr;
    const kd_shape *x = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    const kd_status status = check_attr(s, a);
    if (status) return status;
    if (x->rank != 4)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is no picture [N,H,W,C]", s->name,
                           kdi_shape_text(x, text));
    if (x->dim[3] % a->groups || a->out % a->groups)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE,
                           "%s: input %s, %d output channels: %d groups do not divide both",
                           s->name, kdi_shape_text(x, text), a->out, a->groups);
    s->out[0] = *x;
    s->out[0].dim[3] = a->out;
    for (int i = 0; i < 2; i++) {
        const int64_t reach = (int64_t)a->dilation[i] * (a->kernel[i] - 1) + 1;
        const int64_t slack = x->dim[1 + i] + 2 * (int64_t)a->pad[i] - reach;
        if (slack < 0)
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is smaller than the kernel %dx%d",
                               s->name, kdi_shape_text(x, text), a->kernel[0], a->kernel[1]);
        s->out[0].dim[1 + i] = slack / a->stride[i] + 1;
    }
    return check_params(s, a);
}

static const kd_op_field fields[] = {
    KDI_INT(kdi_conv2d_attr, out),
    KDI_INT(kdi_conv2d_attr, kernel),
    KDI_INT(kdi_conv2d_attr, stride),
    KDI_INT(kdi_conv2d_attr, pad),
    KDI_INT(kdi_conv2d_attr, dilation),
    KDI_INT(kdi_conv2d_attr, groups),
    KDI_INT(kdi_conv2d_attr, has_bias),
    KDI_INT(kdi_conv2d_attr, bn),
    KDI_FLOAT(kdi_conv2d_attr, bn_eps),
    KDI_INT(kdi_conv2d_attr, act),
    KDI_INT(kdi_conv2d_attr, pools),
    KDI_INT(kdi_conv2d_attr, moments),
    KDI_INT(kdi_conv2d_attr, bn_before),
    KDI_INT(kdi_conv2d_attr, bn_before_relu),
    KDI_INT(kdi_conv2d_attr, bn_after),
    KDI_INT(kdi_conv2d_attr, bn_after_relu),
    KDI_INT(kdi_conv2d_attr, bn_after_pools),
    KDI_INT(kdi_conv2d_attr, bn_after_writes),
};

const kd_op kdi_op_conv2d = {
    .struct_size = sizeof(kd_op),
    .name = "conv2d",
    .attr_size = sizeof(kdi_conv2d_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 7,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps_fn = keeps,
    .accumulates = 1,
    .scratch = scratch_bytes,
    .prepared = prepared,
    .prepare = prepare,
    .macs = macs,
};

/* The options' defaults filled in. */
static kdi_conv2d_attr attr_of(kd_conv2d_opt o)
{
    kdi_conv2d_attr a = {0};
    a.out = o.out;
    a.groups = o.groups ? o.groups : 1;
    a.has_bias = !o.no_bias;
    for (int i = 0; i < 2; i++) {
        a.kernel[i] = o.kernel[i] ? o.kernel[i] : i ? a.kernel[0] : 1;
        a.stride[i] = o.stride[i] ? o.stride[i] : i ? a.stride[0] : 1;
        a.dilation[i] = o.dilation[i] ? o.dilation[i] : i ? a.dilation[0] : 1;
        a.pad[i] = i && o.pad[i] < 0 ? a.pad[0] : o.pad[i];
    }
    return a;
}

kd_value kd_conv2d(kd_graph *g, kd_value x, const char *name, const kd_conv2d_opt *options)
{
    if (!name) return kdi_null(g, "kd_conv2d: NULL name");
    static const kd_param_opt weight = {
        .struct_size = sizeof weight, .init = KD_INIT_KAIMING_FAN_OUT, .layout = KD_LAYOUT_CONV};
    static const kd_param_opt bias = {.struct_size = sizeof bias, .no_decay = 1};
    kd_conv2d_opt opt;
    const kd_status status =
        kd_options(kd_graph_ctx(g), "kd_conv2d_opt", &opt, sizeof opt, options);
    if (status) return kd_graph_fail(g, status);
    const kdi_conv2d_attr a = attr_of(opt);
    const kd_shape s = kd_graph_shape(g, x);
    kd_value in[3] = {x};
    int n_in = 1; /* what is wrong is said by the shape rule before parameters are made for it */
    kd_graph_scope(g, "%s", name);
    if (s.rank == 4 && a.out > 0 && a.kernel[0] > 0 && a.kernel[1] > 0 && a.groups > 0 &&
        s.dim[3] % a.groups == 0) {
        const int64_t dim[] = {a.out, a.kernel[0], a.kernel[1], s.dim[3] / a.groups};
        in[n_in++] = kd_param(g, "weight", 4, dim, &weight);
        if (a.has_bias) in[n_in++] = kd_param(g, "bias", 1, dim, &bias);
    }
    const kd_value y = kd_graph_op(g, &kdi_op_conv2d, &a, in, n_in, NULL);
    kd_graph_unscope(g);
    return y;
}
