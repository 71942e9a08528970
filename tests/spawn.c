/* SPDX-License-Identifier: MIT
 * spawn.c: see spawn.h. Standard input is empty, the outputs go to files; signals a shell may have
 * us ignore do what they always do in the program. */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MAX_WORDS = 60, MAX_ENV = 1000 };
char test_out[TEST_MAX_TEXT], test_err[TEST_MAX_TEXT];
static bool reads_out; /* of the program that runs */

/* ---- paths and texts ------------------------------------------------------------------------- */

test_path test_at(const char *folder, const char *name)
{
    test_path p;
    ck_assert_int_lt(snprintf(p.text, sizeof p.text, "%s/%s", folder, name), (int)sizeof p.text);
    return p;
}

test_path test_in_dir(const char *name)
{
    return test_at(test_dir(), name);
}

test_path test_bin(const char *name)
{
    test_path p;
    const char *dir = getenv("KD_BIN_DIR");
    if (dir && *dir) return test_at(dir, name);
    const ssize_t n = readlink("/proc/self/exe", p.text, sizeof p.text - 1);
    ck_assert_int_gt(n, 0);
    p.text[n] = 0;
    *strrchr(p.text, '/') = 0;
    return test_at(p.text, name);
}

const char *test_libs(void)
{
    static char words[200];
    const char *info = kd_build_info();
    snprintf(words, sizeof words, "%s %s %s %s %s %s -lm -lpthread",
             strstr(info, "threads=openmp") ? "-fopenmp" : "",
             strstr(info, "blas=openblas") ? "-lopenblas" : "",
             strstr(info, "jpeg=1") ? "-ljpeg" : "", strstr(info, "png=1") ? "-lpng" : "",
             strstr(info, "onnx=1") ? "-lprotobuf-c" : "", strstr(info, "zlib=1") ? "-lz" : "");
    return words;
}

size_t test_slurp(const char *path, char text[TEST_MAX_TEXT])
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
    const size_t n = fread(text, 1, TEST_MAX_TEXT - 1, f);
    text[n] = 0;
    fclose(f);
    return n;
}

size_t test_lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

void test_expect_in(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in: %.3000s", part, text);
}

/* ---- programs -------------------------------------------------------------------------------- */

/* "NAME=" of both is the same. */
static bool same_name(const char *a, const char *b)
{
    const size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* Copies, because exec's arrays are not const: words, or env and what it leaves of ours. */
static void copy(char **to, size_t limit, const char *const *words, char *const *ours)
{
    size_t n = 0;
    for (; words && words[n]; n++) {
        ck_assert_uint_lt(n, limit - 1);
        ck_assert_ptr_nonnull(to[n] = strdup(words[n]));
    }
    for (; ours && *ours; ours++) {
        bool replaced = false;
        for (size_t i = 0; words && words[i]; i++) replaced |= same_name(words[i], *ours);
        if (replaced) continue;
        ck_assert_uint_lt(n, limit - 1);
        ck_assert_ptr_nonnull(to[n++] = strdup(*ours));
    }
    to[n] = NULL;
}

static void free_all(char **words)
{
    while (*words) free(*words++);
}

/* Nothing ignored, nothing blocked. */
static void set_signals(posix_spawnattr_t *attributes)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

pid_t test_start(const char *const *words, const char *const *env, const char *out)
{
    static char *argv[MAX_WORDS], *envp[MAX_ENV];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    const test_path here = test_in_dir("stdout"), err = test_in_dir("stderr");
    pid_t pid;
    copy(argv, MAX_WORDS, words, NULL);
    copy(envp, MAX_ENV, env, environ);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    set_signals(&attributes);
    reads_out = out == NULL;
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out ? out : here.text, flags, 0600);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.text, flags, 0600);
    const int failed = posix_spawnp(&pid, argv[0], &actions, &attributes, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    free_all(argv);
    free_all(envp);
    ck_assert_msg(failed == 0 || failed == ENOENT, "%s: %s", words[0], strerror(failed));
    return failed ? -1 : pid;
}

int test_wait(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0) ck_assert_int_eq(errno, EINTR);
    test_out[0] = 0;
    if (reads_out) test_slurp(test_in_dir("stdout").text, test_out);
    test_slurp(test_in_dir("stderr").text, test_err);
    return status;
}

int test_finish(pid_t pid)
{
    if (pid < 0) return -1;
    const int status = test_wait(pid);
    ck_assert_msg(WIFEXITED(status), "killed by signal %d; it said: %s", WTERMSIG(status),
                  test_err);
    return WEXITSTATUS(status);
}
