/* SPDX-License-Identifier: MIT
 * optim.h: what a training step does to the parameters: optimisers, clipping, averaging, and the
 * learning rate's schedule. Loops over the flat arrays of kd_params; same bits for any threads.
 *
 * Threads are as in ctx.h: parameters and their optimiser are used by one thread at a time, and not
 * while an executor runs on them. The loops run on the context's threads. Functions without a
 * kd_status don't fail. */
#ifndef KD_OPTIM_H
#define KD_OPTIM_H

#include <kd/params.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where zero means "the default" of a number, this switches it off: it is zero then, and a layer
 * decay is one. Any other negative number is refused. Taken by what has KD_CAN_BE_OFF in the table of
 * options.h:
 *
 *   kd_optim_opt, kd_train_opt  momentum, weight_decay, beta1, beta2, layer_decay
 *   kd_train_opt                budget_seconds, warmup, min_lr, label_smoothing, clip, ema
 *   kd_distill_opt              hard, soft, alpha, beta, dkd_warmup */
#define KD_OFF (-1.0f)

/* AUTO: SGD here; in kd_train_opt the one that suits the network. */
typedef enum kd_optimizer {
    KD_OPTIMIZER_AUTO,
    KD_OPTIMIZER_SGD,
    KD_OPTIMIZER_ADAMW,
    KD_OPTIMIZER_COUNT
} kd_optimizer;
/* "auto", "sgd", "adamw"; NULL past the last. */
KD_API const char *kd_optimizer_name(kd_optimizer optimizer);

/* Parameters with a rate of their own: names as kd_name_matches takes them, and a factor on the
 * learning rate, which layer_decay multiplies besides; 0: they stay as they are. Of groups that
 * have a name the last one counts. An element of an array: it does not grow. */
typedef struct kd_optim_group {
    const char *names;
    float rate;
} kd_optim_group;

/* These mean what they mean in kd_train_opt, and mistakes are refused in the same words: a value
 * out of its range, one that the optimiser does not read. */
typedef struct kd_optim_opt {
    size_t struct_size;
    kd_optimizer optimizer;
    float momentum;     /* SGD, in [0,1). 0: .9; KD_OFF: none */
    int nesterov;       /* SGD. 0: as 1, where there is a momentum; -1: plain momentum */
    float weight_decay; /* 0: SGD 5e-4, AdamW .05; KD_OFF: none. SGD adds weight_decay * p to the
                         * gradient, AdamW takes lr * weight_decay * p from the parameter */
    int decay_all;      /* also norms, biases, tokens, embeddings of positions */
    double beta1,
        beta2;         /* AdamW: decay of the averages of gradients and of their squares, in [0,1).
                          * 0: .9 and .999; KD_OFF: zero */
    float eps;         /* AdamW: added to the root of the squares' average, at most 1. 0: 1e-8 */
    float layer_decay; /* in (0,1]: a parameter's learning rate is multiplied by it once for each
                        * layer above its own. 0 or KD_OFF: 1, the same rate for all. Layers are
                        * told by names, in timm's groups: embeddings and tokens are the lowest,
                        * each block ("blocks.N", "layers.N.blocks.M", "features.N") is one, and
                        * the head, with all other names, the highest */
    const kd_optim_group *groups; /* [n_groups], read while the optimiser is made */
    size_t n_groups;
} kd_optim_opt;

typedef struct kd_optim kd_optim;
/* State (momentum, averages) for these parameters, which must outlive it. They get gradients
 * (kd_params_need_grads). opt NULL: all defaults. KD_E_INVALID: a mistake in the options; the error
 * names the option. */
KD_API kd_status kd_optim_create(kd_params *params, const kd_optim_opt *opt, kd_optim **optim);
/* NULL is allowed. Before the parameters. */
KD_API void kd_optim_destroy(kd_optim *optim);
/* One update from the gradients times grad_scale (1 / number of accumulated batches, clipping).
 * SGD as PyTorch's: buf = momentum * buf + g (the first time g),
 *   p   -= lr * (nesterov ? g + momentum * buf : buf)
 * AdamW as PyTorch's (Loshchilov & Hutter 2019), t counting the updates from 1:
 *   p   -= lr * weight_decay * p
 *   avg  = beta1 * avg + (1 - beta1) * g,  sq = beta2 * sq + (1 - beta2) * g * g
 *   p   -= lr * avg / (1 - beta1^t) / (sqrt(sq / (1 - beta2^t)) + eps)
 * lr is multiplied by the factors of layer_decay and groups. Numbers are not checked: a gradient
 * that is not finite gets into the parameters. */
KD_API void kd_optim_step(kd_optim *optim, float lr, float grad_scale);
/* State arrays, [kd_params_flat_count] floats each, for checkpoints: "momentum", or AdamW's
 * "exp_avg" and "exp_avg_sq" (PyTorch's names); NULL past the last, and *name stays. name may be
 * NULL. They may be written, and live as long as the optimiser. steps: updates done so far. */
KD_API float *kd_optim_state(kd_optim *optim, size_t i, const char **name);
KD_API uint64_t kd_optim_steps(const kd_optim *optim);
KD_API void kd_optim_set_steps(kd_optim *optim, uint64_t steps);

/* Euclidean norm of all gradients, summed in double in a fixed order; 0 where there are none
 * yet. */
KD_API double kd_params_grad_norm(const kd_params *params);
/* average = decay * average + (1 - decay) * params; buffers are copied. average is a
 * kd_params_clone of such parameters. */
KD_API void kd_params_average(kd_params *average, const kd_params *params, float decay);

typedef enum kd_schedule {
    KD_SCHEDULE_AUTO, /* as KD_SCHEDULE_CONSTANT here; in kd_train_opt the one that suits */
    KD_SCHEDULE_CONSTANT,
    KD_SCHEDULE_STEP, /* times .1 at 62.5, 75 and 87.5 % of the way (150, 180, 210 of 240 epochs) */
    KD_SCHEDULE_COSINE, /* to zero by half a cosine */
    KD_SCHEDULE_ONECYCLE, /* from lr / 25 up over the first 30 %, then down to lr / 250000, by cosines */
    KD_SCHEDULE_COUNT
} kd_schedule;
/* "auto", "constant", "step", "cosine", "onecycle"; NULL past the last. */
KD_API const char *kd_schedule_name(kd_schedule schedule);
/* The factor on the base learning rate at progress t in [0,1] of the run; beyond, as at the nearer
 * end. Any thread, as all functions that tell names. */
KD_API double kd_schedule_factor(kd_schedule schedule, double t);

#ifdef __cplusplus
}
#endif
#endif
