/* SPDX-License-Identifier: MIT
 * test_embed.c: what an embedder meets first. The programs of examples/embed and the demo run as
 * their texts say; the README shows the very program that is tested here. Every public header
 * stands alone in C11 and C++17; a C++ program links the archive. The reference made from the
 * headers names every function. Texts are taken from the current folder, which is the project's. */
#include "../spawn.h"

#include <kd/kd.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

/* ---- the examples ---------------------------------------------------------------------------- */

START_TEST(test_distil_and_predict)
{
    const test_path teacher = test_in_dir("embed_teacher.safetensors");
    const test_path student = test_in_dir("embed_student.safetensors");
    const test_path distil = test_bin("distil"), predict = test_bin("predict");
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model;
    test_ok(ctx, kd_model_create(ctx, NET, 3, &model));
    test_ok(ctx, kd_model_save(model, teacher.text));
    kd_model_destroy(model);
    test_run_ok(distil.text, teacher.text, DATA, NET, student.text);
    ck_assert_uint_eq(test_lines(test_out), 21); /* 20 epochs and the accuracy */
    ck_assert_ptr_nonnull(strstr(test_out, "test accuracy "));
    ck_assert_str_eq(test_err, "");
    test_ok(ctx, kd_model_load(ctx, student.text, NULL, &model));
    ck_assert_uint_eq(kd_model_classes(model), 10);
    ck_assert_ptr_nonnull(kd_model_mean(model));
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
    test_run_ok(predict.text, student.text, DATA);
    ck_assert_uint_eq(test_lines(test_out), 10);
    ck_assert_ptr_nonnull(strstr(test_out, " % sure; it is "));
}
END_TEST

/* The head is another one, and all else is as it was. */
START_TEST(test_head)
{
    const test_path from = test_in_dir("embed_from.safetensors");
    const test_path to = test_in_dir("embed_to.safetensors"), head = test_bin("head");
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *a, *b;
    test_ok(ctx, kd_model_create(ctx, NET, 3, &a));
    test_ok(ctx, kd_model_save(a, from.text));
    test_run_ok(head.text, from.text, "synthetic:classes=4,train=64,test=16", to.text);
    ck_assert_uint_eq(test_lines(test_out), 6); /* 5 epochs and the accuracy */
    test_ok(ctx, kd_model_load(ctx, to.text, NULL, &b));
    ck_assert_uint_eq(kd_model_classes(b), 4);
    const kd_params *p = kd_model_params(a);
    for (size_t i = 0; i < kd_params_entries(p); i++) {
        const kd_param_info *info = kd_params_info(p, i);
        if (strncmp(info->name, "features.", 9) || info->buffer) continue;
        const kd_param_info *other = kd_params_find(kd_model_params(b), info->name);
        ck_assert_int_eq(memcmp(kd_params_values(kd_model_params(a)) + info->offset,
                                kd_params_values(kd_model_params(b)) + other->offset,
                                info->count * sizeof(float)),
                         0);
    }
    kd_model_destroy(a);
    kd_model_destroy(b);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(test_run(head.text), 2);
}
END_TEST

START_TEST(test_examples_fail_in_words)
{
    const test_path distil = test_bin("distil"), predict = test_bin("predict");
    const test_path missing = test_in_dir("no_such_file");
    ck_assert_int_eq(test_run(distil.text, missing.text, DATA, NET, missing.text), 1);
    ck_assert_ptr_nonnull(strstr(test_err, "no_such_file"));
    ck_assert_int_eq(test_run(predict.text, missing.text, DATA), 1);
    ck_assert_ptr_nonnull(strstr(test_err, "no_such_file"));
    ck_assert_int_eq(test_run(distil.text), 2);
    ck_assert_int_eq(test_run(predict.text), 2);
}
END_TEST

/* Its custom op's gradient is held against a difference in there. */
START_TEST(test_graph)
{
    const test_path graph = test_bin("graph");
    test_run_ok(graph.text);
    ck_assert_ptr_nonnull(strstr(test_out, "195 parameters"));
    ck_assert_ptr_nonnull(strstr(test_out, "by difference"));
}
END_TEST

/* ---- the demo -------------------------------------------------------------------------------- */

#define DEMO(out) "--data", "synthetic:train=640,test=100", "--seconds", "0.5", "--out", (out)

static void check_results(const char *folder)
{
    static char text[TEST_MAX_TEXT];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_json_object *results;
    double seconds;
    const size_t size = test_slurp(test_at(folder, "results.json").text, text);
    test_ok(ctx, kd_json_parse(ctx, text, size, &results));
    ck_assert_int_eq(kd_json_get_number(results, "seconds", &seconds), 1);
    ck_assert_double_gt(seconds, 0);
    kd_json_object_destroy(results);
    static const char *const runs[] = {"teacher", "distilled", "alone-same-steps",
                                       "alone-same-seconds"};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        kd_model *model;
        const test_path file = test_at(test_at(folder, runs[i]).text, "model.safetensors");
        test_ok(ctx, kd_model_load(ctx, file.text, NULL, &model));
        kd_model_destroy(model);
    }
    kd_ctx_destroy(ctx);
}

START_TEST(test_demo)
{
    const test_path demo = test_bin("demo"), out = test_in_dir("demo");
    const test_path png = test_at(out.text, "demo.png");
    struct stat about;
    test_run_ok(demo.text, DEMO(out.text));
    ck_assert_ptr_nonnull(strstr(test_out, "\nteacher  "));
    ck_assert_ptr_nonnull(strstr(test_out, "\nstudent distilled  "));
    ck_assert_ptr_nonnull(strstr(test_out, "\nKD time "));
    ck_assert_ptr_nonnull(strstr(test_err, "[4/4]"));
    check_results(out.text);
    ck_assert(strstr(test_out, "no picture") ||
              (stat(png.text, &about) == 0 && about.st_size > 10000));
}
END_TEST

START_TEST(test_demo_without_gnuplot)
{
    const test_path demo = test_bin("demo"), out = test_in_dir("demo_plain");
    const char *const *env = TEST_WORDS("PATH=/nonexistent");
    const pid_t pid = test_start(TEST_WORDS(demo.text, DEMO(out.text)), env, NULL);
    ck_assert_msg(test_finish(pid) == 0, "%s", test_err);
    ck_assert_ptr_nonnull(strstr(test_out, "no picture: gnuplot is not installed"));
    check_results(out.text);
}
END_TEST

START_TEST(test_demo_interrupted)
{
    const test_path demo = test_bin("demo"), out = test_in_dir("demo_cut");
    const char *const words[] = {demo.text, "--data", "synthetic:train=640,test=100",
                                 "--out",   out.text, "--seconds",
                                 "1000",    NULL};
    const struct timespec pause = {.tv_nsec = 20000000};
    const test_path metrics = test_at(out.text, "teacher/metrics.jsonl");
    struct stat about;
    const pid_t pid = test_start(words, NULL, NULL);
    ck_assert_int_gt(pid, 0);
    while (stat(metrics.text, &about)) nanosleep(&pause, NULL);
    kill(pid, SIGINT);
    ck_assert_int_eq(test_finish(pid), 130);
    ck_assert_ptr_nonnull(strstr(test_err, "interrupted"));
}
END_TEST

START_TEST(test_demo_usage)
{
    const test_path demo = test_bin("demo");
    test_run_ok(demo.text, "--help");
    ck_assert_ptr_nonnull(strstr(test_out, "--seconds"));
    ck_assert_int_eq(test_run(demo.text, "--seconds", "soon"), 2);
    ck_assert_int_eq(test_run(demo.text, "--data", "imagenet"), 1);
    ck_assert_ptr_nonnull(strstr(test_err, "imagenet"));
}
END_TEST

/* ---- texts ----------------------------------------------------------------------------------- */

START_TEST(test_readme_shows_the_program)
{
    static char readme[TEST_MAX_TEXT], program[TEST_MAX_TEXT];
    test_slurp("README.md", readme);
    test_slurp("examples/embed/distil.c", program);
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
    static char headers[TEST_MAX_TEXT];
    size_t functions = 0;
    test_run_ok("sh", "-c", "cat include/kd/*.h");
    memcpy(headers, test_out, sizeof headers);
    test_run_ok("sh", "docs/reference.sh", "include/kd");
    ck_assert_str_eq(test_err, "");
    for (char *at = headers; (at = strstr(at, "\nKD_API "));) {
        char *open = strchr(++at, '('), *name = open;
        while (name > at && strchr(" *", name[-1]) == NULL) name--;
        char call[200];
        snprintf(call, sizeof call, "%.*s", (int)(open - name) + 1, name);
        ck_assert_msg(strstr(test_out, call) != NULL, "%s is not in the reference", call);
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
    if (test_run("g++", "--version") == 0) return "g++";
    return test_run("clang++", "--version") == 0 ? "clang++" : NULL;
}

/* Each header by itself, as strictly as compilers can look. */
static void each_header(const char *compiler, const char *language, const char *standard)
{
    char script[600];
    snprintf(script, sizeof script,
             "for h in include/kd/*.h; do echo \"#include <kd/${h##*/}>\" | %s -x%s -std=%s -Wall "
             "-Wextra -Wpedantic -Werror -Iinclude -fsyntax-only - || exit 1; done",
             compiler, language, standard);
    test_run_ok("sh", "-c", script);
}

START_TEST(test_headers_stand_alone)
{
    const char *plus = cxx();
    if (test_run(C_COMPILER, "--version") == 0) each_header(C_COMPILER, "c", "c11");
    if (plus) each_header(plus, "c++", "c++17");
}
END_TEST

START_TEST(test_cpp_consumer)
{
    const test_path program = test_in_dir("consumer"), archive = test_bin("../libkd.a");
    const char *plus = cxx();
    char script[9000];
    if (!plus) return; /* without a C++ compiler there is nothing to test */
#ifdef __clang__
    const bool openmp = strstr(kd_build_info(), "threads=openmp") != NULL;
    const bool link = !SANITIZED && !openmp; /* a g++ has another OpenMP than clang */
#else
    const bool link = !SANITIZED;
#endif
    snprintf(script, sizeof script,
             "%s -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude -o '%s' "
             "tests/consumer/consumer.cpp %s%s%s %s",
             plus, program.text, link ? "'" : "-c", link ? archive.text : "", link ? "'" : "",
             test_libs());
    test_run_ok("sh", "-c", script);
    if (!link) return;
    test_run_ok(program.text);
    ck_assert_ptr_nonnull(strstr(test_out, "100.0 % right"));
}
END_TEST

TEST_SUITE(embed, 120, &test_distil_and_predict, &test_head, &test_examples_fail_in_words,
           &test_graph, &test_demo, &test_demo_without_gnuplot, &test_demo_interrupted,
           &test_demo_usage, &test_readme_shows_the_program, &test_reference_is_whole,
           &test_headers_stand_alone, &test_cpp_consumer)
