/* SPDX-License-Identifier: MIT
 * answers.h: answers.txt, which says of a finished network which test pictures it has right, so that
 * two networks can be compared on the same pictures. It has two lines: the sum over the weights that
 * run.json has, too, and a character for each picture of the test split in order: 1 right, 0 wrong,
 * - not read. */
#ifndef ANSWERS_H
#define ANSWERS_H

#include <kd/kd.h>

enum { ANSWERS_SUM = 16 }; /* hexadecimal digits of the sum */

/* right [*n], to be freed with kd_ctx_free, ends with a newline and a NUL. NULL: there is no such
 * file, or it is another network's than the one with this sum. */
char *answers_read(kd_ctx *ctx, const char *path, const char *weights, size_t *n);
kd_status answers_write(kd_ctx *ctx, const char *path, const char *weights, const char *right,
                        size_t n);

#endif
