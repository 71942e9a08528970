/* SPDX-License-Identifier: MIT
 * loss_mse.c: losses of two arrays of one shape, each a scalar, the mean over the batch, with a
 * gradient to the first alone:
 *   mse  mean over all numbers of (x - target)^2; dx = 2 (x - target) / count
 *   kl   of rows of probabilities, mean over all rows of sum over j of t_j (log t_j - log x_j), where
 *        t_j = 0 adds nothing and x_j is at least 1e-30; dx = -t / x / rows
 * Pieces of a fixed size are summed in double, then joined in their order. */
#include "ops.h"
#include "shape.h"
#include "work.h"

#include "../base/size.h"

#include <math.h>

enum { PIECE = 4096 };
static const double least = 1e-30;

/* The sum over [begin, end) of what is added up. */
typedef double (*sum_fn)(const float *x, const float *t, size_t begin, size_t end);

typedef struct task {
    const kd_op_call *call;
    sum_fn sum;
    double scale; /* of the gradient */
} task;

static double mse_sum(const float *x, const float *t, size_t begin, size_t end)
{
    double sum = 0;
    for (size_t i = begin; i < end; i++) {
        const double d = (double)x[i] - (double)t[i];
        sum += d * d;
    }
    return sum;
}

static double kl_sum(const float *x, const float *t, size_t begin, size_t end)
{
    double sum = 0;
    for (size_t i = begin; i < end; i++)
        if (t[i] > 0) sum += (double)t[i] * log((double)t[i] / fmax((double)x[i], least));
    return sum;
}

static void sum_piece(void *arg, size_t index, int worker)
{
    const task *t = arg;
    const kd_op_call *c = t->call;
    const size_t n = c->in[0].count, begin = index * PIECE;
    const size_t end = n - begin < PIECE ? n : begin + PIECE;
    (void)worker;
    ((double *)c->scratch)[index] = t->sum(c->in[0].data, c->in[1].data, begin, end);
}

static kd_status forward(const kd_op_call *c, sum_fn fn, double count)
{
    task t = {c, fn, 0};
    const size_t pieces = kdi_pieces(c->in[0].count, PIECE);
    const double *each = c->scratch;
    double sum = 0;
    kd_parallel_for(c->ctx, pieces, sum_piece, &t);
    for (size_t i = 0; i < pieces; i++) sum += each[i];
    *(float *)c->out[0].data = (float)(sum / count);
    return KD_OK;
}

static size_t scratch(const kd_op_call *c, int backward)
{
    return backward ? 0 : kdi_pieces(c->in[0].count, PIECE) * sizeof(double);
}

static kd_status shape(kd_op_shapes *s)
{
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    const kd_status status = kdi_want_f32(s, 0);
    if (status) return status;
    if (s->in[0].rank < 1 || !kdi_shape_equal(&s->in[0], &s->in[1]))
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: %s and the target %s differ", s->name,
                           kdi_shape_text(&s->in[0], a), kdi_shape_text(&s->in[1], b));
    s->out[0] = (kd_shape){.rank = 1, .dim = {1}};
    return KD_OK;
}

/* ---- mse ------------------------------------------------------------------------------------- */

static kd_status mse_forward(const kd_op_call *c)
{
    return forward(c, mse_sum, (double)c->in[0].count);
}

static void mse_range(const void *arg, size_t begin, size_t end)
{
    const task *t = arg;
    const kd_op_call *c = t->call;
    const float *x = c->in[0].data, *target = c->in[1].data, scale = (float)t->scale;
    float *dx = c->din[0].data;
    for (size_t i = begin; i < end; i++) {
        const float d = scale * (x[i] - target[i]);
        dx[i] = c->accumulate & 1 ? dx[i] + d : d;
    }
}

static kd_status mse_backward(const kd_op_call *c)
{
    const double dy = (double)*(const float *)c->dout[0].data;
    const task t = {c, NULL, 2 * dy / (double)c->in[0].count};
    kdi_ranges(c->ctx, c->in[0].count, 2, mse_range, &t);
    return KD_OK;
}

const kd_op kdi_op_loss_mse = {
    .struct_size = sizeof(kd_op),
    .name = "loss_mse",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .shape = shape,
    .forward = mse_forward,
    .backward = mse_backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1),
    .no_grad = 1u << 1,
    .accumulates = 1,
    .scratch = scratch,
};

kd_value kd_loss_mse(kd_graph *g, kd_value x, kd_value target)
{
    const kd_value in[] = {x, target};
    return kd_graph_op(g, &kdi_op_loss_mse, NULL, in, 2, NULL);
}

/* ---- kl -------------------------------------------------------------------------------------- */

static kd_status kl_forward(const kd_op_call *c)
{
    return forward(c, kl_sum, (double)kdi_rows(&c->in[0]));
}

static void kl_range(const void *arg, size_t begin, size_t end)
{
    const task *t = arg;
    const kd_op_call *c = t->call;
    const float *x = c->in[0].data, *target = c->in[1].data;
    float *dx = c->din[0].data;
    for (size_t i = begin; i < end; i++) {
        const bool flat = target[i] <= 0 || (double)x[i] < least;
        const float d = flat ? 0 : (float)(t->scale * (double)target[i] / (double)x[i]);
        dx[i] = c->accumulate & 1 ? dx[i] + d : d;
    }
}

static kd_status kl_backward(const kd_op_call *c)
{
    const double dy = (double)*(const float *)c->dout[0].data;
    const task t = {c, NULL, -dy / (double)kdi_rows(&c->in[0])};
    kdi_ranges(c->ctx, c->in[0].count, 4, kl_range, &t);
    return KD_OK;
}

const kd_op kdi_op_loss_kl = {
    .struct_size = sizeof(kd_op),
    .name = "loss_kl",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .shape = shape,
    .forward = kl_forward,
    .backward = kl_backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1),
    .no_grad = 1u << 1,
    .accumulates = 1,
    .scratch = scratch,
};

kd_value kd_loss_kl(kd_graph *g, kd_value x, kd_value target)
{
    const kd_value in[] = {x, target};
    return kd_graph_op(g, &kdi_op_loss_kl, NULL, in, 2, NULL);
}
