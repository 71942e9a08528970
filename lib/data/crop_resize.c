/* SPDX-License-Identifier: MIT
 * crop_resize.c: from a picture of any size to a canvas of the network's: crop and resize in one
 * go, along rows while the file is decoded, then down columns. Only what the canvas shows is
 * decoded and resized.
 *
 * Resizing is Pillow's (13 does some parts down columns first): a triangle (bilinear) or Keys'
 * cubic with a = -0.5 (bicubic). It is stretched by the scale where it shrinks (antialiasing), cut
 * at the borders of the part, and normalised. Between the two passes there are bytes. Weights are
 * rounded to multiples of 2^-14 by rounding their running sum, so that they sum to 1 exactly and
 * the arithmetic is exact (lib/kernel/isa/resample.c).
 *
 * Unless it must be exact, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the canvas is
 * still GAP times smaller. Of photographs at 32 pixels 1.6 % of the bytes then differ by more than
 * 1. */
#include "crop_resize.h"

#include "../base/resample.h"
#include "../kernel/kernels.h"

#include <math.h>
#include <string.h>

enum { UNIT = 1 << 14, KEPT = 32 << 20 };
static const double GAP = 3;

void kdi_framer_init(kd_ctx *ctx, kdi_framer *f)
{
    *f = (kdi_framer){.ctx = ctx, .kernels = kdi_ctx_kernels(ctx)};
}

void kdi_framer_free(kdi_framer *f)
{
    kd_ctx_free(f->ctx, f->buffer);
    f->buffer = NULL;
    f->capacity = 0;
}

/* ---- weights --------------------------------------------------------------------------------- */

/* An axis with the source's borders and the filter filled in. */
typedef struct axis {
    kdi_span span;
    size_t low, high; /* source pixels that may be looked at */
    double scale, support;
    bool bicubic;
} axis;

static axis axis_of(kdi_span s, size_t shrink, size_t length, bool bicubic)
{
    axis a = {.span = s, .bicubic = bicubic};
    a.span.origin = s.origin / (double)shrink;
    a.span.extent = s.extent / (double)shrink;
    const double end = ceil(a.span.origin + a.span.extent);
    a.low = (size_t)floor(a.span.origin);
    a.high = end < (double)length ? (size_t)end : length;
    a.scale = a.span.extent / (double)s.total;
    a.support = (bicubic ? 2 : 1) * (a.scale > 1 ? a.scale : 1);
    return a;
}

/* The source's pixels [*from, *to) that output i is made of. */
static void reach(const axis *a, size_t i, size_t *from, size_t *to)
{
    const double centre = a->span.origin + ((double)(a->span.from + i) + .5) * a->scale;
    kdi_resample_range(centre, a->support, a->low, a->high, from, to);
    /* With a shrunk source, rounding may leave a border's pixel with nothing. */
    if (*from >= a->high) *from = a->high - 1;
    if (*to <= *from) *to = *from + 1;
}

static void measure(const axis *a, kdi_taps *t)
{
    t->count = a->span.count;
    t->taps = 0;
    t->begin = SIZE_MAX;
    t->end = 0;
    for (size_t i = 0; i < t->count; i++) {
        size_t from, to;
        reach(a, i, &from, &to);
        if (to - from > t->taps) t->taps = to - from;
        if (from < t->begin) t->begin = from;
        if (to > t->end) t->end = to;
    }
}

static void fill_one(const axis *a, kdi_taps *t, size_t i)
{
    size_t from, to;
    float *weight = t->weight + i * t->taps;
    const double stretch = a->scale > 1 ? 1 / a->scale : 1;
    const double centre = a->span.origin + ((double)(a->span.from + i) + .5) * a->scale;
    double sum = 0, run = 0, before = 0;
    reach(a, i, &from, &to);
    for (size_t pass = 0; pass < 2; pass++)
        for (size_t p = from; p < to; p++) {
            const double x = ((double)p + .5 - centre) * stretch;
            const double w = a->bicubic ? kdi_cubic(x) : kdi_triangle(x);
            if (pass == 0) {
                sum += w;
                continue;
            }
            run += sum == 0 ? 1 / (double)(to - from) : w / sum;
            const double now = floor(run * UNIT + .5);
            weight[p - from] = (float)((now - before) / UNIT);
            before = now;
        }
    /* All outputs have as many taps: where that would reach beyond the end, begin earlier. */
    const size_t used = to - from, most = t->end - t->taps, start = from < most ? from : most;
    memmove(weight + (from - start), weight, used * sizeof *weight);
    memset(weight, 0, (from - start) * sizeof *weight);
    memset(weight + (from - start) + used, 0, (t->taps - used - (from - start)) * sizeof *weight);
    t->first[i] = (uint32_t)(start - t->begin);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* a * b * c + 64 bytes, rounded up; more than any allocation can be if that overflows. */
static size_t bytes_of(size_t a, size_t b, size_t c)
{
    size_t n;
    if (!kdi_mul(a, b, &n) || !kdi_mul(n, c, &n) || n > SIZE_MAX / 16) return SIZE_MAX / 16;
    return (n + 127) / 64 * 64;
}

/* Give every array of f its place; both axes are measured. */
static kd_status make_buffer(kdi_framer *f, kdi_failure *failure)
{
    const size_t columns = f->x.end - f->x.begin, rows = f->y.end - f->y.begin;
    const size_t c = f->channels;
    const size_t parts[] = {bytes_of(f->y.count, sizeof *f->y.first, 1),
                            bytes_of(f->y.count, f->y.taps, sizeof *f->y.weight),
                            bytes_of(f->x.count, sizeof *f->x.first, 1),
                            bytes_of(f->x.count, f->x.taps, sizeof *f->x.weight),
                            bytes_of(columns + f->x.count, c, sizeof *f->scratch),
                            bytes_of(rows, f->x.count, c)};
    size_t at[7] = {0};
    for (size_t i = 0; i < 6; i++) at[i + 1] = at[i] + parts[i];
    if (at[6] > f->capacity || (f->capacity > KEPT && f->capacity > f->reserved)) {
        void *block;
        kdi_framer_free(f);
        const size_t wanted = at[6] + at[6] / 4;
        const kd_status status = kdi_alloc_either(f->ctx, f->loud, wanted, &block);
        if (status)
            return kdi_failure_set(failure, status,
                                   status == KD_E_LIMIT
                                       ? "resizing it does not fit into the context's memory limit"
                                       : "out of memory for resizing it");
        f->buffer = block;
        f->capacity = wanted;
    }
    char *buffer = f->buffer;
    f->y.first = (void *)(buffer + at[0]);
    f->y.weight = (void *)(buffer + at[1]);
    f->x.first = (void *)(buffer + at[2]);
    f->x.weight = (void *)(buffer + at[3]);
    f->scratch = (void *)(buffer + at[4]);
    f->mid = (void *)(buffer + at[5]);
    return KD_OK;
}

static kd_status prepare(kdi_framer *f, const axis *y, const axis *x, size_t channels,
                         kdi_failure *failure)
{
    f->channels = channels;
    f->rows = 0;
    measure(y, &f->y);
    measure(x, &f->x);
    const kd_status status = make_buffer(f, failure);
    if (status) return status;
    for (size_t i = 0; i < f->y.count; i++) fill_one(y, &f->y, i);
    for (size_t i = 0; i < f->x.count; i++) fill_one(x, &f->x, i);
    return KD_OK;
}

/* ---- pixels ---------------------------------------------------------------------------------- */

/* A kdi_row_fn: row holds the columns [x.begin, x.end). */
static void take_row(void *arg, const uint8_t *row)
{
    kdi_framer *f = arg;
    const size_t wide = f->x.count * f->channels;
    f->kernels->resample_across(f->x.end - f->x.begin, f->x.count, f->x.taps, f->x.first,
                                f->x.weight, f->channels, row, f->scratch,
                                f->mid + f->rows++ * wide);
}

static void finish(const kdi_framer *f, uint8_t *canvas)
{
    const size_t wide = f->x.count * f->channels;
    for (size_t i = 0; i < f->y.count; i++)
        f->kernels->resample_down(wide, f->y.taps, f->y.weight + i * f->y.taps,
                                  f->mid + f->y.first[i] * wide, wide, canvas + i * wide);
}

/* The largest of 1, 2, 4, 8 that leaves GAP pixels of the source, and more, for each of the
 * canvas. */
static size_t shrink_of(const kdi_decoder *d, kdi_span y, kdi_span x)
{
    size_t shrink = 1;
    const double sy = y.extent / (double)y.total, sx = x.extent / (double)x.total;
    const double scale = sy < sx ? sy : sx;
    while (d->codec->shrinks && shrink < 8 && scale >= GAP * 2 * (double)shrink) shrink *= 2;
    return shrink;
}

kd_status kdi_frame_decode(kdi_framer *f, kdi_decoder *d, bool exact, bool bicubic, kdi_span y,
                           kdi_span x, uint8_t *canvas, kdi_failure *failure)
{
    const size_t shrink = exact ? 1 : shrink_of(d, y, x);
    const axis ay = axis_of(y, shrink, (d->height + shrink - 1) / shrink, bicubic);
    const axis ax = axis_of(x, shrink, (d->width + shrink - 1) / shrink, bicubic);
    kd_status status = prepare(f, &ay, &ax, 3, failure);
    if (status) return status;
    const kdi_area area = {f->x.begin, f->y.begin, f->x.end - f->x.begin, f->y.end - f->y.begin};
    status = kdi_decoder_rows(d, shrink, area, take_row, f, failure);
    if (!status) finish(f, canvas);
    return status;
}

kd_status kdi_frame_rows(kdi_framer *f, const uint8_t *picture, size_t stride, kdi_shape shape,
                         bool bicubic, kdi_span y, kdi_span x, uint8_t *canvas,
                         kdi_failure *failure)
{
    const axis ay = axis_of(y, 1, shape.h, bicubic), ax = axis_of(x, 1, shape.w, bicubic);
    const kd_status status = prepare(f, &ay, &ax, shape.c, failure);
    if (status) return status;
    for (size_t i = f->y.begin; i < f->y.end; i++)
        take_row(f, picture + i * stride + f->x.begin * shape.c);
    finish(f, canvas);
    return KD_OK;
}

kd_status kdi_frame_copy(kdi_framer *f, const uint8_t *picture, kdi_shape shape, bool bicubic,
                         kdi_span y, kdi_span x, uint8_t *canvas, kdi_failure *failure)
{
    return kdi_frame_rows(f, picture, shape.w * shape.c, shape, bicubic, y, x, canvas, failure);
}

/* An axis at its worst: all of the source is looked at, and none of it is beyond the canvas, so that
 * the scale is source / canvas at most. */
static kdi_taps worst(size_t count, size_t most, bool bicubic)
{
    const size_t scale = most / count + 1;
    const size_t reach = bicubic ? 4 : 2, taps = reach * scale + 2;
    return (kdi_taps){.count = count, .taps = taps < most ? taps : most, .begin = 0, .end = most};
}

kd_status kdi_framer_reserve(kdi_framer *f, kdi_shape canvas, kdi_shape most, bool bicubic,
                             kdi_failure *failure)
{
    f->channels = canvas.c;
    f->y = worst(canvas.h, most.h, bicubic);
    f->x = worst(canvas.w, most.w, bicubic);
    const kd_status status = make_buffer(f, failure);
    if (!status) f->reserved = f->capacity;
    return status;
}
