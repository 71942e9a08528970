/* SPDX-License-Identifier: MIT
 * edge_conv_x86.h: the host's kernels of convolutions and linear layers, where there are any. */
#ifndef KDI_EDGE_CONV_X86_H
#define KDI_EDGE_CONV_X86_H

#include "edge_shape.h"

#if defined(__x86_64__) && defined(__GNUC__) && __STDC_HOSTED__ && !defined(KD_EDGE_PORTABLE)
#define KD_EDGE_X86 1
/* Does this processor have AVX2, and is the convolution or linear layer of a size that fits? */
int kd_edge_x86_can(const kd_edge_conv *conv);
/* The whole layer. */
void kd_edge_x86_conv(const kd_edge_model *model, const kd_edge_conv *conv, uint8_t *arena);
/* The same for convolutions of 3x3 and stride 1 with many channels: ask for it first. */
int kd_edge_winograd_can(const kd_edge_conv *conv);
void kd_edge_winograd_conv(const kd_edge_model *model, const kd_edge_conv *conv, uint8_t *arena);
/* float32: does this processor have AVX2 and FMA? A member of kd_edge_row_ops for them. */
int kd_edge_x86_can_f32(void);
void kd_edge_x86_row_f32(const kd_edge_model *model, const kd_edge_conv *conv,
                         const uint8_t *const rows[], uint8_t *out);
#else
#define KD_EDGE_X86 0
#endif

#endif
