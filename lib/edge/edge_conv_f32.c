/* SPDX-License-Identifier: MIT
 * edge_conv_f32.c: convolutions and linear layers of float32 networks, from the records of the int8
 * ones, for cores with a floating-point unit. Sums are of float32 in the order of the taps; bits
 * may differ between machines that fuse multiply and add and those that do not. */
#include "edge_conv_x86.h"
#include "edge_float.h"
#include "edge_memory.h"

static kd_edge_status use_conv(const void *record, kd_edge_use *use)
{
    return kd_edge_conv_use(record, KD_EDGE_FLOAT32, use);
}

static kd_edge_status use_linear(const void *record, kd_edge_use *use)
{
    return kd_edge_is_linear(record) ? use_conv(record, use) : KD_EDGE_E_FORMAT;
}

static kd_edge_status check(const kd_edge_model *model, const void *record)
{
    const kd_edge_conv *conv = record;
    if (conv->multipliers || conv->zero || !kd_edge_weights_fit(model, conv, KD_EDGE_FLOAT32) ||
        !kd_edge_limits_fit(&conv->low, &conv->high))
        return KD_EDGE_E_FORMAT;
    return kd_edge_all_finite(conv->pad, 4) &&
                   kd_edge_all_finite(kd_edge_section(model, conv->bias), conv->out_channels) &&
                   kd_edge_all_finite(kd_edge_section(model, conv->weights),
                                      kd_edge_weight_row(conv) * conv->out_channels)
               ? KD_EDGE_OK
               : KD_EDGE_E_FORMAT;
}

static float *fill(const kd_edge_conv *conv, uint32_t columns, float *to)
{
    for (; columns; columns--)
        for (uint32_t c = 0; c < conv->in_channels; c++) *to++ = conv->pad[c & 3].f;
    return to;
}

static void load(const kd_edge_conv *conv, const uint8_t *row, uint8_t *line)
{
    const uint32_t columns = kd_edge_columns(conv), behind = columns - conv->pad_left;
    const uint32_t inside = behind < conv->in_width ? behind : conv->in_width;
    void *to = line;
    float *out = to;
    if (!row) {
        fill(conv, columns, out);
        return;
    }
    out = fill(conv, conv->pad_left, out);
    const uint32_t n = inside * conv->in_channels;
    if (conv->flags & KD_EDGE_PIXELS)
        for (uint32_t i = 0; i < n; i++) out[i] = row[i];
    else
        memcpy(out, row, n * sizeof *out);
    fill(conv, behind - inside, out + n);
}

/* One output before it is clamped. x: offset of the window in each row. */
static float window_sum(const kd_edge_conv *conv, const float *w, float bias,
                        const uint8_t *const rows[], uint32_t x)
{
    const uint32_t run = (uint32_t)conv->kernel_width * conv->in_channels;
    float sum = bias;
    for (uint32_t ky = 0; ky < conv->kernel_height; ky++, w += run) {
        const void *row = rows[ky];
        const float *in = row;
        in += x;
        for (uint32_t i = 0; i < run; i++) sum += in[i] * w[i];
    }
    return sum;
}

static void compute(const kd_edge_model *model, const kd_edge_conv *conv,
                    const uint8_t *const rows[], uint8_t *out)
{
    const uint32_t step = (uint32_t)conv->stride_width * conv->in_channels, pool = conv->pool;
    const float *bias = kd_edge_section(model, conv->bias);
    const float *w = kd_edge_section(model, conv->weights);
    void *to = out;
    float *y = to; /* [out_width,out_channels] */
    for (uint32_t c = 0; c < conv->out_channels; c++, w += kd_edge_weight_row(conv))
        for (uint32_t x = 0; x < conv->out_width; x++) {
            const uint32_t at = x * pool * step;
            float most = window_sum(conv, w, bias[c], rows, at);
            for (uint32_t i = 1; i < pool * pool; i++) {
                const float sum = window_sum(
                    conv, w, bias[c], rows + (i >> 1) * conv->stride_height, at + (i & 1) * step);
                if (sum > most) most = sum;
            }
            y[x * conv->out_channels + c] = kd_edge_clamp_f32(most, conv->low.f, conv->high.f);
        }
}

static void run_conv(const kd_edge_model *model, const void *record, uint8_t *arena)
{
    static const kd_edge_row_ops ops = {KD_EDGE_FLOAT32, load, compute};
#if KD_EDGE_X86
    static const kd_edge_row_ops fast = {KD_EDGE_FLOAT32, load, kd_edge_x86_row_f32};
    if (kd_edge_x86_can_f32()) {
        kd_edge_conv_rows(&fast, model, record, arena);
        return;
    }
#endif
    kd_edge_conv_rows(&ops, model, record, arena);
}

const kd_edge_op kd_edge_conv2d_f32 = {KD_EDGE_OP_CONV2D, KD_EDGE_FLOAT32, "conv2d",
                                       use_conv,          check,           run_conv};
/* The window is the input, so the convolution does. */
const kd_edge_op kd_edge_linear_f32 = {KD_EDGE_OP_LINEAR, KD_EDGE_FLOAT32, "linear",
                                       use_linear,        check,           run_conv};
