/* SPDX-License-Identifier: MIT
 * head.c: a trained network for a task of your own. Its head begins anew for the classes of the
 * data and learns alone, which takes little longer than looking at the pictures:
 *   head model.safetensors folder:flowers flowers.safetensors */
#include <kd/kd.h>

#include <stdio.h>

static int show(void *user, const kd_progress *p)
{
    if (p->epoch_end) fprintf(user, "epoch %zu: loss %.4f\n", p->epoch + 1, p->loss);
    return 0; /* anything else stops the run */
}

/* The network with a head for these classes. */
static kd_status load(kd_ctx *ctx, const char *file, const kd_data_info *info, kd_model **model)
{
    char classes[32];
    snprintf(classes, sizeof classes, "classes=%zu", info->classes);
    const kd_load_opt opt = {.struct_size = sizeof opt,
                             .change = classes,
                             .reset_head = 1,
                             .class_names = info->class_names,
                             .n_class_names = info->class_names ? info->classes : 0};
    return kd_model_load_as(ctx, file, &opt, model);
}

int main(int argc, char **argv)
{
    kd_ctx *ctx;
    kd_model *model = NULL;
    kd_dataset *data = NULL;
    kd_result result = {.struct_size = sizeof result};
    if (argc != 4 || kd_ctx_create(NULL, &ctx)) return 2;
    kd_status status = kd_dataset_open(ctx, argv[2], NULL, &data);
    if (!status) status = load(ctx, argv[1], kd_dataset_info(data), &model);
    /* "body" is all but the head; a list of names, as "blocks.0,blocks.1", freezes less. */
    const kd_train_opt how = {.struct_size = sizeof how,
                              .epochs = 5,
                              .fine_tune = 1,
                              .freeze = "body",
                              .head_lr = .02f,
                              .progress = show,
                              .user = stdout};
    if (!status) status = kd_train(model, data, &how, &result);
    if (!status) status = kd_model_save(model, argv[3]);
    if (status) fprintf(stderr, "%s\n", kd_ctx_error(ctx));
    if (!status) printf("test accuracy %.2f %%, %zu steps\n", result.top1, result.steps);
    kd_dataset_close(data);
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
    return status != KD_OK;
}
