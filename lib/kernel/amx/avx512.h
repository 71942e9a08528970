/* SPDX-License-Identifier: MIT
 * avx512.h: AVX-512's kernels, which this table has too. */
#ifndef KDI_AVX512_H
#define KDI_AVX512_H

#include "../kernels.h"

void kdi_gemm_block_avx512(const kdi_block *g);

#define CONSTANT(name, type, value)
#define KERNEL(name, result, arguments) result kdi_##name##_avx512 arguments;
#define TRANSFORMS(name) extern const kdi_transforms kdi_##name##_avx512;
#include "../kernels.def"
#undef TRANSFORMS
#undef KERNEL
#undef CONSTANT

#endif
