/* SPDX-License-Identifier: MIT
 * maps.h: the functions of maps.c's table, by the file that they are in. */
#ifndef KDI_ONNX_MAPS_H
#define KDI_ONNX_MAPS_H

#include "emit.h"

/* emit_layers.c */
kdi_emit_fn kdi_emit_conv2d, kdi_emit_batch_norm, kdi_emit_linear, kdi_emit_layer_norm;
/* emit_pool.c */
kdi_emit_fn kdi_emit_pool, kdi_emit_adaptive_pool;
/* emit_elementwise.c */
kdi_emit_fn kdi_emit_same, kdi_emit_relu, kdi_emit_gelu, kdi_emit_sigmoid, kdi_emit_scale;
kdi_emit_fn kdi_emit_add, kdi_emit_sub, kdi_emit_mul;
/* emit_shape.c */
kdi_emit_fn kdi_emit_reshaped, kdi_emit_transposed, kdi_emit_concat;
/* emit_tokens.c */
kdi_emit_fn kdi_emit_prepend, kdi_emit_add_broadcast, kdi_emit_select_tokens;
/* emit_attention.c */
kdi_emit_fn kdi_emit_attention, kdi_emit_softmax;
/* emit_windows.c */
kdi_emit_fn kdi_emit_move, kdi_emit_position_bias, kdi_emit_window_mask;

#endif
