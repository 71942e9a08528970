/* SPDX-License-Identifier: MIT
 * conv.c: which algorithm computes which convolution, and the way to each. The rules were measured
 * (bench/); an algorithm that cannot compute a shape is passed over, and GEMM can compute all. */
#include "conv_algo.h"

#include "conv_winograd.h"

#include <string.h>

#define ANY 1, SIZE_MAX

/*  algorithm, c, o, map, pixels, why */
static const kdi_conv_rule rules[] = {
    {KDI_CONV_DEPTHWISE, ANY, ANY, ANY, SIZE_MAX, "one channel a group: there are no matrices"},
    {KDI_CONV_GEMM, 192, SIZE_MAX, 384, SIZE_MAX, 4, 4, 4, "the time is that of reading weights"},
    {KDI_CONV_SMALL_MAP2, 32, SIZE_MAX, 32, SIZE_MAX, 4, 4, SIZE_MAX, "2x2: 9 products for 16"},
    {KDI_CONV_GEMM, ANY, ANY, 1, 4, SIZE_MAX, "on a 2x2 map most of Winograd's tile is padding"},
    {KDI_CONV_SMALL_MAP4, 64, SIZE_MAX, 64, SIZE_MAX, 16, 16, 16,
     "4x4: as few weights as possible"},
    {KDI_CONV_SMALL_MAP4, 192, SIZE_MAX, 192, SIZE_MAX, 16, 16, 32,
     "two images: the time is still that of reading weights, if there are many"},
    {KDI_CONV_GEMM, 192, SIZE_MAX, 192, SIZE_MAX, 5, 25, 25,
     "few tiles: the time is that of reading weights, of which Winograd has more"},
    {KDI_CONV_GEMM, 192, SIZE_MAX, 384, SIZE_MAX, 5, 15, 48, "the same with more weights"},
    {KDI_CONV_WINOGRAD2, 8, SIZE_MAX, 8, SIZE_MAX, 5, 25, 48,
     "some tiles: F(2x2) has fewer weights than F(4x4), which stay in cache if channels are few"},
    {KDI_CONV_WINOGRAD2, 192, SIZE_MAX, 192, SIZE_MAX, 5, 25, 80, "the same with more weights"},
    {KDI_CONV_WINOGRAD2, 384, SIZE_MAX, 384, SIZE_MAX, 5, 25, 112, "the same with more weights"},
    {KDI_CONV_WINOGRAD2, 128, SIZE_MAX, 192, SIZE_MAX, 26, 100, 100, "the same on larger maps"},
    {KDI_CONV_WINOGRAD, 8, SIZE_MAX, 8, SIZE_MAX, ANY, SIZE_MAX, "a quarter of the products"},
    {KDI_CONV_DIRECT, 1, 32, ANY, 16, SIZE_MAX, SIZE_MAX, "patches would cost more than they save"},
    {KDI_CONV_GEMM, ANY, ANY, ANY, SIZE_MAX, "any shape"},
};

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

/* A method of conv_winograd.h's of one kind. */
#define METHOD(algo, kind)                                                                         \
    static size_t algo##_scratch(kd_ctx *ctx, const kdi_conv *v, kdi_conv_pass pass)               \
    {                                                                                              \
        return kdi_winograd_scratch(ctx, v, kind, pass);                                           \
    }                                                                                              \
    static size_t algo##_prepared_size(kd_ctx *ctx, const kdi_conv *v)                             \
    {                                                                                              \
        return kdi_winograd_prepared_size(ctx, v, kind);                                           \
    }                                                                                              \
    static void algo##_prepare(kd_ctx *ctx, const kdi_conv *v, const float *w, void *prepared,     \
                               void *scratch)                                                      \
    {                                                                                              \
        kdi_winograd_prepare(ctx, v, kind, w, prepared, scratch);                                  \
    }                                                                                              \
    static void algo##_forward(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,     \
                               const void *prepared, const kdi_epilogue *epilogue, float *y,       \
                               void *scratch)                                                      \
    {                                                                                              \
        kdi_winograd_forward(ctx, v, kind, x, w, prepared, epilogue, y, scratch);                  \
    }                                                                                              \
    static void algo##_backward(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,    \
                                const float *dy, float *dx, float *dw, float *db,                  \
                                bool accumulate_dx, bool accumulate_dw, void *scratch)             \
    {                                                                                              \
        kdi_winograd_backward(ctx, v, kind, x, w, dy, dx, dw, db, accumulate_dx, accumulate_dw,    \
                              scratch);                                                            \
    }                                                                                              \
    static size_t algo##_moments_scratch(kd_ctx *ctx, const kdi_conv *v)                           \
    {                                                                                              \
        return kdi_winograd_moments_scratch(ctx, v, kind, KDI_CONV_FORWARD);                       \
    }                                                                                              \
    static void algo##_forward_moments(kd_ctx *ctx, const kdi_conv *v, const float *x,             \
                                       const float *w, const kdi_epilogue *epilogue, float *y,     \
                                       float *moments, void *scratch)                              \
    {                                                                                              \
        kdi_winograd_forward_moments(ctx, v, kind, x, w, NULL, epilogue, y, moments, scratch);     \
    }                                                                                              \
    static const kdi_conv_method algo = {                                                          \
        .name = #algo,                                                                             \
        .can = algo##_can,                                                                         \
        .scratch = algo##_scratch,                                                                 \
        .prepared_size = algo##_prepared_size,                                                     \
        .prepare = algo##_prepare,                                                                 \
        .forward = algo##_forward,                                                                 \
        .backward = algo##_backward,                                                               \
        .moments_scratch = algo##_moments_scratch,                                                 \
        .forward_moments = algo##_forward_moments,                                                 \
        .pools = true,                                                                             \
        .bn_before = true,                                                                         \
        .bn_after_writes = true,                                                                   \
    }

METHOD(winograd, KDI_WINOGRAD_F4);
#define winograd2_can winograd_can
METHOD(winograd2, KDI_WINOGRAD_F2);
METHOD(small_map2, KDI_WINOGRAD_2X2);
METHOD(small_map4, KDI_WINOGRAD_4X4);

static const kdi_conv_method *const methods[KDI_CONV_ALGOS] = {
    [KDI_CONV_GEMM] = &kdi_conv_gemm,           [KDI_CONV_DIRECT] = &kdi_conv_direct,
    [KDI_CONV_DEPTHWISE] = &kdi_conv_depthwise, [KDI_CONV_WINOGRAD] = &winograd,
    [KDI_CONV_WINOGRAD2] = &winograd2,          [KDI_CONV_SMALL_MAP2] = &small_map2,
    [KDI_CONV_SMALL_MAP4] = &small_map4,
};

const kdi_conv_rule *kdi_conv_rules(size_t *count)
{
    *count = sizeof rules / sizeof *rules;
    return rules;
}

const char *kdi_conv_algo_name(kdi_conv_algo algo)
{
    return (size_t)algo < KDI_CONV_ALGOS ? methods[algo]->name : "unknown";
}

int kdi_conv_algo_named(const char *name)
{
    for (int i = 0; i < KDI_CONV_ALGOS; i++)
        if (!strcmp(methods[i]->name, name)) return i;
    return -1;
}

bool kdi_conv_can(const kdi_conv *v, kdi_conv_algo algo)
{
    if ((size_t)algo >= KDI_CONV_ALGOS) return false;
    const kdi_conv_method *m = methods[algo];
    if (v->bn_after && !(v->bn_after->writes ? m->bn_after_writes : m->bn_after)) return false;
    return (!v->pools || m->pools) && (!v->bn_before || m->bn_before) && m->can(v);
}

static bool holds(const kdi_conv_rule *r, const kdi_conv *v, size_t batch)
{
    const size_t c = v->c / v->groups, o = v->o / v->groups, map = v->oh * v->ow;
    size_t pixels;
    if (!batch || !kdi_mul(batch, map, &pixels)) pixels = SIZE_MAX;
    return c >= r->min_c && c <= r->max_c && o >= r->min_o && o <= r->max_o && map >= r->min_map &&
           map <= r->max_map && pixels <= r->max_pixels;
}

kdi_conv_algo kdi_conv_choose_for(const kdi_conv *v, size_t batch, const kdi_conv_algo *forced)
{
    if (forced && kdi_conv_can(v, *forced)) return *forced;
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
        if (holds(&rules[r], v, batch) && kdi_conv_can(v, rules[r].algo)) return rules[r].algo;
    return KDI_CONV_GEMM;
}

kdi_conv_algo kdi_conv_choose(const kdi_conv *v, const kdi_conv_algo *forced)
{
    return kdi_conv_choose_for(v, 0, forced);
}

size_t kdi_conv_scratch(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, kdi_conv_pass pass)
{
    const size_t size = methods[algo]->scratch(ctx, v, pass);
    if (pass != KDI_CONV_BACKWARD) return size;
    size_t pixels, sums;
    if (!kdi_mul(v->n, v->oh, &pixels) || !kdi_mul(pixels, v->ow, &pixels)) return SIZE_MAX;
    sums = kdi_column_sums_scratch(ctx, pixels, v->o);
    return size > sums ? size : sums;
}

size_t kdi_conv_prepared_size(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo)
{
    return methods[algo]->prepared_size(ctx, v);
}

void kdi_conv_prepare(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *w,
                      void *prepared, void *scratch)
{
    methods[algo]->prepare(ctx, v, w, prepared, scratch);
}

void kdi_conv_forward(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                      const float *w, const void *prepared, const kdi_epilogue *epilogue, float *y,
                      void *scratch)
{
    if (v->n > 0) methods[algo]->forward(ctx, v, x, w, prepared, epilogue, y, scratch);
}

bool kdi_conv_can_moments(kdi_conv_algo algo)
{
    return methods[algo]->forward_moments != NULL;
}

size_t kdi_conv_moments_scratch(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo)
{
    return methods[algo]->moments_scratch(ctx, v);
}

void kdi_conv_forward_moments(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                              const float *w, const kdi_epilogue *epilogue, float *y,
                              float *moments, void *scratch)
{
    methods[algo]->forward_moments(ctx, v, x, w, epilogue, y, moments, scratch);
}

void kdi_conv_backward(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, const float *x,
                       const float *w, const float *dy, float *dx, float *dw, float *db,
                       bool accumulate_dx, bool accumulate_dw, void *scratch)
{
    methods[algo]->backward(ctx, v, x, w, dy, dx, dw, db, accumulate_dx, accumulate_dw, scratch);
}
