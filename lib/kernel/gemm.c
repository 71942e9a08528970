/* SPDX-License-Identifier: MIT
 * gemm.c: the built-in matrix product: how C is cut into tasks, and what a task does.
 *
 * C is cut into blocks of rows and columns, one task each: small enough for the caches and many
 * enough for the processors. Where a small C comes with a long k (weight gradients), k is cut, too:
 * each part is summed into an array of its own, and the parts are added in order.
 *
 * A task walks along k in steps. A step is a slab of B in panels times a block of A. The panels are
 * the caller's, shared by all tasks, or packed by the task itself. A is read where it lies, unless
 * its rows would fight for the same cache sets. All of it follows from the shape, never from the
 * threads. After Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM
 * TOMS 34(3), 2008. */
#include "gemm.h"

#include "../base/size.h"
#include "blas.h"
#include "grid.h"

enum {
    ROWS = KDI_GEMM_ROWS, /* of a block, at most: twelve strips of the widest tile */
    TALL = 2 * ROWS,      /* the same if B is in panels already: each slab is read less often */
    WIDE = 96,            /* columns below which a kernel that copies A would copy too often */
    COPIED = 192,         /* rows of a block of such a kernel: its copies share the cache with B */
    COLUMNS = KDI_GEMM_COLUMNS,
    DEPTH = KDI_GEMM_DEPTH, /* of a step along k, at most: a slab of B stays below 852 KB */
    TASKS = 16,             /* with fewer tasks, blocks are made smaller or k is cut */
    DOT_DEPTH = 64,
    DOT_COLUMNS = 16,      /* of B: with so few no panel is full, and dot products are faster */
    PART_DEPTH = 1024,     /* of a part of k, at least */
    PARTS_SIZE = 1 << 20,  /* floats of all parts together, at most */
    SHARED_SIZE = 6 << 20, /* floats of a B that is packed once for all tasks, at most */
    PAD = 16,              /* floats after each copied row, against cache set conflicts */
    ALIGN = 16             /* floats; 64 bytes */
};

typedef struct cut {
    size_t mb, nb, kc;     /* a block of C, a step along k */
    size_t rows, columns;  /* blocks of C */
    size_t parts, part;    /* parts of k, and the depth of one */
    bool blas;             /* each block by OpenBLAS */
    bool dot;              /* along k, nothing packed */
    bool copy_a, shared_b; /* A is copied block by block; B is packed before the tasks */
    size_t kernel_size;    /* floats the kernel needs for itself */
    size_t a_size, b_size; /* floats a worker needs for its copies */
} cut;

struct job {
    const kdi_kernels *kernels;
    kdi_gemm g;
    cut cut;
    kdi_grid grid;  /* blocks of C */
    const float *b; /* all of B in panels, or NULL */
    float *parts;   /* [parts][m][n] */
    float
        *workers; /* scratch of each worker, worker_step floats apart: of the kernel, of A, of B */
    size_t worker_step;
};

static size_t at_least_1(size_t x)
{
    return x ? x : 1;
}

/* Multiply-adds of a block. With fewer than 8 rows the time is that of reading B. */
static size_t work(size_t m, size_t n, size_t k)
{
    return (m < 8 ? 8 : m) * n * k;
}

/* Rows are cut to multiples of this: what a kernel does at a time, if that is more than its
 * tile. */
static size_t rows_unit(const kdi_kernels *kernels)
{
    return kernels->gemm_unit > kernels->gemm_mr ? kernels->gemm_unit : 1;
}

static size_t piece_of_rows(const kdi_kernels *kernels, size_t m, size_t limit)
{
    const size_t unit = rows_unit(kernels);
    return kdi_smaller(kdi_piece(m, limit / unit * unit, unit), at_least_1(m));
}

/* The most rows of a block. */
static size_t tallest(const kdi_kernels *kernels, bool packed)
{
    return !packed ? ROWS : kernels->gemm_copies ? COPIED : TALL;
}

/* Make blocks smaller until there are enough tasks, or a task would be too little work. */
static void refine(const kdi_kernels *kernels, const kdi_gemm *g, size_t tasks, cut *c)
{
    const size_t unit = rows_unit(kernels);
    while (c->rows * c->columns < tasks && work(c->mb, c->nb, g->k) > 2 * kernels->gemm_task) {
        if (kernels->gemm_copies ? c->nb <= WIDE && c->mb > unit
                                 : c->mb >= c->nb && c->mb > kdi_larger(unit, kernels->gemm_mr))
            c->mb = kdi_piece(c->mb, kdi_pieces(c->mb, 2), unit);
        else if (c->nb > kernels->gemm_nr)
            c->nb = kdi_piece(c->nb, kdi_pieces(c->nb, 2), kernels->gemm_nr);
        else if (c->mb > kdi_larger(unit, kernels->gemm_mr))
            c->mb = kdi_piece(c->mb, kdi_pieces(c->mb, 2), unit);
        else
            return;
        c->rows = at_least_1(kdi_pieces(g->m, c->mb));
        c->columns = at_least_1(kdi_pieces(g->n, c->nb));
    }
}

static cut cut_of(const kdi_kernels *kernels, const kdi_gemm *g, bool serial)
{
    const size_t m = at_least_1(g->m), n = at_least_1(g->n), k = at_least_1(g->k);
    cut c = {.nb = kdi_piece(n, COLUMNS, kernels->gemm_nr), .parts = 1};
    c.shared_b = !g->packed_b && !serial && m > ROWS && k <= SHARED_SIZE / n;
    c.mb = piece_of_rows(kernels, m, tallest(kernels, g->packed_b || c.shared_b));
    c.rows = kdi_pieces(m, c.mb);
    c.columns = kdi_pieces(n, c.nb);
    if (g->tb && !g->ta && !g->packed_b && (m <= kernels->gemm_dot_rows || n <= DOT_COLUMNS) &&
        k >= DOT_DEPTH) {
        const size_t tasks = serial ? 1 : work(m, n, k) / kernels->gemm_task;
        c.dot = true;
        c.shared_b = false;
        c.nb = kdi_piece(n, kdi_pieces(n, tasks < 1 ? 1 : tasks < TASKS ? tasks : TASKS), 4);
        c.columns = kdi_pieces(n, c.nb);
        c.part = c.kc = k;
        return c;
    }
    if (!serial) {
        const size_t tasks = c.rows * c.columns;
        if (tasks < TASKS && m <= PARTS_SIZE / n) {
            size_t parts = kdi_pieces(TASKS, tasks);
            if (parts > k / PART_DEPTH) parts = k / PART_DEPTH;
            if (parts > PARTS_SIZE / (m * n)) parts = PARTS_SIZE / (m * n);
            if (parts > 1) c.parts = parts;
        }
        if (c.parts == 1) refine(kernels, g, TASKS, &c);
    }
    c.part = kdi_piece(k, kdi_pieces(k, c.parts), kernels->gemm_unit);
    c.parts = kdi_pieces(k, c.part);
    c.kc = kdi_piece(c.part, DEPTH, kernels->gemm_unit);
    c.kernel_size = kernels->gemm_scratch(c.mb, c.kc);
    /* Rows a multiple of 4 KB apart share one cache set, and columns of a transposed A are pages
     * apart: such an A is copied. A kernel with gemm_copies does that itself. */
    if (!kernels->gemm_copies) c.copy_a = g->ta ? g->lda > 128 : g->lda % 1024 == 0 && g->m > 4;
    if (c.copy_a)
        c.a_size = kdi_multiple(kdi_smaller(c.mb, ROWS) + kernels->gemm_mr, ALIGN) * (c.kc + PAD);
    if (!g->packed_b && !c.shared_b)
        c.b_size =
            c.kc * (kernels->gemm_copies ? kdi_multiple(c.nb, kernels->gemm_nr) : kernels->gemm_nr);
    return c;
}

/* The cut for OpenBLAS, which packs for itself: larger blocks, all of k. */
static cut blas_cut(const kdi_gemm *g)
{
    cut c = {.blas = true, .parts = 1, .part = g->k};
    c.mb = kdi_piece(g->m, kdi_pieces(g->m, 4), 1);
    c.nb = kdi_piece(g->n, kdi_pieces(g->n, 4), 1);
    c.rows = kdi_pieces(g->m, c.mb);
    c.columns = kdi_pieces(g->n, c.nb);
    return c;
}

void kdi_gemm_blocks(const kdi_kernels *kernels, size_t m, size_t n, size_t k, size_t products,
                     size_t *mb, size_t *nb)
{
    const kdi_gemm g = {.m = m, .n = n, .k = k};
    cut c = {.mb = piece_of_rows(kernels, m, ROWS), .nb = kdi_piece(n, COLUMNS, kernels->gemm_nr)};
    c.rows = at_least_1(kdi_pieces(m, c.mb));
    c.columns = at_least_1(kdi_pieces(n, c.nb));
    refine(kernels, &g, kdi_pieces(TASKS, at_least_1(products)), &c);
    *mb = c.mb;
    *nb = c.nb;
}

/* Copy rows [i, i + rows) and steps [p, p + depth) of op(A), and say how it lies. */
static void copy_a(const struct job *j, kdi_block *block, size_t i, size_t p, float *to)
{
    const kdi_gemm *g = &j->g;
    block->a = to;
    if (g->ta) {
        const size_t h = kdi_strip_rows(block->m, j->kernels->gemm_mr);
        block->rsa = 1;
        block->csa = h;
        block->strip = block->k * h;
        j->kernels->pack_strips(block->k, block->m, g->a + p * g->lda + i, g->lda, g->m - i, h, to);
        return;
    }
    block->rsa = j->cut.kc + PAD;
    block->csa = 1;
    j->kernels->copy_rows(block->m, block->k, g->a + i * g->lda + p, g->lda, to, block->rsa);
}

/* The epilogue of a block of C that is summed already: a product over k = 0. */
static void finish(const struct job *job, size_t i, size_t rows, size_t j, size_t columns)
{
    const kdi_gemm *g = &job->g;
    const kdi_epilogue epilogue = kdi_epilogue_at(g->epilogue, i, j);
    const kdi_block block = {.m = rows,
                             .n = columns,
                             .a = g->a,
                             .b = g->a,
                             .c = g->c + i * g->ldc + j,
                             .ldc = g->ldc,
                             .accumulate = true,
                             .epilogue = &epilogue};
    job->kernels->gemm_block(&block);
}

/* The block of C at rows i, columns j, over all of k at once. */
static void whole(const struct job *job, size_t i, size_t rows, size_t j, size_t columns)
{
    kdi_gemm g = job->g;
    g.m = rows;
    g.n = columns;
    g.a += g.ta ? i : i * g.lda;
    g.b += g.tb ? j * g.ldb : j;
    g.c += i * g.ldc + j;
    if (job->cut.blas)
        kdi_blas_product(&g);
    else
        job->kernels->gemm_dot(g.m, g.n, g.k, g.a, g.lda, g.b, g.ldb, g.c, g.ldc, g.accumulate);
    if (g.epilogue) finish(job, i, rows, j, columns);
}

/* Rows [i, i + rows) and steps [p, p + depth) of op(A), as they lie in memory. */
static kdi_fetch a_at(const kdi_gemm *g, size_t i, size_t rows, size_t p, size_t depth)
{
    if (g->ta) return (kdi_fetch){g->a + p * g->lda + i, depth, rows, g->lda};
    return (kdi_fetch){g->a + i * g->lda + p, rows, depth, g->lda};
}

/* A panel of B from row p and column j on, as it lies in memory. */
static kdi_fetch panel_at(const kdi_gemm *g, size_t p, size_t depth, size_t j, size_t columns)
{
    if (g->tb) return (kdi_fetch){g->b + j * g->ldb + p, columns, depth, g->ldb};
    return (kdi_fetch){g->b + p * g->ldb + j, depth, columns, g->ldb};
}

/* One step along k, [p, p + block->k), that packs B on the way: panel by panel, or all of it for a
 * kernel that copies A in each call. During one panel's product the next one is prefetched (after
 * the last, the next step's first), and a share of the next step's A, if that will be copied. */
static void panels(const struct job *job, const kdi_block *block, size_t i, size_t j, size_t p,
                   size_t end, float *panel)
{
    const kdi_gemm *g = &job->g;
    const size_t nr = job->kernels->gemm_nr, wide = job->kernels->gemm_copies ? block->n : nr;
    const size_t next = p + block->k, depth = kdi_smaller(job->cut.kc, end - next);
    const size_t rows = depth * wide / block->n + 1;
    kdi_epilogue epilogue;
    for (size_t q = 0, row = 0; q < block->n; q += wide, row += rows) {
        const size_t left = block->n - q;
        kdi_block one = *block;
        one.n = kdi_smaller(left, wide);
        one.b = panel;
        one.panel = block->k * nr;
        one.c = block->c + q;
        if (block->epilogue) {
            epilogue = kdi_epilogue_at(block->epilogue, 0, q);
            one.epilogue = &epilogue;
        }
        one.ahead[0] = left > wide
                           ? panel_at(g, p, block->k, j + q + wide, kdi_smaller(wide, left - wide))
                           : panel_at(g, next, depth, j, kdi_smaller(wide, block->n));
        one.ahead[1] = (kdi_fetch){0};
        if ((job->cut.copy_a || wide > nr) && g->ta && row < depth)
            one.ahead[1] = a_at(g, i, block->m, next + row, kdi_smaller(rows, depth - row));
        if (g->tb)
            job->kernels->pack_bt(block->k, one.n, g->b + (j + q) * g->ldb + p, g->ldb, panel,
                                  one.panel);
        else
            job->kernels->pack_b(block->k, one.n, g->b + p * g->ldb + j + q, g->ldb, panel,
                                 one.panel);
        job->kernels->gemm_block(&one);
    }
}

/* Where element (i, j) of a task's C is, of a task that begins at step p of k. */
static float *c_at(const struct job *job, size_t i, size_t j, size_t p, size_t *ldc)
{
    const kdi_gemm *g = &job->g;
    const bool whole = job->cut.parts == 1;
    *ldc = whole ? g->ldc : g->n;
    return (whole ? g->c : job->parts + p / job->cut.part * g->m * g->n) + i * *ldc + j;
}

/* Where a task is: a block of C, and its steps along k. */
typedef struct walk {
    size_t i, rows, j, columns;
    size_t first, p, depth, end; /* the task's first step, this one, its length, the task's end */
    float *scratch, *copies;     /* the kernel's; of A, and of B */
} walk;

/* Rows [i, i + rows) of a task's block, one step along k. If A is copied, what the next call copies
 * is prefetched; the last rows also prefetch the next step's B. */
static void step(const struct job *job, const walk *w, size_t i, size_t rows)
{
    const kdi_gemm *g = &job->g;
    const cut *c = &job->cut;
    const size_t nr = job->kernels->gemm_nr, p = w->p, next = p + w->depth;
    const size_t left = w->i + w->rows - i - rows; /* rows of this step */
    const size_t then = left ? w->depth : kdi_smaller(c->kc, w->end - next);
    kdi_epilogue epilogue;
    kdi_block block = {.m = rows,
                       .n = w->columns,
                       .k = w->depth,
                       .scratch = w->scratch,
                       .accumulate = p > w->first || (c->parts == 1 && g->accumulate)};
    block.c = c_at(job, i, w->j, w->first, &block.ldc);
    kdi_fetch soon = {0};
    if (c->copy_a) {
        copy_a(job, &block, i, p, w->copies);
    } else {
        block.a = g->ta ? g->a + p * g->lda + i : g->a + i * g->lda + p;
        block.rsa = g->ta ? 1 : g->lda;
        block.csa = g->ta ? g->lda : 1;
    }
    if (c->copy_a || job->kernels->gemm_copies)
        soon = left ? a_at(g, i + rows, kdi_smaller(left, rows), p, then)
                    : a_at(g, w->i, c->copy_a ? kdi_smaller(w->rows, ROWS) : w->rows, next, then);
    if (next == w->end && c->parts == 1 && g->epilogue) {
        epilogue = kdi_epilogue_at(g->epilogue, i, w->j);
        block.epilogue = &epilogue;
    }
    if (!job->b) {
        panels(job, &block, i, w->j, p, w->end, w->copies + c->a_size);
        return;
    }
    block.b = job->b + (w->j / nr * g->k + p) * nr;
    block.panel = g->k * nr;
    block.ahead[left ? 0 : 1] = soon;
    if (left == 0)
        block.ahead[0] = (kdi_fetch){block.b + w->depth * nr, kdi_pieces(w->columns, nr), then * nr,
                                     block.panel};
    job->kernels->gemm_block(&block);
}

/* The block of C at rows i, columns j, over [p, end) of k. */
static void product(const struct job *job, size_t i, size_t j, size_t p, size_t end, float *scratch)
{
    const kdi_gemm *g = &job->g;
    const cut *c = &job->cut;
    walk w = {.i = i,
              .rows = kdi_smaller(g->m - i, c->mb),
              .j = j,
              .columns = kdi_smaller(g->n - j, c->nb),
              .first = p,
              .p = p,
              .end = end,
              .scratch = scratch,
              .copies = scratch + c->kernel_size};
    if (c->blas || c->dot) {
        whole(job, i, w.rows, j, w.columns);
        return;
    }
    const size_t rows = c->copy_a ? kdi_piece(w.rows, ROWS, 1) : w.rows;
    do {
        w.depth = kdi_smaller(end - w.p, c->kc);
        for (size_t r = 0; r < w.rows; r += rows)
            step(job, &w, i + r, kdi_smaller(rows, w.rows - r));
        w.p += w.depth;
    } while (w.p < end);
}

kdi_epilogue kdi_epilogue_at(const kdi_epilogue *e, size_t i, size_t j)
{
    kdi_epilogue at = *e;
    if (e->bias) at.bias = e->bias + j;
    if (e->residual) at.residual = e->residual + i * e->ldr + j;
    if (e->preact) at.preact = e->preact + i * e->ld_preact + j;
    return at;
}

/* Floats of one worker. */
static size_t own_size(const cut *c)
{
    return c->kernel_size + c->a_size + c->b_size;
}

static void product_task(void *arg, size_t index, int worker)
{
    const struct job *job = arg;
    const cut *c = &job->cut;
    const size_t tasks = kdi_grid_tasks(&job->grid), p = index / tasks * c->part;
    size_t row, column;
    if (!kdi_grid_at(&job->grid, index % tasks, &row, &column)) return;
    const size_t end = job->g.k - p < c->part ? job->g.k : p + c->part;
    product(job, row * c->mb, column * c->nb, p, end,
            job->workers + (size_t)worker * job->worker_step);
}

/* Add the parts of a block of rows, in order, and apply the epilogue. */
static void sum_task(void *arg, size_t index, int worker)
{
    const struct job *job = arg;
    const kdi_gemm *g = &job->g;
    const size_t rows = kdi_pieces(g->m, TASKS), i = index * rows;
    const size_t end = i + rows < g->m ? i + rows : g->m;
    (void)worker;
    if (i >= end) return;
    for (size_t row = i; row < end; row++)
        job->kernels->sum_parts(g->n, job->cut.parts, job->parts + row * g->n, g->m * g->n,
                                g->c + row * g->ldc, g->accumulate);
    if (g->epilogue) finish(job, i, end - i, 0, g->n);
}

typedef struct packing {
    const kdi_kernels *kernels;
    size_t n, k;
    bool tb;
    const float *b;
    size_t ldb;
    float *packed;
} packing;

static void pack_task(void *arg, size_t index, int worker)
{
    const packing *p = arg;
    const size_t nr = p->kernels->gemm_nr, j = index * nr, n = p->n - j < nr ? p->n - j : nr;
    float *to = p->packed + j * p->k;
    (void)worker;
    if (p->tb)
        p->kernels->pack_bt(p->k, n, p->b + j * p->ldb, p->ldb, to, p->k * nr);
    else
        p->kernels->pack_b(p->k, n, p->b + j, p->ldb, to, p->k * nr);
}

size_t kdi_gemm_packed_size(kd_ctx *ctx, size_t n, size_t k)
{
    size_t floats, bytes;
    if (!kdi_round_up(n, kdi_ctx_kernels(ctx)->gemm_nr, &floats) || !kdi_mul(floats, k, &floats) ||
        !kdi_mul(floats, sizeof(float), &bytes))
        return SIZE_MAX;
    return bytes;
}

void kdi_gemm_pack_b(kd_ctx *ctx, size_t n, size_t k, bool tb, const float *b, size_t ldb,
                     float *packed)
{
    packing p = {kdi_ctx_kernels(ctx), n, k, tb, b, ldb, packed};
    kd_parallel_for(ctx, kdi_pieces(n, p.kernels->gemm_nr), pack_task, &p);
}

typedef struct scratch_sizes {
    size_t b, parts; /* floats: the shared B, the parts */
} scratch_sizes;

/* What kdi_gemm_run lays out in its scratch; false: the size overflows. The parts are counted for
 * the m that has the most of them, so that scratch grows with m. */
static bool sizes_of(kd_ctx *ctx, const kdi_gemm *g, const cut *c, scratch_sizes *r)
{
    size_t mn;
    *r = (scratch_sizes){0};
    if (c->shared_b) {
        const size_t bytes = kdi_gemm_packed_size(ctx, g->n, g->k);
        if (bytes == SIZE_MAX) return false;
        r->b = bytes / sizeof(float);
    }
    if (g->k >= 2 * PART_DEPTH) {
        if (!kdi_mul(g->m, g->n, &mn)) return false;
        r->parts = kdi_multiple(mn < PARTS_SIZE / TASKS ? mn * TASKS : PARTS_SIZE, ALIGN);
    }
    return true;
}

/* Floats of one worker, for this m or any smaller one. */
static size_t worker_size(const kdi_kernels *kernels, const kdi_gemm *g)
{
    const size_t kc = kdi_smaller(kdi_multiple(g->k, kernels->gemm_unit), DEPTH);
    const size_t columns = kernels->gemm_copies ? kdi_smaller(g->n, COLUMNS) : kernels->gemm_nr;
    size_t floats = kernels->gemm_scratch(kdi_smaller(g->m, tallest(kernels, true)), kc);
    if (!kernels->gemm_copies)
        floats += kdi_multiple(kdi_smaller(g->m, ROWS) + kernels->gemm_mr, ALIGN) * (kc + PAD);
    if (!g->packed_b) floats += kc * kdi_multiple(columns, kernels->gemm_nr);
    return floats;
}

size_t kdi_gemm_scratch(kd_ctx *ctx, const kdi_gemm *g)
{
    const kdi_kernels *kernels = kdi_ctx_kernels(ctx);
    const cut c = cut_of(kernels, g, false);
    const size_t threads = (size_t)kd_ctx_threads(ctx);
    scratch_sizes r;
    size_t size, own, bytes;
    const size_t one = kdi_worker_step(worker_size(kernels, g), threads);
    if (kdi_blas_wants(ctx, g)) kdi_blas_prepare(ctx);
    if (!sizes_of(ctx, g, &c, &r) || !kdi_mul(one, threads, &own) ||
        !kdi_add(r.b, r.parts, &size) || !kdi_add(size, own, &size) ||
        !kdi_mul(size, sizeof(float), &bytes))
        return SIZE_MAX;
    return bytes;
}

void kdi_gemm_run(kd_ctx *ctx, const kdi_gemm *g, void *scratch)
{
    scratch_sizes r;
    struct job job = {.kernels = kdi_ctx_kernels(ctx), .g = *g, .b = g->packed_b};
    if (g->m == 0 || g->n == 0) return;
    job.cut =
        kdi_blas_wants(ctx, g) && kdi_blas_ready(ctx) ? blas_cut(g) : cut_of(job.kernels, g, false);
    if (!sizes_of(ctx, g, &job.cut, &r)) return; /* no scratch is that large */
    float *b = scratch;
    if (job.cut.shared_b) {
        kdi_gemm_pack_b(ctx, g->n, g->k, g->tb, g->b, g->ldb, b);
        job.b = b;
    }
    job.parts = b + r.b;
    const size_t threads = (size_t)kd_ctx_threads(ctx);
    job.workers = job.parts + r.parts;
    job.worker_step = kdi_worker_step(own_size(&job.cut), threads);
    job.grid = kdi_grid_of(job.cut.rows, job.cut.columns, threads);
    kd_parallel_for(ctx, kdi_grid_tasks(&job.grid) * job.cut.parts, product_task, &job);
    if (job.cut.parts > 1) kd_parallel_for(ctx, TASKS, sum_task, &job);
}

size_t kdi_gemm_serial_scratch(kd_ctx *ctx, const kdi_gemm *g)
{
    return worker_size(kdi_ctx_kernels(ctx), g) * sizeof(float);
}

void kdi_gemm_serial(kd_ctx *ctx, const kdi_gemm *g, void *scratch)
{
    struct job job = {
        .kernels = kdi_ctx_kernels(ctx), .g = *g, .b = g->packed_b, .workers = scratch};
    if (g->m == 0 || g->n == 0) return;
    job.cut = cut_of(job.kernels, g, true);
    job.grid = kdi_grid_of(job.cut.rows, job.cut.columns, 1);
    for (size_t t = 0; t < kdi_grid_tasks(&job.grid); t++) product_task(&job, t, 0);
}

enum { SUM_ROWS = 512 }; /* of one part of a column sum */

typedef struct sums {
    const kdi_kernels *kernels;
    size_t m, n;
    const float *x;
    size_t ldx;
    float *parts; /* [ceil(m / SUM_ROWS)][n] */
} sums;

static void sums_task(void *arg, size_t index, int worker)
{
    const sums *s = arg;
    const size_t i = index * SUM_ROWS, rows = kdi_smaller(s->m - i, SUM_ROWS);
    (void)worker;
    s->kernels->sum_parts(s->n, rows, s->x + i * s->ldx, s->ldx, s->parts + index * s->n, 0);
}

size_t kdi_column_sums_scratch(kd_ctx *ctx, size_t m, size_t n)
{
    size_t bytes;
    (void)ctx;
    if (!kdi_mul(kdi_pieces(m, SUM_ROWS), n, &bytes) || !kdi_mul(bytes, sizeof(float), &bytes))
        return SIZE_MAX;
    return bytes;
}

void kdi_column_sums(kd_ctx *ctx, size_t m, size_t n, const float *x, size_t ldx, float *y,
                     bool accumulate, void *scratch)
{
    sums s = {kdi_ctx_kernels(ctx), m, n, x, ldx, scratch};
    kd_parallel_for(ctx, kdi_pieces(m, SUM_ROWS), sums_task, &s);
    s.kernels->sum_parts(n, kdi_pieces(m, SUM_ROWS), s.parts, n, y, accumulate);
}
