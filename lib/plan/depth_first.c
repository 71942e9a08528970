/* SPDX-License-Identifier: MIT
 * depth_first.c: stretches of a program that run depth first: all their steps for a few images (a
 * piece), then for the next few. What one step writes is in cache when the next reads it.
 *
 * Evaluating only (in training plans what is frozen), and only ops that do not mix the batch. Each piece reads the stretch's weights
 * again. So a step joins a stretch if its weights are no larger than what a piece of it reads and
 * writes: a network's early layers, and all of a vision transformer. A step without a batch (a
 * table of position biases) is run for each piece. Values inside a stretch have room for one piece;
 * those that cross its ends are whole. The cut follows from shapes alone and changes no bit. */
#include "plan.h"

enum { CACHE = 8 << 20 }; /* bytes that a piece's largest step reads and writes */

typedef struct cost {
    bool divides;
    size_t values, weights; /* bytes for one image; bytes that every piece reads */
} cost;

static size_t bytes_of(const kdi_value *v)
{
    size_t count;
    return kdi_shape_count(&v->shape, 1, &count) && count < SIZE_MAX / 64
               ? count * kd_dtype_size(v->dtype)
               : SIZE_MAX / 64;
}

/* Bytes of one image; its rows (of all its windows) lie together. 0: the value has no images. */
static size_t image_bytes(const kdi_value *v)
{
    if (v->shape.rank < 1 || v->shape.dim[0] >= 0) return 0;
    for (int i = 1; i < v->shape.rank; i++)
        if (v->shape.dim[i] < 0) return 0;
    return bytes_of(v);
}

/* Does no dimension depend on the batch? So with parameters, and what is made of them alone. */
static bool is_constant(const kdi_value *v)
{
    for (int i = 0; i < v->shape.rank; i++)
        if (v->shape.dim[i] < 0) return false;
    return true;
}

static void add(const kdi_draft *d, cost *c, kd_value v)
{
    if (v == KD_NONE) return;
    const kdi_value *value = &d->values[v], *root = &d->values[kdi_draft_root(d, v)];
    if (is_constant(value) && is_constant(root)) {
        c->weights += bytes_of(value);
        return;
    }
    const size_t bytes = image_bytes(value);
    if (bytes == 0 || image_bytes(root) != bytes) c->divides = false;
    c->values += bytes;
}

static cost cost_of(const kdi_draft *d, const kdi_step *s, kd_tensor *operands)
{
    const bool evaluates =
        (s->evaluates && !s->recomputed) || (!d->plan->training && !d->plan->has_grads);
    cost c = {.divides = evaluates && !s->op->mixes_batch && !s->backward};
    for (int i = 0; i < s->n_in; i++) add(d, &c, s->in[i]);
    for (int i = 0; i < s->n_out; i++) {
        add(d, &c, s->out[i]);
        /* A loss: one number of all images. */
        if (s->out[i] != KD_NONE && c.values && is_constant(&d->values[s->out[i]]))
            c.divides = false;
    }
    if (kdi_can_prepare(d, s)) {
        kd_op_call call;
        kdi_step_call(d->plan, s, d->plan->batch, operands, &call);
        c.weights = s->op->prepared(&call);
    }
    return c;
}

/* The end of the stretch that begins at step `first`, and the images of a piece. */
static size_t grow(const cost *costs, size_t first, size_t n, size_t *images)
{
    size_t largest = 1, end = first;
    *images = 0;
    for (; end < n && costs[end].divides; end++) {
        const size_t wanted = costs[end].values > largest ? costs[end].values : largest;
        const size_t fit = CACHE / wanted ? CACHE / wanted : 1;
        bool good = true;
        for (size_t s = first; s <= end && good; s++)
            good = costs[s].weights / fit <= costs[s].values || costs[s].values == 0;
        if (!good) break;
        largest = wanted;
        *images = fit;
    }
    return end;
}

static void touch(const kdi_draft *d, kd_value v, size_t stretch, size_t *of, bool *crosses)
{
    if (v == KD_NONE) return;
    v = kdi_draft_root(d, v);
    if (of[v] == SIZE_MAX)
        of[v] = stretch;
    else if (of[v] != stretch)
        crosses[v] = true;
}

/* A value that only one stretch touches has room for one piece. */
static kd_status mark_values(kdi_draft *d)
{
    kd_plan *p = d->plan;
    size_t *of = kd_ctx_alloc(p->ctx, d->n_values + 1, sizeof *of);
    bool *crosses = kd_ctx_alloc(p->ctx, d->n_values + 1, sizeof *crosses);
    if (of && crosses) {
        for (size_t v = 0; v < d->n_values; v++) of[v] = SIZE_MAX;
        for (size_t o = 0; o < p->n_outputs; o++)
            crosses[kdi_draft_root(d, p->outputs[o].value)] = true;
        for (size_t s = 0; s < p->n_steps; s++) {
            const kdi_step *step = &p->steps[s];
            for (int i = 0; i < step->n_in; i++) touch(d, step->in[i], step->first, of, crosses);
            for (int i = 0; i < step->n_out; i++) touch(d, step->out[i], step->first, of, crosses);
            for (int i = 0; i < step->n_out && step->backward; i++)
                touch(d, step->dout[i], step->first, of, crosses);
            for (int i = 0; i < step->n_in && step->backward; i++)
                touch(d, step->din[i], step->first, of, crosses);
        }
        for (size_t v = 0; v < d->n_values; v++) {
            const kd_value root = kdi_draft_root(d, (kd_value)v);
            if (d->values[root].kind == KDI_RESULT && of[root] != SIZE_MAX && !crosses[root])
                p->slots[v].images = p->steps[of[root]].images;
        }
    }
    const kd_status status = of && crosses ? KD_OK : kd_ctx_memory_status(d->plan->ctx);
    kd_ctx_free(p->ctx, of);
    kd_ctx_free(p->ctx, crosses);
    return status;
}

kd_status kdi_cut_depth_first(kdi_draft *d)
{
    kd_plan *p = d->plan;
    for (size_t s = 0; s < p->n_steps; s++) p->steps[s].first = p->steps[s].last = s;
    bool any = !p->training && !p->has_grads;
    for (size_t s = 0; s < p->n_steps && !any; s++) any = p->steps[s].evaluates;
    if (!any || p->batch == 1 || d->opt->whole_batch) return KD_OK;
    cost *costs = kd_ctx_alloc(p->ctx, p->n_steps + 1, sizeof *costs);
    kd_tensor *operands = kd_ctx_alloc(p->ctx, 4 * KD_MAX_OPERANDS, sizeof *operands);
    kd_status status = costs && operands ? KD_OK : kd_ctx_memory_status(d->plan->ctx);
    for (size_t s = 0; s < p->n_steps && !status; s++)
        costs[s] = cost_of(d, &p->steps[s], operands);
    for (size_t s = 0; s < p->n_steps && !status;) {
        size_t images;
        const size_t end = grow(costs, s, p->n_steps, &images);
        if (end > s + 1 && images < p->batch) {
            const size_t pieces = (p->batch - 1) / images + 1;
            for (size_t i = s; i < end; i++) {
                p->steps[i].first = s;
                p->steps[i].last = end - 1;
                p->steps[i].images = (p->batch - 1) / pieces + 1;
            }
        }
        s = end > s ? end : s + 1;
    }
    if (!status) status = mark_values(d);
    kd_ctx_free(p->ctx, costs);
    kd_ctx_free(p->ctx, operands);
    return status;
}
