/* SPDX-License-Identifier: MIT
 * model.h: networks by name. A spec string says which: "vgg8_bn,classes=10,image=32"; a model is a
 * spec with its parameters, and knows how to build its graph, load and save itself. */
#ifndef KD_MODEL_H
#define KD_MODEL_H

#include <kd/data.h>
#include <kd/graph.h>
#include <kd/params.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kd_model kd_model;

/* ---- specs ----------------------------------------------------------------------------------- */

/* The names there are, in order, e.g. "vgg2_bn"; NULL past the last. */
KD_API const char *kd_model_name_at(size_t i);

/* What `spec` means with every default filled in, in a fixed order of keys: two specs mean the same
 * network exactly if these are the same text. defaults: NULL, or "key=value,..." that hold where
 * spec itself has no such key (a data set's classes and image). Unknown names and keys and
 * impossible values are KD_E_INVALID, and the error says which and why. out is cut at size. */
KD_API kd_status kd_spec_complete(kd_ctx *ctx, const char *spec, const char *defaults, char *out,
                                  size_t size);
enum { KD_SPEC_SIZE = 256 };

/* Parameters and multiply-accumulates of one picture, counted as published (kd_build_opt.whole),
 * without making the parameters: quick. */
KD_API kd_status kd_spec_count(kd_ctx *ctx, const char *spec, uint64_t *params, uint64_t *macs);

/* ---- models ---------------------------------------------------------------------------------- */

/* Fresh parameters, a function of the seed. */
KD_API kd_status kd_model_create(kd_ctx *ctx, const char *spec, uint64_t seed, kd_model **model);

/* From a safetensors file. spec NULL: what the file says of itself; a file that says nothing
 * (torchvision's, timm's, Hugging Face's) needs one. Transformers may have timm's names,
 * torchvision's, or those of Hugging Face's networks for image classification. Tensors whose names
 * or shapes do not fit are KD_E_MISMATCH, and the error lists them. */
KD_API kd_status kd_model_load(kd_ctx *ctx, const char *path, const char *spec, kd_model **model);

/* The same, for another use: change ("classes=100,image=64"; NULL: nothing) overrides keys of the
 * spec. Another number of classes starts the last layer anew, from the seed. With another image
 * size or window, position embeddings and tables of relative positions are interpolated, as timm
 * does. */
KD_API kd_status kd_model_load_as(kd_ctx *ctx, const char *path, const char *spec,
                                  const char *change, uint64_t seed, kd_model **model);

/* Write PATH atomically: tensors under PyTorch's names, the spec and the normalisation as metadata.
 * dtype: KD_F32, KD_F16 or KD_BF16. */
KD_API kd_status kd_model_save(const kd_model *model, const char *path);
KD_API kd_status kd_model_save_as(const kd_model *model, const char *path, kd_dtype dtype);
/* The same with other parameters of the same network (an average). */
KD_API kd_status kd_model_save_params(const kd_model *model, const kd_params *params,
                                      const char *path, kd_dtype dtype);
KD_API void kd_model_destroy(kd_model *model);

KD_API kd_ctx *kd_model_ctx(const kd_model *model);
KD_API const char *kd_model_spec(const kd_model *model); /* complete */
KD_API kd_params *kd_model_params(kd_model *model);
KD_API size_t kd_model_classes(const kd_model *model);
KD_API size_t kd_model_image(const kd_model *model); /* height = width, in pixels */
KD_API size_t kd_model_channels(const kd_model *model);
/* Non-zero of a vision transformer (ViT, DeiT, Swin), which is trained otherwise than a CNN. */
KD_API int kd_model_is_transformer(const kd_model *model);

/* The normalisation its pictures had in training, [channels] each: (x / 255 - mean) / std. NULL
 * until set or loaded. */
KD_API const float *kd_model_mean(const kd_model *model);
KD_API const float *kd_model_std(const kd_model *model);
KD_API kd_status kd_model_set_normalization(kd_model *model, const float *mean, const float *std);

typedef struct kd_build_opt {
    size_t struct_size;
    int no_dropout;  /* leave dropout and drop path out: for comparisons */
    kd_value *heads; /* NULL, or [2]: set to the logits [N,classes] by the class token and by the
                      * distillation token of a distilled DeiT; both the logits of other networks */
    int whole; /* also what no logit depends on: the last block of a ViT for tokens that the heads
                      * do not read. Published counts of MACs have it */
} kd_build_opt;
/* Add the network to a graph: x [N,image,image,channels] -> logits [N,classes], which are the mean
 * of the heads where there are two. */
KD_API kd_value kd_model_build(const kd_model *model, kd_graph *graph, kd_value x,
                               const kd_build_opt *opt);

/* Logits [n, classes] of normalised pictures [n, image, image, channels], by a plan made for this
 * one call, `batch` (0: 128) pictures at a time. To run often, keep a plan of your own. */
KD_API kd_status kd_model_predict(kd_model *model, const float *pictures, size_t n, size_t batch,
                                  float *logits);

/* A plan and an executor for inference: input "input", output "logits", and where the network has
 * two heads "logits_cls" and "logits_dist". Destroy both yourself. */
struct kd_plan;
struct kd_exec;
KD_API kd_status kd_model_plan(kd_model *model, size_t batch, struct kd_plan **plan,
                               struct kd_exec **exec);

#ifdef __cplusplus
}
#endif
#endif
