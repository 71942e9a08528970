/* SPDX-License-Identifier: MIT
 * gather.h: ops that move rows of c numbers, the same way in each image: Swin's windows, patch
 * merging. A table for one image says where each row comes from. It is made at each call, in the
 * op's scratch, which costs little beside the move itself. */
#ifndef KDI_GATHER_H
#define KDI_GATHER_H

#include <kd/op.h>

#include <stdbool.h>

/* No row: zeros go there. */
enum { KDI_NO_ROW = -1 };

/* Images of `here` rows from images of `there` rows; no row is used twice. */
typedef struct kdi_gather {
    size_t here, there, c;
    int32_t *table;  /* [here]: where a row comes from, or KDI_NO_ROW */
    int32_t *turned; /* [there]: where a row goes to, or KDI_NO_ROW; see kdi_gather_turn */
} kdi_gather;

/* Bytes of both tables, and the tables in that scratch. */
size_t kdi_gather_scratch(size_t here, size_t there);
kdi_gather kdi_gather_make(size_t here, size_t there, size_t c, void *scratch);
/* The opposite move, from `here` to `there`. */
kdi_gather kdi_gather_turn(const kdi_gather *g);
/* to (+)= rows of from */
void kdi_gather_run(const kd_op_call *call, const kdi_gather *g, const kd_tensor *from,
                    const kd_tensor *to, bool accumulate);

#endif
