/* SPDX-License-Identifier: MIT
 * evaluate.c: see evaluate.h. Every value is kept; an op finds its inputs by name. */
#include "evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct machine {
    tensor *values;
    size_t n, room;
    const Onnx__NodeProto *node;
} machine;

/* ---- values ---------------------------------------------------------------------------------- */

static tensor make(int rank, const int64_t *dim)
{
    tensor t = {.rank = rank, .count = 1};
    for (int i = 0; i < rank; i++) {
        t.dim[i] = dim[i];
        t.count *= (size_t)dim[i];
    }
    t.x = calloc(t.count + 1, sizeof *t.x);
    ck_assert_ptr_nonnull(t.x);
    return t;
}

static void keep(machine *m, const char *name, tensor t)
{
    if (m->n == m->room) {
        m->room = m->room ? 2 * m->room : 256;
        m->values = realloc(m->values, m->room * sizeof *m->values);
        ck_assert_ptr_nonnull(m->values);
    }
    t.name = name;
    m->values[m->n++] = t;
}

/* Input i of the node; a copy of the record, not of its numbers. */
static tensor in(const machine *m, size_t i)
{
    ck_assert_msg(i < m->node->n_input, "%s has no input %zu", m->node->name, i);
    for (size_t k = m->n; k-- > 0;)
        if (!strcmp(m->values[k].name, m->node->input[i])) return m->values[k];
    ck_abort_msg("%s reads %s", m->node->name, m->node->input[i]);
}

static void load(machine *m, const Onnx__TensorProto *t)
{
    tensor to = make((int)t->n_dims, t->dims);
    const uint8_t *bytes = t->raw_data.data;
    for (size_t i = 0; i < to.count; i++) {
        float f;
        int32_t number;
        int64_t large;
        int8_t small;
        switch (t->data_type) {
        case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
            memcpy(&f, bytes + 4 * i, sizeof f);
            to.x[i] = (double)f;
            break;
        case ONNX__TENSOR_PROTO__DATA_TYPE__INT32:
            memcpy(&number, bytes + 4 * i, sizeof number);
            to.x[i] = number;
            break;
        case ONNX__TENSOR_PROTO__DATA_TYPE__INT64:
            memcpy(&large, bytes + 8 * i, sizeof large);
            to.x[i] = (double)large;
            break;
        case ONNX__TENSOR_PROTO__DATA_TYPE__INT8:
            memcpy(&small, bytes + i, sizeof small);
            to.x[i] = small;
            break;
        default:
            ck_assert_int_eq(t->data_type, ONNX__TENSOR_PROTO__DATA_TYPE__UINT8);
            to.x[i] = bytes[i];
        }
    }
    keep(m, t->name, to);
}

static const Onnx__AttributeProto *attribute(const machine *m, const char *name)
{
    for (size_t i = 0; i < m->node->n_attribute; i++)
        if (!strcmp(m->node->attribute[i]->name, name)) return m->node->attribute[i];
    return NULL;
}

static int64_t integer(const machine *m, const char *name, int64_t standard)
{
    const Onnx__AttributeProto *a = attribute(m, name);
    return a ? a->i : standard;
}

static int64_t element(const machine *m, const char *name, size_t i, int64_t standard)
{
    const Onnx__AttributeProto *a = attribute(m, name);
    return a ? a->ints[i] : standard;
}

/* Where element i of a tensor [dim] stands in one that is broadcast to it. */
static size_t broadcast(const tensor *from, const tensor *to, size_t i)
{
    size_t at = 0, step = 1;
    for (int d = to->rank - 1, s = from->rank - 1; s >= 0; d--, s--) {
        const size_t index = i % (size_t)to->dim[d];
        i /= (size_t)to->dim[d];
        if (from->dim[s] > 1) at += index * step;
        step *= (size_t)from->dim[s];
    }
    return at;
}

/* The shape that two are broadcast to, but for the last `without` dimensions. */
static tensor wide(const tensor *a, const tensor *b, int without)
{
    int64_t dim[EVALUATE_RANK];
    const int rank = a->rank > b->rank ? a->rank : b->rank;
    for (int d = 0; d < rank; d++) {
        const int i = d - (rank - a->rank), k = d - (rank - b->rank);
        const int64_t one = i < 0 ? 1 : a->dim[i], other = k < 0 ? 1 : b->dim[k];
        ck_assert(one == other || one == 1 || other == 1 || d >= rank - without);
        dim[d] = one > other ? one : other;
    }
    return make(rank, dim);
}

/* ---- number by number ------------------------------------------------------------------------ */

static double apply(const char *op, double a, double b)
{
    if (!strcmp(op, "Add")) return a + b;
    if (!strcmp(op, "Sub")) return a - b;
    if (!strcmp(op, "Mul")) return a * b;
    if (!strcmp(op, "Div")) return a / b;
    if (!strcmp(op, "Relu")) return a > 0 ? a : 0;
    if (!strcmp(op, "Erf")) return erf(a);
    if (!strcmp(op, "Gelu")) return a * .5 * (1 + erf(a * sqrt(.5)));
    ck_assert_str_eq(op, "Identity");
    return a;
}

static tensor elementwise(const machine *m)
{
    const tensor a = in(m, 0), b = m->node->n_input > 1 ? in(m, 1) : a;
    tensor y = wide(&a, &b, 0);
    for (size_t i = 0; i < y.count; i++)
        y.x[i] = apply(m->node->op_type, a.x[broadcast(&a, &y, i)], b.x[broadcast(&b, &y, i)]);
    return y;
}

/* Of x, scale and zero; per channel of the first dimension where they are arrays. */
static tensor quantise(const machine *m, bool back)
{
    const tensor x = in(m, 0), scale = in(m, 1);
    const size_t row = x.rank && scale.rank ? x.count / (size_t)x.dim[0] : x.count;
    tensor y = make(x.rank, x.dim);
    ck_assert(scale.rank == 0 || integer(m, "axis", 1) == 0);
    for (size_t i = 0; i < x.count; i++) {
        const size_t c = scale.rank ? i / row : 0;
        const double zero = m->node->n_input > 2 ? in(m, 2).x[c] : 0;
        const double q = nearbyint(x.x[i] / scale.x[c]) + zero;
        y.x[i] = back ? (x.x[i] - zero) * scale.x[c] : q < 0 ? 0 : q > 255 ? 255 : q;
    }
    return y;
}

/* ---- maps [N,C,H,W] -------------------------------------------------------------------------- */

typedef struct window {
    int64_t kernel[2], stride[2], pad[2], out[2];
} window;

static window window_of(const machine *m, const tensor *x)
{
    window w;
    for (size_t i = 0; i < 2; i++) {
        w.kernel[i] = element(m, "kernel_shape", i, 0);
        w.stride[i] = element(m, "strides", i, 1);
        w.pad[i] = element(m, "pads", i, 0);
        ck_assert_int_eq(element(m, "dilations", i, 1), 1);
        const int64_t padded = x->dim[2 + i] + w.pad[i] + element(m, "pads", 2 + i, 0);
        w.out[i] = (padded - w.kernel[i]) / w.stride[i] + 1;
    }
    return w;
}

/* Pixel (oy s + ky - p, ox s + kx - p) of a plane; NAN outside. */
static double pixel(const tensor *x, size_t plane, const window *w, const int64_t at[4])
{
    const int64_t row = at[0] * w->stride[0] + at[2] - w->pad[0];
    const int64_t column = at[1] * w->stride[1] + at[3] - w->pad[1];
    if (row < 0 || column < 0 || row >= x->dim[2] || column >= x->dim[3]) return (double)NAN;
    return x->x[((int64_t)plane * x->dim[2] + row) * x->dim[3] + column];
}

static tensor convolve(const machine *m)
{
    const tensor x = in(m, 0), weight = in(m, 1);
    const window w = window_of(m, &x);
    const int64_t dim[] = {x.dim[0], weight.dim[0], w.out[0], w.out[1]};
    const size_t c = (size_t)x.dim[1], taps = weight.count / (size_t)weight.dim[0];
    tensor y = make(4, dim);
    ck_assert_int_eq(integer(m, "group", 1), 1);
    for (size_t i = 0; i < y.count; i++) {
        const int64_t ox = (int64_t)i % dim[3], oy = (int64_t)i / dim[3] % dim[2];
        const size_t o = i / (size_t)(dim[2] * dim[3]) % (size_t)dim[1];
        const size_t n = i / (size_t)(dim[1] * dim[2] * dim[3]);
        y.x[i] = m->node->n_input > 2 ? in(m, 2).x[o] : 0;
        for (size_t t = 0; t < taps; t++) {
            const int64_t kx = (int64_t)t % w.kernel[1],
                          ky = (int64_t)t / w.kernel[1] % w.kernel[0];
            const size_t from = t / (size_t)(w.kernel[0] * w.kernel[1]);
            const double p = pixel(&x, n * c + from, &w, (int64_t[4]){oy, ox, ky, kx});
            if (!isnan(p)) y.x[i] += weight.x[o * taps + t] * p;
        }
    }
    return y;
}

static tensor pool(const machine *m, bool max)
{
    const tensor x = in(m, 0);
    const window w = window_of(m, &x);
    const int64_t dim[] = {x.dim[0], x.dim[1], w.out[0], w.out[1]};
    tensor y = make(4, dim);
    for (size_t i = 0; i < y.count; i++) {
        const int64_t ox = (int64_t)i % dim[3], oy = (int64_t)i / dim[3] % dim[2];
        double most = -INFINITY, sum = 0, n = 0;
        for (int64_t k = 0; k < w.kernel[0] * w.kernel[1]; k++) {
            const int64_t at[] = {oy, ox, k / w.kernel[1], k % w.kernel[1]};
            const double p = pixel(&x, i / (size_t)(dim[2] * dim[3]), &w, at);
            if (isnan(p)) continue;
            most = fmax(most, p);
            sum += p;
            n++;
        }
        if (integer(m, "count_include_pad", 0)) n = (double)(w.kernel[0] * w.kernel[1]);
        y.x[i] = max ? most : sum / n;
    }
    return y;
}

static tensor batch_norm(const machine *m)
{
    const tensor x = in(m, 0);
    tensor y = make(x.rank, x.dim);
    const size_t places = x.rank == 4 ? (size_t)(x.dim[2] * x.dim[3]) : 1;
    const double eps = (double)attribute(m, "epsilon")->f;
    for (size_t i = 0; i < x.count; i++) {
        const size_t c = i / places % (size_t)x.dim[1];
        y.x[i] =
            (x.x[i] - in(m, 3).x[c]) / sqrt(in(m, 4).x[c] + eps) * in(m, 1).x[c] + in(m, 2).x[c];
    }
    return y;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static tensor product(const machine *m, bool gemm)
{
    const tensor a = in(m, 0), b = in(m, 1);
    const bool turned = gemm && integer(m, "transB", 0);
    const int64_t rows = a.dim[a.rank - 2], inner = a.dim[a.rank - 1];
    const int64_t columns = turned ? b.dim[0] : b.dim[b.rank - 1];
    tensor shape = wide(&a, &b, 2);
    shape.dim[shape.rank - 2] = rows;
    shape.dim[shape.rank - 1] = columns;
    free(shape.x);
    tensor y = make(shape.rank, shape.dim), groups = y;
    groups.rank -= 2;
    for (size_t i = 0; i < y.count; i++) {
        const size_t group = i / (size_t)(rows * columns), r = i / (size_t)columns % (size_t)rows;
        const size_t c = i % (size_t)columns, k = (size_t)inner;
        tensor ga = a, gb = b;
        ga.rank -= 2;
        gb.rank -= 2;
        const double *p = a.x + broadcast(&ga, &groups, group) * (size_t)rows * k + r * k;
        const double *q = b.x + broadcast(&gb, &groups, group) * k * (size_t)columns;
        for (size_t t = 0; t < k; t++)
            y.x[i] += p[t] * (turned ? q[c * k + t] : q[t * (size_t)columns + c]);
        if (gemm && m->node->n_input > 2) y.x[i] += in(m, 2).x[c];
    }
    return y;
}

static tensor over_rows(const machine *m, bool norm)
{
    const tensor x = in(m, 0);
    const size_t n = (size_t)x.dim[x.rank - 1];
    tensor y = make(x.rank, x.dim);
    ck_assert_int_eq(integer(m, "axis", -1), -1);
    for (size_t r = 0; r < x.count; r += n) {
        double most = -INFINITY, sum = 0, mean = 0, variance = 0;
        for (size_t i = 0; i < n; i++) most = fmax(most, x.x[r + i]);
        for (size_t i = 0; i < n; i++) sum += exp(x.x[r + i] - most);
        for (size_t i = 0; i < n; i++) mean += x.x[r + i] / (double)n;
        for (size_t i = 0; i < n; i++) variance += pow(x.x[r + i] - mean, 2) / (double)n;
        for (size_t i = 0; i < n; i++)
            y.x[r + i] = norm ? (x.x[r + i] - mean) /
                                        sqrt(variance + (double)attribute(m, "epsilon")->f) *
                                        in(m, 1).x[i] +
                                    in(m, 2).x[i]
                              : exp(x.x[r + i] - most) / sum;
    }
    return y;
}

/* The mean over the dimensions of an attribute or of input 1, or over all places of a map. */
static tensor mean(const machine *m, bool places)
{
    const tensor x = in(m, 0);
    const Onnx__AttributeProto *axes = attribute(m, "axes");
    tensor y = x;
    for (int d = 0; d < x.rank; d++) {
        bool over = places && d >= 2;
        for (size_t i = 0; axes && i < axes->n_ints; i++) over |= axes->ints[i] == d;
        for (size_t i = 0; !axes && !places && i < in(m, 1).count; i++)
            over |= (int64_t)in(m, 1).x[i] == d;
        if (over) y.dim[d] = 1;
    }
    y = make(x.rank, y.dim);
    const double n = (double)x.count / (double)y.count;
    for (size_t i = 0; i < x.count; i++) y.x[broadcast(&y, &x, i)] += x.x[i] / n;
    return y;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static tensor same_numbers(const tensor *x, int rank, int64_t *dim)
{
    int64_t known = 1;
    for (int i = 0; i < rank; i++) known *= dim[i] < 0 ? 1 : dim[i];
    for (int i = 0; i < rank; i++)
        if (dim[i] < 0) dim[i] = (int64_t)x->count / known;
    tensor y = make(rank, dim);
    ck_assert_uint_eq(x->count, y.count);
    memcpy(y.x, x->x, x->count * sizeof *x->x);
    return y;
}

static tensor reshape(const machine *m)
{
    int64_t dim[EVALUATE_RANK];
    const tensor x = in(m, 0), shape = in(m, 1);
    for (size_t i = 0; i < shape.count; i++) dim[i] = (int64_t)shape.x[i];
    return same_numbers(&x, (int)shape.count, dim);
}

static tensor flatten(const machine *m)
{
    const tensor x = in(m, 0);
    int64_t dim[] = {x.dim[0], -1};
    return same_numbers(&x, 2, dim);
}

static tensor transpose(const machine *m)
{
    const tensor x = in(m, 0);
    int64_t dim[EVALUATE_RANK], step[EVALUATE_RANK] = {0};
    for (int d = x.rank - 1, s = 1; d >= 0; s *= (int)x.dim[d], d--) step[d] = s;
    for (int d = 0; d < x.rank; d++) dim[d] = x.dim[element(m, "perm", (size_t)d, 0)];
    tensor y = make(x.rank, dim);
    for (size_t i = 0; i < y.count; i++) {
        int64_t at = 0;
        size_t rest = i;
        for (int d = x.rank - 1; d >= 0; d--) {
            at += (int64_t)(rest % (size_t)dim[d]) * step[element(m, "perm", (size_t)d, 0)];
            rest /= (size_t)dim[d];
        }
        y.x[i] = x.x[at];
    }
    return y;
}

/* A part of x along an axis, as a new tensor. */
static tensor part(const tensor *x, int axis, int64_t first, int64_t count)
{
    tensor y = *x;
    size_t row = 1;
    y.dim[axis] = count;
    for (int d = axis + 1; d < x->rank; d++) row *= (size_t)x->dim[d];
    y = make(x->rank, y.dim);
    const size_t wide_row = row * (size_t)x->dim[axis], narrow = row * (size_t)count;
    for (size_t i = 0; i < y.count; i++)
        y.x[i] = x->x[i / narrow * wide_row + (size_t)first * row + i % narrow];
    return y;
}

static tensor slice(const machine *m)
{
    const tensor x = in(m, 0), first = in(m, 1), end = in(m, 2), axis = in(m, 3);
    return part(&x, (int)axis.x[0], (int64_t)first.x[0], (int64_t)(end.x[0] - first.x[0]));
}

/* All parts but the first are kept at once. */
static tensor split(machine *m)
{
    const tensor x = in(m, 0), sizes = in(m, 1);
    const int axis = (int)integer(m, "axis", 0);
    int64_t at = 0;
    tensor y = {0};
    for (size_t i = 0; i < sizes.count; at += (int64_t)sizes.x[i], i++) {
        const tensor one = part(&x, axis, at, (int64_t)sizes.x[i]);
        if (i == 0)
            y = one;
        else
            keep(m, m->node->output[i], one);
    }
    return y;
}

static tensor concat(const machine *m)
{
    tensor y = in(m, 0);
    const int axis = (int)integer(m, "axis", 0);
    size_t row = 1, at = 0;
    for (size_t k = 1; k < m->node->n_input; k++) y.dim[axis] += in(m, k).dim[axis];
    y = make(y.rank, y.dim);
    for (int d = axis; d < y.rank; d++) row *= (size_t)y.dim[d];
    for (size_t k = 0; k < m->node->n_input; k++) {
        const tensor x = in(m, k);
        const size_t own = row / (size_t)y.dim[axis] * (size_t)x.dim[axis];
        for (size_t i = 0; i < x.count; i++) y.x[i / own * row + at + i % own] = x.x[i];
        at += own;
    }
    return y;
}

static tensor gather(const machine *m)
{
    const tensor x = in(m, 0), index = in(m, 1);
    const int axis = (int)integer(m, "axis", 0);
    int64_t dim[EVALUATE_RANK];
    int rank = 0;
    size_t row = 1;
    for (int d = 0; d < axis; d++) dim[rank++] = x.dim[d];
    for (int d = 0; d < index.rank; d++) dim[rank++] = index.dim[d];
    for (int d = axis + 1; d < x.rank; d++) row *= (size_t)(dim[rank++] = x.dim[d]);
    tensor y = make(rank, dim);
    for (size_t i = 0; i < y.count; i++) {
        const size_t which = i / row % index.count, before = i / row / index.count;
        const size_t from = before * (size_t)x.dim[axis] + (size_t)index.x[which];
        y.x[i] = x.x[from * row + i % row];
    }
    return y;
}

static tensor expand(const machine *m)
{
    const tensor x = in(m, 0), shape = in(m, 1);
    tensor to = {.rank = (int)shape.count};
    for (size_t i = 0; i < shape.count; i++) to.dim[i] = (int64_t)shape.x[i];
    tensor y = wide(&x, &to, 0);
    for (size_t i = 0; i < y.count; i++) y.x[i] = x.x[broadcast(&x, &y, i)];
    return y;
}

static tensor shape_of(const machine *m)
{
    const tensor x = in(m, 0);
    const int64_t first = integer(m, "start", 0), n = integer(m, "end", x.rank) - first;
    tensor y = make(1, &n);
    for (int64_t i = 0; i < n; i++) y.x[i] = (double)x.dim[first + i];
    return y;
}

static tensor pad(const machine *m)
{
    const tensor x = in(m, 0), pads = in(m, 1);
    tensor y = x;
    for (int d = 0; d < x.rank; d++) y.dim[d] += (int64_t)(pads.x[d] + pads.x[x.rank + d]);
    y = make(x.rank, y.dim);
    for (size_t i = 0; i < x.count; i++) {
        size_t rest = i, at = 0, step = 1;
        for (int d = x.rank - 1; d >= 0; d--) {
            at += (rest % (size_t)x.dim[d] + (size_t)pads.x[d]) * step;
            rest /= (size_t)x.dim[d];
            step *= (size_t)y.dim[d];
        }
        y.x[at] = x.x[i];
    }
    return y;
}

/* ---- the model ------------------------------------------------------------------------------- */

static tensor compute(machine *m)
{
    const char *op = m->node->op_type;
    if (!strcmp(op, "Conv")) return convolve(m);
    if (!strcmp(op, "BatchNormalization")) return batch_norm(m);
    if (!strcmp(op, "MaxPool")) return pool(m, true);
    if (!strcmp(op, "AveragePool")) return pool(m, false);
    if (!strcmp(op, "GlobalAveragePool")) return mean(m, true);
    if (!strcmp(op, "ReduceMean")) return mean(m, false);
    if (!strcmp(op, "Gemm")) return product(m, true);
    if (!strcmp(op, "MatMul")) return product(m, false);
    if (!strcmp(op, "Softmax")) return over_rows(m, false);
    if (!strcmp(op, "LayerNormalization")) return over_rows(m, true);
    if (!strcmp(op, "Reshape")) return reshape(m);
    if (!strcmp(op, "Flatten")) return flatten(m);
    if (!strcmp(op, "Transpose")) return transpose(m);
    if (!strcmp(op, "Slice")) return slice(m);
    if (!strcmp(op, "Split")) return split(m);
    if (!strcmp(op, "Concat")) return concat(m);
    if (!strcmp(op, "Gather")) return gather(m);
    if (!strcmp(op, "Expand")) return expand(m);
    if (!strcmp(op, "Shape")) return shape_of(m);
    if (!strcmp(op, "Pad")) return pad(m);
    if (!strcmp(op, "QuantizeLinear")) return quantise(m, false);
    if (!strcmp(op, "DequantizeLinear")) return quantise(m, true);
    return elementwise(m);
}

double *evaluate(const Onnx__GraphProto *g, const float *pictures, size_t n, size_t *count)
{
    machine m = {0};
    int64_t dim[4] = {(int64_t)n};
    for (size_t i = 1; i < 4; i++)
        dim[i] = g->input[0]->type->tensor_type->shape->dim[i]->dim_value;
    for (size_t i = 0; i < g->n_initializer; i++) load(&m, g->initializer[i]);
    tensor x = make(4, dim);
    for (size_t i = 0; i < x.count; i++) x.x[i] = (double)pictures[i];
    keep(&m, g->input[0]->name, x);
    for (size_t i = 0; i < g->n_node; i++) {
        m.node = g->node[i];
        const tensor y = compute(&m);
        keep(&m, m.node->output[0], y);
    }
    double *logits = NULL;
    for (size_t i = 0; i < m.n; i++) {
        if (strcmp(m.values[i].name, "logits") == 0) {
            logits = m.values[i].x;
            *count = m.values[i].count;
        } else {
            free(m.values[i].x);
        }
    }
    free(m.values);
    return logits;
}
