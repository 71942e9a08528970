/* SPDX-License-Identifier: MIT
 * fold.c: see fold.h. */
#include "fold.h"

#include <math.h>

void kdi_fold_norm(const kdi_folding *f, float *weights, float *bias)
{
    for (size_t o = 0; o < f->out; o++) {
        const double b = f->bias ? (double)f->bias[o] : 0;
        double s = 1, shift = 0;
        if (f->norm[0]) {
            s = (double)f->norm[0][o] / sqrt((double)f->norm[3][o] + f->eps);
            shift = (double)f->norm[1][o] - (double)f->norm[2][o] * s;
        }
        for (size_t t = 0; t < f->taps; t++)
            weights[o * f->taps + t] = (float)((double)f->weights[o * f->taps + t] * s);
        bias[o] = (float)(b * s + shift);
    }
}

double kdi_pixel_pad(const kdi_net *net, size_t channel)
{
    const size_t channels = net->maps[0].c;
    return 255 * (double)net->mean[channel < channels ? channel : 0];
}

static kd_status fold_pixels(kdi_net *net, kdi_layer *l)
{
    const size_t channels = net->maps[0].c, count = l->out_channels * l->taps;
    char text[KDI_LAYER_TEXT];
    bool finite = true;
    if (!l->pixel_weights) {
        l->pixel_weights = kdi_pool_alloc(&net->pool, count, sizeof *l->pixel_weights);
        l->pixel_bias = kdi_pool_alloc(&net->pool, l->out_channels, sizeof *l->pixel_bias);
        if (!l->pixel_weights || !l->pixel_bias) return kd_ctx_memory_status(net->ctx);
    }
    for (size_t o = 0; o < l->out_channels; o++) {
        double bias = (double)l->bias[o];
        for (size_t t = 0; t < l->taps; t++) {
            const double w = (double)l->weights[o * l->taps + t];
            const double std = (double)net->std[t % channels];
            bias -= w * (double)net->mean[t % channels] / std;
            const float folded = (float)(w / (255 * std));
            l->pixel_weights[o * l->taps + t] = folded;
            finite &= isfinite(folded) != 0;
        }
        l->pixel_bias[o] = (float)bias;
        finite &= isfinite(l->pixel_bias[o]) != 0;
    }
    return finite ? KD_OK
                  : kd_ctx_fail(net->ctx, KD_E_NONFINITE,
                                "%s: its weights are not finite once the picture's normalisation "
                                "is in them",
                                kdi_layer_text(l, text, sizeof text));
}

kd_status kdi_fold_pixels(kdi_net *net)
{
    char text[KDI_LAYER_TEXT];
    const size_t channels = net->maps[0].c;
    for (size_t i = 0; i < net->n_layers; i++) {
        kdi_layer *l = &net->layers[i];
        if (l->in[0] != 0 && l->in[1] != 0) continue;
        if (!kdi_has_weights(l) || net->maps[0].readers != 1)
            return kd_ctx_fail(net->ctx, KD_E_UNSUPPORTED,
                               "%s reads the picture; a device wants one conv2d or linear there, "
                               "which normalises it",
                               kdi_layer_text(l, text, sizeof text));
        for (size_t c = 4; c < channels && (l->pad[0] || l->pad[1]); c++)
            if (net->mean[c] != net->mean[c % 4])
                return kd_ctx_fail(net->ctx, KD_E_UNSUPPORTED,
                                   "%s pads %zu channels of different means; the device knows "
                                   "four",
                                   kdi_layer_text(l, text, sizeof text), channels);
        return fold_pixels(net, l);
    }
    return KD_OK;
}

/* ---- cross-layer equalisation ---------------------------------------------------------------- */

/* The one reader of l's output, past any pools, if it is a layer with weights; else NULL. */
static kdi_layer *next_weights(const kdi_net *net, const kdi_layer *l)
{
    for (int map = l->out;;) {
        if (net->maps[map].readers != 1 || net->maps[map].last >= (int)net->n_layers) return NULL;
        kdi_layer *next = &net->layers[net->maps[map].last];
        if (next->op == KDI_ADD) return NULL;
        if (kdi_has_weights(next)) return next;
        map = next->out;
    }
}

static void equalise_pair(kdi_layer *a, kdi_layer *b)
{
    const size_t channels = a->out_channels;
    for (size_t c = 0; c < channels; c++) {
        float first = 0, second = 0;
        for (size_t t = 0; t < a->taps; t++)
            first = fmaxf(first, fabsf(a->weights[c * a->taps + t]));
        for (size_t i = c; i < b->out_channels * b->taps; i += channels)
            second = fmaxf(second, fabsf(b->weights[i]));
        if (!(first > 0) || !(second > 0)) continue;
        /* A power of two: the float network keeps its bits. */
        const int power = (int)lround(.5 * log2((double)first / (double)second));
        for (size_t t = 0; t < a->taps; t++)
            a->weights[c * a->taps + t] = ldexpf(a->weights[c * a->taps + t], -power);
        a->bias[c] = ldexpf(a->bias[c], -power);
        for (size_t i = c; i < b->out_channels * b->taps; i += channels)
            b->weights[i] = ldexpf(b->weights[i], power);
    }
}

void kdi_equalise(kdi_net *net)
{
    for (size_t i = 0; i < net->n_layers; i++) {
        kdi_layer *a = &net->layers[i];
        if (!kdi_has_weights(a)) continue;
        kdi_layer *b = next_weights(net, a);
        if (b) equalise_pair(a, b);
    }
}
