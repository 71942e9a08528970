/* SPDX-License-Identifier: MIT
 * edge_linear_i8.c: int8 linear layers, y[c] = requantise(bias[c] + sum of w[c][k] x[k]). Weights are
 * read once, so there is nothing to block. */
#include "edge_shape.h"
#include "edge_conv_x86.h"
#include "edge_dot.h"

static void run(const kd_edge_model *model, const void *record, uint8_t *arena)
{
    const kd_edge_conv *conv = record;
#if KD_EDGE_X86
    if (kd_edge_x86_can(conv)) {
        kd_edge_x86_conv(model, conv, arena);
        return;
    }
#endif
    const int32_t *bias = kd_edge_section(model, conv->bias);
    const int32_t *multipliers = kd_edge_section(model, conv->multipliers);
    const int8_t *w = kd_edge_section(model, conv->weights);
    const void *in = arena + conv->in;
    void *out = arena + conv->out;
    int8_t *bytes = out;
    int32_t *words = out;
    for (uint32_t c = 0; c < conv->out_channels; c++, w += kd_edge_weight_row(conv)) {
        const int32_t sum = bias[c] + kd_edge_dot(w, in, conv->in_channels);
        const int32_t q = kd_edge_clamp(conv->zero + kd_edge_scale(sum, multipliers[c]),
                                        conv->low.i, conv->high.i);
        if (conv->flags & KD_EDGE_SUMS)
            words[c] = q;
        else
            bytes[c] = (int8_t)q;
    }
}

const kd_edge_op kd_edge_linear_i8 = {KD_EDGE_OP_LINEAR,     KD_EDGE_INT8,          "linear",
                                      kd_edge_linear_use_i8, kd_edge_conv_check_i8, run};
