/* SPDX-License-Identifier: MIT
 * network.h: what the fuzz targets that make networks from a stranger's spec share. */
#include "../../lib/model/spec.h"

/* What a graph and a plan of a transformer take for each of its blocks, of which there are at most
 * 256; that of any VGG takes less than GRAPH. */
enum { GRAPH = 512 * 1024, BLOCK = 32 * 1024 };

/* GRAPH and the blocks of that spec. */
static size_t graph_limit(kd_ctx *ctx, const char *text)
{
    kdi_spec s;
    size_t blocks = 0;
    if (!text || kdi_spec_parse(ctx, text, NULL, NULL, &s)) return GRAPH;
    for (int i = 0; i < s.depths.count; i++) blocks += (size_t)s.depths.at[i];
    blocks += (size_t)s.depth;
    require(blocks <= 256);
    return GRAPH + blocks * BLOCK;
}
