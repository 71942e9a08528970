/* SPDX-License-Identifier: MIT
 * conv_gemm_weights.c: the gradient of a convolution's weights as matrix products. A row is an
 * output channel, a column a point of the kernel and an input channel. k runs over the pixels, in
 * parts that are added in order. */
#include "conv_gemm.h"

#include "gemm.h"

enum {
    DEPTH = 192,          /* pixels of a step along k */
    TASKS = 16,           /* with fewer tasks the pixels are cut into parts */
    PART_DEPTH = 1024,    /* the fewest pixels of a part */
    PARTS_SIZE = 1 << 20, /* the most floats of all parts' dw */
    SUM_SIZE = 1 << 14    /* floats of dw of a task that adds the parts */
};

typedef struct weights {
    const kdi_kernels *kernels;
    const kdi_conv *v;
    size_t c, o;                               /* channels of a group */
    size_t mb;                                 /* output channels of a block */
    size_t taps, nb;                           /* kernel points of a block, channels of each */
    size_t rows, columns;                      /* blocks */
    size_t parts;                              /* of the pixels */
    bool panels;                               /* patches go straight to panels */
    bool copy;                                 /* dy is copied */
    size_t kernel, a_size, b_size, patch_size; /* floats of a worker */
    const float *x, *dy;
    float *dw, *workers; /* dw: [parts][o][kh * kw * c] */
    bool accumulate;
} weights;

static weights weights_of(const kdi_kernels *kernels, const kdi_conv *v)
{
    const size_t points = v->kh * v->kw, nr = kernels->gemm_nr;
    weights p = {
        .kernels = kernels, .v = v, .c = v->c / v->groups, .o = v->o / v->groups, .parts = 1};
    p.mb = kdi_piece(p.o, KDI_GEMM_ROWS, 1);
    p.nb = p.c;
    p.taps = 1;
    /* Many channels: a block is one point, whose rows outside of the map are left out. Few: several
     * points. */
    if (p.c * 2 > KDI_GEMM_COLUMNS)
        p.nb = kdi_piece(p.c, KDI_GEMM_COLUMNS, nr);
    else
        p.taps = kdi_piece(points, KDI_GEMM_COLUMNS / p.c, 1);
    p.rows = kdi_pieces(p.o, p.mb);
    p.columns = kdi_pieces(points, p.taps) * kdi_pieces(p.c, p.nb);
    const size_t tasks = p.rows * p.columns * v->groups, size = v->o * points * p.c;
    if (tasks && tasks < TASKS) {
        p.parts =
            kdi_smaller(kdi_smaller(kdi_pieces(TASKS, tasks), v->n * v->oh * v->ow / PART_DEPTH),
                        PARTS_SIZE / size);
        if (p.parts < 1) p.parts = 1;
    }
    p.panels = p.taps == 1 || p.c % nr == 0;
    p.copy = p.taps == 1 || v->o > 128;
    p.kernel = kernels->gemm_scratch(p.mb, DEPTH);
    p.a_size = p.copy ? DEPTH * (p.mb + PAD) : 0;
    p.b_size = DEPTH * kdi_multiple(p.taps * p.nb, nr);
    p.patch_size = p.panels ? 0 : DEPTH * p.taps * p.nb;
    p.a_size = kdi_multiple(p.a_size, ALIGN);
    return p;
}

/* One block of dw over part `part` of the pixels. */
static void weights_block(const weights *p, size_t g, size_t row, size_t column, size_t part,
                          float *own)
{
    const kdi_conv *v = p->v;
    const size_t pieces = kdi_pieces(p->c, p->nb), points = v->kh * v->kw, nr = p->kernels->gemm_nr;
    const size_t tap = column / pieces * p->taps, taps = kdi_smaller(p->taps, points - tap);
    const size_t c = column % pieces * p->nb, channels = kdi_smaller(p->nb, p->c - c);
    const size_t o = row * p->mb;
    kdi_patches from = {.x = p->x + g * p->c + c,
                        .h = v->h,
                        .w = v->w,
                        .ld = v->c,
                        .grid_h = v->oh,
                        .grid_w = v->ow,
                        .step_h = (ptrdiff_t)v->sh,
                        .step_w = (ptrdiff_t)v->sw,
                        .off_h = -(ptrdiff_t)v->ph,
                        .off_w = -(ptrdiff_t)v->pw,
                        .tap_h = (ptrdiff_t)v->dh,
                        .tap_w = (ptrdiff_t)v->dw,
                        .tap_width = v->kw,
                        .tap = tap,
                        .taps = taps,
                        .channels = channels};
    if (p->taps == 1) {
        const side h = {v->h, v->oh, v->kh, v->sh, v->ph, v->dh, false};
        const side w = {v->w, v->ow, v->kw, v->sw, v->pw, v->dw, false};
        const axis rows = axis_of(&h, 0), columns = axis_of(&w, 0);
        from.grid_h = span_of(&h, &rows, tap / v->kw, &from.top);
        from.grid_w = span_of(&w, &columns, tap % v->kw, &from.left);
    }
    kdi_patches dy = {.x = p->dy + g * p->o + o,
                      .h = v->oh,
                      .w = v->ow,
                      .ld = v->o,
                      .top = from.top,
                      .left = from.left,
                      .grid_h = from.grid_h,
                      .grid_w = from.grid_w,
                      .step_h = 1,
                      .step_w = 1,
                      .tap_width = 1,
                      .taps = 1,
                      .channels = kdi_smaller(p->mb, p->o - o)};
    float *a = own + p->kernel, *b = a + p->a_size, *patches = b + p->b_size;
    kdi_block block = {.m = dy.channels,
                       .n = taps * channels,
                       .rsa = 1,
                       .csa = v->o,
                       .ldc = points * p->c,
                       .c = p->dw + (part * v->o + g * p->o + o) * points * p->c + tap * p->c + c,
                       .accumulate = p->parts == 1 && p->accumulate,
                       .b = b,
                       .scratch = own};
    const size_t pixels = v->n * from.grid_h * from.grid_w, each = kdi_pieces(pixels, p->parts);
    const size_t end = kdi_smaller(pixels, (part + 1) * each);
    size_t i = part * each;
    do {
        const size_t count = i < end ? kdi_smaller(DEPTH, end - i) : 0;
        from.row = dy.row = i;
        from.rows = dy.rows = block.k = count;
        block.panel = count * nr;
        if (count && p->panels) {
            p->kernels->patch_panels(&from, b, block.panel);
        } else if (count) {
            p->kernels->patch_rows(&from, patches, block.n);
            p->kernels->pack_b(count, block.n, patches, block.n, b, block.panel);
        }
        if (p->copy) {
            block.a = a;
            block.csa = p->mb + PAD;
            if (count) p->kernels->patch_rows(&dy, a, block.csa);
        } else {
            block.a = dy.x + i * v->o;
        }
        p->kernels->gemm_block(&block);
        block.accumulate = true;
        i += count;
    } while (i < end);
}

static size_t own_size(const weights *p)
{
    return p->kernel + p->a_size + p->b_size + p->patch_size;
}

static void weights_task(void *arg, size_t index, int worker)
{
    const weights *p = arg;
    const size_t row = index % p->rows, column = index / p->rows % p->columns;
    const size_t rest = index / p->rows / p->columns;
    weights_block(p, rest % p->v->groups, row, column, rest / p->v->groups,
                  p->workers + (size_t)worker * own_size(p));
}

/* Floats for the parts of dw, for this n or any smaller one. */
static size_t parts_size(const kdi_conv *v)
{
    const size_t size = v->o * points_of(v);
    return size * 2 > PARTS_SIZE ? 0 : kdi_multiple(kdi_smaller(PARTS_SIZE, size * TASKS), ALIGN);
}

typedef struct sum {
    const weights *p;
    const float *parts;
    float *dw;
} sum;

static void sum_task(void *arg, size_t index, int worker)
{
    const sum *s = arg;
    const size_t size = s->p->v->o * points_of(s->p->v), i = index * SUM_SIZE;
    (void)worker;
    s->p->kernels->sum_parts(kdi_smaller(SUM_SIZE, size - i), s->p->parts, s->parts + i, size,
                             s->dw + i, s->p->accumulate);
}

void kdi_conv_gemm_weights(kd_ctx *ctx, const kdi_conv *v, const float *x, const float *dy,
                           float *dw, bool accumulate, float *scratch)
{
    weights p = weights_of(kdi_ctx_kernels(ctx), v);
    p.x = x;
    p.dy = dy;
    p.dw = p.parts > 1 ? scratch : dw;
    p.workers = scratch + parts_size(v);
    p.accumulate = accumulate;
    kd_parallel_for(ctx, p.rows * p.columns * v->groups * p.parts, weights_task, &p);
    if (p.parts == 1) return;
    sum s = {&p, scratch, dw};
    kd_parallel_for(ctx, kdi_pieces(v->o * points_of(v), SUM_SIZE), sum_task, &s);
}

size_t kdi_conv_gemm_weights_scratch(kd_ctx *ctx, const kdi_conv *v)
{
    const weights p = weights_of(kdi_ctx_kernels(ctx), v);
    return (parts_size(v) + own_size(&p) * (size_t)kd_ctx_threads(ctx)) * sizeof(float);
}
