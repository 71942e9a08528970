/* SPDX-License-Identifier: MIT
 * model.h: networks by name. A spec string says which: "vgg8_bn,classes=10,image=32"; a model is a
 * spec with its parameters, and knows how to build its graph, load and save itself.
 *
 * Threads are as in ctx.h: a model is used by one thread at a time; for several see predict.h and
 * plan.h. Functions that tell something of a model only read it and don't fail: several threads may
 * call them while nobody changes it. Texts and arrays that they return are the model's: valid until
 * the next call that sets them, or the model's end. Texts and arrays that a model is given are
 * copied. */
#ifndef KD_MODEL_H
#define KD_MODEL_H

#include <kd/data.h>
#include <kd/file.h>
#include <kd/graph.h>
#include <kd/params.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kd_model kd_model;

/* ---- specs ----------------------------------------------------------------------------------- */

/* The names there are, in order, e.g. "vgg2_bn"; NULL past the last. Any thread. */
KD_API const char *kd_model_name_at(size_t i);

/* What `spec` means with every default filled in, in a fixed order of keys: two specs mean the same
 * network exactly if these are the same text. defaults: NULL, or "key=value,..." that hold where
 * spec itself has no such key (a data set's classes and image). Unknown names and keys and
 * impossible values are KD_E_INVALID, and the error says which and why. out [size] ends with a NUL
 * and is cut at size; KD_SPEC_SIZE is enough. */
KD_API kd_status kd_spec_complete(kd_ctx *ctx, const char *spec, const char *defaults, char *out,
                                  size_t size);
enum { KD_SPEC_SIZE = 256 };

/* Parameters and multiply-accumulates of one picture, counted as published (kd_build_opt.whole),
 * without making the parameters: quick. Both may be NULL. KD_E_INVALID: the spec, as
 * kd_spec_complete has it. */
KD_API kd_status kd_spec_count(kd_ctx *ctx, const char *spec, uint64_t *params, uint64_t *macs);

/* ---- models ---------------------------------------------------------------------------------- */

/* Fresh parameters, a function of the seed. KD_E_INVALID: the spec, as kd_spec_complete has it. */
KD_API kd_status kd_model_create(kd_ctx *ctx, const char *spec, uint64_t seed, kd_model **model);

/* From what kd_file_open takes: a safetensors file, an index of shards, or a folder with one. spec
 * NULL: what the file says of itself; a file that says nothing (torchvision's, timm's, Hugging
 * Face's) needs one. Names may be timm's, torchvision's, or those of Hugging Face's networks for
 * image classification. A beginning that all names share ("module.", "_orig_mod.", "model.") is
 * taken off, and that is logged. A VGG's head, where spec doesn't say, is the one the tensors have.
 * Counters of batch norms may have any type, or be missing. Tensors whose names or shapes do not
 * fit are KD_E_MISMATCH, and the error lists them. KD_E_FORMAT: a file says nothing and spec is
 * NULL, or its metadata contradict themselves. KD_E_INVALID: the spec. Others are
 * kd_file_open's. */
KD_API kd_status kd_model_load(kd_ctx *ctx, const char *path, const char *spec, kd_model **model);

typedef struct kd_load_opt {
    size_t struct_size; /* sizeof(kd_load_opt) */
    const char *spec;   /* as for kd_model_load */
    const char *change; /* keys of the spec that are other here, "classes=100,image=64"; or NULL */
    uint64_t seed;      /* of a new head */
    int reset_head;     /* begin the head (the layer that makes the logits) anew in any case */
    /* What the classes of the new task are called, and how many there are, which the spec's classes
     * then are. NULL, 0: not known. */
    const char *const *class_names;
    size_t n_class_names;
} kd_load_opt;
/* The same, for another use. With another image size or window, position embeddings and tables of
 * relative positions are interpolated, as timm does.
 *
 * Whether the head is kept goes by the classes' names: it is if the file's are the same (in another
 * order: its rows change places), else it begins anew. If only the new task's names are known it is
 * kept where their number is the file's, and a warning is logged. If the new task's are not known,
 * their number decides. What happened is logged, and kd_model_head_kept tells. With a new head the
 * model no longer knows the data it was trained on. opt NULL: as kd_model_load without a spec.
 * Errors are kd_model_load's. */
KD_API kd_status kd_model_load_as(kd_ctx *ctx, const char *path, const kd_load_opt *opt,
                                  kd_model **model);
/* The same from a file that is open, such as bytes in memory (kd_file_from_memory). It stays open,
 * and the model doesn't need it any more. */
KD_API kd_status kd_model_load_file(kd_ctx *ctx, kd_file *file, const kd_load_opt *opt,
                                    kd_model **model);
/* The same from bytes of a file, which are not needed any more afterwards; opt may be NULL. */
KD_API kd_status kd_model_load_memory(kd_ctx *ctx, const void *bytes, size_t size,
                                      const kd_load_opt *opt, kd_model **model);
/* 0 after kd_model_load_as began the head anew, else 1. */
KD_API int kd_model_head_kept(const kd_model *model);

/* Write PATH atomically: tensors under PyTorch's names, and as metadata all that the model knows of
 * itself (below). An existing file that is no safetensors file is not replaced: KD_E_EXISTS.
 * dtype: KD_F32, KD_F16 or KD_BF16, else KD_E_INVALID. Others are kd_file_write_atomic's. */
KD_API kd_status kd_model_save(const kd_model *model, const char *path);
KD_API kd_status kd_model_save_as(const kd_model *model, const char *path, kd_dtype dtype);
/* The same with other parameters of the same network (an average). */
KD_API kd_status kd_model_save_params(const kd_model *model, const kd_params *params,
                                      const char *path, kd_dtype dtype);
/* The same bytes in memory [*size], to be freed with kd_ctx_free; or to a function, piece by piece:
 * what it returns, if not KD_OK, is returned. */
KD_API kd_status kd_model_save_memory(const kd_model *model, kd_dtype dtype, void **bytes,
                                      size_t *size);
KD_API kd_status kd_model_save_fn(const kd_model *model, kd_dtype dtype, kd_write_fn fn,
                                  void *user);
/* The parts of a save, for a file that holds more: the metadata of a model's file but for "format".
 * A failure is the writer's and sticks to it, here and in the next two. */
KD_API kd_status kd_model_write_metadata(const kd_model *model, kd_writer *writer);
/* Every entry of params under its name behind prefix, in the file's layout; floats as dtype. The
 * parameters must live, unchanged, until the writer is finished. */
KD_API kd_status kd_params_write(const kd_params *params, kd_writer *writer, const char *prefix,
                                 kd_dtype dtype);
/* The same of the parameters (not the buffers) in flat, an array as kd_params_values is one, such
 * as an optimiser's state. flat must live, unchanged, until the writer is finished. */
KD_API kd_status kd_params_write_flat(const kd_params *params, const float *flat, kd_writer *writer,
                                      const char *prefix);
/* Destroy its executors, predictors and optimisers first. NULL is allowed. */
KD_API void kd_model_destroy(kd_model *model);

/* The context that it was made from. */
KD_API kd_ctx *kd_model_ctx(const kd_model *model);
KD_API const char *kd_model_spec(const kd_model *model); /* complete */
/* Its parameters and buffers. They are the model's: who changes them changes it. */
KD_API kd_params *kd_model_params(kd_model *model);
/* How many numbers its logits have, 1 at least. */
KD_API size_t kd_model_classes(const kd_model *model);
/* Its pictures' sides, in pixels: both are the spec's image, but where that is HxW ("image=48x96").
 * kd_model_image: the height. */
KD_API size_t kd_model_height(const kd_model *model);
KD_API size_t kd_model_width(const kd_model *model);
KD_API size_t kd_model_image(const kd_model *model);
/* Of its pictures: 3 for RGB, 1 for grey. */
KD_API size_t kd_model_channels(const kd_model *model);
/* Non-zero of a vision transformer (ViT, DeiT, Swin), which is trained otherwise than a CNN. */
KD_API int kd_model_is_transformer(const kd_model *model);
/* The parameters of the layer that makes the logits, the head: "classifier.weight",
 * "classifier.bias"; NULL past the last. */
KD_API const char *kd_model_head_at(const kd_model *model, size_t i);
/* Non-zero of a network with batch norm. */
KD_API int kd_model_has_batch_norm(const kd_model *model);

/* The normalisation its pictures had in training, [channels] each: (x / 255 - mean) / std. NULL
 * until set or loaded. set: means in [0,1] and deviations in (0,1], else KD_E_INVALID. */
KD_API const float *kd_model_mean(const kd_model *model);
KD_API const float *kd_model_std(const kd_model *model);
KD_API kd_status kd_model_set_normalization(kd_model *model, const float *mean, const float *std);

/* pictures [n,height,width,channels] as kd_model_predict and its plans want them, by the model's
 * normalisation, to the bit as a loader does it; KD_E_INVALID if it has none. out has their
 * shape. */
KD_API kd_status kd_model_normalize(const kd_model *model, const uint8_t *pictures, size_t n,
                                    float *out);

/* What its classes are called, [classes]; NULL until set or loaded. set copies names; what is not
 * UTF-8 in them becomes U+FFFD. NULL forgets them. Two that are the same are KD_E_INVALID. */
KD_API const char *const *kd_model_class_names(const kd_model *model);
KD_API kd_status kd_model_set_class_names(kd_model *model, const char *const *names);

/* The data set it was trained on: its name (NULL until set or loaded) and checksum, which may be
 * NULL here. *checksum stays where there is no name. */
KD_API const char *kd_model_data(const kd_model *model, uint64_t *checksum);
/* name NULL forgets it. */
KD_API kd_status kd_model_set_data(kd_model *model, const char *name, uint64_t checksum);

/* How pictures were framed when it was last evaluated in training: a text for kd_loader_opt.augment
 * of steps that leave nothing to chance, as "centre:0.875" or "none". NULL until set or loaded. */
KD_API const char *kd_model_framing(const kd_model *model);
/* NULL forgets it. Steps that draw random numbers are KD_E_INVALID. */
KD_API kd_status kd_model_set_framing(kd_model *model, const char *framing);

/* The view (kd_loader_opt.views) in which this network wants pictures of such data: its size and
 * channels, and its own normalisation; if it has none, the data's, which for grey data in more
 * channels is NULL, as the loader repeats it. The arrays are the model's or the info's. */
KD_API kd_view kd_model_view(const kd_model *model, const kd_data_info *info);
/* If the model has no normalisation, give it the data's, repeated for grey data. Other channels
 * that differ are KD_E_SHAPE. A mean or deviation that kd_model_set_normalization refuses, as floats
 * in a unit of their own may have, is not taken: the model stays without, and kd_model_view gives
 * the data's. */
KD_API kd_status kd_model_take_normalization(kd_model *model, const kd_data_info *info);

/* A 64-bit sum over names, types, shapes and values of parameters and buffers, the same on every
 * machine for the same bits. It tells networks apart; it is not cryptographic. The definition is in
 * docs/formats.md. */
KD_API kd_status kd_model_hash(const kd_model *model, uint64_t *hash);
KD_API kd_status kd_params_hash(const kd_params *params, uint64_t *hash);
/* KD_E_NONFINITE, naming the first tensor with an infinity or a NaN. */
KD_API kd_status kd_model_check_finite(const kd_model *model);

/* ---- classes by name ------------------------------------------------------------------------- */

typedef enum kd_class_match {
    KD_CLASSES_SAME,      /* the same names in the same order */
    KD_CLASSES_REORDERED, /* the same names in another order */
    KD_CLASSES_SUBSET,    /* the data's are some of the network's */
    KD_CLASSES_UNNAMED    /* as many, and one side has no names: nothing speaks against it */
} kd_class_match;
/* Which class of a network each class of a data set is: map [n_data], by name. Either array of
 * names may be NULL: then the numbers must be equal, and the map is the identity. Classes of the
 * data that the network doesn't have, names that come twice, and numbers that differ without names
 * are KD_E_MISMATCH, in words. network [n_network], data [n_data]. */
KD_API kd_status kd_classes_match(kd_ctx *ctx, const char *const *network, size_t n_network,
                                  const char *const *data, size_t n_data, int32_t *map,
                                  kd_class_match *match);

/* ---- graphs and plans ------------------------------------------------------------------------ */

/* A named value inside a network: what a stage, a block or an attention gives. kd_spec_taps lists
 * them. An element of an array: it does not grow. */
enum { KD_TAP_NAME = 40 };
typedef struct kd_tap {
    char name[KD_TAP_NAME];
    kd_value value;
} kd_tap;

typedef struct kd_build_opt {
    size_t struct_size;
    int no_dropout;  /* leave dropout and drop path out: for comparisons */
    kd_value *heads; /* NULL, or [2]: set to the logits [N,classes] by the class token and by the
                      * distillation token of a distilled DeiT; both the logits of other networks */
    int whole; /* also what no logit depends on: the last block of a ViT for tokens that the heads
                      * do not read. Published counts of MACs have it */
    /* NULL, or [n_taps]: each value is set to the tap of that name; an entry whose name is "" gets
     * the next tap that nobody asks for by name, in the network's order, or stays as it is. What
     * only a tap needs (an attention's probabilities) is built for those that are asked for. A name
     * that the network does not have is KD_E_NOTFOUND, and the error lists some that it has. */
    kd_tap *taps;
    size_t n_taps;
} kd_build_opt;
/* Add the network to a graph: x [N,height,width,channels] -> logits [N,classes], which are the mean
 * of the heads where there are two. KD_NONE, also for the heads, if it can't be built or opt is not
 * understood: then the context's error says why. */
KD_API kd_value kd_model_build(const kd_model *model, kd_graph *graph, kd_value x,
                               const kd_build_opt *opt);

/* Logits [n, classes] of normalised pictures [n, height, width, channels], by a plan made for this
 * one call, `batch` (0: 128) pictures at a time. To run often, keep a plan of your own. n 0:
 * nothing happens. KD_E_STOPPED: kd_ctx_cancel. */
KD_API kd_status kd_model_predict(kd_model *model, const float *pictures, size_t n, size_t batch,
                                  float *logits);

/* A plan and an executor for inference: input "input", output "logits", and where the network has
 * two heads "logits_cls" and "logits_dist". batch: the largest of a run; 0: 1. Destroy both
 * yourself, the executor first, and before the model. */
struct kd_plan;
struct kd_exec;
KD_API kd_status kd_model_plan(kd_model *model, size_t batch, struct kd_plan **plan,
                               struct kd_exec **exec);

/* The same with taps: taps [n_taps] are names, and each is an output of its own name beside the
 * logits. KD_E_NOTFOUND: the network has no such tap; the error lists some that it has. */
KD_API kd_status kd_model_plan_taps(kd_model *model, size_t batch, const char *const *taps,
                                    size_t n_taps, struct kd_plan **plan, struct kd_exec **exec);

/* The taps of a spec's network, in the order of the network, which is not made. Of the batch in a
 * shape, dim[0] = -k is k rows a picture. Maps are [N,H,W,C], tokens [N,T,C], attentions
 * [N,heads,T,T] (Swin: [windows * N,heads,T,T]), each row of which sums to one:
 *
 *   VGG   stages.I        a stage's last ReLU, before its pool; stages.I.pool: after it
 *   ViT   patch_embed     the tokens with their positions, class (and distillation) token first
 *         blocks.I        what a block gives; blocks.I.attn: its attention
 *         norm            the tokens after the last norm
 *   Swin  patch_embed, layers.I (a stage), layers.I.blocks.J, layers.I.blocks.J.attn, norm: maps
 *   all   embedding       [N,C], what the head reads: the average over the map, the class token, the
 *                         last hidden layer of head=fc4096
 *
 * taps [room] may be NULL; *n is how many there are. KD_E_INVALID: the spec, as kd_spec_complete
 * has it. */
typedef struct kd_tap_info {
    char name[KD_TAP_NAME];
    kd_shape shape;
} kd_tap_info;
KD_API kd_status kd_spec_taps(kd_ctx *ctx, const char *spec, kd_tap_info *taps, size_t room,
                              size_t *n);

#ifdef __cplusplus
}
#endif
#endif
