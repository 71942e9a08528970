/* SPDX-License-Identifier: MIT
 * decode.h: pictures in files, told by their content: JPEG (jpeg.c), PNG (png.c). A decoder reads a
 * file, knows its size after the header, and then hands out rows of an area as RGB bytes, so that
 * nobody holds the whole picture. Colours as Pillow's convert("RGB") gives them: grey repeated,
 * palettes looked up, alpha dropped, 16 bits cut to the upper 8, CMYK as Adobe stores it.
 *
 * A decoder belongs to one thread, which need not be the context's: it allocates quietly and errors
 * go into a kdi_failure. It keeps its memory from one picture to the next. */
#ifndef KDI_DECODE_H
#define KDI_DECODE_H

#include "data.h"

enum { KDI_PICTURE_SIDE = 65535, KDI_PICTURE_PIXELS = 1 << 27 };

/* Memory of one picture, freed at once; what it takes is kept for the next. */
typedef struct kdi_arena {
    kd_ctx *ctx;
    struct kdi_arena_chunk *chunks; /* the newest first */
    size_t total;                   /* bytes of all chunks */
    size_t before;    /* what an earlier picture took, if it was more than one chunk */
    kd_status failed; /* why the last request failed */
    bool loud;        /* as in kdi_framer */
} kdi_arena;

/* kdi_alloc_quietly, or kd_ctx_alloc, which writes the context's error. */
static inline kd_status kdi_alloc_either(kd_ctx *ctx, bool loud, size_t bytes, void **block)
{
    if (!loud) return kdi_alloc_quietly(ctx, bytes, block);
    *block = kd_ctx_alloc(ctx, bytes, 1);
    return *block ? KD_OK : kd_ctx_memory_status(ctx);
}

/* bytes at a multiple of 64, not zeroed; NULL on failure. */
void *kdi_arena_take(kdi_arena *arena, size_t bytes);
void kdi_arena_reset(kdi_arena *arena);
void kdi_arena_free(kdi_arena *arena);

typedef struct kdi_area {
    size_t x, y, w, h;
} kdi_area;

/* One row of an area, [w,3]. */
typedef void (*kdi_row_fn)(void *arg, const uint8_t *rgb);

typedef struct kdi_decoder kdi_decoder;

/* A format: what its bytes begin with, and how they are read. */
typedef struct kdi_codec {
    const char *name;
    const char *magic;
    size_t magic_size;
    /* Read the header: sets width and height. */
    kd_status (*open)(kdi_decoder *d, kdi_failure *failure);
    /* Rows of an area of the picture shrunk to 1 / shrink (ceil of its sides). */
    kd_status (*rows)(kdi_decoder *d, size_t shrink, kdi_area area, kdi_row_fn row, void *arg,
                      kdi_failure *failure);
    void (*close)(kdi_decoder *d); /* ends with the picture, whatever state it is in */
    bool shrinks;                  /* rows takes 2, 4 and 8 for shrink; else 1 alone */
} kdi_codec;

extern const kdi_codec kdi_codec_jpeg, kdi_codec_png;

struct kdi_decoder {
    kd_ctx *ctx;
    const uint8_t *bytes; /* [size] the file */
    size_t size;
    const kdi_codec *codec; /* of the picture; NULL: none is open */
    size_t width, height;
    kdi_arena arena;
    uint8_t *buffer; /* [capacity] what bytes points to, if the decoder read the file itself */
    size_t capacity;
    void *state; /* the codec's, in the arena */
};

void kdi_decoder_init(kd_ctx *ctx, kdi_decoder *decoder);
void kdi_decoder_free(kdi_decoder *decoder);
/* Begin with a picture. *failure says what is wrong, without the file's name; nothing is open
 * then. */
kd_status kdi_decoder_open_file(kdi_decoder *d, const char *path, kdi_failure *failure);
/* bytes must stay until the next open or free. */
kd_status kdi_decoder_open_bytes(kdi_decoder *d, const uint8_t *bytes, size_t size,
                                 kdi_failure *failure);
/* Once for each open: the picture is closed afterwards. The area lies within the shrunk picture. */
kd_status kdi_decoder_rows(kdi_decoder *d, size_t shrink, kdi_area area, kdi_row_fn row, void *arg,
                           kdi_failure *failure);

/* The picture's sides are within the limits, and few enough for the file's size: at most `most`
 * pixels a byte. */
kd_status kdi_decoder_check_size(const kdi_decoder *d, size_t most, kdi_failure *failure);
/* Fill in *failure for a failed allocation. */
kd_status kdi_decoder_no_memory(const kdi_decoder *d, kdi_failure *failure);

#endif
