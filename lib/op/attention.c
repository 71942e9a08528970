/* SPDX-License-Identifier: MIT
 * attention.c: multi-head self-attention (Vaswani et al. 2017). qkv [N,T,3*A] holds queries, keys
 * and values one after another, each as heads of d = A / heads numbers (timm's and PyTorch's
 * order). y [N,T,A] has the heads side by side. For each image n and head h
 *   p = softmax(scale q k^T + bias[h] + mask[n mod W]),   y = p v
 * with an optional bias [heads,T,T] and mask [W,T,T]. In Swin the images are windows, W to a
 * picture. If only the first queries are wanted, y is [N,queries,A].
 *
 * One head's keys and values are copied into panels. A task takes the queries in blocks of rows
 * whose scores stay in cache, and prefetches what its next head will read. p is not stored, only
 * each row's maximum and 1 / sum (second output, [N,heads,2,T]); the backward computes p again,
 * block by block (Dao et al. 2022, "FlashAttention"):
 *   dp = dy v^T,  ds = p (dp - rowsum(p dp)),  dq = scale ds k,  dk += scale ds^T q,  dv += p^T dy
 *
 * A task is one (image, head), or all heads of an image if images are many. If the bias wants a
 * gradient, a task is one head of a run of images in order, and the runs' sums are added in
 * order. */
#include "attention_inputs.h"
#include "fields.h"
#include "ops.h"
#include "shape.h"

#include "../base/prefetch.h"
#include "../base/size.h"
#include "../kernel/kernels.h"

#include <math.h>
#include <string.h>

enum {
    ROWS = 84,      /* the most rows of a block of scores */
    TASKS = 64,     /* the fewest tasks that sum bias gradients, if there are images enough */
    FEW_HEADS = 16, /* with fewer heads in all, each is two tasks */
    MANY = 32,      /* with so many images a task is all heads of one */
    PAD = 16,       /* floats that keep rows from sharing cache sets */
    ALIGN = 16      /* floats; 64 bytes */
};

typedef struct attention_attr {
    int heads, masked;
    float scale; /* 0: 1 / sqrt(d) */
    int queries; /* of the T tokens, the first */
} attention_attr;

typedef struct attention {
    const kd_op_call *call;
    const kdi_kernels *kernels;
    size_t n, t, heads, d, windows, queries;
    float scale;
    const float *bias, *mask;
    size_t parts;              /* parts of a head's queries, a task each */
    size_t rows, ldq, step;    /* rows of a block; floats from row to row of q, of scores */
    size_t t_panels, d_panels; /* floats of panels [T/nr][d][nr], [d/nr][T][nr] */
    size_t block_panels;       /* floats of a block's rows as panels */
    size_t runs;               /* runs of images, each with a dbias of its own */
    float *workers;
    size_t worker; /* floats */
    float *dbias;  /* [runs][heads][T][T] or NULL */
} attention;

static size_t runs_of(size_t n, size_t heads)
{
    const size_t runs = kdi_pieces(TASKS, heads);
    return n < runs ? n : runs;
}

static attention attention_of(const kd_op_call *c, bool backwards)
{
    const attention_attr *attr = c->attr;
    const kd_tensor *qkv = &c->in[0];
    const int bias = kdi_attention_bias(attr->masked, c->n_in);
    attention a = {.call = c, .kernels = c->kernels, .n = qkv->dim[0], .t = qkv->dim[1]};
    const size_t nr = a.kernels->gemm_nr, vector = a.kernels->vector;
    a.heads = (size_t)attr->heads;
    a.queries = (size_t)attr->queries;
    a.d = qkv->dim[2] / 3 / a.heads;
    a.scale = attr->scale != 0 ? attr->scale : (float)(1 / sqrt((double)a.d));
    a.windows = attr->masked ? c->in[1].dim[0] : 1;
    a.mask = attr->masked ? c->in[1].data : NULL;
    a.bias = bias ? c->in[bias].data : NULL;
    a.parts = !backwards && a.n * a.heads < FEW_HEADS && a.queries > ROWS ? 2 : 1;
    a.rows = kdi_piece(kdi_pieces(a.queries, a.parts), ROWS, 1);
    a.ldq = kdi_multiple(a.d, PAD) + PAD;
    a.step = kdi_multiple(a.t, vector);
    if (a.step % 256 == 0) a.step += PAD; /* such rows would share cache sets */
    a.t_panels = kdi_multiple(a.t, nr) * a.d;
    a.d_panels = kdi_multiple(a.d, nr) * a.t;
    a.block_panels = kdi_multiple(kdi_multiple(a.d, nr) * a.rows, ALIGN);
    a.t_panels = kdi_multiple(a.t_panels, ALIGN);
    a.d_panels = kdi_multiple(a.d_panels, ALIGN);
    const size_t blocks =
        kdi_multiple(a.rows * a.ldq, ALIGN) + kdi_multiple(a.rows * a.step, ALIGN);
    a.worker = a.t_panels + a.d_panels + blocks;
    if (backwards) a.worker += a.t_panels + 2 * a.block_panels + blocks;
    a.workers = c->scratch;
    a.runs = a.n;
    if (backwards && bias && (!c->scratch || c->din[bias].data)) {
        a.runs = runs_of(a.n, a.heads);
        if (a.workers) a.dbias = a.workers + a.worker * (size_t)kd_ctx_threads(c->ctx);
    }
    return a;
}

static size_t scratch(const kd_op_call *c, int backwards)
{
    const attention_attr *attr = c->attr;
    const attention a = attention_of(c, backwards);
    size_t floats, sums = 0, bytes;
    if (backwards && kdi_attention_bias(attr->masked, c->n_in) &&
        !kdi_mul(a.heads * a.t * a.t, a.runs, &sums))
        return SIZE_MAX;
    if (!kdi_mul(a.worker, (size_t)kd_ctx_threads(c->ctx), &floats) ||
        !kdi_add(floats, sums, &floats) || !kdi_mul(floats, sizeof(float), &bytes))
        return SIZE_MAX;
    return bytes;
}

/* ---- one head of one image ------------------------------------------------------------------- */

/* Where a head's rows begin: q in qkv (k is heads * d further, v twice that), y in the output. */
typedef struct head {
    const attention *a;
    size_t image, head;
    size_t ldx, ldy; /* from token to token */
    const float *bias, *mask;
} head;

static head head_at(const attention *a, size_t image, size_t h)
{
    const size_t square = a->t * a->t, width = a->heads * a->d;
    return (head){.a = a,
                  .image = image,
                  .head = h,
                  .ldx = 3 * width,
                  .ldy = width,
                  .bias = a->bias ? a->bias + h * square : NULL,
                  .mask = a->mask ? a->mask + image % a->windows * square : NULL};
}

/* Rows this far apart would share cache sets. */
static bool collide(size_t ld)
{
    return ld % 512 == 0;
}

/* A block's rows as a product's first factor: where they lie, or a copy with closer rows. */
typedef struct factor {
    const float *x;
    size_t ld;
} factor;

static factor rows_of(const attention *a, size_t rows, const float *x, size_t ld, float *copy)
{
    if (!collide(ld)) return (factor){x, ld};
    a->kernels->copy_rows(rows, a->d, x, ld, copy, a->ldq);
    return (factor){copy, a->ldq};
}

static void fetch(const float *x, size_t rows, size_t ld, size_t d)
{
    for (size_t i = 0; i < rows; i++, x += ld)
        for (size_t j = 0; j < d; j += 16) kdi_prefetch(x + j);
}

static size_t in_qkv(const head *h)
{
    return h->image * h->a->t * h->ldx + h->head * h->a->d;
}

static size_t in_y(const head *h)
{
    return h->image * h->a->queries * h->ldy + h->head * h->a->d;
}

/* Statistics of the head's rows: maxima [T], then 1 / sum [T]. */
static size_t in_stats(const head *h)
{
    return (h->image * h->a->heads + h->head) * 2 * h->a->t;
}

static const float *row_of(const attention *a, const float *square, size_t i)
{
    return square ? square + i * a->t : NULL;
}

/* s[rows][step] = x[rows][d] times the panels of a T by d matrix, transposed. Columns are whole
 * vectors; the panels' zeros fill the last. */
static void scores(const attention *a, size_t rows, factor x, const float *panels, float *s)
{
    const kdi_block b = {.m = rows,
                         .n = kdi_multiple(a->t, a->kernels->vector),
                         .k = a->d,
                         .a = x.x,
                         .rsa = x.ld,
                         .csa = 1,
                         .b = panels,
                         .panel = a->d * a->kernels->gemm_nr,
                         .c = s,
                         .ldc = a->step};
    a->kernels->gemm_block(&b);
}

/* y[rows][d] (+)= p[rows][T] times panels of a T by d matrix. */
static void weighted(const attention *a, size_t rows, const float *p, const float *panels, float *y,
                     size_t ldy, bool accumulate)
{
    const kdi_block b = {.m = rows,
                         .n = a->d,
                         .k = a->t,
                         .a = p,
                         .rsa = a->step,
                         .csa = 1,
                         .b = panels,
                         .panel = a->t * a->kernels->gemm_nr,
                         .c = y,
                         .ldc = ldy,
                         .accumulate = accumulate};
    a->kernels->gemm_block(&b);
}

/* next: the qkv of the head after this one, or NULL. */
static void forward_head(const head *h, size_t first, size_t end, const float *qkv,
                         const float *next, float *y, float *stats, float *scratch)
{
    const attention *a = h->a;
    const kdi_kernels *k = a->kernels;
    const size_t nr = k->gemm_nr, width = a->heads * a->d;
    float *keys = scratch, *values = keys + a->t_panels, *q = values + a->d_panels;
    float *s = q + kdi_multiple(a->rows * a->ldq, ALIGN), max[ROWS], inverse[ROWS];
    k->pack_bt(a->d, a->t, qkv + width, h->ldx, keys, a->d * nr);
    k->pack_b(a->t, a->d, qkv + 2 * width, h->ldx, values, a->t * nr);
    for (size_t i = first; i < end; i += a->rows) {
        const size_t rows = end - i < a->rows ? end - i : a->rows;
        float *to = y + i * h->ldy;
        scores(a, rows, rows_of(a, rows, qkv + i * h->ldx, h->ldx, q), keys, s);
        if (next && i == 0) fetch(next + width, a->t, h->ldx, a->d);
        k->attention_softmax(rows, a->t, a->scale, row_of(a, h->bias, i), row_of(a, h->mask, i), s,
                             a->step, max, inverse);
        if (next && i == 0) fetch(next + 2 * width, a->t, h->ldx, a->d);
        weighted(a, rows, s, values, to, h->ldy, false);
        if (next) fetch(next + i * h->ldx, rows, h->ldx, a->d);
        k->scale_rows(rows, a->d, inverse, 1, to, h->ldy, to, h->ldy);
        if (!stats) continue;
        memcpy(stats + i, max, rows * sizeof *max);
        memcpy(stats + a->t + i, inverse, rows * sizeof *inverse);
    }
}

static void forward_task(void *arg, size_t index, int worker)
{
    const attention *a = arg;
    const bool many = a->n >= MANY;
    const size_t part = index % a->parts, task = index / a->parts; /* many: of one part */
    const size_t image = many ? task : task / a->heads, first = many ? 0 : task % a->heads;
    const size_t end = many ? a->heads : first + 1;
    const size_t begin = a->queries * part / a->parts, stop = a->queries * (part + 1) / a->parts;
    const float *qkv = a->call->in[0].data;
    float *y = a->call->out[0].data, *stats = a->call->out[1].data;
    for (size_t i = first; i < end; i++) {
        const head h = head_at(a, image, i);
        const float *from = qkv + in_qkv(&h);
        forward_head(&h, begin, stop, from, i + 1 < end ? from + a->d : NULL, y + in_y(&h),
                     stats ? stats + in_stats(&h) : NULL, a->workers + (size_t)worker * a->worker);
    }
}

static kd_status forward(const kd_op_call *c)
{
    attention a = attention_of(c, false);
    kd_parallel_for(c->ctx, a.n >= MANY ? a.n : a.n * a.heads * a.parts, forward_task, &a);
    return KD_OK;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* A task's arrays. */
typedef struct scratch_parts {
    float *keys, *rows, *values; /* k transposed, k, v transposed: panels */
    float *q, *dy;               /* of a block, if they are copied */
    float *q_panels, *dy_panels; /* the same as panels */
    float *p, *ds;
} scratch_parts;

static scratch_parts scratch_of(const attention *a, int worker)
{
    scratch_parts r = {.keys = a->workers + (size_t)worker * a->worker};
    r.values = r.keys + a->t_panels;
    r.rows = r.values + a->t_panels;
    r.q_panels = r.rows + a->d_panels;
    r.dy_panels = r.q_panels + a->block_panels;
    r.q = r.dy_panels + a->block_panels;
    r.dy = r.q + kdi_multiple(a->rows * a->ldq, ALIGN);
    r.p = r.dy + kdi_multiple(a->rows * a->ldq, ALIGN);
    r.ds = r.p + kdi_multiple(a->rows * a->step, ALIGN);
    return r;
}

/* dx[T][d] (+)= p[rows][T]^T times panels of a rows by d matrix. */
static void transposed(const attention *a, size_t rows, const float *p, const float *panels,
                       float *dx, size_t ldx, bool accumulate)
{
    const kdi_block b = {.m = a->t,
                         .n = a->d,
                         .k = rows,
                         .a = p,
                         .rsa = 1,
                         .csa = a->step,
                         .b = panels,
                         .panel = rows * a->kernels->gemm_nr,
                         .c = dx,
                         .ldc = ldx,
                         .accumulate = accumulate};
    a->kernels->gemm_block(&b);
}

/* What a head's backward reads and writes. */
typedef struct flow {
    const float *qkv, *dy, *stats;
    float *dqkv, *dbias; /* or NULL */
} flow;

static flow flow_of(const head *h, float *dbias)
{
    const kd_op_call *c = h->a->call;
    const float *qkv = c->in[0].data, *dy = c->dout[0].data, *stats = c->out[1].data;
    float *dqkv = c->din[0].data;
    return (flow){qkv + in_qkv(h), dy + in_y(h), stats + in_stats(h),
                  dqkv ? dqkv + in_qkv(h) : NULL, dbias};
}

/* next: of the head after this one, or NULL. */
static void backward_head(const head *h, const flow *f, const flow *next, const scratch_parts *r)
{
    const attention *a = h->a;
    const kdi_kernels *k = a->kernels;
    const size_t nr = k->gemm_nr, width = a->heads * a->d;
    const bool add = a->call->accumulate & 1;
    float *dqkv = f->dqkv;
    k->pack_bt(a->d, a->t, f->qkv + width, h->ldx, r->keys, a->d * nr);
    k->pack_bt(a->d, a->t, f->qkv + 2 * width, h->ldx, r->values, a->d * nr);
    k->pack_b(a->t, a->d, f->qkv + width, h->ldx, r->rows, a->t * nr);
    for (size_t i = 0; i < a->queries; i += a->rows) {
        const size_t rows = a->queries - i < a->rows ? a->queries - i : a->rows;
        const factor q = rows_of(a, rows, f->qkv + i * h->ldx, h->ldx, r->q);
        const factor dy = rows_of(a, rows, f->dy + i * h->ldy, h->ldy, r->dy);
        scores(a, rows, q, r->keys, r->p);
        if (next && i == 0) fetch(next->qkv + width, a->t, h->ldx, a->d);
        scores(a, rows, dy, r->values, r->ds);
        if (next && i == 0) fetch(next->qkv + 2 * width, a->t, h->ldx, a->d);
        k->attention_backward(rows, a->t, a->scale, row_of(a, h->bias, i), row_of(a, h->mask, i),
                              f->stats + i, f->stats + a->t + i, r->p, r->ds, a->step,
                              f->dbias ? f->dbias + i * a->t : NULL);
        if (!dqkv) continue;
        k->pack_b(rows, a->d, q.x, q.ld, r->q_panels, rows * nr);
        k->pack_b(rows, a->d, dy.x, dy.ld, r->dy_panels, rows * nr);
        weighted(a, rows, r->ds, r->rows, dqkv + i * h->ldx, h->ldx, add);
        if (next) fetch(next->qkv + i * h->ldx, rows, h->ldx, a->d);
        transposed(a, rows, r->ds, r->q_panels, dqkv + width, h->ldx, add || i > 0);
        if (next) fetch(next->dy + i * h->ldy, rows, h->ldy, a->d);
        transposed(a, rows, r->p, r->dy_panels, dqkv + 2 * width, h->ldx, add || i > 0);
    }
    for (size_t i = a->queries; i < a->t && dqkv && !add; i++)
        memset(dqkv + i * h->ldx, 0, a->d * sizeof *dqkv);
}

/* All heads of an image, or one. */
static void backward_task(void *arg, size_t index, int worker)
{
    const attention *a = arg;
    const bool many = a->n >= MANY;
    const size_t image = many ? index : index / a->heads, first = many ? 0 : index % a->heads;
    const size_t end = many ? a->heads : first + 1;
    const scratch_parts r = scratch_of(a, worker);
    for (size_t i = first; i < end; i++) {
        const bool more = i + 1 < end;
        const head h = head_at(a, image, i), then = head_at(a, image, i + more);
        const flow f = flow_of(&h, NULL), next = flow_of(&then, NULL);
        backward_head(&h, &f, more ? &next : NULL, &r);
    }
}

/* One head of a run of images, with the bias' gradient. */
static void backward_run(void *arg, size_t index, int worker)
{
    const attention *a = arg;
    const size_t run = index / a->heads, square = a->t * a->t;
    const size_t first = run * a->n / a->runs, end = (run + 1) * a->n / a->runs;
    const scratch_parts r = scratch_of(a, worker);
    float *dbias = a->dbias + index * square;
    memset(dbias, 0, square * sizeof *dbias);
    for (size_t image = first; image < end; image++) {
        const bool more = image + 1 < end;
        const head h = head_at(a, image, index % a->heads);
        const head then = head_at(a, image + more, index % a->heads);
        const flow f = flow_of(&h, dbias), next = flow_of(&then, dbias);
        backward_head(&h, &f, more ? &next : NULL, &r);
    }
}

static kd_status backward(const kd_op_call *c)
{
    const attention_attr *attr = c->attr;
    attention a = attention_of(c, true);
    const int bias = kdi_attention_bias(attr->masked, c->n_in);
    if (!a.dbias) {
        kd_parallel_for(c->ctx, a.n >= MANY ? a.n : a.n * a.heads, backward_task, &a);
        return KD_OK;
    }
    kd_parallel_for(c->ctx, a.runs * a.heads, backward_run, &a);
    const size_t count = a.heads * a.t * a.t;
    c->kernels->sum_parts(count, a.runs, a.dbias, count, c->din[bias].data,
                          (int)(c->accumulate >> bias & 1));
    return KD_OK;
}

/* ---- the op ---------------------------------------------------------------------------------- */

static uint64_t macs(const kd_op_call *c)
{
    const kd_tensor *qkv = &c->in[0], *y = &c->out[0];
    return (uint64_t)qkv->dim[0] * y->dim[1] * qkv->dim[1] * (qkv->dim[2] / 3) * 2;
}

static kd_status shape(kd_op_shapes *s)
{
    const attention_attr *attr = s->attr;
    const kd_shape *x = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    const kd_status status = kdi_attention_check(s, attr->heads, attr->masked, attr->scale);
    if (status) return status;
    if (attr->queries < 1 || attr->queries > x->dim[1])
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s has no %d queries", s->name,
                           kdi_shape_text(x, text), attr->queries);
    s->out[0] = *x;
    s->out[0].dim[2] /= 3;
    s->out[0].dim[1] = attr->queries;
    s->out[1] = (kd_shape){.rank = 4, .dim = {x->dim[0], attr->heads, 2, x->dim[1]}};
    return KD_OK;
}

/* The mask has no gradient; where there is none, input 1 is a bias, which has. */
static uint32_t no_grad(const void *attr)
{
    const attention_attr *a = attr;
    return a->masked ? 1u << 1 : 0;
}

static const kd_op_field fields[] = {
    KDI_INT(attention_attr, heads),
    KDI_INT(attention_attr, masked),
    KDI_FLOAT(attention_attr, scale),
    KDI_INT(attention_attr, queries),
};

const kd_op kdi_op_attention = {
    .struct_size = sizeof(kd_op),
    .name = "attention",
    .attr_size = sizeof(attention_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 3,
    .n_out = 2,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1) | KD_KEEP_IN(2) | KD_KEEP_OUT(1),
    .no_grad_fn = no_grad,
    .optional_out = 1u << 1,
    .accumulates = 1,
    .scratch = scratch,
    .macs = macs,
};

static kd_value build(kd_graph *g, kd_value qkv, int heads, float scale, int queries, kd_value bias,
                      kd_value mask)
{
    const attention_attr attr = {heads, mask != KD_NONE, scale, queries};
    kd_value in[3];
    const int n = kdi_attention_inputs(in, qkv, bias, mask);
    return kd_graph_op(g, &kdi_op_attention, &attr, in, n, NULL);
}

kd_value kd_attention(kd_graph *g, kd_value qkv, int heads, float scale, kd_value bias,
                      kd_value mask)
{
    const kd_shape s = kd_graph_shape(g, qkv); /* a rank that is wrong is refused */
    return build(g, qkv, heads, scale, s.rank == 3 ? (int)s.dim[1] : 0, bias, mask);
}

kd_value kd_attention_first(kd_graph *g, kd_value qkv, int heads, float scale, int queries)
{
    return build(g, qkv, heads, scale, queries, KD_NONE, KD_NONE);
}
