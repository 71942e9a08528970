/* SPDX-License-Identifier: MIT
 * threads.c: four threads of the program's own classify frames of a camera with one network and one
 * plan. A frame is a part of a larger picture, whose rows are `stride` bytes apart: no copy is made.
 *   threads student.safetensors */
#include <kd/kd.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, FRAMES = 32, HEIGHT = 120, WIDTH = 160, CHANNELS = 3 };

typedef struct worker {
    pthread_t thread;
    kd_predictor *predictor; /* its own; the plan is shared */
    const uint8_t *camera;   /* [HEIGHT, WIDTH, 3] */
    float *logits;           /* [classes] */
    size_t first, answers;
    kd_status status;
} worker;

/* Frames of 100 x 90 pixels at different places of the camera's picture. */
static void *work(void *arg)
{
    worker *w = arg;
    for (size_t i = w->first; i < FRAMES && !w->status; i += THREADS) {
        const size_t y = i % 20, x = i * 2, stride = WIDTH * CHANNELS;
        const size_t from = y * stride + x * CHANNELS;
        const kd_picture frame = {.pixels = w->camera + from,
                                  .bytes = HEIGHT * stride - from,
                                  .height = 90,
                                  .width = 90,
                                  .channels = CHANNELS,
                                  .stride = stride};
        w->status = kd_predictor_run(w->predictor, &frame, 1, w->logits);
        if (!w->status) w->answers++;
    }
    return NULL;
}

static kd_status run(kd_ctx *ctx, kd_model *model, const uint8_t *camera)
{
    worker w[THREADS] = {{.status = KD_OK}};
    kd_status status = KD_OK;
    size_t started = 0, answers = 0;
    for (size_t i = 0; i < THREADS && !status; i++) {
        w[i].camera = camera;
        w[i].first = i;
        w[i].logits = kd_ctx_alloc(ctx, kd_model_classes(model), sizeof(float));
        status = !w[i].logits ? KD_E_NOMEM
                 : i == 0     ? kd_predictor_create(model, NULL, &w[0].predictor)
                              : kd_predictor_share(w[0].predictor, &w[i].predictor);
    }
    for (; started < THREADS && !status; started++)
        if (pthread_create(&w[started].thread, NULL, work, &w[started])) break;
    for (size_t i = 0; i < started; i++) {
        pthread_join(w[i].thread, NULL);
        answers += w[i].answers;
        if (w[i].status) status = w[i].status;
    }
    printf("%zu frames in %zu threads\n", answers, started);
    for (size_t i = THREADS; i-- > 0;) { /* the plan's own predictor last */
        kd_predictor_destroy(w[i].predictor);
        kd_ctx_free(ctx, w[i].logits);
    }
    return status;
}

int main(int argc, char **argv)
{
    static uint8_t camera[HEIGHT * WIDTH * CHANNELS];
    const kd_config config = {.struct_size = sizeof config, .threads = 1};
    kd_ctx *ctx;
    kd_model *model = NULL;
    if (argc != 2 || kd_ctx_create(&config, &ctx)) return 2;
    for (size_t i = 0; i < sizeof camera; i++) camera[i] = (uint8_t)(i / 7 + i % 11);
    kd_status status = kd_model_load(ctx, argv[1], NULL, &model);
    if (!status) status = run(ctx, model, camera);
    if (status) fprintf(stderr, "threads: %s\n", kd_ctx_error(ctx));
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
    return status != KD_OK;
}
