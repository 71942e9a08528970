/* SPDX-License-Identifier: MIT
 * test_transformers.c: ViT, DeiT and Swin where an allocation fails, in making, planning, training
 * and distilling, each at its own place: KD_E_NOMEM, nothing leaked, and the same call succeeds
 * right after. (test_failing.c does so for every public call, with a VGG.) */
#include "../test.h"

#include <kd/kd.h>

#include <string.h>

typedef struct pair {
    const char *student, *teacher;
    kd_distill_opt opt;
} pair;

static const char vit[] = "vit_tiny_patch16_224,image=8,patch=4,dim=8,depth=2,heads=2,classes=3,"
                          "drop_path=0.2";
static const char deit[] = "deit_tiny_distilled_patch16_224,image=8,patch=4,dim=8,depth=1,heads=2,"
                           "classes=3,drop_path=0.2";
static const char swin[] =
    "swin_tiny_patch4_window7_224,image=12,patch=4,dim=8,depth=2-1,heads=2-1,"
    "window=2,classes=3,drop_path=0.2";

static kd_status make(kd_ctx *ctx, const char *spec, kd_model **m)
{
    kd_plan *plan;
    kd_exec *exec;
    kd_status status = kd_model_create(ctx, spec, 1, m);
    if (status) return status;
    status = kd_model_plan(*m, 2, &plan, &exec);
    if (!status) {
        kd_exec_destroy(exec);
        kd_plan_destroy(plan);
        return KD_OK;
    }
    kd_model_destroy(*m);
    return status;
}

static kd_status distill(kd_ctx *ctx, kd_dataset *data, const pair *p)
{
    kd_model *student, *teacher;
    kd_distill_opt opt = p->opt;
    kd_train_opt train = *p->opt.train;
    train.optimizer = KD_OPTIMIZER_ADAMW;
    train.epochs = 1;
    train.batch = 4;
    train.ema = .5f;
    opt.train = &train;
    kd_status status = make(ctx, p->student, &student);
    if (status) return status;
    status = make(ctx, p->teacher, &teacher);
    if (!status) {
        opt.struct_size = sizeof opt;
        opt.teacher = teacher;
        status = kd_distill(student, data, &opt, NULL);
        kd_model_destroy(teacher);
    }
    kd_model_destroy(student);
    return status;
}

static void check(const pair *p)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    kd_dataset *data;
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:classes=3,image=8,train=8,test=4", NULL, &data));
    const long live = heap.live;
    for (long n = 1;; n++) {
        heap.count = 0;
        heap.fail_at = n;
        const kd_status status = distill(ctx, data, p);
        heap.fail_at = 0;
        ck_assert_msg(heap.live == live, "%s: allocation %ld failed and something leaked",
                      p->student, n);
        if (!status) break;
        ck_assert_msg(status == KD_E_NOMEM, "allocation %ld: %s", n, kd_status_name(status));
        ck_assert_msg(strstr(kd_ctx_error(ctx), "out of memory") != NULL, "allocation %ld: %s", n,
                      kd_ctx_error(ctx));
    }
    test_ok(ctx, distill(ctx, data, p));
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}

START_TEST(test_vit_from_swin)
{
    const pair p = {
        vit,
        swin,
        {.train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt), .augment = "flip+mixup"}}};
    check(&p);
}
END_TEST

START_TEST(test_deit_from_vit)
{
    const pair p = {
        deit,
        vit,
        {.method = KD_METHOD_HARD,
         .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt), .layer_decay = .5f}}};
    check(&p);
}
END_TEST

START_TEST(test_swin_from_deit)
{
    const pair p = {
        swin,
        deit,
        {.method = KD_METHOD_DKD,
         .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt), .accumulate = 2}}};
    check(&p);
}
END_TEST

TEST_SUITE(transformers, 60, &test_vit_from_swin, &test_deit_from_vit, &test_swin_from_deit)
