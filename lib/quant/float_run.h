/* SPDX-License-Identifier: MIT
 * float_run.h: the layers of a net computed in float32 by the host's kernels, every map to be looked
 * at. */
#ifndef KDI_FLOAT_RUN_H
#define KDI_FLOAT_RUN_H

#include "net.h"

typedef struct kdi_float_run kdi_float_run;

/* The weights are copied. A run takes at most kdi_float_batch pictures, which the net alone decides.
 */
kd_status kdi_float_create(const kdi_net *net, kdi_float_run **out);
size_t kdi_float_batch(const kdi_float_run *run);
/* pictures [n,h,w,c]. KD_E_NONFINITE, naming the layer, where a number is not finite. */
kd_status kdi_float_do(kdi_float_run *run, const uint8_t *pictures, size_t n);
/* Map i of the last run, [n,h,w,c]; map 0 is the normalised picture. */
const float *kdi_float_map(const kdi_float_run *run, size_t i);
void kdi_float_destroy(kdi_float_run *run);

#endif
