/* SPDX-License-Identifier: MIT
 * emit.h: from a graph to ONNX's nodes, op by op.
 *
 *   walk.c              the nodes that the outputs need, in order
 *   maps.c              which function writes which op: A NEW OP GETS ITS LINE THERE
 *   emit_*.c            these functions
 *   moves.c             where an op takes its rows from, found by running it
 *
 * Pictures are [N,H,W,C] here and [N,C,H,W] there. A value of four dimensions may be known in
 * either layout; what reads it asks for the one that it wants, and gets a Transpose if need be. A VGG
 * so has none, a ViT one. All else has the layout that it has here.
 *
 * Arrays of parameters have PyTorch's names, shapes and layouts. */
#ifndef KDI_ONNX_EMIT_H
#define KDI_ONNX_EMIT_H

#include "message.h"

#include "../graph/graph.h"
#include "../op/ops.h"

/* Names of a value; NULL: not known in that layout. */
typedef struct kdi_onnx_value {
    char *plain; /* as here */
    char *chw;   /* [N,C,H,W] */
} kdi_onnx_value;

typedef struct kdi_emitter {
    kdi_onnx *o;
    const kd_graph *graph;
    kd_params *params;
    kdi_onnx_value *values; /* [values of the graph] */
    const kdi_node *node;   /* that is written now; NULL: outputs are */
} kdi_emitter;

typedef void kdi_emit_fn(kdi_emitter *e, const kdi_node *n);
/* maps.c. NULL: there is none. */
kdi_emit_fn *kdi_emit_of(const kd_op *op);

/* walk.c: nodes, inputs and outputs of the graph into o, whose failures stick. */
void kdi_emit_graph(kdi_onnx *o, const kd_graph *graph, kd_params *params);
/* KD_E_UNSUPPORTED, naming op and layer. */
void kdi_emit_refuse(kdi_emitter *e, const char *why);

/* A value by its name in a layout. chw: of four dimensions. */
char *kdi_emit_plain(kdi_emitter *e, kd_value v);
char *kdi_emit_chw(kdi_emitter *e, kd_value v);
/* In the layout that it has; *chw says which. */
char *kdi_emit_either(kdi_emitter *e, kd_value v, bool *chw);
/* A parameter as PyTorch has it, whatever its layout here. */
char *kdi_emit_weight(kdi_emitter *e, kd_value v);
const kd_shape *kdi_emit_shape(const kdi_emitter *e, kd_value v);
/* The node's first output. */
void kdi_emit_set(kdi_emitter *e, char *name, bool chw);
/* Element i of one of the node's attributes. */
int64_t kdi_emit_attr(kdi_emitter *e, const char *field, size_t i, size_t count);
float kdi_emit_attr_float(kdi_emitter *e, const char *field);

/* Nodes that many ops begin or end with. */
char *kdi_emit_reshape(kdi_emitter *e, char *x, int rank, const int64_t *dim);
char *kdi_emit_transpose(kdi_emitter *e, char *x, int rank, const int64_t *order);
/* Tokens first .. first+count-1 of [N,T,C]. */
char *kdi_emit_slice(kdi_emitter *e, char *x, int64_t first, int64_t count);
/* The mean over some axes, which stay as 1. */
char *kdi_emit_mean(kdi_emitter *e, char *x, size_t n, const int64_t *axes);

/* moves.c. What an op without parameters makes of an input [in] that is 1, 2, 3, ...: *out
 * [*count], to be freed. in NULL: the op has no input. */
kd_status kdi_onnx_run(kd_ctx *ctx, const kdi_node *n, const kd_shape *in, float **out,
                       size_t *count);

#endif
