/* SPDX-License-Identifier: MIT
 * position_tables.h: what a transformer knows of positions, for another size of picture. */
#ifndef KDI_POSITION_TABLES_H
#define KDI_POSITION_TABLES_H

#include "spec.h"

#include <kd/params.h>

/* Is this parameter made of positions, and can it be had from an array of this other shape? */
bool kdi_positions_fit(const kdi_spec *spec, const kd_param_info *info, int rank,
                       const int64_t *shape);
/* from [shape], which fits, to the parameter's array. */
kd_status kdi_positions_resize(kd_ctx *ctx, const kdi_spec *spec, const kd_param_info *info,
                               const int64_t *shape, const float *from, float *to);

#endif
