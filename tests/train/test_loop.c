/* SPDX-License-Identifier: MIT
 * test_loop.c: what a loop of the caller's own is made of: the rate of a step, checkpoints of model and
 * optimiser; cancelling from another thread, within a step, an evaluation or a loader, and going on
 * to the same bits; rectangular pictures in a run with a teacher. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define NET "vgg4_bn,width=0.125,classes=10,image=32"
#define DATA "synthetic:train=96,test=32"

static void refused(kd_ctx *ctx, kd_status got, kd_status want, const char *words)
{
    ck_assert_msg(got == want, "%s: %s", kd_status_name(got), kd_ctx_error(ctx));
    ck_assert_msg(strstr(kd_ctx_error(ctx), words) != NULL, "'%s' lacks '%s'", kd_ctx_error(ctx),
                  words);
}

static const char *in_dir(char path[700], const char *name)
{
    snprintf(path, 700, "%s/%s", test_dir(), name);
    return path;
}

/* ---- the rate -------------------------------------------------------------------------------- */

typedef struct rates {
    double lr[64];
    size_t n;
} rates;

static int note_rate(void *user, const kd_progress *p)
{
    rates *r = user;
    if (!p->epoch_end && !p->evaluating && r->n < 64) r->lr[r->n++] = p->lr;
    return 0;
}

/* The rate that a run reports, step by step. */
START_TEST(test_rate)
{
    static const kd_schedule schedules[] = {KD_SCHEDULE_COSINE, KD_SCHEDULE_STEP,
                                            KD_SCHEDULE_ONECYCLE, KD_SCHEDULE_CONSTANT};
    for (size_t s = 0; s < 4; s++) {
        kd_ctx *ctx = test_ctx(1, NULL);
        kd_dataset *data;
        kd_model *model;
        rates r = {.n = 0};
        const bool falls = schedules[s] != KD_SCHEDULE_CONSTANT;
        kd_train_opt opt = {.struct_size = sizeof opt,
                            .epochs = 3,
                            .batch = 16,
                            .schedule = schedules[s],
                            .lr = .05f,
                            .warmup = 1.5f,
                            .min_lr = falls ? .001f : 0,
                            .no_test = 1,
                            .progress = note_rate,
                            .user = &r};
        test_ok(ctx, kd_dataset_open(ctx, DATA, NULL, &data));
        test_ok(ctx, kd_model_create(ctx, "vgg2,width=0.0625,classes=10,image=32", 1, &model));
        kd_train_defaults(&opt, model);
        test_ok(ctx, kd_train(model, data, &opt, NULL));
        ck_assert_uint_eq(r.n, 18);
        for (size_t i = 0; i < r.n; i++)
            ck_assert_double_eq(kd_train_rate(&opt, i, 18, 6), r.lr[i]);
        ck_assert_double_lt(r.lr[0], .05 / 8);
        kd_model_destroy(model);
        kd_dataset_close(data);
        kd_ctx_destroy(ctx);
    }
    ck_assert_double_eq(kd_train_rate(NULL, 0, 1, 1), 0);
    ck_assert_double_eq(kd_train_rate(&(kd_train_opt){.lr = 1}, 0, 1, 1), 0);
}
END_TEST

/* ---- a loop with checkpoints ----------------------------------------------------------------- */

typedef struct loop {
    kd_ctx *ctx;
    kd_model *model;
    kd_plan *plan;
    kd_exec *exec;
    kd_optim *optim;
    float pictures[8 * 32 * 32 * 3];
    int32_t labels[8];
} loop;

static loop *loop_open(kd_optimizer optimizer, uint64_t seed)
{
    loop *l = calloc(1, sizeof *l);
    const kd_train_opt train = {.struct_size = sizeof train, .batch = 8};
    const kd_distill_opt how = {.struct_size = sizeof how, .train = &train};
    const kd_optim_opt opt = {.struct_size = sizeof opt, .optimizer = optimizer};
    l->ctx = test_ctx(1, NULL);
    test_ok(l->ctx, kd_model_create(l->ctx, NET, seed, &l->model));
    test_ok(l->ctx, kd_train_plan(l->model, &how, &l->plan));
    test_ok(l->ctx, kd_exec_create(l->plan, kd_model_params(l->model), NULL, &l->exec));
    test_ok(l->ctx, kd_optim_create(kd_model_params(l->model), &opt, &l->optim));
    test_fill(l->pictures, 8 * 32 * 32 * 3, 1, 1);
    for (int32_t i = 0; i < 8; i++) l->labels[i] = i;
    test_ok(l->ctx, kd_exec_bind(l->exec, "input", l->pictures));
    test_ok(l->ctx, kd_exec_bind(l->exec, "labels", l->labels));
    return l;
}

static void loop_close(loop *l)
{
    kd_optim_destroy(l->optim);
    kd_exec_destroy(l->exec);
    kd_plan_destroy(l->plan);
    kd_model_destroy(l->model);
    ck_assert_uint_eq(kd_ctx_memory(l->ctx), 0);
    kd_ctx_destroy(l->ctx);
    free(l);
}

static void step(loop *l, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        test_ok(l->ctx, kd_exec_run(l->exec, NULL));
        kd_optim_step(l->optim, .01f, 1);
    }
}

static uint64_t hash(loop *l)
{
    uint64_t h;
    test_ok(l->ctx, kd_model_hash(l->model, &h));
    return h;
}

/* Three steps, a checkpoint, four more; and the same four from the checkpoint. */
START_TEST(test_checkpoint)
{
    static const kd_optimizer kinds[] = {KD_OPTIMIZER_SGD, KD_OPTIMIZER_ADAMW};
    char path[700], *note;
    in_dir(path, "loop.safetensors");
    for (size_t k = 0; k < 2; k++) {
        loop *a = loop_open(kinds[k], 1), *b = loop_open(kinds[k], 2);
        step(a, 3);
        test_ok(a->ctx, kd_checkpoint_save(a->model, a->optim, "{\"step\":3}", path));
        step(a, 4);
        step(b, 1);
        test_ok(b->ctx, kd_checkpoint_load(b->model, b->optim, path, &note));
        ck_assert_str_eq(note, "{\"step\":3}");
        kd_ctx_free(b->ctx, note);
        ck_assert_uint_eq(kd_optim_steps(b->optim), 3);
        step(b, 4);
        ck_assert(hash(a) == hash(b));
        kd_model *model;
        test_ok(a->ctx, kd_model_load(a->ctx, path, NULL, &model)); /* it is a model, too */
        kd_model_destroy(model);
        loop_close(a);
        loop_close(b);
    }
}
END_TEST

/* What does not fit leaves model and optimiser as they were. */
START_TEST(test_checkpoint_refused)
{
    char path[700], plain[700], cut[700], *note, *bytes;
    size_t size;
    loop *a = loop_open(KD_OPTIMIZER_SGD, 1), *b = loop_open(KD_OPTIMIZER_ADAMW, 2);
    in_dir(path, "sgd.safetensors");
    test_ok(a->ctx, kd_checkpoint_save(a->model, a->optim, NULL, path));
    test_ok(a->ctx, kd_checkpoint_load(a->model, a->optim, path, &note));
    ck_assert_str_eq(note, "");
    kd_ctx_free(a->ctx, note);
    test_ok(a->ctx, kd_checkpoint_load(a->model, a->optim, path, NULL));
    step(b, 2);
    const uint64_t before = hash(b);
    refused(b->ctx, kd_checkpoint_load(b->model, b->optim, path, &note), KD_E_MISMATCH,
            "'optimizer.exp_avg.");
    ck_assert_ptr_null(note);
    test_ok(a->ctx, kd_model_save(a->model, in_dir(plain, "plain.safetensors")));
    refused(b->ctx, kd_checkpoint_load(b->model, b->optim, plain, NULL), KD_E_MISMATCH,
            "'libkd.kind'");
    kd_model *other;
    test_ok(b->ctx, kd_model_create(b->ctx, "vgg2,width=0.125", 1, &other));
    refused(b->ctx, kd_checkpoint_load(other, b->optim, path, NULL), KD_E_MISMATCH, "'libkd.spec'");
    kd_model_destroy(other);
    refused(b->ctx, kd_checkpoint_load(b->model, b->optim, "/no/such", NULL), KD_E_NOTFOUND,
            "cannot open '/no/such': No such file");
    test_ok(a->ctx, kd_file_read_all(a->ctx, path, 1 << 24, &bytes, &size));
    FILE *f = fopen(in_dir(cut, "cut.safetensors"), "wb");
    ck_assert_uint_eq(fwrite(bytes, 1, size / 2, f), size / 2);
    fclose(f);
    kd_ctx_free(a->ctx, bytes);
    refused(b->ctx, kd_checkpoint_load(b->model, b->optim, cut, NULL), KD_E_FORMAT, "cut");
    refused(b->ctx, kd_checkpoint_load(b->model, NULL, path, NULL), KD_E_INVALID, "NULL");
    refused(b->ctx, kd_checkpoint_save(b->model, b->optim, "\xff", path), KD_E_INVALID, "UTF-8");
    ck_assert(hash(b) == before && kd_optim_steps(b->optim) == 2);
    loop_close(a);
    loop_close(b);
}
END_TEST

/* ---- cancelling ------------------------------------------------------------------------------ */

/* Cancels the context at the n-th allocation-free look: after so many loops of work. */
typedef struct cutter {
    kd_ctx *ctx;
    int loops, at;
} cutter;

static void cut_parallel(void *user, int width, kd_worker_fn fn, void *arg)
{
    cutter *c = user;
    if (++c->loops == c->at) kd_ctx_cancel(c->ctx, 1);
    for (int w = 0; w < width; w++) fn(arg, w);
}

static kd_ctx *cut_ctx(cutter *c)
{
    const kd_config config = {
        .struct_size = sizeof config, .parallel = cut_parallel, .parallel_user = c, .threads = 2};
    ck_assert_int_eq(kd_ctx_create(&config, &c->ctx), KD_OK);
    return c->ctx;
}

static kd_status train(kd_ctx *ctx, const char *out, int resume, uint64_t *sum)
{
    kd_dataset *data;
    kd_model *model;
    kd_result result = {.struct_size = sizeof result};
    const kd_train_opt opt = {.struct_size = sizeof opt,
                              .epochs = 2,
                              .batch = 16,
                              .accumulate = 2,
                              .seed = 3,
                              .dev_count = 16,
                              .out = out,
                              .resume = resume,
                              .no_test = 1};
    test_ok(ctx, kd_dataset_open(ctx, DATA, NULL, &data));
    test_ok(ctx, kd_model_create(ctx, NET, 1, &model));
    const kd_status status = kd_train(model, data, &opt, &result);
    const kd_status hashed = kd_model_hash(model, sum);
    kd_model_destroy(model);
    kd_dataset_close(data);
    return status ? status : hashed;
}

/* Cancelled anywhere, and resumed: the same network. */
START_TEST(test_cancel_and_resume)
{
    uint64_t want, got;
    char path[700];
    cutter c = {.at = 0};
    kd_ctx *ctx = cut_ctx(&c);
    test_ok(ctx, train(ctx, NULL, 0, &want));
    kd_ctx_destroy(ctx);
    const int all = c.loops;
    int stopped = 0;
    for (int i = 1; i < 12; i++) {
        char name[32];
        snprintf(name, sizeof name, "cancelled%d", i);
        in_dir(path, name);
        c = (cutter){.at = all * i / 12 + i};
        ctx = cut_ctx(&c);
        kd_status status = train(ctx, path, 0, &got);
        if (status) {
            stopped++;
            refused(ctx, status, KD_E_STOPPED, "stopped ");
            kd_ctx_cancel(ctx, 0);
            status = train(ctx, path, 1, &got);
        }
        test_ok(ctx, status);
        ck_assert_msg(got == want, "cancelled after %d of %d loops", c.at, all);
        kd_ctx_destroy(ctx);
    }
    ck_assert_int_ge(stopped, 8);
}
END_TEST

/* Before anything began: nothing is written, and everything says so. */
START_TEST(test_cancel_before)
{
    char path[700];
    uint64_t sum;
    struct stat st;
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    kd_model *model;
    kd_loader *loader;
    const kd_batch *batch;
    kd_eval_result r = {.struct_size = sizeof r};
    float m[3], *x = calloc(32 * 32 * 3, sizeof *x), logits[10];
    test_ok(ctx, kd_dataset_open(ctx, DATA, NULL, &data));
    test_ok(ctx, kd_model_create(ctx, NET, 1, &model));
    test_ok(ctx, kd_loader_create(data, NULL, &loader));
    kd_ctx_cancel(ctx, 1);
    ck_assert_int_eq(kd_ctx_cancelled(ctx), 1);
    in_dir(path, "never");
    refused(ctx, train(ctx, path, 0, &sum), KD_E_STOPPED, "cancelled");
    ck_assert_int_ne(stat(path, &st), 0);
    refused(ctx, kd_evaluate(model, data, NULL, &r), KD_E_STOPPED, "cancelled");
    refused(ctx, kd_loader_next(loader, &batch), KD_E_STOPPED, "cancelled");
    refused(ctx, kd_dataset_measure(data, m, NULL), KD_E_STOPPED, "cancelled");
    refused(ctx, kd_dataset_checksum(data, &sum), KD_E_STOPPED, "cancelled");
    refused(ctx, kd_model_predict(model, x, 1, 0, logits), KD_E_STOPPED, "cancelled");
    refused(ctx, kd_ctx_check_cancel(ctx), KD_E_STOPPED, "cancelled");
    kd_ctx_cancel(ctx, 0);
    test_ok(ctx, kd_loader_next(loader, &batch));
    test_ok(ctx, kd_dataset_checksum(data, &sum));
    test_ok(ctx, kd_model_predict(model, x, 1, 0, logits));
    kd_ctx_cancel(NULL, 1);
    ck_assert_int_eq(kd_ctx_cancelled(NULL), 0);
    ck_assert_int_eq(kd_ctx_check_cancel(NULL), KD_E_INVALID);
    free(x);
    kd_loader_close(loader);
    kd_model_destroy(model);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

static void *cancel_soon(void *arg)
{
    const struct timespec pause = {.tv_nsec = 60000000};
    nanosleep(&pause, NULL);
    kd_ctx_cancel(arg, 1);
    return NULL;
}

/* Another thread cancels an evaluation of many minutes. */
START_TEST(test_cancel_evaluation)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    kd_model *model;
    pthread_t thread;
    kd_eval_result r = {.struct_size = sizeof r};
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=8,test=400,image=224", NULL, &data));
    test_ok(ctx, kd_model_create(ctx, "vgg16_bn,classes=10", 1, &model));
    const kd_eval_opt opt = {.struct_size = sizeof opt, .batch = 4};
    const double before = kd_seconds();
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, ctx), 0);
    refused(ctx, kd_evaluate(model, data, &opt, &r), KD_E_STOPPED, "cancelled");
    pthread_join(thread, NULL);
    ck_assert_double_lt(kd_seconds() - before, 30);
    ck_assert_uint_lt(r.n, 400);
    kd_model_destroy(model);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- rectangular pictures -------------------------------------------------------------------- */

/* A run of 24x48 pictures with a square teacher; its file knows the size; evaluation and prediction take
 * the same. */
START_TEST(test_rectangular_run)
{
    enum { N = 48, PICTURE = 24 * 48 * 3 };
    static uint8_t pixels[N * PICTURE];
    int32_t labels[N];
    char path[700];
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_dataset *data;
    kd_model *student, *teacher;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)((i / PICTURE % 2 ? i % 48 * 5 : i / 144 % 24 * 9) + i % 7);
    for (int32_t i = 0; i < N; i++) labels[i] = i % 2;
    const uint8_t *const images[] = {pixels, pixels};
    const int32_t *const known[] = {labels, labels};
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = 2,
                               .height = 24,
                               .width = 48,
                               .channels = 3,
                               .count = {N, N}};
    test_ok(ctx, kd_dataset_from_arrays(ctx, &info, images, known, 1, &data));
    test_ok(ctx, kd_model_create(ctx, "vgg3_bn,width=0.125,classes=2,image=24x48", 1, &student));
    test_ok(ctx, kd_model_create(ctx, "vgg2,width=0.125,classes=2,image=32", 2, &teacher));
    in_dir(path, "rectangular");
    const kd_train_opt how = {
        .struct_size = sizeof how, .epochs = 4, .batch = 8, .out = path, .augment = "rrc+flip"};
    const kd_distill_opt opt = {.struct_size = sizeof opt, .teacher = teacher, .train = &how};
    kd_result r = {.struct_size = sizeof r};
    test_ok(ctx, kd_distill(student, data, &opt, &r));
    ck_assert_double_ge(r.top1, 50);
    kd_model_destroy(student);
    snprintf(path, sizeof path, "%s/rectangular/model.safetensors", test_dir());
    test_ok(ctx, kd_model_load(ctx, path, NULL, &student));
    ck_assert_uint_eq(kd_model_height(student), 24);
    ck_assert_uint_eq(kd_model_width(student), 48);
    kd_eval_result e = {.struct_size = sizeof e};
    test_ok(ctx, kd_evaluate(student, data, NULL, &e));
    ck_assert_double_eq(e.top1, r.top1);
    size_t right = 0;
    kd_predictor *predictor;
    test_ok(ctx, kd_predictor_create(student, NULL, &predictor));
    for (size_t i = 0; i < N; i++) {
        const kd_picture p = {pixels + i * PICTURE, PICTURE, 24, 48, 3, 0};
        float logits[2];
        test_ok(ctx, kd_predictor_run(predictor, &p, 1, logits));
        right += (logits[1] > logits[0]) == (labels[i] == 1);
    }
    ck_assert_double_eq_tol(100 * (double)right / N, e.top1, 1e-9);
    kd_predictor_destroy(predictor);
    kd_model_destroy(student);
    kd_model_destroy(teacher);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(loop, 90, &test_rate, &test_checkpoint, &test_checkpoint_refused,
           &test_cancel_and_resume, &test_cancel_before, &test_cancel_evaluation,
           &test_rectangular_run)
