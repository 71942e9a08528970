/* SPDX-License-Identifier: MIT
 * apart.c: see apart.h. Looks into the graph for the names of its outputs. */
#include "apart.h"

#include "../../lib/graph/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All a run leaves behind, one after the other. */
typedef struct record {
    unsigned char *bytes;
    size_t size, room;
} record;

static void keep(record *r, const void *bytes, size_t size)
{
    if (r->size + size > r->room) {
        r->room = 2 * (r->size + size);
        r->bytes = realloc(r->bytes, r->room);
        ck_assert_ptr_nonnull(r->bytes);
    }
    if (size) memcpy(r->bytes + r->size, bytes, size);
    r->size += size;
}

static void keep_outputs(record *r, const kd_graph *g, kd_exec *exec)
{
    for (size_t o = 0; o < g->n_outputs; o++) {
        const char *name = g->outputs[o].name;
        const kd_shape shape = kd_exec_output_shape(exec, name);
        size_t size = kd_dtype_size(g->values[g->outputs[o].value].dtype);
        for (int i = 0; i < shape.rank; i++) size *= (size_t)shape.dim[i];
        keep(r, kd_exec_output(exec, name), size);
    }
}

static record run(kd_ctx *ctx, kd_graph *g, const kd_plan_opt *opt, kd_params *params,
                  const apart_input *inputs, size_t n_inputs)
{
    kd_plan *plan;
    kd_exec *exec;
    record r = {0};
    test_ok(ctx, kd_plan_create(g, opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    for (size_t i = 0; i < n_inputs; i++)
        test_ok(ctx, kd_exec_bind(exec, inputs[i].name, inputs[i].data));
    for (int again = 0; again < 2; again++) {
        const kd_run_opt how = {.struct_size = sizeof how, .seed = 3, .accumulate = again};
        test_ok(ctx, kd_exec_run(exec, &how));
        keep_outputs(&r, g, exec);
    }
    if (kd_params_grads(params))
        keep(&r, kd_params_grads(params), kd_params_flat_count(params) * sizeof(float));
    keep(&r, kd_params_buffers(params), kd_params_buffer_bytes(params));
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    return r;
}

void check_apart(kd_ctx *ctx, kd_graph *g, const kd_plan_opt *opt, kd_params *params,
                 const apart_input *inputs, size_t n_inputs)
{
    static const char *const names[] = {"", "no buffer shared", "free memory poisoned"};
    record buffers = {0}, first = {0};
    keep(&buffers, kd_params_buffers(params), kd_params_buffer_bytes(params));
    for (int i = 0; i < 3; i++) {
        kd_plan_opt changed = *opt;
        changed.no_sharing = i == 1;
        changed.guard = i > 0;
        record r = run(ctx, g, &changed, params, inputs, n_inputs);
        if (buffers.size) memcpy(kd_params_buffers(params), buffers.bytes, buffers.size);
        kd_params_touch(params);
        if (i == 0) {
            first = r;
            continue;
        }
        ck_assert_uint_eq(r.size, first.size);
        size_t at = 0;
        while (at < r.size && r.bytes[at] == first.bytes[at]) at++;
        ck_assert_msg(at == r.size, "byte %zu of %zu differs with %s", at, r.size, names[i]);
        free(r.bytes);
    }
    free(first.bytes);
    free(buffers.bytes);
}
