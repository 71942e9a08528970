/* SPDX-License-Identifier: MIT
 * edge_conv_i8.c: int8 convolutions for every machine: blocks of two pixels by two channels, so that
 * a byte that is loaded is used twice. The inner product is edge_dot.h's, which has the
 * instructions of each core.
 *
 * Channels are the outer loop: the weights of two channels are read once for a whole row. */
#include "edge_shape.h"
#include "edge_conv_x86.h"
#include "edge_dot.h"
#include "edge_memory.h"

void kd_edge_load_i8(const kd_edge_conv *conv, const uint8_t *row, uint8_t *line)
{
    const uint32_t channels = conv->in_channels, columns = kd_edge_columns(conv);
    for (uint32_t x = 0; x < columns; x++) {
        if (row && x == conv->pad_left) {
            uint32_t n = columns - x < conv->in_width ? columns - x : conv->in_width;
            x += n - 1;
            n *= channels;
#if KD_EDGE_X86
            memcpy(line, row, n);
            line += n, row += n;
#else
            for (; n; n--) *line++ = *row++;
#endif
            continue;
        }
        for (uint32_t c = 0; c < channels; c++) *line++ = (uint8_t)conv->pad[c & 3].i;
    }
}

/* Sums of one block: acc = {pixel 0 channel 0, pixel 0 channel 1, pixel 1 channel 0, ...}. */
static void block(const kd_edge_conv *conv, const int8_t *w0, const int8_t *w1,
                  const uint8_t *const rows[], uint32_t x0, uint32_t x1, int32_t acc[4])
{
    const uint32_t run = (uint32_t)conv->kernel_width * conv->in_channels;
    for (uint32_t ky = 0; ky < conv->kernel_height; ky++, w0 += run, w1 += run) {
        const void *row = rows[ky];
        const int8_t *in = row;
        kd_edge_dot_2x2(w0, w1, in + x0, in + x1, run, acc);
    }
}

typedef struct channel_pair {
    const int8_t *w[2];
    int32_t bias[2], multiplier[2];
    uint32_t at[2]; /* of the output channel; both the same at the end of an odd number */
} channel_pair;

static void store(const kd_edge_conv *conv, const channel_pair *pair, uint32_t pixel,
                  const int32_t *acc, uint8_t *out)
{
    for (uint32_t i = 0; i < 2; i++) {
        const int32_t q = kd_edge_clamp(conv->zero + kd_edge_scale(acc[i], pair->multiplier[i]),
                                        conv->low.i, conv->high.i);
        const uint32_t at = pixel * conv->out_channels + pair->at[i];
        if (conv->flags & KD_EDGE_SUMS) {
            void *words = out;
            int32_t *to = words;
            to[at] = q;
        } else {
            out[at] = (uint8_t)q;
        }
    }
}

static void start(const channel_pair *pair, int32_t acc[4])
{
    acc[0] = acc[2] = pair->bias[0];
    acc[1] = acc[3] = pair->bias[1];
}

static void larger(int32_t *a, const int32_t *b)
{
    if (*a < *b) *a = *b;
}

/* Two channels of one output row. */
static void pair_row(const kd_edge_conv *conv, const channel_pair *pair,
                     const uint8_t *const rows[], uint8_t *out)
{
    const uint32_t step = (uint32_t)conv->stride_width * conv->in_channels;
    int32_t acc[4], below[4];
    if (conv->pool == 1) {
        for (uint32_t x = 0, at = 0; x < conv->out_width; x += 2, at += 2 * step) {
            const int two = x + 1 < conv->out_width;
            start(pair, acc);
            block(conv, pair->w[0], pair->w[1], rows, at, two ? at + step : at, acc);
            store(conv, pair, x, acc, out);
            if (two) store(conv, pair, x + 1, acc + 2, out);
        }
        return;
    }
    for (uint32_t x = 0, at = 0; x < conv->out_width; x++, at += 2 * step) {
        start(pair, acc);
        start(pair, below);
        block(conv, pair->w[0], pair->w[1], rows, at, at + step, acc);
        block(conv, pair->w[0], pair->w[1], rows + conv->stride_height, at, at + step, below);
        for (uint32_t i = 0; i < 2; i++) { /* the scale is positive: the largest sum stays it */
            larger(&acc[i], &acc[i + 2]);
            larger(&acc[i], &below[i]);
            larger(&acc[i], &below[i + 2]);
        }
        store(conv, pair, x, acc, out);
    }
}

void kd_edge_row_i8(const kd_edge_model *model, const kd_edge_conv *conv,
                    const uint8_t *const rows[], uint8_t *out)
{
    const int8_t *weights = kd_edge_section(model, conv->weights);
    const int32_t *bias = kd_edge_section(model, conv->bias);
    const int32_t *multipliers = kd_edge_section(model, conv->multipliers);
    const uint32_t row = kd_edge_weight_row(conv);
    for (uint32_t c = 0; c < conv->out_channels; c += 2) {
        const uint32_t d = c + 1 < conv->out_channels ? c + 1 : c;
        const channel_pair pair = {.w = {weights + c * row, weights + d * row},
                                   .bias = {bias[c], bias[d]},
                                   .multiplier = {multipliers[c], multipliers[d]},
                                   .at = {c, d}};
        pair_row(conv, &pair, rows, out);
    }
}

static void run(const kd_edge_model *model, const void *record, uint8_t *arena)
{
    static const kd_edge_row_ops ops = {KD_EDGE_INT8, kd_edge_load_i8, kd_edge_row_i8};
#if KD_EDGE_X86
    if (kd_edge_winograd_can(record)) {
        kd_edge_winograd_conv(model, record, arena);
        return;
    }
    if (kd_edge_x86_can(record)) {
        kd_edge_x86_conv(model, record, arena);
        return;
    }
#endif
    kd_edge_conv_rows(&ops, model, record, arena);
}

const kd_edge_op kd_edge_conv2d_i8 = {KD_EDGE_OP_CONV2D,   KD_EDGE_INT8,          "conv2d",
                                      kd_edge_conv_use_i8, kd_edge_conv_check_i8, run};
