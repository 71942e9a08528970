/* SPDX-License-Identifier: MIT
 * safetensors.h: what reader and writer of the format share. */
#ifndef KDI_SAFETENSORS_H
#define KDI_SAFETENSORS_H

#include "../base/base.h"

#include <kd/file.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are little-endian, and so must the machine be: values are copied as they are"
#endif

enum { KDI_LENGTH_BYTES = 8, KDI_MAX_HEADER = 100000000 };

#define KDI_METADATA "__metadata__"

/* The format's names of the element types, in the reference implementation's order, in which a file
 * holds them from the last to the first; NULL-terminated by count. */
typedef struct kdi_file_type {
    const char *name;
    kd_dtype dtype;
} kdi_file_type;

extern const kdi_file_type kdi_file_types[];
enum { KDI_FILE_TYPES = KD_DTYPE_COUNT };

/* Elements and bytes of a shape; false where the reference implementation, too, sees an overflow:
 * multiplying from left to right, before any zero that may follow. */
bool kdi_file_extent(kd_dtype dtype, int rank, const int64_t *shape, size_t *count, size_t *bytes);

#endif
