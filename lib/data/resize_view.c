/* SPDX-License-Identifier: MIT
 * resize_view.c: bilinear resizing of floats, along rows first, then down columns, as
 * torch.nn.functional.interpolate(mode="bilinear", antialias=True) does it. */
#include "data.h"

#include "../base/resample.h"

#include <string.h>

void kdi_axis_free(kd_ctx *ctx, kdi_axis *axis)
{
    kd_ctx_free(ctx, axis->first);
    kd_ctx_free(ctx, axis->weight);
    *axis = (kdi_axis){0};
}

kd_status kdi_axis_make(kd_ctx *ctx, size_t in, size_t out, kdi_axis *axis)
{
    const double scale = (double)in / (double)out, half = scale > 1 ? scale : 1;
    const size_t reach = (size_t)ceil(2 * half), taps = reach < in ? reach : in;
    *axis = (kdi_axis){.in = in, .out = out, .taps = taps};
    axis->first = kd_ctx_alloc(ctx, out, sizeof *axis->first);
    axis->weight = kd_ctx_alloc(ctx, out, taps * sizeof *axis->weight);
    double *exact = kd_ctx_alloc(ctx, taps, sizeof *exact);
    if (!axis->first || !axis->weight || !exact) {
        kd_ctx_free(ctx, exact);
        kdi_axis_free(ctx, axis);
        return kd_ctx_memory_status(ctx);
    }
    for (size_t i = 0; i < out; i++) {
        const double centre = ((double)i + 0.5) * scale;
        size_t first, end;
        kdi_resample_range(centre, half, 0, in, &first, &end);
        /* All outputs have as many taps. The filter is 0 at those that it does not reach. */
        if (first > in - taps) first = in - taps;
        kdi_resample_weights(kdi_triangle, centre, half, first, first + taps, exact);
        for (size_t t = 0; t < taps; t++) axis->weight[i * taps + t] = (float)exact[t];
        axis->first[i] = first;
    }
    kd_ctx_free(ctx, exact);
    return KD_OK;
}

/* Four floats anywhere in memory. */
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

/* dst[i] = a * x[i] or dst[i] += a * x[i] */
static void add_scaled(float *dst, const float *x, float a, size_t n, bool fresh)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        quad term = *(const quad *)(x + i) * a, *to = (quad *)(dst + i);
        if (!fresh) term += *to;
        *to = term;
    }
    for (; i < n; i++) dst[i] = fresh ? x[i] * a : dst[i] + x[i] * a;
}

/* One row [in,c] to [out,c]. */
static void resize_row(const kdi_axis *axis, size_t c, const float *src, float *dst)
{
    for (size_t i = 0; i < axis->out; i++) {
        const float *from = src + axis->first[i] * c, *weight = axis->weight + i * axis->taps;
        for (size_t k = 0; k < c; k++) {
            float sum = 0;
            for (size_t t = 0; t < axis->taps; t++) sum += weight[t] * from[t * c + k];
            *dst++ = sum;
        }
    }
}

void kdi_resize(const kdi_axis *y, const kdi_axis *x, size_t c, const float *src, float *scratch,
                float *dst)
{
    const size_t row = x->out * c;
    for (size_t i = 0; i < y->in; i++) resize_row(x, c, src + i * x->in * c, scratch + i * row);
    for (size_t i = 0; i < y->out; i++, dst += row) {
        const float *weight = y->weight + i * y->taps;
        bool fresh = true;
        for (size_t t = 0; t < y->taps; t++) {
            if (weight[t] == 0) continue;
            add_scaled(dst, scratch + (y->first[i] + t) * row, weight[t], row, fresh);
            fresh = false;
        }
    }
}
