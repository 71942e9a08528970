/* SPDX-License-Identifier: MIT
 * dropout.c: training, each element is 0 with probability `rate` and else multiplied by
 * 1 / (1 - rate) (Srivastava et al. 2014, "inverted"); evaluating, nothing happens.
 *
 * Which elements: Philox keyed by the run's seed, counted by element of the whole batch, step and
 * op (kernel dropout).
 * The backward draws the same numbers again, so nothing is saved. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include <math.h>

typedef struct dropout_attr {
    float rate;
} dropout_attr;

/* One direction: x and y are input and output, or the gradients of output and input. */
typedef struct pass {
    const kd_op_call *c;
    const float *x;
    float *y;
    int accumulate;
    size_t before; /* elements of the batch before these */
    kdi_dropout how;
} pass;

/* The kernel begins where a block of four numbers does. A piece of a batch may begin within one:
 * its first few elements go through a block of their own. */
static size_t drop_head(const pass *p, size_t begin, size_t end)
{
    const size_t at = p->before + begin, skip = at % 4;
    float x[4] = {0}, y[4] = {0};
    if (skip == 0) return 0;
    const size_t n = 4 - skip < end - begin ? 4 - skip : end - begin;
    for (size_t i = 0; i < n; i++) {
        x[skip + i] = p->x[begin + i];
        if (p->accumulate) y[skip + i] = p->y[begin + i];
    }
    p->c->kernels->dropout(4, &p->how, at - skip, x, y, p->accumulate);
    for (size_t i = 0; i < n; i++) p->y[begin + i] = y[skip + i];
    return n;
}

static void drop_range(const void *arg, size_t begin, size_t end)
{
    const pass *p = arg;
    begin += drop_head(p, begin, end);
    p->c->kernels->dropout(end - begin, &p->how, p->before + begin, p->x + begin, p->y + begin,
                           p->accumulate);
}

static void keep_range(const void *arg, size_t begin, size_t end)
{
    const pass *p = arg;
    p->c->kernels->scale(end - begin, 1, p->x + begin, p->y + begin, p->accumulate);
}

static kd_status run(const kd_op_call *c, const kd_tensor *x, const kd_tensor *y, int accumulate)
{
    const dropout_attr *attr = c->attr;
    pass p = {.c = c, .x = x->data, .y = y->data, .accumulate = accumulate, .before = x->first};
    if (!c->training) {
        kdi_ranges(c->ctx, x->count, 1, keep_range, &p);
        return KD_OK;
    }
    /* The counter of a block of four elements has 32 bits. */
    if (x->count / 4 > UINT32_MAX || x->first / 4 > UINT32_MAX - x->count / 4)
        return kd_ctx_fail(c->ctx, KD_E_LIMIT, "dropout '%s': %zu elements are too many", c->name,
                           x->count + x->first);
    p.how = (kdi_dropout){.seed = c->seed,
                          .step = (uint32_t)c->step,
                          .id = c->id,
                          .threshold = (uint32_t)ceil((double)attr->rate * 0x1p24),
                          .scale = 1 / (1 - attr->rate)};
    kdi_ranges(c->ctx, x->count, 8, drop_range, &p);
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
    const dropout_attr *attr = s->attr;
    if (!(attr->rate >= 0 && attr->rate < 1))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: rate %g is not in [0,1)", s->name,
                           (double)attr->rate);
    return kdi_want_equal(s);
}

static const kd_op_field fields[] = {KDI_FLOAT(dropout_attr, rate)};

const kd_op kdi_op_dropout = {
    .struct_size = sizeof(kd_op),
    .name = "dropout",
    .attr_size = sizeof(dropout_attr),
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

kd_value kd_dropout(kd_graph *g, kd_value x, float rate)
{
    const dropout_attr attr = {rate};
    return kd_graph_op(g, &kdi_op_dropout, &attr, &x, 1, NULL);
}
