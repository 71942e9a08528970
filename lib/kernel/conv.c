/* SPDX-License-Identifier: MIT
 * conv.c: the algorithms, and the way to each. Which computes what is said by conv_choose.c. */
#include "conv_algo.h"
#include "conv_winograd.h"

static bool winograd_can(const kdi_conv *v)
{
    return v->kh == 3 && v->kw == 3 && v->sh * v->sw * v->dh * v->dw * v->groups == 1 &&
           v->ph <= 2 && v->pw <= 2;
}

static bool map_can(const kdi_conv *v, size_t side)
{
    return winograd_can(v) && v->ph == 1 && v->pw == 1 && v->h == side && v->w == side;
}

static bool small_map2_can(const kdi_conv *v)
{
    return map_can(v, 2);
}

static bool small_map4_can(const kdi_conv *v)
{
    return map_can(v, 4);
}

#define BY_TRANSFORMS(of, test)                                                                    \
    {                                                                                              \
        .name = of, .can = test, .winograd = true, .pools = true, .bn_before = true,               \
        .bn_after_writes = true,                                                                   \
    }
static const kdi_conv_method winograd = BY_TRANSFORMS("winograd", winograd_can);
static const kdi_conv_method winograd2 = BY_TRANSFORMS("winograd2", winograd_can);
static const kdi_conv_method small_map2 = BY_TRANSFORMS("small_map2", small_map2_can);
static const kdi_conv_method small_map4 = BY_TRANSFORMS("small_map4", small_map4_can);

const kdi_conv_method *const kdi_conv_methods[KDI_CONV_ALGOS] = {
    [KDI_CONV_GEMM] = &kdi_conv_gemm,           [KDI_CONV_DIRECT] = &kdi_conv_direct,
    [KDI_CONV_DEPTHWISE] = &kdi_conv_depthwise, [KDI_CONV_WINOGRAD] = &winograd,
    [KDI_CONV_WINOGRAD2] = &winograd2,          [KDI_CONV_SMALL_MAP2] = &small_map2,
    [KDI_CONV_SMALL_MAP4] = &small_map4,
};

size_t kdi_conv_scratch(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, kdi_conv_pass pass)
{
    const kdi_conv_method *m = kdi_conv_methods[algo];
    const size_t size =
        m->winograd ? kdi_winograd_scratch(ctx, v, algo, pass) : m->scratch(ctx, v, pass);
    if (pass != KDI_CONV_BACKWARD) return size;
    size_t pixels, sums;
    if (!kdi_mul(v->n, v->oh, &pixels) || !kdi_mul(pixels, v->ow, &pixels)) return SIZE_MAX;
    sums = kdi_column_sums_scratch(ctx, pixels, v->o);
    return size > sums ? size : sums;
}

size_t kdi_conv_prepared_size(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo)
{
    const kdi_conv_method *m = kdi_conv_methods[algo];
    return m->winograd ? kdi_winograd_prepared_size(ctx, v, algo) : m->prepared_size(ctx, v);
}

void kdi_conv_prepare(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *w,
                      void *prepared, void *scratch)
{
    const kdi_conv_method *m = kdi_conv_methods[algo];
    if (m->winograd)
        kdi_winograd_prepare(ctx, v, algo, w, prepared, scratch);
    else
        m->prepare(ctx, v, w, prepared, scratch);
}

void kdi_conv_forward(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                      const float *w, const void *prepared, const kdi_epilogue *epilogue, float *y,
                      void *scratch)
{
    const kdi_conv_method *m = kdi_conv_methods[algo];
    if (v->n == 0) return;
    if (m->winograd)
        kdi_winograd_forward(ctx, v, algo, x, w, prepared, epilogue, y, scratch);
    else
        m->forward(ctx, v, x, w, prepared, epilogue, y, scratch);
}

bool kdi_conv_can_moments(kdi_conv_algo algo)
{
    const kdi_conv_method *m = kdi_conv_methods[algo];
    return m->winograd || m->forward_moments;
}

size_t kdi_conv_moments_scratch(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo)
{
    const kdi_conv_method *m = kdi_conv_methods[algo];
    return m->winograd ? kdi_winograd_moments_scratch(ctx, v, algo, KDI_CONV_FORWARD)
                       : m->moments_scratch(ctx, v);
}

void kdi_conv_forward_moments(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                              const float *w, const kdi_epilogue *epilogue, float *y,
                              float *moments, void *scratch)
{
    const kdi_conv_method *m = kdi_conv_methods[algo];
    if (m->winograd)
        kdi_winograd_forward_moments(ctx, v, algo, x, w, NULL, epilogue, y, moments, scratch);
    else
        m->forward_moments(ctx, v, x, w, epilogue, y, moments, scratch);
}

void kdi_conv_backward(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                       const float *w, const float *dy, float *dx, float *dw, float *db,
                       bool accumulate_dx, bool accumulate_dw, void *scratch)
{
    const kdi_conv_method *m = kdi_conv_methods[algo];
    if (m->winograd)
        kdi_winograd_backward(ctx, v, algo, x, w, dy, dx, dw, db, accumulate_dx, accumulate_dw,
                              scratch);
    else
        m->backward(ctx, v, x, w, dy, dx, dw, db, accumulate_dx, accumulate_dw, scratch);
}
