/* SPDX-License-Identifier: MIT
 * window_partition.c: Swin's windows (Liu et al. 2021). window_partition shifts a map [N,H,W,C]
 * cyclically, pads it with zeros below and to the right to whole windows, and cuts it. The windows,
 * row by row, become images of their own, [N*windows,h*w,C]. The shift comes before the padding, as
 * in timm. window_reverse undoes it and drops the padding.
 *
 * Each op is the other's backward; the padding has no gradient. */
#include "fields.h"
#include "gather.h"
#include "ops.h"
#include "shape.h"

#include "../base/size.h"

typedef struct window_attr {
    int reverse;
    int map[2]; /* height, width; to be found for a partition */
    int window[2], shift[2];
} window_attr;

typedef struct windows {
    size_t h, w, window_h, window_w, down, across; /* windows in a map */
} windows;

static windows windows_of(const window_attr *attr)
{
    windows v = {.h = (size_t)attr->map[0],
                 .w = (size_t)attr->map[1],
                 .window_h = (size_t)attr->window[0],
                 .window_w = (size_t)attr->window[1]};
    v.down = kdi_pieces(v.h, v.window_h);
    v.across = kdi_pieces(v.w, v.window_w);
    return v;
}

static size_t windowed_rows(const windows *v)
{
    return v->down * v->window_h * v->across * v->window_w;
}

/* The pixel of a map of `size` that the shift brings to position i, or none. */
static int32_t source(size_t i, size_t size, int shift)
{
    const size_t at = i + (size_t)shift;
    return i < size ? (int32_t)(at < size ? at : at - size) : KDI_NO_ROW;
}

static void fill_window(const window_attr *attr, const windows *v, size_t y, size_t x, int32_t *to)
{
    for (size_t i = 0; i < v->window_h; i++)
        for (size_t j = 0; j < v->window_w; j++) {
            const int32_t row = source(y + i, v->h, attr->shift[0]);
            const int32_t column = source(x + j, v->w, attr->shift[1]);
            *to++ = row < 0 || column < 0 ? KDI_NO_ROW : row * attr->map[1] + column;
        }
}

/* The table for windows from a map. */
static kdi_gather partition(const kd_op_call *c, size_t channels)
{
    const window_attr *attr = c->attr;
    const windows v = windows_of(attr);
    const kdi_gather g = kdi_gather_make(windowed_rows(&v), v.h * v.w, channels, c->scratch);
    int32_t *to = g.table;
    for (size_t i = 0; i < v.down; i++)
        for (size_t j = 0; j < v.across; j++, to += v.window_h * v.window_w)
            fill_window(attr, &v, i * v.window_h, j * v.window_w, to);
    return g;
}

static void run(const kd_op_call *c, const kd_tensor *from, const kd_tensor *to, bool back,
                bool accumulate)
{
    const kdi_gather g = partition(c, to->dim[to->rank - 1]);
    const kdi_gather way = back ? kdi_gather_turn(&g) : g;
    kdi_gather_run(c, &way, from, to, accumulate);
}

static kd_status forward(const kd_op_call *c)
{
    const window_attr *attr = c->attr;
    run(c, &c->in[0], &c->out[0], attr->reverse, false);
    return KD_OK;
}

static kd_status backward(const kd_op_call *c)
{
    const window_attr *attr = c->attr;
    run(c, &c->dout[0], &c->din[0], !attr->reverse, c->accumulate & 1);
    return KD_OK;
}

static size_t scratch(const kd_op_call *c, int backwards)
{
    const window_attr *attr = c->attr;
    const windows v = windows_of(attr);
    (void)backwards;
    return kdi_gather_scratch(windowed_rows(&v), v.h * v.w);
}

/* Windows and shift fit the map, whose filled-up rows an int32_t can count. */
static kd_status check_window(const kd_op_shapes *s, const window_attr *attr)
{
    for (int i = 0; i < 2; i++) {
        if (attr->window[i] < 1 || attr->map[i] < 1)
            return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: windows of %dx%d on a map of %dx%d",
                               s->name, attr->window[0], attr->window[1], attr->map[0],
                               attr->map[1]);
        if (attr->shift[i] < 0 || attr->shift[i] >= attr->window[i] ||
            attr->shift[i] >= attr->map[i])
            return kd_ctx_fail(s->ctx, KD_E_INVALID,
                               "%s: a shift of %d,%d with windows of %dx%d on a map of %dx%d",
                               s->name, attr->shift[0], attr->shift[1], attr->window[0],
                               attr->window[1], attr->map[0], attr->map[1]);
    }
    size_t h, w, rows;
    if (!kdi_add((size_t)attr->map[0], (size_t)attr->window[0], &h) ||
        !kdi_add((size_t)attr->map[1], (size_t)attr->window[1], &w) || !kdi_mul(h, w, &rows) ||
        rows > INT32_MAX)
        return kd_ctx_fail(s->ctx, KD_E_LIMIT,
                           "%s: a map of %dx%d in windows of %dx%d is too large", s->name,
                           attr->map[0], attr->map[1], attr->window[0], attr->window[1]);
    return KD_OK;
}

/* images = factor * n, where n may be -k for k times the batch. */
static bool times(int64_t n, size_t factor, int64_t *images)
{
    size_t count;
    if (!kdi_mul((size_t)(n < 0 ? -n : n), factor, &count) || count > INT32_MAX) return false;
    *images = n < 0 ? -(int64_t)count : (int64_t)count;
    return true;
}

static kd_status shape_partition(kd_op_shapes *s)
{
    window_attr *attr = s->attr;
    const kd_shape *x = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    if (x->rank != 4 || x->dim[1] > INT32_MAX || x->dim[2] > INT32_MAX)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is no map [N,H,W,C]", s->name,
                           kdi_shape_text(x, text));
    attr->map[0] = (int)x->dim[1];
    attr->map[1] = (int)x->dim[2];
    const kd_status status = check_window(s, attr);
    if (status) return status;
    const windows v = windows_of(attr);
    s->out[0] = (kd_shape){.rank = 3, .dim = {0, attr->window[0] * attr->window[1], x->dim[3]}};
    if (!times(x->dim[0], v.down * v.across, &s->out[0].dim[0]))
        return kd_ctx_fail(s->ctx, KD_E_LIMIT, "%s: input %s has too many windows", s->name,
                           kdi_shape_text(x, text));
    return kdi_want_f32(s, 0);
}

static kd_status shape_reverse(kd_op_shapes *s)
{
    const window_attr *attr = s->attr;
    const kd_shape *x = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    const kd_status status = check_window(s, attr);
    if (status) return status;
    const windows v = windows_of(attr);
    const int64_t count = (int64_t)(v.down * v.across);
    if (x->rank != 3 || x->dim[0] % count || x->dim[1] != attr->window[0] * attr->window[1])
        return kd_ctx_fail(s->ctx, KD_E_SHAPE,
                           "%s: input %s, but a map of %dx%d has %lld windows of %dx%d", s->name,
                           kdi_shape_text(x, text), attr->map[0], attr->map[1], (long long)count,
                           attr->window[0], attr->window[1]);
    s->out[0] =
        (kd_shape){.rank = 4, .dim = {x->dim[0] / count, attr->map[0], attr->map[1], x->dim[2]}};
    return kdi_want_f32(s, 0);
}

static const kd_op_field fields[] = {
    KDI_INT(window_attr, reverse),
    KDI_INT(window_attr, map),
    KDI_INT(window_attr, window),
    KDI_INT(window_attr, shift),
};

#define WINDOWS(title, shape_rule)                                                                 \
    {                                                                                              \
        .struct_size = sizeof(kd_op), .name = title, .attr_size = sizeof(window_attr),             \
        KDI_FIELDS(fields), .n_in_min = 1, .n_in_max = 1, .n_out = 1, .shape = shape_rule,         \
        .forward = forward, .backward = backward, .accumulates = 1, .scratch = scratch,            \
    }

const kd_op kdi_op_window_partition = WINDOWS("window_partition", shape_partition);
const kd_op kdi_op_window_reverse = WINDOWS("window_reverse", shape_reverse);

kd_value kd_window_partition(kd_graph *g, kd_value x, const int window[2], const int shift[2])
{
    if (!window || !shift) return kdi_null(g, "kd_window_partition: NULL pair");
    const window_attr attr = {.window = {window[0], window[1]}, .shift = {shift[0], shift[1]}};
    return kd_graph_op(g, &kdi_op_window_partition, &attr, &x, 1, NULL);
}

kd_value kd_window_reverse(kd_graph *g, kd_value x, const int map[2], const int window[2],
                           const int shift[2])
{
    if (!map || !window || !shift) return kdi_null(g, "kd_window_reverse: NULL pair");
    const window_attr attr = {.reverse = 1,
                              .map = {map[0], map[1]},
                              .window = {window[0], window[1]},
                              .shift = {shift[0], shift[1]}};
    return kd_graph_op(g, &kdi_op_window_reverse, &attr, &x, 1, NULL);
}
