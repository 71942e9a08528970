/* SPDX-License-Identifier: MIT
 * graph.h: what is computed. Values are integer ids, ops are records; the batch size stays a
 * symbol until a plan is made.
 *
 * A builder returns the value it makes, or KD_NONE after an error. An error is reported once and
 * sticks: every later builder given KD_NONE returns KD_NONE, so a model is written without checks
 * and asked at the end (kd_graph_status). Pictures are [N,H,W,C], tokens [N,T,C], logits [N,K].
 *
 * A dimension is a count, or -k for k times the batch size (only dimension 0): KD_BATCH is -1.
 *
 * Inputs and results are f32, unless the comment says otherwise. The errors of builders:
 *
 *   KD_E_INVALID        a number is out of its range
 *                       an input is KD_NONE, or no value of the graph
 *                       a name or an array is NULL
 *                       the graph was differentiated already (kd_graph_grad)
 *   KD_E_SHAPE          shapes or types of the inputs do not fit, nor do an axis or an index
 *   KD_E_LIMIT          a size overflows, or a name with its scopes is too long
 *   KD_E_NOMEM          the allocator has nothing left
 *
 * Without a graph (NULL) a builder returns KD_NONE, too.
 *
 * Threads are as in ctx.h: a graph is used by one thread at a time. Names and options are
 * copied. */
#ifndef KD_GRAPH_H
#define KD_GRAPH_H

#include <kd/ctx.h>
#include <kd/dtype.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kd_graph kd_graph;
typedef int32_t kd_value;

#define KD_NONE ((kd_value)-1)
#define KD_BATCH ((int64_t)-1)
enum { KD_MAX_RANK = 6 };

typedef struct kd_shape {
    int rank;
    int64_t dim[KD_MAX_RANK];
} kd_shape;

/* An empty graph. KD_E_INVALID: ctx or graph is NULL; KD_E_LIMIT, KD_E_NOMEM. */
KD_API kd_status kd_graph_create(kd_ctx *ctx, kd_graph **graph);
/* Plans and parameters made from it stay. NULL is allowed. */
KD_API void kd_graph_destroy(kd_graph *graph);
/* KD_OK, or the status of the first error; kd_ctx_error has its text until the next failure. */
KD_API kd_status kd_graph_status(const kd_graph *graph);
/* The context that it was made from. */
KD_API kd_ctx *kd_graph_ctx(const kd_graph *graph);
/* Make the graph fail with this status, unless it has failed already; returns KD_NONE. For builders
 * of one's own, after kd_ctx_fail. */
KD_API kd_value kd_graph_fail(kd_graph *graph, kd_status status);
/* Shape and type of a value. For KD_NONE, a number that is no value, and graph NULL, the rank is
 * -1 and the type KD_F32. */
KD_API kd_shape kd_graph_shape(const kd_graph *graph, kd_value value);
KD_API kd_dtype kd_graph_dtype(const kd_graph *graph, kd_value value);

/* Names: parameters and ops made between scope and unscope are called "SCOPE.name". format is
 * printf's and gives at most 127 bytes. Scopes may stand in scopes. A name that is too long, or too
 * many scopes, are KD_E_LIMIT, which sticks to the graph. unscope ends the innermost scope; where
 * there is none, nothing happens. */
KD_API void kd_graph_scope(kd_graph *graph, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
KD_API void kd_graph_unscope(kd_graph *graph);

/* Ops built from here on belong to this part of a step: the profile adds up seconds by part. */
typedef enum kd_part { KD_PART_FORWARD, KD_PART_LOSS, KD_PART_BACKWARD, KD_PART_COUNT } kd_part;
KD_API void kd_graph_part(kd_graph *graph, kd_part part);

/* ---- values that come from outside ----------------------------------------------------------- */

/* An array [dim[0], ..., dim[rank-1]] that the executor is handed (kd_exec_bind). rank is
 * 1..KD_MAX_RANK. Each dimension is 1..2^31-1; dim[0] may also be -k. KD_E_INVALID: there is an
 * input of that name already. */
KD_API kd_value kd_input(kd_graph *graph, const char *name, kd_dtype dtype, int rank,
                         const int64_t *dim);

/* How a parameter starts. */
typedef enum kd_init {
    KD_INIT_ZERO,
    KD_INIT_ONE,
    KD_INIT_NORMAL,           /* standard deviation `scale` */
    KD_INIT_TRUNCATED_NORMAL, /* the same, cut at two standard deviations */
    KD_INIT_KAIMING_FAN_OUT,  /* He et al. 2015: normal, sqrt(2 / (out * kh * kw)) */
    KD_INIT_UNIFORM           /* in [-scale, scale] */
} kd_init;

/* How a parameter is laid out in files. In memory weights are [out,kh,kw,in]. */
typedef enum kd_file_layout {
    KD_LAYOUT_SAME,   /* as in memory */
    KD_LAYOUT_CONV,   /* [o,h,w,i] in memory, [o,i,h,w] in files: PyTorch's convolutions */
    KD_LAYOUT_FLATTEN /* [o,h,w,c] in memory, [o,c*h*w] in files: a linear layer that reads a
                        * flattened picture */
} kd_file_layout;

typedef struct kd_param_opt {
    size_t struct_size;
    kd_init init;
    float scale;
    kd_file_layout layout;
    int buffer;     /* 1: a buffer, e.g. a running mean: saved with the weights, no gradient */
    int no_decay;   /* 1: weight decay leaves it alone unless asked (norms, biases, tokens) */
    kd_dtype dtype; /* KD_F32; buffers may be KD_I64 */
} kd_param_opt;

/* A parameter of the network under the current scope. rank is 0..KD_MAX_RANK; 0 is a single number,
 * and dim may be NULL. Dimensions are 1..2^31-1: none is symbolic. opt NULL: all zeros. The same
 * name twice is the same parameter: another shape is KD_E_SHAPE, another type or `buffer`
 * KD_E_MISMATCH. A name with its scopes has at most 383 bytes, else KD_E_LIMIT. */
KD_API kd_value kd_param(kd_graph *graph, const char *name, int rank, const int64_t *dim,
                         const kd_param_opt *opt);

/* Parameters that are declared from here on and whose name matches (kd_name_matches) are constants:
 * they get no gradient, and a plan has no backward op for them alone. What is computed from
 * constants and inputs alone, and batch norms of which weight and bias are constants, compute as in
 * evaluation: by running statistics, which stay, without dropout and drop path. names NULL: none
 * from here on. No memory for the copy of names is an error that sticks to the graph. */
KD_API void kd_graph_freeze(kd_graph *graph, const char *names);

/* Is this name among `names`? A list joined by commas, of which the last part that matches decides:
 * "*" stands for any characters, "?" for one; a part also matches what goes on behind it with a
 * point ("blocks.0" the name "blocks.0.norm1.bias"); with "!" before it, it takes names out again
 * ("*,!head"). 1: it is, 0: it is not, or one of both is NULL. Any thread. */
KD_API int kd_name_matches(const char *names, const char *name);

/* Elements of all parameters so far, buffers not counted; frozen ones are. */
KD_API uint64_t kd_graph_param_count(const kd_graph *graph);

/* ---- layers: each declares its parameters under `name` (PyTorch's names) --------------------- */

typedef struct kd_conv2d_opt {
    size_t struct_size;
    int out;                  /* output channels */
    int kernel[2], stride[2]; /* height, width; 0: kernel 1, stride 1; [1] 0: as [0] */
    int pad[2], dilation[2];  /* pad[1] < 0: as pad[0]; dilation 0: 1 */
    int groups;               /* 0: 1; as many as input channels: depthwise */
    int no_bias;
} kd_conv2d_opt;
/* x [N,H,W,C] -> [N,OH,OW,out]; name.weight [out,kh,kw,C/groups], name.bias [out]. The border is
 * zeros. A size below 1 is KD_E_SHAPE, and so are groups that do not divide C and out.
 *   OH = floor((H + 2 pad - dilation (kh - 1) - 1) / stride) + 1, and so OW */
KD_API kd_value kd_conv2d(kd_graph *graph, kd_value x, const char *name, const kd_conv2d_opt *opt);

/* x [...,C] -> [...,out]: x weight^T + bias. name.weight [out,C], name.bias [out]; bias 0: without.
 * out is at least 1. */
KD_API kd_value kd_linear(kd_graph *graph, kd_value x, const char *name, int out, int bias);
/* x [N,H,W,C] -> [N,out]: PyTorch's Flatten + Linear; name.weight [out,H,W,C] in memory and
 * [out,C*H*W] in files. bias, out: as kd_linear. */
KD_API kd_value kd_flatten_linear(kd_graph *graph, kd_value x, const char *name, int out, int bias);

/* Over all but the last dimension; name.weight, bias, running_mean, running_var [C],
 * num_batches_tracked. momentum as PyTorch's (new = (1-m)*old + m*batch), in (0,1]; eps, above 0,
 * is added to the variance. 0 means .1 and 1e-5. A training run with one number for a channel is
 * KD_E_SHAPE. */
KD_API kd_value kd_batch_norm(kd_graph *graph, kd_value x, const char *name, float momentum,
                              float eps);

/* Over the last dimension of [...,C], row by row; name.weight, bias [C]. eps is added to the
 * variance, which is the biased one. It is finite and above 0; 0 means 1e-5, PyTorch's (timm's ViT
 * has 1e-6). */
KD_API kd_value kd_layer_norm(kd_graph *graph, kd_value x, const char *name, float eps);

/* ---- functions ------------------------------------------------------------------------------- */

/* Number by number; the result has x's shape. */
KD_API kd_value kd_relu(kd_graph *graph, kd_value x);    /* max(0, x); gradient 0 at 0 */
KD_API kd_value kd_gelu(kd_graph *graph, kd_value x);    /* x * Phi(x), exact */
KD_API kd_value kd_sigmoid(kd_graph *graph, kd_value x); /* 1 / (1 + exp(-x)), in [0,1] */
/* Number by number, of two values of one shape, which is the result's too: nothing is broadcast
 * (kd_add_broadcast does). */
KD_API kd_value kd_add(kd_graph *graph, kd_value a, kd_value b);
KD_API kd_value kd_mul(kd_graph *graph, kd_value a, kd_value b);
KD_API kd_value kd_sub(kd_graph *graph, kd_value a, kd_value b); /* a - b */
/* factor * x; the factor is finite and no value: it has no gradient. */
KD_API kd_value kd_scale(kd_graph *graph, kd_value x, float factor);
/* x [count] values of one type, whichever, and of one rank, joined along `axis` (negative: from the
 * end). All other dimensions agree. count is 1..KD_MAX_OPERANDS (op.h). */
KD_API kd_value kd_concat(kd_graph *graph, const kd_value *x, int count, int axis);
/* The same elements, of any type, as dim [rank]. dim[0] may be -k; one dimension may be 0:
 * inferred. Costs nothing. */
KD_API kd_value kd_reshape(kd_graph *graph, kd_value x, int rank, const int64_t *dim);
/* order [rank of x]: the result's dimension i is x's dimension order[i]. order[0] is 0 if dimension
 * 0 is symbolic. */
KD_API kd_value kd_transpose(kd_graph *graph, kd_value x, const int *order);
/* The mean of all elements of x, and of their squares, the batch's too: [1], a loss by itself. The
 * mean squared error of two values is kd_mean_square(g, kd_sub(g, a, b)). */
KD_API kd_value kd_mean(kd_graph *graph, kd_value x);
KD_API kd_value kd_mean_square(kd_graph *graph, kd_value x);
/* x, of any type; what is made of it sends no gradient back to x (PyTorch's detach). Costs
 * nothing. */
KD_API kd_value kd_stop_gradient(kd_graph *graph, kd_value x);
/* exp(x) / sum(exp(x)) over the last dimension, which is a count and not the batch. */
KD_API kd_value kd_softmax(kd_graph *graph, kd_value x);
/* Training, a number is 0 with probability rate, in [0,1), else divided by 1 - rate. Evaluating,
 * x. */
KD_API kd_value kd_dropout(kd_graph *graph, kd_value x, float rate);

typedef struct kd_pool_opt {
    size_t struct_size;
    int kernel[2], stride[2], pad[2]; /* as in kd_conv2d_opt; stride 0: the kernel's */
    int ceil_mode;                    /* round the output's size up, as PyTorch does */
    int exclude_pad;                  /* average pool: divide by the pixels inside the picture */
} kd_pool_opt;
/* [N,H,W,C] -> [N,OH,OW,C]: the largest, and the mean, of each window. The kernel is at least 1,
 * pad at most half of it. A picture smaller than the kernel is KD_E_SHAPE. */
KD_API kd_value kd_max_pool(kd_graph *graph, kd_value x, const kd_pool_opt *opt);
KD_API kd_value kd_avg_pool(kd_graph *graph, kd_value x, const kd_pool_opt *opt);
/* [N,H,W,C] -> [N,h,w,C]: output cell i averages rows floor(i*H/h) .. ceil((i+1)*H/h)-1. h and w
 * are at least 1. */
KD_API kd_value kd_adaptive_avg_pool(kd_graph *graph, kd_value x, int h, int w);
/* [N,H,W,C] or [N,T,C] -> [N,C]: the mean over places. */
KD_API kd_value kd_global_avg_pool(kd_graph *graph, kd_value x);

/* ---- transformers ---------------------------------------------------------------------------- */

/* Multi-head self-attention: qkv [N,T,3*C], queries, keys and values one behind the other, each as
 * heads of d = C/heads numbers -> [N,T,C]. For each image n and head
 *   softmax(scale q k^T + bias[head] + mask[n mod W]) v
 * scale 0 means 1/sqrt(d). bias [heads,T,T] and mask [W,T,T] may be KD_NONE; a mask has no
 * gradient, and W divides N (or k, where N is k times the batch). heads is at least 1 and divides
 * C. scale is finite. */
KD_API kd_value kd_attention(kd_graph *graph, kd_value qkv, int heads, float scale, kd_value bias,
                             kd_value mask);
/* The same for the first `queries` tokens alone, which look at all: -> [N,queries,C]. queries is
 * 1..T, else KD_E_SHAPE. */
KD_API kd_value kd_attention_first(kd_graph *graph, kd_value qkv, int heads, float scale,
                                   int queries);
/* The probabilities that kd_attention computes with, softmax(scale q k^T + bias + mask), as a
 * value: [N,heads,T,T]. It is computed beside it, for those who look. */
KD_API kd_value kd_attention_map(kd_graph *graph, kd_value qkv, int heads, float scale,
                                 kd_value bias, kd_value mask);
/* x [N,T,C] and tokens [count] of C numbers each ([1,1,C]) -> [N,count+T,C], the tokens first. */
KD_API kd_value kd_prepend_tokens(kd_graph *graph, kd_value x, const kd_value *tokens, int count);
/* x [N,...] + p [1,...] -> [N,...]: position embeddings. */
KD_API kd_value kd_add_broadcast(kd_graph *graph, kd_value x, kd_value p);
/* [N,T,C] -> [N,count,C], tokens from `first` on; one token, the one of this index: [N,C]. Tokens
 * that x does not have are KD_E_SHAPE. */
KD_API kd_value kd_select_tokens(kd_graph *graph, kd_value x, int first, int count);
KD_API kd_value kd_select_token(kd_graph *graph, kd_value x, int index);
/* Stochastic depth: training, a sample is 0 with probability rate, in [0,1), else divided by 1 -
 * rate. Evaluating, x. */
KD_API kd_value kd_drop_path(kd_graph *graph, kd_value x, float rate);

/* Swin's windows; pairs are height, width. x [N,H,W,C] is shifted up and left cyclically, filled up
 * with zeros to whole windows, and cut: [N*windows,h*w,C], windows by rows. And back, to the map
 * [N,H,W,C]. Sides are at least 1; a shift is at least 0 and less than window and map. */
KD_API kd_value kd_window_partition(kd_graph *graph, kd_value x, const int window[2],
                                    const int shift[2]);
KD_API kd_value kd_window_reverse(kd_graph *graph, kd_value x, const int map[2],
                                  const int window[2], const int shift[2]);
/* The mask for shifted windows, [windows,T,T]: 0, or -100 between pixels the shift brought
 * together. T = h*w. A constant: blocks of one size can share it. */
KD_API kd_value kd_window_mask(kd_graph *graph, const int map[2], const int window[2],
                               const int shift[2]);
/* table [(2h-1)*(2w-1),heads] -> the bias [heads,T,T] of windows of h by w, T = h*w, by pixels'
 * relative positions. */
KD_API kd_value kd_position_bias(kd_graph *graph, kd_value table, const int window[2]);
/* [N,H,W,C] -> [N,ceil(H/2),ceil(W/2),4*C]: pixels (0,0), (1,0), (0,1), (1,1) of each 2x2 square
 * side by side; zeros beyond an odd edge. */
KD_API kd_value kd_patch_merge(kd_graph *graph, kd_value x);

/* ---- losses: each a scalar [1], the mean over the batch -------------------------------------- */

/* A label out of its range, or a share, is KD_E_INVALID when it is met: kd_exec_run returns it,
 * with the row. A temperature is finite and above 0. teacher has the shape of logits. */

/* logits [N,K], labels [N] i32 in [0,K): -log softmax of the label, with the label's weight
 * 1-smoothing+smoothing/K and smoothing/K for the others (PyTorch's label smoothing). smoothing is
 * in [0,1). */
KD_API kd_value kd_cross_entropy(kd_graph *graph, kd_value logits, kd_value labels,
                                 float smoothing);
/* The same for mixtures of two pictures (mixup, CutMix): shares [N] f32 in [0,1] of the label's
 * weight stay with it, the rest is that of partners [N] i32. */
KD_API kd_value kd_cross_entropy_mixed(kd_graph *graph, kd_value logits, kd_value labels,
                                       kd_value partners, kd_value shares, float smoothing);
/* Hinton et al. 2015: T^2 * KL(softmax(teacher/T) || softmax(logits/T)), summed over classes.
 * Gradient T * (q_student - q_teacher) / N. The teacher gets none. */
KD_API kd_value kd_loss_kd(kd_graph *graph, kd_value logits, kd_value teacher, float temperature);
/* Cross-entropy against the teacher's most likely class (DeiT's hard distillation). */
KD_API kd_value kd_loss_hard(kd_graph *graph, kd_value logits, kd_value teacher);
/* Decoupled distillation (Zhao et al. 2022): (alpha * TCKD + beta * NCKD) * T^2. K is at least 2;
 * alpha and beta are finite. */
KD_API kd_value kd_loss_dkd(kd_graph *graph, kd_value logits, kd_value teacher, kd_value labels,
                            float temperature, float alpha, float beta);
/* Logit standardisation (Sun et al. 2024): each row minus its mean, over its standard deviation
 * (whose variance divides by K-1: torch's default, as published) plus 1e-7. Has a gradient. [...,K]
 * -> [...,K], K at least 2. */
KD_API kd_value kd_standardize(kd_graph *graph, kd_value logits);

/* Losses on what is inside networks. The target, or the teacher, gets no gradient.
 * Mean over all numbers of (x - target)^2; both have one shape. */
KD_API kd_value kd_loss_mse(kd_graph *graph, kd_value x, kd_value target);
/* Rows of probabilities (the last dimension), of which x is above 0: the mean over rows of
 * sum of target * log(target / x), in nats. Both have one shape. */
KD_API kd_value kd_loss_kl(kd_graph *graph, kd_value x, kd_value target);
/* Relations between the pictures of a batch (Park et al. 2019, RKD): x [N,D], teacher [N,E];
 * distance times the mean Huber loss of the pictures' distances, each over their mean, plus angle
 * times that of the cosines of the angles between three. It mixes the batch, in the order of N^3
 * operations. distance and angle are finite and at least 0. */
KD_API kd_value kd_loss_rkd(kd_graph *graph, kd_value x, kd_value teacher, float distance,
                            float angle);
/* [...,C] -> [...,C]: x over its Euclidean norm, over the last dimension (a norm below 1e-12 counts
 * as that). */
KD_API kd_value kd_l2_normalize(kd_graph *graph, kd_value x);
/* Where a map is active: [N,...,C] -> [N,P], the mean over channels of x^2 at each of P places. */
KD_API kd_value kd_channel_energy(kd_graph *graph, kd_value x);

/* ---- differentiation ------------------------------------------------------------------------- */

/* Ask for the gradient by an input or an op's value, too: before kd_graph_grad. Of what is no value
 * of the graph nothing happens. */
KD_API void kd_graph_want_grad(kd_graph *graph, kd_value value);
/* Append the backward pass of a scalar [1], once. No op can be added afterwards. A failure sticks
 * to the graph:
 *
 *   KD_E_SHAPE    loss is no scalar [1] of this graph
 *   KD_E_INVALID  the graph has its gradient already
 *   KD_E_NOGRAD   an op on the way has none: the error names it
 *   KD_E_LIMIT, KD_E_NOMEM, and an error that the graph had before */
KD_API kd_status kd_graph_grad(kd_graph *graph, kd_value loss);
/* The gradient of the loss by a value that kd_graph_want_grad named; KD_NONE where the loss does
 * not depend on it. Parameters' gradients are in kd_params. */
KD_API kd_value kd_graph_grad_of(kd_graph *graph, kd_value value);
/* Keep a value readable after a run, under a name. Plans compute what the outputs, the gradient and
 * the buffers' updates need, and nothing else. KD_E_INVALID, which sticks to the graph: it is no
 * value. */
KD_API void kd_output(kd_graph *graph, kd_value value, const char *name);

#ifdef __cplusplus
}
#endif
#endif
