/* SPDX-License-Identifier: MIT
 * harness.c: see harness.h. Errors are relative to the largest number of the array compared, but
 * never to less than 1/100. */
#include "harness.h"

#include "../../lib/base/philox.h"
#include "../../lib/kernel/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the custom ops -------------------------------------------------------------------------- */

double op_test_constant(int k, size_t i)
{
    uint64_t z = ((uint64_t)k << 40) + i + 1; /* mixed as in SplitMix64 */
    z = (z ^ (z >> 30)) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)(z >> 40) * 0x1p-23 - 1;
}

static kd_status dot_shape(kd_op_shapes *s)
{
    for (int i = 0; i < s->n_in; i++)
        if (s->in_dtype[i] != KD_F32)
            return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: input %d is not f32", s->name, i);
    s->out[0] = (kd_shape){.rank = 1, .dim = {1}};
    return KD_OK;
}

static kd_status dot_forward(const kd_op_call *c)
{
    double sum = 0;
    for (int k = 0; k < c->n_in; k++) {
        const float *x = c->in[k].data;
        for (size_t i = 0; i < c->in[k].count; i++) sum += (double)x[i] * op_test_constant(k, i);
    }
    float *y = c->out[0].data;
    *y = (float)sum;
    return KD_OK;
}

static kd_status dot_backward(const kd_op_call *c)
{
    const float *dy = c->dout[0].data;
    for (int k = 0; k < c->n_in; k++) {
        float *dx = c->din[k].data;
        if (!dx) continue;
        for (size_t i = 0; i < c->din[k].count; i++) {
            const float d = *dy * (float)op_test_constant(k, i);
            dx[i] = c->accumulate >> k & 1 ? dx[i] + d : d;
        }
    }
    return KD_OK;
}

static const kd_op op_dot = {.struct_size = sizeof(kd_op),
                             .name = "test_dot",
                             .n_in_min = 1,
                             .n_in_max = KD_MAX_OPERANDS,
                             .n_out = 1,
                             .shape = dot_shape,
                             .forward = dot_forward,
                             .backward = dot_backward,
                             .accumulates = 1};

kd_value op_test_dot(kd_graph *g, const kd_value *x, int count)
{
    return kd_graph_op(g, &op_dot, NULL, x, count, NULL);
}

static kd_status copy_shape(kd_op_shapes *s)
{
    s->out[0] = s->in[0];
    s->out_dtype[0] = s->in_dtype[0];
    return KD_OK;
}

static kd_status copy_forward(const kd_op_call *c)
{
    memcpy(c->out[0].data, c->in[0].data, c->in[0].count * kd_dtype_size(c->in[0].dtype));
    return KD_OK;
}

static kd_status copy_backward(const kd_op_call *c)
{
    memcpy(c->din[0].data, c->dout[0].data, c->din[0].count * sizeof(float));
    return KD_OK;
}

static const kd_op op_copy = {.struct_size = sizeof(kd_op),
                              .name = "test_copy",
                              .n_in_min = 1,
                              .n_in_max = 1,
                              .n_out = 1,
                              .shape = copy_shape,
                              .forward = copy_forward,
                              .backward = copy_backward};

kd_value op_test_copy(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &op_copy, NULL, &x, 1, NULL);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool ends(const char *text, const char *ending)
{
    const size_t a = strlen(text), b = strlen(ending);
    return a >= b && strcmp(text + a - b, ending) == 0;
}

void op_fill(const op_case *c, int i, const char *name, float *x, size_t n)
{
    (void)c;
    test_fill(x, n, 1000 + (uint64_t)i, 1);
    for (size_t k = 0; k < n && ends(name, "running_var"); k++) x[k] = 1 + x[k] / 2;
}

void op_fill_spread(const op_case *c, int i, const char *name, float *x, size_t n)
{
    if (*name) {
        op_fill(c, i, name, x, n);
        return;
    }
    kdi_rng r = kdi_rng_make(2000 + (uint64_t)i, KDI_RNG_TEST, 0, 0);
    for (size_t k = 0; k < n; k++) {
        const float fresh = ((float)k - (float)(n / 2) + .5f) / 256;
        const size_t other = kdi_rng_below(&r, (uint32_t)k + 1);
        x[k] = x[other];
        x[other] = fresh;
    }
}

const op_array *op_find(const op_oracle *o, const char *ending)
{
    for (int i = 0; i < o->n; i++)
        if (ends(o->in[i].name, ending)) return &o->in[i];
    ck_abort_msg("no operand is called ...%s", ending);
    return NULL;
}

static void *need(size_t count, size_t size)
{
    void *block = calloc(count ? count : 1, size);
    ck_assert_ptr_nonnull(block);
    return block;
}

/* ---- one graph, plan and executor ------------------------------------------------------------ */

typedef struct op_how {
    bool grad, training, frozen, no_sharing, no_fusion, guard;
    bool shared; /* the first input is also used by the loss itself */
} op_how;

typedef struct op_net {
    const op_case *c;
    op_how how;
    kd_ctx *ctx;
    kd_graph *g;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    kd_shape y_shape;
    void *in[OP_MAX_INPUTS]; /* as bound: floats or ints */
} op_net;

static void net_free(op_net *net)
{
    kd_exec_destroy(net->exec);
    kd_plan_destroy(net->plan);
    kd_params_destroy(net->params);
    kd_graph_destroy(net->g);
    for (int i = 0; i < OP_MAX_INPUTS; i++) free(net->in[i]);
}

static bool gets_grad(const op_input *in)
{
    return in->dtype == KD_F32 && !in->no_grad;
}

static kd_status net_graph(op_net *net)
{
    const op_case *c = net->c;
    kd_value in[OP_MAX_INPUTS], x[OP_MAX_INPUTS];
    char name[32];
    kd_status status = kd_graph_create(net->ctx, &net->g);
    if (status) return status;
    for (int i = 0; i < c->n_in; i++) {
        snprintf(name, sizeof name, "in%d", i);
        in[i] = kd_input(net->g, name, c->in[i].dtype, c->in[i].rank, c->in[i].dim);
        if (net->how.grad && gets_grad(&c->in[i])) kd_graph_want_grad(net->g, in[i]);
        x[i] = op_test_copy(net->g, in[i]);
    }
    kd_graph_scope(net->g, "case");
    const kd_value y = c->build(net->g, x, c->attr);
    kd_graph_unscope(net->g);
    net->y_shape = kd_graph_shape(net->g, y);
    kd_output(net->g, y, "y");
    if (net->how.grad) {
        const kd_value dotted[2] = {y, x[0]};
        const kd_value loss = op_test_dot(net->g, dotted, net->how.shared ? 2 : 1);
        status = kd_graph_grad(net->g, loss);
        if (status) return status;
        kd_output(net->g, loss, "loss");
        for (int i = 0; i < c->n_in; i++) {
            const kd_value d = gets_grad(&c->in[i]) ? kd_graph_grad_of(net->g, in[i]) : KD_NONE;
            snprintf(name, sizeof name, "grad%d", i);
            if (d != KD_NONE) kd_output(net->g, d, name);
        }
    }
    return kd_graph_status(net->g);
}

static kd_status net_make(op_net *net, const op_case *c, kd_ctx *ctx, op_how how)
{
    *net = (op_net){.c = c, .how = how, .ctx = ctx};
    kd_status status = net_graph(net);
    if (!status) status = kd_params_create(net->g, 1, &net->params);
    const kd_plan_opt opt = {.struct_size = sizeof opt,
                             .batch = c->batch ? c->batch : 1,
                             .training = how.training,
                             .frozen = how.frozen,
                             .no_fusion = how.no_fusion,
                             .no_sharing = how.no_sharing,
                             .guard = how.guard};
    if (!status) status = kd_plan_create(net->g, &opt, &net->plan);
    if (!status) status = kd_exec_create(net->plan, net->params, NULL, &net->exec);
    return status;
}

/* ---- operands: inputs, then parameters and buffers ------------------------------------------- */

typedef struct op_data {
    const op_case *c;
    int n;
    float *x[OP_MAX_OPERANDS];
    size_t count[OP_MAX_OPERANDS]; /* for the full batch */
    kd_shape shape[OP_MAX_OPERANDS];
    char name[OP_MAX_OPERANDS][64];
    bool grad[OP_MAX_OPERANDS];
} op_data;

static void shape_for(const kd_shape *s, size_t batch, op_array *a)
{
    a->rank = s->rank;
    a->count = 1;
    for (int i = 0; i < s->rank; i++) {
        a->dim[i] = s->dim[i] < 0 ? (size_t)-s->dim[i] * batch : (size_t)s->dim[i];
        a->count *= a->dim[i];
    }
}

static size_t full_batch(const op_case *c)
{
    return c->batch ? c->batch : 1;
}

static void data_add(op_data *d, const char *name, const kd_shape *shape, bool grad)
{
    op_array a;
    const int i = d->n++;
    ck_assert_int_lt(i, OP_MAX_OPERANDS);
    shape_for(shape, full_batch(d->c), &a);
    d->shape[i] = *shape;
    d->count[i] = a.count;
    d->grad[i] = grad;
    d->x[i] = need(a.count, sizeof(float));
    snprintf(d->name[i], sizeof d->name[i], "%s", name);
    (d->c->fill ? d->c->fill : op_fill)(d->c, i, d->name[i], d->x[i], a.count);
}

static void data_make(op_data *d, const op_net *net)
{
    *d = (op_data){.c = net->c};
    for (int i = 0; i < d->c->n_in; i++) {
        kd_shape shape = {.rank = d->c->in[i].rank};
        memcpy(shape.dim, d->c->in[i].dim, sizeof shape.dim);
        data_add(d, "", &shape, gets_grad(&d->c->in[i]));
    }
    for (size_t p = 0; p < kd_params_entries(net->params); p++) {
        const kd_param_info *info = kd_params_info(net->params, p);
        data_add(d, info->name, &info->shape, !info->buffer);
        if (info->dtype == KD_I64) d->x[d->n - 1][0] = 7;
    }
}

static void data_free(op_data *d)
{
    for (int i = 0; i < d->n; i++) free(d->x[i]);
}

/* Bind the inputs, set parameters and buffers. */
static void net_load(op_net *net, const op_data *d)
{
    char name[32];
    for (int i = 0; i < d->c->n_in; i++) {
        if (!net->in[i]) net->in[i] = need(d->count[i], sizeof(float));
        float *as_float = net->in[i];
        int32_t *as_int = net->in[i];
        for (size_t k = 0; k < d->count[i]; k++)
            if (d->c->in[i].dtype == KD_I32)
                as_int[k] = (int32_t)d->x[i][k];
            else
                as_float[k] = d->x[i][k];
        snprintf(name, sizeof name, "in%d", i);
        test_ok(net->ctx, kd_exec_bind(net->exec, name, net->in[i]));
    }
    for (size_t p = 0; p < kd_params_entries(net->params); p++) {
        const kd_param_info *info = kd_params_info(net->params, p);
        const float *x = d->x[d->c->n_in + (int)p];
        unsigned char *buffers = kd_params_buffers(net->params);
        const int64_t tracked = (int64_t)x[0];
        if (info->dtype == KD_I64)
            memcpy(buffers + info->offset, &tracked, sizeof tracked);
        else if (info->buffer)
            memcpy(buffers + info->offset, x, info->count * sizeof *x);
        else
            memcpy(kd_params_values(net->params) + info->offset, x, info->count * sizeof *x);
    }
    kd_params_touch(net->params);
}

static void net_run(op_net *net, size_t batch, bool accumulate)
{
    const kd_run_opt run = {
        .struct_size = sizeof run, .batch = batch, .seed = 3, .step = 5, .accumulate = accumulate};
    test_ok(net->ctx, kd_exec_run(net->exec, &run));
}

/* The i-th operand's gradient, or a buffer's value, as floats; NULL where there is none. */
static const float *net_result(const op_net *net, const op_data *d, int i, float *tracked)
{
    char name[32];
    snprintf(name, sizeof name, "grad%d", i);
    if (i < d->c->n_in) return net->how.grad ? kd_exec_output(net->exec, name) : NULL;
    const kd_param_info *info = kd_params_info(net->params, (size_t)(i - d->c->n_in));
    unsigned char *buffers = kd_params_buffers(net->params);
    int64_t count;
    if (info->dtype == KD_I64) {
        memcpy(&count, buffers + info->offset, sizeof count);
        *tracked = (float)count;
        return tracked;
    }
    if (info->buffer) return (float *)(void *)(buffers + info->offset);
    return net->how.grad ? kd_params_grads(net->params) + info->offset : NULL;
}

/* ---- the truth: the oracle and its differences ----------------------------------------------- */

typedef struct op_truth {
    op_oracle o;
    const op_data *d;
    double *values[OP_MAX_OPERANDS]; /* the operands; o.in has copies, which an oracle may update */
    double *y;
    double *after[OP_MAX_OPERANDS]; /* updated buffers */
    double *grad[OP_MAX_OPERANDS];  /* at every step-th element */
    size_t step[OP_MAX_OPERANDS];
} op_truth;

static void ask(op_truth *t)
{
    for (int i = 0; i < t->o.n; i++)
        memcpy(t->o.in[i].data, t->values[i], t->o.in[i].count * sizeof(double));
    t->d->c->oracle(&t->o);
}

static double loss_of(op_truth *t)
{
    double sum = 0;
    ask(t);
    for (size_t k = 0; k < t->o.y.count; k++) sum += t->o.y.data[k] * op_test_constant(0, k);
    return sum;
}

/* Differences for one operand: all elements of a small one, at least LEAST of a large one, where
 * each costs a long forward. */
enum { LEAST = 24, MOST = 200, WORK = 1000000 };

static void differentiate(op_truth *t, int i)
{
    const size_t count = t->o.in[i].count, affordable = WORK / (t->o.y.count + count);
    const size_t most = affordable < LEAST ? LEAST : affordable < MOST ? affordable : MOST;
    t->step[i] = count / most + 1;
    t->grad[i] = need(count, sizeof(double));
    for (size_t k = 0; k < count; k += t->step[i]) {
        const double x = t->values[i][k], h = 1e-5;
        t->values[i][k] = x + h;
        const double up = loss_of(t);
        t->values[i][k] = x - h;
        const double down = loss_of(t);
        t->values[i][k] = x;
        t->grad[i][k] = (up - down) / (2 * h);
    }
}

static void truth_make(op_truth *t, const op_data *d, const kd_shape *y, size_t batch,
                       bool training)
{
    *t = (op_truth){.d = d};
    t->o = (op_oracle){.attr = d->c->attr, .training = training, .n = d->n};
    t->o.in = need(OP_MAX_OPERANDS, sizeof *t->o.in);
    shape_for(y, batch, &t->o.y);
    t->o.y.name = "";
    t->o.y.data = need(t->o.y.count, sizeof(double));
    t->y = need(t->o.y.count, sizeof(double));
    for (int i = 0; i < d->n; i++) {
        op_array *a = &t->o.in[i];
        shape_for(&d->shape[i], batch, a);
        a->name = d->name[i];
        a->data = need(a->count, sizeof(double));
        t->values[i] = need(a->count, sizeof(double));
        t->after[i] = need(a->count, sizeof(double));
        for (size_t k = 0; k < a->count; k++) t->values[i][k] = (double)d->x[i][k];
    }
    ask(t);
    memcpy(t->y, t->o.y.data, t->o.y.count * sizeof(double));
    for (int i = 0; i < d->n; i++)
        memcpy(t->after[i], t->o.in[i].data, t->o.in[i].count * sizeof(double));
    for (int i = 0; i < d->n && !d->c->no_backward; i++)
        if (d->grad[i]) differentiate(t, i);
}

static void truth_free(op_truth *t)
{
    for (int i = 0; i < t->o.n; i++) {
        free(t->o.in[i].data);
        free(t->values[i]);
        free(t->after[i]);
        free(t->grad[i]);
    }
    free(t->o.in);
    free(t->o.y.data);
    free(t->y);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void near(const op_net *net, const char *what, const float *got, const double *want,
                 size_t count, size_t step, double factor, double tol)
{
    double largest = .01, worst = 0;
    size_t at = 0;
    ck_assert_msg(got != NULL, "%s: %s is missing", net->c->name, what);
    for (size_t k = 0; k < count; k += step)
        if (fabs(want[k]) > largest) largest = fabs(want[k]);
    for (size_t k = 0; k < count; k += step) {
        const double d = fabs((double)got[k] - factor * want[k]) / largest;
        if (d <= worst) continue;
        worst = d;
        at = k;
        if (isnan(d)) break;
    }
    ck_assert_msg(worst <= tol,
                  "%s: %s[%zu] is %.9g, not %.9g (error %.2g, allowed %.2g) on %s%s%s%s%s",
                  net->c->name, what, at, (double)got[at], factor * want[at], worst, tol,
                  kd_ctx_isa(net->ctx), net->how.training ? ", training" : ", evaluating",
                  net->how.grad ? ", gradient" : "", net->how.frozen ? ", frozen" : "",
                  net->how.shared ? ", used twice" : "");
}

/* factor: gradients were added up over so many runs. */
static void check_truth(const op_net *net, const op_truth *t, double factor)
{
    const op_case *c = net->c;
    const double tol = c->tol > 0 ? c->tol : 1e-5, grad_tol = c->grad_tol > 0 ? c->grad_tol : 1e-4;
    near(net, "y", kd_exec_output(net->exec, "y"), t->y, t->o.y.count, 1, 1, tol);
    for (int i = 0; i < t->d->n; i++) {
        float tracked;
        const float *got = net_result(net, t->d, i, &tracked);
        const bool param = i >= c->n_in;
        char what[100];
        if (param)
            snprintf(what, sizeof what, "%s%s", t->d->name[i], t->d->grad[i] ? "'s gradient" : "");
        else
            snprintf(what, sizeof what, "input %d's gradient", i);
        if (!t->d->grad[i] && param && factor == 1) {
            near(net, what, got, t->after[i], t->o.in[i].count, 1, 1, tol);
        } else if (t->d->grad[i] && net->how.grad && t->grad[i]) {
            double *want = need(t->o.in[i].count, sizeof *want);
            for (size_t k = 0; k < t->o.in[i].count; k++)
                want[k] = t->grad[i][k] + (i == 0 && net->how.shared ? op_test_constant(1, k) : 0);
            near(net, what, got, want, t->o.in[i].count, t->step[i], param ? factor : 1, grad_tol);
            free(want);
        }
    }
}

/* Both nets ran the same: y, gradients and buffers have the same bits. */
static void check_bits(const op_net *a, const op_net *b, const op_data *d, size_t batch,
                       const char *what)
{
    op_array y;
    shape_for(&a->y_shape, batch, &y);
    ck_assert_msg(!memcmp(kd_exec_output(a->exec, "y"), kd_exec_output(b->exec, "y"),
                          y.count * sizeof(float)),
                  "%s: y differs with %s", a->c->name, what);
    for (int i = 0; i < d->n; i++) {
        float s, t;
        op_array x;
        const float *p = net_result(a, d, i, &s), *q = net_result(b, d, i, &t);
        shape_for(&d->shape[i], batch, &x);
        if (p && q && (i >= d->c->n_in || d->grad[i]))
            ck_assert_msg(!memcmp(p, q, x.count * sizeof(float)),
                          "%s: result %d (%s) differs with %s on %s", a->c->name, i, d->name[i],
                          what, kd_ctx_isa(a->ctx));
    }
}

/* ---- the checks ------------------------------------------------------------------------------ */

static void net_need(op_net *net, const op_case *c, kd_ctx *ctx, op_how how)
{
    const kd_status status = net_make(net, c, ctx, how);
    ck_assert_msg(!status, "%s: %s", c->name, kd_ctx_error(ctx));
}

/* The same in two nets: one as planned, one with every buffer apart; and the same bits in both. */
typedef struct op_pair {
    op_net planned, apart;
} op_pair;

static void pair_run(op_pair *pair, const op_data *d, size_t batch, bool load, bool accumulate)
{
    op_net *const nets[] = {&pair->planned, &pair->apart};
    for (int i = 0; i < 2; i++) {
        if (load) net_load(nets[i], d);
        net_run(nets[i], batch, accumulate);
    }
    check_bits(&pair->planned, &pair->apart, d, batch, "no buffer shared");
}

/* Against the truth on one kernel table: as planned, then twice more adding up. */
static void check_values(const op_truth *t, kd_ctx *ctx, op_how how, size_t batch)
{
    op_pair pair;
    op_how apart = how;
    apart.no_sharing = apart.guard = true;
    net_need(&pair.planned, t->d->c, ctx, how);
    net_need(&pair.apart, t->d->c, ctx, apart);
    pair_run(&pair, t->d, batch, true, false);
    check_truth(&pair.planned, t, 1);
    if (how.grad) {
        pair_run(&pair, t->d, batch, false, true);
        pair_run(&pair, t->d, batch, how.training, true);
        check_truth(&pair.planned, t, 3);
    } else {
        pair_run(&pair, t->d, batch, true, false); /* parameters touched: prepared once more */
        check_truth(&pair.planned, t, 1);
    }
    net_free(&pair.planned);
    net_free(&pair.apart);
}

/* Threads, and memory that is poisoned where it is free, change no bit. */
static void check_same(const op_data *d, op_how how, const char *isa)
{
    static const int widths[] = {2, 3, 7, 1};
    const size_t batch = full_batch(d->c);
    kd_ctx *one = test_ctx(1, isa);
    op_net first, other;
    net_need(&first, d->c, one, how);
    net_load(&first, d);
    net_run(&first, batch, false);
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        kd_ctx *ctx = test_ctx(widths[w], isa);
        op_how changed = how;
        changed.guard = widths[w] == 1;
        net_need(&other, d->c, ctx, changed);
        net_load(&other, d);
        net_run(&other, batch, false);
        check_bits(&first, &other, d, batch, changed.guard ? "poisoned memory" : "more threads");
        net_free(&other);
        kd_ctx_destroy(ctx);
    }
    net_free(&first);
    kd_ctx_destroy(one);
}

static void check_mode(const op_data *d, const kd_shape *y, bool training)
{
    const op_case *c = d->c;
    const kdi_kernels *k;
    for (int small = 0; small < 2; small++) {
        const size_t batch = small ? full_batch(c) / 2 : full_batch(c);
        op_truth t;
        if (batch == 0 || (small && c->full_batch_only)) continue;
        truth_make(&t, d, y, batch, training);
        for (int i = 0; (k = kdi_kernels_at(i)); i++) {
            kd_ctx *ctx = test_ctx(2, k->name);
            for (int bits = 0; bits < 16; bits++) {
                const op_how how = {.training = training,
                                    .grad = bits & 1,
                                    .shared = bits & 2,
                                    .frozen = bits & 4,
                                    .no_fusion = bits & 8};
                if (how.grad && (c->no_backward || how.frozen)) continue;
                if (how.shared && (!how.grad || !gets_grad(&c->in[0]))) continue;
                check_values(&t, ctx, how, batch);
            }
            kd_ctx_destroy(ctx);
            if (!small)
                check_same(d, (op_how){.training = training, .grad = !c->no_backward}, k->name);
        }
        truth_free(&t);
    }
}

static void check_allocations(const op_case *c)
{
    for (long fail = 1;; fail++) {
        test_heap heap = {0};
        op_net net;
        kd_ctx *ctx = test_ctx_counting(&heap, 1);
        ck_assert_ptr_nonnull(ctx);
        heap.count = 0;
        heap.fail_at = fail;
        const kd_status status =
            net_make(&net, c, ctx, (op_how){.grad = !c->no_backward, .training = true});
        const bool failed = heap.count >= fail;
        ck_assert_msg(failed == (status == KD_E_NOMEM), "%s: allocation %ld: %s (%s)", c->name,
                      fail, kd_status_name(status), kd_ctx_error(ctx));
        net_free(&net);
        kd_ctx_destroy(ctx);
        ck_assert_msg(heap.live == 0, "%s: allocation %ld fails and %ld blocks leak", c->name, fail,
                      heap.live);
        if (!failed) break;
    }
}

void op_check(const op_case *c)
{
    const unsigned modes = c->modes ? c->modes : OP_TRAIN | OP_EVAL;
    kd_ctx *ctx = test_ctx(1, NULL);
    op_net net;
    op_data d;
    net_need(&net, c, ctx, (op_how){.training = modes & OP_TRAIN});
    data_make(&d, &net);
    if (modes & OP_TRAIN) check_mode(&d, &net.y_shape, true);
    if (modes & OP_EVAL) check_mode(&d, &net.y_shape, false);
    data_free(&d);
    net_free(&net);
    kd_ctx_destroy(ctx);
    check_allocations(c);
}
