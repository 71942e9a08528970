/* SPDX-License-Identifier: MIT
 * test_pages.c: the pages of examples/embed about what a program wants to do, run as their texts say:
 * classify, threads, own_data, loop, features; and what each does where its input is wrong. */
#include "../spawn.h"

#include <kd/kd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NET "vgg3_bn,width=0.125,classes=10,image=32"

static test_path make_model(const char *name, int normalized)
{
    static const float half[] = {.5f, .5f, .5f}, quarter[] = {.25f, .25f, .25f};
    static const char *const classes[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                          "dog",      "frog",       "horse", "ship", "truck"};
    const test_path path = test_in_dir(name);
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model;
    test_ok(ctx, kd_model_create(ctx, NET, 3, &model));
    test_ok(ctx, kd_model_set_class_names(model, classes));
    if (normalized) test_ok(ctx, kd_model_set_normalization(model, half, quarter));
    test_ok(ctx, kd_model_save(model, path.text));
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
    return path;
}

START_TEST(test_classify)
{
    const test_path program = test_bin("classify"), model = make_model("pages.safetensors", 1);
    const test_path plain = make_model("plain.safetensors", 0), missing = test_in_dir("none.png");
#if KDI_PNG
    test_run_ok(program.text, model.text, "tests/fuzz/corpus/png/rgb");
    ck_assert_uint_eq(test_lines(test_out), 3);
    ck_assert_ptr_nonnull(strstr(test_out, " %  "));
    ck_assert_int_eq(test_run(program.text, plain.text, "tests/fuzz/corpus/png/rgb"), 1);
    test_expect_in(test_err, "has no normalisation");
#endif
    ck_assert_int_eq(test_run(program.text, model.text, "README.md"), 1);
    test_expect_in(test_err, "neither JPEG nor PNG");
    ck_assert_int_eq(test_run(program.text, "README.md", "README.md"), 1);
    test_expect_in(test_err, "classify: 'memory': not a safetensors file");
    ck_assert_int_eq(test_run(program.text, model.text, missing.text), 1);
    test_expect_in(test_err, "none.png");
    ck_assert_int_eq(test_run(program.text), 2);
}
END_TEST

START_TEST(test_threads)
{
    const test_path program = test_bin("threads"), model = make_model("pages.safetensors", 1);
    const test_path plain = make_model("plain.safetensors", 0);
    test_run_ok(program.text, model.text);
    ck_assert_str_eq(test_out, "32 frames in 4 threads\n");
    ck_assert_int_eq(test_run(program.text, plain.text), 1);
    test_expect_in(test_err, "has no normalisation");
}
END_TEST

START_TEST(test_own_data)
{
    const test_path program = test_bin("own_data"), model = test_in_dir("stripes.safetensors");
    test_run_ok(program.text, model.text);
    test_expect_in(test_out, "mean 0.599, deviation 0.212\n"); /* of its formula, in double */
    const char *accuracy = strstr(test_out, "test accuracy ");
    ck_assert_ptr_nonnull(accuracy);
    ck_assert_double_ge(strtod(accuracy + 14, NULL), 80);
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    test_ok(ctx, kd_model_load(ctx, model.text, NULL, &m));
    ck_assert(kd_model_height(m) == 24 && kd_model_width(m) == 48);
    ck_assert_str_eq(kd_model_class_names(m)[1], "columns");
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(test_run(program.text, "/none/here"), 1);
    test_expect_in(test_err, "/none/here: No such file");
}
END_TEST

/* Through at once; cut off at several moments and gone on with: the same network. */
START_TEST(test_loop)
{
    static char want[TEST_MAX_TEXT], got[TEST_MAX_TEXT];
    const test_path program = test_bin("loop"), whole = test_in_dir("whole.safetensors");
    const test_path cut = test_in_dir("cut.safetensors");
    const char *data = "synthetic:train=160,test=32";
    test_run_ok(program.text, data, whole.text);
    ck_assert_uint_eq(test_lines(test_out), 5);
    test_expect_in(test_out, "epoch 4: loss ");
    test_expect_in(test_out, "test accuracy ");
    unlink(cut.text);
    int stopped = 0;
    for (double patience = .02; patience < 60; patience *= 1.4) {
        char seconds[32];
        snprintf(seconds, sizeof seconds, "%.3f", patience);
        const int code = test_run(program.text, data, cut.text, seconds);
        if (code == 0) break;
        ck_assert_msg(code == 3, "%d: %s", code, test_err);
        test_expect_in(test_err, "the context was cancelled");
        stopped++;
    }
    ck_assert_int_ge(stopped, 1);
    const size_t size = test_slurp(whole.text, want);
    ck_assert_uint_eq(test_slurp(cut.text, got), size);
    ck_assert_mem_eq(want, got, size);
    ck_assert_int_eq(test_run(program.text, data, "README.md"), 1);
    test_expect_in(test_err, "README.md");
    ck_assert_int_eq(test_run(program.text, data), 2);
}
END_TEST

/* The head that learnt from kept features is the network's: loaded anew, the network has the accuracy
 * that was printed, the classes of the data, and the body that it had. */
START_TEST(test_features)
{
    static const char data[] = "synthetic:classes=4,image=32,train=300,test=100";
    const test_path program = test_bin("features"), out = test_in_dir("features.safetensors");
    const test_path model = make_model("pages.safetensors", 1);
    test_run_ok(program.text, model.text, data, out.text);
    ck_assert_uint_eq(test_lines(test_out), 4);
    const char *said = strstr(test_out, "300 pictures, 16 features each; test accuracy ");
    ck_assert_msg(said != NULL, "%s", test_out);
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *was, *is;
    kd_dataset *set;
    kd_eval_result r = {.struct_size = sizeof r};
    test_ok(ctx, kd_model_load(ctx, model.text, NULL, &was));
    test_ok(ctx, kd_model_load(ctx, out.text, NULL, &is));
    test_ok(ctx, kd_dataset_open(ctx, data, NULL, &set));
    test_ok(ctx, kd_evaluate(is, set, NULL, &r));
    ck_assert_double_eq_tol(strtod(strstr(said, "accuracy ") + 9, NULL), r.top1, .006);
    ck_assert_double_gt(r.top1,
                        35); /* of four classes, by the features of a network that knows none */
    ck_assert_str_eq(kd_model_class_names(is)[3], "class3");
    kd_params *a = kd_model_params(was), *b = kd_model_params(is);
    const kd_param_info *info = kd_params_find(a, "features.0.weight");
    float *x = kd_ctx_alloc(ctx, info->count, sizeof *x),
          *y = kd_ctx_alloc(ctx, info->count, sizeof *y);
    test_ok(ctx, kd_params_get(a, info, 0, x));
    test_ok(ctx, kd_params_get(b, kd_params_find(b, info->name), 0, y));
    ck_assert_mem_eq(x, y, info->count * sizeof *x);
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
    kd_dataset_close(set);
    kd_model_destroy(was);
    kd_model_destroy(is);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(test_run(program.text, "README.md", data, out.text), 1);
    test_expect_in(test_err, "features: 'README.md': not a safetensors file");
    ck_assert_int_eq(test_run(program.text, model.text, data), 2);
}
END_TEST

TEST_SUITE(pages, 90, &test_classify, &test_threads, &test_own_data, &test_loop, &test_features)
