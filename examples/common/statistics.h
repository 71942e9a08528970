/* SPDX-License-Identifier: MIT
 * statistics.h: quantiles, intervals and tests, each in one place for all programs. Intervals are
 * at 95 %; tests are two-sided. What cannot be said (no samples, one seed) is NAN.
 *
 *   which interval     of what                            what varies
 *   stats_wilson       one accuracy                       the pictures
 *   stats_paired       two networks, the same pictures    the pictures
 *   stats_t            runs with several seeds            the seeds */
#ifndef STATISTICS_H
#define STATISTICS_H

#include <stddef.h>

typedef struct stats_interval {
    double low, high;
} stats_interval;

/* The p-quantile, p in [0,1], of x [n], which is sorted in place: the smallest value that at least
 * p n values do not exceed, or the mean of it and the next if p n is whole; so the median is the
 * usual one. Definition 2 of Hyndman and Fan 1996, Sample Quantiles in Statistical Packages. */
double stats_quantile(double *x, size_t n, double p);

/* Mean and standard deviation (with n - 1; NAN for one) of x [n]. */
void stats_mean(const double *x, size_t n, double *mean, double *deviation);

/* ---- seeds ----------------------------------------------------------------------------------- */

/* Student's t with that many degrees of freedom, > 0: the probability of a value below t, and the t
 * below which a value is with probability p, in (0, 1). By the incomplete beta function, Abramowitz
 * and Stegun 26.5.27. */
double stats_t_probability(double t, double freedom);
double stats_t_quantile(double p, double freedom);

/* A mean over n seeds: mean -+ t_{n-1, .975} deviation / sqrt(n), and the test that it is zero
 * (Student 1908, The Probable Error of a Mean). NAN for fewer than two. A deviation of zero: p is 0,
 * or 1 for a mean of zero. */
stats_interval stats_t(double mean, double deviation, size_t n);
double stats_t_test(double mean, double deviation, size_t n);

/* ---- pictures -------------------------------------------------------------------------------- */

/* The share k / n of independent pictures, in [0, 1]: Wilson 1927, Probable Inference, the Law of
 * Succession, and Statistical Inference. */
stats_interval stats_wilson(double k, size_t n);

/* Two networks on the same n pictures. d is the difference of a picture: 1 if the first alone is
 * right, -1 if the second alone is, else 0; a mean of those over seeds. sum and squares are over
 * the pictures, so for one pair of networks, the first alone right on b and the second alone on c,
 * b - c and b + c. The interval of the mean, a difference of shares:
 *
 *   sum / n -+ 1.96 sqrt(squares - sum^2 / n) / n
 *
 * Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions, 13.1. */
stats_interval stats_paired(double sum, double squares, size_t n);

/* McNemar's test, exact: the chance that b + c tosses of a coin differ from half as much as b and c
 * do (McNemar 1947, Note on the Sampling Error of the Difference Between Correlated
 * Proportions). */
double stats_mcnemar(size_t b, size_t c);

/* ---- several comparisons --------------------------------------------------------------------- */

/* Replace p-values, p [n], by those that hold when all n are looked at: Holm 1979, A Simple
 * Sequentially Rejective Multiple Test Procedure. A NAN was not tested: it stays and counts for
 * nothing. */
void stats_holm(double *p, size_t n);

/* A p-value to print: "0.021", "< 0.0001", "-" for NAN. */
typedef struct stats_text {
    char text[16];
} stats_text;
stats_text stats_print_p(double p);

#endif
