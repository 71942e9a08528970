/* SPDX-License-Identifier: MIT
 * weights.c: a layer's weights in int8. With s_x, z_x of the input and s_y of the output, channel o
 * has a scale s_o, and
 *   q_w = round(w / s_o) in [-127,127]     s_o = the largest |w| / 127
 *   b   = round(bias / (s_x s_o)) - z_x sum(q_w)
 *   M   = round(m 2^31),  m = s_x s_o / s_y
 * s_o is made larger where m would be below 2^-16, or b above 2^30. A channel whose weights are
 * tiny beside its bias, or beside what it is added to, has fewer steps then.
 *
 * Rounded weights move a channel's mean by sum((q_w s_o - w) E[x]), over the windows' mean picture,
 * padding included; the bias takes it back (Nagel et al. 2019). */
#include "quantise.h"

#include "fold.h"

#include <math.h>

static const double least_multiplier = 1.0 / 65536, most_multiplier = .5;
static const double most_bias = 1 << 30;

/* The mean of what tap t meets, over all windows: of a map's mean picture, padding as 0 of the
 * normalised picture. */
static double mean_at(const kdi_net *net, const kdi_layer *l, const double *mean, size_t t)
{
    const kdi_map *in = &net->maps[l->in[0]], *out = &net->maps[l->out];
    if (l->op == KDI_LINEAR) return mean[t];
    const size_t c = t % in->c, kx = t / in->c % (size_t)l->kernel[1];
    const size_t ky = t / in->c / (size_t)l->kernel[1], pool = l->pools ? 2 : 1;
    double sum = 0;
    for (size_t oy = 0; oy < out->h * pool; oy++)
        for (size_t ox = 0; ox < out->w * pool; ox++) {
            const size_t y = oy * (size_t)l->stride[0] + ky - (size_t)l->pad[0];
            const size_t x = ox * (size_t)l->stride[1] + kx - (size_t)l->pad[1];
            if (y < in->h && x < in->w) sum += mean[(y * in->w + x) * in->c + c];
        }
    return sum / (double)(out->h * out->w * pool * pool);
}

/* [taps]: the means, in the units of the layer's weights. */
static void means_of_taps(const kdi_net *net, const kdi_layer *l, const double *mean, double *taps)
{
    const size_t channels = net->maps[0].c;
    for (size_t t = 0; t < l->taps; t++) {
        taps[t] = mean_at(net, l, mean, t);
        if (l->pixel_weights)
            taps[t] =
                255 * (taps[t] * (double)net->std[t % channels] + (double)net->mean[t % channels]);
    }
}

typedef struct channel {
    const float *weights;
    double bias, scale, in_scale, out_scale;
    int32_t in_zero;
    const double *means; /* [taps]; NULL: no correction */
} channel;

/* Rounded weights, and what they make of the bias, which may be too large for int32. */
static double round_channel(const channel *c, size_t taps, int8_t *q)
{
    double moved = 0, sum = 0;
    for (size_t t = 0; t < taps; t++) {
        const double w = (double)c->weights[t];
        double r = round(w / c->scale);
        r = r > 127 ? 127 : r < -127 ? -127 : r;
        q[t] = (int8_t)r;
        sum += r;
        if (c->means) moved += (r * c->scale - w) * c->means[t];
    }
    return round((c->bias - moved) / (c->in_scale * c->scale)) - c->in_zero * sum;
}

static double largest(const float *w, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(w[i]));
    return (double)most;
}

/* KD_E_UNSUPPORTED where no scale will do. */
static kd_status quantise_channel(kdi_net *net, kdi_layer *l, size_t o, channel *c)
{
    char text[KDI_LAYER_TEXT];
    const double most = largest(c->weights, l->taps);
    const double least = least_multiplier * c->out_scale / c->in_scale;
    c->scale = fmax(most / 127, least);
    for (;;) {
        const double m = c->in_scale * c->scale / c->out_scale;
        const double multiplier = round(m * 2147483648.0);
        if (!(m < most_multiplier) || multiplier >= most_bias)
            return kd_ctx_fail(net->ctx, KD_E_UNSUPPORTED,
                               "%s: channel %zu cannot be quantised: its weights reach %.3g, its "
                               "bias is %.3g, its output's step %.3g",
                               kdi_layer_text(l, text, sizeof text), o, most, c->bias,
                               c->out_scale);
        const double bias = round_channel(c, l->taps, l->weights8 + o * l->taps);
        if (fabs(bias) <= most_bias) {
            l->bias32[o] = (int32_t)bias;
            l->multipliers[o] = (int32_t)multiplier;
            l->weight_scales[o] = (float)c->scale;
            return KD_OK;
        }
        c->scale *= 2;
    }
}

static kd_status take_memory(kdi_net *net, kdi_layer *l)
{
    if (l->weights8) return KD_OK;
    kdi_pool *pool = &net->pool;
    l->weights8 = kdi_pool_alloc(pool, l->out_channels * l->taps, sizeof *l->weights8);
    l->bias32 = kdi_pool_alloc(pool, l->out_channels, sizeof *l->bias32);
    l->multipliers = kdi_pool_alloc(pool, l->out_channels, sizeof *l->multipliers);
    l->weight_scales = kdi_pool_alloc(pool, l->out_channels, sizeof *l->weight_scales);
    return l->weights8 && l->bias32 && l->multipliers && l->weight_scales
               ? KD_OK
               : kd_ctx_memory_status(net->ctx);
}

kd_status kdi_quantise_weights(kdi_net *net, kdi_layer *l, const double *mean)
{
    kd_status status = take_memory(net, l);
    double *means = mean && !status ? kd_ctx_alloc(net->ctx, l->taps, sizeof *means) : NULL;
    if (mean && !means && !status) status = kd_ctx_memory_status(net->ctx);
    if (means) means_of_taps(net, l, mean, means);
    for (size_t o = 0; o < l->out_channels && !status; o++) {
        channel c = {.weights = kdi_device_weights(l) + o * l->taps,
                     .bias = (double)kdi_device_bias(l)[o],
                     .in_scale = (double)net->maps[l->in[0]].scale,
                     .in_zero = net->maps[l->in[0]].zero,
                     .out_scale = (double)net->maps[l->out].scale,
                     .means = means};
        status = quantise_channel(net, l, o, &c);
    }
    kd_ctx_free(net->ctx, means);
    return status;
}
