/* SPDX-License-Identifier: MIT
 * create.c: a context is made here, where the kernels are that it chooses from. */
#include "blas.h"
#include "conv.h"

#include "../base/ctx.h"

#include <stdlib.h>
#include <string.h>

/* Trust OpenBLAS on this processor only after a look at what it computes. Like the context itself
 * the memory for this is not counted. */
static kd_status check_blas(kd_ctx *ctx)
{
    if (!kdi_blas_built()) return KD_OK;
    const size_t bytes = kdi_blas_check_bytes(ctx);
    float *memory = ctx->config.alloc(ctx->config.alloc_user, NULL, 0, bytes, 64);
    if (!memory) return KD_E_NOMEM;
    kdi_gemm wrong;
    ctx->blas_is_right = kdi_blas_agrees(ctx, memory, &wrong);
    ctx->config.alloc(ctx->config.alloc_user, memory, bytes, 0, 64);
    if (!ctx->blas_is_right)
        kd_ctx_log(
            ctx, KD_LOG_WARN,
            "OpenBLAS computes wrong numbers on this processor (a product of [%zu,%zu]%s and "
            "[%zu,%zu]%s%s): the built-in products serve instead",
            wrong.m, wrong.k, wrong.ta ? " transposed" : "", wrong.k, wrong.n,
            wrong.tb ? " transposed" : "", wrong.accumulate ? ", added" : "");
    return KD_OK;
}

kd_status kd_ctx_create(const kd_config *config, kd_ctx **out)
{
    kd_config c;
    if (!out) return KD_E_INVALID;
    *out = NULL;
    kd_status status = kd_options(NULL, "kd_config", &c, sizeof c, config);
    if (status) return status;
    if (!c.alloc) c.alloc = kdi_default_alloc;

    const char *isa = c.isa ? c.isa : getenv("KD_ISA");
    const kdi_kernels *kernels = kdi_kernels_select(isa && *isa ? isa : NULL);
    if (!kernels) return KD_E_UNSUPPORTED;

    if (!c.conv) c.conv = getenv("KD_CONV");
    const bool forced = c.conv && *c.conv;
    const int conv = forced ? kdi_conv_algo_named(c.conv) : -1;
    if (forced && conv < 0) return KD_E_UNSUPPORTED;

    kd_ctx *ctx = c.alloc(c.alloc_user, NULL, 0, sizeof *ctx, 64);
    if (!ctx) return KD_E_NOMEM;
    memset(ctx, 0, sizeof *ctx);
    atomic_flag_clear(&ctx->failing);
    ctx->config = c;
    ctx->config.isa = kernels->name;
    ctx->kernels = kernels;
    ctx->conv = conv;
    ctx->width = kdi_parallel_width(&c);
    status = check_blas(ctx);
    if (status)
        kd_ctx_destroy(ctx);
    else
        *out = ctx;
    return status;
}

const char *kd_ctx_blas(const kd_ctx *ctx)
{
    if (!kdi_blas_built()) return "builtin";
    if (!ctx->blas_is_right) return "builtin: OpenBLAS is wrong on this processor";
    return kdi_blas_threads() == 1 ? "openblas" : "builtin: OpenBLAS uses more than one thread";
}
