/* SPDX-License-Identifier: MIT
 * optim.h: the inside of an optimiser. */
#ifndef KDT_OPTIM_H
#define KDT_OPTIM_H

#include <kd/optim.h>

#include <stdbool.h>

enum {
    KDT_CHUNK = 32768, /* floats: a few arrays of them fit a core's L2 */
    KDT_STATES = 2
};

typedef struct kdt_chunk {
    size_t offset, count; /* in the flat arrays */
    bool decay;
    float rate; /* factor on the learning rate: layer_decay to the power of the layers above */
} kdt_chunk;

struct kd_optim {
    kd_params *params;
    kd_optim_opt opt; /* resolved: zeros are zeros */
    kdt_chunk *chunks;
    size_t n_chunks, n_states;
    float *state[KDT_STATES]; /* [flat_count]: SGD's momentum; AdamW's two averages */
    uint64_t steps;           /* this one included, in a step */
};

void kdt_sgd_step(kd_optim *o, float lr, float grad_scale);
void kdt_adamw_step(kd_optim *o, float lr, float grad_scale);

/* layers.c: the layer of every entry into layer [kd_params_entries], and how many there are. */
kd_status kdt_layers(const kd_params *params, size_t *layer, size_t *count);

#endif
