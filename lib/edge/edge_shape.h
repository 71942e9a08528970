/* SPDX-License-Identifier: MIT
 * edge_shape.h: what the ops' files share: geometry and checks of records, the line buffers of
 * convolutions. */
#ifndef KDI_EDGE_SHAPE_H
#define KDI_EDGE_SHAPE_H

#include "edge_math.h"

/* Regions of a record by its shapes, for kd_edge_op.use. type: KD_EDGE_INT8 or KD_EDGE_FLOAT32. */
kd_edge_status kd_edge_conv_use(const kd_edge_conv *conv, uint8_t type, kd_edge_use *use);
kd_edge_status kd_edge_pool_use(const kd_edge_pool *pool, uint8_t type, kd_edge_use *use);
kd_edge_status kd_edge_sum_use(const kd_edge_sum *sum, uint8_t type, kd_edge_use *use);

/* The same as members of kd_edge_op, of int8 networks; and the checks of numbers. */
kd_edge_status kd_edge_conv_use_i8(const void *record, kd_edge_use *use);
kd_edge_status kd_edge_linear_use_i8(const void *record, kd_edge_use *use);
kd_edge_status kd_edge_conv_check_i8(const kd_edge_model *model, const void *record);
/* A linear layer is a convolution whose maps and kernel are 1x1. */
int kd_edge_is_linear(const kd_edge_conv *conv);
/* Weights and biases are sections of the blob. */
int kd_edge_weights_fit(const kd_edge_model *model, const kd_edge_conv *conv, uint8_t type);

static inline uint32_t kd_edge_taps(const kd_edge_conv *conv)
{
    return (uint32_t)conv->kernel_height * conv->kernel_width * conv->in_channels;
}

/* Elements of one row of weights: the taps rounded up to 4. */
static inline uint32_t kd_edge_weight_row(const kd_edge_conv *conv)
{
    return (kd_edge_taps(conv) + 3) & ~3u;
}

/* Columns of a line buffer: from -pad_left to the last that a window touches. */
static inline uint32_t kd_edge_columns(const kd_edge_conv *conv)
{
    return ((uint32_t)conv->out_width * conv->pool - 1) * conv->stride_width + conv->kernel_width;
}

/* Bytes of one line buffer. */
static inline uint32_t kd_edge_line_bytes(const kd_edge_conv *conv, uint8_t type)
{
    const uint32_t n =
        kd_edge_map_bytes(1, kd_edge_columns(conv), conv->in_channels, kd_edge_size(type));
    return (n + KD_EDGE_ALIGN - 1) & ~(uint32_t)(KD_EDGE_ALIGN - 1);
}

/* How a kind of convolution fills its line buffers and computes its rows. */
typedef struct kd_edge_row_ops {
    uint8_t type;
    /* Fills a line buffer: columns -pad_left... of the input row [in_width,in_channels]; NULL: a
     * row outside of the map. */
    void (*load)(const kd_edge_conv *conv, const uint8_t *row, uint8_t *line);
    /* One output row [out_width,out_channels] from the rows of its windows: rows[i] is the input row
     * that begins at column -pad_left, i up to kernel_height + (pool - 1) * stride_height. */
    void (*compute)(const kd_edge_model *model, const kd_edge_conv *conv,
                    const uint8_t *const rows[], uint8_t *out);
} kd_edge_row_ops;

/* The input rows of one output row, and the state of the line buffers. */
typedef struct kd_edge_window {
    const uint8_t *rows[KD_EDGE_MOST_ROWS]; /* as `compute` gets them */
    int32_t next;                           /* the first input row that is not yet loaded */
    uint32_t slot;                          /* its line buffer */
} kd_edge_window;

/* Moves the window to output row r = 0, 1, ...: each once, in order. */
void kd_edge_slide(const kd_edge_row_ops *ops, const kd_edge_conv *conv, uint8_t *arena, uint32_t r,
                   kd_edge_window *window);
/* The whole convolution, row after row, by the rules of docs/edge-format.md. */
void kd_edge_conv_rows(const kd_edge_row_ops *ops, const kd_edge_model *model,
                       const kd_edge_conv *conv, uint8_t *arena);
/* Members of kd_edge_row_ops for int8, for every machine. */
void kd_edge_row_i8(const kd_edge_model *model, const kd_edge_conv *conv,
                    const uint8_t *const rows[], uint8_t *out);
void kd_edge_load_i8(const kd_edge_conv *conv, const uint8_t *row, uint8_t *line);

/* A multiple of KD_EDGE_ALIGN is where `member` of the blob begins. */
static inline const void *kd_edge_section(const kd_edge_model *model, uint32_t at)
{
    return model->blob + at;
}

#endif
