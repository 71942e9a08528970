/* SPDX-License-Identifier: MIT
 * worker.h: what one of a pipeline's workers needs to turn samples into views: see worker.c. */
#ifndef KDI_WORKER_H
#define KDI_WORKER_H

#include "crop_resize.h"
#include "mix.h"

/* Scratch memory of one worker; nothing in it outlives a call. */
typedef struct kdi_worker {
    kdi_decoder decoder;
    kdi_framer framer;
    uint8_t *bytes[4]; /* canvases: [0] and [1] hold the two samples of a mixture (without mixing
                        * [0] alone), [2] and [3] what the steps write in turns */
    float *plain[2];   /* [canvas, view's channels] before resizing */
    float *half;       /* scratch of kdi_resize */
} kdi_worker;

kd_status kdi_worker_make(const kdi_pipeline *p, kdi_worker *w);
void kdi_worker_free(kd_ctx *ctx, kdi_worker *w);

/* The canvas of sample key.sample after the steps on bytes. It is in bytes[side] or, where that
 * saves a copy, in the data set; NULL, with *failure filled in, if it cannot be read. */
const uint8_t *kdi_worker_canvas(const kdi_pipeline *p, kdi_worker *w, size_t side, kdi_key key,
                                 int32_t *label, kdi_failure *failure);
/* Bytes [pixels,stored] to values [pixels,channels] by table [channels,256]. stored 1: grey is
 * repeated in each channel. */
void kdi_normalise(const float *table, size_t stored, size_t channels, size_t pixels,
                   const uint8_t *in, float *out);
/* A view of one canvas. */
void kdi_worker_show(const kdi_pipeline *p, kdi_worker *w, const kdi_view *view, kdi_key key,
                     const uint8_t *canvas, float *out);
/* A view of two canvases that are mixed. */
void kdi_worker_show_mixed(const kdi_pipeline *p, kdi_worker *w, const kdi_view *view,
                           const kdi_mix *mix, const kdi_key key[2], const uint8_t *const canvas[2],
                           float *const out[2]);

#endif
