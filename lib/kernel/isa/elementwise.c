/* SPDX-License-Identifier: MIT
 * elementwise.c: kernels over n floats. Input and output may be the same array. */
#include "vectors.h"

void KDI_FN(add)(size_t n, const float *a, const float *b, float *y)
{
    size_t i = 0;
    for (; i + KDI_VL <= n; i += KDI_VL) kdi_store(y + i, kdi_load(a + i) + kdi_load(b + i));
    for (; i < n; i++) y[i] = a[i] + b[i];
}

void KDI_FN(mul)(size_t n, const float *a, const float *b, float *y, int accumulate)
{
    size_t i = 0;
    if (accumulate) {
        for (; i + KDI_VL <= n; i += KDI_VL)
            kdi_store(y + i, kdi_load(a + i) * kdi_load(b + i) + kdi_load(y + i));
        for (; i < n; i++) y[i] = a[i] * b[i] + y[i];
    } else {
        for (; i + KDI_VL <= n; i += KDI_VL) kdi_store(y + i, kdi_load(a + i) * kdi_load(b + i));
        for (; i < n; i++) y[i] = a[i] * b[i];
    }
}

void KDI_FN(scale)(size_t n, float a, const float *x, float *y, int accumulate)
{
    size_t i = 0;
    if (accumulate) {
        for (; i + KDI_VL <= n; i += KDI_VL)
            kdi_store(y + i, a * kdi_load(x + i) + kdi_load(y + i));
        for (; i < n; i++) y[i] = a * x[i] + y[i];
    } else {
        for (; i + KDI_VL <= n; i += KDI_VL) kdi_store(y + i, a * kdi_load(x + i));
        for (; i < n; i++) y[i] = a * x[i];
    }
}
