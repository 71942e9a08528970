/* SPDX-License-Identifier: MIT
 * edge_conv_x86.h: the host's convolution kernel, where there is one. */
#ifndef KDI_EDGE_CONV_X86_H
#define KDI_EDGE_CONV_X86_H

#include "edge_shape.h"

#if defined(__x86_64__) && defined(__GNUC__) && __STDC_HOSTED__ && !defined(KD_EDGE_PORTABLE)
#define KD_EDGE_X86 1
/* Does this processor have AVX2, and is the convolution of a size that fits? */
int kd_edge_x86_can(const kd_edge_conv *conv);
/* kd_edge_row_ops.compute */
void kd_edge_x86_row(const kd_edge_model *model, const kd_edge_conv *conv,
                     const uint8_t *const rows[], uint8_t *out);
#else
#define KD_EDGE_X86 0
#endif

#endif
