/* SPDX-License-Identifier: MIT
 * test_statistics.c: the programs' intervals and tests against published examples and against values
 * of SciPy 1.17, NumPy and statsmodels 0.14, written down here. */
#include "../test.h"

#include "../../examples/common/statistics.h"

#include <math.h>

static const double NONE = (double)NAN;

static void near(double x, double right)
{
    ck_assert_msg(fabs(x - right) <= 1e-9 * fabs(right) + 1e-15, "%.15g is not %.15g", x, right);
}

/* numpy.quantile(x, p, method="averaged_inverted_cdf") */
START_TEST(test_quantile)
{
    static const double p[] = {0, .05, .1, .25, .5, .73, .9, .95, 1};
    static const double of_10[] = {1, 1, 1.5, 3, 4.5, 7, 8.5, 9, 9};
    static const double of_7[] = {1, 1, 1, 3, 4, 8, 9, 9, 9};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) {
        double x[] = {7, 1, 3, 9, 4, 4, 8, 2, 6, 5}, y[] = {7, 1, 3, 9, 4, 4, 8};
        ck_assert_double_eq(stats_quantile(x, 10, p[i]), of_10[i]);
        ck_assert_double_eq(stats_quantile(y, 7, p[i]), of_7[i]);
    }
    double x[20], one = 3;
    for (int i = 0; i < 20; i++) x[i] = 20 - i;
    ck_assert_double_eq(stats_quantile(x, 20, .95), 19.5);
    ck_assert_double_eq(stats_quantile(x, 20, .1), 2.5);
    ck_assert_double_eq(stats_quantile(&one, 1, .5), 3);
    ck_assert_double_nan(stats_quantile(x, 0, .5));
}
END_TEST

/* scipy.stats.t.ppf, .cdf */
START_TEST(test_student)
{
    static const struct {
        double freedom, q975, q1;
    } q[] = {{1, 12.706204736174694, -3.0776835371752536},
             {2, 4.302652729749462, -1.8856180831641267},
             {3, 3.1824463052837078, -1.6377443536962089},
             {4, 2.7764451051977934, -1.5332062740589436},
             {9, 2.262157162798205, -1.3830287383966327},
             {15, 2.131449545559776, -1.3406056078504556},
             {30, 2.0422724563012378, -1.3104150253913955},
             {200, 1.9718962236339088, -1.285798793994801}};
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
        near(stats_t_quantile(.975, q[i].freedom), q[i].q975);
        near(stats_t_quantile(.1, q[i].freedom), q[i].q1);
    }
    near(stats_t_probability(2.5, 3), .9561466764959672);
    near(stats_t_probability(-1.2, 7), .1345859684136033);
    near(stats_t_probability(12, 2), .9965635331614208);
    near(stats_t_probability(.3, 200), .617755634905336);
    near(stats_t_probability(0, 5), .5);
    ck_assert_double_nan(stats_t_quantile(1, 5));
    ck_assert_double_nan(stats_t_quantile(NONE, 5));
}
END_TEST

/* scipy.stats.ttest_1samp and its confidence_interval; Student's own ten hours of sleep, 1908 */
START_TEST(test_seeds)
{
    static const struct {
        size_t n;
        double x[10], deviation, p, low, high;
    } t[] = {{3,
              {1.05, 1.08, .94},
              .07371114795832,
              .0017249876590416913,
              .8402246909136621,
              1.2064419757530043},
             {3,
              {.22, .47, .02},
              .2254624876411447,
              .21067247394133376,
              -.32341320146774355,
              .7967465348010769},
             {5,
              {-.96, -.67, -.70, -.80, -.75},
              .11414902540100812,
              .00010920088543358794,
              -.9177347352704788,
              -.6342652647295213},
             {10,
              {1.2, 2.4, 1.3, 1.3, 0, 1, 1.8, .8, 4.6, 1.4},
              1.229995483279873,
              .002832890197384273,
              .7001142367230174,
              2.4598857632769824}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        double mean, deviation;
        stats_mean(t[i].x, t[i].n, &mean, &deviation);
        const stats_interval ci = stats_t(mean, deviation, t[i].n);
        near(deviation, t[i].deviation);
        near(ci.low, t[i].low);
        near(ci.high, t[i].high);
        near(stats_t_test(mean, deviation, t[i].n), t[i].p);
    }
    double mean, deviation;
    stats_mean(t[0].x, 1, &mean, &deviation);
    ck_assert_double_eq(mean, 1.05);
    ck_assert_double_nan(deviation);
    ck_assert_double_nan(stats_t(1, NONE, 1).low);
    ck_assert_double_nan(stats_t_test(1, NONE, 1));
    ck_assert_double_eq(stats_t_test(1, 0, 3), 0);
    ck_assert_double_eq(stats_t_test(0, 0, 3), 1);
    stats_mean(NULL, 0, &mean, &deviation);
    ck_assert_double_nan(mean);
}
END_TEST

/* scipy.stats.binomtest(k, n).proportion_ci(.95, "wilson"); 81 of 263 is Newcombe's example, 1998 */
START_TEST(test_wilson)
{
    static const struct {
        double k;
        size_t n;
        double low, high;
    } w[] = {{0, 10, 0, .27753279986288926},
             {10, 10, .7224672001371109, 1},
             {81, 263, .2552885198782742, .36620957698280004},
             {9253, 10000, .9199822112763579, .9302911597095446},
             {1, 3, .06149194472039626, .7923403991979523}};
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) {
        const stats_interval ci = stats_wilson(w[i].k, w[i].n);
        near(ci.low, w[i].low);
        near(ci.high, w[i].high);
    }
    ck_assert_double_nan(stats_wilson(0, 0).low);
}
END_TEST

/* scipy.stats.binomtest(min(b, c), b + c, .5).pvalue; the interval by numpy from the expanded
 * differences. 150 and 86: Agresti's approval of a prime minister */
START_TEST(test_paired)
{
    static const struct {
        size_t b, c;
        double p;
    } m[] = {{1, 1, 1},
             {0, 5, .0625},
             {5, 0, .0625},
             {150, 86, 3.7159361395713866e-05},
             {2, 3, 1},
             {7, 20, .0191572904586792},
             {0, 0, 1},
             {300, 420, 8.807756168615114e-06},
             {59, 6, 4.964650327128616e-12},
             {5000, 5300, .003215819673645259}};
    for (size_t i = 0; i < sizeof m / sizeof *m; i++) near(stats_mcnemar(m[i].b, m[i].c), m[i].p);

    static const struct {
        double b, c;
        size_t n;
        double low, high;
    } p[] = {{70, 54, 300, -.019166693402734213, .12583336006940088},
             {900, 620, 10000, .02037838575477555, .035621614245224455},
             {3, 0, 50, -.005826784440248742, .12582678444024875}};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) {
        const stats_interval ci = stats_paired(p[i].b - p[i].c, p[i].b + p[i].c, p[i].n);
        near(ci.low, p[i].low);
        near(ci.high, p[i].high);
    }
    ck_assert_double_eq(stats_paired(4, 4, 4).low, 1); /* nothing varies */
    ck_assert_double_nan(stats_paired(0, 0, 0).low);
}
END_TEST

/* statsmodels.stats.multitest.multipletests(p, method="holm") */
START_TEST(test_holm)
{
    double a[] = {.01, .04, .03, .005}, b[] = {.2, .9, .6}, c[] = {.001, .001, .02, .02, .5};
    static const double right_a[] = {.03, .06, .06, .02}, right_b[] = {.6, 1, 1};
    static const double right_c[] = {.005, .005, .06, .06, .5};
    stats_holm(a, 4);
    stats_holm(b, 3);
    stats_holm(c, 5);
    for (int i = 0; i < 4; i++) near(a[i], right_a[i]);
    for (int i = 0; i < 3; i++) near(b[i], right_b[i]);
    for (int i = 0; i < 5; i++) near(c[i], right_c[i]);

    double d[] = {.04, NONE, .01}; /* what was not tested is no comparison */
    stats_holm(d, 3);
    near(d[0], .04);
    ck_assert_double_nan(d[1]);
    near(d[2], .02);
    stats_holm(d, 0);

    ck_assert_str_eq(stats_print_p(.0206807).text, "0.021");
    ck_assert_str_eq(stats_print_p(1).text, "1");
    ck_assert_str_eq(stats_print_p(0).text, "< 0.0001");
    ck_assert_str_eq(stats_print_p(NONE).text, "-");
}
END_TEST

TEST_SUITE(statistics, 30, &test_quantile, &test_student, &test_seeds, &test_wilson, &test_paired,
           &test_holm)
