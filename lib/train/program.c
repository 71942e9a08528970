/* SPDX-License-Identifier: MIT
 * program.c: the program of a training step: the network, the loss and their gradient as a plan, for
 * the whole batch or for pieces of it that run one after another.
 *
 * KD_MICRO_AUTO takes the largest pieces whose values, forward and backward, stay within PIECE bytes,
 * and then makes them equal: 64 pictures of which 12 would fit become 6 pieces of 11. Measured: pieces
 * of so many take no longer than the whole batch, smaller ones do. */
#include "train.h"


enum { PIECE = 96 << 20 };

static kd_status make_graph(kd_model *model, const kd_distill_opt *o, const kdt_program *how,
                            kd_graph **out)
{
    kd_graph *g;
    const int64_t size = (int64_t)kd_model_image(model);
    const int64_t dim[] = {KD_BATCH, size, size, (int64_t)kd_model_channels(model)};
    kd_status status = kd_graph_create(kd_model_ctx(model), &g);
    if (status) return status;
    kd_value heads[2];
    const kd_build_opt build = {
        .struct_size = sizeof build, .no_dropout = how->no_dropout, .heads = heads};
    const kd_value logits = kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), &build);
    const kd_value loss = kdt_build_loss(g, o, logits, heads, kd_model_classes(model), how->mixed);
    kd_output(g, logits, "logits");
    kd_output(g, loss, "loss");
    status = kd_graph_grad(g, loss);
    if (status)
        kd_graph_destroy(g);
    else
        *out = g;
    return status;
}

static kd_status plan_for(kd_graph *g, size_t batch, kd_plan **plan)
{
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = batch, .training = 1};
    return kd_plan_create(g, &opt, plan);
}

/* Pieces of so many pictures: are their values few enough? */
static kd_status fits(kd_graph *g, size_t pictures, bool *yes)
{
    kd_plan *plan;
    const kd_status status = plan_for(g, pictures, &plan);
    if (status) return status;
    *yes = kd_plan_values_size(plan) <= PIECE;
    kd_plan_destroy(plan);
    return KD_OK;
}

/* The largest pieces that fit, one picture at least. */
static kd_status find_pieces(kd_graph *g, size_t batch, size_t *pictures)
{
    size_t good = 1, bad = batch + 1;
    kd_status status = KD_OK;
    while (bad - good > 1 && !status) {
        const size_t middle = good + (bad - good) / 2;
        bool yes = false;
        status = fits(g, middle, &yes);
        *(yes ? &good : &bad) = middle;
    }
    const size_t pieces = (batch - 1) / good + 1;
    *pictures = (batch - 1) / pieces + 1;
    return status;
}

/* In words: which op does not allow pieces. */
static kd_status refuse(kd_model *model, const kd_plan *whole, size_t pictures)
{
    kd_plan_step step;
    const kd_status status = kd_plan_step_info(whole, kd_plan_mixes(whole), &step);
    if (status) return status;
    return kd_ctx_fail(kd_model_ctx(model), KD_E_UNSUPPORTED,
                       "a micro-batch of %zu: %s '%s' of %s depends on the whole batch, which "
                       "cannot be cut",
                       pictures, step.op, step.name, kd_model_spec(model));
}

kd_status kdt_plan(kd_model *model, const kd_distill_opt *o, const kdt_program *how, kd_plan **plan)
{
    kd_graph *g;
    kd_plan *whole = NULL;
    size_t pictures = o->train.micro_batch;
    kd_status status = make_graph(model, o, how, &g);
    if (status) return status;
    status = plan_for(g, how->batch, &whole);
    const bool mixes = !status && kd_plan_mixes(whole) < kd_plan_steps(whole);
    if (!status && pictures == KD_MICRO_AUTO) {
        pictures = how->batch;
        if (!mixes) status = find_pieces(g, how->batch, &pictures);
    }
    const bool cut = pictures && pictures < how->batch;
    if (!status && cut && mixes) status = refuse(model, whole, pictures);
    if (!status && cut) {
        kd_plan_destroy(whole);
        whole = NULL;
        status = plan_for(g, pictures, &whole);
    }
    kd_graph_destroy(g);
    if (status)
        kd_plan_destroy(whole);
    else
        *plan = whole;
    return status;
}

kd_status kd_train_plan(kd_model *model, const kd_distill_opt *options, kd_plan **plan)
{
    kd_distill_opt o;
    if (!model || !plan) return KD_E_INVALID;
    *plan = NULL;
    if (!kdt_options(&o, sizeof o, options, options ? options->struct_size : 0))
        return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID, "kd_train_plan: unknown options");
    if (o.teacher && !o.n_teachers) o.n_teachers = 1;
    if (o.n_teachers > KD_MAX_TEACHERS)
        return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID, "%zu teachers are too many",
                           o.n_teachers);
    o.teacher_weights = NULL;
    kd_distill_defaults(&o);
    return kdt_plan(model, &o, &(kdt_program){.batch = o.train.batch}, plan);
}
