/* SPDX-License-Identifier: MIT
 * conv_winograd_moments.c: a forward that also gives y's mean and squared deviations, channel by
 * channel, so that a batch norm after it need not read y for them.
 *
 * Each task sums y - shift and its square over its tiles right after they are written, in float32.
 * The shift is the part's first pixel, so that nothing cancels. Parts are cut by shape. */
#include "conv_moments.h"
#include "conv_winograd.h"

#include "../base/size.h"

typedef struct job {
    const kdi_winograd *g;
    kdi_winograd_parts parts;
} job;

/* Tiles of a part, from *first on. */
static size_t part_tiles(const job *j, size_t part, size_t *first)
{
    const kdi_winograd_parts *p = &j->parts;
    const size_t in_chunk = kdi_pieces(p->chunk, p->tiles);
    const size_t chunk = part / in_chunk * p->chunk,
                 end = kdi_smaller(chunk + p->chunk, j->g->tiles);
    *first = chunk + part % in_chunk * p->tiles;
    return *first < end ? kdi_smaller(p->tiles, end - *first) : 0;
}

/* Pixels of y in a part. Tiles at the map's border have fewer than others. */
static size_t part_pixels(const void *arg, size_t part)
{
    const job *j = arg;
    const kdi_winograd *g = j->g;
    size_t first, pixels = 0;
    const size_t tiles = part_tiles(j, part, &first);
    for (size_t t = first; t < first + tiles; t++) {
        const size_t x = t % g->tiles_w * g->tile, y = t / g->tiles_w % g->tiles_h * g->tile;
        pixels += kdi_smaller(g->tile, g->oh - y) * kdi_smaller(g->tile, g->ow - x);
    }
    return pixels;
}

/* Floats of the parts; SIZE_MAX on overflow. */
static size_t sums_size(const kdi_winograd *g, bool prepared)
{
    size_t rows, total = 0;
    if (!kdi_mul(kdi_winograd_parts_of(g, prepared).most, 3, &rows) ||
        !kdi_winograd_reserve(&total, rows, g->o_blocks * g->lanes))
        return SIZE_MAX;
    return total;
}

size_t kdi_winograd_moments_scratch(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo,
                                    kdi_conv_pass pass)
{
    const kdi_winograd g = kdi_winograd_of(ctx, conv, algo, false);
    const bool prepared = pass == KDI_CONV_FORWARD_PREPARED;
    size_t floats, bytes;
    return kdi_add(sums_size(&g, prepared), kdi_winograd_run_scratch(ctx, &g, prepared), &floats) &&
                   kdi_mul(floats, sizeof(float), &bytes)
               ? bytes
               : SIZE_MAX;
}

void kdi_winograd_forward_moments(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo,
                                  const float *x, const float *w, const void *prepared,
                                  const kdi_epilogue *epilogue, float *y, float *moments,
                                  void *scratch)
{
    const kdi_winograd g = kdi_winograd_of(ctx, conv, algo, false);
    const bool ready = prepared != NULL;
    float *sums = scratch;
    const job j = {&g, kdi_winograd_parts_of(&g, ready)};
    const kdi_moment_parts parts = {sums, j.parts.count, g.o_blocks * g.lanes,
                                    g.o,  part_pixels,   &j};
    kdi_winograd_run(ctx, &g, x, w, prepared, epilogue, y, sums, sums + sums_size(&g, ready));
    kdi_join_moments(ctx, &parts, moments);
}
