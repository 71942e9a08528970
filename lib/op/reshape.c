/* SPDX-License-Identifier: MIT
 * reshape.c: the same elements under another shape: a view, which costs nothing. */
#include "fields.h"
#include "ops.h"
#include "shape.h"

typedef struct reshape_attr {
    kd_shape to; /* dim[0] may be -k; one dimension may be 0: inferred */
} reshape_attr;

static kd_status misfit(const kd_op_shapes *s, const kd_shape *to, const char *why)
{
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: %s to %s: %s", s->name,
                       kdi_shape_text(&s->in[0], a), kdi_shape_text(to, b), why);
}

static bool symbolic(const kd_shape *s)
{
    return s->rank > 0 && s->dim[0] < 0;
}

/* The dimension that is 0, or -1; -2 when there are several. */
static int inferred(const kd_shape *to)
{
    int found = -1;
    for (int i = 0; i < to->rank; i++) {
        if (to->dim[i] != 0) continue;
        if (found >= 0) return -2;
        found = i;
    }
    return found;
}

/* Rank and dimensions are in range, and only the first is a multiple of the batch. */
static kd_status check_range(const kd_op_shapes *s, const kd_shape *to)
{
    if (to->rank < 1 || to->rank > KD_MAX_RANK)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: rank %d is not in 1..%d", s->name, to->rank,
                           (int)KD_MAX_RANK);
    for (int i = 0; i < to->rank; i++)
        if (to->dim[i] > INT32_MAX || to->dim[i] < (i ? 0 : -INT32_MAX))
            return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: dimension %d cannot be %lld", s->name, i,
                               (long long)to->dim[i]);
    return KD_OK;
}

static kd_status shape(kd_op_shapes *s)
{
    const reshape_attr *attr = s->attr;
    const kd_shape *in = &s->in[0];
    kd_shape to = attr->to;
    size_t have, want;
    const kd_status status = check_range(s, &to);
    if (status) return status;
    const int hole = inferred(&to);
    if (hole == -2) return misfit(s, &to, "only one dimension may be 0");
    if (hole >= 0) to.dim[hole] = 1;
    /* Counts for a batch of 1: a symbolic shape holds that many times the batch. */
    if (!kdi_shape_count(in, 1, &have) || !kdi_shape_count(&to, 1, &want) || want == 0)
        return misfit(s, &attr->to, "the number of elements overflows");
    if (hole >= 0) {
        if (have % want || have / want > INT32_MAX)
            return misfit(s, &attr->to, "no size fits in the place of 0");
        to.dim[hole] = (int64_t)(have / want);
        if (hole == 0 && symbolic(in)) to.dim[0] = -to.dim[0];
    } else if (have != want) {
        return misfit(s, &to, "the numbers of elements differ");
    }
    if (symbolic(in) != symbolic(&to))
        return misfit(s, &to, "both must be multiples of the batch, or neither");
    s->out[0] = to;
    s->out_dtype[0] = s->in_dtype[0];
    return KD_OK;
}

static const kd_op_field fields[] = {KDI_INT(reshape_attr, to.rank),
                                     KDI_INT64(reshape_attr, to.dim)};

const kd_op kdi_op_reshape = {
    .struct_size = sizeof(kd_op),
    .name = "reshape",
    .attr_size = sizeof(reshape_attr),
    KDI_FIELDS(fields),
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .shape = shape,
    .view = 1,
};

kd_value kd_reshape(kd_graph *g, kd_value x, int rank, const int64_t *dim)
{
    if (!dim && rank > 0) return kdi_null(g, "kd_reshape: NULL dim");
    reshape_attr attr = {{.rank = rank}};
    for (int i = 0; i < rank && i < KD_MAX_RANK; i++) attr.to.dim[i] = dim[i];
    return kd_graph_op(g, &kdi_op_reshape, &attr, &x, 1, NULL);
}
