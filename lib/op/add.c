/* SPDX-License-Identifier: MIT
 * add.c: y = a + b, equal shapes. Each input's gradient is the output's itself, so there is no
 * backward; the forward also adds gradients (lib/graph/grad.c). */
#include "ops.h"
#include "shape.h"
#include "work.h"

static void add_range(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const float *a = c->in[0].data, *b = c->in[1].data;
    float *y = c->out[0].data;
    c->kernels->add(end - begin, a + begin, b + begin, y + begin);
}

static kd_status forward(const kd_op_call *c)
{
    kdi_ranges(c->ctx, c->out[0].count, 1, add_range, c);
    return KD_OK;
}

const kd_op kdi_op_add = {
    .struct_size = sizeof(kd_op),
    .name = "add",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .shape = kdi_want_equal,
    .forward = forward,
    .in_place = 1,
    .pass_through = 3,
};

kd_value kd_add(kd_graph *g, kd_value a, kd_value b)
{
    const kd_value in[] = {a, b};
    return kd_graph_op(g, &kdi_op_add, NULL, in, 2, NULL);
}
