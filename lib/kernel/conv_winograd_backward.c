/* SPDX-License-Identifier: MIT
 * conv_winograd_backward.c: the gradients of Winograd's convolution.
 *
 *   dX  is the convolution of dY with the filters turned by 180 degrees, input and output channels
 *       exchanged, padding 2 - p: the forward algorithm on other arguments. The adjoint of the
 *       transforms (B [(A dY A') U'] B', summed where 6x6 windows overlap) is the same function; it
 *       would save one of six transforms, 2-3 % of the time, and add to every pixel of dX up to
 *       four times.
 *   dW  = G' dU G with dU[o,c] = sum over tiles of dM[t,o] V[t,c], dM = A dY A', V = B' d B: the
 *       exact adjoint. Tiles go in chunks: V and dM of a chunk first, then a task for each block of
 *       filters and channels sums dU over the chunk's tiles in cache and adds G' dU G to its part
 *       of dW, chunk after chunk. dU is never whole in memory.
 *   db  sums dY along the way: a task's tiles, then tasks in order. */
#include "conv_winograd.h"

#include <string.h>

enum {
    MIN_CHUNK = 128, /* tiles whose V and dM are made before they are summed */
    MAX_CHUNK = 256,
    CHUNK_BYTES = 4 << 20, /* of them, within those bounds */
    FEW = 8,               /* tiles of a task that makes them */
    PART = 64,             /* channels of a task that sums; filters at most half */
    MIN_TASKS = 16,
    AHEAD = 2 /* tiles to fetch ahead */
};

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t cut(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

typedef struct job {
    const kdi_winograd *g;
    const float *x, *dy;
    float *dw, *sums; /* sums [tasks][o_blocks * lanes], or NULL */
    bool accumulate;
    kdi_planes v, m;
    size_t room;           /* tiles of a chunk at most */
    size_t t0, tiles;      /* the chunk in hand */
    size_t o_part, c_part; /* blocks of a task that sums */
    float *workers;
    size_t worker;
} job;

/* How dW is cut: by shape alone. */
static void lay_out(job *j)
{
    const kdi_winograd *g = j->g;
    const size_t blocks = g->c_blocks + g->o_blocks;
    const size_t most = CHUNK_BYTES / sizeof(float) / (g->planes * g->lanes) / blocks;
    j->room = min(most < MIN_CHUNK ? MIN_CHUNK : min(most, MAX_CHUNK), g->tiles);
    /* Large parts read V and dM less often; enough of them keep the threads busy. */
    j->c_part = PART / g->lanes;
    j->o_part = PART / 2 / g->lanes;
    while (cut(g->c_blocks, j->c_part) * cut(g->o_blocks, j->o_part) < MIN_TASKS) {
        if (j->c_part * g->lanes > PART / 2)
            j->c_part /= 2;
        else if (j->o_part * g->lanes > PART / 4)
            j->o_part /= 2;
        else
            break;
    }
    j->worker = g->planes * (j->o_part * j->c_part * g->lanes + 1) * g->lanes;
}

/* V and dM of a few tiles. */
static void transform_task(void *arg, size_t index, int worker)
{
    const job *j = arg;
    const kdi_winograd *g = j->g;
    const size_t end = min((index + 1) * FEW, j->tiles);
    float *sum = j->sums ? j->sums + index * g->o_blocks * g->lanes : NULL;
    (void)worker;
    for (size_t t = index * FEW; t < end; t++) {
        const size_t tile = j->t0 + t, next = tile + AHEAD;
        size_t at[KDI_WINDOW];
        if (next < g->tiles) {
            if (j->dw) kdi_winograd_fetch_x(g, j->x, next);
            kdi_winograd_fetch_y(g, j->dy, next);
        }
        if (j->dw) {
            kdi_winograd_window_x(g, tile, at);
            g->transforms.input(j->x, at, g->c, j->v.data + t * g->lanes, j->v.plane, j->v.block);
        }
        kdi_winograd_window_y(g, tile, at);
        g->transforms.gradient(j->dy, at, g->o, j->m.data + t * g->lanes, j->m.plane, j->m.block,
                               sum);
    }
}

/* dW of one block of filters and channels. */
static void sum_task(void *arg, size_t index, int worker)
{
    const job *j = arg;
    const kdi_winograd *g = j->g;
    const size_t lanes = g->lanes, columns = cut(g->c_blocks, j->c_part);
    const size_t o0 = index / columns * j->o_part, c0 = index % columns * j->c_part;
    const size_t o_blocks = min(j->o_part, g->o_blocks - o0);
    const size_t c_blocks = min(j->c_part, g->c_blocks - c0);
    const size_t ldu = c_blocks * lanes, plane = o_blocks * lanes * ldu + lanes;
    float *du = j->workers + (size_t)worker * j->worker;
    for (size_t p = 0; p < g->planes; p++)
        g->kernels->winograd_outer(
            j->tiles, o_blocks, c_blocks, j->m.data + p * j->m.plane + o0 * j->m.block, j->m.block,
            j->v.data + p * j->v.plane + c0 * j->v.block, j->v.block, du + p * plane, ldu);
    const size_t o = o0 * lanes, c = c0 * lanes;
    g->transforms.filter_gradient(du, plane, ldu, min(o_blocks * lanes, g->o - o),
                                  min(c_blocks * lanes, g->c - c), j->dw + o * 9 * g->c + c,
                                  9 * g->c, g->c, j->accumulate || j->t0 > 0);
}

/* Floats of scratch; SIZE_MAX on overflow. */
static size_t filter_gradient_scratch(kd_ctx *ctx, const kdi_winograd *g)
{
    job j = {.g = g};
    lay_out(&j);
    const size_t v = kdi_planes_size(g, g->c_blocks, j.room);
    const size_t m = kdi_planes_size(g, g->o_blocks, j.room);
    size_t total, sums;
    if (!kdi_add(v, m, &total) || !kdi_mul(g->o_blocks * g->lanes, cut(j.room, FEW), &sums) ||
        !kdi_add(total, sums, &total) ||
        !kdi_winograd_reserve(&total, j.worker, (size_t)kd_ctx_threads(ctx)))
        return SIZE_MAX;
    return total;
}

static void filter_gradient(kd_ctx *ctx, const kdi_winograd *g, const float *x, const float *dy,
                            float *dw, float *db, bool accumulate, float *scratch)
{
    job j = {.g = g, .x = x, .dy = dy, .dw = dw, .accumulate = accumulate};
    lay_out(&j);
    j.v = kdi_planes_of(g, scratch, g->c_blocks, j.room);
    scratch += kdi_planes_size(g, g->c_blocks, j.room);
    j.m = kdi_planes_of(g, scratch, g->o_blocks, j.room);
    scratch += kdi_planes_size(g, g->o_blocks, j.room);
    const size_t rows = cut(j.room, FEW), width = g->o_blocks * g->lanes;
    if (db) {
        j.sums = scratch;
        memset(j.sums, 0, rows * width * sizeof(float));
    }
    j.workers = scratch + rows * width;
    if (g->tiles == 0 && dw && !accumulate) memset(dw, 0, g->o * 9 * g->c * sizeof *dw);
    /* Chunks of about one size, none above the layout's. */
    const size_t chunk = g->tiles ? cut(g->tiles, cut(g->tiles, j.room)) : 1;
    const size_t parts = cut(g->o_blocks, j.o_part) * cut(g->c_blocks, j.c_part);
    for (j.t0 = 0; j.t0 < g->tiles; j.t0 += chunk) {
        j.tiles = min(chunk, g->tiles - j.t0);
        kd_parallel_for(ctx, cut(j.tiles, FEW), transform_task, &j);
        if (dw) kd_parallel_for(ctx, parts, sum_task, &j);
    }
    if (!db) return;
    for (size_t o = 0; o < g->o; o++) {
        float sum = accumulate ? db[o] : 0;
        for (size_t r = 0; r < rows; r++) sum += j.sums[r * width + o];
        db[o] = sum;
    }
}

void kdi_winograd_backward(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind,
                           const float *x, const float *w, const float *dy, float *dx, float *dw,
                           float *db, bool accumulate_dx, bool accumulate_dw, void *scratch)
{
    if (dx) {
        const kdi_winograd g = kdi_winograd_of(ctx, conv, kind, true);
        const kdi_epilogue add = {.residual = dx, .ldr = conv->c};
        kdi_winograd_run(ctx, &g, dy, w, NULL, accumulate_dx ? &add : NULL, dx, NULL, scratch);
    }
    if (dw || db) {
        const kdi_winograd g = kdi_winograd_of(ctx, conv, kind, false);
        filter_gradient(ctx, &g, x, dy, dw, db, accumulate_dw, scratch);
    }
}

size_t kdi_winograd_scratch(kd_ctx *ctx, const kdi_conv *conv, kdi_winograd_kind kind,
                            kdi_conv_pass pass)
{
    const kdi_winograd g = kdi_winograd_of(ctx, conv, kind, false);
    size_t floats = 0, bytes;
    if (pass == KDI_CONV_FORWARD || pass == KDI_CONV_FORWARD_PREPARED)
        floats = kdi_winograd_run_scratch(ctx, &g, pass == KDI_CONV_FORWARD_PREPARED);
    if (pass == KDI_CONV_BACKWARD) {
        const kdi_winograd turned = kdi_winograd_of(ctx, conv, kind, true);
        const size_t dx = kdi_winograd_run_scratch(ctx, &turned, false);
        const size_t dw = filter_gradient_scratch(ctx, &g);
        floats = dx > dw ? dx : dw;
    }
    return kdi_mul(floats, sizeof(float), &bytes) ? bytes : SIZE_MAX;
}
