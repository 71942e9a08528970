/* SPDX-License-Identifier: MIT
 * reference_ops.c: layers in double precision and their gradients, one plain loop each. A forward
 * pass notes its layers on a tape; backward goes through them from the last to the first. Pictures
 * are [n,h,w,c], tokens [n,tokens,1,c]; parameters have PyTorch's shapes. */
#include "reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct node node;
struct node {
    void (*backward)(const node *);
    ref_value *in, *in2, *out;
    ref_array *weight, *bias, *tokens[2];
    const double *values; /* the weight's, as forward saw them */
    double *kept;         /* what forward computed and backward needs */
    size_t stride, pad, heads, count;
    double factor;
    bool fixed; /* of a norm: mean and variance are constants */
};

enum { NODES = 256 };

struct ref_tape {
    ref_net *net;
    ref_which which;
    node nodes[NODES];
    ref_value *values[NODES];
    void *blocks[2 * NODES];
    size_t n, n_values, n_blocks;
};

static double *numbers(ref_tape *t, size_t n)
{
    double *x = calloc(n ? n : 1, sizeof *x);
    ck_assert_ptr_nonnull(x);
    ck_assert_uint_lt(t->n_blocks, 2 * NODES);
    t->blocks[t->n_blocks++] = x;
    return x;
}

ref_tape *ref_tape_open(ref_net *net, ref_which which)
{
    ref_tape *t = calloc(1, sizeof *t);
    ck_assert_ptr_nonnull(t);
    t->net = net;
    t->which = which;
    return t;
}

void ref_tape_close(ref_tape *t)
{
    for (size_t i = 0; i < t->n_blocks; i++) free(t->blocks[i]);
    for (size_t i = 0; i < t->n_values; i++) {
        free(t->values[i]->x);
        free(t->values[i]->g);
        free(t->values[i]);
    }
    free(t);
}

void ref_tape_backward(ref_tape *t)
{
    for (size_t i = t->n; i-- > 0;) t->nodes[i].backward(&t->nodes[i]);
    for (size_t i = 0; i < t->net->n; i++) {
        ref_array *a = &t->net->arrays[i];
        if (a->frozen) memset(a->grad, 0, a->count * sizeof *a->grad);
    }
}

ref_value *ref_value_make(ref_tape *t, size_t n, size_t h, size_t w, size_t c)
{
    ref_value *v = calloc(1, sizeof *v);
    ck_assert_ptr_nonnull(v);
    *v = (ref_value){n, h, w, c, NULL, NULL};
    v->x = calloc(n * h * w * c, sizeof *v->x);
    v->g = calloc(n * h * w * c, sizeof *v->g);
    ck_assert(v->x && v->g && t->n_values < NODES);
    t->values[t->n_values++] = v;
    return v;
}

static node *note(ref_tape *t, void (*backward)(const node *), ref_value *in, ref_value *out)
{
    ck_assert_uint_lt(t->n, NODES);
    node *o = &t->nodes[t->n++];
    o->backward = backward;
    o->in = in;
    o->out = out;
    return o;
}

static const double *values_of(const ref_tape *t, const ref_array *a)
{
    return ref_values(a, t->which);
}

static ref_array *part(const ref_tape *t, const char *name, const char *what)
{
    char full[200];
    snprintf(full, sizeof full, "%s.%s", name, what);
    ref_array *a = ref_find(t->net, full);
    ck_assert_msg(a != NULL, "no %s", full);
    return a;
}

static size_t rows(const ref_value *v)
{
    return v->n * v->h * v->w;
}

static void gap(ref_tape *t, double distance)
{
    if (distance < t->net->least_gap) t->net->least_gap = distance;
}

/* ---- convolution ----------------------------------------------------------------------------- */

/* Visit every product of a convolution: forward, or (out's gradient known) backward. */
static void convolve(const node *o, bool backward)
{
    const ref_value *x = o->in, *y = o->out;
    const size_t k = o->weight->dim[2];
    for (size_t n = 0; n < y->n; n++)
        for (size_t i = 0; i < y->h; i++)
            for (size_t j = 0; j < y->w; j++)
                for (size_t u = 0; u < k; u++)
                    for (size_t v = 0; v < k; v++) {
                        const size_t row = i * o->stride + u, column = j * o->stride + v;
                        if (row < o->pad || row >= x->h + o->pad) continue;
                        if (column < o->pad || column >= x->w + o->pad) continue;
                        const size_t at = ((n * x->h + row - o->pad) * x->w + column - o->pad);
                        const size_t to = (n * y->h + i) * y->w + j;
                        for (size_t c = 0; c < x->c; c++)
                            for (size_t f = 0; f < y->c; f++) {
                                const size_t w = ((f * x->c + c) * k + u) * k + v;
                                if (!backward) {
                                    y->x[to * y->c + f] += o->values[w] * x->x[at * x->c + c];
                                    continue;
                                }
                                const double g = y->g[to * y->c + f];
                                o->weight->grad[w] += g * x->x[at * x->c + c];
                                x->g[at * x->c + c] += g * o->values[w];
                            }
                    }
}

static void conv_back(const node *o)
{
    convolve(o, true);
    for (size_t r = 0; r < rows(o->out); r++)
        for (size_t f = 0; f < o->out->c; f++) o->bias->grad[f] += o->out->g[r * o->out->c + f];
}

ref_value *ref_conv(ref_tape *t, ref_value *x, ref_array *weight, ref_array *bias, size_t stride,
                    size_t pad)
{
    const size_t k = weight->dim[2], out = weight->dim[0];
    ck_assert_uint_eq(weight->dim[1], x->c);
    ref_value *y = ref_value_make(t, x->n, (x->h + 2 * pad - k) / stride + 1,
                                  (x->w + 2 * pad - k) / stride + 1, out);
    node *o = note(t, conv_back, x, y);
    o->weight = weight;
    o->bias = bias;
    o->values = values_of(t, weight);
    o->stride = stride;
    o->pad = pad;
    const double *b = values_of(t, bias);
    for (size_t r = 0; r < rows(y); r++)
        for (size_t f = 0; f < out; f++) y->x[r * out + f] = b[f];
    convolve(o, false);
    return y;
}

/* ---- linear ---------------------------------------------------------------------------------- */

static void linear_back(const node *o)
{
    const ref_value *x = o->in, *y = o->out;
    for (size_t r = 0; r < rows(y); r++)
        for (size_t f = 0; f < y->c; f++) {
            const double g = y->g[r * y->c + f];
            o->bias->grad[f] += g;
            for (size_t c = 0; c < x->c; c++) {
                o->weight->grad[f * x->c + c] += g * x->x[r * x->c + c];
                x->g[r * x->c + c] += g * o->values[f * x->c + c];
            }
        }
}

ref_value *ref_linear(ref_tape *t, ref_value *x, const char *name)
{
    ref_array *weight = part(t, name, "weight"), *bias = part(t, name, "bias");
    ck_assert_uint_eq(weight->dim[1], x->c);
    ref_value *y = ref_value_make(t, x->n, x->h, x->w, weight->dim[0]);
    node *o = note(t, linear_back, x, y);
    o->weight = weight;
    o->bias = bias;
    o->values = values_of(t, weight);
    const double *b = values_of(t, bias);
    for (size_t r = 0; r < rows(y); r++)
        for (size_t f = 0; f < y->c; f++) {
            double sum = b[f];
            for (size_t c = 0; c < x->c; c++) sum += o->values[f * x->c + c] * x->x[r * x->c + c];
            y->x[r * y->c + f] = sum;
        }
    return y;
}

/* ---- norms ----------------------------------------------------------------------------------- */

/* y = weight * z + bias, z = (x - mean) / deviation over groups of `count` numbers: kept holds z
 * and then 1 / deviation of each group. Batch norm has a group for each channel, layer norm one for
 * each row. */
static size_t member(const node *o, size_t group, size_t i)
{
    const size_t c = o->in->c;
    return o->count == c && o->heads ? group * c + i : i * c + group;
}

static void norm_back(const node *o)
{
    const ref_value *y = o->out;
    const size_t all = rows(y) * y->c, groups = all / o->count;
    const double n = (double)o->count;
    for (size_t i = 0; i < all; i++) {
        o->weight->grad[i % y->c] += y->g[i] * o->kept[i];
        o->bias->grad[i % y->c] += y->g[i];
    }
    for (size_t g = 0; g < groups; g++) {
        double sum = 0, along = 0;
        for (size_t i = 0; i < o->count && !o->fixed; i++) {
            const size_t at = member(o, g, i);
            const double d = y->g[at] * o->values[at % y->c];
            sum += d / n;
            along += d * o->kept[at] / n;
        }
        for (size_t i = 0; i < o->count; i++) {
            const size_t at = member(o, g, i);
            const double d = y->g[at] * o->values[at % y->c];
            o->in->g[at] += (d - sum - o->kept[at] * along) * o->kept[all + g];
        }
    }
}

/* Of a group: its mean and its biased variance. */
static void moments(const node *o, size_t group, double *mean, double *variance)
{
    *mean = *variance = 0;
    for (size_t i = 0; i < o->count; i++) *mean += o->in->x[member(o, group, i)] / (double)o->count;
    for (size_t i = 0; i < o->count; i++) {
        const double d = o->in->x[member(o, group, i)] - *mean;
        *variance += d * d / (double)o->count;
    }
}

static void standardize_group(const ref_tape *t, const node *o, size_t group, double mean,
                              double variance, double eps)
{
    const size_t all = rows(o->out) * o->out->c;
    const double *bias = values_of(t, o->bias);
    o->kept[all + group] = 1 / sqrt(variance + eps);
    for (size_t i = 0; i < o->count; i++) {
        const size_t at = member(o, group, i), c = at % o->out->c;
        o->kept[at] = (o->in->x[at] - mean) * o->kept[all + group];
        o->out->x[at] = o->values[c] * o->kept[at] + bias[c];
    }
}

static node *norm(ref_tape *t, ref_value *x, const char *name, bool by_row)
{
    ref_value *y = ref_value_make(t, x->n, x->h, x->w, x->c);
    node *o = note(t, norm_back, x, y);
    o->weight = part(t, name, "weight");
    o->bias = part(t, name, "bias");
    o->values = values_of(t, o->weight);
    o->heads = by_row;
    o->count = by_row ? x->c : rows(x);
    const size_t all = rows(x) * x->c;
    o->kept = numbers(t, all + all / o->count);
    return o;
}

/* PyTorch's: momentum .1, eps 1e-5; the running variance takes the unbiased one. */
ref_value *ref_batch_norm(ref_tape *t, ref_value *x, const char *name, bool training)
{
    const double n = (double)rows(x);
    ref_array *running_mean = part(t, name, "running_mean");
    ref_array *running_var = part(t, name, "running_var");
    node *o = norm(t, x, name, false);
    training = training && !(o->weight->frozen && o->bias->frozen);
    o->fixed = !training;
    for (size_t c = 0; c < x->c; c++) {
        double mean = values_of(t, running_mean)[c], variance = values_of(t, running_var)[c];
        if (training) {
            moments(o, c, &mean, &variance);
            running_mean->value[c] = .9 * running_mean->value[c] + .1 * mean;
            running_var->value[c] = .9 * running_var->value[c] + .1 * variance * n / (n - 1);
        }
        standardize_group(t, o, c, mean, variance, 1e-5);
    }
    if (training) part(t, name, "num_batches_tracked")->value[0] += 1;
    return o->out;
}

ref_value *ref_layer_norm(ref_tape *t, ref_value *x, const char *name, double eps)
{
    node *o = norm(t, x, name, true);
    for (size_t r = 0; r < rows(x); r++) {
        double mean, variance;
        moments(o, r, &mean, &variance);
        standardize_group(t, o, r, mean, variance, eps);
    }
    return o->out;
}

/* ---- one number at a time -------------------------------------------------------------------- */

static void relu_back(const node *o)
{
    for (size_t i = 0; i < rows(o->out) * o->out->c; i++)
        if (o->in->x[i] > 0) o->in->g[i] += o->out->g[i];
}

ref_value *ref_relu(ref_tape *t, ref_value *x)
{
    ref_value *y = ref_value_make(t, x->n, x->h, x->w, x->c);
    note(t, relu_back, x, y);
    for (size_t i = 0; i < rows(x) * x->c; i++) {
        y->x[i] = x->x[i] > 0 ? x->x[i] : 0;
        gap(t, fabs(x->x[i]));
    }
    return y;
}

/* x Phi(x), and its derivative Phi(x) + x phi(x). */
static void gelu_back(const node *o)
{
    for (size_t i = 0; i < rows(o->out) * o->out->c; i++) {
        const double x = o->in->x[i], phi = exp(-x * x / 2) / sqrt(2 * acos(-1));
        o->in->g[i] += o->out->g[i] * (.5 * erfc(-x / sqrt(2)) + x * phi);
    }
}

ref_value *ref_gelu(ref_tape *t, ref_value *x)
{
    ref_value *y = ref_value_make(t, x->n, x->h, x->w, x->c);
    note(t, gelu_back, x, y);
    for (size_t i = 0; i < rows(x) * x->c; i++) y->x[i] = x->x[i] * .5 * erfc(-x->x[i] / sqrt(2));
    return y;
}

static void add_back(const node *o)
{
    for (size_t i = 0; i < rows(o->out) * o->out->c; i++) {
        o->in->g[i] += o->factor * o->out->g[i];
        o->in2->g[i] += o->factor * o->out->g[i];
    }
}

ref_value *ref_add(ref_tape *t, ref_value *a, ref_value *b, double factor)
{
    ref_value *y = ref_value_make(t, a->n, a->h, a->w, a->c);
    node *o = note(t, add_back, a, y);
    o->in2 = b;
    o->factor = factor;
    for (size_t i = 0; i < rows(a) * a->c; i++) y->x[i] = factor * (a->x[i] + b->x[i]);
    return y;
}

/* ---- pools ----------------------------------------------------------------------------------- */

static void pool_back(const node *o)
{
    for (size_t i = 0; i < rows(o->out) * o->out->c; i++)
        o->in->g[(size_t)o->kept[i]] += o->out->g[i];
}

ref_value *ref_max_pool(ref_tape *t, ref_value *x)
{
    ref_value *y = ref_value_make(t, x->n, x->h / 2, x->w / 2, x->c);
    node *o = note(t, pool_back, x, y);
    o->kept = numbers(t, rows(y) * y->c); /* where the largest stands */
    for (size_t r = 0; r < rows(y); r++)
        for (size_t c = 0; c < x->c; c++) {
            const size_t n = r / (y->h * y->w), i = r / y->w % y->h, j = r % y->w;
            double most = -INFINITY, next = -INFINITY;
            for (size_t k = 0; k < 4; k++) {
                const size_t row = 2 * i + k / 2, column = 2 * j + k % 2;
                const size_t at = ((n * x->h + row) * x->w + column) * x->c + c;
                if (x->x[at] > most) {
                    next = most;
                    most = x->x[at];
                    o->kept[r * x->c + c] = (double)at;
                } else {
                    next = fmax(next, x->x[at]);
                }
            }
            y->x[r * x->c + c] = most;
            if (most > 0) gap(t, most - next);
        }
    return y;
}

static void mean_back(const node *o)
{
    const ref_value *x = o->in;
    const size_t pixels = x->h * x->w;
    for (size_t i = 0; i < rows(x) * x->c; i++)
        x->g[i] += o->out->g[i / (pixels * x->c) * x->c + i % x->c] / (double)pixels;
}

ref_value *ref_mean(ref_tape *t, ref_value *x)
{
    const size_t pixels = x->h * x->w;
    ref_value *y = ref_value_make(t, x->n, 1, 1, x->c);
    note(t, mean_back, x, y);
    for (size_t i = 0; i < rows(x) * x->c; i++)
        y->x[i / (pixels * x->c) * x->c + i % x->c] += x->x[i] / (double)pixels;
    return y;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void tokens_back(const node *o)
{
    const ref_value *y = o->out;
    const size_t one = y->h * y->c, before = o->count * y->c;
    for (size_t i = 0; i < y->n * one; i++) {
        const size_t n = i / one, at = i % one;
        o->weight->grad[at] += y->g[i];
        if (at < before)
            o->tokens[at / y->c]->grad[at % y->c] += y->g[i];
        else
            o->in->g[n * (one - before) + at - before] += y->g[i];
    }
}

ref_value *ref_tokens(ref_tape *t, ref_value *x, ref_array *const *tokens, size_t count,
                      ref_array *positions)
{
    ref_value *y = ref_value_make(t, x->n, x->h * x->w + count, 1, x->c);
    node *o = note(t, tokens_back, x, y);
    const size_t one = y->h * y->c, before = count * y->c;
    o->weight = positions;
    o->count = count;
    for (size_t k = 0; k < count; k++) o->tokens[k] = tokens[k];
    ck_assert_uint_eq(positions->count, one);
    for (size_t i = 0; i < y->n * one; i++) {
        const size_t n = i / one, at = i % one;
        y->x[i] =
            values_of(t, positions)[at] + (at < before ? values_of(t, tokens[at / y->c])[at % y->c]
                                                       : x->x[n * (one - before) + at - before]);
    }
    return y;
}

static void token_back(const node *o)
{
    const ref_value *x = o->in, *y = o->out;
    for (size_t i = 0; i < y->n * y->c; i++)
        x->g[(i / y->c * x->h + o->count) * x->c + i % y->c] += y->g[i];
}

ref_value *ref_token(ref_tape *t, ref_value *x, size_t index)
{
    ref_value *y = ref_value_make(t, x->n, 1, 1, x->c);
    note(t, token_back, x, y)->count = index;
    for (size_t i = 0; i < y->n * y->c; i++)
        y->x[i] = x->x[(i / y->c * x->h + index) * x->c + i % y->c];
    return y;
}

/* Queries, keys and values (which: 0, 1, 2) of a token and a head: d numbers from here. */
static size_t head_at(const node *o, size_t n, size_t token, size_t which, size_t head)
{
    const size_t c = o->out->c;
    return (n * o->in->h + token) * 3 * c + which * c + head * (c / o->heads);
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Of one query: p are its shares of the values. */
static void attend_back(const node *o, size_t n, size_t q, size_t head, const double *p)
{
    const ref_value *x = o->in;
    const size_t tokens = x->h, d = o->out->c / o->heads;
    const double *g = o->out->g + (n * tokens + q) * o->out->c + head * d;
    double mean = 0;
    for (size_t k = 0; k < tokens; k++) mean += p[k] * dot(g, x->x + head_at(o, n, k, 2, head), d);
    const size_t query = head_at(o, n, q, 0, head);
    for (size_t k = 0; k < tokens; k++) {
        const size_t key = head_at(o, n, k, 1, head), value = head_at(o, n, k, 2, head);
        const double s = p[k] * (dot(g, x->x + value, d) - mean) / sqrt((double)d);
        for (size_t i = 0; i < d; i++) {
            x->g[value + i] += p[k] * g[i];
            x->g[query + i] += s * x->x[key + i];
            x->g[key + i] += s * x->x[query + i];
        }
    }
}

static void attention_back(const node *o)
{
    const size_t tokens = o->in->h;
    const double *p = o->kept;
    for (size_t n = 0; n < o->in->n; n++)
        for (size_t head = 0; head < o->heads; head++)
            for (size_t q = 0; q < tokens; q++, p += tokens) attend_back(o, n, q, head, p);
}

static void attend(const node *o, size_t n, size_t q, size_t head, double *p)
{
    const ref_value *x = o->in;
    const size_t tokens = x->h, d = o->out->c / o->heads;
    double *y = o->out->x + (n * tokens + q) * o->out->c + head * d, sum = 0;
    for (size_t k = 0; k < tokens; k++) {
        p[k] = exp(dot(x->x + head_at(o, n, q, 0, head), x->x + head_at(o, n, k, 1, head), d) /
                   sqrt((double)d));
        sum += p[k];
    }
    for (size_t k = 0; k < tokens; k++) {
        p[k] /= sum;
        for (size_t i = 0; i < d; i++) y[i] += p[k] * x->x[head_at(o, n, k, 2, head) + i];
    }
}

ref_value *ref_attention(ref_tape *t, ref_value *qkv, size_t heads)
{
    const size_t tokens = qkv->h;
    ref_value *y = ref_value_make(t, qkv->n, tokens, 1, qkv->c / 3);
    node *o = note(t, attention_back, qkv, y);
    o->heads = heads;
    double *p = o->kept = numbers(t, qkv->n * heads * tokens * tokens);
    for (size_t n = 0; n < qkv->n; n++)
        for (size_t head = 0; head < heads; head++)
            for (size_t q = 0; q < tokens; q++, p += tokens) attend(o, n, q, head, p);
    return y;
}

/* ---- its probabilities ----------------------------------------------------------------------- */

static void map_back(const node *o)
{
    const ref_value *x = o->in;
    const size_t tokens = x->h, d = x->c / 3 / o->heads;
    const double *p = o->out->x, *g = o->out->g;
    for (size_t n = 0; n < x->n; n++)
        for (size_t head = 0; head < o->heads; head++)
            for (size_t q = 0; q < tokens; q++, p += tokens, g += tokens) {
                const double mean = dot(p, g, tokens);
                const size_t query = n * tokens * x->c + q * x->c + head * d;
                for (size_t k = 0; k < tokens; k++) {
                    const size_t key = (n * tokens + k) * x->c + x->c / 3 + head * d;
                    const double s = p[k] * (g[k] - mean) / sqrt((double)d);
                    for (size_t i = 0; i < d; i++) {
                        x->g[query + i] += s * x->x[key + i];
                        x->g[key + i] += s * x->x[query + i];
                    }
                }
            }
}

ref_value *ref_attention_map(ref_tape *t, ref_value *qkv, size_t heads)
{
    const size_t tokens = qkv->h, d = qkv->c / 3 / heads;
    ref_value *y = ref_value_make(t, qkv->n * heads, tokens, 1, tokens);
    node *o = note(t, map_back, qkv, y);
    double *p = y->x;
    o->heads = heads;
    for (size_t n = 0; n < qkv->n; n++)
        for (size_t head = 0; head < heads; head++)
            for (size_t q = 0; q < tokens; q++, p += tokens) {
                const double *row = qkv->x + (n * tokens + q) * qkv->c + head * d;
                double sum = 0;
                for (size_t k = 0; k < tokens; k++) {
                    const double *key = qkv->x + (n * tokens + k) * qkv->c + qkv->c / 3 + head * d;
                    p[k] = exp(dot(row, key, d) / sqrt((double)d));
                    sum += p[k];
                }
                for (size_t k = 0; k < tokens; k++) p[k] /= sum;
            }
    return y;
}
