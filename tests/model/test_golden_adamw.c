/* SPDX-License-Identifier: MIT
 * test_golden_adamw.c: ten steps of AdamW against PyTorch, with weight decay and clipping: losses,
 * parameters and the optimiser's state. tests/golden/adamw.py made the numbers. */
#include "golden.h"

#include <stdlib.h>
#include <string.h>

static const float rate = .0078125f, decay = .125f;
static const double limit = 2.75;

typedef struct course {
    kd_ctx *ctx;
    golden file;
    kd_params *params;
    kd_plan *plan;
    float *input;    /* [steps,batch,width] */
    int32_t *labels; /* [steps,batch] */
    size_t steps, batch, width;
} course;

static void open_course(course *t)
{
    kd_graph *g;
    *t = (course){.ctx = test_ctx(0, NULL)};
    t->file = golden_open(t->ctx, "adamw.safetensors");
    const kd_file_tensor *x = golden_find(&t->file, "input");
    t->input = golden_floats(&t->file, x);
    t->labels = golden_labels(&t->file, golden_find(&t->file, "labels"));
    t->steps = (size_t)x->shape[0];
    t->batch = (size_t)x->shape[1];
    t->width = (size_t)x->shape[2];
    const int hidden = (int)golden_find(&t->file, "start.fc1.bias")->count;
    const int classes = (int)golden_find(&t->file, "start.fc2.bias")->count;
    const int64_t dim[] = {KD_BATCH, (int64_t)t->width};
    test_ok(t->ctx, kd_graph_create(t->ctx, &g));
    kd_value y = kd_gelu(g, kd_linear(g, kd_input(g, "input", KD_F32, 2, dim), "fc1", hidden, 1));
    y = kd_linear(g, kd_layer_norm(g, y, "norm", 0), "fc2", classes, 1);
    const kd_value loss = kd_cross_entropy(g, y, kd_input(g, "labels", KD_I32, 1, dim), 0);
    kd_output(g, loss, "loss");
    test_ok(t->ctx, kd_graph_grad(g, loss));
    test_ok(t->ctx, kd_params_create(g, 1, &t->params));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = t->batch, .training = 1};
    test_ok(t->ctx, kd_plan_create(g, &opt, &t->plan));
    kd_graph_destroy(g);
    golden_set_params(&t->file, t->params, "start.", 0);
}

static void close_course(course *t)
{
    free(t->input);
    free(t->labels);
    kd_plan_destroy(t->plan);
    kd_params_destroy(t->params);
    golden_close(&t->file);
    kd_ctx_destroy(t->ctx);
}

/* Losses [steps]; with clip, at least one step is clipped and one is not. */
static void walk(const course *t, kd_optim *optim, bool clip, float *losses)
{
    kd_exec *exec;
    size_t clipped = 0;
    test_ok(t->ctx, kd_exec_create(t->plan, t->params, NULL, &exec));
    for (size_t i = 0; i < t->steps; i++) {
        test_ok(t->ctx, kd_exec_bind(exec, "input", t->input + i * t->batch * t->width));
        test_ok(t->ctx, kd_exec_bind(exec, "labels", t->labels + i * t->batch));
        test_ok(t->ctx, kd_exec_run(exec, NULL));
        losses[i] = *(const float *)kd_exec_output(exec, "loss");
        const double norm = kd_params_grad_norm(t->params);
        const bool over = clip && norm > limit;
        clipped += over;
        kd_optim_step(optim, rate, over ? (float)(limit / (norm + 1e-6)) : 1);
    }
    if (clip) ck_assert(clipped > 0 && clipped < t->steps);
    kd_exec_destroy(exec);
}

/* A flat array's part that belongs to each parameter, against the tensors VARIANT.KIND.NAME. */
static void compare(const course *t, golden_worst *w, const char *variant, const char *kind,
                    const float *flat)
{
    for (size_t i = 0; i < kd_params_entries(t->params); i++) {
        const kd_param_info *info = kd_params_info(t->params, i);
        float *want =
            golden_floats(&t->file, golden_find(&t->file, "%s.%s.%s", variant, kind, info->name));
        float *got = malloc(info->count * sizeof *got);
        ck_assert_ptr_nonnull(got);
        kd_params_pack(info, flat, got);
        golden_compare(w, variant, info->name, got, want, info->count);
        free(got);
        free(want);
    }
}

static void check(const char *variant, const kd_optim_opt *opt, bool clip)
{
    golden_worst losses = {.tolerance = 1e-6}, weights = {.tolerance = 2e-6, .least = .1},
                 states = {.tolerance = 2e-6};
    course t;
    kd_optim *optim;
    const char *name;
    const float *flat;
    open_course(&t);
    test_ok(t.ctx, kd_optim_create(t.params, opt, &optim));
    float *got = malloc(t.steps * sizeof *got);
    ck_assert_ptr_nonnull(got);
    walk(&t, optim, clip, got);
    float *want = golden_floats(&t.file, golden_find(&t.file, "%s.losses", variant));
    golden_compare(&losses, variant, "losses", got, want, t.steps);
    free(got);
    free(want);
    compare(&t, &weights, variant, "end", kd_params_values(t.params));
    for (size_t i = 0; (flat = kd_optim_state(optim, i, &name)); i++)
        compare(&t, &states, variant, name, flat);
    ck_assert_uint_eq(states.compared, 2 * weights.compared);
    golden_report(&losses, "ten steps of AdamW: losses");
    golden_report(&weights, "  weights");
    golden_report(&states, "  averages");
    kd_optim_destroy(optim);
    close_course(&t);
}

START_TEST(test_plain)
{
    const kd_optim_opt opt = {
        .struct_size = sizeof opt, .optimizer = KD_OPTIMIZER_ADAMW, .weight_decay = decay};
    check("plain", &opt, false);
}
END_TEST

START_TEST(test_clipped)
{
    const kd_optim_opt opt = {.struct_size = sizeof opt,
                              .optimizer = KD_OPTIMIZER_ADAMW,
                              .weight_decay = decay,
                              .decay_all = 1,
                              .beta1 = .75,
                              .beta2 = .9375,
                              .eps = 1.0f / 1024};
    check("clipped", &opt, true);
}
END_TEST

TEST_SUITE(golden_adamw, 20, &test_plain, &test_clipped)
