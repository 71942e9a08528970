/* SPDX-License-Identifier: MIT
 * plan.h: the inside of a plan: the program is plain data. Steps refer to values by number; a value
 * says where its array lies. Everything lies in one pool and nothing points into the graph. */
#ifndef KDI_PLAN_H
#define KDI_PLAN_H

#include "../graph/graph.h"

#include <kd/plan.h>

#ifndef KDI_DEBUG
#define KDI_DEBUG 0
#endif

/* Where a value's array is. */
typedef enum kdi_place {
    KDI_AT_NOWHERE,
    KDI_AT_ARENA, /* offset: bytes */
    KDI_AT_INPUT, /* index: which input */
    KDI_AT_PARAM, /* index: which parameter or buffer */
    KDI_AT_GRAD   /* index: whose gradient */
} kdi_place;

typedef struct kdi_slot {
    kdi_place place;
    int index;
    size_t offset;
    size_t images; /* > 0: room for a piece of so many, of a stretch that runs depth-first */
    kd_shape shape;
    kd_dtype dtype;
} kdi_slot;

typedef struct kdi_step {
    const kd_op *op;
    const void *attr;
    const char *name;
    kd_part part;
    bool backward, recomputed; /* recomputed: a forward step repeated for the backward */
    uint32_t id;               /* of the forward op: its random numbers' key */
    size_t first, last;        /* its stretch; itself, if it runs for the whole batch */
    size_t images;             /* > 0: the stretch runs for so many at a time */
    int n_in, n_out;
    kd_value *in, *out;   /* slots, KD_NONE where the call gets no array */
    kd_value *dout, *din; /* backward */
    uint32_t accumulate;
    int in_place_of;               /* din[in_place_of] may lie over in[in_place_of]; 0: none */
    uint32_t staged;               /* bit i: din[i] goes through `stage` when it must be added */
    size_t scratch, scratch_bytes; /* offset in the arena */
    size_t prepared, prepared_bytes;
    size_t stage;
    uint64_t macs;
    size_t out_bytes;
} kdi_step;

typedef struct kdi_plan_param {
    const char *name;
    kd_shape shape;
    kd_dtype dtype;
    bool buffer;
} kdi_plan_param;

/* A stretch of a guarded plan's arena, from its first step to its last, both included. */
typedef enum kdi_owner { KDI_VALUE, KDI_SCRATCH, KDI_STAGE, KDI_PREPARED } kdi_owner;
typedef struct kdi_region {
    kdi_owner owner;
    kd_value value; /* KDI_VALUE */
    size_t step;    /* whose scratch, stage or prepared weights */
    size_t offset, bytes, first, last;
} kdi_region;

struct kd_plan {
    kd_ctx *ctx;
    kdi_pool pool;
    size_t batch, arena_bytes, values_bytes;
    bool training, frozen, guarded, has_grads;
    kdi_step *steps;
    kdi_slot *slots;
    kdi_plan_param *params;
    kdi_output *outputs;
    const char **inputs; /* names */
    kd_value *input_slots;
    kdi_region *regions; /* of a guarded plan, by offset */
    size_t n_steps, n_slots, n_params, n_outputs, n_inputs, n_regions;
    size_t max_operands; /* tensors of all steps together */
    uint64_t macs, recomputed_macs;
};

/* Whom a draft is fused for: this machine, whose kernels decide what pays, or a device, whose ops do
 * not depend on where the draft is made. */
typedef enum kdi_target { KDI_FOR_HOST, KDI_FOR_DEVICE } kdi_target;

/* A plan in the making: copies of the graph's values and nodes that passes may rewrite. A node that
 * a pass removes has op NULL. */
typedef struct kdi_draft {
    kd_plan *plan;
    const kd_graph *graph;
    const kd_plan_opt *opt;
    kdi_target target;
    kdi_value *values;
    kdi_node *nodes;
    size_t n_values, n_nodes;
    bool *needed; /* [values], by root: read by a live node, or an output */
} kdi_draft;

/* draft.c: the copies, in a draft whose plan, graph and options are set. */
kd_status kdi_draft_fill(kdi_draft *d);
/* Sets needed, and the op of nodes that nobody needs to NULL. */
void kdi_draft_drop_unneeded(kdi_draft *d);
/* A copy in the pool; NULL: no memory. from may be NULL where count is 0. */
void *kdi_pool_copy(kdi_pool *pool, const void *from, size_t count, size_t size);
kd_value kdi_draft_root(const kdi_draft *d, kd_value v);
/* Call fn for each value a node reads; a backward also reads a gradient that it adds to. */
void kdi_each_read(const kdi_node *n, void (*fn)(void *arg, kd_value v), void *arg);
/* Nodes before the backward pass, whose first node is the loss's gradient; 0: there is none. */
size_t kdi_draft_forwards(const kdi_draft *d);
/* Is it made by a node, and larger for a larger batch? */
bool kdi_value_grows(const kdi_draft *d, kd_value v);
/* Does a backward node read operand i of its forward? */
uint32_t kdi_node_keeps(const kdi_node *n);
/* How many reads of v are there, by nodes and as outputs? */
size_t kdi_draft_readers(const kdi_draft *d, kd_value v);
/* The first backward node of a forward node; -1: none. */
int kdi_draft_backward(const kdi_draft *d, int forward);
/* A value that a pass adds, float32. */
kd_value kdi_draft_add_value(kdi_draft *d, kd_shape shape);

/* emit.c: the draft of a graph's plan, fused and without what nobody needs; close it after a
 * failure, too. */
kd_status kdi_draft_open(const kd_graph *g, const kd_plan_opt *opt, kdi_target target,
                         kdi_draft *d);
void kdi_draft_close(kdi_draft *d);
/* A plan; recompute [nodes of the draft] marks those to be repeated, NULL: none. */
kd_status kdi_plan_build(const kd_graph *g, const kd_plan_opt *opt, const bool *recompute,
                         kd_plan **plan);

/* recompute.c: repeat the marked forward nodes where the backward needs what they make. */
kd_status kdi_recompute(kdi_draft *d, const bool *recompute);
/* budget.c: a plan within opt->max_arena instead of this one, which is larger. */
kd_status kdi_plan_within(const kd_graph *g, const kd_plan_opt *opt, kd_plan **plan);
/* fuse.c: merge ops that can be done in one pass over memory. */
kd_status kdi_fuse(kdi_draft *d);
/* fuse_bn.c: behind that, training: batch norms that convolutions take along. */
kd_status kdi_fuse_bn(kdi_draft *d);
/* fuse.c: the inputs of a step that its op has by itself: without a residual that was added to it. */
int kdi_own_inputs(const kdi_step *step);
/* depth_first.c: stretches that run depth-first: sets steps' first, last, images, and slots' images. */
kd_status kdi_cut_depth_first(kdi_draft *d);
/* memory.c: lifetimes, buffers shared in place, offsets: sets slots, scratch, arena_bytes. */
kd_status kdi_assign_memory(kdi_draft *d);

/* May a step's weights be prepared? */
bool kdi_can_prepare(const kdi_draft *d, const kdi_step *step);
/* Images a step has in hand at most, and a value has room for. */
size_t kdi_step_batch(const kd_plan *plan, const kdi_step *step);
size_t kdi_slot_batch(const kd_plan *plan, const kdi_slot *slot);

/* guard.c: what a guarded plan's executor does. Before a run: poison all but the prepared weights,
 * or those too when they are made anew. */
void kdi_guard_begin(const kd_plan *p, char *arena, bool prepared_too);
/* Which step of a run has just been done. */
typedef struct kdi_moment {
    size_t step;
    bool preparing;       /* its weights */
    size_t batch, images; /* of the run; of this piece of it */
    bool final;           /* the last piece */
} kdi_moment;
/* Has it written outside its arrays? What is needed no longer becomes poison. */
kd_status kdi_guard_step(const kd_plan *p, char *arena, const kdi_moment *now);

/* finite.c: KD_E_NONFINITE if a step reads from outside, or has written, what is not finite. */
kd_status kdi_finite_before(const kd_plan *p, size_t s, const kd_op_call *c);
kd_status kdi_finite_after(const kd_plan *p, size_t s, const kd_op_call *c);

/* query.c: an array with the batch filled in, data NULL. */
kd_tensor kdi_tensor_of(const kdi_slot *slot, size_t batch);
/* Fill a call's arrays' shapes for asking about sizes: operands must hold step's operands. */
void kdi_step_call(const kd_plan *plan, const kdi_step *step, size_t batch, kd_tensor *operands,
                   kd_op_call *call);

#endif
