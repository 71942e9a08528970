/* SPDX-License-Identifier: MIT
 * spawn.h: programs run as a user runs them: words in; an exit status and two texts out. For suites
 * whose tests run in processes of their own, one program at a time. */
#ifndef KDI_SPAWN_H
#define KDI_SPAWN_H

#include "test.h"

#include <sys/types.h>

enum { TEST_MAX_TEXT = 1 << 19 };
extern char test_out[TEST_MAX_TEXT], test_err[TEST_MAX_TEXT]; /* what the last program said */

typedef struct test_path {
    char text[4200];
} test_path;

test_path test_at(const char *folder, const char *name);
test_path test_in_dir(const char *name); /* in test_dir() */
/* A file of the build: in the environment's KD_BIN_DIR, else beside the tests. */
test_path test_bin(const char *name);

/* What a program links beside this build's library, as words for a shell. */
const char *test_libs(void);

/* The whole file as text, its size returned. */
size_t test_slurp(const char *path, char text[TEST_MAX_TEXT]);
size_t test_lines(const char *text);
void test_expect_in(const char *text, const char *part);

/* words[0] is a path, or a name for PATH. env: "NAME=value" texts in place of what our environment
 * has under these names, or NULL. out: a file for standard output, which is not read then, or NULL.
 * Returns -1 if there is no such program. */
pid_t test_start(const char *const *words, const char *const *env, const char *out);
/* Its status as waitpid has it; its texts are read. */
int test_wait(pid_t pid);
/* Its exit status, or -1 for no such program; a signal that ends it fails the test. */
int test_finish(pid_t pid);

#define TEST_WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define test_run(...) test_finish(test_start(TEST_WORDS(__VA_ARGS__), NULL, NULL))
#define test_run_ok(...)                                                                           \
    do {                                                                                           \
        const int status_ = test_run(__VA_ARGS__);                                                 \
        ck_assert_msg(status_ == 0, "exit status %d: %s", status_, test_err);                      \
    } while (0)

#endif
