/* SPDX-License-Identifier: MIT
 * nets.h: small networks of every op that a device has, and an oracle of their int8 arithmetic. */
#ifndef KDI_TEST_NETS_H
#define KDI_TEST_NETS_H

#include "../test.h"

#include <kd/kd.h>

#include "../../lib/export/export.h"

typedef struct net_case {
    kd_graph *graph;
    kd_params *params;
    uint8_t *pictures; /* [count, h, w, c] */
    size_t count, picture;
} net_case;

/* Convolutions of several strides and paddings with norms, a residual add, both pools, a linear
 * layer; 5 logits of a 9 x 7 picture in three channels. */
enum { NET_H = 9, NET_W = 7, NET_C = 3, NET_CLASSES = 5 };
extern const float net_mean[NET_C], net_std[NET_C];
net_case net_residual(kd_ctx *ctx, size_t count, uint64_t seed);
/* A graph of one's own: parameters and buffers are filled, pictures made. */
net_case net_finish(kd_ctx *ctx, kd_graph *g, size_t picture, size_t count, uint64_t seed);
void net_free(net_case *c);
kd_export *net_export(net_case *c);
/* All three. */
void net_close(kd_ctx *ctx, net_case *c, kd_export *e);
/* It failed so, and the context's error says that. */
void net_expect(kd_ctx *ctx, kd_status status, kd_status wanted, const char *says);

/* Every map of one picture by plain loops in 64-bit integers: maps [n_maps] of [h,w,c], to be
 * freed. */
int32_t **net_oracle(const kdi_net *net, const uint8_t *picture);
void net_oracle_free(const kdi_net *net, int32_t **maps);

#endif
