/* SPDX-License-Identifier: MIT
 * evaluate.h: ONNX models computed in double by plain loops, written from ONNX's definitions of its
 * ops and from nothing of lib/: what a runtime makes of a file, where none is installed. */
#ifndef KDI_TEST_ONNX_EVALUATE_H
#define KDI_TEST_ONNX_EVALUATE_H

#include "../test.h"

#include <stdint.h>

#include "onnx.pb-c.h"

enum { EVALUATE_RANK = 6 };

typedef struct tensor {
    const char *name;
    int rank;
    int64_t dim[EVALUATE_RANK];
    size_t count;
    double *x;
} tensor;

/* The output "logits" of pictures [n,C,H,W], to be freed. */
double *evaluate(const Onnx__GraphProto *graph, const float *pictures, size_t n, size_t *count);

#endif
