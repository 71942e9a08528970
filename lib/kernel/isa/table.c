/* SPDX-License-Identifier: MIT
 * table.c: the table of the instruction set this is compiled for. */
#include "isa.h"

#define KERNEL(name, result, arguments) result KDI_FN(name) arguments;
#include "../kernels.def"
#undef KERNEL

extern const kdi_kernels KDI_FN(kernels);

const kdi_kernels KDI_FN(kernels) = {
    .name = KDI_ISA_NAME,
#define KERNEL(name, result, arguments) .name = KDI_FN(name),
#include "../kernels.def"
#undef KERNEL
};
