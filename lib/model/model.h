/* SPDX-License-Identifier: MIT
 * model.h: the inside of a model. */
#ifndef KDI_MODEL_H
#define KDI_MODEL_H

#include "spec.h"

#include <kd/file.h>
#include <kd/plan.h>

enum { KDI_MAX_CHANNELS = 64, KDI_FRAMING_SIZE = 64 };

/* Names of classes: copies, UTF-8. */
typedef struct kdi_classes {
    const char **name; /* [n]; NULL: not known */
    char *text;
    size_t n;
} kdi_classes;

struct kd_model {
    kd_ctx *ctx;
    kdi_spec spec;
    char text[KD_SPEC_SIZE];
    kd_params *params;
    bool normalized;
    float mean[KDI_MAX_CHANNELS], std[KDI_MAX_CHANNELS];
    kdi_classes classes;
    char *data; /* the name of the data it was trained on; NULL: not known */
    uint64_t data_checksum;
    char framing[KDI_FRAMING_SIZE]; /* "": not known */
    bool new_head;                  /* loaded without the file's head */
};

/* The parameters of a spec, without making them. */
kd_status kdi_model_count(kd_ctx *ctx, const kdi_spec *spec, uint64_t *params);
kd_status kdi_model_create(kd_ctx *ctx, const kdi_spec *spec, uint64_t seed, kd_model **out);

/* taps.c */
/* KD_E_NOTFOUND, naming the first tap that the build did not find. */
kd_status kdi_taps_check(kd_ctx *ctx, const kdi_spec *spec, const kd_build_opt *opt);
/* An entry that asks for this name; KD_E_NOTFOUND if it is NULL, empty or too long for one. */
kd_status kdi_tap_name(kd_ctx *ctx, const char *name, kd_tap *tap);

/* Copy names; what is not UTF-8 becomes U+FFFD. On failure there is nothing to free. */
kd_status kdi_classes_copy(kd_ctx *ctx, const char *const *names, size_t n, kdi_classes *out);
/* KD_E_INVALID, naming it, if a name comes twice. */
kd_status kdi_classes_differ(kd_ctx *ctx, const kdi_classes *classes);
void kdi_classes_free(kd_ctx *ctx, kdi_classes *classes);
/* map[i] = the class of `of` that class i is called after; -1: there is none, or its name comes
 * twice. Returns how many have one. A lack of memory alone can be said by *status. */
size_t kdi_classes_map(kd_ctx *ctx, const kdi_classes *of, const kdi_classes *classes, int32_t *map,
                       kd_status *status);

/* The names of a file's n classes; none: *out is zero. */
kd_status kdi_read_classes(kd_ctx *ctx, const kd_file *file, size_t n, kdi_classes *out);
/* What a file's metadata say beside the spec and the classes. */
kd_status kdi_model_read_metadata(kd_model *model, const kd_file *file);

#endif
