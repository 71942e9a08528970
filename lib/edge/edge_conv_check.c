/* SPDX-License-Identifier: MIT
 * edge_conv_check.c: int8 convolutions and linear layers: what a kernel of ours or of the caller's
 * puts into its kd_edge_op. The limits are those under which no sum overflows. */
#include "edge_shape.h"

kd_edge_status kd_edge_conv_use_i8(const void *record, kd_edge_use *use)
{
    return kd_edge_conv_use(record, KD_EDGE_INT8, use);
}

kd_edge_status kd_edge_linear_use_i8(const void *record, kd_edge_use *use)
{
    return kd_edge_is_linear(record) ? kd_edge_conv_use(record, KD_EDGE_INT8, use)
                                     : KD_EDGE_E_FORMAT;
}

static int is_int8(int32_t x)
{
    return x >= -128 && x <= 127;
}

kd_edge_status kd_edge_conv_check_i8(const kd_edge_model *model, const void *record)
{
    const kd_edge_conv *conv = record;
    const int32_t low = conv->low.i, high = conv->high.i;
    if (!kd_edge_weights_fit(model, conv, KD_EDGE_INT8) ||
        !kd_edge_in_blob(model, conv->multipliers, conv->out_channels * 4u))
        return KD_EDGE_E_FORMAT;
    if (!is_int8(conv->zero) || low > high ||
        (!(conv->flags & KD_EDGE_SUMS) && (!is_int8(low) || !is_int8(high))))
        return KD_EDGE_E_FORMAT;
    for (uint32_t i = 0; i < 4; i++)
        if (!is_int8(conv->pad[i].i)) return KD_EDGE_E_FORMAT;
    const int32_t *bias = kd_edge_section(model, conv->bias);
    const int32_t *multipliers = kd_edge_section(model, conv->multipliers);
    for (uint32_t i = 0; i < conv->out_channels; i++)
        if (bias[i] > KD_EDGE_MOST_BIAS || bias[i] < -KD_EDGE_MOST_BIAS || multipliers[i] < 0 ||
            multipliers[i] > KD_EDGE_MOST_MULTIPLIER)
            return KD_EDGE_E_FORMAT;
    return KD_EDGE_OK;
}
