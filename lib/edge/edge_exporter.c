/* SPDX-License-Identifier: MIT
 * edge_exporter.c: what only exporters ask: where an input may lie so that the output may lie over
 * it. */
#include "edge_shape.h"

int64_t kd_edge_conv_lead(const kd_edge_conv *conv, uint8_t type)
{
    const int64_t size = kd_edge_size(type);
    const int64_t in_row =
        (int64_t)conv->in_width * conv->in_channels * (conv->flags & KD_EDGE_PIXELS ? 1 : size);
    const int64_t out_row =
        (int64_t)conv->out_width * conv->out_channels * (conv->flags & KD_EDGE_SUMS ? 4 : size);
    int64_t next = conv->rows - (int64_t)conv->pad_top;
    int64_t lead = -in_row * conv->in_height; /* the output begins behind the input */
    for (int64_t r = 0; r < conv->out_height && next < conv->in_height; r++) {
        const int64_t needed = (r + 1) * out_row - next * in_row;
        if (needed > lead) lead = needed;
        next += (int64_t)conv->pool * conv->stride_height;
    }
    return lead;
}
