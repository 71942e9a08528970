/* SPDX-License-Identifier: MIT
 * kernels.h: the kernel table. A kernel is single-threaded: arrays in, arrays out; it knows no
 * graph. The sources in lib/kernel/isa are portable C, compiled once per instruction set; each
 * compilation fills one table. Threads are the caller's business.
 *
 * To add a kernel: one line in kernels.def, one function KDI_FN(name) in a file of lib/kernel/isa.
 * An instruction set replaces an entry by a hand-tuned one inside that function's file. */
#ifndef KDI_KERNELS_H
#define KDI_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct kdi_kernels {
    const char *name; /* "generic", "avx2", "avx512", "neon" */
#define KERNEL(name, result, arguments) result(*name) arguments;
#include "kernels.def"
#undef KERNEL
} kdi_kernels;

/* The table of that name, or the best this processor runs when name is NULL. NULL if there is no
 * such table in this build or the processor lacks its instructions. */
const kdi_kernels *kdi_kernels_select(const char *name);

/* The i-th table this processor can run, best first, or NULL: for tests over all tables. */
const kdi_kernels *kdi_kernels_at(int i);

#endif
