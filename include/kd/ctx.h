/* SPDX-License-Identifier: MIT
 * ctx.h: the context everything hangs off: allocator, logger, parallel-for, limits, last error.
 *
 * There are no globals. Nothing here aborts, exits or prints. The following holds in all headers; a
 * header or a function says where it differs.
 *
 * Threads: a context and all that is made from it belong to one thread at a time. It need not
 * always be the same one. Two contexts may be used in two threads at the same moment. A call that
 * takes objects of two contexts uses both. Functions of which the comment says "any thread" may be
 * called while other threads use the context.
 *
 * Errors: a kd_status other than KD_OK says what went wrong, and kd_ctx_error says it in words. A
 * function that takes memory may return KD_E_NOMEM, or KD_E_LIMIT for kd_config.max_memory. One
 * that takes a struct with a struct_size may return KD_E_INVALID or KD_E_UNSUPPORTED, as kd_options
 * does. Comments name the other errors. What a function was to make is NULL after a failure.
 *
 * Pointers are not NULL, unless the comment allows it. A NULL is a mistake that functions answer: with
 * KD_E_INVALID those that return a kd_status; with NULL, zero or nothing done the others. Builders
 * of a graph are as in graph.h. */
#ifndef KD_CTX_H
#define KD_CTX_H

#include <kd/status.h>

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KD_VERSION_MAJOR 0
#define KD_VERSION_MINOR 1
#define KD_VERSION_PATCH 0

typedef struct kd_ctx kd_ctx;

typedef enum kd_log_level { KD_LOG_DEBUG, KD_LOG_INFO, KD_LOG_WARN, KD_LOG_ERROR } kd_log_level;

/* The one allocator function. ptr NULL: allocate new_size bytes at a multiple of align (a power of
 * two). new_size 0: free ptr, whose size was old_size, and return NULL. Both non-zero: resize,
 * keeping the first min(old_size, new_size) bytes. NULL means failure, and ptr stays valid. May be
 * called from the loader's thread. */
typedef void *(*kd_alloc_fn)(void *user, void *ptr, size_t old_size, size_t new_size, size_t align);

/* text is one line without a newline, valid during the call. */
typedef void (*kd_log_fn)(void *user, kd_log_level level, const char *text);

/* A parallel-for: call fn(arg, w) at most once for each w in [0, width), for w = 0 at least,
 * concurrently or one after another, in any order, and return when all have returned. Workers never
 * wait for each other: they take pieces of work until none is left. */
typedef void (*kd_worker_fn)(void *arg, int worker);
typedef void (*kd_parallel_fn)(void *user, int width, kd_worker_fn fn, void *arg);

enum { KD_MAX_THREADS = 256 };

typedef struct kd_config {
    size_t struct_size; /* sizeof(kd_config) */
    kd_alloc_fn alloc;  /* NULL: the C library's */
    void *alloc_user;
    kd_log_fn log; /* NULL: silence */
    void *log_user;
    kd_parallel_fn parallel; /* NULL: threads of the context's own, started when first needed and
                              * gone with it: OpenMP's, or without it (OPENMP=0) the system's */
    void *parallel_user;
    int threads; /* width of the parallel-for, at most KD_MAX_THREADS; 0: with `parallel` 1, else
                        * what OMP_NUM_THREADS or the program has told OpenMP, else as many as
                        * processors may be used, by affinity and the control groups' quota */
    size_t max_memory; /* bytes the context may hold at once; 0: no limit */
    const char *isa;   /* kernel table "generic", "avx2", "avx512", "amx", "neon"; "": the best
                              * this processor runs; NULL: the environment's KD_ISA, else the best */
    const char *conv;  /* algorithm of the convolutions it can compute: "gemm", "direct",
                              * "depthwise", "winograd", "winograd2", "small_map2", "small_map4"; NULL: the
                              * environment's KD_CONV, else by shape */
    const char *blas;  /* who computes matrix products: "builtin"; "openblas": every product it can;
                              * NULL: the environment's KD_BLAS, else OpenBLAS where it is built in
                              * and was measured to be faster */
} kd_config;

/* config NULL: all defaults. On failure *ctx is NULL, there is no kd_ctx_error, and config's log is
 * told one line in words, as KD_LOG_ERROR.
 *
 *   KD_E_INVALID      ctx is NULL; struct_size is not set (then nothing is logged); threads < 0
 *   KD_E_LIMIT        more threads than KD_MAX_THREADS
 *   KD_E_UNSUPPORTED  isa, conv or blas is unknown, the processor lacks the isa, the library
 *                     OpenBLAS, or config has members that this library does not know
 *   KD_E_NOMEM        the allocator returned NULL */
KD_API kd_status kd_ctx_create(const kd_config *config, kd_ctx **ctx);
/* Destroy every object made from the context first. No other call may run on it. The context's own
 * threads end. NULL is allowed. */
KD_API void kd_ctx_destroy(kd_ctx *ctx);

/* What the last failing call on this context had to say, in words, at most 1023 bytes; "" if none
 * failed. Never NULL. The text is valid until the next call that fails. Where several threads use
 * the context, read it when no call runs. NULL is allowed. */
KD_API const char *kd_ctx_error(const kd_ctx *ctx);
/* The width of the parallel-for, 1..KD_MAX_THREADS, as kd_config.threads came to. It never changes.
 * Any thread. */
KD_API int kd_ctx_threads(const kd_ctx *ctx);
/* The name of the kernel table, "avx2" and the like, as kd_config.isa came to. It never changes.
 * Any thread. */
KD_API const char *kd_ctx_isa(const kd_ctx *ctx);
/* Who computes large matrix products just now, and why: "builtin"; in a build with BLAS=openblas
 * "openblas 0.3.21 (Zen): ..." and which products it serves, or "builtin: ..." and why it serves
 * none: it was measured to be slower on this kernel table; it uses more than one thread and the
 * program has it so; it computes wrong numbers on this processor. Each context looks at that when
 * it first wants such a product, or is asked here. The text is valid until the next call. */
KD_API const char *kd_ctx_blas(kd_ctx *ctx);
/* How the OpenBLAS at hand was built, with its version, and the processor that it chose its kernels
 * for; "" in a build without. Any thread. */
KD_API const char *kd_blas_config(void);
KD_API const char *kd_blas_core(void);
/* Bytes held now, and the most ever held, through the context's allocator. Any thread. */
KD_API size_t kd_ctx_memory(const kd_ctx *ctx);
KD_API size_t kd_ctx_memory_peak(const kd_ctx *ctx);
/* kd_config.max_memory, in bytes; 0: no limit. Any thread. */
KD_API size_t kd_ctx_memory_limit(const kd_ctx *ctx);

/* Ask what runs on this context to end soon, or (cancel 0) take that back. Any thread may call
 * this, also while others compute; it does not wait. Until it is taken back, every kd_exec_run and
 * kd_loader_next of the context returns KD_E_STOPPED, the former before its next program step (of
 * some milliseconds). So does what is made of them: kd_model_predict, kd_evaluate (its result has
 * the samples before), kd_train and kd_distill. So do kd_dataset_measure, and kd_dataset_checksum
 * while it reads. kd_train and kd_distill undo the step they were in, write a checkpoint where they
 * have a folder, and can be resumed from there to the same bits. NULL is allowed. */
KD_API void kd_ctx_cancel(kd_ctx *ctx, int cancel);
/* 1 if the context was cancelled, else 0, for NULL too. Any thread. */
KD_API int kd_ctx_cancelled(const kd_ctx *ctx);
/* KD_E_STOPPED, with an error that says so, if the context was cancelled, else KD_OK: for long
 * calls of one's own. Any thread. */
KD_API kd_status kd_ctx_check_cancel(kd_ctx *ctx);

/* The version of the library that runs, "0.1.0". This function and the next two need no context.
 * Any thread. */
KD_API const char *kd_version(void);
/* How the library was built, e.g. "blas=builtin threads=own zlib=1 isa=generic,avx2". */
KD_API const char *kd_build_info(void);
/* Seconds of a clock that never jumps and never goes back (CLOCK_MONOTONIC); where it begins means
 * nothing. */
KD_API double kd_seconds(void);

/* ---- for those who extend the library: custom ops, trainers, readers ------------------------- */

/* Record an error, formatted as by printf and cut at 1023 bytes, and return status, so that
 * `return kd_ctx_fail(...)` reads well. ctx NULL: only return status. Any thread. */
KD_API kd_status kd_ctx_fail(kd_ctx *ctx, kd_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;
/* How many errors were recorded so far where this thread's go; NULL: 0. Any thread. With the next
 * one, for who calls a caller's function that may fail without a word:
 *
 *   const size_t before = kd_ctx_failures(ctx);
 *   return kd_ctx_called(ctx, before, fn(user), "the callback");
 */
KD_API size_t kd_ctx_failures(kd_ctx *ctx);
/* Return status. If it is a failure and no error was recorded since kd_ctx_failures gave `failures`,
 * record "WHAT returned KD_E_IO", so that the error is not an older one's; what NULL: "a callback".
 * Any thread; the same that called kd_ctx_failures. */
KD_API kd_status kd_ctx_called(kd_ctx *ctx, size_t failures, kd_status status, const char *what);
/* Give kd_config.log a line, formatted as by printf and cut at 1023 bytes. Nothing happens where
 * there is no logger or ctx is NULL. Any thread, if the logger may be called from there. */
KD_API void kd_ctx_log(kd_ctx *ctx, kd_log_level level, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* Take a caller's option struct: copy theirs over ours, a zeroed struct of `full` bytes. Both begin
 * with a size_t struct_size, which is `full` in ours afterwards.
 *
 *   theirs NULL          all zeros, the defaults
 *   struct_size 0        KD_E_INVALID: a forgotten size would drop every option without a word; so
 *                        is a size thousands of bytes beyond ours, which is no size
 *   shorter than ours    the members it lacks are zero: an older program
 *   longer than ours     a newer program; its further members must be zero, else KD_E_UNSUPPORTED
 *
 * name is the struct's, for the error: "kd_train_opt". ctx NULL: the status alone tells. Every
 * function of the library that takes options takes them by this rule. Any thread. */
KD_API kd_status kd_options(kd_ctx *ctx, const char *name, void *ours, size_t full,
                            const void *theirs);
/* The other direction: copy a result to the caller's struct, as much of it as his struct_size says.
 * theirs NULL: nothing is copied. full: bytes of ours. Any thread. */
KD_API void kd_results(void *theirs, const void *ours, size_t full);
/* KD_E_INVALID if the caller's struct for results has no struct_size, else KD_OK. name is the
 * struct's, for the error. theirs NULL is allowed. Any thread. */
KD_API kd_status kd_results_check(kd_ctx *ctx, const char *name, const void *theirs);

/* count * size bytes, zeroed, 64-byte aligned. NULL, with the context's error set, on failure,
 * overflow, or a limit. Zero bytes give a valid pointer. Any thread, if kd_config.alloc may be
 * called from there; the C library's may. */
KD_API void *kd_ctx_alloc(kd_ctx *ctx, size_t count, size_t size);
/* Why kd_ctx_alloc has just returned NULL: KD_E_LIMIT for kd_config.max_memory, or for a size that
 * no memory has; KD_E_NOMEM where the allocator had none. It goes by the context's last failure:
 * ask before another call can fail. */
KD_API kd_status kd_ctx_memory_status(const kd_ctx *ctx);
/* block NULL is allowed. ctx must be the one the block came from. Any thread, as kd_ctx_alloc. */
KD_API void kd_ctx_free(kd_ctx *ctx, void *block);

/* Call fn(arg, i, w) for every i in [0, count), and return when all calls have returned.
 * w in [0, kd_ctx_threads) tells apart the calls that may run at the same time, so that each can
 * own a piece of scratch memory. Which worker gets which i is not fixed: results must not depend on
 * it.
 *
 * A loop inside a task is done by that task's thread alone. Its w tells nothing apart: inner loops
 * of several tasks run at the same time with the same w (0, with the context's own threads). An
 * inner loop's scratch memory must therefore belong to the task around it, found by the outer w.
 * The same holds for a loop that another thread of the program begins meanwhile. */
typedef void (*kd_task_fn)(void *arg, size_t index, int worker);
KD_API void kd_parallel_for(kd_ctx *ctx, size_t count, kd_task_fn fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
