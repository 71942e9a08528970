/* SPDX-License-Identifier: MIT
 * test_conv2d.c: convolutions of every kind through graph and plan, with batch norm and activation
 * behind them: folded where the plan may. The oracle sums over the padded picture. */
#include "harness.h"

#include <math.h>
#include <string.h>

typedef struct conv_attr {
    kd_conv2d_opt opt;
    bool bn, relu, gelu;
} conv_attr;

static kd_value build(kd_graph *g, const kd_value *in, const void *attr)
{
    const conv_attr *a = attr;
    kd_value y = kd_conv2d(g, in[0], "conv", &a->opt);
    if (a->bn) y = kd_batch_norm(g, y, "bn", 0, 0);
    return a->relu ? kd_relu(g, y) : a->gelu ? kd_gelu(g, y) : y;
}

/* Option b of a pair, where 0 (for padding: a negative one) means option a. */
static size_t second(const int pair[2], int unset)
{
    return (size_t)(pair[1] == unset ? pair[0] : pair[1]);
}

static size_t or_1(size_t x)
{
    return x ? x : 1;
}

static double convolve(const op_oracle *o, size_t n, size_t p, size_t q, size_t f)
{
    const kd_conv2d_opt *v = &((const conv_attr *)o->attr)->opt;
    const op_array *x = &o->in[0], *w = op_find(o, "conv.weight");
    const size_t sh = or_1((size_t)v->stride[0]), sw = or_1(second(v->stride, 0));
    const size_t dh = or_1((size_t)v->dilation[0]), dw = or_1(second(v->dilation, 0));
    const size_t ph = (size_t)v->pad[0], pw = second(v->pad, -1);
    const size_t groups = or_1((size_t)v->groups), per = (size_t)v->out / groups;
    const size_t c = w->dim[3], first = f / per * c;
    double sum = v->no_bias ? 0 : op_find(o, "conv.bias")->data[f];
    for (size_t i = 0; i < w->dim[1]; i++)
        for (size_t j = 0; j < w->dim[2]; j++) {
            const size_t h = p * sh + i * dh - ph, at = q * sw + j * dw - pw; /* may wrap */
            if (h >= x->dim[1] || at >= x->dim[2]) continue;
            const double *pixel = x->data + ((n * x->dim[1] + h) * x->dim[2] + at) * x->dim[3];
            for (size_t k = 0; k < c; k++)
                sum += pixel[first + k] * w->data[((f * w->dim[1] + i) * w->dim[2] + j) * c + k];
        }
    return sum;
}

static void normalise(const op_oracle *o)
{
    const size_t c = o->y.dim[3], m = o->y.count / c;
    double *y = o->y.data, *running_mean = op_find(o, "running_mean")->data;
    double *running_var = op_find(o, "running_var")->data;
    for (size_t j = 0; j < c; j++) {
        double mean = 0, var = 0;
        for (size_t i = 0; i < m; i++) mean += y[i * c + j] / (double)m;
        for (size_t i = 0; i < m; i++) var += pow(y[i * c + j] - mean, 2) / (double)m;
        if (!o->training) {
            mean = running_mean[j];
            var = running_var[j];
        }
        for (size_t i = 0; i < m; i++)
            y[i * c + j] =
                (y[i * c + j] - mean) / sqrt(var + 1e-5) * op_find(o, "bn.weight")->data[j] +
                op_find(o, "bn.bias")->data[j];
        if (!o->training) continue;
        running_mean[j] += .1 * (mean - running_mean[j]);
        running_var[j] += .1 * (var * (double)m / (double)(m - 1) - running_var[j]);
    }
    if (o->training) op_find(o, "num_batches_tracked")->data[0] += 1;
}

static void oracle(const op_oracle *o)
{
    const conv_attr *a = o->attr;
    double *y = o->y.data;
    for (size_t n = 0; n < o->y.dim[0]; n++)
        for (size_t p = 0; p < o->y.dim[1]; p++)
            for (size_t q = 0; q < o->y.dim[2]; q++)
                for (size_t f = 0; f < o->y.dim[3]; f++) *y++ = convolve(o, n, p, q, f);
    if (a->bn) normalise(o);
    y = o->y.data;
    for (size_t i = 0; i < o->y.count; i++) {
        if (a->relu && y[i] < 0) y[i] = 0;
        if (a->gelu) y[i] *= .5 * erfc(-y[i] / sqrt(2));
    }
}

#define OPT .struct_size = sizeof(kd_conv2d_opt)

typedef struct conv_case {
    const char *name;
    conv_attr attr;
    int64_t dim[3]; /* H, W, C */
    size_t batch;
    unsigned modes;
} conv_case;

static void check_all(const conv_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const int64_t *d = cases[i].dim;
        op_check(&(op_case){.name = cases[i].name,
                            .batch = cases[i].batch ? cases[i].batch : 2,
                            .n_in = 1,
                            .in = {{4, {KD_BATCH, d[0], d[1], d[2]}}},
                            .attr = &cases[i].attr,
                            .build = build,
                            .oracle = oracle,
                            .modes = cases[i].modes,
                            .grad_tol = 2e-4});
    }
}

START_TEST(test_conv_shapes)
{
    static const conv_case cases[] = {
        {.name = "3x3 of 3 channels",
         .attr = {.opt = {OPT, .out = 8, .kernel = {3}, .pad = {1, 1}}},
         .dim = {6, 5, 3},
         .modes = OP_TRAIN},
        {.name = "3x3",
         .attr = {.opt = {OPT, .out = 9, .kernel = {3}, .pad = {1, 1}}},
         .dim = {5, 6, 10},
         .modes = OP_TRAIN},
        {.name = "3x3 without padding or bias",
         .attr = {.opt = {OPT, .out = 5, .kernel = {3}, .no_bias = 1}},
         .dim = {4, 7, 4},
         .modes = OP_TRAIN},
        {.name = "1x1", .attr = {.opt = {OPT, .out = 20}}, .dim = {3, 4, 17}, .modes = OP_TRAIN},
        {.name = "2x2, stride 2",
         .attr = {.opt = {OPT, .out = 6, .kernel = {2}, .stride = {2}}},
         .dim = {5, 6, 3},
         .modes = OP_TRAIN},
        {.name = "5x3, stride 2x1, padding 2x1, dilation 1x2",
         .attr = {.opt = {OPT, .out = 4, .kernel = {5, 3}, .stride = {2, 1}, .pad = {2, 1},
                          .dilation = {1, 2}}},
         .dim = {7, 8, 3},
         .modes = OP_TRAIN},
        {.name = "7x7, stride 2",
         .attr = {.opt = {OPT, .out = 4, .kernel = {7}, .stride = {2}, .pad = {3, -1}}},
         .dim = {9, 8, 3},
         .modes = OP_TRAIN},
        {.name = "dilation 2",
         .attr = {.opt = {OPT, .out = 4, .kernel = {3}, .pad = {2, 2}, .dilation = {2}}},
         .dim = {6, 5, 4},
         .modes = OP_TRAIN},
        {.name = "2 groups",
         .attr = {.opt = {OPT, .out = 6, .kernel = {3}, .pad = {1, 1}, .groups = 2}},
         .dim = {4, 5, 8},
         .modes = OP_TRAIN},
        {.name = "depthwise",
         .attr = {.opt = {OPT, .out = 19, .kernel = {3}, .pad = {1, 1}, .groups = 19}},
         .dim = {5, 4, 19},
         .modes = OP_TRAIN},
        {.name = "depthwise, two each, stride 2",
         .attr = {.opt = {OPT, .out = 10, .kernel = {3}, .stride = {2}, .pad = {1, 1},
                          .groups = 5}},
         .dim = {5, 6, 5},
         .modes = OP_TRAIN},
        {.name = "one pixel",
         .attr = {.opt = {OPT, .out = 7, .kernel = {3}, .pad = {1, 1}}},
         .dim = {1, 1, 5},
         .modes = OP_TRAIN},
    };
    check_all(cases, sizeof cases / sizeof *cases);
}
END_TEST

START_TEST(test_conv_fused)
{
    static const conv_case cases[] = {
        {.name = "3x3 + bn + relu",
         .attr = {.opt = {OPT, .out = 9, .kernel = {3}, .pad = {1, 1}}, .bn = true, .relu = true},
         .dim = {5, 6, 6}},
        {.name = "3x3 of 3 channels + bn",
         .attr = {.opt = {OPT, .out = 8, .kernel = {3}, .pad = {1, 1}, .no_bias = 1}, .bn = true},
         .dim = {5, 6, 3}},
        {.name = "3x3 + relu",
         .attr = {.opt = {OPT, .out = 5, .kernel = {3}, .pad = {1, 1}}, .relu = true},
         .dim = {5, 6, 6},
         .modes = OP_EVAL},
        {.name = "1x1 + gelu",
         .attr = {.opt = {OPT, .out = 5}, .gelu = true},
         .dim = {5, 6, 6},
         .modes = OP_EVAL},
        {.name = "depthwise + bn + relu",
         .attr = {.opt = {OPT, .out = 6, .kernel = {3}, .pad = {1, 1}, .groups = 6},
                  .bn = true,
                  .relu = true},
         .dim = {5, 4, 6}},
    };
    check_all(cases, sizeof cases / sizeof *cases);
}
END_TEST

/* Enough channels for Winograd. */
START_TEST(test_conv_winograd)
{
    static const conv_case cases[] = {
        {.name = "winograd",
         .attr = {.opt = {OPT, .out = 20, .kernel = {3}, .pad = {1, 1}}, .bn = true, .relu = true},
         .dim = {6, 5, 16}},
        {.name = "winograd, 4x4",
         .attr = {.opt = {OPT, .out = 17, .kernel = {3}, .pad = {1, 1}}},
         .dim = {4, 4, 18},
         .modes = OP_TRAIN},
    };
    check_all(cases, sizeof cases / sizeof *cases);
}
END_TEST

START_TEST(test_conv_errors)
{
    static const struct {
        kd_conv2d_opt opt;
        kd_status status;
        const char *says;
    } cases[] = {
        {{OPT, .out = 4, .kernel = {7}}, KD_E_SHAPE, "input [N,4,6,3] is smaller than"},
        {{OPT, .out = 0, .kernel = {3}}, KD_E_INVALID, "0 output channels"},
        {{OPT, .out = 4, .kernel = {3}, .groups = 2}, KD_E_SHAPE, "2 groups do not divide both"},
        {{OPT, .out = 4, .kernel = {3}, .groups = 3}, KD_E_SHAPE, "3 groups do not divide both"},
        {{OPT, .out = 4, .kernel = {3}, .stride = {-1}}, KD_E_INVALID, "stride -1"},
        {{OPT, .out = 4, .kernel = {-3}}, KD_E_INVALID, "kernel -3"},
        {{OPT, .out = 4, .kernel = {3}, .pad = {-1}}, KD_E_INVALID, "padding -1"},
        {{.struct_size = 0}, KD_E_INVALID, "0 output channels"},
    };
    const int64_t dim[] = {KD_BATCH, 4, 6, 3};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_graph *g;
        test_ok(ctx, kd_graph_create(ctx, &g));
        const kd_value x = kd_input(g, "x", KD_F32, 4, dim);
        kd_conv2d_opt opt = cases[i].opt;
        opt.struct_size = sizeof opt;
        ck_assert_int_eq(kd_conv2d(g, x, "features.0", &opt), KD_NONE);
        ck_assert_int_eq(kd_graph_status(g), cases[i].status);
        ck_assert_msg(strstr(kd_ctx_error(ctx), cases[i].says) != NULL, "%s", kd_ctx_error(ctx));
        ck_assert_msg(strstr(kd_ctx_error(ctx), "features.0") != NULL, "%s", kd_ctx_error(ctx));
        kd_graph_destroy(g);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(conv2d, 240, &test_conv_shapes, &test_conv_fused, &test_conv_winograd, &test_conv_errors)
