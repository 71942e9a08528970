/* SPDX-License-Identifier: MIT
 * open_file.h: the inside of an open file. */
#ifndef KDI_OPEN_FILE_H
#define KDI_OPEN_FILE_H

#include "../base/base.h"

#include <kd/file.h>

typedef struct kdi_file_pair {
    const char *key, *value;
} kdi_file_pair;

struct kd_file {
    kd_ctx *ctx;
    char *path;
    int fd; /* -1: the bytes are at memory */
    const unsigned char *memory;
    kd_file **parts; /* [n_parts] the shards of an index; their bytes follow one another */
    size_t n_parts;
    uint64_t size, data;     /* bytes of the file; offset of the tensors */
    char *header;            /* names and metadata point into it */
    kd_file_tensor *tensors; /* [count], by offset */
    const kd_file_tensor **by_name;
    size_t count;
    kdi_file_pair *metadata; /* [metadata_count], by key; NULL: the file has none */
    size_t metadata_count;
};

/* A safetensors file itself, no folder and no index. On failure *file is NULL. */
kd_status kdi_file_open_one(kd_ctx *ctx, const char *path, kd_file **file);
/* Sort the names of f->tensors; KD_E_FORMAT where one comes twice. */
kd_status kdi_file_index_names(kd_file *f);

/* Read size bytes from offset on. KD_E_IO if the file does not have them. */
kd_status kdi_file_bytes(kd_file *file, uint64_t offset, void *out, size_t size);

#endif
