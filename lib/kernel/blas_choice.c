/* SPDX-License-Identifier: MIT
 * blas_choice.c: which products of a context are OpenBLAS's, what is found when the first is wanted,
 * and the sentence that says it. */
#include "blas.h"

#include "../base/ctx.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* What ctx->blas_found says. */
enum { UNKNOWN, RIGHT, WRONG, NOT_HELD };

int kdi_blas_choice_named(const char *name)
{
    if (!name || !*name) return KDI_BLAS_BY_RULE;
    if (!strcmp(name, "builtin")) return KDI_BLAS_NEVER;
    return !strcmp(name, "openblas") ? KDI_BLAS_ALWAYS : -1;
}

/* The first of this table's rules from rule r on; NULL: there is none. */
static const kdi_blas_rule *next_rule(const kd_ctx *ctx, size_t *r)
{
    size_t count;
    const kdi_blas_rule *rules = kdi_blas_rules(&count);
    while (*r < count && strcmp(rules[*r].isa, kd_ctx_isa(ctx)) != 0) ++*r;
    return *r < count ? &rules[(*r)++] : NULL;
}

static bool has_rule(const kd_ctx *ctx)
{
    size_t r = 0;
    return next_rule(ctx, &r) != NULL;
}

bool kdi_blas_wants(const kd_ctx *ctx, const kdi_gemm *g)
{
    const size_t most = INT_MAX;
    if (!kdi_blas_built() || ctx->blas_choice == KDI_BLAS_NEVER) return false;
    if (g->packed_b || g->k == 0 || g->m > most || g->n > most || g->k > most || g->lda > most ||
        g->ldb > most || g->ldc > most)
        return false;
    if (ctx->blas_choice == KDI_BLAS_ALWAYS) return true;
    const kdi_blas_rule *rule;
    for (size_t r = 0; (rule = next_rule(ctx, &r));)
        if (g->m >= rule->min_m && g->n >= rule->min_n && g->k >= rule->min_k) return true;
    return false;
}

/* Like the context itself the memory for this is not counted. Without memory nothing is known, and
 * the built-in products serve. */
static int look(kd_ctx *ctx)
{
    const int threads = kdi_blas_threads();
    const size_t bytes = kdi_blas_check_bytes(ctx);
    float *memory = ctx->config.alloc(ctx->config.alloc_user, NULL, 0, bytes, 64);
    if (!memory) return UNKNOWN;
    kdi_gemm wrong;
    const bool right = kdi_blas_agrees(ctx, memory, &wrong);
    ctx->config.alloc(ctx->config.alloc_user, memory, bytes, 0, 64);
    if (!right) {
        kd_ctx_log(
            ctx, KD_LOG_WARN,
            "OpenBLAS computes wrong numbers on this processor (a product of [%zu,%zu]%s and "
            "[%zu,%zu]%s%s): the built-in products serve instead",
            wrong.m, wrong.k, wrong.ta ? " transposed" : "", wrong.k, wrong.n,
            wrong.tb ? " transposed" : "", wrong.accumulate ? ", added" : "");
        return WRONG;
    }
    if (kdi_blas_threads() == threads) return RIGHT;
    /* One that keeps the calling thread's number for the whole process. */
    kdi_blas_set_threads(threads);
    return NOT_HELD;
}

void kdi_blas_prepare(kd_ctx *ctx)
{
    const char *why_not;
    if (atomic_load(&ctx->blas_found) != UNKNOWN || !kdi_blas_usable(&why_not)) return;
    atomic_store(&ctx->blas_found, look(ctx));
    if (atomic_load(&ctx->blas_found) == RIGHT)
        kd_ctx_log(ctx, KD_LOG_INFO, "matrix products: %s", kd_ctx_blas(ctx));
}

bool kdi_blas_ready(const kd_ctx *ctx)
{
    const char *why_not;
    return atomic_load(&ctx->blas_found) == RIGHT && kdi_blas_usable(&why_not);
}

/* "openblas 0.3.21 (Zen): " and what it serves. */
static const char *served(kd_ctx *ctx)
{
    char version[32] = "";
    char *text = ctx->blas_text;
    const size_t size = sizeof ctx->blas_text;
    sscanf(kdi_blas_config(), "OpenBLAS %31s", version);
    int n = snprintf(text, size, "openblas %s (%.40s): ", version, kdi_blas_core());
    const kdi_blas_rule *rule;
    const char *between = "products of at least";
    if (ctx->blas_choice == KDI_BLAS_ALWAYS)
        snprintf(text + n, size - (size_t)n, "products of what is not packed");
    for (size_t r = 0; ctx->blas_choice != KDI_BLAS_ALWAYS && (rule = next_rule(ctx, &r));) {
        if ((size_t)n >= size) break;
        n += snprintf(text + n, size - (size_t)n, "%s %zux%zu by %zu", between, rule->min_m,
                      rule->min_n, rule->min_k);
        between = " or";
    }
    return text;
}

const char *kd_ctx_blas(kd_ctx *ctx)
{
    const char *why_not;
    if (!ctx) return NULL;
    if (!kdi_blas_built() || ctx->blas_choice == KDI_BLAS_NEVER) return "builtin";
    if (ctx->blas_choice == KDI_BLAS_BY_RULE && !has_rule(ctx)) {
        snprintf(ctx->blas_text, sizeof ctx->blas_text,
                 "builtin: OpenBLAS was not measured to be faster on %s", kd_ctx_isa(ctx));
        return ctx->blas_text;
    }
    if (kdi_blas_usable(&why_not)) {
        kdi_blas_prepare(ctx);
        const int found = atomic_load(&ctx->blas_found);
        if (found == RIGHT) return served(ctx);
        why_not = found == WRONG      ? "OpenBLAS is wrong on this processor"
                  : found == NOT_HELD ? "OpenBLAS cannot be kept to one thread"
                                      : "no memory to look at OpenBLAS";
    }
    snprintf(ctx->blas_text, sizeof ctx->blas_text, "builtin: %s", why_not);
    return ctx->blas_text;
}

const char *kd_blas_config(void)
{
    return kdi_blas_config();
}

const char *kd_blas_core(void)
{
    return kdi_blas_core();
}
