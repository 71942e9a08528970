/* SPDX-License-Identifier: MIT
 * shape.h: what shape rules use: counting, comparing and printing shapes, and checks that most
 * rules begin with. */
#ifndef KDI_SHAPE_H
#define KDI_SHAPE_H

#include <kd/op.h>

#include <stdbool.h>

/* Elements of a shape for a batch of n; false on overflow. */
bool kdi_shape_count(const kd_shape *shape, size_t n, size_t *count);
bool kdi_shape_equal(const kd_shape *a, const kd_shape *b);
/* "[N,32,32,3]" into text, which is returned. */
enum { KDI_SHAPE_TEXT = 96 };
const char *kdi_shape_text(const kd_shape *shape, char text[KDI_SHAPE_TEXT]);

/* Inputs first to the last are f32. */
kd_status kdi_want_f32(const kd_op_shapes *s, int first);
/* The next two are shape rules in themselves (kd_op.shape), or where one begins.
 * All inputs are f32 and have the shape of the first, which output 0 gets. */
kd_status kdi_want_equal(kd_op_shapes *s);
/* Input 0 is f32, has a last dimension that is no batch, and output 0 gets its shape. */
kd_status kdi_want_rows(kd_op_shapes *s);

/* What a builder returns that was given NULL: KD_NONE. `what` ("kd_reshape: NULL dim") sticks to the
 * graph, unless an earlier error does. */
kd_value kdi_null(kd_graph *g, const char *what);

#endif
