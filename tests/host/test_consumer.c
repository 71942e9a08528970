/* SPDX-License-Identifier: MIT
 * test_consumer.c: programs of strangers, in tests/consumer, linked and run. One's own functions
 * have names like the library's: the k-d tree library's, which begin with kd_ too, or even the
 * library's own. Another's heap is its own and counts what is asked of it. */
#include "../spawn.h"

#include <stdio.h>
#include <string.h>

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

/* sh SCRIPT LIBRARIES FOLDER FLAGS... */
static void run_script(const char *script, const char *name)
{
    const test_path folder = test_in_dir(name), libraries = test_bin("..");
    char words[9000];
    if (SANITIZED || test_run(C_COMPILER, "--version")) return;
    snprintf(words, sizeof words, "CC=%s sh %s '%s' '%s' %s", C_COMPILER, script, libraries.text,
             folder.text, test_libs());
    const int status = test_run("sh", "-c", words);
    ck_assert_msg(status == 0, "exit status %d: %s%s", status, test_out, test_err);
}

START_TEST(test_names_of_others)
{
    run_script("tests/consumer/foreign.sh", "foreign");
}
END_TEST

/* OpenMP and OpenBLAS have memory of their own. */
START_TEST(test_heap_is_left_alone)
{
    const char *info = kd_build_info();
    if (strstr(info, "openmp") || strstr(info, "openblas")) return;
    if (strstr(info, "jpeg=0") && strstr(info, "png=0")) return;
    run_script("tests/consumer/heap.sh", "heap");
}
END_TEST

TEST_SUITE(consumer, 120, &test_names_of_others, &test_heap_is_left_alone)
