/* SPDX-License-Identifier: MIT
 * export.c: exports: made from a model or a graph, quantised, asked about. */
#include "export.h"

#include "../quant/fold.h"
#include "../quant/quantise.h"

#include <kd/plan.h>

#include <math.h>
#include <string.h>

/* ---- making ---------------------------------------------------------------------------------- */

static kd_status take_labels(kd_export *e, const char *const *names)
{
    size_t at = 0;
    if (!names) return KD_OK;
    for (size_t i = 0; i < e->net->classes; i++) e->labels_bytes += strlen(names[i]) + 1;
    e->labels = kd_ctx_alloc(e->ctx, e->labels_bytes, 1);
    if (!e->labels) return kd_ctx_memory_status(e->ctx);
    for (size_t i = 0; i < e->net->classes; i++) {
        const size_t n = strlen(names[i]) + 1;
        memcpy(e->labels + at, names[i], n);
        at += n;
    }
    return KD_OK;
}

static kd_status take_memory(kd_export *e)
{
    /* With a pool, and a map, for each layer: kdi_part_pools. */
    e->at.map = kd_ctx_alloc(e->ctx, e->net->n_maps + e->net->n_layers, sizeof *e->at.map);
    e->at.scratch = kd_ctx_alloc(e->ctx, 2 * e->net->n_layers, sizeof *e->at.scratch);
    return e->at.map && e->at.scratch ? KD_OK : kd_ctx_memory_status(e->ctx);
}

kd_status kd_export_create_graph(const kd_graph *graph, kd_params *params,
                                 const kd_export_graph_opt *options, kd_export **out)
{
    static const float zero[64],
        one[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    kd_export_graph_opt opt;
    if (out) *out = NULL;
    if (!graph) return KD_E_INVALID;
    kd_ctx *ctx = kd_graph_ctx(graph);
    if (!params || !out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_export_create_graph: NULL");
    kd_status status = kd_options(ctx, "kd_export_graph_opt", &opt, sizeof opt, options);
    if (status) return status;
    kd_export *e = kd_ctx_alloc(ctx, 1, sizeof *e);
    if (!e) return kd_ctx_memory_status(ctx);
    e->ctx = ctx;
    status =
        kdi_net_create(graph, params, opt.mean ? opt.mean : zero, opt.std ? opt.std : one, &e->net);
    if (!status) status = kdi_fold_pixels(e->net);
    if (!status) status = take_labels(e, opt.class_names);
    if (!status) status = take_memory(e);
    if (!status) status = kdi_part_pools(e->net, &e->at);
    if (!status && opt.spec) {
        e->spec = kdi_strdup(ctx, opt.spec);
        if (!e->spec) status = kd_ctx_memory_status(ctx);
    }
    if (status)
        kd_export_destroy(e);
    else
        *out = e;
    return status;
}

/* What an ONNX model says besides. */
static kd_status take_training(kd_export *e, const kd_model *model)
{
    const char *framing = kd_model_framing(model);
    const char *data = kd_model_data(model, &e->data_checksum);
    if (framing && !(e->framing = kdi_strdup(e->ctx, framing))) return kd_ctx_memory_status(e->ctx);
    if (data && !(e->data = kdi_strdup(e->ctx, data))) return kd_ctx_memory_status(e->ctx);
    return KD_OK;
}

kd_status kd_export_create(kd_model *model, kd_export **out)
{
    kd_graph *g;
    if (out) *out = NULL;
    if (!model) return KD_E_INVALID;
    kd_ctx *ctx = kd_model_ctx(model);
    if (!out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_export_create: NULL");
    if (!kd_model_mean(model))
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "the network does not say how its pictures are normalised, which "
                           "becomes part of the first layer");
    kd_status status = kd_model_check_finite(model);
    if (!status) status = kd_graph_create(ctx, &g);
    if (status) return status;
    const int64_t dim[] = {KD_BATCH, (int64_t)kd_model_height(model),
                           (int64_t)kd_model_width(model), (int64_t)kd_model_channels(model)};
    kd_output(g, kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), NULL), "logits");
    const kd_export_graph_opt opt = {.struct_size = sizeof opt,
                                     .mean = kd_model_mean(model),
                                     .std = kd_model_std(model),
                                     .class_names = kd_model_class_names(model),
                                     .spec = kd_model_spec(model)};
    status = kd_graph_status(g);
    if (!status) status = kd_export_create_graph(g, kd_model_params(model), &opt, out);
    kd_graph_destroy(g);
    if (!status) status = take_training(*out, model);
    if (status) {
        kd_export_destroy(*out);
        *out = NULL;
    }
    return status;
}

static void forget_comparison(kd_export *e)
{
    kd_ctx_free(e->ctx, e->noise);
    e->noise = NULL;
}

void kd_export_destroy(kd_export *e)
{
    if (!e) return;
    kd_ctx *ctx = e->ctx;
    kdi_export_drop_blob(e);
    forget_comparison(e);
    void *const blocks[] = {e->ranges, e->spec,   e->labels,    e->framing,
                            e->data,   e->at.map, e->at.scratch};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) kd_ctx_free(ctx, blocks[i]);
    kdi_net_destroy(e->net);
    kd_ctx_free(ctx, e);
}

/* ---- int8 ------------------------------------------------------------------------------------ */

const char *kd_calibration_name(int method)
{
    static const char *const names[] = {"percentile", "mse", "entropy", "range"};
    return method >= 0 && method < KD_CALIBRATION_COUNT ? names[method] : NULL;
}

static kd_status check_quantise(kd_ctx *ctx, const kd_quantise_opt *o)
{
    if (!o->pictures || !o->count)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_quantise_opt: there are no pictures to calibrate with");
    if ((unsigned)o->method >= KD_CALIBRATION_COUNT)
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_quantise_opt: there is no method %d",
                           (int)o->method);
    if (o->percentile != 0 && !(o->percentile > 50 && o->percentile <= 100))
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_quantise_opt: percentile %g; it must be above 50 and at most 100",
                           o->percentile);
    return KD_OK;
}

static kd_status keep_ranges(kd_export *e, const kdi_seen *seen)
{
    if (!e->ranges) e->ranges = kd_ctx_alloc(e->ctx, e->net->n_layers, 2 * sizeof *e->ranges);
    if (!e->ranges) return kd_ctx_memory_status(e->ctx);
    for (size_t i = 0; i < e->net->n_layers; i++) {
        e->ranges[2 * i] = seen[e->net->layers[i].out].range.low;
        e->ranges[2 * i + 1] = seen[e->net->layers[i].out].range.high;
    }
    return KD_OK;
}

kd_status kd_export_quantise(kd_export *e, const kd_quantise_opt *options)
{
    kd_quantise_opt opt;
    if (!e) return KD_E_INVALID;
    kd_status status = kd_options(e->ctx, "kd_quantise_opt", &opt, sizeof opt, options);
    if (!status) status = check_quantise(e->ctx, &opt);
    if (status) return status;
    kdi_net *net = e->net;
    kdi_seen *seen = kd_ctx_alloc(e->ctx, net->n_maps, sizeof *seen);
    if (!seen) return kd_ctx_memory_status(e->ctx);
    kdi_export_drop_blob(e);
    forget_comparison(e);
    net->quantised = net->sums = false;
    if (opt.equalise) {
        kdi_equalise(net);
        status = kdi_fold_pixels(net);
    }
    if (!status) status = kdi_see(net, opt.pictures, opt.count, seen);
    if (!status) kdi_choose_ranges(net, &opt, seen);
    if (!status) status = kdi_quantise(net, &opt, seen);
    if (!status) status = keep_ranges(e, seen);
    if (status) net->quantised = net->sums = false;
    kdi_seen_free(e->ctx, seen, net->n_maps);
    kd_ctx_free(e->ctx, seen);
    return status;
}

/* ---- what is known --------------------------------------------------------------------------- */

size_t kd_export_layers(const kd_export *e)
{
    return e ? e->net->n_layers : 0;
}

static uint64_t macs_of(const kdi_net *net, const kdi_layer *l)
{
    const kdi_map *out = &net->maps[l->out];
    const uint64_t pixels = (uint64_t)out->h * out->w * (l->pools ? 4 : 1);
    return kdi_has_weights(l) ? pixels * l->out_channels * l->taps : 0;
}

kd_status kd_export_layer_info(const kd_export *e, size_t i, kd_export_layer *info)
{
    static const char *const ops[] = {"conv2d", "linear", "max_pool", "avg_pool", "add"};
    if (!e) return KD_E_INVALID;
    if (!info) return kd_ctx_fail(e->ctx, KD_E_INVALID, "kd_export_layer_info: NULL");
    const kd_status status = kd_results_check(e->ctx, "kd_export_layer", info);
    if (status) return status;
    if (i >= e->net->n_layers) return kd_ctx_fail(e->ctx, KD_E_INVALID, "there is no layer %zu", i);
    const kdi_layer *l = &e->net->layers[i];
    const kdi_map *out = &e->net->maps[l->out];
    const bool quantised = e->net->quantised;
    const double none = (double)NAN;
    kd_export_layer ours = {.op = ops[l->op],
                            .name = l->name,
                            .out = {out->h, out->w, out->c},
                            .macs = macs_of(e->net, l),
                            .weights = l->out_channels * (l->taps + 1),
                            .scale = quantised ? (double)out->scale : none,
                            .zero = quantised ? out->zero : 0,
                            .low = quantised ? e->ranges[2 * i] : none,
                            .high = quantised ? e->ranges[2 * i + 1] : none,
                            .signal_to_noise = none,
                            .own = none};
    if (e->noise) {
        ours.signal_to_noise = kdi_export_decibels(e->noise[i].signal, e->noise[i].noise);
        ours.own = kdi_export_decibels(e->noise[i].signal, e->noise[i].own);
    }
    kd_results(info, &ours, sizeof ours);
    return KD_OK;
}

kd_status kd_export_result_get(const kd_export *e, kd_export_result *result)
{
    if (!e) return KD_E_INVALID;
    if (!result) return kd_ctx_fail(e->ctx, KD_E_INVALID, "kd_export_result_get: NULL");
    const kd_status status = kd_results_check(e->ctx, "kd_export_result", result);
    if (status) return status;
    if (!e->noise) return kd_ctx_fail(e->ctx, KD_E_INVALID, "nothing was compared yet");
    kd_results(result, &e->result, sizeof e->result);
    return KD_OK;
}
