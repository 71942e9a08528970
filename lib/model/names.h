/* SPDX-License-Identifier: MIT
 * names.h: other libraries' names for a network's tensors. */
#ifndef KDI_NAMES_H
#define KDI_NAMES_H

#include "spec.h"

#include <kd/file.h>

enum { KDI_NAME_SIZE = 256 };

typedef struct kdi_names kdi_names;

/* Whose names the file of such a network has; NULL: the library's own. */
const kdi_names *kdi_names_of(const kd_file *file, const kdi_spec *spec);
/* Keys of a spec that hold for such a network unless it says otherwise; NULL: none. */
const char *kdi_names_keys(const kdi_names *names);
/* Would their library's network give other numbers at these sizes? */
bool kdi_names_differ(const kdi_names *names, const kdi_spec *spec);
/* Who that is, as in "torchvision"; "" for NULL. */
const char *kdi_names_whose(const kdi_names *names);

/* The tensors that a parameter of ours is in the file, one behind the other along the first
 * dimension: part [3]. Returns their number; 0: one is missing. */
size_t kdi_names_find(const kdi_names *names, const kd_file *file, const char *ours,
                      const kd_file_tensor **part);
/* What a tensor of the file is called here; false: nothing. */
bool kdi_names_ours(const kdi_names *names, const char *theirs, char out[KDI_NAME_SIZE]);
/* Buffers that some write and that follow from the shapes alone. */
bool kdi_names_derived(const char *name);

#endif
