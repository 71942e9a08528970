/* SPDX-License-Identifier: MIT
 * message.h: an ONNX model in the making: its messages as protobuf-c has them (onnx.proto), in one
 * pool. The first failure sticks: a builder then returns NULL, and one that is given NULL does
 * nothing, so that ops are written without checks and `status` is asked at the end.
 *
 * Names of values are `char *`, as protobuf-c's fields are; nobody writes into them. */
#ifndef KDI_ONNX_MESSAGE_H
#define KDI_ONNX_MESSAGE_H

#include "../base/base.h"
#include "../file/about.h"

#include <kd/graph.h>

#include "onnx.pb-c.h"

typedef struct kdi_onnx {
    kd_ctx *ctx;
    kdi_pool pool;
    kd_status status;
    int opset;
    size_t batch;       /* 0: the batch is the symbol N */
    size_t bytes, most; /* of arrays so far; the most that a file may have */
    const char *layer;  /* what names of nodes begin with */
    size_t first;       /* the first node of that layer */
    size_t constants;   /* arrays without a name of their own */
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset_import, *opset_imports[1];
    size_t node_room, array_room, input_room, output_room, property_room;
} kdi_onnx;

enum { KDI_ONNX_MOST_ATTRIBUTES = 8 };

/* An empty model. */
void kdi_onnx_begin(kdi_onnx *o, kd_ctx *ctx, int opset, size_t batch);
void kdi_onnx_end(kdi_onnx *o);
/* Nodes from here on belong to this layer: "features.0", whose Conv is "features.0/Conv". */
void kdi_onnx_layer(kdi_onnx *o, const char *layer);

/* A node; returns the name of its output. op "Conv"; an input that is left out is "". */
char *kdi_onnx_node(kdi_onnx *o, const char *op, char *const *in, size_t n_in);
#define KDI_ONNX_NODE(o, op, ...)                                                                  \
    kdi_onnx_node(o, op, (char *const[]){__VA_ARGS__},                                             \
                  sizeof((char *const[]){__VA_ARGS__}) / sizeof(char *))
/* Further outputs of the node that was made last: out [n]. */
void kdi_onnx_outputs(kdi_onnx *o, size_t n, char **out);
/* Attributes of the node that was made last. */
void kdi_onnx_int(kdi_onnx *o, const char *name, int64_t value);
void kdi_onnx_float(kdi_onnx *o, const char *name, float value);
void kdi_onnx_ints(kdi_onnx *o, const char *name, const int64_t *values, size_t n);

typedef enum kdi_onnx_type {
    KDI_ONNX_FLOAT = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
    KDI_ONNX_UINT8 = ONNX__TENSOR_PROTO__DATA_TYPE__UINT8,
    KDI_ONNX_INT8 = ONNX__TENSOR_PROTO__DATA_TYPE__INT8,
    KDI_ONNX_INT32 = ONNX__TENSOR_PROTO__DATA_TYPE__INT32,
    KDI_ONNX_INT64 = ONNX__TENSOR_PROTO__DATA_TYPE__INT64
} kdi_onnx_type;

typedef struct kdi_onnx_array {
    const char *name; /* NULL: a constant without one; those of the same bytes are one */
    kdi_onnx_type type;
    int rank;
    int64_t dim[KD_MAX_RANK];
    void *data; /* not copied where there is a name: it stays until the model is written */
} kdi_onnx_array;

/* Has the file room for this array? If not, the model has failed. */
bool kdi_onnx_has_room(kdi_onnx *o, const kdi_onnx_array *array);
/* The array of that name; NULL: there is none. */
char *kdi_onnx_find(const kdi_onnx *o, const char *name);
/* An initialiser. */
char *kdi_onnx_constant(kdi_onnx *o, const kdi_onnx_array *array);
/* Constants without names: [n]; a single number, []. */
char *kdi_onnx_int64s(kdi_onnx *o, const int64_t *values, size_t n);
char *kdi_onnx_number(kdi_onnx *o, float value);
/* Memory of the model's; NULL: it has failed. */
void *kdi_onnx_alloc(kdi_onnx *o, size_t count, size_t size);
/* The model fails, unless it has already; returns NULL. */
char *kdi_onnx_fail(kdi_onnx *o, kd_status status);

/* A shape with the batch filled in, where it is known: -k is k times the batch. -1: it is not. */
int64_t kdi_onnx_dim(const kdi_onnx *o, int64_t dim);
/* Float inputs and outputs of the whole. output: value takes this name. */
char *kdi_onnx_input(kdi_onnx *o, const char *name, const kd_shape *shape);
void kdi_onnx_output(kdi_onnx *o, char *value, const char *name, const kd_shape *shape);
/* The metadata, as in the network's own file. */
void kdi_onnx_describe(kdi_onnx *o, const kdi_about *about);

/* write.c: the model as a file, all or nothing. KD_E_LIMIT: it is larger than `most`. */
kd_status kdi_onnx_write(kdi_onnx *o, const char *path);

#endif
