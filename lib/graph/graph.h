/* SPDX-License-Identifier: MIT
 * graph.h: the inside of a graph: a list of values, and a list of nodes in the order they were
 * made, in which they can run. Everything lies in one pool and is freed at once. */
#ifndef KDI_GRAPH_H
#define KDI_GRAPH_H

#include "../base/base.h"
#include "../op/shape.h"

#include <kd/op.h>
#include <kd/params.h>

typedef enum kdi_kind {
    KDI_INPUT,     /* bound by the executor; index: into inputs */
    KDI_PARAM,     /* index: into params; buffers too */
    KDI_RESULT,    /* made by a node */
    KDI_PARAM_GRAD /* lies in the flat array of gradients; index: into params */
} kdi_kind;

typedef struct kdi_value {
    kdi_kind kind;
    kd_shape shape;
    kd_dtype dtype;
    int index;
    int node;       /* the node that makes it; -1 for inputs and parameters */
    kd_value alias; /* the value whose memory this is, under another shape; else KD_NONE */
    kd_value grad;  /* its gradient, once there is one */
    bool needs_grad, want_grad;
    const char *name; /* of an input; else NULL */
} kdi_value;

typedef struct kdi_node {
    const kd_op *op;
    const char *name; /* "features.0" */
    void *attr;
    kd_part part;
    bool evaluates; /* it computes as in evaluation in a training plan, too */
    int forward;    /* -1: a forward node; else this is the backward of that node */
    int n_in, n_out;
    kd_value *in, *out;   /* the forward's */
    kd_value *dout, *din; /* backward alone */
    uint32_t accumulate;  /* backward: as in kd_op_call */
    /* In a plan: */
    uint32_t id;     /* the forward node's number in the graph: key of its random numbers */
    bool recomputed; /* a copy of a forward node that is run again for the backward */
    int in_place_of; /* i > 0: a backward may write din[i] over in[i] */
} kdi_node;

typedef struct kdi_param {
    const char *name;
    kd_shape shape;
    kd_value value, grad;
    kd_param_opt opt;
} kdi_param;

typedef struct kdi_output {
    const char *name;
    kd_value value;
} kdi_output;

enum { KDI_MAX_SCOPES = 32 };

struct kd_graph {
    kd_ctx *ctx;
    kdi_pool pool;
    kd_status status;
    char error[512];
    size_t heard; /* kd_ctx_failures when it was last known to be well */
    kdi_value *values;
    kdi_node *nodes;
    kdi_param *params;
    kdi_output *outputs;
    kd_value *inputs;
    size_t n_values, n_nodes, n_params, n_outputs, n_inputs;
    size_t cap_values, cap_nodes, cap_params, cap_outputs, cap_inputs;
    char scope[256];
    size_t scope_length[KDI_MAX_SCOPES]; /* of `scope` before each open scope was added */
    int depth;
    kd_part part;
    bool differentiated;
    const char *frozen; /* names of parameters that are constants; NULL: none */
};

/* A new value or node; KD_NONE or NULL on failure. Pointers into values and nodes move. */
kd_value kdi_graph_value(kd_graph *g, kdi_kind kind, const kd_shape *shape, kd_dtype dtype);
kdi_node *kdi_graph_node(kd_graph *g, const kd_op *op, const void *attr, int n_in);

/* Bit i: no gradient flows to input i. */
uint32_t kdi_node_no_grad(const kdi_node *n);

/* The value whose memory v really is. */
kd_value kdi_graph_root(const kd_graph *g, kd_value v);

#endif
