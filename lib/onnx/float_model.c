/* SPDX-License-Identifier: MIT
 * float_model.c: a graph in float32 as a file. */
#include "emit.h"
#include "onnx.h"

kd_status kdi_onnx_write_graph(const kd_graph *graph, kd_params *params, const kdi_about *about,
                               const kdi_onnx_file *file)
{
    kdi_onnx o;
    kdi_onnx_begin(&o, kd_graph_ctx(graph), file->opset, file->batch);
    if (file->most) o.most = file->most;
    kdi_emit_graph(&o, graph, params);
    kdi_onnx_describe(&o, about);
    const kd_status status = kdi_onnx_write(&o, file->path);
    kdi_onnx_end(&o);
    return status;
}
