/* SPDX-License-Identifier: MIT
 * emit_elementwise.c: ops that go number by number: whichever layout their input has, their output
 * has it, too. */
#include "maps.h"

/* y = op(x) */
static void unary(kdi_emitter *e, const kdi_node *n, const char *op)
{
    bool chw;
    char *x = kdi_emit_either(e, n->in[0], &chw);
    kdi_emit_set(e, KDI_ONNX_NODE(e->o, op, x), chw);
}

/* Both in the layout of the first. */
static void binary(kdi_emitter *e, const kdi_node *n, const char *op)
{
    bool chw;
    char *a = kdi_emit_either(e, n->in[0], &chw);
    char *b = chw ? kdi_emit_chw(e, n->in[1]) : kdi_emit_plain(e, n->in[1]);
    kdi_emit_set(e, KDI_ONNX_NODE(e->o, op, a, b), chw);
}

void kdi_emit_same(kdi_emitter *e, const kdi_node *n)
{
    bool chw;
    char *x = kdi_emit_either(e, n->in[0], &chw);
    kdi_emit_set(e, x, chw);
}

void kdi_emit_relu(kdi_emitter *e, const kdi_node *n)
{
    unary(e, n, "Relu");
}

void kdi_emit_sigmoid(kdi_emitter *e, const kdi_node *n)
{
    unary(e, n, "Sigmoid");
}

/* Gelu is an op from opset 20 on; before, x (1 + erf(x / sqrt 2)) / 2, in the order in which runtimes
 * look for it. */
void kdi_emit_gelu(kdi_emitter *e, const kdi_node *n)
{
    bool chw;
    kdi_onnx *o = e->o;
    if (o->opset >= 20) {
        unary(e, n, "Gelu");
        return;
    }
    char *x = kdi_emit_either(e, n->in[0], &chw);
    char *y = KDI_ONNX_NODE(o, "Div", x, kdi_onnx_number(o, 1.41421356237f));
    y = KDI_ONNX_NODE(o, "Erf", y);
    y = KDI_ONNX_NODE(o, "Add", y, kdi_onnx_number(o, 1));
    y = KDI_ONNX_NODE(o, "Mul", x, y);
    y = KDI_ONNX_NODE(o, "Mul", y, kdi_onnx_number(o, .5f));
    kdi_emit_set(e, y, chw);
}

void kdi_emit_scale(kdi_emitter *e, const kdi_node *n)
{
    bool chw;
    char *x = kdi_emit_either(e, n->in[0], &chw);
    char *factor = kdi_onnx_number(e->o, kdi_emit_attr_float(e, "factor"));
    kdi_emit_set(e, KDI_ONNX_NODE(e->o, "Mul", x, factor), chw);
}

void kdi_emit_add(kdi_emitter *e, const kdi_node *n)
{
    binary(e, n, "Add");
}

void kdi_emit_sub(kdi_emitter *e, const kdi_node *n)
{
    binary(e, n, "Sub");
}

void kdi_emit_mul(kdi_emitter *e, const kdi_node *n)
{
    binary(e, n, "Mul");
}
