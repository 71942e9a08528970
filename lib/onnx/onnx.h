/* SPDX-License-Identifier: MIT
 * onnx.h: what the public calls (onnx.c, which every library has) call, where this library was built
 * with protobuf-c. No message of ONNX's is seen here. */
#ifndef KDI_ONNX_ONNX_H
#define KDI_ONNX_ONNX_H

#include "../export/export.h"
#include "../file/about.h"

typedef struct kdi_onnx_file {
    const char *path;
    int opset;
    size_t batch; /* 0: the symbol N */
    size_t most;  /* bytes of a file; 0: as many as protocol buffers can have */
} kdi_onnx_file;

/* float32: float_model.c. */
kd_status kdi_onnx_write_graph(const kd_graph *graph, kd_params *params, const kdi_about *about,
                               const kdi_onnx_file *file);
/* int8: qdq.c. */
kd_status kdi_onnx_write_net(const kdi_net *net, const kdi_about *about, const kdi_onnx_file *file);

#endif
