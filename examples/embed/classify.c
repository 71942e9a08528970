/* SPDX-License-Identifier: MIT
 * classify.c: what is on a picture, by bytes alone: the network's file and the picture's, JPEG or PNG,
 * are in memory; labels, normalisation and framing come from the network:
 *   classify student.safetensors picture.png */
#include <kd/kd.h>

#include <stdio.h>

enum { BEST = 3, MOST = 1 << 30 };

static kd_status load(kd_ctx *ctx, const char *path, kd_model **model)
{
    char *bytes;
    size_t size;
    kd_status status = kd_file_read_all(ctx, path, MOST, &bytes, &size);
    if (status) return status;
    status = kd_model_load_memory(ctx, bytes, size, NULL, model);
    kd_ctx_free(ctx, bytes); /* the model does not need them any more */
    return status;
}

static kd_status decode(kd_ctx *ctx, const char *path, uint8_t **pixels, kd_picture *picture)
{
    char *bytes;
    size_t size;
    kd_status status = kd_file_read_all(ctx, path, MOST, &bytes, &size);
    if (status) return status;
    *picture = (kd_picture){.channels = 3};
    status = kd_picture_decode(ctx, bytes, size, pixels, &picture->height, &picture->width);
    kd_ctx_free(ctx, bytes);
    picture->pixels = *pixels;
    picture->bytes = picture->height * picture->width * 3;
    return status;
}

static kd_status classify(kd_ctx *ctx, kd_model *model, const kd_picture *picture)
{
    kd_predictor *predictor;
    kd_guess best[BEST];
    const size_t classes = kd_model_classes(model), n = classes < BEST ? classes : BEST;
    float *logits = kd_ctx_alloc(ctx, classes, sizeof *logits);
    kd_status status = logits ? kd_predictor_create(model, NULL, &predictor) : KD_E_NOMEM;
    if (!status) {
        status = kd_predictor_run(predictor, picture, 1, logits); /* as often as you like */
        if (!status) status = kd_model_guess(model, logits, n, best);
        for (size_t i = 0; i < n && !status; i++)
            printf("%5.1f %%  %zu %s\n", 100 * best[i].probability, best[i].index,
                   best[i].name ? best[i].name : "");
        kd_predictor_destroy(predictor);
    }
    kd_ctx_free(ctx, logits);
    return status;
}

int main(int argc, char **argv)
{
    kd_ctx *ctx;
    kd_model *model = NULL;
    kd_picture picture;
    uint8_t *pixels = NULL;
    if (argc != 3 || kd_ctx_create(NULL, &ctx)) return 2;
    kd_status status = load(ctx, argv[1], &model);
    if (!status) status = decode(ctx, argv[2], &pixels, &picture);
    if (!status) status = classify(ctx, model, &picture);
    if (status) fprintf(stderr, "classify: %s\n", kd_ctx_error(ctx));
    kd_ctx_free(ctx, pixels);
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
    return status != KD_OK;
}
