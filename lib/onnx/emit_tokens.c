/* SPDX-License-Identifier: MIT
 * emit_tokens.c: tokens of a transformer: put before others, with positions added, chosen. */
#include "maps.h"

/* The batch as a number [1] that is known when the model runs, from x's first dimension. */
static char *batch_of(kdi_onnx *o, char *x)
{
    char *n = KDI_ONNX_NODE(o, "Shape", x);
    kdi_onnx_int(o, "start", 0);
    kdi_onnx_int(o, "end", 1);
    return n;
}

/* tokens [1,k,C] for each image of x [N,T,C]. */
static char *repeat(kdi_emitter *e, char *tokens, char *x, int64_t images)
{
    static const int64_t ones[] = {1, 1};
    kdi_onnx *o = e->o;
    const int64_t n = kdi_onnx_dim(o, images), to[] = {n, 1, 1};
    if (n == 1) return tokens;
    char *shape;
    if (n > 0) {
        shape = kdi_onnx_int64s(o, to, 3);
    } else {
        char *parts[] = {batch_of(o, x), kdi_onnx_int64s(o, ones, 2)};
        shape = kdi_onnx_node(o, "Concat", parts, 2);
        kdi_onnx_int(o, "axis", 0);
    }
    return KDI_ONNX_NODE(o, "Expand", tokens, shape);
}

static char *join(kdi_onnx *o, char *const *in, size_t n)
{
    char *y = kdi_onnx_node(o, "Concat", in, n);
    kdi_onnx_int(o, "axis", 1);
    return y;
}

void kdi_emit_prepend(kdi_emitter *e, const kdi_node *n)
{
    const kd_shape *s = kdi_emit_shape(e, n->in[0]);
    const int64_t row[] = {1, 1, s->dim[2]};
    const size_t count = (size_t)n->n_in - 1;
    char *tokens[KD_MAX_OPERANDS] = {NULL}, *x = kdi_emit_plain(e, n->in[0]);
    for (size_t i = 0; i < count; i++) {
        const kd_shape *t = kdi_emit_shape(e, n->in[i + 1]);
        tokens[i] = kdi_emit_plain(e, n->in[i + 1]);
        if (t->rank != 3 || t->dim[0] != 1 || t->dim[1] != 1)
            tokens[i] = kdi_emit_reshape(e, tokens[i], 3, row);
    }
    char *all = count > 1 ? join(e->o, tokens, count) : tokens[0];
    char *both[] = {repeat(e, all, x, s->dim[0]), x};
    kdi_emit_set(e, join(e->o, both, 2), false);
}

void kdi_emit_add_broadcast(kdi_emitter *e, const kdi_node *n)
{
    char *x = kdi_emit_plain(e, n->in[0]), *p = kdi_emit_plain(e, n->in[1]);
    kdi_emit_set(e, KDI_ONNX_NODE(e->o, "Add", x, p), false);
}

void kdi_emit_select_tokens(kdi_emitter *e, const kdi_node *n)
{
    const int64_t first = kdi_emit_attr(e, "first", 0, 1);
    const int64_t count = kdi_emit_attr(e, "count", 0, 1);
    kdi_emit_set(e, kdi_emit_slice(e, kdi_emit_plain(e, n->in[0]), first, count), false);
}
