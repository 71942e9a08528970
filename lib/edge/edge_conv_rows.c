/* SPDX-License-Identifier: MIT
 * edge_conv_rows.c: a convolution row by row through its line buffers (docs/edge-format.md). An
 * input row is copied into a line buffer, with its padding, before an output row is written over it;
 * kernels then read rows without borders. Without line buffers the rows are the map's own. */
#include "edge_shape.h"

void kd_edge_slide(const kd_edge_row_ops *ops, const kd_edge_conv *conv, uint8_t *arena, uint32_t r,
                   kd_edge_window *window)
{
    const uint32_t size = conv->flags & KD_EDGE_PIXELS ? 1 : kd_edge_size(ops->type);
    const uint32_t in_row = (uint32_t)conv->in_width * conv->in_channels * size;
    const uint32_t n = conv->kernel_height + (conv->pool - 1u) * conv->stride_height;
    const int32_t first = (int32_t)(r * conv->pool * conv->stride_height) - conv->pad_top;
    const uint8_t *in = arena + conv->in;
    if (!conv->rows) {
        for (uint32_t i = 0; i < n; i++) window->rows[i] = in + ((uint32_t)first + i) * in_row;
        return;
    }
    const uint32_t line = kd_edge_line_bytes(conv, ops->type);
    uint8_t *lines = arena + conv->scratch;
    /* the first window begins; or rows between two windows are left out */
    if (!r || window->next < first) window->next = first, window->slot = 0;
    for (; window->next < first + (int32_t)n; window->next++) {
        const int inside = window->next >= 0 && window->next < conv->in_height;
        ops->load(conv, inside ? in + (uint32_t)window->next * in_row : 0,
                  lines + window->slot * line);
        window->slot = window->slot + 1 == n ? 0 : window->slot + 1;
    }
    for (uint32_t i = 0; i < n; i++) { /* the buffer filled longest ago is the first row's */
        const uint32_t s = window->slot + i;
        window->rows[i] = lines + (s < n ? s : s - n) * line;
    }
}

void kd_edge_conv_rows(const kd_edge_row_ops *ops, const kd_edge_model *model,
                       const kd_edge_conv *conv, uint8_t *arena)
{
    const uint32_t size = conv->flags & KD_EDGE_SUMS ? 4 : kd_edge_size(ops->type);
    const uint32_t out_row = (uint32_t)conv->out_width * conv->out_channels * size;
    kd_edge_window window;
    for (uint32_t r = 0; r < conv->out_height; r++) {
        kd_edge_slide(ops, conv, arena, r, &window);
        ops->compute(model, conv, window.rows, arena + conv->out + r * out_row);
    }
}
