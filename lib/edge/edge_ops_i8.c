/* SPDX-License-Identifier: MIT
 * edge_ops_i8.c: all int8 ops, for programs that do not say which they use. */
#include "edge_format.h"

const kd_edge_op *const kd_edge_ops_i8[] = {&kd_edge_conv2d_i8,   &kd_edge_linear_i8,
                                            &kd_edge_max_pool_i8, &kd_edge_avg_pool_i8,
                                            &kd_edge_add_i8,      0};
