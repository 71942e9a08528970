/* SPDX-License-Identifier: MIT
 * onnx.c: the public calls, which check options and say so where this library was built without
 * protobuf-c (ONNX=0). */
#include "onnx.h"

#include <string.h>

static kd_status check_file(kd_ctx *ctx, const char *path, const kd_onnx_opt *options,
                            kdi_onnx_file *file)
{
    enum { LOW = 17, HIGH = 20, MOST_BATCH = 1 << 20 };
    kd_onnx_opt opt;
    const kd_status status = kd_options(ctx, "kd_onnx_opt", &opt, sizeof opt, options);
    if (status) return status;
    if (!path || !*path)
        return kd_ctx_fail(ctx, KD_E_INVALID, "writing an ONNX model: no path is given");
    if (opt.opset && opt.opset != LOW && opt.opset != HIGH)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_onnx_opt: opset %d; ONNX models are written in opset %d or %d",
                           opt.opset, LOW, HIGH);
    if (opt.dynamic_batch && opt.batch)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_onnx_opt: a batch of %zu, and one that may be any", opt.batch);
    if (opt.batch > MOST_BATCH)
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_onnx_opt: a batch of %zu; the most is %d",
                           opt.batch, MOST_BATCH);
    *file = (kdi_onnx_file){.path = path,
                            .opset = opt.opset ? opt.opset : LOW,
                            .batch = opt.dynamic_batch ? 0
                                     : opt.batch       ? opt.batch
                                                       : 1};
    return KDI_ONNX ? KD_OK
                    : kd_ctx_fail(ctx, KD_E_UNSUPPORTED,
                                  "ONNX models cannot be written: this library was built without "
                                  "protobuf-c (ONNX=0)");
}

#if !KDI_ONNX
kd_status kdi_onnx_write_graph(const kd_graph *graph, kd_params *params, const kdi_about *about,
                               const kdi_onnx_file *file)
{
    (void)params, (void)about, (void)file;
    return kd_ctx_fail(kd_graph_ctx(graph), KD_E_UNSUPPORTED, "there is no ONNX");
}

kd_status kdi_onnx_write_net(const kdi_net *net, const kdi_about *about, const kdi_onnx_file *file)
{
    (void)about, (void)file;
    return kd_ctx_fail(net->ctx, KD_E_UNSUPPORTED, "there is no ONNX");
}
#endif

kd_status kd_export_onnx_graph(const kd_graph *graph, kd_params *params, const char *path,
                               const kd_onnx_opt *options, const kd_export_graph_opt *described)
{
    kd_export_graph_opt opt;
    kdi_onnx_file file;
    if (!graph) return KD_E_INVALID;
    kd_ctx *ctx = kd_graph_ctx(graph);
    if (!params) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_export_onnx_graph: NULL");
    kd_status status = kd_graph_status(graph);
    if (!status) status = kd_options(ctx, "kd_export_graph_opt", &opt, sizeof opt, described);
    if (!status) status = check_file(ctx, path, options, &file);
    if (status) return status;
    const kdi_about about = {.spec = opt.spec};
    return kdi_onnx_write_graph(graph, params, &about, &file);
}

kd_status kd_export_onnx(kd_model *model, const char *path, const kd_onnx_opt *options)
{
    kdi_onnx_file file;
    kd_graph *g;
    if (!model) return KD_E_INVALID;
    kd_ctx *ctx = kd_model_ctx(model);
    kd_status status = check_file(ctx, path, options, &file);
    if (!status) status = kd_model_check_finite(model);
    if (!status) status = kd_graph_create(ctx, &g);
    if (status) return status;
    const int64_t dim[] = {KD_BATCH, (int64_t)kd_model_height(model),
                           (int64_t)kd_model_width(model), (int64_t)kd_model_channels(model)};
    kd_output(g, kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), NULL), "logits");
    kdi_about about = {.spec = kd_model_spec(model),
                       .framing = kd_model_framing(model),
                       .mean = kd_model_mean(model),
                       .std = kd_model_std(model),
                       .channels = kd_model_channels(model),
                       .class_names = kd_model_class_names(model),
                       .classes = kd_model_classes(model)};
    about.data = kd_model_data(model, &about.data_checksum);
    status = kd_graph_status(g);
    if (!status) status = kdi_onnx_write_graph(g, kd_model_params(model), &about, &file);
    kd_graph_destroy(g);
    return status;
}

/* e's labels, one behind the other, as names [classes]. */
static void point_at(const kd_export *e, const char **names)
{
    const char *label = e->labels;
    for (size_t i = 0; i < e->net->classes; i++, label += strlen(label) + 1) names[i] = label;
}

kd_status kd_export_write_onnx(kd_export *e, const char *path, const kd_onnx_opt *options)
{
    kdi_onnx_file file;
    const char **names = NULL;
    if (!e) return KD_E_INVALID;
    kd_status status = check_file(e->ctx, path, options, &file);
    if (status) return status;
    if (!e->net->quantised)
        return kd_ctx_fail(e->ctx, KD_E_INVALID,
                           "kd_export_write_onnx: the export is not in int8 (kd_export_quantise); "
                           "kd_export_onnx writes float32");
    kdi_about about = {.spec = e->spec,
                       .framing = e->framing,
                       .data = e->data,
                       .data_checksum = e->data_checksum,
                       .mean = e->net->mean,
                       .std = e->net->std,
                       .channels = e->net->maps[0].c,
                       .classes = e->net->classes};
    if (e->labels) {
        names = kd_ctx_alloc(e->ctx, e->net->classes, sizeof *names);
        if (!names) return kd_ctx_memory_status(e->ctx);
        point_at(e, names);
        about.class_names = names;
    }
    status = kdi_onnx_write_net(e->net, &about, &file);
    kd_ctx_free(e->ctx, names);
    return status;
}
