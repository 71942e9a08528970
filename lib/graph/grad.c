/* SPDX-License-Identifier: MIT
 * grad.c: reverse-mode differentiation. One backward node for each forward node that a gradient
 * reaches, in reverse order.
 *
 * A value that is used several times has a sum for a gradient. The second and later terms are added
 * in place by ops that can (kd_op.accumulates), else by an `add`. If an op passes its output's
 * gradient on unchanged (add, reshape), no node is made, and both values share one gradient. A
 * shared gradient may be added to in place only after the backward of all values that share it; as
 * nodes are visited in reverse, a comparison of their numbers tells. */
#include "graph.h"

#include "../op/ops.h"

#include <string.h>

/* May the node visited `now` add in place to the gradient of v? Not while another value that shares
 * the gradient will still be read, by this node's backward or an earlier node's. */
static bool may_add_in_place(const kd_graph *g, kd_value v, int now)
{
    const kd_value root = kdi_graph_root(g, g->values[v].grad);
    for (size_t u = 0; u < g->n_values; u++) {
        const kdi_value *other = &g->values[u];
        if ((kd_value)u == v || other->grad == KD_NONE) continue;
        if (kdi_graph_root(g, other->grad) != root) continue;
        if (other->want_grad || other->node < 0 || other->node <= now) return false;
    }
    return true;
}

static kd_value same_shape(kd_graph *g, kd_value v)
{
    const kd_shape shape = g->values[v].shape;
    return kdi_graph_value(g, KDI_RESULT, &shape, g->values[v].dtype);
}

/* sum = a + b, as a node of the backward pass. */
static kd_value emit_add(kd_graph *g, kd_value a, kd_value b)
{
    kdi_node *node = kdi_graph_node(g, &kdi_op_add, NULL, 2);
    if (!node) return KD_NONE;
    const int id = (int)(node - g->nodes);
    const kd_value sum = same_shape(g, a);
    if (sum == KD_NONE) return KD_NONE;
    node = &g->nodes[id];
    node->part = KD_PART_BACKWARD;
    node->in[0] = a;
    node->in[1] = b;
    node->out[0] = sum;
    g->values[sum].node = id;
    return sum;
}

/* The gradient of a value of v's shape is `with`, under v's shape. */
static kd_value view_of(kd_graph *g, kd_value with, kd_value v)
{
    const kd_shape shape = g->values[v].shape;
    if (kdi_shape_equal(&g->values[with].shape, &shape)) return with;
    const kd_value view = kdi_graph_value(g, KDI_RESULT, &shape, g->values[v].dtype);
    if (view != KD_NONE) g->values[view].alias = with;
    return view;
}

static bool wanted(const kd_graph *g, const kdi_node *node, int i)
{
    return g->values[node->in[i]].needs_grad && !(kdi_node_no_grad(node) >> i & 1);
}

/* The gradient dout of a view of, or a sum with, a parameter goes into the flat array by a copy. */
static void copy_to_param(kd_graph *g, int forward, kd_value in, kd_value dout)
{
    const kd_value grad = g->params[g->values[in].index].grad;
    const char *name = g->nodes[forward].name;
    kdi_node *node = kdi_graph_node(g, &kdi_op_copy, NULL, 1);
    kd_value *douts = kdi_pool_alloc(&g->pool, 1, sizeof *douts);
    kd_value *dins = kdi_pool_alloc(&g->pool, 1, sizeof *dins);
    if (!node || !douts || !dins) {
        kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
        return;
    }
    *douts = dout;
    *dins = grad;
    node->name = name;
    node->part = KD_PART_BACKWARD;
    node->forward = forward;
    node->in[0] = in;
    node->out[0] = in;
    node->dout = douts;
    node->din = dins;
    node->accumulate = g->values[in].grad != KD_NONE;
    g->values[in].grad = grad;
}

/* Inputs of `forward` whose gradient is its output's. */
static void pass_through(kd_graph *g, int forward)
{
    const kdi_node node = g->nodes[forward];
    for (int i = 0; i < node.n_in && !g->status; i++) {
        if (!wanted(g, &node, i) || !(node.op->view || (node.op->pass_through >> i & 1))) continue;
        const kd_value in = node.in[i];
        kd_value grad = view_of(g, g->values[node.out[0]].grad, in);
        if (grad == KD_NONE) return;
        if (g->values[in].kind == KDI_PARAM) {
            copy_to_param(g, forward, in, grad);
            continue;
        }
        if (g->values[in].grad != KD_NONE) grad = emit_add(g, g->values[in].grad, grad);
        g->values[in].grad = grad;
    }
}

/* Where the backward of `forward` writes the gradient of its input i: a fresh value, or the
 * existing one, which is added to. *extra: a value to be added afterwards, if the op cannot add. */
static kd_value place(kd_graph *g, const kdi_node *forward, int id, int i, uint32_t *accumulate,
                      kd_value *extra)
{
    const kd_value in = forward->in[i];
    kdi_value *v = &g->values[in];
    *extra = KD_NONE;
    if (v->kind == KDI_PARAM) {
        kdi_param *p = &g->params[v->index];
        if (v->grad != KD_NONE) *accumulate |= 1u << i; /* the executor adds where the op cannot */
        v->grad = p->grad;
        return p->grad;
    }
    if (v->grad == KD_NONE) {
        const kd_value fresh = same_shape(g, in); /* moves the values */
        g->values[in].grad = fresh;
        return fresh;
    }
    if (forward->op->accumulates && may_add_in_place(g, in, id)) {
        *accumulate |= 1u << i;
        return v->grad;
    }
    return *extra = same_shape(g, in);
}

static kd_status no_gradient(kd_graph *g, const kdi_node *node)
{
    return kd_ctx_fail(g->ctx, KD_E_NOGRAD,
                       "%s '%s' has no gradient, and one is asked for through it", node->op->name,
                       node->name);
}

/* An input that is given twice (x * x) gets two terms from one node: the second goes through an
 * extra value. */
static kd_status emit_backward(kd_graph *g, int id)
{
    const kdi_node f = g->nodes[id];
    if (!f.op->backward) return no_gradient(g, &f);
    kd_value *din = kdi_pool_alloc(&g->pool, (size_t)f.n_in + 1, sizeof *din);
    kd_value *dout = kdi_pool_alloc(&g->pool, (size_t)f.n_out + 1, sizeof *dout);
    if (!din || !dout) return kd_ctx_memory_status(g->ctx);
    kd_value extra[KD_MAX_OPERANDS];
    uint32_t accumulate = 0;
    const int n_in = f.n_in;
    for (int o = 0; o < f.n_out; o++) dout[o] = g->values[f.out[o]].grad;
    for (int i = 0; i < n_in; i++) {
        din[i] = extra[i] = KD_NONE;
        if (!wanted(g, &f, i)) continue;
        bool repeated = false;
        for (int j = 0; j < i; j++) repeated |= f.in[j] == f.in[i] && din[j] != KD_NONE;
        if (repeated && g->values[f.in[i]].kind != KDI_PARAM)
            din[i] = extra[i] = same_shape(g, f.in[i]);
        else
            din[i] = place(g, &f, id, i, &accumulate, &extra[i]);
        if (din[i] == KD_NONE) return g->status;
    }
    kdi_node *b = kdi_graph_node(g, f.op, NULL, 0);
    if (!b) return g->status;
    *b = f;
    b->forward = id;
    b->part = f.part == KD_PART_LOSS ? KD_PART_LOSS : KD_PART_BACKWARD;
    b->dout = dout;
    b->din = din;
    b->accumulate = accumulate;
    const int back = (int)g->n_nodes - 1;
    for (int i = 0; i < n_in; i++) {
        if (din[i] != KD_NONE && g->values[din[i]].kind == KDI_RESULT && g->values[din[i]].node < 0)
            g->values[din[i]].node = back;
        if (extra[i] == KD_NONE) continue;
        const kd_value sum = emit_add(g, g->values[f.in[i]].grad, extra[i]);
        if (sum == KD_NONE) return g->status;
        g->values[f.in[i]].grad = sum;
    }
    return KD_OK;
}

/* A gradient value for each trainable parameter: its place in the flat array. */
static kd_status param_grads(kd_graph *g)
{
    for (size_t p = 0; p < g->n_params; p++) {
        if (g->params[p].opt.buffer) continue;
        const kd_value v = kdi_graph_value(g, KDI_PARAM_GRAD, &g->params[p].shape, KD_F32);
        if (v == KD_NONE) return g->status;
        g->values[v].index = (int)p;
        g->params[p].grad = v;
    }
    return KD_OK;
}

static bool is_scalar(const kd_shape *s)
{
    return s->rank == 1 && s->dim[0] == 1;
}

/* d loss / d loss = 1 */
static kd_value emit_one(kd_graph *g, kd_value loss)
{
    kdi_node *node = kdi_graph_node(g, &kdi_op_one, NULL, 0);
    if (!node) return KD_NONE;
    const int id = (int)(node - g->nodes);
    const kd_value one = same_shape(g, loss);
    if (one == KD_NONE) return KD_NONE;
    g->nodes[id].part = KD_PART_LOSS;
    g->nodes[id].out[0] = one;
    g->values[one].node = id;
    return one;
}

kd_status kd_graph_grad(kd_graph *g, kd_value loss)
{
    if (!g) return KD_E_INVALID;
    if (g->status) return kd_graph_status(g);
    kd_status status = KD_OK;
    if (loss < 0 || (size_t)loss >= g->n_values || !is_scalar(&g->values[loss].shape))
        status = kd_ctx_fail(g->ctx, KD_E_SHAPE, "a gradient is of a scalar [1]");
    else if (g->differentiated)
        status = kd_ctx_fail(g->ctx, KD_E_INVALID, "the graph has its gradient already");
    if (status) {
        kd_graph_fail(g, status);
        return status;
    }
    g->scope[0] = 0;
    const int last = (int)g->n_nodes;
    status = param_grads(g);
    if (!status) {
        const kd_value one = emit_one(g, loss);
        if (one == KD_NONE) status = g->status;
        g->values[loss].grad = one;
    }
    for (int id = last - 1; id >= 0 && !status; id--) {
        const kdi_node *node = &g->nodes[id];
        bool reached = false, needed = false;
        for (int o = 0; o < node->n_out; o++) reached |= g->values[node->out[o]].grad != KD_NONE;
        for (int i = 0; i < node->n_in; i++) needed |= wanted(g, node, i);
        if (!reached || !needed) continue;
        if (node->op->view || node->op->pass_through) {
            pass_through(g, id);
            status = g->status;
        } else {
            status = emit_backward(g, id);
        }
    }
    g->differentiated = true;
    if (status) kd_graph_fail(g, status);
    return status;
}

kd_value kd_graph_grad_of(kd_graph *g, kd_value v)
{
    if (!g || v < 0 || (size_t)v >= g->n_values || !g->values[v].want_grad) return KD_NONE;
    return g->values[v].grad;
}
