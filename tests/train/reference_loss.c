/* SPDX-License-Identifier: MIT
 * reference_loss.c: the losses of training and distillation by the papers' formulas, in double
 * precision, with their gradients by the logits. Each is the sum over the rows of its batch, times
 * a factor; the caller divides by the number of pictures. */
#include "reference.h"

#include <math.h>

enum { MOST = 64 };

void ref_softmax(const double *x, size_t k, double temperature, double *p)
{
    double sum = 0;
    ck_assert_uint_le(k, MOST);
    for (size_t i = 0; i < k; i++) sum += p[i] = exp(x[i] / temperature);
    for (size_t i = 0; i < k; i++) p[i] /= sum;
}

size_t ref_argmax(const double *row, size_t k)
{
    size_t best = 0;
    for (size_t i = 1; i < k; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

/* -sum t log p, gradient p - t where t sums to one. */
double ref_loss_classes(const double *logits, const double *targets, size_t n, size_t k,
                        double factor, double *grad)
{
    double loss = 0, p[MOST];
    for (size_t r = 0; r < n; r++) {
        ref_softmax(logits + r * k, k, 1, p);
        for (size_t i = 0; i < k; i++) {
            const double t = targets[r * k + i];
            loss -= factor * t * log(p[i]);
            grad[r * k + i] += factor * (p[i] - t);
        }
    }
    return loss;
}

/* Hinton et al. 2015: T^2 KL(teacher || student), both at temperature T. */
double ref_loss_kd(const double *logits, const double *teacher, size_t n, size_t k,
                   double temperature, double factor, double *grad)
{
    double loss = 0, s[MOST], t[MOST];
    for (size_t r = 0; r < n; r++) {
        ref_softmax(logits + r * k, k, temperature, s);
        ref_softmax(teacher + r * k, k, temperature, t);
        for (size_t i = 0; i < k; i++) {
            loss += factor * temperature * temperature * t[i] * log(t[i] / s[i]);
            grad[r * k + i] += factor * temperature * (s[i] - t[i]);
        }
    }
    return loss;
}

/* Touvron et al. 2021: the teacher's first class is the label. */
double ref_loss_hard(const double *logits, const double *teacher, size_t n, size_t k, double factor,
                     double *grad)
{
    double loss = 0;
    for (size_t r = 0; r < n; r++) {
        double target[MOST] = {0};
        target[ref_argmax(teacher + r * k, k)] = 1;
        loss += ref_loss_classes(logits + r * k, target, 1, k, factor, grad + r * k);
    }
    return loss;
}

/* Zhao et al. 2022, as their mdistiller has it: T^2 (alpha TCKD + beta NCKD).
 *   TCKD = KL of (p_y, 1 - p_y), teacher's against student's
 *   NCKD = KL of the softmax over the classes without y
 * By the chain rule over p_y: dp_y/dz_i = p_y ((i == y) - p_i) / T. */
static double dkd_row(const double *z, const double *zt, size_t y, size_t k, double temperature,
                      double alpha, double beta, double factor, double *grad)
{
    double s[MOST], t[MOST], without_s = 0, without_t = 0;
    ref_softmax(z, k, temperature, s);
    ref_softmax(zt, k, temperature, t);
    for (size_t i = 0; i < k; i++) {
        if (i == y) continue;
        without_s += s[i];
        without_t += t[i];
    }
    const double square = factor * temperature * temperature;
    double loss =
        square * alpha * (t[y] * log(t[y] / s[y]) + without_t * log(without_t / without_s));
    const double by_target = -t[y] / s[y] + without_t / without_s;
    for (size_t i = 0; i < k; i++) {
        grad[i] += square * alpha * by_target * s[y] * ((i == y) - s[i]) / temperature;
        if (i == y) continue;
        const double qs = s[i] / without_s, qt = t[i] / without_t;
        loss += square * beta * qt * log(qt / qs);
        grad[i] += square * beta * (qs - qt) / temperature;
    }
    return loss;
}

double ref_loss_dkd(const double *logits, const double *teacher, const int32_t *labels, size_t n,
                    size_t k, double temperature, double alpha, double beta, double factor,
                    double *grad)
{
    double loss = 0;
    for (size_t r = 0; r < n; r++)
        loss += dkd_row(logits + r * k, teacher + r * k, (size_t)labels[r], k, temperature, alpha,
                        beta, factor, grad + r * k);
    return loss;
}

/* (x - mean) / (std + 1e-7), std of k - 1 degrees of freedom; returns std + 1e-7. */
static double standardize(const double *x, size_t k, double *z)
{
    double mean = 0, square = 0;
    for (size_t i = 0; i < k; i++) mean += x[i] / (double)k;
    for (size_t i = 0; i < k; i++) square += (x[i] - mean) * (x[i] - mean) / (double)(k - 1);
    const double over = sqrt(square) + 1e-7;
    for (size_t i = 0; i < k; i++) z[i] = (x[i] - mean) / over;
    return over;
}

/* Sun et al. 2024: KD of standardised logits. With z = (x - m) / d, d = s + 1e-7:
 *   dL/dx_i = (g_i - mean g) / d - z_i sum(g z) / ((k - 1) s) */
double ref_loss_standardized(const double *logits, const double *teacher, size_t n, size_t k,
                             double temperature, double factor, double *grad)
{
    double loss = 0;
    for (size_t r = 0; r < n; r++) {
        double z[MOST], zt[MOST], g[MOST] = {0}, mean = 0, along = 0;
        const double over = standardize(logits + r * k, k, z);
        standardize(teacher + r * k, k, zt);
        loss += ref_loss_kd(z, zt, 1, k, temperature, factor, g);
        for (size_t i = 0; i < k; i++) {
            mean += g[i] / (double)k;
            along += g[i] * z[i];
        }
        for (size_t i = 0; i < k; i++)
            grad[r * k + i] +=
                (g[i] - mean) / over - z[i] * along / ((double)(k - 1) * (over - 1e-7));
    }
    return loss;
}
