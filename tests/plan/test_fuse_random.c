/* SPDX-License-Identifier: MIT
 * test_fuse_random.c: networks of convolutions, batch norms, poolings, sums and outputs amid them, drawn
 * at random, trained for a step: with fusion and without the same loss and gradients, and with it the
 * same bits for one thread and three, for buffers that share memory and that do not. All plans are
 * guarded. */
#include "../test.h"

#include "../../lib/base/philox.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NETWORKS = 120, MOST_BATCH = 8 };

/* A network in the making. */
typedef struct draw {
    kd_graph *graph;
    kdi_rng rng;
    int h, w;
    kd_value x, earlier; /* earlier: what may be added, or KD_NONE */
    char name[16];
} draw;

static int below(draw *d, unsigned n)
{
    return (int)kdi_rng_below(&d->rng, n);
}

static const char *named(draw *d, char kind, int layer)
{
    snprintf(d->name, sizeof d->name, "%c%d", kind, layer);
    return d->name;
}

static void add_convolution(draw *d, int layer)
{
    const int kernel = below(d, 4) ? 3 : 1;
    const int stride = d->h > 1 && d->w > 1 && below(d, 6) == 0 ? 2 : 1;
    const int pad = d->h > 3 && d->w > 3 && below(d, 6) == 0 ? 0 : kernel / 2;
    const kd_conv2d_opt opt = {.struct_size = sizeof opt,
                               .out = 1 + below(d, 70),
                               .kernel = {kernel, kernel},
                               .pad = {pad, pad},
                               .stride = {stride, stride},
                               .no_bias = below(d, 2)};
    d->x = kd_conv2d(d->graph, d->x, named(d, 'c', layer), &opt);
    d->h = (d->h + 2 * pad - kernel) / stride + 1;
    d->w = (d->w + 2 * pad - kernel) / stride + 1;
}

static void add_norm(draw *d, int layer)
{
    const kd_value x = d->x;
    const int others = below(d, 8); /* that read x, before the norm or behind it: 0 or 1 */
    kd_value other = KD_NONE;
    if (others == 0) other = kd_relu(d->graph, x);
    d->x = kd_batch_norm(d->graph, x, named(d, 'n', layer), .1f, 1e-5f);
    if (others == 1) other = kd_batch_norm(d->graph, x, named(d, 'm', layer), .1f, 1e-5f);
    if (other != KD_NONE) d->x = kd_add(d->graph, d->x, other);
}

static void add_pool(draw *d)
{
    const kd_pool_opt opt = {.struct_size = sizeof opt, .kernel = {2, 2}, .stride = {2, 2}};
    d->x = kd_max_pool(d->graph, d->x, &opt);
    d->h /= 2;
    d->w /= 2;
}

static void add_earlier(draw *d)
{
    const kd_shape a = kd_graph_shape(d->graph, d->x);
    const kd_shape b = d->earlier == KD_NONE ? a : kd_graph_shape(d->graph, d->earlier);
    const bool fits = d->earlier != KD_NONE && !memcmp(&a, &b, sizeof a);
    if (fits && below(d, 2)) d->x = kd_add(d->graph, d->x, d->earlier);
    if (below(d, 3) == 0) d->earlier = d->x;
}

static kd_graph *graph_of(kd_ctx *ctx, uint64_t number)
{
    draw d = {.rng = kdi_rng_make(number, KDI_RNG_TEST, 0, 0), .earlier = KD_NONE};
    test_ok(ctx, kd_graph_create(ctx, &d.graph));
    d.h = 2 + below(&d, 14);
    d.w = 2 + below(&d, 14);
    const int64_t dim[] = {KD_BATCH, d.h, d.w, below(&d, 2) ? 3 : 1 + below(&d, 40)};
    d.x = kd_input(d.graph, "x", KD_F32, 4, dim);
    const kd_value labels = kd_input(d.graph, "labels", KD_I32, 1, dim);
    for (int layer = 0, layers = 1 + below(&d, 5); layer < layers; layer++) {
        add_convolution(&d, layer);
        if (below(&d, 8) == 0) kd_output(d.graph, d.x, named(&d, 'p', layer));
        if (below(&d, 8)) add_norm(&d, layer);
        if (below(&d, 4)) d.x = kd_relu(d.graph, d.x);
        if (below(&d, 8) == 0) kd_output(d.graph, d.x, named(&d, 'q', layer));
        if (d.h > 1 && d.w > 1 && below(&d, 3) == 0) add_pool(&d);
        add_earlier(&d);
    }
    const kd_value logits = kd_flatten_linear(d.graph, d.x, "classifier", 4, 1);
    const kd_value loss = kd_cross_entropy(d.graph, logits, labels, 0);
    test_ok(ctx, kd_graph_grad(d.graph, loss));
    kd_output(d.graph, loss, "loss");
    test_ok(ctx, kd_graph_status(d.graph));
    return d.graph;
}

typedef struct outcome {
    double loss;
    float *grads;
    size_t count;
} outcome;

/* Two steps of one network, the second adding its gradients. */
static outcome train(uint64_t number, int no_fusion, int no_sharing, int threads)
{
    const kd_config config = {.struct_size = sizeof config, .threads = threads};
    const kd_plan_opt opt = {.struct_size = sizeof opt,
                             .batch = 2 + number % (MOST_BATCH - 1),
                             .training = 1,
                             .no_fusion = no_fusion,
                             .no_sharing = no_sharing,
                             .guard = 1};
    const int32_t labels[MOST_BATCH] = {0, 3, 1, 2, 2, 0, 1, 3};
    kd_ctx *ctx;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    kd_graph *graph = graph_of(ctx, number);
    test_ok(ctx, kd_params_create(graph, number, &params));
    test_ok(ctx, kd_plan_create(graph, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    const size_t floats = opt.batch * 15 * 15 * 40; /* as many as there may be */
    float *x = malloc(floats * sizeof *x);
    test_fill(x, floats, number, 1);
    test_ok(ctx, kd_exec_bind(exec, "x", x));
    test_ok(ctx, kd_exec_bind(exec, "labels", labels));
    for (int i = 0; i < 2; i++) {
        const kd_run_opt run = {.struct_size = sizeof run, .accumulate = i};
        test_ok(ctx, kd_exec_run(exec, &run));
    }
    outcome o = {*(const float *)kd_exec_output(exec, "loss"), NULL, kd_params_flat_count(params)};
    o.grads = malloc(o.count * sizeof *o.grads);
    memcpy(o.grads, kd_params_grads(params), o.count * sizeof *o.grads);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(graph);
    kd_ctx_destroy(ctx);
    free(x);
    return o;
}

/* Of the gradients, in their norm. */
static double distance(const outcome *a, const outcome *b)
{
    double apart = 0, size = 1e-20;
    for (size_t i = 0; i < a->count; i++) {
        const double d = (double)a->grads[i] - (double)b->grads[i];
        apart += d * d;
        size += (double)b->grads[i] * (double)b->grads[i];
    }
    return sqrt(apart / size);
}

/* Where two numbers of a pool are as good as equal, or one before a ReLU as good as 0, rounding decides
 * which way a gradient goes: hence the room of 5 %, which a mistake would not keep to. */
START_TEST(test_random_networks)
{
    for (uint64_t number = 0; number < NETWORKS; number++) {
        const outcome fused = train(number, 0, 0, 1), plain = train(number, 1, 0, 1);
        const outcome others[] = {train(number, 0, 0, 3), train(number, 0, 1, 1)};
        ck_assert_double_le(fabs(fused.loss - plain.loss), 1e-4 * (1 + fabs(plain.loss)));
        ck_assert_msg(distance(&fused, &plain) < .05, "network %d: gradients %g apart", (int)number,
                      distance(&fused, &plain));
        for (int i = 0; i < 2; i++) {
            ck_assert_msg(!memcmp(fused.grads, others[i].grads, fused.count * sizeof(float)),
                          "network %d: other bits %s", (int)number,
                          i ? "with every buffer apart" : "with three threads");
            free(others[i].grads);
        }
        free(fused.grads);
        free(plain.grads);
    }
}
END_TEST

TEST_SUITE(fuse_random, 120, &test_random_networks)
