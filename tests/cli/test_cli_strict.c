/* SPDX-License-Identifier: MIT
 * test_cli_strict.c: nothing that is typed is dropped in silence, in the commands that came last as in
 * the others: options that an action does not read, one that is given twice, two that say different
 * things, values of a list where one is meant; and what is there is replaced by its own kind alone. */
#include "made.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPEC "vgg3_bn,width=0.125,image=16,classes=4"
#define DATA "synthetic:classes=4,image=16,train=48,test=16"
#define OTHER "synthetic:classes=4,image=16,train=48,test=24"
#define SHORT "--data", DATA, "--batch", "16", "--epochs", "1"
#define RUN(...) test_run(test_bin("kd").text, __VA_ARGS__)
#define RUN_OK(...) test_run_ok(test_bin("kd").text, __VA_ARGS__)

/* One line on standard error, with these words. */
static void expect(int code, int wanted, const char *says)
{
    ck_assert_msg(code == wanted && strstr(test_err, says), "not '%s' but %d: %s", says, code,
                  test_err);
    ck_assert_msg(test_lines(test_err) == 1, "more than a line: %s", test_err);
}

static const char *run_folder(void)
{
    static test_path folder;
    folder = test_in_dir("run");
    if (access(test_at(folder.text, "model.safetensors").text, F_OK))
        RUN_OK("train", SPEC, SHORT, "--quiet", "--out", folder.text);
    return folder.text;
}

static const char *cache_folder(void)
{
    static test_path folder;
    folder = test_in_dir("logits");
    if (access(test_at(folder.text, "cache.json").text, F_OK))
        RUN_OK("cache", "build", SPEC, "--teacher", run_folder(), SHORT, "--cache", folder.text,
               "--quiet");
    return folder.text;
}

/* ---- options --------------------------------------------------------------------------------- */

START_TEST(test_given_twice)
{
    ck_assert_int_eq(RUN("train", SPEC, SHORT, "--lr", ".1", "--seed", "3", "--lr=.2", "--seed",
                         "3", "--quiet", "--nesterov", "--quiet", "--no-nesterov"),
                     0);
    test_expect_in(test_err, "kd: warning: --lr is given twice: .2 counts, not .1\n");
    test_expect_in(test_err, "kd: warning: --nesterov is given twice: off counts, not on\n");
    ck_assert_uint_eq(test_lines(test_err), 2);
    RUN_OK("eval", run_folder(), "--data", DATA, "--quiet", "--split", "test", "--split=test");
    ck_assert_str_eq(test_err, "");
}
END_TEST

/* Each action of kd cache reads some options. */
START_TEST(test_actions_of_cache)
{
    static const struct {
        const char *action, *option, *value, *says;
    } cases[] = {
        {"info", "--teacher", "x", "--teacher: info does not read it"},
        {"info", "--epochs", "2", "--epochs: info does not read it"},
        {"info", "--data", DATA, "--data: info does not read it"},
        {"info", "--batches", "2", "--batches: info does not read it"},
        {"prune", "--seed", "0", "--seed: prune does not read it"},
        {"prune", "--teacher", "x", "--teacher: prune does not read it"},
        {"verify", "--epochs", "2", "--epochs: verify does not read it"},
        {"verify", "--batches", "10", "--batches: verify reads it with --teacher alone"},
        {"verify", "--data", DATA, "--data: verify reads it with --teacher alone"},
        {"build", "--batches", "2", "--batches: build does not read it"},
        {"fill", "--batches", "2", "'fill' is none of build, info, verify, prune"},
    };
    const char *cache = cache_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(RUN("cache", cases[i].action, cache, cases[i].option, cases[i].value), 2,
               cases[i].says);
    RUN_OK("cache", "info", cache, "--threads", "1", "--max-memory", "1G", "--quiet");
    RUN_OK("cache", "prune", cache, "--epochs", "1");
    expect(RUN("cache", "verify", cache, "--teacher", run_folder(), "--data", OTHER, "--quiet"), 1,
           "the cache is of other logits: its data_checksum is");
}
END_TEST

/* A number that no type holds is out of range, not no number. */
START_TEST(test_huge_numbers)
{
    expect(RUN("train", SPEC, "--epochs", "99999999999999999999"), 2,
           "--epochs 99999999999999999999: it must be from 1 to 1000000000");
    expect(RUN("train", SPEC, "--max-memory", "99999999999999T"), 2,
           "--max-memory 99999999999999T: it must be from 0 to ");
    expect(RUN("train", SPEC, "--max-memory", "1X"), 2, "--max-memory 1X: it must be a whole");
    expect(RUN("train", SPEC, "--max-memory", "K"), 2, "--max-memory K: it must be a whole");
    expect(RUN("train", SPEC, "--seed", "1T"), 2, "--seed 1T: it must be a whole number");
    expect(RUN("distill", SPEC, "--teacher", ""), 2, "--teacher : it must not be empty");
}
END_TEST

START_TEST(test_two_sizes)
{
    expect(RUN("train", SPEC, SHORT, "--image", "24", "--quiet"), 1,
           "--image 24, but the spec says image=16: give one of the two");
    RUN_OK("train", SPEC, SHORT, "--image", "16", "--max-steps", "1", "--quiet");
    RUN_OK("train", "vgg3_bn,width=0.125", SHORT, "--image", "16", "--max-steps", "1", "--quiet");
}
END_TEST

/* A rectangle is two sides; who says it twice says the same; a network of squares refuses it. */
START_TEST(test_rectangles)
{
    const char *const wrong[] = {"48x", "x48", "0x16", "16x0", "16x16385", "16x16x16", "16 x16"};
    const test_path out = test_in_dir("rectangle"), model = test_at(out.text, "model.safetensors");
    const test_path record = test_at(out.text, "run.json");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect(RUN("train", "vgg3_bn", "--image", wrong[i]), 2,
               ": it must be from 1 to 16384, or two of these, HEIGHTxWIDTH: 48x96");
    expect(RUN("train", "vgg3_bn,image=16x24", SHORT, "--image", "24x16", "--quiet"), 1,
           "--image 24x16, but the spec says image=16x24: give one of the two");
    expect(RUN("train", "vit_tiny_patch16_224,patch=8", SHORT, "--image", "16x24", "--quiet"), 1,
           "image");
    RUN_OK("train", "vgg3_bn,width=0.125", SHORT, "--image", "16x24", "--quiet", "--out", out.text);
    RUN_OK("inspect", model.text);
    test_expect_in(test_out, "image=16x24");
    kd_ctx *ctx = test_ctx(1, NULL);
    char *text;
    size_t size;
    test_ok(ctx, kd_file_read_all(ctx, record.text, 1 << 20, &text, &size));
    test_expect_in(text, "\"image\": \"16x24\"");
    kd_ctx_free(ctx, text);
    kd_ctx_destroy(ctx);
    RUN_OK("train", "vgg3_bn,width=0.125,image=16x16", SHORT, "--image", "16", "--quiet");
    RUN_OK("eval", model.text, "--data", DATA, "--image", "24x16", "--quiet");
    RUN_OK("finetune", out.text, SHORT, "--image", "24x32", "--quiet");
}
END_TEST

/* ---- kd export ------------------------------------------------------------------------------- */

START_TEST(test_export)
{
    static const char *const useless[] = {"--method",        "mse", "--calibrate-count", "512",
                                          "--compare-count", "9",   "--percentile",      "99.99",
                                          "--augment",       "none"};
    const test_path kde = test_in_dir("net.kde"), report = test_in_dir("report.json"),
                    code = test_in_dir("net.c"), prefix = test_in_dir("net");
    const char *run = run_folder();
    for (size_t i = 0; i < sizeof useless / sizeof *useless; i += 2) {
        char says[80];
        snprintf(says, sizeof says, "%s goes with --int8", useless[i]);
        expect(RUN("export", run, "--edge", kde.text, useless[i], useless[i + 1]), 2, says);
    }
    expect(RUN("export", run, "--edge", kde.text, "--int8", "--calibrate", DATA, "--method", "mse",
               "--percentile", "99.99"),
           2, "--percentile goes with --method percentile");
    expect(RUN("export", run, "--edge", code.text, "--c-array", prefix.text), 2,
           "--edge and --c-array name the same file");
    expect(RUN("export", run, "--c-array", prefix.text, "--report", code.text), 2,
           "--report and --c-array name the same file");
    ck_assert(access(kde.text, F_OK) && access(code.text, F_OK));

    /* a report replaces a report, and nothing else */
    static char was[TEST_MAX_TEXT], is[TEST_MAX_TEXT];
    const test_path record = test_at(run, "run.json"), metrics = test_at(run, "metrics.jsonl");
    test_slurp(record.text, was);
    expect(RUN("export", run, "--edge", kde.text, "--report", record.text), 1,
           "run.json: the file is there and is no such report; it is not replaced");
    test_slurp(record.text, is);
    ck_assert_str_eq(was, is);
    expect(RUN("export", run, "--edge", kde.text, "--report", metrics.text), 1, "no such report");
    ck_assert(access(kde.text, F_OK));
    RUN_OK("export", run, "--edge", kde.text, "--report", report.text);
    RUN_OK("export", run, "--edge", kde.text, "--report", report.text);

    /* other pictures than it was trained on: said, as kd eval says it */
    RUN_OK("export", run, "--edge", kde.text, "--int8", "--calibrate", OTHER);
    test_expect_in(test_err, "was trained on synthetic:classes=4,image=16,");
    test_expect_in(test_err, "not on " OTHER);
    RUN_OK("export", run, "--edge", kde.text, "--int8", "--calibrate", DATA);
    ck_assert_ptr_null(strstr(test_err, "was trained on"));
}
END_TEST

static void put_input(kd_ctx *ctx, const char *path, float value)
{
    float x[3 * 16 * 16];
    kd_writer *w;
    const int64_t dims[] = {1, 3, 16, 16};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = value;
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, dims, x));
    test_ok(ctx, kd_writer_finish(w));
}

/* A .kde takes pixels: what is normalised for the network is refused, not rounded. */
START_TEST(test_tensors_for_a_blob)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path kde = test_in_dir("pixels.kde"), in = test_in_dir("in.safetensors"),
                    out = test_in_dir("out.safetensors");
    static const struct {
        float value;
        const char *says;
    } cases[] = {{-1.5f, "holds -1.5 in picture 0: a .kde takes pixels from 0 to 255"},
                 {256, "holds 256 in picture 0"},
                 {(float)NAN, "holds nan in picture 0"},
                 {(float)INFINITY, "holds inf in picture 0"}};
    RUN_OK("export", run_folder(), "--edge", kde.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_input(ctx, in.text, cases[i].value);
        expect(RUN("predict", kde.text, in.text, out.text), 1, cases[i].says);
        ck_assert(access(out.text, F_OK) != 0);
    }
    put_input(ctx, in.text, 255);
    RUN_OK("predict", kde.text, in.text, out.text);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- folders --------------------------------------------------------------------------------- */

static void put_text(const char *path, const char *text)
{
    made_text(path, text, strlen(text));
}

/* What is no cache is not looked after as one. */
START_TEST(test_no_cache)
{
    static const char *const texts[] = {"", "{", "[]", "{}", "{\"kind\": \"teacher-cache\"}"};
    const test_path folder = test_in_dir("none"), key = test_at(folder.text, "cache.json"),
                    epoch = test_at(folder.text, "epoch-000000.safetensors");
    ck_assert_int_eq(mkdir(folder.text, 0777), 0);
    put_text(epoch.text, "somebody's");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put_text(key.text, texts[i]);
        expect(RUN("cache", "info", folder.text), 1, "none/cache.json");
        expect(RUN("cache", "verify", folder.text), 1, "none/cache.json");
        expect(RUN("cache", "prune", folder.text), 1, "none/cache.json");
        ck_assert_int_eq(access(epoch.text, F_OK), 0);
    }
    ck_assert_int_eq(unlink(key.text), 0);
    expect(RUN("cache", "prune", folder.text), 1, "none/cache.json");
}
END_TEST

/* With --json there is one object, which says what the cache is of, and what was compared. */
START_TEST(test_cache_as_json)
{
    const char *cache = cache_folder();
    /* what was set aside is no epoch */
    put_text(test_at(cache, "epoch-000000.safetensors.damaged").text, "set aside");
    RUN_OK("cache", "info", cache, "--json");
    ck_assert_uint_eq(test_lines(test_out), 1);
    test_expect_in(test_out, "\"epochs\":1,\"unfinished\":0,\"damaged\":0,\"rows\":48,");
    test_expect_in(test_out, "{\"cache\":{");
    test_expect_in(test_out, "\"data\":\"synthetic:classes=4,image=16,");
    test_expect_in(test_out, "\"teachers\":1");
    ck_assert_ptr_null(strstr(test_out, "\"compared\""));
    RUN_OK("cache", "verify", cache, "--teacher", run_folder(), "--data", DATA, "--batches", "0",
           "--json", "--quiet");
    ck_assert_uint_eq(test_lines(test_out), 1);
    test_expect_in(test_out, "\"damaged_epochs\":[],\"compared\":48,\"different\":0,\"worst\":0}");
}
END_TEST

/* A cache is kept out of the folder of pictures. */
START_TEST(test_cache_in_the_data)
{
    const test_path data = test_in_dir("pets");
    char folder[5000];
    static const char *const names[] = {"train/cat/0.png", "train/dog/0.png", "val/cat/0.png",
                                        "val/dog/0.png"};
    for (size_t i = 0; i < 4; i++) made_picture(test_at(data.text, names[i]).text, 16, i);
    snprintf(folder, sizeof folder, "folder:%s", data.text);
    expect(RUN("cache", "build", SPEC, "--teacher", run_folder(), "--data", folder, "--cache",
               test_at(data.text, "train/logits").text),
           1, "lies in the data");
    expect(RUN("distill", "vgg2", "--teacher", run_folder(), "--data", folder, "--cache",
               test_at(data.text, "logits").text),
           1, "lies in the data");
    ck_assert(access(test_at(data.text, "train/logits").text, F_OK) != 0);
}
END_TEST

/* A teacher's logits that cannot be kept: the run goes on, and says so. */
START_TEST(test_cache_that_does_not_grow)
{
    const test_path copy = test_in_dir("still"),
                    part = test_at(copy.text, "epoch-000001.safetensors.part");
    char command[9000];
    snprintf(command, sizeof command, "cp -r %s %s && ln -s nowhere %s", cache_folder(), copy.text,
             part.text);
    ck_assert_int_eq(system(command), 0);
    RUN_OK("distill", SPEC, "--teacher", run_folder(), "--data", DATA, "--batch", "16", "--epochs",
           "2", "--cache", copy.text, "--quiet");
    test_expect_in(test_err, "kd: warning: ");
    test_expect_in(test_err, "the teacher's logits of epoch 2 are not kept");
}
END_TEST

/* ---- files that say options ------------------------------------------------------------------ */

START_TEST(test_lists_in_a_sweep)
{
    const test_path file = test_in_dir("sweep.json"), out = test_in_dir("swept");
    char text[5000];
    snprintf(text, sizeof text,
             "{\"common\": {\"teacher\": [\"%s\"], \"lr\": [0.1, 0.2]}, \"students\": [{\"name\": "
             "\"a\", \"spec\": \"vgg2\"}]}",
             run_folder());
    put_text(file.text, text);
    expect(RUN("sweep", file.text, "--out", out.text), 1,
           "lr: it has one value; the grid has a list of them");
    ck_assert(access(out.text, F_OK) != 0);
}
END_TEST

/* What processes came to is reported as what one pass came to, with --json as one object. */
START_TEST(test_jobs_are_reported)
{
    const test_path file = test_in_dir("jobs.json"), out = test_in_dir("jobs"),
                    pass = test_in_dir("pass");
    static char one[TEST_MAX_TEXT];
    char text[9000];
    snprintf(text, sizeof text,
             "{\"common\": {\"teacher\": \"%s\", \"data\": \"" DATA
             "\", \"batch\": 16, \"epochs\": 1, "
             "\"cache\": \"%s\"}, \"students\": [{\"name\": \"a\", \"spec\": \"vgg2\"}, {\"name\": "
             "\"b\", \"spec\": \"vgg2_bn\", \"lr\": 0.03}]}",
             run_folder(), cache_folder());
    put_text(file.text, text);
    RUN_OK("sweep", file.text, "--out", pass.text, "--quiet");
    snprintf(one, sizeof one, "%s", test_out);
    RUN_OK("sweep", file.text, "--out", out.text, "--quiet", "--jobs", "2");
    ck_assert_uint_eq(test_lines(test_out), 3); /* as in one pass, but for the seconds */
    for (const char *a = one, *b = test_out; a && b; a = strchr(a, '\n'), b = strchr(b, '\n')) {
        a += *a == '\n';
        b += *b == '\n';
        ck_assert_msg(!strncmp(a, b, 37), "%s%s", one, test_out);
        if (!*a) break;
    }
    RUN_OK("sweep", file.text, "--out", out.text, "--quiet", "--jobs", "2", "--json",
           "--overwrite");
    ck_assert_uint_eq(test_lines(test_out), 1);
    test_expect_in(test_out, "{\"students\":[{\"name\":\"a\",\"spec\":\"vgg2,");
    test_expect_in(test_out, "\"status\":\"done\",\"error\":null,\"params\":");
    test_expect_in(test_out, "\"name\":\"b\"");
    /* each has its share of the memory */
    ck_assert_int_eq(RUN("sweep", file.text, "--out", out.text, "--quiet", "--jobs", "2",
                         "--overwrite", "--max-memory", "1500K", "--json"),
                     1);
    test_expect_in(test_err, "memory limit of 768000 bytes");
    ck_assert_uint_eq(test_lines(test_out), 1);
}
END_TEST

/* A record of a later version may have an option that is not known here. */
START_TEST(test_record_with_an_unknown_option)
{
    static char text[TEST_MAX_TEXT], more[TEST_MAX_TEXT];
    const test_path record = test_in_dir("later.json"), out = test_in_dir("later");
    test_slurp(test_at(run_folder(), "run.json").text, text);
    char *at = strstr(text, "\"options\": {");
    ck_assert_ptr_nonnull(at);
    at += strlen("\"options\": {");
    snprintf(more, sizeof more, "%.*s\n\"sharpness\": 3,%s", (int)(at - text), text, at);
    put_text(record.text, more);
    expect(RUN("rerun", record.text, "--out", out.text, "--quiet"), 1,
           "there is no option 'sharpness' here (--anyway runs it without)");
    RUN_OK("rerun", record.text, "--out", out.text, "--quiet", "--anyway");
}
END_TEST

TEST_SUITE(cli_strict, 60, &test_given_twice, &test_actions_of_cache, &test_huge_numbers,
           &test_two_sizes, &test_rectangles, &test_export, &test_tensors_for_a_blob,
           &test_no_cache, &test_cache_as_json, &test_cache_in_the_data,
           &test_cache_that_does_not_grow, &test_lists_in_a_sweep, &test_jobs_are_reported,
           &test_record_with_an_unknown_option)
