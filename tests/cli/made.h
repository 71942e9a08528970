/* SPDX-License-Identifier: MIT
 * made.h: files that the tests of the command line give it: pictures, networks, folders. */
#ifndef KDI_TEST_MADE_H
#define KDI_TEST_MADE_H

#include "../spawn.h"

#include <kd/kd.h>

/* A PNG of pixels [height,width,channels], channels 1 or 3, uncompressed. Its folder is made. */
void made_png(const char *path, size_t height, size_t width, size_t channels,
              const uint8_t *pixels);
/* One of side x side pixels, in colour, that depend on the seed alone. */
void made_picture(const char *path, size_t side, uint64_t seed);
void made_text(const char *path, const void *bytes, size_t size);

/* What a network's file says of itself; NULL: nothing. */
typedef struct made_about {
    const char *spec;
    const char *const *names;
    const char *framing, *data;
    bool normalized; /* by .5 and .25 */
    bool undecided;  /* all logits are equal */
} made_about;
/* Its answers differ from picture to picture: the last layer is large. */
void made_network(kd_ctx *ctx, const char *path, uint64_t seed, const made_about *about);

/* Every tensor under another name, prefix.NAME; counters of batch norms as floats if asked for;
 * spread over two shards with an index, path being a folder, if asked for. Without metadata. */
typedef struct made_change {
    const char *prefix; /* NULL: none */
    bool float_counters, shards;
} made_change;
void made_copy(kd_ctx *ctx, const char *from, const char *path, made_change change);

/* A tensor of a file as floats; kd_ctx_free it. */
float *made_read(kd_ctx *ctx, const char *path, const char *name, size_t count);
/* The whole file; kd_ctx_free it. */
char *made_bytes(kd_ctx *ctx, const char *path, size_t *size);

#endif
