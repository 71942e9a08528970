/* SPDX-License-Identifier: MIT
 * apart.h: sharing memory between buffers changes no bit: for tests of ops and of networks. */
#ifndef KDI_APART_H
#define KDI_APART_H

#include "../test.h"

#include <kd/plan.h>

typedef struct apart_input {
    const char *name;
    const void *data;
} apart_input;

/* Run the graph as opt says, then with every buffer apart, and with free memory poisoned; twice
 * each, the second run adding up gradients. All outputs, gradients and buffers must have the same
 * bits. params are left as they were, but for the gradients. */
void check_apart(kd_ctx *ctx, kd_graph *g, const kd_plan_opt *opt, kd_params *params,
                 const apart_input *inputs, size_t n_inputs);

#endif
