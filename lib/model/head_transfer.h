/* SPDX-License-Identifier: MIT
 * head_transfer.h: whether a file's head is kept in a new task. */
#ifndef KDI_HEAD_TRANSFER_H
#define KDI_HEAD_TRANSFER_H

#include "model.h"

typedef enum kdi_head_fate { KDI_HEAD_KEPT, KDI_HEAD_NEW } kdi_head_fate;

typedef struct kdi_head_choice {
    kdi_head_fate fate;
    int32_t *map;      /* [classes]: the row of the file for each class; NULL: the same */
    kdi_classes names; /* of the model's classes; none: not known */
} kdi_head_choice;

/* By the rules of kd_model_load_as; sets spec->classes. What is decided is logged. On failure, too,
 * kdi_head_free frees what there is. */
kd_status kdi_head_decide(kd_ctx *ctx, const kd_file *file, const kd_load_opt *opt,
                          const kdi_spec *original, kdi_spec *spec, kdi_head_choice *head);
void kdi_head_free(kd_ctx *ctx, kdi_head_choice *head);

#endif
