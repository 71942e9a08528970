/* SPDX-License-Identifier: MIT
 * shards.h: tensors that are spread over several files. */
#ifndef KDI_SHARDS_H
#define KDI_SHARDS_H

#include "open_file.h"

enum { KDI_MAX_SHARDS = 256 };

/* file is open, and its content may be an index of shards. Make it all shards as one file. */
kd_status kdi_shards_open(kd_file *file);

#endif
