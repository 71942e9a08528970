/* SPDX-License-Identifier: MIT
 * attention_map.c: the probabilities of a self-attention as a value p [N,heads,T,T]. attention.c
 * does not store them, so a network that is asked for them has this op beside it. Inputs are those
 * of attention.c: qkv [N,T,3*A], bias [heads,T,T], mask [W,T,T]. For each image n and head h
 *   p = softmax(scale q k^T + bias[h] + mask[n mod W])
 *   ds = p (dp - rowsum(p dp)),  dq = scale ds k,  dk = scale ds^T q,  dbias[h] = sum over n of ds
 * The probabilities do not depend on the values (the last third of qkv), whose gradient is 0.
 *
 * A task of forward and backward is one head of one image. A task of the bias' gradient is one row
 * of one head. Loops are plain, without a kernel: a map is computed for few layers only. */
#include "attention_inputs.h"
#include "fields.h"
#include "ops.h"

#include "../base/size.h"
#include "../kernel/kernels.h"

#include <math.h>
#include <string.h>

typedef struct attention_map_attr {
    int heads, masked;
    float scale; /* 0: 1 / sqrt(d) */
} attention_map_attr;

typedef struct map {
    const kd_op_call *call;
    size_t n, t, heads, d, windows;
    float scale;
    const float *bias, *mask;
    int bias_input;
} map;

static map map_of(const kd_op_call *c)
{
    const attention_map_attr *attr = c->attr;
    const kd_tensor *qkv = &c->in[0];
    map m = {.call = c, .n = qkv->dim[0], .t = qkv->dim[1], .heads = (size_t)attr->heads};
    m.bias_input = kdi_attention_bias(attr->masked, c->n_in);
    m.d = qkv->dim[2] / 3 / m.heads;
    m.scale = attr->scale != 0 ? attr->scale : (float)(1 / sqrt((double)m.d));
    m.windows = attr->masked ? c->in[1].dim[0] : 1;
    m.mask = attr->masked ? c->in[1].data : NULL;
    m.bias = m.bias_input ? c->in[m.bias_input].data : NULL;
    return m;
}

/* Each worker has a head's keys, transposed [d][T]. */
static size_t scratch(const kd_op_call *c, int backward)
{
    const map m = map_of(c);
    size_t floats, bytes;
    if (backward) return 0;
    if (!kdi_mul(m.d * m.t, (size_t)kd_ctx_threads(c->ctx), &floats) ||
        !kdi_mul(floats, sizeof(float), &bytes))
        return SIZE_MAX;
    return bytes;
}

/* y += a * x */
static void add_scaled(size_t n, float a, const float *restrict x, float *restrict y)
{
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* ---- forward --------------------------------------------------------------------------------- */

static void forward_head(void *arg, size_t index, int worker)
{
    const map *m = arg;
    const size_t image = index / m->heads, head = index % m->heads, t = m->t, d = m->d;
    const size_t width = m->heads * d, row = 3 * width, square = t * t;
    const float *q = (const float *)m->call->in[0].data + image * t * row + head * d;
    const float *bias = m->bias ? m->bias + head * square : NULL;
    const float *mask = m->mask ? m->mask + image % m->windows * square : NULL;
    float *p = (float *)m->call->out[0].data + index * square;
    float *keys = (float *)m->call->scratch + (size_t)worker * d * t;
    for (size_t j = 0; j < t; j++)
        for (size_t c = 0; c < d; c++) keys[c * t + j] = q[width + j * row + c];
    for (size_t i = 0; i < t; i++, p += t) {
        memset(p, 0, t * sizeof *p);
        for (size_t c = 0; c < d; c++) add_scaled(t, q[i * row + c], keys + c * t, p);
        for (size_t j = 0; j < t; j++) p[j] *= m->scale;
        if (bias) add_scaled(t, 1, bias + i * t, p);
        if (mask) add_scaled(t, 1, mask + i * t, p);
        m->call->kernels->softmax(t, p, p);
    }
}

static kd_status forward(const kd_op_call *c)
{
    map m = map_of(c);
    kd_parallel_for(c->ctx, m.n * m.heads, forward_head, &m);
    return KD_OK;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* sum over j of p dp, of a row. */
static float row_sum(size_t t, const float *p, const float *dp)
{
    double sum = 0;
    for (size_t j = 0; j < t; j++) sum += (double)p[j] * (double)dp[j];
    return (float)sum;
}

static void backward_head(void *arg, size_t index, int worker)
{
    const map *m = arg;
    const size_t image = index / m->heads, head = index % m->heads, t = m->t, d = m->d;
    const size_t width = m->heads * d, row = 3 * width, at = image * t * row + head * d;
    const float *q = (const float *)m->call->in[0].data + at, *k = q + width;
    const float *p = (const float *)m->call->out[0].data + index * t * t;
    const float *dp = (const float *)m->call->dout[0].data + index * t * t;
    float *dq = (float *)m->call->din[0].data + at, *dk = dq + width, *dv = dk + width;
    (void)worker;
    for (size_t i = 0; i < t && !(m->call->accumulate & 1); i++) {
        memset(dq + i * row, 0, d * sizeof *dq);
        memset(dk + i * row, 0, d * sizeof *dk);
        memset(dv + i * row, 0, d * sizeof *dv);
    }
    for (size_t i = 0; i < t; i++, p += t, dp += t) {
        const float sum = row_sum(t, p, dp);
        for (size_t j = 0; j < t; j++) {
            const float ds = m->scale * p[j] * (dp[j] - sum);
            add_scaled(d, ds, k + j * row, dq + i * row);
            add_scaled(d, ds, q + i * row, dk + j * row);
        }
    }
}

/* Row i of head h of the bias, over all images in order. */
static void backward_bias(void *arg, size_t index, int worker)
{
    const map *m = arg;
    const kd_op_call *c = m->call;
    const size_t t = m->t;
    float *to = (float *)c->din[m->bias_input].data + index * t;
    (void)worker;
    if (!(c->accumulate >> m->bias_input & 1)) memset(to, 0, t * sizeof *to);
    for (size_t n = 0; n < m->n; n++) {
        const size_t at = (n * m->heads * t + index) * t;
        const float *p = (const float *)c->out[0].data + at;
        const float *dp = (const float *)c->dout[0].data + at;
        const float sum = row_sum(t, p, dp);
        for (size_t j = 0; j < t; j++) to[j] += p[j] * (dp[j] - sum);
    }
}

static kd_status backward(const kd_op_call *c)
{
    map m = map_of(c);
    if (c->din[0].data) kd_parallel_for(c->ctx, m.n * m.heads, backward_head, &m);
    if (m.bias_input && c->din[m.bias_input].data)
        kd_parallel_for(c->ctx, m.heads * m.t, backward_bias, &m);
    return KD_OK;
}

/* ---- the op ---------------------------------------------------------------------------------- */

static uint64_t macs(const kd_op_call *c)
{
    const kd_tensor *qkv = &c->in[0];
    return (uint64_t)qkv->dim[0] * qkv->dim[1] * qkv->dim[1] * (qkv->dim[2] / 3);
}

static kd_status shape(kd_op_shapes *s)
{
    const attention_map_attr *attr = s->attr;
    const kd_shape *qkv = &s->in[0];
    s->out[0] = (kd_shape){.rank = 4, .dim = {qkv->dim[0], attr->heads, qkv->dim[1], qkv->dim[1]}};
    return kdi_attention_check(s, attr->heads, attr->masked, attr->scale);
}

/* The mask has no gradient; where there is none, input 1 is a bias, which has. */
static uint32_t no_grad(const void *attr)
{
    const attention_map_attr *a = attr;
    return a->masked ? 1u << 1 : 0;
}

static const kd_op_field fields[] = {
    KDI_INT(attention_map_attr, heads),
    KDI_INT(attention_map_attr, masked),
    KDI_FLOAT(attention_map_attr, scale),
};

const kd_op kdi_op_attention_map = {
    .struct_size = sizeof(kd_op),
    .name = "attention_map",
    .attr_size = sizeof(attention_map_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 3,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_OUT(0),
    .no_grad_fn = no_grad,
    .accumulates = 1,
    .scratch = scratch,
    .macs = macs,
};

kd_value kd_attention_map(kd_graph *g, kd_value qkv, int heads, float scale, kd_value bias,
                          kd_value mask)
{
    const attention_map_attr attr = {heads, mask != KD_NONE, scale};
    kd_value in[3];
    const int n = kdi_attention_inputs(in, qkv, bias, mask);
    return kd_graph_op(g, &kdi_op_attention_map, &attr, in, n, NULL);
}
