/* SPDX-License-Identifier: MIT
 * graph.c: the layer below models and trainers. Builds a graph with an op of its own, plans it,
 * hands the plan its memory, binds arrays, runs forward and backward, and reads gradients; then
 * holds one gradient against a finite difference. */
#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 4, INPUTS = 8, HIDDEN = 16, CLASSES = 3 };

/* ---- an op of our own: y = x * sigmoid(x)
 * -------------------------------------------------------- */

static kd_status swish_shape(kd_op_shapes *s)
{
    if (s->in_dtype[0] != KD_F32)
        return kd_ctx_fail(s->ctx, KD_E_SHAPE, "%s: the input is not f32", s->name);
    s->out[0] = s->in[0];
    return KD_OK;
}

static kd_status swish_forward(const kd_op_call *c)
{
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    for (size_t i = 0; i < c->out[0].count; i++) y[i] = x[i] / (1 + expf(-x[i]));
    return KD_OK;
}

/* dx = dy * (s + x * s * (1 - s)), where s is sigmoid(x) */
static kd_status swish_backward(const kd_op_call *c)
{
    const float *x = c->in[0].data, *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    for (size_t i = 0; i < c->in[0].count; i++) {
        const float s = 1 / (1 + expf(-x[i]));
        dx[i] = dy[i] * (s + x[i] * s * (1 - s));
    }
    return KD_OK;
}

static const kd_op swish = {.struct_size = sizeof swish,
                            .name = "swish",
                            .n_in_min = 1,
                            .n_in_max = 1,
                            .n_out = 1,
                            .shape = swish_shape,
                            .forward = swish_forward,
                            .backward = swish_backward,
                            .keeps = KD_KEEP_IN(0)}; /* what the backward reads */

/* ---- graph, plan, execution ------------------------------------------------------------------ */

static kd_status make_plan(kd_ctx *ctx, kd_plan **plan, kd_params **params)
{
    kd_graph *g;
    const int64_t dims[] = {KD_BATCH, INPUTS};
    if (kd_graph_create(ctx, &g)) return KD_E_NOMEM;
    kd_value x = kd_input(g, "input", KD_F32, 2, dims);
    x = kd_linear(g, x, "fc1", HIDDEN, 1);
    x = kd_graph_op(g, &swish, NULL, &x, 1, NULL);
    x = kd_linear(g, x, "fc2", CLASSES, 1);
    const kd_value loss = kd_cross_entropy(g, x, kd_input(g, "labels", KD_I32, 1, dims), 0);
    kd_output(g, x, "logits");
    kd_output(g, loss, "loss");
    kd_status status = kd_graph_grad(g, loss); /* also tells of any error above */
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = BATCH, .training = 1};
    if (!status) status = kd_plan_create(g, &opt, plan);
    if (!status) status = kd_params_create(g, 7 /* seed */, params);
    kd_graph_destroy(g);
    return status;
}

static float run(kd_exec *exec)
{
    return kd_exec_run(exec, NULL) ? NAN : *(const float *)kd_exec_output(exec, "loss");
}

/* The gradient of the loss by one weight: ours, and by central difference. */
static int check_gradient(kd_exec *exec, kd_params *params)
{
    const size_t at = kd_params_find(params, "fc1.weight")->offset;
    float *weight = kd_params_values(params) + at;
    const float loss = run(exec), gradient = kd_params_grads(params)[at], step = .1f;
    weight[0] += step;
    const float above = run(exec);
    weight[0] -= 2 * step;
    const float difference = (above - run(exec)) / (2 * step);
    printf("loss %.6f, gradient by fc1.weight[0] %.4g, by difference %.4g\n", (double)loss,
           (double)gradient, (double)difference);
    return fabsf(gradient - difference) <= .02f * fabsf(gradient) ? 0 : 1;
}

int main(void)
{
    float input[BATCH * INPUTS];
    const int32_t labels[BATCH] = {0, 1, 2, 1};
    kd_ctx *ctx;
    kd_plan *plan = NULL;
    kd_params *params = NULL;
    kd_exec *exec = NULL;
    void *memory = NULL;
    int wrong = 1;
    for (int i = 0; i < BATCH * INPUTS; i++) input[i] = sinf((float)i);
    if (kd_ctx_create(NULL, &ctx)) return 1;
    kd_status status = make_plan(ctx, &plan, &params);
    if (!status) {
        const size_t size = kd_plan_arena_size(plan); /* known before anything runs */
        memory = aligned_alloc(64, (size + 63) / 64 * 64);
        printf("%zu parameters, %zu bytes of working memory\n", kd_params_count(params), size);
        status = memory ? kd_exec_create(plan, params, memory, &exec) : KD_E_NOMEM;
    }
    if (!status) status = kd_exec_bind(exec, "input", input);
    if (!status) status = kd_exec_bind(exec, "labels", labels);
    if (!status) wrong = check_gradient(exec, params);
    if (status || wrong) fprintf(stderr, "graph: %s\n", kd_ctx_error(ctx));
    kd_exec_destroy(exec);
    free(memory);
    kd_params_destroy(params);
    kd_plan_destroy(plan);
    kd_ctx_destroy(ctx);
    return wrong;
}
