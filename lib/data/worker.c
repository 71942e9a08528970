/* SPDX-License-Identifier: MIT
 * worker.c: from a sample to its views. In this order: read, frame, steps on bytes, normalise,
 * steps on values, mix, resize. Bytes are normalised by a table of 256 values for each channel.
 *
 * kdi_worker_make allocates all scratch memory. The other functions run in the loader's threads.
 * Only a decoder allocates there, for a picture larger than those before. */
#include "worker.h"

#include <string.h>

/* ---- making ---------------------------------------------------------------------------------- */

kd_status kdi_worker_make(const kdi_pipeline *p, kdi_worker *w)
{
    kd_ctx *ctx = p->data->ctx;
    const kdi_shape s = p->canvas;
    const size_t pixels = s.h * s.w; /* sides are at most 2^16 */
    size_t channels = 0, half = 0;
    kdi_decoder_init(ctx, &w->decoder);
    kdi_framer_init(ctx, &w->framer);
    for (size_t v = 0; v < p->n_views; v++) {
        const kdi_shape view = p->views[v].shape;
        if (!p->views[v].resized) continue;
        if (view.c > channels) channels = view.c;
        if (s.h * view.w * view.c > half) half = s.h * view.w * view.c;
    }
    for (size_t i = 0; i < 4; i++) {
        if (i == 1 && !p->mixes) continue;
        const size_t stored = p->data->open ? 0 : kdi_dataset_bytes(p->data);
        const size_t canvas = pixels * s.c;
        w->bytes[i] = kd_ctx_alloc(ctx, canvas > stored ? canvas : stored, 1);
        if (!w->bytes[i]) return kd_ctx_memory_status(ctx);
    }
    w->plain[0] = kd_ctx_alloc(ctx, pixels, channels * sizeof(float));
    w->plain[1] = kd_ctx_alloc(ctx, p->mixes ? pixels : 0, channels * sizeof(float));
    w->half = kd_ctx_alloc(ctx, half, sizeof *w->half);
    return w->plain[0] && w->plain[1] && w->half ? KD_OK : kd_ctx_memory_status(ctx);
}

void kdi_worker_free(kd_ctx *ctx, kdi_worker *w)
{
    if (!w->decoder.ctx) return; /* never made */
    kdi_decoder_free(&w->decoder);
    kdi_framer_free(&w->framer);
    for (size_t i = 0; i < 4; i++) kd_ctx_free(ctx, w->bytes[i]);
    kd_ctx_free(ctx, w->plain[0]);
    kd_ctx_free(ctx, w->plain[1]);
    kd_ctx_free(ctx, w->half);
}

/* ---- canvases -------------------------------------------------------------------------------- */

/* The framed picture of a file. */
static const uint8_t *decode(const kdi_pipeline *p, kdi_worker *w, size_t side, kdi_key key,
                             int32_t *label, kdi_failure *failure)
{
    const kdi_augmentation *a = &p->augmentation;
    kdi_decoder *d = &w->decoder;
    kdi_span y, x;
    if (p->data->open(p->data, p->split, key.sample, d, label, failure)) return NULL;
    a->framing.kind->place(&a->framing, key, d->height, d->width, &y, &x);
    const kd_status status =
        kdi_frame_decode(&w->framer, d, a->exact || !a->framing.kind->reducible, a->bicubic, y, x,
                         w->bytes[side], failure);
    return status ? NULL : w->bytes[side];
}

/* A picture in memory, framed if a step asks for that. */
static const uint8_t *look(const kdi_pipeline *p, kdi_worker *w, size_t side, kdi_key key,
                           int32_t *label, kdi_failure *failure)
{
    const kdi_augmentation *a = &p->augmentation;
    const kd_data_info *info = &p->data->info;
    const bool framed = a->framing.kind != NULL;
    uint8_t *scratch = w->bytes[framed ? 2 : side];
    const uint8_t *picture =
        kdi_dataset_look(p->data, p->split, key.sample, scratch, label, failure);
    if (!picture || !framed) return picture;
    kdi_span y, x;
    const kdi_shape shape = {info->height, info->width, info->channels};
    a->framing.kind->place(&a->framing, key, shape.h, shape.w, &y, &x);
    const kd_status status =
        kdi_frame_copy(&w->framer, picture, shape, a->bicubic, y, x, w->bytes[side], failure);
    if (status) kdi_dataset_blame(p->data, p->split, key.sample, failure);
    return status ? NULL : w->bytes[side];
}

const uint8_t *kdi_worker_canvas(const kdi_pipeline *p, kdi_worker *w, size_t side, kdi_key key,
                                 int32_t *label, kdi_failure *failure)
{
    const uint8_t *picture = p->data->open ? decode(p, w, side, key, label, failure)
                                           : look(p, w, side, key, label, failure);
    if (!picture) {
        if (p->data->open) kdi_dataset_blame(p->data, p->split, key.sample, failure);
        return NULL;
    }
    const uint8_t *result =
        kdi_augment_pixels(&p->augmentation, key, picture, w->bytes[2], w->bytes[3]);
    if (!p->mixes || result == picture) return result;
    /* The partner's steps will overwrite bytes[2] and bytes[3]. */
    memcpy(w->bytes[side], result, p->canvas.h * p->canvas.w * p->canvas.c);
    return w->bytes[side];
}

/* ---- views ----------------------------------------------------------------------------------- */

void kdi_normalise(const float *table, size_t stored, size_t channels, size_t pixels,
                   const uint8_t *in, float *out)
{
    if (stored == 3) {
        for (size_t i = 0; i < pixels; i++, in += 3, out += 3) {
            out[0] = table[in[0]];
            out[1] = table[256 + in[1]];
            out[2] = table[512 + in[2]];
        }
    } else if (stored == channels) {
        for (size_t i = 0; i < pixels; i++)
            for (size_t c = 0; c < channels; c++) *out++ = table[256 * c + *in++];
    } else {
        for (size_t i = 0; i < pixels; i++, in++)
            for (size_t c = 0; c < channels; c++) *out++ = table[256 * c + *in];
    }
}

/* The same of floats [pixels,stored]. */
static void normalise_floats(const kdi_view *view, size_t stored, size_t pixels, const void *canvas,
                             float *out)
{
    const float *in = canvas;
    const size_t channels = view->shape.c;
    for (size_t i = 0; i < pixels; i++, in += stored)
        for (size_t c = 0; c < channels; c++)
            *out++ = (in[stored == channels ? c : 0] - view->mean[c]) / view->std[c];
}

static void values(const kdi_pipeline *p, const kdi_view *view, kdi_key key, const uint8_t *canvas,
                   float *out)
{
    const kdi_shape s = p->canvas;
    const size_t stored = p->data->info.channels;
    if (p->data->floats)
        normalise_floats(view, stored, s.h * s.w, canvas, out);
    else
        kdi_normalise(view->table, stored, view->shape.c, s.h * s.w, canvas, out);
    kdi_augment_values(&p->augmentation, key, &view->units, out);
}

void kdi_worker_show(const kdi_pipeline *p, kdi_worker *w, const kdi_view *view, kdi_key key,
                     const uint8_t *canvas, float *out)
{
    float *plain = view->resized ? w->plain[0] : out;
    values(p, view, key, canvas, plain);
    if (view->resized) kdi_resize(&view->y, &view->x, view->shape.c, plain, w->half, out);
}

void kdi_worker_show_mixed(const kdi_pipeline *p, kdi_worker *w, const kdi_view *view,
                           const kdi_mix *mix, const kdi_key key[2], const uint8_t *const canvas[2],
                           float *const out[2])
{
    float *plain[2];
    for (size_t i = 0; i < 2; i++) {
        plain[i] = view->resized ? w->plain[i] : out[i];
        values(p, view, key[i], canvas[i], plain[i]);
    }
    kdi_mix_apply(mix, p->canvas, view->shape.c, plain[0], plain[1]);
    for (size_t i = 0; i < 2 && view->resized; i++)
        kdi_resize(&view->y, &view->x, view->shape.c, plain[i], w->half, out[i]);
}
