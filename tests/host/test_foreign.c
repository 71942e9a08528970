/* SPDX-License-Identifier: MIT
 * test_foreign.c: a program's own functions may have names like the library's: the k-d tree
 * library's, which begin with kd_ too, or even the library's own. tests/consumer/foreign.sh does the
 * work. */
#include "../spawn.h"

#include <stdio.h>

#ifdef __clang__
#define C_COMPILER "clang"
#else
#define C_COMPILER "gcc"
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif

START_TEST(test_names_of_others)
{
    const test_path folder = test_in_dir("foreign"), libraries = test_bin("..");
    char script[9000];
    if (SANITIZED || test_run(C_COMPILER, "--version")) return;
    snprintf(script, sizeof script, "CC=%s sh tests/consumer/foreign.sh '%s' '%s' %s", C_COMPILER,
             libraries.text, folder.text, test_libs());
    test_run_ok("sh", "-c", script);
}
END_TEST

TEST_SUITE(foreign, 60, &test_names_of_others)
