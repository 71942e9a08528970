/* SPDX-License-Identifier: MIT
 * test_base.c: contexts, memory, random numbers, the parallel-for. */
#include "../test.h"

#include "../../lib/base/base.h"
#include "../../lib/base/digits.h"
#include "../../lib/base/philox.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Known answers published with the reference implementation of Random123. */
START_TEST(test_philox_known_answers)
{
    const kdi_u32x4 zero = kdi_philox(0, 0, 0, 0, 0);
    ck_assert_uint_eq(zero.v[0], 0x6627e8d5u);
    ck_assert_uint_eq(zero.v[1], 0xe169c58du);
    ck_assert_uint_eq(zero.v[2], 0xbc57ac4cu);
    ck_assert_uint_eq(zero.v[3], 0x9b00dbd8u);
    const kdi_u32x4 ones = kdi_philox(UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX);
    ck_assert_uint_eq(ones.v[0], 0x408f276du);
    ck_assert_uint_eq(ones.v[1], 0x41c83b0eu);
    ck_assert_uint_eq(ones.v[2], 0xa20bc7c6u);
    ck_assert_uint_eq(ones.v[3], 0x6d5451fdu);
    const kdi_u32x4 pi =
        kdi_philox(0x299f31d0a4093822u, 0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u);
    ck_assert_uint_eq(pi.v[0], 0xd16cfe09u);
    ck_assert_uint_eq(pi.v[1], 0x94fdccebu);
    ck_assert_uint_eq(pi.v[2], 0x5001e420u);
    ck_assert_uint_eq(pi.v[3], 0x24126ea1u);
}
END_TEST

START_TEST(test_memory)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    unsigned char *block = kd_ctx_alloc(ctx, 100, 3);
    ck_assert_ptr_nonnull(block);
    ck_assert_uint_eq((uintptr_t)block % 64, 0);
    for (int i = 0; i < 300; i++) ck_assert_uint_eq(block[i], 0);
    memset(block, 7, 300);
    block = kdi_realloc(ctx, block, 500, 1);
    for (int i = 0; i < 500; i++) ck_assert_uint_eq(block[i], i < 300 ? 7 : 0);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 564);
    heap.fail_at = heap.count + 1;
    ck_assert_ptr_null(kdi_realloc(ctx, block, 1000, 1));
    ck_assert_uint_eq(kd_ctx_memory(ctx), 564);
    ck_assert_ptr_null(kd_ctx_alloc(ctx, SIZE_MAX / 2, 3));
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "overflow"));
    kd_ctx_free(ctx, block);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

START_TEST(test_memory_limit)
{
    kd_ctx *ctx;
    const kd_config config = {.struct_size = sizeof config, .max_memory = 1000};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    void *a = kd_ctx_alloc(ctx, 500, 1);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_null(kd_ctx_alloc(ctx, 500, 1));
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "memory limit of 1000 bytes"));
    ck_assert_int_eq(kd_ctx_memory_status(ctx), KD_E_LIMIT);
    ck_assert_ptr_null(kd_ctx_alloc(ctx, SIZE_MAX, 2)); /* no size at all */
    ck_assert_int_eq(kd_ctx_memory_status(ctx), KD_E_LIMIT);
    kd_ctx_free(ctx, a);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A limit is one, and memory that cannot be had is not. */
START_TEST(test_memory_status)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    heap.count = 0;
    heap.fail_at = 1;
    ck_assert_ptr_null(kd_ctx_alloc(ctx, 500, 1));
    ck_assert_int_eq(kd_ctx_memory_status(ctx), KD_E_NOMEM);
    kd_ctx_fail(ctx, KD_E_LIMIT, "something else");
    heap.count = 0;
    ck_assert_ptr_null(kd_ctx_alloc(ctx, 500, 1));
    ck_assert_int_eq(kd_ctx_memory_status(ctx), KD_E_NOMEM);
    kd_ctx_destroy(ctx);
}
END_TEST

static void mark(void *arg, size_t index, int worker)
{
    atomic_int *seen = arg;
    ck_assert_int_ge(worker, 0);
    atomic_fetch_add(&seen[index], 1);
}

START_TEST(test_parallel_for)
{
    for (int threads = 1; threads <= 7; threads++) {
        kd_ctx *ctx = test_ctx(threads, NULL);
        atomic_int seen[1000] = {0};
        kd_parallel_for(ctx, 1000, mark, seen);
        for (int i = 0; i < 1000; i++) ck_assert_int_eq(seen[i], 1);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

START_TEST(test_checked)
{
    size_t out = 5;
    ck_assert(!kdi_mul(SIZE_MAX, 2, &out));
    ck_assert(!kdi_add(SIZE_MAX, 1, &out));
    ck_assert(!kdi_round_up(SIZE_MAX - 3, 64, &out));
    ck_assert_uint_eq(out, 5);
    ck_assert(kdi_mul(SIZE_MAX, 0, &out));
    ck_assert_uint_eq(out, 0);
    ck_assert(kdi_round_up(65, 64, &out));
    ck_assert_uint_eq(out, 128);
}
END_TEST

START_TEST(test_isa)
{
    kd_ctx *ctx;
    const kd_config config = {.struct_size = sizeof config, .isa = "z80"};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_E_UNSUPPORTED);
    ck_assert_ptr_null(ctx);
    ctx = test_ctx(1, "generic");
    ck_assert_str_eq(kd_ctx_isa(ctx), "generic");
    kd_ctx_destroy(ctx);
}
END_TEST

/* Without a context there is still the log to say what was wrong. */
static void keep_line(void *user, kd_log_level level, const char *text)
{
    ck_assert_int_eq(level, KD_LOG_ERROR);
    snprintf(user, 200, "%s", text);
}

static void *no_memory(void *user, void *ptr, size_t old_size, size_t new_size, size_t align)
{
    (void)user, (void)ptr, (void)old_size, (void)new_size, (void)align;
    return NULL;
}

START_TEST(test_no_context)
{
    const struct {
        kd_config config;
        kd_status status;
        const char *words;
    } cases[] = {
        {{.threads = -5}, KD_E_INVALID, "threads: -5 is negative"},
        {{.threads = INT_MIN}, KD_E_INVALID, "is negative"},
        {{.threads = KD_MAX_THREADS + 1}, KD_E_LIMIT, "threads: 257 are more than 256"},
        {{.threads = INT_MAX}, KD_E_LIMIT, "more than 256"},
        {{.isa = "z80"}, KD_E_UNSUPPORTED, "'z80'"},
        {{.conv = "fft"}, KD_E_UNSUPPORTED, "'fft'"},
        {{.alloc = no_memory}, KD_E_NOMEM, "out of memory"},
        {{.threads = KD_MAX_THREADS}, KD_OK, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[200] = "";
        kd_config config = cases[i].config;
        kd_ctx *ctx = (kd_ctx *)(void *)line;
        config.struct_size = sizeof config;
        config.log = keep_line;
        config.log_user = line;
        ck_assert_int_eq(kd_ctx_create(&config, &ctx), cases[i].status);
        ck_assert_msg(strstr(line, cases[i].words), "%zu: '%s'", i, line);
        ck_assert_int_eq(ctx == NULL, cases[i].status != KD_OK);
        kd_ctx_destroy(ctx);
        config.log = NULL; /* in silence */
        ck_assert_int_eq(kd_ctx_create(&config, &ctx), cases[i].status);
        kd_ctx_destroy(ctx);
    }
    ck_assert_int_eq(kd_ctx_create(NULL, NULL), KD_E_INVALID);
}
END_TEST

/* Each algorithm's name is known; no other is. */
START_TEST(test_conv)
{
    static const char *const names[] = {"gemm",      "direct",     "winograd",
                                        "winograd2", "small_map2", "small_map4"};
    kd_ctx *ctx;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const kd_config config = {.struct_size = sizeof config, .conv = names[i]};
        ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
        ck_assert_int_ge(kdi_ctx_conv(ctx), 0);
        kd_ctx_destroy(ctx);
    }
    const kd_config config = {.struct_size = sizeof config, .conv = "fft"};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_E_UNSUPPORTED);
}
END_TEST

START_TEST(test_clock)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    const double start = kd_seconds();
    nanosleep(&pause, NULL);
    const double end = kd_seconds();
    ck_assert(end - start >= .02 && end - start < 25);
    ck_assert(kd_seconds() >= end);
}
END_TEST

START_TEST(test_digits)
{
    static const struct {
        const char *text;
        size_t value, length; /* length 0: no number */
    } cases[] = {{"0.875", 875000, 5},   {"1", 1000000, 1},   {"1+flip", 1000000, 1},
                 {"0.000001", 1, 8},     {"0.0000001", 0, 0}, {".5", 0, 0},
                 {"1.", 0, 0},           {"-1", 0, 0},        {" 1", 0, 0},
                 {"0.5.5", 500000, 3},   {"1000001", 0, 0},   {"99999999999999999999", 0, 0},
                 {"007.25", 7250000, 6}, {"1e1", 1000000, 1}, {"", 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t value = 7;
        const char *end = NULL;
        const bool found = kdi_parse_millionths(cases[i].text, &value, &end);
        ck_assert_msg(found == (cases[i].length > 0), "'%s'", cases[i].text);
        if (!found) continue;
        ck_assert_msg(value == cases[i].value && end == cases[i].text + cases[i].length,
                      "'%s': %zu", cases[i].text, value);
    }
}
END_TEST

TEST_SUITE(base, 30, &test_philox_known_answers, &test_memory, &test_memory_limit,
           &test_memory_status, &test_parallel_for, &test_checked, &test_isa, &test_no_context,
           &test_conv, &test_clock, &test_digits)
