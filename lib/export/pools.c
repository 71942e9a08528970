/* SPDX-License-Identifier: MIT
 * pools.c: a convolution that pools needs four line buffers instead of three, but its output is a
 * quarter. Which is better depends on the layer: where the arena is at its largest, each is tried. */
#include "export.h"

/* The arena's bytes in int8, whatever the net is now. */
static kd_status arena_of(kdi_net *net, kdi_placement *at)
{
    net->quantised = true;
    const kd_status status = kdi_place(net, at);
    net->quantised = false;
    return status;
}

kd_status kdi_part_pools(kdi_net *net, kdi_placement *at)
{
    kd_status status = arena_of(net, at);
    uint32_t least = at->arena_bytes;
    for (size_t i = 0; i < net->n_layers && !status; i++) {
        if (!net->layers[i].pools) continue;
        status = kdi_net_part_pool(net, i);
        if (!status) status = arena_of(net, at);
        if (status) break;
        if (at->arena_bytes < least)
            least = at->arena_bytes;
        else
            kdi_net_join_pool(net, i);
    }
    return status;
}
