/* SPDX-License-Identifier: MIT
 * conv_gemm.c: convolutions of any shape as matrix products over blocks of patches.
 *
 *   forward  A row of the product is an output pixel, a column an output channel. k runs over
 *            (kernel row, kernel column, channel).
 *   dX       A row is an input pixel. k runs over the kernel points that touch it and the output
 *            channels. With stride s the input pixels fall into s * s phases, each with its own
 *            points, so that nothing is multiplied by a zero of the stride.
 *
 * On small maps much of every patch is padding. If `tiny`, one pixel of all images makes a product
 * of its own, of the points that are inside. If `crops` (few images of few pixels), a point's
 * product has only the rows where it is inside.
 *
 * Each task copies the patches of its block for one step along k at a time; they stay in cache.
 *
 * Backward to the weights: conv_gemm_weights.c. */
#include "conv_gemm.h"

#include "conv_algo.h"
#include "grid.h"

#include <string.h>

enum {
    TINY_POSITIONS = 16, /* the most pixels of a map for a product of each, */
    TINY_BATCH = 8,      /* and the fewest images */
    FEW_ROWS = 64,       /* rows of a product up to which the time is that of reading b */
    KEPT = 96 << 10      /* the most floats of patches that a worker keeps for its next block */
};

/* ---- forward, and backward to the data ------------------------------------------------------- */

/* How a convolution is cut, and its arrays. */
typedef struct cut {
    const kdi_kernels *kernels;
    side h, w;
    size_t n, groups;
    size_t in, out;       /* channels of a group, read and written */
    bool tiny;            /* one product for each pixel */
    size_t mb, nb;        /* a block */
    size_t step;          /* the most floats of a step along k */
    size_t rows, columns; /* blocks of one product */
    bool crops;           /* padding is left out: fewer rows for some points */
    size_t slab;          /* floats of one step's patches */
    bool keeps;           /* a worker's first block copies all patches, for its later blocks */
    /* floats of a worker: */
    size_t head;           /* whether its patches are there */
    size_t kernel;         /* the kernel's scratch */
    size_t a_size, c_size; /* patches; sums before they are scattered */
    size_t sums;           /* sums if it crops */
    const float *x, *b;    /* b [groups][panels][kh * kw * in][NR] */
    float *c, *workers;    /* the workers' scratch worker_step floats apart */
    size_t worker_step;
    bool accumulate;
    const kdi_epilogue *epilogue;
} cut;

/* Is at most 6/10 of the patches inside of the map? */
static bool is_tiny(const cut *p)
{
    size_t h_in, h_all, w_in, w_all;
    if (p->n < TINY_BATCH || p->h.to * p->w.to > TINY_POSITIONS) return false;
    count_points(&p->h, &h_in, &h_all);
    count_points(&p->w, &w_in, &w_all);
    return h_in * w_in * 10 <= h_all * w_all * 6;
}

/* Steps along k of all points. */
static size_t steps_of(const cut *p)
{
    const size_t taps = p->h.k * p->w.k;
    return p->step > p->in ? kdi_pieces(taps, p->step / p->in) : taps * kdi_pieces(p->in, p->step);
}

/* Leaving out padding pays with few rows, if each point has steps of its own. */
static bool crops(const cut *p)
{
    size_t h_in, h_all, w_in, w_all;
    if (p->tiny || p->rows > 1 || p->step > p->in) return false;
    if (p->h.stride > 1 || phases(&p->w) > 1 || p->n * p->h.to * p->w.to > FEW_ROWS) return false;
    count_points(&p->h, &h_in, &h_all);
    count_points(&p->w, &w_in, &w_all);
    return h_in < h_all || w_in < w_all;
}

static cut cut_of(const kdi_kernels *kernels, const kdi_conv *v, bool back)
{
    cut p = {.kernels = kernels, .n = v->n, .groups = v->groups};
    p.h = (side){back ? v->oh : v->h, back ? v->h : v->oh, v->kh, v->sh, v->ph, v->dh, back};
    p.w = (side){back ? v->ow : v->w, back ? v->w : v->ow, v->kw, v->sw, v->pw, v->dw, back};
    p.in = (back ? v->o : v->c) / v->groups;
    p.out = (back ? v->c : v->o) / v->groups;
    p.tiny = is_tiny(&p);
    const size_t products = p.groups * (p.tiny ? p.h.to * p.w.to : phases(&p.h) * phases(&p.w));
    const size_t map = p.tiny ? 1 : axis_of(&p.h, 0).grid * axis_of(&p.w, 0).grid;
    kdi_gemm_blocks(kernels, p.n * map, p.out, v->kh * v->kw * p.in, products, &p.mb, &p.nb);
    p.rows = kdi_pieces(p.n * map, p.mb);
    p.step = p.in * 2 <= KDI_GEMM_DEPTH ? KDI_GEMM_DEPTH / p.in * p.in
                                        : kdi_piece(p.in, KDI_GEMM_DEPTH, 8);
    p.kernel = kernels->gemm_scratch(p.mb, p.step);
    p.crops = crops(&p);
    p.slab = kdi_multiple((p.crops ? p.h.from * p.w.to : p.mb) * (p.step + PAD), ALIGN);
    const bool few = p.n * map <= FEW_ROWS;
    const size_t slabs = p.crops ? p.n * p.w.k * kdi_pieces(p.in, p.step) : steps_of(&p);
    p.keeps = few && !back && !p.tiny && p.groups == 1 && p.rows == 1 && slabs * p.slab <= KEPT;
    /* Few rows: b is read in the order of memory, panel by panel. Patches that are not kept may
     * serve two panels. */
    if (few) p.nb = (p.keeps || p.n * map <= 8 ? kernels->gemm_wide : 2) * kernels->gemm_nr;
    p.columns = kdi_pieces(p.out, p.nb);
    p.head = p.keeps ? ALIGN : 0;
    p.a_size = p.keeps ? slabs * p.slab : kdi_multiple(p.mb * (p.step + PAD), ALIGN);
    p.sums = p.crops ? kdi_multiple((p.w.k + 1) * p.n * map * p.nb, ALIGN) : 0;
    p.c_size = !p.tiny && phases(&p.h) * phases(&p.w) > 1 ? kdi_multiple(p.mb * p.nb, ALIGN) : 0;
    return p;
}

/* Scatter a block's rows to their pixels, which are phases apart. */
static void scatter(const cut *p, const axis *h, const axis *w, size_t phase_h, size_t phase_w,
                    size_t row, const kdi_block *block, float *c, size_t ldc)
{
    const size_t map = h->grid * w->grid;
    for (size_t i = 0; i < block->m; i++, row++) {
        const size_t y = phase_h + row % map / w->grid * phases(&p->h);
        const size_t x = phase_w + row % w->grid * phases(&p->w);
        float *to = c + ((row / map * p->h.to + y) * p->w.to + x) * ldc;
        p->kernels->sum_parts(block->n, 1, block->c + i * block->ldc, 0, to, p->accumulate);
    }
}

/* What a step (point t, `channels` channels from c on) reads of b, and what to prefetch for the
 * next: with few rows the time is that of reading b. */
static void set_b(const cut *p, const axis *h, const axis *w, size_t t, size_t taps, size_t c,
                  size_t channels, const float *b, kdi_block *block)
{
    const size_t nr = p->kernels->gemm_nr, panels = kdi_pieces(block->n, nr);
    const size_t point =
        (h->first + t / w->count * h->step) * p->w.k + w->first + t % w->count * w->step;
    const bool last = t + taps == h->count * w->count && c + channels == p->in;
    block->k = taps * channels;
    block->b = b + (point * p->in + c) * nr;
    const float *next = last ? b + panels * block->panel : block->b + block->k * nr;
    block->ahead[0] = (kdi_fetch){next, panels, block->k * nr, block->panel};
}

/* Walk along k: each step's patches times its slab of b. The patches are copied to a, unless they
 * are there already. */
static void walk(const cut *p, const axis *h, const axis *w, kdi_patches *from, kdi_block *block,
                 const float *b, float *a, bool there, const kdi_epilogue *epilogue)
{
    const size_t taps = h->count * w->count;
    /* Several points in one step if their slabs lie one after another. */
    const bool neighbours = w->step == 1 && w->count == p->w.k && (h->step == 1 || h->count == 1);
    const size_t most = neighbours && p->step > p->in ? p->step / p->in : 1;
    const size_t channels = kdi_smaller(p->step, p->in);
    const float *x = from->x;
    block->a = a;
    if (taps == 0) {
        block->epilogue = epilogue;
        p->kernels->gemm_block(block);
    }
    for (size_t t = 0; t < taps; t += from->taps) {
        from->tap = t;
        from->taps = kdi_smaller(most, taps - t);
        for (size_t c = 0; c < p->in; c += from->channels) {
            from->x = x + c;
            from->channels = kdi_smaller(channels, p->in - c);
            set_b(p, h, w, t, from->taps, c, from->channels, b, block);
            if (block->m > FEW_ROWS) block->ahead[0] = (kdi_fetch){0};
            if (t + from->taps == taps && c + from->channels == p->in) block->epilogue = epilogue;
            if (!there) p->kernels->patch_rows(from, a, block->rsa);
            block->a = a;
            p->kernels->gemm_block(block);
            block->accumulate = true;
            if (p->keeps) a += p->slab;
        }
    }
}

/* ---- a few rows, without what is padding ----------------------------------------------------- */

/* Copy, step by step, for each image and each column of the kernel: the pixels that the column
 * meets, in all rows of the map. The patches of one of the column's points are rows of that
 * copy. */
static void copy_columns(const cut *p, const axis *h, const axis *w, kdi_patches from, float *a)
{
    const float *x = from.x;
    from.top = (size_t)-h->off; /* its point 0 meets row 0 */
    from.grid_h = p->h.from;
    for (size_t t = 0; t < p->n * w->count; t++) {
        from.tap = t % w->count;
        from.grid_w = span_of(&p->w, w, from.tap, &from.left);
        from.rows = from.grid_h * from.grid_w;
        from.row = t / w->count * from.rows;
        for (size_t c = 0; c < p->in; c += p->step, a += p->slab) {
            from.x = x + c;
            from.channels = kdi_smaller(p->step, p->in - c);
            if (from.rows > 0) p->kernels->patch_rows(&from, a, p->step + PAD);
        }
    }
}

/* One image's sums by the kernel's columns to C. */
static void join(const cut *p, const axis *h, const axis *w, float *sums, const kdi_block *block,
                 size_t image)
{
    const size_t rows = h->grid * w->grid;
    for (size_t j = 0; j < w->count; j++) {
        size_t low;
        const size_t columns = span_of(&p->w, w, j, &low);
        const float *own = sums + (j + 1) * rows * p->nb;
        for (size_t y = 0; y < h->grid && columns < w->grid; y++, own += columns * p->nb)
            p->kernels->sum_parts(columns * p->nb, 1, own, 0, sums + (y * w->grid + low) * p->nb,
                                  true);
    }
    float *c = block->c + image * rows * block->ldc;
    for (size_t i = 0; i < rows; i++)
        p->kernels->sum_parts(block->n, 1, sums + i * p->nb, 0, c + i * block->ldc,
                              block->accumulate);
}

/* Walk along k, image by image; a point's product has only the positions where it is inside. A
 * column of the kernel that is outside for some columns of the map has sums of its own, [positions
 * inside][nb], whose rows are evenly spaced. Patches are as copy_columns lays them out. */
static void walk_inside(const cut *p, const axis *h, const axis *w, kdi_patches *from,
                        kdi_block *block, const float *b, float *a, float *sums, bool there,
                        const kdi_epilogue *epilogue)
{
    const size_t rows = h->grid * w->grid, size = (w->count + 1) * rows * p->nb;
    const size_t steps = kdi_pieces(p->in, p->step);
    const float *x = from->x;
    kdi_block part = *block;
    part.ldc = p->nb;
    part.accumulate = true;
    from->taps = 1;
    memset(sums, 0, p->n * size * sizeof *sums);
    if (p->keeps && !there) copy_columns(p, h, w, *from, a);
    for (size_t t = 0; t < h->count * w->count; t++) {
        const size_t i = t / w->count, j = t % w->count;
        from->tap = t;
        from->grid_h = span_of(&p->h, h, i, &from->top);
        from->grid_w = span_of(&p->w, w, j, &from->left);
        from->rows = part.m = from->grid_h * from->grid_w;
        if (from->rows == 0) continue;
        /* Where its sums begin; the first pixel row, of those copied. */
        const size_t own = from->grid_w < w->grid ? (j + 1) * rows : 0;
        const size_t first = (size_t)((ptrdiff_t)(from->top + i * (size_t)h->tap) + h->off);
        for (size_t c = 0; c < p->in; c += from->channels) {
            from->channels = kdi_smaller(p->step, p->in - c);
            set_b(p, h, w, t, 1, c, from->channels, b, &part);
            const kdi_fetch ahead = part.ahead[0];
            for (size_t image = 0; image < p->n; image++) {
                const size_t slab = (image * w->count + j) * steps + c / p->step;
                part.a = a;
                if (p->keeps)
                    part.a += slab * p->slab + first * from->grid_w * part.rsa;
                else {
                    from->x = x + c;
                    from->row = image * from->rows;
                    p->kernels->patch_rows(from, a, part.rsa);
                }
                part.c = sums + image * size + (own + from->top * from->grid_w) * p->nb;
                /* Each image prefetches a share. */
                part.ahead[0].columns = ahead.columns / p->n;
                part.ahead[0].x = ahead.x + image * part.ahead[0].columns;
                p->kernels->gemm_block(&part);
            }
        }
    }
    for (size_t image = 0; image < p->n; image++) join(p, h, w, sums + image * size, block, image);
    if (!epilogue) return;
    block->a = a;
    block->accumulate = true; /* a product over k = 0 applies the epilogue */
    block->epilogue = epilogue;
    p->kernels->gemm_block(block);
}

/* ---- block by block -------------------------------------------------------------------------- */

/* Are a worker's patches there? After this call they count as there. */
static bool patches_there(const cut *p, float *own)
{
    const bool there = p->keeps && *own != 0;
    if (p->keeps) *own = 1;
    return there;
}

/* Block (row, column) of one product of group g: of a phase, or of one pixel. */
static void block_of(const cut *p, size_t g, size_t product, size_t row, size_t column, float *own)
{
    const size_t i = row * p->mb, j = column * p->nb;
    const size_t across = p->tiny ? p->w.to : phases(&p->w);
    const size_t at_h = product / across, at_w = product % across;
    const axis h = p->tiny ? axis_at(&p->h, at_h) : axis_of(&p->h, at_h);
    const axis w = p->tiny ? axis_at(&p->w, at_w) : axis_of(&p->w, at_w);
    const size_t rows = p->n * h.grid * w.grid, ldc = p->groups * p->out;
    if (i >= rows) return;
    const size_t nr = p->kernels->gemm_nr, panel = p->h.k * p->w.k * p->in * nr;
    const float *b = p->b + (g * kdi_pieces(p->out, nr) + j / nr) * panel;
    float *c = p->c + g * p->out + j;
    kdi_patches from = {.x = p->x + g * p->in,
                        .h = p->h.from,
                        .w = p->w.from,
                        .ld = p->groups * p->in,
                        .top = h.begin,
                        .left = w.begin,
                        .grid_h = h.grid,
                        .grid_w = w.grid,
                        .step_h = h.stride,
                        .step_w = w.stride,
                        .off_h = h.off,
                        .off_w = w.off,
                        .tap_h = h.tap,
                        .tap_w = w.tap,
                        .tap_width = w.count,
                        .row = i,
                        .rows = kdi_smaller(p->mb, rows - i)};
    const bool there = patches_there(p, own);
    own += p->head;
    kdi_block block = {.m = from.rows,
                       .n = kdi_smaller(p->nb, p->out - j),
                       .rsa = p->step + PAD,
                       .csa = 1,
                       .panel = panel,
                       .scratch = own};
    own += p->kernel;
    kdi_epilogue epilogue;
    if (p->epilogue) epilogue = kdi_epilogue_at(p->epilogue, i, g * p->out + j);
    if (p->c_size) {
        block.c = own + p->a_size;
        block.ldc = p->nb;
        walk(p, &h, &w, &from, &block, b, own, there, NULL);
        scatter(p, &h, &w, at_h, at_w, i, &block, c, ldc);
        return;
    }
    block.c = c + i * ldc;
    block.ldc = ldc;
    if (p->tiny) {
        const size_t map = p->h.to * p->w.to;
        block.c = c + (i * map + product) * ldc;
        block.ldc = map * ldc;
        if (p->epilogue) {
            epilogue = kdi_epilogue_at(p->epilogue, i * map + product, g * p->out + j);
            epilogue.ldr = map * p->epilogue->ldr;
        }
    }
    block.accumulate = p->accumulate;
    const kdi_epilogue *end = p->epilogue ? &epilogue : NULL;
    if (p->crops)
        walk_inside(p, &h, &w, &from, &block, b, own, own + p->a_size, there, end);
    else
        walk(p, &h, &w, &from, &block, b, own, there, end);
}

static void block_task(void *arg, size_t index, int worker)
{
    const cut *p = arg;
    const size_t products = p->tiny ? p->h.to * p->w.to : phases(&p->h) * phases(&p->w);
    const size_t row = index % p->rows, column = index / p->rows % p->columns;
    const size_t product = index / p->rows / p->columns % products;
    block_of(p, index / p->rows / p->columns / products, product, row, column,
             p->workers + (size_t)worker * p->worker_step);
}

/* Floats from worker to worker. Backward they are packed tightly: the largest scratch of a small
 * network's training is here. */
static size_t step_of(const cut *p, size_t floats, size_t threads)
{
    return p->h.back ? floats : kdi_worker_step(floats, threads);
}

static void run(kd_ctx *ctx, cut *p)
{
    const size_t products = p->tiny ? p->h.to * p->w.to : phases(&p->h) * phases(&p->w);
    const size_t threads = (size_t)kd_ctx_threads(ctx);
    p->worker_step = step_of(p, p->head + p->kernel + p->a_size + p->c_size + p->sums, threads);
    for (size_t i = 0; p->keeps && i < threads; i++) p->workers[i * p->worker_step] = 0;
    kd_parallel_for(ctx, p->groups * products * p->columns * p->rows, block_task, p);
}

/* ---- weights in panels ----------------------------------------------------------------------- */

static size_t prepared_size(kd_ctx *ctx, const kdi_conv *v)
{
    size_t bytes = kdi_gemm_packed_size(ctx, v->o / v->groups, points_of(v));
    if (bytes == SIZE_MAX || !kdi_mul(bytes, v->groups, &bytes)) return SIZE_MAX;
    return bytes;
}

static void prepare(kd_ctx *ctx, const kdi_conv *v, const float *w, void *prepared, void *scratch)
{
    const size_t n = v->o / v->groups, k = points_of(v);
    const size_t size = kdi_gemm_packed_size(ctx, n, k) / sizeof(float);
    (void)scratch;
    for (size_t g = 0; g < v->groups; g++)
        kdi_gemm_pack_b(ctx, n, k, true, w + g * n * k, k, (float *)prepared + g * size);
}

/* Bytes of the weights for dX: [groups][panels of c][kh * kw * o][NR]. */
static size_t flipped_size(kd_ctx *ctx, const kdi_conv *v)
{
    size_t bytes = kdi_gemm_packed_size(ctx, v->c / v->groups, v->kh * v->kw * (v->o / v->groups));
    if (bytes == SIZE_MAX || !kdi_mul(bytes, v->groups, &bytes)) return SIZE_MAX;
    return bytes;
}

typedef struct flip {
    const kdi_kernels *kernels;
    const kdi_conv *v;
    const float *w;
    float *to;
} flip;

/* Point t of group g: rows are output channels. */
static void flip_task(void *arg, size_t index, int worker)
{
    const flip *f = arg;
    const size_t c = f->v->c / f->v->groups, o = f->v->o / f->v->groups;
    const size_t points = f->v->kh * f->v->kw, g = index / points, t = index % points;
    const size_t nr = f->kernels->gemm_nr, panel = points * o * nr;
    (void)worker;
    f->kernels->pack_b(o, c, f->w + g * o * points * c + t * c, points * c,
                       f->to + g * kdi_pieces(c, nr) * panel + t * o * nr, panel);
}

/* ---- the method ------------------------------------------------------------------------------ */

/* A 1x1 kernel at every pixel: a plain product. */
static bool pointwise(const kdi_conv *v)
{
    return v->kh * v->kw * v->sh * v->sw * v->groups == 1 && v->ph + v->pw == 0;
}

static kdi_gemm forward_gemm(const kdi_conv *v, const float *x, const float *w, float *y)
{
    return (kdi_gemm){.m = v->n * v->h * v->w,
                      .n = v->o,
                      .k = v->c,
                      .tb = true,
                      .a = x,
                      .lda = v->c,
                      .b = w,
                      .ldb = v->c,
                      .c = y,
                      .ldc = v->o};
}

static kdi_gemm data_gemm(const kdi_conv *v, const float *w, const float *dy, float *dx)
{
    return (kdi_gemm){.m = v->n * v->h * v->w,
                      .n = v->c,
                      .k = v->o,
                      .a = dy,
                      .lda = v->o,
                      .b = w,
                      .ldb = v->c,
                      .c = dx,
                      .ldc = v->c};
}

static size_t plan_scratch(kd_ctx *ctx, const kdi_conv *v, bool back, size_t packed)
{
    /* The most for this n or a smaller one: all of a block's rows that can be. A few images may be
     * walked in a way of their own. */
    const cut p = cut_of(kdi_ctx_kernels(ctx), v, back);
    size_t inside = 0;
    kdi_conv w = *v;
    for (w.n = 1; w.n <= v->n && w.n * p.h.to * p.w.to <= FEW_ROWS; w.n++) {
        const cut q = cut_of(p.kernels, &w, back);
        inside = kdi_larger(inside, q.head + q.a_size + q.sums);
    }
    const size_t most = kdi_smaller(v->n * p.h.to * p.w.to, KDI_GEMM_ROWS);
    const size_t columns = kdi_smaller(kdi_multiple(p.out, p.kernels->gemm_nr), KDI_GEMM_COLUMNS);
    const bool scattered = phases(&p.h) * phases(&p.w) > 1;
    const size_t slab = kdi_multiple(most * (p.step + PAD), ALIGN);
    const size_t few = kdi_multiple(kdi_smaller(most, FEW_ROWS) * (p.step + PAD), ALIGN);
    const size_t kept = back ? 0 : ALIGN + kdi_smaller(KEPT, steps_of(&p) * few);
    const size_t sums = scattered ? kdi_multiple(most * columns, ALIGN) : 0;
    const size_t floats =
        p.kernels->gemm_scratch(most, p.step) + kdi_larger(kdi_larger(slab, kept) + sums, inside);
    const size_t threads = (size_t)kd_ctx_threads(ctx);
    size_t bytes;
    if (packed == SIZE_MAX ||
        !kdi_mul(step_of(&p, floats, threads) * sizeof(float), threads, &bytes) ||
        !kdi_add(bytes, packed, &bytes))
        return SIZE_MAX;
    return bytes;
}

static size_t scratch_size(kd_ctx *ctx, const kdi_conv *v, kdi_conv_pass pass)
{
    const float packed = 0;
    kdi_gemm g;
    switch (pass) {
    case KDI_CONV_FORWARD:
    case KDI_CONV_FORWARD_PREPARED:
        if (!pointwise(v))
            return plan_scratch(ctx, v, false,
                                pass == KDI_CONV_FORWARD ? prepared_size(ctx, v) : 0);
        g = forward_gemm(v, NULL, NULL, NULL);
        if (pass == KDI_CONV_FORWARD_PREPARED) g.packed_b = &packed;
        return kdi_gemm_scratch(ctx, &g);
    case KDI_CONV_BACKWARD:
        if (!pointwise(v))
            return kdi_larger(plan_scratch(ctx, v, true, flipped_size(ctx, v)),
                              kdi_conv_gemm_weights_scratch(ctx, v));
        g = data_gemm(v, NULL, NULL, NULL);
        return kdi_larger(kdi_gemm_scratch(ctx, &g), kdi_conv_gemm_weights_scratch(ctx, v));
    default:
        return 0;
    }
}

static void forward(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                    const void *prepared, const kdi_epilogue *epilogue, float *y, void *scratch)
{
    if (pointwise(v)) {
        kdi_gemm g = forward_gemm(v, x, w, y);
        g.packed_b = prepared;
        g.epilogue = epilogue;
        kdi_gemm_run(ctx, &g, scratch);
        return;
    }
    cut p = cut_of(kdi_ctx_kernels(ctx), v, false);
    float *own = scratch;
    if (!prepared) {
        prepare(ctx, v, w, own, NULL);
        prepared = own;
        own += prepared_size(ctx, v) / sizeof *own;
    }
    p.x = x;
    p.b = prepared;
    p.c = y;
    p.epilogue = epilogue;
    p.workers = own;
    run(ctx, &p);
}

static void backward_data(kd_ctx *ctx, const kdi_conv *v, const float *w, const float *dy,
                          float *dx, bool accumulate, float *scratch)
{
    if (pointwise(v)) {
        kdi_gemm g = data_gemm(v, w, dy, dx);
        g.accumulate = accumulate;
        kdi_gemm_run(ctx, &g, scratch);
        return;
    }
    cut p = cut_of(kdi_ctx_kernels(ctx), v, true);
    flip f = {p.kernels, v, w, scratch};
    kd_parallel_for(ctx, v->groups * v->kh * v->kw, flip_task, &f);
    p.x = dy;
    p.b = scratch;
    p.c = dx;
    p.accumulate = accumulate;
    p.workers = scratch + flipped_size(ctx, v) / sizeof *scratch;
    run(ctx, &p);
}

static void backward(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *w,
                     const float *dy, float *dx, float *dw, float *db, bool accumulate_dx,
                     bool accumulate_dw, void *scratch)
{
    kdi_conv_bias_gradient(ctx, v, dy, db, accumulate_dw, scratch);
    if (dx) backward_data(ctx, v, w, dy, dx, accumulate_dx, scratch);
    if (dw) kdi_conv_gemm_weights(ctx, v, x, dy, dw, accumulate_dw, scratch);
}

static bool can(const kdi_conv *v)
{
    (void)v;
    return true;
}

const kdi_conv_method kdi_conv_gemm = {
    .name = "gemm",
    .can = can,
    .scratch = scratch_size,
    .prepared_size = prepared_size,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
};
