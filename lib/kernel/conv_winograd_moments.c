/* SPDX-License-Identifier: MIT
 * conv_winograd_moments.c: a convolution that also tells the mean and the squared deviations of
 * what it made, channel by channel: a batch norm behind it need not read y for them.
 *
 * Each task sums y - shift and its square over its tiles, right after they are written, in float32;
 * the shift is the part's first pixel, so that nothing cancels. The parts are then joined in their
 * order, in double precision (Chan, Golub and LeVeque 1979). Parts are cut by shape. */
#include "conv_winograd.h"

enum { JOIN = 16 }; /* channels of a task that joins */

typedef struct job {
    const kdi_winograd *g;
    kdi_winograd_parts parts;
    const float *sums; /* [parts][3][o_blocks * lanes] */
    float *moments;
} job;

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Tiles of a part, from *first on. */
static size_t part_tiles(const job *j, size_t part, size_t *first)
{
    const kdi_winograd_parts *p = &j->parts;
    const size_t in_chunk = (p->chunk + p->tiles - 1) / p->tiles;
    const size_t chunk = part / in_chunk * p->chunk, end = min(chunk + p->chunk, j->g->tiles);
    *first = chunk + part % in_chunk * p->tiles;
    return *first < end ? min(p->tiles, end - *first) : 0;
}

/* Pixels of y in a part: tiles at the border may have fewer than 16. */
static size_t part_pixels(const job *j, size_t part)
{
    const kdi_winograd *g = j->g;
    size_t first, pixels = 0;
    const size_t tiles = part_tiles(j, part, &first);
    for (size_t t = first; t < first + tiles; t++) {
        const size_t x = t % g->tiles_w * g->tile, y = t / g->tiles_w % g->tiles_h * g->tile;
        pixels += min(g->tile, g->oh - y) * min(g->tile, g->ow - x);
    }
    return pixels;
}

static void join_task(void *arg, size_t index, int worker)
{
    const job *j = arg;
    const size_t step = j->g->o_blocks * j->g->lanes;
    const size_t o = index * JOIN, count = min(JOIN, j->g->o - o);
    double mean[JOIN] = {0}, m2[JOIN] = {0}, seen = 0;
    (void)worker;
    for (size_t p = 0; p < j->parts.count; p++) {
        const double n = (double)part_pixels(j, p);
        if (n == 0) continue;
        const float *shift = j->sums + 3 * p * step + o, *square = shift + step;
        const float *sum = square + step;
        for (size_t i = 0; i < count; i++) {
            const double s = (double)sum[i], d = (double)shift[i] + s / n - mean[i];
            m2[i] += (double)square[i] - s * s / n + d * d * seen * n / (seen + n);
            mean[i] += d * n / (seen + n);
        }
        seen += n;
    }
    for (size_t i = 0; i < count; i++) {
        j->moments[o + i] = (float)mean[i];
        j->moments[j->g->o + o + i] = (float)m2[i];
    }
}

/* Floats of the parts; SIZE_MAX on overflow. */
static size_t sums_size(const kdi_winograd *g, bool prepared)
{
    size_t rows, total = 0;
    if (!kdi_mul(kdi_winograd_parts_of(g, prepared).room, 3, &rows) ||
        !kdi_winograd_reserve(&total, rows, g->o_blocks * g->lanes))
        return SIZE_MAX;
    return total;
}

size_t kdi_winograd_moments_scratch(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind,
                                    kdi_conv_pass pass)
{
    const kdi_winograd g = kdi_winograd_of(ctx, conv, kind, false);
    const bool prepared = pass == KDI_CONV_FORWARD_PREPARED;
    size_t floats, bytes;
    return kdi_add(sums_size(&g, prepared), kdi_winograd_run_scratch(ctx, &g, prepared), &floats) &&
                   kdi_mul(floats, sizeof(float), &bytes)
               ? bytes
               : SIZE_MAX;
}

void kdi_winograd_forward_moments(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind,
                                  const float *x, const float *w, const void *prepared,
                                  const kdi_epilogue *epilogue, float *y, float *moments,
                                  void *scratch)
{
    const kdi_winograd g = kdi_winograd_of(ctx, conv, kind, false);
    const bool ready = prepared != NULL;
    float *sums = scratch;
    job j = {&g, kdi_winograd_parts_of(&g, ready), sums, moments};
    kdi_winograd_run(ctx, &g, x, w, prepared, epilogue, y, sums, sums + sums_size(&g, ready));
    kd_parallel_for(ctx, (g.o + JOIN - 1) / JOIN, join_task, &j);
}
