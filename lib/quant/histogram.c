/* SPDX-License-Identifier: MIT
 * histogram.c: see histogram.h. The ends of a range are edges of bins, 1/128 of their value apart:
 * far finer than what a range's end means to accuracy.
 *
 *   range          all numbers
 *   percentile     all but the furthest few
 *   squared error  where clipping and rounding together cost least. A number beyond the end costs
 *                  its distance's square. One within costs 1/12 of a step's square. One that is
 *                  rounded to 0 costs its own square, where that is less.
 *   entropy        where the clipped, rounded distribution is nearest to the true one by
 *                  Kullback-Leibler divergence (Migacz 2017), over 2048 equal bins */
#include "histogram.h"

#include <math.h>
#include <string.h>

enum { SIGN = KDI_BINS / 2, INFINITE = 0x7F80, FINE = 2048, LEVELS = 128 };

static double edge(int bin)
{
    const uint32_t bits = (uint32_t)bin << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

void kdi_histogram_add(kdi_histogram *h, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        h->count[bits >> 16]++;
    }
}

bool kdi_histogram_is_finite(const kdi_histogram *h)
{
    for (int i = INFINITE; i < SIGN; i++)
        if (h->count[i] || h->count[SIGN + i]) return false;
    return true;
}

/* One side of 0: counts of bins 0 .. INFINITE - 1, by distance from 0. */
typedef struct side {
    const uint64_t *count;
    int top; /* the first bin beyond all numbers */
    double total;
} side;

static side side_of(const kdi_histogram *h, int sign)
{
    side s = {.count = h->count + sign};
    for (int i = 0; i < INFINITE; i++) {
        if (!s.count[i]) continue;
        s.total += (double)s.count[i];
        if (edge(i + 1) > 0 && (i > 0 || sign == 0)) s.top = i + 1;
    }
    if (s.top == 1) s.top = 0; /* nothing but zeros and what is next to them */
    return s;
}

static int percentile(const side *s, double all, double share)
{
    double beyond = floor((1 - share) * all + 1e-6);
    int top = s->top;
    while (top > 1 && (double)s->count[top - 1] <= beyond) beyond -= (double)s->count[--top];
    return top;
}

/* Sum of squared errors of one side's numbers with this end and step. */
static double squared_error(const side *s, double end, double step)
{
    double sum = 0;
    for (int i = 0; i < s->top; i++) {
        if (!s->count[i]) continue;
        const double x = .5 * (edge(i) + edge(i + 1));
        const double beyond = x - end;
        const double within = fmin(step * step / 12, x < .5 * step ? x * x : step * step / 12);
        sum += (double)s->count[i] * (beyond > 0 ? beyond * beyond : within);
    }
    return sum;
}

/* Both ends move in from the furthest numbers by the same factor. */
static double least_error(const side *low, const side *high)
{
    const double a = low->top ? edge(low->top) : 0, b = high->top ? edge(high->top) : 0;
    double best = 1, least = HUGE_VAL;
    for (int i = 128; i >= 8; i--) {
        const double factor = i / 128.0, step = factor * (a + b) / 255;
        const double error =
            squared_error(low, factor * a, step) + squared_error(high, factor * b, step);
        if (error < least) {
            least = error;
            best = factor;
        }
    }
    return best;
}

/* ---- entropy --------------------------------------------------------------------------------- */

/* Numbers of both sides by their distance from 0, in FINE equal bins up to end. */
static void equal_bins(const side *low, const side *high, double end, double *bins)
{
    memset(bins, 0, FINE * sizeof *bins);
    for (int i = 1; i < low->top || i < high->top; i++) {
        const double n = (double)((i < low->top ? low->count[i] : 0) + high->count[i]);
        if (n <= 0) continue;
        const double from = edge(i) / end * FINE, to = edge(i + 1) / end * FINE;
        const int first = (int)from;
        for (int k = first; k < FINE && k < to; k++) {
            const double a = fmax(from, k), b = fmin(to, k + 1);
            bins[k] += n * (b - a) / (to - from);
        }
    }
}

/* Divergence of the first n bins, the rest put into the last, from themselves in LEVELS steps. */
static double divergence(const double *bins, int n)
{
    double tail = 0, sum = 0, rounded = 0, d = 0;
    for (int i = n; i < FINE; i++) tail += bins[i];
    for (int i = 0; i < n; i++) sum += bins[i];
    sum += tail;
    for (int pass = 0; pass < 2; pass++)
        for (int level = 0; level < LEVELS; level++) {
            const int from = level * n / LEVELS, to = (level + 1) * n / LEVELS;
            double mass = 0;
            int filled = 0;
            for (int i = from; i < to; i++) {
                mass += bins[i];
                filled += bins[i] > 0;
            }
            if (pass == 0) rounded += mass;
            for (int i = from; i < to && pass; i++) {
                const double p = (bins[i] + (i == n - 1 ? tail : 0)) / sum;
                const double q = bins[i] > 0 ? mass / filled / rounded : 1e-12;
                if (p > 0) d += p * log(p / q);
            }
        }
    return d;
}

static double nearest(const side *low, const side *high)
{
    double bins[FINE];
    const double a = low->top ? edge(low->top) : 0, b = high->top ? edge(high->top) : 0;
    double best = 1, least = HUGE_VAL;
    equal_bins(low, high, fmax(a, b), bins);
    for (int n = FINE; n >= LEVELS; n -= 16) {
        const double d = divergence(bins, n);
        if (d < least) {
            least = d;
            best = (double)n / FINE;
        }
    }
    return best;
}

kdi_range kdi_histogram_range(const kdi_histogram *h, kd_calibration method, double share)
{
    const side high = side_of(h, 0), low = side_of(h, SIGN);
    const double all = high.total + low.total;
    double a = low.top ? edge(low.top) : 0, b = high.top ? edge(high.top) : 0;
    if (!(a + b > 0)) return (kdi_range){0, 1};
    if (method == KD_CALIBRATE_PERCENTILE) {
        const int from = low.top ? percentile(&low, all, share) : 0;
        const int to = high.top ? percentile(&high, all, share) : 0;
        a = from > 1 ? edge(from) : 0;
        b = to > 1 ? edge(to) : 0;
        if (!(a + b > 0)) b = high.top ? edge(high.top) : 1;
    } else if (method != KD_CALIBRATE_RANGE) {
        const double f =
            method == KD_CALIBRATE_ENTROPY ? nearest(&low, &high) : least_error(&low, &high);
        a *= f;
        b *= f;
    }
    return (kdi_range){a > 0 ? -a : 0, b};
}
