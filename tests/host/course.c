/* SPDX-License-Identifier: MIT
 * course.c: see course.h. */
#include "course.h"

#include "../test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const course cnn = {.teacher = "vgg3_bn,width=0.0625,classes=10,image=32",
                    .student = "vgg4_bn,width=0.125,classes=10,image=32",
                    .augment = "crop-flip"};
const course transformer = {
    .teacher = "swin_tiny_patch4_window7_224,image=32,dim=12,depth=2-1,heads=2-3,window=4,"
               "classes=10",
    .student = "deit_tiny_distilled_patch16_224,image=32,patch=8,dim=24,depth=2,heads=2,"
               "drop_path=0.2,classes=10",
    .augment = "crop-flip+erase+mixup",
    .optimizer = KD_OPTIMIZER_ADAMW};

answer use_course(const course *c, kd_ctx *ctx, const char *folder)
{
    kd_dataset *data;
    kd_model *teacher, *student, *loaded;
    kd_result result = {.struct_size = sizeof result};
    answer a;
    char path[600];
    static const float mean[3] = {.4f, .5f, .6f}, std[3] = {.25f, .125f, .3f};
    float *x = malloc(PICTURES * PICTURE * sizeof *x);
    test_fill(x, PICTURES * PICTURE, 1, 1);
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=96,test=32,image=32", NULL, &data));
    test_ok(ctx, kd_model_create(ctx, c->teacher, 1, &teacher));
    test_ok(ctx, kd_model_create(ctx, c->student, 2, &student));
    test_ok(ctx, kd_model_set_normalization(teacher, mean, std));
    const kd_distill_opt opt = {
        .struct_size = sizeof opt,
        .teacher = teacher,
        .temperature = 2.5f,
        .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                 .epochs = 1,
                                 .batch = 16,
                                 .lr = c->optimizer == KD_OPTIMIZER_ADAMW ? .002f : .05f,
                                 .optimizer = c->optimizer,
                                 .augment = c->augment,
                                 .out = folder,
                                 .overwrite = 1}};
    test_ok(ctx, kd_distill(student, data, &opt, &result));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    test_ok(ctx, kd_model_load(ctx, path, NULL, &loaded));
    test_ok(ctx, kd_model_predict(loaded, x, PICTURES, 3, a.logits));
    a.loss = result.train_loss;
    a.top1 = result.top1;
    kd_model_destroy(loaded);
    kd_model_destroy(student);
    kd_model_destroy(teacher);
    kd_dataset_close(data);
    free(x);
    return a;
}

answer use(kd_ctx *ctx, const char *folder)
{
    return use_course(&cnn, ctx, folder);
}

const char *folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    return path;
}

answer use_with(int threads, const char *name)
{
    kd_ctx *ctx = test_ctx(threads, NULL);
    const answer a = use(ctx, folder(name));
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    return a;
}

bool equal(const answer *a, const answer *b)
{
    return a->loss == b->loss && a->top1 == b->top1 &&
           !memcmp(a->logits, b->logits, sizeof a->logits);
}
