/* SPDX-License-Identifier: MIT
 * draft.c: a plan in the making: copies of a graph's values and nodes that passes rewrite, and what
 * passes ask: who reads what, what is needed. */
#include "plan.h"

#include "../op/ops.h"

#include <string.h>

kd_value kdi_draft_root(const kdi_draft *d, kd_value v)
{
    while (d->values[v].alias != KD_NONE) v = d->values[v].alias;
    return v;
}

uint32_t kdi_node_keeps(const kdi_node *n)
{
    return n->op->keeps_fn ? n->op->keeps_fn(n->attr) : n->op->keeps;
}

bool kdi_evaluates(const kdi_draft *d, const kdi_node *n)
{
    return !d->opt->training || n->evaluates;
}

void kdi_each_read(const kdi_node *n, void (*fn)(void *arg, kd_value v), void *arg)
{
    if (n->forward < 0) {
        for (int i = 0; i < n->n_in; i++) fn(arg, n->in[i]);
        return;
    }
    const uint32_t keeps = kdi_node_keeps(n);
    for (int i = 0; i < n->n_in; i++) {
        if (keeps & KD_KEEP_IN(i)) fn(arg, n->in[i]);
        if (n->din[i] != KD_NONE && (n->accumulate >> i & 1)) fn(arg, n->din[i]);
    }
    for (int i = 0; i < n->n_out; i++) {
        if (keeps & KD_KEEP_OUT(i)) fn(arg, n->out[i]);
        if (n->dout[i] != KD_NONE) fn(arg, n->dout[i]);
    }
}

typedef struct reader_count {
    const kdi_draft *draft;
    kd_value value;
    size_t count;
} reader_count;

static void count_read(void *arg, kd_value v)
{
    reader_count *r = arg;
    r->count += kdi_draft_root(r->draft, v) == r->value;
}

size_t kdi_draft_readers(const kdi_draft *d, kd_value v)
{
    reader_count r = {d, kdi_draft_root(d, v), 0};
    for (size_t i = 0; i < d->n_nodes; i++)
        if (d->nodes[i].op && !d->nodes[i].op->view) kdi_each_read(&d->nodes[i], count_read, &r);
    for (size_t o = 0; o < d->graph->n_outputs; o++) count_read(&r, d->graph->outputs[o].value);
    return r.count;
}

size_t kdi_draft_forwards(const kdi_draft *d)
{
    size_t i = 0;
    while (i < d->n_nodes && d->nodes[i].op != &kdi_op_one && d->nodes[i].forward < 0) i++;
    return i < d->n_nodes ? i : 0;
}

int kdi_draft_backward(const kdi_draft *d, int forward)
{
    for (size_t i = 0; i < d->n_nodes; i++)
        if (d->nodes[i].op && d->nodes[i].forward == forward) return (int)i;
    return -1;
}

kd_value kdi_draft_add_value(kdi_draft *d, kd_shape shape)
{
    d->values[d->n_values] =
        (kdi_value){.kind = KDI_RESULT, .dtype = KD_F32, .shape = shape, .alias = KD_NONE};
    return (kd_value)d->n_values++;
}

bool kdi_value_grows(const kdi_draft *d, kd_value v)
{
    const kdi_value *root = &d->values[kdi_draft_root(d, v)];
    return root->kind == KDI_RESULT && root->shape.rank > 0 && root->shape.dim[0] < 0;
}

/* ---- the draft: copies that fusion may rewrite ----------------------------------------------- */

void *kdi_pool_copy(kdi_pool *pool, const void *from, size_t count, size_t size)
{
    void *to = kdi_pool_alloc(pool, count + 1, size);
    if (to && count && from) memcpy(to, from, count * size);
    return to;
}

/* A backward node shares its forward's operand lists and attributes, as in the graph: what fusion
 * changes in one holds for both. */
static kd_status copy_node(kdi_draft *d, size_t i)
{
    kdi_pool *pool = &d->plan->pool;
    const kdi_node *from = &d->graph->nodes[i];
    kdi_node *to = &d->nodes[i];
    *to = *from;
    /* The graph completed a shorter record, of an older version, in its own pool. The plan outlives
     * the graph, so it takes a copy. */
    if (from->op->struct_size < sizeof *from->op)
        to->op = kdi_pool_copy(pool, from->op, 1, sizeof *from->op);
    if (!to->op) return kd_ctx_memory_status(d->plan->ctx);
    to->id = (uint32_t)(from->forward >= 0 ? from->forward : (int)i);
    const kdi_node *f = from->forward >= 0 ? &d->graph->nodes[from->forward] : NULL;
    if (f && f->in == from->in) {
        to->in = d->nodes[from->forward].in;
        to->out = d->nodes[from->forward].out;
        to->attr = d->nodes[from->forward].attr;
    } else {
        to->in = kdi_pool_copy(pool, from->in, (size_t)from->n_in, sizeof *from->in);
        to->out = kdi_pool_copy(pool, from->out, (size_t)from->n_out, sizeof *from->out);
        to->attr = kdi_pool_copy(pool, from->attr, 1, from->op->attr_size);
        if (!to->in || !to->out || !to->attr) return kd_ctx_memory_status(d->plan->ctx);
    }
    to->name = kdi_pool_strdup(pool, from->name);
    if (!to->name) return kd_ctx_memory_status(d->plan->ctx);
    if (from->forward < 0) return KD_OK;
    to->dout = kdi_pool_copy(pool, from->dout, (size_t)from->n_out, sizeof *from->dout);
    to->din = kdi_pool_copy(pool, from->din, (size_t)from->n_in, sizeof *from->din);
    return to->dout && to->din ? KD_OK : kd_ctx_memory_status(d->plan->ctx);
}

kd_status kdi_draft_fill(kdi_draft *d)
{
    kd_ctx *ctx = d->plan->ctx;
    d->n_values = d->graph->n_values;
    d->n_nodes = d->graph->n_nodes;
    /* Fusion may add two values and a node for each node. */
    const size_t most = d->n_values + 2 * d->n_nodes;
    d->values = kd_ctx_alloc(ctx, most + 1, sizeof *d->values);
    d->nodes = kd_ctx_alloc(ctx, 2 * d->n_nodes + 1, sizeof *d->nodes);
    d->needed = kd_ctx_alloc(ctx, most + 1, sizeof *d->needed);
    if (!d->values || !d->nodes || !d->needed) return kd_ctx_memory_status(ctx);
    if (d->n_values) memcpy(d->values, d->graph->values, d->n_values * sizeof *d->values);
    kd_status status = KD_OK;
    for (size_t i = 0; i < d->n_nodes && !status; i++) status = copy_node(d, i);
    return status;
}

/* ---- what is needed -------------------------------------------------------------------------- */

static void need(void *arg, kd_value v)
{
    kdi_draft *d = arg;
    d->needed[kdi_draft_root(d, v)] = true;
}

static bool writes_needed(const kdi_draft *d, const kdi_node *n)
{
    if (n->forward < 0) {
        for (int i = 0; i < n->n_out; i++)
            if (d->needed[kdi_draft_root(d, n->out[i])]) return true;
        return n->op->updates && !kdi_evaluates(d, n);
    }
    for (int i = 0; i < n->n_in; i++) {
        if (n->din[i] == KD_NONE) continue;
        if (d->values[n->din[i]].kind == KDI_PARAM_GRAD) return true;
        if (d->needed[kdi_draft_root(d, n->din[i])]) return true;
    }
    return false;
}

void kdi_draft_drop_unneeded(kdi_draft *d)
{
    for (size_t o = 0; o < d->graph->n_outputs; o++) need(d, d->graph->outputs[o].value);
    for (size_t i = d->n_nodes; i-- > 0;) {
        kdi_node *n = &d->nodes[i];
        if (!n->op) continue;
        if (n->op->view || !writes_needed(d, n))
            n->op = NULL;
        else
            kdi_each_read(n, need, d);
    }
}
