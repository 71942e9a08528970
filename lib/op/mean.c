/* SPDX-License-Identifier: MIT
 * mean.c: one number [1] of all elements of x, the batch's too: their mean, and the mean of their
 * squares; dx_i = dy / n and 2 x_i dy / n. Sums are formed in double, block by block, and the
 * blocks' added in their order. */
#include "ops.h"
#include "shape.h"
#include "work.h"

enum { BLOCK = 4096, LANES = 8 };

static size_t blocks_of(const kd_tensor *x)
{
    return (x->count + BLOCK - 1) / BLOCK;
}

static size_t scratch(const kd_op_call *c, int backward)
{
    return backward ? 0 : blocks_of(&c->in[0]) * sizeof(double);
}

/* The sum of n <= BLOCK numbers, or of their squares. */
static double sum_of(const float *x, size_t n, bool squares)
{
    double lane[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = (double)x[i];
        lane[i % LANES] += squares ? v * v : v;
    }
    for (size_t k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

static void sum_blocks(const kd_op_call *c, size_t begin, size_t end, bool squares)
{
    const float *x = c->in[0].data;
    const size_t n = c->in[0].count;
    double *sum = c->scratch;
    for (size_t b = begin; b < end; b++) {
        const size_t at = b * BLOCK;
        sum[b] = sum_of(x + at, n - at < BLOCK ? n - at : BLOCK, squares);
    }
}

static void mean_blocks(const void *arg, size_t begin, size_t end)
{
    sum_blocks(arg, begin, end, false);
}

static void square_blocks(const void *arg, size_t begin, size_t end)
{
    sum_blocks(arg, begin, end, true);
}

static kd_status take_mean(const kd_op_call *c, kdi_range_fn fn)
{
    const double *each = c->scratch;
    const size_t blocks = blocks_of(&c->in[0]);
    float *y = c->out[0].data;
    double sum = 0;
    kdi_ranges(c->ctx, blocks, BLOCK, fn, c);
    for (size_t b = 0; b < blocks; b++) sum += each[b];
    y[0] = (float)(sum / (double)c->in[0].count);
    return KD_OK;
}

static kd_status mean_forward(const kd_op_call *c)
{
    return take_mean(c, mean_blocks);
}

static kd_status square_forward(const kd_op_call *c)
{
    return take_mean(c, square_blocks);
}

static void mean_back(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *dy = c->dout[0].data;
    const float d = (float)((double)dy[0] / (double)c->din[0].count);
    float *dx = c->din[0].data;
    for (size_t i = begin; i < end; i++) dx[i] = c->accumulate & 1 ? dx[i] + d : d;
}

static kd_status mean_backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->din[0].count, 1, mean_back, c);
    return KD_OK;
}

static void square_back(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *dy = c->dout[0].data, *x = c->in[0].data;
    const float factor = (float)(2 * (double)dy[0] / (double)c->din[0].count);
    float *dx = c->din[0].data;
    c->kernels->scale(end - begin, factor, x + begin, dx + begin, (int)(c->accumulate & 1));
}

static kd_status square_backward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->din[0].count, 1, square_back, c);
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    s->out[0] = (kd_shape){.rank = 1, .dim = {1}};
    return kdi_want_f32(s, 0);
}

const kd_op kdi_op_mean = {
    .struct_size = sizeof(kd_op),
    .name = "mean",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .scratch = scratch,
    .forward = mean_forward,
    .backward = mean_backward,
    .accumulates = 1,
};

const kd_op kdi_op_mean_square = {
    .struct_size = sizeof(kd_op),
    .name = "mean_square",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .scratch = scratch,
    .forward = square_forward,
    .backward = square_backward,
    .keeps = KD_KEEP_IN(0),
    .accumulates = 1,
};

kd_value kd_mean(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_mean, NULL, &x, 1, NULL);
}

kd_value kd_mean_square(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_mean_square, NULL, &x, 1, NULL);
}
