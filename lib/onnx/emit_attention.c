/* SPDX-License-Identifier: MIT
 * emit_attention.c: attention, and the map of its probabilities, in ONNX's own ops (the opsets that
 * are written have no op for it):
 *   queries, keys, values [N,heads,T,d] of qkv [N,T,3*C]; p = softmax(scale q k^T + bias + mask)
 *   y = p v, its heads side by side
 * Swin's images are windows; W of them, with a mask each, are a picture. */
#include "maps.h"

#include "../op/attention_inputs.h"

#include <math.h>

typedef struct attention {
    kdi_emitter *e;
    int64_t images, t, c, heads, d, queries; /* images: may be -k */
    bool masked;
    char *bias, *mask; /* [heads,T,T], [W,T,T]; NULL: none */
    int64_t windows;
} attention;

void kdi_emit_softmax(kdi_emitter *e, const kdi_node *n)
{
    char *y = KDI_ONNX_NODE(e->o, "Softmax", kdi_emit_plain(e, n->in[0]));
    kdi_onnx_int(e->o, "axis", -1);
    kdi_emit_set(e, y, false);
}

static attention attention_of(kdi_emitter *e, const kdi_node *n, bool map)
{
    const kd_shape *s = kdi_emit_shape(e, n->in[0]);
    attention a = {.e = e,
                   .images = s->dim[0],
                   .t = s->dim[1],
                   .c = s->dim[2] / 3,
                   .heads = kdi_emit_attr(e, "heads", 0, 1),
                   .masked = kdi_emit_attr(e, "masked", 0, 1) != 0};
    if (e->o->status) return a;
    a.d = a.c / a.heads;
    a.queries = map ? a.t : kdi_emit_attr(e, "queries", 0, 1);
    const int bias = kdi_attention_bias(a.masked, n->n_in);
    if (bias) a.bias = kdi_emit_plain(e, n->in[bias]);
    if (a.masked) {
        a.mask = kdi_emit_plain(e, n->in[1]);
        a.windows = kdi_emit_shape(e, n->in[1])->dim[0];
    }
    return a;
}

/* q, k and v [N,T,C] each. */
static void split(const attention *a, char *qkv, char *part[3])
{
    kdi_onnx *o = a->e->o;
    const int64_t sizes[] = {a->c, a->c, a->c};
    part[0] = KDI_ONNX_NODE(o, "Split", qkv, kdi_onnx_int64s(o, sizes, 3));
    kdi_onnx_int(o, "axis", 2);
    kdi_onnx_outputs(o, 2, part + 1);
}

/* [N,count,C] -> [N,heads,count,d], or for keys [N,heads,d,count]. */
static char *heads_of(const attention *a, char *x, int64_t count, bool keys)
{
    static const int64_t rows[] = {0, 2, 1, 3}, columns[] = {0, 2, 3, 1};
    const int64_t apart[] = {a->images, count, a->heads, a->d};
    x = kdi_emit_reshape(a->e, x, 4, apart);
    return kdi_emit_transpose(a->e, x, 4, keys ? columns : rows);
}

/* scores [N,heads,queries,T] + mask, window by window: the images are [N/W,W] for that. */
static char *add_mask(const attention *a, char *scores)
{
    kdi_onnx *o = a->e->o;
    const int64_t pictures = a->images < 0 ? -(-a->images / a->windows) : a->images / a->windows;
    const int64_t apart[] = {pictures, a->windows, a->heads, a->queries, a->t};
    const int64_t wide[] = {1, a->windows, 1, a->t, a->t};
    const int64_t back[] = {a->images, a->heads, a->queries, a->t};
    char *mask = kdi_emit_reshape(a->e, a->mask, 5, wide);
    char *y = kdi_emit_reshape(a->e, scores, 5, apart);
    y = KDI_ONNX_NODE(o, "Add", y, mask);
    return kdi_emit_reshape(a->e, y, 4, back);
}

/* The scale of its attributes, 0 of which is 1 / sqrt(d), goes to the queries: they are fewer than
 * the scores. */
static char *probabilities(const attention *a, char *q, char *k)
{
    kdi_onnx *o = a->e->o;
    const float told = kdi_emit_attr_float(a->e, "scale");
    const float scale = told != 0 ? told : (float)(1 / sqrt((double)a->d));
    q = KDI_ONNX_NODE(o, "Mul", q, kdi_onnx_number(o, scale));
    char *scores = KDI_ONNX_NODE(o, "MatMul", q, k);
    if (a->bias) scores = KDI_ONNX_NODE(o, "Add", scores, a->bias);
    if (a->mask) scores = add_mask(a, scores);
    scores = KDI_ONNX_NODE(o, "Softmax", scores);
    kdi_onnx_int(o, "axis", -1);
    return scores;
}

void kdi_emit_attention(kdi_emitter *e, const kdi_node *n)
{
    static const int64_t order[] = {0, 2, 1, 3};
    const bool map = n->op == &kdi_op_attention_map;
    const attention a = attention_of(e, n, map);
    const int64_t joined[] = {a.images, a.queries, a.c};
    char *part[3], *qkv = kdi_emit_plain(e, n->in[0]);
    if (e->o->status) return;
    if ((a.bias || a.mask) && a.queries != a.t) {
        kdi_emit_refuse(e, "a bias or a mask with fewer queries than tokens");
        return;
    }
    split(&a, qkv, part);
    if (a.queries < a.t) part[0] = kdi_emit_slice(e, part[0], 0, a.queries);
    char *q = heads_of(&a, part[0], a.queries, false);
    char *p = probabilities(&a, q, heads_of(&a, part[1], a.t, true));
    if (map) {
        kdi_emit_set(e, p, false);
        return;
    }
    char *y = KDI_ONNX_NODE(e->o, "MatMul", p, heads_of(&a, part[2], a.t, false));
    y = kdi_emit_transpose(e, y, 4, order);
    kdi_emit_set(e, kdi_emit_reshape(e, y, 3, joined), false);
}
