/* SPDX-License-Identifier: MIT
 * conv_algo.h: what an algorithm for convolutions offers to conv.c. Sizes are in bytes, SIZE_MAX
 * where they overflow. */
#ifndef KDI_CONV_ALGO_H
#define KDI_CONV_ALGO_H

#include "conv.h"

typedef struct kdi_conv_method {
    const char *name;
    bool (*can)(const kdi_conv *v);
    size_t (*scratch)(kd_ctx *ctx, const kdi_conv *v, kdi_conv_pass pass);
    size_t (*prepared_size)(kd_ctx *ctx, const kdi_conv *v);
    void (*prepare)(kd_ctx *ctx, const kdi_conv *v, const float *w, void *prepared, void *scratch);
    void (*forward)(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                    const void *prepared, const kdi_epilogue *epilogue, float *y, void *scratch);
    /* dx, dw, db may be NULL */
    void (*backward)(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                     const float *dy, float *dx, float *dw, float *db, bool accumulate_dx,
                     bool accumulate_dw, void *scratch);
    /* NULL: it cannot tell the moments of what it writes, at almost no cost */
    size_t (*moments_scratch)(kd_ctx *ctx, const kdi_conv *v);
    void (*forward_moments)(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                            const kdi_epilogue *epilogue, float *y, float *moments, void *scratch);
    bool pools;           /* it can write the largest of each 2x2 pixels alone */
    bool bn_before;       /* it can norm x while reading it */
    bool bn_after;        /* it can take dy through a norm's backward while reading it; */
    bool bn_after_writes; /* and write what comes of it */
} kdi_conv_method;

/* db, for the methods that do not come by it on their way. */
static inline void kdi_conv_bias_gradient(kd_ctx *ctx, const kdi_conv *v, const float *dy,
                                          float *db, bool accumulate, void *scratch)
{
    if (db) kdi_column_sums(ctx, v->n * v->oh * v->ow, v->o, dy, v->o, db, accumulate, scratch);
}

extern const kdi_conv_method kdi_conv_gemm, kdi_conv_direct, kdi_conv_depthwise;

#endif
