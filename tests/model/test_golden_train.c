/* SPDX-License-Identifier: MIT
 * test_golden_train.c: the distillation loss by its formula, and ten steps of SGD with it against
 * PyTorch, in a loop on the public graph, plan and optimiser API as a user would write it.
 * tests/golden/train.py made the numbers. */
#include "golden.h"

#include "../plan/apart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Losses relative to the largest; weights relative to a tensor's largest, or to 1/100. PyTorch's
 * own float32 is off by 4e-6 and 5e-6 after these steps. */
static const double loss_tolerance = 5e-6, weight_tolerance = 2e-5;

static void *need(size_t count, size_t size)
{
    void *block = calloc(count ? count : 1, size);
    ck_assert_ptr_nonnull(block);
    return block;
}

/* ---- the formula ----------------------------------------------------------------------------- */

/* softmax(x / T) of a row. */
static void softmax(const float *x, size_t k, double temperature, double *p)
{
    double top = (double)x[0], sum = 0;
    for (size_t i = 1; i < k; i++) top = fmax(top, (double)x[i]);
    for (size_t i = 0; i < k; i++) sum += p[i] = exp(((double)x[i] - top) / temperature);
    for (size_t i = 0; i < k; i++) p[i] /= sum;
}

enum { MOST_CLASSES = 100 };

typedef struct formula {
    size_t n, k;
    double hard, soft, temperature;
    float *student, *teacher; /* [n,k] */
    int32_t *labels;          /* [n] */
} formula;

/* loss = hard * CE + soft * T^2 * KL, its gradient hard (p - y) / N + soft T (q_s - q_t) / N. */
static double formula_loss(const formula *f, double *grad)
{
    double p[MOST_CLASSES], qs[MOST_CLASSES], qt[MOST_CLASSES], loss = 0;
    const double n = (double)f->n, t = f->temperature;
    for (size_t r = 0; r < f->n; r++) {
        const size_t y = (size_t)f->labels[r];
        softmax(f->student + r * f->k, f->k, 1, p);
        softmax(f->student + r * f->k, f->k, t, qs);
        softmax(f->teacher + r * f->k, f->k, t, qt);
        loss -= f->hard * log(p[y]) / n;
        for (size_t i = 0; i < f->k; i++) {
            loss += f->soft * t * t * qt[i] * log(qt[i] / qs[i]) / n;
            grad[r * f->k + i] =
                f->hard * (p[i] - (i == y)) / n + f->soft * t * (qs[i] - qt[i]) / n;
        }
    }
    return loss;
}

static kd_value distillation_loss(kd_graph *g, kd_value logits, kd_value teacher, kd_value labels,
                                  double hard, double soft, double temperature)
{
    const kd_value ce = kd_cross_entropy(g, logits, labels, 0);
    const kd_value kl = kd_loss_kd(g, logits, teacher, (float)temperature);
    return kd_add(g, kd_scale(g, ce, (float)hard), kd_scale(g, kl, (float)soft));
}

static void check_formula(kd_ctx *ctx, const formula *f)
{
    kd_graph *g;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    const int64_t dim[] = {KD_BATCH, (int64_t)f->k};
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value student = kd_input(g, "student", KD_F32, 2, dim);
    const kd_value teacher = kd_input(g, "teacher", KD_F32, 2, dim);
    const kd_value labels = kd_input(g, "labels", KD_I32, 1, dim);
    kd_graph_want_grad(g, student);
    const kd_value loss =
        distillation_loss(g, student, teacher, labels, f->hard, f->soft, f->temperature);
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, loss, "loss");
    kd_output(g, kd_graph_grad_of(g, student), "grad");
    test_ok(ctx, kd_params_create(g, 1, &params));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = f->n, .training = 1};
    const apart_input inputs[] = {
        {"student", f->student}, {"teacher", f->teacher}, {"labels", f->labels}};
    check_apart(ctx, g, &opt, params, inputs, 3);
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    for (int i = 0; i < 3; i++) test_ok(ctx, kd_exec_bind(exec, inputs[i].name, inputs[i].data));
    test_ok(ctx, kd_exec_run(exec, NULL));
    double *want = need(f->n * f->k, sizeof *want);
    const double want_loss = formula_loss(f, want);
    const float *got_loss = kd_exec_output(exec, "loss"), *got = kd_exec_output(exec, "grad");
    ck_assert_double_le(fabs((double)*got_loss - want_loss), 1e-6 * fmax(1, want_loss));
    double largest = 1;
    for (size_t i = 0; i < f->n * f->k; i++) largest = fmax(largest, fabs(want[i]));
    for (size_t i = 0; i < f->n * f->k; i++)
        ck_assert_double_le(fabs((double)got[i] - want[i]), 1e-6 * largest);
    free(want);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);
}

START_TEST(test_formula)
{
    static const struct {
        size_t n, k;
        float hard, soft, temperature, scale;
    } cases[] = {{8, 10, .1f, .9f, 4, 5},  {1, 2, .5f, .5f, 1, 3}, {33, 100, .1f, .9f, 4, 8},
                 {5, 10, 0, 1, 2.5f, 5},   {5, 10, 1, 0, 4, 5},    {3, 7, 1, 9, 20, 40},
                 {128, 10, .1f, .9f, 4, 2}};
    kd_ctx *ctx = test_ctx(0, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = cases[i].n, k = cases[i].k;
        formula f = {.n = n,
                     .k = k,
                     .hard = (double)cases[i].hard,
                     .soft = (double)cases[i].soft,
                     .temperature = (double)cases[i].temperature,
                     .student = need(n * k, sizeof(float)),
                     .teacher = need(n * k, sizeof(float)),
                     .labels = need(n, sizeof(int32_t))};
        test_fill(f.student, n * k, 10 + i, cases[i].scale);
        test_fill(f.teacher, n * k, 20 + i, cases[i].scale);
        for (size_t r = 0; r < n; r++) f.labels[r] = (int32_t)(r * 7 % k);
        check_formula(ctx, &f);
        free(f.student);
        free(f.teacher);
        free(f.labels);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- ten steps ------------------------------------------------------------------------------- */

static const double hard = 0.1, soft = 0.9, temperature = 4, rate = 0.05;

typedef struct course {
    kd_ctx *ctx;
    golden file;
    kd_model *model;
    size_t steps, batch, classes, picture; /* floats of a picture */
    float *pictures, *teacher;
    int32_t *labels, *order; /* order [steps,batch] */
} course;

static void course_open(course *t)
{
    *t = (course){.ctx = test_ctx(0, NULL)};
    t->file = golden_open(t->ctx, "train.safetensors");
    const char *spec = kd_file_metadata_get(t->file.file, "spec");
    ck_assert_ptr_nonnull(spec);
    test_ok(t->ctx, kd_model_create(t->ctx, spec, 1, &t->model));
    golden_set_params(&t->file, kd_model_params(t->model), "start.", 0);
    const kd_file_tensor *batches = golden_find(&t->file, "batches");
    t->pictures = golden_pictures(&t->file, golden_find(&t->file, "input"));
    t->teacher = golden_floats(&t->file, golden_find(&t->file, "teacher"));
    t->labels = golden_labels(&t->file, golden_find(&t->file, "labels"));
    t->order = golden_labels(&t->file, batches);
    t->steps = (size_t)batches->shape[0];
    t->batch = (size_t)batches->shape[1];
    t->classes = kd_model_classes(t->model);
    t->picture = kd_model_image(t->model) * kd_model_image(t->model) * kd_model_channels(t->model);
}

static void course_close(course *t)
{
    free(t->pictures);
    free(t->teacher);
    free(t->labels);
    free(t->order);
    kd_model_destroy(t->model);
    golden_close(&t->file);
    kd_ctx_destroy(t->ctx);
}

/* A batch's arrays. */
typedef struct rows {
    float *pictures, *teacher;
    int32_t *labels;
} rows;

static rows rows_make(const course *t)
{
    return (rows){.pictures = need(t->batch * t->picture, sizeof(float)),
                  .teacher = need(t->batch * t->classes, sizeof(float)),
                  .labels = need(t->batch, sizeof(int32_t))};
}

static void rows_gather(const course *t, size_t step, rows *r)
{
    for (size_t i = 0; i < t->batch; i++) {
        const size_t from = (size_t)t->order[step * t->batch + i];
        memcpy(r->pictures + i * t->picture, t->pictures + from * t->picture,
               t->picture * sizeof(float));
        memcpy(r->teacher + i * t->classes, t->teacher + from * t->classes,
               t->classes * sizeof(float));
        r->labels[i] = t->labels[from];
    }
}

static void rows_free(rows *r)
{
    free(r->pictures);
    free(r->teacher);
    free(r->labels);
}

/* As planned, or with every buffer apart. */
static kd_plan *student_plan(const course *t, bool apart)
{
    kd_graph *g;
    kd_plan *plan;
    const int64_t image = (int64_t)kd_model_image(t->model);
    const int64_t picture[] = {KD_BATCH, image, image, (int64_t)kd_model_channels(t->model)};
    const int64_t logits_dim[] = {KD_BATCH, (int64_t)t->classes};
    test_ok(t->ctx, kd_graph_create(t->ctx, &g));
    const kd_value x = kd_input(g, "input", KD_F32, 4, picture);
    const kd_value labels = kd_input(g, "labels", KD_I32, 1, picture);
    const kd_value teacher = kd_input(g, "teacher", KD_F32, 2, logits_dim);
    const kd_value logits = kd_model_build(t->model, g, x, NULL);
    kd_graph_part(g, KD_PART_LOSS);
    const kd_value loss = distillation_loss(g, logits, teacher, labels, hard, soft, temperature);
    test_ok(t->ctx, kd_graph_grad(g, loss));
    kd_output(g, loss, "loss");
    const kd_plan_opt opt = {.struct_size = sizeof opt,
                             .batch = t->batch,
                             .training = 1,
                             .no_sharing = apart,
                             .guard = apart};
    test_ok(t->ctx, kd_plan_create(g, &opt, &plan));
    kd_graph_destroy(g);
    return plan;
}

/* The user's loop; losses [steps]. */
static void walk(const course *t, const kd_optim_opt *options, bool apart, float *losses)
{
    kd_exec *exec;
    kd_optim *optim;
    kd_params *params = kd_model_params(t->model);
    kd_plan *plan = student_plan(t, apart);
    rows r = rows_make(t);
    test_ok(t->ctx, kd_exec_create(plan, params, NULL, &exec));
    test_ok(t->ctx, kd_optim_create(params, options, &optim));
    test_ok(t->ctx, kd_exec_bind(exec, "input", r.pictures));
    test_ok(t->ctx, kd_exec_bind(exec, "labels", r.labels));
    test_ok(t->ctx, kd_exec_bind(exec, "teacher", r.teacher));
    for (size_t step = 0; step < t->steps; step++) {
        rows_gather(t, step, &r);
        test_ok(t->ctx, kd_exec_run(exec, NULL));
        losses[step] = *(const float *)kd_exec_output(exec, "loss");
        kd_optim_step(optim, (float)rate, 1);
    }
    rows_free(&r);
    kd_optim_destroy(optim);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
}

static void check_steps(const char *variant, bool nesterov, bool decay_all)
{
    golden_worst losses = {.tolerance = loss_tolerance},
                 weights = {.tolerance = weight_tolerance, .least = 1e-2};
    course t;
    course_open(&t);
    const kd_optim_opt options = {.struct_size = sizeof options,
                                  .momentum = 0.9f,
                                  .nesterov = nesterov ? 1 : -1,
                                  .weight_decay = 5e-4f,
                                  .decay_all = decay_all};
    float *got = need(t.steps, sizeof *got), *apart = need(t.steps, sizeof *apart);
    walk(&t, &options, true, apart);
    const size_t count = kd_params_flat_count(kd_model_params(t.model));
    float *ends = need(count, sizeof *ends);
    memcpy(ends, kd_params_values(kd_model_params(t.model)), count * sizeof *ends);
    golden_set_params(&t.file, kd_model_params(t.model), "start.", 0);
    walk(&t, &options, false, got);
    ck_assert_msg(!memcmp(got, apart, t.steps * sizeof *got), "losses differ by sharing memory");
    ck_assert_msg(!memcmp(ends, kd_params_values(kd_model_params(t.model)), count * sizeof *ends),
                  "weights differ by sharing memory");
    free(apart);
    free(ends);
    float *want = golden_floats(&t.file, golden_find(&t.file, "%s.losses", variant));
    golden_compare(&losses, variant, "losses", got, want, t.steps);
    free(got);
    free(want);
    const kd_params *params = kd_model_params(t.model);
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        got = golden_param(params, info, 0);
        want = golden_floats(&t.file, golden_find(&t.file, "%s.end.%s", variant, info->name));
        golden_compare(&weights, variant, info->name, got, want, info->count);
        free(got);
        free(want);
    }
    golden_report(&losses, "ten steps: losses");
    golden_report(&weights, "  weights and buffers");
    course_close(&t);
}

START_TEST(test_steps)
{
    check_steps("decay_some", false, false);
}
END_TEST

START_TEST(test_steps_nesterov)
{
    check_steps("nesterov", true, true);
}
END_TEST

/* The teacher's logits come from a network that is also there: the file loaded, evaluated. */
START_TEST(test_teacher)
{
    char path[GOLDEN_PATH];
    kd_model *teacher;
    golden_worst logits = {.tolerance = 1e-5};
    course t;
    course_open(&t);
    golden_path(path, "vgg16_bn.safetensors");
    test_ok(t.ctx, kd_model_load(t.ctx, path, "vgg16_bn,width=0.04,classes=10,image=32", &teacher));
    const size_t n = golden_find(&t.file, "labels")->count;
    float *got = need(n * t.classes, sizeof *got);
    test_ok(t.ctx, kd_model_predict(teacher, t.pictures, n, 5, got));
    golden_compare(&logits, "teacher", "logits", got, t.teacher, n * t.classes);
    golden_report(&logits, "teacher");
    free(got);
    kd_model_destroy(teacher);
    course_close(&t);
}
END_TEST

/* `kd step` does the first of them. */
START_TEST(test_first_step)
{
    golden_worst losses = {.tolerance = loss_tolerance};
    course t;
    course_open(&t);
    rows r = rows_make(&t);
    rows_gather(&t, 0, &r);
    const kd_distill_opt opt = {
        .struct_size = sizeof opt,
        .temperature = (float)temperature,
        .hard = (float)hard,
        .soft = (float)soft,
        .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt), .lr = (float)rate}};
    kd_step_result result = {.struct_size = sizeof result};
    test_ok(t.ctx, kd_train_step(t.model, t.batch, r.pictures, r.labels, r.teacher, &opt, &result));
    float *want = golden_floats(&t.file, golden_find(&t.file, "decay_some.losses"));
    golden_compare(&losses, "kd_train_step", "loss", &result.loss, want, 1);
    free(want);
    rows_free(&r);
    course_close(&t);
}
END_TEST

TEST_SUITE(golden_train, 60, &test_formula, &test_steps, &test_steps_nesterov, &test_teacher,
           &test_first_step)
