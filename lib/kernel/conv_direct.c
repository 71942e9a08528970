/* SPDX-License-Identifier: MIT
 * conv_direct.c: convolutions without patches.
 *
 * Few input channels (a network's first layer): a band of image rows is copied with its padding.
 * The kw * c numbers under one row of the kernel lie side by side in that copy, the next output
 * pixel's sw * c further on. So the copy is an operand of a product as it is.
 *   Forward: it is A, with one segment for each row of the kernel. A task is a band of output rows.
 *   dW: it is A transposed, kw * c columns for each row of the kernel, times the same rows of dy in
 *   panels. Bands form a fixed number of parts, whose dW are added in order.
 * If the output is pooled, two of its rows at a time are kept in the worker's scratch.
 * A kernel of one point is left to conv_gemm.c.
 *
 * Depthwise (one channel a group): a pixel is a sum of vectors of channels over the kernel's
 * points, with the weights transposed to [kh,kw,c]. */
#include "conv_algo.h"
#include "conv_moments.h"

#include "../base/size.h"

#include <string.h>

enum {
    ALIGN = 16,
    BAND_WORK = 1 << 20,  /* multiply-adds worth a task */
    BAND_PIXELS = 256,    /* output pixels of a band of dy, about */
    PARTS = 32,           /* of the weights' gradient, at most */
    PARTS_SIZE = 1 << 20, /* floats of all parts together, at most, if there are two or more */
    SUM_ROWS = 32,        /* of the gradient, turned, in a task that adds the parts */
    POOLED = 32,          /* pixels pooled at a time */
    SEEN = 32,            /* pixels whose moments are summed at a time */
    MOST_PIXELS = 4096    /* of a band of y: their sums are float32 */
};

/* ---- few channels ---------------------------------------------------------------------------- */

typedef struct direct {
    const kdi_kernels *kernels;
    const kdi_conv *v;
    size_t width;     /* floats of a padded row that are looked at */
    size_t band;      /* output rows */
    size_t bands;     /* of an image */
    size_t rows_size; /* floats of a band's padded rows */
    size_t kernel;    /* floats of a worker's gemm_block */
    size_t pair;      /* floats of two output rows to be pooled, or of a band of bn_after's dy */
    size_t own;       /* floats of a worker */
    const float *x, *b, *dy;
    float *y, *parts, *workers; /* y is dw on the way back */
    float *sums;                /* of dy in each part, [parts][o], or NULL */
    float *moments;             /* of each band, [bands][3][o in whole vectors], or NULL */
    bool accumulate;
    const kdi_epilogue *epilogue;
} direct;

/* Output rows that are computed. */
static size_t height(const kdi_conv *v)
{
    return v->pools ? v->oh / 2 * 2 : v->oh;
}

static direct direct_of(const kdi_kernels *kernels, const kdi_conv *v, bool weights)
{
    direct d = {.kernels = kernels, .v = v};
    const size_t k = v->kh * v->kw * v->c;
    const size_t rows = weights ? BAND_PIXELS / v->ow
                                : kdi_smaller(BAND_WORK / (v->ow * k * v->o), MOST_PIXELS / v->ow);
    const bool pairs = v->pools || (v->bn_after && v->bn_after->pools);
    d.band = kdi_piece(height(v), rows ? rows : 1, pairs ? 2 : 1);
    d.bands = kdi_pieces(height(v), d.band);
    d.width = ((v->ow - 1) * v->sw + (v->kw - 1) + 1) * v->c;
    d.rows_size = kdi_multiple(((d.band - 1) * v->sh + (v->kh - 1) * v->dh + 1) * d.width, ALIGN);
    d.kernel = weights ? kernels->gemm_scratch(v->kw * v->c, d.band * v->ow)
                       : kernels->gemm_scratch(v->ow, k);
    d.pair = v->pools ? kdi_multiple(2 * v->ow * v->o, ALIGN) : 0;
    if (v->bn_after) d.pair = kdi_multiple(d.band * v->ow * v->o, ALIGN);
    d.own = d.kernel + d.rows_size + d.pair;
    if (weights) d.own += d.band * v->ow * kdi_multiple(v->o, kernels->gemm_nr);
    return d;
}

/* Parts of dW: at most as many as bands, and as PARTS_SIZE allows. */
static size_t parts_of(const direct *d)
{
    const size_t size = d->v->kh * d->v->kw * d->v->c * d->v->o;
    const size_t parts = kdi_smaller(kdi_smaller(PARTS, d->v->n * d->bands), PARTS_SIZE / size);
    return parts ? parts : 1;
}

/* The padded rows under output rows [row, row + rows) of one image. */
static void pad_rows(const direct *d, const float *image, size_t row, size_t rows, float *to)
{
    const kdi_conv *v = d->v;
    const size_t count = (rows - 1) * v->sh + (v->kh - 1) * v->dh + 1;
    const size_t before = kdi_smaller(v->pw * v->c, d->width);
    const size_t middle = kdi_smaller(v->w * v->c, d->width - before);
    for (size_t r = 0; r < count; r++, to += d->width) {
        const size_t y = row * v->sh + r - v->ph; /* beyond h when negative */
        if (y >= v->h) {
            memset(to, 0, d->width * sizeof *to);
            continue;
        }
        memset(to, 0, before * sizeof *to);
        memcpy(to + before, image + y * v->w * v->c, middle * sizeof *to);
        memset(to + before + middle, 0, (d->width - before - middle) * sizeof *to);
    }
}

/* Two rows of the output to one of y. */
static void pool_pair(const direct *d, const float *pair, float *y)
{
    const size_t width = d->v->ow / 2, o = d->v->o;
    const kdi_pooling_span both = {.end = 2, .extent = 2};
    kdi_pooling_span columns[POOLED];
    for (uint32_t i = 0; i < POOLED; i++) columns[i] = (kdi_pooling_span){2 * i, 2 * i + 2, 2};
    for (size_t q = 0; q < width; q += POOLED)
        d->kernels->max_pool(kdi_smaller(POOLED, width - q), o, &both, columns, pair + 2 * q * o,
                             d->v->ow * o, y + q * o, NULL, 0);
}

/* Floats of a row of a band's moments. */
static size_t moments_step(const direct *d)
{
    return kdi_multiple(d->v->o, ALIGN);
}

/* Add a row of y to its band's moments. */
static void see_row(const direct *d, size_t band, bool first, const float *y)
{
    const size_t step = moments_step(d), o = d->v->o;
    size_t at[SEEN];
    for (size_t i = 0; i < SEEN; i++) at[i] = i * o;
    for (size_t q = 0; q < d->v->ow; q += SEEN)
        d->kernels->pixel_moments(y + q * o, at, kdi_smaller(SEEN, d->v->ow - q), o,
                                  first && q == 0, d->moments + 3 * band * step, step);
}

static void forward_task(void *arg, size_t index, int worker)
{
    const direct *d = arg;
    const kdi_conv *v = d->v;
    const size_t image = index / d->bands, row = index % d->bands * d->band;
    const size_t rows = kdi_smaller(d->band, height(v) - row), k = v->kw * v->c;
    float *scratch = d->workers + (size_t)worker * d->own;
    float *own = scratch + d->kernel, *pair = own + d->rows_size;
    kdi_epilogue epilogue;
    pad_rows(d, d->x + image * v->h * v->w * v->c, row, rows, own);
    for (size_t r = 0; r < rows; r++) {
        const size_t i = (image * v->oh + row + r) * v->ow;
        kdi_block block = {.m = v->ow,
                           .n = v->o,
                           .k = k,
                           .segments = v->kh,
                           .segment = v->dh * d->width,
                           .a = own + r * v->sh * d->width,
                           .rsa = v->sw * v->c,
                           .csa = 1,
                           .b = d->b,
                           .panel = v->kh * k * d->kernels->gemm_nr,
                           .c = v->pools ? pair + r % 2 * v->ow * v->o : d->y + i * v->o,
                           .ldc = v->o,
                           .scratch = scratch};
        if (d->epilogue) {
            epilogue = kdi_epilogue_at(d->epilogue, i, 0);
            block.epilogue = &epilogue;
        }
        d->kernels->gemm_block(&block);
        if (d->moments) see_row(d, index, r == 0, d->y + i * v->o);
        if (v->pools && r % 2 == 1)
            pool_pair(d, pair, d->y + (image * (v->oh / 2) + (row + r) / 2) * (v->ow / 2) * v->o);
    }
}

static size_t direct_prepared_size(kd_ctx *ctx, const kdi_conv *v)
{
    return kdi_gemm_packed_size(ctx, v->o, v->kh * v->kw * v->c);
}

static void direct_prepare(kd_ctx *ctx, const kdi_conv *v, const float *w, void *prepared,
                           void *scratch)
{
    const size_t k = v->kh * v->kw * v->c;
    (void)scratch;
    kdi_gemm_pack_b(ctx, v->o, k, true, w, k, prepared);
}

static void run(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                const void *prepared, const kdi_epilogue *epilogue, float *y, float *moments,
                void *scratch)
{
    direct d = direct_of(kdi_ctx_kernels(ctx), v, false);
    d.moments = moments;
    d.workers = scratch;
    if (!prepared) {
        direct_prepare(ctx, v, w, scratch, NULL);
        prepared = scratch;
        d.workers += direct_prepared_size(ctx, v) / sizeof(float);
    }
    d.x = x;
    d.b = prepared;
    d.y = y;
    d.epilogue = epilogue;
    kd_parallel_for(ctx, v->n * d.bands, forward_task, &d);
}

static void direct_forward(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                           const void *prepared, const kdi_epilogue *epilogue, float *y,
                           void *scratch)
{
    run(ctx, v, x, w, prepared, epilogue, y, NULL, scratch);
}

static size_t band_pixels(const void *arg, size_t index)
{
    const direct *d = arg;
    return kdi_smaller(d->band, height(d->v) - index % d->bands * d->band) * d->v->ow;
}

static void direct_forward_moments(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                                   const kdi_epilogue *epilogue, float *y, float *moments,
                                   void *scratch)
{
    const direct d = direct_of(kdi_ctx_kernels(ctx), v, false);
    float *sums = scratch;
    const kdi_moment_parts parts = {sums, v->n * d.bands, moments_step(&d), v->o, band_pixels, &d};
    run(ctx, v, x, w, NULL, epilogue, y, sums, sums + 3 * parts.count * parts.step);
    kdi_join_moments(ctx, &parts, moments);
}

/* The backward of bn_after on rows [row, row + rows) of an image's dy, into `to`. */
static const float *through_bn(const direct *d, size_t image, size_t row, size_t rows, float *to)
{
    const kdi_conv_bn_after *b = d->v->bn_after;
    const size_t line = d->v->ow * d->v->o, at = (image * d->v->oh + row) * line, o = d->v->o;
    if (!b->pools) {
        d->kernels->bn_backward(rows * d->v->ow, o, b->y + at, d->dy + at, b->mean, b->scale,
                                b->shift, b->relu, b->slope, b->constant, to, 0);
        return to;
    }
    for (size_t i = 0; i < rows * line; i += 2 * line)
        d->kernels->bn_pool_backward(d->v->ow / 2, o, b->y + at + i, line, d->dy + (at + i) / 4,
                                     b->mean, b->scale, b->shift, b->relu, b->slope, b->constant,
                                     to + i, 0);
    return to;
}

/* Part `index` of dW, transposed: [kh * kw * c][o]. */
static void weights_task(void *arg, size_t index, int worker)
{
    const direct *d = arg;
    const kdi_conv *v = d->v;
    const size_t bands = v->n * d->bands, each = kdi_pieces(bands, parts_of(d));
    const size_t end = kdi_smaller(bands, (index + 1) * each), k = v->kw * v->c;
    float *scratch = d->workers + (size_t)worker * d->own;
    float *own = scratch + d->kernel, *band = own + d->rows_size, *panels = band + d->pair;
    float *part = d->parts + index * v->kh * k * v->o;
    float *sums = d->sums ? d->sums + index * v->o : NULL;
    if (index * each >= end && d->y) memset(part, 0, v->kh * k * v->o * sizeof *part);
    if (sums && index * each >= end) memset(sums, 0, v->o * sizeof *sums);
    for (size_t b = index * each; b < end; b++) {
        const size_t image = b / d->bands, row = b % d->bands * d->band;
        const size_t rows = kdi_smaller(d->band, v->oh - row),
                     panel = rows * v->ow * d->kernels->gemm_nr;
        const float *dy = v->bn_after ? through_bn(d, image, row, rows, band)
                                      : d->dy + (image * v->oh + row) * v->ow * v->o;
        if (sums) d->kernels->sum_parts(v->o, rows * v->ow, dy, v->o, sums, b > index * each);
        if (!d->y) continue;
        pad_rows(d, d->x + image * v->h * v->w * v->c, row, rows, own);
        d->kernels->pack_b(rows * v->ow, v->o, dy, v->o, panels, panel);
        for (size_t i = 0; i < v->kh; i++) {
            const kdi_block block = {.m = k,
                                     .n = v->o,
                                     .k = v->ow,
                                     .segments = rows,
                                     .segment = v->sh * d->width,
                                     .a = own + i * v->dh * d->width,
                                     .rsa = 1,
                                     .csa = v->sw * v->c,
                                     .b = panels,
                                     .panel = panel,
                                     .c = part + i * k * v->o,
                                     .ldc = v->o,
                                     .accumulate = b > index * each,
                                     .scratch = scratch};
            d->kernels->gemm_block(&block);
        }
    }
}

/* Some rows of the transposed dW: add their parts, and transpose them back. */
static void turn_task(void *arg, size_t index, int worker)
{
    const direct *d = arg;
    const size_t o = d->v->o, k = d->v->kh * d->v->kw * d->v->c, row = index * SUM_ROWS;
    const size_t rows = kdi_smaller(SUM_ROWS, k - row);
    float *sum = d->parts + row * o;
    (void)worker;
    d->kernels->sum_parts(rows * o, parts_of(d), sum, k * o, sum, 0);
    d->kernels->transpose(rows, o, sum, o, d->y + row, k, d->accumulate);
}

static void direct_backward(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                            const float *dy, float *dx, float *dw, float *db, bool accumulate_dx,
                            bool accumulate_dw, void *scratch)
{
    if (dx)
        kdi_conv_gemm.backward(ctx, v, NULL, w, dy, dx, NULL, NULL, accumulate_dx, false, scratch);
    if (!dw && !db) return;
    const size_t k = v->kh * v->kw * v->c, size = k * v->o;
    direct d = direct_of(kdi_ctx_kernels(ctx), v, true);
    d.x = x;
    d.dy = dy;
    d.parts = scratch;
    d.workers = d.parts + kdi_multiple(parts_of(&d) * (size + v->o), ALIGN);
    if (db) d.sums = d.parts + parts_of(&d) * size;
    d.y = dw;
    d.accumulate = accumulate_dw;
    kd_parallel_for(ctx, parts_of(&d), weights_task, &d);
    if (db) d.kernels->sum_parts(v->o, parts_of(&d), d.sums, v->o, db, accumulate_dw);
    if (dw) kd_parallel_for(ctx, kdi_pieces(k, SUM_ROWS), turn_task, &d);
}

static size_t direct_scratch(kd_ctx *ctx, const kdi_conv *v, kdi_conv_pass pass)
{
    const bool back = pass == KDI_CONV_BACKWARD;
    const direct d = direct_of(kdi_ctx_kernels(ctx), v, back);
    size_t bytes, before = 0;
    if (pass == KDI_CONV_PREPARE) return 0;
    if (pass == KDI_CONV_FORWARD) before = direct_prepared_size(ctx, v);
    if (back && (!kdi_mul((v->kh * v->kw * v->c + 1) * parts_of(&d), v->o, &before) ||
                 !kdi_round_up(before, ALIGN, &before) || !kdi_mul(before, sizeof(float), &before)))
        return SIZE_MAX;
    if (!kdi_mul(d.own * sizeof(float), (size_t)kd_ctx_threads(ctx), &bytes) ||
        !kdi_add(bytes, before, &bytes))
        return SIZE_MAX;
    return back ? kdi_larger(bytes, kdi_conv_gemm.scratch(ctx, v, pass)) : bytes;
}

static size_t direct_moments_scratch(kd_ctx *ctx, const kdi_conv *v)
{
    const direct d = direct_of(kdi_ctx_kernels(ctx), v, false);
    size_t sums, bytes;
    return kdi_mul(v->n, 3 * d.bands * sizeof(float), &sums) &&
                   kdi_mul(sums, moments_step(&d), &sums) &&
                   kdi_add(sums, direct_scratch(ctx, v, KDI_CONV_FORWARD), &bytes)
               ? bytes
               : SIZE_MAX;
}

static bool direct_can(const kdi_conv *v)
{
    return v->groups == 1 && (v->dw == 1 || v->kw == 1) && v->kh * v->kw > 1;
}

const kdi_conv_method kdi_conv_direct = {
    .name = "direct",
    .can = direct_can,
    .scratch = direct_scratch,
    .prepared_size = direct_prepared_size,
    .prepare = direct_prepare,
    .forward = direct_forward,
    .backward = direct_backward,
    .moments_scratch = direct_moments_scratch,
    .forward_moments = direct_forward_moments,
    .pools = true,
    .bn_after = true,
};

/* ---- depthwise ------------------------------------------------------------------------------- */

enum { POINTS = 32 }; /* of a sum, at once */

typedef struct depthwise {
    const kdi_kernels *kernels;
    const kdi_conv *v;
    const float *x, *w, *dy; /* w [kh,kw,c] */
    float *y, *parts;
    bool accumulate;
    const kdi_epilogue *epilogue;
} depthwise;

/* The points of one pixel's sum, gathered up to POINTS at a time. */
typedef struct points {
    const float *x[POINTS], *w[POINTS];
    size_t count;
    bool accumulate;
} points;

static void flush(const depthwise *d, points *p, float *y)
{
    d->kernels->sum_products(d->v->c, p->count, p->x, p->w, y, p->accumulate);
    p->count = 0;
    p->accumulate = true;
}

static void add_point(const depthwise *d, points *p, const float *x, const float *w, float *y)
{
    if (p->count == POINTS) flush(d, p, y);
    p->x[p->count] = x;
    p->w[p->count++] = w;
}

/* One row of the output of one image. */
static void depthwise_forward_task(void *arg, size_t index, int worker)
{
    const depthwise *d = arg;
    const kdi_conv *v = d->v;
    const float *image = d->x + index / v->oh * v->h * v->w * v->c;
    float *y = d->y + index * v->ow * v->c;
    (void)worker;
    for (size_t q = 0; q < v->ow; q++, y += v->c) {
        points p = {.count = 0};
        for (size_t i = 0; i < v->kh; i++) {
            const size_t row = index % v->oh * v->sh + i * v->dh - v->ph;
            for (size_t j = 0; j < v->kw && row < v->h; j++) {
                const size_t column = q * v->sw + j * v->dw - v->pw;
                if (column < v->w)
                    add_point(d, &p, image + (row * v->w + column) * v->c,
                              d->w + (i * v->kw + j) * v->c, y);
            }
        }
        flush(d, &p, y);
    }
    if (!d->epilogue) return;
    const kdi_epilogue epilogue = kdi_epilogue_at(d->epilogue, index * v->ow, 0);
    const kdi_block block = {.m = v->ow,
                             .n = v->c,
                             .a = d->x,
                             .b = d->w,
                             .c = d->y + index * v->ow * v->c,
                             .ldc = v->c,
                             .accumulate = true,
                             .epilogue = &epilogue};
    d->kernels->gemm_block(&block); /* k = 0: the epilogue alone */
}

/* One row of dx of one image: a sum over the output pixels that read each input pixel. */
static void depthwise_data_task(void *arg, size_t index, int worker)
{
    const depthwise *d = arg;
    const kdi_conv *v = d->v;
    const float *image = d->dy + index / v->h * v->oh * v->ow * v->c;
    float *dx = d->y + index * v->w * v->c;
    (void)worker;
    for (size_t q = 0; q < v->w; q++, dx += v->c) {
        points p = {.accumulate = d->accumulate};
        for (size_t i = 0; i < v->kh; i++) {
            const size_t row = index % v->h + v->ph - i * v->dh; /* times the stride */
            if (row > v->h + v->ph || row % v->sh || row / v->sh >= v->oh) continue;
            for (size_t j = 0; j < v->kw; j++) {
                const size_t column = q + v->pw - j * v->dw;
                if (column > v->w + v->pw || column % v->sw || column / v->sw >= v->ow) continue;
                add_point(d, &p, image + (row / v->sh * v->ow + column / v->sw) * v->c,
                          d->w + (i * v->kw + j) * v->c, dx);
            }
        }
        flush(d, &p, dx);
    }
}

/* Part `index` of the gradient of the weights, [kh,kw,c], over its share of the output's rows. */
static void depthwise_weights_task(void *arg, size_t index, int worker)
{
    const depthwise *d = arg;
    const kdi_conv *v = d->v;
    const size_t rows = v->n * v->oh, each = kdi_pieces(rows, PARTS);
    const size_t end = kdi_smaller(rows, (index + 1) * each), size = v->kh * v->kw * v->c;
    float *part = d->parts + index * size;
    (void)worker;
    memset(part, 0, size * sizeof *part);
    for (size_t r = index * each; r < end; r++) {
        const float *image = d->x + r / v->oh * v->h * v->w * v->c;
        for (size_t i = 0; i < v->kh; i++) {
            const size_t row = r % v->oh * v->sh + i * v->dh - v->ph;
            if (row >= v->h) continue;
            for (size_t q = 0; q < v->ow; q++)
                for (size_t j = 0; j < v->kw; j++) {
                    const size_t column = q * v->sw + j * v->dw - v->pw;
                    if (column >= v->w) continue;
                    d->kernels->mul(v->c, image + (row * v->w + column) * v->c,
                                    d->dy + (r * v->ow + q) * v->c, part + (i * v->kw + j) * v->c,
                                    1);
                }
        }
    }
}

static size_t depthwise_size(kd_ctx *ctx, const kdi_conv *v)
{
    (void)ctx;
    return kdi_multiple(v->kh * v->kw * v->c, ALIGN) * sizeof(float);
}

static void depthwise_prepare(kd_ctx *ctx, const kdi_conv *v, const float *w, void *prepared,
                              void *scratch)
{
    const size_t k = v->kh * v->kw;
    (void)scratch;
    kdi_ctx_kernels(ctx)->transpose(v->c, k, w, k, prepared, v->c, 0);
}

static void depthwise_forward(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                              const void *prepared, const kdi_epilogue *epilogue, float *y,
                              void *scratch)
{
    if (!prepared) {
        depthwise_prepare(ctx, v, w, scratch, NULL);
        prepared = scratch;
    }
    depthwise d = {.kernels = kdi_ctx_kernels(ctx),
                   .v = v,
                   .x = x,
                   .w = prepared,
                   .y = y,
                   .epilogue = epilogue};
    kd_parallel_for(ctx, v->n * v->oh, depthwise_forward_task, &d);
}

static void depthwise_backward(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                               const float *dy, float *dx, float *dw, float *db, bool accumulate_dx,
                               bool accumulate_dw, void *scratch)
{
    kdi_conv_bias_gradient(ctx, v, dy, db, accumulate_dw, scratch);
    const size_t k = v->kh * v->kw, size = k * v->c;
    depthwise d = {.kernels = kdi_ctx_kernels(ctx), .v = v, .x = x, .dy = dy};
    if (dx) {
        depthwise_prepare(ctx, v, w, scratch, NULL);
        d.w = scratch;
        d.y = dx;
        d.accumulate = accumulate_dx;
        kd_parallel_for(ctx, v->n * v->h, depthwise_data_task, &d);
    }
    if (!dw) return;
    d.parts = scratch;
    kd_parallel_for(ctx, PARTS, depthwise_weights_task, &d);
    d.kernels->sum_parts(size, PARTS, d.parts, size, d.parts, 0);
    d.kernels->transpose(k, v->c, d.parts, v->c, dw, k, accumulate_dw);
}

static size_t depthwise_scratch(kd_ctx *ctx, const kdi_conv *v, kdi_conv_pass pass)
{
    if (pass == KDI_CONV_FORWARD) return depthwise_size(ctx, v);
    return pass == KDI_CONV_BACKWARD ? PARTS * depthwise_size(ctx, v) : 0;
}

static bool depthwise_can(const kdi_conv *v)
{
    return v->groups == v->c && v->o == v->c;
}

const kdi_conv_method kdi_conv_depthwise = {
    .name = "depthwise",
    .can = depthwise_can,
    .scratch = depthwise_scratch,
    .prepared_size = depthwise_size,
    .prepare = depthwise_prepare,
    .forward = depthwise_forward,
    .backward = depthwise_backward,
};
