/* SPDX-License-Identifier: MIT
 * fuse.h: what the passes that merge ops (fuse*.c) share. Nodes are numbers, -1: none. */
#ifndef KDI_FUSE_H
#define KDI_FUSE_H

#include "plan.h"

/* The backward of a forward node. */
int kdi_backward_of(const kdi_draft *d, int forward);
/* The batch_norm that reads v. */
int kdi_norm_of(const kdi_draft *d, kd_value v);
/* A value of fusion's own, float32. */
kd_value kdi_add_value(kdi_draft *d, kd_shape shape);

/* Training: batch norms that convolutions take along, behind all other rules. */
kd_status kdi_fuse_norms(kdi_draft *d);

#endif
