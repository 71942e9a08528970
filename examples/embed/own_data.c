/* SPDX-License-Identifier: MIT
 * own_data.c: pictures of the program's own as a data set: floats that are made here, 24 x 48, not
 * square. Their mean and deviation are measured. A network that takes this shape is trained on
 * them, and saved through a function, piece by piece:
 *   own_data model.safetensors */
#include <kd/kd.h>

#include <math.h>
#include <stdio.h>

enum { TRAIN = 96, TEST = 32, HEIGHT = 24, WIDTH = 48, CLASSES = 2 };

/* Stripes along rows are class 0, along columns class 1; numbers in 0..1. */
static void draw(float *pictures, int32_t *labels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double width = 3 + (double)(i % 5), shift = (double)(i * 7 % 11);
        labels[i] = (int32_t)(i % CLASSES);
        for (size_t y = 0; y < HEIGHT; y++)
            for (size_t x = 0; x < WIDTH; x++)
                *pictures++ = (float)(.6 + .3 * sin((double)(labels[i] ? x : y) / width + shift));
    }
}

static kd_status open_data(kd_ctx *ctx, const float *const pictures[2],
                           const int32_t *const labels[2], kd_dataset **data)
{
    float mean, std;
    kd_data_info info = {.struct_size = sizeof info,
                         .name = "stripes",
                         .classes = CLASSES,
                         .height = HEIGHT,
                         .width = WIDTH,
                         .channels = 1,
                         .count = {TRAIN, TEST},
                         .class_names = (const char *const[]){"rows", "columns"}};
    /* Borrowed: the arrays outlive the set. Measured first, then made with what was measured. */
    kd_status status = kd_dataset_from_floats(ctx, &info, pictures, labels, 1, data);
    if (!status) status = kd_dataset_measure(*data, &mean, &std);
    kd_dataset_close(*data);
    *data = NULL;
    if (status) return status;
    printf("mean %.3f, deviation %.3f\n", (double)mean, (double)std);
    info.mean = &mean;
    info.std = &std;
    return kd_dataset_from_floats(ctx, &info, pictures, labels, 1, data);
}

static kd_status put(void *user, const void *bytes, size_t size)
{
    return fwrite(bytes, 1, size, user) == size ? KD_OK : KD_E_IO;
}

int main(int argc, char **argv)
{
    static float train[TRAIN * HEIGHT * WIDTH], test[TEST * HEIGHT * WIDTH];
    static int32_t train_labels[TRAIN], test_labels[TEST];
    const float *const pictures[] = {train, test};
    const int32_t *const labels[] = {train_labels, test_labels};
    const kd_train_opt opt = {.struct_size = sizeof opt, .epochs = 8, .batch = 16};
    kd_result r = {.struct_size = sizeof r};
    kd_ctx *ctx;
    kd_dataset *data = NULL;
    kd_model *model = NULL;
    FILE *file = NULL;
    if (argc != 2 || kd_ctx_create(NULL, &ctx)) return 2;
    draw(train, train_labels, TRAIN);
    draw(test, test_labels, TEST);
    kd_status status = open_data(ctx, pictures, labels, &data);
    if (!status)
        status =
            kd_model_create(ctx, "vgg3_bn,width=0.125,classes=2,image=24x48,channels=1", 1, &model);
    if (!status) status = kd_train(model, data, &opt, &r);
    if (!status) printf("test accuracy %.1f %%\n", r.top1);
    if (!status) file = fopen(argv[1], "wb");
    if (file) status = kd_model_save_fn(model, KD_F32, put, file);
    const int failed = status || !file || fclose(file);
    if (status)
        fprintf(stderr, "own_data: %s\n", kd_ctx_error(ctx));
    else if (failed)
        perror(argv[1]);
    kd_model_destroy(model);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
    return failed;
}
