/* SPDX-License-Identifier: MIT
 * params.h: a network's parameters: one flat array of values, one of gradients, a table of names
 * (PyTorch's) and shapes. An optimiser, clipping or averaging is one loop over the flat arrays;
 * several plans share one set of parameters.
 *
 * In the flat arrays each parameter starts at a multiple of 16 floats; the padding stays zero.
 *
 * Threads are as in ctx.h. Several executors may read one set at the same moment, where nobody
 * changes it meanwhile; a training plan's executor changes it (plan.h). Functions without a
 * kd_status don't fail. What they return is valid as long as the parameters. */
#ifndef KD_PARAMS_H
#define KD_PARAMS_H

#include <kd/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kd_params kd_params;

typedef struct kd_param_info {
    const char *name;
    kd_shape shape;      /* in memory, e.g. [out,kh,kw,in] */
    kd_shape file_shape; /* in files, e.g. [out,in,kh,kw] */
    kd_file_layout layout;
    kd_dtype dtype;
    int buffer, no_decay;
    size_t offset; /* first float in the flat array (bytes into the buffers, for a buffer) */
    size_t count;  /* elements */
} kd_param_info;

/* The parameters a graph declares, initialised from the seed: each one's numbers depend on the seed
 * and its name alone. The graph is not needed any more. An error of the graph is returned;
 * KD_E_LIMIT, naming a parameter: the size overflows. */
KD_API kd_status kd_params_create(kd_graph *graph, uint64_t seed, kd_params **params);
/* Those of them that `have` lacks by name: what a loss of one's own declares beside a network. NULL
 * in *params: it lacks none. Errors are kd_params_create's. */
KD_API kd_status kd_params_create_others(kd_graph *graph, uint64_t seed, const kd_params *have,
                                         kd_params **params);
/* Destroy its executors and optimisers first. NULL is allowed. */
KD_API void kd_params_destroy(kd_params *params);
/* The same table with a copy of the values and buffers, without gradients: for averages. */
KD_API kd_status kd_params_clone(const kd_params *params, kd_params **clone);

/* The context that they were made from. */
KD_API kd_ctx *kd_params_ctx(const kd_params *params);
/* How many entries there are: parameters and buffers, in the order they were declared. */
KD_API size_t kd_params_entries(const kd_params *params);
/* Entry i; NULL past the last. */
KD_API const kd_param_info *kd_params_info(const kd_params *params, size_t i);
/* By name; NULL if there is none. */
KD_API const kd_param_info *kd_params_find(const kd_params *params, const char *name);
/* Elements of parameters, buffers and padding not counted: what papers call the parameter count. */
KD_API size_t kd_params_count(const kd_params *params);

/* The flat arrays: kd_params_flat_count floats each. Gradients are NULL until asked for by
 * kd_params_need_grads or an executor of a training plan. */
KD_API size_t kd_params_flat_count(const kd_params *params);
KD_API float *kd_params_values(kd_params *params);
KD_API float *kd_params_grads(kd_params *params);
KD_API kd_status kd_params_need_grads(kd_params *params);
/* The buffers' bytes, kd_params_buffer_bytes of them: a block the same size for every clone. */
KD_API void *kd_params_buffers(kd_params *params);
KD_API size_t kd_params_buffer_bytes(const kd_params *params);
/* Say that values or buffers were changed by hand: executors transform weights anew at their next
 * run. */
KD_API void kd_params_touch(kd_params *params);

/* Copy one entry out of, or into, a dense array in the file's layout (floats, or int64 for an I64
 * buffer), of info->count elements. info is an entry of these parameters. which: 0 the value, 1 the
 * gradient. KD_E_INVALID: another number, or there is no gradient: of a buffer, or before
 * kd_params_need_grads. set touches the parameters (kd_params_touch). */
KD_API kd_status kd_params_get(const kd_params *params, const kd_param_info *info, int which,
                               void *out);
KD_API kd_status kd_params_set(kd_params *params, const kd_param_info *info, const void *in);
/* The same for a parameter's part of any flat array [kd_params_flat_count], such as an optimiser's
 * state: pack copies it out, unpack into it. */
KD_API void kd_params_pack(const kd_param_info *info, const float *flat, float *out);
KD_API void kd_params_unpack(const kd_param_info *info, const float *in, float *flat);

#ifdef __cplusplus
}
#endif
#endif
