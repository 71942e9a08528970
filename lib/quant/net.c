/* SPDX-License-Identifier: MIT
 * net.c: from a graph to layers. The plan's draft, fused for a device, is read node by node. What is
 * folded here besides: a ReLU behind an add, a pool or a pooled convolution, and an average over
 * one pixel, which is nothing. */
#include "net.h"

#include "fold.h"

#include "../op/ops.h"
#include "../op/pooling.h"
#include "../plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_SIDE = 65535, MOST_KERNEL = 16, MOST_POOL = 255, MOST_TAPS = 65535, MOST_NAME = 400 };

typedef struct reader {
    kdi_net *net;
    kdi_draft *draft;
    kd_params *params;
    int *map_of; /* [values], by root: its map; -1: none */
} reader;

const char *kdi_layer_text(const kdi_layer *layer, char *out, size_t size)
{
    static const char *const ops[] = {"conv2d", "linear", "max_pool", "avg_pool", "add"};
    snprintf(out, size, "%s%s%s%s", ops[layer->op], *layer->name ? " '" : "", layer->name,
             *layer->name ? "'" : "");
    return out;
}

/* ---- maps ------------------------------------------------------------------------------------ */

/* The map of a value [N,H,W,C] or [N,C]; -1: it has another form. */
static int add_map(reader *r, kd_value value, int maker)
{
    const kd_shape *s = &r->draft->values[value].shape;
    const bool picture = s->rank == 4, row = s->rank == 2;
    if ((!picture && !row) || s->dim[0] != KD_BATCH) return -1;
    for (int i = 1; i < s->rank; i++)
        if (s->dim[i] < 1 || s->dim[i] > MOST_SIDE) return -1;
    kdi_map *m = &r->net->maps[r->net->n_maps];
    *m = (kdi_map){.h = picture ? (size_t)s->dim[1] : 1,
                   .w = picture ? (size_t)s->dim[2] : 1,
                   .c = (size_t)s->dim[s->rank - 1],
                   .maker = maker,
                   .last = maker};
    r->map_of[kdi_draft_root(r->draft, value)] = (int)r->net->n_maps;
    return (int)r->net->n_maps++;
}

static int map_of(const reader *r, kd_value value)
{
    return r->map_of[kdi_draft_root(r->draft, value)];
}

/* Layers without parameters may have no name: they are "NAME.avg_pool", "NAME.add", NAME being that
 * of the layer whose output they read. */
static const char *node_name(const reader *r, const kdi_node *n, char *out, size_t size)
{
    const int map = n->n_in ? map_of(r, n->in[0]) : -1;
    const kdi_layer *before = map > 0 ? &r->net->layers[r->net->maps[map].maker] : NULL;
    const char *average = strstr(n->op->name, "avg_pool"), *op = average ? average : n->op->name;
    *out = 0;
    if (n->name && *n->name)
        snprintf(out, size, "%s", n->name);
    else if (before)
        snprintf(out, size, "%s.%s", before->name, op);
    return out;
}

static kd_status unsupported(const reader *r, const kdi_node *n, const char *why)
{
    char name[MOST_NAME];
    node_name(r, n, name, sizeof name);
    return kd_ctx_fail(r->net->ctx, KD_E_UNSUPPORTED, *name ? "%s '%.60s': %s" : "%s%s: %s",
                       n->op->name, name, why);
}

static kd_status no_op(const reader *r, const kdi_node *n)
{
    return unsupported(r, n,
                       "the device's set of ops lacks it; it has conv2d, batch_norm, relu, "
                       "max_pool, avg_pool, linear and add");
}

/* ---- layers with weights --------------------------------------------------------------------- */

/* A parameter's or buffer's floats; NULL: the value is none. */
static const float *numbers(const reader *r, kd_value v)
{
    const kdi_value *value = &r->draft->values[kdi_draft_root(r->draft, v)];
    if (value->kind != KDI_PARAM) return NULL;
    const kd_param_info *info =
        kd_params_find(r->params, r->draft->graph->params[value->index].name);
    if (!info || info->dtype != KD_F32) return NULL;
    if (!info->buffer) return kd_params_values(r->params) + info->offset;
    return (const void *)((const char *)kd_params_buffers(r->params) + info->offset);
}

static kd_status take_weights(reader *r, kdi_layer *l, const kdi_node *n, int has_bias, int norm,
                              double eps)
{
    kdi_folding f = {.out = l->out_channels, .taps = l->taps, .eps = eps};
    const int first = 2 + (has_bias != 0);
    f.weights = numbers(r, n->in[1]);
    f.bias = has_bias ? numbers(r, n->in[2]) : NULL;
    bool all = f.weights && (!has_bias || f.bias);
    for (int i = 0; i < 4 && norm; i++) {
        f.norm[i] = numbers(r, n->in[first + i]);
        all &= f.norm[i] != NULL;
    }
    if (!all) return unsupported(r, n, "its weights are no parameters");
    l->weights = kdi_pool_alloc(&r->net->pool, f.out * f.taps, sizeof *l->weights);
    l->bias = kdi_pool_alloc(&r->net->pool, f.out, sizeof *l->bias);
    if (!l->weights || !l->bias) return kd_ctx_memory_status(r->net->ctx);
    kdi_fold_norm(&f, l->weights, l->bias);
    return KD_OK;
}

static kd_status read_conv(reader *r, kdi_layer *l, const kdi_node *n)
{
    const kdi_conv2d_attr *a = n->attr;
    if (a->groups != 1) return unsupported(r, n, "the device has no convolutions in groups");
    if (a->dilation[0] != 1 || a->dilation[1] != 1)
        return unsupported(r, n, "the device has no dilated convolutions");
    if (a->act != KDI_ACT_NONE && a->act != KDI_ACT_RELU)
        return unsupported(r, n, "the device has no activation behind it but ReLU");
    l->op = KDI_CONV;
    l->relu = a->act == KDI_ACT_RELU;
    l->pools = a->pools != 0;
    l->out_channels = (size_t)a->out;
    for (int i = 0; i < 2; i++) {
        l->kernel[i] = a->kernel[i];
        l->stride[i] = a->stride[i];
        l->pad[i] = a->pad[i];
        if (a->kernel[i] + l->pools * a->stride[i] > MOST_KERNEL || a->stride[i] > MOST_POOL ||
            a->pad[i] >= a->kernel[i])
            return unsupported(r, n, "its kernel, stride or padding is larger than the device's");
    }
    l->taps = (size_t)l->kernel[0] * (size_t)l->kernel[1] * r->net->maps[l->in[0]].c;
    return take_weights(r, l, n, a->has_bias, a->bn, (double)a->bn_eps);
}

static kd_status read_linear(reader *r, kdi_layer *l, const kdi_node *n)
{
    const kdi_linear_attr *a = n->attr;
    if (a->act != KDI_ACT_NONE && a->act != KDI_ACT_RELU)
        return unsupported(r, n, "the device has no activation behind it but ReLU");
    if (a->residual) return unsupported(r, n, "the device's linear adds no residual");
    l->op = KDI_LINEAR;
    l->relu = a->act == KDI_ACT_RELU;
    l->out_channels = (size_t)a->out;
    for (int i = 0; i < 2; i++) l->kernel[i] = l->stride[i] = 1;
    l->taps = kdi_map_count(&r->net->maps[l->in[0]]);
    if (!a->flatten && r->net->maps[l->in[0]].h * r->net->maps[l->in[0]].w != 1)
        return unsupported(r, n, "the device's linear reads one row, not one for each pixel");
    return take_weights(r, l, n, a->has_bias, 0, 0);
}

/* ---- pools ----------------------------------------------------------------------------------- */

/* Sides of the windows by which an adaptive pool averages, if they are equal. */
static bool adaptive_windows(const kdi_map *in, const kdi_pooling_attr *a, kdi_layer *l)
{
    const size_t side[2] = {in->h, in->w};
    for (int i = 0; i < 2; i++) {
        if (a->kernel[i] < 1 || side[i] % (size_t)a->kernel[i]) return false;
        l->kernel[i] = l->stride[i] = (int)(side[i] / (size_t)a->kernel[i]);
        l->pad[i] = 0;
    }
    return true;
}

static kd_status read_pool(reader *r, kdi_layer *l, const kdi_node *n)
{
    const kdi_pooling_attr *a = n->attr;
    const bool max = n->op == &kdi_op_max_pool;
    l->op = max ? KDI_MAX_POOL : KDI_AVG_POOL;
    for (int i = 0; i < 2; i++) {
        l->kernel[i] = a->kernel[i];
        l->stride[i] = a->stride[i];
        l->pad[i] = a->pad[i];
    }
    if (a->adaptive && !adaptive_windows(&r->net->maps[l->in[0]], a, l))
        return unsupported(r, n, "its windows have several sizes; the device's have one");
    if (a->ceil_mode) return unsupported(r, n, "the device's pools have no partial windows");
    if (!max && (l->pad[0] || l->pad[1]))
        return unsupported(r, n, "the device's average pool has no padding");
    for (int i = 0; i < 2; i++)
        if (l->kernel[i] > MOST_POOL || l->stride[i] > MOST_POOL || l->pad[i] >= l->kernel[i])
            return unsupported(r, n, "its window is larger than the device's, 255 pixels");
    return KD_OK;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* A ReLU that nobody has fused goes into the layer that makes its input, if nobody else reads it. */
static kd_status read_relu(reader *r, const kdi_node *n)
{
    const int map = map_of(r, n->in[0]);
    kdi_layer *l = map > 0 ? &r->net->layers[r->net->maps[map].maker] : NULL;
    if (!l || l->op == KDI_MAX_POOL || kdi_draft_readers(r->draft, n->in[0]) != 1)
        return unsupported(r, n, "the device has it behind conv2d, linear, avg_pool and add alone");
    l->relu = true;
    r->map_of[kdi_draft_root(r->draft, n->out[0])] = map;
    return KD_OK;
}

static bool is_nothing(const kdi_layer *l)
{
    return l->op == KDI_AVG_POOL && l->kernel[0] * l->kernel[1] == 1 && l->stride[0] == 1 &&
           l->stride[1] == 1;
}

/* A view may give a map's numbers another shape, which no layer of a device can. */
static bool is_shaped_as(const reader *r, kd_value v, int map)
{
    const kd_shape *s = &r->draft->values[v].shape;
    const kdi_map *m = &r->net->maps[map];
    if (s->rank == 2) return m->h * m->w == 1 && s->dim[1] == (int64_t)m->c;
    return s->rank == 4 && s->dim[1] == (int64_t)m->h && s->dim[2] == (int64_t)m->w &&
           s->dim[3] == (int64_t)m->c;
}

static kd_status read_inputs(reader *r, kdi_layer *l, const kdi_node *n)
{
    const int inputs = n->op == &kdi_op_add ? 2 : 1;
    for (int i = 0; i < inputs; i++) {
        l->in[i] = map_of(r, n->in[i]);
        if (l->in[i] < 0) return unsupported(r, n, "it reads what no layer before it makes");
        if (!is_shaped_as(r, n->in[i], l->in[i]))
            return unsupported(r, n, "it reads a map in another shape than it was made in");
    }
    if (inputs == 2 && l->in[0] == l->in[1])
        return unsupported(r, n, "the device adds two different maps");
    return KD_OK;
}

static kd_status read_layer(reader *r, const kdi_node *n)
{
    kdi_net *net = r->net;
    kdi_layer *l = &net->layers[net->n_layers];
    char name[MOST_NAME];
    *l = (kdi_layer){.in = {-1, -1}, .kernel = {1, 1}, .stride = {1, 1}};
    l->name = kdi_pool_strdup(&net->pool, node_name(r, n, name, sizeof name));
    if (!l->name) return kd_ctx_memory_status(net->ctx);
    kd_status status = read_inputs(r, l, n);
    if (status) return status;
    if (n->op == &kdi_op_conv2d)
        status = read_conv(r, l, n);
    else if (n->op == &kdi_op_linear)
        status = read_linear(r, l, n);
    else if (n->op == &kdi_op_add)
        l->op = KDI_ADD;
    else
        status = read_pool(r, l, n);
    if (status) return status;
    if (l->taps > MOST_TAPS) return unsupported(r, n, "an output of it sums more than 65535 taps");
    if (is_nothing(l)) {
        r->map_of[kdi_draft_root(r->draft, n->out[0])] = l->in[0];
        return KD_OK;
    }
    l->out = add_map(r, n->out[0], (int)net->n_layers);
    if (l->out < 0) return unsupported(r, n, "its output is no map of at most 65535 a side");
    net->n_layers++;
    return KD_OK;
}

static kd_status read_node(reader *r, const kdi_node *n)
{
    const kd_op *op = n->op;
    if (op == &kdi_op_relu) return read_relu(r, n);
    if (op == &kdi_op_conv2d || op == &kdi_op_linear || op == &kdi_op_add ||
        op == &kdi_op_max_pool || op == &kdi_op_avg_pool || op == &kdi_op_adaptive_avg_pool)
        return read_layer(r, n);
    return no_op(r, n);
}

/* ---- the network ----------------------------------------------------------------------------- */

static void count_readers(kdi_net *net, int output)
{
    for (size_t i = 0; i < net->n_maps; i++) {
        net->maps[i].readers = 0;
        net->maps[i].last = net->maps[i].maker;
    }
    for (size_t i = 0; i < net->n_layers; i++)
        for (int k = 0; k < 2; k++) {
            const int map = net->layers[i].in[k];
            if (map < 0) continue;
            net->maps[map].readers++;
            net->maps[map].last = (int)i;
        }
    net->maps[output].readers++;
    net->maps[output].last = (int)net->n_layers;
}

static kd_status read_graph(reader *r)
{
    const kdi_draft *d = r->draft;
    const kd_graph *g = d->graph;
    kd_ctx *ctx = r->net->ctx;
    if (g->n_inputs != 1 || g->n_outputs < 1 || add_map(r, g->inputs[0], -1) < 0)
        return kd_ctx_fail(ctx, KD_E_UNSUPPORTED,
                           "a device runs networks of one picture [N,H,W,C] of at most 65535 a "
                           "side");
    if (g->n_outputs != 1)
        return kd_ctx_fail(ctx, KD_E_UNSUPPORTED,
                           "a device runs networks with one output; this "
                           "has %zu",
                           g->n_outputs);
    kd_status status = KD_OK;
    for (size_t i = 0; i < d->n_nodes && !status; i++)
        if (d->nodes[i].op) status = read_node(r, &d->nodes[i]);
    if (status) return status;
    const int output = map_of(r, g->outputs[0].value);
    if (output < 0 || r->net->n_layers == 0 ||
        (size_t)r->net->maps[output].maker + 1 != r->net->n_layers)
        return kd_ctx_fail(ctx, KD_E_UNSUPPORTED, "the network's output is no layer's");
    r->net->classes = kdi_map_count(&r->net->maps[output]);
    if (r->net->classes > MOST_SIDE)
        return kd_ctx_fail(ctx, KD_E_UNSUPPORTED, "%zu outputs; a device has at most %d",
                           r->net->classes, MOST_SIDE);
    count_readers(r->net, output);
    return KD_OK;
}

static kd_status take_memory(reader *r)
{
    kdi_net *net = r->net;
    const size_t nodes = r->draft->n_nodes, values = r->draft->n_values;
    /* Each convolution may get a pool of its own. */
    net->maps = kdi_pool_alloc(&net->pool, 2 * nodes + 2, sizeof *net->maps);
    net->layers = kdi_pool_alloc(&net->pool, 2 * nodes + 1, sizeof *net->layers);
    r->map_of = kd_ctx_alloc(net->ctx, values + 1, sizeof *r->map_of);
    if (!net->maps || !net->layers || !r->map_of) return kd_ctx_memory_status(net->ctx);
    for (size_t v = 0; v < values; v++) r->map_of[v] = -1;
    return KD_OK;
}

/* Every number of the layers, once folded. */
static kd_status check_finite(const kdi_net *net)
{
    char text[KDI_LAYER_TEXT];
    for (size_t i = 0; i < net->n_layers; i++) {
        const kdi_layer *l = &net->layers[i];
        bool finite = true;
        for (size_t k = 0; kdi_has_weights(l) && k < l->out_channels * l->taps; k++)
            finite &= isfinite(l->weights[k]) != 0;
        for (size_t k = 0; kdi_has_weights(l) && k < l->out_channels; k++)
            finite &= isfinite(l->bias[k]) != 0;
        if (!finite)
            return kd_ctx_fail(net->ctx, KD_E_NONFINITE,
                               "%s: a weight, or a batch norm behind it, is not finite",
                               kdi_layer_text(l, text, sizeof text));
    }
    return KD_OK;
}

static kd_status copy_normalisation(kdi_net *net, const float *mean, const float *std)
{
    const size_t channels = net->maps[0].c;
    float *to = kdi_pool_alloc(&net->pool, 2 * channels, sizeof *to);
    if (!to) return kd_ctx_memory_status(net->ctx);
    for (size_t c = 0; c < channels; c++) {
        if (!isfinite(mean[c]) || !isfinite(std[c]) || std[c] <= 0)
            return kd_ctx_fail(net->ctx, KD_E_INVALID,
                               "channel %zu is normalised by %g and %g: the deviation must be "
                               "positive",
                               c, (double)mean[c], (double)std[c]);
        to[c] = mean[c];
        to[channels + c] = std[c];
    }
    net->mean = to;
    net->std = to + channels;
    return KD_OK;
}

kd_status kdi_net_create(const kd_graph *graph, kd_params *params, const float *mean,
                         const float *std, kdi_net **out)
{
    kd_ctx *ctx = kd_graph_ctx(graph);
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = 1};
    kdi_draft draft;
    kd_status status = kd_graph_status(graph);
    if (status) return status;
    kdi_net *net = kd_ctx_alloc(ctx, 1, sizeof *net);
    if (!net) return kd_ctx_memory_status(ctx);
    net->ctx = net->pool.ctx = ctx;
    status = kdi_draft_open(graph, &opt, KDI_FOR_DEVICE, &draft);
    reader r = {.net = net, .draft = &draft, .params = params};
    if (!status) status = take_memory(&r);
    if (!status) status = read_graph(&r);
    if (!status) status = check_finite(net);
    if (!status) status = copy_normalisation(net, mean, std);
    kd_ctx_free(ctx, r.map_of);
    kdi_draft_close(&draft);
    if (status)
        kdi_net_destroy(net);
    else
        *out = net;
    return status;
}

void kdi_net_destroy(kdi_net *net)
{
    if (!net) return;
    kd_ctx *ctx = net->ctx;
    kdi_pool_free(&net->pool);
    kd_ctx_free(ctx, net);
}

/* ---- pools of their own ---------------------------------------------------------------------- */

/* After layers moved: who makes each map, who reads it. */
static void renumber(kdi_net *net)
{
    for (size_t i = 0; i < net->n_layers; i++) net->maps[net->layers[i].out].maker = (int)i;
    count_readers(net, net->layers[net->n_layers - 1].out);
}

/* A side of a convolution's output before it pools; of an odd one the pool leaves the last out. */
static size_t conv_side(size_t in, const kdi_layer *l, int i)
{
    return (in + 2 * (size_t)l->pad[i] - (size_t)l->kernel[i]) / (size_t)l->stride[i] + 1;
}

kd_status kdi_net_part_pool(kdi_net *net, size_t layer)
{
    kdi_layer *l = &net->layers[layer], *pool = l + 1;
    char name[KDI_LAYER_TEXT];
    snprintf(name, sizeof name, "%.80s%spool", l->name, *l->name ? "." : "");
    char *copy = kdi_pool_strdup(&net->pool, name);
    if (!copy) return kd_ctx_memory_status(net->ctx);
    memmove(pool + 1, pool, (net->n_layers - layer - 1) * sizeof *pool);
    net->n_layers++;
    const size_t between = net->n_maps++;
    net->maps[between] = net->maps[l->out];
    net->maps[between].h = conv_side(net->maps[l->in[0]].h, l, 0);
    net->maps[between].w = conv_side(net->maps[l->in[0]].w, l, 1);
    *pool = (kdi_layer){.op = KDI_MAX_POOL,
                        .name = copy,
                        .in = {(int)between, -1},
                        .out = l->out,
                        .kernel = {2, 2},
                        .stride = {2, 2}};
    l->out = (int)between;
    l->pools = false;
    renumber(net);
    return KD_OK;
}

/* The map between is the last that was made. */
void kdi_net_join_pool(kdi_net *net, size_t layer)
{
    kdi_layer *l = &net->layers[layer], *pool = l + 1;
    l->out = pool->out;
    l->pools = true;
    net->n_maps--;
    net->n_layers--;
    memmove(pool, pool + 1, (net->n_layers - layer - 1) * sizeof *pool);
    renumber(net);
}
