/* SPDX-License-Identifier: MIT
 * test_cli_results.c: the numbers that `kd train` and `kd distill` leave in run.json and
 * metrics.jsonl are those of the same run made with the library, which the tests of tests/train
 * check; null where nothing was measured. */
#include "../spawn.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char spec[] = "vgg3_bn,classes=7,image=8,width=0.0625";
static const char pictures[] = "synthetic:classes=7,image=8,train=43,test=30";

/* The number behind "key": NaN where there is null. */
static double number(const char *text, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(text, quoted);
    ck_assert_msg(at != NULL, "no %s in %s", key, text);
    at += strlen(quoted);
    at += strspn(at, " ");
    return strncmp(at, "null", 4) ? strtod(at, NULL) : (double)NAN;
}

static void same(const char *text, const char *key, double want)
{
    const double got = number(text, key);
    ck_assert_msg(got == want || (isnan(got) && isnan(want)), "%s is %.17g, not %.17g", key, got,
                  want);
}

/* run.json's result, and what its last line of metrics.jsonl has in common with it. */
static void compare(const test_path *out, const kd_result *r, double lr)
{
    static char text[TEST_MAX_TEXT];
    test_slurp(test_at(out->text, "run.json").text, text);
    const char *result = strstr(text, "\"result\"");
    ck_assert_ptr_nonnull(result);
    same(result, "top1", r->top1);
    same(result, "top5", r->top5);
    same(result, "loss", r->loss);
    same(result, "train_loss", r->train_loss);
    same(result, "train_top1", r->train_top1);
    same(result, "hard_loss", r->hard_loss);
    same(result, "soft_loss", r->soft_loss);
    same(result, "teacher_top1", r->teacher_top1);
    same(result, "agreement", r->agreement);
    same(result, "dev_top1", r->dev_top1);
    same(result, "dev_loss", r->dev_loss);
    same(result, "epochs", r->epochs);
    same(result, "steps", (double)r->steps);
    same(result, "skipped", (double)r->skipped);
    same(result, "micro_batch", (double)r->micro_batch);
    ck_assert(number(result, "seconds") > 0 && number(result, "peak_bytes") > 0);
    test_slurp(test_at(out->text, "metrics.jsonl").text, text);
    const char *last = text;
    for (const char *end; (end = strchr(last, '\n')) && end[1];) last = end + 1;
    same(last, "loss", r->train_loss);
    same(last, "loss_hard", r->hard_loss);
    same(last, "loss_soft", r->soft_loss);
    same(last, "accuracy", r->train_top1);
    ck_assert_double_le(fabs(number(last, "lr") - lr), 1e-6 * lr);
}

typedef struct run {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *model;
} run;

static run open_run(const char *data, uint64_t seed)
{
    run r = {.ctx = test_ctx(0, NULL)};
    test_ok(r.ctx, kd_dataset_open(r.ctx, data, NULL, &r.data));
    test_ok(r.ctx, kd_model_create(r.ctx, spec, seed, &r.model));
    return r;
}

static void close_run(run *r)
{
    kd_model_destroy(r->model);
    kd_dataset_close(r->data);
    kd_ctx_destroy(r->ctx);
}

START_TEST(test_train)
{
    const test_path kd = test_bin("kd"), out = test_in_dir("results_train");
    test_run_ok(kd.text, "train", spec, "--data", pictures, "--no-test", "--epochs", "3", "--batch",
                "16", "--ema", ".8", "--seed", "4", "--augment", "none", "--schedule", "constant",
                "--lr", ".04", "--out", out.text);
    run r = open_run(pictures, 4);
    kd_result result = {.struct_size = sizeof result};
    const kd_train_opt opt = {.struct_size = sizeof opt,
                              .epochs = 3,
                              .batch = 16,
                              .ema = .8f,
                              .seed = 4,
                              .augment = "none",
                              .schedule = KD_SCHEDULE_CONSTANT,
                              .lr = .04f,
                              .no_test = 1};
    test_ok(r.ctx, kd_train(r.model, r.data, &opt, &result));
    ck_assert(isnan(result.top1) && isnan(result.dev_top1) && isnan(result.soft_loss));
    compare(&out, &result, .04);
    close_run(&r);
}
END_TEST

START_TEST(test_distill)
{
    const test_path kd = test_bin("kd"), out = test_in_dir("results_distill");
    const test_path teacher = test_in_dir("results_teacher.safetensors");
    run r = open_run(pictures, 9);
    kd_model *student;
    const float half[] = {.5f, .5f, .5f};
    test_ok(r.ctx, kd_model_set_normalization(r.model, half, half));
    test_ok(r.ctx, kd_model_save(r.model, teacher.text));
    test_run_ok(kd.text, "distill", spec, "--teacher", teacher.text, "--data", pictures, "--epochs",
                "3", "--batch", "16", "--seed", "5", "--augment", "flip", "--schedule", "constant",
                "--lr", ".03", "--dev-count", "8", "--keep", "best", "--hard", ".4", "--soft", ".6",
                "--out", out.text);
    kd_result result = {.struct_size = sizeof result};
    const kd_train_opt opt = {.struct_size = sizeof opt,
                              .epochs = 3,
                              .batch = 16,
                              .seed = 5,
                              .augment = "flip",
                              .schedule = KD_SCHEDULE_CONSTANT,
                              .lr = .03f,
                              .dev_count = 8,
                              .keep = KD_KEEP_BEST};
    const kd_distill_opt distill = {
        .struct_size = sizeof distill, .teacher = r.model, .hard = .4f, .soft = .6f, .train = &opt};
    test_ok(r.ctx, kd_model_create(r.ctx, spec, 5, &student));
    test_ok(r.ctx, kd_distill(student, r.data, &distill, &result));
    compare(&out, &result, .03);
    kd_model_destroy(student);
    close_run(&r);
}
END_TEST

TEST_SUITE(cli_results, 30, &test_train, &test_distill)
