/* SPDX-License-Identifier: MIT
 * test_cli_export.c: kd export, and kd eval, predict, profile and inspect of what it writes: the same
 * numbers as the network's, reports, what is refused in one line. */
#include "made.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPEC "vgg3_bn,width=0.125,image=16,classes=4"
#define VIT "vit_tiny_patch16_224,image=16,patch=8,dim=8,heads=2,depth=1,classes=4"
#define DATA "synthetic:classes=4,image=16,train=600,test=200"
#define RUN(...) test_run(test_bin("kd").text, __VA_ARGS__)
#define RUN_OK(...) test_run_ok(test_bin("kd").text, __VA_ARGS__)

/* The number behind the n-th "key": in what was said. */
static double number(const char *key, size_t n)
{
    char word[60];
    snprintf(word, sizeof word, "\"%s\":", key);
    const char *at = test_out;
    for (size_t i = 0; i <= n; i++) {
        at = strstr(i ? at + 1 : at, word);
        ck_assert_msg(at != NULL, "no %s %zu in %s", key, i, test_out);
    }
    return strtod(at + strlen(word), NULL);
}

static void expect_error(int code, int wanted, const char *says)
{
    ck_assert_msg(code == wanted && strstr(test_err, says), "not '%s' but %d: %s", says, code,
                  test_err);
    const char *end = strchr(test_err, '\n');
    ck_assert_msg(end && end[1] == 0, "more than a line: %s", test_err);
}

/* A trained network of four classes, made once. */
static const char *trained(void)
{
    static test_path folder;
    if (!folder.text[0]) {
        folder = test_in_dir("export_run");
        if (access(test_at(folder.text, "model.safetensors").text, F_OK) == 0) return folder.text;
        RUN_OK("train", SPEC, "--data", DATA, "--epochs", "3", "--quiet", "--out", folder.text);
    }
    return folder.text;
}

/* An untrained network with a normalisation, as a file. */
static void save_network(const char *spec, const char *file)
{
    static const float half[] = {.5f, .5f, .5f};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_model_set_normalization(m, half, half));
    test_ok(ctx, kd_model_save(m, file));
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}

/* What a layer touches is a part of the arena, also where it writes over what it reads; and a count of
 * pictures that there are not is said. */
START_TEST(test_report_in_text)
{
    unsigned long most = 0, arena = 0;
    const test_path kde = test_in_dir("text.kde");
    RUN_OK("export", trained(), "--edge", kde.text, "--int8", "--calibrate", DATA,
           "--calibrate-count", "601");
    test_expect_in(test_err, "has 600 training pictures: all of them calibrate");
    const char *line = test_out, *said = strstr(test_out, " bytes, arena ");
    ck_assert(said && sscanf(said, " bytes, arena %lu", &arena) == 1);
    while ((line = strchr(line, '\n'))) {
        unsigned long flash, ram;
        if (sscanf(++line, "%*s %*s %*ux%*ux%*u %*f %lu %lu", &flash, &ram) == 2 && ram > most)
            most = ram;
    }
    ck_assert_msg(most > 0 && most <= arena, "%lu of %lu: %s", most, arena, test_out);
}
END_TEST

START_TEST(test_export_and_eval)
{
    const test_path kde = test_in_dir("net.kde"), float_kde = test_in_dir("float.kde");
    const test_path report = test_in_dir("report.json");
    const char *net = trained();
    RUN_OK("eval", net, "--data", DATA, "--json", "--quiet");
    const double top1 = number("top1", 0), loss = number("loss", 0);
    ck_assert_double_gt(top1, 35); /* of four classes */
    RUN_OK("export", net, "--edge", float_kde.text, "--json");
    ck_assert_double_ge(number("arena_bytes", 0), 16);
    ck_assert_ptr_null(strstr(test_out, "\"method\":")); /* nothing is calibrated */
    RUN_OK("eval", float_kde.text, "--data", DATA, "--json", "--quiet");
    ck_assert_double_eq_tol(number("top1", 0), top1, 1e-9);
    ck_assert_double_eq_tol(number("loss", 0), loss, 1e-4);
    RUN_OK("export", net, "--edge", kde.text, "--int8", "--calibrate", DATA, "--report",
           report.text, "--compare-count", "0", "--json", "--quiet");
    const double agreement = number("agreement", 0);
    test_expect_in(test_out, "\"method\":\"percentile\",\"calibrated\":");
    ck_assert_double_eq(number("n", 0), 200);
    ck_assert_double_eq_tol(number("float_top1", 0), top1, 1e-9);
    const double small = number("top1", 0);
    RUN_OK("eval", kde.text, "--data", DATA, "--json", "--quiet", "--teacher", net);
    ck_assert_double_eq_tol(number("top1", 0), small, 1e-9);
    ck_assert_double_eq_tol(number("agreement", 0), agreement, 1e-9);
    ck_assert_double_ge(number("agreement", 0), 95);
    char text[TEST_MAX_TEXT];
    test_slurp(report.text, text);
    ck_assert(strstr(text, "\"worst_layer\":") && strstr(text, "\"own_signal_to_noise\":"));
}
END_TEST

START_TEST(test_listings)
{
    const test_path kde = test_in_dir("listed.kde");
    RUN_OK("export", trained(), "--edge", kde.text, "--int8", "--calibrate", DATA,
           "--calibrate-count", "40", "--wide-logits", "--method", "mse");
    ck_assert_ptr_nonnull(strstr(test_out, "most is lost in"));
    RUN_OK("inspect", kde.text);
    ck_assert(strstr(test_out, "self-test   passed") && strstr(test_out, "int32, scale"));
    RUN_OK("profile", kde.text, "--seconds", "0.01", "--json");
    ck_assert_double_gt(number("latency_ms_median", 0), 0);
    ck_assert_double_eq(number("classes", 0), 4);
    const double flash = number("bytes", 0), arena = number("arena_bytes", 0);
    ck_assert(arena < flash && strstr(test_out, "\"selftest\":true"));
    double macs = 0;
    for (size_t i = 1; i <= 4; i++) macs += number("macs", i); /* three with weights, the pool */
    ck_assert_double_eq(macs, number("macs", 0));
}
END_TEST

/* Pictures as pixels from 0 to 255 give the network's logits, rounded to the blob's steps. */
START_TEST(test_predict)
{
    enum { N = 5, PIXELS = 3 * 16 * 16 };
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path kde = test_in_dir("predict.kde"), in = test_in_dir("pixels.safetensors");
    const test_path normal = test_in_dir("normal.safetensors");
    const test_path a = test_in_dir("a.safetensors"), b = test_in_dir("b.safetensors");
    const int64_t shape[] = {N, 3, 16, 16};
    static float pixels[N * PIXELS], x[N * PIXELS];
    kd_model *m;
    kd_writer *w;
    RUN_OK("export", trained(), "--edge", kde.text);
    test_ok(ctx, kd_model_load(ctx, trained(), NULL, &m));
    for (size_t i = 0; i < N * PIXELS; i++) {
        pixels[i] = (float)(i * 7919 % 256);
        const size_t c = i / 256 % 3;
        x[i] = (pixels[i] / 255 - kd_model_mean(m)[c]) / kd_model_std(m)[c];
    }
    test_ok(ctx, kd_writer_create(ctx, in.text, &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, shape, pixels));
    test_ok(ctx, kd_writer_finish(w));
    test_ok(ctx, kd_writer_create(ctx, normal.text, &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, shape, x));
    test_ok(ctx, kd_writer_finish(w));
    RUN_OK("predict", kde.text, in.text, a.text);
    RUN_OK("predict", trained(), normal.text, b.text);
    float *ours = made_read(ctx, a.text, "logits", N * 4);
    float *theirs = made_read(ctx, b.text, "logits", N * 4);
    ck_assert_double_le(test_distance(ours, theirs, N * 4), 1e-4);
    kd_ctx_free(ctx, ours);
    kd_ctx_free(ctx, theirs);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_c_array_compiles)
{
    const test_path prefix = test_in_dir("firmware_net"), object = test_in_dir("firmware_net.o");
    const test_path source = test_in_dir("firmware_net.c");
    RUN_OK("export", trained(), "--c-array", prefix.text, "--int8", "--calibrate", DATA, "--quiet");
    test_run_ok("cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Iinclude",
                "-DKD_EDGE_SECTION=__attribute__((section(\".model\")))", "-c", source.text, "-o",
                object.text);
}
END_TEST

#if KDI_ONNX
static double bytes_of(const char *file)
{
    struct stat about;
    ck_assert_int_eq(stat(file, &about), 0);
    return (double)about.st_size;
}
#endif

/* What goes into an ONNX model is said, and what goes with what. */
START_TEST(test_onnx)
{
    const test_path onnx = test_in_dir("net.onnx"), vit = test_in_dir("vit_for_onnx.safetensors");
    const char *net = trained(), *o = onnx.text;
    save_network(VIT, vit.text);
    expect_error(RUN("export", net, "--edge", "x.kde", "--opset", "20"), 2, "--opset goes with");
    expect_error(RUN("export", net, "--edge", "x.kde", "--batch", "2"), 2, "--batch goes with");
    expect_error(RUN("export", net, "--onnx", o, "--opset", "18"), 2, "--opset");
    expect_error(RUN("export", net, "--onnx", o, "--batch", "2", "--dynamic-batch"), 2, "or any?");
    expect_error(RUN("export", net, "--onnx", o, "--report", "r.json"), 2, "--report goes with");
    expect_error(RUN("export", net, "--onnx", o, "--edge", o), 2, "--onnx");
    expect_error(RUN("export", net, "--onnx", test_at(net, "model.safetensors").text), 1,
                 "would be destroyed");
#if KDI_ONNX
    const test_path kde = test_in_dir("beside.kde"), report = test_in_dir("beside.json");
    char text[TEST_MAX_TEXT];
    expect_error(RUN("export", net, "--onnx", test_at(net, "run.json").text), 1, "not replaced");
    expect_error(RUN("export", vit.text, "--onnx", o, "--int8", "--calibrate", DATA), 1,
                 "the device's set of ops lacks it");
    ck_assert_msg(access(o, F_OK) != 0, "something was written");
    RUN_OK("export", vit.text, "--onnx", o, "--json", "--opset", "20");
    ck_assert_double_eq(number("opset", 0), 20);
    ck_assert_double_gt(number("onnx_bytes", 0), 4000);
    ck_assert_ptr_null(strstr(test_out, "blob_bytes")); /* nothing is made for a device */
    RUN_OK("export", net, "--onnx", o, "--int8", "--calibrate", DATA, "--dynamic-batch");
    test_expect_in(test_out, "int8, blob");
    test_expect_in(test_out, "int8, opset 17, ");
    test_expect_in(test_out, o);
    RUN_OK("export", net, "--onnx", o, "--edge", kde.text, "--json", "--report", report.text);
    ck_assert_double_eq(number("opset", 0), 17);
    ck_assert_double_eq(number("onnx_bytes", 0), bytes_of(o));
    ck_assert_double_eq(number("blob_bytes", 0), bytes_of(kde.text));
    test_slurp(report.text, text);
    test_out[strcspn(test_out, "\n")] = 0;
    ck_assert_str_eq(text, test_out);
#else
    expect_error(RUN("export", net, "--onnx", o), 1, "built without protobuf-c");
#endif
}
END_TEST

/* Classes without names are taken in order, which is said, if there are as many. */
START_TEST(test_unnamed_classes)
{
    const test_path net = test_in_dir("unnamed.safetensors"), kde = test_in_dir("unnamed.kde");
    save_network(SPEC, net.text);
    expect_error(RUN("export", net.text, "--edge", kde.text, "--int8", "--calibrate",
                     "synthetic:classes=5,image=16"),
                 1, "5");
    ck_assert_msg(access(kde.text, F_OK) != 0, "something was written");
    RUN_OK("export", net.text, "--edge", kde.text, "--int8", "--calibrate", DATA);
    const char *said = strstr(test_err, "the network has no names for its 4 classes");
    ck_assert_msg(said != NULL, "%s", test_err);
    ck_assert_ptr_null(strstr(said + 1, "the network has no names"));
    RUN_OK("export", trained(), "--edge", kde.text, "--int8", "--calibrate", DATA);
    ck_assert_ptr_null(strstr(test_err, "no names"));
}
END_TEST

/* Of a network whose weights are all zero nothing is lost. */
START_TEST(test_all_zero)
{
    const test_path net = test_in_dir("zero.safetensors"), kde = test_in_dir("zero.kde");
    static const float half[] = {.5f, .5f, .5f};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, "vgg3,width=0.125,image=16,classes=4", 1, &m));
    test_ok(ctx, kd_model_set_normalization(m, half, half));
    kd_params *p = kd_model_params(m);
    memset(kd_params_values(p), 0, kd_params_flat_count(p) * sizeof(float));
    test_ok(ctx, kd_model_save(m, net.text));
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
    RUN_OK("export", net.text, "--edge", kde.text, "--int8", "--calibrate", DATA, "--quiet");
    test_expect_in(test_out, "nothing is lost in any layer");
    ck_assert_msg(!strstr(test_out, "inf") && !strstr(test_out, "nan"), "%s", test_out);
}
END_TEST

START_TEST(test_refused)
{
    const test_path out = test_in_dir("never.kde"), cut = test_in_dir("cut.kde");
    const test_path vit = test_in_dir("vit.safetensors"), kde = test_in_dir("again.kde");
    const char *net = trained(), *o = out.text;
    kd_ctx *ctx = test_ctx(1, NULL);
    save_network(VIT, vit.text);
    expect_error(RUN("export", net), 2, "what is to be written?");
    expect_error(RUN("export", net, "--edge", o, "--int8"), 2, "--calibrate NAME");
    expect_error(RUN("export", net, "--edge", o, "--method", "mse"), 2,
                 "--method goes with --int8: without it there is nothing to calibrate");
    expect_error(RUN("export", net, "--edge", o, "--wide-logits"), 2,
                 "--wide-logits goes with --int8: float32 logits have 32 bits as they are");
    expect_error(RUN("export", net, "--edge", o, "--report", "-"), 1, "--report -: ");
    expect_error(RUN("export", net, "--edge", "-"), 1, "--edge -: ");
    ck_assert_msg(access("-", F_OK) != 0, "there is a file named -");
    expect_error(RUN("export", net, "--edge", o, "--method", "best"), 2, "percentile|mse");
    expect_error(RUN("export", net, "--edge", o, "--int8", "--calibrate", DATA, "--method", "mse",
                     "--percentile", "99"),
                 2, "--percentile goes with");
    expect_error(RUN("export", vit.text, "--edge", o), 1, "set of ops lacks it");
    expect_error(
        RUN("export", net, "--edge", o, "--int8", "--calibrate", "synthetic:classes=4,image=24"), 1,
        "pictures of 24 x 24 pixels");
    expect_error(RUN("export", net, "--edge", o, "--int8", "--calibrate",
                     "synthetic:classes=4,image=16,seed=1"),
                 1, "class");
    expect_error(RUN("export", net, "--edge", net), 1, "would be destroyed");
    expect_error(RUN("export", "nowhere", "--edge", o), 1, "nowhere");
    ck_assert_msg(access(o, F_OK) != 0, "something was written");
    RUN_OK("export", net, "--edge", kde.text);
    expect_error(RUN("export", kde.text, "--edge", o), 1, "a network exported for devices");
    expect_error(RUN("eval", kde.text, "--data", DATA, "--model", "vgg8"), 2, "--model");
    expect_error(RUN("profile", kde.text, "--train"), 2, "--train");
    size_t size;
    char *bytes = made_bytes(ctx, kde.text, &size);
    made_text(cut.text, bytes, size / 2);
    expect_error(RUN("eval", cut.text, "--data", DATA, "--quiet"), 1, "cut.kde");
    bytes[size / 2] ^= 1;
    made_text(cut.text, bytes, size);
    expect_error(RUN("inspect", cut.text), 1, "cut.kde");
    kd_ctx_free(ctx, bytes);
    kd_ctx_destroy(ctx);
}
END_TEST

/* What make firmware-demo is given, looked at before anything is built. */
START_TEST(test_firmware_demo)
{
    const test_path net = test_at(trained(), "model.safetensors");
    char kd[sizeof(test_path) + 3];
    snprintf(kd, sizeof kd, "KD=%s", test_bin("kd").text);
    const char *demo = "examples/firmware/demo.sh";
    expect_error(test_run("sh", demo, "m4", "nowhere.kde"), 1, "nowhere.kde: no such file");
    expect_error(test_run("env", "KD_DATA=none", "FIRMWARE_DATA=", "sh", demo, "m4", net.text), 1,
                 "none/cifar-10-batches-bin is not there: FIRMWARE_DATA=NAME");
    expect_error(test_run("env", kd, "FIRMWARE_DATA=nonsense", "sh", demo, "m4", net.text), 1,
                 "nonsense");
}
END_TEST

TEST_SUITE(cli_export, 120, &test_report_in_text, &test_export_and_eval, &test_listings,
           &test_predict, &test_onnx, &test_c_array_compiles, &test_unnamed_classes, &test_all_zero,
           &test_refused, &test_firmware_demo)
