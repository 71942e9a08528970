/* SPDX-License-Identifier: MIT
 * test_cli_report.c: what kd report computes, on records that are written here by hand, is computed
 * again, otherwise: groups, what is compared with what, differences and their intervals, and which
 * runs count once. test_cli_report_page.c looks at the page. */
#include "page.h"
#include "records.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- what the last command printed as JSON --------------------------------------------------- */

static kd_json_object *said_json(kd_ctx *ctx)
{
    static char text[TEST_MAX_TEXT];
    kd_json_object *o;
    const size_t n = test_slurp(typed_at("said"), text);
    test_ok(ctx, kd_json_parse(ctx, text, n, &o));
    return o;
}

/* all[list][i] as an object. */
static kd_json_object *member(kd_ctx *ctx, const kd_json_object *all, const char *list, size_t i)
{
    kd_json_object *element, *inner;
    test_ok(ctx, kd_json_get_element(all, list, i, &element));
    test_ok(ctx, kd_json_get_object(element, "value", &inner));
    kd_json_object_destroy(element);
    return inner;
}

static double number(const kd_json_object *o, const char *key)
{
    double x;
    return kd_json_get_number(o, key, &x) ? x : (double)NAN;
}

static double element(kd_ctx *ctx, const kd_json_object *o, const char *list, size_t i)
{
    kd_json_object *e;
    test_ok(ctx, kd_json_get_element(o, list, i, &e));
    const double x = number(e, "value");
    kd_json_object_destroy(e);
    return x;
}

static void close_to(double a, double b)
{
    ck_assert_msg(fabs(a - b) <= 1e-9 * (1 + fabs(b)), "%.17g, not %.17g", a, b);
}

/* ---- the right numbers ----------------------------------------------------------------------- */

/* Two-sided, by the closed form for four degrees of freedom. */
static double p_of_t4(double t)
{
    const double u = t * t / 4, root = sqrt(1 + u);
    return 2 * (.5 - .375 * fabs(t) / root * (1 - t * t / (12 * (1 + u))));
}

typedef struct figures {
    double mean, deviation, low, high, p;
} figures;

static figures figures_of(const double *a, const double *b)
{
    const double t975 = 2.7764451051977987; /* of four degrees of freedom: tables */
    double sum = 0, squares = 0;
    figures f;
    for (int s = 0; s < SEEDS; s++) sum += a[s] - (b ? b[s] : 0);
    f.mean = sum / SEEDS;
    for (int s = 0; s < SEEDS; s++) {
        const double d = a[s] - (b ? b[s] : 0) - f.mean;
        squares += d * d;
    }
    f.deviation = sqrt(squares / (SEEDS - 1));
    const double error = f.deviation / sqrt((double)SEEDS);
    f.low = f.mean - t975 * error;
    f.high = f.mean + t975 * error;
    f.p = p_of_t4(f.mean / error);
    return f;
}

static void check_group(kd_ctx *ctx, const kd_json_object *all, size_t i, const char *label,
                        const double *top1)
{
    const figures f = figures_of(top1, NULL);
    kd_json_object *g = member(ctx, all, "groups", i);
    ck_assert_str_eq(kd_json_get_string(g, "label"), label);
    close_to(number(g, "mean"), f.mean);
    close_to(number(g, "deviation"), f.deviation);
    close_to(element(ctx, g, "interval", 0), f.low);
    close_to(element(ctx, g, "interval", 1), f.high);
    for (size_t s = 0; s < SEEDS; s++) close_to(element(ctx, g, "each", s), top1[s]);
    kd_json_object_destroy(g);
}

static void check_difference(kd_ctx *ctx, const kd_json_object *all, size_t i, const double *a,
                             double holm, const char *verdict)
{
    const figures f = figures_of(a, alone);
    kd_json_object *d = member(ctx, all, "differences", i);
    close_to(number(d, "mean"), f.mean);
    close_to(number(d, "deviation"), f.deviation);
    close_to(element(ctx, d, "interval", 0), f.low);
    close_to(element(ctx, d, "interval", 1), f.high);
    close_to(number(d, "p"), f.p);
    close_to(number(d, "p_holm"), holm);
    ck_assert_str_eq(kd_json_get_string(d, "verdict"), verdict);
    kd_json_object_destroy(d);
}

START_TEST(test_report_numbers)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    put_study("runs", SEEDS);
    typed(0, "report %s --json -o %s --latex %s", typed_at("runs"), typed_at("page.html"),
          typed_at("tables.tex"));
    kd_json_object *all = said_json(ctx);
    check_group(ctx, all, 0, "vgg8_bn alone", alone);
    check_group(ctx, all, 1, "vgg8_bn from vgg8_bn, temperature 4", warm);
    check_group(ctx, all, 2, "vgg8_bn from vgg8_bn, temperature 20", hot);
    const double small = figures_of(warm, alone).p, large = figures_of(hot, alone).p;
    ck_assert(small < large && 2 * small < large);
    check_difference(ctx, all, 0, warm, 2 * small, "better");
    check_difference(ctx, all, 1, hot, large, "not told from zero");
    const char *page = check_page("page.html");
    const figures f = figures_of(warm, alone);
    char cell[200];
    snprintf(cell, sizeof cell, "<td>%+.2f ± %.2f</td><td>%+.2f to %+.2f</td><td>5</td>", f.mean,
             f.deviation, f.low, f.high);
    ck_assert_msg(strstr(page, cell) != NULL, "%s", cell);
    snprintf(cell, sizeof cell, "$%+.2f$ $\\pm$ $%.2f$ & 5 & $%+.2f$ to $%+.2f$ & --", f.mean,
             f.deviation, f.low, f.high);
    typed_says("tables.tex", cell);
    typed_says("tables.tex", "vgg8\\_bn alone");
    kd_json_object_destroy(all);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The paired interval of the mean difference over pictures, from answers.txt. */
START_TEST(test_report_pictures)
{
    enum { PICTURES = 1000 };
    static const char sum[] = "0123456789abcdef";
    kd_ctx *ctx = test_ctx(1, NULL);
    static char right[2][2][PICTURES + 1], text[PICTURES + 40];
    char folder[100];
    double squares = 0, total = 0;
    for (int seed = 0; seed < 2; seed++)
        for (int taught = 0; taught < 2; taught++) {
            int n = 0;
            for (int i = 0; i < PICTURES; i++) {
                right[seed][taught][i] = (i * 7 + seed * 3 + taught * i * i) % 10 < 8 ? '1' : '0';
                n += right[seed][taught][i] == '1';
            }
            snprintf(folder, sizeof folder, "answers/%s-seed%d", taught ? "taught" : "alone", seed);
            const record x = {.folder = folder,
                              .seed = seed,
                              .top1 = n / 10.,
                              .teacher = taught ? "t" : NULL,
                              .more = "\"weights\": \"0123456789abcdef\","};
            put_record(&x);
            snprintf(text, sizeof text, "%s\n%s\n", sum, right[seed][taught]);
            put_file(folder, "answers.txt", text);
        }
    for (int i = 0; i < PICTURES; i++) {
        const double d = (right[0][1][i] - right[0][0][i] + right[1][1][i] - right[1][0][i]) / 2.;
        total += d;
        squares += d * d;
    }
    const double mean = total / PICTURES;
    const double half = 1.959963984540054 * sqrt(squares / PICTURES - mean * mean) / sqrt(PICTURES);
    typed(0, "report %s --json", typed_at("answers"));
    kd_json_object *all = said_json(ctx), *d = member(ctx, all, "differences", 0);
    close_to(element(ctx, d, "interval_pictures", 0), 100 * (mean - half));
    close_to(element(ctx, d, "interval_pictures", 1), 100 * (mean + half));
    ck_assert_str_eq(kd_json_get_string(d, "verdict"), "too few seeds");
    kd_json_object_destroy(d);
    kd_json_object_destroy(all);
    put_file("answers/alone-seed0", "answers.txt",
             "ffffffffffffffff\n10\n"); /* of another network */
    typed(0, "report %s --json", typed_at("answers"));
    all = said_json(ctx);
    d = member(ctx, all, "differences", 0);
    ck_assert(isnan(element(ctx, d, "interval_pictures", 0)));
    kd_json_object_destroy(d);
    kd_json_object_destroy(all);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- groups ---------------------------------------------------------------------------------- */

/* Elements of that list, of a report on the study. */
static size_t count_of(kd_ctx *ctx, const char *list, const char *options)
{
    size_t n = 0;
    typed(0, "report %s --json %s", typed_at("runs"), options);
    kd_json_object *all = said_json(ctx);
    ck_assert(kd_json_get_count(all, list, &n));
    kd_json_object_destroy(all);
    return n;
}

START_TEST(test_report_by)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    put_study("runs", SEEDS);
    ck_assert_uint_eq(count_of(ctx, "groups", ""), 3);
    ck_assert_uint_eq(count_of(ctx, "groups", "--by student"), 1);
    ck_assert_uint_eq(count_of(ctx, "groups", "--by student,teacher"), 2);
    ck_assert_uint_eq(count_of(ctx, "groups", "--by soft"), 2);
    ck_assert_uint_eq(count_of(ctx, "groups", "--by teacher,temperature"), 3);
    typed(0, "report %s --json --by teacher", typed_at("runs"));
    kd_json_object *all = said_json(ctx), *g = member(ctx, all, "groups", 0);
    if (element(ctx, g, "each", 0) == alone[0]) { /* runs of a seed are averaged first */
        kd_json_object_destroy(g);
        g = member(ctx, all, "groups", 1);
    }
    for (size_t s = 0; s < SEEDS; s++) close_to(element(ctx, g, "each", s), (warm[s] + hot[s]) / 2);
    kd_json_object_destroy(g);
    kd_json_object_destroy(all);
    const record other = {.folder = "pooled/nine-seed1", .spec = "vgg9_bn", .seed = 1, .top1 = 90};
    put_study("pooled", 2);
    put_record(&other);
    typed(0, "report %s --json --by teacher -o %s", typed_at("pooled"), typed_at("pooled.html"));
    typed_says("said", "\"differences\":[]"); /* two networks in a group: no control */
    test_expect_in(check_page("pooled.html"), "student " VGG ", vgg9_bn");
    typed(2, "report %s --json --by studnet", typed_at("runs"));
    typed_says("errors", "did you mean student?");
    typed(2, "report %s --json --by student,,teacher", typed_at("runs"));
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_report_against)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    put_study("runs", SEEDS);
    ck_assert_uint_eq(count_of(ctx, "differences", ""), 2);
    ck_assert_uint_eq(count_of(ctx, "differences", "--paired"), 3);
    ck_assert_uint_eq(count_of(ctx, "differences", "--against alone"), 2);
    ck_assert_uint_eq(count_of(ctx, "differences", "--against 2"), 2);
    ck_assert_uint_eq(count_of(ctx, "differences", "--against 'vgg8_bn alone'"), 2);
    typed(1, "report %s --json --against nobody", typed_at("runs"));
    typed_says("errors", "--against nobody");
    typed(2, "report %s --json --against alone --paired", typed_at("runs"));
    kd_ctx_destroy(ctx);
}
END_TEST

/* Fine-tuned networks are compared with their starts, by the start's own seed. */
START_TEST(test_report_starts)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char folder[100], start[100];
    put_study("tuned", 2);
    for (int s = 1; s <= 2; s++) {
        snprintf(folder, sizeof folder, "tuned/warm-tuned-seed%d", s);
        snprintf(start, sizeof start, "warm-seed%d", s);
        const record x = {.folder = folder, .seed = s, .top1 = warm[s - 1] + s, .start = start};
        put_record(&x);
    }
    typed(0, "report %s --json", typed_at("tuned"));
    kd_json_object *all = said_json(ctx), *d = member(ctx, all, "differences", 2);
    ck_assert_str_eq(kd_json_get_string(d, "which_is"), "what it started from");
    close_to(element(ctx, d, "each", 0), 1);
    close_to(element(ctx, d, "each", 1), 2);
    kd_json_object_destroy(d);
    kd_json_object_destroy(all);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The same run by two paths, and its copy, count once; another result of the same seed is said. */
START_TEST(test_report_twice)
{
    record x = {
        .folder = "twice/a", .seed = 1, .top1 = 50, .more = "\"weights\": \"0123456789abcdef\","};
    put_record(&x);
    x.folder = "twice/copy";
    put_record(&x);
    ck_assert(symlink("a", typed_at("twice/best")) == 0);
    ck_assert(symlink(".", typed_at("twice/loop")) == 0);
    typed(0, "report %s --json", typed_at("twice"));
    typed_says("said", "\"counted\":1,");
    typed_says("errors", "copy: it is the same network as a");
    x.folder = "twice/other";
    x.more = "\"weights\": \"fedcba9876543210\",";
    x.top1 = 52;
    put_record(&x);
    typed(0, "report %s --json", typed_at("twice"));
    typed_says("said", "\"each\":[51]");
    typed_says("errors", "averaged as one seed");
}
END_TEST

START_TEST(test_report_csv)
{
    static char text[TEST_MAX_TEXT];
    put_study("rows", 1);
    typed(0, "report %s --csv %s --by temperature", typed_at("rows"), typed_at("rows.csv"));
    test_slurp(typed_at("rows.csv"), text);
    ck_assert_uint_eq(test_lines(text), 4);
    test_expect_in(text, "group,label,run,status,seed,student,family,teacher,teacher_family,"
                         "teacher_run,start,data,by temperature,top1,top5,loss,");
    test_expect_in(text, ",alone-seed1,done,1,\"" VGG "\",CNN,,,,,made,,90.1,,0.5,");
    test_expect_in(text,
                   ",hot-seed1,done,1,\"" VGG "\",CNN,\"" VGG "\",CNN,teacher,,made,20,90.3,");
}
END_TEST

TEST_SUITE(cli_report, 120, &test_report_numbers, &test_report_pictures, &test_report_by,
           &test_report_against, &test_report_starts, &test_report_twice, &test_report_csv)
