/* SPDX-License-Identifier: MIT
 * program.c: the program of a training step: the network, the loss and their gradient as a plan,
 * for the whole batch or for pieces of it that run one after another.
 *
 * KD_MICRO_AUTO takes the largest pieces whose values, forward and backward, stay within PIECE
 * bytes, and then makes them equal: 64 pictures of which 12 would fit become 6 pieces of 11.
 * Measured: pieces of so many take no longer than the whole batch, smaller ones do. */
#include "train.h"

#include <stdio.h>

/* Bytes: of a piece's values at most; of an executor's tables, and what else a plan's step takes
 * beside the arena. */
enum { PIECE = 256 << 20, STEP = 4096, TABLES = 1 << 18 };

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

static kd_status plan_for(kd_graph *g, size_t pictures, const kdt_program *how, kd_plan **plan)
{
    const kd_plan_opt opt = {.struct_size = sizeof opt,
                             .batch = pictures,
                             .training = 1,
                             .max_arena = how->max_arena,
                             .least = how->least};
    return kd_plan_create(g, &opt, plan);
}

/* Pieces of so many pictures: do their values take no more than so many bytes? */
static kd_status fits(kd_graph *g, size_t pictures, size_t bytes, bool *yes)
{
    kd_plan *plan;
    const kd_status status = plan_for(g, pictures, &(kdt_program){0}, &plan);
    if (status) return status;
    *yes = kd_plan_values_size(plan) <= bytes;
    kd_plan_destroy(plan);
    return KD_OK;
}

/* The largest pieces that fit, one picture at least. */
static kd_status find_pieces(kd_graph *g, size_t batch, size_t bytes, size_t *pictures)
{
    size_t good = 1, bad = batch + 1;
    kd_status status = KD_OK;
    while (bad - good > 1 && !status) {
        const size_t middle = good + (bad - good) / 2;
        bool yes = false;
        status = fits(g, middle, bytes, &yes);
        *(yes ? &good : &bad) = middle;
    }
    const size_t pieces = (batch - 1) / good + 1;
    *pictures = (batch - 1) / pieces + 1;
    return status;
}

/* The first step that does not allow pieces; KD_OK without a name: there is none. */
static kd_status find_mixing(kd_graph *g, char *name, size_t size)
{
    kd_plan *plan;
    kd_plan_step step = {.struct_size = sizeof step};
    kd_status status = plan_for(g, 2, &(kdt_program){0}, &plan);
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

kd_status kdt_cut(kd_model *model, const kd_distill_opt *o, size_t room, kdt_program *how)
{
    const size_t asked = o->train->micro_batch;
    char mixing[200];
    kd_graph *g;
    how->micro = how->batch;
    if (asked == 0 || (asked >= how->batch && asked != KD_MICRO_AUTO)) return KD_OK;
    kd_status status = make_graph(model, o, how, &g);
    if (status) return status;
    status = find_mixing(g, mixing, sizeof mixing);
    if (!status && asked == KD_MICRO_AUTO && !*mixing)
        status = find_pieces(g, how->batch, room && room < PIECE ? room : PIECE, &how->micro);
    else if (!status && asked != KD_MICRO_AUTO && *mixing)
        status = kd_ctx_fail(kd_model_ctx(model), KD_E_UNSUPPORTED,
                             "a micro-batch of %zu: %s of %s depends on the whole batch, which "
                             "cannot be cut",
                             asked, mixing, kd_model_spec(model));
    else if (!status && asked != KD_MICRO_AUTO)
        how->micro = asked;
    kd_graph_destroy(g);
    return status;
}

kd_status kdt_plan(kd_model *model, const kd_distill_opt *o, const kdt_program *how, kd_plan **plan)
{
    kd_graph *g;
    kd_status status = make_graph(model, o, how, &g);
    if (status) return status;
    const size_t pictures = how->micro && how->micro < how->batch ? how->micro : how->batch;
    status = plan_for(g, pictures, how, plan);
    kd_graph_destroy(g);
    return status;
}

size_t kdt_plan_tables(const kd_plan *plan)
{
    return kd_plan_steps(plan) * STEP + TABLES;
}
