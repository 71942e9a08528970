/* SPDX-License-Identifier: MIT
 * op.h: what an op is: one record with its shape rule, forward, backward, cost and scratch. The
 * library's own ops are made of nothing else; docs/adding-an-op.md walks through one.
 *
 * Threads: a record is constant, and its functions may be called for several executors at the same
 * moment (plan.h). They write only what the call gives them. */
#ifndef KD_OP_H
#define KD_OP_H

#include <kd/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kdi_kernels;

/* An array with the batch size filled in. */
typedef struct kd_tensor {
    void *data;
    kd_dtype dtype;
    int rank;
    size_t dim[KD_MAX_RANK];
    size_t count; /* elements */
    size_t first; /* elements of the whole batch before these, if a run has a micro-batch: random
                   * numbers count from here */
} kd_tensor;

enum { KD_MAX_OPERANDS = 16 };

/* The shape rule's view of an op being built. */
typedef struct kd_op_shapes {
    kd_ctx *ctx;
    const char *name; /* the op's kind and scope, for error texts: "conv2d 'features.0'" */
    void *attr;       /* may be completed: defaults filled in */
    int n_in;
    const kd_shape *in;
    const kd_dtype *in_dtype;
    int n_out;
    kd_shape *out;       /* to be set */
    kd_dtype *out_dtype; /* KD_F32 unless set */
} kd_op_shapes;

/* A forward or backward call, or a question about one. When only asked for sizes, data is NULL. An
 * operand that a backward does not keep, or nobody wants, has no shape either: rank 0. */
typedef struct kd_op_call {
    kd_ctx *ctx;
    const char *name;
    const void *attr;
    int n_in, n_out;
    const kd_tensor *in;  /* forward's inputs; in a backward, data NULL unless `keeps` says so */
    const kd_tensor *out; /* forward's outputs: written by forward; in a backward as `keeps` says */
    const kd_tensor *dout; /* backward: gradients of the outputs; data NULL: none reached it */
    const kd_tensor *din;  /* backward: gradients to write; data NULL: not wanted */
    uint32_t accumulate;   /* backward: bit i: add to din[i] instead of overwriting */
    int training;          /* 0: evaluation */
    int recomputed;        /* a forward repeated for the backward, on the inputs it had before */
    uint64_t seed;         /* of the run, with the step and the op's id: keys of random numbers */
    uint64_t step;
    uint32_t id;
    float weight;   /* of the loss: what its gradient begins with */
    size_t largest; /* batch of any run of this plan: what choices that must not change go by */
    void *scratch;  /* as many bytes as `scratch` asked for */
    void *prepared; /* as many bytes as `prepared` asked for, filled by `prepare`; NULL in programs
                     * whose parameters change between runs */
    const struct kdi_kernels *kernels;
} kd_op_call;

/* Which operands a backward reads. */
#define KD_KEEP_IN(i) (1u << (i))
#define KD_KEEP_OUT(i) (1u << (16 + (i)))

/* One member of an op's attributes. */
typedef enum kd_field_type {
    KD_FIELD_INT, /* int, or an enum */
    KD_FIELD_FLOAT,
    KD_FIELD_INT64,
    KD_FIELD_SIZE /* size_t */
} kd_field_type;

typedef struct kd_op_field {
    const char *name; /* "kernel" */
    kd_field_type type;
    size_t offset; /* bytes from the beginning of the attributes */
    size_t count;  /* 1, or the length of an array */
} kd_op_field;

typedef struct kd_op {
    size_t struct_size; /* sizeof(kd_op); members that a shorter one lacks are zero */
    const char *name;   /* "conv2d" */
    size_t attr_size;
    int n_in_min, n_in_max, n_out;

    /* Check the inputs, set the outputs' shapes. Errors through kd_ctx_fail, naming s->name. */
    kd_status (*shape)(kd_op_shapes *s);
    kd_status (*forward)(const kd_op_call *c);
    /* NULL: asking for a gradient through it is KD_E_NOGRAD. */
    kd_status (*backward)(const kd_op_call *c);
    uint32_t keeps; /* KD_KEEP_* */
    /* The same, by attributes, when it depends on them; NULL: keeps. */
    uint32_t (*keeps_fn)(const void *attr);
    uint32_t no_grad; /* bit i: no gradient flows to input i (labels, a teacher) */
    uint32_t updates; /* bit i: training writes input i, a buffer: the op is always run */
    int repeats; /* forward obeys kd_op_call.recomputed: it leaves buffers alone, and reads outputs
                  * that have no batch instead of writing them; 0: an op with buffers is never
                  * repeated */
    uint32_t optional_out; /* bit i: out[i].data is NULL where nobody reads it */
    int accumulates;       /* backward obeys `accumulate`; 0: the library adds through a copy */
    int in_place;          /* forward may write out[0] over in[0] */
    int in_place_backward; /* backward may write din[0] over dout[0] */
    uint32_t pass_through; /* bit i: din[i] is dout[0] itself (add); then no backward is called, and
                            * inputs without their bit get no gradient */
    int view;              /* out[0] is in[0] with another shape; no forward, no backward */
    int mixes_batch;       /* evaluating, an image's result depends on others of the batch, though
                            * the output has a row for each: none of the library's ops does */
    int mixes_in_training; /* the same of training (batch norm): such a network's batch is not cut
                            * into micro-batches */
    int identity_in_eval;  /* evaluating, out[0] is in[0] (dropout) */

    /* Bytes of scratch of a forward (backward 0) or backward (1), for at most the batch of c; must
     * not shrink when the batch grows. NULL: none. */
    size_t (*scratch)(const kd_op_call *c, int backward);
    /* Bytes of, and filling of, whatever is made of the parameters alone, once for frozen networks:
     * transformed or packed weights. */
    size_t (*prepared)(const kd_op_call *c);
    kd_status (*prepare)(const kd_op_call *c);
    /* Multiply-accumulates of one forward. NULL: none worth counting. */
    uint64_t (*macs)(const kd_op_call *c);

    /* no_grad by attributes, when it depends on them; NULL: no_grad. */
    uint32_t (*no_grad_fn)(const void *attr);

    /* The members of the attributes' struct, by which exporters read them. NULL: they cannot. */
    const kd_op_field *fields;
    size_t n_fields;
} kd_op;

/* Add an op to the graph. attr: attr_size bytes, copied (NULL: zeros). op must outlive the graph
 * and the plans made from it. inputs [n_in]. outputs: op->n_out values, KD_NONE on error. Returns
 * outputs[0]; outputs may be NULL. Errors are those of builders (graph.h), what op->shape returns,
 * and KD_E_INVALID for a record that is incomplete or a number of inputs that the op does not
 * take. */
KD_API kd_value kd_graph_op(kd_graph *graph, const kd_op *op, const void *attr,
                            const kd_value *inputs, int n_in, kd_value *outputs);

#ifdef __cplusplus
}
#endif
#endif
