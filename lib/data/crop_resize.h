/* SPDX-License-Identifier: MIT
 * crop_resize.h: from a picture of any size to the canvas: which part, resized how. See
 * crop_resize.c. */
#ifndef KDI_CROP_RESIZE_H
#define KDI_CROP_RESIZE_H

#include "decode.h"

struct kdi_kernels;

/* One axis: `total` pixels stand for [origin, origin + extent) of the source; those wanted are
 * [from, from + count). */
typedef struct kdi_span {
    double origin, extent;
    size_t total, from, count;
} kdi_span;

/* Weights of one axis: output i is the sum over t < taps of weight[i * taps + t] times source pixel
 * first[i] + t; multiples of 2^-14 that sum to 1. */
typedef struct kdi_taps {
    size_t count, taps;
    size_t begin, end; /* source pixels that are looked at */
    uint32_t *first;   /* [count] from begin on */
    float *weight;     /* [count,taps] */
} kdi_taps;

/* Makes canvases. Belongs to one thread; memory is kept from one picture to the next. */
typedef struct kdi_framer {
    kd_ctx *ctx;
    const struct kdi_kernels *kernels;
    kdi_taps y, x;
    float *scratch; /* of resample_across */
    uint8_t *mid;   /* [rows, canvas's w, c]: resized along rows */
    size_t rows;    /* of mid that are filled */
    size_t channels;
    void *buffer; /* [capacity] everything above */
    size_t capacity;
    size_t reserved; /* bytes that are kept in any case */
    bool loud;       /* memory that is missing is the context's error: its thread is here */
} kdi_framer;

void kdi_framer_init(kd_ctx *ctx, kdi_framer *f);
void kdi_framer_free(kdi_framer *f);

/* The open picture's part (y, x) onto the canvas [y.count, x.count, 3]; exact: as from all of its
 * pixels. */
kd_status kdi_frame_decode(kdi_framer *f, kdi_decoder *d, bool exact, bool bicubic, kdi_span y,
                           kdi_span x, uint8_t *canvas, kdi_failure *failure);
/* The same of a picture [height,width,channels] in memory; and of one whose rows are `stride` bytes
 * apart. */
kd_status kdi_frame_copy(kdi_framer *f, const uint8_t *picture, kdi_shape shape, bool bicubic,
                         kdi_span y, kdi_span x, uint8_t *canvas, kdi_failure *failure);
kd_status kdi_frame_rows(kdi_framer *f, const uint8_t *picture, size_t stride, kdi_shape shape,
                         bool bicubic, kdi_span y, kdi_span x, uint8_t *canvas,
                         kdi_failure *failure);
/* Take memory for pictures up to `most` that are framed, by centre, for a canvas. */
kd_status kdi_framer_reserve(kdi_framer *f, kdi_shape canvas, kdi_shape most, bool bicubic,
                             kdi_failure *failure);

#endif
