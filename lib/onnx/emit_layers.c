/* SPDX-License-Identifier: MIT
 * emit_layers.c: layers with parameters. Convolutions and batch norms are [N,C,H,W], a dense layer
 * behind a map reads it flattened in that order, as PyTorch's do: so all weights are as in files. */
#include "maps.h"

void kdi_emit_conv2d(kdi_emitter *e, const kdi_node *n)
{
    const kdi_conv2d_attr *a = n->attr;
    kdi_onnx *o = e->o;
    const int64_t kernel[] = {a->kernel[0], a->kernel[1]}, stride[] = {a->stride[0], a->stride[1]};
    const int64_t dilation[] = {a->dilation[0], a->dilation[1]};
    const int64_t pads[] = {a->pad[0], a->pad[1], a->pad[0], a->pad[1]};
    if (a->bn || a->act || a->pools) {
        kdi_emit_refuse(e, "other ops were merged into it");
        return;
    }
    char *x = kdi_emit_chw(e, n->in[0]), *weight = kdi_emit_weight(e, n->in[1]);
    char *bias = a->has_bias ? kdi_emit_weight(e, n->in[2]) : NULL;
    char *y = a->has_bias ? KDI_ONNX_NODE(o, "Conv", x, weight, bias)
                          : KDI_ONNX_NODE(o, "Conv", x, weight);
    kdi_onnx_ints(o, "dilations", dilation, 2);
    kdi_onnx_int(o, "group", a->groups);
    kdi_onnx_ints(o, "kernel_shape", kernel, 2);
    kdi_onnx_ints(o, "pads", pads, 4);
    kdi_onnx_ints(o, "strides", stride, 2);
    kdi_emit_set(e, y, true);
}

/* By the running statistics. Channels are the second dimension: what is no map becomes rows. */
void kdi_emit_batch_norm(kdi_emitter *e, const kdi_node *n)
{
    const kdi_batch_norm_attr *a = n->attr;
    const kd_shape *s = kdi_emit_shape(e, n->in[0]);
    const bool map = s->rank == 4, rows = s->rank == 2;
    const int64_t flat[] = {-1, s->dim[s->rank - 1]};
    char *in[5];
    if (a->relu || a->pools) {
        kdi_emit_refuse(e, "other ops were merged into it");
        return;
    }
    in[0] = map ? kdi_emit_chw(e, n->in[0]) : kdi_emit_plain(e, n->in[0]);
    if (!map && !rows)
        in[0] = KDI_ONNX_NODE(e->o, "Reshape", in[0], kdi_onnx_int64s(e->o, flat, 2));
    for (int i = 1; i < 5; i++) in[i] = kdi_emit_weight(e, n->in[i]);
    char *y = kdi_onnx_node(e->o, "BatchNormalization", in, 5);
    kdi_onnx_float(e->o, "epsilon", a->eps);
    if (!map && !rows) y = kdi_emit_reshape(e, y, s->rank, s->dim);
    kdi_emit_set(e, y, map);
}

/* A row times the transposed weights, which stay as they are in PyTorch: runtimes transpose them
 * once. */
void kdi_emit_linear(kdi_emitter *e, const kdi_node *n)
{
    static const int64_t turned[] = {1, 0};
    const kdi_linear_attr *a = n->attr;
    kdi_onnx *o = e->o;
    if (a->act || a->residual) {
        kdi_emit_refuse(e, "other ops were merged into it");
        return;
    }
    char *x = a->flatten ? KDI_ONNX_NODE(o, "Flatten", kdi_emit_chw(e, n->in[0]))
                         : kdi_emit_plain(e, n->in[0]);
    char *weight = kdi_emit_weight(e, n->in[1]);
    char *bias = a->has_bias ? kdi_emit_weight(e, n->in[2]) : NULL;
    char *y;
    if (a->flatten || kdi_emit_shape(e, n->in[0])->rank == 2) {
        y = a->has_bias ? KDI_ONNX_NODE(o, "Gemm", x, weight, bias)
                        : KDI_ONNX_NODE(o, "Gemm", x, weight);
        kdi_onnx_int(o, "transB", 1);
    } else {
        y = KDI_ONNX_NODE(o, "MatMul", x, kdi_emit_transpose(e, weight, 2, turned));
        if (a->has_bias) y = KDI_ONNX_NODE(o, "Add", y, bias);
    }
    kdi_emit_set(e, y, false);
}

void kdi_emit_layer_norm(kdi_emitter *e, const kdi_node *n)
{
    char *x = kdi_emit_plain(e, n->in[0]);
    char *weight = kdi_emit_weight(e, n->in[1]), *bias = kdi_emit_weight(e, n->in[2]);
    char *y = KDI_ONNX_NODE(e->o, "LayerNormalization", x, weight, bias);
    kdi_onnx_int(e->o, "axis", -1);
    kdi_onnx_float(e->o, "epsilon", kdi_emit_attr_float(e, "eps"));
    kdi_emit_set(e, y, false);
}
