/* SPDX-License-Identifier: MIT
 * predict.c: load a network and say what it sees on the first test pictures of a data set:
 *   predict student.safetensors cifar-10 */
#include <kd/kd.h>

#include <math.h>
#include <stdio.h>

enum { PICTURES = 10 };

/* The most likely class of a row of logits [classes], and its probability. */
static size_t best(const float *logits, size_t classes, double *probability)
{
    size_t at = 0;
    double sum = 0;
    for (size_t k = 1; k < classes; k++)
        if (logits[k] > logits[at]) at = k;
    for (size_t k = 0; k < classes; k++) sum += exp((double)(logits[k] - logits[at]));
    *probability = 1 / sum;
    return at;
}

static void print_row(const kd_data_info *info, size_t i, size_t label, const float *logits,
                      size_t classes)
{
    double p;
    const size_t k = best(logits, classes, &p);
    if (info->class_names && k < info->classes)
        printf("%zu: %s, %.1f %% sure; it is %s\n", i, info->class_names[k], 100 * p,
               info->class_names[label]);
    else
        printf("%zu: class %zu, %.1f %% sure; it is %zu\n", i, k, 100 * p, label);
}

static kd_status predict(kd_ctx *ctx, kd_model *model, kd_dataset *data)
{
    /* The pictures as the network wants them: its size and its normalisation. */
    const kd_view view = {kd_model_height(model), kd_model_width(model), kd_model_channels(model),
                          kd_model_mean(model), kd_model_std(model)};
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TEST,
                               .batch = PICTURES,
                               .n_views = 1,
                               .views = &view};
    const kd_batch *batch;
    kd_loader *loader;
    const size_t classes = kd_model_classes(model);
    float *logits = kd_ctx_alloc(ctx, PICTURES * classes, sizeof *logits);
    kd_status status = logits ? kd_loader_create(data, &opt, &loader) : KD_E_NOMEM;
    if (!status) {
        status = kd_loader_next(loader, &batch);
        if (!status) status = kd_model_predict(model, batch->views[0], batch->n, 0, logits);
        for (size_t i = 0; !status && i < batch->n; i++)
            print_row(kd_dataset_info(data), i, (size_t)batch->labels[i], logits + i * classes,
                      classes);
        kd_loader_close(loader);
    }
    kd_ctx_free(ctx, logits);
    return status;
}

int main(int argc, char **argv)
{
    kd_ctx *ctx;
    kd_model *model = NULL;
    kd_dataset *data = NULL;
    if (argc != 3 || kd_ctx_create(NULL, &ctx)) return 2;
    kd_status status = kd_model_load(ctx, argv[1], NULL, &model);
    if (!status) status = kd_dataset_open(ctx, argv[2], NULL, &data);
    if (!status) status = predict(ctx, model, data);
    if (status) fprintf(stderr, "predict: %s\n", kd_ctx_error(ctx));
    kd_dataset_close(data);
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
    return status != KD_OK;
}
