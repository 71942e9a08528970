/* SPDX-License-Identifier: MIT
 * conv_winograd.c: Winograd's convolution, forward; with the filters turned it is dX, too. After
 * Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016. For each 4x4 tile of y
 * and the 6x6 pixels d of x that it needs,
 *
 *   Y = A' [ sum over c of (G g G') * (B' d B) ] A
 *
 * In each of 36 planes the sum over channels is a matrix product M[t,o] = V[t,c] U[c,o] over tiles:
 * 36 multiplications where the definition has 144. The transforms are data (transforms.h); the
 * other three kinds differ in numbers of planes and sides. docs/performance.md has the errors.
 *
 * Layouts: V [planes][c blocks][tiles][lanes], M the same over o. U is in panels of up to two
 * vectors of outputs, [panel][planes][c][width].
 *
 * Two ways to cut the work, chosen by shape:
 *   by tiles   A task takes 16 tiles through all steps. All of U, V and M stay in the second-level
 *              cache. For small filters, which come with large maps.
 *   by panels  V of up to 256 tiles is made first. Then a task makes 32 or 64 outputs of them, so
 *              that U is read once for all these tiles. If U is not prepared and there are many
 *              outputs, the task transforms its own filters, a slice that fits the cache at a time,
 *              and U is never in memory.
 *              Reading what another processor has just written is slow. So with few tiles each
 *              worker makes all of V for itself. And if parts of the tiles can be shared out evenly
 *              and are small, each worker takes its parts through both steps ("apart").
 * The sum over channels runs in order either way: the bits are the same. */
#include "conv_winograd.h"

#include "../base/checked.h"
#include "../base/prefetch.h"
#include "../base/size.h"
#include "grid.h"

enum {
    AHEAD = 2,   /* tiles to fetch ahead, besides a row of them */
    NORMED = 64, /* channels of a tile that bn_before is applied to at a time */
    /* by tiles */
    SMALL_BYTES = 640 << 10, /* the most of U */
    BLOCK = 16,              /* tiles a task has in hand */
    RUN = 4,                 /* blocks of a task, if there are many */
    /* by panels */
    OWN = 32,        /* up to so many tiles each worker makes its own V, */
    OWN_WORKERS = 8, /* of up to so many workers */
    HEAD = 16,       /* floats before that V: whether it is made */
    MIN_CHUNK = 128, /* tiles of V at a time */
    MAX_CHUNK = 256,
    CHUNK_BYTES = 4 << 20,  /* of V, within those bounds */
    APART_BYTES = 12 << 20, /* the most of all workers' V and M of parts: with more of them a shared
                             * cache has no room for the filters */
    FEW = 8,                /* tiles of V that a task makes */
    GROUP = 64,             /* outputs of a task; half as many if there are few */
    MANY = 8,               /* groups that keep the threads busy by themselves */
    PART = 64,              /* tiles of a task if U is prepared; twice as many with MANY groups */
    DEPTH = 128             /* channels summed at a time (depth_of): their U, or the slice that the
                             * task transforms, stays in the nearest caches */
};

static const kdi_transforms *transforms_of(const kdi_kernels *k, kdi_conv_algo algo)
{
    switch (algo) {
    case KDI_CONV_WINOGRAD2:
        return k->winograd2;
    case KDI_CONV_SMALL_MAP2:
        return k->small_map2;
    case KDI_CONV_SMALL_MAP4:
        return k->small_map4;
    default:
        return k->winograd;
    }
}

kdi_winograd kdi_winograd_of(kd_ctx *ctx, const kdi_conv *v, kdi_conv_algo algo, bool turned)
{
    const kdi_kernels *kernels = kdi_ctx_kernels(ctx);
    const size_t lanes = kernels->vector;
    kdi_winograd g = {.kernels = kernels, .lanes = lanes, .turned = turned};
    g.transforms = transforms_of(kernels, algo);
    g.planes = g.transforms->planes;
    g.tile = g.transforms->tile;
    g.side = g.transforms->side;
    g.rows = g.transforms->rows;
    if (turned) {
        g.h = v->oh, g.w = v->ow, g.c = v->o;
        g.oh = v->h, g.ow = v->w, g.o = v->c;
        g.ph = 2 - v->ph, g.pw = 2 - v->pw;
    } else {
        g.h = v->h, g.w = v->w, g.c = v->c;
        g.oh = v->oh, g.ow = v->ow, g.o = v->o;
        g.ph = v->ph, g.pw = v->pw;
    }
    if (g.side == g.tile) g.ph = g.pw = 0; /* the transform knows */
    g.pools = v->pools && !turned;
    g.bn_before = turned ? NULL : v->bn_before;
    const size_t each = g.pools ? 2 : 1;
    g.yh = g.oh / each, g.yw = g.ow / each, g.ytile = g.tile / each;
    g.tiles_h = kdi_pieces(g.yh, g.ytile), g.tiles_w = kdi_pieces(g.yw, g.ytile);
    g.tiles = v->n * g.tiles_h * g.tiles_w;
    g.ahead = g.tiles_w + AHEAD;
    g.c_blocks = kdi_pieces(g.c, lanes), g.o_blocks = kdi_pieces(g.o, lanes);
    return g;
}

/* ---- pixels of a tile ------------------------------------------------------------------------ */

/* Where the side x side pixels at row y, column x of a map [h,w,channels] begin. Rows and columns
 * before the first have wrapped round. */
static void pixels_of(size_t image, size_t h, size_t w, size_t channels, size_t y, size_t x,
                      size_t side, size_t *at)
{
    for (size_t i = 0; i < side; i++)
        for (size_t j = 0; j < side; j++)
            *at++ =
                y + i < h && x + j < w ? ((image * h + y + i) * w + x + j) * channels : SIZE_MAX;
}

void kdi_winograd_input_pixels(const kdi_winograd *g, size_t tile, size_t at[KDI_TILE_PIXELS])
{
    const size_t row = tile / g->tiles_w, y = row % g->tiles_h, x = tile % g->tiles_w;
    pixels_of(row / g->tiles_h, g->h, g->w, g->c, g->tile * y - g->ph, g->tile * x - g->pw, g->side,
              at);
}

void kdi_winograd_output_pixels(const kdi_winograd *g, size_t tile, size_t at[KDI_TILE_PIXELS])
{
    const size_t row = tile / g->tiles_w, y = row % g->tiles_h, x = tile % g->tiles_w;
    pixels_of(row / g->tiles_h, g->yh, g->yw, g->o, g->ytile * y, g->ytile * x, g->ytile, at);
}

void kdi_winograd_input(const kdi_winograd *g, const float *x, size_t tile, kdi_planes v,
                        size_t row)
{
    const size_t pixels = g->side * g->side;
    float *to = v.data + row * g->rows * g->lanes;
    size_t at[KDI_TILE_PIXELS], here[KDI_TILE_PIXELS];
    kdi_winograd_input_pixels(g, tile, at);
    if (!g->bn_before) {
        g->transforms->input(x, at, g->c, to, v.plane, v.block);
        return;
    }
    const kdi_conv_bn_before *n = g->bn_before;
    for (size_t c = 0; c < g->c; c += NORMED) {
        const size_t count = kdi_smaller(NORMED, g->c - c);
        _Alignas(64) float normed[KDI_TILE_PIXELS * NORMED];
        for (size_t i = 0; i < pixels; i++) here[i] = i * count;
        g->kernels->bn_gather(pixels, count, x + c, at, n->mean + c, n->scale + c, n->shift + c,
                              n->relu, normed);
        g->transforms->input(normed, here, count, to + c / g->lanes * v.block, v.plane, v.block);
    }
}

static void fetch(const float *p, const size_t *at, size_t pixels, size_t channels)
{
    for (size_t i = 0; i < pixels; i++)
        if (at[i] != SIZE_MAX)
            for (size_t c = 0; c < channels; c += 16) kdi_prefetch(p + at[i] + c);
}

/* Fetch a tile's share of its image of so many floats. Shares are in the order of memory, which is
 * faster than the pixels of each tile. */
static void fetch_share(const kdi_winograd *g, const float *p, size_t image, size_t tile)
{
    const size_t tiles = g->tiles_h * g->tiles_w, share = kdi_pieces(image, tiles);
    const size_t begin = tile % tiles * share, end = kdi_smaller(begin + share, image);
    p += tile / tiles * image;
    for (size_t c = begin; c < end; c += 16) kdi_prefetch(p + c);
}

void kdi_winograd_fetch_x(const kdi_winograd *g, const float *x, size_t tile)
{
    fetch_share(g, x, g->h * g->w * g->c, tile);
}

void kdi_winograd_fetch_y(const kdi_winograd *g, const float *y, size_t tile)
{
    fetch_share(g, y, g->yh * g->yw * g->o, tile);
}

/* ---- memory ---------------------------------------------------------------------------------- */

bool kdi_winograd_reserve(size_t *total, size_t count, size_t each)
{
    size_t floats;
    return kdi_mul(count, each, &floats) && kdi_round_up(floats, 16, &floats) &&
           kdi_add(*total, floats, total);
}

size_t kdi_planes_size(const kdi_winograd *g, size_t blocks, size_t tiles)
{
    const size_t lanes = g->lanes;
    size_t plane, total = 0;
    if (!kdi_mul(blocks, (tiles * g->rows | 1) * lanes, &plane) || !kdi_add(plane, lanes, &plane) ||
        !kdi_winograd_reserve(&total, g->planes, plane))
        return SIZE_MAX;
    return total;
}

kdi_planes kdi_planes_of(const kdi_winograd *g, float *data, size_t blocks, size_t tiles)
{
    const size_t block = (tiles * g->rows | 1) * g->lanes;
    return (kdi_planes){data, blocks * block + g->lanes, block};
}

/* Vectors of a panel, floats from plane to plane of it. */
static size_t panel_vecs(const kdi_winograd *g, size_t panel)
{
    return kdi_smaller(2, g->o_blocks - 2 * panel);
}

static size_t panel_plane(const kdi_winograd *g, size_t panel, size_t channels)
{
    return (channels * panel_vecs(g, panel) + 1) * g->lanes;
}

/* Where a panel of U begins. All panels before it have two vectors. */
static size_t panel_at(const kdi_winograd *g, size_t panel)
{
    return panel * g->planes * (2 * g->c + 1) * g->lanes;
}

/* One plane and panel of U for channel c and later ones. */
static const float *filters_at(const kdi_winograd *g, const float *u, size_t plane, size_t panel,
                               size_t c)
{
    return u + panel_at(g, panel) + plane * panel_plane(g, panel, g->c) +
           c * panel_vecs(g, panel) * g->lanes;
}

/* Floats of U. */
static size_t filters_size(const kdi_winograd *g)
{
    size_t channels, total = 0;
    if (!kdi_mul(g->c, 2 * g->lanes, &channels) || !kdi_add(channels, g->lanes, &channels) ||
        !kdi_mul(channels, g->planes, &channels) ||
        !kdi_winograd_reserve(&total, kdi_pieces(g->o_blocks, 2), channels))
        return SIZE_MAX;
    return total;
}

/* How a correlation is cut, and where things lie in the scratch: by shape alone. */
typedef struct layout {
    bool by_tiles;
    bool slices; /* by panels, each task transforms its own filters */
    /* by panels: */
    size_t v_tiles, m_tiles; /* tiles that V and M have room for: grow with n */
    size_t chunk, part;      /* tiles of V at a time, and of a task */
    size_t panels;           /* of a task */
    /* floats: */
    size_t u, v, worker; /* all of U, V of a chunk, each worker's own */
    size_t own, apart;   /* each worker's with its own V: of all tiles, or of a part */
} layout;

/* Channels of a slice. Processors with wide vectors have 1 MB of second-level cache or more, others
 * half of that or less. */
static size_t depth_of(const kdi_winograd *g)
{
    return g->lanes < 16 ? DEPTH / 2 : DEPTH;
}

/* Floats of a slice of one panel's filters. */
static size_t slice_size(const kdi_winograd *g)
{
    return g->planes * (2 * depth_of(g) + 1) * g->lanes;
}

/* Into how many shares of at most `most` the tiles are cut: a multiple of 4 above 2, which threads
 * can share out. Grows with tiles. */
static size_t shares_of(size_t tiles, size_t most)
{
    const size_t shares = tiles ? kdi_pieces(tiles, most) : 1;
    return shares > 2 ? kdi_pieces(shares, 4) * 4 : shares;
}

/* Tiles of one share. */
static size_t even(size_t tiles, size_t most)
{
    return kdi_pieces(tiles, shares_of(tiles, most));
}

/* Floats that each worker may use for parts of its own. */
static size_t apart_most(size_t threads)
{
    return APART_BYTES / sizeof(float) / threads;
}

/* The most parts that these tiles, or fewer, are cut into. */
static size_t most_parts(const kdi_winograd *g, const layout *l)
{
    return shares_of(g->tiles, l->v_tiles) * shares_of(l->v_tiles, l->m_tiles);
}

/* False on overflow. */
static bool lay_out(const kdi_winograd *g, bool prepared, layout *l)
{
    const size_t filters = filters_size(g), panels = kdi_pieces(g->o_blocks, 2);
    if (filters == SIZE_MAX || !g->lanes) return false;
    *l = (layout){.by_tiles = filters <= SMALL_BYTES / sizeof(float)};
    if (l->by_tiles) {
        const size_t v = kdi_planes_size(g, g->c_blocks, kdi_winograd_tiles(g, BLOCK));
        const size_t m = kdi_planes_size(g, g->o_blocks, kdi_winograd_tiles(g, BLOCK));
        l->u = prepared ? 0 : filters;
        return kdi_add(v, m, &l->worker);
    }
    const size_t group = g->o >= MANY * GROUP ? GROUP : GROUP / 2;
    l->panels = group / 2 / g->lanes;
    const bool many = panels >= MANY * l->panels;
    l->slices = !prepared && many;
    l->u = prepared || l->slices ? 0 : filters;
    const size_t most = CHUNK_BYTES / sizeof(float) / (g->planes * g->lanes) / g->c_blocks;
    const size_t rows = most < MIN_CHUNK ? MIN_CHUNK : kdi_smaller(most, MAX_CHUNK);
    l->v_tiles = kdi_smaller(kdi_winograd_tiles(g, rows), g->tiles);
    l->m_tiles = l->slices ? l->v_tiles
                           : kdi_smaller(l->v_tiles, kdi_winograd_tiles(g, many ? 2 * PART : PART));
    /* With prepared filters rather two parts than one: then no thread reads another's V. */
    if (prepared && many)
        l->m_tiles = kdi_smaller(l->m_tiles,
                                 kdi_larger(kdi_pieces(g->tiles, 2), kdi_winograd_tiles(g, PART)));
    l->chunk = even(g->tiles, l->v_tiles);
    l->part = even(l->chunk, l->m_tiles);
    l->v = kdi_planes_size(g, g->c_blocks, l->v_tiles);
    l->worker = kdi_planes_size(g, 2 * l->panels, l->m_tiles);
    if (l->v == SIZE_MAX || (l->slices && !kdi_winograd_reserve(&l->worker, g->planes * l->panels,
                                                                (2 * depth_of(g) + 1) * g->lanes)))
        return false;
    const size_t own = kdi_smaller(l->v_tiles, kdi_winograd_tiles(g, OWN));
    return kdi_add(kdi_planes_size(g, g->c_blocks, own) + HEAD, l->worker, &l->own) &&
           kdi_add(kdi_planes_size(g, g->c_blocks, l->m_tiles), l->worker, &l->apart);
}

kdi_winograd_parts kdi_winograd_parts_of(const kdi_winograd *g, bool prepared)
{
    layout l;
    if (g->tiles == 0 || !lay_out(g, prepared, &l)) return (kdi_winograd_parts){0};
    const size_t block = kdi_winograd_tiles(g, BLOCK), blocks = kdi_pieces(g->tiles, block);
    if (l.by_tiles) return (kdi_winograd_parts){block, block, blocks, blocks};
    return (kdi_winograd_parts){.tiles = l.part,
                                .chunk = l.chunk,
                                .count =
                                    kdi_pieces(g->tiles, l.chunk) * kdi_pieces(l.chunk, l.part),
                                .most = most_parts(g, &l)};
}

size_t kdi_winograd_run_scratch(kd_ctx *ctx, const kdi_winograd *g, bool prepared)
{
    const size_t threads = (size_t)kd_ctx_threads(ctx);
    layout l;
    size_t shared, own, apart, total;
    if (!lay_out(g, prepared, &l)) return SIZE_MAX;
    const bool parts = !l.by_tiles && threads > 1 && most_parts(g, &l) >= threads;
    apart =
        kdi_smaller(l.apart, apart_most(threads)); /* parts of fewer tiles may be small enough */
    if (!kdi_mul(kdi_worker_step(l.worker, threads), threads, &shared) ||
        !kdi_mul(kdi_worker_step(l.own, threads), threads > OWN_WORKERS ? 0 : threads, &own) ||
        !kdi_mul(apart, parts ? threads : 0, &apart) || !kdi_add(shared, l.v, &shared) ||
        !kdi_add(l.u, kdi_larger(kdi_larger(own, apart), shared), &total))
        return SIZE_MAX;
    return total;
}

/* ---- the steps ------------------------------------------------------------------------------- */

typedef struct job {
    const kdi_winograd *g;
    const float *x, *w;
    const kdi_epilogue *epilogue;
    float *y, *moments; /* moments [parts][3][o_blocks * lanes], or NULL */
    layout l;
    float *filters;   /* where all filters are to be transformed to */
    const float *u;   /* all transformed filters, or NULL with slices */
    bool own;         /* by panels: each worker makes its own V; */
    kdi_planes v;     /* else that of this chunk */
    size_t t0, tiles; /* the chunk */
    kdi_grid grid;    /* by panels: parts of the chunk by groups of panels */
    size_t run;       /* by tiles: blocks of a task */
    float *workers;   /* each worker's own scratch, worker_step floats apart */
    size_t worker_step;
} job;

/* Filters of one panel for channels [c0, c0 + channels), planes panel_plane(channels) apart. */
static void filter_panel(const kdi_winograd *g, const float *w, size_t panel, size_t c0,
                         size_t channels, float *u)
{
    const size_t first = 2 * panel * g->lanes, width = panel_vecs(g, panel) * g->lanes;
    const size_t count = kdi_smaller(width, g->o - first), plane = panel_plane(g, panel, channels);
    if (g->turned)
        g->transforms->filter_turned(w + c0 * 9 * g->o + first, 9 * g->o, g->o, channels, count, u,
                                     plane, width);
    else
        g->transforms->filter(w + first * 9 * g->c + c0, 9 * g->c, g->c, count, channels, u, plane,
                              width);
}

static void filter_task(void *arg, size_t panel, int worker)
{
    const job *j = arg;
    (void)worker;
    filter_panel(j->g, j->w, panel, 0, j->g->c, j->filters + panel_at(j->g, panel));
}

/* V of tiles t0.., which begin at `to` tiles of v. */
static void input(const job *j, size_t t0, size_t tiles, kdi_planes v, size_t to)
{
    const kdi_winograd *g = j->g;
    for (size_t t = 0; t < tiles; t++) {
        if (t0 + t + g->ahead < g->tiles) kdi_winograd_fetch_x(g, j->x, t0 + t + g->ahead);
        kdi_winograd_input(g, j->x, t0 + t, v, to + t);
    }
}

/* M (+)= V U of one plane and panel over channels [c0, c0 + channels). v and m begin at the first
 * tile, m at the panel's first block. u: the filters of that plane and panel for those channels;
 * next: what the next product will read. */
static void multiply(const kdi_winograd *g, size_t plane, size_t panel, size_t tiles, size_t c0,
                     size_t channels, kdi_planes v, const float *u, const float *next, kdi_planes m)
{
    g->kernels->winograd_product(tiles * g->rows, channels, panel_vecs(g, panel),
                                 v.data + plane * v.plane + c0 / g->lanes * v.block, v.block, u,
                                 next, m.data + plane * m.plane, m.block, c0 > 0);
}

/* y of tiles t0.., the channels of `blocks` blocks of M from block `first` on. The tiles are part
 * number `part` of the moments. */
static void output(const job *j, size_t t0, size_t tiles, size_t first, size_t blocks, kdi_planes m,
                   size_t part)
{
    const kdi_winograd *g = j->g;
    const size_t channel = first * g->lanes, count = kdi_smaller(blocks * g->lanes, g->o - channel);
    const size_t step = g->o_blocks * g->lanes;
    for (size_t t = 0; t < tiles; t++) {
        size_t at[KDI_TILE_PIXELS];
        if (t + AHEAD < tiles) {
            kdi_winograd_output_pixels(g, t0 + t + AHEAD, at);
            fetch(j->y + channel, at, g->ytile * g->ytile, count);
        }
        kdi_winograd_output_pixels(g, t0 + t, at);
        g->transforms->output(m.data + t * g->rows * g->lanes, m.plane, m.block, channel, count,
                              j->epilogue, g->pools, j->y, at);
        if (j->moments)
            g->kernels->pixel_moments(j->y + channel, at, g->tile * g->tile, count, t == 0,
                                      j->moments + 3 * part * step + channel, step);
    }
}

/* Blocks `first` and later of M. */
static kdi_planes from_block(kdi_planes m, size_t first)
{
    m.data += first * m.block;
    return m;
}

/* By tiles: a run of blocks through all steps. While one block is multiplied, its pixels of y and
 * the next block's of x are prefetched: memory would be idle then, and waited for later. */
static void tiles_task(void *arg, size_t index, int worker)
{
    const job *j = arg;
    const kdi_winograd *g = j->g;
    const size_t panels = kdi_pieces(g->o_blocks, 2), block = kdi_winograd_tiles(g, BLOCK);
    float *own = j->workers + (size_t)worker * j->worker_step;
    const kdi_planes v = kdi_planes_of(g, own, g->c_blocks, block);
    own += kdi_planes_size(g, g->c_blocks, block);
    const kdi_planes m = kdi_planes_of(g, own, g->o_blocks, block);
    const size_t end = kdi_smaller((index + 1) * j->run * block, g->tiles);
    for (size_t t0 = index * j->run * block; t0 < end; t0 += block) {
        const size_t tiles = kdi_smaller(block, end - t0);
        input(j, t0, tiles, v, 0);
        for (size_t p = 0; p < g->planes; p++) {
            for (size_t i = 0; i < panels; i++) {
                const float *u = filters_at(g, j->u, p, i, 0);
                const bool last = i + 1 == panels;
                const float *after = filters_at(g, j->u, last ? p + 1 : p, last ? 0 : i + 1, 0);
                multiply(g, p, i, tiles, 0, g->c, v, u, after, from_block(m, 2 * i));
            }
            for (size_t t = t0 + p * tiles / g->planes; t < t0 + (p + 1) * tiles / g->planes; t++) {
                kdi_winograd_fetch_y(g, j->y, t);
                if (t + block < end) kdi_winograd_fetch_x(g, j->x, t + block);
            }
        }
        output(j, t0, tiles, 0, g->o_blocks, m, t0 / block);
    }
}

/* By panels, first step: a few tiles of a chunk's V. */
static void input_task(void *arg, size_t index, int worker)
{
    const job *j = arg;
    const size_t few = kdi_winograd_tiles(j->g, FEW), t0 = index * few;
    (void)worker;
    input(j, j->t0 + t0, kdi_smaller(few, j->tiles - t0), j->v, t0);
}

/* A task's filters: plane p of its panel number i, from channel c0 on. They are in U, or in the
 * slice of `channels` channels that the task made. */
static const float *task_filters(const job *j, const float *slices, size_t panel0, size_t i,
                                 size_t p, size_t c0, size_t channels)
{
    const kdi_winograd *g = j->g;
    if (j->u) return filters_at(g, j->u, p, panel0 + i, c0);
    return slices + i * slice_size(g) + p * panel_plane(g, panel0 + i, channels);
}

/* A worker's own V of all tiles. Its first task makes it. */
static kdi_planes own_input(const job *j, float *made)
{
    const kdi_planes v = kdi_planes_of(j->g, made + HEAD, j->g->c_blocks, j->l.v_tiles);
    if (*made == 0) input(j, 0, j->tiles, v, 0);
    *made = 1;
    return v;
}

/* Groups of panels: tasks for each part of the tiles. */
static size_t groups_of(const job *j)
{
    return kdi_pieces(kdi_pieces(j->g->o_blocks, 2), j->l.panels);
}

/* By panels, second step: outputs of some panels for a part of the chunk's tiles. */
static void panels(const job *j, size_t row, size_t column, float *own)
{
    const kdi_winograd *g = j->g;
    const size_t panel0 = column * j->l.panels, t0 = row * j->l.part;
    const size_t count = kdi_smaller(j->l.panels, kdi_pieces(g->o_blocks, 2) - panel0);
    const size_t tiles = kdi_smaller(j->l.part, j->tiles - t0);
    const kdi_planes m = kdi_planes_of(g, own, 2 * j->l.panels, j->l.m_tiles);
    float *slices = own + kdi_planes_size(g, 2 * j->l.panels, j->l.m_tiles);
    kdi_planes v = j->own ? own_input(j, own + j->l.worker) : j->v;
    v.data += t0 * g->rows * g->lanes;
    const bool few = tiles <= kdi_winograd_tiles(g, FEW);
    const size_t step = !j->u ? depth_of(g) : few ? g->c : DEPTH;
    for (size_t c0 = 0; c0 < g->c; c0 += step) {
        const size_t channels = kdi_smaller(step, g->c - c0);
        for (size_t i = 0; !j->u && i < count; i++)
            filter_panel(g, j->w, panel0 + i, c0, channels, slices + i * slice_size(g));
        const float *u = task_filters(j, slices, panel0, 0, 0, c0, channels);
        for (size_t p = 0, i = 0; p < g->planes;) {
            const size_t plane = p, panel = i;
            if (++i == count) i = 0, p++;
            const float *after = u;
            if (p < g->planes)
                after = task_filters(j, slices, panel0, i, p, c0, channels);
            else if (j->u && c0 + step < g->c)
                after = filters_at(g, j->u, 0, panel0, c0 + step);
            else if (j->u && 2 * (panel0 + count) < g->o_blocks)
                after = filters_at(g, j->u, 0, panel0 + count, 0);
            multiply(g, plane, panel0 + panel, tiles, c0, channels, v, u, after,
                     from_block(m, 2 * panel));
            u = after;
        }
    }
    const size_t part = (j->t0 + t0) / j->l.chunk * kdi_pieces(j->l.chunk, j->l.part) +
                        (j->t0 + t0) % j->l.chunk / j->l.part;
    const size_t first = 2 * panel0;
    output(j, j->t0 + t0, tiles, first, kdi_smaller(2 * count, g->o_blocks - first), m, part);
}

static void panels_task(void *arg, size_t index, int worker)
{
    const job *j = arg;
    size_t row, column;
    if (kdi_grid_at(&j->grid, index, &row, &column))
        panels(j, row, column, j->workers + (size_t)worker * j->worker_step);
}

/* Both steps of a part of a chunk: nothing is read that another thread wrote. */
static void part_task(void *arg, size_t index, int worker)
{
    const job *all = arg;
    const kdi_winograd *g = all->g;
    const size_t parts = kdi_pieces(all->l.chunk, all->l.part), columns = groups_of(all);
    float *own = all->workers + (size_t)worker * all->worker_step;
    job j = *all;
    j.v = kdi_planes_of(g, own + j.l.worker, g->c_blocks, j.l.m_tiles);
    const size_t chunk = index / parts * j.l.chunk, end = kdi_smaller(chunk + j.l.chunk, g->tiles);
    j.t0 = chunk + index % parts * j.l.part;
    if (j.t0 >= end) return;
    j.tiles = kdi_smaller(j.l.part, end - j.t0);
    input(&j, j.t0, j.tiles, j.v, 0);
    for (size_t i = 0; i < columns; i++) panels(&j, 0, i, own);
}

/* ---- the whole ------------------------------------------------------------------------------- */

void kdi_winograd_run(kd_ctx *ctx, const kdi_winograd *g, const float *x, const float *w,
                      const float *prepared, const kdi_epilogue *epilogue, float *y, float *moments,
                      float *scratch)
{
    job j = {
        .g = g, .x = x, .w = w, .epilogue = epilogue, .y = y, .u = prepared, .moments = moments};
    if (g->tiles == 0 || !lay_out(g, prepared != NULL, &j.l)) return;
    if (j.l.u) {
        j.u = j.filters = scratch;
        kd_parallel_for(ctx, kdi_pieces(g->o_blocks, 2), filter_task, &j);
    }
    const size_t threads = (size_t)kd_ctx_threads(ctx);
    j.own = !j.l.by_tiles && g->tiles <= kdi_winograd_tiles(g, OWN) && threads <= OWN_WORKERS;
    j.workers = scratch + j.l.u;
    j.worker_step = kdi_worker_step(j.own ? j.l.own : j.l.worker, threads);
    if (j.l.by_tiles) {
        const size_t block = kdi_winograd_tiles(g, BLOCK);
        j.run = g->tiles >= 16 * RUN * block ? RUN : 1;
        kd_parallel_for(ctx, kdi_pieces(g->tiles, j.run * block), tiles_task, &j);
        return;
    }
    const size_t parts = kdi_pieces(g->tiles, j.l.chunk) * kdi_pieces(j.l.chunk, j.l.part);
    if (!j.own && threads > 1 && parts % threads == 0 && j.l.apart <= apart_most(threads)) {
        j.worker_step = j.l.apart;
        kd_parallel_for(ctx, parts, part_task, &j);
        return;
    }
    if (j.own)
        for (size_t t = 0; t < threads; t++) j.workers[t * j.worker_step + j.l.worker] = 0;
    else
        j.v = kdi_planes_of(g, j.workers + threads * j.worker_step, g->c_blocks, j.l.v_tiles);
    for (j.t0 = 0; j.t0 < g->tiles; j.t0 += j.l.chunk) {
        j.tiles = kdi_smaller(j.l.chunk, g->tiles - j.t0);
        if (!j.own)
            kd_parallel_for(ctx, kdi_pieces(j.tiles, kdi_winograd_tiles(g, FEW)), input_task, &j);
        j.grid = kdi_grid_of(kdi_pieces(j.tiles, j.l.part), groups_of(&j), threads);
        kd_parallel_for(ctx, kdi_grid_tasks(&j.grid), panels_task, &j);
    }
}

size_t kdi_winograd_prepared_size(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo)
{
    const kdi_winograd g = kdi_winograd_of(ctx, conv, algo, false);
    size_t bytes;
    return kdi_mul(filters_size(&g), sizeof(float), &bytes) ? bytes : SIZE_MAX;
}

void kdi_winograd_prepare(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo, const float *w,
                          void *prepared, void *scratch)
{
    const kdi_winograd g = kdi_winograd_of(ctx, conv, algo, false);
    job j = {.g = &g, .w = w, .filters = prepared};
    (void)scratch;
    kd_parallel_for(ctx, kdi_pieces(g.o_blocks, 2), filter_task, &j);
}

void kdi_winograd_forward(kd_ctx *ctx, const kdi_conv *conv, kdi_conv_algo algo, const float *x,
                          const float *w, const void *prepared, const kdi_epilogue *epilogue,
                          float *y, void *scratch)
{
    const kdi_winograd g = kdi_winograd_of(ctx, conv, algo, false);
    kdi_winograd_run(ctx, &g, x, w, prepared, epilogue, y, NULL, scratch);
}
