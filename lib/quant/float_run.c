/* SPDX-License-Identifier: MIT
 * float_run.c: a graph is built of the layers again, with every map an output. */
#include "float_run.h"

#include "../base/size.h"

#include <kd/plan.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_BATCH = 64, MOST_BYTES = 64 << 20 };

struct kdi_float_run {
    const kdi_net *net;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    float *input;
    size_t batch, n;
};

/* ---- the graph ------------------------------------------------------------------------------- */

typedef struct map_name {
    char text[24];
} map_name;

static map_name name_of(char letter, size_t i)
{
    map_name name;
    snprintf(name.text, sizeof name.text, "%c%zu", letter, i);
    return name;
}

static kd_value add_pool(kd_graph *g, const kdi_layer *l, kd_value x)
{
    const kd_pool_opt opt = {.struct_size = sizeof opt,
                             .kernel = {l->kernel[0], l->kernel[1]},
                             .stride = {l->stride[0], l->stride[1]},
                             .pad = {l->pad[0], l->pad[1]}};
    return l->op == KDI_MAX_POOL ? kd_max_pool(g, x, &opt) : kd_avg_pool(g, x, &opt);
}

static kd_value add_layer(kd_graph *g, const kdi_layer *l, size_t i, const kd_value *maps)
{
    static const kd_pool_opt halves = {.struct_size = sizeof halves, .kernel = {2, 2}};
    const map_name name = name_of('l', i);
    const kd_conv2d_opt conv = {.struct_size = sizeof conv,
                                .out = (int)l->out_channels,
                                .kernel = {l->kernel[0], l->kernel[1]},
                                .stride = {l->stride[0], l->stride[1]},
                                .pad = {l->pad[0], l->pad[1]}};
    kd_value x = maps[l->in[0]];
    switch (l->op) {
    case KDI_CONV:
        x = kd_conv2d(g, x, name.text, &conv);
        break;
    case KDI_LINEAR:
        x = kd_graph_shape(g, x).rank == 4 ? kd_flatten_linear(g, x, name.text, conv.out, 1)
                                           : kd_linear(g, x, name.text, conv.out, 1);
        break;
    case KDI_ADD:
        x = kd_add(g, x, maps[l->in[1]]);
        break;
    case KDI_MAX_POOL:
    case KDI_AVG_POOL:
        x = add_pool(g, l, x);
        break;
    }
    if (l->relu) x = kd_relu(g, x);
    return l->pools ? kd_max_pool(g, x, &halves) : x;
}

static kd_status build(kd_graph *g, const kdi_net *net)
{
    const kdi_map *m = &net->maps[0];
    const int64_t dim[] = {KD_BATCH, (int64_t)m->h, (int64_t)m->w, (int64_t)m->c};
    kd_value *maps = kd_ctx_alloc(net->ctx, net->n_maps, sizeof *maps);
    if (!maps) return kd_ctx_memory_status(net->ctx);
    maps[0] = kd_input(g, "m0", KD_F32, 4, dim);
    for (size_t i = 0; i < net->n_layers; i++) {
        const kdi_layer *l = &net->layers[i];
        maps[l->out] = add_layer(g, l, i, maps);
        kd_output(g, maps[l->out], name_of('m', (size_t)l->out).text);
    }
    kd_ctx_free(net->ctx, maps);
    return kd_graph_status(g);
}

static void copy_weights(kdi_float_run *r)
{
    float *values = kd_params_values(r->params);
    for (size_t i = 0; i < r->net->n_layers; i++) {
        const kdi_layer *l = &r->net->layers[i];
        char name[40];
        if (!kdi_has_weights(l)) continue;
        snprintf(name, sizeof name, "%s.weight", name_of('l', i).text);
        const kd_param_info *weight = kd_params_find(r->params, name);
        snprintf(name, sizeof name, "%s.bias", name_of('l', i).text);
        const kd_param_info *bias = kd_params_find(r->params, name);
        memcpy(values + weight->offset, l->weights, weight->count * sizeof *values);
        memcpy(values + bias->offset, l->bias, bias->count * sizeof *values);
    }
    kd_params_touch(r->params);
}

static size_t batch_for(const kdi_net *net)
{
    size_t bytes = 1;
    for (size_t i = 0; i < net->n_maps; i++) bytes += kdi_map_count(&net->maps[i]) * sizeof(float);
    return kdi_larger(1, kdi_smaller(MOST_BATCH, MOST_BYTES / bytes));
}

kd_status kdi_float_create(const kdi_net *net, kdi_float_run **out)
{
    kd_ctx *ctx = net->ctx;
    kd_graph *g = NULL;
    kdi_float_run *r = kd_ctx_alloc(ctx, 1, sizeof *r);
    if (!r) return kd_ctx_memory_status(ctx);
    r->net = net;
    r->batch = batch_for(net);
    kd_status status = kd_graph_create(ctx, &g);
    if (!status) status = build(g, net);
    if (!status) status = kd_params_create(g, 0, &r->params);
    if (!status) {
        const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = r->batch, .frozen = 1};
        copy_weights(r);
        status = kd_plan_create(g, &opt, &r->plan);
    }
    kd_graph_destroy(g);
    if (!status) status = kd_exec_create(r->plan, r->params, NULL, &r->exec);
    if (!status) {
        r->input = kd_ctx_alloc(ctx, r->batch * kdi_map_count(&net->maps[0]), sizeof *r->input);
        if (!r->input) status = kd_ctx_memory_status(ctx);
    }
    if (status)
        kdi_float_destroy(r);
    else
        *out = r;
    return status;
}

/* ---- running --------------------------------------------------------------------------------- */

static kd_status check_finite(const kdi_float_run *r)
{
    char text[KDI_LAYER_TEXT];
    for (size_t i = 0; i < r->net->n_layers; i++) {
        const kdi_layer *l = &r->net->layers[i];
        const float *x = kdi_float_map(r, (size_t)l->out);
        const size_t count = r->n * kdi_map_count(&r->net->maps[l->out]);
        bool finite = true;
        for (size_t k = 0; k < count; k++) finite &= isfinite(x[k]) != 0;
        if (!finite)
            return kd_ctx_fail(r->net->ctx, KD_E_NONFINITE,
                               "%s: what it makes of a picture is not finite",
                               kdi_layer_text(l, text, sizeof text));
    }
    return KD_OK;
}

kd_status kdi_float_do(kdi_float_run *r, const uint8_t *pictures, size_t n)
{
    const kd_run_opt opt = {.struct_size = sizeof opt, .batch = n};
    const size_t channels = r->net->maps[0].c, count = n * kdi_map_count(&r->net->maps[0]);
    for (size_t i = 0; i < count; i++)
        r->input[i] =
            ((float)pictures[i] / 255 - r->net->mean[i % channels]) / r->net->std[i % channels];
    r->n = n;
    kd_status status = kd_exec_bind(r->exec, "m0", r->input);
    if (!status) status = kd_exec_run(r->exec, &opt);
    return status ? status : check_finite(r);
}

size_t kdi_float_batch(const kdi_float_run *r)
{
    return r->batch;
}

const float *kdi_float_map(const kdi_float_run *r, size_t i)
{
    return i ? kd_exec_output(r->exec, name_of('m', i).text) : r->input;
}

void kdi_float_destroy(kdi_float_run *r)
{
    if (!r) return;
    kd_ctx *ctx = r->net->ctx;
    kd_exec_destroy(r->exec);
    kd_plan_destroy(r->plan);
    kd_params_destroy(r->params);
    kd_ctx_free(ctx, r->input);
    kd_ctx_free(ctx, r);
}
