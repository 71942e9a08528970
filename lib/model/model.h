/* SPDX-License-Identifier: MIT
 * model.h: the inside of a model. */
#ifndef KDI_MODEL_H
#define KDI_MODEL_H

#include "spec.h"

#include <kd/plan.h>

enum { KDI_MAX_CHANNELS = 64 };

struct kd_model {
    kd_ctx *ctx;
    kdi_spec spec;
    char text[KD_SPEC_SIZE];
    kd_params *params;
    bool normalized;
    float mean[KDI_MAX_CHANNELS], std[KDI_MAX_CHANNELS];
};

/* max_params: refuse a network that has more, before allocating any (a hostile file's spec). */
kd_status kdi_model_create(kd_ctx *ctx, const kdi_spec *spec, uint64_t seed, uint64_t max_params,
                           kd_model **out);

#endif
