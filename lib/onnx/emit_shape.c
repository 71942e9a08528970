/* SPDX-License-Identifier: MIT
 * emit_shape.c: the same numbers in another shape or order, or joined. */
#include "maps.h"

/* Numbers of [N,C,H,W] lie as those of [N,H,W,C] if there is one place, or one channel. */
static bool is_line(const kd_shape *s)
{
    return s->rank == 4 && (s->dim[3] == 1 || s->dim[1] * s->dim[2] == 1);
}

void kdi_emit_reshaped(kdi_emitter *e, const kdi_node *n)
{
    const kd_shape *from = kdi_emit_shape(e, n->in[0]), *to = kdi_emit_shape(e, n->out[0]);
    bool chw;
    char *x = kdi_emit_either(e, n->in[0], &chw);
    if (chw && !is_line(from)) x = kdi_emit_plain(e, n->in[0]);
    char *y = to->rank == 2 && from->rank > 2 && to->dim[0] == from->dim[0]
                  ? KDI_ONNX_NODE(e->o, "Flatten", x)
                  : kdi_emit_reshape(e, x, to->rank, to->dim);
    kdi_emit_set(e, y, false);
}

void kdi_emit_transposed(kdi_emitter *e, const kdi_node *n)
{
    const int rank = kdi_emit_shape(e, n->in[0])->rank;
    int64_t order[KD_MAX_RANK];
    for (int i = 0; i < rank; i++) order[i] = kdi_emit_attr(e, "order", (size_t)i, KD_MAX_RANK);
    kdi_emit_set(e, kdi_emit_transpose(e, kdi_emit_plain(e, n->in[0]), rank, order), false);
}

void kdi_emit_concat(kdi_emitter *e, const kdi_node *n)
{
    char *in[KD_MAX_OPERANDS];
    for (int i = 0; i < n->n_in; i++) in[i] = kdi_emit_plain(e, n->in[i]);
    char *y = kdi_onnx_node(e->o, "Concat", in, (size_t)n->n_in);
    kdi_onnx_int(e->o, "axis", kdi_emit_attr(e, "axis", 0, 1));
    kdi_emit_set(e, y, false);
}
