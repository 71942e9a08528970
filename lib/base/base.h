/* SPDX-License-Identifier: MIT
 * base.h: what the library's other rooms use of the context. Everything most code needs is public
 * (kd/ctx.h); this adds resizing, strings and a pool whose blocks are freed together. */
#ifndef KDI_BASE_H
#define KDI_BASE_H

#include "checked.h"

#include <kd/ctx.h>

#include <pthread.h>
#include <stdbool.h>

struct kdi_kernels;

/* The kernel table this context runs on (lib/kernel/kernels.h). */
const struct kdi_kernels *kdi_ctx_kernels(const kd_ctx *ctx);
/* The forced algorithm of convolutions, a kdi_conv_algo (lib/kernel/conv.h); -1: none. */
int kdi_ctx_conv(const kd_ctx *ctx);

/* Start the default parallel-for's threads now, so that nothing is allocated later. */
kd_status kdi_ctx_start_threads(kd_ctx *ctx);

/* The error of a callback. Between kdi_words_begin and kdi_words_end, kd_ctx_fail on ctx in this
 * thread writes to `text` instead of the context's error, which another thread may be reading. said
 * is 0 if kd_ctx_fail was not called. */
typedef struct kdi_words {
    struct kdi_words *next; /* of the context's listeners */
    pthread_t thread;
    size_t said; /* calls of kd_ctx_fail that wrote here */
    char text[1024];
} kdi_words;

void kdi_words_begin(kdi_words *words, kd_ctx *ctx);
void kdi_words_end(kdi_words *words, kd_ctx *ctx);

/* Grow or shrink a block from kd_ctx_alloc to count * size bytes; new bytes are zero. On failure
 * NULL, and the block stays. block NULL allocates. */
void *kdi_realloc(kd_ctx *ctx, void *block, size_t count, size_t size);

/* Before something large is made of several blocks: KD_E_LIMIT, with all of it in the error, where
 * the limit does not allow `bytes` beside `held`. */
kd_status kdi_limit_check(kd_ctx *ctx, size_t held, size_t bytes);

/* What the memory was for, behind the error of a limit that was met: ", for the network vgg8".
 * Another status, and another error, stay. Returns the status. */
kd_status kdi_limit_for(kd_ctx *ctx, kd_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For threads beside the context's own: memory as from kd_ctx_alloc, but not zeroed. The context's
 * error is not touched. KD_E_NOMEM, or KD_E_LIMIT if the context's limit does not allow it. */
kd_status kdi_alloc_quietly(kd_ctx *ctx, size_t bytes, void **block);

/* Make room for one more element in a growing array: doubles *capacity when count == *capacity.
 * False, with the context's error set, on failure. */
bool kdi_grow(kd_ctx *ctx, void **array, size_t count, size_t *capacity, size_t size);

char *kdi_strdup(kd_ctx *ctx, const char *text);

/* A pool: many small blocks, zeroed, 16-byte aligned, freed at once. */
typedef struct kdi_pool {
    kd_ctx *ctx;
    struct kdi_chunk *chunks;
} kdi_pool;

void *kdi_pool_alloc(kdi_pool *pool, size_t count, size_t size);
char *kdi_pool_strdup(kdi_pool *pool, const char *text);
void kdi_pool_free(kdi_pool *pool);

/* FNV-1a, 64 bits: keys for names. */
uint64_t kdi_hash(const void *bytes, size_t count);

#endif
