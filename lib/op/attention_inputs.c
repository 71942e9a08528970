/* SPDX-License-Identifier: MIT
 * attention_inputs.c: see attention_inputs.h. */
#include "attention_inputs.h"
#include "shape.h"

#include <math.h>

int kdi_attention_inputs(kd_value in[3], kd_value qkv, kd_value bias, kd_value mask)
{
    int n = 0;
    in[n++] = qkv;
    if (mask != KD_NONE) in[n++] = mask;
    if (bias != KD_NONE) in[n++] = bias;
    return n;
}

int kdi_attention_bias(int masked, int n_in)
{
    return n_in > 1 + masked ? 1 + masked : 0;
}

static kd_status misfit(const kd_op_shapes *s, int heads, const char *what, int input)
{
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s of %d heads, %s %s: they do not fit",
                       s->name, kdi_shape_text(&s->in[0], a), heads, what,
                       kdi_shape_text(&s->in[input], b));
}

kd_status kdi_attention_check(const kd_op_shapes *s, int heads, int masked, float scale)
{
    const kd_shape *x = &s->in[0];
    const int bias = kdi_attention_bias(masked, s->n_in);
    char text[KDI_SHAPE_TEXT];
    if (!isfinite(scale))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: scale %g", s->name, (double)scale);
    if (heads < 1) return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: %d heads", s->name, heads);
    if (x->rank != 3 || x->dim[2] % (3 * (int64_t)heads))
        return kd_ctx_fail(s->ctx, KD_E_SHAPE,
                           "%s: input %s is not [N,T,3*C] with a C that %d heads divide", s->name,
                           kdi_shape_text(x, text), heads);
    const int64_t t = x->dim[1];
    const kd_shape *mask = &s->in[1];
    if (masked && (mask->rank != 3 || mask->dim[0] < 1 || x->dim[0] % mask->dim[0] ||
                   mask->dim[1] != t || mask->dim[2] != t))
        return misfit(s, heads, "mask", 1);
    const kd_shape square = {.rank = 3, .dim = {heads, t, t}};
    if (bias && !kdi_shape_equal(&s->in[bias], &square)) return misfit(s, heads, "bias", bias);
    return kdi_want_f32(s, 0);
}
