/* SPDX-License-Identifier: MIT
 * recompute.c: recomputation. Values are dropped after the forward and computed again in the
 * backward; budget.c says which.
 *
 * The forward node that makes a dropped value is copied to before the first backward node that
 * reads it. So are the nodes that make the copy's inputs, where those were dropped, too. Each node is copied once; its new values live to their last reader. A copy has its
 * original's attributes, key of random numbers and inputs, and so writes the same bits. Values
 * without a batch (a norm's statistics) are never dropped: a copy writes them again in their place,
 * or reads them if the op has buffers (kd_op.repeats). */
#include "plan.h"

#include <string.h>

typedef struct rewrite {
    kdi_draft *d;
    const bool *recompute; /* [n_nodes]: budget.c's choice */
    size_t forwards;
    int *maker;        /* [values], by root: the node that makes a dropped value; -1: it is kept */
    kd_value *renewed; /* [values], by root: the copy's value; KD_NONE: no copy yet */
    kd_value *viewed;  /* [values]: the view of a copy's value; KD_NONE: none yet */
    bool *wanted;      /* [n_nodes] */
    bool any;
    kdi_value *values;
    kdi_node *nodes;
    size_t n_values, n_nodes;
} rewrite;

static void want(void *arg, kd_value v)
{
    rewrite *r = arg;
    const kd_value root = kdi_draft_root(r->d, v);
    if ((size_t)root >= r->d->n_values || r->maker[root] < 0 || r->renewed[root] != KD_NONE) return;
    r->wanted[r->maker[root]] = true;
    r->any = true;
}

static kd_value add_value(rewrite *r, kd_value like)
{
    r->values[r->n_values] = r->values[like];
    return (kd_value)r->n_values++;
}

/* The value that takes v's place from here on. */
static kd_value now(rewrite *r, kd_value v)
{
    if (v == KD_NONE) return v;
    const kd_value root = kdi_draft_root(r->d, v);
    if (r->renewed[root] == KD_NONE) return v;
    if (root == v) return r->renewed[root];
    if (r->viewed[v] == KD_NONE) {
        r->viewed[v] = add_value(r, v);
        r->values[r->viewed[v]].alias = r->renewed[root];
    }
    return r->viewed[v];
}

static bool translate(rewrite *r, kd_value **list, int n)
{
    kd_value *to = kdi_pool_alloc(&r->d->plan->pool, (size_t)n + 1, sizeof *to);
    for (int i = 0; i < n && to; i++) to[i] = now(r, (*list)[i]);
    if (to) *list = to;
    return to != NULL;
}

/* Insert the copy of forward node j; its new values take the place of the dropped ones. */
static kd_status repeat(rewrite *r, size_t j)
{
    kdi_node copy = r->d->nodes[j];
    const kd_value *made = copy.out;
    if (!translate(r, &copy.in, copy.n_in)) return kd_ctx_memory_status(r->d->plan->ctx);
    for (int k = 0; k < copy.n_out; k++) {
        const kd_value root = kdi_draft_root(r->d, made[k]);
        if (r->maker[root] >= 0 && r->renewed[root] == KD_NONE)
            r->renewed[root] = add_value(r, root);
    }
    if (!translate(r, &copy.out, copy.n_out)) return kd_ctx_memory_status(r->d->plan->ctx);
    copy.recomputed = true;
    copy.part = KD_PART_BACKWARD;
    r->nodes[r->n_nodes++] = copy;
    r->wanted[j] = false;
    return KD_OK;
}

/* Insert copies of the nodes that node n needs, and that those need. */
static kd_status repeat_for(rewrite *r, const kdi_node *n)
{
    kd_status status = KD_OK;
    r->any = false;
    kdi_each_read(n, want, r);
    if (!r->any) return KD_OK;
    for (size_t j = r->forwards; j-- > 0;)
        if (r->wanted[j]) kdi_each_read(&r->d->nodes[j], want, r);
    for (size_t j = 0; j < r->forwards && !status; j++)
        if (r->wanted[j]) status = repeat(r, j);
    return status;
}

static kd_status rewrite_nodes(rewrite *r)
{
    kdi_draft *d = r->d;
    kd_status status = KD_OK;
    for (size_t i = 0; i < d->n_nodes && !status; i++) {
        kdi_node n = d->nodes[i];
        if (i >= r->forwards && n.op && !n.op->view) {
            status = repeat_for(r, &n);
            if (!status && (!translate(r, &n.in, n.n_in) ||
                            (n.forward >= 0 && !translate(r, &n.out, n.n_out))))
                status = kd_ctx_memory_status(r->d->plan->ctx);
        }
        r->nodes[r->n_nodes++] = n;
    }
    return status;
}

static void find_makers(rewrite *r)
{
    const kdi_draft *d = r->d;
    for (size_t v = 0; v < d->n_values; v++) {
        r->maker[v] = -1;
        r->renewed[v] = r->viewed[v] = KD_NONE;
    }
    for (size_t i = 0; i < r->forwards; i++) {
        const kdi_node *n = &d->nodes[i];
        for (int k = 0; k < n->n_out && n->op && r->recompute[i]; k++)
            if (kdi_value_grows(d, n->out[k])) r->maker[kdi_draft_root(d, n->out[k])] = (int)i;
    }
}

kd_status kdi_recompute(kdi_draft *d, const bool *recompute)
{
    kd_ctx *ctx = d->plan->ctx;
    const size_t most_values = 2 * d->n_values, most_nodes = 2 * d->n_nodes;
    rewrite r = {.d = d, .recompute = recompute, .forwards = kdi_draft_forwards(d)};
    r.maker = kd_ctx_alloc(ctx, d->n_values + 1, sizeof *r.maker);
    r.renewed = kd_ctx_alloc(ctx, d->n_values + 1, sizeof *r.renewed);
    r.viewed = kd_ctx_alloc(ctx, d->n_values + 1, sizeof *r.viewed);
    r.wanted = kd_ctx_alloc(ctx, d->n_nodes + 1, sizeof *r.wanted);
    r.values = kd_ctx_alloc(ctx, most_values + 1, sizeof *r.values);
    r.nodes = kd_ctx_alloc(ctx, most_nodes + 1, sizeof *r.nodes);
    bool *needed = kd_ctx_alloc(ctx, most_values + 1, sizeof *needed);
    kd_status status = r.maker && r.renewed && r.viewed && r.wanted && r.values && r.nodes && needed
                           ? KD_OK
                           : kd_ctx_memory_status(ctx);
    if (!status) {
        memcpy(r.values, d->values, d->n_values * sizeof *r.values);
        r.n_values = d->n_values;
        find_makers(&r);
        status = rewrite_nodes(&r);
    }
    kd_ctx_free(ctx, r.maker);
    kd_ctx_free(ctx, r.renewed);
    kd_ctx_free(ctx, r.viewed);
    kd_ctx_free(ctx, r.wanted);
    if (status) {
        kd_ctx_free(ctx, r.values);
        kd_ctx_free(ctx, r.nodes);
        kd_ctx_free(ctx, needed);
        return status;
    }
    kd_ctx_free(ctx, d->values);
    kd_ctx_free(ctx, d->nodes);
    kd_ctx_free(ctx, d->needed);
    d->values = r.values;
    d->nodes = r.nodes;
    d->needed = needed;
    d->n_values = r.n_values;
    d->n_nodes = r.n_nodes;
    return KD_OK;
}
