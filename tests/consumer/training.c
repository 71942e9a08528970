/* SPDX-License-Identifier: MIT
 * training.c: trains small networks of each family on pictures that are made here, by both
 * optimisers, and prints sums of their weights and logits: two builds of the library that compute
 * the same bits print the same lines. tests/consumer/amalgamation.sh compares them. */
#include <kd/kd.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    SIDE = 32,
    CHANNELS = 3,
    TRAIN = 96,
    TEST = 32,
    CLASSES = 4,
    PIXELS = SIDE * SIDE * CHANNELS
};

static const struct {
    const char *spec;
    kd_optimizer optimizer;
    const char *augment;
} runs[] = {
    {"vgg8_bn,width=0.25", KD_OPTIMIZER_SGD, "crop:2+flip"},
    {"vgg4,width=0.25", KD_OPTIMIZER_SGD, "none"},
    {"vit_tiny_patch16_224,patch=8,dim=48,heads=3,depth=2", KD_OPTIMIZER_ADAMW, "flip"},
    {"swin_tiny_patch4_window7_224,patch=2,window=4,depth=2-2,dim=24,heads=2-4", KD_OPTIMIZER_ADAMW,
     "none"},
};

/* Stripes of four directions, with some noise. */
static void draw(uint8_t *pixel, int32_t *label, size_t n)
{
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        label[i] = (int32_t)(i % CLASSES);
        for (size_t y = 0; y < SIDE; y++)
            for (size_t x = 0; x < SIDE; x++) {
                const size_t along[CLASSES] = {x, y, x + y, x + SIDE - y};
                for (size_t c = 0; c < CHANNELS; c++) {
                    state = state * 1664525 + 1013904223;
                    *pixel++ = (uint8_t)((along[i % CLASSES] / 3 % 2) * 150 + (state >> 26));
                }
            }
    }
}

static kd_dataset *open_data(kd_ctx *ctx)
{
    static uint8_t pictures[2][TRAIN * PIXELS];
    static int32_t answers[2][TRAIN];
    const kd_data_info info = {.struct_size = sizeof info,
                               .name = "stripes",
                               .classes = CLASSES,
                               .height = SIDE,
                               .width = SIDE,
                               .channels = CHANNELS,
                               .count = {TRAIN, TEST}};
    const uint8_t *const images[] = {pictures[0], pictures[1]};
    const int32_t *const labels[] = {answers[0], answers[1]};
    kd_dataset *data = NULL;
    draw(pictures[0], answers[0], TRAIN);
    draw(pictures[1], answers[1], TEST);
    kd_dataset_from_arrays(ctx, &info, images, labels, 1, &data);
    return data;
}

/* FNV-1a of the logits' bits. */
static uint64_t sum(const float *x, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        hash = (hash ^ bits) * 0x100000001b3;
    }
    return hash;
}

static kd_status run(kd_ctx *ctx, kd_dataset *data, size_t i)
{
    static float picture[2 * PIXELS];
    float logits[2 * CLASSES];
    char spec[200];
    uint64_t weights = 0;
    kd_model *model = NULL;
    kd_result result = {.struct_size = sizeof result};
    const kd_train_opt opt = {.struct_size = sizeof opt,
                              .epochs = 2,
                              .batch = 16,
                              .optimizer = runs[i].optimizer,
                              .augment = runs[i].augment};
    for (size_t p = 0; p < 2 * PIXELS; p++) picture[p] = (float)(p % 7) / 7 - .5f;
    snprintf(spec, sizeof spec, "%s,classes=%d,image=%d", runs[i].spec, CLASSES, SIDE);
    kd_status status = kd_model_create(ctx, spec, 1, &model);
    if (!status) status = kd_train(model, data, &opt, &result);
    if (!status) status = kd_model_hash(model, &weights);
    if (!status) status = kd_model_predict(model, picture, 2, 0, logits);
    if (!status)
        printf("%s: %016llx %016llx, %.1f %%\n", spec, (unsigned long long)weights,
               (unsigned long long)sum(logits, 2 * CLASSES), result.top1);
    kd_model_destroy(model);
    return status;
}

int main(void)
{
    kd_ctx *ctx;
    if (kd_ctx_create(NULL, &ctx)) return 2;
    kd_dataset *data = open_data(ctx);
    kd_status status = data ? KD_OK : KD_E_INVALID;
    for (size_t i = 0; !status && i < sizeof runs / sizeof *runs; i++) status = run(ctx, data, i);
    if (status) fprintf(stderr, "training: %s\n", kd_ctx_error(ctx));
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
    return status != KD_OK;
}
