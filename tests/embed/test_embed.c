/* SPDX-License-Identifier: MIT
 * test_embed.c: what an embedder meets first: the programs of examples/embed and the demo run as
 * their texts say, the README shows the very program that is tested here, every public header
 * stands alone in C11 and C++17, a C++ program links the archive, and the reference made from the
 * headers names every function. Programs are taken from the environment's KD_BIN_DIR, else from
 * beside the tests; texts from the current folder, which is the project's. */
#include "../test.h"

#include <kd/kd.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define DATA "synthetic:train=128,test=32"
#define NET "vgg2_bn,width=0.125,classes=10,image=32"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- running programs ------------------------------------------------------------------------ */

enum { MAX_WORDS = 30, MAX_TEXT = 1 << 19 };
static char out_text[MAX_TEXT], err_text[MAX_TEXT]; /* of the last run */

typedef struct test_path {
    char text[4200];
} test_path;

static test_path at(const char *folder, const char *name)
{
    test_path p;
    ck_assert_int_lt(snprintf(p.text, sizeof p.text, "%s/%s", folder, name), (int)sizeof p.text);
    return p;
}

static test_path bin(const char *name)
{
    test_path p;
    const char *dir = getenv("KD_BIN_DIR");
    if (dir && *dir) return at(dir, name);
    const ssize_t n = readlink("/proc/self/exe", p.text, 4000);
    ck_assert_int_gt(n, 0);
    p.text[n] = 0;
    snprintf(strrchr(p.text, '/') + 1, 100, "%s", name);
    return p;
}

static test_path in_dir(const char *name)
{
    return at(test_dir(), name);
}

static size_t slurp(const char *path, char *text)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
    const size_t n = fread(text, 1, MAX_TEXT - 1, f);
    text[n] = 0;
    fclose(f);
    return n;
}

/* words[0] is a path, or a name to be looked for; outputs go to files "out" and "err". */
static pid_t start(const char *const *words, char **env)
{
    posix_spawn_file_actions_t actions;
    char *argv[MAX_WORDS + 1] = {0};
    const test_path out = in_dir("embed.out"), err = in_dir("embed.err");
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    pid_t pid;
    for (size_t n = 0; words[n]; n++) {
        ck_assert_uint_lt(n, MAX_WORDS);
        ck_assert_ptr_nonnull(argv[n] = strdup(words[n]));
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.text, flags, 0666);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.text, flags, 0666);
    const int failed = posix_spawnp(&pid, argv[0], &actions, NULL, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    for (size_t n = 0; argv[n]; n++) free(argv[n]);
    ck_assert_msg(failed == 0 || failed == ENOENT, "%s: %s", words[0], strerror(failed));
    return failed ? -1 : pid;
}

/* The exit status, or -1 if there is no such program; outputs are in out_text and err_text. */
static int finish(pid_t pid)
{
    int status;
    if (pid < 0) return -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    slurp(in_dir("embed.out").text, out_text);
    slurp(in_dir("embed.err").text, err_text);
    ck_assert_msg(WIFEXITED(status), "killed by signal %d: %s", WTERMSIG(status), err_text);
    return WEXITSTATUS(status);
}

#define run(...) finish(start((const char *const[]){__VA_ARGS__, NULL}, environ))
#define run_ok(...)                                                                                \
    do {                                                                                           \
        const int status_ = run(__VA_ARGS__);                                                      \
        ck_assert_msg(status_ == 0, "status %d: %s", status_, err_text);                           \
    } while (0)

static size_t lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

/* ---- the examples ---------------------------------------------------------------------------- */

START_TEST(test_distil_and_predict)
{
    const test_path teacher = in_dir("embed_teacher.safetensors");
    const test_path student = in_dir("embed_student.safetensors");
    const test_path distil = bin("distil"), predict = bin("predict");
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model;
    test_ok(ctx, kd_model_create(ctx, NET, 3, &model));
    test_ok(ctx, kd_model_save(model, teacher.text));
    kd_model_destroy(model);
    run_ok(distil.text, teacher.text, DATA, NET, student.text);
    ck_assert_uint_eq(lines(out_text), 21); /* 20 epochs and the accuracy */
    ck_assert_ptr_nonnull(strstr(out_text, "test accuracy "));
    ck_assert_str_eq(err_text, "");
    test_ok(ctx, kd_model_load(ctx, student.text, NULL, &model));
    ck_assert_uint_eq(kd_model_classes(model), 10);
    ck_assert_ptr_nonnull(kd_model_mean(model));
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
    run_ok(predict.text, student.text, DATA);
    ck_assert_uint_eq(lines(out_text), 10);
    ck_assert_ptr_nonnull(strstr(out_text, " % sure; it is "));
}
END_TEST

START_TEST(test_examples_fail_in_words)
{
    const test_path distil = bin("distil"), predict = bin("predict");
    const test_path missing = in_dir("no_such_file");
    ck_assert_int_eq(run(distil.text, missing.text, DATA, NET, missing.text), 1);
    ck_assert_ptr_nonnull(strstr(err_text, "no_such_file"));
    ck_assert_int_eq(run(predict.text, missing.text, DATA), 1);
    ck_assert_ptr_nonnull(strstr(err_text, "no_such_file"));
    ck_assert_int_eq(run(distil.text), 2);
    ck_assert_int_eq(run(predict.text), 2);
}
END_TEST

/* Its custom op's gradient is held against a difference in there. */
START_TEST(test_graph)
{
    const test_path graph = bin("graph");
    run_ok(graph.text);
    ck_assert_ptr_nonnull(strstr(out_text, "195 parameters"));
    ck_assert_ptr_nonnull(strstr(out_text, "by difference"));
}
END_TEST

/* ---- the demo -------------------------------------------------------------------------------- */

#define DEMO(out) "--data", "synthetic:train=640,test=100", "--seconds", "0.5", "--out", (out)

static void check_results(const char *folder)
{
    static char text[MAX_TEXT];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_json_object *results;
    double seconds;
    const size_t size = slurp(at(folder, "results.json").text, text);
    test_ok(ctx, kd_json_parse(ctx, text, size, &results));
    ck_assert_int_eq(kd_json_get_number(results, "seconds", &seconds), 1);
    ck_assert_double_gt(seconds, 0);
    kd_json_object_destroy(results);
    static const char *const runs[] = {"teacher", "distilled", "alone-same-steps",
                                       "alone-same-seconds"};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        kd_model *model;
        const test_path file = at(at(folder, runs[i]).text, "model.safetensors");
        test_ok(ctx, kd_model_load(ctx, file.text, NULL, &model));
        kd_model_destroy(model);
    }
    kd_ctx_destroy(ctx);
}

START_TEST(test_demo)
{
    const test_path demo = bin("demo"), out = in_dir("demo");
    const test_path png = at(out.text, "demo.png");
    struct stat about;
    run_ok(demo.text, DEMO(out.text));
    ck_assert_ptr_nonnull(strstr(out_text, "\nteacher  "));
    ck_assert_ptr_nonnull(strstr(out_text, "\nstudent distilled  "));
    ck_assert_ptr_nonnull(strstr(out_text, "\nKD time "));
    ck_assert_ptr_nonnull(strstr(err_text, "[4/4]"));
    check_results(out.text);
    ck_assert(strstr(out_text, "no picture") ||
              (stat(png.text, &about) == 0 && about.st_size > 10000));
}
END_TEST

START_TEST(test_demo_without_gnuplot)
{
    const test_path demo = bin("demo"), out = in_dir("demo_plain");
    char path[] = "PATH=/nonexistent";
    char *env[] = {path, NULL};
    const char *const words[] = {demo.text, DEMO(out.text), NULL};
    ck_assert_msg(finish(start(words, env)) == 0, "%s", err_text);
    ck_assert_ptr_nonnull(strstr(out_text, "no picture: gnuplot is not installed"));
    check_results(out.text);
}
END_TEST

START_TEST(test_demo_interrupted)
{
    const test_path demo = bin("demo"), out = in_dir("demo_cut");
    const char *const words[] = {demo.text, "--data", "synthetic:train=640,test=100",
                                 "--out",   out.text, "--seconds",
                                 "1000",    NULL};
    const struct timespec pause = {.tv_nsec = 20000000};
    const test_path metrics = at(out.text, "teacher/metrics.jsonl");
    struct stat about;
    const pid_t pid = start(words, environ);
    ck_assert_int_gt(pid, 0);
    while (stat(metrics.text, &about)) nanosleep(&pause, NULL);
    kill(pid, SIGINT);
    ck_assert_int_eq(finish(pid), 130);
    ck_assert_ptr_nonnull(strstr(err_text, "interrupted"));
}
END_TEST

START_TEST(test_demo_usage)
{
    const test_path demo = bin("demo");
    run_ok(demo.text, "--help");
    ck_assert_ptr_nonnull(strstr(out_text, "--seconds"));
    ck_assert_int_eq(run(demo.text, "--seconds", "soon"), 2);
    ck_assert_int_eq(run(demo.text, "--data", "imagenet"), 1);
    ck_assert_ptr_nonnull(strstr(err_text, "imagenet"));
}
END_TEST

/* ---- texts ----------------------------------------------------------------------------------- */

START_TEST(test_readme_shows_the_program)
{
    static char readme[MAX_TEXT], program[MAX_TEXT];
    slurp("README.md", readme);
    slurp("examples/embed/distil.c", program);
    ck_assert_msg(strstr(readme, program) != NULL,
                  "README.md does not hold examples/embed/distil.c as it is");
    size_t code = 0; /* lines that are neither empty nor comment */
    for (const char *line = program; *line; line = strchr(line, '\n') + 1)
        code += *line != '\n' && strncmp(line, "/*", 2) && strncmp(line, " *", 2);
    ck_assert_uint_le(code, 30);
}
END_TEST

/* Every KD_API name of the headers stands in the reference. */
START_TEST(test_reference_is_whole)
{
    static char headers[MAX_TEXT];
    size_t functions = 0;
    run_ok("sh", "-c", "cat include/kd/*.h");
    memcpy(headers, out_text, sizeof headers);
    run_ok("sh", "docs/reference.sh", "include/kd");
    ck_assert_str_eq(err_text, "");
    for (char *at = headers; (at = strstr(at, "\nKD_API "));) {
        char *open = strchr(++at, '('), *name = open;
        while (name > at && strchr(" *", name[-1]) == NULL) name--;
        char call[200];
        snprintf(call, sizeof call, "%.*s", (int)(open - name) + 1, name);
        ck_assert_msg(strstr(out_text, call) != NULL, "%s is not in the reference", call);
        functions++;
    }
    ck_assert_uint_gt(functions, 100);
}
END_TEST

/* ---- compilers ------------------------------------------------------------------------------- */

#ifdef __clang__
#define C_COMPILER "clang"
#else
#define C_COMPILER "gcc"
#endif

/* $CXX, else g++, else clang++; NULL if there is none. */
static const char *cxx(void)
{
    const char *named = getenv("CXX");
    if (named && *named) return named;
    if (run("g++", "--version") == 0) return "g++";
    return run("clang++", "--version") == 0 ? "clang++" : NULL;
}

/* Each header by itself, as strictly as compilers can look. */
static void each_header(const char *compiler, const char *language, const char *standard)
{
    char script[600];
    snprintf(script, sizeof script,
             "for h in include/kd/*.h; do echo \"#include <kd/${h##*/}>\" | %s -x%s -std=%s -Wall "
             "-Wextra -Wpedantic -Werror -Iinclude -fsyntax-only - || exit 1; done",
             compiler, language, standard);
    run_ok("sh", "-c", script);
}

START_TEST(test_headers_stand_alone)
{
    const char *plus = cxx();
    if (run(C_COMPILER, "--version") == 0) each_header(C_COMPILER, "c", "c11");
    if (plus) each_header(plus, "c++", "c++17");
}
END_TEST

START_TEST(test_cpp_consumer)
{
    const test_path program = in_dir("consumer"), archive = bin("../libkd.a");
    const char *plus = cxx(), *info = kd_build_info();
    const bool openmp = strstr(info, "threads=openmp") != NULL;
    char script[9000];
    if (!plus) return; /* without a C++ compiler there is nothing to test */
#ifdef __clang__
    const bool link = !SANITIZED && !openmp; /* a g++ has another OpenMP than clang */
#else
    const bool link = !SANITIZED;
#endif
    snprintf(script, sizeof script,
             "%s -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude -o '%s' "
             "tests/consumer/consumer.cpp %s%s%s%s %s %s %s",
             plus, program.text, link ? "'" : "-c", link ? archive.text : "", link ? "'" : "",
             openmp ? " -fopenmp" : "", strstr(info, "blas=openblas") ? "-lopenblas" : "",
             strstr(info, "zlib=1") ? "-lz" : "", "-lm -lpthread");
    run_ok("sh", "-c", script);
    if (!link) return;
    run_ok(program.text);
    ck_assert_ptr_nonnull(strstr(out_text, "100.0 % right"));
}
END_TEST

TEST_SUITE(embed, 120, &test_distil_and_predict, &test_examples_fail_in_words, &test_graph,
           &test_demo, &test_demo_without_gnuplot, &test_demo_interrupted, &test_demo_usage,
           &test_readme_shows_the_program, &test_reference_is_whole, &test_headers_stand_alone,
           &test_cpp_consumer)
