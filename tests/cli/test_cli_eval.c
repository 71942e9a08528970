/* SPDX-License-Identifier: MIT
 * test_cli_eval.c: kd eval as a user meets it: what it prints, the tables it writes, several
 * networks compared, classes that do not match, networks that answer NaN. The tables' lines are
 * added up here, and must give what is printed. */
#include "../spawn.h"

#include "../../examples/common/statistics.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 7, N = 90 };
#define DATA "synthetic:classes=7,image=16,train=60,test=90"
#define NET "vgg2,width=0.125,image=16,classes="

#define RUN(...) test_run(test_bin("kd").text, "eval", __VA_ARGS__)
#define RUN_OK(...) test_run_ok(test_bin("kd").text, "eval", __VA_ARGS__)

/* A network whose answers differ: its last layer is large. bias: of class 0. */
static test_path make(const char *name, size_t classes, uint64_t seed, float bias,
                      const char *const *names)
{
    char spec[80];
    kd_model *m;
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path path = test_in_dir(name);
    snprintf(spec, sizeof spec, NET "%zu", classes);
    test_ok(ctx, kd_model_create(ctx, spec, seed, &m));
    kd_params *p = kd_model_params(m);
    const kd_param_info *weight = kd_params_find(p, "classifier.weight");
    const kd_param_info *head = kd_params_find(p, "classifier.bias");
    float *w = calloc(weight->count, sizeof *w), b[16] = {bias};
    ck_assert(w != NULL && classes <= 16);
    test_fill(w, weight->count, seed, 40);
    test_ok(ctx, kd_params_set(p, weight, w));
    test_ok(ctx, kd_params_set(p, head, b));
    if (names) test_ok(ctx, kd_model_set_class_names(m, names));
    test_ok(ctx, kd_model_save(m, path.text));
    free(w);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
    return path;
}

/* ---- what was written and printed ------------------------------------------------------------ */

/* The n-th number behind "key": in a JSON text, n from 0 (behind the n-th such key). */
static double number(const char *json, const char *key, size_t n)
{
    char word[60];
    snprintf(word, sizeof word, "\"%s\":", key);
    const char *at = json;
    for (size_t i = 0; i <= n; i++) {
        at = strstr(i ? at + 1 : at, word);
        ck_assert_msg(at != NULL, "no %s %zu in %s", key, i, json);
    }
    at += strlen(word);
    return strtod(at + (*at == '['), NULL);
}

typedef struct answer {
    int label, class;
    double probability, loss;
} answer;

/* A network's lines of --predictions, in order of id. */
static size_t read_answers(const char *path, const char *file, answer answers[N])
{
    static char text[TEST_MAX_TEXT];
    size_t n = 0;
    test_slurp(path, text);
    ck_assert(!strncmp(text, "file,id,label,label_name,class,class_name,probability,loss\n", 59));
    for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, file, strlen(file))) continue;
        size_t id;
        char label_name[40], class_name[40];
        answer *a = &answers[n];
        ck_assert_uint_lt(n, N);
        ck_assert_msg(sscanf(line + strlen(file), ",%zu,%d,%39[^,],%d,%39[^,],%lf,%lf", &id,
                             &a->label, label_name, &a->class, class_name, &a->probability,
                             &a->loss) == 7,
                      "%.200s", line);
        ck_assert_uint_eq(id, n++);
        ck_assert_int_eq(a->label, (int)(id % CLASSES)); /* as the synthetic pictures are */
    }
    return n;
}

static size_t right(const answer *a)
{
    size_t n = 0;
    for (size_t i = 0; i < N; i++) n += a[i].label == a[i].class;
    return n;
}

/* ---- one network ----------------------------------------------------------------------------- */

static void check_confusion(const char *path, const answer *a)
{
    static char text[TEST_MAX_TEXT];
    unsigned counts[CLASSES][CLASSES] = {{0}};
    test_slurp(path, text);
    ck_assert_uint_eq(test_lines(text), CLASSES + 1);
    for (size_t i = 0; i < N; i++) counts[a[i].label][a[i].class]++;
    char *line = text;
    for (size_t r = 0; r < CLASSES; r++) {
        line = strchr(line, '\n') + 1;
        char *cell = line;
        for (size_t c = 0; c < CLASSES; c++) {
            cell = strchr(cell, ',') + 1;
            ck_assert_uint_eq(strtoul(cell, NULL, 10), counts[r][c]);
        }
    }
}

START_TEST(test_one)
{
    char printed[80];
    answer a[N];
    double loss = 0, sums[15] = {0}, hits[15] = {0}, ece = 0;
    const test_path net = make("ev_net.safetensors", CLASSES, 3, 0, NULL);
    const test_path csv = test_in_dir("ev_one.csv"), confusion = test_in_dir("ev_confusion.csv");
    RUN_OK(net.text, "--data", DATA, "--predictions", csv.text, "--confusion", confusion.text,
           "--json");
    ck_assert_uint_eq(read_answers(csv.text, net.text, a), N);
    for (size_t i = 0; i < N; i++) {
        const int bin = (int)ceil(15 * a[i].probability) - 1;
        loss += a[i].loss / N;
        sums[bin] += a[i].probability;
        hits[bin] += a[i].label == a[i].class;
    }
    for (int b = 0; b < 15; b++) ece += 100 * fabs(hits[b] - sums[b]) / N;
    const double top1 = 100 * (double)right(a) / N;
    const stats_interval interval = stats_wilson((double)right(a), N);
    ck_assert(number(test_out, "n", 0) == N);
    ck_assert_double_eq_tol(number(test_out, "top1", 0), top1, 1e-9);
    ck_assert_double_eq_tol(number(test_out, "top1_interval", 0), 100 * interval.low, 1e-9);
    ck_assert_double_eq_tol(number(test_out, "loss", 0), loss, 1e-7);
    ck_assert_double_eq_tol(number(test_out, "ece", 0), ece, 1e-5);
    ck_assert(number(test_out, "top5", 0) > top1);
    check_confusion(confusion.text, a);

    RUN_OK(net.text, "--data", DATA, "--predictions", csv.text); /* over its own table */
    snprintf(printed, sizeof printed, "top-1       %.2f %%, 95 %% interval %.2f to %.2f", top1,
             100 * interval.low, 100 * interval.high);
    test_expect_in(test_out, printed);
    snprintf(printed, sizeof printed, "calibration %.2f %%", ece);
    test_expect_in(test_out, printed);
    test_expect_in(test_out, "top-5 ");
}
END_TEST

/* Of five classes all are among the five best: nothing was measured. */
START_TEST(test_few_classes)
{
    const test_path net = make("ev_five.safetensors", 5, 3, 0, NULL);
    RUN_OK(net.text, "--data", "synthetic:classes=5,image=16,train=60,test=30", "--json");
    test_expect_in(test_out, "\"top5\":null");
    RUN_OK(net.text, "--data", "synthetic:classes=5,image=16,train=60,test=30");
    ck_assert(!strstr(test_out, "top-5") && !strstr(test_out, "nan"));
}
END_TEST

/* ---- several --------------------------------------------------------------------------------- */

START_TEST(test_several)
{
    enum { NETS = 3 };
    static answer a[NETS][N];
    double p[NETS - 1];
    char printed[80];
    const test_path csv = test_in_dir("ev_several.csv");
    const test_path nets[NETS] = {make("ev_a.safetensors", CLASSES, 3, 0, NULL),
                                  make("ev_b.safetensors", CLASSES, 12, 0, NULL),
                                  make("ev_c.safetensors", CLASSES, 21, 0, NULL)};
    RUN_OK(nets[0].text, nets[1].text, nets[2].text, "--data", DATA, "--predictions", csv.text,
           "--json");
    for (size_t k = 0; k < NETS; k++) {
        ck_assert_uint_eq(read_answers(csv.text, nets[k].text, a[k]), N);
        ck_assert_double_eq_tol(number(test_out, "top1", k), 100 * (double)right(a[k]) / N, 1e-9);
    }
    for (size_t k = 1; k < NETS; k++) {
        size_t gained = 0, lost = 0;
        for (size_t i = 0; i < N; i++) {
            const bool first = a[0][i].label == a[0][i].class, own = a[k][i].label == a[k][i].class;
            gained += own && !first;
            lost += first && !own;
        }
        const double b = (double)gained, c = (double)lost;
        const double half = 1.959963984540054 * sqrt(b + c - (b - c) * (b - c) / N) / N;
        ck_assert(gained + lost > 0);
        ck_assert(number(test_out, "gained", k - 1) == b && number(test_out, "lost", k - 1) == c);
        ck_assert_double_eq_tol(number(test_out, "difference", k - 1), 100 * (b - c) / N, 1e-9);
        ck_assert_double_eq_tol(number(test_out, "interval", k - 1), 100 * ((b - c) / N - half),
                                1e-9);
        p[k - 1] = stats_mcnemar(gained, lost);
        ck_assert_double_eq_tol(number(test_out, "p", k - 1), p[k - 1], 1e-12);
    }
    const double most = fmax(p[0], p[1]), least = fmin(p[0], p[1]), twice = fmin(1, 2 * least);
    ck_assert_double_eq_tol(number(test_out, "p_holm", p[0] > p[1]), twice, 1e-12);
    ck_assert_double_eq_tol(number(test_out, "p_holm", p[0] <= p[1]), fmax(most, twice), 1e-12);

    RUN_OK(nets[0].text, nets[1].text, nets[2].text, "--data", DATA, "--teacher", nets[0].text);
    snprintf(printed, sizeof printed, "%8.2f ", 100 * (double)right(a[1]) / N);
    test_expect_in(test_out, printed);
    test_expect_in(test_out, "  100.00   0.0000  ");
    test_expect_in(test_out, "Holm's p");
    test_expect_in(test_out, "McNemar's exact test");
    ck_assert_int_eq(RUN(nets[0].text, nets[1].text, "--data", DATA, "--confusion", csv.text), 2);
    ck_assert_int_eq(RUN("--data", DATA), 2);
    test_expect_in(test_err, "FILE... is missing");
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

/* An output is never an input, nor any file that is not such a table. */
START_TEST(test_outputs)
{
    static char before[TEST_MAX_TEXT], after[TEST_MAX_TEXT];
    const test_path net = make("ev_kept.safetensors", CLASSES, 3, 0, NULL);
    const test_path csv = test_in_dir("ev_kept.csv");
    const size_t size = test_slurp(net.text, before);
    ck_assert_int_eq(RUN(net.text, "--data", DATA, "--predictions", net.text), 1);
    test_expect_in(test_err, "it would be destroyed");
    ck_assert_int_eq(RUN(net.text, "--data", DATA, "--confusion", net.text), 1);
    ck_assert(test_slurp(net.text, after) == size && !memcmp(before, after, size));
    RUN_OK(net.text, "--data", DATA, "--confusion", csv.text);
    ck_assert_int_eq(RUN(net.text, "--data", DATA, "--predictions", csv.text), 1);
    ck_assert_int_eq(
        RUN(net.text, "--data", DATA, "--predictions", csv.text, "--confusion", csv.text), 2);
    test_expect_in(test_err, "name the same file");
    RUN_OK(net.text, "--data", DATA, "--confusion", csv.text);
    ck_assert_int_eq(RUN(net.text, "--data", DATA, "--predictions", "/nowhere/x.csv"), 1);
}
END_TEST

START_TEST(test_classes)
{
    static const char *const names[] = {"ant, \"big\"", "bee", "cat", "dog", "eel", "fox", "gnu"};
    static char text[TEST_MAX_TEXT];
    const test_path net = make("ev_plain.safetensors", CLASSES, 3, 0, NULL);
    const test_path named = make("ev_named.safetensors", CLASSES, 3, 0, names);
    const test_path csv = test_in_dir("ev_names.csv");
#define FEW "synthetic:classes=3,image=16,train=60,test=30"
    ck_assert_int_eq(RUN(net.text, "--data", FEW), 1);
    test_expect_in(test_err, "--any-classes");
    RUN_OK(net.text, "--data", FEW, "--any-classes");
    ck_assert_int_eq(RUN(named.text, "--data", FEW), 1);
    RUN_OK(named.text, "--data", FEW, "--any-classes", "--confusion", csv.text);
    test_slurp(csv.text, text);
    test_expect_in(text, "label \\ class,\"ant, \"\"big\"\"\",bee,cat,");
}
END_TEST

START_TEST(test_not_finite)
{
    const test_path net = make("ev_good.safetensors", CLASSES, 3, 0, NULL);
    const test_path bad = make("ev_nan.safetensors", CLASSES, 4, NAN, NULL);
    ck_assert_int_eq(RUN(net.text, "--data", DATA, "--teacher", bad.text), 1);
    test_expect_in(test_err, "the teacher, vgg2,");
    test_expect_in(test_err, "teacher " /* and its file */);
    test_expect_in(test_err, "ev_nan.safetensors");
    ck_assert_str_eq(test_out, "");
    ck_assert_int_eq(RUN(bad.text, "--data", DATA, "--json"), 1);
    test_expect_in(test_err, "the network, vgg2,");
    test_expect_in(test_out, "{\"error\":\"the network, vgg2,");
    ck_assert_ptr_null(strstr(test_out, "top1"));
}
END_TEST

TEST_SUITE(cli_eval, 120, &test_one, &test_few_classes, &test_several, &test_outputs, &test_classes,
           &test_not_finite)
