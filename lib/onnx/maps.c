/* SPDX-License-Identifier: MIT
 * maps.c: which function writes an op. What is the identity in evaluation (dropout) needs no line.
 * Another op that is not here makes an export fail with KD_E_UNSUPPORTED and its layer's name. A
 * new op gets its line here, or in the list of those that only training has in tests/onnx. */
#include "maps.h"

static const struct {
    const kd_op *op;
    kdi_emit_fn *emit;
} maps[] = {
    {&kdi_op_add, kdi_emit_add},
    {&kdi_op_add_broadcast, kdi_emit_add_broadcast},
    {&kdi_op_attention, kdi_emit_attention},
    {&kdi_op_attention_map, kdi_emit_attention},
    {&kdi_op_avg_pool, kdi_emit_pool},
    {&kdi_op_adaptive_avg_pool, kdi_emit_adaptive_pool},
    {&kdi_op_batch_norm, kdi_emit_batch_norm},
    {&kdi_op_concat, kdi_emit_concat},
    {&kdi_op_conv2d, kdi_emit_conv2d},
    {&kdi_op_copy, kdi_emit_same},
    {&kdi_op_gelu, kdi_emit_gelu},
    {&kdi_op_layer_norm, kdi_emit_layer_norm},
    {&kdi_op_linear, kdi_emit_linear},
    {&kdi_op_max_pool, kdi_emit_pool},
    {&kdi_op_mul, kdi_emit_mul},
    {&kdi_op_patch_merge, kdi_emit_move},
    {&kdi_op_position_bias, kdi_emit_position_bias},
    {&kdi_op_prepend, kdi_emit_prepend},
    {&kdi_op_relu, kdi_emit_relu},
    {&kdi_op_reshape, kdi_emit_reshaped},
    {&kdi_op_scale, kdi_emit_scale},
    {&kdi_op_select_tokens, kdi_emit_select_tokens},
    {&kdi_op_sigmoid, kdi_emit_sigmoid},
    {&kdi_op_softmax, kdi_emit_softmax},
    {&kdi_op_stop_gradient, kdi_emit_same},
    {&kdi_op_sub, kdi_emit_sub},
    {&kdi_op_transpose, kdi_emit_transposed},
    {&kdi_op_window_mask, kdi_emit_window_mask},
    {&kdi_op_window_partition, kdi_emit_move},
    {&kdi_op_window_reverse, kdi_emit_move},
};

kdi_emit_fn *kdi_emit_of(const kd_op *op)
{
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (maps[i].op == op) return maps[i].emit;
    return op->identity_in_eval ? kdi_emit_same : NULL;
}
