/* SPDX-License-Identifier: MIT
 * test_cli_predict.c: kd predict and kd eval on picture files: classes by name, framing and
 * normalisation as in training, broken pictures, what is said of them. Shares of the classes are
 * computed here from the logits. */
#include "made.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if KDI_PNG

#define SPEC "vgg4_bn,width=0.0625,image=16,classes=3"
#define RUN(...) test_run(test_bin("kd").text, __VA_ARGS__)
#define RUN_OK(...) test_run_ok(test_bin("kd").text, __VA_ARGS__)

enum { SIDE = 16, CLASSES = 3 };
static const char *const names[CLASSES] = {"ant", "bee", "cat"};

static test_path picture(const char *name, size_t side, uint64_t seed)
{
    const test_path path = test_in_dir(name);
    made_picture(path.text, side, seed);
    return path;
}

static float *logits_of(kd_ctx *ctx, const test_path *out, size_t n)
{
    return made_read(ctx, out->text, "logits", n * CLASSES);
}

/* Of two files: the same bits? */
static bool same(kd_ctx *ctx, const test_path *a, const test_path *b, size_t n)
{
    float *x = logits_of(ctx, a, n), *y = logits_of(ctx, b, n);
    const bool equal = !memcmp(x, y, n * CLASSES * sizeof *x);
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
    return equal;
}

/* ---- a picture of the network's size --------------------------------------------------------- */

typedef struct answer {
    int label, class;
    double probability, loss;
} answer;

/* The line of sample id in the table of --predictions. */
static answer read_answer(const char *path, size_t id)
{
    static char text[TEST_MAX_TEXT];
    answer a = {-1, -1, NAN, NAN};
    test_slurp(path, text);
    for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        size_t at;
        char label[40], class[40];
        answer b;
        ck_assert_int_eq(sscanf(strchr(line, ','), ",%zu,%d,%39[^,],%d,%39[^,],%lf,%lf", &at,
                                &b.label, label, &b.class, class, &b.probability, &b.loss),
                         7);
        if (at == id) a = b;
    }
    ck_assert_int_ge(a.label, 0);
    return a;
}

/* The n-th number behind "key": in what was said. */
static double number(const char *key, size_t n)
{
    char word[40];
    snprintf(word, sizeof word, "\"%s\":", key);
    const char *at = test_out;
    for (size_t i = 0; i <= n; i++) {
        at = strstr(i ? at + 1 : at, word);
        ck_assert_msg(at != NULL, "no %s %zu in %s", key, i, test_out);
    }
    return strtod(at + strlen(word), NULL);
}

/* A set of synthetic pictures is written as PNG files; the network sees the same bytes in the set,
 * in a folder, and as single files. */
START_TEST(test_exact_size)
{
    enum { N = 6 };
    static const char data[] = "synthetic:classes=3,image=16,train=3,test=6,seed=2";
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *set;
    uint8_t pixels[SIDE * SIDE * 3];
    int32_t label;
    char name[80], folder[4300];
    test_path file[N];
    const test_path net = test_in_dir("e_net.safetensors"), root = test_in_dir("e_set");
    const test_path a = test_in_dir("e_a.csv"), b = test_in_dir("e_b.csv");
    const test_path out = test_in_dir("e_out"), other = test_in_dir("e_other");
    test_ok(ctx, kd_dataset_open(ctx, data, NULL, &set));
    made_network(ctx, net.text, 3,
                 &(made_about){.spec = SPEC,
                               .names = kd_dataset_info(set)->class_names,
                               .framing = "centre:0.875+bilinear",
                               .normalized = true});
    for (size_t i = 0; i < N; i++) { /* labels go round, so that a folder's order is known */
        test_ok(ctx, kd_dataset_sample(set, KD_SPLIT_TEST, i, pixels, &label));
        ck_assert_int_eq(label, (int)(i % CLASSES));
        snprintf(name, sizeof name, "e_set/val/%s/%zu.png",
                 kd_dataset_info(set)->class_names[label], i);
        file[i] = test_in_dir(name);
        made_png(file[i].text, SIDE, SIDE, 3, pixels);
    }
    snprintf(folder, sizeof folder, "folder:%s", root.text);
    RUN_OK("eval", net.text, "--data", data, "--predictions", a.text, "--batch", "6");
    RUN_OK("eval", net.text, "--data", folder, "--predictions", b.text, "--batch", "6");
    RUN_OK("predict", net.text, file[0].text, file[1].text, file[2].text, file[3].text,
           file[4].text, file[5].text, out.text, "--json");
    for (size_t i = 0; i < N; i++) {
        const answer x = read_answer(a.text, i);
        const answer y = read_answer(b.text, i % CLASSES * (N / CLASSES) + i / CLASSES);
        ck_assert_int_eq(x.label, y.label);
        ck_assert_int_eq(x.class, y.class);
        ck_assert_int_eq(x.class, (int)number("class", i));
        ck_assert_double_eq(x.probability, y.probability);
        ck_assert_double_eq_tol(x.probability, number("probability", i), 1e-8); /* 9 digits */
        ck_assert_double_eq(x.loss, y.loss);
    }
    static const char *const framings[] = {"none", "centre:0.5", "imagenet-eval+bicubic"};
    for (size_t i = 0; i < sizeof framings / sizeof *framings; i++) {
        RUN_OK("predict", net.text, file[0].text, file[1].text, file[2].text, file[3].text,
               file[4].text, file[5].text, other.text, "--augment", framings[i]);
        ck_assert_msg(same(ctx, &out, &other, N), "%s changes a picture of the size", framings[i]);
    }
    kd_dataset_close(set);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- framing and normalisation --------------------------------------------------------------- */

START_TEST(test_framing)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path framed = test_in_dir("f_framed"), plain = test_in_dir("f_plain");
    const test_path out = test_in_dir("f_out"), other = test_in_dir("f_other");
    const test_path large = picture("f_set/val/ant/0.png", 40, 1);
    picture("f_set/val/bee/0.png", 50, 2);
    picture("f_set/val/cat/0.png", 17, 3);
    made_about about = {.spec = SPEC, .names = names, .normalized = true};
    made_network(ctx, plain.text, 3, &about);
    about.framing = "centre:0.5";
    made_network(ctx, framed.text, 3, &about);
    static const struct {
        bool framed;
        const char *as;
        bool same;
    } cases[] = {{true, "centre:0.5", true},    {true, "centre:0.875+bilinear", false},
                 {true, "none", false},         {false, "centre:0.875+bilinear", true},
                 {false, "none", false},        {false, "centre:0.875+bicubic", false},
                 {false, "imagenet-eval", true}};
    char folder[4300];
    snprintf(folder, sizeof folder, "folder:%s", test_in_dir("f_set").text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *net = cases[i].framed ? framed.text : plain.text;
        RUN_OK("predict", net, large.text, out.text, "--json");
        test_expect_in(test_out,
                       cases[i].framed ? "\"framing\":\"centre:0.5" : "\"framing\":\"centre:0.875");
        RUN_OK("predict", net, large.text, other.text, "--augment", cases[i].as);
        ck_assert_msg(same(ctx, &out, &other, 1) == cases[i].same, "case %zu", i);
        RUN_OK("eval", net, "--data", folder, "--json");
        const double loss = number("loss", 0);
        RUN_OK("eval", net, "--data", folder, "--json", "--augment", cases[i].as);
        ck_assert_msg((loss == number("loss", 0)) == cases[i].same, "case %zu of eval", i);
    }
    RUN_OK("predict", plain.text, large.text, out.text, "--augment", "none");
    RUN_OK("predict", plain.text, large.text, other.text, "--augment", "centre:1");
    ck_assert(same(ctx, &out, &other, 1));
    ck_assert_int_eq(RUN("predict", plain.text, large.text, out.text, "--augment", "rrc"), 2);
    test_expect_in(test_err, "--augment: 'rrc' frames no picture");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_normalization)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    static const char says[] = "does not say how its pictures were normalised";
    const test_path net = test_in_dir("n_net"), knows = test_in_dir("n_knows");
    const test_path grey = test_in_dir("n_grey"), other = test_in_dir("n_other");
    const test_path out = test_in_dir("n_out"), same_out = test_in_dir("n_same");
    const test_path file = picture("n.png", 16, 1);
    made_about about = {.spec = SPEC, .names = names};
    made_network(ctx, net.text, 3, &about);
    about.normalized = true;
    about.data = "cifar-10";
    made_network(ctx, knows.text, 3, &about);
    about.spec = SPEC ",channels=1";
    made_network(ctx, grey.text, 3, &about);
    RUN_OK("predict", net.text, file.text, out.text);
    test_expect_in(test_err, says);
    test_expect_in(test_err,
                   "ImageNet's mean and deviation are taken, 0.485,0.456,0.406/0.229,0.224,0.225");
    test_expect_in(test_err, "--normalize says otherwise");
    RUN_OK("predict", net.text, file.text, same_out.text, "--normalize",
           "0.485,0.456,0.406/0.229,0.224,0.225", "--quiet");
    ck_assert_str_eq(test_err, "");
    ck_assert(same(ctx, &out, &same_out, 1));
    RUN_OK("predict", knows.text, file.text, out.text);
    ck_assert_str_eq(test_err, "");
    RUN_OK("predict", net.text, file.text, out.text, "--quiet");
    ck_assert_str_eq(test_err, "");
    static const char data[] = "synthetic:classes=3,image=16,train=9,test=9";
    RUN_OK("eval", net.text, "--data", data, "--any-classes");
    test_expect_in(test_err, says);
    test_expect_in(test_err, "the data's mean and deviation are taken");
    RUN_OK("eval", knows.text, "--data", data, "--any-classes", "--teacher", net.text);
    test_expect_in(test_err, "n_net does not say how");
    test_expect_in(test_err, "--teacher-normalize says otherwise");
    test_expect_in(test_err, "n_knows was trained on cifar-10, not on synthetic:");
    RUN_OK("eval", knows.text, "--data", data, "--any-classes", "--teacher", net.text, "--quiet",
           "--teacher-normalize", "0.5/0.5");
    ck_assert_str_eq(test_err, "");
    /* the very data: nothing is said; another set of that name: it is */
    kd_dataset *set;
    kd_model *m;
    uint64_t sum;
    test_ok(ctx, kd_dataset_open(ctx, data, NULL, &set));
    test_ok(ctx, kd_dataset_checksum(set, &sum));
    test_ok(ctx, kd_model_load(ctx, knows.text, NULL, &m));
    for (uint64_t off = 0; off < 2; off++) {
        test_ok(ctx, kd_model_set_data(m, data, sum + off));
        test_ok(ctx, kd_model_save(m, other.text));
        RUN_OK("eval", other.text, "--data", data, "--any-classes");
        ck_assert_int_eq(strstr(test_err, "was trained on another") != NULL, off > 0);
    }
    kd_model_destroy(m);
    kd_dataset_close(set);
    ck_assert_int_eq(RUN("predict", grey.text, file.text, out.text), 1);
    test_expect_in(test_err, "wants pictures of 1 channel; picture files are read in colour, of 3");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- the likeliest classes ------------------------------------------------------------------- */

static double share(const float *logits, size_t k)
{
    double sum = 0;
    for (size_t i = 0; i < CLASSES; i++) sum += exp((double)logits[i] - (double)logits[k]);
    return 1 / sum;
}

START_TEST(test_top)
{
    enum { N = 4 };
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    const char *key;
    static char want[20000], line[20000];
    const test_path net = test_in_dir("t_net"), bare = test_in_dir("t_bare"),
                    out = test_in_dir("t_out");
    const test_path file[N] = {picture("t0.png", 16, 1), picture("t,\"1.png", 16, 2),
                               picture("t2\xFF.png", 16, 3), picture("t3.png", 30, 4)};
    made_about about = {.spec = SPEC, .names = names, .normalized = true};
    made_network(ctx, net.text, 3, &about);
    about.names = NULL;
    made_network(ctx, bare.text, 3, &about);
    RUN_OK("predict", net.text, file[0].text, file[1].text, file[2].text, file[3].text, out.text,
           "--json", "--top", "9", "--batch", "3");
    float *logits = logits_of(ctx, &out, N);
    size_t first[N];
    for (size_t i = 0; i < N; i++) {
        const float *row = logits + i * CLASSES;
        double sum = 0;
        for (size_t r = 0; r < CLASSES; r++) {
            const size_t at = i * CLASSES + r, k = (size_t)number("class", at);
            const double p = number("probability", at);
            ck_assert_uint_lt(k, CLASSES);
            ck_assert_double_eq_tol(p, share(row, k), 1e-12);
            if (r) ck_assert_double_le(p, number("probability", at - 1));
            if (r == 0) first[i] = k;
            sum += p;
        }
        ck_assert_double_eq_tol(sum, 1, 1e-12); /* each class once */
        ck_assert_int_eq((int)number("row", i), (int)i);
    }
    /* the file says of itself what its rows are */
    test_ok(ctx, kd_file_open(ctx, out.text, &f));
    ck_assert_str_eq(kd_file_metadata_get(f, "libkd.kind"), "predictions");
    ck_assert_str_eq(kd_file_metadata_get(f, "libkd.classes"), "[\"ant\",\"bee\",\"cat\"]");
    key = kd_file_metadata_get(f, "libkd.files");
    snprintf(want, sizeof want, "[\"%s\",\"%s/t,\\\"1.png\",\"%s/t2\xEF\xBF\xBD.png\",\"%s\"]",
             file[0].text, test_dir(), test_dir(), file[3].text);
    ck_assert_str_eq(key, want);
    kd_file_close(f);
    /* as text: one line for each, by name where there are names */
    for (int named = 0; named < 2; named++) {
        RUN_OK("predict", named ? net.text : bare.text, file[0].text, file[3].text, out.text);
        ck_assert_uint_eq(test_lines(test_out), 3);
        for (size_t i = 0; i < N; i += 3) {
            char class[20];
            snprintf(class, sizeof class, "class %zu", first[i]);
            snprintf(line, sizeof line, "%8.2f %%  %-24s  %s\n",
                     100 * share(logits + i * CLASSES, first[i]), named ? names[first[i]] : class,
                     file[i].text);
            test_expect_in(test_out, line);
        }
    }
    kd_ctx_free(ctx, logits);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Of equal ones the first comes first; with --top a line for each of the N. */
START_TEST(test_ties)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path net = test_in_dir("q_net"), out = test_in_dir("q_out");
    const test_path file = picture("q.png", 16, 1);
    made_network(
        ctx, net.text, 3,
        &(made_about){.spec = SPEC, .names = names, .normalized = true, .undecided = true});
    RUN_OK("predict", net.text, file.text, out.text, "--top", "3", "--json");
    for (size_t k = 0; k < CLASSES; k++) {
        ck_assert_int_eq((int)number("class", k), (int)k);
        ck_assert_double_eq_tol(number("probability", k), 1. / 3, 1e-12);
    }
    RUN_OK("predict", net.text, file.text, out.text, "--top", "2");
    ck_assert_uint_eq(test_lines(test_out), 3);
    char want[9000];
    snprintf(want, sizeof want,
             "   33.33 %%  %-24s  %.4200s\n   33.33 %%  %-24s  %.4200s\n1 picture in ", names[0],
             file.text, names[1], file.text);
    test_expect_in(test_out, want);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_tensors)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_writer *w;
    enum { N = 2 };
    static float x[N * 3 * SIDE * SIDE];
    const int64_t shape[] = {N, 3, SIDE, SIDE};
    const test_path net = test_in_dir("x_net"), in = test_in_dir("x_in"),
                    out = test_in_dir("x_out");
    made_network(ctx, net.text, 3, &(made_about){.spec = SPEC, .names = names});
    test_fill(x, sizeof x / sizeof *x, 7, 2);
    for (int nan = 0; nan < 2; nan++) {
        if (nan) x[3 * SIDE * SIDE] = NAN;
        test_ok(ctx, kd_writer_create(ctx, in.text, &w));
        kd_writer_tensor(w, "input", KD_F32, 4, shape, x);
        test_ok(ctx, kd_writer_finish(w));
        RUN_OK("predict", net.text, in.text, out.text);
        ck_assert_uint_eq(test_lines(test_out), 1); /* thousands of rows are not listed unasked */
        ck_assert_int_eq(strstr(test_err, "logits of 1 of the 2 pictures are not finite") != NULL,
                         nan);
        RUN_OK("predict", net.text, in.text, out.text, "--top", "1");
        test_expect_in(test_out, "picture 0");
        ck_assert_ptr_null(strstr(test_out, "nan"));
        RUN_OK("predict", net.text, in.text, out.text, "--top", "2", "--json");
        ck_assert_ptr_null(strstr(test_out, "nan"));
        if (nan) test_expect_in(test_out, "\"row\":1,\"file\":null,\"read\":true,\"top\":[]");
    }
    /* pictures may be several; a file of tensors among them is named, wherever it stands */
    const test_path file = picture("x.png", 16, 1);
    for (int at = 0; at < 3; at++) {
        const char *inputs[3] = {file.text, file.text, file.text};
        inputs[at] = in.text;
        ck_assert_int_eq(RUN("predict", net.text, inputs[0], inputs[1], inputs[2], out.text), 1);
        test_expect_in(test_err, "x_in is no picture; only pictures may be several");
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- broken pictures ------------------------------------------------------------------------- */

START_TEST(test_broken)
{
    enum { N = 5 };
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path net = test_in_dir("b_net"), out = test_in_dir("b_out"),
                    alone = test_in_dir("b_alone");
    const test_path webp = test_in_dir("b.jpg"), empty = test_in_dir("b.png");
    const test_path good[2] = {picture("b0.png", 16, 1), picture("b1.png", 20, 2)};
    made_network(ctx, net.text, 3, &(made_about){.spec = SPEC, .names = names, .normalized = true});
    made_text(webp.text, "RIFF\x90\1\0\0WEBPVP8 \0\0\0\0", 20);
    made_text(empty.text, "", 0);
    ck_assert_int_eq(RUN("predict", net.text, good[0].text, webp.text, good[1].text, out.text), 1);
    test_expect_in(test_err, "b.jpg");
    test_expect_in(test_err, "WebP");
    static const char *const batches[] = {"1", "2", "128"};
    RUN_OK("predict", net.text, good[0].text, good[1].text, alone.text, "--batch", "1");
    float *want = logits_of(ctx, &alone, 2);
    for (size_t b = 0; b < 3; b++) { /* broken ones first, in the middle, last */
        RUN_OK("predict", net.text, webp.text, good[0].text, empty.text, good[1].text,
               "/nowhere/p.png", out.text, "--skip-broken", "--batch", batches[b], "--json");
        test_expect_in(test_err, "row 0, ");
        test_expect_in(test_err, "row 2, ");
        test_expect_in(test_err, "row 4, /nowhere/p.png, could not be read: its logits are NaN");
        ck_assert_int_eq((int)number("broken", 0), 3);
        ck_assert_int_eq((int)number("n", 0), N);
        test_expect_in(test_out, "\"read\":false,\"top\":[]");
        float *got = logits_of(ctx, &out, N);
        for (size_t i = 0; i < N; i++)
            for (size_t k = 0; k < CLASSES; k++) {
                if (i % 2 == 0)
                    ck_assert_float_nan(got[i * CLASSES + k]);
                else
                    ck_assert_float_eq_tol(got[i * CLASSES + k], want[i / 2 * CLASSES + k], 1e-4f);
            }
        kd_ctx_free(ctx, got);
    }
    RUN_OK("predict", net.text, webp.text, good[0].text, out.text, "--skip-broken");
    test_expect_in(test_out, "not read");
    test_expect_in(test_out, "1 picture in");
    ck_assert_int_eq(RUN("predict", net.text, webp.text, empty.text, out.text, "--skip-broken"), 1);
    test_expect_in(test_err, "no picture could be read");
    /* the last word is a picture: it is not written to */
    size_t before, after;
    char *x = made_bytes(ctx, good[1].text, &before);
    ck_assert_int_eq(RUN("predict", net.text, good[0].text, good[1].text), 2);
    test_expect_in(test_err, "OUTPUT is missing: the last word, ");
    char *y = made_bytes(ctx, good[1].text, &after);
    ck_assert(before == after && !memcmp(x, y, before));
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
    kd_ctx_free(ctx, want);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- classes of a folder --------------------------------------------------------------------- */

/* Of a folder's pictures the share whose class is that of the folder's name, by kd predict. */
static double right_by_name(const test_path *net, const test_path *out, const test_path *file,
                            const char *const *class, size_t n)
{
    size_t right = 0;
    for (size_t i = 0; i < n; i++) {
        char want[60];
        RUN_OK("predict", net->text, file[i].text, out->text, "--json");
        snprintf(want, sizeof want, "\"name\":\"%s\"", class[i]);
        right += strstr(test_out, want) != NULL;
    }
    return 100 * (double)right / (double)n;
}

START_TEST(test_eval_by_name)
{
    enum { N = 8 };
    kd_ctx *ctx = test_ctx(1, NULL);
    test_path file[N];
    const char *class[N];
    char name[60], folder[4300], below[4400];
    const test_path run = test_in_dir("c_run"), net = test_at(run.text, "model.safetensors");
    const test_path out = test_in_dir("c_out"), set = test_in_dir("c_set");
    test_ok(ctx, kd_folder_make(ctx, run.text));
    made_network(ctx, net.text, 3, &(made_about){.spec = SPEC, .names = names, .normalized = true});
    for (size_t i = 0; i < N; i++) { /* of three classes, the last two are here */
        class[i] = names[1 + i % 2];
        snprintf(name, sizeof name, "c_set/val/%s/%zu.png", class[i], i);
        file[i] = picture(name, 16, 20 + i);
    }
    const double right = right_by_name(&net, &out, file, class, N);
    snprintf(folder, sizeof folder, "folder:%s", set.text);
    snprintf(below, sizeof below, "%s/val", folder);
    const char *const datas[] = {folder, below};
    for (int i = 0; i < 2; i++) {
        RUN_OK("eval", run.text, "--data", datas[i], "--json"); /* the run's folder */
        ck_assert_double_eq_tol(number("top1", 0), right, 1e-9);
        test_expect_in(test_out, "\"top5\":null");
        test_expect_in(test_err, "2 of the network's 3 classes");
    }
    /* a class that the network lacks */
    picture("c_set/val/dog/0.png", 16, 1);
    ck_assert_int_eq(RUN("eval", run.text, "--data", folder), 1);
    test_expect_in(test_err, "'dog'");
    RUN_OK("eval", run.text, "--data", folder, "--any-classes");
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(cli_predict, 60, &test_exact_size, &test_framing, &test_normalization, &test_top,
           &test_ties, &test_tensors, &test_broken, &test_eval_by_name)
#else
START_TEST(test_no_png)
{
    ck_assert(!KDI_PNG);
}
END_TEST

TEST_SUITE(cli_predict, 60, &test_no_png)
#endif
