/* SPDX-License-Identifier: MIT
 * model.h: the inside of a model. */
#ifndef KDI_MODEL_H
#define KDI_MODEL_H

#include "spec.h"

#include <kd/file.h>
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

/* The parameters of a spec, without making them. */
kd_status kdi_model_count(kd_ctx *ctx, const kdi_spec *spec, uint64_t *params);
kd_status kdi_model_create(kd_ctx *ctx, const kdi_spec *spec, uint64_t seed, kd_model **out);

/* kd_model_load_as from a file that is open, and stays open. On failure *out is NULL. */
kd_status kdi_model_from_file(kd_ctx *ctx, kd_file *file, const char *spec, const char *change,
                              uint64_t seed, kd_model **out);

#endif
