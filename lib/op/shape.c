/* SPDX-License-Identifier: MIT
 * shape.c: counting, comparing and printing shapes. */
#include "shape.h"

#include "../base/checked.h"

#include <stdio.h>

bool kdi_shape_count(const kd_shape *shape, size_t n, size_t *count)
{
    size_t total = 1;
    for (int i = 0; i < shape->rank; i++) {
        const int64_t d = shape->dim[i];
        size_t size = (size_t)(d < 0 ? -d : d);
        if (d < 0 && !kdi_mul(size, n, &size)) return false;
        if (!kdi_mul(total, size, &total)) return false;
    }
    *count = total;
    return true;
}

bool kdi_shape_equal(const kd_shape *a, const kd_shape *b)
{
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

const char *kdi_shape_text(const kd_shape *shape, char text[KDI_SHAPE_TEXT])
{
    size_t used = 1;
    text[0] = '[';
    for (int i = 0; i < shape->rank && used < KDI_SHAPE_TEXT - 1; i++) {
        const int64_t d = shape->dim[i];
        const char *comma = i ? "," : "";
        int n;
        if (d == -1)
            n = snprintf(text + used, KDI_SHAPE_TEXT - used, "%sN", comma);
        else if (d < 0)
            n = snprintf(text + used, KDI_SHAPE_TEXT - used, "%s%lldN", comma, -(long long)d);
        else
            n = snprintf(text + used, KDI_SHAPE_TEXT - used, "%s%lld", comma, (long long)d);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used > KDI_SHAPE_TEXT - 2) used = KDI_SHAPE_TEXT - 2;
    text[used] = ']';
    text[used + 1] = 0;
    return text;
}

kd_value kdi_null(kd_graph *g, const char *what)
{
    if (kd_graph_status(g)) return KD_NONE;
    return kd_graph_fail(g, kd_ctx_fail(kd_graph_ctx(g), KD_E_INVALID, "%s", what));
}
