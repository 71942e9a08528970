/* SPDX-License-Identifier: MIT
 * statistics.c: see statistics.h, which names the sources. */
#include "statistics.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static const double NORMAL = 1.959963984540054; /* the .975 quantile of the normal distribution */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double stats_quantile(double *x, size_t n, double p)
{
    if (!n) return (double)NAN;
    qsort(x, n, sizeof *x, ascending);
    const double at = p * (double)n, whole = round(at);
    /* p and n are rounded: p n counts as whole if it is so within their error */
    const bool between = fabs(at - whole) <= 1e-12 * (double)n;
    const double rank = between ? whole : ceil(at); /* from 1 */
    const size_t last = n - 1;
    const size_t lower = rank < 1 ? 0 : (size_t)rank - 1;
    if (!between || rank < 1) return x[lower < last ? lower : last];
    return .5 * (x[lower < last ? lower : last] + x[lower < last ? lower + 1 : last]);
}

void stats_mean(const double *x, size_t n, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    *mean = n ? sum / (double)n : (double)NAN;
    for (size_t i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
    *deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : (double)NAN;
}

/* ---- the incomplete beta function ------------------------------------------------------------ */

/* The continued fraction of I_x(a, b), DLMF 8.17.22, by Lentz's method. */
static double beta_fraction(double a, double b, double x)
{
    enum { STEPS = 100000 };
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double f = d;
    for (int m = 1; m < STEPS; m++) {
        double change = 1;
        for (int odd = 0; odd < 2; odd++) {
            const double k = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                                 : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + k * d;
            c = 1 + k / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            change = c * d;
            f *= change;
        }
        if (fabs(change - 1) < DBL_EPSILON) break;
    }
    return f;
}

/* The regularised incomplete beta function I_x(a, b). */
static double beta(double a, double b, double x)
{
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                     : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

/* ---- seeds ----------------------------------------------------------------------------------- */

/* The probability of a value that is further from zero than t, on one side. */
static double tail(double t, double freedom)
{
    return .5 * beta(.5 * freedom, .5, freedom / (freedom + t * t));
}

double stats_t_probability(double t, double freedom)
{
    return t > 0 ? 1 - tail(t, freedom) : tail(t, freedom);
}

double stats_t_quantile(double p, double freedom)
{
    double low = -1, high = 1;
    if (!(p > 0 && p < 1)) return (double)NAN;
    while (stats_t_probability(low, freedom) > p) low *= 2;
    while (stats_t_probability(high, freedom) < p) high *= 2;
    for (int i = 0; i < 200; i++) {
        const double middle = .5 * (low + high);
        if (stats_t_probability(middle, freedom) < p)
            low = middle;
        else
            high = middle;
    }
    return .5 * (low + high);
}

stats_interval stats_t(double mean, double deviation, size_t n)
{
    if (n < 2) return (stats_interval){(double)NAN, (double)NAN};
    const double half = stats_t_quantile(.975, (double)(n - 1)) * deviation / sqrt((double)n);
    return (stats_interval){mean - half, mean + half};
}

double stats_t_test(double mean, double deviation, size_t n)
{
    if (n < 2) return (double)NAN;
    if (deviation == 0) return mean == 0 ? 1 : 0;
    return 2 * tail(mean / (deviation / sqrt((double)n)), (double)(n - 1));
}

/* ---- pictures -------------------------------------------------------------------------------- */

stats_interval stats_wilson(double k, size_t n)
{
    const double z = NORMAL, count = (double)n;
    if (!n) return (stats_interval){(double)NAN, (double)NAN};
    const double p = k / count, scale = 1 + z * z / count;
    const double centre = (p + z * z / (2 * count)) / scale;
    const double half = z * sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / scale;
    return (stats_interval){centre > half ? centre - half : 0,
                            centre + half < 1 ? centre + half : 1};
}

stats_interval stats_paired(double sum, double squares, size_t n)
{
    const double count = (double)n, spread = squares - sum * sum / count;
    if (!n) return (stats_interval){(double)NAN, (double)NAN};
    const double half = NORMAL * sqrt(spread > 0 ? spread : 0) / count;
    return (stats_interval){sum / count - half, sum / count + half};
}

double stats_mcnemar(size_t b, size_t c)
{
    const size_t n = b + c, k = b < c ? b : c;
    if (b == c) return 1;
    /* P(X <= k) of n tosses is I_{1/2}(n - k, k + 1), A&S 26.5.24 */
    const double p = 2 * beta((double)(n - k), (double)(k + 1), .5);
    return p < 1 ? p : 1;
}

/* ---- several comparisons --------------------------------------------------------------------- */

/* The smallest of those that are not done; n: there is none. */
static size_t smallest(const double *p, const bool *done, size_t n)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (!done[i] && !isnan(p[i]) && (best == n || p[i] < p[best])) best = i;
    return best;
}

void stats_holm(double *p, size_t n)
{
    size_t left = 0, i;
    double most = 0;
    bool *done = calloc(n + 1, sizeof *done);
    for (i = 0; i < n; i++) left += isnan(p[i]) ? 0 : 1;
    /* without memory Bonferroni's correction, which is valid, too, and larger */
    for (i = 0; !done && i < n; i++) p[i] = fmin(1, (double)left * p[i]);
    while (done && (i = smallest(p, done, n)) < n) {
        most = fmax(most, fmin(1, (double)left-- * p[i]));
        p[i] = most;
        done[i] = true;
    }
    free(done);
}

stats_text stats_print_p(double p)
{
    stats_text t = {"-"};
    if (p < 1e-4)
        snprintf(t.text, sizeof t.text, "< 0.0001");
    else if (!isnan(p))
        snprintf(t.text, sizeof t.text, "%.2g", p);
    return t;
}
