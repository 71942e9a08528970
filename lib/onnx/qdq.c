/* SPDX-License-Identifier: MIT
 * qdq.c: a network in int8 as ONNX: float ops between QuantizeLinear and DequantizeLinear, which
 * runtimes merge into integer ones. Numbers are those of the device (docs/quantisation.md): batch
 * norms folded, int8 weights with a scale a channel, int32 biases; maps in uint8, whose zero is
 * 128 above the device's.
 *
 * The input is the normalised picture of the float model. It is padded as the first layer wants it,
 * turned back into pixels from 0 to 255, and rounded: so the first layer reads the bytes that a device
 * reads, padding included. A ReLU goes before a layer's QuantizeLinear; ops that only move numbers
 * (pools, flattening) have the same scale on both sides. */
#include "message.h"
#include "onnx.h"

#include <stdio.h>

enum { U8_ZERO = 128, MOST_NAME = 480 };

typedef struct writer {
    kdi_onnx *o;
    const kdi_net *net;
    char **maps; /* [n_maps]: dequantised */
    bool *rows;  /* [n_maps]: [N,C] instead of [N,C,H,W] */
} writer;

/* ---- arrays ---------------------------------------------------------------------------------- */

static char *uint8_number(kdi_onnx *o, int32_t value)
{
    uint8_t number = (uint8_t)value;
    return kdi_onnx_constant(o, &(kdi_onnx_array){.type = KDI_ONNX_UINT8, .data = &number});
}

/* An array "features.0.weight_scale", data of the model's memory; without a name where that is taken
 * or the layer has none. */
static char *named(kdi_onnx *o, const kdi_layer *l, const char *what, kdi_onnx_array a)
{
    char name[MOST_NAME];
    if (!a.data) return NULL;
    snprintf(name, sizeof name, "%s.%s", l->name, what);
    a.name = *l->name && !kdi_onnx_find(o, name) ? name : NULL;
    return kdi_onnx_constant(o, &a);
}

/* Weights (y, x, c) as PyTorch has them, (c, y, x). */
static char *weights(writer *w, const kdi_layer *l)
{
    const kdi_map *in = &w->net->maps[l->in[0]];
    const bool linear = l->op == KDI_LINEAR;
    const size_t h = linear ? in->h : (size_t)l->kernel[0];
    const size_t across = linear ? in->w : (size_t)l->kernel[1];
    kdi_onnx_array a = {.type = KDI_ONNX_INT8, .rank = linear ? 2 : 4};
    int8_t *to = kdi_onnx_alloc(w->o, l->out_channels, l->taps);
    for (size_t o = 0; o < l->out_channels && to; o++)
        for (size_t t = 0; t < l->taps; t++) {
            const size_t c = t % in->c, place = t / in->c;
            to[o * l->taps + c * h * across + place] = l->weights8[o * l->taps + t];
        }
    a.data = to;
    a.dim[0] = (int64_t)l->out_channels;
    a.dim[1] = (int64_t)(linear ? l->taps : in->c);
    a.dim[2] = (int64_t)h;
    a.dim[3] = (int64_t)across;
    return named(w->o, l, "weight_quantized", a);
}

static char *channel_scales(writer *w, const kdi_layer *l, float factor, const char *what)
{
    float *to = kdi_onnx_alloc(w->o, l->out_channels, sizeof *to);
    for (size_t o = 0; o < l->out_channels && to; o++) to[o] = factor * l->weight_scales[o];
    return named(
        w->o, l, what,
        (kdi_onnx_array){
            .type = KDI_ONNX_FLOAT, .rank = 1, .dim = {(int64_t)l->out_channels}, .data = to});
}

static char *dequantised_weights(writer *w, const kdi_layer *l)
{
    int8_t *zeros = kdi_onnx_alloc(w->o, l->out_channels, sizeof *zeros);
    char *q = weights(w, l), *scale = channel_scales(w, l, 1, "weight_scale");
    char *zero = named(
        w->o, l, "weight_zero_point",
        (kdi_onnx_array){
            .type = KDI_ONNX_INT8, .rank = 1, .dim = {(int64_t)l->out_channels}, .data = zeros});
    char *y = KDI_ONNX_NODE(w->o, "DequantizeLinear", q, scale, zero);
    kdi_onnx_int(w->o, "axis", 0);
    return y;
}

/* The device's bias has what the input's zero adds to each sum; ONNX's has not. */
static int32_t *biases(writer *w, const kdi_layer *l)
{
    char text[KDI_LAYER_TEXT];
    int32_t *to = kdi_onnx_alloc(w->o, l->out_channels, sizeof *to);
    const int64_t zero = w->net->maps[l->in[0]].zero;
    for (size_t o = 0; o < l->out_channels && to; o++) {
        int64_t sum = l->bias32[o];
        for (size_t t = 0; t < l->taps; t++) sum += zero * l->weights8[o * l->taps + t];
        if (sum < INT32_MIN || sum > INT32_MAX) {
            kdi_onnx_fail(w->o, kd_ctx_fail(w->o->ctx, KD_E_UNSUPPORTED,
                                            "%s: the bias of channel %zu has no room in 32 bits",
                                            kdi_layer_text(l, text, sizeof text), o));
            return NULL;
        }
        to[o] = (int32_t)sum;
    }
    return to;
}

static char *dequantised_bias(writer *w, const kdi_layer *l)
{
    char *q = named(w->o, l, "bias_quantized",
                    (kdi_onnx_array){.type = KDI_ONNX_INT32,
                                     .rank = 1,
                                     .dim = {(int64_t)l->out_channels},
                                     .data = biases(w, l)});
    char *scale = channel_scales(w, l, w->net->maps[l->in[0]].scale, "bias_scale");
    char *y = KDI_ONNX_NODE(w->o, "DequantizeLinear", q, scale);
    kdi_onnx_int(w->o, "axis", 0);
    return y;
}

/* ---- maps ------------------------------------------------------------------------------------ */

/* x rounded to the steps of a map. */
static char *round_to(writer *w, const kdi_map *map, char *x)
{
    char *scale = kdi_onnx_number(w->o, map->scale);
    char *zero = uint8_number(w->o, map->zero + U8_ZERO);
    char *q = KDI_ONNX_NODE(w->o, "QuantizeLinear", x, scale, zero);
    return KDI_ONNX_NODE(w->o, "DequantizeLinear", q, scale, zero);
}

/* A map [N,C,H,W], or as rows [N,C*H*W]. */
static char *map_as(writer *w, int map, bool rows)
{
    const kdi_map *m = &w->net->maps[map];
    const int64_t shape[] = {-1, (int64_t)m->c, 1, 1};
    if (w->rows[map] == rows) return w->maps[map];
    char *y = rows ? KDI_ONNX_NODE(w->o, "Flatten", w->maps[map])
                   : KDI_ONNX_NODE(w->o, "Reshape", w->maps[map], kdi_onnx_int64s(w->o, shape, 4));
    return round_to(w, m, y);
}

/* Per channel [C,1,1]: 255 times the mean or the deviation. */
static char *pixels_of(writer *w, const float *numbers)
{
    const size_t channels = w->net->maps[0].c;
    float *to = kdi_onnx_alloc(w->o, channels, sizeof *to);
    for (size_t c = 0; c < channels && to; c++) to[c] = 255 * numbers[c];
    const kdi_onnx_array a = {
        .type = KDI_ONNX_FLOAT, .rank = 3, .dim = {(int64_t)channels, 1, 1}, .data = to};
    return to ? kdi_onnx_constant(w->o, &a) : NULL;
}

/* The picture, with the first layer's padding, in pixels. */
static void read_picture(writer *w)
{
    const kdi_net *net = w->net;
    const kdi_map *m = &net->maps[0];
    const kdi_layer *first = &net->layers[0];
    const kd_shape shape = {4, {KD_BATCH, (int64_t)m->c, (int64_t)m->h, (int64_t)m->w}};
    const int64_t pads[] = {0, 0, first->pad[0], first->pad[1], 0, 0, first->pad[0], first->pad[1]};
    char *x = kdi_onnx_input(w->o, "input", &shape);
    kdi_onnx_layer(w->o, "pixels");
    if (first->pad[0] || first->pad[1])
        x = KDI_ONNX_NODE(w->o, "Pad", x, kdi_onnx_int64s(w->o, pads, 8));
    char *std = pixels_of(w, net->std), *mean = pixels_of(w, net->mean);
    x = KDI_ONNX_NODE(w->o, "Mul", x, std);
    x = KDI_ONNX_NODE(w->o, "Add", x, mean);
    w->maps[0] = round_to(w, m, x);
}

/* ---- layers ---------------------------------------------------------------------------------- */

static void windows(kdi_onnx *o, const kdi_layer *l, const int pad[2])
{
    const int64_t kernel[] = {l->kernel[0], l->kernel[1]}, stride[] = {l->stride[0], l->stride[1]};
    const int64_t pads[] = {pad[0], pad[1], pad[0], pad[1]};
    kdi_onnx_ints(o, "kernel_shape", kernel, 2);
    kdi_onnx_ints(o, "pads", pads, 4);
    kdi_onnx_ints(o, "strides", stride, 2);
}

static char *with_weights(writer *w, const kdi_layer *l)
{
    static const int none[2];
    const bool linear = l->op == KDI_LINEAR;
    char *x = map_as(w, l->in[0], linear);
    char *weight = dequantised_weights(w, l), *bias = dequantised_bias(w, l);
    char *y = KDI_ONNX_NODE(w->o, linear ? "Gemm" : "Conv", x, weight, bias);
    if (linear)
        kdi_onnx_int(w->o, "transB", 1);
    else
        windows(w->o, l, l->in[0] == 0 ? none : l->pad); /* the picture is padded already */
    return y;
}

/* Of a convolution that pools behind its ReLU. */
static char *pool(writer *w, char *x)
{
    static const int none[2];
    const kdi_layer by_two = {.kernel = {2, 2}, .stride = {2, 2}};
    char *y = KDI_ONNX_NODE(w->o, "MaxPool", x);
    windows(w->o, &by_two, none);
    return y;
}

static char *other(writer *w, const kdi_layer *l)
{
    if (l->op == KDI_ADD) {
        const bool rows = w->rows[l->in[0]] && w->rows[l->in[1]];
        char *a = map_as(w, l->in[0], rows), *b = map_as(w, l->in[1], rows);
        w->rows[l->out] = rows;
        return KDI_ONNX_NODE(w->o, "Add", a, b);
    }
    char *y = KDI_ONNX_NODE(w->o, l->op == KDI_MAX_POOL ? "MaxPool" : "AveragePool",
                            map_as(w, l->in[0], false));
    windows(w->o, l, l->pad);
    return y;
}

static void write_layer(writer *w, size_t i)
{
    const kdi_layer *l = &w->net->layers[i];
    const kdi_map *out = &w->net->maps[l->out];
    const bool whole = w->net->sums && i + 1 == w->net->n_layers; /* logits that are not rounded */
    char layer[MOST_NAME];
    snprintf(layer, sizeof layer, "%s", l->name);
    if (!*layer) snprintf(layer, sizeof layer, "layer.%zu", i);
    kdi_onnx_layer(w->o, layer);
    w->rows[l->out] = l->op == KDI_LINEAR;
    char *y = kdi_has_weights(l) ? with_weights(w, l) : other(w, l);
    if (l->relu) y = KDI_ONNX_NODE(w->o, "Relu", y);
    if (l->pools) y = pool(w, round_to(w, out, y));
    w->maps[l->out] = whole ? y : round_to(w, out, y);
}

static void write_net(kdi_onnx *o, const kdi_net *net)
{
    writer w = {.o = o, .net = net};
    const int last = net->layers[net->n_layers - 1].out;
    const kd_shape logits = {2, {KD_BATCH, (int64_t)net->classes}};
    w.maps = kdi_onnx_alloc(o, net->n_maps, sizeof *w.maps);
    w.rows = kdi_onnx_alloc(o, net->n_maps, sizeof *w.rows);
    if (o->status) return;
    read_picture(&w);
    for (size_t i = 0; i < net->n_layers && !o->status; i++) write_layer(&w, i);
    if (o->status) return;
    kdi_onnx_layer(o, "logits");
    kdi_onnx_output(o, w.rows[last] ? w.maps[last] : KDI_ONNX_NODE(o, "Flatten", w.maps[last]),
                    "logits", &logits);
    o->layer = "";
}

kd_status kdi_onnx_write_net(const kdi_net *net, const kdi_about *about, const kdi_onnx_file *file)
{
    kdi_onnx o;
    kdi_onnx_begin(&o, net->ctx, file->opset, file->batch);
    if (file->most) o.most = file->most;
    write_net(&o, net);
    kdi_onnx_describe(&o, about);
    const kd_status status = kdi_onnx_write(&o, file->path);
    kdi_onnx_end(&o);
    return status;
}
