/* SPDX-License-Identifier: MIT
 * create.c: kd_plan_create: a plan as it comes, or one within a limit of memory. */
#include "plan.h"

kd_status kd_plan_create(kd_graph *g, const kd_plan_opt *options, kd_plan **out)
{
    kd_plan_opt opt;
    if (out) *out = NULL;
    if (!g) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(g->ctx, KD_E_INVALID, "kd_plan_create: NULL");
    kd_status status = kd_graph_status(g);
    if (status) return status;
    status = kd_options(g->ctx, "kd_plan_opt", &opt, sizeof opt, options);
    if (status) return status;
    if (g->n_outputs == 0 && !g->differentiated)
        return kd_ctx_fail(g->ctx, KD_E_INVALID, "the graph has no output and no gradient");
    kd_plan *plan = NULL;
    status = kdi_plan_build(g, &opt, NULL, &plan);
    if (!status && opt.least) *opt.least = plan->arena_bytes;
    if (!status && opt.max_arena && plan->arena_bytes > opt.max_arena)
        status = kdi_plan_within(g, &opt, &plan);
    if (status)
        kd_plan_destroy(plan);
    else
        *out = plan;
    return status;
}
