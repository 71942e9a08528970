/* SPDX-License-Identifier: MIT
 * ctx.c: the context: what it was made with (../kernel/context.c), last error, log. */
#include "ctx.h"

#include "threads.h"

#include <stdio.h>
#include <string.h>

/* A struct of a later version may be longer than ours by so many bytes. A struct_size beyond that
 * is taken for one that the caller forgot to set. */
enum { MOST_BEYOND = 4096 };

static size_t struct_size(const void *options)
{
    size_t size;
    memcpy(&size, options, sizeof size);
    return size;
}

kd_status kd_options(kd_ctx *ctx, const char *name, void *ours, size_t full, const void *theirs)
{
    if (!ours) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_options: NULL");
    memset(ours, 0, full);
    memcpy(ours, &full, sizeof full);
    if (!theirs) return KD_OK;
    const size_t size = struct_size(theirs);
    if (size < sizeof size)
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s: struct_size is not set", name);
    if (size > full + MOST_BEYOND)
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s: struct_size is %zu, which no such struct has",
                           name, size);
    const unsigned char *bytes = theirs;
    for (size_t i = full; i < size; i++)
        if (bytes[i])
            return kd_ctx_fail(ctx, KD_E_UNSUPPORTED,
                               "%s: this library (%s) does not know all of its members", name,
                               kd_version());
    memcpy(ours, theirs, size < full ? size : full);
    memcpy(ours, &full, sizeof full);
    return KD_OK;
}

kd_status kd_results_check(kd_ctx *ctx, const char *name, const void *theirs)
{
    if (theirs && struct_size(theirs) < sizeof(size_t))
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s: struct_size is not set", name);
    return KD_OK;
}

void kd_results(void *theirs, const void *ours, size_t full)
{
    if (!theirs || !ours) return;
    const size_t size = struct_size(theirs);
    memcpy(theirs, ours, size < full ? size : full);
    memcpy(theirs, &size, sizeof size);
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

void kd_ctx_cancel(kd_ctx *ctx, int cancel)
{
    if (ctx) atomic_store_explicit(&ctx->cancelled, cancel != 0, memory_order_relaxed);
}

int kd_ctx_cancelled(const kd_ctx *ctx)
{
    return ctx && atomic_load_explicit(&ctx->cancelled, memory_order_relaxed);
}

kd_status kd_ctx_check_cancel(kd_ctx *ctx)
{
    if (!ctx) return KD_E_INVALID;
    return kd_ctx_cancelled(ctx) ? kd_ctx_fail(ctx, KD_E_STOPPED, "the context was cancelled")
                                 : KD_OK;
}

int kd_ctx_threads(const kd_ctx *ctx)
{
    return ctx ? ctx->width : 0;
}

const char *kd_ctx_isa(const kd_ctx *ctx)
{
    return ctx ? ctx->config.isa : NULL;
}

int kdi_ctx_conv(const kd_ctx *ctx)
{
    return ctx->conv;
}

const struct kdi_kernels *kdi_ctx_kernels(const kd_ctx *ctx)
{
    return ctx->kernels;
}

/* One thread at a time writes the error's text. The lock is held for a copy of it, no longer. */
static void lock(kd_ctx *ctx)
{
    while (atomic_flag_test_and_set_explicit(&ctx->failing, memory_order_acquire)) {}
}

static void unlock(kd_ctx *ctx)
{
    atomic_flag_clear_explicit(&ctx->failing, memory_order_release);
}

void kdi_words_begin(kdi_words *words, kd_ctx *ctx)
{
    words->thread = pthread_self();
    words->said = 0;
    words->text[0] = 0;
    lock(ctx);
    words->next = ctx->listeners;
    ctx->listeners = words;
    unlock(ctx);
}

void kdi_words_end(kdi_words *words, kd_ctx *ctx)
{
    lock(ctx);
    kdi_words *w = ctx->listeners;
    if (w == words) {
        ctx->listeners = words->next;
    } else {
        while (w->next != words) w = w->next;
        w->next = words->next;
    }
    unlock(ctx);
}

/* The call that waits for a callback in this thread, where the thread's errors are written; NULL:
 * they are the context's. The caller holds the lock. */
static kdi_words *waiting(kd_ctx *ctx)
{
    kdi_words *w = ctx->listeners;
    while (w && !pthread_equal(w->thread, pthread_self())) w = w->next;
    return w;
}

/* Every step of a program asks. Where no callback is waited for there is no lock: this thread itself
 * would have made it known. */
size_t kd_ctx_failures(kd_ctx *ctx)
{
    if (!ctx) return 0;
    if (!ctx->listeners) return ctx->said;
    lock(ctx);
    const kdi_words *w = waiting(ctx);
    const size_t said = w ? w->said : ctx->said;
    unlock(ctx);
    return said;
}

kd_status kd_ctx_called(kd_ctx *ctx, size_t failures, kd_status status, const char *what)
{
    if (!status || !ctx || kd_ctx_failures(ctx) != failures) return status;
    return kd_ctx_fail(ctx, status, "%s returned %s", what ? what : "a callback",
                       kd_status_name(status));
}

kd_status kd_ctx_fail(kd_ctx *ctx, kd_status status, const char *format, ...)
{
    if (ctx && format) {
        /* An argument may point into ctx->error, so format beside it first. */
        char text[KDI_ERROR_SIZE];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        lock(ctx);
        kdi_words *w = waiting(ctx);
        memcpy(w ? w->text : ctx->error, text, sizeof text);
        if (w)
            w->said++;
        else
            ctx->said++;
        unlock(ctx);
        atomic_store(&ctx->status, (int)status); /* of an allocation, for its caller */
    }
    return status;
}

void kd_ctx_log(kd_ctx *ctx, kd_log_level level, const char *format, ...)
{
    if (!ctx || !format || !ctx->config.log) return;
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
