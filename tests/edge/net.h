/* SPDX-License-Identifier: MIT
 * net.h: small networks for the tests of lib/edge: layers with random weights, placed in an arena
 * and written as .kde blobs; and what such a blob computes, by plain loops. Knows the format from
 * docs/edge-format.md, not from the exporter. */
#ifndef KDI_TEST_NET_H
#define KDI_TEST_NET_H

#include "../../lib/edge/edge_format.h"

enum { NET_LAYERS = 48 };

/* Weights, biases and multipliers: ordinary ones, or those at the ends of their ranges. */
enum { NET_ORDINARY, NET_EXTREME };

typedef struct net_layer {
    uint16_t op; /* KD_EDGE_OP_... */
    int from,
        with; /* tensors read; 0 is the picture, layer i writes tensor i + 1. `with`: of add */
    uint16_t out_channels;
    uint8_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
    uint16_t out_height, out_width; /* 0: padding as wide at the end as at the beginning */
    uint8_t pool;                   /* 0 is 1 */
    uint8_t relu;
    uint8_t lines; /* line buffers even where the map could be read in place */
} net_layer;

typedef struct net {
    uint8_t type;    /* KD_EDGE_INT8 or KD_EDGE_FLOAT32 */
    uint8_t sums;    /* int32 logits */
    uint8_t kind;    /* NET_ORDINARY or NET_EXTREME */
    uint8_t apart;   /* no map over another, no two regions at one place */
    uint8_t labels;  /* labels, names of layers, a spec */
    uint8_t picture; /* the self-test's picture is in the blob */
    uint16_t height, width, channels;
    uint64_t seed;
    int n;
    net_layer layers[NET_LAYERS];
} net;

/* The blob, 16-byte aligned, from malloc'd memory (aligned_alloc): free() it. Its self-test is what
 * net_reference says. */
uint8_t *net_write(const net *from, uint32_t *bytes);
/* A random network of a few layers: shapes, strides, padding, pooling, sums. */
net net_random(uint64_t seed);
/* The layers of VGG's kind (3x3 convolutions, 2x2 pooling) and of ResNet-8, 32x32x3. */
net net_vgg(int stages, const int *channels, const int *convs);
net net_resnet8(int filters);

/* What the blob's records compute from pixels [height,width,channels]: every map in memory of its
 * own, sums in 64 bits, float32 in double. output: [classes] of output_type. */
void net_reference(const uint8_t *blob, const uint8_t *pixels, void *output);

/* The checksum is made right again after the blob was changed. */
void net_seal(uint8_t *blob);
uint32_t net_random_bits(uint64_t *state);

#endif
