/* SPDX-License-Identifier: MIT
 * network.h: what the fuzz targets that make networks from a stranger's spec share. */
#include "../../lib/model/spec.h"

/* What a graph and a plan of a transformer take for each of its blocks, of which there are at most
 * 256; that of a VGG takes less than GRAPH, and a block's for each convolution above its name's. */
enum { GRAPH = 512 * 1024, BLOCK = 32 * 1024, PUBLISHED_CONVS = 16 };

static size_t blocks_of(kd_ctx *ctx, const char *text)
{
    kdi_spec s;
    size_t blocks = 0;
    if (!text || kdi_spec_parse(ctx, text, NULL, NULL, &s)) return 0;
    for (int i = 0; i < s.depths.count; i++) blocks += (size_t)s.depths.at[i];
    blocks += (size_t)s.depth;
    size_t convs = 0;
    for (int i = 0; i < s.convs.count; i++) convs += (size_t)s.convs.at[i];
    if (convs > PUBLISHED_CONVS) blocks += convs - PUBLISHED_CONVS;
    require(blocks <= 256);
    return blocks;
}

/* Deep networks take thousands of times the others' time and differ from them only in number: one
 * text of so many is let through, always the same ones. */
static bool tried(size_t blocks, const char *text)
{
    enum { SHALLOW = 6, ONE_OF = 64 };
    uint32_t hash = 1;
    for (; blocks > SHALLOW && *text; text++) hash = hash * 31 + (unsigned char)*text;
    return blocks <= SHALLOW || (hash >> 8) % ONE_OF == 0;
}
