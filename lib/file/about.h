/* SPDX-License-Identifier: MIT
 * about.h: what a network's file says of itself in its metadata, whatever the kind of file. */
#ifndef KDI_ABOUT_H
#define KDI_ABOUT_H

#include "../base/base.h"

typedef struct kdi_about {
    const char *spec, *data, *framing; /* NULL: not known */
    uint64_t data_checksum;
    const float *mean, *std; /* [channels]; NULL: not known */
    size_t channels;
    const char *const *class_names; /* [classes]; NULL: not known */
    size_t classes;
} kdi_about;

/* Takes key "libkd.spec" and its text. */
typedef kd_status kdi_about_fn(void *user, const char *key, const char *text);
/* All that is known, in one order. The first failure ends it and is returned. */
kd_status kdi_about_tell(kd_ctx *ctx, const kdi_about *about, kdi_about_fn *take, void *user);

#endif
