/* SPDX-License-Identifier: MIT
 * quantise.c: scales and zeros of maps, layer by layer, and what follows from them.
 *
 * A map's step is its range by 255, made larger where a multiplier would reach 1/2: then the layer's
 * sums are coarser than that already. A max pool's output has its input's scale. The picture's is 1
 * and its zero -128: q = pixel - 128. */
#include "quantise.h"

#include "fold.h"

#include <math.h>

enum { LOW = -128, HIGH = 127, MOST_SHIFT = 20, MOST_FACTOR = 1 << 21, SUM_BOUND = 1 << 30 };
static const double almost_half = .49999, finest = 1e-30;

/* Step and zero for a range, the step at least `least`. */
static void set_scale(kdi_map *m, kdi_range r, double least)
{
    /* Rounded to float first: the blob and every formula have the same number. */
    const float step = (float)fmax((r.high - r.low) / 255, fmax(least, finest));
    const double zero = round(LOW - r.low / (double)step);
    m->scale = step;
    m->zero = (int32_t)(zero < LOW ? LOW : zero > HIGH ? HIGH : zero);
}

static double largest(const float *w, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(w[i]));
    return (double)most;
}

static void set_bounds(const kdi_net *net, kdi_layer *l)
{
    l->low = l->relu ? net->maps[l->out].zero : LOW;
    l->high = HIGH;
}

/* The step that keeps every multiplier below 1/2. */
static double least_step(const kdi_net *net, const kdi_layer *l)
{
    const double in = (double)net->maps[l->in[0]].scale;
    if (l->op == KDI_AVG_POOL) return in / (l->kernel[0] * l->kernel[1]) / almost_half;
    return in * largest(kdi_device_weights(l), l->out_channels * l->taps) / 127 / almost_half;
}

static kd_status with_weights(kdi_net *net, kdi_layer *l, const kd_quantise_opt *opt,
                              const kdi_seen *seen)
{
    kdi_map *out = &net->maps[l->out];
    const bool wide = net->sums && l->out == net->layers[net->n_layers - 1].out;
    const double least = least_step(net, l);
    if (wide) { /* int32 has room for the finest step there is */
        out->scale = (float)fmax(least, finest);
        out->zero = 0;
    } else {
        set_scale(out, seen[l->out].range, least);
    }
    set_bounds(net, l);
    if (wide) {
        l->low = l->relu ? 0 : INT32_MIN;
        l->high = INT32_MAX;
    }
    return kdi_quantise_weights(net, l, opt->no_correction ? NULL : seen[l->in[0]].mean);
}

static int32_t *array_of(kdi_net *net, int32_t **array, size_t count)
{
    if (!*array) *array = kdi_pool_alloc(&net->pool, count, sizeof **array);
    return *array;
}

static kd_status average(kdi_net *net, kdi_layer *l, const kdi_seen *seen)
{
    const kdi_map *in = &net->maps[l->in[0]];
    const int n = l->kernel[0] * l->kernel[1];
    if (!array_of(net, &l->multipliers, 1) || !array_of(net, &l->bias32, 1))
        return kd_ctx_memory_status(net->ctx);
    set_scale(&net->maps[l->out], seen[l->out].range, least_step(net, l));
    set_bounds(net, l);
    const double m = (double)in->scale / ((double)net->maps[l->out].scale * n);
    l->bias32[0] = -n * in->zero;
    l->multipliers[0] = (int32_t)round(m * 2147483648.0);
    return KD_OK;
}

static kd_status sum(kdi_net *net, kdi_layer *l, const kdi_seen *seen)
{
    kdi_map *out = &net->maps[l->out];
    const kdi_map *a = &net->maps[l->in[0]], *b = &net->maps[l->in[1]];
    char text[KDI_LAYER_TEXT];
    if (!array_of(net, &l->multipliers, 2) || !array_of(net, &l->bias32, 1))
        return kd_ctx_memory_status(net->ctx);
    set_scale(out, seen[l->out].range, 0);
    set_bounds(net, l);
    for (l->shift = MOST_SHIFT; l->shift > 0; l->shift--) {
        const double unit = ldexp(1 / (double)out->scale, l->shift);
        const double fa = round((double)a->scale * unit), fb = round((double)b->scale * unit);
        const double constant =
            ldexp(out->zero, l->shift) + ldexp(1, l->shift - 1) - a->zero * fa - b->zero * fb;
        if (fa > MOST_FACTOR || fb > MOST_FACTOR || fabs(constant) > SUM_BOUND) continue;
        l->multipliers[0] = (int32_t)fa;
        l->multipliers[1] = (int32_t)fb;
        l->bias32[0] = (int32_t)constant;
        return KD_OK;
    }
    return kd_ctx_fail(net->ctx, KD_E_UNSUPPORTED,
                       "%s: it adds steps of %.3g and %.3g to steps of %.3g, too far apart",
                       kdi_layer_text(l, text, sizeof text), (double)a->scale, (double)b->scale,
                       (double)out->scale);
}

kd_status kdi_quantise(kdi_net *net, const kd_quantise_opt *opt, const kdi_seen *seen)
{
    kd_status status = KD_OK;
    const kdi_layer *last = &net->layers[net->n_layers - 1];
    net->sums = opt->wide_logits != 0;
    if (net->sums && !kdi_has_weights(last))
        return kd_ctx_fail(net->ctx, KD_E_UNSUPPORTED,
                           "logits in int32 are a linear layer's; the last one is %s", last->name);
    net->maps[0].scale = 1;
    net->maps[0].zero = LOW;
    for (size_t i = 0; i < net->n_layers && !status; i++) {
        kdi_layer *l = &net->layers[i];
        if (kdi_has_weights(l)) {
            status = with_weights(net, l, opt, seen);
        } else if (l->op == KDI_AVG_POOL) {
            status = average(net, l, seen);
        } else if (l->op == KDI_ADD) {
            status = sum(net, l, seen);
        } else {
            net->maps[l->out].scale = net->maps[l->in[0]].scale;
            net->maps[l->out].zero = net->maps[l->in[0]].zero;
        }
    }
    net->output_scale = net->maps[last->out].scale;
    net->output_zero = net->maps[last->out].zero;
    net->quantised = !status;
    return status;
}
