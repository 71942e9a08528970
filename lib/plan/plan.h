/* SPDX-License-Identifier: MIT
 * plan.h: the inside of a plan. A program is plain data: steps refer to values by number, and a
 * value's slot says where its array lies. Everything lies in one pool; nothing points into the
 * graph.
 *
 *   create.c       kd_plan_create
 *   draft.c        the copies of the graph's values and nodes that passes rewrite
 *   fuse.c         passes that merge ops; fuse_bn.c for batch norms in training
 *   recompute.c    the pass that repeats forward nodes in the backward; budget.c says which
 *   emit.c         from the draft to steps
 *   depth_first.c  cuts the batch into pieces; memory.c places the arrays
 *   query.c        what a finished plan answers, and the calls of its steps
 *   exec.c         runs it, with finite.c and guard.c as checks */
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
    size_t images; /* > 0: room for so many images, of a stretch that runs depth first */
    kd_shape shape;
    kd_dtype dtype;
} kdi_slot;

typedef struct kdi_step {
    const kd_op *op;
    const void *attr;
    const char *name;
    kd_part part;
    bool backward, recomputed; /* recomputed: a forward step that is run again for the backward */
    bool evaluates;            /* as in evaluation, though the plan is of training */
    uint32_t id;               /* of the forward op: its random numbers' key */
    size_t first, last;        /* the stretch it is in: itself, if it runs for the whole batch */
    size_t images;             /* > 0: the stretch runs for so many images at a time */
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

/* A part of a guarded plan's arena, used from step `first` to step `last`, both included. */
typedef enum kdi_owner { KDI_VALUE, KDI_SCRATCH, KDI_STAGE, KDI_PREPARED } kdi_owner;
typedef struct kdi_region {
    kdi_owner owner;
    kd_value value; /* KDI_VALUE */
    size_t step;    /* others: the step whose scratch, stage or prepared weights it is */
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

/* Whom a draft is fused for. For the host, its kernels decide what is merged; for a device the
 * result is the same on every machine. */
typedef enum kdi_target { KDI_FOR_HOST, KDI_FOR_DEVICE } kdi_target;

/* A plan in the making: copies of the graph's values and nodes, which passes rewrite. A node that a
 * pass removed has op NULL. */
typedef struct kdi_draft {
    kd_plan *plan;
    const kd_graph *graph;
    const kd_plan_opt *opt;
    kdi_target target;
    kdi_value *values;
    kdi_node *nodes;
    size_t n_values, n_nodes;
    bool *needed; /* [values], by root: an output, or read by a node that was not removed */
} kdi_draft;

/* draft.c. Fill a draft whose plan, graph and options are set. */
kd_status kdi_draft_fill(kdi_draft *d);
/* Set `needed`; remove the nodes that nobody needs. */
void kdi_draft_drop_unneeded(kdi_draft *d);
/* A copy in the pool; NULL: no memory. from may be NULL if count is 0. */
void *kdi_pool_copy(kdi_pool *pool, const void *from, size_t count, size_t size);
kd_value kdi_draft_root(const kdi_draft *d, kd_value v);
/* Call fn for each value that a node reads. A backward also reads the gradients that it adds to. */
void kdi_each_read(const kdi_node *n, void (*fn)(void *arg, kd_value v), void *arg);
/* How many nodes come before the backward pass; 0: there is no backward pass. */
size_t kdi_draft_forwards(const kdi_draft *d);
/* Is v made by a node, and larger for a larger batch? */
bool kdi_value_grows(const kdi_draft *d, kd_value v);
/* Does a node compute as in evaluation? */
bool kdi_evaluates(const kdi_draft *d, const kdi_node *n);
/* KD_KEEP_* of a node: which operands of the forward its backward reads. */
uint32_t kdi_node_keeps(const kdi_node *n);
/* How often v is read, by nodes and as an output. */
size_t kdi_draft_readers(const kdi_draft *d, kd_value v);
/* The first backward node of a forward node; -1: none. */
int kdi_draft_backward(const kdi_draft *d, int forward);
/* Add a float32 value. */
kd_value kdi_draft_add_value(kdi_draft *d, kd_shape shape);

/* emit.c. A fused draft without unneeded nodes. Close it after a failure, too. */
kd_status kdi_draft_open(const kd_graph *g, const kd_plan_opt *opt, kdi_target target,
                         kdi_draft *d);
void kdi_draft_close(kdi_draft *d);
/* A plan. recompute [nodes of the draft], or NULL: the forward nodes to run again for the
 * backward. */
kd_status kdi_plan_build(const kd_graph *g, const kd_plan_opt *opt, const bool *recompute,
                         kd_plan **plan);

/* recompute.c: copy the marked forward nodes to where the backward reads their outputs. */
kd_status kdi_recompute(kdi_draft *d, const bool *recompute);
/* budget.c: replace *plan, which is larger than opt->max_arena, by one that is not. */
kd_status kdi_plan_within(const kd_graph *g, const kd_plan_opt *opt, kd_plan **plan);
/* fuse.c: merge ops that can be done in one pass over memory. */
kd_status kdi_fuse(kdi_draft *d);
/* fuse_bn.c, after that, training: merge batch norms into the convolutions around them. */
kd_status kdi_fuse_bn(kdi_draft *d);
/* fuse.c: the number of a step's inputs without a residual that fusion added. */
int kdi_own_inputs(const kdi_step *step);
/* depth_first.c: find stretches that run a few images at a time. Sets steps' first, last and
 * images, and slots' images. */
kd_status kdi_cut_depth_first(kdi_draft *d);
/* memory.c: lifetimes, in-place sharing, offsets. Sets slots, scratch, arena_bytes. */
kd_status kdi_assign_memory(kdi_draft *d);

/* May a step's weights be prepared? */
bool kdi_can_prepare(const kdi_draft *d, const kdi_step *step);
/* The most images a step runs for at a time, and a value has room for. */
size_t kdi_step_batch(const kd_plan *plan, const kdi_step *step);
size_t kdi_slot_batch(const kd_plan *plan, const kdi_slot *slot);

/* guard.c. Before a run: poison the arena but for the prepared weights; prepared_too: those as
 * well, as they are made anew. */
void kdi_guard_begin(const kd_plan *p, char *arena, bool prepared_too);
/* Where a run is: the step that was just done. */
typedef struct kdi_moment {
    size_t step;
    bool preparing;       /* its weights */
    size_t batch, images; /* of the run; of this piece of it */
    bool final;           /* the last piece */
} kdi_moment;
/* KD_E_INVALID if the step wrote outside its arrays. Arrays that are needed no longer are
 * poisoned. */
kd_status kdi_guard_step(const kd_plan *p, char *arena, const kdi_moment *now);

/* finite.c: KD_E_NONFINITE if an input or a parameter of a step is not finite; if what it wrote is
 * not. */
kd_status kdi_finite_before(const kd_plan *p, size_t s, const kd_op_call *c);
kd_status kdi_finite_after(const kd_plan *p, size_t s, const kd_op_call *c);

/* query.c. A slot's array with the batch filled in, data NULL. */
kd_tensor kdi_tensor_of(const kdi_slot *slot, size_t batch);
/* A call with all shapes and no data, for asking about sizes. `operands` has room for the
 * step's. */
void kdi_step_call(const kd_plan *plan, const kdi_step *step, size_t batch, kd_tensor *operands,
                   kd_op_call *call);

#endif
