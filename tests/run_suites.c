/* SPDX-License-Identifier: MIT
 * run_suites.c: runs the suites of suites.def with Check; `tests NAME...` runs those alone. */
#include "test.h"

#include <kd/ctx.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/base/philox.h"

kd_ctx *test_ctx(int threads, const char *isa)
{
    kd_ctx *ctx;
    const kd_config config = {.struct_size = sizeof config, .threads = threads, .isa = isa};
    const kd_status status = kd_ctx_create(&config, &ctx);
    ck_assert_msg(status == KD_OK, "kd_ctx_create: %s", kd_status_text(status));
    return ctx;
}

static void *counting(void *user, void *ptr, size_t old_size, size_t new_size, size_t align)
{
    test_heap *heap = user;
    void *fresh = NULL;
    if (new_size) {
        heap->count++;
        if (heap->fail_at && heap->count == heap->fail_at) return NULL;
        if (posix_memalign(&fresh, align, new_size)) return NULL;
        heap->live++;
    }
    if (ptr) {
        if (fresh) memcpy(fresh, ptr, old_size < new_size ? old_size : new_size);
        free(ptr);
        heap->live--;
    }
    return fresh;
}

kd_ctx *test_ctx_counting(test_heap *heap, int threads)
{
    kd_ctx *ctx;
    const kd_config config = {
        .struct_size = sizeof config, .threads = threads, .alloc = counting, .alloc_user = heap};
    return kd_ctx_create(&config, &ctx) ? NULL : ctx;
}

void test_fill(float *x, size_t n, uint64_t seed, float scale)
{
    kdi_rng r = kdi_rng_make(seed, KDI_RNG_TEST, 0, 0);
    for (size_t i = 0; i < n; i++) x[i] = scale * (2 * kdi_rng_uniform(&r) - 1);
}

double test_distance(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        const double scale = fabs((double)b[i]) > 1 ? fabs((double)b[i]) : 1;
        const double d = fabs((double)a[i] - (double)b[i]) / scale;
        if (!isfinite(d)) return INFINITY;
        if (d > worst) worst = d;
    }
    return worst;
}

static char dir[256], own[300]; /* of this run, of this suite */

void test_enter(const char *suite)
{
    snprintf(own, sizeof own, "%s/%.40s", dir, suite);
    ck_assert_msg(mkdir(own, 0700) == 0 || errno == EEXIST, "%s", own);
}

const char *test_dir(void)
{
    return own;
}

Suite *test_suite(const char *name, double seconds, void (*enter)(void), const TTest **const *tests,
                  size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, seconds);
    tcase_add_checked_fixture(tcase, enter, NULL);
    for (size_t i = 0; i < count; i++) tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}

#define SUITE(name) Suite *name##_suite(void);
#include "suites.def"
#undef SUITE

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        Suite *(*make)(void);
    } suites[] = {
#define SUITE(name) {#name, name##_suite},
#include "suites.def"
#undef SUITE
    };
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/libkd-tests.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    SRunner *runner = srunner_create(NULL);
    for (size_t s = 0; s < sizeof suites / sizeof *suites; s++) {
        bool wanted = argc == 1;
        for (int a = 1; a < argc; a++) wanted |= strcmp(argv[a], suites[s].name) == 0;
        if (wanted) srunner_add_suite(runner, suites[s].make());
    }
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command)) perror(command);
    return failed != 0;
}
