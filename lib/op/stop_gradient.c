/* SPDX-License-Identifier: MIT
 * stop_gradient.c: x itself, through which no gradient flows: a view, which costs nothing. */
#include "ops.h"

static kd_status shape(kd_op_shapes *s)
{
    s->out[0] = s->in[0];
    s->out_dtype[0] = s->in_dtype[0];
    return KD_OK;
}

const kd_op kdi_op_stop_gradient = {
    .struct_size = sizeof(kd_op),
    .name = "stop_gradient",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .no_grad = 1,
    .view = 1,
};

kd_value kd_stop_gradient(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_stop_gradient, NULL, &x, 1, NULL);
}
