/* SPDX-License-Identifier: MIT
 * about.h: what a model says of itself in its metadata, under the keys of our own files. */
#ifndef KDI_ONNX_ABOUT_H
#define KDI_ONNX_ABOUT_H

#include <stddef.h>
#include <stdint.h>

struct kdi_onnx;

typedef struct kdi_onnx_about {
    const char *spec, *data, *framing; /* NULL: not known */
    uint64_t data_checksum;
    const float *mean, *std; /* [channels]; NULL: not known */
    size_t channels;
    const char *const *class_names; /* [classes]; NULL: not known */
    size_t classes;
} kdi_onnx_about;

void kdi_onnx_describe(struct kdi_onnx *o, const kdi_onnx_about *about);

#endif
