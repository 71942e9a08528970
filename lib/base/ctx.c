/* SPDX-License-Identifier: MIT
 * ctx.c: the context: configuration, last error, log. */
#include "ctx.h"

#include "threads.h"

#include "../kernel/blas.h"
#include "../kernel/conv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool kdi_options(void *ours, size_t full, const void *theirs)
{
    size_t size;
    memset(ours, 0, full);
    if (!theirs) return true;
    memcpy(&size, theirs, sizeof size);
    if (size < sizeof size) return false;
    if (size > full) {
        const unsigned char *tail = (const unsigned char *)theirs + full;
        for (size_t i = 0; i < size - full; i++)
            if (tail[i]) return false;
        size = full;
    }
    memcpy(ours, theirs, size);
    return true;
}

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
    if (!kdi_options(&c, sizeof c, config)) return KD_E_INVALID;
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
    const kd_status status = check_blas(ctx);
    if (status)
        kd_ctx_destroy(ctx);
    else
        *out = ctx;
    return status;
}

void kd_ctx_destroy(kd_ctx *ctx)
{
    if (!ctx) return;
    kdi_threads_destroy(ctx, ctx->threads);
    ctx->config.alloc(ctx->config.alloc_user, ctx, sizeof *ctx, 0, 64);
}

const char *kd_ctx_error(const kd_ctx *ctx)
{
    return ctx ? ctx->error : "no context";
}

int kd_ctx_threads(const kd_ctx *ctx)
{
    return ctx->width;
}

const char *kd_ctx_isa(const kd_ctx *ctx)
{
    return ctx->config.isa;
}

int kdi_ctx_conv(const kd_ctx *ctx)
{
    return ctx->conv;
}

bool kdi_ctx_trusts_blas(const kd_ctx *ctx)
{
    return ctx->blas_is_right;
}

const char *kd_ctx_blas(const kd_ctx *ctx)
{
    if (!kdi_blas_built()) return "builtin";
    if (!ctx->blas_is_right) return "builtin: OpenBLAS is wrong on this processor";
    return kdi_blas_threads() == 1 ? "openblas" : "builtin: OpenBLAS uses more than one thread";
}

const struct kdi_kernels *kdi_ctx_kernels(const kd_ctx *ctx)
{
    return ctx->kernels;
}

kd_status kd_ctx_fail(kd_ctx *ctx, kd_status status, const char *format, ...)
{
    if (ctx) {
        /* An argument may point into ctx->error, so format beside it first. */
        char text[KDI_ERROR_SIZE];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        /* Executors in two threads may fail at once: one of the texts stands. */
        if (atomic_flag_test_and_set_explicit(&ctx->failing, memory_order_acquire)) return status;
        memcpy(ctx->error, text, sizeof text);
        atomic_flag_clear_explicit(&ctx->failing, memory_order_release);
    }
    return status;
}

void kd_ctx_log(kd_ctx *ctx, kd_log_level level, const char *format, ...)
{
    if (!ctx || !ctx->config.log) return;
    char text[KDI_ERROR_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ctx->config.log(ctx->config.log_user, level, text);
}

#define STR2(x) #x
#define STR(x) STR2(x)

const char *kd_version(void)
{
    return STR(KD_VERSION_MAJOR) "." STR(KD_VERSION_MINOR) "." STR(KD_VERSION_PATCH);
}

#ifndef KDI_BUILD_INFO
#define KDI_BUILD_INFO "unknown"
#endif

const char *kd_build_info(void)
{
    return KDI_BUILD_INFO;
}
