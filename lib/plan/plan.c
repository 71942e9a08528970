/* SPDX-License-Identifier: MIT
 * plan.c: from a graph to a program: copy, fuse, drop what nobody needs, emit steps, place memory. */
#include "plan.h"

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

/* ---- the draft: copies that fusion may rewrite ----------------------------------------------- */

static void *copy(kdi_pool *pool, const void *from, size_t count, size_t size)
{
    void *to = kdi_pool_alloc(pool, count + 1, size);
    if (to && count && from) memcpy(to, from, count * size);
    return to;
}

/* A backward node shares its forward's operand lists and attributes, as in the graph, so that what
 * fusion does to the one holds for the other. */
static kd_status copy_node(kdi_draft *d, size_t i)
{
    kdi_pool *pool = &d->plan->pool;
    const kdi_node *from = &d->graph->nodes[i];
    kdi_node *to = &d->nodes[i];
    *to = *from;
    to->id = (uint32_t)(from->forward >= 0 ? from->forward : (int)i);
    const kdi_node *f = from->forward >= 0 ? &d->graph->nodes[from->forward] : NULL;
    if (f && f->in == from->in) {
        to->in = d->nodes[from->forward].in;
        to->out = d->nodes[from->forward].out;
        to->attr = d->nodes[from->forward].attr;
    } else {
        to->in = copy(pool, from->in, (size_t)from->n_in, sizeof *from->in);
        to->out = copy(pool, from->out, (size_t)from->n_out, sizeof *from->out);
        to->attr = copy(pool, from->attr, 1, from->op->attr_size);
        if (!to->in || !to->out || !to->attr) return KD_E_NOMEM;
    }
    to->name = kdi_pool_strdup(pool, from->name);
    if (!to->name) return KD_E_NOMEM;
    if (from->forward < 0) return KD_OK;
    to->dout = copy(pool, from->dout, (size_t)from->n_out, sizeof *from->dout);
    to->din = copy(pool, from->din, (size_t)from->n_in, sizeof *from->din);
    return to->dout && to->din ? KD_OK : KD_E_NOMEM;
}

static kd_status make_draft(kdi_draft *d)
{
    kd_ctx *ctx = d->plan->ctx;
    d->n_values = d->graph->n_values;
    d->n_nodes = d->graph->n_nodes;
    /* Fusion may add a value for each node. */
    const size_t most = d->n_values + d->n_nodes;
    d->values = kd_alloc(ctx, most + 1, sizeof *d->values);
    d->nodes = kd_alloc(ctx, d->n_nodes + 1, sizeof *d->nodes);
    d->needed = kd_alloc(ctx, most + 1, sizeof *d->needed);
    if (!d->values || !d->nodes || !d->needed) return KD_E_NOMEM;
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
        return d->opt->training && n->op->updates;
    }
    for (int i = 0; i < n->n_in; i++) {
        if (n->din[i] == KD_NONE) continue;
        if (d->values[n->din[i]].kind == KDI_PARAM_GRAD) return true;
        if (d->needed[kdi_draft_root(d, n->din[i])]) return true;
    }
    return false;
}

static void drop_unneeded(kdi_draft *d)
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

/* ---- steps ----------------------------------------------------------------------------------- */

static kd_status emit(kdi_draft *d, const kdi_node *n)
{
    kd_plan *p = d->plan;
    kdi_step *s = &p->steps[p->n_steps];
    const size_t n_in = (size_t)n->n_in, n_out = (size_t)n->n_out;
    *s = (kdi_step){.op = n->op,
                    .attr = n->attr,
                    .name = n->name,
                    .part = n->part,
                    .backward = n->forward >= 0,
                    .again = n->again,
                    .id = n->id,
                    .n_in = n->n_in,
                    .n_out = n->n_out,
                    .accumulate = n->accumulate};
    s->in = copy(&p->pool, n->in, n_in, sizeof *n->in);
    s->out = copy(&p->pool, n->out, n_out, sizeof *n->out);
    if (!s->in || !s->out) return KD_E_NOMEM;
    for (int i = 0; i < n->n_out && !s->backward; i++) {
        size_t count = 0;
        if ((n->op->optional_out >> i & 1) && !d->needed[kdi_draft_root(d, n->out[i])]) {
            s->out[i] = KD_NONE;
            continue;
        }
        kdi_shape_count(&d->values[n->out[i]].shape, p->batch, &count);
        s->out_bytes += count * kd_dtype_size(d->values[n->out[i]].dtype);
    }
    if (s->backward) {
        s->dout = copy(&p->pool, n->dout, n_out, sizeof *n->dout);
        s->din = copy(&p->pool, n->din, n_in, sizeof *n->din);
        if (!s->dout || !s->din) return KD_E_NOMEM;
        const uint32_t keeps = kdi_node_keeps(n);
        for (int i = 0; i < n->n_in; i++) {
            if (!(keeps & KD_KEEP_IN(i))) s->in[i] = KD_NONE;
            const kd_value din = s->din[i];
            if (din != KD_NONE && d->values[din].kind == KDI_RESULT &&
                !d->needed[kdi_draft_root(d, din)])
                s->din[i] = KD_NONE;
        }
        for (int i = 0; i < n->n_out; i++)
            if (!(keeps & KD_KEEP_OUT(i))) s->out[i] = KD_NONE;
        p->has_grads = true;
    }
    p->max_operands += 2 * (n_in + n_out);
    p->n_steps++;
    return KD_OK;
}

static kd_status emit_steps(kdi_draft *d)
{
    kd_plan *p = d->plan;
    p->steps = kd_alloc(p->ctx, d->n_nodes + 1, sizeof *p->steps);
    kd_status status = p->steps ? KD_OK : KD_E_NOMEM;
    for (size_t i = 0; i < d->n_nodes && !status; i++) {
        if (d->nodes[i].op) status = emit(d, &d->nodes[i]);
    }
    return status;
}

/* Names and slots: what an executor needs to know of the outside. */
static kd_status emit_tables(kdi_draft *d)
{
    kd_plan *p = d->plan;
    const kd_graph *g = d->graph;
    p->n_slots = d->n_values;
    p->slots = kdi_pool_alloc(&p->pool, p->n_slots + 1, sizeof *p->slots);
    p->params = kdi_pool_alloc(&p->pool, g->n_params + 1, sizeof *p->params);
    p->outputs = kdi_pool_alloc(&p->pool, g->n_outputs + 1, sizeof *p->outputs);
    p->inputs = kdi_pool_alloc(&p->pool, g->n_inputs + 1, sizeof *p->inputs);
    p->input_slots = kdi_pool_alloc(&p->pool, g->n_inputs + 1, sizeof *p->input_slots);
    if (!p->slots || !p->params || !p->outputs || !p->inputs || !p->input_slots) return KD_E_NOMEM;
    for (size_t v = 0; v < d->n_values; v++) {
        p->slots[v].shape = d->values[v].shape;
        p->slots[v].dtype = d->values[v].dtype;
    }
    for (size_t i = 0; i < g->n_params; i++) {
        const char *name = kdi_pool_strdup(&p->pool, g->params[i].name);
        if (!name) return KD_E_NOMEM;
        p->params[p->n_params++] = (kdi_plan_param){
            name, g->params[i].shape, g->params[i].opt.dtype, g->params[i].opt.buffer};
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        const char *name = kdi_pool_strdup(&p->pool, g->outputs[i].name);
        if (!name) return KD_E_NOMEM;
        p->outputs[p->n_outputs++] = (kdi_output){name, g->outputs[i].value};
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        const char *name = kdi_pool_strdup(&p->pool, g->values[g->inputs[i]].name);
        if (!name) return KD_E_NOMEM;
        p->inputs[i] = name;
        p->input_slots[i] = g->inputs[i];
        p->n_inputs++;
    }
    return KD_OK;
}

kd_status kdi_draft_open(const kd_graph *g, const kd_plan_opt *opt, kdi_draft *d)
{
    kd_plan *p = kd_alloc(g->ctx, 1, sizeof *p);
    *d = (kdi_draft){.plan = p, .graph = g, .opt = opt};
    if (!p) return KD_E_NOMEM;
    p->ctx = g->ctx;
    p->pool.ctx = g->ctx;
    p->batch = opt->batch ? opt->batch : 1;
    p->training = opt->training;
    p->frozen = opt->frozen && !opt->training;
    p->guarded = opt->guard || KDI_DEBUG;
    kd_status status = make_draft(d);
    if (!status && !opt->no_fusion) status = kdi_fuse(d);
    if (!status) drop_unneeded(d);
    return status;
}

void kdi_draft_close(kdi_draft *d)
{
    kd_ctx *ctx = d->graph->ctx;
    kd_free(ctx, d->values);
    kd_free(ctx, d->nodes);
    kd_free(ctx, d->needed);
    kd_plan_destroy(d->plan);
}

kd_status kdi_plan_build(const kd_graph *g, const kd_plan_opt *opt, const bool *again,
                         kd_plan **plan)
{
    kdi_draft d;
    kd_status status = kdi_draft_open(g, opt, &d);
    if (!status && again) {
        status = kdi_recompute(&d, again);
        if (!status) drop_unneeded(&d);
    }
    if (!status) status = emit_tables(&d);
    if (!status) status = emit_steps(&d);
    if (!status) status = kdi_cut_batch(&d);
    if (!status) status = kdi_assign_memory(&d);
    if (!status) {
        *plan = d.plan;
        d.plan = NULL;
    }
    kdi_draft_close(&d);
    return status;
}

kd_status kd_plan_create(kd_graph *g, const kd_plan_opt *options, kd_plan **out)
{
    kd_plan_opt opt;
    if (!g || !out) return KD_E_INVALID;
    *out = NULL;
    kd_status status = kd_graph_status(g);
    if (status) return status;
    if (!kdi_options(&opt, sizeof opt, options))
        return kd_ctx_fail(g->ctx, KD_E_INVALID, "kd_plan_create: unknown options");
    if (g->n_outputs == 0 && !g->differentiated)
        return kd_ctx_fail(g->ctx, KD_E_INVALID, "the graph has no output and no gradient");
    kd_plan *plan = NULL;
    status = kdi_plan_build(g, &opt, NULL, &plan);
    if (!status && opt.least) *opt.least = plan->arena_bytes;
    if (!status && opt.max_arena && plan->arena_bytes > opt.max_arena)
        status = kdi_plan_within(g, &opt, &plan);
    if (status)
        kd_plan_destroy(plan);
    else
        *out = plan;
    return status;
}

void kd_plan_destroy(kd_plan *p)
{
    if (!p) return;
    kd_free(p->ctx, p->steps);
    kdi_pool_free(&p->pool);
    kd_free(p->ctx, p);
}

size_t kd_plan_arena_size(const kd_plan *p)
{
    return p->arena_bytes;
}

size_t kd_plan_batch(const kd_plan *p)
{
    return p->batch;
}

size_t kd_plan_values_size(const kd_plan *p)
{
    return p->values_bytes;
}

size_t kd_plan_mixes(const kd_plan *p)
{
    size_t i = 0;
    while (i < p->n_steps && !p->steps[i].op->mixes_batch &&
           !(p->training && p->steps[i].op->mixes_in_training))
        i++;
    return i;
}

uint64_t kd_plan_macs(const kd_plan *p)
{
    return p->macs;
}

uint64_t kd_plan_macs_again(const kd_plan *p)
{
    return p->again_macs;
}

size_t kd_plan_steps(const kd_plan *p)
{
    return p->n_steps;
}

kd_status kd_plan_step_info(const kd_plan *p, size_t i, kd_plan_step *info)
{
    if (i >= p->n_steps) return kd_ctx_fail(p->ctx, KD_E_INVALID, "there is no step %zu", i);
    const kdi_step *s = &p->steps[i];
    *info = (kd_plan_step){s->op->name, s->name,      s->backward,      s->part,
                           s->macs,     s->out_bytes, s->scratch_bytes, s->again};
    return KD_OK;
}

/* ---- calls ----------------------------------------------------------------------------------- */

kd_tensor kdi_tensor_of(const kdi_slot *slot, size_t batch)
{
    kd_tensor t = {.dtype = slot->dtype, .rank = slot->shape.rank, .count = 1};
    for (int i = 0; i < t.rank; i++) {
        const int64_t d = slot->shape.dim[i];
        t.dim[i] = d < 0 ? (size_t)-d * batch : (size_t)d;
        t.count *= t.dim[i];
    }
    return t;
}

size_t kdi_step_batch(const kd_plan *p, const kdi_step *s)
{
    return s->images ? s->images : p->batch;
}

size_t kdi_slot_batch(const kd_plan *p, const kdi_slot *slot)
{
    return slot->images ? slot->images : p->batch;
}

static kd_tensor *fill(const kd_plan *p, const kd_value *v, int n, size_t batch, kd_tensor *to)
{
    static const kd_tensor none = {0};
    for (int i = 0; i < n; i++)
        to[i] = v[i] == KD_NONE ? none : kdi_tensor_of(&p->slots[v[i]], batch);
    return to + n;
}

void kdi_step_call(const kd_plan *p, const kdi_step *s, size_t batch, kd_tensor *operands,
                   kd_op_call *call)
{
    *call = (kd_op_call){.ctx = p->ctx,
                         .name = s->name,
                         .attr = s->attr,
                         .n_in = s->n_in,
                         .n_out = s->n_out,
                         .accumulate = s->accumulate,
                         .training = p->training,
                         .again = s->again,
                         .id = s->id,
                         .largest = kdi_step_batch(p, s),
                         .kernels = kdi_ctx_kernels(p->ctx)};
    call->in = operands;
    operands = fill(p, s->in, s->n_in, batch, operands);
    call->out = operands;
    operands = fill(p, s->out, s->n_out, batch, operands);
    if (!s->backward) return;
    call->dout = operands;
    operands = fill(p, s->dout, s->n_out, batch, operands);
    call->din = operands;
    fill(p, s->din, s->n_in, batch, operands);
}
