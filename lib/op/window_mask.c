/* SPDX-License-Identifier: MIT
 * window_mask.c: Swin's attention mask for a shifted map (Liu et al. 2021), [windows,T,T]: 0 where
 * two pixels of a window belong together, else -100. Along each axis there are three zones: the
 * pixels before the last window, those of it before the shift's seam, those after the seam. Two
 * pixels belong together if they share the zone on both axes. No inputs, no gradient. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

typedef struct mask_attr {
    int map[2], window[2], shift[2];
} mask_attr;

static int windows_along(const mask_attr *attr, int axis)
{
    return (attr->map[axis] + attr->window[axis] - 1) / attr->window[axis];
}

/* One axis of a map filled up to whole windows. */
typedef struct side {
    size_t size, window, shift;
} side;

static side side_of(const mask_attr *attr, int axis)
{
    const size_t window = (size_t)attr->window[axis];
    return (side){(size_t)windows_along(attr, axis) * window, window, (size_t)attr->shift[axis]};
}

static int zone(const side *s, size_t i)
{
    if (s->shift == 0 || i < s->size - s->window) return 0;
    return i < s->size - s->shift ? 1 : 2;
}

/* One row of a window whose first pixel is (top, left): of pixel (y, x) with all. */
static void fill_row(const side *h, const side *w, size_t top, size_t left, size_t y, size_t x,
                     float *to)
{
    const int row = zone(h, top + y), column = zone(w, left + x);
    for (size_t i = 0; i < h->window; i++) {
        const bool near = zone(h, top + i) == row;
        for (size_t j = 0; j < w->window; j++)
            *to++ = near && zone(w, left + j) == column ? 0 : -100.f;
    }
}

/* Rows of all windows. */
static void fill_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const side h = side_of(c->attr, 0), w = side_of(c->attr, 1);
    const size_t t = h.window * w.window, across = w.size / w.window;
    float *y = c->out[0].data;
    for (size_t r = begin; r < end; r++) {
        const size_t window = r / t, pixel = r % t;
        fill_row(&h, &w, window / across * h.window, window % across * w.window, pixel / w.window,
                 pixel % w.window, y + r * t);
    }
}

static kd_status forward(const kd_op_call *c)
{
    const kd_tensor *y = &c->out[0];
    kdi_ranges(c->ctx, kdi_rows(y), 4 * kdi_cols(y), fill_rows, c);
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    const mask_attr *attr = s->attr;
    for (int i = 0; i < 2; i++)
        if (attr->window[i] < 1 || attr->map[i] < 1 || attr->shift[i] < 0 ||
            attr->shift[i] >= attr->window[i] || attr->map[i] > INT32_MAX - attr->window[i])
            return kd_ctx_fail(s->ctx, KD_E_INVALID,
                               "%s: a shift of %d,%d with windows of %dx%d on a map of %dx%d",
                               s->name, attr->shift[0], attr->shift[1], attr->window[0],
                               attr->window[1], attr->map[0], attr->map[1]);
    const int64_t t = (int64_t)attr->window[0] * attr->window[1];
    s->out[0] = (kd_shape){.rank = 3,
                           .dim = {(int64_t)windows_along(attr, 0) * windows_along(attr, 1), t, t}};
    return KD_OK;
}

static const kd_op_field fields[] = {
    KDI_INT(mask_attr, map),
    KDI_INT(mask_attr, window),
    KDI_INT(mask_attr, shift),
};

const kd_op kdi_op_window_mask = {
    .struct_size = sizeof(kd_op),
    .name = "window_mask",
    .attr_size = sizeof(mask_attr),
    KDI_FIELDS(fields),
    .n_out = 1,
    .shape = shape,
    .forward = forward,
};

kd_value kd_window_mask(kd_graph *g, const int map[2], const int window[2], const int shift[2])
{
    if (!map || !window || !shift) return kdi_null(g, "kd_window_mask: NULL pair");
    const mask_attr attr = {
        .map = {map[0], map[1]}, .window = {window[0], window[1]}, .shift = {shift[0], shift[1]}};
    return kd_graph_op(g, &kdi_op_window_mask, &attr, NULL, 0, NULL);
}
