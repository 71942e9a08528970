/* SPDX-License-Identifier: MIT
 * fuse.c: merging ops into one pass over memory.
 *   evaluating, no gradient:  conv2d + batch_norm, then + relu or gelu, then + 2x2 max_pool;
 *                             linear + relu or gelu
 *   with gradient:            linear + gelu; the linear writes both its own output and gelu's
 *   with or without gradient: linear + the add of a residual;
 *                             batch_norm + relu, then + 2x2 max_pool, and their backwards
 *   evaluating:               an op that does nothing (dropout) becomes an alias of its input
 * What is frozen evaluates within a training plan, too (kdi_evaluates).
 * Each rule but the last asks that the value between the two has no other reader. */
#include "plan.h"

#include "../op/ops.h"
#include "../op/pooling.h"

#include <string.h>

/* The only reader of v, a forward node; -1 if there are others or none. */
static int only_reader(const kdi_draft *d, kd_value v)
{
    if (kdi_draft_readers(d, v) != 1) return -1;
    for (size_t i = 0; i < d->n_nodes; i++) {
        const kdi_node *n = &d->nodes[i];
        if (!n->op || n->forward >= 0) continue;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] == v) return (int)i;
    }
    return -1;
}

static void drop(kdi_draft *d, int node)
{
    d->nodes[node].op = NULL;
}

/* conv2d, then batch_norm: the norm's parameters become inputs of the convolution. */
static kd_status fold_norm(kdi_draft *d, int conv)
{
    kdi_node *c = &d->nodes[conv];
    kdi_conv2d_attr *attr = c->attr;
    const int reader = only_reader(d, c->out[0]);
    if (reader < 0 || d->nodes[reader].op != &kdi_op_batch_norm || attr->bn) return KD_OK;
    if (!kdi_evaluates(d, &d->nodes[reader])) return KD_OK;
    if (kdi_draft_backward(d, reader) >= 0 || kdi_draft_backward(d, conv) >= 0) return KD_OK;
    const kdi_node *norm = &d->nodes[reader];
    kd_value *in = kdi_pool_alloc(&d->plan->pool, (size_t)c->n_in + 4, sizeof *in);
    if (!in) return kd_ctx_memory_status(d->plan->ctx);
    memcpy(in, c->in, (size_t)c->n_in * sizeof *in);
    for (int i = 0; i < 4; i++) in[c->n_in + i] = norm->in[1 + i];
    const kdi_batch_norm_attr *norm_attr = norm->attr;
    attr->bn = 1;
    attr->bn_eps = norm_attr->eps;
    if (norm_attr->relu) attr->act = KDI_ACT_RELU;
    c->in = in;
    c->n_in += 4;
    c->out[0] = norm->out[0];
    drop(d, reader);
    return KD_OK;
}

static kdi_act activation(const kd_op *op)
{
    return op == &kdi_op_relu ? KDI_ACT_RELU : op == &kdi_op_gelu ? KDI_ACT_GELU : KDI_ACT_NONE;
}

/* `node`, then an activation, which becomes its attribute *act. */
static void fold_activation(kdi_draft *d, int node, kdi_act *act)
{
    const int reader = only_reader(d, d->nodes[node].out[0]);
    if (reader < 0 || *act != KDI_ACT_NONE || activation(d->nodes[reader].op) == KDI_ACT_NONE)
        return;
    if (kdi_draft_backward(d, reader) >= 0 || kdi_draft_backward(d, node) >= 0) return;
    *act = activation(d->nodes[reader].op);
    d->nodes[node].out[0] = d->nodes[reader].out[0];
    drop(d, reader);
}

/* conv2d, then a 2x2 max_pool: the map between them is never in memory. */
static void fold_pool(kdi_draft *d, int conv)
{
    kdi_node *c = &d->nodes[conv];
    kdi_conv2d_attr *attr = c->attr;
    const int reader = only_reader(d, c->out[0]);
    if (reader < 0 || d->nodes[reader].op != &kdi_op_max_pool || attr->pools) return;
    const kdi_node *pool = &d->nodes[reader];
    if (!kdi_pooling_is_2x2(pool->attr) || kdi_draft_backward(d, reader) >= 0 ||
        kdi_draft_backward(d, conv) >= 0)
        return;
    if (d->target == KDI_FOR_HOST &&
        !kdi_conv2d_can_pool(d->plan->ctx, attr, &d->values[c->in[0]].shape, d->plan->batch))
        return;
    attr->pools = 1;
    c->out[0] = pool->out[0];
    drop(d, reader);
}

/* linear, then gelu: the linear writes both outputs, as the backward reads the preactivation. Not
 * within a limit of memory: there gelu's output is recomputed from its input. */
static kd_status keep_preact(kdi_draft *d, int linear)
{
    kdi_node *n = &d->nodes[linear];
    kdi_linear_attr *attr = n->attr;
    int gelu = -1;
    for (size_t i = 0; i < d->n_nodes && gelu < 0; i++)
        if (d->nodes[i].op == &kdi_op_gelu && d->nodes[i].forward < 0 &&
            d->nodes[i].in[0] == n->out[0])
            gelu = (int)i;
    if (gelu < 0 || attr->act || attr->residual || d->opt->max_arena) return KD_OK;
    kd_value *out = kdi_pool_alloc(&d->plan->pool, 2, sizeof *out);
    if (!out) return kd_ctx_memory_status(d->plan->ctx);
    out[0] = n->out[0];
    out[1] = d->nodes[gelu].out[0];
    n->out = out;
    n->n_out = 2;
    attr->act = KDI_ACT_GELU;
    drop(d, gelu);
    return KD_OK;
}

/* Is v made before the node runs? */
static bool is_before(const kdi_draft *d, kd_value v, int node)
{
    for (size_t i = (size_t)node; i < d->n_nodes; i++) {
        const kdi_node *n = &d->nodes[i];
        for (int k = 0; n->op && n->forward < 0 && k < n->n_out; k++)
            if (n->out[k] == v) return false;
    }
    return true;
}

int kdi_own_inputs(const kdi_step *step)
{
    if (step->op != &kdi_op_linear) return step->n_in;
    const kdi_linear_attr *attr = step->attr;
    return step->n_in - attr->residual;
}

/* linear, then the add of a residual. The add passes its gradient on unchanged, so the backward
 * stays as it is. The node's lists are copied, because its backward shares the old ones. */
static kd_status fold_residual(kdi_draft *d, int linear)
{
    kdi_node *n = &d->nodes[linear];
    kdi_linear_attr *attr = n->attr;
    const int reader = only_reader(d, n->out[0]);
    if (reader < 0 || d->nodes[reader].op != &kdi_op_add || attr->act || attr->residual)
        return KD_OK;
    const kdi_node *add = &d->nodes[reader];
    const kd_value residual = add->in[add->in[0] == n->out[0]];
    if (residual == n->out[0] || !is_before(d, residual, linear)) return KD_OK;
    kd_value *out = kdi_pool_alloc(&d->plan->pool, 1, sizeof *out);
    kd_value *in = kdi_pool_alloc(&d->plan->pool, (size_t)n->n_in + 1, sizeof *in);
    if (!out || !in) return kd_ctx_memory_status(d->plan->ctx);
    memcpy(in, n->in, (size_t)n->n_in * sizeof *in);
    in[n->n_in++] = residual;
    out[0] = add->out[0];
    n->in = in;
    n->out = out;
    attr->residual = 1;
    drop(d, reader);
    return KD_OK;
}

/* Backward node `first` replaces `second`, whose output's gradient it then reads. Not if the
 * gradient between the two has another reader. */
static bool join_backwards(kdi_draft *d, int first, int second)
{
    kdi_node *f = &d->nodes[first];
    const kdi_node *b = &d->nodes[second];
    if (b->din[0] != f->dout[0] || b->accumulate) return false;
    if (kdi_draft_readers(d, b->din[0]) != 1) return false;
    f->dout[0] = b->dout[0];
    drop(d, second);
    return true;
}

/* batch_norm, then relu. The backward node of the norm replaces the relu's. */
static void norm_relu(kdi_draft *d, int norm)
{
    kdi_node *n = &d->nodes[norm];
    kdi_batch_norm_attr *attr = n->attr;
    const int relu = only_reader(d, n->out[0]);
    if (relu < 0 || d->nodes[relu].op != &kdi_op_relu || attr->relu) return;
    const int norm_back = kdi_draft_backward(d, norm), relu_back = kdi_draft_backward(d, relu);
    if ((norm_back < 0) != (relu_back < 0)) return;
    if (norm_back >= 0 && !join_backwards(d, norm_back, relu_back)) return;
    attr->relu = 1;
    n->out[0] = d->nodes[relu].out[0];
    drop(d, relu);
}

/* batch_norm, then a 2x2 max_pool of an even map, likewise. */
static void norm_pool(kdi_draft *d, int norm)
{
    kdi_node *n = &d->nodes[norm];
    kdi_batch_norm_attr *attr = n->attr;
    const kd_shape *x = &d->values[n->in[0]].shape;
    const int pool = only_reader(d, n->out[0]);
    if (pool < 0 || d->nodes[pool].op != &kdi_op_max_pool || attr->pools) return;
    if (!kdi_pooling_is_2x2(d->nodes[pool].attr) || x->dim[1] % 2 || x->dim[2] % 2) return;
    const int norm_back = kdi_draft_backward(d, norm), pool_back = kdi_draft_backward(d, pool);
    if ((norm_back < 0) != (pool_back < 0)) return;
    if (norm_back >= 0 && !join_backwards(d, norm_back, pool_back)) return;
    attr->pools = 1;
    n->out[0] = d->nodes[pool].out[0];
    drop(d, pool);
}

static void identity(kdi_draft *d, int node)
{
    const kdi_node *n = &d->nodes[node];
    if (!kdi_evaluates(d, n) || !n->op->identity_in_eval || kdi_draft_backward(d, node) >= 0)
        return;
    d->values[n->out[0]].alias = n->in[0];
    drop(d, node);
    /* Readers of the output now read the input itself, so that the other rules apply to them. */
    for (size_t i = 0; i < d->n_nodes; i++)
        for (int k = 0; k < d->nodes[i].n_in; k++)
            if (d->nodes[i].in[k] == n->out[0]) d->nodes[i].in[k] = n->in[0];
}

kd_status kdi_fuse(kdi_draft *d)
{
    for (size_t i = 0; i < d->n_nodes; i++)
        if (d->nodes[i].op && d->nodes[i].forward < 0) identity(d, (int)i);
    for (size_t i = 0; i < d->n_nodes; i++) {
        kdi_node *n = &d->nodes[i];
        if (!n->op || n->forward >= 0) continue;
        if (n->op == &kdi_op_conv2d && kdi_evaluates(d, n)) {
            const kd_status status = fold_norm(d, (int)i);
            if (status) return status;
            fold_activation(d, (int)i, &((kdi_conv2d_attr *)n->attr)->act);
            fold_pool(d, (int)i);
        } else if (n->op == &kdi_op_linear) {
            if (kdi_evaluates(d, n)) fold_activation(d, (int)i, &((kdi_linear_attr *)n->attr)->act);
            kd_status status = keep_preact(d, (int)i);
            if (!status) status = fold_residual(d, (int)i);
            if (status) return status;
        } else if (n->op == &kdi_op_batch_norm) {
            norm_relu(d, (int)i);
            norm_pool(d, (int)i);
        }
    }
    return KD_OK;
}
