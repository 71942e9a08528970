/* SPDX-License-Identifier: MIT
 * reference_feature.c: losses on what is inside networks, in double precision, with their gradients:
 * hints, attention transfer, relations, tokens, attentions, embeddings. Each is written out from its
 * definition: a map is made smaller by a table of weights, angles go by triples of pictures.
 *
 * A layer that learns with the student begins with the library's first numbers, which depend on the
 * seed and its name alone. */
#include "reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double *need(size_t n)
{
    double *x = calloc(n ? n : 1, sizeof *x);
    ck_assert_ptr_nonnull(x);
    return x;
}

/* ---- maps of one size ------------------------------------------------------------------------ */

/* A value's places: of tokens the square at their end. */
static size_t side_of(const ref_value *v)
{
    size_t side = 1;
    if (v->w == v->h) return v->h;
    while ((side + 1) * (side + 1) <= v->h) side++;
    return side;
}

/* Rows of the cells of a side: floor(i * from / to) .. ceil((i + 1) * from / to). */
static double share(size_t cell, size_t at, size_t from, size_t to)
{
    const size_t begin = cell * from / to, end = ((cell + 1) * from + to - 1) / to;
    return at >= begin && at < end ? 1 / (double)(end - begin) : 0;
}

/* y [n,side,side,c] = v, or back: v's gradient += that of y. */
static void shrink(const ref_value *v, size_t side, double *y, bool back)
{
    const size_t from = side_of(v), places = v->h * v->w, skip = places - from * from;
    for (size_t n = 0; n < v->n; n++)
        for (size_t o = 0; o < side * side; o++)
            for (size_t i = 0; i < from * from; i++) {
                const double w =
                    share(o / side, i / from, from, side) * share(o % side, i % from, from, side);
                for (size_t c = 0; w > 0 && c < v->c; c++) {
                    const size_t a = (n * places + skip + i) * v->c + c;
                    double *b = &y[(n * side * side + o) * v->c + c];
                    if (back)
                        v->g[a] += w * *b;
                    else
                        *b += w * v->x[a];
                }
            }
}

/* ---- losses: the mean, times factor; gradients by x are added to g ------------------------------ */

static double squares(const double *x, const double *t, size_t n, double factor, double *g)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (x[i] - t[i]) * (x[i] - t[i]) / (double)n;
        g[i] += factor * 2 * (x[i] - t[i]) / (double)n;
    }
    return factor * sum;
}

static double length(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return fmax(sqrt(sum), 1e-12);
}

/* Where maps are active: e_p = mean over channels of x^2, over its length. */
static double transfer(const double *x, const double *t, size_t n, size_t places, size_t c,
                       size_t ct, double factor, double *g)
{
    double *e = need(places), *f = need(places), *d = need(places), sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double *a = x + i * places * c, *b = t + i * places * ct;
        double along = 0;
        for (size_t p = 0; p < places; p++) {
            e[p] = f[p] = 0;
            for (size_t k = 0; k < c; k++) e[p] += a[p * c + k] * a[p * c + k] / (double)c;
            for (size_t k = 0; k < ct; k++) f[p] += b[p * ct + k] * b[p * ct + k] / (double)ct;
        }
        const double le = length(e, places), lf = length(f, places);
        const double count = (double)(n * places);
        for (size_t p = 0; p < places; p++) {
            const double gap = e[p] / le - f[p] / lf;
            sum += gap * gap / count;
            d[p] = 2 * gap / count;
            along += d[p] * e[p] / le;
        }
        for (size_t p = 0; p < places; p++)
            for (size_t k = 0; k < c; k++)
                g[(i * places + p) * c + k] +=
                    factor * (d[p] - along * e[p] / le) / le * 2 * a[p * c + k] / (double)c;
    }
    free(e);
    free(f);
    free(d);
    return factor * sum;
}

/* Rows of c: 1 - cosine. */
static double cosines(const double *x, const double *t, size_t rows, size_t c, double factor,
                      double *g)
{
    double sum = 0;
    for (size_t r = 0; r < rows; r++, x += c, t += c, g += c) {
        const double a = length(x, c), b = length(t, c);
        double cosine = 0;
        for (size_t k = 0; k < c; k++) cosine += x[k] * t[k] / (a * b);
        sum += (1 - cosine) / (double)rows;
        for (size_t k = 0; k < c; k++)
            g[k] -= factor / (double)rows * (t[k] / (a * b) - cosine * x[k] / (a * a));
    }
    return factor * sum;
}

static double huber(double z)
{
    return fabs(z) < 1 ? z * z / 2 : fabs(z) - .5;
}

static double slope(double z)
{
    return fmax(-1, fmin(1, z));
}

static double apart(const double *x, size_t c, size_t i, size_t j)
{
    double sum = 0;
    for (size_t k = 0; k < c; k++) sum += pow(x[i * c + k] - x[j * c + k], 2);
    return sqrt(sum);
}

static double mean_apart(const double *x, size_t n, size_t c)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) sum += apart(x, c, i, j);
    return sum / (double)(n * (n - 1));
}

static double distances(const double *x, const double *t, size_t n, size_t c, size_t ct,
                        double factor, double *g)
{
    const double mx = mean_apart(x, n, c), mt = mean_apart(t, n, ct), count = (double)(n * n);
    double sum = 0, through = 0; /* through: by the mean */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            const double d = apart(x, c, i, j), gap = d / mx - apart(t, ct, i, j) / mt;
            sum += huber(gap) / count;
            through -= slope(gap) * d / (mx * mx) / count;
        }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            const double d = apart(x, c, i, j);
            if (i == j) continue;
            const double by_d = slope(d / mx - apart(t, ct, i, j) / mt) / mx / count +
                                through / (double)(n * (n - 1));
            for (size_t k = 0; k < c; k++) {
                const double v = factor * by_d * (x[i * c + k] - x[j * c + k]) / d;
                g[i * c + k] += v;
                g[j * c + k] -= v;
            }
        }
    return factor * sum;
}

static double angle(const double *x, size_t c, size_t i, size_t j, size_t k)
{
    double sum = 0;
    if (i == j || i == k) return 0;
    for (size_t m = 0; m < c; m++)
        sum += (x[j * c + m] - x[i * c + m]) * (x[k * c + m] - x[i * c + m]);
    return sum / (apart(x, c, i, j) * apart(x, c, i, k));
}

static double angles(const double *x, const double *t, size_t n, size_t c, size_t ct, double factor,
                     double *g)
{
    const double count = (double)(n * n * n);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < n; k++) {
                const double a = angle(x, c, i, j, k), gap = a - angle(t, ct, i, j, k);
                sum += huber(gap) / count;
                if (i == j || i == k || j == k) continue;
                const double v = apart(x, c, i, j), w = apart(x, c, i, k);
                const double by = factor * slope(gap) / count;
                for (size_t m = 0; m < c; m++) {
                    const double to_j = x[j * c + m] - x[i * c + m];
                    const double to_k = x[k * c + m] - x[i * c + m];
                    const double gj = by * (to_k / (v * w) - a * to_j / (v * v));
                    const double gk = by * (to_j / (v * w) - a * to_k / (w * w));
                    g[j * c + m] += gj;
                    g[k * c + m] += gk;
                    g[i * c + m] -= gj + gk;
                }
            }
    return factor * sum;
}

/* Attentions [n * heads,T,T]; where heads differ in number, their means. */
static double attentions(const ref_value *s, const ref_value *t, size_t n, double factor)
{
    const size_t hs = s->n / n, ht = t->n / n, square = s->h * s->h;
    const bool same = hs == ht;
    const double rows = (double)(n * (same ? hs : 1) * s->h);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t h = 0; h < (same ? hs : 1); h++)
            for (size_t k = 0; k < square; k++) {
                double p = 0, q = 0;
                for (size_t m = 0; m < hs; m++)
                    if (!same || m == h)
                        p += s->x[(i * hs + m) * square + k] / (same ? 1 : (double)hs);
                for (size_t m = 0; m < ht; m++)
                    if (!same || m == h)
                        q += t->x[(i * ht + m) * square + k] / (same ? 1 : (double)ht);
                sum += q * log(q / p) / rows;
                for (size_t m = 0; m < hs; m++)
                    if (!same || m == h)
                        s->g[(i * hs + m) * square + k] -=
                            factor * q / p / rows / (same ? 1 : (double)hs);
            }
    return factor * sum;
}

/* ---- the layer that learns with the student ---------------------------------------------------- */

static ref_array *regressor(ref_feature *f, size_t pair, const char *what)
{
    char name[96];
    snprintf(name, sizeof name, "loss.regressor.%zu.%s", pair, what);
    for (size_t i = 0; i < f->net.n; i++)
        if (!strcmp(f->net.arrays[i].name, name)) return &f->net.arrays[i];
    ck_abort_msg("there is no %s", name);
    return NULL;
}

static void make_regressors(ref_feature *f, kd_ctx *ctx, const size_t *in, const size_t *out,
                            size_t pairs)
{
    kd_graph *g;
    kd_params *first;
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_graph_scope(g, "loss");
    for (size_t i = 0; i < pairs; i++) {
        char name[40];
        const int64_t dim[] = {KD_BATCH, (int64_t)in[i]};
        snprintf(name, sizeof name, "input%zu", i);
        const kd_value x = kd_input(g, name, KD_F32, 2, dim);
        snprintf(name, sizeof name, "regressor.%zu", i);
        kd_linear(g, x, name, (int)out[i], 1);
    }
    test_ok(ctx, kd_params_create(g, f->seed, &first));
    ref_arrays_open(&f->net, first);
    f->net.layers = 1;
    f->open = true;
    kd_params_destroy(first);
    kd_graph_destroy(g);
}

void ref_feature_close(ref_feature *f)
{
    if (f->open) ref_arrays_close(&f->net);
}

/* r [rows,out] = x [rows,in] w^T + b; and back. */
static void apply(const ref_array *w, const ref_array *b, const double *x, size_t rows, double *r)
{
    const size_t out = w->dim[0], in = w->dim[1];
    for (size_t i = 0; i < rows; i++)
        for (size_t o = 0; o < out; o++) {
            r[i * out + o] = b->value[o];
            for (size_t k = 0; k < in; k++) r[i * out + o] += w->value[o * in + k] * x[i * in + k];
        }
}

static void apply_back(ref_array *w, ref_array *b, const double *x, size_t rows, const double *dr,
                       double *dx)
{
    const size_t out = w->dim[0], in = w->dim[1];
    for (size_t i = 0; i < rows; i++)
        for (size_t o = 0; o < out; o++) {
            b->grad[o] += dr[i * out + o];
            for (size_t k = 0; k < in; k++) {
                w->grad[o * in + k] += dr[i * out + o] * x[i * in + k];
                dx[i * in + k] += dr[i * out + o] * w->value[o * in + k];
            }
        }
}

/* ---- pairs ------------------------------------------------------------------------------------- */

static double pair(ref_feature *f, kd_feature kind, const ref_value *s, const ref_value *t,
                   size_t index, double factor)
{
    const size_t a = side_of(s), b = side_of(t), side = a < b ? a : b, places = side * side;
    const size_t n = s->n, rows = n * places;
    double *x = need(rows * s->c), *y = need(rows * t->c), *g = need(rows * s->c), loss;
    shrink(s, side, x, false);
    shrink(t, side, y, false);
    if (kind == KD_FEATURE_AT) {
        loss = transfer(x, y, n, places, s->c, t->c, factor, g);
    } else {
        ref_array *w = regressor(f, index, "weight"), *bias = regressor(f, index, "bias");
        double *r = need(rows * t->c), *dr = need(rows * t->c);
        apply(w, bias, x, rows, r);
        loss = kind == KD_FEATURE_COSINE ? cosines(r, y, rows, t->c, factor, dr)
                                         : squares(r, y, rows * t->c, factor, dr);
        apply_back(w, bias, x, rows, dr, g);
        free(r);
        free(dr);
    }
    shrink(s, side, g, true);
    free(x);
    free(y);
    free(g);
    return loss;
}

/* Which taps: of hints level n / 2, of several all levels, from the last back. */
static size_t choose(kd_feature kind, const ref_logits *s, const ref_logits *t,
                     const ref_value *of_s[REF_LEVELS], const ref_value *of_t[REF_LEVELS])
{
    if (kind == KD_FEATURE_HINT) {
        of_s[0] = s->level[s->levels / 2];
        of_t[0] = t->level[t->levels / 2];
        return 1;
    }
    if (kind != KD_FEATURE_AT && kind != KD_FEATURE_TOKENS) {
        of_s[0] = kind == KD_FEATURE_ATTENTION ? s->map : s->embedding;
        of_t[0] = kind == KD_FEATURE_ATTENTION ? t->map : t->embedding;
        return 1;
    }
    const size_t pairs = s->levels < t->levels ? s->levels : t->levels;
    for (size_t i = 0; i < pairs; i++) {
        of_s[i] = s->level[s->levels - pairs + i];
        of_t[i] = t->level[t->levels - pairs + i];
    }
    return pairs;
}

/* "stages.I", "embedding": one tap, or the lines' own choice. */
static const ref_value *named(const char *name, const ref_logits *l, const ref_value *other)
{
    if (!name) return other;
    if (!strcmp(name, "embedding")) return l->embedding;
    return l->level[strtoul(strchr(name, '.') + 1, NULL, 10)];
}

double ref_feature_loss(ref_feature *f, const kd_distill_opt *d, const ref_logits *s,
                        const ref_logits *t, size_t n, double factor)
{
    const ref_value *of_s[REF_LEVELS] = {NULL}, *of_t[REF_LEVELS] = {NULL};
    const kd_feature kind = d->feature;
    const bool regresses = kind == KD_FEATURE_HINT || kind == KD_FEATURE_TOKENS ||
                           kind == KD_FEATURE_EMBEDDING || kind == KD_FEATURE_COSINE;
    const size_t pairs = choose(kind, s, t, of_s, of_t);
    double loss = 0;
    of_s[0] = named(d->student_tap, s, of_s[0]);
    of_t[0] = named(d->teacher_tap, t, of_t[0]);
    if (regresses && !f->open) {
        size_t in[REF_LEVELS], out[REF_LEVELS];
        for (size_t i = 0; i < pairs; i++) {
            in[i] = of_s[i]->c;
            out[i] = of_t[i]->c;
        }
        make_regressors(f, f->ctx, in, out, pairs);
    }
    factor *= (double)d->feature_weight * (double)n;
    if (kind == KD_FEATURE_ATTENTION) return attentions(of_s[0], of_t[0], n, factor);
    if (kind == KD_FEATURE_RKD)
        return distances(of_s[0]->x, of_t[0]->x, n, of_s[0]->c, of_t[0]->c, 25 * factor,
                         of_s[0]->g) +
               angles(of_s[0]->x, of_t[0]->x, n, of_s[0]->c, of_t[0]->c, 50 * factor, of_s[0]->g);
    for (size_t i = 0; i < pairs; i++) loss += pair(f, kind, of_s[i], of_t[i], i, factor);
    return loss;
}
