/* SPDX-License-Identifier: MIT
 * place.c: what stands in the arena when, and what may lie over what. A convolution's output may
 * lie over the input that it has copied into line buffers, a pool's or sum's exactly over its
 * input. */
#include "export.h"

#include "../base/size.h"

#include <string.h>

uint8_t kdi_export_type(const kdi_net *net)
{
    return net->quantised ? KD_EDGE_INT8 : KD_EDGE_FLOAT32;
}

size_t kdi_export_map_bytes(const kdi_net *net, size_t map)
{
    const bool wide = net->sums && net->maps[map].last == (int)net->n_layers;
    const bool bytes = map == 0 || (net->quantised && !wide);
    return kdi_map_count(&net->maps[map]) * (bytes ? 1 : 4);
}

/* In a float32 network pixels go through line buffers, which make them float: a linear layer that
 * reads the picture is a convolution there. */
static bool reads_pixels(const kdi_net *net, const kdi_layer *l)
{
    return !net->quantised && l->in[0] == 0;
}

/* Line buffers: where something is padded, or where they let the output lie over the input. A 1x1
 * convolution without them reads its input where it is. */
static uint8_t line_buffers(const kdi_net *net, const kdi_layer *l)
{
    if (reads_pixels(net, l)) return (uint8_t)(l->kernel[0] + l->pools * l->stride[0]);
    if (l->op == KDI_LINEAR) return 0;
    if (l->kernel[0] * l->kernel[1] == 1 && !l->pools && !l->pad[0] && !l->pad[1]) return 0;
    return (uint8_t)(l->kernel[0] + l->pools * l->stride[0]);
}

kd_edge_conv kdi_export_conv(const kdi_net *net, const kdi_layer *l)
{
    const kdi_map *in = &net->maps[l->in[0]], *out = &net->maps[l->out];
    const bool linear = l->op == KDI_LINEAR;
    kd_edge_conv c = {.op = linear && !reads_pixels(net, l) ? KD_EDGE_OP_LINEAR : KD_EDGE_OP_CONV2D,
                      .bytes = sizeof c,
                      .in_height = (uint16_t)(linear ? 1 : in->h),
                      .in_width = (uint16_t)(linear ? 1 : in->w),
                      .in_channels = (uint16_t)(linear ? kdi_map_count(in) : in->c),
                      .out_height = (uint16_t)out->h,
                      .out_width = (uint16_t)out->w,
                      .out_channels = (uint16_t)out->c,
                      .kernel_height = (uint8_t)l->kernel[0],
                      .kernel_width = (uint8_t)l->kernel[1],
                      .stride_height = (uint8_t)l->stride[0],
                      .stride_width = (uint8_t)l->stride[1],
                      .pad_top = (uint8_t)l->pad[0],
                      .pad_left = (uint8_t)l->pad[1],
                      .pool = l->pools ? 2 : 1,
                      .rows = line_buffers(net, l)};
    if (reads_pixels(net, l)) c.flags |= KD_EDGE_PIXELS;
    if (net->sums && out->last == (int)net->n_layers) c.flags |= KD_EDGE_SUMS;
    return c;
}

/* ---- the packing ----------------------------------------------------------------------------- */

static void set_apart(kdi_packing *p, size_t u, size_t v, int64_t apart)
{
    p->apart[u * p->n + v] = apart;
}

/* May layer l's output stand over its input k? */
static void allow_over(const kdi_net *net, kdi_packing *p, size_t l, int k)
{
    const kdi_layer *layer = &net->layers[l];
    const size_t in = (size_t)layer->in[k], out = (size_t)layer->out;
    if (net->maps[in].last != (int)l || layer->in[0] == layer->in[1]) return;
    if (kdi_has_weights(layer)) {
        const kd_edge_conv c = kdi_export_conv(net, layer);
        if (c.rows) set_apart(p, out, in, kd_edge_conv_lead(&c, kdi_export_type(net)));
        return;
    }
    const bool pool = layer->op != KDI_ADD;
    bool aligned = true;
    for (int i = 0; i < 2 && pool; i++)
        aligned &= layer->kernel[i] == layer->stride[i] && layer->pad[i] == 0;
    const bool same = aligned && kdi_export_map_bytes(net, in) >= kdi_export_map_bytes(net, out);
    p->same[in * p->n + out] = p->same[out * p->n + in] = same;
}

static void describe(const kdi_net *net, kdi_packing *p)
{
    for (size_t i = 0; i < net->n_maps; i++) {
        const kdi_map *m = &net->maps[i];
        p->items[i] = (kdi_item){.bytes = (int64_t)kdi_export_map_bytes(net, i),
                                 .first = m->maker < 0 ? 0 : (size_t)m->maker,
                                 .last = (size_t)m->last};
    }
    for (size_t i = 0; i < net->n_layers; i++) {
        kdi_item *item = &p->items[net->n_maps + i];
        *item = (kdi_item){.first = i, .last = i};
        if (!kdi_has_weights(&net->layers[i])) continue;
        const kd_edge_conv c = kdi_export_conv(net, &net->layers[i]);
        item->bytes = kd_edge_conv_scratch(&c, kdi_export_type(net));
    }
    for (size_t u = 0; u < p->n; u++)
        for (size_t v = 0; v < p->n; v++) set_apart(p, u, v, p->items[u].bytes);
    for (size_t i = 0; i < net->n_layers; i++)
        for (int k = 0; k < 2 && net->layers[i].in[k] >= 0; k++) allow_over(net, p, i, k);
}

/* What each layer needs by itself: its line buffers, the maps that wait, its input and output as
 * far as one may lie over the other. */
static int64_t lower_bound(const kdi_net *net, const kdi_packing *p)
{
    int64_t most = 0;
    for (size_t l = 0; l < net->n_layers; l++) {
        const size_t in = (size_t)net->layers[l].in[0], out = (size_t)net->layers[l].out;
        const int64_t a = p->items[in].bytes, b = p->items[out].bytes;
        const int64_t lead = p->apart[out * p->n + in];
        int64_t both = lead + a > b ? lead + a : b;
        if (both < a) both = a;
        if (both > a + b || p->same[in * p->n + out]) both = p->same[in * p->n + out] ? a : a + b;
        int64_t sum = both;
        for (size_t i = 0; i < p->n; i++)
            if (i != in && i != out && p->items[i].first <= l && l <= p->items[i].last)
                sum += p->items[i].bytes;
        /* An add's other input may be where its output is. */
        if (net->layers[l].in[1] >= 0) sum -= p->items[net->layers[l].in[1]].bytes;
        if (sum > most) most = sum;
    }
    return most;
}

kd_status kdi_place(const kdi_net *net, kdi_placement *at)
{
    kd_ctx *ctx = net->ctx;
    kdi_packing p = {.ctx = ctx, .n = net->n_maps + net->n_layers};
    for (size_t i = 0; i < net->n_maps; i++)
        if (kdi_export_map_bytes(net, i) > INT32_MAX / 2)
            return kd_ctx_fail(ctx, KD_E_UNSUPPORTED,
                               "a map of %zu x %zu x %zu is more than a device's arena can hold",
                               net->maps[i].h, net->maps[i].w, net->maps[i].c);
    p.items = kd_ctx_alloc(ctx, p.n, sizeof *p.items);
    p.apart = kd_ctx_alloc(ctx, p.n * p.n, sizeof *p.apart);
    p.same = kd_ctx_alloc(ctx, p.n * p.n, sizeof *p.same);
    kd_status status = p.items && p.apart && p.same ? KD_OK : kd_ctx_memory_status(ctx);
    if (!status) {
        describe(net, &p);
        p.least = lower_bound(net, &p);
        status = kdi_pack(&p);
    }
    if (!status && p.total > INT32_MAX)
        status = kd_ctx_fail(ctx, KD_E_UNSUPPORTED, "the arena would have %lld bytes",
                             (long long)p.total);
    for (size_t i = 0; i < net->n_maps && !status; i++) at->map[i] = (uint32_t)p.items[i].offset;
    for (size_t i = 0; i < net->n_layers && !status; i++)
        at->scratch[i] = (uint32_t)p.items[net->n_maps + i].offset;
    at->arena_bytes = (uint32_t)p.total;
    kd_ctx_free(ctx, p.items);
    kd_ctx_free(ctx, p.apart);
    kd_ctx_free(ctx, p.same);
    return status;
}
