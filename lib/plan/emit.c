/* SPDX-License-Identifier: MIT
 * emit.c: from a graph to a program: draft, fuse, drop what nobody needs, emit steps, place
 * memory. */
#include "plan.h"

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
                    .recomputed = n->recomputed,
                    .evaluates = n->evaluates,
                    .id = n->id,
                    .n_in = n->n_in,
                    .n_out = n->n_out,
                    .accumulate = n->accumulate,
                    .in_place_of = n->in_place_of};
    s->in = kdi_pool_copy(&p->pool, n->in, n_in, sizeof *n->in);
    s->out = kdi_pool_copy(&p->pool, n->out, n_out, sizeof *n->out);
    if (!s->in || !s->out) return kd_ctx_memory_status(d->plan->ctx);
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
        s->dout = kdi_pool_copy(&p->pool, n->dout, n_out, sizeof *n->dout);
        s->din = kdi_pool_copy(&p->pool, n->din, n_in, sizeof *n->din);
        if (!s->dout || !s->din) return kd_ctx_memory_status(d->plan->ctx);
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
    p->steps = kd_ctx_alloc(p->ctx, d->n_nodes + 1, sizeof *p->steps);
    kd_status status = p->steps ? KD_OK : kd_ctx_memory_status(d->plan->ctx);
    for (size_t i = 0; i < d->n_nodes && !status; i++) {
        if (d->nodes[i].op) status = emit(d, &d->nodes[i]);
    }
    return status;
}

/* Slots and names: what an executor needs to know of inputs, parameters and outputs. */
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
    if (!p->slots || !p->params || !p->outputs || !p->inputs || !p->input_slots)
        return kd_ctx_memory_status(d->plan->ctx);
    for (size_t v = 0; v < d->n_values; v++) {
        p->slots[v].shape = d->values[v].shape;
        p->slots[v].dtype = d->values[v].dtype;
    }
    for (size_t i = 0; i < g->n_params; i++) {
        const char *name = kdi_pool_strdup(&p->pool, g->params[i].name);
        if (!name) return kd_ctx_memory_status(d->plan->ctx);
        p->params[p->n_params++] = (kdi_plan_param){
            name, g->params[i].shape, g->params[i].opt.dtype, g->params[i].opt.buffer};
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        const char *name = kdi_pool_strdup(&p->pool, g->outputs[i].name);
        if (!name) return kd_ctx_memory_status(d->plan->ctx);
        p->outputs[p->n_outputs++] = (kdi_output){name, g->outputs[i].value};
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        const char *name = kdi_pool_strdup(&p->pool, g->values[g->inputs[i]].name);
        if (!name) return kd_ctx_memory_status(d->plan->ctx);
        p->inputs[i] = name;
        p->input_slots[i] = g->inputs[i];
        p->n_inputs++;
    }
    return KD_OK;
}

kd_status kdi_draft_open(const kd_graph *g, const kd_plan_opt *opt, kdi_target target, kdi_draft *d)
{
    kd_plan *p = kd_ctx_alloc(g->ctx, 1, sizeof *p);
    *d = (kdi_draft){.plan = p, .graph = g, .opt = opt, .target = target};
    if (!p) return kd_ctx_memory_status(g->ctx);
    p->ctx = g->ctx;
    p->pool.ctx = g->ctx;
    p->batch = opt->batch ? opt->batch : 1;
    p->training = opt->training;
    p->frozen = opt->frozen && !opt->training;
    p->guarded = opt->guard || KDI_DEBUG;
    kd_status status = kdi_draft_fill(d);
    if (!status && !opt->no_fusion) status = kdi_fuse(d);
    if (!status && !opt->no_fusion && opt->training) status = kdi_fuse_bn(d);
    if (!status) kdi_draft_drop_unneeded(d);
    return status;
}

void kdi_draft_close(kdi_draft *d)
{
    kd_ctx *ctx = d->graph->ctx;
    kd_ctx_free(ctx, d->values);
    kd_ctx_free(ctx, d->nodes);
    kd_ctx_free(ctx, d->needed);
    kd_plan_destroy(d->plan);
}

kd_status kdi_plan_build(const kd_graph *g, const kd_plan_opt *opt, const bool *recompute,
                         kd_plan **plan)
{
    kdi_draft d;
    kd_status status = kdi_draft_open(g, opt, KDI_FOR_HOST, &d);
    if (!status && recompute) {
        status = kdi_recompute(&d, recompute);
        if (!status) kdi_draft_drop_unneeded(&d);
    }
    if (!status) status = emit_tables(&d);
    if (!status) status = emit_steps(&d);
    if (!status) status = kdi_cut_depth_first(&d);
    if (!status) status = kdi_assign_memory(&d);
    if (!status) {
        *plan = d.plan;
        d.plan = NULL;
    }
    kdi_draft_close(&d);
    return status;
}
