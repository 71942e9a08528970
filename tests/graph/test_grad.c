/* SPDX-License-Identifier: MIT
 * test_grad.c: differentiation: gradients of values used several times. Thousands of small random
 * graphs, and the classic ones (x + x, x * x, residuals, diamonds), against a tape in double
 * precision that is written here: arrays in order, gradients added up one by one in reverse.
 *
 * A network is a list of nodes in a form both sides read. Leaves are inputs and parameters; some
 * nodes' own gradients are asked for, too. The loss is made of dots with fixed numbers. */
#include "../op/harness.h"

#include "../../lib/base/philox.h"
#include "../../lib/kernel/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum node_kind {
    INPUT,
    PARAM,
    ADD,
    MUL,
    SCALE,
    RELU,
    SOFTMAX,
    TRANSPOSE, /* of the two last dimensions */
    RESHAPE,
    CONCAT, /* of the two first inputs, along the last dimension */
    COPY,   /* an op that can not add to a gradient */
    DOT,    /* a scalar */
    KINDS
} node_kind;

enum { MOST_NODES = 48, MOST_ELEMENTS = 256, BATCH = 4 };

typedef struct node {
    node_kind kind;
    int in[3], n_in;
    float factor;
    kd_shape shape;
    bool want; /* its gradient is asked for */
    kd_value value;
    double y[MOST_ELEMENTS], dy[MOST_ELEMENTS];
} node;

typedef struct net {
    int n;
    bool symbolic; /* dimension 0 is the batch; no parameters then */
    node node[MOST_NODES];
} net;

static size_t last(const node *v)
{
    return (size_t)v->shape.dim[v->shape.rank - 1];
}

static size_t count(const node *v)
{
    size_t n = 1;
    for (int i = 0; i < v->shape.rank; i++)
        n *= v->shape.dim[i] < 0 ? (size_t)-v->shape.dim[i] * BATCH : (size_t)v->shape.dim[i];
    return n;
}

/* ---- the tape -------------------------------------------------------------------------------- */

static void softmax_row(const double *x, double *y, size_t k)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < k; i++) max = fmax(max, x[i]);
    for (size_t i = 0; i < k; i++) sum += y[i] = exp(x[i] - max);
    for (size_t i = 0; i < k; i++) y[i] /= sum;
}

static void compute(net *t, int at)
{
    node *v = &t->node[at];
    const node *a = &t->node[v->in[0]], *b = &t->node[v->in[1]];
    const size_t n = count(v), k = last(v);
    if (v->kind == DOT) v->y[0] = 0;
    for (int i = 0; i < v->n_in && v->kind == DOT; i++)
        for (size_t e = 0; e < count(&t->node[v->in[i]]); e++)
            v->y[0] += op_test_constant(i, e) * t->node[v->in[i]].y[e];
    for (size_t e = 0; e < n; e++) {
        const size_t row = e / k * k,
                     r = a->shape.rank > 1 ? (size_t)a->shape.dim[a->shape.rank - 2] : 1;
        switch (v->kind) {
        case ADD:
            v->y[e] = a->y[e] + b->y[e];
            break;
        case MUL:
            v->y[e] = a->y[e] * b->y[e];
            break;
        case SCALE:
            v->y[e] = (double)v->factor * a->y[e];
            break;
        case RELU:
            v->y[e] = a->y[e] > 0 ? a->y[e] : 0;
            break;
        case SOFTMAX:
            if (e == row) softmax_row(a->y + row, v->y + row, k);
            break;
        case TRANSPOSE: /* k rows of a's plane become v's columns */
            v->y[e] = a->y[e / (r * last(a)) * (r * last(a)) + e % k * last(a) + e / k % last(a)];
            break;
        case CONCAT:
            v->y[e] = e % k < last(a) ? a->y[e / k * last(a) + e % k]
                                      : b->y[e / k * last(b) + e % k - last(a)];
            break;
        case RESHAPE:
        case COPY:
            v->y[e] = a->y[e];
            break;
        case INPUT:
        case PARAM:
        case DOT:
        case KINDS:
            break;
        }
    }
}

/* Add v's gradient, which is complete, to its inputs'. */
static void differentiate(net *t, int at)
{
    node *v = &t->node[at], *a = &t->node[v->in[0]], *b = &t->node[v->in[1]];
    const size_t n = count(v), k = last(v);
    for (int i = 0; i < v->n_in && v->kind == DOT; i++)
        for (size_t e = 0; e < count(&t->node[v->in[i]]); e++)
            t->node[v->in[i]].dy[e] += op_test_constant(i, e) * v->dy[0];
    for (size_t e = 0; e < n; e++) {
        double dot = 0;
        const size_t row = e / k * k,
                     r = a->shape.rank > 1 ? (size_t)a->shape.dim[a->shape.rank - 2] : 1;
        const double dy = v->dy[e];
        switch (v->kind) {
        case ADD:
            a->dy[e] += dy;
            b->dy[e] += dy;
            break;
        case MUL:
            a->dy[e] += dy * b->y[e];
            b->dy[e] += dy * a->y[e];
            break;
        case SCALE:
            a->dy[e] += dy * (double)v->factor;
            break;
        case RELU:
            a->dy[e] += a->y[e] > 0 ? dy : 0;
            break;
        case SOFTMAX:
            for (size_t i = 0; i < k; i++) dot += v->y[row + i] * v->dy[row + i];
            a->dy[e] += v->y[e] * (dy - dot);
            break;
        case TRANSPOSE:
            a->dy[e / (r * last(a)) * (r * last(a)) + e % k * last(a) + e / k % last(a)] += dy;
            break;
        case CONCAT:
            if (e % k < last(a))
                a->dy[e / k * last(a) + e % k] += dy;
            else
                b->dy[e / k * last(b) + e % k - last(a)] += dy;
            break;
        case RESHAPE:
        case COPY:
            a->dy[e] += dy;
            break;
        case INPUT:
        case PARAM:
        case DOT:
        case KINDS:
            break;
        }
    }
}

/* The last node is the loss. */
static void run_tape(net *t)
{
    for (int i = 0; i < t->n; i++) {
        compute(t, i);
        memset(t->node[i].dy, 0, sizeof t->node[i].dy);
    }
    t->node[t->n - 1].dy[0] = 1;
    for (int i = t->n - 1; i >= 0; i--) differentiate(t, i);
}

/* ---- the same in the library ----------------------------------------------------------------- */

static kd_value build_node(kd_graph *g, net *t, int at)
{
    const node *v = &t->node[at];
    const kd_value a = t->node[v->in[0]].value, b = t->node[v->in[1]].value;
    const kd_value both[] = {a, b, t->node[v->in[2]].value};
    const kd_param_opt opt = {.struct_size = sizeof opt, .init = KD_INIT_NORMAL, .scale = 1};
    int order[KD_MAX_RANK] = {0, 1, 2, 3, 4, 5};
    char name[16];
    snprintf(name, sizeof name, "v%d", at);
    switch (v->kind) {
    case INPUT:
        return kd_input(g, name, KD_F32, v->shape.rank, v->shape.dim);
    case PARAM:
        return kd_param(g, name, v->shape.rank, v->shape.dim, &opt);
    case ADD:
        return kd_add(g, a, b);
    case MUL:
        return kd_mul(g, a, b);
    case SCALE:
        return kd_scale(g, a, v->factor);
    case RELU:
        return kd_relu(g, a);
    case SOFTMAX:
        return kd_softmax(g, a);
    case TRANSPOSE:
        order[v->shape.rank - 1]--;
        order[v->shape.rank - 2]++;
        return kd_transpose(g, a, order);
    case RESHAPE:
        return kd_reshape(g, a, v->shape.rank, v->shape.dim);
    case CONCAT:
        return kd_concat(g, both, 2, -1);
    case COPY:
        return op_test_copy(g, a);
    case DOT:
        return op_test_dot(g, both, v->n_in);
    case KINDS:
        break;
    }
    return KD_NONE;
}

static const char *text(const net *t)
{
    static char s[4096];
    static const char *const names[KINDS] = {"input",   "param",  "add",     "mul",
                                             "scale",   "relu",   "softmax", "transpose",
                                             "reshape", "concat", "copy",    "dot"};
    size_t used = 0;
    for (int i = 0; i < t->n; i++) {
        const node *v = &t->node[i];
        used += (size_t)snprintf(s + used, sizeof s - used, "%s%d%s=%s", i ? " " : "", i,
                                 v->want ? "*" : "", names[v->kind]);
        for (int k = 0; k < v->n_in && used < sizeof s; k++)
            used += (size_t)snprintf(s + used, sizeof s - used, "%c%d", k ? ',' : '(', v->in[k]);
        if (used >= sizeof s) break;
        if (v->n_in) used += (size_t)snprintf(s + used, sizeof s - used, ")");
        if (used >= sizeof s) break;
    }
    return s;
}

static void compare(const net *t, int at, const char *what, const float *got, const double *want,
                    double factor)
{
    double largest = .1;
    const size_t n = count(&t->node[at]);
    for (size_t e = 0; e < n; e++) largest = fmax(largest, fabs(want[e]));
    for (size_t e = 0; e < n; e++)
        ck_assert_msg(fabs((double)got[e] - factor * want[e]) <= 1e-4 * largest,
                      "%s of node %d, element %zu: %.9g, not %.9g, in %s", what, at, e,
                      (double)got[e], factor * want[e], text(t));
}

/* A gradient or value by its output's name; the plan drops what does not depend on anything. */
static const float *output(kd_exec *exec, char letter, int at)
{
    char name[16];
    snprintf(name, sizeof name, "%c%d", letter, at);
    return kd_exec_output(exec, name);
}

typedef struct how {
    int threads, no_sharing, no_fusion, training;
} how;

static void bind(kd_ctx *ctx, const net *t, kd_exec *exec, kd_params *params, float *inputs)
{
    for (int i = 0; i < t->n; i++) {
        const node *v = &t->node[i];
        char name[16];
        float *to = inputs + (size_t)i * MOST_ELEMENTS;
        snprintf(name, sizeof name, "v%d", i);
        if (v->kind == PARAM) to = kd_params_values(params) + kd_params_find(params, name)->offset;
        if (v->kind != PARAM && v->kind != INPUT) continue;
        for (size_t e = 0; e < count(v); e++) to[e] = (float)v->y[e];
        if (v->kind == INPUT) test_ok(ctx, kd_exec_bind(exec, name, to));
    }
}

/* Gradients of parameters after so many runs that were added up, and of the nodes asked for. */
static void check_gradients(const net *t, kd_exec *exec, kd_params *params, int runs)
{
    for (int i = 0; i < t->n; i++) {
        const node *v = &t->node[i];
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        /* A loss that depends on no parameter needs no array of gradients. */
        if (v->kind == PARAM && kd_params_grads(params))
            compare(t, i, "gradient",
                    kd_params_grads(params) + kd_params_find(params, name)->offset, v->dy, runs);
        const float *grad = output(exec, 'g', i);
        if (grad) compare(t, i, "gradient", grad, v->dy, 1);
        if (v->want) compare(t, i, "value", output(exec, 'y', i), v->y, 1);
    }
}

static kd_graph *build(kd_ctx *ctx, net *t)
{
    kd_graph *g;
    test_ok(ctx, kd_graph_create(ctx, &g));
    for (int i = 0; i < t->n; i++) {
        node *v = &t->node[i];
        v->value = build_node(g, t, i);
        test_ok(ctx, kd_graph_status(g));
        const kd_shape shape = kd_graph_shape(g, v->value);
        ck_assert_int_eq(shape.rank, v->shape.rank);
        for (int d = 0; d < shape.rank; d++) ck_assert_int_eq(shape.dim[d], v->shape.dim[d]);
        if (v->want) kd_graph_want_grad(g, v->value);
    }
    test_ok(ctx, kd_graph_grad(g, t->node[t->n - 1].value));
    for (int i = 0; i < t->n; i++) {
        char name[16];
        const kd_value grad = kd_graph_grad_of(g, t->node[i].value);
        if (!t->node[i].want) continue;
        snprintf(name, sizeof name, "y%d", i);
        kd_output(g, t->node[i].value, name);
        snprintf(name, sizeof name, "g%d", i);
        if (grad != KD_NONE) kd_output(g, grad, name);
    }
    return g;
}

/* Memory comes filled with NaNs: what is read before it is written is seen. */
static void run_library(net *t, const char *isa, how h)
{
    static float inputs[MOST_NODES * MOST_ELEMENTS];
    kd_ctx *ctx = test_ctx(h.threads, isa);
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    kd_graph *g = build(ctx, t);
    const kd_plan_opt opt = {.struct_size = sizeof opt,
                             .batch = BATCH,
                             .training = h.training,
                             .no_fusion = h.no_fusion,
                             .no_sharing = h.no_sharing};
    test_ok(ctx, kd_params_create(g, 1, &params));
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    void *memory = kd_ctx_alloc(ctx, kd_plan_arena_size(plan), 1);
    ck_assert_ptr_nonnull(memory);
    memset(memory, 0xff, kd_plan_arena_size(plan));
    test_ok(ctx, kd_exec_create(plan, params, memory, &exec));
    bind(ctx, t, exec, params, inputs);
    for (int runs = 1; runs <= 2; runs++) {
        const kd_run_opt run = {.struct_size = sizeof run, .accumulate = runs > 1};
        test_ok(ctx, kd_exec_run(exec, &run));
        check_gradients(t, exec, params, runs);
    }
    kd_exec_destroy(exec);
    kd_ctx_free(ctx, memory);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}

static void check(net *t)
{
    run_tape(t);
    run_library(t, NULL, (how){.threads = 1, .training = 1});
    run_library(t, NULL, (how){.threads = 1, .no_sharing = 1, .no_fusion = 1});
}

/* ---- networks -------------------------------------------------------------------------------- */

static void fill_leaf(node *v, uint64_t seed)
{
    float x[MOST_ELEMENTS];
    test_fill(x, count(v), seed, 1);
    for (size_t e = 0; e < count(v); e++) v->y[e] = (double)x[e];
}

static int push(net *t, node_kind kind, int a, int b, const kd_shape *shape)
{
    const int at = t->n++;
    node *v = &t->node[at];
    ck_assert_int_lt(at, MOST_NODES);
    memset(v, 0, sizeof *v);
    v->kind = kind;
    v->in[0] = a;
    v->in[1] = b;
    v->n_in = kind < ADD ? 0 : kind == ADD || kind == MUL || kind == CONCAT ? 2 : 1;
    v->factor = -.75f;
    v->shape = shape ? *shape : t->node[a].shape;
    if (kind == DOT) v->shape = (kd_shape){1, {1}};
    if (kind < ADD) fill_leaf(v, (uint64_t)at + 100);
    return at;
}

static kd_shape pick_shape(kdi_rng *r, bool symbolic)
{
    static const kd_shape fixed[] = {{2, {4, 12}}, {3, {4, 3, 4}}, {3, {4, 4, 3}},   {2, {12, 4}},
                                     {2, {2, 24}}, {1, {48}},      {4, {2, 2, 3, 4}}};
    static const kd_shape batch[] = {{2, {-1, 12}}, {3, {-1, 3, 4}}, {3, {-1, 4, 3}},
                                     {2, {-3, 4}},  {2, {-2, 6}},    {4, {-1, 2, 3, 2}}};
    return symbolic ? batch[kdi_rng_below(r, 6)] : fixed[kdi_rng_below(r, 7)];
}

static bool same_count(const net *t, int a, int b)
{
    return count(&t->node[a]) == count(&t->node[b]);
}

/* b under a's shape. */
static int fit(net *t, int a, int b)
{
    const kd_shape *x = &t->node[a].shape, *y = &t->node[b].shape;
    bool equal = x->rank == y->rank;
    for (int d = 0; d < x->rank && equal; d++) equal = x->dim[d] == y->dim[d];
    if (equal) return b;
    const kd_shape shape = *x;
    return push(t, RESHAPE, b, 0, &shape);
}

static void random_node(net *t, kdi_rng *r)
{
    static const node_kind kinds[] = {ADD,  ADD,  ADD,     MUL,       SCALE,   RELU,
                                      RELU, COPY, SOFTMAX, TRANSPOSE, RESHAPE, CONCAT};
    const node_kind k = kinds[kdi_rng_below(r, sizeof kinds / sizeof *kinds)];
    const uint32_t n = (uint32_t)t->n;
    /* Often a recent value, so that graphs are deep; often the same one twice. */
    int a = (int)kdi_rng_below(r, n), b = (int)kdi_rng_below(r, n);
    if (kdi_rng_below(r, 2)) a = (int)n - 1;
    kd_shape shape = t->node[a].shape;
    const int rank = shape.rank;
    switch (k) {
    case ADD:
    case MUL:
        if (!same_count(t, a, b)) b = a;
        b = fit(t, a, b);
        break;
    case TRANSPOSE:
        if (rank < 2 || (rank == 2 && t->symbolic)) return;
        shape.dim[rank - 1] = t->node[a].shape.dim[rank - 2];
        shape.dim[rank - 2] = t->node[a].shape.dim[rank - 1];
        break;
    case RESHAPE:
        if (count(&t->node[a]) != 48) return;
        shape = pick_shape(r, t->symbolic);
        break;
    case CONCAT:
        if (!same_count(t, a, b)) b = a;
        if (count(&t->node[a]) > 48) return;
        b = fit(t, a, b);
        shape.dim[rank - 1] *= 2;
        break;
    default:
        break;
    }
    const int v = push(t, k, a, b, &shape);
    t->node[v].want = kdi_rng_below(r, 5) == 0;
}

/* The loss: one or two dots of up to three nodes each, which may be the same, put together. */
static void random_loss(net *t, kdi_rng *r)
{
    int dots[2];
    const int nodes = t->n;
    for (int i = 0; i < 2; i++) {
        int in[3];
        const int n_in = 1 + (int)kdi_rng_below(r, 3);
        for (int k = 0; k < n_in; k++) in[k] = (int)kdi_rng_below(r, (uint32_t)nodes);
        if (i == 0) in[0] = nodes - 1;
        dots[i] = push(t, DOT, in[0], 0, NULL);
        memcpy(t->node[dots[i]].in, in, (size_t)n_in * sizeof *in);
        t->node[dots[i]].n_in = n_in;
    }
    switch (kdi_rng_below(r, 5)) {
    case 0:
        push(t, ADD, dots[0], dots[1], NULL);
        break;
    case 1:
        push(t, ADD, dots[0], push(t, SCALE, dots[0], 0, NULL), NULL);
        break;
    case 2:
        push(t, ADD, dots[1], dots[1], NULL);
        break;
    case 3:
        push(t, ADD, push(t, SCALE, dots[1], 0, NULL), dots[0], NULL);
        break;
    default:
        t->n--; /* the first dot alone */
    }
}

static void random_net(net *t, uint64_t seed)
{
    kdi_rng r = kdi_rng_make(seed, KDI_RNG_TEST, 7, 0);
    t->n = 0;
    t->symbolic = kdi_rng_below(&r, 3) == 0;
    const int leaves = 1 + (int)kdi_rng_below(&r, 3), ops = 1 + (int)kdi_rng_below(&r, 14);
    for (int i = 0; i < leaves; i++) {
        const kd_shape shape = pick_shape(&r, t->symbolic);
        const bool param = !t->symbolic && kdi_rng_below(&r, 2);
        const int at = push(t, param ? PARAM : INPUT, 0, 0, &shape);
        t->node[at].want = !param && kdi_rng_below(&r, 4) > 0;
        fill_leaf(&t->node[at], seed * 8 + (uint64_t)i);
    }
    for (int i = 0; i < ops; i++) random_node(t, &r);
    random_loss(t, &r);
}

START_TEST(test_random_graphs)
{
    static net t;
    for (uint64_t seed = 0; seed < 600; seed++) {
        random_net(&t, seed);
        check(&t);
    }
}
END_TEST

START_TEST(test_random_graphs_everywhere)
{
    static net t;
    const kdi_kernels *k;
    for (int table = 0; (k = kdi_kernels_at(table)); table++)
        for (uint64_t seed = 5000; seed < 5100; seed++) {
            random_net(&t, seed);
            run_tape(&t);
            run_library(&t, k->name, (how){.threads = 3, .training = 1});
        }
}
END_TEST

/* ---- by hand --------------------------------------------------------------------------------- */

static const kd_shape plane = {3, {4, 3, 4}};

static int leaf(net *t, node_kind kind)
{
    t->n = 0;
    t->symbolic = false;
    const int x = push(t, kind, 0, 0, &plane);
    t->node[x].want = kind == INPUT;
    return x;
}

static void finish(net *t)
{
    push(t, DOT, t->n - 1, 0, NULL);
    check(t);
}

/* Each pattern with an input, and with a parameter, as the leaf. */
START_TEST(test_classics)
{
    static net t;
    for (node_kind k = INPUT; k <= PARAM; k++) {
        int x = leaf(&t, k); /* x + x */
        push(&t, ADD, x, x, NULL);
        finish(&t);
        x = leaf(&t, k); /* x x */
        push(&t, MUL, x, x, NULL);
        finish(&t);
        x = leaf(&t, k); /* x + relu(x): a residual */
        push(&t, ADD, x, push(&t, RELU, x, 0, NULL), NULL);
        finish(&t);
        x = leaf(&t, k); /* relu(x) + x */
        push(&t, ADD, push(&t, RELU, x, 0, NULL), x, NULL);
        finish(&t);
        x = leaf(&t, k); /* a diamond */
        int y = push(&t, SCALE, x, 0, NULL);
        int a = push(&t, RELU, y, 0, NULL), b = push(&t, SOFTMAX, y, 0, NULL);
        push(&t, MUL, a, b, NULL);
        finish(&t);
        x = leaf(&t, k); /* the same, of sums */
        y = push(&t, ADD, x, x, NULL);
        a = push(&t, ADD, y, x, NULL), b = push(&t, ADD, y, a, NULL);
        push(&t, ADD, a, b, NULL);
        finish(&t);
        x = leaf(&t, k); /* residual blocks in a row */
        for (int i = 0; i < 4; i++)
            x = push(&t, ADD, x, push(&t, SCALE, push(&t, RELU, x, 0, NULL), 0, NULL), NULL);
        finish(&t);
        x = leaf(&t, k); /* another shape and back, beside itself */
        const kd_shape flat = {2, {4, 12}};
        y = push(&t, RESHAPE, x, 0, &flat);
        a = push(&t, RELU, y, 0, NULL);
        push(&t, ADD, x, push(&t, RESHAPE, a, 0, &plane), NULL);
        finish(&t);
        x = leaf(&t, k); /* only seen through a view */
        y = push(&t, RESHAPE, x, 0, &flat);
        push(&t, ADD, y, y, NULL);
        finish(&t);
        x = leaf(&t, k); /* the middle of a chain of sums is asked for */
        y = push(&t, ADD, x, push(&t, RELU, x, 0, NULL), NULL);
        t.node[y].want = true;
        a = push(&t, ADD, y, push(&t, MUL, y, x, NULL), NULL);
        t.node[a].want = true;
        push(&t, ADD, a, y, NULL);
        finish(&t);
        x = leaf(&t, k); /* x concatenated with itself, thrice used */
        kd_shape wide = plane;
        wide.dim[2] *= 2;
        y = push(&t, CONCAT, x, x, &wide);
        push(&t, MUL, y, y, NULL);
        finish(&t);
        x = leaf(&t, k); /* ops that cannot add to a gradient */
        y = push(&t, ADD, push(&t, COPY, x, 0, NULL), push(&t, COPY, x, 0, NULL), NULL);
        push(&t, ADD, push(&t, COPY, y, 0, NULL), y, NULL);
        finish(&t);
    }
}
END_TEST

/* The loss is a leaf's view of a sum: l + l, and l beside a scaled l. */
START_TEST(test_scalar_losses)
{
    static net t;
    int x = leaf(&t, PARAM), l = push(&t, DOT, x, 0, NULL);
    push(&t, ADD, l, l, NULL);
    check(&t);
    x = leaf(&t, PARAM), l = push(&t, DOT, push(&t, RELU, x, 0, NULL), 0, NULL);
    const int m = push(&t, DOT, x, 0, NULL);
    push(&t, ADD, push(&t, SCALE, l, 0, NULL), push(&t, SCALE, m, 0, NULL), NULL);
    check(&t);
    x = leaf(&t, INPUT), l = push(&t, DOT, x, 0, NULL);
    check(&t);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static kd_status sign_shape(kd_op_shapes *s)
{
    s->out[0] = s->in[0];
    return KD_OK;
}

static kd_status sign_forward(const kd_op_call *c)
{
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    for (size_t i = 0; i < c->in[0].count; i++) y[i] = x[i] > 0 ? 1 : -1;
    return KD_OK;
}

static const kd_op sign_op = {.struct_size = sizeof(kd_op),
                              .name = "sign",
                              .n_in_min = 1,
                              .n_in_max = 1,
                              .n_out = 1,
                              .shape = sign_shape,
                              .forward = sign_forward};

START_TEST(test_refusals)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, 3};
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_value x = kd_input(g, "x", KD_F32, 2, dim);
    kd_graph_want_grad(g, x);
    kd_graph_scope(g, "gate");
    kd_value y = kd_graph_op(g, &sign_op, NULL, &x, 1, NULL);
    kd_graph_unscope(g);
    ck_assert_int_eq(kd_graph_grad(g, op_test_dot(g, &y, 1)), KD_E_NOGRAD);
    ck_assert_str_eq(kd_ctx_error(ctx),
                     "sign 'gate' has no gradient, and one is asked for through it");
    kd_graph_destroy(g);
    test_ok(ctx, kd_graph_create(ctx, &g)); /* no gradient is asked for through it: fine */
    x = kd_input(g, "x", KD_F32, 2, dim);
    y = kd_graph_op(g, &sign_op, NULL, &x, 1, NULL);
    test_ok(ctx, kd_graph_grad(g, op_test_dot(g, &y, 1)));
    ck_assert_int_eq(kd_graph_grad_of(g, x), KD_NONE);
    kd_graph_destroy(g);
    test_ok(ctx, kd_graph_create(ctx, &g));
    x = kd_input(g, "x", KD_F32, 2, dim);
    ck_assert_int_eq(kd_graph_grad(g, x), KD_E_SHAPE);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(grad, 60, &test_random_graphs, &test_random_graphs_everywhere, &test_classics,
           &test_scalar_losses, &test_refusals)
