/* SPDX-License-Identifier: MIT
 * distil.c: train a small network by the outputs of a larger one, and save it:
 *   distil teacher.safetensors cifar-10 vgg8_bn,classes=10,image=32 student.safetensors */
#include <kd/kd.h>
#include <stdio.h>

static int show(void *user, const kd_progress *p)
{
    if (p->epoch_end) fprintf(user, "epoch %zu: loss %.4f\n", p->epoch + 1, p->loss);
    return 0; /* anything else stops the run */
}

int main(int argc, char **argv)
{
    kd_ctx *ctx;
    kd_model *teacher = NULL, *student = NULL;
    kd_dataset *data = NULL;
    kd_result result = {.struct_size = sizeof result};
    if (argc != 5 || kd_ctx_create(NULL, &ctx)) return 2;
    kd_status status = kd_model_load(ctx, argv[1], NULL, &teacher);
    if (!status) status = kd_dataset_open(ctx, argv[2], NULL, &data);
    if (!status) status = kd_model_create(ctx, argv[3], 1 /* seed */, &student);
    kd_train_opt how = {.struct_size = sizeof how, .epochs = 20, .progress = show, .user = stdout};
    const kd_distill_opt opt = {
        .struct_size = sizeof opt, .teacher = teacher, .temperature = 4, .train = &how};
    if (!status) status = kd_distill(student, data, &opt, &result);
    if (!status) status = kd_model_save(student, argv[4]);
    if (status) fprintf(stderr, "%s\n", kd_ctx_error(ctx));
    if (!status) printf("test accuracy %.2f %%, %zu steps\n", result.top1, result.steps);
    kd_dataset_close(data);
    kd_model_destroy(student);
    kd_model_destroy(teacher);
    kd_ctx_destroy(ctx);
    return status != KD_OK;
}
