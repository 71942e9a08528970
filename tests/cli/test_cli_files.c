/* SPDX-License-Identifier: MIT
 * test_cli_files.c: files that the command `kd` is given and files that it writes: outputs that are
 * inputs, files of other kinds, names that others gave, what a network's file says of itself. */
#include "made.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPEC "vgg4_bn,width=0.0625,image=16,classes=3"
#define SPEC8 "vgg4_bn,width=0.0625,image=16,classes=8"
#define SPEC9 "vgg4_bn,width=0.0625,image=16,classes=9"
#define RUN(...) test_run(test_bin("kd").text, __VA_ARGS__)
#define RUN_OK(...) test_run_ok(test_bin("kd").text, __VA_ARGS__)

enum { SIDE = 16, CLASSES = 3, N = 3 };
static const char *const names[CLASSES] = {"ant", "bee", "cat"};

static test_path network(kd_ctx *ctx, const char *name)
{
    const test_path path = test_in_dir(name);
    made_network(ctx, path.text, 5,
                 &(made_about){.spec = SPEC, .names = names, .normalized = true});
    return path;
}

/* N pictures as kd predict and kd step take them. */
static test_path batch(kd_ctx *ctx, const char *name)
{
    static float x[N * 3 * SIDE * SIDE];
    static const int64_t labels[N] = {0, 1, 2};
    const int64_t shape[] = {N, 3, SIDE, SIDE};
    const test_path path = test_in_dir(name);
    kd_writer *w;
    test_fill(x, sizeof x / sizeof *x, 7, 2);
    test_ok(ctx, kd_writer_create(ctx, path.text, &w));
    kd_writer_tensor(w, "input", KD_F32, 4, shape, x);
    kd_writer_tensor(w, "labels", KD_I64, 1, shape, labels);
    test_ok(ctx, kd_writer_finish(w));
    return path;
}

/* ---- outputs --------------------------------------------------------------------------------- */

/* The command fails in one line, which says so, and the file is as it was. */
static void refused(kd_ctx *ctx, const char *file, const char *says, const char *const *words)
{
    const char *argv[20] = {test_bin("kd").text};
    static test_path kd;
    size_t before, after, n = 1;
    kd = test_bin("kd");
    argv[0] = kd.text;
    for (; words[n - 1]; n++) argv[n] = words[n - 1];
    argv[n] = NULL;
    char *x = made_bytes(ctx, file, &before);
    const int status = test_finish(test_start(argv, NULL, NULL));
    ck_assert_msg(status == 1 || status == 2, "kd %s: exit status %d: %s", words[0], status,
                  test_err);
    ck_assert_msg(test_lines(test_err) == 1, "not one line: %s", test_err);
    test_expect_in(test_err, says);
    char *y = made_bytes(ctx, file, &after);
    ck_assert_uint_eq(before, after);
    ck_assert_msg(!memcmp(x, y, before), "kd %s destroyed %s", words[0], file);
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
}
#define REFUSED(file, says, ...) refused(ctx, file, says, (const char *const[]){__VA_ARGS__, NULL})

START_TEST(test_outputs)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path net = network(ctx, "o_net.safetensors"), in = batch(ctx, "o_in.safetensors");
    const test_path link = test_in_dir("o_link"), hard = test_in_dir("o_hard");
    const test_path run = test_in_dir("o_run"), shards = test_in_dir("o_shards");
    const test_path temp = test_in_dir("o_new.safetensors.tmp");
    const test_path out = test_in_dir("o_new.safetensors");
    const test_path model = test_at(run.text, "model.safetensors");
    const test_path shard = test_at(shards.text, "part-2.safetensors");
    test_ok(ctx, kd_folder_make(ctx, run.text));
    made_copy(ctx, net.text, shards.text, (made_change){.shards = true});
    network(ctx, "o_run/model.safetensors");
    batch(ctx, "o_new.safetensors.tmp");
    ck_assert_int_eq(symlink(net.text, link.text), 0);
    ck_assert_int_eq(linkat(AT_FDCWD, in.text, AT_FDCWD, hard.text, 0), 0);
    static const char says[] = "it would be destroyed";
    const char *const commands[] = {"predict", "step"};
    for (int i = 0; i < 2; i++) {
        const char *c = commands[i];
        REFUSED(net.text, says, c, net.text, in.text, net.text);
        REFUSED(in.text, says, c, net.text, in.text, in.text);
        REFUSED(net.text, says, c, net.text, in.text, link.text);
        REFUSED(net.text, says, c, link.text, in.text, net.text);
        REFUSED(in.text, says, c, net.text, in.text, hard.text);
        REFUSED(model.text, says, c, run.text, in.text, model.text);
        REFUSED(shard.text, says, c, shards.text, in.text, shard.text, "--model", SPEC);
        REFUSED(temp.text, "is written by way of", c, net.text, temp.text, out.text);
    }
    REFUSED(net.text, says, "eval", net.text, "--data", "synthetic:classes=3,image=16",
            "--predictions", link.text);
    REFUSED(net.text, says, "eval", run.text, "--teacher", net.text, "--data",
            "synthetic:classes=3,image=16", "--confusion", net.text);
    /* and so is what the library refuses, before anything is computed */
    made_text(out.text, "a,b\n1,2\n", 8);
    REFUSED(out.text, "is not replaced", "predict", net.text, in.text, out.text);
    REFUSED(out.text, "is not replaced", "step", net.text, in.text, out.text);
    REFUSED(out.text, "is not replaced", "eval", net.text, "--data", "synthetic:classes=3,image=16",
            "--predictions", out.text);
    /* a network is not replaced, though nobody reads it here; predictions and steps are */
    const test_path logits = test_in_dir("o_logits");
    const test_path other = network(ctx, "o_other.safetensors");
    REFUSED(other.text, "holds no logits: it is not replaced", "predict", net.text, in.text,
            other.text);
    REFUSED(other.text, "holds no logits: it is not replaced", "step", net.text, in.text,
            other.text);
    RUN_OK("predict", net.text, in.text, logits.text);
    RUN_OK("predict", run.text, in.text, logits.text);
    RUN_OK("step", run.text, in.text, logits.text);
    RUN_OK("predict", net.text, in.text, logits.text);
    ck_assert_int_eq(RUN("predict", net.text, in.text, run.text), 1);
    test_expect_in(test_err, "no regular file");
    ck_assert_int_eq(RUN("predict", net.text, in.text, "/nowhere/o"), 1);
    test_expect_in(test_err, "/nowhere/o: nothing can be written in its folder");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- files of other kinds -------------------------------------------------------------------- */

START_TEST(test_other_kinds)
{
    static const struct {
        const char *name, *bytes;
        size_t size;
        const char *says;
    } kinds[] = {
        {"k.pth",
         "PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl\x80\2}", 49,
         "torch.load"},
        {"k.pt", "\x80\2}q\0X\1\0\0\0aq\1K\1s.", 18, "pickle"},
        {"k.lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 228\n", 66,
         "git lfs pull"},
        {"k.html", "<!DOCTYPE html>\n<html><title>Not Found</title></html>\n", 54, "a page"},
        {"k.jpg", "RIFF\x90\1\0\0WEBPVP8 \0\0\0\0\0\0\0\0\0\0\0\0", 28, "WebP"},
        {"k.empty", "", 0, "empty"},
        {"k.gif", "GIF89a\1\0\1\0\0\0\0;", 14, "GIF"},
        {"k.safetensors.index.json",
         "{\"metadata\":{},\"weight_map\":{\"features.0.weight\":\"gone.safetensors\"}}", 69,
         "gone.safetensors"},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path net = network(ctx, "k_net.safetensors"), in = batch(ctx, "k_in.safetensors");
    const test_path out = test_in_dir("k_out.safetensors");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const test_path file = test_in_dir(kinds[i].name);
        made_text(file.text, kinds[i].bytes, kinds[i].size);
        const char *const commands[][6] = {
            {"predict", file.text, in.text, out.text, NULL},
            {"predict", net.text, file.text, out.text, NULL},
            {"step", file.text, in.text, out.text, NULL},
            {"step", net.text, file.text, out.text, NULL},
            {"inspect", file.text, NULL},
            {"profile", file.text, "--model", SPEC, NULL},
            {"eval", file.text, "--data", "synthetic:classes=3,image=16", NULL},
            {"distill", SPEC, "--teacher", file.text, "--data", "synthetic:classes=3,image=16"},
            {"finetune", file.text, "--data", "synthetic:classes=3,image=16", NULL},
        };
        for (size_t k = 0; k < sizeof commands / sizeof *commands; k++) {
            const char *const *w = commands[k];
            const int status = RUN(w[0], w[1], w[2], w[3], w[4], w[4] ? w[5] : NULL);
            ck_assert_msg(status == 1, "%s %s: exit status %d: %s", w[0], kinds[i].name, status,
                          test_err);
            test_expect_in(test_err, kinds[i].says);
            ck_assert_msg(access(out.text, F_OK) != 0, "%s wrote", w[0]);
        }
    }
    /* an input is named by all that it may be */
    const test_path webp = test_in_dir("k.jpg");
    ck_assert_int_eq(RUN("predict", net.text, webp.text, out.text), 1);
    test_expect_in(test_err, "INPUT is a safetensors file, a JPEG or a PNG");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_names_of_others)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path net = network(ctx, "n_net.safetensors"), in = batch(ctx, "n_in.safetensors");
    const test_path out = test_in_dir("n_out"), copy = test_in_dir("n_copy.safetensors");
    const test_path shards = test_in_dir("n_shards");
    RUN_OK("predict", net.text, in.text, out.text);
    float *want = made_read(ctx, out.text, "logits", N * CLASSES);
    const made_change changes[] = {{.prefix = "module."},
                                   {.prefix = "_orig_mod."},
                                   {.prefix = "model."},
                                   {.prefix = "_orig_mod.module."},
                                   {.float_counters = true}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        made_copy(ctx, net.text, copy.text, changes[i]);
        RUN_OK("predict", copy.text, in.text, out.text, "--model", SPEC);
        if (changes[i].prefix) test_expect_in(test_err, changes[i].prefix);
        float *got = made_read(ctx, out.text, "logits", N * CLASSES);
        ck_assert(!memcmp(got, want, N * CLASSES * sizeof *want));
        kd_ctx_free(ctx, got);
        RUN_OK("inspect", copy.text, "--model", SPEC);
        RUN_OK("profile", copy.text, "--model", SPEC, "--seconds", "0.01");
    }
    made_copy(ctx, net.text, shards.text, (made_change){.shards = true});
    RUN_OK("predict", shards.text, in.text, out.text, "--model", SPEC);
    float *got = made_read(ctx, out.text, "logits", N * CLASSES);
    ck_assert(!memcmp(got, want, N * CLASSES * sizeof *want));
    kd_ctx_free(ctx, got);
    kd_ctx_free(ctx, want);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- what a file says of itself -------------------------------------------------------------- */

static void has_text(const char *key, const char *text)
{
    char part[300];
    snprintf(part, sizeof part, text ? "\"%s\":\"%s\"" : "\"%s\":null", key, text);
    test_expect_in(test_out, part);
}

START_TEST(test_inspect)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    uint64_t hash;
    char text[20];
    const test_path run = test_in_dir("i_run"), file = test_at(run.text, "model.safetensors");
    const test_path shards = test_in_dir("i_shards");
    test_ok(ctx, kd_folder_make(ctx, run.text));
    made_network(ctx, file.text, 5,
                 &(made_about){.spec = SPEC,
                               .names = (const char *const[]){"ant", "be\033e", "cat"},
                               .framing = "centre:0.9",
                               .data = "folder:insects",
                               .normalized = true});
    test_ok(ctx, kd_model_load(ctx, file.text, NULL, &m));
    test_ok(ctx, kd_model_hash(m, &hash));
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    RUN_OK("inspect", run.text, "--json"); /* the folder is taken for the file in it */
    has_text("hash", text);
    has_text("kind", "network");
    has_text("data", "folder:insects");
    has_text("data_checksum", "0000000000001234");
    has_text("framing", "centre:0.9");
    test_expect_in(test_out, "\"class_names\":[\"ant\",\"be\\u001be\",\"cat\"]");
    test_expect_in(test_out, "\"mean\":[0.5,0.5,0.5],\"std\":[0.25,0.25,0.25]");
    RUN_OK("inspect", file.text);
    test_expect_in(test_out, "whole");
    test_expect_in(test_out, text);
    test_expect_in(test_out, "3: ant, be\\x1be, cat");
    test_expect_in(test_out, "folder:insects (checksum 0000000000001234)");
    test_expect_in(test_out, "mean 0.5,0.5,0.5, deviation 0.25,0.25,0.25");
    /* a file that says nothing, in two shards, has the same hash */
    made_copy(ctx, file.text, shards.text, (made_change){.shards = true});
    RUN_OK("inspect", shards.text, "--json", "--model", SPEC);
    has_text("hash", text);
    has_text("data", NULL);
    has_text("framing", NULL);
    has_text("class_names", NULL);
    has_text("mean", NULL);
    test_expect_in(test_out, "\"shards\":[\"part-1.safetensors\",\"part-2.safetensors\"]");
    RUN_OK("inspect", shards.text, "--model", SPEC);
    test_expect_in(test_out, "shards      2");
    test_expect_in(test_out, "the file does not name them");
    test_expect_in(test_out, "it will be guessed (--normalize)");
    kd_model_destroy(m);
    /* of many classes the first eight */
    static const char *const many[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    const test_path few = test_in_dir("i_eight"), lot = test_in_dir("i_nine");
    made_network(ctx, few.text, 5, &(made_about){.spec = SPEC8, .names = many});
    made_network(ctx, lot.text, 5, &(made_about){.spec = SPEC9, .names = many});
    RUN_OK("inspect", few.text);
    test_expect_in(test_out, "classes     8: a, b, c, d, e, f, g, h\n");
    RUN_OK("inspect", lot.text);
    test_expect_in(test_out, "classes     9: a, b, c, d, e, f, g, h, ...\n");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_inspect_outputs)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path net = network(ctx, "j_net.safetensors"), in = batch(ctx, "j_in.safetensors");
    const test_path out = test_in_dir("j_out");
    RUN_OK("predict", net.text, in.text, out.text);
    RUN_OK("inspect", out.text, "--json");
    has_text("kind", "predictions");
    RUN_OK("step", net.text, in.text, out.text);
    RUN_OK("inspect", out.text, "--json");
    has_text("kind", "step");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- options that nothing reads -------------------------------------------------------------- */

START_TEST(test_unread)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path net = network(ctx, "u_net.safetensors"), in = batch(ctx, "u_in.safetensors");
    const test_path out = test_in_dir("u_out");
    const struct {
        const char *words[9], *says;
    } cases[] = {
        {{"predict", net.text, in.text, out.text, "--normalize", "0.5/0.5"},
         "--normalize is for picture files"},
        {{"predict", net.text, in.text, out.text, "--augment", "none"},
         "--augment is for picture files"},
        {{"predict", net.text, in.text, out.text, "--skip-broken"},
         "--skip-broken is for picture files"},
        {{"profile", SPEC, "--micro-batch", "2"}, "without --train nothing reads it"},
        {{"profile", SPEC, "--model", SPEC}, "is no file"},
        {{"distill", SPEC, "--teacher", net.text, "--model", SPEC, "--data-dir", "/nowhere"},
         "--model is for a file"},
        {{"distill", SPEC, "--teacher", net.text, "--reset-head", "--data-dir", "/nowhere"},
         "--reset-head is for a file"},
        {{"eval", net.text, "--teacher-model", SPEC}, "there is no --teacher"},
        {{"eval", net.text, "--data", "synthetic:classes=3,image=16", "--augment", "rrc+flip"},
         "leave nothing to chance"},
        /* before anything is read */
        {{"step", "/nowhere/net", in.text, out.text, "--optimizer", "adamw", "--momentum", "0.5"},
         "--momentum: the optimizer adamw does not read it"},
        {{"step", "/nowhere/net", in.text, out.text, "--alpha", "2"},
         "--alpha: the method kd does not read it"},
        /* without teacher_logits in the batch */
        {{"step", net.text, in.text, out.text, "--temperature", "2"},
         "--temperature: without a teacher nothing reads it"},
        {{"train", SPEC, "--data", "cifar-10", "--data-dir", "/nowhere", "--alpha", "2"},
         "--alpha"},
        {{"train", SPEC, "--data-dir", "/nowhere", "--optimizer", "sgd", "--beta1", "0.5"},
         "--beta1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *w = cases[i].words;
        const int status = RUN(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]);
        ck_assert_msg(status == 2, "case %zu: exit status %d: %s", i, status, test_err);
        test_expect_in(test_err, cases[i].says);
        ck_assert(access(out.text, F_OK) != 0);
    }
    /* what is wrong with the network's name is said before the data are looked for */
    ck_assert_int_eq(RUN("train", "vgg8_bm", "--data-dir", "/nowhere"), 1);
    test_expect_in(test_err, "did you mean vgg8_bn?");
    ck_assert_int_eq(RUN("distill", "vgg8_bn", "--teacher", "/nowhere/t", "--data-dir", "/nowhere"),
                     1);
    test_expect_in(test_err, "/nowhere/t");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- what is not there ----------------------------------------------------------------------- */

START_TEST(test_absent)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path net = network(ctx, "a_net.safetensors"), out = test_in_dir("a_out");
    const test_path half = test_in_dir("a_half"), empty = test_in_dir("a_empty");
    const test_path grey = test_in_dir("a_grey.safetensors");
    test_ok(ctx, kd_folder_make(ctx, half.text));
    test_ok(ctx, kd_folder_make(ctx, empty.text));
    network(ctx, "a_half/checkpoint.safetensors");
    made_network(ctx, grey.text, 5, &(made_about){.spec = SPEC ",channels=1", .names = names});
    static const char data[] = "synthetic:classes=3,image=16,train=9,test=9";
    const struct {
        const char *words[8], *says;
    } cases[] = {
        /* before the data are looked for */
        {{"eval", net.text, "/nowhere/n", "--data-dir", "/nowhere/d"}, "/nowhere/n"},
        {{"eval", net.text, "--teacher", "/nowhere/t", "--data-dir", "/nowhere/d"}, "/nowhere/t"},
        /* a run that goes on, or was cut off */
        {{"eval", half.text, "--data", data}, "/checkpoint.safetensors is how far it came"},
        {{"inspect", half.text}, "/checkpoint.safetensors is how far it came"},
        {{"profile", half.text}, "/checkpoint.safetensors is how far it came"},
        {{"predict", half.text, net.text, out.text}, "/checkpoint.safetensors is how far it came"},
        {{"eval", empty.text, "--data", data}, "has neither model.safetensors nor"},
        {{"predict", net.text, empty.text, out.text}, "is a folder; INPUT is one picture or more"},
        {{"eval", grey.text, "--data", data, "--any-classes"},
         "a_grey.safetensors wants pictures of 1 channel; those of synthetic:"},
        {{"eval", net.text, "--teacher", grey.text, "--data", data, "--any-classes"},
         "a_grey.safetensors wants pictures of 1 channel; those of synthetic:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *w = cases[i].words;
        const int status = RUN(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]);
        ck_assert_msg(status == 1, "case %zu: exit status %d: %s", i, status, test_err);
        test_expect_in(test_err, cases[i].says);
    }
    /* grey data for a network that wants colour */
    RUN_OK("eval", net.text, "--data", "synthetic:classes=3,image=16,channels=1,train=9,test=9",
           "--any-classes");
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(cli_files, 60, &test_outputs, &test_other_kinds, &test_names_of_others, &test_inspect,
           &test_inspect_outputs, &test_unread, &test_absent)
