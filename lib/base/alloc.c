/* SPDX-License-Identifier: MIT
 * alloc.c: blocks from the caller's allocator, counted and limited; pools.
 *
 * A block carries its size in the 64 bytes before it, so that freeing needs no size and the
 * alignment of 64 is kept. */
#include "ctx.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

enum { HEADER = 64, CHUNK = 16 * 1024, LARGE = 8 << 20 };

/* Ask for huge pages for a large array: kernels read many places of it in turn, more than the
 * processor has entries for small pages. The system may decline. */
static void advise(char *block, size_t size)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const long page = sysconf(_SC_PAGESIZE);
    if (size < LARGE || page <= 0) return;
    const size_t skip = ((size_t)page - (uintptr_t)block % (size_t)page) % (size_t)page;
    madvise(block + skip, (size - skip) / (size_t)page * (size_t)page, MADV_HUGEPAGE);
#else
    (void)block;
    (void)size;
#endif
}

void *kdi_default_alloc(void *user, void *ptr, size_t old_size, size_t new_size, size_t align)
{
    (void)user;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    void *fresh;
    if (new_size > PTRDIFF_MAX) return NULL; /* no object is larger */
    if (posix_memalign(&fresh, align < sizeof(void *) ? sizeof(void *) : align, new_size))
        return NULL;
    advise(fresh, new_size);
    if (ptr) {
        memcpy(fresh, ptr, old_size < new_size ? old_size : new_size);
        free(ptr);
    }
    return fresh;
}

static size_t *header(void *block)
{
    return (size_t *)(void *)((char *)block - HEADER);
}

/* Add bytes to the count, unless that would break the limit. *now is the count, or what it would
 * have become. */
static bool count_more(kd_ctx *ctx, size_t bytes, size_t *now)
{
    *now = atomic_fetch_add(&ctx->memory, bytes) + bytes;
    if (ctx->config.max_memory && *now > ctx->config.max_memory) {
        atomic_fetch_sub(&ctx->memory, bytes);
        return false;
    }
    size_t peak = atomic_load(&ctx->peak);
    while (*now > peak && !atomic_compare_exchange_weak(&ctx->peak, &peak, *now)) {}
    return true;
}

#define LIMIT "memory limit of "
static kd_status over(kd_ctx *ctx, size_t held, size_t bytes)
{
    return kd_ctx_fail(ctx, KD_E_LIMIT,
                       LIMIT "%zu bytes: %zu are held and %zu more are needed (%zu in all)",
                       ctx->config.max_memory, held, bytes, held + bytes);
}

/* The same; false with an error. */
static bool reserve(kd_ctx *ctx, size_t bytes)
{
    size_t now;
    if (count_more(ctx, bytes, &now)) return true;
    over(ctx, now - bytes, bytes);
    return false;
}

kd_status kdi_limit_check(kd_ctx *ctx, size_t held, size_t bytes)
{
    const size_t limit = ctx->config.max_memory;
    if (bytes > SIZE_MAX - held) bytes = SIZE_MAX - held;
    return limit && held + bytes > limit ? over(ctx, held, bytes) : KD_OK;
}

kd_status kdi_limit_for(kd_ctx *ctx, kd_status status, const char *format, ...)
{
    char text[KDI_ERROR_SIZE], what[KDI_ERROR_SIZE];
    va_list values;
    if (status != KD_E_LIMIT || strncmp(ctx->error, LIMIT, sizeof LIMIT - 1)) return status;
    memcpy(text, ctx->error, sizeof text);
    va_start(values, format);
    vsnprintf(what, sizeof what, format, values);
    va_end(values);
    return kd_ctx_fail(ctx, status, "%s, for %s", text, what);
}

void *kdi_realloc(kd_ctx *ctx, void *block, size_t count, size_t size)
{
    size_t bytes, total;
    if (!kdi_mul(count, size, &bytes) || !kdi_add(bytes, HEADER, &total)) {
        kd_ctx_fail(ctx, KD_E_LIMIT, "%zu objects of %zu bytes: the size overflows", count, size);
        return NULL;
    }
    const size_t old = block ? *header(block) : 0;
    if (total > old && !reserve(ctx, total - old)) return NULL;
    char *fresh =
        ctx->config.alloc(ctx->config.alloc_user, block ? header(block) : NULL, old, total, HEADER);
    if (!fresh) {
        if (total > old) atomic_fetch_sub(&ctx->memory, total - old);
        kd_ctx_fail(ctx, KD_E_NOMEM, "out of memory: %zu bytes could not be had", total);
        return NULL;
    }
    if (total < old) atomic_fetch_sub(&ctx->memory, old - total);
    const size_t kept = old > HEADER ? old : HEADER;
    if (total > kept) memset(fresh + kept, 0, total - kept);
    memcpy(fresh, &total, sizeof total);
    return fresh + HEADER;
}

kd_status kd_ctx_memory_status(const kd_ctx *ctx)
{
    if (!ctx) return KD_E_INVALID;
    return atomic_load(&ctx->status) == KD_E_LIMIT ? KD_E_LIMIT : KD_E_NOMEM;
}

void *kd_ctx_alloc(kd_ctx *ctx, size_t count, size_t size)
{
    return ctx ? kdi_realloc(ctx, NULL, count, size) : NULL;
}

kd_status kdi_alloc_quietly(kd_ctx *ctx, size_t bytes, void **block)
{
    size_t total, now;
    *block = NULL;
    if (!kdi_add(bytes, HEADER, &total)) return KD_E_LIMIT;
    if (!count_more(ctx, total, &now)) return KD_E_LIMIT;
    char *fresh = ctx->config.alloc(ctx->config.alloc_user, NULL, 0, total, HEADER);
    if (!fresh) {
        atomic_fetch_sub(&ctx->memory, total);
        return KD_E_NOMEM;
    }
    memcpy(fresh, &total, sizeof total);
    *block = fresh + HEADER;
    return KD_OK;
}

void kd_ctx_free(kd_ctx *ctx, void *block)
{
    if (!ctx || !block) return;
    const size_t total = *header(block);
    ctx->config.alloc(ctx->config.alloc_user, header(block), total, 0, HEADER);
    atomic_fetch_sub(&ctx->memory, total);
}

size_t kd_ctx_memory(const kd_ctx *ctx)
{
    return ctx ? atomic_load(&ctx->memory) : 0;
}

size_t kd_ctx_memory_peak(const kd_ctx *ctx)
{
    return ctx ? atomic_load(&ctx->peak) : 0;
}

size_t kd_ctx_memory_limit(const kd_ctx *ctx)
{
    return ctx ? ctx->config.max_memory : 0;
}

bool kdi_grow(kd_ctx *ctx, void **array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) return true;
    size_t wanted;
    if (!kdi_mul(*capacity ? *capacity : 4, 2, &wanted)) wanted = SIZE_MAX;
    void *fresh = kdi_realloc(ctx, *array, wanted, size);
    if (!fresh) return false;
    *array = fresh;
    *capacity = wanted;
    return true;
}

char *kdi_strdup(kd_ctx *ctx, const char *text)
{
    const size_t n = strlen(text) + 1;
    char *copy = kd_ctx_alloc(ctx, n, 1);
    if (copy) memcpy(copy, text, n);
    return copy;
}

struct kdi_chunk {
    struct kdi_chunk *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

void *kdi_pool_alloc(kdi_pool *pool, size_t count, size_t size)
{
    size_t bytes;
    if (!kdi_mul(count, size, &bytes) || !kdi_round_up(bytes ? bytes : 1, 16, &bytes)) {
        kd_ctx_fail(pool->ctx, KD_E_LIMIT, "%zu objects of %zu bytes: the size overflows", count,
                    size);
        return NULL;
    }
    struct kdi_chunk *chunk = pool->chunks;
    if (!chunk || chunk->size - chunk->used < bytes) {
        const size_t chunk_size = bytes > CHUNK / 4 ? bytes : CHUNK;
        size_t total;
        if (!kdi_add(sizeof *chunk, chunk_size, &total))
            total = SIZE_MAX; /* which fails, in words */
        struct kdi_chunk *fresh = kd_ctx_alloc(pool->ctx, total, 1);
        if (!fresh) return NULL;
        fresh->size = chunk_size;
        /* A large block gets a chunk of its own behind the one being filled. */
        if (chunk && chunk_size != CHUNK) {
            fresh->next = chunk->next;
            chunk->next = fresh;
        } else {
            fresh->next = chunk;
            pool->chunks = fresh;
        }
        chunk = fresh;
    }
    void *block = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return block;
}

char *kdi_pool_strdup(kdi_pool *pool, const char *text)
{
    const size_t n = strlen(text) + 1;
    char *copy = kdi_pool_alloc(pool, n, 1);
    if (copy) memcpy(copy, text, n);
    return copy;
}

void kdi_pool_free(kdi_pool *pool)
{
    while (pool->chunks) {
        struct kdi_chunk *next = pool->chunks->next;
        kd_ctx_free(pool->ctx, pool->chunks);
        pool->chunks = next;
    }
}

uint64_t kdi_hash(const void *bytes, size_t count)
{
    const unsigned char *p = bytes;
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < count; i++) h = (h ^ p[i]) * 0x100000001B3u;
    return h;
}
