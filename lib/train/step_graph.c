/* SPDX-License-Identifier: MIT
 * step_graph.c: a training step as a graph: the network, the loss and the loss's gradient. */
#include "train.h"

kd_status kdt_step_graph(kd_model *model, const kd_distill_opt *opt, const kdt_step *step,
                         kd_graph **out)
{
    kd_graph *g;
    const int64_t size = (int64_t)kd_model_image(model);
    const int64_t dim[] = {KD_BATCH, size, size, (int64_t)kd_model_channels(model)};
    kd_value heads[2];
    const kd_build_opt build = {
        .struct_size = sizeof build, .no_dropout = step->no_dropout, .heads = heads};
    char frozen[KDT_NAMES];
    *out = NULL;
    kd_status status = kdt_groups_check(model, opt->train);
    if (!status) status = kdt_frozen_names(model, opt->train, frozen, sizeof frozen);
    if (!status) status = kd_graph_create(kd_model_ctx(model), &g);
    if (status) return status;
    if (*frozen) kd_graph_freeze(g, frozen);
    const kd_value logits = kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), &build);
    kd_graph_freeze(g, NULL);
    const kd_value loss =
        kdt_step_loss(g, opt, logits, heads, kd_model_classes(model), step->mixed);
    kd_output(g, logits, "logits");
    kd_output(g, loss, "loss");
    status = kd_graph_grad(g, loss);
    if (status)
        kd_graph_destroy(g);
    else
        *out = g;
    return status;
}
