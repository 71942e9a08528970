/* SPDX-License-Identifier: MIT
 * test_cli.c: the command `kd` as a user meets it: exit statuses, error texts, --json, what is
 * written, interruption and resume. Networks and data are tiny. */
#include "../spawn.h"

#include <kd/kd.h>

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DATA "synthetic:classes=4,image=16,train=256,test=96"
#define NET "vgg4_bn,width=0.125"
#define QUICK "--data", DATA, "--batch", "32", "--threads", "1", "--lr", "0.02"

static const char *kd(void)
{
    static test_path path;
    path = test_bin("kd");
    return path.text;
}

#define RUN(...) test_run(kd(), __VA_ARGS__)
#define RUN_OK(...) test_run_ok(kd(), __VA_ARGS__)

/* ---- JSON ------------------------------------------------------------------------------------ */

static kd_json_object *parse(kd_ctx *ctx, const char *text)
{
    kd_json_object *o;
    test_ok(ctx, kd_json_parse(ctx, text, strlen(text), &o));
    return o;
}

/* Standard output is one object, on one line, with these numbers. */
static kd_json_object *json_with(kd_ctx *ctx, const char *const *numbers)
{
    ck_assert_uint_eq(test_lines(test_out), 1);
    kd_json_object *o = parse(ctx, test_out);
    double x;
    for (; *numbers; numbers++)
        ck_assert_msg(kd_json_get_number(o, *numbers, &x), "no number %s in %s", *numbers,
                      test_out);
    return o;
}
#define JSON(ctx, ...) json_with(ctx, (const char *const[]){__VA_ARGS__, NULL})

static double number(const kd_json_object *o, const char *key)
{
    double x = NAN;
    ck_assert_msg(kd_json_get_number(o, key, &x), "no number %s", key);
    return x;
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void expect_same_files(kd_ctx *ctx, const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    test_ok(ctx, kd_file_read_all(ctx, a, 1 << 28, &x, &n));
    test_ok(ctx, kd_file_read_all(ctx, b, 1 << 28, &y, &m));
    ck_assert_uint_eq(n, m);
    ck_assert_msg(memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
}

/* A network of 4 classes on 16 x 16 pictures, from the seed. */
static void make_network(kd_ctx *ctx, const char *path, uint64_t seed)
{
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, NET ",classes=4,image=16", seed, &m));
    test_ok(ctx, kd_model_save(m, path));
    kd_model_destroy(m);
}

enum { PIXELS = 16 * 16, CHANNELS = 3, CLASSES = 4 };

static void make_batch(kd_ctx *ctx, const char *path, size_t n, int64_t last_label, bool teacher)
{
    kd_writer *w;
    float *x = kd_ctx_alloc(ctx, n * CHANNELS * PIXELS, sizeof *x);
    float *t = kd_ctx_alloc(ctx, n * CLASSES, sizeof *t);
    int64_t *labels = kd_ctx_alloc(ctx, n, sizeof *labels);
    const int64_t shape[] = {(int64_t)n, CHANNELS, 16, 16};
    const int64_t wide[] = {(int64_t)n, CLASSES};
    test_fill(x, n * CHANNELS * PIXELS, 5, 1);
    test_fill(t, n * CLASSES, 6, 3);
    for (size_t i = 0; i < n; i++) labels[i] = (int64_t)(i % CLASSES);
    labels[n - 1] = last_label;
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    kd_writer_tensor(w, "input", KD_F32, 4, shape, x);
    kd_writer_tensor(w, "labels", KD_I64, 1, shape, labels);
    if (teacher) kd_writer_tensor(w, "teacher_logits", KD_F32, 2, wide, t);
    test_ok(ctx, kd_writer_finish(w));
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, t);
    kd_ctx_free(ctx, labels);
}

/* A tensor of a file as floats; kd_ctx_free it. */
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

/* ---- help and usage -------------------------------------------------------------------------- */

START_TEST(test_help)
{
    static const char *const commands[] = {"models", "profile", "train", "distill", "finetune",
                                           "eval",   "predict", "step",  "inspect", "rerun"};
    RUN_OK("--help");
    static char list[TEST_MAX_TEXT], own[TEST_MAX_TEXT];
    memcpy(list, test_out, sizeof list);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        test_expect_in(list, commands[i]);
        RUN_OK(commands[i], "--help");
        ck_assert_str_eq(test_err, "");
        test_expect_in(test_out, commands[i]);
        test_expect_in(test_out, "--json");
        memcpy(own, test_out, sizeof own);
        RUN_OK("help", commands[i]);
        ck_assert_str_eq(own, test_out);
        for (const char *line = own; *line; line = strchr(line, '\n') + 1)
            ck_assert_msg(strcspn(line, "\n") <= 100, "a long line: %.120s", line);
    }
    RUN_OK("train", "--help");
    test_expect_in(test_out, "constant|step|cosine|onecycle");
    test_expect_in(test_out, "[128]");
    ck_assert_ptr_null(strstr(test_out, "--temperature"));
    RUN_OK("--version");
    test_expect_in(test_out, kd_version());
    test_expect_in(test_out, "isa=");
}
END_TEST

START_TEST(test_usage)
{
    static const struct {
        const char *words[8], *says;
    } cases[] = {
        {{NULL}, "a command is missing"},
        {{"trian"}, "did you mean train?"},
        {{"teach"}, "there is no command"},
        {{"--json", "models"}, "the command comes first"},
        {{"train"}, "SPEC is missing"},
        {{"train", "vgg8", "vgg9"}, "one word too many"},
        {{"train", "vgg8", "--epoch", "3"}, "did you mean --epochs?"},
        {{"train", "vgg8", "--zzzzzzzz"}, "there is no option --zzzzzzzz"},
        {{"train", "vgg8", "--temperature", "4"},
         "no option of this command, but of distill, finetune, step"},
        {{"train", "vgg8", "--weight_decay", "1"},
         "there is no option --weight_decay; did you mean --weight-decay?"},
        {{"train", "vgg8", "--Label_Smoothing", "1"}, "did you mean --label-smoothing?"},
        {{"train", "vgg8", "-epochs", "1"}, "did you mean --epochs?"},
        {{"train", "vgg8", "--batch-size", "1"}, "did you mean --batch?"},
        {{"train", "vgg8", "--epo", "1"}, "there is no option --epo; did you mean --epochs?"},
        {{"train", "vgg8", "--no-nestrov"}, "did you mean --no-nesterov?"},
        {{"train", "vgg8", "--no-decay-all"}, "there is no option --no-decay-all ("},
        {{"train", "vgg8", "--temp", "1"}, "there is no option --temp ("},
        {{"train", "vgg8", "--schedule", "cos"}, "onecycle; did you mean cosine?"},
        {{"train", "vgg8", "--schedule", "one-cycle"}, "did you mean onecycle?"},
        {{"train", "vgg8", "--optimizer", "Adam"}, "did you mean adamw?"},
        {{"train", "vgg8", "--optimizer", "rmsprop"}, "adamw (kd"},
        {{"eval", "f", "--split", "dve", "--dev-count", "3"}, "did you mean dev?"},
        {{"train", "vgg8", "--epochs"}, "--epochs needs a value"},
        {{"train", "vgg8", "--epochs", "--json"}, "--epochs needs a value"},
        {{"train", "vgg8", "--epochs", "3x"}, "--epochs 3x: it must be a whole number"},
        {{"train", "vgg8", "--epochs", "0"}, "--epochs 0: it must be from 1"},
        {{"train", "vgg8", "--epochs", "-1"}, "--epochs -1: it must be a whole number"},
        {{"train", "vgg8", "--epochs", "99999999999999999999"}, "it must be from 1 to 1000000000"},
        {{"train", "vgg8", "--lr", "0x1p3"}, "--lr 0x1p3: it must be a number"},
        {{"train", "vgg8", "--lr", "nan"}, "--lr nan: it must be a number"},
        {{"train", "vgg8", "--lr", " 1"}, "it must be a number"},
        {{"train", "vgg8", "--lr", "1e999"}, "it must be a number"},
        {{"train", "vgg8", "--lr", "0"}, "--lr 0: it must be above 0"},
        {{"train", "vgg8", "--momentum", "1.5"}, "--momentum 1.5: it must be at most 0.999999"},
        {{"train", "vgg8", "--image", "16385"}, "it must be from 1 to 16384"},
        {{"train", "vgg8", "--image", "0"}, "it must be from 1 to 16384"},
        {{"distill", "vgg8", "--teacher-image", "16385"}, "it must be from 1 to 16384"},
        {{"train", "vgg8", "--threads", "1025"}, "it must be from 0 to 1024"},
        {{"eval", "f", "--batch", "1000001"}, "it must be from 1 to 1000000"},
        {{"predict", "f", "g", "h", "--batch", "0"}, "it must be from 1 to 1000000"},
        {{"predict", "f", "g", "h", "--top", "1000001"}, "it must be from 1 to 1000000"},
        {{"profile", "vgg8", "--batch", "1000001"}, "it must be from 1 to 1000000"},
        {{"profile", "vgg8", "--seconds", "1000001"}, "it must be at most 1000000"},
        {{"profile", "vgg8", "--micro-batch", "1000001"}, "a whole number from 1 on, or auto"},
        {{"eval", "f", "--dev-count", "4294967296"}, "it must be from 0 to 4294967295"},
        {{"distill", "vgg8", "--teacher-weight", "1000001"}, "it must be at most 1000000"},
        {{"train", "vgg8", "--max-memory", "12Q"}, "--max-memory 12Q"},
        {{"train", "vgg8", "--schedule", "linear"}, "constant|step|cosine|onecycle"},
        {{"train", "vgg8", "--nesterov=1"}, "--nesterov takes no value"},
        {{"train", "vgg8", "--data="}, "it must not be empty"},
        {{"train", "vgg8", "--resume"}, "--resume: it needs --out"},
        {{"train", "vgg8", "--cache", "x"}, "--cache is no option of this command, but of distill"},
        {{"train", "vgg8", "--cash", "x"}, "there is no option --cash"},
        {{"distill", "vgg8"}, "--teacher FILE is missing"},
        {{"distill", "--teacher", "a", "b"}, "SPEC is missing"},
        {{"distill", "vgg8", "--teacher", "a", "--teacher-weight", "1", "2"}, "2 weights"},
        {{"distill", "vgg8", "--teacher=a", "--hard", "0", "--soft", "0"},
         "hard and soft are both zero"},
        {{"eval", "f", "--split", "dev"}, "needs --dev-count"},
        {{"eval", "f", "--dev-count", "5"}, "goes with --split dev"},
        {{"predict", "f", "g"}, "OUTPUT is missing"},
        {{"predict", ""}, "FILE is empty"},
        {{"help", "nothing"}, "there is no command"},
        {{"train", "vgg8", "--\033[31m"}, "\\x1b[31m"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *w = cases[i].words; /* a NULL ends them */
        const int status = RUN(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]);
        bool json = false; /* then the failure is an object, too */
        for (const char *const *word = w; *word; word++) json |= !strcmp(*word, "--json");
        ck_assert_msg(status == 2, "case %zu: exit status %d: %s", i, status, test_err);
        if (json)
            test_expect_in(test_out, "\"status\":2}");
        else
            ck_assert_str_eq(test_out, "");
        ck_assert_msg(test_lines(test_err) == 1, "not one line: %s", test_err);
        test_expect_in(test_err, cases[i].says);
        test_expect_in(test_err, "--help");
        ck_assert_msg(strncmp(test_err, "kd", 2) == 0, "%s", test_err);
        ck_assert_ptr_null(strchr(test_err, '\033'));
    }
}
END_TEST

START_TEST(test_failures)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path net = test_in_dir("f_net.safetensors");
    const test_path batch = test_in_dir("f_batch.safetensors");
    const test_path bad = test_in_dir("f_bad.safetensors");
    const test_path garbage = test_in_dir("f_garbage");
    const test_path deep = test_at(garbage.text, "below");
    const test_path jpeg = test_in_dir("f.jpg"), pipe = test_in_dir("f_pipe");
    const test_path out = test_in_dir("f_out");
    make_network(ctx, net.text, 1);
    make_batch(ctx, batch.text, 5, 0, false);
    make_batch(ctx, bad.text, 5, 4, false);
    test_ok(ctx, kd_file_write_atomic(ctx, garbage.text, "not a file of ours", 18));
    test_ok(ctx, kd_file_write_atomic(ctx, jpeg.text, "\xFF\xD8\xFF\xE0 and so on", 14));
    ck_assert_int_eq(mkfifo(pipe.text, 0600), 0);
    const struct {
        const char *words[8], *says;
    } cases[] = {
        {{"train", "vgg8_bm", "--data", DATA}, "vgg8_bm"},
        {{"train", "vgg8_bm", "--data", DATA}, "did you mean vgg8_bn?"},
        {{"train", "vgg8,depth=3", "--data", DATA}, "depth"},
        {{"train", "vgg8,image=8", "--data", DATA}, "image=8"},
        {{"train", "vgg8", "--data", "cifar-11"}, "cifar-11"},
        {{"train", "vgg8", "--data", "cifar10"}, "did you mean cifar-10?"},
        {{"train", "vgg8", "--data", "Fashion_MNIST"}, "did you mean fashion-mnist?"},
        {{"train", "vgg8", "--data", "./pictures"}, "a folder of pictures is folder:PATH"},
        {{"train", "vgg8", "--data", "cifar-10", "--data-dir", "/nowhere"}, "/nowhere"},
        {{"train", NET, "--data", DATA, "--augment", "twist"}, "twist"},
        {{"train", NET, "--data", DATA, "--out", deep.text}, "f_garbage"},
        {{"train", NET, "--data", DATA, "--max-memory", "100K"}, "102400"},
        {{"distill", NET, "--data", DATA, "--teacher", "/nowhere/t"}, "/nowhere/t"},
        {{"distill", NET, "--data", DATA, "--teacher", garbage.text}, "f_garbage"},
        {{"distill", NET, "--data", "synthetic:classes=5,image=16", "--teacher", net.text},
         "classes"},
        {{"eval", "/nowhere/f", "--data", DATA}, "/nowhere/f"},
        {{"eval", net.text, "--data", "synthetic:classes=9,image=16"}, "the data 9"},
        {{"eval", net.text, "--data", DATA, "--model", "vgg5_bn,width=0.125"}, "features"},
        {{"predict", net.text, batch.text, "/nowhere/o", "--model",
          "vgg4,width=0.125,classes=4,image=16"},
         "features"},
        {{"profile", "/nowhere/f"}, "/nowhere/f"},
        {{"profile", "vgg16bn"}, "did you mean vgg16_bn?"},
        {{"predict", net.text, garbage.text, "/nowhere/o"}, "f_garbage"},
        {{"predict", net.text, jpeg.text, out.text}, "JPEG"},
        {{"predict", net.text, pipe.text, "/nowhere/o"}, "f_pipe"},
        {{"predict", net.text, net.text, "/nowhere/o"}, "no tensor `input`"},
        {{"predict", net.text, batch.text, "/nowhere/o"}, "/nowhere/o"},
        {{"step", net.text, bad.text, "/nowhere/o"}, "label 4 is 4, the network has 4 classes"},
        {{"step", net.text, net.text, "/nowhere/o"}, "no tensor `input`"},
        {{"inspect", garbage.text}, "f_garbage"},
        {{"inspect", "/nowhere/f"}, "/nowhere/f"},
        {{"inspect", batch.text, "--model", NET ",classes=4,image=16"}, "features"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *w = cases[i].words; /* a NULL ends them */
        const int status = RUN(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]);
        ck_assert_msg(status == 1, "case %zu (%s %s): exit status %d: %s", i, cases[i].words[0],
                      cases[i].words[1], status, test_err);
        const char *last = test_err;
        for (const char *c = test_err; *c; c++)
            if (*c == '\n' && c[1]) last = c + 1;
        test_expect_in(last, cases[i].says);
        ck_assert_msg(strncmp(last, "kd: ", 4) == 0, "%s", test_err);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- commands -------------------------------------------------------------------------------- */

START_TEST(test_nan)
{
    const char *const net = "vgg4,width=0.125"; /* without batch norm it explodes at such a rate */
    ck_assert_int_eq(RUN("train", net, "--data", DATA, "--batch", "32", "--lr", "90000", "--epochs",
                         "3", "--threads", "1", "--quiet"),
                     1);
    test_expect_in(test_err, "step ");
    test_expect_in(test_err, "first in ");
    ck_assert_uint_eq(test_lines(test_err), 1);
    ck_assert_int_eq(RUN("train", net, "--data", DATA, "--batch", "32", "--lr", "90000", "--epochs",
                         "3", "--threads", "1", "--on-nan", "skip"),
                     1);
    test_expect_in(test_err, "is skipped: the loss is ");
    test_expect_in(test_err, " was skipped, ");
    /* the largest rate the command takes is none the library refuses */
    ck_assert_int_ne(RUN("train", net, "--data", DATA, "--batch", "32", "--lr", "1000000",
                         "--max-steps", "2", "--threads", "1", "--on-nan", "skip"),
                     2);
    ck_assert_int_eq(RUN("train", net, "--data", DATA, "--on-nan", "maybe"), 2);
}
END_TEST

START_TEST(test_models)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const char *name;
    RUN_OK("models");
    for (size_t i = 0; (name = kd_model_name_at(i)); i++) test_expect_in(test_out, name);
    RUN_OK("models", "--json");
    kd_json_object_destroy(parse(ctx, test_out));
    /* vgg16's convolutions have 14,714,688 parameters, its three dense layers 123,642,856 */
    test_expect_in(test_out, "\"name\":\"vgg16\"");
    ck_assert_ptr_nonnull(strstr(test_out, "\"params_224\":138357544"));
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_profile)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const char *spec = "vgg4_bn,classes=4,image=16,width=0.125";
    RUN_OK("profile", spec, "--json", "--seconds", "0.05", "--batch", "3");
    kd_json_object *o = JSON(ctx, "params", "macs", "weight_bytes", "arena_bytes",
                             "latency_ms_median", "latency_ms_p95");
    ck_assert(number(o, "weight_bytes") == 4 * number(o, "params"));
    ck_assert(number(o, "latency_ms_median") > 0);
    ck_assert(number(o, "latency_ms_p95") >= number(o, "latency_ms_median"));
    ck_assert(number(o, "batch") == 3);
    test_expect_in(kd_json_get_string(o, "spec"), "vgg4_bn,classes=4,image=16");
    kd_json_object_destroy(o);

    RUN_OK("profile", spec, "--train", "--json", "--seconds", "0.05", "--batch", "3", "--per-op");
    o = JSON(ctx, "arena_bytes", "latency_ms_median");
    const double small = number(o, "arena_bytes");
    test_expect_in(test_out, "\"op\":\"conv2d\"");
    test_expect_in(test_out, "\"backward\":true");
    kd_json_object_destroy(o);
    RUN_OK("profile", spec, "--train", "--json", "--seconds", "0.01", "--batch", "30");
    o = JSON(ctx, "arena_bytes");
    ck_assert(number(o, "arena_bytes") > small);
    kd_json_object_destroy(o);
    RUN_OK("profile", spec, "--per-op", "--seconds", "0.01");
    test_expect_in(test_out, "conv2d");
    test_expect_in(test_out, "GFLOP/s");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_predict)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    enum { N = 7 };
    const test_path net = test_in_dir("p_net.safetensors");
    const test_path batch = test_in_dir("p_batch.safetensors");
    const test_path output = test_in_dir("p_out.safetensors");
    make_network(ctx, net.text, 3);
    make_batch(ctx, batch.text, N, 0, false);
    RUN_OK("predict", net.text, batch.text, output.text, "--batch", "3", "--json");
    kd_json_object_destroy(JSON(ctx, "n", "classes", "seconds"));

    kd_model *m;
    float *planar = read_tensor(ctx, batch.text, "input", N * CHANNELS * PIXELS);
    float *logits = read_tensor(ctx, output.text, "logits", N * CLASSES);
    float *picture = kd_ctx_alloc(ctx, N * CHANNELS * PIXELS, sizeof *picture);
    float *ours = kd_ctx_alloc(ctx, N * CLASSES, sizeof *ours);
    for (size_t i = 0; i < N; i++)
        for (size_t c = 0; c < CHANNELS; c++)
            for (size_t p = 0; p < PIXELS; p++)
                picture[(i * PIXELS + p) * CHANNELS + c] = planar[(i * CHANNELS + c) * PIXELS + p];
    test_ok(ctx, kd_model_load(ctx, net.text, NULL, &m));
    test_ok(ctx, kd_model_predict(m, picture, N, 3, ours));
    /* KD_BIN_DIR may hold another build, and sums of another build may differ in their last bits */
    ck_assert_double_lt(test_distance(ours, logits, N * CLASSES), 1e-5);
    kd_model_destroy(m);
    kd_ctx_free(ctx, planar);
    kd_ctx_free(ctx, logits);
    kd_ctx_free(ctx, picture);
    kd_ctx_free(ctx, ours);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Mean of -log softmax at labels i % CLASSES. */
static double cross_entropy(const float *logits, size_t n)
{
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < CLASSES; k++) sum += exp((double)logits[i * CLASSES + k]);
        loss += log(sum) - (double)logits[i * CLASSES + i % CLASSES];
    }
    return loss / (double)n;
}

START_TEST(test_step)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    enum { N = 8, WEIGHTS = 8 * CHANNELS * 9 };
    const test_path net = test_in_dir("s_net.safetensors");
    const test_path batch = test_in_dir("s_batch.safetensors");
    const test_path output = test_in_dir("s_out.safetensors");
    make_network(ctx, net.text, 3);
    make_batch(ctx, batch.text, N, (N - 1) % CLASSES, false);
    RUN_OK("step", net.text, batch.text, output.text, "--lr", "0.25", "--momentum", "0",
           "--weight-decay", "0.5", "--json");
    kd_json_object *o = JSON(ctx, "loss", "n", "grad_norm");
    float *logits = read_tensor(ctx, output.text, "logits", N * CLASSES);
    float *loss = read_tensor(ctx, output.text, "loss", 1);
    ck_assert_double_eq_tol((double)loss[0], cross_entropy(logits, N), 1e-5);
    ck_assert_double_eq_tol((double)loss[0], number(o, "loss"), 1e-6);
    kd_json_object_destroy(o);
    float *before = read_tensor(ctx, net.text, "features.0.weight", WEIGHTS);
    float *grad = read_tensor(ctx, output.text, "grad.features.0.weight", WEIGHTS);
    float *after = read_tensor(ctx, output.text, "param.features.0.weight", WEIGHTS);
    for (size_t i = 0; i < WEIGHTS; i++)
        ck_assert_float_eq_tol(after[i], before[i] - .25f * (grad[i] + .5f * before[i]), 1e-6f);

    kd_file *f;
    int64_t seen;
    test_ok(ctx, kd_file_open(ctx, output.text, &f));
    const kd_file_tensor *t = kd_file_find(f, "buffer.features.1.num_batches_tracked");
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->dtype, KD_I64);
    test_ok(ctx, kd_file_read_i64(f, t, 0, 1, &seen));
    ck_assert_int_eq(seen, 1);
    ck_assert_ptr_nonnull(kd_file_find(f, "buffer.features.1.running_mean"));
    kd_file_close(f);

    /* --hard 1 --soft 0 with a teacher is plain training, --hard 0 is not */
    make_batch(ctx, batch.text, N, (N - 1) % CLASSES, true);
    RUN_OK("step", net.text, batch.text, output.text, "--hard", "1", "--soft", "0");
    float *plain = read_tensor(ctx, output.text, "loss", 1);
    ck_assert_float_eq_tol(plain[0], loss[0], 1e-6f);
    RUN_OK("step", net.text, batch.text, output.text, "--hard", "0", "--soft", "1", "--temperature",
           "4");
    float *soft = read_tensor(ctx, output.text, "loss", 1);
    ck_assert_float_gt(fabsf(soft[0] - loss[0]), 1e-3f);
    float *const all[] = {logits, loss, before, grad, after, plain, soft};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_ctx_free(ctx, all[i]);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_inspect)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_writer *w;
    const float x[3] = {1, NAN, INFINITY};
    const int64_t shape[] = {3};
    const test_path file = test_in_dir("hostile.safetensors");
    test_ok(ctx, kd_writer_create(ctx, file.text, &w));
    kd_writer_tensor(w, "\033[2Jname\n\xE2\x80\xAEtxt", KD_F32, 1, shape, x);
    kd_writer_metadata(w, "key\r", "\033]0;owned\a");
    test_ok(ctx, kd_writer_finish(w));
    RUN_OK("inspect", file.text);
    ck_assert_ptr_null(strchr(test_out, '\033'));
    ck_assert_ptr_null(strchr(test_out, '\a'));
    ck_assert_ptr_null(strchr(test_out, '\r'));
    ck_assert_ptr_null(strstr(test_out, "\xE2\x80\xAE"));
    test_expect_in(test_out, "\\x1b[2Jname\\x0a\\u202etxt");
    test_expect_in(test_out, "2 not finite");
    RUN_OK("inspect", file.text, "--json");
    kd_json_object *o = JSON(ctx, "bytes", "elements", "nonfinite");
    ck_assert(number(o, "nonfinite") == 2);
    kd_json_object_destroy(o);

    ck_assert_int_eq(truncate(file.text, 60), 0);
    ck_assert_int_eq(RUN("inspect", file.text), 1);
    ck_assert_uint_eq(test_lines(test_err), 1);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_full_disk)
{
    if (!exists("/dev/full")) return;
    ck_assert_int_eq(test_finish(test_start(TEST_WORDS(kd(), "models"), NULL, "/dev/full")), 1);
    test_expect_in(test_err, "standard output");
    ck_assert_int_eq(
        test_finish(test_start(TEST_WORDS(kd(), "train", "--help"), NULL, "/dev/full")), 1);
    test_expect_in(test_err, "standard output");
}
END_TEST

/* ---- runs ------------------------------------------------------------------------------------ */

START_TEST(test_round_trip)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char *text;
    size_t size;
    const test_path a = test_in_dir("made/for/a");
    const test_path model = test_at(a.text, "model.safetensors");
    RUN_OK("train", NET, QUICK, "--epochs", "3", "--out", a.text, "--json", "--seed", "7");
    kd_json_object *o = JSON(ctx, "top1", "loss", "seconds", "images_per_second", "epochs", "steps",
                             "train_loss", "peak_bytes");
    ck_assert(number(o, "epochs") == 3);
    ck_assert(number(o, "steps") == 24);
    const double top1 = number(o, "top1"), loss = number(o, "loss");
    kd_json_object_destroy(o);
    ck_assert_uint_ge(test_lines(test_err), 3); /* a line an epoch */

    RUN_OK("eval", model.text, "--data", DATA, "--json", "--threads", "1");
    o = JSON(ctx, "n", "top1", "loss", "ece");
    ck_assert(number(o, "n") == 96);
    ck_assert_double_eq_tol(number(o, "top1"), top1, 1e-9);
    ck_assert_double_eq_tol(number(o, "loss"), loss, 1e-6);
    kd_json_object_destroy(o);

    const test_path run_json = test_at(a.text, "run.json");
    test_ok(ctx, kd_file_read_all(ctx, run_json.text, 1 << 20, &text, &size));
    o = parse(ctx, text);
    ck_assert_str_eq(kd_json_get_string(o, "status"), "done");
    ck_assert_str_eq(kd_json_get_string(o, "version"), kd_version());
    ck_assert(number(o, "seed") == 7);
    static const char *const parts[] = {"\"options\"",           "\"weight_decay\": 0.0005",
                                        "\"machine\"",           "\"checksum\"",
                                        "\"momentum\": 0.9",     "\"result\"",
                                        "\"budget_seconds\": 0", "\"cores\""};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) test_expect_in(text, parts[i]);
    kd_json_object_destroy(o);
    kd_ctx_free(ctx, text);

    const test_path metrics = test_at(a.text, "metrics.jsonl");
    test_ok(ctx, kd_file_read_all(ctx, metrics.text, 1 << 20, &text, &size));
    ck_assert_uint_eq(test_lines(text), 3);
    kd_ctx_free(ctx, text);

    /* a run that is done stays as it is */
    const test_path copy = test_in_dir("copy.safetensors");
    test_ok(ctx, kd_file_read_all(ctx, model.text, 1 << 28, &text, &size));
    test_ok(ctx, kd_file_write_atomic(ctx, copy.text, text, size));
    kd_ctx_free(ctx, text);
    RUN_OK("train", NET, QUICK, "--epochs", "3", "--out", a.text, "--seed", "7", "--resume",
           "--quiet");
    ck_assert_str_eq(test_err, "");
    expect_same_files(ctx, model.text, copy.text);
    ck_assert_int_eq(
        RUN("train", NET, QUICK, "--epochs", "4", "--out", a.text, "--seed", "7", "--resume"), 1);
    test_expect_in(test_err, "epochs");

    test_ok(ctx, kd_file_read_all(ctx, run_json.text, 1 << 20, &text, &size));
    test_expect_in(text, "\"epochs\": 3,"); /* the refused run left no mark */
    kd_ctx_free(ctx, text);

    const test_path checkpoint = test_at(a.text, "checkpoint.safetensors");
    RUN_OK("inspect", checkpoint.text, "--json");
    o = JSON(ctx, "epoch", "step", "seed");
    ck_assert_str_eq(kd_json_get_string(o, "kind"), "checkpoint");
    ck_assert(number(o, "step") == 24);
    ck_assert(number(o, "seed") == 7);
    kd_json_object_destroy(o);
    RUN_OK("inspect", model.text);
    test_expect_in(test_out, "vgg4_bn");
    test_expect_in(test_out, "features.0.weight");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_distill_and_finetune)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char *text;
    size_t size;
    const test_path a = test_in_dir("teacher"), other = test_in_dir("other_teacher");
    const test_path b = test_in_dir("student");
    const test_path teacher = test_at(a.text, "model.safetensors");
    const test_path student = test_at(b.text, "model.safetensors");
    RUN_OK("train", NET, QUICK, "--epochs", "1", "--out", a.text, "--quiet");
    /* the spec may come after the teachers */
    RUN_OK("train", NET, QUICK, "--max-steps", "1", "--seed", "2", "--out", other.text, "--quiet");
    RUN_OK("distill", QUICK, "--epochs", "2", "--teacher", teacher.text, other.text,
           "vgg2,width=0.125", "--teacher-weight", "1", "3", "--out", b.text, "--json", "--quiet",
           "--temperature", "2", "--hard", "0");
    ck_assert_str_eq(test_err, "");
    kd_json_object *o = JSON(ctx, "top1", "loss", "seconds", "images_per_second", "epochs");
    kd_json_object_destroy(o);
    const test_path run_json = test_at(b.text, "run.json");
    test_ok(ctx, kd_file_read_all(ctx, run_json.text, 1 << 20, &text, &size));
    static const char *const parts[] = {
        "\"augment\": \"auto\"", "\"augmentation\": \"crop:4+flip\"",
        "\"teachers\"",          "\"temperature\": 2,",
        "\"hard\": 0,",          "\"soft\": 0.9,",
        "\"method\": \"kd\""};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) test_expect_in(text, parts[i]);
    kd_ctx_free(ctx, text);

    RUN_OK("eval", student.text, "--data", DATA, "--teacher", teacher.text, "--json");
    kd_json_object_destroy(JSON(ctx, "n", "top1", "agreement", "kl"));
    RUN_OK("eval", teacher.text, "--data", DATA, "--teacher", teacher.text, "--json", "--split",
           "dev", "--dev-count", "40");
    o = JSON(ctx, "n", "agreement", "kl");
    ck_assert(number(o, "n") == 40);
    ck_assert(number(o, "agreement") == 100);
    ck_assert_double_eq_tol(number(o, "kl"), 0, 1e-9);
    kd_json_object_destroy(o);

    RUN_OK("finetune", student.text, "--data", "synthetic:classes=6,image=16,train=64,test=32",
           "--epochs", "1", "--batch", "16", "--lr", "0.01", "--json", "--quiet");
    o = JSON(ctx, "top1");
    test_expect_in(kd_json_get_string(o, "spec"), "vgg2,classes=6");
    kd_json_object_destroy(o);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_dry_run)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path out = test_in_dir("dry");
    RUN_OK("train", NET, QUICK, "--epochs", "30", "--out", out.text, "--dry-run", "--json");
    kd_json_object *o = JSON(ctx, "steps", "params", "macs", "arena_bytes", "hours");
    ck_assert(number(o, "steps") == 240);
    ck_assert(number(o, "hours") > 0);
    ck_assert(!exists(out.text));
    kd_json_object_destroy(o);
    RUN_OK("train", NET, QUICK, "--epochs", "30", "--out", out.text, "--dry-run");
    test_expect_in(test_out, "nothing was written");
    ck_assert(!exists(out.text));
    kd_ctx_destroy(ctx);
}
END_TEST

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

START_TEST(test_interrupt)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    struct stat about;
    const test_path a = test_in_dir("whole");
    const test_path b = test_in_dir("cut");
    const test_path x = test_at(a.text, "model.safetensors");
    const test_path y = test_at(b.text, "model.safetensors");
    const test_path metrics = test_at(b.text, "metrics.jsonl");
    RUN_OK("train", NET, QUICK, "--epochs", "30", "--out", a.text, "--quiet", "--overwrite");
    const pid_t pid = test_start(
        TEST_WORDS(kd(), "train", NET, QUICK, "--epochs", "30", "--out", b.text, "--quiet"), NULL,
        NULL);
    for (int i = 0; i < 10000 && stat(metrics.text, &about); i++) nap(); /* one epoch is done */
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    ck_assert_int_eq(test_finish(pid), 130);
    test_expect_in(test_err, "interrupted");
    ck_assert_uint_eq(test_lines(test_err), 1);
    ck_assert(!exists(y.text));
    char *text;
    size_t size;
    const test_path run_json = test_at(b.text, "run.json");
    test_ok(ctx, kd_file_read_all(ctx, run_json.text, 1 << 20, &text, &size));
    test_expect_in(text, "\"status\": \"interrupted\"");
    kd_ctx_free(ctx, text);
    RUN_OK("train", NET, QUICK, "--epochs", "30", "--out", b.text, "--quiet", "--resume");
    expect_same_files(ctx, x.text, y.text);
    test_ok(ctx, kd_file_read_all(ctx, metrics.text, 1 << 20, &text, &size));
    ck_assert_uint_eq(test_lines(text), 30);
    kd_ctx_free(ctx, text);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(cli, 60, &test_help, &test_usage, &test_failures, &test_nan, &test_models, &test_profile,
           &test_predict, &test_step, &test_inspect, &test_full_disk, &test_round_trip,
           &test_distill_and_finetune, &test_dry_run, &test_interrupt)
