/* SPDX-License-Identifier: MIT
 * test_broken.c: training and evaluation where some samples cannot be read and are skipped: steps
 * are those of the pictures that are left, each counting the same, and a batch without any changes
 * nothing. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 12, SIDE = 8, PICTURE = 3 * SIDE * SIDE, CLASSES = 3 };
static const char spec[] = "vit_tiny_patch16_224,image=8,patch=4,dim=12,depth=1,heads=2,classes=3";

/* Sample i is broken where `broken` says so. */
static kd_status sample(void *user, kd_split split, size_t index, uint8_t *image, int32_t *label)
{
    const char *broken = user;
    (void)split;
    if (broken[index] == 'x') return KD_E_FORMAT;
    for (size_t i = 0; i < PICTURE; i++) image[i] = (uint8_t)(index * 31 + i * (index + 7) * 5);
    *label = (int32_t)(index % CLASSES);
    return KD_OK;
}

static kd_dataset *open_data(kd_ctx *ctx, const char *broken)
{
    union {
        const char *text;
        void *user;
    } u = {broken}; /* only read */
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = CLASSES,
                               .height = SIDE,
                               .width = SIDE,
                               .channels = 3,
                               .count = {N, N}};
    kd_dataset *data;
    test_ok(ctx, kd_dataset_from_callback(ctx, &info, sample, u.user, &data));
    test_ok(ctx, kd_dataset_skip_broken(data));
    return data;
}

static kd_model *make_model(kd_ctx *ctx, const kd_dataset *data)
{
    kd_model *m;
    const kd_data_info *info = kd_dataset_info(data);
    test_ok(ctx, kd_model_create(ctx, spec, 4, &m));
    test_ok(ctx, kd_model_set_normalization(m, info->mean, info->std));
    return m;
}

static kd_train_opt options(size_t batch, size_t accumulate)
{
    return (kd_train_opt){.struct_size = sizeof(kd_train_opt),
                          .epochs = 1,
                          .batch = batch,
                          .accumulate = accumulate,
                          .lr = .1f,
                          .optimizer = KD_OPTIMIZER_SGD,
                          .schedule = KD_SCHEDULE_CONSTANT,
                          .momentum = KD_OFF,
                          .weight_decay = KD_OFF,
                          .augment = "none",
                          .seed = 9};
}

static float difference(kd_model *a, kd_model *b)
{
    const float *x = kd_params_values(kd_model_params(a));
    const float *y = kd_params_values(kd_model_params(b));
    float most = 0;
    for (size_t i = 0; i < kd_params_flat_count(kd_model_params(a)); i++)
        most = fmaxf(most, fabsf(x[i] - y[i]));
    return most;
}

/* An epoch by hand: the batches of a loader like the trainer's, `accumulate` of them side by side.
 * Returns the mean loss of a picture before its step. */
static double by_hand(kd_ctx *ctx, kd_model *m, kd_dataset *data, const kd_train_opt *t,
                      size_t *steps, size_t *empty)
{
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .batch = t->batch,
                               .shuffle = 1,
                               .drop_last = 1,
                               .augment = t->augment,
                               .seed = t->seed};
    const kd_distill_opt step = {.struct_size = sizeof step, .train = t};
    kd_loader *loader;
    float x[N * PICTURE];
    int32_t labels[N];
    double sum = 0;
    size_t n = 0, all = 0;
    test_ok(ctx, kd_loader_create(data, &opt, &loader));
    const size_t batches = kd_loader_batches(loader);
    *steps = *empty = 0;
    for (size_t b = 0; b < batches; b++) {
        const kd_batch *batch;
        test_ok(ctx, kd_loader_next(loader, &batch));
        *empty += batch->n == 0;
        memcpy(x + n * PICTURE, batch->views[0], batch->n * PICTURE * sizeof *x);
        memcpy(labels + n, batch->labels, batch->n * sizeof *labels);
        n += batch->n;
        if ((b + 1) % t->accumulate && b + 1 < batches) continue;
        kd_step_result result = {.struct_size = sizeof result};
        if (n) test_ok(ctx, kd_train_step(m, n, x, labels, NULL, &step, &result));
        sum += (double)result.loss * (double)n;
        all += n;
        n = 0;
        ++*steps;
    }
    kd_loader_close(loader);
    return sum / (double)all;
}

static void check(const char *broken, size_t batch, size_t accumulate, bool want_empty)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_dataset *data = open_data(ctx, broken);
    kd_model *m = make_model(ctx, data), *other = make_model(ctx, data);
    const kd_train_opt opt = options(batch, accumulate);
    kd_result r = {.struct_size = sizeof r};
    size_t steps, empty;
    test_ok(ctx, kd_train(m, data, &opt, &r));
    const double loss = by_hand(ctx, other, data, &opt, &steps, &empty);
    ck_assert_uint_eq(r.steps, steps);
    ck_assert_int_eq(empty > 0, want_empty);
    ck_assert_double_eq_tol(r.train_loss, loss, 1e-6);
    ck_assert_float_lt(difference(m, other), 1e-6f);
    kd_model_destroy(other);
    other = make_model(ctx, data);
    ck_assert_float_gt(difference(m, other), 1e-3f);
    kd_model_destroy(m);
    kd_model_destroy(other);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}

START_TEST(test_shorter_batches)
{
    check("............", 4, 1, false);
    check(".x...x..x...", 4, 1, false);
    check(".x...x..x.x.", 4, 3, false);
    check(".xx..x..x.x.", 3, 2, false);
    check("xxxx..x.x...", 2, 1, true);
    check("xxxxx.x.x..x", 2, 3, true);
    check(".x...x..x...", 1, 1, true);
    check(".x...x..x...", 1, 4, true);
}
END_TEST

/* Nothing can be read: an error in words, whoever asks, and the weights stay as they were. */
START_TEST(test_nothing_left)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = open_data(ctx, "xxxxxxxxxxxx");
    kd_model *m = make_model(ctx, data), *fresh = make_model(ctx, data);
    const kd_train_opt opt = options(4, 2);
    kd_eval_result r = {.struct_size = sizeof r};
    ck_assert_int_eq(kd_train(m, data, &opt, NULL), KD_E_FORMAT);
    ck_assert_msg(strstr(kd_ctx_error(ctx), "none of epoch 1's pictures can be read") != NULL, "%s",
                  kd_ctx_error(ctx));
    ck_assert_float_eq(difference(m, fresh), 0);
    ck_assert_int_eq(kd_evaluate(m, data, NULL, &r), KD_E_FORMAT);
    ck_assert_msg(strstr(kd_ctx_error(ctx), "none of the 12 samples") != NULL, "%s",
                  kd_ctx_error(ctx));
    kd_model_destroy(m);
    kd_model_destroy(fresh);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* An evaluation counts what is left, whatever the batches. */
START_TEST(test_evaluation)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = open_data(ctx, "x..xx..x.xxx");
    kd_model *m = make_model(ctx, data);
    kd_eval_result all = {.struct_size = sizeof all};
    for (size_t batch = 12; batch > 0; batch--) {
        const kd_eval_opt opt = {
            .struct_size = sizeof opt, .split = KD_EVAL_TEST, .batch = batch, .teacher = m};
        kd_eval_result r = {.struct_size = sizeof r};
        test_ok(ctx, kd_evaluate(m, data, &opt, &r));
        if (batch == 12) all = r;
        ck_assert_uint_eq(r.n, 5);
        ck_assert_double_eq(r.agreement, 100);
        ck_assert_double_eq(r.top1, all.top1);
        ck_assert_double_eq_tol(r.loss, all.loss, 1e-6);
    }
    kd_model_destroy(m);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(broken, 30, &test_shorter_batches, &test_nothing_left, &test_evaluation)
