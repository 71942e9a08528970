/* SPDX-License-Identifier: MIT
 * check.c: the checks of shape.h that most shape rules begin with. */
#include "shape.h"

kd_status kdi_want_f32(const kd_op_shapes *s, int first)
{
    for (int i = first; i < s->n_in; i++)
        if (s->in_dtype[i] != KD_F32)
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %d is %s, f32 is wanted", s->name, i,
                               kd_dtype_name(s->in_dtype[i]));
    return KD_OK;
}

kd_status kdi_want_equal(kd_op_shapes *s)
{
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    for (int i = 1; i < s->n_in; i++)
        if (!kdi_shape_equal(&s->in[0], &s->in[i]))
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: shapes %s and %s differ", s->name,
                               kdi_shape_text(&s->in[0], a), kdi_shape_text(&s->in[i], b));
    s->out[0] = s->in[0];
    return kdi_want_f32(s, 0);
}

kd_status kdi_want_rows(kd_op_shapes *s)
{
    char text[KDI_SHAPE_TEXT];
    const kd_shape *x = &s->in[0];
    if (x->rank < 1 || x->dim[x->rank - 1] < 1)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE,
                           "%s: shape %s: the last dimension must be a count, not the batch",
                           s->name, kdi_shape_text(x, text));
    s->out[0] = *x;
    return kdi_want_f32(s, 0);
}
