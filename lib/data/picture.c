/* SPDX-License-Identifier: MIT
 * picture.c: single pictures of the caller's: bytes of a file decoded; bytes of pixels as a network
 * wants to see them, which is what a loader over picture files makes of the same picture. */
#include "worker.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- decoding -------------------------------------------------------------------------------- */

typedef struct rows {
    uint8_t *at;
    size_t bytes; /* of a row */
} rows;

static void take_row(void *arg, const uint8_t *rgb)
{
    rows *r = arg;
    memcpy(r->at, rgb, r->bytes);
    r->at += r->bytes;
}

/* The context's error says it already. */
static bool is_memory(kd_status status)
{
    return status == KD_E_NOMEM || status == KD_E_LIMIT;
}

kd_status kd_picture_decode(kd_ctx *ctx, const void *bytes, size_t size, uint8_t **pixels,
                            size_t *height, size_t *width)
{
    if (pixels) *pixels = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!bytes || !pixels || !height || !width)
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_picture_decode: NULL");
    kdi_decoder d;
    kdi_failure failure = {0};
    uint8_t *block = NULL;
    kdi_decoder_init(ctx, &d);
    d.arena.loud = true;
    kd_status status = kdi_decoder_open_bytes(&d, bytes, size, &failure);
    if (!status) {
        const kdi_area all = {0, 0, d.width, d.height};
        *height = d.height;
        *width = d.width;
        block = kd_ctx_alloc(ctx, d.height, 3 * d.width);
        rows r = {block, 3 * d.width};
        status = block ? kdi_decoder_rows(&d, 1, all, take_row, &r, &failure)
                       : kd_ctx_memory_status(ctx);
    }
    if (status && !is_memory(status) && failure.status)
        kd_ctx_fail(ctx, status, "a picture %s", failure.text);
    kdi_decoder_free(&d);
    if (status)
        kd_ctx_free(ctx, block);
    else
        *pixels = block;
    return status;
}

/* ---- framing --------------------------------------------------------------------------------- */

struct kd_framer {
    kd_ctx *ctx;
    kdi_shape shape; /* of the view */
    kdi_augmentation augmentation;
    kdi_framer framer;
    float *table;    /* [channels,256]: a byte's normalised value */
    uint8_t *canvas; /* [height,width,channels] */
};

void kd_framer_destroy(kd_framer *f)
{
    if (!f) return;
    kdi_framer_free(&f->framer);
    kd_ctx_free(f->ctx, f->table);
    kd_ctx_free(f->ctx, f->canvas);
    kd_ctx_free(f->ctx, f);
}

static kd_status check_view(kd_ctx *ctx, const kd_view *v)
{
    enum { MAX_CHANNELS = 64 };
    if (v->height < 1 || v->height > KDI_PICTURE_SIDE || v->width < 1 ||
        v->width > KDI_PICTURE_SIDE || v->channels < 1 || v->channels > MAX_CHANNELS ||
        !kdi_shape_fits((kdi_shape){v->height, v->width, v->channels}))
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "a framer's view of %zux%zux%zu: sides must be 1..%d, channels 1..%d",
                           v->height, v->width, v->channels, KDI_PICTURE_SIDE, MAX_CHANNELS);
    if (!v->mean || !v->std)
        return kd_ctx_fail(ctx, KD_E_INVALID, "a framer's view has no mean or deviation");
    for (size_t c = 0; c < v->channels; c++)
        if (!isfinite(v->mean[c]) || !(v->std[c] > 0 && isfinite(v->std[c])))
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "a framer's view: channel %zu: mean %g, standard deviation %g", c,
                               (double)v->mean[c], (double)v->std[c]);
    return KD_OK;
}

/* As for picture files: "none" is the middle square, and a text without a framing has the usual one
 * before it. */
static kd_status parse(kd_framer *f, const char *framing)
{
    char text[KDI_AUGMENT_TEXT];
    kdi_augmentation *a = &f->augmentation;
    if (!framing) framing = KDI_FRAMING;
    if (!strcmp(framing, "none")) framing = "centre:1";
    kd_status status = kdi_augment_parse(f->ctx, framing, f->shape, a);
    if (!status && !a->framing.kind) {
        const int n = snprintf(text, sizeof text, "%s+%s", KDI_FRAMING_SHARE, framing);
        if (n < 0 || (size_t)n >= sizeof text)
            return kd_ctx_fail(f->ctx, KD_E_INVALID, "framing '%.100s...': too long", framing);
        status = kdi_augment_parse(f->ctx, text, f->shape, a);
    }
    if (status) return status;
    if (a->random || a->n_steps || a->mixup > 0 || a->cutmix > 0 || a->repeat > 1)
        return kd_ctx_fail(f->ctx, KD_E_INVALID,
                           "framing '%.100s': it may say which part of a picture is shown and how "
                           "that is resized, nothing else",
                           framing);
    return KD_OK;
}

static kd_status make_memory(kd_framer *f, const kd_framer_opt *opt)
{
    const kdi_shape s = f->shape;
    const kd_view *v = &opt->view;
    kdi_failure failure = {0};
    f->table = kd_ctx_alloc(f->ctx, s.c, 256 * sizeof *f->table);
    f->canvas = kd_ctx_alloc(f->ctx, s.h * s.w, s.c);
    if (!f->table || !f->canvas) return kd_ctx_memory_status(f->ctx);
    for (size_t c = 0; c < s.c; c++)
        for (size_t x = 0; x < 256; x++)
            f->table[c * 256 + x] = ((float)x / 255.0f - v->mean[c]) / v->std[c];
    const kdi_shape most = {opt->height > s.h ? opt->height : s.h,
                            opt->width > s.w ? opt->width : s.w, s.c};
    return kdi_framer_reserve(&f->framer, s, most, f->augmentation.bicubic, &failure);
}

kd_status kd_framer_create(kd_ctx *ctx, const kd_framer_opt *options, kd_framer **out)
{
    kd_framer_opt opt;
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!out || !options) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_framer_create: NULL");
    kd_status status = kd_options(ctx, "kd_framer_opt", &opt, sizeof opt, options);
    if (!status) status = check_view(ctx, &opt.view);
    if (!status && (opt.height > KDI_PICTURE_SIDE || opt.width > KDI_PICTURE_SIDE))
        status = kd_ctx_fail(ctx, KD_E_INVALID, "pictures of up to %zux%zu: sides are at most %d",
                             opt.height, opt.width, KDI_PICTURE_SIDE);
    if (status) return status;
    kd_framer *f = kd_ctx_alloc(ctx, 1, sizeof *f);
    if (!f) return kd_ctx_memory_status(ctx);
    f->ctx = ctx;
    f->shape = (kdi_shape){opt.view.height, opt.view.width, opt.view.channels};
    kdi_framer_init(ctx, &f->framer);
    f->framer.loud = true;
    status = parse(f, opt.framing);
    if (!status) status = make_memory(f, &opt);
    if (status)
        kd_framer_destroy(f);
    else
        *out = f;
    return status;
}

static kd_status check_picture(const kd_framer *f, const kd_picture *p, size_t *stride)
{
    size_t needed;
    if (!p->pixels) return kd_ctx_fail(f->ctx, KD_E_INVALID, "a picture without pixels: NULL");
    if (p->height < 1 || p->height > KDI_PICTURE_SIDE || p->width < 1 ||
        p->width > KDI_PICTURE_SIDE)
        return kd_ctx_fail(f->ctx, KD_E_INVALID, "a picture of %zux%zu pixels: sides must be 1..%d",
                           p->height, p->width, KDI_PICTURE_SIDE);
    if (p->channels != f->shape.c && p->channels != 1)
        return kd_ctx_fail(f->ctx, KD_E_SHAPE,
                           "a picture of %zu channels, where %zu are wanted, or 1: grey",
                           p->channels, f->shape.c);
    const size_t row = p->width * p->channels;
    *stride = p->stride ? p->stride : row;
    if (*stride < row)
        return kd_ctx_fail(f->ctx, KD_E_INVALID,
                           "a picture's stride of %zu bytes is shorter than its rows of %zu",
                           *stride, row);
    if (!kdi_mul(*stride, p->height - 1, &needed) || !kdi_add(needed, row, &needed) ||
        needed > p->bytes)
        return kd_ctx_fail(f->ctx, KD_E_INVALID,
                           "a picture's %zu bytes end before its last row of %zu does (stride %zu)",
                           p->bytes, p->height, *stride);
    return KD_OK;
}

kd_status kd_framer_show(kd_framer *f, const kd_picture *p, float *out)
{
    size_t stride = 0;
    kdi_failure failure = {0};
    if (!f) return KD_E_INVALID;
    if (!p || !out) return kd_ctx_fail(f->ctx, KD_E_INVALID, "kd_framer_show: NULL");
    kd_status status = check_picture(f, p, &stride);
    if (status) return status;
    const kdi_shape s = f->shape, shape = {p->height, p->width, p->channels};
    if (p->height == s.h && p->width == s.w) { /* nothing to resize, and nothing to cut */
        for (size_t y = 0; y < s.h; y++)
            kdi_normalise(f->table, p->channels, s.c, s.w, p->pixels + y * stride,
                          out + y * s.w * s.c);
        return KD_OK;
    }
    const kdi_augmentation *a = &f->augmentation;
    kdi_span y, x;
    a->framing.kind->place(&a->framing, (kdi_key){0}, shape.h, shape.w, &y, &x);
    status =
        kdi_frame_rows(&f->framer, p->pixels, stride, shape, a->bicubic, y, x, f->canvas, &failure);
    if (status) return status; /* of memory, as the context's error says */
    kdi_normalise(f->table, shape.c, s.c, s.h * s.w, f->canvas, out);
    return KD_OK;
}
