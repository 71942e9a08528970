/* SPDX-License-Identifier: MIT
 * step_plan.c: the plan of a training step, in one line: the graph with its loss is built
 * (step_graph.c), the batch is cut into micro-batches, and a plan for one is made within the
 * context's limit of memory.
 *
 * KD_MICRO_AUTO takes the largest micro-batches whose values, forward and backward, stay within
 * VALUES bytes, and then makes them equal: 64 pictures of which 12 would fit become 6 micro-batches
 * of 11. Measured: micro-batches of that size take no longer than the whole batch, smaller ones do.
 *
 * Where the plan does not fit the limit, values are recomputed (kd_plan_opt.max_arena). Where that
 * is not enough, the refusal says how many bytes would do. The cut changes results by rounding, so
 * it follows from numbers that are the same on every machine. Recomputation changes no bit, and goes
 * by exact sizes. */
#include "train.h"

#include <stdio.h>

/* ---- the cut --------------------------------------------------------------------------------- */

static kd_status plan_for(kd_graph *g, size_t pictures, size_t max_arena, size_t *least,
                          kd_plan **plan)
{
    const kd_plan_opt opt = {.struct_size = sizeof opt,
                             .batch = pictures,
                             .training = 1,
                             .max_arena = max_arena,
                             .least = least};
    return kd_plan_create(g, &opt, plan);
}

/* Do the values of a micro-batch of so many pictures take no more than so many bytes? */
static kd_status values_fit(kd_graph *g, size_t pictures, size_t bytes, bool *yes)
{
    kd_plan *plan;
    const kd_status status = plan_for(g, pictures, 0, NULL, &plan);
    if (status) return status;
    *yes = kd_plan_values_size(plan) <= bytes;
    kd_plan_destroy(plan);
    return KD_OK;
}

/* The largest micro-batches that fit, one picture at least. */
static kd_status find_micro(kd_graph *g, size_t batch, size_t bytes, size_t *micro)
{
    size_t good = 1, bad = batch + 1;
    kd_status status = KD_OK;
    while (bad - good > 1 && !status) {
        const size_t middle = good + (bad - good) / 2;
        bool yes = false;
        status = values_fit(g, middle, bytes, &yes);
        if (yes)
            good = middle;
        else
            bad = middle;
    }
    const size_t count = (batch - 1) / good + 1;
    *micro = (batch - 1) / count + 1;
    return status;
}

/* The name of the first op that mixes the pictures of a batch; "" where there is none. */
static kd_status find_mixing(kd_graph *g, char *name, size_t size)
{
    kd_plan *plan;
    kd_plan_step step = {.struct_size = sizeof step};
    kd_status status = plan_for(g, 2, 0, NULL, &plan);
    if (status) return status;
    *name = 0;
    const size_t at = kd_plan_mixes(plan);
    if (at < kd_plan_steps(plan)) {
        status = kd_plan_step_info(plan, at, &step);
        if (!status) snprintf(name, size, "%s '%s'", step.op, step.name);
    }
    kd_plan_destroy(plan);
    return status;
}

/* asked: kd_train_opt.micro_batch. */
static kd_status cut(kd_model *model, kd_graph *g, const kdt_step *step, size_t asked,
                     size_t *micro)
{
    char mixing[200];
    *micro = step->batch;
    if (asked == 0 || (asked >= step->batch && asked != KD_MICRO_AUTO)) return KD_OK;
    const kd_status status = find_mixing(g, mixing, sizeof mixing);
    if (status) return status;
    if (asked == KD_MICRO_AUTO) {
        const size_t bytes = step->values && step->values < KDT_VALUES ? step->values : KDT_VALUES;
        return *mixing ? KD_OK : find_micro(g, step->batch, bytes, micro);
    }
    if (*mixing)
        return kd_ctx_fail(kd_model_ctx(model), KD_E_UNSUPPORTED,
                           "a micro-batch of %zu: %s of %s depends on the whole batch, which "
                           "cannot be cut",
                           asked, mixing, kd_model_spec(model));
    *micro = asked;
    return KD_OK;
}

/* ---- within the limit ------------------------------------------------------------------------ */

size_t kdt_plan_tables(const kd_plan *plan)
{
    enum { STEP = 4096, TABLES = 1 << 18 };
    return kd_plan_steps(plan) * STEP + TABLES;
}

/* held: bytes that the context held before the graph was made. */
static kd_status plan_within(kd_model *model, kd_graph *g, const kdt_step *step, size_t micro,
                             size_t held, kd_plan **plan)
{
    kd_ctx *ctx = kd_model_ctx(model);
    const size_t limit = kd_ctx_memory_limit(ctx), before = kd_ctx_memory(ctx);
    size_t least = 0;
    kd_status status = plan_for(g, micro, 0, NULL, plan);
    if (status || limit == 0) return status;
    held += kd_ctx_memory(ctx) - before;
    const size_t more = step->later + kdt_plan_tables(*plan);
    if (held + more + kd_plan_arena_size(*plan) <= limit) return KD_OK;
    const bool mixes = kd_plan_mixes(*plan) < kd_plan_steps(*plan);
    kd_plan_destroy(*plan);
    *plan = NULL;
    status = plan_for(g, micro, limit > held + more ? limit - held - more : 1, &least, plan);
    if (status != KD_E_LIMIT || least == 0) return status;
    if (step->least) *step->least = held + more + least;
    return kdt_refuse(ctx, held, more + least,
                      micro == step->batch && !mixes
                          ? "; smaller pieces of the batch (micro_batch) need less"
                          : "");
}

/* Those that the loss has of its own; NULL: none. They begin as the seed says. */
static kd_status make_extra(kd_model *model, kd_graph *g, const kd_train_opt *t, kdt_step *step,
                            kd_params **extra)
{
    const kd_status status = kd_params_create_others(g, t->seed, kd_model_params(model), extra);
    /* gradients, and the optimiser's arrays */
    if (!status && *extra) step->later += 3 * kd_params_flat_count(*extra) * sizeof(float);
    return status;
}

kd_status kdt_step_plan(kd_model *model, const kd_distill_opt *opt, const kdt_step *asked,
                        kd_plan **plan, kd_params **extra)
{
    kdt_step with = *asked;
    const kdt_step *const step = &with;
    const size_t held = kd_ctx_memory(kd_model_ctx(model));
    size_t micro;
    kd_graph *g;
    *plan = NULL;
    kd_status status = kdt_step_graph(model, opt, step, &g);
    if (status) return status;
    if (extra) status = make_extra(model, g, opt->train, &with, extra);
    if (!status) status = cut(model, g, step, opt->train->micro_batch, &micro);
    if (!status) status = plan_within(model, g, step, micro, held, plan);
    kd_graph_destroy(g);
    return status;
}

/* ---- a step alone ---------------------------------------------------------------------------- */

kd_status kdt_single_step_plan(kd_model *model, const kd_distill_opt *opt, size_t batch,
                               bool no_dropout, kd_plan **plan)
{
    kd_ctx *ctx = kd_model_ctx(model);
    kd_params *p = kd_model_params(model);
    /* Gradients, which may be there already, and the optimiser's arrays. */
    const size_t arrays = kd_params_grads(p) ? 2 : 3;
    const size_t later = arrays * kd_params_flat_count(p) * sizeof(float);
    const kdt_step step = {.batch = batch,
                           .no_dropout = no_dropout,
                           .values = kdt_values_limit(ctx, kd_ctx_memory(ctx) + later),
                           .later = later};
    if (kdt_has_features(opt))
        return kd_ctx_fail(ctx, KD_E_UNSUPPORTED,
                           "a step alone has no loss of one's own: it is part of a run");
    return kdt_step_plan(model, opt, &step, plan, NULL);
}

kd_status kd_train_plan(kd_model *model, const kd_distill_opt *options, kd_plan **plan)
{
    kd_distill_opt o;
    kd_train_opt train;
    if (plan) *plan = NULL;
    if (!model) return KD_E_INVALID;
    if (!plan) return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID, "kd_train_plan: NULL");
    const bool taught =
        options && (options->teacher || options->n_teachers || options->cache || options->logits);
    const kd_status status =
        kdt_take(kd_model_ctx(model), model, NULL, options, taught, &train, &o);
    if (status) return status;
    if (taught && !o.n_teachers) o.n_teachers = 1; /* of a cache it may be more */
    if (o.n_teachers > KD_MAX_TEACHERS)
        return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID, "%zu teachers are too many",
                           o.n_teachers);
    o.teacher_weights = NULL;
    return kdt_single_step_plan(model, &o, train.batch, false, plan);
}
