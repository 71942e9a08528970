/* SPDX-License-Identifier: MIT
 * export.h: networks for devices without an operating system: a .kde blob, or the same as a C
 * array, which kd/edge.h runs; in int8, quantised after training, or in float32.
 *
 *     kd_export *e;
 *     kd_export_create(model, &e);
 *     kd_export_quantise(e, &quantise);      // with some hundred pictures; left out: float32
 *     kd_export_compare(e, pictures, n);     // what it costs, layer by layer
 *     kd_export_write(e, "model.kde");
 *
 * The device's ops are conv2d (with batch norm, ReLU and a 2x2 max pool behind it), linear,
 * max_pool, avg_pool and add. A network with another op, or with a size that the format lacks, is
 * KD_E_UNSUPPORTED, and the error names the layer. All results are the same to the byte for any
 * number of threads.
 *
 * Threads are as in ctx.h: an export, or an open blob, is used by one thread at a time. What takes
 * long (quantise, compare, kd_blob_answer) runs on all threads of the context. */
#ifndef KD_EXPORT_H
#define KD_EXPORT_H

#include <kd/edge.h>
#include <kd/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kd_export kd_export;

/* The model's evaluation program for a device, in float32. The model must have a normalisation
 * (kd_model_mean), else KD_E_INVALID: it becomes part of the first layer. The model is not needed
 * any more. Weights that are not finite are KD_E_NONFINITE. */
KD_API kd_status kd_export_create(kd_model *model, kd_export **out);

/* The same of a network of one's own: one input [N,H,W,C], one output [N,K]. */
typedef struct kd_export_graph_opt {
    size_t struct_size;
    const float *mean, *std;        /* [C]: of pixels in 0..1; NULL: 0 and 1 */
    const char *const *class_names; /* [K], or NULL */
    const char *spec;               /* a text that says what it is; or NULL */
} kd_export_graph_opt;
/* Graph and params are not needed any more afterwards; opt NULL: all defaults. Errors are
 * kd_export_create's, and those of the graph. */
KD_API kd_status kd_export_create_graph(const kd_graph *graph, kd_params *params,
                                        const kd_export_graph_opt *opt, kd_export **out);
/* NULL is allowed. */
KD_API void kd_export_destroy(kd_export *e);

/* ---- int8 ------------------------------------------------------------------------------------ */

/* Which part of what a map's numbers were seen to be is spread over 256 steps. */
typedef enum kd_calibration {
    KD_CALIBRATE_PERCENTILE,    /* all but a share of the furthest */
    KD_CALIBRATE_SQUARED_ERROR, /* what makes the error's square least */
    KD_CALIBRATE_ENTROPY,       /* what keeps the distribution nearest (Migacz 2017) */
    KD_CALIBRATE_RANGE,         /* all */
    KD_CALIBRATION_COUNT
} kd_calibration;
/* "percentile", "mse", "entropy", "range"; NULL past the last. Any thread. */
KD_API const char *kd_calibration_name(int method);

typedef struct kd_quantise_opt {
    size_t struct_size;
    const uint8_t
        *pictures; /* [count, height, width, channels]: of training, as a device sees them */
    size_t count;  /* 128 to 1000 will do */
    kd_calibration method;
    double percentile; /* 0: 99.99; above 50, at most 100 */
    int no_correction; /* leave biases as they are, though rounded weights move the mean */
    int equalise; /* bring channels' weights to like sizes first (Nagel et al. 2019), by powers of 2 */
    int wide_logits; /* logits in int32: they are not rounded to 256 steps */
} kd_quantise_opt;
/* From now on the export is int8. Weights are symmetric, [-127,127], with a scale for each output
 * channel, and take their whole range; maps have one scale and one zero each; biases are int32. A
 * layer whose numbers the device's formulas cannot hold is KD_E_UNSUPPORTED, a map that was not
 * finite KD_E_NONFINITE; both name the layer. It can be done again, otherwise. KD_E_INVALID: there
 * are no pictures, or an option is out of its range. After a failure the export may be float32: do
 * it again. */
KD_API kd_status kd_export_quantise(kd_export *e, const kd_quantise_opt *opt);

/* ---- what it is worth ------------------------------------------------------------------------ */

/* Run the device's program on these pictures, by kd_edge_run, and compare it with the network in
 * float32: what kd_export_layer_info and kd_export_result tell. pictures [count, height, width,
 * channels]; labels [count] may be NULL. KD_E_INVALID: there are no pictures. Others are
 * kd_export_blob's. */
KD_API kd_status kd_export_compare(kd_export *e, const uint8_t *pictures, const int32_t *labels,
                                   size_t count);

typedef struct kd_export_layer {
    size_t struct_size;
    const char *op, *name; /* "conv2d", "features.0"; as long as the export lives */
    size_t out[3];         /* height, width, channels of what it makes */
    uint64_t macs;
    size_t weights; /* weights and biases: numbers of them */
    double scale;   /* int8: of its output: value = scale * (q - zero) */
    int32_t zero;
    double low, high;       /* int8: the range that its output's numbers are spread over */
    double signal_to_noise; /* decibels, of its output in int8 against float32; NAN: not compared */
    double own; /* the same of this layer's own rounding alone: its inputs are rounded, but right */
} kd_export_layer;
/* How many layers the device runs; 0 for NULL. */
KD_API size_t kd_export_layers(const kd_export *e);
/* Layer i, from 0. KD_E_INVALID: there is none, or info is NULL or has no struct_size. */
KD_API kd_status kd_export_layer_info(const kd_export *e, size_t i, kd_export_layer *info);

typedef struct kd_export_result {
    size_t struct_size;
    size_t count;            /* pictures compared */
    double float_top1, top1; /* percent; NAN without labels */
    double agreement;        /* percent of pictures with the same likeliest class */
    double signal_to_noise;  /* of the logits, decibels */
    size_t worst_layer;      /* whose own rounding costs most */
} kd_export_result;
/* What the last kd_export_compare found. KD_E_INVALID: nothing was compared since the export was
 * made or quantised. */
KD_API kd_status kd_export_result_get(const kd_export *e, kd_export_result *result);

/* ---- files ----------------------------------------------------------------------------------- */

/* The blob: valid until the export is quantised again or destroyed. At a multiple of 64 bytes. A
 * float32 layer that makes infinities or NaN of the self-test's picture is KD_E_NONFINITE, and the
 * error names it. What a blob has no room for is KD_E_UNSUPPORTED. */
KD_API kd_status kd_export_blob(kd_export *e, const void **bytes, size_t *size);
/* Write it as a file, all or nothing. A file that is there is replaced if it is a blob; else
 * KD_E_EXISTS. Others are those of kd_export_blob and kd_file_write_atomic. */
KD_API kd_status kd_export_write(kd_export *e, const char *path);
/* Write PREFIX.c and PREFIX.h: the blob as an aligned constant array, the arena's size, the table
 * of the kernels that it needs and no others. Names begin with the prefix's last part, which must
 * be a C identifier, else KD_E_INVALID. Files that are there and do not begin with our comment are
 * KD_E_EXISTS. Others are those of kd_export_blob and kd_file_write_atomic. */
KD_API kd_status kd_export_write_c(kd_export *e, const char *prefix);

/* ---- ONNX ------------------------------------------------------------------------------------ */

typedef struct kd_onnx_opt {
    size_t struct_size;
    int opset;         /* 17 or 20; 0: 17, which more runtimes know */
    size_t batch;      /* pictures of a run; 0: 1 */
    int dynamic_batch; /* any number of pictures: the first dimension is "N" */
} kd_onnx_opt;
/* Write the model as ONNX in float32, for other runtimes: input "input" [N,channels,height,width],
 * of pictures normalised as in training (kd_model_normalize has them [N,height,width,channels]);
 * output "logits" [N,classes]. Arrays have PyTorch's names, shapes and layouts, as in the model's own
 * file; its metadata (libkd.mean, libkd.classes, ...) are in metadata_props, too. The same network
 * is the same bytes. All or nothing; a file that is there is replaced if it is an ONNX model.
 *
 *   KD_E_INVALID      another opset, a batch together with dynamic_batch
 *   KD_E_UNSUPPORTED  an op without a form in ONNX, which is named with its layer; this library was
 *                     built without protobuf-c
 *   KD_E_NONFINITE    a weight is not finite
 *   KD_E_LIMIT        the file would have more than 2 GB
 *   KD_E_EXISTS       another kind of file is there
 *
 * and those of kd_file_write_atomic. opt NULL: all defaults. */
KD_API kd_status kd_export_onnx(kd_model *model, const char *path, const kd_onnx_opt *opt);
/* The same of a network of one's own. Inputs of four dimensions are pictures, [N,H,W,C] in the graph
 * and [N,C,H,W] in the file; outputs stay as they are in the graph. described: what the metadata say;
 * or NULL. */
KD_API kd_status kd_export_onnx_graph(const kd_graph *graph, kd_params *params, const char *path,
                                      const kd_onnx_opt *opt, const kd_export_graph_opt *described);

/* Write an export in int8 (kd_export_quantise) as ONNX: float ops between QuantizeLinear and
 * DequantizeLinear (QDQ), which runtimes merge into integer ones. The numbers are the blob's: maps in
 * uint8, weights in int8 with a scale for each output channel, biases in int32. Input and output are
 * those of kd_export_onnx: the normalised picture, which the model rounds to pixels again. Batch norms
 * are folded; arrays are called after their layers, "features.0.weight_quantized", "..._scale".
 * Errors are those of kd_export_onnx; KD_E_INVALID: the export is not in int8. */
KD_API kd_status kd_export_write_onnx(kd_export *e, const char *path, const kd_onnx_opt *opt);

/* ---- blobs on this machine ------------------------------------------------------------------- */

typedef struct kd_blob kd_blob;
/* Read a blob and check all of it. One that is cut, damaged or of another version, or a file
 * that goes on behind it, is KD_E_FORMAT, and the error says what is wrong, and in which layer. A
 * file that is not there is KD_E_NOTFOUND, one that can't be read KD_E_IO. */
KD_API kd_status kd_blob_open(kd_ctx *ctx, const char *path, kd_blob **blob);
/* NULL is allowed. */
KD_API void kd_blob_close(kd_blob *blob);
/* Sizes, the arena, layers (kd_edge_layer_get): as long as the blob is open. */
KD_API const kd_edge_model *kd_blob_model(const kd_blob *blob);
/* The spec of the network that it was; NULL if it does not say. */
KD_API const char *kd_blob_spec(const kd_blob *blob);
/* A network for those calls that want one, such as kd_evaluate: the blob's spec and classes, a
 * normalisation that keeps pixels from 0 to 255 (mean 0, deviation 1/255), and parameters that mean
 * nothing. KD_E_UNSUPPORTED where the spec is missing or is another network's. */
KD_API kd_status kd_blob_network(kd_blob *blob, kd_model **model);
/* Run it: pictures [n, height, width, channels], pixels from 0 to 255, which are rounded; logits
 * [n, classes] as real numbers, NaN for a picture with a pixel that is not finite. As
 * kd_eval_opt.answer, whose user is the blob: by kd_edge_run, on all threads. n 0: nothing
 * happens. */
KD_API kd_status kd_blob_answer(void *blob, const float *pictures, size_t n, float *logits);

#ifdef __cplusplus
}
#endif
#endif
