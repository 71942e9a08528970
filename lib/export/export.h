/* SPDX-License-Identifier: MIT
 * export.h: the inside of an export: the net, where its maps lie in a device's arena, the blob. */
#ifndef KDI_EXPORT_H
#define KDI_EXPORT_H

#include "../edge/edge_format.h"
#include "../quant/net.h"

#include <kd/export.h>

/* What a comparison found of a layer's output: sums over numbers and pictures. */
typedef struct kdi_noise {
    double signal, noise, own; /* squares: of the true numbers; of errors; of its own errors */
} kdi_noise;

typedef struct kdi_placement {
    uint32_t *map;     /* [n_maps]: offset in the arena */
    uint32_t *scratch; /* [n_layers]: of line buffers */
    uint32_t arena_bytes;
} kdi_placement;

struct kd_export {
    kd_ctx *ctx;
    kdi_net *net;
    char *spec, *labels; /* labels: `classes` names, each with its NUL; NULL: not known */
    size_t labels_bytes;
    char *framing, *data; /* what the model knew of its training; NULL: not known */
    uint64_t data_checksum;
    kdi_placement at;
    uint8_t *blob; /* NULL until wanted */
    size_t blob_bytes;
    kdi_noise *noise; /* [n_layers]; NULL: not compared */
    double *ranges;   /* [n_layers][2]: NULL: not quantised */
    kd_export_result result;
};

/* KD_EDGE_INT8 or KD_EDGE_FLOAT32. */
uint8_t kdi_export_type(const kdi_net *net);
/* Bytes of a map in the arena. */
size_t kdi_export_map_bytes(const kdi_net *net, size_t map);
/* compare.c: of two sums of squares; INFINITY without noise. */
double kdi_export_decibels(double signal, double noise);
/* A layer with weights as a record, without offsets into the blob and the arena. */
kd_edge_conv kdi_export_conv(const kdi_net *net, const kdi_layer *layer);

/* place.c: offsets of all maps and line buffers, in the smallest arena that is found. */
kd_status kdi_place(const kdi_net *net, kdi_placement *at);
/* pools.c: pools that convolutions have taken along become layers of their own where the int8 arena
 * is smaller so. */
kd_status kdi_part_pools(kdi_net *net, kdi_placement *at);
/* pack.c: the same for anything. Item v may stand at or above item u + apart(u, v); same(u, v): or
 * exactly where u is. */
typedef struct kdi_item {
    int64_t bytes;
    size_t first, last; /* steps at which it is needed */
    int64_t offset;     /* the result, a multiple of 16 */
} kdi_item;
typedef struct kdi_packing {
    kd_ctx *ctx;
    kdi_item *items;
    size_t n;
    int64_t *apart; /* [n][n]: v stands at u + apart[u * n + v] or above */
    bool *same;     /* [n][n] */
    int64_t least;  /* no arena is smaller: where to stop */
    int64_t total;  /* the result */
} kdi_packing;
kd_status kdi_pack(kdi_packing *p);

/* blob.c: e->blob of the net as it is. */
kd_status kdi_export_make_blob(kd_export *e);
void kdi_export_drop_blob(kd_export *e);
/* c_array.c: the texts of NAME.h and NAME.c, to be freed also on failure. */
#define KDI_C_ARRAY_FIRST "/* Written by libkd."
kd_status kdi_c_array(kd_export *e, const char *name, char *texts[2]);
/* An error of lib/edge as one of the context's. */
kd_status kdi_export_edge_status(kd_export *e, const kd_edge_model *m, kd_edge_status status);

#endif
