/* SPDX-License-Identifier: MIT
 * plan.h: how a graph is computed. A plan orders the ops, finds lifetimes and gives every buffer an
 * offset in one arena: the peak memory is one number, known before anything runs. After an
 * executor is made nothing allocates.
 *
 * A plan is read-only: several executors may share one. kd_exec_create, _bind, _run, _output and
 * _destroy may be called in several threads at the same moment, under these rules:
 *
 *   - Each executor belongs to one thread.
 *   - Nobody changes an executor's parameters while it runs. Executors of a training plan write
 *     gradients and buffers: each has parameters of its own.
 *   - The context is shared. Its allocator and `parallel` are called from all of these threads.
 *   - The context's own threads work for one run at a time; the other runs compute alone.
 *   - kd_ctx_error is the text of one of the calls that failed. Read it when no call runs.
 *
 * The functions that ask a plan (kd_plan_arena_size and the like) only read it. Making and
 * destroying plans is as in ctx.h: one thread at a time. */
#ifndef KD_PLAN_H
#define KD_PLAN_H

#include <kd/graph.h>
#include <kd/params.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kd_plan kd_plan;
typedef struct kd_exec kd_exec;

typedef struct kd_plan_opt {
    size_t struct_size;
    size_t batch;  /* the largest batch a run may have; 0: 1 */
    int training;  /* batch norm by batch statistics, dropout active */
    int frozen;    /* parameters seldom change: keep transformed weights (costs memory, saves time);
                     * kd_params_touch or training them makes the next run transform anew */
    int no_fusion; /* run each op as built: for tests and comparisons */
    int no_sharing;  /* every buffer its own memory: for tests */
    int whole_batch; /* evaluating, each step runs for the whole batch before the next begins; else
                      * early layers run for a few images at a time: the same bits, less memory */
    int guard;       /* find ops that write outside their arrays or read what nobody wrote: free
                     * memory is NaN, buffers lie apart, and a run checks after each step. Slow; a
                     * debug build (DEBUG=1) always does it */
    /* The most bytes of the arena; 0: any number. If a plan needs more, values are dropped after
     * the forward pass and computed again for the backward pass, to the same bits. As few
     * multiply-accumulates as possible are repeated. KD_E_LIMIT: no plan is small enough. */
    size_t max_arena;
    /* NULL, or set to the arena's size; where max_arena made the library search, or was refused, to
     * the smallest arena that it found. */
    size_t *least;
} kd_plan_opt;

/* The graph stays as it is, may make more plans, and may be destroyed. opt NULL: all zeros.
 *
 *   an error of the graph  its status, as kd_graph_status has it
 *   KD_E_INVALID           graph or plan is NULL; the graph has neither an output nor a gradient;
 *                          struct_size is not set
 *   KD_E_UNSUPPORTED       opt has members that this library does not know
 *   KD_E_LIMIT             max_arena is too little; a size overflows at this batch; the context's
 *                          max_memory
 *   KD_E_NOMEM             the allocator has nothing left */
KD_API kd_status kd_plan_create(kd_graph *graph, const kd_plan_opt *opt, kd_plan **plan);
/* Destroy its executors first. NULL is allowed. */
KD_API void kd_plan_destroy(kd_plan *plan);
/* Bytes of working memory an executor needs: all values, scratch and prepared weights. Parameters,
 * gradients and bound inputs are not in it. */
KD_API size_t kd_plan_arena_size(const kd_plan *plan);
/* The largest batch of a run: kd_plan_opt.batch, 1 at least. */
KD_API size_t kd_plan_batch(const kd_plan *plan);
/* The most bytes of values and prepared weights at any step: the arena without scratch memory,
 * which may depend on the number of threads, and without gaps. */
KD_API size_t kd_plan_values_size(const kd_plan *plan);
/* The first step whose result for one image depends on others of the batch, beyond a loss's mean.
 * kd_plan_steps: there is none, and a batch may be run in micro-batches. */
KD_API size_t kd_plan_mixes(const kd_plan *plan);
/* Multiply-accumulates of the forward pass for one element of the batch. */
KD_API uint64_t kd_plan_macs(const kd_plan *plan);
/* The same of what is recomputed to stay within max_arena. */
KD_API uint64_t kd_plan_macs_recomputed(const kd_plan *plan);

/* One step of the program, for profiles and reports. */
typedef struct kd_plan_step {
    size_t struct_size;    /* sizeof(kd_plan_step), set by the caller */
    const char *op, *name; /* "conv2d", "features.0"; valid as long as the plan */
    int backward;
    kd_part part;
    uint64_t macs; /* of one element, forward only */
    size_t out_bytes, scratch_bytes;
    int recomputed; /* a forward step repeated in the backward pass */
} kd_plan_step;
/* How many steps there are. */
KD_API size_t kd_plan_steps(const kd_plan *plan);
/* Step i, from 0. KD_E_INVALID: there is none, or info is NULL or has no struct_size. */
KD_API kd_status kd_plan_step_info(const kd_plan *plan, size_t i, kd_plan_step *info);

/* params: must hold every parameter of the graph, by name and shape; values and buffers are read
 * and, when training, gradients and buffers written. memory: kd_plan_arena_size bytes at a multiple
 * of 64 that the caller keeps until the executor is gone; NULL: from the context's allocator. Plan
 * and params must outlive it. With gradients in the plan, params get theirs (kd_params_need_grads).
 *
 *   KD_E_MISMATCH           a parameter is missing, or has another shape or type: named
 *   KD_E_INVALID            memory is at no multiple of 64
 *   KD_E_LIMIT, KD_E_NOMEM  also for what starts the context's threads */
KD_API kd_status kd_exec_create(const kd_plan *plan, kd_params *params, void *memory,
                                kd_exec **exec);
/* The same, where what params lacks is in `others` (kd_params_create_others), which has gradients
 * of its own; NULL: nothing. */
KD_API kd_status kd_exec_create_with(const kd_plan *plan, kd_params *params, kd_params *others,
                                     void *memory, kd_exec **exec);
/* NULL is allowed. */
KD_API void kd_exec_destroy(kd_exec *exec);

/* The array an input is read from in the runs that follow, in the input's shape for the run's
 * batch. It is not copied: it must live, and hold its numbers, while a run reads it. data NULL: it is
 * not bound any more. KD_E_NOTFOUND: the plan has no such input; nothing changes then. */
KD_API kd_status kd_exec_bind(kd_exec *exec, const char *input, const void *data);
/* An output's array: written by each run, valid until the next, or the executor's end. Its shape is
 * kd_exec_output_shape. NULL: no such output. */
KD_API void *kd_exec_output(kd_exec *exec, const char *output);
/* Its shape for the last run's batch; rank 0: no such output. Sizes as in kd_shape, all counts. */
KD_API kd_shape kd_exec_output_shape(const kd_exec *exec, const char *output);

typedef struct kd_run_opt {
    size_t struct_size;
    size_t batch;        /* at most the plan's; 0: the plan's */
    uint64_t seed, step; /* keys of dropout's random numbers */
    int accumulate;      /* add to the parameters' gradients instead of overwriting them */
    int check_finite;    /* stop at the first step that reads or writes a number that is not finite:
                          * KD_E_NONFINITE, and the error names the array. Takes time */
    /* A batch in micro-batches: one run for each, with `accumulate` (but for the first run), weight
     * n / N for n of the batch's N images, and `first` the index of its first image. The gradients
     * are then those of the whole batch's mean loss, and dropout draws the same numbers however the
     * batch is cut. */
    size_t first;
    float weight; /* the gradient is that of weight * loss; 0: 1 */
} kd_run_opt;
/* Runs the whole program: forward and, if the graph has one, backward. opt NULL: all zeros. After a
 * failure outputs and gradients are undefined:
 *
 *   KD_E_INVALID    the batch is larger than the plan's; an input is not bound; the weight is not
 *                   finite; an op met a wrong value (a label); with kd_plan_opt.guard, a step wrote
 *                   where it must not: the error names the step and the buffer
 *   KD_E_NONFINITE  check_finite found a number
 *   KD_E_STOPPED    kd_ctx_cancel
 *   others          what an op returned: KD_E_SHAPE of a batch norm, KD_E_LIMIT */
KD_API kd_status kd_exec_run(kd_exec *exec, const kd_run_opt *opt);

/* Seconds spent since the executor was made or reset, by part of a step and by program step; 0 for
 * a step that is none. reset sets all of them to 0. */
KD_API double kd_exec_seconds(const kd_exec *exec, kd_part part);
KD_API double kd_exec_step_seconds(const kd_exec *exec, size_t step);
KD_API void kd_exec_reset_seconds(kd_exec *exec);

#ifdef __cplusplus
}
#endif
#endif
