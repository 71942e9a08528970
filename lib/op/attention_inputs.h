/* SPDX-License-Identifier: MIT
 * attention_inputs.h: the inputs of attention.c and attention_map.c, in order: qkv [N,T,3*A], mask
 * [W,T,T] if there is one, bias [heads,T,T] if there is one. */
#ifndef KDI_ATTENTION_INPUTS_H
#define KDI_ATTENTION_INPUTS_H

#include <kd/op.h>

/* Fill in, of which bias and mask may be KD_NONE; returns how many there are. */
int kdi_attention_inputs(kd_value in[3], kd_value qkv, kd_value bias, kd_value mask);
/* Which input the bias is; 0: there is none. */
int kdi_attention_bias(int masked, int n_in);
/* All inputs are f32 and have these shapes, `heads` divides A, W divides N, and scale is finite. */
kd_status kdi_attention_check(const kd_op_shapes *s, int heads, int masked, float scale);

#endif
