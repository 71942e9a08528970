/* SPDX-License-Identifier: MIT
 * replaceable.h: what to do with a file that is no safetensors file; and that no file of another
 * kind is replaced. */
#ifndef KDI_REPLACEABLE_H
#define KDI_REPLACEABLE_H

#include "../base/base.h"
#include "../base/kind.h"

/* What to do with such a file where safetensors are wanted, to stand behind a sentence; or "". */
const char *kdi_safetensors_advice(kdi_file_kind kind);

/* May a file of this kind take the place of what is at path (links followed)? Of nothing, an empty
 * file, one of the same kind, and for texts, of a text. KD_E_EXISTS, in words, if not; what can't be
 * read is not replaced. What is no regular file is left to others. */
kd_status kdi_kind_replaces(kd_ctx *ctx, const char *path, kdi_file_kind kind);

#endif
