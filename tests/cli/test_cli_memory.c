/* SPDX-License-Identifier: MIT
 * test_cli_memory.c: --micro-batch and --max-memory of the command `kd`: what is shown, refused,
 * recorded. */
#include "../spawn.h"

#include <kd/kd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VIT "vit_tiny_patch16_224,image=16,patch=4,dim=24,depth=3,heads=3,classes=4"
#define DATA "synthetic:classes=4,image=16,train=96,test=32"
#define QUICK "--data", DATA, "--batch", "32", "--epochs", "1", "--threads", "1", "--quiet"
#define PROFILE "profile", VIT, "--train", "--batch", "32", "--seconds", "0.01", "--threads", "1"

static const char *kd(void)
{
    static test_path path;
    path = test_bin("kd");
    return path.text;
}

#define RUN(...) test_run(kd(), __VA_ARGS__)
#define RUN_OK(...) test_run_ok(kd(), __VA_ARGS__)

/* A number of the object on standard output. */
static double said(const char *key)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_json_object *o;
    double x;
    test_ok(ctx, kd_json_parse(ctx, test_out, strlen(test_out), &o));
    ck_assert_msg(kd_json_get_number(o, key, &x), "no number %s in %s", key, test_out);
    kd_json_object_destroy(o);
    kd_ctx_destroy(ctx);
    return x;
}

/* "... (N in all)" */
static double needed(void)
{
    const char *at = strstr(test_err, "more are needed (");
    ck_assert_msg(at != NULL, "%s", test_err);
    return atof(at + strlen("more are needed ("));
}

START_TEST(test_profile_in_pieces)
{
    setenv("KD_ISA", "generic",
           1); /* with little scratch: values are most of this small network's memory */
    RUN_OK(PROFILE, "--json");
    ck_assert(said("micro_batch") == 32 && said("macs_recomputed") == 0);
    const double whole = said("arena_bytes");
    RUN_OK(PROFILE, "--json", "--micro-batch", "5");
    ck_assert(said("micro_batch") == 5 && said("arena_bytes") < whole / 4);
    RUN_OK(PROFILE, "--micro-batch", "5");
    test_expect_in(test_out, "5 pictures at a time");
    ck_assert_int_eq(RUN("profile", "vgg4_bn", "--train", "--batch", "32", "--micro-batch", "5"),
                     1);
    test_expect_in(test_err, "batch_norm 'features.1'");
    ck_assert_int_eq(RUN(PROFILE, "--micro-batch", "few"), 2);
    test_expect_in(test_err, "from 1 on, or auto");
    ck_assert_int_eq(RUN(PROFILE, "--micro-batch", "0"), 2);
}
END_TEST

/* Refused with a number, which is enough. */
START_TEST(test_profile_within_a_limit)
{
    char limit[40];
    RUN_OK(PROFILE, "--json");
    const double arena = said("arena_bytes"), peak = said("peak_bytes");
    snprintf(limit, sizeof limit, "%.0f", peak - arena / 2);
    for (int i = 0; RUN(PROFILE, "--json", "--max-memory", limit); i++) {
        ck_assert_msg(i < 5, "%s", test_err);
        snprintf(limit, sizeof limit, "%.0f", needed());
    }
    ck_assert(said("macs_recomputed") > 0 && said("arena_bytes") < arena);
    ck_assert(said("peak_bytes") <= atof(limit) && atof(limit) < peak);
    RUN_OK(PROFILE, "--max-memory", limit);
    test_expect_in(test_out, "MACs of one picture (");
    test_expect_in(test_out, "% of its forward pass)");
    RUN_OK(PROFILE, "--per-op", "--max-memory", limit);
    test_expect_in(test_out, "gelu recomputed");
    RUN_OK(PROFILE, "--json", "--micro-batch", "auto", "--max-memory", limit);
    ck_assert(said("micro_batch") < 32);
}
END_TEST

START_TEST(test_runs_in_pieces)
{
    static char text[TEST_MAX_TEXT];
    const test_path out = test_in_dir("pieces"), record = test_at(out.text, "run.json");
    RUN_OK("train", VIT, QUICK, "--json", "--micro-batch", "7", "--out", out.text);
    ck_assert(said("micro_batch") == 7);
    test_slurp(record.text, text);
    test_expect_in(text, "\"micro_batch\": 7");
    ck_assert_int_eq(RUN("train", VIT, QUICK, "--resume", "--out", out.text), 1);
    test_expect_in(test_err, "micro-batch");
    RUN_OK("train", VIT, QUICK, "--json", "--micro-batch", "auto", "--out", out.text,
           "--overwrite");
    ck_assert(said("micro_batch") == 32); /* all of it is small */
    test_slurp(record.text, text);
    test_expect_in(text, "\"micro_batch\": \"auto\"");
    RUN_OK("train", VIT, QUICK, "--dry-run", "--micro-batch", "8");
    test_expect_in(test_out, "8 pictures at a time");
}
END_TEST

static int run_words(const char *const *words)
{
    return test_finish(test_start(words, NULL, NULL));
}

/* While data and networks are opened a refusal names them, with all that they take; from then on all
 * that the run needs: a limit of that much is enough, at once or after one more step. */
START_TEST(test_refusals_name_the_need)
{
    static const char data[] = "synthetic:classes=4,image=32,train=600,test=100";
    enum { PICTURES = 700 * (32 * 32 * 3 + 4), VGG4 = 4 * 372740 };
    const test_path t = test_in_dir("memory_teacher");
    char limit[40];
    RUN_OK("train", "vgg4_bn", "--data", data, "--max-steps", "1", "--quiet", "--out", t.text);
    ck_assert_int_eq(RUN("train", "vgg4_bn", "--data", data, "--max-memory", "1M"), 1);
    test_expect_in(test_err, "for the data set synthetic:classes=4,image=32,train=600,test=100; "
                             "networks come on top\n");
    ck_assert(needed() > PICTURES && needed() < PICTURES + 60000);
    ck_assert_int_eq(RUN("train", "vgg4_bn", "--data", data, "--max-memory", "2800K"), 1);
    test_expect_in(test_err, "for the network vgg4_bn,classes=4,image=32");
    ck_assert(needed() > PICTURES + VGG4 && needed() < PICTURES + VGG4 + 300000);
    ck_assert_int_eq(RUN("eval", t.text, "--data", data, "--max-memory", "2800K"), 1);
    test_expect_in(test_err, "for the network in ");
    ck_assert(needed() > PICTURES + VGG4 && needed() < PICTURES + VGG4 + 300000);
    const char *const *const runs[] = {
        TEST_WORDS(kd(), "train", "vgg4_bn", "--data", data, "--max-steps", "1", "--max-memory",
                   limit),
        TEST_WORDS(kd(), "distill", "vgg5_bn", "--teacher", t.text, "--data", data, "--max-steps",
                   "1", "--max-memory", limit),
        TEST_WORDS(kd(), "distill", "vgg4_bn", "--teacher", t.text, "--data", data, "--max-steps",
                   "1", "--feature", "cosine", "--dev-count", "50", "--keep", "best",
                   "--max-memory", limit),
        TEST_WORDS(kd(), "finetune", t.text, "--data", data, "--max-steps", "1", "--max-memory",
                   limit),
        TEST_WORDS(kd(), "eval", t.text, "--data", data, "--max-memory", limit),
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        snprintf(limit, sizeof limit, "12M");
        ck_assert_int_eq(run_words(runs[i]), 1);
        const double said = needed();
        for (int more = 0; more < 2; more++) {
            snprintf(limit, sizeof limit, "%.0f", needed());
            if (run_words(runs[i]) == 0) break;
            ck_assert_msg(!more && needed() < 1.02 * said, "%s", test_err);
        }
        /* and it is no more than what is needed, but for what differs between machines */
        snprintf(limit, sizeof limit, "%.0f", .8 * said);
        ck_assert_int_eq(run_words(runs[i]), 1);
    }
}
END_TEST

TEST_SUITE(cli_memory, 60, &test_refusals_name_the_need, &test_profile_in_pieces,
           &test_profile_within_a_limit, &test_runs_in_pieces)
