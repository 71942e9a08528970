/* SPDX-License-Identifier: MIT
 * conv_winograd_backward.c: the gradients of Winograd's convolution.
 *
 *   dX  is the convolution of dY with the filters turned by 180 degrees, input and output channels
 *       exchanged, padding 2 - p: conv_winograd.c on other arguments.
 *   dW  = G' dU G, dU[o,c] = sum over tiles of dM[t,o] V[t,c], dM = A dY A', V = B' d B: the exact
 *       adjoint. Tiles are taken in chunks. V and dM of a chunk come first. Then, for each block
 *       of filters and channels, dU is summed over the chunk's tiles in cache, and G' dU G is added
 *       to its part of dW. dU is never whole in memory.
 *   db  is summed from dY on the way: a few tiles at a time, then those sums in order.
 *
 * If dW is small and tiles are many, the tiles fall into groups, each with a dW of its own; those
 * are added in order at the end. A thread that takes a whole group reads nothing that another
 * wrote. If the threads cannot share the groups out evenly, all work on one chunk, to the same
 * bits. */
#include "conv_winograd.h"

#include "../base/size.h"

#include <string.h>

enum {
    CHUNK = 128, /* tiles whose V and dM are made before they are summed */
    FEW = 8,     /* tiles of a task that makes them */
    PART = 64,   /* channels of a task that sums; its filters are at most half as many */
    MIN_TASKS = 16,
    GROUPS = 4,
    GROUP_SIZE = 600000 /* the most numbers of dW for more than one group */
};

typedef struct job {
    const kdi_winograd *g;
    const float *x, *dy;
    float *dw;
    bool accumulate;
    const kdi_conv_bn_after *bn_after; /* applied to dy first, or NULL */
    /* by shape alone */
    size_t groups, share;  /* tiles of a group */
    size_t most, chunk;    /* tiles of a chunk: the most there is room for, and the usual number */
    size_t o_part, c_part; /* blocks whose dU is summed at a time */
    size_t rows;           /* of a group's sums of dY */
    size_t v_size, m_size, worker, sum, part; /* floats: V, dM, du, the sums and dW of a group */
    /* scratch */
    size_t slots;                           /* chunks that may be in hand at the same time */
    size_t group;                           /* in hand, where all threads work on one chunk */
    float *planes, *workers, *sums, *parts; /* sums and parts of each group, or NULL */
    size_t step;                            /* its chunk */
} job;

/* A chunk of a group's tiles. */
typedef struct chunk {
    const job *j;
    size_t t0, tiles;
    kdi_planes v, m;
    float *dw, *sums;
    bool accumulate;
} chunk;

static size_t blocks_of(const job *j)
{
    return kdi_pieces(j->g->o_blocks, j->o_part) * kdi_pieces(j->g->c_blocks, j->c_part);
}

/* Whether each thread takes groups of its own. */
static bool apart(const job *j, kd_ctx *ctx)
{
    return j->groups > 1 && j->groups % (size_t)kd_ctx_threads(ctx) == 0;
}

static void lay_out(job *j)
{
    const kdi_winograd *g = j->g;
    const bool small = g->c <= GROUP_SIZE / 9 / g->o;
    j->most = kdi_smaller(kdi_winograd_tiles(g, CHUNK), g->tiles);
    if (j->most == 0) j->most = 1;
    j->groups = small ? kdi_smaller(g->tiles / j->most, GROUPS) : 1;
    if (j->groups == 0) j->groups = 1;
    j->share = kdi_pieces(g->tiles, j->groups);
    /* Chunks of about one size, none above what there is room for. */
    const size_t chunks = kdi_pieces(j->share, j->most);
    j->chunk = chunks ? kdi_pieces(j->share, chunks) : 1;
    /* Large parts read V and dM less often; enough of them keep the threads busy. */
    j->c_part = PART / g->lanes;
    j->o_part = PART / 2 / g->lanes;
    while (blocks_of(j) < MIN_TASKS) {
        if (j->c_part * g->lanes > PART / 2)
            j->c_part /= 2;
        else if (j->o_part * g->lanes > PART / 4)
            j->o_part /= 2;
        else
            break;
    }
    j->rows = kdi_pieces(j->most, kdi_winograd_tiles(g, FEW));
    j->worker = g->planes * (j->o_part * j->c_part * g->lanes + 1) * g->lanes;
}

/* Chunk `step` of a group, its V and dM in a slot. Beyond the last it has no tiles. */
static chunk chunk_of(const job *j, size_t group, size_t step, size_t slot)
{
    const kdi_winograd *g = j->g;
    const size_t first = group * j->share + step * j->chunk;
    const size_t end = kdi_smaller(kdi_smaller((group + 1) * j->share, g->tiles), first + j->chunk);
    float *planes = j->planes + slot * (j->v_size + j->m_size);
    chunk c = {.j = j, .t0 = first, .tiles = first < end ? end - first : 0};
    c.v = kdi_planes_of(g, planes, g->c_blocks, j->most);
    c.m = kdi_planes_of(g, planes + j->v_size, g->o_blocks, j->most);
    c.sums = j->sums ? j->sums + group * j->sum : NULL;
    c.dw = j->parts ? j->parts + group * j->part : j->dw;
    c.accumulate = step > 0 || (!j->parts && j->accumulate);
    return c;
}

/* The output pixels of a tile, of which there are h x w. */
typedef struct place {
    size_t image, y, x, h, w;
} place;

static place place_of(const kdi_winograd *g, size_t tile)
{
    const size_t row = tile / g->tiles_w;
    place p = {.image = row / g->tiles_h, .y = row % g->tiles_h * g->tile};
    p.x = tile % g->tiles_w * g->tile;
    p.h = kdi_smaller(g->tile, g->oh - p.y);
    p.w = kdi_smaller(g->tile, g->ow - p.x);
    return p;
}

/* The backward of bn_after on a tile of dY. */
static void through_bn(const job *j, size_t tile)
{
    const kdi_winograd *g = j->g;
    const kdi_conv_bn_after *b = j->bn_after;
    const place p = place_of(g, tile);
    for (size_t r = 0; r < p.h; r += b->pools ? 2 : 1) {
        const size_t row = p.image * g->oh + p.y + r, at = (row * g->ow + p.x) * g->o;
        if (b->pools)
            g->kernels->bn_pool_backward(p.w / 2, g->o, b->y + at, g->ow * g->o,
                                         j->dy + (row / 2 * (g->ow / 2) + p.x / 2) * g->o, b->mean,
                                         b->scale, b->shift, b->relu, b->slope, b->constant,
                                         b->dy + at, 0);
        else
            g->kernels->bn_backward(p.w, g->o, b->y + at, j->dy + at, b->mean, b->scale, b->shift,
                                    b->relu, b->slope, b->constant, b->dy + at, 0);
    }
}

/* Prefetch what a tile's gradient is made of. */
static void fetch_gradient(const job *j, size_t tile)
{
    const kdi_winograd *g = j->g;
    if (!j->bn_after) {
        kdi_winograd_fetch_y(g, j->dy, tile);
        return;
    }
    kdi_winograd_fetch_y(g, j->bn_after->y, tile);
    if (!j->bn_after->pools) kdi_winograd_fetch_y(g, j->dy, tile);
}

/* V and dM of a few tiles. */
static void transform(const chunk *k, size_t index)
{
    const job *j = k->j;
    const kdi_winograd *g = j->g;
    const size_t few = kdi_winograd_tiles(g, FEW), end = kdi_smaller((index + 1) * few, k->tiles);
    float *sum = k->sums ? k->sums + index * g->o_blocks * g->lanes : NULL;
    for (size_t t = index * few; t < end; t++) {
        const size_t tile = k->t0 + t, next = tile + g->ahead, row = t * g->rows * g->lanes;
        size_t at[KDI_TILE_PIXELS];
        if (next < g->tiles) {
            if (j->dw) kdi_winograd_fetch_x(g, j->x, next);
            fetch_gradient(j, next);
        }
        if (j->dw) kdi_winograd_input(g, j->x, tile, k->v, t);
        kdi_winograd_output_pixels(g, tile, at);
        if (j->bn_after) through_bn(j, tile);
        g->transforms->gradient(j->bn_after ? j->bn_after->dy : j->dy, at, g->o, k->m.data + row,
                                k->m.plane, k->m.block, sum);
    }
}

/* dW of one block of filters and channels; du is the worker's. */
static void sum(const chunk *k, size_t index, float *du)
{
    const job *j = k->j;
    const kdi_winograd *g = j->g;
    const size_t lanes = g->lanes, columns = kdi_pieces(g->c_blocks, j->c_part);
    const size_t o0 = index / columns * j->o_part, c0 = index % columns * j->c_part;
    const size_t o_blocks = kdi_smaller(j->o_part, g->o_blocks - o0);
    const size_t c_blocks = kdi_smaller(j->c_part, g->c_blocks - c0);
    const size_t ldu = c_blocks * lanes, plane = o_blocks * lanes * ldu + lanes;
    const float *m = k->m.data + o0 * k->m.block, *v = k->v.data + c0 * k->v.block;
    for (size_t p = 0; p < g->planes; p++) {
        const bool last = p + 1 == g->planes;
        const float *next_m = last ? m : m + k->m.plane, *next_v = last ? v : v + k->v.plane;
        g->kernels->winograd_outer(k->tiles * g->rows, o_blocks, c_blocks, m, next_m, k->m.block, v,
                                   next_v, k->v.block, du + p * plane, ldu);
        m = next_m;
        v = next_v;
    }
    const size_t o = o0 * lanes, c = c0 * lanes;
    g->transforms->filter_gradient(du, plane, ldu, kdi_smaller(o_blocks * lanes, g->o - o),
                                   kdi_smaller(c_blocks * lanes, g->c - c),
                                   k->dw + o * 9 * g->c + c, 9 * g->c, g->c, k->accumulate);
}

/* A whole group. */
static void group_task(void *arg, size_t group, int worker)
{
    const job *j = arg;
    for (size_t step = 0; step * j->chunk < j->share; step++) {
        const chunk k = chunk_of(j, group, step, (size_t)worker);
        for (size_t i = 0; i < kdi_pieces(k.tiles, kdi_winograd_tiles(j->g, FEW)); i++)
            transform(&k, i);
        for (size_t i = 0; j->dw && k.tiles > 0 && i < blocks_of(j); i++)
            sum(&k, i, j->workers + (size_t)worker * j->worker);
    }
}

static void transform_task(void *arg, size_t index, int worker)
{
    const job *j = arg;
    const chunk k = chunk_of(j, j->group, j->step, 0);
    (void)worker;
    transform(&k, index);
}

static void sum_task(void *arg, size_t index, int worker)
{
    const job *j = arg;
    const chunk k = chunk_of(j, j->group, j->step, 0);
    if (k.tiles > 0) sum(&k, index, j->workers + (size_t)worker * j->worker);
}

/* Filter `o` of dW: the groups' in order. */
static void add_task(void *arg, size_t o, int worker)
{
    const job *j = arg;
    const size_t n = 9 * j->g->c;
    (void)worker;
    j->g->kernels->sum_parts(n, j->groups, j->parts + o * n, j->part, j->dw + o * n, j->accumulate);
}

/* *total += count times `each` floats, rounded up to 64 bytes: *size. */
static bool lay(size_t *total, size_t count, size_t each, size_t *size)
{
    return kdi_round_up(each, 16, size) && kdi_winograd_reserve(total, count, *size);
}

/* Sizes of everything, and floats of scratch in all; false on overflow. */
static bool measure(kd_ctx *ctx, job *j, size_t *total)
{
    const kdi_winograd *g = j->g;
    const size_t threads = (size_t)kd_ctx_threads(ctx);
    size_t sums, dw;
    lay_out(j);
    /* As many slots as any smaller number of groups needs: the scratch is for fewer tiles, too. */
    j->slots = threads <= j->groups ? threads : 1;
    *total = 0;
    j->v_size = kdi_planes_size(g, g->c_blocks, j->most);
    j->m_size = kdi_planes_size(g, g->o_blocks, j->most);
    return kdi_winograd_reserve(total, j->slots, j->v_size) &&
           kdi_winograd_reserve(total, j->slots, j->m_size) &&
           kdi_mul(g->o_blocks * g->lanes, j->rows, &sums) &&
           lay(total, j->groups, sums, &j->sum) && lay(total, threads, j->worker, &j->worker) &&
           kdi_mul(g->o, 9 * g->c, &dw) && lay(total, j->groups > 1 ? j->groups : 0, dw, &j->part);
}

/* Floats of scratch; SIZE_MAX on overflow. */
static size_t filter_gradient_scratch(kd_ctx *ctx, const kdi_winograd *g)
{
    job j = {.g = g};
    size_t total;
    return measure(ctx, &j, &total) ? total : SIZE_MAX;
}

static void filter_gradient(kd_ctx *ctx, const kdi_winograd *g, const float *x, const float *dy,
                            const kdi_conv_bn_after *bn_after, float *dw, float *db,
                            bool accumulate, float *scratch)
{
    job j = {.g = g, .x = x, .dy = dy, .bn_after = bn_after, .dw = dw, .accumulate = accumulate};
    size_t total;
    if (!measure(ctx, &j, &total)) return; /* the size of the scratch said so */
    j.planes = scratch;
    j.workers = j.planes + j.slots * (j.v_size + j.m_size);
    j.sums = j.workers + (size_t)kd_ctx_threads(ctx) * j.worker;
    if (j.groups > 1 && dw) j.parts = j.sums + j.groups * j.sum;
    if (db)
        memset(j.sums, 0, j.groups * j.sum * sizeof(float));
    else
        j.sums = NULL;
    if (g->tiles == 0 && dw && !accumulate) memset(dw, 0, g->o * 9 * g->c * sizeof *dw);
    const bool each = apart(&j, ctx);
    if (each) kd_parallel_for(ctx, j.groups, group_task, &j);
    for (j.group = 0; !each && j.group < j.groups; j.group++)
        for (j.step = 0; j.step * j.chunk < j.share; j.step++) {
            kd_parallel_for(ctx, kdi_pieces(j.chunk, kdi_winograd_tiles(g, FEW)), transform_task,
                            &j);
            if (dw) kd_parallel_for(ctx, blocks_of(&j), sum_task, &j);
        }
    if (j.parts) kd_parallel_for(ctx, g->o, add_task, &j);
    if (!db) return;
    for (size_t o = 0; o < g->o; o++) {
        float s = accumulate ? db[o] : 0;
        for (size_t i = 0; i < j.groups * j.rows; i++)
            s += j.sums[i / j.rows * j.sum + i % j.rows * g->o_blocks * g->lanes + o];
        db[o] = s;
    }
}

void kdi_winograd_backward(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo, const float *x,
                           const float *w, const float *dy, float *dx, float *dw, float *db,
                           bool accumulate_dx, bool accumulate_dw, void *scratch)
{
    if (dx) {
        const kdi_winograd g = kdi_winograd_of(ctx, conv, algo, true);
        const kdi_epilogue add = {.residual = dx, .ldr = conv->c};
        kdi_winograd_run(ctx, &g, dy, w, NULL, accumulate_dx ? &add : NULL, dx, NULL, scratch);
    }
    if (dw || db) {
        const kdi_winograd g = kdi_winograd_of(ctx, conv, algo, false);
        filter_gradient(ctx, &g, x, dy, conv->bn_after, dw, db, accumulate_dw, scratch);
    }
}

size_t kdi_winograd_scratch(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo,
                            kdi_conv_pass pass)
{
    const kdi_winograd g = kdi_winograd_of(ctx, conv, algo, false);
    size_t floats = 0, bytes;
    if (pass == KDI_CONV_FORWARD || pass == KDI_CONV_FORWARD_PREPARED)
        floats = kdi_winograd_run_scratch(ctx, &g, pass == KDI_CONV_FORWARD_PREPARED);
    if (pass == KDI_CONV_BACKWARD) {
        const kdi_winograd turned = kdi_winograd_of(ctx, conv, algo, true);
        const size_t dx = kdi_winograd_run_scratch(ctx, &turned, false);
        const size_t dw = filter_gradient_scratch(ctx, &g);
        floats = dx > dw ? dx : dw;
    }
    return kdi_mul(floats, sizeof(float), &bytes) ? bytes : SIZE_MAX;
}
