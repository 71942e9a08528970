/* SPDX-License-Identifier: MIT
 * tensor_names.h: other libraries' names for a network's tensors. */
#ifndef KDI_TENSOR_NAMES_H
#define KDI_TENSOR_NAMES_H

#include "spec.h"

#include <kd/file.h>

enum { KDI_NAME_SIZE = 256 };

typedef struct kdi_names kdi_names;

/* A file's tensors under their names without what a wrapper put in front of all of them: "module."
 * (DistributedDataParallel), "_orig_mod." (torch.compile), "model." and the like. */
typedef struct kdi_tensors {
    const kd_file *file;
    char prefix[64]; /* "": none */
} kdi_tensors;

/* The file, and the dotted beginning that all of its names share. A counter of averaged weights
 * (n_averaged) does not count. */
kdi_tensors kdi_tensors_of(const kd_file *file);
/* By a name without the prefix; NULL: none. */
const kd_file_tensor *kdi_tensors_find(const kdi_tensors *tensors, const char *name);
/* A tensor's name without the prefix. */
const char *kdi_tensors_name(const kdi_tensors *tensors, const kd_file_tensor *t);

/* Whose names the file of such a network has; NULL: the library's own. */
const kdi_names *kdi_names_of(const kdi_tensors *tensors, const kdi_spec *spec);
/* Keys of a spec that hold for such a network unless it says otherwise; NULL: none. */
const char *kdi_names_keys(const kdi_names *names);
/* Why their library's network gives other numbers at these sizes; NULL: it doesn't. */
const char *kdi_names_differ(const kdi_names *names, const kdi_spec *spec);
/* Who that is, as in "torchvision"; "" for NULL. */
const char *kdi_names_whose(const kdi_names *names);

/* The tensors that a parameter of ours is in the file, one behind the other along the first
 * dimension: part [3]. Returns their number; 0: one is missing. */
size_t kdi_names_find(const kdi_names *names, const kdi_tensors *tensors, const char *ours,
                      const kd_file_tensor **part);
/* Do their dense layers have the shapes of convolutions, [out,in,h,w] for [out,in*h*w]? */
bool kdi_names_convolve(const kdi_names *names);
/* What a tensor of the file is called here; false: nothing. */
bool kdi_names_ours(const kdi_names *names, const char *theirs, char out[KDI_NAME_SIZE]);
/* What some write beside the network: buffers that follow from the shapes alone, and how many
 * weights an average is made of. */
bool kdi_names_derived(const char *name);

#endif
