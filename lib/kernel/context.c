/* SPDX-License-Identifier: MIT
 * context.c: kd_ctx_create. It stands here, not in lib/base, because a context chooses a table of
 * kernels. */
#include "blas.h"
#include "conv.h"

#include "../base/ctx.h"

#include <stdarg.h>
#include <stdio.h>
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

/* Why there is no context, in words: to the log, since nobody has a context to ask. */
static kd_status refuse(const kd_config *c, kd_status status, const char *format, ...)
{
    char text[KDI_ERROR_SIZE];
    va_list args;
    if (!c->log) return status;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->log(c->log_user, KD_LOG_ERROR, text);
    return status;
}

static kd_status read_config(const kd_config *config, kd_config *c)
{
    const kd_status status = kd_options(NULL, "kd_config", c, sizeof *c, config);
    if (status == KD_E_UNSUPPORTED) /* then all of the members known here are there */
        return refuse(config, status,
                      "kd_config: this library (%s) does not know all of its members",
                      kd_version());
    if (status) return status;
    if (c->threads < 0) return refuse(c, KD_E_INVALID, "threads: %d is negative", c->threads);
    if (c->threads > KD_MAX_THREADS)
        return refuse(c, KD_E_LIMIT, "threads: %d are more than %d", c->threads,
                      (int)KD_MAX_THREADS);
    return KD_OK;
}

static kd_status read_kernels(const kd_config *c, const kdi_kernels **kernels)
{
    const char *isa = c->isa ? c->isa : getenv("KD_ISA");
    *kernels = kdi_kernels_select(isa && *isa ? isa : NULL);
    return *kernels ? KD_OK
                    : refuse(c, KD_E_UNSUPPORTED,
                             "isa: there is no '%s' in this library, or not on this processor",
                             isa ? isa : "");
}

/* *conv: -1 where each convolution takes what suits its shape. */
static kd_status read_conv(const kd_config *c, int *conv)
{
    const char *name = c->conv ? c->conv : getenv("KD_CONV");
    *conv = -1;
    if (!name || !*name) return KD_OK;
    *conv = kdi_conv_algo_named(name);
    return *conv >= 0 ? KD_OK
                      : refuse(c, KD_E_UNSUPPORTED, "conv: there is no algorithm '%s'", name);
}

kd_status kd_ctx_create(const kd_config *config, kd_ctx **out)
{
    kd_config c;
    const kdi_kernels *kernels;
    int conv;
    if (!out) return KD_E_INVALID;
    *out = NULL;
    kd_status status = read_config(config, &c);
    if (!status) status = read_kernels(&c, &kernels);
    if (!status) status = read_conv(&c, &conv);
    if (status) return status;

    if (!c.alloc) c.alloc = kdi_default_alloc;
    kd_ctx *ctx = c.alloc(c.alloc_user, NULL, 0, sizeof *ctx, 64);
    if (!ctx)
        return refuse(&c, KD_E_NOMEM, "out of memory: %zu bytes could not be had", sizeof *ctx);
    memset(ctx, 0, sizeof *ctx);
    atomic_flag_clear(&ctx->failing);
    ctx->config = c;
    ctx->config.isa = kernels->name;
    ctx->kernels = kernels;
    ctx->conv = conv;
    ctx->width = kdi_parallel_width(&c);
    status = check_blas(ctx);
    if (status) {
        kd_ctx_destroy(ctx);
        return refuse(&c, status, "out of memory: no room to look at OpenBLAS");
    }
    *out = ctx;
    return KD_OK;
}

const char *kd_ctx_blas(const kd_ctx *ctx)
{
    if (!kdi_blas_built()) return "builtin";
    if (!ctx->blas_is_right) return "builtin: OpenBLAS is wrong on this processor";
    return kdi_blas_threads() == 1 ? "openblas" : "builtin: OpenBLAS uses more than one thread";
}
