/* SPDX-License-Identifier: MIT
 * kind.h: what a file is, by its first bytes: for errors about files that are something else than
 * what is read, and so that no file of another kind is replaced. */
#ifndef KDI_KIND_H
#define KDI_KIND_H

#include <stdbool.h>
#include <stddef.h>

typedef enum kdi_file_kind {
    KDI_KIND_OTHER, /* some text */
    KDI_KIND_BINARY,
    KDI_KIND_EMPTY,
    KDI_KIND_ZEROS,
    KDI_KIND_SAFETENSORS, /* its header's length and first byte are possible ones */
    KDI_KIND_JSON,
    KDI_KIND_PYTORCH,
    KDI_KIND_PICKLE,
    KDI_KIND_NUMPY,
    KDI_KIND_LFS, /* what stands for a file that is kept elsewhere */
    KDI_KIND_ANNEX,
    KDI_KIND_DVC,
    KDI_KIND_PAGE,
    KDI_KIND_REFUSAL,
    KDI_KIND_XML,
    KDI_KIND_SVG,
    KDI_KIND_GGUF,
    KDI_KIND_ONNX,
    KDI_KIND_HDF5,
    KDI_KIND_TFLITE,
    KDI_KIND_ZIP,
    KDI_KIND_GZIP,
    KDI_KIND_BZIP2,
    KDI_KIND_XZ,
    KDI_KIND_ZSTD,
    KDI_KIND_TAR,
    KDI_KIND_PNG,
    KDI_KIND_JPEG,
    KDI_KIND_WEBP,
    KDI_KIND_GIF,
    KDI_KIND_TIFF,
    KDI_KIND_AVIF,
    KDI_KIND_HEIF,
    KDI_KIND_MEDIA,
    KDI_KIND_JXL,
    KDI_KIND_JP2,
    KDI_KIND_PSD,
    KDI_KIND_ICON,
    KDI_KIND_BMP,
    KDI_KIND_NETPBM,
    KDI_KIND_PDF,
    KDI_KIND_KDE, /* lib/edge */
    KDI_KIND_PROGRAM,
    KDI_KINDS
} kdi_file_kind;

enum { KDI_KIND_BYTES = 512 }; /* that are looked at */

/* Of a file whose first bytes are these, size of them (KDI_KIND_BYTES or the whole file). */
kdi_file_kind kdi_kind_of(const void *bytes, size_t size);
/* "a PNG picture" */
const char *kdi_kind_name(kdi_file_kind kind);
/* What to do with such a file, whatever is wanted, to stand behind its name; or "". */
const char *kdi_kind_advice(kdi_file_kind kind);
bool kdi_kind_is_text(kdi_file_kind kind);

#endif
