/* SPDX-License-Identifier: MIT
 * jpeg.c: JPEG by libjpeg-turbo (or any libjpeg, then without shortcuts).
 *
 * Pixels are computed for an area alone. Columns beside it and rows above it are decoded to
 * coefficients, rows below it not at all. The area is widened by two blocks to either side, as
 * smooth upsampling of colour reads neighbours; so its pixels have the same bits as in the whole
 * picture.
 *
 * A file without an end marker is read to its last row, whatever the area and the scale. It is
 * broken if its data end before that, or go on after it (with zeros, where a download broke off).
 * In a file with an end marker libjpeg fills in what is missing and calls it a warning.
 *
 * libjpeg reports errors by a function that must not return: ours jumps back into open or rows.
 * Warnings are ignored. Nothing is printed. */
#include "decode.h"

#if KDI_JPEG
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "jpeg.h"

/* jpeg_crop_scanline and jpeg_skip_scanlines came with libjpeg-turbo 1.5. */
#if defined(LIBJPEG_TURBO_VERSION_NUMBER) && LIBJPEG_TURBO_VERSION_NUMBER >= 1005000
#define SHORTCUTS 1
#else
#define SHORTCUTS 0
#endif

enum {
    UNALIGNED = 8,   /* libjpeg-turbo writes aligned rows past the cache, where we need them next */
    MARGIN = 4,      /* pixels around an area that are decoded with it */
    SCANS = 100,     /* of a progressive picture; each costs a pass over all of it */
    LEFT_OVER = 16,  /* bytes behind the last row, where there is no end marker */
    MOST_SHARE = 512 /* pixels a byte: every block of 8 x 8 takes one bit at least */
};

typedef struct jpeg {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    struct jpeg_source_mgr source;
    jmp_buf back;
    kdi_decoder *decoder;
    kdi_failure *failure;
    bool whole; /* no end marker: read everything */
} jpeg;

/* ---- errors ---------------------------------------------------------------------------------- */

static void leave(j_common_ptr cinfo)
{
    jpeg *j = (jpeg *)(void *)cinfo; /* cinfo is its first member */
    char text[JMSG_LENGTH_MAX];
    if (j->errors.msg_code == JERR_OUT_OF_MEMORY) {
        kdi_decoder_no_memory(j->decoder, j->failure);
    } else {
        j->errors.format_message(cinfo, text);
        kdi_failure_set(j->failure, KD_E_FORMAT, "JPEG: %s", text);
    }
    longjmp(j->back, 1);
}

static void fail(jpeg *j, const char *text)
{
    kdi_failure_set(j->failure, KD_E_FORMAT, "JPEG: %s", text);
    longjmp(j->back, 1);
}

static void emit_message(j_common_ptr cinfo, int level)
{
    if (level < 0) cinfo->err->num_warnings++;
}

static void output_message(j_common_ptr cinfo)
{
    (void)cinfo;
}

static void watch_scans(j_common_ptr cinfo)
{
    jpeg *j = (jpeg *)(void *)cinfo;
    if (j->cinfo.input_scan_number > SCANS) fail(j, "too many scans");
}

/* ---- the file's bytes ------------------------------------------------------------------------ */

static void source_start(j_decompress_ptr cinfo)
{
    (void)cinfo;
}

static boolean source_fill(j_decompress_ptr cinfo)
{
    fail((jpeg *)(void *)cinfo, "the data are cut off");
    return FALSE;
}

static void source_skip(j_decompress_ptr cinfo, long count)
{
    struct jpeg_source_mgr *s = cinfo->src;
    if (count <= 0) return;
    if ((size_t)count > s->bytes_in_buffer) fail((jpeg *)(void *)cinfo, "the data are cut off");
    s->next_input_byte += count;
    s->bytes_in_buffer -= (size_t)count;
}

static void source_end(j_decompress_ptr cinfo)
{
    (void)cinfo;
}

/* Within the scans the marker's two bytes stand for nothing else. */
static bool has_end(const uint8_t *p, size_t n)
{
    const uint8_t *const end = p + n;
    while (p < end && (p = memchr(p, 0xFF, (size_t)(end - p)))) {
        if (++p < end && *p == JPEG_EOI) return true;
    }
    return false;
}

/* ---- header ---------------------------------------------------------------------------------- */

static void read_header(jpeg *j)
{
    kdi_decoder *d = j->decoder;
    struct jpeg_decompress_struct *c = &j->cinfo;
    jpeg_create_decompress(c);
    c->client_data = d;
    kdi_jpeg_memory(c);
    j->source = (struct jpeg_source_mgr){.next_input_byte = d->bytes,
                                         .bytes_in_buffer = d->size,
                                         .init_source = source_start,
                                         .fill_input_buffer = source_fill,
                                         .skip_input_data = source_skip,
                                         .resync_to_restart = jpeg_resync_to_restart,
                                         .term_source = source_end};
    c->src = &j->source;
    j->progress.progress_monitor = watch_scans;
    c->progress = &j->progress;
    if (jpeg_read_header(c, TRUE) != JPEG_HEADER_OK) fail(j, "there is no picture");
    d->width = c->image_width;
    d->height = c->image_height;
    const int n = c->num_components;
    if (n != 1 && n != 3 && n != 4) fail(j, "the number of colour components is none of 1, 3, 4");
    c->out_color_space = n == 4 ? JCS_CMYK : JCS_RGB;
    j->whole = !has_end(j->source.next_input_byte, j->source.bytes_in_buffer);
}

static kd_status jpeg_open(kdi_decoder *d, kdi_failure *failure)
{
    jpeg *const j = kdi_arena_take(&d->arena, sizeof *j);
    if (!j) return kdi_decoder_no_memory(d, failure);
    memset(j, 0, sizeof *j);
    j->decoder = d;
    j->failure = failure;
    d->state = j;
    j->cinfo.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = leave;
    j->errors.emit_message = emit_message;
    j->errors.output_message = output_message;
    if (setjmp(j->back)) return failure->status;
    read_header(j);
    /* Arithmetic coding gets below one bit a block. */
    return kdi_decoder_check_size(d, j->cinfo.arith_code ? 32 * MOST_SHARE : MOST_SHARE, failure);
}

static void jpeg_close(kdi_decoder *d)
{
    jpeg *j = d->state;
    if (j) jpeg_destroy_decompress(&j->cinfo);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* a * b / 255, rounded, as Pillow does it. */
static unsigned scaled(unsigned a, unsigned b)
{
    const unsigned t = a * b + 128;
    return ((t >> 8) + t) >> 8;
}

/* [w,4] to [w,3], in place. Adobe stores CMYK inverted, and everyone else does as Adobe. */
static void from_cmyk(uint8_t *row, size_t w)
{
    const uint8_t *in = row;
    for (size_t i = 0; i < w; i++, in += 4, row += 3) {
        const unsigned key = in[3];
        const uint8_t r = (uint8_t)(key - scaled(255u - in[0], key));
        const uint8_t g = (uint8_t)(key - scaled(255u - in[1], key));
        const uint8_t b = (uint8_t)(key - scaled(255u - in[2], key));
        row[0] = r;
        row[1] = g;
        row[2] = b;
    }
}

/* Decode the area's columns, and a few to either side; the area's first column among them. */
static size_t narrow(struct jpeg_decompress_struct *c, kdi_area area)
{
#if SHORTCUTS
    const size_t before = area.x > MARGIN ? area.x - MARGIN : 0;
    const size_t after = area.x + area.w + MARGIN;
    /* Rare, and libjpeg-turbo 2.1 gets it wrong. */
    if (c->max_h_samp_factor > 2 && c->scale_denom > 1) return area.x;
    JDIMENSION left = (JDIMENSION)before;
    JDIMENSION width = (JDIMENSION)((after < c->output_width ? after : c->output_width) - before);
    if (width == c->output_width) return area.x;
    jpeg_crop_scanline(c, &left, &width); /* moves left to where a block begins */
    return area.x - left;
#else
    (void)c;
    return area.x;
#endif
}

/* Read rows up to `until`, without looking at them. */
static void pass_over(jpeg *j, JSAMPARRAY rows, size_t until, bool skip)
{
    struct jpeg_decompress_struct *c = &j->cinfo;
    if (skip && SHORTCUTS && until > c->output_scanline) {
#if SHORTCUTS
        jpeg_skip_scanlines(c, (JDIMENSION)(until - c->output_scanline));
#endif
    }
    while (c->output_scanline < until) jpeg_read_scanlines(c, rows, 1);
}

static void read_rows(jpeg *j, size_t shrink, kdi_area area, kdi_row_fn row, void *arg)
{
    struct jpeg_decompress_struct *c = &j->cinfo;
    c->scale_num = 1;
    c->scale_denom = (unsigned)shrink;
    c->do_block_smoothing = FALSE; /* of pictures that lack scans: it would look beyond the area */
    jpeg_start_decompress(c);
    const size_t channels = (size_t)c->output_components, first = narrow(c, area);
    if (area.y + area.h > c->output_height || first + area.w > c->output_width)
        fail(j, "the picture has another size than its header says");
    JSAMPARRAY rows = c->mem->alloc_sarray((j_common_ptr)c, JPOOL_IMAGE,
                                           (JDIMENSION)(c->output_width * channels + UNALIGNED), 1);
    rows[0] += UNALIGNED;
    pass_over(j, rows, area.y > MARGIN ? area.y - MARGIN : 0, true);
    pass_over(j, rows, area.y, false);
    for (size_t y = 0; y < area.h; y++) {
        jpeg_read_scanlines(c, rows, 1);
        uint8_t *at = rows[0] + first * channels;
        if (channels == 4) from_cmyk(at, area.w);
        row(arg, at);
    }
    if (!j->whole) return;
    pass_over(j, rows, c->output_height, false);
    if (j->source.bytes_in_buffer > LEFT_OVER) fail(j, "the data are cut off and filled up");
}

static kd_status jpeg_rows(kdi_decoder *d, size_t shrink, kdi_area area, kdi_row_fn row, void *arg,
                           kdi_failure *failure)
{
    jpeg *const j = d->state;
    j->failure = failure;
    if (setjmp(j->back)) return failure->status;
    read_rows(j, shrink, area, row, arg);
    return KD_OK;
}
#else
static kd_status jpeg_open(kdi_decoder *d, kdi_failure *failure)
{
    (void)d;
    return kdi_failure_set(failure, KD_E_UNSUPPORTED,
                           "is JPEG, and this library was built without libjpeg (JPEG=0)");
}

static kd_status jpeg_rows(kdi_decoder *d, size_t shrink, kdi_area area, kdi_row_fn row, void *arg,
                           kdi_failure *failure)
{
    (void)shrink, (void)area, (void)row, (void)arg;
    return jpeg_open(d, failure);
}

static void jpeg_close(kdi_decoder *d)
{
    (void)d;
}
#endif

const kdi_codec kdi_codec_jpeg = {.name = "JPEG",
                                  .magic = "\xFF\xD8\xFF",
                                  .magic_size = 3,
                                  .open = jpeg_open,
                                  .rows = jpeg_rows,
                                  .close = jpeg_close,
                                  .shrinks = true};
