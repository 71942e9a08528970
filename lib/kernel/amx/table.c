/* SPDX-License-Identifier: MIT
 * table.c: AVX-512's kernels, but for what tiles of bfloat16 (AMX) do faster and no less
 * exactly. */
#include "../isa/vectors.h"

#define CONSTANT(name, type, value)
#define KERNEL(name, result, arguments) result kdi_##name##_avx512 arguments;
#include "../kernels.def"
#undef KERNEL
#undef CONSTANT

void kdi_gemm_block_amx(const kdi_block *block);
size_t kdi_gemm_scratch_amx(size_t m, size_t k);
#define kdi_gemm_block_avx512 kdi_gemm_block_amx
#define kdi_gemm_scratch_avx512 kdi_gemm_scratch_amx
#undef KDI_GEMM_UNIT
#undef KDI_GEMM_TASK
#undef KDI_GEMM_COPIES
#define KDI_GEMM_UNIT 32
#define KDI_GEMM_TASK (5 << 20)
#define KDI_GEMM_COPIES true

extern const kdi_kernels kdi_kernels_amx;

const kdi_kernels kdi_kernels_amx = {
    .name = "amx",
#define CONSTANT(name, type, value) .name = value,
#define KERNEL(name, result, arguments) .name = kdi_##name##_avx512,
#include "../kernels.def"
#undef KERNEL
#undef CONSTANT
};
