/* SPDX-License-Identifier: MIT
 * moves.c: what an op does with numbered rows, found by running it as a graph of its own: the one
 * definition of how windows lie is the op's. */
#include "emit.h"

#include <kd/plan.h>

#include <string.h>

/* Numbers that float32 counts one by one. */
enum { MOST_ROWS = 1 << 24 };

static kd_status build(kd_graph *g, const kdi_node *n, const kd_shape *in)
{
    kd_value x = in ? kd_input(g, "x", KD_F32, in->rank, in->dim) : KD_NONE;
    const kd_value y = kd_graph_op(g, n->op, n->attr, &x, in ? 1 : 0, NULL);
    kd_output(g, y, "y");
    return kd_graph_status(g);
}

static kd_status numbered(kd_ctx *ctx, const kdi_node *n, const kd_shape *in, float **out)
{
    size_t count = 0;
    *out = NULL;
    if (!in) return KD_OK;
    if (!kdi_shape_count(in, 1, &count) || count > MOST_ROWS)
        return kd_ctx_fail(
            ctx, KD_E_UNSUPPORTED,
            "%s '%.80s': it moves more than %d rows, which ONNX export cannot number", n->op->name,
            n->name ? n->name : "", MOST_ROWS);
    *out = kd_ctx_alloc(ctx, count, sizeof **out);
    if (!*out) return kd_ctx_memory_status(ctx);
    for (size_t i = 0; i < count; i++) (*out)[i] = (float)(i + 1);
    return KD_OK;
}

static kd_status run(kd_ctx *ctx, kd_graph *g, kd_params *params, const float *x, float **out,
                     size_t *count)
{
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = 1};
    kd_plan *plan;
    kd_exec *exec = NULL;
    kd_status status = kd_plan_create(g, &opt, &plan);
    if (!status) status = kd_exec_create(plan, params, NULL, &exec);
    if (!status && x) status = kd_exec_bind(exec, "x", x);
    if (!status) status = kd_exec_run(exec, NULL);
    if (!status) {
        const kd_shape shape = kd_exec_output_shape(exec, "y");
        if (!kdi_shape_count(&shape, 1, count)) status = KD_E_LIMIT;
        float *copy = status ? NULL : kd_ctx_alloc(ctx, *count, sizeof *copy);
        if (copy) memcpy(copy, kd_exec_output(exec, "y"), *count * sizeof *copy);
        if (!copy && !status) status = kd_ctx_memory_status(ctx);
        *out = copy;
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    return status;
}

kd_status kdi_onnx_run(kd_ctx *ctx, const kdi_node *n, const kd_shape *in, float **out,
                       size_t *count)
{
    kd_graph *g;
    kd_params *params = NULL;
    float *x = NULL;
    *out = NULL;
    kd_status status = kd_graph_create(ctx, &g);
    if (status) return status;
    status = build(g, n, in);
    if (!status) status = kd_params_create(g, 0, &params);
    if (!status) status = numbered(ctx, n, in, &x);
    if (!status) status = run(ctx, g, params, x, out, count);
    kd_ctx_free(ctx, x);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    return status;
}
