/* SPDX-License-Identifier: MIT
 * loss.c: what the losses share: see loss.h. */
#include "loss.h"
#include "shape.h"
#include "work.h"

#include <math.h>

/* A row costs two or three exponentials a class, and a logarithm. */
enum { CLASS_COST = 16, ROW_COST = 64 };

kd_status kdi_loss_shape(kd_op_shapes *s, bool teacher, bool labels, int64_t classes)
{
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    const kd_shape *x = &s->in[0], *y = &s->in[s->n_in - 1];
    kdi_shape_text(x, a);
    if (x->rank != 2 || s->in_dtype[0] != KD_F32)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: logits are %s %s, [N,K] f32 is wanted", s->name,
                           a, kd_dtype_name(s->in_dtype[0]));
    if (x->dim[1] < classes)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: logits %s: at least %lld classes are needed",
                           s->name, a, (long long)classes);
    if (teacher && (!kdi_shape_equal(x, &s->in[1]) || s->in_dtype[1] != KD_F32))
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: logits %s f32 and the teacher's %s %s differ",
                           s->name, a, kdi_shape_text(&s->in[1], b), kd_dtype_name(s->in_dtype[1]));
    if (labels && (y->rank != 1 || y->dim[0] != x->dim[0] || s->in_dtype[s->n_in - 1] != KD_I32))
        return kd_ctx_fail(s->ctx, KD_E_SHAPE,
                           "%s: labels are %s %s; for logits %s one i32 for each row is wanted",
                           s->name, kdi_shape_text(y, b), kd_dtype_name(s->in_dtype[s->n_in - 1]),
                           a);
    s->out[0] = (kd_shape){.rank = 1, .dim = {1}};
    return KD_OK;
}

kd_status kdi_check_temperature(const kd_op_shapes *s, float t)
{
    if (!(t > 0 && isfinite(t)))
        return kd_ctx_fail(s->ctx, KD_E_INVALID,
                           "%s: temperature %g is not a finite number above 0", s->name, (double)t);
    return KD_OK;
}

kd_status kdi_check_labels(const kd_op_call *c, int input, const char *op)
{
    const int32_t *labels = c->in[input].data;
    const size_t k = c->in[0].dim[1];
    for (size_t i = 0; i < c->in[0].dim[0]; i++)
        if (labels[i] < 0 || (size_t)labels[i] >= k)
            return kd_ctx_fail(c->ctx, KD_E_INVALID,
                               "%s '%s': label %d of row %zu is not in [0,%zu)", op, c->name,
                               (int)labels[i], i, k);
    return KD_OK;
}

size_t kdi_loss_scratch(const kd_op_call *c, int backward)
{
    return backward ? 0 : c->in[0].dim[0] * sizeof(double);
}

typedef struct rows {
    const kd_op_call *c;
    kdi_row_loss loss;
    kdi_row_grad grad;
    double g;
} rows;

static void loss_rows(const void *arg, size_t begin, size_t end)
{
    const rows *r = arg;
    double *loss = r->c->scratch;
    for (size_t i = begin; i < end; i++) loss[i] = r->loss(r->c, i);
}

kd_status kdi_loss_forward(const kd_op_call *c, kdi_row_loss loss)
{
    const size_t n = c->in[0].dim[0], k = c->in[0].dim[1];
    const double *each = c->scratch;
    float *out = c->out[0].data;
    const rows r = {.c = c, .loss = loss};
    kdi_ranges(c->ctx, n, CLASS_COST * k + ROW_COST, loss_rows, &r);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += each[i];
    out[0] = (float)(sum / (double)n);
    return KD_OK;
}

static void grad_rows(const void *arg, size_t begin, size_t end)
{
    const rows *r = arg;
    const size_t k = r->c->in[0].dim[1];
    float *d = r->c->din[0].data;
    for (size_t i = begin; i < end; i++)
        r->grad(r->c, i, r->g, d + i * k, (int)(r->c->accumulate & 1));
}

kd_status kdi_loss_backward(const kd_op_call *c, kdi_row_grad grad)
{
    const size_t n = c->in[0].dim[0], k = c->in[0].dim[1];
    const float *dy = c->dout[0].data;
    const rows r = {.c = c, .grad = grad, .g = (double)dy[0] / (double)n};
    if (c->din[0].data) kdi_ranges(c->ctx, n, CLASS_COST * k + ROW_COST, grad_rows, &r);
    return KD_OK;
}
