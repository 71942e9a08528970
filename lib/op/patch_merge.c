/* SPDX-License-Identifier: MIT
 * patch_merge.c: Swin's patch merging (Liu et al. 2021), without its norm and product. The four
 * pixels of each 2x2 square come to lie side by side: [N,H,W,C] -> [N,ceil(H/2),ceil(W/2),4*C].
 * Their order is (0,0), (1,0), (0,1), (1,1) of (row, column). Beyond the edge of an odd map is 0. */
#include "gather.h"
#include "fields.h"
#include "ops.h"
#include "shape.h"

typedef struct merge_attr {
    int h, w; /* the map's, found by the shape rule */
} merge_attr;

static size_t half(int size)
{
    return ((size_t)size + 1) / 2;
}

static kdi_gather merging(const kd_op_call *c, size_t channels)
{
    const merge_attr *attr = c->attr;
    const size_t h = (size_t)attr->h, w = (size_t)attr->w;
    const kdi_gather g =
        kdi_gather_make(4 * half(attr->h) * half(attr->w), h * w, channels, c->scratch);
    int32_t *to = g.table;
    for (size_t y = 0; y < h; y += 2)
        for (size_t x = 0; x < w; x += 2)
            for (size_t q = 0; q < 4; q++) {
                const size_t row = y + q % 2, column = x + q / 2;
                *to++ = row < h && column < w ? (int32_t)(row * w + column) : KDI_NO_ROW;
            }
    return g;
}

static kd_status forward(const kd_op_call *c)
{
    const kdi_gather g = merging(c, c->in[0].dim[3]);
    kdi_gather_run(c, &g, &c->in[0], &c->out[0], false);
    return KD_OK;
}

static kd_status backward(const kd_op_call *c)
{
    const kdi_gather g = merging(c, c->din[0].dim[3]), back = kdi_gather_turn(&g);
    kdi_gather_run(c, &back, &c->dout[0], &c->din[0], c->accumulate & 1);
    return KD_OK;
}

static size_t scratch(const kd_op_call *c, int backwards)
{
    const merge_attr *attr = c->attr;
    (void)backwards;
    return kdi_gather_scratch(4 * half(attr->h) * half(attr->w), (size_t)attr->h * (size_t)attr->w);
}

static kd_status shape(kd_op_shapes *s)
{
    merge_attr *attr = s->attr;
    const kd_shape *x = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    if (x->rank != 4)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: input %s is no map [N,H,W,C]", s->name,
                           kdi_shape_text(x, text));
    if (x->dim[1] >= INT32_MAX || x->dim[2] >= INT32_MAX ||
        (x->dim[1] + 1) * (x->dim[2] + 1) > INT32_MAX || x->dim[3] > INT32_MAX)
        return kd_ctx_fail(s->ctx, KD_E_LIMIT, "%s: input %s is too large", s->name,
                           kdi_shape_text(x, text));
    attr->h = (int)x->dim[1];
    attr->w = (int)x->dim[2];
    s->out[0] = (kd_shape){
        .rank = 4,
        .dim = {x->dim[0], (int64_t)half(attr->h), (int64_t)half(attr->w), 4 * x->dim[3]}};
    return kdi_want_f32(s, 0);
}

static const kd_op_field fields[] = {KDI_INT(merge_attr, h), KDI_INT(merge_attr, w)};

const kd_op kdi_op_patch_merge = {
    .struct_size = sizeof(kd_op),
    .name = "patch_merge",
    .attr_size = sizeof(merge_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .accumulates = 1,
    .scratch = scratch,
};

kd_value kd_patch_merge(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &kdi_op_patch_merge, NULL, &x, 1, NULL);
}
