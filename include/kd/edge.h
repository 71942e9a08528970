/* SPDX-License-Identifier: MIT
 * edge.h: runs an exported network (a .kde blob, docs/edge-format.md) where there is neither an
 * operating system nor an allocator. Stands alone: C99, stdint.h and stddef.h.
 *
 *     static const uint8_t blob[] = {...};            // 16-byte aligned, may stay in flash
 *     static uint8_t arena[MODEL_ARENA_BYTES];        // 16-byte aligned
 *     kd_edge_model model;
 *     int8_t logits[10];
 *     if (kd_edge_open(&model, blob, sizeof blob, kd_edge_ops_i8) == KD_EDGE_OK)
 *         kd_edge_run(&model, arena, sizeof arena, pixels, logits);
 *
 * The library has no global that changes, and running does not change a model: one model, or
 * several, may run in several threads at the same moment, each run with an arena of its own. Models
 * that do not run at the same time may share one arena. Weights are used in place. Nothing but
 * memcpy and memset is called from outside. int8 networks give the same bits on every machine. */
#ifndef KD_EDGE_H
#define KD_EDGE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && !defined(_WIN32)
#define KD_EDGE_API __attribute__((visibility("default")))
#else
#define KD_EDGE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kd_edge_status {
    KD_EDGE_OK = 0,
    KD_EDGE_E_ARGUMENT,  /* a pointer is NULL, the model is not open, a number is out of range */
    KD_EDGE_E_ALIGNMENT, /* the blob or the arena is not at a multiple of 16 bytes */
    KD_EDGE_E_MAGIC,     /* not a .kde blob */
    KD_EDGE_E_ENDIAN,    /* the machine is big-endian: blobs are little-endian and used in place */
    KD_EDGE_E_VERSION,   /* a format or rounding version that this library does not know */
    KD_EDGE_E_SIZE,      /* the blob is cut */
    KD_EDGE_E_CHECKSUM,  /* the blob is damaged */
    KD_EDGE_E_FORMAT,    /* an offset, a size or a number in the blob is impossible */
    KD_EDGE_E_OP,        /* the table of ops lacks one that the blob uses */
    KD_EDGE_E_ARENA,     /* the arena is smaller than arena_bytes */
    KD_EDGE_E_SELFTEST   /* the logits are not those that the exporter computed */
} kd_edge_status;

/* Element types. */
enum { KD_EDGE_INT8 = 1, KD_EDGE_FLOAT32 = 2, KD_EDGE_INT32 = 3 };

typedef struct kd_edge_op kd_edge_op;

/* An open network. The caller gives the memory; kd_edge_open fills it; read it freely. */
typedef struct kd_edge_model {
    const uint8_t *blob;
    const kd_edge_op *const *ops; /* the table given to kd_edge_open */
    uint32_t blob_bytes;
    uint32_t arena_bytes; /* exact: one byte less and kd_edge_run refuses */
    uint32_t records;     /* number of op records */
    uint32_t bad_record;  /* where kd_edge_open failed: the record's index, or `records` */
    uint32_t input_at;    /* arena offset of the picture, uint8 [height,width,channels] */
    uint32_t input_bytes;
    uint32_t output_at; /* arena offset of the logits [classes] */
    uint32_t output_bytes;
    uint16_t input_height, input_width, input_channels;
    uint16_t classes;
    uint8_t type;        /* KD_EDGE_INT8 or KD_EDGE_FLOAT32 */
    uint8_t output_type; /* KD_EDGE_INT8, KD_EDGE_INT32 or KD_EDGE_FLOAT32 */
    int32_t output_zero; /* logit = output_scale * (q - output_zero) */
    float output_scale;
} kd_edge_model;

/* Checks every byte of the blob and fills `model`. The blob stays in use and must not change. ops:
 * the kernels, a table that ends with NULL: one of those below, or the caller's own. Takes time in
 * proportion to the blob's size (a CRC-32 of it) and to the square of the number of records. Any
 * status but KD_EDGE_E_ARENA and KD_EDGE_E_SELFTEST; unless it is KD_EDGE_OK, the model is not
 * open. There is nothing to close. */
KD_EDGE_API kd_edge_status kd_edge_open(kd_edge_model *model, const void *blob, size_t blob_bytes,
                                        const kd_edge_op *const *ops);

/* One picture. arena: at least model->arena_bytes at a multiple of 16; its content before does not
 * matter, and after it is the caller's again. input: raw pixels, uint8 [height,width,channels], red
 * first; NULL: they were written to arena + model->input_at already, which saves a copy and a
 * buffer. output: [classes] of output_type; NULL: they are left at arena + model->output_at.
 * Fails for wrong arguments only: KD_EDGE_E_ARGUMENT, KD_EDGE_E_ALIGNMENT, KD_EDGE_E_ARENA. */
KD_EDGE_API kd_edge_status kd_edge_run(const kd_edge_model *model, void *arena, size_t arena_bytes,
                                       const uint8_t *input, void *output);

/* kd_edge_run in pieces, for programs that have something else to do between two layers:
 * kd_edge_begin, then kd_edge_step for record 0, 1, ... records - 1, then the logits are at arena +
 * output_at. The arena is not touched in between. Errors are kd_edge_run's; a record that is none
 * is KD_EDGE_E_ARGUMENT. */
KD_EDGE_API kd_edge_status kd_edge_begin(const kd_edge_model *model, void *arena,
                                         size_t arena_bytes, const uint8_t *input);
KD_EDGE_API kd_edge_status kd_edge_step(const kd_edge_model *model, void *arena, uint32_t record);

/* Runs the picture that the blob describes and compares the logits with those that the exporter
 * computed: all bits for int8, 1e-3 of the largest logit for float32. KD_EDGE_OK also where the
 * blob has no self-test. KD_EDGE_E_SELFTEST: they differ. Others are kd_edge_run's. */
KD_EDGE_API kd_edge_status kd_edge_selftest(const kd_edge_model *model, void *arena,
                                            size_t arena_bytes);

/* Name of class i, UTF-8, in the blob; NULL where the blob has no labels or i is no class. */
KD_EDGE_API const char *kd_edge_label(const kd_edge_model *model, uint32_t i);
/* Index of the largest logit, the first of equals. output [classes]: as kd_edge_run wrote it, at a
 * multiple of 4 bytes unless it is int8. The model is open. */
KD_EDGE_API uint32_t kd_edge_argmax(const kd_edge_model *model, const void *output);
/* One phrase in words, never NULL. */
KD_EDGE_API const char *kd_edge_text(kd_edge_status status);

/* What one record is and costs, for listings. */
typedef struct kd_edge_layer {
    const char *op;             /* "conv2d", "linear", "max_pool", ... */
    const char *name;           /* the layer's name in the trained network, or NULL */
    uint16_t in[3], out[3];     /* height, width, channels */
    uint32_t in_at, in_bytes;   /* arena */
    uint32_t out_at, out_bytes; /* arena */
    uint32_t scratch_bytes;     /* arena, while the layer runs */
    uint32_t flash_bytes;       /* of the blob: record, weights, biases, multipliers */
    uint64_t macs;              /* multiply-accumulates of one picture */
    uint8_t out_type;
} kd_edge_layer;
/* Record 0 .. records - 1 of an open model, else KD_EDGE_E_ARGUMENT. Its texts are in the blob and
 * the table of ops. */
KD_EDGE_API kd_edge_status kd_edge_layer_get(const kd_edge_model *model, uint32_t record,
                                             kd_edge_layer *layer);

/* ---- kernels --------------------------------------------------------------------------------- */

/* Every op of int8 and of float32 networks, in the fastest form that this library was compiled
 * for. A program that lists single ops in a table of its own links no others. */
KD_EDGE_API extern const kd_edge_op *const kd_edge_ops_i8[];
KD_EDGE_API extern const kd_edge_op *const kd_edge_ops_f32[];
KD_EDGE_API extern const kd_edge_op kd_edge_conv2d_i8, kd_edge_linear_i8, kd_edge_max_pool_i8,
    kd_edge_avg_pool_i8, kd_edge_add_i8;
KD_EDGE_API extern const kd_edge_op kd_edge_conv2d_f32, kd_edge_linear_f32, kd_edge_max_pool_f32,
    kd_edge_avg_pool_f32, kd_edge_add_f32;

/* What an op touches. Regions of the arena: offset and bytes. */
typedef struct kd_edge_region {
    uint32_t at, bytes;
} kd_edge_region;
typedef struct kd_edge_use {
    kd_edge_region read[2], write, scratch;
    uint8_t reads;                 /* 1 or 2 */
    uint8_t read_type, write_type; /* KD_EDGE_INT8 also for the picture */
    uint8_t in_place;              /* `write` overlaps a read as the op allows */
} kd_edge_use;

/* An op: how a record is checked and run. A caller's own kernel is one more kd_edge_op, put in the
 * table in the place of ours; docs/edge.md shows one that calls CMSIS-NN. `record` points into the
 * blob at a struct of lib/edge/edge_format.h. */
struct kd_edge_op {
    uint16_t code;    /* KD_EDGE_OP_... of edge_format.h */
    uint8_t type;     /* KD_EDGE_INT8 or KD_EDGE_FLOAT32 */
    const char *name; /* "conv2d" */
    /* The record's regions, from its shapes, which are checked; kd_edge_open compares the regions
     * with the arena. */
    kd_edge_status (*use)(const void *record, kd_edge_use *use);
    /* The rest of the record: blob offsets, weights, numbers. */
    kd_edge_status (*check)(const kd_edge_model *model, const void *record);
    void (*run)(const kd_edge_model *model, const void *record, uint8_t *arena);
};

#ifdef __cplusplus
}
#endif
#endif
