/* SPDX-License-Identifier: MIT
 * png.c: PNG by libpng. Rows are read one by one. All rows are read whatever the area, since libpng
 * finds damage only where it reads. An interlaced picture is held whole. Chunks without pixels,
 * such as texts, are skipped.
 *
 * libpng reports errors by a function that must not return: ours jumps back into open or rows.
 * Warnings are ignored; nothing is printed. */
#include "decode.h"

#if KDI_PNG
#include <setjmp.h>
#include <string.h>

#include <png.h>

enum {
    MOST_SHARE = 8 * 1032, /* pixels a byte: deflate's best, at one bit a pixel */
    CHUNK_MOST = 1 << 20,
    CHUNKS = 1000
};

typedef struct png {
    png_structp png;
    png_infop info;
    jmp_buf back;
    kdi_decoder *decoder;
    kdi_failure *failure;
    size_t offset; /* bytes handed to libpng */
} png;

/* ---- what libpng asks for -------------------------------------------------------------------- */

static PNG_NORETURN void on_error(png_structp p, png_const_charp text)
{
    png *s = png_get_error_ptr(p);
    if (s->decoder->arena.failed)
        kdi_decoder_no_memory(s->decoder, s->failure);
    else
        kdi_failure_set(s->failure, KD_E_FORMAT, "PNG: %s", text);
    longjmp(s->back, 1);
}

static void on_warning(png_structp p, png_const_charp text)
{
    (void)p, (void)text;
}

static void *on_alloc(png_structp p, png_alloc_size_t size)
{
    png *s = png_get_mem_ptr(p);
    void *block;
    const kd_status status =
        kdi_alloc_either(s->decoder->ctx, s->decoder->arena.loud, size, &block);
    if (status) s->decoder->arena.failed = status;
    return block;
}

static void on_free(png_structp p, void *block)
{
    png *s = png_get_mem_ptr(p);
    kd_ctx_free(s->decoder->ctx, block);
}

static void on_read(png_structp p, png_bytep to, size_t count)
{
    png *s = png_get_io_ptr(p);
    if (count > s->decoder->size - s->offset) png_error(p, "the data are cut off");
    memcpy(to, s->decoder->bytes + s->offset, count);
    s->offset += count;
}

/* ---- header ---------------------------------------------------------------------------------- */

static void set_up(png *s)
{
    png_set_user_limits(s->png, KDI_PICTURE_SIDE, KDI_PICTURE_SIDE);
    png_set_chunk_cache_max(s->png, CHUNKS);
    png_set_chunk_malloc_max(s->png, CHUNK_MOST);
    png_set_read_fn(s->png, s, on_read);
#ifdef PNG_HANDLE_AS_UNKNOWN_SUPPORTED
    static const png_byte ignored[] = "cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0"
                                      "sCAL\0sPLT\0sRGB\0tEXt\0tIME\0zTXt";
    png_set_keep_unknown_chunks(s->png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_set_keep_unknown_chunks(s->png, PNG_HANDLE_CHUNK_NEVER, ignored, sizeof ignored / 5);
#endif
}

/* Everything to eight bits RGB. */
static void set_transforms(png *s)
{
    const int colour = png_get_color_type(s->png, s->info),
              depth = png_get_bit_depth(s->png, s->info);
    if (depth == 16) png_set_strip_16(s->png);
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(s->png);
    if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(s->png);
    if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(s->png);
    png_set_strip_alpha(s->png);
}

static void read_header(png *s)
{
    kdi_decoder *d = s->decoder;
    set_up(s);
    png_read_info(s->png, s->info);
    d->width = png_get_image_width(s->png, s->info);
    d->height = png_get_image_height(s->png, s->info);
    set_transforms(s);
}

static kd_status png_open(kdi_decoder *d, kdi_failure *failure)
{
    png *const s = kdi_arena_take(&d->arena, sizeof *s);
    if (!s) return kdi_decoder_no_memory(d, failure);
    memset(s, 0, sizeof *s);
    s->decoder = d;
    s->failure = failure;
    d->state = s;
    d->arena.failed = KD_OK;
    if (setjmp(s->back)) return failure->status;
    s->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, s, on_error, on_warning, s, on_alloc,
                                      on_free);
    if (!s->png || !(s->info = png_create_info_struct(s->png)))
        return d->arena.failed ? kdi_decoder_no_memory(d, failure)
                               : kdi_failure_set(failure, KD_E_SYSTEM, "libpng refuses to start");
    read_header(s);
    return kdi_decoder_check_size(d, MOST_SHARE, failure);
}

static void png_close(kdi_decoder *d)
{
    png *s = d->state;
    if (s && s->png) png_destroy_read_struct(&s->png, &s->info, NULL);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void *take(png *s, size_t bytes)
{
    void *block = kdi_arena_take(&s->decoder->arena, bytes);
    if (!block) png_error(s->png, "out of memory");
    return block;
}

static void read_interlaced(png *s, size_t stride, kdi_area area, kdi_row_fn row, void *arg)
{
    const size_t h = s->decoder->height;
    png_bytep *rows = take(s, h * sizeof *rows);
    png_bytep pixels = take(s, h * stride); /* sides are below 2^16, pixels below 2^27 */
    for (size_t y = 0; y < h; y++) rows[y] = pixels + y * stride;
    memset(pixels, 0, h * stride);
    png_read_image(s->png, rows);
    for (size_t y = 0; y < area.h; y++) row(arg, rows[area.y + y] + 3 * area.x);
}

static void read_rows(png *s, kdi_area area, kdi_row_fn row, void *arg)
{
    const kdi_decoder *d = s->decoder;
    const int passes = png_set_interlace_handling(s->png);
    png_read_update_info(s->png, s->info);
    const size_t stride = png_get_rowbytes(s->png, s->info);
    if (stride != 3 * d->width) png_error(s->png, "the rows are not RGB");
    if (passes > 1) {
        read_interlaced(s, stride, area, row, arg);
        return;
    }
    png_bytep line = take(s, stride);
    for (size_t y = 0; y < d->height; y++) {
        png_read_row(s->png, line, NULL);
        if (y >= area.y && y < area.y + area.h) row(arg, line + 3 * area.x);
    }
}

static kd_status png_rows(kdi_decoder *d, size_t shrink, kdi_area area, kdi_row_fn row, void *arg,
                          kdi_failure *failure)
{
    png *const s = d->state;
    (void)shrink;
    s->failure = failure;
    if (setjmp(s->back)) return failure->status;
    read_rows(s, area, row, arg);
    return KD_OK;
}
#else
static kd_status png_open(kdi_decoder *d, kdi_failure *failure)
{
    (void)d;
    return kdi_failure_set(failure, KD_E_UNSUPPORTED,
                           "is PNG, and this library was built without libpng (PNG=0)");
}

static kd_status png_rows(kdi_decoder *d, size_t shrink, kdi_area area, kdi_row_fn row, void *arg,
                          kdi_failure *failure)
{
    (void)shrink, (void)area, (void)row, (void)arg;
    return png_open(d, failure);
}

static void png_close(kdi_decoder *d)
{
    (void)d;
}
#endif

const kdi_codec kdi_codec_png = {.name = "PNG",
                                 .magic = "\x89PNG\r\n\x1a\n",
                                 .magic_size = 8,
                                 .open = png_open,
                                 .rows = png_rows,
                                 .close = png_close};
