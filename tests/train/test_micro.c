/* SPDX-License-Identifier: MIT
 * test_micro.c: batches in pieces: gradients and losses are the whole batch's up to rounding, with
 * dropout and drop path too; the same bits for any number of threads and after a resume; mixed
 * pictures and teachers take part; a network whose training mixes the batch is refused in words. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 10, SIDE = 16, PICTURE = SIDE * SIDE * 3, CLASSES = 10 };

static const char vit[] = "vit_tiny_patch16_224,image=16,patch=4,dim=24,depth=3,heads=3,classes=10,"
                          "drop_path=0.4";

/* ---- one step -------------------------------------------------------------------------------- */

typedef struct step {
    double loss;
    float *grads; /* to be freed */
    size_t count, pieces;
} step;

/* A vision transformer with drop path, its logits through a layer with dropout. */
static kd_graph *make_graph(kd_ctx *ctx, const kd_model *m)
{
    const int64_t dim[] = {KD_BATCH, SIDE, SIDE, 3};
    kd_graph *g;
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_value y = kd_model_build(m, g, kd_input(g, "input", KD_F32, 4, dim), NULL);
    y = kd_dropout(g, kd_gelu(g, kd_linear(g, y, "first", 33, 1)), .3f);
    y = kd_linear(g, y, "second", CLASSES, 1);
    const kd_value loss = kd_cross_entropy(g, y, kd_input(g, "labels", KD_I32, 1, dim), .1f);
    kd_output(g, loss, "loss");
    test_ok(ctx, kd_graph_grad(g, loss));
    return g;
}

static step run_step(size_t most, int threads)
{
    kd_ctx *ctx = test_ctx(threads, NULL);
    static float x[N * PICTURE];
    const int32_t labels[N] = {0, 9, 3, 3, 1, 7, 8, 2, 2, 5};
    kd_model *m;
    kd_params *p;
    kd_plan *plan;
    kd_exec *exec;
    step s = {0};
    test_fill(x, N * PICTURE, 3, 1);
    test_ok(ctx, kd_model_create(ctx, vit, 1, &m));
    kd_graph *g = make_graph(ctx, m);
    test_ok(ctx, kd_params_create(g, 1, &p));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = most, .training = 1};
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    kd_graph_destroy(g);
    test_ok(ctx, kd_exec_create(plan, p, NULL, &exec));
    for (size_t at = 0; at < N; at += most) {
        const size_t n = N - at < most ? N - at : most;
        const kd_run_opt run = {.struct_size = sizeof run,
                                .batch = n,
                                .seed = 5,
                                .step = 2,
                                .first = at,
                                .weight = (float)n / N,
                                .accumulate = at > 0};
        test_ok(ctx, kd_exec_bind(exec, "input", x + at * PICTURE));
        test_ok(ctx, kd_exec_bind(exec, "labels", labels + at));
        test_ok(ctx, kd_exec_run(exec, &run));
        s.loss += (double)n / N * (double)*(float *)kd_exec_output(exec, "loss");
        s.pieces++;
    }
    s.count = kd_params_flat_count(p);
    s.grads = malloc(s.count * sizeof *s.grads);
    memcpy(s.grads, kd_params_grads(p), s.count * sizeof *s.grads);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(p);
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    return s;
}

/* Largest difference, relative to the largest gradient. */
static double apart(const step *a, const step *b)
{
    double most = 0, scale = 0;
    for (size_t i = 0; i < a->count; i++) {
        most = fmax(most, fabs((double)a->grads[i] - (double)b->grads[i]));
        scale = fmax(scale, fabs((double)b->grads[i]));
    }
    return most / scale;
}

START_TEST(test_gradients_of_pieces)
{
    static const size_t sizes[] = {1, 3, 8};
    step whole = run_step(N, 2);
    ck_assert_uint_eq(whole.pieces, 1);
    for (size_t k = 0; k < 3; k++) {
        step s = run_step(sizes[k], 2);
        ck_assert_uint_eq(s.pieces, (N - 1) / sizes[k] + 1);
        ck_assert_msg(apart(&s, &whole) < 1e-5, "in pieces of %zu: gradients %.3g apart", sizes[k],
                      apart(&s, &whole));
        ck_assert_double_eq_tol(s.loss, whole.loss, 1e-6 * whole.loss);
        for (int threads = 1; threads < 8; threads += threads < 3 ? 1 : 4) {
            step t = run_step(sizes[k], threads);
            ck_assert_mem_eq(t.grads, s.grads, s.count * sizeof *s.grads);
            ck_assert(t.loss == s.loss);
            free(t.grads);
        }
        free(s.grads);
    }
    free(whole.grads);
}
END_TEST

/* Dropout and drop path draw for an image what they draw for it in the whole batch, also where an
 * image's numbers begin within one of the generator's blocks. */
START_TEST(test_random_numbers_of_pieces)
{
    enum { MANY = 3000, WIDTH = 7 };
    static float x[MANY * WIDTH], whole[2][MANY * WIDTH];
    static const size_t sizes[] = {MANY, 1, 3, 8, 1001};
    static const char *const outputs[] = {"dropped", "paths"};
    kd_ctx *ctx = test_ctx(2, NULL);
    const int64_t dim[] = {KD_BATCH, WIDTH};
    kd_graph *g;
    kd_params *p;
    test_fill(x, MANY * WIDTH, 3, 1);
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value in = kd_input(g, "x", KD_F32, 2, dim);
    kd_output(g, kd_dropout(g, in, .3f), outputs[0]);
    kd_output(g, kd_drop_path(g, in, .3f), outputs[1]);
    test_ok(ctx, kd_params_create(g, 1, &p));
    for (size_t k = 0; k < 5; k++) {
        const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = sizes[k], .training = 1};
        kd_plan *plan;
        kd_exec *exec;
        test_ok(ctx, kd_plan_create(g, &opt, &plan));
        test_ok(ctx, kd_exec_create(plan, p, NULL, &exec));
        for (size_t at = 0; at < MANY; at += sizes[k]) {
            const kd_run_opt run = {.struct_size = sizeof run,
                                    .batch = MANY - at < sizes[k] ? MANY - at : sizes[k],
                                    .seed = 9,
                                    .first = at};
            test_ok(ctx, kd_exec_bind(exec, "x", x + at * WIDTH));
            test_ok(ctx, kd_exec_run(exec, &run));
            for (int o = 0; o < 2; o++) {
                const size_t bytes = run.batch * WIDTH * sizeof(float);
                const float *y = kd_exec_output(exec, outputs[o]);
                if (k == 0)
                    memcpy(whole[o], y, bytes);
                else
                    ck_assert_msg(!memcmp(whole[o] + at * WIDTH, y, bytes),
                                  "%s: pieces of %zu differ from image %zu on", outputs[o],
                                  sizes[k], at);
            }
        }
        kd_exec_destroy(exec);
        kd_plan_destroy(plan);
    }
    kd_params_destroy(p);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

/* kd_train_step in pieces: loss, logits, gradients. */
START_TEST(test_step)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    static float x[N * PICTURE], teacher[N * CLASSES], logits[2][N * CLASSES];
    const int32_t labels[N] = {0, 9, 3, 3, 1, 7, 8, 2, 2, 5};
    float *grads[2], loss[2];
    test_fill(x, N * PICTURE, 3, 1);
    test_fill(teacher, N * CLASSES, 4, 3);
    for (int k = 0; k < 2; k++) {
        kd_model *m;
        test_ok(ctx, kd_model_create(ctx, vit, 1, &m));
        const kd_distill_opt opt = {.struct_size = sizeof opt,
                                    .method = KD_METHOD_DKD,
                                    .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                             .micro_batch = k ? 4 : 0}};
        const size_t count = kd_params_flat_count(kd_model_params(m));
        grads[k] = malloc(count * sizeof(float));
        kd_step_result r = {.struct_size = sizeof r, .logits = logits[k], .grads = grads[k]};
        test_ok(ctx, kd_train_step(m, N, x, labels, teacher, &opt, &r));
        loss[k] = r.loss;
        if (k) ck_assert_double_lt(test_distance(grads[1], grads[0], count), 1e-5);
        kd_model_destroy(m);
    }
    ck_assert_double_lt(test_distance(&loss[1], &loss[0], 1), 1e-6);
    ck_assert_double_lt(test_distance(logits[1], logits[0], N * CLASSES), 1e-5);
    free(grads[0]);
    free(grads[1]);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- runs ------------------------------------------------------------------------------------ */

typedef struct course {
    const char *student, *teacher, *augment, *out;
    kd_method method;
    size_t micro, stop_at;
    int threads;
} course;

typedef struct outcome {
    kd_status status;
    kd_result result;
    float *weights; /* to be freed */
    size_t count;
    char error[300];
} outcome;

static int stop(void *user, const kd_progress *p)
{
    const course *c = user;
    return c->stop_at && p->step >= c->stop_at;
}

static outcome train(course c)
{
    outcome o = {.result.struct_size = sizeof o.result};
    kd_ctx *ctx = test_ctx(c.threads, NULL);
    kd_dataset *data;
    kd_model *m, *teacher = NULL;
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .method = c.method,
                                .dkd_warmup = 2,
                                .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                         .epochs = 2,
                                                         .batch = 32,
                                                         .lr = .01f,
                                                         .accumulate = 2,
                                                         .augment = c.augment,
                                                         .seed = 3,
                                                         .micro_batch = c.micro,
                                                         .out = c.out,
                                                         .resume = c.out != NULL,
                                                         .progress = stop,
                                                         .user = &c}};
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:image=16,train=160,test=32", NULL, &data));
    test_ok(ctx, kd_model_create(ctx, c.student, 1, &m));
    if (c.teacher) test_ok(ctx, kd_model_create(ctx, c.teacher, 2, &teacher));
    kd_distill_opt with = opt;
    with.teacher = teacher;
    o.status =
        teacher ? kd_distill(m, data, &with, &o.result) : kd_train(m, data, opt.train, &o.result);
    snprintf(o.error, sizeof o.error, "%s", kd_ctx_error(ctx));
    o.count = kd_params_flat_count(kd_model_params(m));
    o.weights = malloc(o.count * sizeof *o.weights);
    memcpy(o.weights, kd_params_values(kd_model_params(m)), o.count * sizeof *o.weights);
    kd_model_destroy(m);
    kd_model_destroy(teacher);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    return o;
}

static outcome train_ok(course c)
{
    const outcome o = train(c);
    ck_assert_msg(o.status == KD_OK, "%s", o.error);
    return o;
}

/* The same run in pieces is near the whole one, and the same whatever the number of threads. */
static void check_run(course c)
{
    c.threads = 2;
    outcome whole = train_ok(c);
    c.micro = 7;
    outcome pieces = train_ok(c);
    c.threads = 3;
    outcome again = train_ok(c);
    ck_assert_uint_eq(whole.result.micro_batch, 32);
    ck_assert_uint_eq(pieces.result.micro_batch, 7);
    ck_assert_mem_eq(pieces.weights, again.weights, pieces.count * sizeof(float));
    ck_assert_double_lt(test_distance(pieces.weights, whole.weights, whole.count), 1e-4);
    ck_assert_double_eq_tol(pieces.result.train_loss, whole.result.train_loss, 1e-4);
    ck_assert_double_eq_tol(pieces.result.train_top1, whole.result.train_top1, 1.5);
    free(whole.weights);
    free(pieces.weights);
    free(again.weights);
}

START_TEST(test_runs_in_pieces)
{
    check_run((course){.student = vit, .augment = "flip+mixup+cutmix"});
    check_run((course){.student = vit,
                       .teacher = "vgg4_bn,width=0.125,image=32,classes=10",
                       .method = KD_METHOD_DKD,
                       .augment = "crop-flip"});
}
END_TEST

/* A checkpoint knows how the batch was cut; a resume ends with the same bits. */
START_TEST(test_resume)
{
    char out[400];
    snprintf(out, sizeof out, "%s/micro", test_dir());
    course c = {.student = vit, .augment = "crop-flip", .micro = 5, .threads = 1};
    outcome whole = train_ok(c);
    c.out = out;
    c.stop_at = 3;
    outcome first = train(c);
    ck_assert_int_eq(first.status, KD_E_STOPPED);
    c.stop_at = 0;
    c.micro = 6;
    outcome other = train(c);
    ck_assert_int_eq(other.status, KD_E_MISMATCH);
    ck_assert_msg(strstr(other.error, "micro_batch"), "%s", other.error);
    c.micro = 5;
    outcome rest = train_ok(c);
    ck_assert_mem_eq(rest.weights, whole.weights, whole.count * sizeof(float));
    free(whole.weights);
    free(first.weights);
    free(other.weights);
    free(rest.weights);
}
END_TEST

START_TEST(test_refused)
{
    course c = {.student = "vgg4_bn,width=0.125,image=16,classes=10", .micro = 8, .threads = 1};
    outcome o = train(c);
    ck_assert_int_eq(o.status, KD_E_UNSUPPORTED);
    ck_assert_msg(strstr(o.error, "batch_norm 'features.1'"), "%s", o.error);
    free(o.weights);
    c.micro = 32; /* no piece */
    o = train_ok(c);
    free(o.weights);
    c.micro = KD_MICRO_AUTO;
    o = train_ok(c);
    ck_assert_uint_eq(o.result.micro_batch, 32);
    free(o.weights);
}
END_TEST

/* Found by shape alone: a piece's values fit, pieces are equal, threads do not matter. */
START_TEST(test_auto)
{
    enum { BATCH = 300 };
    size_t found = 0;
    for (int threads = 1; threads < 8; threads += 3) {
        kd_ctx *ctx = test_ctx(threads, NULL);
        kd_model *m;
        kd_plan *plan, *one;
        const char *spec = "vit_tiny_patch16_224,image=32,patch=4,depth=2,classes=10";
        test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
        kd_train_opt train = {
            .struct_size = sizeof train, .batch = BATCH, .micro_batch = KD_MICRO_AUTO};
        const kd_distill_opt opt = {.struct_size = sizeof opt, .train = &train};
        test_ok(ctx, kd_train_plan(m, &opt, &plan));
        train.micro_batch = 1;
        test_ok(ctx, kd_train_plan(m, &opt, &one));
        const size_t n = kd_plan_batch(plan), pieces = (BATCH - 1) / n + 1;
        ck_assert_uint_gt(n, 1);
        ck_assert_uint_lt(n, BATCH);
        ck_assert_uint_eq(n, (BATCH - 1) / pieces + 1);
        ck_assert_uint_lt(kd_plan_values_size(one), kd_plan_values_size(plan));
        ck_assert_uint_le(kd_plan_values_size(plan), kd_plan_arena_size(plan));
        if (found) ck_assert_uint_eq(n, found);
        found = n;
        kd_plan_destroy(plan);
        kd_plan_destroy(one);
        kd_model_destroy(m);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

TEST_SUITE(micro, 60, &test_gradients_of_pieces, &test_random_numbers_of_pieces, &test_step,
           &test_runs_in_pieces, &test_resume, &test_refused, &test_auto)
