/* SPDX-License-Identifier: MIT
 * emit_windows.c: Swin's windows, their bias and mask, and the merging of patches. What only moves
 * rows of channels is a Gather from the rows of an image [N,rows,C]: shifts, padding and cutting are
 * one table. Tables that are the same are one constant. */
#include "maps.h"

/* table [count] of row numbers. none: the number that stands for no row. False: it has failed. */
static bool rows_of(kdi_emitter *e, const kdi_node *n, const kd_shape *in, int64_t none,
                    int64_t **table, size_t *count, bool *padded, bool *identity)
{
    float *moved = NULL;
    const kd_status status = kdi_onnx_run(e->o->ctx, n, in, &moved, count);
    if (status) kdi_onnx_fail(e->o, status);
    *table = kdi_onnx_alloc(e->o, *count, sizeof **table);
    *padded = false;
    *identity = *count == (size_t)none;
    for (size_t i = 0; i < *count && *table; i++) {
        const bool nowhere = moved[i] < 1;
        (*table)[i] = nowhere ? none : (int64_t)moved[i] - 1;
        *padded |= nowhere;
        *identity &= (*table)[i] == (int64_t)i;
    }
    kd_ctx_free(e->o->ctx, moved);
    return *table != NULL;
}

static char *index_array(kdi_onnx *o, int64_t *table, int rank, const int64_t *dim)
{
    kdi_onnx_array a = {.type = KDI_ONNX_INT64, .rank = rank, .data = table};
    for (int i = 0; i < rank; i++) a.dim[i] = dim[i];
    return kdi_onnx_constant(o, &a);
}

/* x [N,rows,C] with a row of zeros behind. */
static char *pad(kdi_onnx *o, char *x)
{
    static const int64_t pads[] = {0, 0, 0, 0, 1, 0};
    return KDI_ONNX_NODE(o, "Pad", x, kdi_onnx_int64s(o, pads, 6));
}

static char *gather(kdi_onnx *o, char *x, char *index, int64_t axis)
{
    char *y = KDI_ONNX_NODE(o, "Gather", x, index);
    kdi_onnx_int(o, "axis", axis);
    return y;
}

/* Partition, reverse, merge: an image is what one of the smaller number of pieces on either side is
 * made of. */
void kdi_emit_move(kdi_emitter *e, const kdi_node *n)
{
    const kd_shape *in = kdi_emit_shape(e, n->in[0]), *out = kdi_emit_shape(e, n->out[0]);
    const int64_t pieces = in->dim[0] < 0 && out->dim[0] < 0 ? in->dim[0] / out->dim[0] : 0;
    const int64_t c = in->dim[in->rank - 1];
    kd_shape image = *in;
    int64_t *table, rows = 1;
    size_t count;
    bool padded, identity;
    if (in->dim[0] >= 0 || out->dim[0] >= 0) {
        kdi_emit_refuse(e, "its first dimension is not the batch");
        return;
    }
    image.dim[0] = pieces > 1 ? -pieces : KD_BATCH;
    image.dim[in->rank - 1] = 1;
    for (int i = 0; i < image.rank; i++) rows *= image.dim[i] < 0 ? -image.dim[i] : image.dim[i];
    if (!rows_of(e, n, &image, rows, &table, &count, &padded, &identity)) return;
    const int64_t flat[] = {pieces > 1 ? out->dim[0] : in->dim[0], rows, c};
    const int64_t places = (int64_t)count;
    char *x = kdi_emit_reshape(e, kdi_emit_plain(e, n->in[0]), 3, flat);
    if (padded) x = pad(e->o, x);
    if (!identity) x = gather(e->o, x, index_array(e->o, table, 1, &places), 1);
    kdi_emit_set(e, kdi_emit_reshape(e, x, out->rank, out->dim), false);
}

/* [heads,T,T] of the table [entries,heads]. */
void kdi_emit_position_bias(kdi_emitter *e, const kdi_node *n)
{
    static const int64_t order[] = {2, 0, 1};
    const kd_shape *table = kdi_emit_shape(e, n->in[0]), *out = kdi_emit_shape(e, n->out[0]);
    const kd_shape one = {2, {table->dim[0], 1}};
    int64_t *index;
    size_t count;
    bool padded, identity;
    if (!rows_of(e, n, &one, table->dim[0], &index, &count, &padded, &identity)) return;
    char *x = kdi_emit_plain(e, n->in[0]), *pairs = index_array(e->o, index, 2, out->dim + 1);
    kdi_emit_set(e, kdi_emit_transpose(e, gather(e->o, x, pairs, 0), 3, order), false);
}

void kdi_emit_window_mask(kdi_emitter *e, const kdi_node *n)
{
    const kd_shape *out = kdi_emit_shape(e, n->out[0]);
    float *mask = NULL;
    size_t count;
    const kd_status status = kdi_onnx_run(e->o->ctx, n, NULL, &mask, &count);
    if (status) kdi_onnx_fail(e->o, status);
    kdi_onnx_array a = {.type = KDI_ONNX_FLOAT, .rank = out->rank, .data = mask};
    for (int i = 0; i < out->rank; i++) a.dim[i] = out->dim[i];
    kdi_emit_set(e, kdi_onnx_constant(e->o, &a), false);
    kd_ctx_free(e->o->ctx, mask);
}
