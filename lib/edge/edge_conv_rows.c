/* SPDX-License-Identifier: MIT
 * edge_conv_rows.c: a convolution row by row through its line buffers (docs/edge-format.md). An
 * input row is copied into a line buffer, with its padding, before an output row is written over it;
 * kernels then read rows without borders. Without line buffers the rows are the map's own. */
#include "edge_shape.h"

void kd_edge_conv_rows(const kd_edge_row_ops *ops, const kd_edge_model *model,
                       const kd_edge_conv *conv, uint8_t *arena)
{
    const uint32_t size = kd_edge_size(ops->type);
    const uint32_t in_row =
        (uint32_t)conv->in_width * conv->in_channels * (conv->flags & KD_EDGE_PIXELS ? 1 : size);
    const uint32_t out_row =
        (uint32_t)conv->out_width * conv->out_channels * (conv->flags & KD_EDGE_SUMS ? 4 : size);
    const uint32_t line = conv->rows ? kd_edge_line_bytes(conv, ops->type) : in_row;
    const uint32_t n = conv->kernel_height + (conv->pool - 1u) * conv->stride_height;
    const int32_t step = conv->pool * conv->stride_height, height = conv->in_height;
    const uint8_t *in = arena + conv->in;
    uint8_t *out = arena + conv->out, *lines = arena + conv->scratch;
    const uint8_t *rows[KD_EDGE_MOST_ROWS];
    int32_t first = -(int32_t)conv->pad_top, next = first; /* of this window; not yet loaded */
    uint32_t slot = 0;                                     /* the line buffer of row `next` */

    for (uint32_t r = 0; r < conv->out_height; r++, first += step, out += out_row) {
        if (!conv->rows) {
            for (uint32_t i = 0; i < n; i++) rows[i] = in + (uint32_t)first * in_row + i * in_row;
        } else {
            if (next < first) next = first, slot = 0; /* rows between two windows are left out */
            for (; next < first + (int32_t)n; next++) {
                const int inside = next >= 0 && next < height;
                ops->load(conv, inside ? in + (uint32_t)next * in_row : 0, lines + slot * line);
                slot = slot + 1 == n ? 0 : slot + 1;
            }
            for (uint32_t i = 0; i < n;
                 i++) { /* the buffer filled longest ago is the first row's */
                const uint32_t s = slot + i;
                rows[i] = lines + (s < n ? s : s - n) * line;
            }
        }
        ops->compute(model, conv, rows, out);
    }
}
