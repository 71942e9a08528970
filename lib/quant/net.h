/* SPDX-License-Identifier: MIT
 * net.h: a network as a device runs it: a list of layers between maps, batch norms folded, each
 * activation and 2x2 pool in the layer before it. The same on every machine: nothing here depends on
 * how the host computes. */
#ifndef KDI_NET_H
#define KDI_NET_H

#include "../base/base.h"

#include <kd/graph.h>
#include <kd/params.h>

typedef enum kdi_layer_op {
    KDI_CONV,
    KDI_LINEAR, /* a convolution of a 1x1 map */
    KDI_MAX_POOL,
    KDI_AVG_POOL,
    KDI_ADD
} kdi_layer_op;

/* What a layer reads or writes: [h,w,c]. Map 0 is the picture. */
typedef struct kdi_map {
    size_t h, w, c;
    int maker;   /* layer; -1: the picture */
    int last;    /* the last layer that reads it; the number of layers for the logits */
    int readers; /* layers, the network's output included */
    float scale; /* int8: value = scale * (q - zero) */
    int32_t zero;
} kdi_map;

typedef struct kdi_layer {
    kdi_layer_op op;
    const char *name; /* "features.0" */
    int in[2], out;   /* maps; in[1]: of KDI_ADD */
    int kernel[2], stride[2], pad[2];
    bool relu, pools; /* what comes behind it, in this order; of a convolution */
    /* KDI_CONV, KDI_LINEAR: weights [out][taps], taps in the order (ky, kx, c). */
    size_t out_channels, taps;
    float *weights, *bias;             /* bias [out] */
    float *pixel_weights, *pixel_bias; /* the same for pixels from 0 to 255: of the first layer */
    /* Once quantised: sum = bias + weights q; q = zero + sum * multiplier / 2^31 */
    int8_t *weights8;
    int32_t *bias32, *multipliers; /* [out]; of KDI_AVG_POOL: one; of KDI_ADD: a's and b's */
    float *weight_scales;          /* [out] */
    int32_t low, high, shift;      /* shift: of KDI_ADD */
} kdi_layer;

typedef struct kdi_net {
    kd_ctx *ctx;
    kdi_pool pool;
    kdi_map *maps;
    kdi_layer *layers;
    size_t n_maps, n_layers;
    size_t classes;
    const float *mean, *std; /* [channels of the picture]: of pixels in 0..1 */
    bool quantised, sums;    /* sums: the logits are int32 */
    float output_scale;
    int32_t output_zero;
} kdi_net;

/* The evaluation program of a graph with one input [N,H,W,C] and one output [N,K], "logits", in
 * layers. mean, std [C]. An op, or a size, that no device's table has is KD_E_UNSUPPORTED, numbers
 * that are not finite KD_E_NONFINITE; both name the layer. */
kd_status kdi_net_create(const kd_graph *graph, kd_params *params, const float *mean,
                         const float *std, kdi_net **out);
void kdi_net_destroy(kdi_net *net);
/* The 2x2 pool that a convolution has taken along becomes a layer behind it; and back. Each number
 * stays the same: rounding never changes which one is the largest. */
kd_status kdi_net_part_pool(kdi_net *net, size_t layer);
void kdi_net_join_pool(kdi_net *net, size_t layer);
/* "conv2d 'features.0'" */
const char *kdi_layer_text(const kdi_layer *layer, char *out, size_t size);
enum { KDI_LAYER_TEXT = 96 };

static inline bool kdi_has_weights(const kdi_layer *layer)
{
    return layer->op == KDI_CONV || layer->op == KDI_LINEAR;
}

/* Of a layer with weights, as the device has them. */
static inline const float *kdi_device_weights(const kdi_layer *layer)
{
    return layer->pixel_weights ? layer->pixel_weights : layer->weights;
}

static inline const float *kdi_device_bias(const kdi_layer *layer)
{
    return layer->pixel_bias ? layer->pixel_bias : layer->bias;
}

static inline size_t kdi_map_count(const kdi_map *map)
{
    return map->h * map->w * map->c;
}

#endif
