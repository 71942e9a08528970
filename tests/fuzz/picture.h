/* SPDX-License-Identifier: MIT
 * picture.h: what the fuzz targets of picture files do with their input: the header, all of it, an
 * area of it, and a canvas as a loader makes it. Beyond what the sanitizers see: errors are told,
 * the area is what the whole picture shows there, at any scale it fails if the whole does, and no
 * memory stays. */
#include "fuzz.h"

#include "../../lib/data/crop_resize.h"

#include <stdlib.h>
#include <string.h>

/* Pictures of more than SMALL pixels go beyond their header once in SELDOM times, those of more
 * than PIXELS once in SELDOM squared, and are never read in whole: else most of the time would go
 * there. Sides count as multiples of BLOCK, as they do for a JPEG's coefficients. */
enum { BLOCK = 32, MEMORY = 64 << 20, SMALL = 1 << 12, PIXELS = 1 << 18, SELDOM = 64, CANVAS = 16 };

typedef struct rows {
    uint8_t *at;
    size_t w, left; /* rows still expected */
} rows;

static void keep_row(void *arg, const uint8_t *rgb)
{
    rows *r = arg;
    require(r->left-- > 0);
    memcpy(r->at, rgb, 3 * r->w);
    r->at += 3 * r->w;
}

/* An area's pixels, to be freed; NULL where it cannot be read. */
static uint8_t *read_area(kdi_decoder *d, size_t shrink, kdi_area a)
{
    kdi_failure failure = {0};
    uint8_t *pixels = malloc(3 * a.w * a.h);
    rows r = {pixels, a.w, a.h};
    require(pixels != NULL);
    const kd_status status = kdi_decoder_rows(d, shrink, a, keep_row, &r, &failure);
    require(status == failure.status && (status ? failure.text[0] != 0 : r.left == 0));
    if (!status) return pixels;
    free(pixels);
    return NULL;
}

static void frame(kdi_framer *f, kdi_decoder *d, size_t seed)
{
    static const kdi_augment *const kinds[] = {&kdi_augment_rrc, &kdi_augment_centre};
    uint8_t canvas[CANVAS * CANVAS * 3];
    kdi_failure failure = {0};
    kdi_span y, x;
    const kdi_augment_step step = {
        .kind = kinds[seed % 2], .shape = {CANVAS, CANVAS, 3}, .value = seed % 2 ? 875000 : 80000};
    step.kind->place(&step, (kdi_key){.sample = (uint32_t)seed}, d->height, d->width, &y, &x);
    const kd_status status =
        kdi_frame_decode(f, d, !step.kind->reducible, seed / 2 % 2 != 0, y, x, canvas, &failure);
    require(status == failure.status);
}

static void compare(kdi_decoder *d, const uint8_t *bytes, size_t size, size_t seed)
{
    kdi_failure failure = {0};
    const size_t h = d->height, w = d->width;
    uint8_t *all = read_area(d, 1, (kdi_area){0, 0, w, h});
    require(!kdi_decoder_open_bytes(d, bytes, size, &failure));
    const kdi_area a = {seed % w, seed % h, 1 + seed / 7 % (w - seed % w),
                        1 + seed / 7 % (h - seed % h)};
    uint8_t *part = read_area(d, 1, a);
    for (size_t y = 0; all && part && y < a.h; y++)
        require(!memcmp(part + y * 3 * a.w, all + ((a.y + y) * w + a.x) * 3, 3 * a.w));
    require(!part == !all); /* a file is broken, or is not, whichever part is read */
    free(part);
    require(!kdi_decoder_open_bytes(d, bytes, size, &failure));
    const size_t shrink = d->codec->shrinks ? (size_t)1 << seed / 11 % 4 : 1;
    part = read_area(d, shrink, (kdi_area){w / shrink / 2, h / shrink / 2, 1, 1});
    require(!part == !all); /* nor does the scale matter */
    free(part);
    free(all);
}

static void picture(kd_ctx *ctx, const uint8_t *bytes, size_t size)
{
    kdi_decoder d;
    kdi_framer f;
    kdi_failure failure = {0};
    const size_t seed = size ? bytes[size / 2] + 256u * bytes[size - 1] : 0;
    kdi_decoder_init(ctx, &d);
    kdi_framer_init(ctx, &f);
    if (kdi_decoder_open_bytes(&d, bytes, size, &failure)) {
        require(failure.status && failure.text[0]);
    } else {
        require(d.width > 0 && d.height > 0 && d.width * d.height <= KDI_PICTURE_PIXELS);
        const size_t high = (d.height + BLOCK - 1) / BLOCK, wide = (d.width + BLOCK - 1) / BLOCK;
        const size_t pixels = high * wide * BLOCK * BLOCK;
        const size_t one_in = pixels <= SMALL ? 1 : pixels <= PIXELS ? SELDOM : SELDOM * SELDOM;
        const bool further = seed / 4 % one_in == 0;
        if (further && pixels <= PIXELS) {
            compare(&d, bytes, size, seed);
            require(!kdi_decoder_open_bytes(&d, bytes, size, &failure));
        }
        if (further) frame(&f, &d, seed);
    }
    kdi_framer_free(&f);
    kdi_decoder_free(&d);
}

static int fuzz_picture(const uint8_t *bytes, size_t size)
{
    kd_ctx *ctx = fuzz_begin(MEMORY);
    picture(ctx, bytes, size);
    fuzz_end(ctx);
    return 0;
}
