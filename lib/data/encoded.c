/* SPDX-License-Identifier: MIT
 * encoded.c: data sets of picture files in the caller's memory, and what they share with those on
 * disk: ImageNet's normalisation, and one picture at info's size. */
#include "crop_resize.h"

#include <pthread.h>

const float kdi_photo_mean[3] = {.485f, .456f, .406f}, kdi_photo_std[3] = {.229f, .224f, .225f};

kd_status kdi_fetch_centre(const kd_dataset *data, kd_split split, size_t index, uint8_t *image,
                           int32_t *label, kdi_failure *failure)
{
    const kdi_augment_step step = {.kind = &kdi_augment_centre,
                                   .shape = {data->info.height, data->info.width, 3},
                                   .value = 875000};
    kdi_decoder d;
    kdi_framer f;
    kdi_span y, x;
    kdi_decoder_init(data->ctx, &d);
    kdi_framer_init(data->ctx, &f);
    kd_status status = data->open(data, split, index, &d, label, failure);
    if (!status) {
        step.kind->place(&step, (kdi_key){0}, d.height, d.width, &y, &x);
        status = kdi_frame_decode(&f, &d, true, false, y, x, image, failure);
    }
    kdi_decoder_free(&d);
    kdi_framer_free(&f);
    return status;
}

/* ---- the caller's bytes ---------------------------------------------------------------------- */

typedef struct source {
    kd_encoded_fn fn;
    void *user;
    pthread_mutex_t mutex; /* a caller's function need not be ready for several threads */
} source;

static kd_status open_bytes(const kd_dataset *data, kd_split split, size_t index, kdi_decoder *d,
                            int32_t *label, kdi_failure *failure)
{
    source *s = data->state;
    kdi_words words;
    const void *bytes = NULL;
    size_t size = 0;
    *label = -1;
    pthread_mutex_lock(&s->mutex);
    kdi_words_begin(&words, data->ctx);
    const kd_status status = s->fn(s->user, split, index, &bytes, &size, label);
    kdi_words_end(&words, data->ctx);
    pthread_mutex_unlock(&s->mutex);
    if (status && words.said) return kdi_failure_set(failure, status, "%s", words.text);
    if (status)
        return kdi_failure_set(failure, status, "the callback returned %s", kd_status_name(status));
    if (*label < 0 || (size_t)*label >= data->info.classes)
        return kdi_failure_set(failure, KD_E_INVALID, "label %d, but %zu classes", (int)*label,
                               data->info.classes);
    return kdi_decoder_open_bytes(d, bytes, size, failure);
}

static void release(kd_dataset *data)
{
    source *s = data->state;
    pthread_mutex_destroy(&s->mutex);
    kd_ctx_free(data->ctx, s);
}

static kd_status describe(kd_dataset *data, const kd_data_info *from)
{
    kd_data_info info;
    kd_status status = kd_options(data->ctx, "kd_data_info", &info, sizeof info, from);
    if (status) return status;
    const bool guess = !info.mean && !info.std;
    if (!info.height) info.height = KDI_NOMINAL_SIDE;
    if (!info.width) info.width = KDI_NOMINAL_SIDE;
    if (!info.channels) info.channels = 3;
    if (!info.mean) info.mean = kdi_photo_mean;
    if (!info.std) info.std = kdi_photo_std;
    if (info.channels != 3)
        return kd_ctx_fail(data->ctx, KD_E_INVALID,
                           "data set '%s': decoded pictures have 3 channels, not %zu",
                           info.name ? info.name : "data", info.channels);
    status = kdi_dataset_describe(data, &info);
    data->info.guess = guess ? KDI_PHOTO_GUESS : NULL;
    return status;
}

kd_status kd_dataset_from_encoded(kd_ctx *ctx, const kd_data_info *info, kd_encoded_fn fn,
                                  void *user, kd_dataset **out)
{
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_dataset_from_encoded: NULL");
    if (!info || !fn)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_dataset_from_encoded: no kd_data_info or function");
    kd_dataset *data = kdi_dataset_make(ctx);
    if (!data) return kd_ctx_memory_status(ctx);
    kd_status status = describe(data, info);
    source *s = status ? NULL : kd_ctx_alloc(ctx, 1, sizeof *s);
    if (!status && !s) status = kd_ctx_memory_status(ctx);
    if (!status && pthread_mutex_init(&s->mutex, NULL)) {
        kd_ctx_free(ctx, s);
        status = kd_ctx_fail(ctx, KD_E_SYSTEM, "data set '%s': no mutex", data->info.name);
    }
    if (!status) {
        s->fn = fn;
        s->user = user;
        data->state = s;
        data->open = open_bytes;
        data->fetch = kdi_fetch_centre;
        data->release = release;
    }
    return kdi_dataset_finish(data, status, out);
}
