/* SPDX-License-Identifier: MIT
 * kind.h: what a file is, by its first bytes: for error texts, and so that no file of another kind
 * is replaced. */
#ifndef KDI_KIND_H
#define KDI_KIND_H

#include "../base/base.h"

typedef enum kdi_kind {
    KDI_KIND_OTHER, /* some text */
    KDI_KIND_BINARY,
    KDI_KIND_EMPTY,
    KDI_KIND_SAFETENSORS, /* its header's length and first byte are possible ones */
    KDI_KIND_JSON,
    KDI_KIND_PYTORCH,
    KDI_KIND_PICKLE,
    KDI_KIND_NUMPY,
    KDI_KIND_LFS,
    KDI_KIND_PAGE,
    KDI_KIND_GGUF,
    KDI_KIND_ONNX,
    KDI_KIND_HDF5,
    KDI_KIND_ZIP,
    KDI_KIND_GZIP,
    KDI_KIND_BZIP2,
    KDI_KIND_XZ,
    KDI_KIND_ZSTD,
    KDI_KIND_PNG,
    KDI_KIND_JPEG,
    KDI_KIND_WEBP,
    KDI_KIND_GIF,
    KDI_KIND_PDF,
    KDI_KIND_PROGRAM
} kdi_kind;

enum { KDI_KIND_BYTES = 512 }; /* that are looked at */

/* Of a file whose first bytes are these, size of them (KDI_KIND_BYTES or the whole file). */
kdi_kind kdi_kind_of(const void *bytes, size_t size);
/* "a PNG picture"; NULL where nothing is known. */
const char *kdi_kind_name(kdi_kind kind);
/* What to do with such a file where safetensors are wanted, to stand behind a sentence; or "". */
const char *kdi_kind_advice(kdi_kind kind);

/* May a file of this kind take the place of what is at path (links followed)? Of nothing, an empty
 * file, one of the same kind, and for texts, of a text. KD_E_EXISTS, in words, if not; what can't be
 * read is not replaced. What is no regular file is left to others. */
kd_status kdi_kind_replaces(kd_ctx *ctx, const char *path, kdi_kind kind);

#endif
