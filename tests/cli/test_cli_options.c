/* SPDX-License-Identifier: MIT
 * test_cli_options.c: options of `kd` that nothing would read, or that can't be what was meant, are
 * refused with the reason; keys, steps and teachers that come twice, too. Progress as JSON says what
 * metrics.jsonl says. A run that is over keeps its record whole. */
#include "../spawn.h"

#include <kd/kd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA "synthetic:classes=4,image=16,train=70,test=30"
#define NET "vgg2_bn,width=0.125"
#define QUICK "--data", DATA, "--batch", "32", "--threads", "1", "--epochs", "1"

static const char *kd(void)
{
    static test_path path;
    path = test_bin("kd");
    return path.text;
}

#define RUN(...) test_run(kd(), __VA_ARGS__)
#define RUN_OK(...) test_run_ok(kd(), __VA_ARGS__)

/* A network of 4 classes, in a folder. */
static test_path network(const char *name, const char *seed)
{
    const test_path folder = test_in_dir(name);
    if (access(folder.text, F_OK))
        RUN_OK("train", NET, QUICK, "--max-steps", "1", "--seed", seed, "--out", folder.text);
    return folder;
}

/* ---- refused --------------------------------------------------------------------------------- */

START_TEST(test_refused)
{
    static const char *const cases[][6] = {
        {"--nesterov: the optimizer adamw does not read it; sgd does", "--optimizer", "adamw",
         "--no-nesterov"},
        {"--momentum: the optimizer adamw does not read it; sgd does", "--optimizer", "adamw",
         "--momentum", "0"},
        {"--beta1: the optimizer sgd does not read it; adamw does", "--beta1", "0"},
        {"--micro-batch: it is more than the batch holds", "--micro-batch", "33"},
        {"--min-lr: it is not below the learning rate", "--lr", "0.01", "--min-lr", "0.01"},
        {"--data-dir: synthetic:", "--data-dir", "/tmp"},
        {"--skip-broken: data set 'synthetic:", "--skip-broken"},
        {"divide those of 0 to 255 by 255", "--normalize", "127/60"},
        {"of pixels from 0 to 1", "--normalize", "-0.5/0.5"},
        {"bicubic: nothing is resized", "--augment", "flip+bicubic"},
        {"exact: it is for picture files", "--augment", "rrc+exact"},
        {"flip comes twice", "--augment", "crop+flip+flip"},
        {"erase comes twice (recipes have it, too)", "--augment", "deit+erase:0.5"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *c = cases[i];
        RUN("train", NET, QUICK, "--quiet", c[1], c[2], c[3], c[4]);
        test_expect_in(test_err, c[0]);
    }
    RUN("train", "vgg2,width=0.5,width=0.25", QUICK);
    test_expect_in(test_err, "a model's spec gives width twice");
    RUN("train", NET, "--data", "synthetic:train=9,test=3,train=10");
    test_expect_in(test_err, "train is given twice");
}
END_TEST

START_TEST(test_refused_teachers)
{
    static const char *const cases[][6] = {
        {"--teacher-weight: there is one teacher", "--teacher-weight", "2"},
        {"--alpha: alpha and beta are both zero", "--method", "dkd", "--alpha=0", "--beta=0"},
        {"--beta: the method kd does not read it", "--beta", "0"},
        {"--dkd-warmup: the method hard does not read it", "--method", "hard", "--dkd-warmup",
         "0"}};
    const test_path one = network("options_one", "1"), two = network("options_two", "2");
    const test_path file = test_at(one.text, "model.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *c = cases[i];
        RUN("distill", NET, QUICK, "--quiet", "--teacher", one.text, c[1], c[2], c[3], c[4]);
        test_expect_in(test_err, c[0]);
    }
    RUN("distill", NET, QUICK, "--teacher", one.text, two.text, file.text);
    test_expect_in(test_err, "teacher 2 is teacher 0 again");
    RUN_OK("distill", NET, QUICK, "--teacher", one.text, two.text, "--teacher-weight", "3", "1");
    /* a default never warns */
    RUN_OK("distill", NET, QUICK, "--teacher", one.text, "--method", "dkd");
    ck_assert_ptr_null(strstr(test_err, "warning"));
    RUN_OK("distill", NET, QUICK, "--teacher", one.text, "--method", "dkd", "--dkd-warmup", "2");
    test_expect_in(test_err, "--dkd-warmup: 2 epochs are more than the run has");
}
END_TEST

/* Of two classes some losses leave nothing to learn. */
START_TEST(test_two_classes)
{
    const test_path folder = test_in_dir("options_of_two");
    static const char data[] = "synthetic:classes=2,image=16,train=64,test=8";
    RUN_OK("train", NET, "--data", data, "--batch", "32", "--epochs", "1", "--out", folder.text);
    RUN_OK("distill", NET, "--data", data, "--batch", "32", "--epochs", "1", "--teacher",
           folder.text, "--method", "dkd");
    test_expect_in(test_err, "warning: --beta: it weighs the classes");
    RUN_OK("distill", NET, "--data", data, "--batch", "32", "--epochs", "1", "--teacher",
           folder.text, "--method", "standardized");
    test_expect_in(test_err, "warning: --method: two logits are -1 and 1");
    RUN_OK("distill", NET, "--data", data, "--batch", "32", "--epochs", "1", "--teacher",
           folder.text);
    ck_assert_ptr_null(strstr(test_err, "warning"));
}
END_TEST

/* ---- progress -------------------------------------------------------------------------------- */

/* The text of a member, in a line of JSON whose numbers are written alike; "": there is none. */
static void member(const char *line, const char *key, char out[64])
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *end = strchr(line, '\n'), *at = strstr(line, quoted);
    out[0] = 0;
    if (!at || (end && at > end)) return;
    at += strlen(quoted);
    snprintf(out, 64, "%.*s", (int)strcspn(at, ",}"), at);
}

/* The line of text that has the same event, and the same step. */
static const char *line_like(const char *text, const char *line)
{
    char event[64], step[64], its_event[64], its_step[64];
    member(line, "event", event);
    member(line, "step", step);
    for (const char *at = text; at && *at; at = strchr(at, '\n'), at += at != NULL) {
        if (*at != '{') continue;
        member(at, "event", its_event);
        member(at, "step", its_step);
        if (!strcmp(event, its_event) && !strcmp(step, its_step)) return at;
    }
    ck_abort_msg("no %s of step %s", event, step);
    return NULL;
}

/* Every member of a line of metrics.jsonl stands in the line of progress, with the same value. */
static void compare_line(const char *metrics)
{
    char key[64], here[64], there[64];
    const char *progress = line_like(test_err, metrics), *end = strchr(metrics, '\n');
    for (const char *at = metrics; (at = strchr(at, '"')) && at < end; at += strcspn(at, ",}")) {
        snprintf(key, sizeof key, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
        member(metrics, key, there);
        member(progress, key, here);
        ck_assert_msg(!strcmp(here, there), "%s: %s, in metrics.jsonl %s", key, here, there);
    }
}

START_TEST(test_progress_is_metrics)
{
    static char text[TEST_MAX_TEXT];
    const test_path teacher = network("options_one", "1");
    for (int taught = 0; taught < 2; taught++) {
        const test_path out = test_in_dir(taught ? "options_taught" : "options_alone");
        size_t lines = 0;
        RUN_OK(taught ? "distill" : "train", NET, "--data", DATA, "--batch", "32", "--epochs", "2",
               "--out", out.text, "--json", "--log-steps", "1", "--dev-count", "6",
               taught ? "--teacher" : "--no-test", taught ? teacher.text : NULL);
        test_slurp(test_at(out.text, "metrics.jsonl").text, text);
        for (const char *at = text; *at; at = strchr(at, '\n') + 1, lines++) compare_line(at);
        ck_assert_uint_eq(lines, 6); /* 64 pictures: 2 epochs of 2 steps */
        test_expect_in(test_err, "\"epochs_in_all\":2,\"step\":4,\"steps_in_all\":4,");
    }
}
END_TEST

/* ---- a run that is over ---------------------------------------------------------------------- */

/* The same, or without it an error: a text of a record. */
static void expect_same(const char *key, const char *a, const char *b)
{
    char one[64], other[64];
    member(a, key, one);
    member(b, key, other);
    ck_assert_msg(*one && !strcmp(one, other), "%s: %s, then %s", key, one, other);
}

/* Resuming it changes nothing that is there. What is measured now and was not is added; what was
 * measured stays though it isn't measured now. */
START_TEST(test_resumed_when_over)
{
    static char before[TEST_MAX_TEXT], after[TEST_MAX_TEXT], lines[TEST_MAX_TEXT];
    const test_path out = test_in_dir("options_over"), record = test_at(out.text, "run.json");
    const test_path metrics = test_at(out.text, "metrics.jsonl");
    RUN_OK("train", NET, QUICK, "--out", out.text);
    test_slurp(record.text, before);
    test_slurp(metrics.text, lines);
    for (int i = 0; i < 3; i++) {
        RUN_OK("train", NET, QUICK, "--out", out.text, "--resume", i == 1 ? "--no-test" : "--json",
               i == 2 ? "--quiet" : NULL);
        test_slurp(record.text, after);
        ck_assert_str_eq(after, before);
        test_slurp(metrics.text, after);
        ck_assert_str_eq(after, lines);
        if (i != 1) test_expect_in(test_out, "\"top1\":");
        if (i == 1) test_expect_in(test_out, "test        top-1 "); /* as it was measured */
    }
}
END_TEST

START_TEST(test_tested_later)
{
    static char before[TEST_MAX_TEXT], after[TEST_MAX_TEXT];
    const test_path out = test_in_dir("options_later"), record = test_at(out.text, "run.json");
    static const char *const kept[] = {"started", "augmentation", "peak_bytes", "network_hash",
                                       "train_loss"};
    RUN_OK("train", NET, QUICK, "--out", out.text, "--no-test");
    test_slurp(record.text, before);
    test_expect_in(before, "\"top1\": null");
    RUN_OK("train", NET, QUICK, "--out", out.text, "--resume");
    test_slurp(record.text, after);
    ck_assert_ptr_null(strstr(after, "\"top1\": null"));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        char quoted[64];
        snprintf(quoted, sizeof quoted, "\"%s\":", kept[i]);
        const char *a = strstr(before, quoted), *b = strstr(after, quoted);
        ck_assert_msg(a && b, "%s", kept[i]);
        expect_same(kept[i], a, b);
    }
}
END_TEST

TEST_SUITE(cli_options, 60, &test_refused, &test_refused_teachers, &test_two_classes,
           &test_progress_is_metrics, &test_resumed_when_over, &test_tested_later)
