/* SPDX-License-Identifier: MIT
 * memory.c: where every value lives. A value's array is needed from the step that first writes it
 * to the last that touches it; arrays whose spans do not meet may share memory. Largest first, each
 * takes the lowest offset that is free over its span.
 *
 * Scratch lives for one step; prepared weights and outputs live for the whole program. A guarded
 * plan has a fence in front of and behind every array. */
#include "plan.h"

#include "../base/sort.h"

#include <string.h>

enum { ALIGN = 64, FENCE = 64 };

/* A piece of the arena, and where its offset is wanted. */
typedef struct span {
    kdi_region region;
    size_t padded; /* its bytes, rounded up, with a fence */
    size_t number; /* in the order they were found */
    size_t *to;
} span;

typedef struct layout {
    kdi_draft *draft;
    size_t *first, *last; /* [values], by root: steps; last < first: untouched */
    kd_value *merged;     /* [values]: the root whose memory this root takes over in place */
    bool *pinned;         /* [values], by root: an output, alive to the end */
    span *spans;
    size_t n_spans, cap_spans;
    bool overflow; /* an op asked for more than can be addressed */
} layout;

static kd_value base_of(const layout *l, kd_value v)
{
    v = kdi_draft_root(l->draft, v);
    while (l->merged[v] != KD_NONE) v = l->merged[v];
    return v;
}

static void touch(layout *l, kd_value v, size_t step)
{
    if (v == KD_NONE) return;
    v = kdi_draft_root(l->draft, v);
    if (l->last[v] == SIZE_MAX) {
        l->first[v] = step;
        l->last[v] = step;
    }
    if (step > l->last[v]) l->last[v] = step;
}

/* What crosses the ends of a stretch is needed from its first step to its last, again and again. */
static void touch_piecewise(layout *l, kd_value v, size_t s)
{
    const kdi_step *step = &l->draft->plan->steps[s];
    const bool whole = v != KD_NONE && !l->draft->plan->slots[v].images;
    touch(l, v, whole ? step->first : s);
    touch(l, v, whole ? step->last : s);
}

static void find_spans(layout *l)
{
    const kdi_draft *d = l->draft;
    const kd_plan *p = d->plan;
    for (size_t v = 0; v < d->n_values; v++) l->last[v] = SIZE_MAX;
    for (size_t s = 0; s < p->n_steps; s++) {
        const kdi_step *step = &p->steps[s];
        for (int i = 0; i < step->n_in; i++) touch_piecewise(l, step->in[i], s);
        for (int i = 0; i < step->n_out; i++) touch_piecewise(l, step->out[i], s);
        for (int i = 0; i < step->n_out && step->backward; i++) touch(l, step->dout[i], s);
        for (int i = 0; i < step->n_in && step->backward; i++) touch(l, step->din[i], s);
    }
    for (size_t o = 0; o < p->n_outputs; o++) {
        const kd_value root = kdi_draft_root(d, p->outputs[o].value);
        l->pinned[root] = true;
        if (l->last[root] != SIZE_MAX) l->last[root] = p->n_steps;
    }
}

static size_t bytes_of(const kdi_draft *d, kd_value v)
{
    size_t count;
    const size_t batch = kdi_slot_batch(d->plan, &d->plan->slots[v]);
    kdi_shape_count(&d->values[v].shape, batch, &count); /* checked by check_sizes */
    return count * kd_dtype_size(d->values[v].dtype);
}

/* For every batch? */
static bool same_size(const kdi_draft *d, kd_value a, kd_value b)
{
    size_t one_a, one_b;
    kdi_shape_count(&d->values[a].shape, 1, &one_a);
    kdi_shape_count(&d->values[b].shape, 1, &one_b);
    return one_a == one_b && bytes_of(d, a) == bytes_of(d, b);
}

/* May `to`, first written at this step, take over `from`, last read at it? */
static void merge(layout *l, kd_value from, kd_value to, size_t step)
{
    const kdi_draft *d = l->draft;
    if (from == KD_NONE || to == KD_NONE) return;
    const kd_value a = base_of(l, from), b = kdi_draft_root(d, to);
    if (a == b || d->values[a].kind != KDI_RESULT || d->values[b].kind != KDI_RESULT) return;
    if (l->pinned[a] || l->last[a] != step || l->first[b] != step) return;
    if (!same_size(d, a, b)) return;
    if (d->plan->slots[a].images != d->plan->slots[b].images) return;
    l->merged[b] = a;
    l->last[a] = l->last[b];
    l->pinned[a] = l->pinned[b];
}

static void share_in_place(layout *l)
{
    const kd_plan *p = l->draft->plan;
    for (size_t s = 0; s < p->n_steps; s++) {
        const kdi_step *step = &p->steps[s];
        if (step->backward) {
            if (step->op->in_place_backward && step->n_in && !(step->accumulate & 1))
                merge(l, step->dout[0], step->din[0], s);
            if (step->in_place_of)
                merge(l, step->in[step->in_place_of], step->din[step->in_place_of], s);
        } else if (step->op->in_place && step->n_in) {
            bool twice = false;
            for (int i = 1; i < step->n_in; i++)
                twice |=
                    step->in[i] != KD_NONE && base_of(l, step->in[i]) == base_of(l, step->in[0]);
            if (!twice) merge(l, step->in[0], step->out[0], s);
        }
    }
}

static bool add_span(layout *l, kdi_region region, size_t *to)
{
    kd_ctx *ctx = l->draft->plan->ctx;
    *to = 0;
    if (region.bytes == 0) return true;
    if (region.bytes >
        SIZE_MAX / 64) { /* what a size function says when its arithmetic overflows */
        l->overflow = true;
        return true;
    }
    if (!kdi_grow(ctx, (void **)&l->spans, l->n_spans, &l->cap_spans, sizeof *l->spans))
        return false;
    const size_t fence = l->draft->plan->guarded ? FENCE : 0;
    const size_t padded = ((region.bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1)) + fence;
    l->spans[l->n_spans] = (span){region, padded, l->n_spans, to};
    l->n_spans++;
    return true;
}

/* Largest first; equal sizes by who comes first, so that a plan is the same each time. */
static int by_size(const void *a, const void *b)
{
    const span *x = a, *y = b;
    if (x->padded != y->padded) return x->padded > y->padded ? -1 : 1;
    if (x->region.first != y->region.first) return x->region.first < y->region.first ? -1 : 1;
    if (x->region.last != y->region.last) return x->region.last < y->region.last ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* Are both needed at some step? Without sharing all count as needed for ever. */
static bool meet(const layout *l, const kdi_region *a, const kdi_region *b)
{
    return l->draft->opt->no_sharing || (a->last >= b->first && a->first <= b->last);
}

/* The lowest offset free over s's span, among the first n spans, which are placed and sorted by
 * offset in order[]. */
static size_t first_fit(const layout *l, const size_t *order, size_t n, const span *s)
{
    size_t at = l->draft->plan->guarded ? FENCE : 0;
    for (size_t i = 0; i < n; i++) {
        const span *o = &l->spans[order[i]];
        if (!meet(l, &o->region, &s->region)) continue;
        const size_t offset = o->region.offset;
        if (offset >= at && offset - at >= s->padded) break;
        if (offset + o->padded > at) at = offset + o->padded;
    }
    return at;
}

/* What guards need to know, by offset. */
static kd_status keep_regions(layout *l, const size_t *order)
{
    kd_plan *p = l->draft->plan;
    if (!p->guarded) return KD_OK;
    p->regions = kdi_pool_alloc(&p->pool, l->n_spans + 1, sizeof *p->regions);
    if (!p->regions) return kd_ctx_memory_status(l->draft->plan->ctx);
    for (size_t i = 0; i < l->n_spans; i++) p->regions[i] = l->spans[order[i]].region;
    p->n_regions = l->n_spans;
    return KD_OK;
}

static kd_status place_spans(layout *l)
{
    kd_plan *p = l->draft->plan;
    size_t *order = kd_ctx_alloc(p->ctx, l->n_spans + 1, sizeof *order);
    if (!order) return kd_ctx_memory_status(l->draft->plan->ctx);
    size_t total = 0;
    if (l->n_spans) kdi_sort(l->spans, l->n_spans, sizeof *l->spans, by_size);
    kd_status status = KD_OK;
    for (size_t i = 0; i < l->n_spans && !status; i++) {
        span *s = &l->spans[i];
        s->region.offset = first_fit(l, order, i, s);
        size_t end, at = i;
        if (!kdi_add(s->region.offset, s->padded, &end))
            status = kd_ctx_fail(p->ctx, KD_E_LIMIT, "the plan's memory overflows");
        else if (end > total)
            total = end;
        for (; at > 0 && l->spans[order[at - 1]].region.offset > s->region.offset; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    if (!status) status = keep_regions(l, order);
    kd_ctx_free(p->ctx, order);
    p->arena_bytes = total;
    /* The order moved the spans, not the places their offsets go to. */
    for (size_t i = 0; i < l->n_spans; i++) *l->spans[i].to = l->spans[i].region.offset;
    return status;
}

/* Bytes of values and prepared weights at the step where they are most. */
static kd_status most_values(layout *l)
{
    kd_plan *p = l->draft->plan;
    size_t *born = kd_ctx_alloc(p->ctx, p->n_steps + 2, sizeof *born);
    size_t *gone = kd_ctx_alloc(p->ctx, p->n_steps + 2, sizeof *gone);
    for (size_t i = 0; i < l->n_spans && born && gone; i++) {
        const kdi_region *r = &l->spans[i].region;
        if (r->owner != KDI_VALUE && r->owner != KDI_PREPARED) continue;
        born[r->first] += l->spans[i].padded;
        gone[r->last + 1] += l->spans[i].padded;
    }
    size_t now = 0;
    for (size_t s = 0; s <= p->n_steps && born && gone; s++) {
        now += born[s] - gone[s];
        if (now > p->values_bytes) p->values_bytes = now;
    }
    const kd_status status = born && gone ? KD_OK : kd_ctx_memory_status(l->draft->plan->ctx);
    kd_ctx_free(p->ctx, born);
    kd_ctx_free(p->ctx, gone);
    return status;
}

static kd_status value_spans(layout *l)
{
    kdi_draft *d = l->draft;
    kd_plan *p = d->plan;
    for (size_t v = 0; v < d->n_values; v++) {
        if (d->values[v].kind != KDI_RESULT || kdi_draft_root(d, (kd_value)v) != (kd_value)v)
            continue;
        if (l->merged[v] != KD_NONE || l->last[v] == SIZE_MAX) continue;
        const kdi_region region = {.owner = KDI_VALUE,
                                   .value = (kd_value)v,
                                   .bytes = bytes_of(d, (kd_value)v),
                                   .first = l->first[v],
                                   .last = l->pinned[v] ? p->n_steps : l->last[v]};
        if (!add_span(l, region, &p->slots[v].offset))
            return kd_ctx_memory_status(l->draft->plan->ctx);
    }
    return KD_OK;
}

/* The gradient of a parameter whose op cannot add to it needs a place to come from. */
static kd_status stage_span(layout *l, kdi_step *step, size_t s)
{
    size_t bytes = 0;
    if (!step->backward || step->op->accumulates) return KD_OK;
    for (int i = 0; i < step->n_in; i++) {
        const kd_value v = step->din[i];
        if (v == KD_NONE || l->draft->values[v].kind != KDI_PARAM_GRAD) continue;
        step->staged |= 1u << i;
        bytes += (bytes_of(l->draft, v) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    }
    const kdi_region region = {
        .owner = KDI_STAGE, .step = s, .bytes = bytes, .first = s, .last = s};
    return add_span(l, region, &step->stage) ? KD_OK : kd_ctx_memory_status(l->draft->plan->ctx);
}

/* Prepared weights are made of parameters alone: every input of the op but the first must be
 * one. */
bool kdi_can_prepare(const kdi_draft *d, const kdi_step *step)
{
    if (!d->plan->frozen || step->backward || !step->op->prepare || !step->op->prepared)
        return false;
    for (int i = 1; i < kdi_own_inputs(step); i++)
        if (d->values[kdi_draft_root(d, step->in[i])].kind != KDI_PARAM) return false;
    return true;
}

static kd_status step_spans(layout *l)
{
    kdi_draft *d = l->draft;
    kd_plan *p = d->plan;
    kd_tensor *operands = kd_ctx_alloc(p->ctx, 4 * KD_MAX_OPERANDS, sizeof *operands);
    if (!operands) return kd_ctx_memory_status(l->draft->plan->ctx);
    kd_status status = KD_OK;
    for (size_t s = 0; s < p->n_steps && !status; s++) {
        kdi_step *step = &p->steps[s];
        kd_op_call call;
        kdi_step_call(p, step, kdi_step_batch(p, step), operands, &call);
        if (kdi_can_prepare(d, step)) {
            step->prepared_bytes = step->op->prepared(&call);
            const kdi_region region = {.owner = KDI_PREPARED,
                                       .step = s,
                                       .bytes = step->prepared_bytes,
                                       .last = p->n_steps};
            if (!add_span(l, region, &step->prepared))
                status = kd_ctx_memory_status(l->draft->plan->ctx);
            /* Sizes may depend on whether weights are prepared: any address will do to say so. */
            call.prepared = step->prepared_bytes ? operands : NULL;
        }
        if (step->op->scratch) step->scratch_bytes = step->op->scratch(&call, step->backward);
        const kdi_region region = {
            .owner = KDI_SCRATCH, .step = s, .bytes = step->scratch_bytes, .first = s, .last = s};
        if (!status && !add_span(l, region, &step->scratch))
            status = kd_ctx_memory_status(l->draft->plan->ctx);
        if (!status) status = stage_span(l, step, s);
        if (!step->backward && step->op->macs) {
            kdi_step_call(p, step, 1, operands, &call);
            step->macs = step->op->macs(&call);
            *(step->recomputed ? &p->recomputed_macs : &p->macs) += step->macs;
        }
    }
    kd_ctx_free(p->ctx, operands);
    return status;
}

/* Every array's bytes, rounded up, must fit a size_t with room to spare. */
static kd_status check_sizes(const kdi_draft *d)
{
    for (size_t v = 0; v < d->n_values; v++) {
        size_t count;
        if (!kdi_shape_count(&d->values[v].shape, d->plan->batch, &count) || count > SIZE_MAX / 64)
            return kd_ctx_fail(d->plan->ctx, KD_E_LIMIT,
                               "a value of the graph overflows at batch %zu", d->plan->batch);
    }
    return KD_OK;
}

static void set_places(layout *l)
{
    kdi_draft *d = l->draft;
    for (size_t v = 0; v < d->n_values; v++) {
        kdi_slot *slot = &d->plan->slots[v];
        const kdi_value *root = &d->values[base_of(l, (kd_value)v)];
        slot->index = root->index;
        slot->place =
            root->kind == KDI_INPUT   ? KDI_AT_INPUT
            : root->kind == KDI_PARAM ? KDI_AT_PARAM
            : root->kind == KDI_PARAM_GRAD
                ? KDI_AT_GRAD
                : (l->last[base_of(l, (kd_value)v)] == SIZE_MAX ? KDI_AT_NOWHERE : KDI_AT_ARENA);
        if (slot->place == KDI_AT_ARENA)
            slot->offset = d->plan->slots[base_of(l, (kd_value)v)].offset;
    }
}

kd_status kdi_assign_memory(kdi_draft *d)
{
    kd_ctx *ctx = d->plan->ctx;
    layout l = {.draft = d};
    kd_status status = check_sizes(d);
    if (status) return status;
    l.first = kd_ctx_alloc(ctx, d->n_values + 1, sizeof *l.first);
    l.last = kd_ctx_alloc(ctx, d->n_values + 1, sizeof *l.last);
    l.merged = kd_ctx_alloc(ctx, d->n_values + 1, sizeof *l.merged);
    l.pinned = kd_ctx_alloc(ctx, d->n_values + 1, sizeof *l.pinned);
    status = l.first && l.last && l.merged && l.pinned ? KD_OK : kd_ctx_memory_status(ctx);
    if (!status) {
        for (size_t v = 0; v < d->n_values; v++) l.merged[v] = KD_NONE;
        find_spans(&l);
        if (!d->opt->no_sharing) share_in_place(&l);
        status = value_spans(&l);
    }
    if (!status) status = step_spans(&l);
    if (!status && l.overflow)
        status = kd_ctx_fail(ctx, KD_E_LIMIT, "the plan's memory overflows at batch %zu",
                             d->plan->batch);
    if (!status) status = place_spans(&l);
    if (!status) status = most_values(&l);
    if (!status) set_places(&l);
    kd_ctx_free(ctx, l.first);
    kd_ctx_free(ctx, l.last);
    kd_ctx_free(ctx, l.merged);
    kd_ctx_free(ctx, l.pinned);
    kd_ctx_free(ctx, l.spans);
    return status;
}
