/* SPDX-License-Identifier: MIT
 * step_graph.c: a training step as a graph: the network, the loss and the loss's gradient. */
#include "train.h"

#include <stdio.h>
#include <string.h>

/* The teacher's taps; a name that comes twice is one input. */
static void make_inputs(kd_graph *g, kdt_features *f)
{
    for (size_t t = 0; t < f->n_teacher; t++) {
        char name[KD_TAP_NAME + 16];
        size_t before = 0;
        while (before < t && strcmp(f->teacher[before].name, f->teacher[t].name)) before++;
        snprintf(name, sizeof name, "teacher0.%s", f->teacher[t].name);
        f->teacher[t].value = before < t
                                  ? f->teacher[before].value
                                  : kd_input(g, name, KD_F32, f->shapes[t].rank, f->shapes[t].dim);
    }
}

kd_status kdt_step_graph(kd_model *model, const kd_distill_opt *opt, const kdt_step *step,
                         kd_graph **out)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, (int64_t)kd_model_height(model),
                           (int64_t)kd_model_width(model), (int64_t)kd_model_channels(model)};
    kd_value heads[2];
    kdt_features features = step->features ? *step->features : (kdt_features){.n_student = 0};
    const kd_build_opt build = {.struct_size = sizeof build,
                                .no_dropout = step->no_dropout,
                                .heads = heads,
                                .taps = features.student,
                                .n_taps = features.n_student};
    char frozen[KDT_NAMES];
    *out = NULL;
    kd_status status = kdt_groups_check(model, opt->train);
    if (!status) status = kdt_frozen_names(model, opt->train, frozen, sizeof frozen);
    if (!status) status = kd_graph_create(kd_model_ctx(model), &g);
    if (status) return status;
    if (*frozen) kd_graph_freeze(g, frozen);
    const kd_value logits = kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), &build);
    kd_graph_freeze(g, NULL);
    make_inputs(g, &features);
    kdt_step with = *step;
    if (step->features) with.features = &features;
    const kd_value loss = kdt_step_loss(g, opt, &with, logits, heads, kd_model_classes(model));
    kd_output(g, logits, "logits");
    kd_output(g, loss, "loss");
    status = kd_graph_grad(g, loss);
    if (status)
        kd_graph_destroy(g);
    else
        *out = g;
    return status;
}
