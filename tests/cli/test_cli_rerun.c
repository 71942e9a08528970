/* SPDX-License-Identifier: MIT
 * test_cli_rerun.c: kd rerun: a recorded run gives the same bits from any working directory; what is
 * not as it was is named; a record may hold anything. Networks and data are tiny. */
#include "../spawn.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA "synthetic:classes=4,image=16,train=96,test=32"
#define NET "vgg4_bn,width=0.125"
#define QUICK "--data", DATA, "--batch", "32", "--threads", "1", "--quiet"

static const char *kd(void)
{
    static test_path path;
    path = test_bin("kd");
    static char real[4200];
    if (!realpath(path.text, real)) ck_abort_msg("no %s", path.text);
    return real;
}

#define RUN(...) test_run(kd(), __VA_ARGS__)
#define RUN_OK(...) test_run_ok(kd(), __VA_ARGS__)

static test_path model_of(const char *folder)
{
    return test_at(folder, "model.safetensors");
}

static void expect_same_files(kd_ctx *ctx, const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    test_ok(ctx, kd_file_read_all(ctx, a, 1 << 28, &x, &n));
    test_ok(ctx, kd_file_read_all(ctx, b, 1 << 28, &y, &m));
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
}

/* ---- the same bits --------------------------------------------------------------------------- */

/* Every kind of run, with options of every type, given by relative paths. */
START_TEST(test_same_bits)
{
    static const char *const runs[][24] = {
        {"train", NET, "--epochs", "2", "--seed", "7", "--no-nesterov", "--weight-decay", "0",
         "--augment", "crop:2+cutout:4", "--dev-count", "16", "--keep", "best", "--log-steps", "1"},
        {"train", "vit_tiny_patch16_224,image=16,patch=4,dim=24,depth=2,heads=2", "--max-steps",
         "4", "--micro-batch", "auto", "--ema", "0.5", "--layer-decay", "0.75", "--beta2", "0.95",
         "--schedule", "cosine", "--warmup", "0.5", "--min-lr", "1e-5", "--drop-last"},
        {"distill",
         NET,
         "--teacher",
         "t",
         "u/model.safetensors",
         "--teacher-weight",
         "1",
         "2",
         "--method",
         "dkd",
         "--alpha",
         "0",
         "--dkd-warmup",
         "0.7",
         "--epochs",
         "1",
         "--accumulate",
         "2",
         "--clip",
         "0.3"},
        {"finetune", "t", "--epochs", "1", "--reset-head", "--lr", "0.03", "--normalize", "0.4/0.3",
         "--image", "20"},
        {"finetune", "t", "--epochs", "1", "--image", "20x28"},
        {"train", "vgg2", "--seed", "9007199254740993", "--max-steps", "1"}, /* no double is it */
        {"finetune", "t", "--epochs", "1", "--freeze", "body", "--head-lr", "0.05"},
        {"finetune", "t", "--epochs", "1", "--group-lr", "features.0=0.003,classifier=0.02"},
        {"distill", "t/model.safetensors", "--teacher", "t", "--hard", "0", "--epochs", "1",
         "--on-nan", "skip"},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    char here[4200];
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    const char *program = kd();
    const test_path inside = test_in_dir("inside"), again = test_in_dir("again");
    test_ok(ctx, kd_folder_make(ctx, inside.text));
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        const char *words[40];
        char out[20];
        size_t n = 0;
        snprintf(out, sizeof out, "run%zu", i);
        const char *const common[] = {QUICK, "--out", out};
        ck_assert_int_eq(chdir(inside.text), 0);
        if (i == 0)
            for (int k = 0; k < 2; k++)
                test_run_ok(program, "train", NET, QUICK, "--epochs", "1", "--seed", k ? "4" : "3",
                            "--out", k ? "u" : "t");
        words[n++] = program;
        for (size_t k = 0; k < 24 && runs[i][k]; k++) words[n++] = runs[i][k];
        for (size_t k = 0; k < sizeof common / sizeof *common; k++) words[n++] = common[k];
        words[n] = NULL;
        const int status = test_finish(test_start(words, NULL, NULL));
        ck_assert_msg(status == 0, "run %zu: %s", i, test_err);

        ck_assert_int_eq(chdir("/"), 0);
        const test_path was = test_at(inside.text, out);
        test_run_ok(program, "rerun", was.text, "--out", again.text, "--overwrite", "--check",
                    "--json", "--quiet", "--threads", i % 2 ? "3" : "1");
        test_expect_in(test_out, "\"same_bits\":true");
        expect_same_files(ctx, model_of(was.text).text, model_of(again.text).text);
        /* by its file, keeping nothing, by a record that is itself of a repeated run */
        test_run_ok(program, "rerun", test_at(again.text, "run.json").text, "--check", "--quiet");
        test_expect_in(test_out, "same bits   yes: ");
    }
    ck_assert_int_eq(chdir(here), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A kernel table that was forced is taken again; it may be the one that would be taken anyway. */
START_TEST(test_forced_table)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    static const char *const generic[] = {"KD_ISA=generic", "KD_CONV=gemm", NULL};
    const test_path out = test_in_dir("forced");
    const int status = test_finish(test_start(
        TEST_WORDS(kd(), "train", NET, QUICK, "--epochs", "1", "--out", out.text), generic, NULL));
    ck_assert_int_eq(status, 0);
    unsetenv("KD_ISA");
    unsetenv("KD_CONV");
    RUN_OK("rerun", out.text, "--check", "--quiet");
    test_expect_in(test_out, "same bits   yes: ");
    static const char *const other[] = {"KD_ISA=generic", "KD_CONV=direct", NULL};
    ck_assert_int_eq(test_finish(test_start(
                         TEST_WORDS(kd(), "rerun", out.text, "--check", "--quiet"), other, NULL)),
                     1);
    test_expect_in(test_err, "KD_CONV was gemm, is direct");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- what is not as it was ------------------------------------------------------------------- */

/* The record with one text in it replaced. */
static void edit(kd_ctx *ctx, const char *from, const char *to, const char *was, const char *is)
{
    static char text[TEST_MAX_TEXT], out[TEST_MAX_TEXT];
    test_slurp(from, text);
    char *at = strstr(text, was);
    ck_assert_msg(at != NULL, "no %s in %s", was, text);
    const int n =
        snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, is, at + strlen(was));
    ck_assert_int_lt(n, (int)sizeof out);
    test_ok(ctx, kd_file_write_atomic(ctx, to, out, (size_t)n));
}

START_TEST(test_differences_are_named)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path t = test_in_dir("d_teacher"), s = test_in_dir("d_student");
    const test_path run_json = test_at(s.text, "run.json");
    const test_path other = test_in_dir("other.json");
    RUN_OK("train", NET, QUICK, "--epochs", "1", "--seed", "3", "--out", t.text);
    RUN_OK("distill", NET, "--teacher", t.text, QUICK, "--epochs", "1", "--out", s.text);
    ck_assert_int_eq(RUN("rerun", s.text, "--quiet"), 2); /* where to? */
    test_expect_in(test_err, "--out DIR");

    edit(ctx, run_json.text, other.text, "\"version\": \"", "\"version\": \"9.");
    ck_assert_int_eq(RUN("rerun", other.text, "--check", "--quiet"), 1);
    test_expect_in(test_err, "the version was 9.");
    edit(ctx, run_json.text, other.text, "\"seed\": 0\n", "\"seed\": 1\n");
    ck_assert_int_eq(RUN("rerun", other.text, "--check", "--quiet"), 1);
    test_expect_in(test_err, "the start's hash was ");
    edit(ctx, run_json.text, other.text, "\"checksum\": \"", "\"checksum\": \"1");
    ck_assert_int_eq(RUN("rerun", other.text, "--check", "--quiet"), 1);
    test_expect_in(test_err, "the data's checksum was 1");
    edit(ctx, run_json.text, other.text, "\"isa\": \"", "\"isa\": \"x");
    ck_assert_int_eq(RUN("rerun", other.text, "--check", "--quiet"), 1);
    test_expect_in(test_err, "the kernel table was x");
    edit(ctx, run_json.text, other.text, "\"start_hash\": ", "\"begun\": ");
    ck_assert_int_eq(RUN("rerun", other.text, "--check", "--quiet"), 1);
    test_expect_in(test_err, "the start's hash was not known");

    /* another network in the teacher's place */
    RUN_OK("train", NET, QUICK, "--epochs", "1", "--seed", "4", "--out", t.text, "--overwrite");
    ck_assert_int_eq(RUN("rerun", s.text, "--check", "--quiet"), 1);
    test_expect_in(test_err, "the hash of teacher 0 was ");
    test_expect_in(test_err, "--anyway");
    ck_assert_uint_eq(test_lines(test_err), 1);
    ck_assert_int_eq(RUN("rerun", s.text, "--check", "--quiet", "--anyway", "--json"), 1);
    test_expect_in(test_err, "warning: the hash of teacher 0 was ");
    test_expect_in(test_err, "the bits are not those of ");
    test_expect_in(test_out, "\"same_bits\":false");
    ck_assert_uint_eq(test_lines(test_out), 1);
    RUN_OK("rerun", s.text, "--anyway", "--overwrite", "--quiet"); /* in its own place */
    RUN_OK("rerun", s.text, "--check", "--quiet");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- hostile records ------------------------------------------------------------------------- */

START_TEST(test_hostile_records)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path s = test_in_dir("h_run"), other = test_in_dir("h.json");
    const test_path run_json = test_at(s.text, "run.json"), out = test_in_dir("h_out");
    RUN_OK("train", NET, QUICK, "--epochs", "1", "--lr", "0.05", "--out", s.text);
    static const struct {
        const char *was, *is, *says;
    } cases[] = {
        {"\"command\": \"train\"", "\"command\": \"eval\"", "no record of kd train"},
        {"\"command\": \"train\"", "\"command\": 3", "no record of kd train"},
        {"\"rerun\": {", "\"again\": {", "(`rerun`)"},
        {"\"options\": {", "\"choices\": {", "no record of a run"},
        {"\"epochs\": 1", "\"epochs\": -1", "--epochs -1"},
        {"\"epochs\": 1", "\"epochs\": 1e300", "--epochs 1"},
        {"\"epochs\": 1", "\"epochs\": \"--out=/tmp/x\"", "--epochs --out=/tmp/x"},
        {"\"batch\": 32", "\"batch\": 0.5", "--batch 0.5"},
        {"\"lr\": 0.05", "\"lr\": -3", "--lr -3"},
        {"\"optimizer\": \"sgd\"", "\"optimizer\": \"\\u001b[2J\"", "\\x1b[2J"},
        {"\"momentum\": 0.9", "\"momentum\": 17", "--momentum 17"},
        {"\"spec\": \"vgg4_bn,classes=4,image=16,channels=3,head=gap,width=0.125,pool4=1\",\n    "
         "\"start",
         "\"spec\": \"--help\",\n    \"start", "--help"},
        {"test=32\",\n    \"data_dir\": \"", "test=33\",\n    \"data_dir\": \"", "checksum"},
        {"\"arguments\": [", "\"arguments\": [[", "h.json"},
        {"{\n", "[\n", "h.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        edit(ctx, run_json.text, other.text, cases[i].was, cases[i].is);
        const int status = RUN("rerun", other.text, "--out", out.text, "--quiet");
        ck_assert_msg(status == 1, "case %zu: exit status %d: %s", i, status, test_err);
        test_expect_in(test_err, cases[i].says);
        test_expect_in(test_err, i == 11 ? "kd: " : "h.json");
        ck_assert_msg(test_lines(test_err) == 1, "%s", test_err);
        ck_assert_ptr_null(strchr(test_err, '\033'));
        ck_assert(access(out.text, F_OK) != 0);
    }
    test_ok(ctx, kd_file_write_atomic(ctx, other.text, "", 0));
    ck_assert_int_eq(RUN("rerun", other.text, "--out", out.text), 1);
    ck_assert_int_eq(RUN("rerun", "/nowhere", "--out", out.text), 1);
    test_expect_in(test_err, "/nowhere");
    ck_assert_int_eq(RUN("rerun", test_dir(), "--out", out.text), 1);
    test_expect_in(test_err, "run.json");
    ck_assert_int_eq(RUN("rerun", "--check"), 2);
    /* a run that was not finished can be done again, but there is nothing to compare with */
    edit(ctx, run_json.text, other.text, "\"network_hash\": \"", "\"hash\": \"");
    ck_assert_int_eq(RUN("rerun", other.text, "--check", "--quiet"), 1);
    test_expect_in(test_err, "was not finished");
    RUN_OK("rerun", other.text, "--out", out.text, "--quiet");
    expect_same_files(ctx, model_of(s.text).text, model_of(out.text).text);
    kd_ctx_destroy(ctx);
}
END_TEST

/* How a run reported is not part of it: a rerun of a silent one speaks, and one of JSON is text. */
START_TEST(test_reports_as_it_is_asked)
{
    const test_path out = test_in_dir("silent");
    test_run_ok(kd(), "train", NET, QUICK, "--epochs", "1", "--quiet", "--json", "--out", out.text);
    test_run_ok(kd(), "rerun", out.text, "--check");
    ck_assert_msg(*test_out != '{', "%s", test_out);
    test_expect_in(test_out, "network     ");
    test_expect_in(test_out, "same bits   yes");
    test_expect_in(test_err, "optimiser   ");
    test_run_ok(kd(), "rerun", out.text, "--check", "--json", "--quiet");
    ck_assert_msg(*test_out == '{' && !*test_err, "%s%s", test_out, test_err);
}
END_TEST

TEST_SUITE(cli_rerun, 120, &test_reports_as_it_is_asked, &test_same_bits, &test_forced_table,
           &test_differences_are_named, &test_hostile_records)
