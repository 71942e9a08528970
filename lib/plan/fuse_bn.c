/* SPDX-License-Identifier: MIT
 * fuse_bn.c: merging batch norms into the convolutions around them, in training. The names are
 * those of kdi_conv2d_attr (lib/op/ops.h):
 *   moments    conv2d, then batch_norm: the convolution sums the statistics of what it writes.
 *   bn_before  batch_norm (+ relu), then conv2d: the convolution, and its weights' gradient, read
 *              the norm's input and apply the norm themselves. The norm's output is never in
 *              memory.
 *   bn_after   conv2d, then batch_norm (+ relu + max_pool), in the backward: the weights' gradient
 *              applies the norm's backward to what it reads. If x has a gradient, too, it stores
 *              the result, y's gradient, over y.
 * The last two ask that the value between the two has no other reader. What is left of the norm:
 * its forward joins statistics, its backward is sums. */
#include "plan.h"

#include "../op/ops.h"

#include <string.h>

/* The batch_norm of the batch's statistics that reads v; -1 if none does. */
static int bn_of(const kdi_draft *d, kd_value v)
{
    for (size_t i = 0; i < d->n_nodes; i++)
        if (d->nodes[i].op == &kdi_op_batch_norm && d->nodes[i].forward < 0 &&
            d->nodes[i].in[0] == v && !d->nodes[i].evaluates)
            return (int)i;
    return -1;
}

/* moments. The node's lists are copied, because its backward shares the old ones. */
static kd_status fuse_moments(kdi_draft *d, int conv)
{
    kdi_node *c = &d->nodes[conv];
    kdi_conv2d_attr *attr = c->attr;
    const int reader = bn_of(d, c->out[0]);
    if (reader < 0 || attr->moments ||
        !kdi_conv2d_can_moments(d->plan->ctx, attr, &d->values[c->in[0]].shape, d->plan->batch))
        return KD_OK;
    kdi_node *norm = &d->nodes[reader];
    const size_t n_in = (size_t)norm->n_in;
    kd_value *out = kdi_pool_alloc(&d->plan->pool, 2, sizeof *out);
    kd_value *in = kdi_pool_alloc(&d->plan->pool, n_in + 1, sizeof *in);
    if (!out || !in) return kd_ctx_memory_status(d->plan->ctx);
    const kd_value moments = kdi_draft_add_value(d, (kd_shape){.rank = 2, .dim = {2, attr->out}});
    memcpy(in, norm->in, n_in * sizeof *in);
    in[n_in] = out[1] = moments;
    out[0] = c->out[0];
    attr->moments = 1;
    c->out = out;
    c->n_out = 2;
    norm->in = in;
    norm->n_in++;
    return KD_OK;
}

/* The forward node that reads v; -1 if there is another reader besides it and its backward. */
static int reader_with_backward(const kdi_draft *d, kd_value v)
{
    for (size_t i = 0; i < d->n_nodes; i++) {
        const kdi_node *n = &d->nodes[i];
        if (!n->op || n->forward >= 0 || n->n_in == 0 || n->in[0] != v) continue;
        const int back = kdi_draft_backward(d, (int)i);
        const size_t reads = back >= 0 && (kdi_node_keeps(n) & KD_KEEP_IN(0)) ? 2 : 1;
        return kdi_draft_readers(d, v) == reads ? (int)i : -1;
    }
    return -1;
}

/* A node's list, lengthened by `more` values, or by so many KD_NONE if values is NULL. */
static kd_value *longer(kdi_draft *d, const kd_value *list, int n, int more, const kd_value *values)
{
    kd_value *to = kdi_pool_alloc(&d->plan->pool, (size_t)(n + more) + 1, sizeof *to);
    if (!to) return NULL;
    memcpy(to, list, (size_t)n * sizeof *to);
    for (int i = 0; i < more; i++) to[n + i] = values ? values[i] : KD_NONE;
    return to;
}

/* The parameters and statistics of a batch_norm: inputs that a convolution gets. */
enum { BN_VALUES = 4 };

static void bn_values(const kdi_node *norm, kd_value values[BN_VALUES])
{
    values[0] = norm->in[1];
    values[1] = norm->in[2];
    values[2] = norm->out[1];
    values[3] = norm->out[2];
}

/* bn_before. The gradient of the norm's output is in memory as before. */
static kd_status fuse_bn_before(kdi_draft *d, int norm)
{
    const kdi_node *n = &d->nodes[norm];
    const kdi_batch_norm_attr *attr = n->attr;
    const int reader = attr->pools ? -1 : reader_with_backward(d, n->out[0]);
    if (reader < 0 || d->nodes[reader].op != &kdi_op_conv2d) return KD_OK;
    kdi_node *c = &d->nodes[reader];
    kdi_conv2d_attr *conv = c->attr;
    const kd_shape *x = &d->values[n->in[0]].shape;
    if (!kdi_conv2d_can_bn_before(d->plan->ctx, conv, x, d->plan->batch)) return KD_OK;
    const int back = kdi_draft_backward(d, reader);
    kd_value values[BN_VALUES];
    bn_values(n, values);
    kd_value *in = longer(d, c->in, c->n_in, BN_VALUES, values);
    if (!in) return kd_ctx_memory_status(d->plan->ctx);
    in[0] = n->in[0];
    if (back >= 0) {
        kdi_node *b = &d->nodes[back];
        b->din = longer(d, b->din, b->n_in, BN_VALUES, NULL);
        if (!b->din) return kd_ctx_memory_status(d->plan->ctx);
        b->in = in;
        b->n_in += BN_VALUES;
    }
    c->in = in;
    c->n_in += BN_VALUES;
    conv->bn_before = 1;
    conv->bn_before_relu = attr->relu;
    return KD_OK;
}

/* With bn_after a convolution's backward writes no gradient of x. A second node after it does, from
 * y's gradient, which lies over y. */
static kd_status split_gradient(kdi_draft *d, int conv_back)
{
    kdi_node *first = &d->nodes[conv_back];
    kdi_node second = *first;
    const int y = first->n_in - 1;
    kdi_conv2d_attr *attr = kdi_pool_copy(&d->plan->pool, first->attr, 1, sizeof *attr);
    second.dout = longer(d, first->dout, 1, 0, NULL);
    second.din = longer(d, first->din, y, 0, NULL);
    if (!attr || !second.dout || !second.din) return kd_ctx_memory_status(d->plan->ctx);
    attr->bn_after = attr->bn_before = 0; /* it reads weights and y's gradient alone */
    second.attr = attr;
    second.n_in = y - BN_VALUES;
    second.n_out = 1;
    second.dout[0] = first->din[y] = kdi_draft_add_value(d, d->values[first->in[y]].shape);
    for (int i = 1; i < second.n_in; i++) second.din[i] = KD_NONE;
    first->din[0] = KD_NONE;
    first->accumulate &= ~1u;
    first->in_place_of = y;
    memmove(first + 2, first + 1, (d->n_nodes - (size_t)conv_back - 1) * sizeof *first);
    first[1] = second;
    d->n_nodes++;
    return KD_OK;
}

/* bn_after, for a convolution that has moments. The norm's backward then writes no gradient of
 * x. */
static kd_status fuse_bn_after(kdi_draft *d, int conv)
{
    const kdi_node *c = &d->nodes[conv];
    kdi_conv2d_attr *attr = c->attr;
    const int norm = attr->moments ? bn_of(d, c->out[0]) : -1;
    const int conv_back = kdi_draft_backward(d, conv),
              norm_back = norm < 0 ? -1 : kdi_draft_backward(d, norm);
    if (norm_back < 0 || conv_back < 0) return KD_OK;
    const kdi_node *n = &d->nodes[norm];
    const kdi_batch_norm_attr *norm_attr = n->attr;
    kdi_node *cb = &d->nodes[conv_back], *nb = &d->nodes[norm_back];
    const bool writes = cb->din[0] != KD_NONE;
    if (cb->din[1] == KD_NONE || nb->din[0] != cb->dout[0] || (nb->accumulate & 1)) return KD_OK;
    if (kdi_draft_readers(d, cb->dout[0]) != 1) return KD_OK;
    if (!kdi_conv2d_can_bn_after(d->plan->ctx, attr, &d->values[c->in[0]].shape, d->plan->batch,
                                 writes))
        return KD_OK;
    kd_value values[BN_VALUES + 1];
    bn_values(n, values);
    values[BN_VALUES] = c->out[0];
    kd_value *in = longer(d, cb->in, cb->n_in, BN_VALUES + 1, values);
    kd_value *din = longer(d, cb->din, cb->n_in, BN_VALUES + 1, NULL);
    kd_value *dout = longer(d, cb->dout, 1, 1, NULL);
    kd_value *norm_din = longer(d, nb->din, nb->n_in, n->n_in - nb->n_in, NULL);
    if (!in || !din || !dout || !norm_din) return kd_ctx_memory_status(d->plan->ctx);
    dout[0] = nb->dout[0];
    dout[1] = norm_din[n->n_in - 1] = kdi_draft_add_value(d, d->values[c->out[1]].shape);
    norm_din[0] = KD_NONE;
    cb->in = in;
    cb->din = din;
    cb->dout = dout;
    cb->out = c->out;
    cb->n_in += BN_VALUES + 1;
    cb->n_out = 2;
    nb->in = n->in;
    nb->din = norm_din;
    nb->n_in = n->n_in;
    attr->bn_after = 1;
    attr->bn_after_relu = norm_attr->relu;
    attr->bn_after_pools = norm_attr->pools;
    attr->bn_after_writes = writes;
    return writes ? split_gradient(d, conv_back) : KD_OK;
}

kd_status kdi_fuse_bn(kdi_draft *d)
{
    kd_status status = KD_OK;
    for (size_t i = 0; i < d->n_nodes && !status; i++)
        if (d->nodes[i].op == &kdi_op_conv2d && d->nodes[i].forward < 0)
            status = fuse_moments(d, (int)i);
    for (size_t i = 0; i < d->n_nodes && !status; i++) {
        const kdi_node *n = &d->nodes[i];
        if (n->op == &kdi_op_batch_norm && n->forward < 0 && !n->evaluates)
            status = fuse_bn_before(d, (int)i);
        if (n->op == &kdi_op_conv2d && n->forward < 0) status = fuse_bn_after(d, (int)i);
    }
    return status;
}
