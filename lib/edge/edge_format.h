/* SPDX-License-Identifier: MIT
 * edge_format.h: the .kde blob's header and records, as they stand in the file: little-endian, no
 * padding but what is named. docs/edge-format.md says what each field means and what is checked;
 * docs/edge-numerics.md has the arithmetic. The exporter and the runtime both include this file.
 *
 * Offsets named ..._at and weights, bias, multipliers count bytes from the blob's first byte; in,
 * out, scratch count bytes from the arena's first byte. All are multiples of 16. */
#ifndef KDI_EDGE_FORMAT_H
#define KDI_EDGE_FORMAT_H

#include <kd/edge.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    KD_EDGE_VERSION = 1,  /* of the format */
    KD_EDGE_ROUNDING = 1, /* of the arithmetic: the formulas of docs/edge-numerics.md */
    KD_EDGE_ALIGN = 16,   /* of the blob, its sections, the arena and its regions */
    KD_EDGE_MOST_RECORDS = 1024,
    KD_EDGE_MOST_ROWS = 16,   /* of line buffers, and of a kernel's height */
    KD_EDGE_MOST_TAPS = 65535 /* kernel_height * kernel_width * in_channels */
};
#define KD_EDGE_MAGIC 0x1A45444Bu          /* the bytes 'K' 'D' 'E' 0x1A */
#define KD_EDGE_MAGIC_SWAPPED 0x4B44451Au  /* the same, read by a big-endian machine */
#define KD_EDGE_MOST_BIAS 0x40000000       /* |bias| <= 2^30 */
#define KD_EDGE_MOST_MULTIPLIER 0x3FFFFFFF /* 0 <= multiplier < 2^30: m < 1/2 */

typedef union kd_edge_number {
    int32_t i; /* in int8 networks */
    float f;   /* in float32 networks */
} kd_edge_number;

typedef struct kd_edge_header { /* 96 bytes, at the blob's start */
    uint32_t magic;
    uint16_t version, rounding;
    uint32_t bytes;      /* the whole blob, a multiple of 16 */
    uint32_t crc;        /* CRC-32 (that of zlib and PNG) of the bytes from `type` on */
    uint8_t type;        /* KD_EDGE_INT8 or KD_EDGE_FLOAT32 */
    uint8_t output_type; /* KD_EDGE_INT8 or KD_EDGE_INT32; KD_EDGE_FLOAT32 in float32 networks */
    uint16_t records;    /* 1 to KD_EDGE_MOST_RECORDS */
    uint32_t records_at;
    uint32_t arena_bytes; /* exact: the largest end of any region */
    uint16_t input_height, input_width, input_channels, classes;
    uint32_t input_at, output_at; /* arena */
    float output_scale;           /* logit = output_scale * (q - output_zero) */
    int32_t output_zero;
    uint32_t labels_at, labels_bytes; /* 0, 0 where there are none */
    uint32_t names_at, names_bytes;   /* of the records; 0, 0 where there are none */
    uint32_t spec_at, spec_bytes;     /* the network's spec string with its NUL; 0, 0: none */
    uint32_t test_at, test_bytes;     /* a kd_edge_test; 0, 0: none */
    uint32_t reserved[3];             /* 0 */
} kd_edge_header;

enum { KD_EDGE_TEST_NOISE = 1, KD_EDGE_TEST_PICTURE = 2 };
typedef struct kd_edge_test {
    uint32_t kind; /* KD_EDGE_TEST_NOISE: made from the seed; KD_EDGE_TEST_PICTURE: it follows */
    uint32_t seed;
    uint32_t output_bytes, input_bytes; /* input_bytes is 0 for KD_EDGE_TEST_NOISE */
    /* then the expected logits, padded with 0 to a multiple of 16, then the picture */
} kd_edge_test;

/* Codes 32 to 63 are kept for transformers. */
enum {
    KD_EDGE_OP_CONV2D = 1,
    KD_EDGE_OP_LINEAR = 2, /* a kd_edge_conv on a 1x1 map */
    KD_EDGE_OP_MAX_POOL = 3,
    KD_EDGE_OP_AVG_POOL = 4,
    KD_EDGE_OP_ADD = 5
};

/* Every record begins so. bytes: of the whole record, a multiple of 4; the next one follows. */
typedef struct kd_edge_record {
    uint16_t op, bytes;
} kd_edge_record;

enum {
    KD_EDGE_SUMS = 1,  /* int8 networks: the output is int32, requantised but not made int8 */
    KD_EDGE_PIXELS = 2 /* float32 networks: the input is the picture, uint8 */
};

typedef struct kd_edge_conv { /* 80 bytes */
    uint16_t op, bytes;
    uint32_t in, out, scratch;
    uint16_t in_height, in_width, in_channels;
    uint16_t out_height, out_width, out_channels; /* after pooling */
    uint8_t kernel_height, kernel_width, stride_height, stride_width;
    uint8_t pad_top, pad_left; /* at the bottom and right: what the output's size asks for */
    uint8_t pool;              /* 1, or 2: the maximum of 2x2 outputs is kept */
    uint8_t rows;              /* line buffers: 0, or kernel_height + (pool - 1) * stride_height */
    uint16_t flags, reserved;
    uint32_t weights;         /* int8 or float [out_channels][taps rounded up to 4], (ky, kx, c) */
    uint32_t bias;            /* int32 or float [out_channels] */
    uint32_t multipliers;     /* int32 [out_channels], round(m * 2^31); 0 in float32 networks */
    int32_t zero;             /* of the output */
    kd_edge_number low, high; /* the output is clamped to these */
    kd_edge_number pad[4];    /* what stands around the map: that of channel c is pad[c % 4] */
} kd_edge_conv;

typedef struct kd_edge_pool { /* 48 bytes */
    uint16_t op, bytes;
    uint32_t in, out;
    uint16_t in_height, in_width, channels;
    uint16_t out_height, out_width;
    uint8_t kernel_height, kernel_width, stride_height, stride_width;
    uint8_t pad_top, pad_left;      /* max pool; 0 for average pool */
    int32_t bias, multiplier, zero; /* average pool in int8; else 0 */
    kd_edge_number low, high;       /* average pool */
} kd_edge_pool;

typedef struct kd_edge_sum { /* 48 bytes: out = a + b */
    uint16_t op, bytes;
    uint32_t a, b, out;
    uint16_t height, width, channels;
    uint16_t shift;                     /* 1 to 24 */
    int32_t a_multiplier, b_multiplier; /* int8: clamp((q_a*A + q_b*B + constant) >> shift) */
    int32_t constant;
    kd_edge_number low, high;
    uint32_t reserved;
} kd_edge_sum;

/* ---- for exporters --------------------------------------------------------------------------- */

/* Bytes of the arena that a convolution needs beside its maps (the line buffers), by shape alone:
 * the same on every machine. type: KD_EDGE_INT8 or KD_EDGE_FLOAT32. 0 where rows is 0. */
uint32_t kd_edge_conv_scratch(const kd_edge_conv *conv, uint8_t type);
/* The output may lie over the input where out + lead <= in (lead may be negative). */
int64_t kd_edge_conv_lead(const kd_edge_conv *conv, uint8_t type);
/* CRC-32 as in zlib; begin with crc = 0. */
uint32_t kd_edge_crc32(uint32_t crc, const uint8_t *bytes, uint32_t n);
/* The picture of KD_EDGE_TEST_NOISE: n bytes. */
void kd_edge_noise(uint32_t seed, uint8_t *pixels, uint32_t n);

#ifdef __cplusplus
}
#endif
#endif
