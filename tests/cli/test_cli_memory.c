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

TEST_SUITE(cli_memory, 60, &test_profile_in_pieces, &test_profile_within_a_limit,
           &test_runs_in_pieces)
