/* SPDX-License-Identifier: MIT
 * test.h: what the tests share. */
#ifndef KDI_TEST_H
#define KDI_TEST_H

#include <kd/ctx.h>

#include <check.h>
#include <stdbool.h>

/* A context with so many threads (0: the default) on that kernel table (NULL: the best). */
kd_ctx *test_ctx(int threads, const char *isa);

/* A context whose allocator counts, and fails the n-th allocation from now on (0: never). */
typedef struct test_heap {
    long live, count, fail_at; /* blocks held, allocations asked for, which one fails */
} test_heap;
kd_ctx *test_ctx_counting(test_heap *heap, int threads);

/* Fill with numbers in [-scale, scale) that depend on the seed alone. */
void test_fill(float *x, size_t n, uint64_t seed, float scale);

/* Largest |a-b| / max(1, |b|); infinity where one is not finite. */
double test_distance(const float *a, const float *b, size_t n);

/* A folder for this suite's files in this run, below the system's temporary folder. */
const char *test_dir(void);
void test_enter(const char *suite); /* before each test: that is the folder from now on */

/* The success of a call, with the context's error in the report. */
#define test_ok(ctx, call)                                                                         \
    do {                                                                                           \
        const kd_status test_status_ = (call);                                                     \
        ck_assert_msg(test_status_ == KD_OK, "%s: %s (%s)", #call, kd_ctx_error(ctx),              \
                      kd_status_name(test_status_));                                               \
    } while (0)

/* A suite of one test case with a time limit in seconds; the tests are given by address:
 * TEST_SUITE(base, 30, &test_philox, &test_alloc) */
Suite *test_suite(const char *name, double seconds, void (*enter)(void), const TTest **const *tests,
                  size_t count);
#define TEST_SUITE(name, seconds, ...)                                                             \
    Suite *name##_suite(void);                                                                     \
    static void name##_enter(void)                                                                 \
    {                                                                                              \
        test_enter(#name);                                                                         \
    }                                                                                              \
    Suite *name##_suite(void)                                                                      \
    {                                                                                              \
        const TTest **const tests[] = {__VA_ARGS__};                                               \
        return test_suite(#name, seconds, name##_enter, tests, sizeof tests / sizeof *tests);      \
    }

#endif
