/* SPDX-License-Identifier: MIT
 * position_bias.c: Swin's relative position bias (Liu et al. 2021): of a table
 * [(2h-1)*(2w-1),heads] for windows of h by w pixels, the array [heads,T,T], T = h*w, that
 * attention adds:
 *   y[head][i][j] = table[(yi - yj + h - 1) * (2w - 1) + xi - xj + w - 1][head]
 * where pixel i is (yi, xi). The backward sums each table entry's pairs in the order of i. */
#include "fields.h"
#include "ops.h"
#include "shape.h"
#include "work.h"

#include <string.h>

typedef struct bias_attr {
    int window[2];
} bias_attr;

/* The entry of pixels i and 0; from there j's row and column only subtract. */
static size_t entry_of(const bias_attr *attr, size_t i)
{
    const size_t h = (size_t)attr->window[0], w = (size_t)attr->window[1];
    return (i / w + h - 1) * (2 * w - 1) + i % w + w - 1;
}

/* Rows of all heads. */
static void forward_rows(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const bias_attr *attr = c->attr;
    const size_t h = (size_t)attr->window[0], w = (size_t)attr->window[1], t = h * w;
    const size_t heads = c->out[0].dim[0];
    const float *table = c->in[0].data;
    float *y = c->out[0].data;
    for (size_t r = begin; r < end; r++) {
        const size_t entry = entry_of(attr, r % t);
        float *to = y + r * t;
        for (size_t i = 0; i < h; i++)
            for (size_t j = 0; j < w; j++)
                *to++ = table[(entry - i * (2 * w - 1) - j) * heads + r / t];
    }
}

static kd_status forward(const kd_op_call *c)
{
    const kd_tensor *y = &c->out[0];
    kdi_ranges(c->ctx, kdi_rows(y), 2 * kdi_cols(y), forward_rows, c);
    return KD_OK;
}

/* One head: summed up in scratch [heads][entries], then into the table's column. */
static void backward_heads(const void *arg, size_t begin, size_t end)
{
    const kd_op_call *c = arg;
    const bias_attr *attr = c->attr;
    const size_t h = (size_t)attr->window[0], w = (size_t)attr->window[1], t = h * w;
    const size_t entries = c->din[0].dim[0];
    const float *dy = c->dout[0].data;
    float *sums = c->scratch;
    for (size_t head = begin; head < end; head++) {
        float *sum = sums + head * entries;
        const float *from = dy + head * t * t;
        memset(sum, 0, entries * sizeof *sum);
        for (size_t i = 0; i < t; i++) {
            const size_t entry = entry_of(attr, i);
            for (size_t y = 0; y < h; y++)
                for (size_t x = 0; x < w; x++) sum[entry - y * (2 * w - 1) - x] += *from++;
        }
    }
}

static kd_status backward(const kd_op_call *c)
{
    const kd_tensor *dy = &c->dout[0], *table = &c->din[0];
    const size_t heads = table->dim[1], entries = table->dim[0];
    const float *sums = c->scratch;
    float *d = table->data;
    kdi_ranges(c->ctx, heads, 2 * dy->dim[1] * dy->dim[2], backward_heads, c);
    c->kernels->transpose(heads, entries, sums, entries, d, heads, (int)(c->accumulate & 1));
    return KD_OK;
}

static size_t scratch(const kd_op_call *c, int backwards)
{
    const bias_attr *attr = c->attr;
    const size_t entries = (2 * (size_t)attr->window[0] - 1) * (2 * (size_t)attr->window[1] - 1);
    return backwards ? entries * c->dout[0].dim[0] * sizeof(float) : 0;
}

static kd_status shape(kd_op_shapes *s)
{
    const bias_attr *attr = s->attr;
    const kd_shape *table = &s->in[0];
    char text[KDI_SHAPE_TEXT];
    const int64_t h = attr->window[0], w = attr->window[1];
    if (h < 1 || w < 1 || h > INT16_MAX || w > INT16_MAX)
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: windows of %dx%d", s->name, attr->window[0],
                           attr->window[1]);
    const int64_t offsets = (2 * h - 1) * (2 * w - 1);
    if (table->rank != 2 || table->dim[0] != offsets || table->dim[1] < 1)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE,
                           "%s: table %s is not [%lld,heads], what windows of %dx%d need", s->name,
                           kdi_shape_text(table, text), (long long)offsets, attr->window[0],
                           attr->window[1]);
    s->out[0] = (kd_shape){.rank = 3, .dim = {table->dim[1], h * w, h * w}};
    return kdi_want_f32(s, 0);
}

static const kd_op_field fields[] = {KDI_INT(bias_attr, window)};

const kd_op kdi_op_position_bias = {
    .struct_size = sizeof(kd_op),
    .name = "position_bias",
    .attr_size = sizeof(bias_attr),
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

kd_value kd_position_bias(kd_graph *g, kd_value table, const int window[2])
{
    if (!window) return kdi_null(g, "kd_position_bias: NULL window");
    const bias_attr attr = {{window[0], window[1]}};
    return kd_graph_op(g, &kdi_op_position_bias, &attr, &table, 1, NULL);
}
