/* SPDX-License-Identifier: MIT
 * position_tables.h: a transformer's parameters that depend on positions, for another size of
 * picture. */
#ifndef KDI_POSITION_TABLES_H
#define KDI_POSITION_TABLES_H

#include "spec.h"

#include <kd/params.h>

/* Does this parameter depend on positions, and can it be made from an array of this other shape? */
bool kdi_positions_fit(const kdi_spec *spec, const kd_param_info *info, int rank,
                       const int64_t *shape);
/* Resize the array from [shape], which fits, to the parameter's. */
kd_status kdi_positions_resize(kd_ctx *ctx, const kdi_spec *spec, const kd_param_info *info,
                               const int64_t *shape, const float *from, float *to);

#endif
