/* SPDX-License-Identifier: MIT
 * drop_path.c: training, each sample (index of dimension 0) is 0 with probability `rate`, and else
 * multiplied by 1 / (1 - rate): stochastic depth (Huang et al. 2016) of a residual branch, timm's
 * DropPath. Evaluating, nothing happens.
 *
 * Which samples, counted by their index i in the whole batch: number i % 4 of Philox's block
 * {i / 4, step, id, KDI_RNG_DROP_PATH} under the run's seed. The backward draws the same numbers
 * again, so nothing is saved. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include "../base/philox.h"

#include <math.h>
#include <string.h>

typedef struct drop_path_attr {
    float rate;
} drop_path_attr;

/* One direction: x and y are input and output, or the gradients of output and input. */
typedef struct pass {
    const kd_op_call *c;
    const float *x;
    float *y;
    int accumulate;
    size_t sample; /* elements of one */
    size_t before; /* samples of the batch before these */
    uint32_t threshold;
    float scale;
} pass;

static bool kept(const pass *p, size_t i)
{
    const kd_op_call *c = p->c;
    const kdi_u32x4 drawn =
        kdi_philox(c->seed, (uint32_t)(i / 4), (uint32_t)c->step, c->id, KDI_RNG_DROP_PATH);
    return drawn.v[i % 4] >> 8 >= p->threshold;
}

static void run_range(const void *arg, size_t begin, size_t end)
{
    const pass *p = arg;
    while (begin < end) {
        const size_t i = begin / p->sample, left = (i + 1) * p->sample - begin;
        const size_t n = left < end - begin ? left : end - begin;
        if (!p->c->training)
            p->c->kernels->scale(n, 1, p->x + begin, p->y + begin, p->accumulate);
        else if (kept(p, p->before + i))
            p->c->kernels->scale(n, p->scale, p->x + begin, p->y + begin, p->accumulate);
        else if (!p->accumulate)
            memset(p->y + begin, 0, n * sizeof *p->y);
        begin += n;
    }
}

static kd_status run(const kd_op_call *c, const kd_tensor *x, const kd_tensor *y, int accumulate)
{
    const drop_path_attr *attr = c->attr;
    const pass p = {.c = c,
                    .x = x->data,
                    .y = y->data,
                    .accumulate = accumulate,
                    .sample = x->count / x->dim[0],
                    .before = x->first / (x->count / x->dim[0]),
                    .threshold = (uint32_t)ceil((double)attr->rate * 0x1p24),
                    .scale = 1 / (1 - attr->rate)};
    kdi_ranges(c->ctx, x->count, 1, run_range, &p);
    return KD_OK;
}

static kd_status forward(const kd_op_call *c)
{
    return run(c, &c->in[0], &c->out[0], 0);
}

static kd_status backward(const kd_op_call *c)
{
    return run(c, &c->dout[0], &c->din[0], (int)(c->accumulate & 1));
}

static kd_status shape(kd_op_shapes *s)
{
    const drop_path_attr *attr = s->attr;
    if (!(attr->rate >= 0 && attr->rate < 1))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: rate %g is not in [0,1)", s->name,
                           (double)attr->rate);
    if (s->in[0].rank < 1)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: the input has no samples", s->name);
    return kdi_want_equal(s);
}

static const kd_op_field fields[] = {KDI_FLOAT(drop_path_attr, rate)};

const kd_op kdi_op_drop_path = {
    .struct_size = sizeof(kd_op),
    .name = "drop_path",
    .attr_size = sizeof(drop_path_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
    .in_place = 1,
    .in_place_backward = 1,
    .identity_in_eval = 1,
};

kd_value kd_drop_path(kd_graph *g, kd_value x, float rate)
{
    const drop_path_attr attr = {rate};
    if (rate == 0 && g) return x; /* the first block's rate, as a rule */
    return kd_graph_op(g, &kdi_op_drop_path, &attr, &x, 1, NULL);
}
