/* SPDX-License-Identifier: MIT
 * params.h: the inside of a set of parameters. */
#ifndef KDI_PARAMS_H
#define KDI_PARAMS_H

#include "graph.h"

struct kd_params {
    kd_ctx *ctx;
    kdi_pool pool; /* names */
    kd_param_info *entries;
    uint32_t *slots; /* hash table of names: index + 1, 0 is empty */
    size_t n_entries, n_slots;
    float *values, *grads; /* [flat_count] */
    unsigned char *buffers;
    size_t flat_count, buffer_bytes, count;
    uint64_t version; /* changes when values or buffers do */
};

#endif
