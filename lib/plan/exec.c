/* SPDX-License-Identifier: MIT
 * exec.c: running a program: a short loop over its steps. Everything is allocated when the executor
 * is made; a run only patches addresses. */
#include "plan.h"

#include "../graph/params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Where an operand's address comes from at each run. */
typedef struct patch {
    kd_tensor *tensor;
    const kdi_slot *slot;
} patch;

struct kd_exec {
    const kd_plan *plan;
    kd_params *params, *others; /* others: NULL, or what params lacks */
    char *arena;
    bool owns_arena;
    kd_op_call *calls;  /* [steps] */
    kd_tensor *tensors; /* [max_operands] */
    patch *patches;     /* [n_patches] */
    size_t n_patches;
    size_t *first_patch;           /* [steps + 1] */
    const kd_param_info **entries; /* [plan's params] */
    kd_params **owners;            /* [plan's params] whose entry it is */
    const void **inputs;           /* [plan's inputs] */
    double *seconds;               /* [steps] */
    size_t batch;                  /* of the last run */
    uint64_t prepared_version;     /* of the parameters the prepared weights were made from */
};

static kd_status resolve_params(kd_exec *e)
{
    const kd_plan *p = e->plan;
    for (size_t i = 0; i < p->n_params; i++) {
        char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
        const kdi_plan_param *want = &p->params[i];
        const kd_param_info *have = kd_params_find(e->params, want->name);
        e->owners[i] = have ? e->params : e->others;
        if (!have && e->others) have = kd_params_find(e->others, want->name);
        if (!have)
            return kd_ctx_fail(p->ctx, KD_E_MISMATCH, "the parameters have no '%s'", want->name);
        if (!kdi_shape_equal(&have->shape, &want->shape) || have->dtype != want->dtype ||
            (have->buffer != 0) != want->buffer)
            return kd_ctx_fail(p->ctx, KD_E_MISMATCH, "parameter '%s' is %s, the plan wants %s",
                               want->name, kdi_shape_text(&have->shape, a),
                               kdi_shape_text(&want->shape, b));
        e->entries[i] = have;
    }
    return KD_OK;
}

static void add_patches(kd_exec *e, const kd_tensor *tensors, const kd_value *values, int n)
{
    for (int i = 0; i < n; i++)
        if (values[i] != KD_NONE)
            e->patches[e->n_patches++] =
                (patch){e->tensors + (tensors - e->tensors) + i, &e->plan->slots[values[i]]};
}

static void make_calls(kd_exec *e)
{
    const kd_plan *p = e->plan;
    kd_tensor *next = e->tensors;
    for (size_t s = 0; s < p->n_steps; s++) {
        const kdi_step *step = &p->steps[s];
        kd_op_call *c = &e->calls[s];
        kdi_step_call(p, step, kdi_step_batch(p, step), next, c);
        e->first_patch[s] = e->n_patches;
        add_patches(e, c->in, step->in, step->n_in);
        add_patches(e, c->out, step->out, step->n_out);
        if (step->backward) {
            add_patches(e, c->dout, step->dout, step->n_out);
            add_patches(e, c->din, step->din, step->n_in);
        }
        next += (step->backward ? 2 : 1) * (step->n_in + step->n_out);
        if (step->scratch_bytes) c->scratch = e->arena + step->scratch;
        if (step->prepared_bytes) c->prepared = e->arena + step->prepared;
    }
    e->first_patch[p->n_steps] = e->n_patches;
}

kd_status kd_exec_create(const kd_plan *plan, kd_params *params, void *memory, kd_exec **out)
{
    return kd_exec_create_with(plan, params, NULL, memory, out);
}

kd_status kd_exec_create_with(const kd_plan *plan, kd_params *params, kd_params *others,
                              void *memory, kd_exec **out)
{
    if (out) *out = NULL;
    if (!plan) return KD_E_INVALID;
    if (!params || !out) return kd_ctx_fail(plan->ctx, KD_E_INVALID, "kd_exec_create: NULL");
    kd_ctx *ctx = plan->ctx;
    if ((uintptr_t)memory % 64)
        return kd_ctx_fail(ctx, KD_E_INVALID, "an arena's address must be a multiple of 64");
    kd_exec *e = kd_ctx_alloc(ctx, 1, sizeof *e);
    if (!e) return kd_ctx_memory_status(ctx);
    e->plan = plan;
    e->params = params;
    e->others = others;
    e->batch = plan->batch;
    e->calls = kd_ctx_alloc(ctx, plan->n_steps + 1, sizeof *e->calls);
    e->tensors = kd_ctx_alloc(ctx, plan->max_operands + 1, sizeof *e->tensors);
    e->patches = kd_ctx_alloc(ctx, plan->max_operands + 1, sizeof *e->patches);
    e->first_patch = kd_ctx_alloc(ctx, plan->n_steps + 1, sizeof *e->first_patch);
    e->entries = kd_ctx_alloc(ctx, plan->n_params + 1, sizeof *e->entries);
    e->owners = kd_ctx_alloc(ctx, plan->n_params + 1, sizeof(kd_params *));
    e->inputs = kd_ctx_alloc(ctx, plan->n_inputs + 1, sizeof *e->inputs);
    e->seconds = kd_ctx_alloc(ctx, plan->n_steps + 1, sizeof *e->seconds);
    kd_status status = e->calls && e->tensors && e->patches && e->first_patch && e->entries &&
                               e->owners && e->inputs && e->seconds
                           ? KD_OK
                           : kd_ctx_memory_status(ctx);
    if (!status) status = resolve_params(e);
    if (!status && kdi_ctx_start_threads(ctx) == KD_E_NOMEM) status = KD_E_NOMEM;
    if (!status && plan->has_grads) status = kd_params_need_grads(params);
    if (!status && plan->has_grads && others) status = kd_params_need_grads(others);
    if (!status) {
        e->arena = memory;
        if (!memory && plan->arena_bytes) {
            e->arena = kd_ctx_alloc(ctx, plan->arena_bytes, 1);
            e->owns_arena = true;
            if (!e->arena) status = kd_ctx_memory_status(ctx);
        }
    }
    if (status) {
        kd_exec_destroy(e);
        return status;
    }
    make_calls(e);
    *out = e;
    return KD_OK;
}

void kd_exec_destroy(kd_exec *e)
{
    if (!e) return;
    kd_ctx *ctx = e->plan->ctx;
    if (e->owns_arena) kd_ctx_free(ctx, e->arena);
    kd_ctx_free(ctx, e->calls);
    kd_ctx_free(ctx, e->tensors);
    kd_ctx_free(ctx, e->patches);
    kd_ctx_free(ctx, e->first_patch);
    kd_ctx_free(ctx, e->entries);
    kd_ctx_free(ctx, e->owners);
    kd_ctx_free(ctx, e->inputs);
    kd_ctx_free(ctx, e->seconds);
    kd_ctx_free(ctx, e);
}

kd_status kd_exec_bind(kd_exec *e, const char *input, const void *data)
{
    if (!e) return KD_E_INVALID;
    if (!input) return kd_ctx_fail(e->plan->ctx, KD_E_INVALID, "kd_exec_bind: NULL");
    for (size_t i = 0; i < e->plan->n_inputs; i++)
        if (!strcmp(e->plan->inputs[i], input)) {
            e->inputs[i] = data;
            return KD_OK;
        }
    return kd_ctx_fail(e->plan->ctx, KD_E_NOTFOUND, "the plan has no input '%s'", input);
}

static void *address(const kd_exec *e, const kdi_slot *slot)
{
    union {
        const void *in;
        void *data;
    } input;
    switch (slot->place) {
    case KDI_AT_ARENA:
        return e->arena + slot->offset;
    case KDI_AT_INPUT:
        input.in = e->inputs[slot->index];
        return input.data;
    case KDI_AT_PARAM: {
        const kd_param_info *info = e->entries[slot->index];
        const kd_params *owner = e->owners[slot->index];
        return info->buffer ? (void *)(owner->buffers + info->offset)
                            : (void *)(owner->values + info->offset);
    }
    case KDI_AT_GRAD:
        return e->owners[slot->index]->grads + e->entries[slot->index]->offset;
    case KDI_AT_NOWHERE:
        break;
    }
    return NULL;
}

static const kdi_slot *output_slot(const kd_exec *e, const char *name)
{
    for (size_t o = 0; e && name && o < e->plan->n_outputs; o++)
        if (!strcmp(e->plan->outputs[o].name, name))
            return &e->plan->slots[e->plan->outputs[o].value];
    return NULL;
}

void *kd_exec_output(kd_exec *e, const char *output)
{
    const kdi_slot *slot = output_slot(e, output);
    return slot ? address(e, slot) : NULL;
}

kd_shape kd_exec_output_shape(const kd_exec *e, const char *output)
{
    kd_shape shape = {0};
    const kdi_slot *slot = output_slot(e, output);
    if (!slot) return shape;
    const kd_tensor t = kdi_tensor_of(slot, e->batch);
    shape.rank = t.rank;
    for (int i = 0; i < t.rank; i++) shape.dim[i] = (int64_t)t.dim[i];
    return shape;
}

static kd_status check_inputs(const kd_exec *e)
{
    const kd_plan *p = e->plan;
    for (size_t i = 0; i < p->n_inputs; i++)
        if (!e->inputs[i])
            return kd_ctx_fail(p->ctx, KD_E_INVALID, "input '%s' is not bound", p->inputs[i]);
    return KD_OK;
}

/* Addresses of inputs change between runs, parameters' only if gradients came to be: a step's
 * operands are looked up each time. Here for images [from, from + images) of the run's, which begin
 * with the batch's image `first`. */
static void patch_step(kd_exec *e, size_t s, size_t first, size_t from, size_t images)
{
    for (size_t i = e->first_patch[s]; i < e->first_patch[s + 1]; i++) {
        const kdi_slot *slot = e->patches[i].slot;
        kd_tensor *t = e->patches[i].tensor;
        *t = kdi_tensor_of(slot, images);
        t->data = address(e, slot);
        if (t->rank == 0 || slot->shape.dim[0] >= 0) continue;
        const size_t image = t->count / images;
        t->first = image * (first + from);
        if (!slot->images) t->data = (char *)t->data + image * from * kd_dtype_size(t->dtype);
    }
}

/* One of the step's functions; an op of the caller's own may fail without a word. */
static kd_status call(const kdi_step *step, kd_status (*fn)(const kd_op_call *c),
                      const kd_op_call *c)
{
    char what[512];
    const size_t before = kd_ctx_failures(c->ctx);
    const kd_status status = fn(c);
    if (!status) return KD_OK;
    snprintf(what, sizeof what, "%s '%s'", step->op->name, step->name);
    return kd_ctx_called(c->ctx, before, status, what);
}

static kd_status prepare(kd_exec *e)
{
    const kd_plan *p = e->plan;
    const uint64_t version = e->params->version + (e->others ? e->others->version : 0);
    const bool stale = p->frozen && e->prepared_version != version;
    if (p->guarded) kdi_guard_begin(p, e->arena, stale);
    if (!stale) return KD_OK;
    for (size_t s = 0; s < p->n_steps; s++) {
        if (!e->calls[s].prepared) continue;
        patch_step(e, s, 0, 0, kdi_step_batch(p, &p->steps[s]));
        kd_status status = call(&p->steps[s], p->steps[s].op->prepare, &e->calls[s]);
        const kdi_moment now = {.step = s, .preparing = true};
        if (!status && p->guarded) status = kdi_guard_step(p, e->arena, &now);
        if (status) return status;
    }
    e->prepared_version = version;
    return KD_OK;
}

typedef struct add_task {
    const float *from;
    float *to;
    size_t count;
} add_task;

enum { ADD_BLOCK = 16384 };

static void add_block(void *arg, size_t index, int worker)
{
    (void)worker;
    const add_task *t = arg;
    const size_t begin = index * ADD_BLOCK;
    const size_t end = t->count - begin < ADD_BLOCK ? t->count : begin + ADD_BLOCK;
    for (size_t i = begin; i < end; i++) t->to[i] += t->from[i];
}

/* A backward whose op overwrites, where a sum is wanted: into the stage, then added. */
static kd_status run_staged(kd_exec *e, const kdi_step *step, kd_op_call *c, uint32_t staged)
{
    float *to[KD_MAX_OPERANDS];
    kd_tensor *din = e->tensors + (c->din - e->tensors);
    char *stage = e->arena + step->stage;
    for (int i = 0; i < step->n_in; i++) {
        if (!(staged >> i & 1)) continue;
        to[i] = din[i].data;
        din[i].data = stage;
        stage += (din[i].count * sizeof(float) + 63) & ~(size_t)63;
    }
    c->accumulate &= ~staged;
    const kd_status status = call(step, step->op->backward, c);
    for (int i = 0; i < step->n_in; i++) {
        if (!(staged >> i & 1)) continue;
        add_task task = {din[i].data, to[i], din[i].count};
        if (!status)
            kd_parallel_for(c->ctx, (task.count + ADD_BLOCK - 1) / ADD_BLOCK, add_block, &task);
        din[i].data = to[i];
    }
    return status;
}

static kd_status run_backward(kd_exec *e, const kdi_step *step, kd_op_call *c, bool accumulate)
{
    c->accumulate = step->accumulate;
    if (accumulate)
        for (int i = 0; i < step->n_in; i++)
            if (step->din[i] != KD_NONE && e->plan->slots[step->din[i]].place == KDI_AT_GRAD)
                c->accumulate |= 1u << i;
    const uint32_t staged = c->accumulate & step->staged;
    return staged ? run_staged(e, step, c, staged) : call(step, step->op->backward, c);
}

static kd_status run_step(kd_exec *e, const kd_run_opt *opt, const kdi_moment *now)
{
    const kd_plan *p = e->plan;
    const kdi_step *step = &p->steps[now->step];
    kd_op_call *c = &e->calls[now->step];
    kd_status status;
    c->seed = opt->seed;
    c->step = opt->step;
    c->weight = opt->weight;
    status = kd_ctx_check_cancel(p->ctx);
    if (!status && opt->check_finite) status = kdi_finite_before(p, now->step, c);
    if (!status)
        status = step->backward ? run_backward(e, step, c, opt->accumulate)
                                : call(step, step->op->forward, c);
    if (!status && opt->check_finite) status = kdi_finite_after(p, now->step, c);
    if (!status && p->guarded) status = kdi_guard_step(p, e->arena, now);
    return status;
}

kd_status kd_exec_run(kd_exec *e, const kd_run_opt *options)
{
    if (!e) return KD_E_INVALID;
    const kd_plan *p = e->plan;
    kd_run_opt opt;
    kd_status status = kd_options(p->ctx, "kd_run_opt", &opt, sizeof opt, options);
    if (status) return status;
    if (opt.batch > p->batch)
        return kd_ctx_fail(p->ctx, KD_E_INVALID, "a batch of %zu, the plan's largest is %zu",
                           opt.batch, p->batch);
    if (opt.first > SIZE_MAX / 64 / (p->batch + 1) || !isfinite(opt.weight))
        return kd_ctx_fail(p->ctx, KD_E_INVALID, "a run from image %zu on, of weight %g", opt.first,
                           (double)opt.weight);
    e->batch = opt.batch ? opt.batch : p->batch;
    if (opt.weight == 0) opt.weight = 1;
    status = check_inputs(e);
    if (!status) status = prepare(e);
    double before = kd_seconds();
    for (size_t s = 0; s < p->n_steps && !status; s = p->steps[s].last + 1) {
        const size_t images = p->steps[s].images ? p->steps[s].images : e->batch;
        for (size_t from = 0; from < e->batch && !status; from += images)
            for (size_t t = s; t <= p->steps[s].last && !status; t++) {
                const size_t left = e->batch - from;
                const kdi_moment at = {.step = t,
                                       .batch = e->batch,
                                       .images = left < images ? left : images,
                                       .final = left <= images};
                patch_step(e, t, opt.first, from, at.images);
                status = run_step(e, &opt, &at);
                const double now = kd_seconds();
                e->seconds[t] += now - before;
                before = now;
            }
    }
    if (p->training) kd_params_touch(e->params); /* running statistics moved */
    if (p->training && e->others) kd_params_touch(e->others);
    return status;
}

double kd_exec_seconds(const kd_exec *e, kd_part part)
{
    double sum = 0;
    for (size_t s = 0; e && s < e->plan->n_steps; s++)
        if (e->plan->steps[s].part == part) sum += e->seconds[s];
    return sum;
}

double kd_exec_step_seconds(const kd_exec *e, size_t step)
{
    return e && step < e->plan->n_steps ? e->seconds[step] : 0;
}

void kd_exec_reset_seconds(kd_exec *e)
{
    if (e) memset(e->seconds, 0, e->plan->n_steps * sizeof *e->seconds);
}
