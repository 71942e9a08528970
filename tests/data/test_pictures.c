/* SPDX-License-Identifier: MIT
 * test_pictures.c: decoding, resizing and RandAugment's operations against Pillow, torchvision and
 * timm (tests/golden/pictures.safetensors): bytes within 1 of theirs on 99.9 % of the pixels. Areas
 * of a picture against the whole, and resizing on every kernel table, to the bit. Damaged files. */
#include "../model/golden.h"
#include "files.h"

#include "../../lib/data/crop_resize.h"
#include "../../lib/data/randaugment_ops.h"
#include "../../lib/base/philox.h"
#include "../../lib/kernel/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if KDI_JPEG
#include <jpeglib.h>
#endif
#if KDI_PNG
#include <png.h>
#endif

/* ---- golden files ---------------------------------------------------------------------------- */

typedef struct bytes {
    uint8_t *at;
    size_t count, h, w;
} bytes;

static bytes read_bytes(const golden *f, const kd_file_tensor *t)
{
    ck_assert_ptr_nonnull(t);
    bytes b = {.at = malloc(t->count + 1), .count = t->count};
    if (t->rank == 3) b.h = (size_t)t->shape[0], b.w = (size_t)t->shape[1];
    test_ok(f->ctx, kd_file_read_bytes(f->file, t, 0, t->count, b.at));
    return b;
}

static bytes find_bytes(const golden *f, const char *prefix, const char *name)
{
    return read_bytes(f, golden_find(f, "%s%s", prefix, name));
}

/* Bytes within 1, but for a share of them. */
static void compare(const char *what, const uint8_t *got, const uint8_t *want, size_t n)
{
    size_t off = 0;
    int most = 0;
    for (size_t i = 0; i < n; i++) {
        const int d = abs(got[i] - want[i]);
        off += d > 1;
        if (d > most) most = d;
    }
    ck_assert_msg((double)off <= .001 * (double)n,
                  "%s: %zu of %zu bytes differ by more than 1, at "
                  "most by %d",
                  what, off, n, most);
    if (getenv("KD_GOLDEN_REPORT"))
        printf("%-24s %zu of %zu beyond 1, at most %d\n", what, off, n, most);
}

/* ---- decoding -------------------------------------------------------------------------------- */

typedef struct rows {
    uint8_t *to;
    size_t w, left; /* left: rows that there is room for */
} rows;

static void keep_row(void *arg, const uint8_t *rgb)
{
    rows *r = arg;
    ck_assert_msg(r->left-- > 0, "more rows than the area has");
    memcpy(r->to, rgb, 3 * r->w);
    r->to += 3 * r->w;
}

static bool built(const char *name)
{
    return strncmp(name, "jpeg", 4) == 0 ? KDI_JPEG : KDI_PNG;
}

/* The area at 1 / shrink, [h,w,3]; free(). NULL if it cannot be read. */
static uint8_t *decode(kdi_decoder *d, bytes file, size_t shrink, kdi_area *area,
                       kdi_failure *failure)
{
    if (kdi_decoder_open_bytes(d, file.at, file.count, failure)) return NULL;
    if (area->w == 0)
        *area =
            (kdi_area){0, 0, (d->width + shrink - 1) / shrink, (d->height + shrink - 1) / shrink};
    uint8_t *pixels = malloc(area->w * area->h * 3);
    rows r = {pixels, area->w, area->h};
    if (kdi_decoder_rows(d, shrink, *area, keep_row, &r, failure) == KD_OK) {
        ck_assert_uint_eq(r.left, 0);
        return pixels;
    }
    free(pixels);
    return NULL;
}

START_TEST(test_decode)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    golden f = golden_open(ctx, "pictures.safetensors");
    kdi_decoder d;
    size_t files = 0;
    kdi_decoder_init(ctx, &d);
    for (size_t i = 0; i < kd_file_count(f.file); i++) {
        const char *name = kd_file_at(f.file, i)->name;
        if (strncmp(name, "file.", 5)) continue;
        bytes file = find_bytes(&f, "", name), want = find_bytes(&f, "rgb.", name + 5);
        kdi_area area = {0};
        kdi_failure failure = {0};
        uint8_t *got = decode(&d, file, 1, &area, &failure);
        if (built(name + 5)) {
            ck_assert_msg(got != NULL, "%s: %s", name, failure.text);
            ck_assert(d.width == want.w && d.height == want.h);
            compare(name, got, want.at, want.count);
        } else {
            ck_assert(!got && failure.status == KD_E_UNSUPPORTED);
        }
        free(got);
        free(file.at);
        free(want.at);
        files++;
    }
    ck_assert_uint_ge(files, 17);
    kdi_decoder_free(&d);
    golden_close(&f);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

#if KDI_JPEG || KDI_PNG
/* Every area of a picture is what decoding all of it gives, at every scale that
 * its codec has. */
static void check_areas(kdi_decoder *d, bytes file, size_t most_shrink, kdi_rng *rng)
{
    for (size_t shrink = 1; shrink <= most_shrink; shrink *= 2) {
        kdi_area all = {0};
        kdi_failure failure = {0};
        uint8_t *whole = decode(d, file, shrink, &all, &failure);
        ck_assert_msg(whole != NULL, "%s", failure.text);
        for (int i = 0; i < 20; i++) {
            kdi_area a;
            a.w = 1 + kdi_rng_below(rng, (uint32_t)all.w);
            a.h = 1 + kdi_rng_below(rng, (uint32_t)all.h);
            a.x = kdi_rng_below(rng, (uint32_t)(all.w - a.w + 1));
            a.y = kdi_rng_below(rng, (uint32_t)(all.h - a.h + 1));
            uint8_t *part = decode(d, file, shrink, &a, &failure);
            ck_assert_msg(part != NULL, "%s", failure.text);
            for (size_t y = 0; y < a.h; y++)
                ck_assert_msg(
                    !memcmp(part + y * 3 * a.w, whole + ((a.y + y) * all.w + a.x) * 3, 3 * a.w),
                    "1/%zu, area %zux%zu at %zu,%zu of %zux%zu: row %zu", shrink, a.h, a.w, a.y,
                    a.x, all.h, all.w, y);
            free(part);
        }
        free(whole);
    }
}
#endif

#if KDI_PNG
/* Where libpng's file goes. */
static void append(png_structp png, png_bytep data, png_size_t size)
{
    bytes *out = png_get_io_ptr(png);
    out->at = realloc(out->at, out->count + size);
    memcpy(out->at + out->count, data, size);
    out->count += size;
}

static void no_flush(png_structp png)
{
    (void)png;
}

/* Noise as a PNG, its passes one or, interlaced, seven; free(). */
static bytes make_png(size_t h, size_t w, bool interlaced)
{
    bytes out = {.h = h, .w = w};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    uint8_t *pixels = malloc(h * w * 3);
    png_bytep *lines = malloc(h * sizeof *lines);
    for (size_t y = 0; y < h; y++) {
        lines[y] = pixels + y * w * 3;
        for (size_t i = 0; i < w * 3; i++)
            lines[y][i] = files_pixel(KD_SPLIT_TRAIN, y, i % 3, y, i / 3);
    }
    png_set_write_fn(png, &out, append, no_flush);
    png_set_IHDR(png, info, (png_uint_32)w, (png_uint_32)h, 8, PNG_COLOR_TYPE_RGB,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
                 PNG_FILTER_TYPE_BASE);
    png_write_info(png, info);
    png_write_image(png, lines);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    free(lines);
    free(pixels);
    return out;
}

START_TEST(test_png_areas)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kdi_rng rng = kdi_rng_make(2, KDI_RNG_TEST, 0, 0);
    kdi_decoder d;
    kdi_decoder_init(ctx, &d);
    for (int interlaced = 0; interlaced < 2; interlaced++) {
        bytes file = make_png(37, 53, interlaced);
        kdi_area area = {0};
        kdi_failure failure = {0};
        uint8_t *whole = decode(&d, file, 1, &area, &failure);
        ck_assert_msg(whole != NULL, "%s", failure.text);
        for (size_t i = 0; i < 37 * 53 * 3; i++)
            ck_assert_uint_eq(whole[i],
                              files_pixel(KD_SPLIT_TRAIN, i / 159, i % 3, i / 159, i % 159 / 3));
        free(whole);
        check_areas(&d, file, 1, &rng);
        free(file.at);
    }
    kdi_decoder_free(&d);
    kd_ctx_destroy(ctx);
}
END_TEST
#endif

#if KDI_JPEG
typedef struct form {
    int h, v; /* sampling of the first component; the others' is 1 */
    bool progressive, ycck;
    int restart;
} form;

/* Colourful noise over slopes as a JPEG; free(). */
static bytes make_jpeg(size_t h, size_t w, form f)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *out = NULL;
    unsigned long size = 0;
    const size_t channels = f.ycck ? 4 : 3;
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &out, &size);
    c.image_width = (JDIMENSION)w;
    c.image_height = (JDIMENSION)h;
    c.input_components = (int)channels;
    c.in_color_space = f.ycck ? JCS_CMYK : JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_set_colorspace(&c, f.ycck ? JCS_YCCK : JCS_YCbCr);
    c.comp_info[0].h_samp_factor = f.h;
    c.comp_info[0].v_samp_factor = f.v;
    if (f.ycck) {
        c.comp_info[3].h_samp_factor = f.h;
        c.comp_info[3].v_samp_factor = f.v;
    }
    c.restart_interval = (unsigned)f.restart;
    if (f.progressive) jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    uint8_t *row = malloc(w * channels);
    for (size_t y = 0; y < h; y++) {
        for (size_t i = 0; i < w * channels; i++)
            row[i] = (uint8_t)((i * 3 + y * 2 * (i % channels)) % 200 +
                               files_pixel(KD_SPLIT_TRAIN, y, i % channels, y, i) % 56);
        jpeg_write_scanlines(&c, &row, 1);
    }
    free(row);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return (bytes){out, size, h, w};
}

START_TEST(test_areas)
{
    static const form forms[] = {
        {1, 1, false, false, 0}, {2, 1, false, false, 0}, {2, 2, false, false, 0},
        {1, 2, false, false, 0}, {4, 1, false, false, 0}, {4, 2, false, false, 0},
        {2, 2, true, false, 0},  {2, 1, true, false, 0},  {1, 2, true, false, 0},
        {2, 2, false, false, 5}, {2, 1, false, true, 0},  {1, 1, true, true, 3}};
    kd_ctx *ctx = test_ctx(1, NULL);
    kdi_rng rng = kdi_rng_make(1, KDI_RNG_TEST, 0, 0);
    kdi_decoder d;
    kdi_decoder_init(ctx, &d);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        bytes file = make_jpeg(133 + 7 * i, 171 - 5 * i, forms[i]);
        check_areas(&d, file, 8, &rng);
        free(file.at);
    }
    kdi_decoder_free(&d);
    kd_ctx_destroy(ctx);
}
END_TEST
#endif

/* ---- other files ----------------------------------------------------------------------------- */

/* What a file is that is no picture of ours is said. */
START_TEST(test_kinds)
{
#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1
    static const struct {
        const uint8_t *at;
        size_t count;
        const char *words;
    } files[] = {
        {BYTES("RIFF\x24\0\0\0WEBPVP8 \0\0\0\0"), "a WebP picture"},
        {BYTES("GIF89a\1\0\1\0"), "a GIF picture"},
        {BYTES("GIF87a"), "a GIF picture"},
        {BYTES("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"), "a BMP picture"},
        {BYTES("II*\0\x08\0\0\0"), "a TIFF picture"},
        {BYTES("MM\0*\0\0\0\x08"), "a TIFF picture"},
        {BYTES("\0\0\0\x18"
               "ftypheic\0\0\0\0"),
         "a HEIF picture"},
        {BYTES("\0\0\0\x18"
               "ftypmif1\0\0\0\0"),
         "a HEIF picture"},
        {BYTES("\0\0\0\x1c"
               "ftypavif\0\0\0\0"),
         "an AVIF picture"},
        {BYTES("\0\0\0\x1c"
               "ftypisom\0\0\0\0"),
         "a video"},
        {BYTES("\0\0\0\fJXL \r\n\x87\n"), "a JPEG XL picture"},
        {BYTES("\0\0\0\fjP  \r\n\x87\n"), "a JPEG 2000 picture"},
        {BYTES("P6\n2 2\n255\n"), "a Netpbm picture"},
        {BYTES("\n <!DOCTYPE HTML>\n<html>"), "a page of HTML"},
        {BYTES("\xEF\xBB\xBF<html lang=en>"), "a page of HTML"},
        {BYTES("<svg xmlns=''>"), "an SVG picture"},
        {BYTES("<?xml version='1.0'?>"), "an XML document"},
        {BYTES("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
         "a server's error in XML, not the file itself; download it anew"},
        {BYTES("/annex/objects/SHA256E-s31390--00.jpg\n"), "git annex get"},
        {BYTES("outs:\n- md5: 00\n  path: a.jpg\n"), "dvc pull"},
        {BYTES("caf\xC3\xA9"), "a text file"},
        {BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git-lfs pointer"},
        {BYTES("%PDF-1.7"), "a PDF document"},
        {BYTES("PK\3\4\x14"), "a zip archive"},
        {BYTES("\x1F\x8B\x08"), "compressed by gzip"},
        {BYTES("404: Not Found"), "a text file"},
        {BYTES("BMW, Audi"), "a text file"},
        {BYTES("\0\0\0\0\0\0\0\0\0\0\0\0"), "zeros alone"},
        {BYTES(""), "it is empty"},
        {BYTES("\xFF\xD8"), "is neither JPEG nor PNG"},
        {BYTES("\x89PN"), "is neither JPEG nor PNG"},
        {BYTES("\x01\x02\x03\x80"), "is neither JPEG nor PNG"}};
#undef BYTES
    kd_ctx *ctx = test_ctx(1, NULL);
    kdi_decoder d;
    kdi_decoder_init(ctx, &d);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        kdi_failure failure = {0};
        /* of exactly that size, so that a memory checker sees a step beyond */
        uint8_t *copy = malloc(files[i].count + !files[i].count);
        memcpy(copy, files[i].at, files[i].count);
        ck_assert_int_eq(kdi_decoder_open_bytes(&d, copy, files[i].count, &failure), KD_E_FORMAT);
        ck_assert_msg(strstr(failure.text, "is neither JPEG nor PNG") &&
                          strstr(failure.text, files[i].words),
                      "no '%s' in: %s", files[i].words, failure.text);
        free(copy);
    }
    kdi_decoder_free(&d);
    /* the same words through a data set, with the file's name */
    char path[1200];
    const char *folder = files_folder("kinds");
    files_write(folder, "a.jpg", files[0].at, files[0].count);
    files_write(folder, "b.jpg", "", 0);
    for (int i = 0; i < 2; i++) {
        kd_dataset *data;
        snprintf(path, sizeof path, "%s/%c.jpg", folder, 'a' + i);
        test_ok(ctx, kd_dataset_from_pictures(ctx, (const char *const[]){path}, 1, &data));
        ck_assert_int_eq(kd_dataset_sample(data, KD_SPLIT_TEST, 0, NULL, NULL), KD_E_FORMAT);
        ck_assert_ptr_nonnull(
            strstr(kd_ctx_error(ctx), i ? "b.jpg': is neither JPEG nor PNG: it is empty"
                                        : "a.jpg': is neither JPEG nor PNG: a WebP picture"));
        kd_dataset_close(data);
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------- */

/* Can the area be read? */
static bool reads(kdi_decoder *d, bytes file, size_t shrink, kdi_area area)
{
    kdi_failure failure = {0};
    uint8_t *pixels = decode(d, file, shrink, &area, &failure);
    free(pixels);
    return pixels != NULL;
}

/* Whether a file is broken does not depend on the area that is read, nor on the scale. */
static void check_damage(kdi_decoder *d, const char *name, bytes file, kdi_rng *rng)
{
    kdi_failure failure = {0};
    if (kdi_decoder_open_bytes(d, file.at, file.count, &failure)) return;
    const size_t h = d->height, w = d->width, most = d->codec->shrinks ? 8 : 1;
    const bool whole = reads(d, file, 1, (kdi_area){0, 0, w, h});
    for (size_t shrink = 1; shrink <= most; shrink *= 2) {
        const size_t sh = (h + shrink - 1) / shrink, sw = (w + shrink - 1) / shrink;
        const uint32_t y = kdi_rng_below(rng, (uint32_t)sh), x = kdi_rng_below(rng, (uint32_t)sw);
        const kdi_area areas[] = {
            {0, 0, 1, 1}, {sw - 1, sh - 1, 1, 1}, {x, y, sw - x, sh - y}, {0, 0, x + 1, y + 1}};
        for (size_t a = 0; a < 4; a++)
            ck_assert_msg(reads(d, file, shrink, areas[a]) == whole,
                          "%s, %zu bytes: all of it %s, but %zux%zu at %zu,%zu of 1/%zu not", name,
                          file.count, whole ? "reads" : "fails", areas[a].h, areas[a].w, areas[a].y,
                          areas[a].x, shrink);
    }
}

/* Cut off, with and without an end put on; bytes changed; overwritten with zeros. */
static void damage(kdi_decoder *d, const char *name, bytes file, kdi_rng *rng)
{
    static const uint8_t ends[2][12] = {{0xFF, 0xD9},
                                        {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xAE, 0x42, 0x60, 0x82}};
    const bool png = !strncmp(name, "file.png", 8);
    uint8_t *copy = malloc(file.count + 12);
    for (int i = 0; i < 60; i++) {
        const size_t at = kdi_rng_below(rng, (uint32_t)file.count), n = png ? 12 : 2;
        bytes cut = {.at = copy, .count = at};
        memcpy(copy, file.at, file.count);
        check_damage(d, name, cut, rng);
        memcpy(copy + at, ends[png], n);
        cut.count = at + n;
        check_damage(d, name, cut, rng);
        memcpy(copy, file.at, file.count);
        cut.count = file.count;
        copy[at] ^= (uint8_t)(1 + kdi_rng_below(rng, 255));
        check_damage(d, name, cut, rng);
        memset(copy + at, 0, file.count - at);
        check_damage(d, name, cut, rng);
    }
    free(copy);
}

START_TEST(test_damage)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    golden f = golden_open(ctx, "pictures.safetensors");
    kdi_rng rng = kdi_rng_make(9, KDI_RNG_TEST, 0, 0);
    kdi_decoder d;
    kdi_decoder_init(ctx, &d);
    for (size_t i = 0; i < kd_file_count(f.file); i++) {
        const char *name = kd_file_at(f.file, i)->name;
        if (strncmp(name, "file.", 5) || !built(name + 5)) continue;
        bytes file = find_bytes(&f, "", name);
        damage(&d, name, file, &rng);
        free(file.at);
    }
    kdi_decoder_free(&d);
    golden_close(&f);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- resizing -------------------------------------------------------------------------------- */

static kdi_span span_of(const float *x)
{
    return (kdi_span){(double)x[0], (double)x[1], (size_t)x[2], (size_t)x[3], (size_t)x[4]};
}

START_TEST(test_resize)
{
    const kdi_kernels *table;
    for (int k = 0; (table = kdi_kernels_at(k)); k++) {
        kd_ctx *ctx = test_ctx(1, table->name);
        golden f = golden_open(ctx, "pictures.safetensors");
        bytes base = find_bytes(&f, "", "base");
        const kd_file_tensor *t;
        kdi_framer framer;
        kdi_framer_init(ctx, &framer);
        size_t n = 0;
        for (; (t = golden_find(&f, "resize.%zu.args", n)); n++) {
            char name[40];
            kdi_failure failure = {0};
            float *args = golden_floats(&f, t);
            snprintf(name, sizeof name, "resize.%zu.rgb", n);
            bytes want = find_bytes(&f, "", name);
            uint8_t *got = malloc(want.count);
            ck_assert(kdi_frame_copy(&framer, base.at, (kdi_shape){base.h, base.w, 3}, args[0] != 0,
                                     span_of(args + 1), span_of(args + 6), got, &failure) == KD_OK);
            compare(name, got, want.at, want.count);
            free(args);
            free(got);
            free(want.at);
        }
        ck_assert_uint_ge(n, 18);
        free(base.at);
        kdi_framer_free(&framer);
        golden_close(&f);
        ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

START_TEST(test_rand_ops)
{
    static const uint8_t fill[4] = {124, 116, 104};
    kd_ctx *ctx = test_ctx(1, NULL);
    golden f = golden_open(ctx, "pictures.safetensors");
    bytes small = find_bytes(&f, "", "small");
    const kd_file_tensor *t;
    size_t n = 0;
    for (; (t = golden_find(&f, "rand.%zu.args", n)); n++) {
        char name[40];
        double args[2];
        test_ok(ctx, kd_file_read_bytes(f.file, t, 0, sizeof args, args));
        snprintf(name, sizeof name, "rand.%zu.rgb", n);
        bytes want = find_bytes(&f, "", name);
        uint8_t *got = malloc(want.count);
        kdi_rand_apply((kdi_rand_op)args[0], args[1], (kdi_shape){small.h, small.w, 3}, fill,
                       small.at, got);
        snprintf(name, sizeof name, "operation %g(%g)", args[0], args[1]);
        compare(name, got, want.at, want.count);
        free(got);
        free(want.at);
    }
    ck_assert_uint_ge(n, 30);
    free(small.at);
    golden_close(&f);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(pictures, 30, &test_decode,
#if KDI_JPEG
           &test_areas,
#endif
#if KDI_PNG
           &test_png_areas,
#endif
           &test_kinds, &test_damage, &test_resize, &test_rand_ops)
