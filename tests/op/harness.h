/* SPDX-License-Identifier: MIT
 * harness.h: what every op must stand. A case carries shapes, attributes and tolerances; op_check
 * builds input -> copy -> op -> dot with constants, and verifies
 *  - the forward against the case's oracle in double precision, training and evaluating, with and
 *    without a gradient in the graph, with frozen (prepared) parameters, for a smaller batch too;
 *  - every gradient against central differences of that oracle;
 *  - equal bits for 1, 2, 3 and 7 threads on each kernel table;
 *  - equal bits with every buffer apart, in all of these; with free memory poisoned, and nothing
 *    written outside an array;
 *  - that gradients add up: into parameters over two runs, into a value that is used twice;
 *  - buffers that training updates, and that evaluation leaves them alone;
 *  - that any allocation may fail and nothing leaks.
 * The dot and the copy are custom ops made through the public headers alone. */
#ifndef KDI_OP_HARNESS_H
#define KDI_OP_HARNESS_H

#include "../test.h"

#include <kd/op.h>
#include <kd/params.h>
#include <kd/plan.h>

enum { OP_MAX_INPUTS = 6, OP_MAX_OPERANDS = 24 };

typedef struct op_input {
    int rank;
    int64_t dim[KD_MAX_RANK]; /* dim[0] may be KD_BATCH */
    kd_dtype dtype;           /* KD_F32, or KD_I32, which gets no gradient */
    bool no_grad;
} op_input;

/* An array as an oracle sees it. */
typedef struct op_array {
    int rank;
    size_t dim[KD_MAX_RANK];
    size_t count;
    double *data;
    const char *name; /* of a parameter or buffer, e.g. "op.weight"; "" for an input */
} op_array;

typedef enum op_mode { OP_TRAIN = 1, OP_EVAL = 2 } op_mode;

/* One question to an oracle: operands are the case's inputs, then the parameters and buffers in the
 * order the builder declared them. It fills y, and when training overwrites the buffers' arrays
 * with their updated values. */
typedef struct op_oracle {
    const void *attr;
    bool training;
    int n;
    op_array *in;
    op_array y;
} op_oracle;

typedef struct op_case {
    const char *name;
    size_t batch; /* 0: 1 */
    int n_in;
    op_input in[OP_MAX_INPUTS];
    const void *attr;
    /* The op, or a chain of ops: one output. attr is the case's. */
    kd_value (*build)(kd_graph *g, const kd_value *in, const void *attr);
    void (*oracle)(const op_oracle *o);
    /* Numbers for an operand (i-th as in op_oracle; its name, "" for inputs); NULL: op_fill. i32
     * inputs always need it: fill ints cast to float. */
    void (*fill)(const struct op_case *c, int i, const char *name, float *x, size_t n);
    unsigned modes;       /* OP_TRAIN, OP_EVAL; 0: both */
    bool no_backward;     /* the op has no gradient */
    bool full_batch_only; /* no run with half the batch */
    double tol, grad_tol; /* relative to the largest number of an array; 0: 1e-5, 1e-4 */
} op_case;

void op_check(const op_case *c);

/* Uniform in [-1,1); running variances in [.5,1.5). */
void op_fill(const op_case *c, int i, const char *name, float *x, size_t n);
/* Distinct numbers, all at least 1/256 from each other and 1/512 from zero: for ops with kinks. */
void op_fill_spread(const op_case *c, int i, const char *name, float *x, size_t n);

/* The operand whose name ends so ("weight"); fails the test when there is none. */
const op_array *op_find(const op_oracle *o, const char *ending);

/* Ops for tests: x itself in fresh memory; the sum of all inputs' dots with fixed constants. */
kd_value op_test_copy(kd_graph *g, kd_value x);
kd_value op_test_dot(kd_graph *g, const kd_value *x, int count);
/* The constants: of input k of a dot, element i. In [-1,1). */
double op_test_constant(int k, size_t i);

#endif
