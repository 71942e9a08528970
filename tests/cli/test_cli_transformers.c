/* SPDX-License-Identifier: MIT
 * test_cli_transformers.c: transformers from end to end by the command `kd`: DeiT distilled by a
 * CNN, a CNN by a ViT, one step against timm, the heads' logits, a teacher's own resolution and
 * normalisation, fine-tuning at another size, --min-lr. Networks and data are tiny. */
#include "../spawn.h"

#include "../model/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 4, SIDE = 16, SAMPLES = 256, PICTURE = 3 * SIDE * SIDE };
#define DATA "synthetic:classes=4,image=16,train=256,test=128"
#define VIT "patch=4,dim=48,depth=2,heads=3"
#define LEARN                                                                                      \
    "--data", DATA, "--batch", "16", "--augment", "none", "--optimizer", "adamw", "--lr", "3e-3",  \
        "--warmup", "1", "--schedule", "cosine", "--epochs", "12", "--threads", "1", "--json",     \
        "--quiet"
#define LEARN_CNN                                                                                  \
    "--data", DATA, "--batch", "32", "--augment", "none", "--lr", "0.05", "--epochs", "6",         \
        "--threads", "1", "--json", "--quiet"

static const char *kd(void)
{
    static test_path path;
    path = test_bin("kd");
    return path.text;
}

#define RUN_OK(...) test_run_ok(kd(), __VA_ARGS__)

static double number_in(kd_ctx *ctx, const char *json, size_t size, const char *key)
{
    kd_json_object *o;
    double x = NAN;
    test_ok(ctx, kd_json_parse(ctx, json, size, &o));
    ck_assert_msg(kd_json_get_number(o, key, &x), "no number %s in %.*s", key, (int)size, json);
    kd_json_object_destroy(o);
    return x;
}

/* Of what the last command printed. */
static double number(kd_ctx *ctx, const char *key)
{
    return number_in(ctx, test_out, strlen(test_out), key);
}

/* Of the last line of a run's metrics. */
static double last_metric(kd_ctx *ctx, const test_path *run, const char *key)
{
    static char text[TEST_MAX_TEXT];
    const test_path path = test_at(run->text, "metrics.jsonl");
    size_t end = test_slurp(path.text, text), begin;
    ck_assert_uint_gt(end, 1);
    for (begin = --end; begin > 0 && text[begin - 1] != '\n';) begin--;
    return number_in(ctx, text + begin, end - begin, key);
}

static float *read_tensor(kd_ctx *ctx, const char *path, const char *name, size_t count)
{
    kd_file *f;
    float *x = kd_ctx_alloc(ctx, count, sizeof *x);
    test_ok(ctx, kd_file_open(ctx, path, &f));
    const kd_file_tensor *t = kd_file_find(f, name);
    ck_assert_msg(t != NULL, "%s has no %s", path, name);
    ck_assert_uint_eq(t->count, count);
    test_ok(ctx, kd_file_read_f32(f, t, 0, count, x));
    kd_file_close(f);
    return x;
}

static size_t best(const float *row)
{
    size_t k = 0;
    for (size_t i = 1; i < CLASSES; i++)
        if (row[i] > row[k]) k = i;
    return k;
}

/* ---- a batch of the data, as a network sees it ----------------------------------------------- */

/* All training pictures of a set in order, [n,side,side,3] and labels [n]; kd_ctx_free both. */
static float *look(kd_ctx *ctx, const char *name, size_t n, kd_view view, int32_t **labels)
{
    kd_dataset *data;
    kd_loader *loader;
    const kd_batch *batch;
    const size_t size = n * view.height * view.width * 3;
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TRAIN,
                               .batch = n,
                               .augment = "none",
                               .n_views = 1,
                               .views = &view};
    test_ok(ctx, kd_dataset_open(ctx, name, NULL, &data));
    test_ok(ctx, kd_loader_create(data, &opt, &loader));
    test_ok(ctx, kd_loader_next(loader, &batch));
    ck_assert_uint_eq(batch->n, n);
    float *x = kd_ctx_alloc(ctx, size, sizeof *x);
    memcpy(x, batch->views[0], size * sizeof *x);
    *labels = kd_ctx_alloc(ctx, n, sizeof **labels);
    memcpy(*labels, batch->labels, n * sizeof **labels);
    kd_loader_close(loader);
    kd_dataset_close(data);
    return x;
}

/* The same as `input` of a file, [n,3,16,16]. */
static void write_input(kd_ctx *ctx, const char *path, const float *x)
{
    kd_writer *w;
    const int64_t shape[] = {SAMPLES, 3, SIDE, SIDE};
    float *planar = kd_ctx_alloc(ctx, SAMPLES, PICTURE * sizeof *planar);
    for (size_t i = 0; i < SAMPLES; i++)
        for (size_t p = 0; p < SIDE * SIDE; p++)
            for (size_t c = 0; c < 3; c++)
                planar[i * PICTURE + c * SIDE * SIDE + p] = x[i * PICTURE + p * 3 + c];
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, shape, planar));
    test_ok(ctx, kd_writer_finish(w));
    kd_ctx_free(ctx, planar);
}

/* ---- DeiT by a CNN --------------------------------------------------------------------------- */

/* Percent of the rows whose best class is that of other rows, or a label. */
static double agreement(const float *logits, const float *others, const int32_t *labels)
{
    size_t n = 0;
    for (size_t i = 0; i < SAMPLES; i++, logits += CLASSES)
        n += best(logits) == (labels ? (size_t)labels[i] : best(others + i * CLASSES));
    return 100.0 * (double)n / SAMPLES;
}

/* After hard distillation the class head knows the labels and the other one the teacher's answers;
 * predictions are their mean. */
static void check_heads(kd_ctx *ctx, const char *student, const char *teacher)
{
    const kd_view view = {SIDE, SIDE, 3, NULL, NULL};
    const size_t n = SAMPLES * CLASSES;
    const test_path in = test_in_dir("input.safetensors"), out = test_in_dir("logits.safetensors");
    int32_t *labels;
    float *x = look(ctx, DATA, SAMPLES, view, &labels);
    write_input(ctx, in.text, x);
    RUN_OK("predict", teacher, in.text, out.text, "--quiet");
    float *want = read_tensor(ctx, out.text, "logits", n);
    RUN_OK("predict", student, in.text, out.text, "--quiet");
    float *both = read_tensor(ctx, out.text, "logits", n);
    float *cls = read_tensor(ctx, out.text, "logits_cls", n);
    float *dist = read_tensor(ctx, out.text, "logits_dist", n);
    for (size_t i = 0; i < n; i++) ck_assert_float_eq_tol(both[i], (cls[i] + dist[i]) / 2, 1e-5f);
    ck_assert_double_gt(agreement(cls, NULL, labels), 92);
    ck_assert_double_gt(agreement(dist, want, NULL), 92);
    /* The teacher is wrong at times, and the distillation head with it. */
    ck_assert_double_lt(agreement(want, NULL, labels), 96);
    ck_assert_double_gt(agreement(dist, want, NULL), agreement(cls, want, NULL));
    RUN_OK("eval", student, "--data", DATA, "--split", "train", "--json");
    ck_assert_double_eq_tol(number(ctx, "top1"), agreement(both, NULL, labels), 1e-9);
    ck_assert_double_eq_tol(number(ctx, "top1_cls"), agreement(cls, NULL, labels), 1e-9);
    ck_assert_double_eq_tol(number(ctx, "top1_dist"), agreement(dist, NULL, labels), 1e-9);
    RUN_OK("eval", teacher, "--data", DATA, "--json");
    ck_assert_ptr_null(strstr(test_out, "top1_cls"));
    float *const all[] = {x, want, both, cls, dist};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_ctx_free(ctx, all[i]);
    kd_ctx_free(ctx, labels);
}

START_TEST(test_deit_from_cnn)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    static const char student[] = "deit_tiny_distilled_patch16_224," VIT;
    const test_path cnn = test_in_dir("cnn"), hard = test_in_dir("hard"),
                    soft = test_in_dir("soft");
    const test_path teacher = test_at(cnn.text, "model.safetensors");
    RUN_OK("train", "vgg4_bn,width=0.25", "--data", DATA, "--batch", "32", "--augment", "none",
           "--lr", "0.05", "--epochs", "3", "--threads", "1", "--out", cnn.text, "--quiet");
    RUN_OK("distill", student, "--teacher", teacher.text, "--method", "hard", "--min-lr", "1e-5",
           "--out", hard.text, LEARN);
    ck_assert_double_gt(number(ctx, "top1"), 60);
    /* the last of n steps is done at (n - 1) / n of the way down from 3e-3 */
    const double n = last_metric(ctx, &hard, "step"), pi = 3.14159265358979323846;
    ck_assert_double_eq_tol(last_metric(ctx, &hard, "lr"),
                            1e-5 + (3e-3 - 1e-5) * .5 * (1 + cos(pi * (n - 1) / n)), 1e-10);
    check_heads(ctx, test_at(hard.text, "model.safetensors").text, teacher.text);
    RUN_OK("distill", student, "--teacher", teacher.text, "--out", soft.text, LEARN);
    ck_assert_double_gt(number(ctx, "top1"), 60);
    ck_assert_double_lt(last_metric(ctx, &soft, "lr"), 1e-6);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- a CNN by a ViT -------------------------------------------------------------------------- */

START_TEST(test_cnn_from_vit)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path vit = test_in_dir("vit"), cnn = test_in_dir("cnn_from_vit");
    const test_path teacher = test_at(vit.text, "model.safetensors");
    RUN_OK("train", "vit_tiny_patch16_224," VIT, "--out", vit.text, LEARN);
    ck_assert_double_gt(number(ctx, "top1"), 60);
    RUN_OK("distill", "vgg4_bn,width=0.25", "--teacher", teacher.text, "--out", cnn.text,
           LEARN_CNN);
    ck_assert_double_gt(number(ctx, "top1"), 80);
    RUN_OK("eval", test_at(cnn.text, "model.safetensors").text, "--data", DATA, "--teacher",
           teacher.text, "--json");
    ck_assert_double_gt(number(ctx, "agreement"), 60);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Mean KL(teacher || student) at temperature 1. */
static double divergence(const float *t, const float *s, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++, t += CLASSES, s += CLASSES) {
        double of_t = 0, of_s = 0;
        for (size_t k = 0; k < CLASSES; k++) {
            of_t += exp((double)t[k]);
            of_s += exp((double)s[k]);
        }
        for (size_t k = 0; k < CLASSES; k++) {
            const double p = (double)t[k] - log(of_t), q = (double)s[k] - log(of_s);
            sum += exp(p) * (p - q);
        }
    }
    return sum / (double)n;
}

#define SMALL_DATA "synthetic:classes=4,image=16,train=16,test=8"

/* told: the normalisation, by the command; NULL: by the teacher's file. */
static void check_view(const char *told)
{
    enum { N = 16, LARGE = 24 };
    static const float mean[] = {.2f, .4f, .7f}, std[] = {.3f, .5f, .9f};
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path file = test_in_dir("made.safetensors"), run = test_in_dir("view");
    const kd_view plain = {SIDE, SIDE, 3, NULL, NULL}, large = {LARGE, LARGE, 3, mean, std};
    kd_model *teacher, *student;
    int32_t *labels, *labels_too;
    float t[N * CLASSES], s[N * CLASSES];
    test_ok(ctx, kd_model_create(ctx, "vit_tiny_patch16_224,image=16,classes=4," VIT, 5, &teacher));
    kd_params *params = kd_model_params(teacher);
    for (size_t i = 0; i < kd_params_flat_count(params); i++) kd_params_values(params)[i] *= 4;
    if (!told) test_ok(ctx, kd_model_set_normalization(teacher, mean, std));
    test_ok(ctx, kd_model_save(teacher, file.text));
    kd_model_destroy(teacher);
    test_ok(ctx, kd_model_load_as(
                     ctx, file.text,
                     &(kd_load_opt){.struct_size = sizeof(kd_load_opt), .change = "image=24"},
                     &teacher));
    test_ok(ctx, kd_model_create(ctx, "vgg4,width=0.25,image=16,classes=4", 3, &student));
    float *x = look(ctx, SMALL_DATA, N, large, &labels);
    test_ok(ctx, kd_model_predict(teacher, x, N, 0, t));
    float *y = look(ctx, SMALL_DATA, N, plain, &labels_too);
    test_ok(ctx, kd_model_predict(student, y, N, 0, s));
    RUN_OK("distill", "vgg4,width=0.25", "--data", SMALL_DATA, "--teacher", file.text,
           "--teacher-image", "24", "--hard", "0", "--soft", "1", "--temperature", "1", "--seed",
           "3", "--batch", "16", "--max-steps", "1", "--augment", "none", "--out", run.text,
           "--overwrite", "--quiet", told ? "--teacher-normalize" : NULL, told);
    const double want = divergence(t, s, N);
    ck_assert_double_gt(want, .01);
    ck_assert_double_eq_tol(last_metric(ctx, &run, "loss"), want, 1e-5 * want);
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
    kd_ctx_free(ctx, labels);
    kd_ctx_free(ctx, labels_too);
    kd_model_destroy(teacher);
    kd_model_destroy(student);
    kd_ctx_destroy(ctx);
}

/* The first step's loss is that of a teacher which sees pictures of its size, as it was trained to:
 * a ViT made for 16 pixels and a normalisation of its own, asked to look at 24. */
START_TEST(test_teachers_view)
{
    check_view(NULL);
    check_view("0.2,0.4,0.7/0.3,0.5,0.9");
}
END_TEST

/* A checkpoint knows the normalisation, too; without --normalize the file's holds. */
START_TEST(test_normalize)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path run = test_in_dir("normalized");
    const test_path files[] = {test_at(run.text, "model.safetensors"),
                               test_at(run.text, "checkpoint.safetensors")};
    RUN_OK("train", "vit_tiny_patch16_224," VIT, "--data", SMALL_DATA, "--normalize",
           "0.1/0.7,.5,1", "--epochs", "1", "--batch", "16", "--out", run.text, "--json",
           "--quiet");
    const double loss = number(ctx, "loss");
    for (int i = 0; i < 2; i++) {
        RUN_OK("eval", files[i].text, "--data", SMALL_DATA, "--json");
        ck_assert_double_eq_tol(number(ctx, "loss"), loss, 1e-6);
        RUN_OK("eval", files[i].text, "--data", SMALL_DATA, "--normalize", "0.5/0.25", "--json");
        ck_assert_double_gt(fabs(number(ctx, "loss") - loss), 1e-4);
    }
    static const char *const wrong[] = {"0.5",     "0.5/", "1,2/1", "a/b",   "1,2,3,4/1", "1/1/1",
                                        "1/1/2/3", "/",    ",/1",   "0x1/1", "nan/1",     "1/1,"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_int_eq(
            test_run(kd(), "eval", files[0].text, "--data", SMALL_DATA, "--normalize", wrong[i]),
            2);
        test_expect_in(test_err, "MEAN/STD");
    }
    ck_assert_int_eq(
        test_run(kd(), "eval", files[0].text, "--data", SMALL_DATA, "--normalize", "1/0"), 1);
    ck_assert_int_eq(test_run(kd(), "train", "vit_tiny_patch16_224," VIT, "--data", SMALL_DATA,
                              "--normalize", "0.1/0.6", "--epochs", "1", "--batch", "16", "--out",
                              run.text, "--resume"),
                     1);
    test_expect_in(test_err, "normalization_hash");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- one step -------------------------------------------------------------------------------- */

/* kd step on timm's distilled DeiT: loss and gradients (tests/golden/timm_models.py). */
START_TEST(test_step)
{
    kd_ctx *ctx = test_ctx(0, NULL);
    kd_writer *w;
    char net[GOLDEN_PATH];
    golden file = golden_open(ctx, "deit_distilled.safetensors");
    golden expected = golden_open(ctx, "deit_case_expected.safetensors");
    golden_worst worst = {.tolerance = 1e-5};
    const test_path batch = test_in_dir("batch.safetensors"), out = test_in_dir("out.safetensors");
    const kd_file_tensor *input = golden_find(&expected, "input");
    const kd_file_tensor *labels = golden_find(&expected, "labels");
    const kd_file_tensor *teacher = golden_find(&file, "teacher_logits");
    float *x = golden_floats(&expected, input), *t = golden_floats(&file, teacher);
    int64_t wide[64];
    test_ok(ctx, kd_file_read_i64(expected.file, labels, 0, labels->count, wide));
    test_ok(ctx, kd_writer_create(ctx, batch.text, &w));
    kd_writer_tensor(w, "input", KD_F32, 4, input->shape, x);
    kd_writer_tensor(w, "labels", KD_I64, 1, labels->shape, wide);
    kd_writer_tensor(w, "teacher_logits", KD_F32, 2, teacher->shape, t);
    test_ok(ctx, kd_writer_finish(w));
    golden_path(net, "deit_case.safetensors");
    RUN_OK("step", net, batch.text, out.text, "--model",
           kd_file_metadata_get(expected.file, "spec"), "--method", "hard", "--lr", "1e-9");
    golden got = {ctx, NULL};
    test_ok(ctx, kd_file_open(ctx, out.text, &got.file));
    for (size_t i = 0; i < kd_file_count(file.file); i++) {
        const kd_file_tensor *want = kd_file_at(file.file, i);
        if (strncmp(want->name, "hard.", 5)) continue;
        const kd_file_tensor *ours = golden_find(&got, "%s", want->name + 5);
        ck_assert_msg(ours != NULL, "no %s", want->name + 5);
        float *a = golden_floats(&got, ours), *b = golden_floats(&file, want);
        golden_compare(&worst, "kd step", want->name, a, b, want->count);
        free(a);
        free(b);
    }
    ck_assert_uint_eq(worst.compared, 48); /* the loss and 47 gradients */
    golden_close(&got);
    golden_close(&file);
    golden_close(&expected);
    free(x);
    free(t);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- fine-tuning at another size ------------------------------------------------------------- */

/* A step that changes nothing: what was read, at the other size, with a new head. */
static void check_finetune(const char *spec, const char *position)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path file = test_in_dir("small.safetensors"), run = test_in_dir("tuned");
    const test_path tuned = test_at(run.text, "model.safetensors");
    kd_model *small, *large, *result;
    test_ok(ctx, kd_model_create(ctx, spec, 7, &small));
    test_ok(ctx, kd_model_save(small, file.text));
    test_ok(ctx, kd_model_load_as(ctx, file.text,
                                  &(kd_load_opt){.struct_size = sizeof(kd_load_opt),
                                                 .change = "image=64,classes=6",
                                                 .seed = 2},
                                  &large));
    RUN_OK("finetune", file.text, "--image", "64", "--data",
           "synthetic:classes=6,image=32,train=8,test=8", "--batch", "8", "--max-steps", "1",
           "--lr", "1e-30", "--optimizer", "sgd", "--momentum", "0", "--weight-decay", "0",
           "--seed", "2", "--out", run.text, "--overwrite", "--json", "--quiet");
    test_ok(ctx, kd_model_load(ctx, tuned.text, NULL, &result));
    ck_assert_str_eq(kd_model_spec(result), kd_model_spec(large));
    ck_assert_uint_eq(kd_model_image(result), 64);
    ck_assert_uint_eq(kd_model_classes(result), 6);
    const size_t n = kd_params_flat_count(kd_model_params(large));
    ck_assert_uint_eq(n, kd_params_flat_count(kd_model_params(result)));
    const float *a = kd_params_values(kd_model_params(large));
    const float *b = kd_params_values(kd_model_params(result));
    for (size_t i = 0; i < n; i++) ck_assert_float_eq_tol(a[i], b[i], 1e-12f);
    ck_assert_uint_gt(kd_params_find(kd_model_params(large), position)->count,
                      kd_params_find(kd_model_params(small), position)->count);
    /* The file knows its size. */
    RUN_OK("eval", tuned.text, "--data", "synthetic:classes=6,image=32,train=8,test=8", "--json");
    ck_assert_double_eq(number(ctx, "n"), 8);
    /* At the old size, with the old classes: and back. */
    RUN_OK("finetune", tuned.text, "--image", "16", "--data", DATA, "--batch", "16", "--max-steps",
           "2", "--lr", "0.01", "--json", "--quiet");
    ck_assert_double_eq(number(ctx, "steps"), 2);
    kd_model_destroy(small);
    kd_model_destroy(large);
    kd_model_destroy(result);
    kd_ctx_destroy(ctx);
}

START_TEST(test_finetune)
{
    check_finetune("vit_tiny_patch16_224,image=16,classes=4," VIT, "pos_embed");
    check_finetune("deit_tiny_distilled_patch16_224,image=16,classes=4," VIT, "pos_embed");
    check_finetune("swin_tiny_patch4_window7_224,image=16,classes=4,dim=12,depth=2-1,heads=2-3",
                   "layers.0.blocks.1.attn.relative_position_bias_table");
}
END_TEST

/* A picture that patches do not divide, and a network whose head does not fit: refused in words. */
START_TEST(test_refused)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    const test_path file = test_in_dir("refused.safetensors");
    test_ok(ctx, kd_model_create(ctx, "vit_tiny_patch16_224,image=16,classes=4," VIT, 7, &m));
    test_ok(ctx, kd_model_save(m, file.text));
    kd_model_destroy(m);
    ck_assert_int_eq(test_run(kd(), "finetune", file.text, "--image", "30", "--data", DATA), 1);
    test_expect_in(test_err, "must be a multiple of the patch's");
    ck_assert_int_eq(test_run(kd(), "distill", "vgg4,width=0.25", "--teacher", file.text, "--data",
                              "synthetic:classes=5,image=16,train=16,test=8"),
                     1);
    test_expect_in(test_err, "has 4 classes, the student 5");
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(cli_transformers, 60, &test_deit_from_cnn, &test_cnn_from_vit, &test_teachers_view,
           &test_normalize, &test_step, &test_finetune, &test_refused)
