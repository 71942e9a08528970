/* SPDX-License-Identifier: MIT
 * query.c: a finished plan: what it answers, and the calls of its steps. */
#include "plan.h"

void kd_plan_destroy(kd_plan *p)
{
    if (!p) return;
    kd_ctx_free(p->ctx, p->steps);
    kdi_pool_free(&p->pool);
    kd_ctx_free(p->ctx, p);
}

size_t kd_plan_arena_size(const kd_plan *p)
{
    return p ? p->arena_bytes : 0;
}

size_t kd_plan_batch(const kd_plan *p)
{
    return p ? p->batch : 0;
}

size_t kd_plan_values_size(const kd_plan *p)
{
    return p ? p->values_bytes : 0;
}

size_t kd_plan_mixes(const kd_plan *p)
{
    size_t i = 0;
    while (p && i < p->n_steps && !p->steps[i].op->mixes_batch &&
           !(p->training && !p->steps[i].evaluates && p->steps[i].op->mixes_in_training))
        i++;
    return i;
}

uint64_t kd_plan_macs(const kd_plan *p)
{
    return p ? p->macs : 0;
}

uint64_t kd_plan_macs_recomputed(const kd_plan *p)
{
    return p ? p->recomputed_macs : 0;
}

size_t kd_plan_steps(const kd_plan *p)
{
    return p ? p->n_steps : 0;
}

kd_status kd_plan_step_info(const kd_plan *p, size_t i, kd_plan_step *info)
{
    if (!p) return KD_E_INVALID;
    if (!info) return kd_ctx_fail(p->ctx, KD_E_INVALID, "kd_plan_step_info: NULL");
    const kd_status status = kd_results_check(p->ctx, "kd_plan_step", info);
    if (status) return status;
    if (i >= p->n_steps) return kd_ctx_fail(p->ctx, KD_E_INVALID, "there is no step %zu", i);
    const kdi_step *s = &p->steps[i];
    const kd_plan_step ours = {.op = s->op->name,
                               .name = s->name,
                               .backward = s->backward,
                               .part = s->part,
                               .macs = s->macs,
                               .out_bytes = s->out_bytes,
                               .scratch_bytes = s->scratch_bytes,
                               .recomputed = s->recomputed};
    kd_results(info, &ours, sizeof ours);
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
                         .training = p->training && !s->evaluates,
                         .recomputed = s->recomputed,
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
