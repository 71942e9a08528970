/* SPDX-License-Identifier: MIT
 * test_train_mixed.c: training with mixed pictures and repeated augmentation: it learns, threads
 * change nothing, a stopped run goes on to the same bits, distillation takes part or says why
 * not. */
#include "../test.h"

#include <kd/kd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char spec[] = "vgg5_bn,width=0.0625,classes=4,image=16";
static const char pictures[] = "synthetic:classes=4,image=16,train=256,test=64";

typedef struct run {
    size_t stop_at; /* 0: never */
    kd_result result;
    float *weights; /* to be freed */
    size_t count;
} run;

static int stop(void *user, const kd_progress *p)
{
    const run *r = user;
    return r->stop_at && p->step >= r->stop_at;
}

static kd_status train(run *r, int threads, const char *augment, const char *out, size_t epochs)
{
    kd_ctx *ctx = test_ctx(threads, NULL);
    kd_dataset *data;
    kd_model *m;
    const kd_train_opt opt = {.struct_size = sizeof opt,
                              .epochs = epochs,
                              .batch = 32,
                              .lr = .05f,
                              .label_smoothing = .1f,
                              .augment = augment,
                              .seed = 3,
                              .out = out,
                              .resume = out != NULL,
                              .progress = stop,
                              .user = r};
    test_ok(ctx, kd_dataset_open(ctx, pictures, NULL, &data));
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    r->result.struct_size = sizeof r->result;
    const kd_status status = kd_train(m, data, &opt, &r->result);
    r->count = kd_params_flat_count(kd_model_params(m));
    r->weights = malloc(r->count * sizeof *r->weights);
    memcpy(r->weights, kd_params_values(kd_model_params(m)), r->count * sizeof *r->weights);
    kd_model_destroy(m);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    return status;
}

START_TEST(test_learns)
{
    run r = {.result.struct_size = sizeof r.result};
    ck_assert_int_eq(train(&r, 2, "flip+mixup+cutmix+erase+repeat:2", NULL, 25), KD_OK);
    ck_assert_msg(r.result.top1 > 60, "top-1 is %.1f %%", r.result.top1);
    free(r.weights);
}
END_TEST

START_TEST(test_same_bits)
{
    static const char augment[] = "randaugment+mixup+cutmix+repeat";
    char out[400];
    run one = {0}, two = {0}, first = {.stop_at = 11}, rest = {0};
    snprintf(out, sizeof out, "%s/mixed", test_dir());
    ck_assert_int_eq(train(&one, 1, augment, NULL, 3), KD_OK);
    ck_assert_int_eq(train(&two, 3, augment, NULL, 3), KD_OK);
    ck_assert_int_eq(memcmp(one.weights, two.weights, one.count * sizeof(float)), 0);
    ck_assert_int_eq(train(&first, 2, augment, out, 3), KD_E_STOPPED);
    ck_assert_int_eq(train(&rest, 2, augment, out, 3), KD_OK);
    ck_assert_int_eq(memcmp(one.weights, rest.weights, one.count * sizeof(float)), 0);
    free(one.weights);
    free(two.weights);
    free(first.weights);
    free(rest.weights);
}
END_TEST

START_TEST(test_distill)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_dataset *data;
    kd_model *student, *teacher;
    kd_result r = {.struct_size = sizeof r};
    kd_distill_opt opt = {.struct_size = sizeof opt,
                          .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                   .epochs = 1,
                                                   .batch = 32,
                                                   .augment = "mixup",
                                                   .no_test = 1}};
    test_ok(ctx, kd_dataset_open(ctx, pictures, NULL, &data));
    test_ok(ctx, kd_model_create(ctx, spec, 1, &student));
    test_ok(ctx, kd_model_create(ctx, "vgg5_bn,width=0.0625,classes=4,image=32", 2, &teacher));
    opt.teacher = teacher;
    test_ok(ctx, kd_distill(student, data, &opt, &r));
    opt.hard = KD_OFF; /* no labels at all */
    test_ok(ctx, kd_distill(student, data, &opt, &r));
    opt.method = KD_METHOD_DKD;
    ck_assert_int_eq(kd_distill(student, data, &opt, &r), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "mixup"));
    kd_model_destroy(student);
    kd_model_destroy(teacher);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(train_mixed, 60, &test_learns, &test_same_bits, &test_distill)
