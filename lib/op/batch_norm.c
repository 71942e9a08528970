/* SPDX-License-Identifier: MIT
 * batch_norm.c: over all but the last dimension, x as rows [M,C] (Ioffe and Szegedy 2015).
 *   y = (x - mean) / sqrt(var + eps) * weight + bias
 * Training: mean and biased variance of the batch; running = (1 - m) * running + m * batch, with
 * the unbiased variance. Evaluating: the running ones, which are constants to the gradient. Fusion
 * may append a relu, then a 2x2 max pooling; y and dy are then the pooled maps.
 *
 * Rows are cut into blocks of about BLOCK floats. A block's mean and squared deviations are found
 * while it is in the second-level cache, and joined over the blocks in double (Chan et al. 1979).
 * So x is read once for the statistics (not at all if the convolution before it has them) and once
 * for y. The backward reads x and dy twice. With d = x - mean, and g = dy where y > 0 (with
 * pooling: at the largest of each 2x2 pixels),
 *   dbias = sum g, dweight = invstd sum g d,
 *   dx = weight invstd (g - sum g / M - d invstd^2 sum g d / M), or weight invstd g evaluating.
 * All passes take the blocks in the same order, so that a thread finds them in its caches. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include "../base/size.h"
#include "../kernel/kernels.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 16384, JOIN = 16, MOMENTS = 6 };

/* Scratch: PARTS numbers a channel and block, then three numbers a channel. */
enum { PARTS = 3 };

typedef struct norm {
    const kd_op_call *call;
    const kdi_batch_norm_attr *attr;
    size_t m, c, block, blocks; /* rows, channels, rows of a block */
    size_t pair;  /* if it pools, rows of x of one pooled row; block is a multiple of it */
    float *parts; /* [blocks][PARTS][c] */
    float *scale; /* weight * invstd */
    float *slope, *constant; /* of the backward; in the forward, slope is the batch's mean */
    const float *mean, *shift;
} norm;

/* Sizes alone. */
static norm measure(const kd_op_call *c)
{
    const kd_tensor *x = &c->in[0];
    norm n = {.call = c, .attr = c->attr, .m = kdi_rows(x), .c = kdi_cols(x)};
    n.pair = n.attr->pools ? 2 * x->dim[2] : 1;
    const size_t pairs = BLOCK / n.c / n.pair;
    n.block = pairs ? pairs * n.pair : n.pair;
    return n;
}

static norm norm_of(const kd_op_call *c)
{
    norm n = measure(c);
    n.blocks = n.m / n.block + (n.m % n.block != 0);
    n.parts = c->scratch;
    n.scale = n.parts + n.blocks * PARTS * n.c;
    n.slope = n.scale + n.c;
    n.constant = n.slope + n.c;
    n.shift = c->in[2].data;
    return n;
}

static size_t scratch(const kd_op_call *c, int backward)
{
    const norm n = measure(c);
    (void)backward;
    return (PARTS * (n.m / n.block + 1) + 3) * n.c * sizeof(float);
}

static size_t rows_of(const norm *n, size_t block)
{
    return block + 1 < n->blocks ? n->block : n->m - block * n->block;
}

static void for_blocks(norm *n, kd_task_fn fn)
{
    kd_parallel_for(n->call->ctx, n->blocks, fn, n);
}

/* Call fn for each two rows of pixels of a block: x from float `at` on, the pooled map from at /
 * 4. */
static void for_pairs(const norm *n, size_t b, void (*fn)(const norm *n, size_t at, float *part))
{
    const size_t begin = b * n->block * n->c, end = begin + rows_of(n, b) * n->c;
    for (size_t at = begin; at < end; at += n->pair * n->c) fn(n, at, n->parts + b * PARTS * n->c);
}

static void for_channels(norm *n, kd_task_fn fn)
{
    kd_parallel_for(n->call->ctx, kdi_pieces(n->c, JOIN), fn, n);
}

/* ---- forward --------------------------------------------------------------------------------- */

static void sum_block(void *arg, size_t b, int worker)
{
    const norm *n = arg;
    const float *x = n->call->in[0].data;
    float *part = n->parts + b * PARTS * n->c;
    (void)worker;
    n->call->kernels->bn_sums(rows_of(n, b), n->c, x + b * n->block * n->c, part, part + n->c,
                              part + 2 * n->c);
}

/* The mean of a block's channel, in double: with its rounding error. */
static double mean_of(const norm *n, const float *part, double rows)
{
    return (double)part[0] + (double)part[2 * n->c] / rows;
}

/* Mean and squared deviations of all rows, for JOIN channels from j. */
static void join(const norm *n, size_t j, size_t count, double *mean, double *m2)
{
    for (size_t i = 0; i < count; i++) mean[i] = m2[i] = 0;
    for (size_t b = 0; b < n->blocks; b++) {
        const float *part = n->parts + b * PARTS * n->c + j;
        const double rows = (double)rows_of(n, b);
        for (size_t i = 0; i < count; i++) mean[i] += rows * mean_of(n, part + i, rows);
    }
    for (size_t i = 0; i < count; i++) mean[i] /= (double)n->m;
    for (size_t b = 0; b < n->blocks; b++) {
        const float *part = n->parts + b * PARTS * n->c + j;
        const double rows = (double)rows_of(n, b);
        for (size_t i = 0; i < count; i++) {
            const double rest = (double)part[2 * n->c + i];
            const double d = mean_of(n, part + i, rows) - mean[i];
            m2[i] += (double)part[n->c + i] - rest * rest / rows + rows * d * d;
        }
    }
}

static void join_channels(void *arg, size_t index, int worker)
{
    const norm *n = arg;
    const kd_op_call *c = n->call;
    const float *weight = c->in[1].data;
    float *running_mean = c->in[3].data, *running_var = c->in[4].data;
    float *mean_out = c->out[1].data, *inverse_out = c->out[2].data;
    const size_t j = index * JOIN, count = n->c - j < JOIN ? n->c - j : JOIN;
    const double m = (double)n->m, keep = 1 - (double)n->attr->momentum;
    double mean[JOIN], m2[JOIN];
    (void)worker;
    if (c->n_in > MOMENTS) {
        const float *moments = c->in[MOMENTS].data;
        for (size_t i = 0; i < count; i++) {
            mean[i] = (double)moments[j + i];
            m2[i] = (double)moments[n->c + j + i];
        }
    } else {
        join(n, j, count, mean, m2);
    }
    for (size_t i = 0; i < count; i++) {
        const double inverse = 1 / sqrt(m2[i] / m + (double)n->attr->eps);
        const size_t k = j + i;
        n->slope[k] = (float)mean[i];
        n->scale[k] = weight[k] * (float)inverse;
        if (mean_out) mean_out[k] = (float)mean[i];
        if (inverse_out) inverse_out[k] = (float)inverse;
        running_mean[k] = (float)(keep * (double)running_mean[k] + (1 - keep) * mean[i]);
        running_var[k] = (float)(keep * (double)running_var[k] + (1 - keep) * m2[i] / (m - 1));
    }
}

static void use_running(const norm *n)
{
    const kd_op_call *c = n->call;
    const float *weight = c->in[1].data, *mean = c->in[3].data, *var = c->in[4].data;
    float *mean_out = c->out[1].data, *inverse_out = c->out[2].data;
    for (size_t j = 0; j < n->c; j++) {
        const float inverse = (float)(1 / sqrt((double)var[j] + (double)n->attr->eps));
        if (mean_out) mean_out[j] = mean[j];
        if (inverse_out) inverse_out[j] = inverse;
        n->scale[j] = weight[j] * inverse;
    }
}

static void pool_pair(const norm *n, size_t at, float *part)
{
    const kd_op_call *c = n->call;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    (void)part;
    c->kernels->bn_pool(n->pair / 4, n->c, x + at, n->pair / 2 * n->c, n->mean, n->scale, n->shift,
                        n->attr->relu, y + at / 4);
}

static void apply_block(void *arg, size_t b, int worker)
{
    const norm *n = arg;
    const size_t at = b * n->block * n->c;
    const float *x = n->call->in[0].data;
    float *y = n->call->out[0].data;
    (void)worker;
    if (n->attr->pools) {
        for_pairs(n, b, pool_pair);
        return;
    }
    n->call->kernels->bn_apply(rows_of(n, b), n->c, x + at, n->mean, n->scale, n->shift,
                               n->attr->relu, y + at);
}

static kd_status forward(const kd_op_call *c)
{
    norm n = norm_of(c);
    n.mean = c->training ? n.slope : c->in[3].data;
    if (c->recomputed && c->training) {
        const float *weight = c->in[1].data, *inverse = c->out[2].data;
        n.mean = c->out[1].data;
        for (size_t j = 0; j < n.c; j++) n.scale[j] = weight[j] * inverse[j];
    } else if (c->training) {
        int64_t *tracked = c->in[5].data;
        if (n.m < 2)
            return kd_ctx_fail(c->ctx, KD_E_SHAPE,
                               "batch_norm '%s': training needs more than one number per channel",
                               c->name);
        if (c->n_in <= MOMENTS) for_blocks(&n, sum_block);
        for_channels(&n, join_channels);
        ++*tracked;
    } else {
        use_running(&n);
    }
    if (c->out[0].data) for_blocks(&n, apply_block);
    return KD_OK;
}

/* ---- backward -------------------------------------------------------------------------------- */

static void sum_pair(const norm *n, size_t at, float *part)
{
    const kd_op_call *c = n->call;
    const float *x = c->in[0].data, *dy = c->dout[0].data;
    c->kernels->bn_pool_backward_sums(n->pair / 4, n->c, x + at, n->pair / 2 * n->c, dy + at / 4,
                                      n->mean, n->scale, n->shift, n->attr->relu, part,
                                      part + n->c);
}

static void sum_gradients(void *arg, size_t b, int worker)
{
    const norm *n = arg;
    const size_t at = b * n->block * n->c;
    const float *x = n->call->in[0].data, *dy = n->call->dout[0].data;
    float *part = n->parts + b * PARTS * n->c;
    (void)worker;
    if (n->attr->pools) {
        memset(part, 0, 2 * n->c * sizeof *part);
        for_pairs(n, b, sum_pair);
        return;
    }
    n->call->kernels->bn_backward_sums(rows_of(n, b), n->c, x + at, dy + at, n->mean, n->scale,
                                       n->shift, n->attr->relu, part, part + n->c);
}

static void put(const kd_op_call *c, int i, size_t j, double v)
{
    float *d = c->din[i].data;
    if (d) d[j] = c->accumulate >> i & 1 ? d[j] + (float)v : (float)v;
}

static void join_gradients(void *arg, size_t index, int worker)
{
    const norm *n = arg;
    const float *inverse = n->call->out[2].data;
    const size_t j = index * JOIN, count = n->c - j < JOIN ? n->c - j : JOIN;
    const double m = (double)n->m;
    double sum[JOIN] = {0}, product[JOIN] = {0};
    (void)worker;
    for (size_t b = 0; b < n->blocks; b++) {
        const float *part = n->parts + b * PARTS * n->c + j;
        for (size_t i = 0; i < count; i++) {
            sum[i] += (double)part[i];
            product[i] += (double)part[n->c + i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        const size_t k = j + i;
        const double inv = (double)inverse[k], scale = (double)n->scale[k];
        put(n->call, 1, k, inv * product[i]);
        put(n->call, 2, k, sum[i]);
        n->slope[k] = (float)(-scale * inv * inv * product[i] / m);
        n->constant[k] = (float)(-scale * sum[i] / m);
    }
}

static void gradient_pair(const norm *n, size_t at, float *part)
{
    const kd_op_call *c = n->call;
    const float *x = c->in[0].data, *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    (void)part;
    c->kernels->bn_pool_backward(n->pair / 4, n->c, x + at, n->pair / 2 * n->c, dy + at / 4,
                                 n->mean, n->scale, n->shift, n->attr->relu,
                                 c->training ? n->slope : NULL, n->constant, dx + at,
                                 (int)(c->accumulate & 1));
}

static void gradient_block(void *arg, size_t b, int worker)
{
    const norm *n = arg;
    const kd_op_call *c = n->call;
    const size_t at = b * n->block * n->c;
    const float *x = c->in[0].data, *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    (void)worker;
    if (n->attr->pools) {
        for_pairs(n, b, gradient_pair);
        return;
    }
    c->kernels->bn_backward(rows_of(n, b), n->c, x + at, dy + at, n->mean, n->scale, n->shift,
                            n->attr->relu, c->training ? n->slope : NULL, n->constant, dx + at,
                            (int)(c->accumulate & 1));
}

static kd_status backward(const kd_op_call *c)
{
    norm n = norm_of(c);
    const float *weight = c->in[1].data, *inverse = c->out[2].data;
    n.mean = c->out[1].data;
    for (size_t j = 0; j < n.c; j++) n.scale[j] = weight[j] * inverse[j];
    if (c->training || c->din[1].data || c->din[2].data) {
        for_blocks(&n, sum_gradients);
        for_channels(&n, join_gradients);
    }
    if (c->din[0].data) for_blocks(&n, gradient_block);
    if (c->n_in > MOMENTS && c->din[MOMENTS].data) {
        float *line = c->din[MOMENTS].data;
        memcpy(line, n.slope, n.c * sizeof *line);
        memcpy(line + n.c, n.constant, n.c * sizeof *line);
    }
    return KD_OK;
}

/* ---- the op ---------------------------------------------------------------------------------- */

static kd_status shape(kd_op_shapes *s)
{
    kdi_batch_norm_attr *attr = s->attr;
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    const kd_shape *x = &s->in[0];
    if (x->rank < 2 || s->in_dtype[0] != KD_F32)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is not rows of channels in f32",
                           s->name, kdi_shape_text(x, a));
    if (s->n_in < 6)
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: it has %d inputs, 6 are wanted", s->name,
                           s->n_in);
    const kd_shape channels = {.rank = 1, .dim = {x->dim[x->rank - 1]}};
    for (int i = 1; i < 5; i++)
        if (!kdi_shape_equal(&s->in[i], &channels) || s->in_dtype[i] != KD_F32)
            return kd_ctx_fail(s->ctx, KD_E_SHAPE,
                               "%s: input %s, parameter %d is %s: channels differ", s->name,
                               kdi_shape_text(x, a), i, kdi_shape_text(&s->in[i], b));
    if (s->in[5].rank != 0 || s->in_dtype[5] != KD_I64)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: num_batches_tracked is no i64 scalar", s->name);
    if (attr->momentum == 0) attr->momentum = .1f;
    if (attr->eps == 0) attr->eps = 1e-5f;
    if (!(attr->momentum > 0 && attr->momentum <= 1 && attr->eps > 0))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: momentum %g, eps %g", s->name,
                           (double)attr->momentum, (double)attr->eps);
    s->out[0] = *x;
    s->out[1] = s->out[2] = channels;
    return KD_OK;
}

static const kd_op_field fields[] = {
    KDI_FLOAT(kdi_batch_norm_attr, momentum),
    KDI_FLOAT(kdi_batch_norm_attr, eps),
    KDI_INT(kdi_batch_norm_attr, relu),
    KDI_INT(kdi_batch_norm_attr, pools),
};

const kd_op kdi_op_batch_norm = {
    .struct_size = sizeof(kd_op),
    .name = "batch_norm",
    .attr_size = sizeof(kdi_batch_norm_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 6,
    .n_out = 3,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1) | KD_KEEP_IN(2) | KD_KEEP_OUT(1) | KD_KEEP_OUT(2),
    .updates = 1u << 3 | 1u << 4 | 1u << 5,
    .optional_out = 1u << 0 | 1u << 1 | 1u << 2,
    .accumulates = 1,
    .repeats = 1,
    .mixes_in_training = 1,
    .in_place = 1,
    .in_place_backward = 1,
    .scratch = scratch,
};

kd_value kd_batch_norm(kd_graph *g, kd_value x, const char *name, float momentum, float eps)
{
    if (!name) return kdi_null(g, "kd_batch_norm: NULL name");
    static const kd_param_opt weight = {
        .struct_size = sizeof weight, .init = KD_INIT_ONE, .no_decay = 1};
    static const kd_param_opt bias = {.struct_size = sizeof bias, .no_decay = 1};
    static const kd_param_opt mean = {.struct_size = sizeof mean, .buffer = 1};
    static const kd_param_opt var = {.struct_size = sizeof var, .init = KD_INIT_ONE, .buffer = 1};
    static const kd_param_opt count = {.struct_size = sizeof count, .buffer = 1, .dtype = KD_I64};
    const kdi_batch_norm_attr attr = {.momentum = momentum, .eps = eps};
    const kd_shape s = kd_graph_shape(g, x);
    kd_graph_scope(g, "%s", name);
    kd_value in[6] = {x};
    int n_in = 1; /* a wrong x: the shape rule says so before parameters are made for it */
    if (s.rank >= 2) {
        const int64_t *c = &s.dim[s.rank - 1];
        in[1] = kd_param(g, "weight", 1, c, &weight);
        in[2] = kd_param(g, "bias", 1, c, &bias);
        in[3] = kd_param(g, "running_mean", 1, c, &mean);
        in[4] = kd_param(g, "running_var", 1, c, &var);
        in[5] = kd_param(g, "num_batches_tracked", 0, NULL, &count);
        n_in = 6;
    }
    const kd_value y = kd_graph_op(g, &kdi_op_batch_norm, &attr, in, n_in, NULL);
    kd_graph_unscope(g);
    return y;
}
