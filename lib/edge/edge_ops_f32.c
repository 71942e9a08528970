/* SPDX-License-Identifier: MIT
 * edge_ops_f32.c: all float32 ops, for programs that do not say which they use. */
#include "edge_format.h"

const kd_edge_op *const kd_edge_ops_f32[] = {&kd_edge_conv2d_f32,   &kd_edge_linear_f32,
                                             &kd_edge_max_pool_f32, &kd_edge_avg_pool_f32,
                                             &kd_edge_add_f32,      0};
