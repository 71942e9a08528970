/* SPDX-License-Identifier: MIT
 * test_experiments.c: the programs of examples/experiments as a user runs them, at the smallest
 * scale: every run is done once, whichever program needs it; what was cut off goes on to the same
 * bits; a run that kd made counts; the report says what the records say. */
#include "../spawn.h"

#include <kd/kd.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DATA "synthetic:train=192,test=50"
#define ALL "experiment-cnn-to-cnn"
static const char *const programs[] = {ALL, "experiment-vit-to-cnn", "experiment-vit-to-vit"};

static const char *file_text(const char *folder, const char *name)
{
    static char text[TEST_MAX_TEXT];
    test_slurp(test_at(folder, name).text, text);
    return text;
}

/* A key's text in a run's record; "" if it has none. */
static const char *in_record(const char *out, const char *run, const char *key)
{
    static char value[2000];
    char name[100];
    kd_json_object *o;
    kd_ctx *ctx = test_ctx(1, NULL);
    snprintf(name, sizeof name, "%s/run.json", run);
    const char *text = file_text(out, name);
    test_ok(ctx, kd_json_parse(ctx, text, strlen(text), &o));
    const char *found = kd_json_get_string(o, key);
    snprintf(value, sizeof value, "%s", found ? found : "");
    kd_json_object_destroy(o);
    kd_ctx_destroy(ctx);
    return value;
}

static bool is_there(const char *folder, const char *name)
{
    return access(test_at(folder, name).text, F_OK) == 0;
}

/* ---- all runs -------------------------------------------------------------------------------- */

static void check_costs(const char *out)
{
    kd_json_object *costs, *pairings, *pairing, *part;
    double ms;
    kd_ctx *ctx = test_ctx(1, NULL);
    const char *text = file_text(out, "costs.json");
    test_ok(ctx, kd_json_parse(ctx, text, strlen(text), &costs));
    test_ok(ctx, kd_json_get_object(costs, "pairings", &pairings));
    test_ok(ctx, kd_json_get_object(pairings, "vit > vgg8_bn", &pairing));
    test_ok(ctx, kd_json_get_object(pairing, "teacher", &part));
    ck_assert(kd_json_get_number(part, "median_ms", &ms) && ms > 0);
    kd_json_object_destroy(part);
    kd_json_object_destroy(pairing);
    kd_json_object_destroy(pairings);
    kd_json_object_destroy(costs);
    kd_ctx_destroy(ctx);
}

/* The paired interval of two runs, from their answers.txt: "+1.00 to +2.00". */
static const char *paired(const char *out, const char *run, const char *control)
{
    static char text[60];
    char right[2][400], name[120];
    double b = 0, c = 0;
    const char *const runs[] = {run, control};
    for (size_t i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/answers.txt", runs[i]);
        snprintf(right[i], sizeof right[i], "%.399s", file_text(out, name));
        ck_assert(!strncmp(right[i], in_record(out, runs[i], "weights"), 16));
    }
    const size_t n = strlen(right[0]) - 18;
    ck_assert(n > 10 && strlen(right[1]) == n + 18);
    for (size_t i = 17; i < n + 17; i++) {
        b += right[0][i] == '1' && right[1][i] == '0';
        c += right[0][i] == '0' && right[1][i] == '1';
    }
    const double count = (double)n, middle = (b - c) / count;
    const double half = 1.959963984540054 * sqrt(b + c - (b - c) * (b - c) / count) / count;
    snprintf(text, sizeof text, "%+.2f to %+.2f", 100 * (middle - half), 100 * (middle + half));
    return text;
}

static void check_paired(const char *out)
{
    char row[200];
    snprintf(row, sizeof row, "| – | %s | – | too few seeds |",
             paired(out, "vgg8_bn-from-vgg13_bn-seed1", "vgg8_bn-alone-seed1"));
    const char *line =
        strstr(file_text(out, "results.md"), "| distilled against alone, the same steps |");
    ck_assert_ptr_nonnull(line);
    char first[300];
    snprintf(first, sizeof first, "%.299s", line);
    first[strcspn(first, "\n")] = 0;
    test_expect_in(first, row);
}

static void check_report(const char *out)
{
    const char *text = file_text(out, "results.md");
    test_expect_in(text, "## Costs");
    test_expect_in(text, "| vgg13_bn > vgg8_bn |");
    test_expect_in(text, "### Is it the loss?");
    test_expect_in(text, "## (a) CNN to CNN");
    test_expect_in(text, "## (b) ViT to CNN");
    test_expect_in(text, "## (c) ViT to ViT");
    test_expect_in(text, "| fine-tuning the distilled student | ");
    test_expect_in(text, "too few seeds");
    ck_assert_ptr_null(strstr(text, "Still missing"));
    ck_assert_ptr_null(strstr(text, "nan"));
}

START_TEST(test_all)
{
    static const char *const told[] = {": 8 runs, 0 of them", ": 5 runs, 3 of them",
                                       ": 8 runs, 2 of them"};
    const test_path out = test_in_dir("experiments_all");
    for (size_t i = 0; i < 3; i++) {
        test_run_ok(test_bin(programs[i]).text, "--data", DATA, "--out", out.text);
        test_expect_in(test_err, told[i]);
    }
    ck_assert_str_eq(in_record(out.text, "vit-from-vit-seed1", "status"), "done");
    test_run_ok(test_bin("kd").text, "inspect",
                test_at(out.text, "teacher-vit/model.safetensors").text);
    test_expect_in(test_out, "32554 elements, 63.6 KiB"); /* two bytes each */
    check_costs(out.text);
    test_run_ok(test_bin(ALL).text, "--data", DATA, "--out", out.text);
    test_expect_in(test_err, ": 8 runs, 8 of them");
    check_report(out.text);
    check_paired(out.text);
    test_run_ok(test_bin(ALL).text, "--data", DATA, "--out", out.text, "--dry-run");
    test_expect_in(test_out, "8 runs, 8 of them done; the others take about 0.0 hours");
    test_run_ok(test_bin(ALL).text, "--data", DATA, "--out", out.text, "--half",
                "vgg8_bn-alone-seed1");
    test_expect_in(test_out, "vgg8_bn-alone-seed1/half.safetensors: 0.0");
    test_run_ok(test_bin("kd").text, "eval",
                test_at(out.text, "vgg8_bn-alone-seed1/half.safetensors").text, "--data", DATA);
    ck_assert_int_eq(
        test_run(test_bin(ALL).text, "--data", DATA, "--out", out.text, "--half", "vgg8"), 1);
    /* a report needs the records alone; other data, other runs */
    test_run_ok("rm", "-r", test_at(out.text, "vgg8_bn-alone-seed1").text);
    test_run_ok(test_bin(ALL).text, "--out", out.text, "--report");
    test_expect_in(test_out, "6 of 8 runs are done");
    test_expect_in(file_text(out.text, "results.md"),
                   "**Still missing**, 2 of 8 runs: `vgg8_bn-alone-seed1`, "
                   "`vgg8_bn-alone-finetuned-seed1`.");
    ck_assert_int_eq(test_run(test_bin(ALL).text, "--data", "synthetic:train=192,test=49", "--out",
                              out.text, "--only", "teacher"),
                     1);
    test_expect_in(test_err, "other settings");
}
END_TEST

/* ---- cut off --------------------------------------------------------------------------------- */

START_TEST(test_interrupted)
{
    static const char *const run = "vgg8_bn-from-vgg13_bn-more-kd-seed1";
    char weights[40];
    const test_path whole = test_in_dir("experiments_whole"), cut = test_in_dir("experiments_cut");
    const char *const *words =
        TEST_WORDS(test_bin(ALL).text, "--data", DATA, "--out", cut.text, "--only", "more-kd");
    const struct timespec pause = {.tv_nsec = 2000000};
    test_run_ok(test_bin(ALL).text, "--data", DATA, "--out", whole.text, "--only", "more-kd");
    snprintf(weights, sizeof weights, "%s", in_record(whole.text, run, "weights"));
    ck_assert_uint_eq(strlen(weights), 16);
    ck_assert(!is_there(whole.text, "vgg8_bn-alone-seed1") && !is_there(whole.text, "costs.json"));

    pid_t pid = test_start(words, NULL, NULL);
    while (!is_there(cut.text, "teacher-vgg13_bn/checkpoint.safetensors")) nanosleep(&pause, NULL);
    kill(pid, SIGINT);
    ck_assert_int_eq(test_finish(pid), 130);
    test_expect_in(test_err, "interrupted; the same command goes on");
    ck_assert_int_eq(test_run(words[0], "--data", DATA, "--out", cut.text, "--max-hours", "1e-9"),
                     3);
    test_expect_in(test_err, "the time is up");
    pid = test_start(words, NULL, NULL);
    while (!is_there(cut.text, "vgg8_bn-from-vgg13_bn-seed1/checkpoint.safetensors"))
        nanosleep(&pause, NULL);
    kill(pid, SIGKILL);
    test_wait(pid);
    test_run_ok(test_bin(ALL).text, "--data", DATA, "--out", cut.text, "--only", "more-kd");
    test_expect_in(test_err, ": 3 runs, ");
    ck_assert_str_eq(in_record(cut.text, run, "weights"), weights);

    /* a model is asked for only by a run that is not done */
    test_run_ok("rm", test_at(cut.text, "teacher-vgg13_bn/model.safetensors").text);
    test_run_ok(test_bin(ALL).text, "--data", DATA, "--out", cut.text, "--only", "more-kd");
    test_expect_in(test_err, ": 3 runs, 3 of them");
    test_run_ok("rm", "-r", test_at(cut.text, run).text);
    test_run_ok(test_bin(ALL).text, "--data", DATA, "--out", cut.text, "--only", "more-kd");
    test_expect_in(test_err, ": 3 runs, 1 of them");
    ck_assert_str_eq(in_record(cut.text, run, "weights"), weights);
}
END_TEST

/* ---- runs made by kd ------------------------------------------------------------------------- */

#define TEACHER(warmup, out)                                                                       \
    "train", "vgg13_bn,width=0.125", "--data", DATA, "--epochs", "2", "--batch", "64",             \
        "--schedule", "cosine", "--warmup", warmup, "--lr", "0.1", "--nesterov", "--augment",      \
        "crop-flip", "--drop-last", "--seed", "0", "--out", out

START_TEST(test_adopts_what_kd_made)
{
    const test_path out = test_in_dir("experiments_kd");
    const test_path run = test_at(out.text, "teacher-vgg13_bn");
    test_run_ok(test_bin("kd").text, TEACHER("0.2", run.text));
    const test_path model = test_at(run.text, "model.safetensors"), copy = test_in_dir("ex_model");
    test_run_ok("cp", model.text, copy.text);
    char started[40];
    snprintf(started, sizeof started, "%s", in_record(out.text, "teacher-vgg13_bn", "started"));
    test_run_ok(test_bin(ALL).text, "--data", DATA, "--out", out.text, "--only", "teacher");
    ck_assert_ptr_null(strstr(test_err, "epoch")); /* it was only tested */
    ck_assert_str_eq(in_record(out.text, "teacher-vgg13_bn", "begun_by"), "kd train");
    ck_assert_str_eq(in_record(out.text, "teacher-vgg13_bn", "status"), "done");
    ck_assert_str_eq(in_record(out.text, "teacher-vgg13_bn", "started"), started);
    test_run_ok("cmp", model.text, copy.text);
    test_run_ok(test_bin(ALL).text, "--data", DATA, "--out", out.text, "--only", "teacher");
    test_expect_in(test_err, ": 1 runs, 1 of them");
}
END_TEST

START_TEST(test_refuses_other_settings)
{
    static char before[TEST_MAX_TEXT];
    const test_path out = test_in_dir("experiments_other");
    const test_path run = test_at(out.text, "teacher-vgg13_bn");
    test_run_ok("mkdir", "-p", out.text);
    test_run_ok(test_bin("kd").text, TEACHER("0.3", run.text));
    snprintf(before, sizeof before, "%s", file_text(run.text, "run.json"));
    ck_assert_int_eq(
        test_run(test_bin(ALL).text, "--data", DATA, "--out", out.text, "--only", "alone-seed"), 0);
    ck_assert_int_eq(test_run(test_bin(ALL).text, "--data", DATA, "--out", out.text), 1);
    test_expect_in(test_err, "its warmup is 0.3, this run's is 0.2");
    test_expect_in(test_err, "move the folder away");
    ck_assert_str_eq(before, file_text(run.text, "run.json"));
}
END_TEST

/* ---- several seeds --------------------------------------------------------------------------- */

/* The records in docs/results, with answers made up here. The means, deviations and t intervals of
 * their accuracies are SciPy's; 0.012 is seven times 0.001725. */
START_TEST(test_three_seeds)
{
    enum { N = 10000, SEEDS = 3 };
    static char text[N + 20];
    static double d[N];
    double sum = 0, squares = 0;
    const test_path out = test_in_dir("experiments_short");
    test_run_ok("cp", "-r", "docs/results/short", out.text);
    memset(d, 0, sizeof d);
    for (size_t s = 0; s < 2 * SEEDS; s++) {
        char run[60], name[80];
        snprintf(run, sizeof run, "vgg8_bn-%s-seed%zu", s < SEEDS ? "from-vgg13_bn" : "alone",
                 s % SEEDS + 1);
        snprintf(text, sizeof text, "%s\n", in_record(out.text, run, "weights"));
        for (size_t i = 0; i < N; i++) {
            const bool right = (i * i + 7919 * i * (s + 1)) % 1009 < (s < SEEDS ? 910 : 890);
            text[17 + i] = right ? '1' : '0';
            d[i] += (right ? 1.0 : 0.0) * (s < SEEDS ? 1 : -1) / SEEDS;
        }
        text[17 + N] = '\n';
        snprintf(name, sizeof name, "%s/answers.txt", run);
        FILE *f = fopen(test_at(out.text, name).text, "w");
        ck_assert(f && fwrite(text, 1, N + 18, f) == N + 18);
        fclose(f);
    }
    for (size_t i = 0; i < N; i++) {
        sum += d[i];
        squares += d[i] * d[i];
    }
    const double half = 1.959963984540054 * sqrt((squares - sum * sum / N)) / N;
    char row[300];
    snprintf(row, sizeof row,
             "| distilled against alone, the same steps | +1.02 ± 0.07 | 3 | +1.05, +1.08, +0.94 | "
             "+0.84 to +1.21 | %+.2f to %+.2f | 0.012 | too few seeds |",
             100 * (sum / N - half), 100 * (sum / N + half));
    test_run_ok(test_bin(ALL).text, "--scale", "short", "--out", out.text, "--report");
    test_expect_in(file_text(out.text, "results.md"), row);
    test_expect_in(file_text(out.text, "results.md"),
                   "+0.22, +0.47, +0.02 | -0.32 to +0.80 | – | 0.84 | too few seeds |");
    test_expect_in(file_text(out.text, "results.md"), "92.53 | ±0.5 | 98.16");
    /* another network's answers are none */
    test_run_ok("cp", test_at(out.text, "vgg8_bn-alone-seed1/answers.txt").text,
                test_at(out.text, "vgg8_bn-alone-seed2/answers.txt").text);
    test_run_ok(test_bin(ALL).text, "--scale", "short", "--out", out.text, "--report");
    test_expect_in(file_text(out.text, "results.md"), "+0.84 to +1.21 | – | 0.012 |");
}
END_TEST

/* ---- the rest -------------------------------------------------------------------------------- */

START_TEST(test_without_gnuplot)
{
    const test_path out = test_in_dir("experiments_plain");
    const char *const *env = TEST_WORDS("PATH=/nonexistent");
    const char *const *words = TEST_WORDS(test_bin(ALL).text, "--data", DATA, "--out", out.text,
                                          "--only", "vgg8_bn-alone-seed1");
    const pid_t pid = test_start(words, env, NULL);
    ck_assert_msg(test_finish(pid) == 0, "%s", test_err);
    test_expect_in(test_out, "no pictures: gnuplot is not installed");
    ck_assert_ptr_null(strstr(file_text(out.text, "results.md"), "!["));
}
END_TEST

START_TEST(test_usage)
{
    for (size_t i = 0; i < 3; i++) {
        test_run_ok(test_bin(programs[i]).text, "--help");
        test_expect_in(test_out, "--max-hours");
    }
    ck_assert_int_eq(test_run(test_bin(ALL).text, "--scale", "huge"), 2);
    test_expect_in(test_err, "'--scale' huge");
    ck_assert_int_eq(test_run(test_bin(ALL).text, "--sclae", "smoke"), 2);
    ck_assert_int_eq(test_run(test_bin(ALL).text, "--only"), 2);
    const test_path out = test_in_dir("experiments_usage");
    ck_assert_int_eq(test_run(test_bin(ALL).text, "--out", out.text, "--only", "swin"), 1);
    test_expect_in(test_err, "'swin'");
    ck_assert_int_eq(test_run(test_bin(ALL).text, "--out", out.text, "--data", "imagenet"), 1);
    test_expect_in(test_err, "imagenet");
    ck_assert_int_eq(test_run(test_bin(ALL).text, "--out", "/dev/null/x"), 1);
}
END_TEST

TEST_SUITE(experiments, 120, &test_all, &test_interrupted, &test_adopts_what_kd_made,
           &test_refuses_other_settings, &test_three_seeds, &test_without_gnuplot, &test_usage)
