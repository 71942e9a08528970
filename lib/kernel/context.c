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

/* *blas: a kdi_blas_choice. */
static kd_status read_blas(const kd_config *c, int *blas)
{
    const char *name = c->blas ? c->blas : getenv("KD_BLAS");
    *blas = kdi_blas_choice_named(name);
    if (*blas < 0)
        return refuse(c, KD_E_UNSUPPORTED, "blas: '%s' is not 'builtin' or 'openblas'", name);
    if (*blas == KDI_BLAS_ALWAYS && !kdi_blas_built())
        return refuse(c, KD_E_UNSUPPORTED, "blas: there is no OpenBLAS in this library");
    return KD_OK;
}

kd_status kd_ctx_create(const kd_config *config, kd_ctx **out)
{
    kd_config c;
    const kdi_kernels *kernels;
    int conv, blas;
    if (!out) return KD_E_INVALID;
    *out = NULL;
    kd_status status = read_config(config, &c);
    if (!status) status = read_kernels(&c, &kernels);
    if (!status) status = read_conv(&c, &conv);
    if (!status) status = read_blas(&c, &blas);
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
    ctx->blas_choice = blas;
    *out = ctx;
    return KD_OK;
}
