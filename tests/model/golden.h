/* SPDX-License-Identifier: MIT
 * golden.h: reading the files of tests/golden, which PyTorch made, and comparing with them. The
 * tests look for the folder in the environment's KD_GOLDEN, else at tests/golden from where they
 * run; with KD_GOLDEN_REPORT set they print the errors they found. Everything here fails the test
 * instead of returning an error. */
#ifndef KDI_GOLDEN_H
#define KDI_GOLDEN_H

#include "../test.h"

#include <kd/kd.h>

typedef struct golden {
    kd_ctx *ctx;
    kd_file *file;
} golden;

enum { GOLDEN_PATH = 512 };
/* PATH of a file of the folder. */
void golden_path(char path[GOLDEN_PATH], const char *name);

golden golden_open(kd_ctx *ctx, const char *name);
void golden_close(golden *f);

/* A tensor by its printed name; NULL if there is none. */
const kd_file_tensor *golden_find(const golden *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Its elements, to be freed with free(): as they are in the file; with rank 4 reordered from
 * [N,C,H,W] to [N,H,W,C]; integers. */
float *golden_floats(const golden *f, const kd_file_tensor *t);
float *golden_pictures(const golden *f, const kd_file_tensor *t);
int32_t *golden_labels(const golden *f, const kd_file_tensor *t);

/* Largest |got - want|, relative to want's largest number, or to `least` if that is larger. */
double golden_distance(const float *got, const float *want, size_t n, double least);

/* The worst of several comparisons under one tolerance. */
typedef struct golden_worst {
    double tolerance, least; /* as in golden_distance */
    double error;
    size_t compared; /* tensors */
    char where[160];
} golden_worst;
/* Compare and fail the test if the error is above the tolerance. */
void golden_compare(golden_worst *w, const char *what, const char *tensor, const float *got,
                    const float *want, size_t n);
/* Print the worst error under a title, if asked to by the environment. */
void golden_report(const golden_worst *w, const char *title);

/* Set every parameter and buffer from the tensors "PREFIX" + name, where name starts behind the
 * first `skip` bytes of the parameter's. */
void golden_set_params(const golden *f, kd_params *params, const char *prefix, size_t skip);
/* A parameter's gradient, or a parameter's or buffer's value, in the file's layout; free(). A
 * counter comes as a float. */
float *golden_param(const kd_params *params, const kd_param_info *info, int which);

/* The sum of all elements as a scalar [1]: an op of this program's own, made as
 * docs/adding-an-op.md shows. */
kd_value golden_sum(kd_graph *g, kd_value x);

#endif
