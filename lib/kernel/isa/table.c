/* SPDX-License-Identifier: MIT
 * table.c: the table of the instruction set this is compiled for. */
#include "vectors.h"

#define CONSTANT(name, type, value)
#define KERNEL(name, result, arguments) result KDI_FN(name) arguments;
#define TRANSFORMS(name) extern const kdi_transforms KDI_FN(name);
#include "../block.def"
#include "../kernels.def"
#undef TRANSFORMS
#undef KERNEL
#undef CONSTANT

extern const kdi_kernels KDI_FN(kernels);

const kdi_kernels KDI_FN(kernels) = {
    .name = KDI_ISA_NAME,
#define CONSTANT(name, type, value) .name = value,
#define KERNEL(name, result, arguments) .name = KDI_FN(name),
#define TRANSFORMS(name) .name = &KDI_FN(name),
#include "../block.def"
#include "../kernels.def"
#undef TRANSFORMS
#undef KERNEL
#undef CONSTANT
};
