/* SPDX-License-Identifier: MIT
 * activation.c: relu and gelu, forward and backward; sigmoid. Arrays may be the same. */
#include "vec_math.h"

#define INLINE static inline __attribute__((always_inline))

void KDI_FN(relu)(size_t n, const float *x, float *y)
{
    size_t i = 0;
    for (; i + KDI_VL <= n; i += KDI_VL) kdi_store(y + i, kdi_relu(kdi_load(x + i)));
    if (i < n) kdi_store_part(y + i, n - i, kdi_relu(kdi_load_part(x + i, n - i, 0)));
}

INLINE void relu_back(const float *y, const float *dy, float *dx, int accumulate, size_t n)
{
    kdi_v d = kdi_select(kdi_get(y, n) <= 0, kdi_splat(0), kdi_get(dy, n));
    if (accumulate) d += kdi_get(dx, n);
    kdi_put(dx, n, d);
}

void KDI_FN(relu_backward)(size_t n, const float *y, const float *dy, float *dx, int accumulate)
{
    size_t i = 0;
    if (accumulate)
        for (; i + KDI_VL <= n; i += KDI_VL) relu_back(y + i, dy + i, dx + i, 1, KDI_VL);
    else
        for (; i + KDI_VL <= n; i += KDI_VL) relu_back(y + i, dy + i, dx + i, 0, KDI_VL);
    if (i < n) relu_back(y + i, dy + i, dx + i, accumulate, n - i);
}

void KDI_FN(gelu)(size_t n, const float *x, float *y)
{
    size_t i = 0;
    for (; i + KDI_VL <= n; i += KDI_VL) kdi_store(y + i, kdi_gelu(kdi_load(x + i)));
    if (i < n) kdi_store_part(y + i, n - i, kdi_gelu(kdi_load_part(x + i, n - i, 0)));
}

INLINE void gelu_back(const float *x, const float *dy, float *dx, int accumulate, size_t n)
{
    kdi_v d = kdi_get(dy, n) * kdi_gelu_slope(kdi_get(x, n));
    if (accumulate) d += kdi_get(dx, n);
    kdi_put(dx, n, d);
}

void KDI_FN(gelu_backward)(size_t n, const float *x, const float *dy, float *dx, int accumulate)
{
    size_t i = 0;
    for (; i + KDI_VL <= n; i += KDI_VL) gelu_back(x + i, dy + i, dx + i, accumulate, KDI_VL);
    if (i < n) gelu_back(x + i, dy + i, dx + i, accumulate, n - i);
}

INLINE kdi_v sigmoid_of(kdi_v x)
{
    return 1 / (1 + kdi_exp(-x));
}

void KDI_FN(sigmoid)(size_t n, const float *x, float *y)
{
    size_t i = 0;
    for (; i + KDI_VL <= n; i += KDI_VL) kdi_store(y + i, sigmoid_of(kdi_load(x + i)));
    if (i < n) kdi_store_part(y + i, n - i, sigmoid_of(kdi_load_part(x + i, n - i, 0)));
}
