/* SPDX-License-Identifier: MIT
 * processors.h: how many threads suit this process. */
#ifndef KDI_PROCESSORS_H
#define KDI_PROCESSORS_H

#include <limits.h>
#include <stdbool.h>

/* Processors this process may run on. */
int kdi_processors(void);

/* As many threads as the processors' time that the process's control groups allow, rounded up;
 * INT_MAX without a limit. root: "" (the tests have a tree of their own). */
int kdi_processors_quota(const char *root);

#endif
