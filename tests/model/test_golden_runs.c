/* SPDX-License-Identifier: MIT
 * test_golden_runs.c: whole runs of kd_train and kd_distill against PyTorch's clipping, averaging,
 * several teachers, decoupled distillation and soft targets. A batch is all pictures, so that their
 * order does not matter. tests/golden/runs.py made the numbers. */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 10, TEACHERS = 2 };

/* As in test_golden_train.c. */
static const double loss_tolerance = 5e-6, weight_tolerance = 2e-5;

typedef struct course {
    kd_ctx *ctx;
    golden file;
    kd_dataset *data;
    kd_model *model, *teachers[TEACHERS];
    int32_t *labels;
    float *input; /* normalised */
    size_t n, classes;
    float losses[STEPS];
    size_t steps;
} course;

static kd_model *make_model(const course *c, const char *name, const char *prefix)
{
    kd_model *m;
    const char *spec = kd_file_metadata_get(c->file.file, name);
    ck_assert_ptr_nonnull(spec);
    test_ok(c->ctx, kd_model_create(c->ctx, spec, 1, &m));
    golden_set_params(&c->file, kd_model_params(m), prefix, 0);
    return m;
}

static void course_open(course *c)
{
    *c = (course){.ctx = test_ctx(0, NULL)};
    c->file = golden_open(c->ctx, "runs.safetensors");
    c->model = make_model(c, "student", "start.");
    c->teachers[0] = make_model(c, "teacher0", "teacher0.");
    c->teachers[1] = make_model(c, "teacher1", "teacher1.");
    const kd_file_tensor *t = golden_find(&c->file, "pictures");
    const size_t count = t->count;
    c->n = (size_t)t->shape[0];
    c->classes = kd_model_classes(c->model);
    c->labels = golden_labels(&c->file, golden_find(&c->file, "labels"));
    c->input = golden_pictures(&c->file, t);
    uint8_t *pixels = malloc(count);
    ck_assert_ptr_nonnull(pixels);
    for (size_t i = 0; i < count; i++) {
        pixels[i] = (uint8_t)c->input[i];
        c->input[i] = (c->input[i] / 255 - .5f) / .25f;
    }
    const kd_data_info info = {.struct_size = sizeof info, /* mean and deviation 1/2 and 1/4 */
                               .classes = c->classes,
                               .height = kd_model_image(c->model),
                               .width = kd_model_image(c->model),
                               .channels = 3,
                               .count = {c->n, 0}};
    const uint8_t *const images[] = {pixels, NULL};
    const int32_t *const labels[] = {c->labels, NULL};
    test_ok(c->ctx, kd_dataset_from_arrays(c->ctx, &info, images, labels, 0, &c->data));
    free(pixels);
}

static void course_close(course *c)
{
    free(c->labels);
    free(c->input);
    kd_dataset_close(c->data);
    kd_model_destroy(c->model);
    for (int i = 0; i < TEACHERS; i++) kd_model_destroy(c->teachers[i]);
    golden_close(&c->file);
    kd_ctx_destroy(c->ctx);
}

static int note_loss(void *user, const kd_progress *p)
{
    course *c = user;
    if (!p->epoch_end && !p->evaluating && c->steps < STEPS)
        c->losses[c->steps++] = (float)p->loss; /* an epoch is a step */
    return 0;
}

/* What runs.py has for all of them. */
static kd_train_opt options(course *c)
{
    return (kd_train_opt){.struct_size = sizeof(kd_train_opt),
                          .epochs = STEPS,
                          .batch = c->n,
                          .optimizer = KD_OPTIMIZER_SGD,
                          .lr = .0625f,
                          .momentum = .875f,
                          .nesterov = -1,
                          .weight_decay = 1 / 128.f,
                          .schedule = KD_SCHEDULE_CONSTANT,
                          .augment = "none",
                          .no_test = 1,
                          .progress = note_loss,
                          .user = c};
}

static void compare_params(const course *c, const char *variant, const char *what)
{
    golden_worst worst = {.tolerance = weight_tolerance, .least = 1e-2};
    const kd_params *params = kd_model_params(c->model);
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        float *got = golden_param(params, info, 0);
        float *want =
            golden_floats(&c->file, golden_find(&c->file, "%s.%s.%s", variant, what, info->name));
        golden_compare(&worst, variant, info->name, got, want, info->count);
        free(got);
        free(want);
    }
    golden_report(&worst, variant);
}

static void compare_losses(const course *c, const char *variant)
{
    golden_worst worst = {.tolerance = loss_tolerance};
    float *want = golden_floats(&c->file, golden_find(&c->file, "%s.losses", variant));
    ck_assert_uint_eq(c->steps, STEPS);
    golden_compare(&worst, variant, "losses", c->losses, want, STEPS);
    golden_report(&worst, variant);
    free(want);
}

START_TEST(test_clip)
{
    course c;
    course_open(&c);
    kd_train_opt opt = options(&c);
    opt.clip = .5f;
    opt.schedule = KD_SCHEDULE_COSINE;
    test_ok(c.ctx, kd_train(c.model, c.data, &opt, NULL));
    compare_losses(&c, "clip");
    compare_params(&c, "clip", "end");
    course_close(&c);
}
END_TEST

START_TEST(test_ema)
{
    course c;
    course_open(&c);
    kd_train_opt opt = options(&c);
    opt.ema = .75f;
    test_ok(c.ctx, kd_train(c.model, c.data, &opt, NULL));
    compare_losses(&c, "ema");
    compare_params(&c, "ema", "average");
    course_close(&c);
}
END_TEST

static void distill(const char *variant, kd_distill_opt opt)
{
    course c;
    course_open(&c);
    const kd_train_opt train = options(&c);
    opt.struct_size = sizeof opt;
    opt.teachers = c.teachers;
    opt.hard = .25f;
    opt.soft = .75f;
    opt.temperature = 3;
    opt.train = &train;
    test_ok(c.ctx, kd_distill(c.model, c.data, &opt, NULL));
    compare_losses(&c, variant);
    compare_params(&c, variant, "end");
    course_close(&c);
}

START_TEST(test_teachers)
{
    static const float weights[] = {.75f, .25f};
    distill("teachers", (kd_distill_opt){.n_teachers = 2, .teacher_weights = weights});
    distill("equal", (kd_distill_opt){.n_teachers = 2});
}
END_TEST

START_TEST(test_dkd)
{
    distill("dkd",
            (kd_distill_opt){
                .n_teachers = 1, .method = KD_METHOD_DKD, .alpha = 2, .beta = 3, .dkd_warmup = 4});
}
END_TEST

/* The loader draws shares for kd_train; here they are given, so that the loop is the user's. */
static kd_plan *mixed_plan(const course *c)
{
    kd_graph *g;
    kd_plan *plan;
    const int64_t image = (int64_t)kd_model_image(c->model);
    const int64_t dim[] = {KD_BATCH, image, image, 3};
    test_ok(c->ctx, kd_graph_create(c->ctx, &g));
    const kd_value x = kd_input(g, "input", KD_F32, 4, dim);
    const kd_value labels = kd_input(g, "labels", KD_I32, 1, dim);
    const kd_value partners = kd_input(g, "partners", KD_I32, 1, dim);
    const kd_value shares = kd_input(g, "shares", KD_F32, 1, dim);
    const kd_value loss = kd_cross_entropy_mixed(g, kd_model_build(c->model, g, x, NULL), labels,
                                                 partners, shares, .125f);
    kd_output(g, loss, "loss");
    test_ok(c->ctx, kd_graph_grad(g, loss));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = c->n, .training = 1};
    test_ok(c->ctx, kd_plan_create(g, &opt, &plan));
    kd_graph_destroy(g);
    return plan;
}

START_TEST(test_mixup)
{
    course c;
    kd_exec *exec;
    kd_optim *optim;
    course_open(&c);
    kd_params *params = kd_model_params(c.model);
    kd_plan *plan = mixed_plan(&c);
    int32_t *partners = golden_labels(&c.file, golden_find(&c.file, "partners"));
    float *shares = golden_floats(&c.file, golden_find(&c.file, "shares"));
    const kd_optim_opt opt = {
        .struct_size = sizeof opt, .momentum = .875f, .nesterov = -1, .weight_decay = 1 / 128.f};
    test_ok(c.ctx, kd_exec_create(plan, params, NULL, &exec));
    test_ok(c.ctx, kd_optim_create(params, &opt, &optim));
    test_ok(c.ctx, kd_exec_bind(exec, "input", c.input));
    test_ok(c.ctx, kd_exec_bind(exec, "labels", c.labels));
    for (; c.steps < STEPS; c.steps++) {
        test_ok(c.ctx, kd_exec_bind(exec, "partners", partners + c.steps * c.n));
        test_ok(c.ctx, kd_exec_bind(exec, "shares", shares + c.steps * c.n));
        test_ok(c.ctx, kd_exec_run(exec, NULL));
        c.losses[c.steps] = *(const float *)kd_exec_output(exec, "loss");
        kd_optim_step(optim, .0625f, 1);
    }
    compare_losses(&c, "mixup");
    compare_params(&c, "mixup", "end");
    free(partners);
    free(shares);
    kd_optim_destroy(optim);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    course_close(&c);
}
END_TEST

TEST_SUITE(golden_runs, 60, &test_clip, &test_ema, &test_teachers, &test_dkd, &test_mixup)
