/* SPDX-License-Identifier: MIT
 * edge_conv_use.c: which convolution records are possible, and which bytes of the arena they touch.
 * Nothing here divides or overflows: sizes are products below 2^31 or refused. */
#include "edge_shape.h"

uint32_t kd_edge_conv_scratch(const kd_edge_conv *conv, uint8_t type)
{
    return conv->rows ? kd_edge_mul(kd_edge_line_bytes(conv, type), conv->rows) : 0;
}

int kd_edge_is_linear(const kd_edge_conv *conv)
{
    return conv->in_height == 1 && conv->in_width == 1 && conv->out_height == 1 &&
           conv->out_width == 1 && conv->kernel_height == 1 && conv->kernel_width == 1 &&
           conv->stride_height == 1 && conv->stride_width == 1 && conv->pool == 1 &&
           conv->rows == 0;
}

/* One direction: every window touches the map; without line buffers it lies inside. */
static int windows_fit(uint32_t in, uint32_t outs, uint32_t kernel, uint32_t stride, uint32_t pad,
                       uint32_t rows)
{
    if (!in || !outs || !kernel || !stride || pad >= kernel || outs > 0xFFFF) return 0;
    const uint32_t last = (outs - 1) * stride; /* below 2^24 */
    if (last >= in + pad) return 0;
    return rows || (pad == 0 && last + kernel <= in);
}

static int shape_fits(const kd_edge_conv *conv)
{
    const uint32_t rows = conv->kernel_height + (conv->pool - 1u) * conv->stride_height;
    if (conv->pool < 1 || conv->pool > 2 || rows > KD_EDGE_MOST_ROWS) return 0;
    if (conv->rows && conv->rows != rows) return 0;
    return windows_fit(conv->in_height, (uint32_t)conv->out_height * conv->pool,
                       conv->kernel_height, conv->stride_height, conv->pad_top, conv->rows) &&
           windows_fit(conv->in_width, (uint32_t)conv->out_width * conv->pool, conv->kernel_width,
                       conv->stride_width, conv->pad_left, conv->rows) &&
           kd_edge_mul(kd_edge_mul(conv->kernel_height, conv->kernel_width), conv->in_channels) -
                   1u <
               KD_EDGE_MOST_TAPS;
}

/* The output lies over the input so that no row is written over before it has been copied: output
 * row r ends before input row next + r * step. Both sides are linear in r, so the first and the last
 * r decide; the last is found bit by bit, without a division. */
static int in_place(const kd_edge_conv *conv, const kd_edge_use *use, uint32_t in_row,
                    uint32_t out_row)
{
    const uint32_t step = (uint32_t)conv->pool * conv->stride_height;
    const uint32_t next = conv->rows - (uint32_t)conv->pad_top; /* not yet copied at r = 0 */
    uint32_t last = 0;
    if (!conv->rows) return 0;
    if (next >= conv->in_height) return 1;
    for (uint32_t bit = 0x8000; bit; bit >>= 1) {
        const uint32_t r = last + bit;
        if (r < conv->out_height && next + r * step < conv->in_height) last = r;
    }
    return use->write.at + out_row <= use->read[0].at + next * in_row &&
           use->write.at + (last + 1) * out_row <= use->read[0].at + (next + last * step) * in_row;
}

kd_edge_status kd_edge_conv_use(const kd_edge_conv *conv, uint8_t type, kd_edge_use *use)
{
    const int pixels = conv->flags & KD_EDGE_PIXELS, sums = conv->flags & KD_EDGE_SUMS;
    const uint32_t in_size = pixels ? 1 : kd_edge_size(type);
    const uint32_t out_size = sums ? 4 : kd_edge_size(type);
    if (conv->bytes != sizeof *conv || conv->reserved || !shape_fits(conv)) return KD_EDGE_E_FORMAT;
    if (conv->flags & ~(KD_EDGE_PIXELS | KD_EDGE_SUMS)) return KD_EDGE_E_FORMAT;
    if ((sums && type != KD_EDGE_INT8) || (pixels && (type == KD_EDGE_INT8 || !conv->rows)))
        return KD_EDGE_E_FORMAT;
    *use = (kd_edge_use){.reads = 1};
    use->read_type = pixels ? KD_EDGE_INT8 : type;
    use->write_type = sums ? KD_EDGE_INT32 : type;
    use->read[0] = (kd_edge_region){
        conv->in, kd_edge_map_bytes(conv->in_height, conv->in_width, conv->in_channels, in_size)};
    use->write = (kd_edge_region){conv->out, kd_edge_map_bytes(conv->out_height, conv->out_width,
                                                               conv->out_channels, out_size)};
    use->scratch = (kd_edge_region){conv->scratch, kd_edge_conv_scratch(conv, type)};
    if (conv->rows ? !use->scratch.bytes : conv->scratch) return KD_EDGE_E_FORMAT;
    if (!use->read[0].bytes || !use->write.bytes) return KD_EDGE_E_FORMAT;
    const uint32_t most = 0x7FFFFFFF; /* so that no end overflows below */
    if (conv->in > most - use->read[0].bytes || conv->out > most - use->write.bytes)
        return KD_EDGE_E_FORMAT;
    use->in_place = (uint8_t)in_place(conv, use, conv->in_width * conv->in_channels * in_size,
                                      conv->out_width * conv->out_channels * out_size);
    return KD_EDGE_OK;
}

int kd_edge_weights_fit(const kd_edge_model *model, const kd_edge_conv *conv, uint8_t type)
{
    const uint32_t row = kd_edge_weight_row(conv) * kd_edge_size(type);
    return kd_edge_in_blob(model, conv->weights, kd_edge_mul(row, conv->out_channels)) &&
           kd_edge_in_blob(model, conv->bias, conv->out_channels * 4u);
}
