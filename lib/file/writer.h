/* SPDX-License-Identifier: MIT
 * writer.h: memory that lives as long as a writer, for other rooms that give it tensors piece by
 * piece (kd_writer_tensor_fn). */
#ifndef KDI_WRITER_H
#define KDI_WRITER_H

#include "../base/base.h"

#include <kd/file.h>

/* One array in which all tensors of a file are made, one after another. */
typedef struct kdi_writer_buffer {
    void *bytes;
    size_t size;
    const void *owner; /* the tensor that it holds now */
} kdi_writer_buffer;

kd_ctx *kdi_writer_ctx(const kd_writer *writer);
/* The context's last error becomes the writer's first failure. */
kd_status kdi_writer_fail(kd_writer *writer, kd_status status);
/* Zeroed. NULL: the writer has failed. */
void *kdi_writer_alloc(kd_writer *writer, size_t count, size_t size);
/* The buffer, with room for so many bytes. Call it before the finish. NULL: the writer has failed. */
kdi_writer_buffer *kdi_writer_reserve(kd_writer *writer, size_t size);

#endif
