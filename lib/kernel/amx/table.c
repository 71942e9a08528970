/* SPDX-License-Identifier: MIT
 * table.c: AVX-512's kernels, but for the product of blocks, which tiles of bfloat16 (AMX) do
 * faster and no less exactly. */
#include "../isa/vectors.h"

#include "avx512.h"

void kdi_gemm_block_amx(const kdi_block *block);
size_t kdi_gemm_scratch_amx(size_t m, size_t k);

extern const kdi_kernels kdi_kernels_amx;

const kdi_kernels kdi_kernels_amx = {
    .name = "amx",
    /* block.def */
    .gemm_mr = KDI_GEMM_MR,
    .gemm_nr = KDI_GEMM_NR,
    .gemm_wide = KDI_GEMM_WIDE,
    .gemm_unit = 32,
    .gemm_task = 5 << 20,
    .gemm_copies = true,
    .gemm_dot_rows = KDI_DOT_ROWS,
    .gemm_block = kdi_gemm_block_amx,
    .gemm_scratch = kdi_gemm_scratch_amx,
#define CONSTANT(name, type, value) .name = value,
#define KERNEL(name, result, arguments) .name = kdi_##name##_avx512,
#define TRANSFORMS(name) .name = &kdi_##name##_avx512,
#include "../kernels.def"
#undef TRANSFORMS
#undef KERNEL
#undef CONSTANT
};
