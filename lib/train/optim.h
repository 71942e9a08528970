/* SPDX-License-Identifier: MIT
 * optim.h: the inside of an optimiser. */
#ifndef KDT_OPTIM_H
#define KDT_OPTIM_H

#include <kd/optim.h>

#include <stdbool.h>

enum { KDT_CHUNK = 32768 }; /* floats: a few arrays of them fit a core's L2 */

typedef struct kdt_chunk {
    size_t offset, count; /* in the flat arrays */
    bool decay;
} kdt_chunk;

struct kd_optim {
    kd_params *params;
    kd_optim_opt opt; /* resolved: momentum 0 is none */
    kdt_chunk *chunks;
    size_t n_chunks;
    float *momentum; /* [flat_count] */
    uint64_t steps;
};

void kdt_sgd_step(kd_optim *o, float lr, float grad_scale);

#endif
