/* SPDX-License-Identifier: MIT
 * elementwise.c: kernels over n floats. Input and output may be the same array. */
#include "isa.h"

void KDI_FN(relu)(size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : 0;
}
