/* SPDX-License-Identifier: MIT
 * emit_pool.c: pools. Windows that reach beyond the padding (ceil_mode) are written as more padding
 * below and to the right, since ONNX's opsets differ in what their own ceil_mode means. An adaptive
 * pool with windows of several sizes is two products with constant matrices. */
#include "maps.h"

#include "../op/pooling.h"

/* Padding behind the last row that the last window needs. */
static int64_t pad_behind(const kdi_pooling_attr *a, int side, int64_t in, int64_t out)
{
    if (!a->ceil_mode) return a->pad[side];
    const int64_t more = (out - 1) * a->stride[side] + a->kernel[side] - in - a->pad[side];
    return more > 0 ? more : 0;
}

void kdi_emit_pool(kdi_emitter *e, const kdi_node *n)
{
    const kdi_pooling_attr *a = n->attr;
    const kd_shape *in = kdi_emit_shape(e, n->in[0]), *out = kdi_emit_shape(e, n->out[0]);
    const bool max = n->op == &kdi_op_max_pool;
    kdi_onnx *o = e->o;
    const int64_t kernel[] = {a->kernel[0], a->kernel[1]}, stride[] = {a->stride[0], a->stride[1]};
    const int64_t pads[] = {a->pad[0], a->pad[1], pad_behind(a, 0, in->dim[1], out->dim[1]),
                            pad_behind(a, 1, in->dim[2], out->dim[2])};
    const bool padded = pads[0] || pads[1] || pads[2] || pads[3];
    if (!max && !a->exclude_pad && (pads[2] > a->pad[0] || pads[3] > a->pad[1])) {
        kdi_emit_refuse(e, "it averages over padding, but not over what lies beyond it");
        return;
    }
    char *y = KDI_ONNX_NODE(o, max ? "MaxPool" : "AveragePool", kdi_emit_chw(e, n->in[0]));
    if (!max && padded && !a->exclude_pad) kdi_onnx_int(o, "count_include_pad", 1);
    kdi_onnx_ints(o, "kernel_shape", kernel, 2);
    kdi_onnx_ints(o, "pads", pads, 4);
    kdi_onnx_ints(o, "strides", stride, 2);
    kdi_emit_set(e, y, true);
}

/* [rows,size]: row i is the mean of elements floor(i*size/rows) .. ceil((i+1)*size/rows)-1; or
 * turned, [size,rows]. */
static char *averages(kdi_onnx *o, int64_t rows, int64_t size, bool turned)
{
    float *to = kdi_onnx_alloc(o, (size_t)rows, (size_t)size * sizeof *to);
    kdi_onnx_array a = {.type = KDI_ONNX_FLOAT, .rank = 2, .dim = {rows, size}, .data = to};
    if (!to) return NULL;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t first = i * size / rows, end = ((i + 1) * size + rows - 1) / rows;
        for (int64_t k = first; k < end; k++)
            to[turned ? k * rows + i : i * size + k] = 1 / (float)(end - first);
    }
    if (turned) {
        a.dim[0] = size;
        a.dim[1] = rows;
    }
    return kdi_onnx_constant(o, &a);
}

static char *equal_windows(kdi_emitter *e, char *x, const kd_shape *in, const kd_shape *out)
{
    const int64_t side[] = {in->dim[1] / out->dim[1], in->dim[2] / out->dim[2]};
    char *y = KDI_ONNX_NODE(e->o, "AveragePool", x);
    kdi_onnx_ints(e->o, "kernel_shape", side, 2);
    kdi_onnx_ints(e->o, "strides", side, 2);
    return y;
}

void kdi_emit_adaptive_pool(kdi_emitter *e, const kdi_node *n)
{
    static const int64_t places[] = {1, 2};
    const kd_shape *in = kdi_emit_shape(e, n->in[0]), *out = kdi_emit_shape(e, n->out[0]);
    const int64_t h = out->dim[1], w = out->dim[2];
    kdi_onnx *o = e->o;
    bool chw;
    char *x = kdi_emit_either(e, n->in[0], &chw);
    if (h == in->dim[1] && w == in->dim[2]) { /* nothing is averaged */
        kdi_emit_set(e, x, chw);
    } else if (h == 1 && w == 1 && !chw) {
        kdi_emit_set(e, kdi_emit_mean(e, x, 2, places), false);
    } else if (h == 1 && w == 1) {
        kdi_emit_set(e, KDI_ONNX_NODE(o, "GlobalAveragePool", x), true);
    } else if (in->dim[1] % h == 0 && in->dim[2] % w == 0) {
        kdi_emit_set(e, equal_windows(e, kdi_emit_chw(e, n->in[0]), in, out), true);
    } else {
        x = kdi_emit_chw(e, n->in[0]);
        x = KDI_ONNX_NODE(o, "MatMul", averages(o, h, in->dim[1], false), x);
        kdi_emit_set(e, KDI_ONNX_NODE(o, "MatMul", x, averages(o, w, in->dim[2], true)), true);
    }
}
