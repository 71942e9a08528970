/* SPDX-License-Identifier: MIT
 * conv_algo.h: a convolution algorithm's record. Sizes are in bytes, SIZE_MAX where they
 * overflow. */
#ifndef KDI_CONV_ALGO_H
#define KDI_CONV_ALGO_H

#include "conv.h"

typedef struct kdi_conv_method {
    const char *name; /* in KD_CONV */
    bool (*can)(const kdi_conv *v);
    bool winograd; /* conv_winograd.h computes it, with the transforms of that name; the functions
                    * that follow are NULL */
    size_t (*scratch)(kd_ctx *ctx, const kdi_conv *v, kdi_conv_pass pass);
    size_t (*prepared_size)(kd_ctx *ctx, const kdi_conv *v);
    void (*prepare)(kd_ctx *ctx, const kdi_conv *v, const float *w, void *prepared, void *scratch);
    void (*forward)(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                    const void *prepared, const kdi_epilogue *epilogue, float *y, void *scratch);
    /* dx, dw, db may be NULL. */
    void (*backward)(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                     const float *dy, float *dx, float *dw, float *db, bool accumulate_dx,
                     bool accumulate_dw, void *scratch);
    /* A forward that also gives y's moments; NULL: it cannot at almost no cost. */
    size_t (*moments_scratch)(kd_ctx *ctx, const kdi_conv *v);
    void (*forward_moments)(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                            const kdi_epilogue *epilogue, float *y, float *moments, void *scratch);
    /* What it can do of kdi_conv's members of these names. */
    bool pools, bn_before;
    bool bn_after;        /* where bn_after does not write, */
    bool bn_after_writes; /* and where it does */
} kdi_conv_method;

extern const kdi_conv_method *const kdi_conv_methods[KDI_CONV_ALGOS];
extern const kdi_conv_method kdi_conv_gemm, kdi_conv_direct, kdi_conv_depthwise;

/* db in a pass of its own, for algorithms that do not sum it on the way. */
static inline void kdi_conv_bias_gradient(kd_ctx *ctx, const kdi_conv *v, const float *dy,
                                          float *db, bool accumulate, void *scratch)
{
    if (db) kdi_column_sums(ctx, v->n * v->oh * v->ow, v->o, dy, v->o, db, accumulate, scratch);
}

#endif
