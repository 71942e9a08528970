/* SPDX-License-Identifier: MIT
 * make_seeds.c: writes small blobs into a folder: the seeds of the fuzz target edge. */
#include "../net.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int written = 0;
    for (uint64_t seed = 1; argc > 1 && seed < 20000 && written < 14; seed++) {
        net from = net_random(seed);
        if (written % 3 == 2 && from.layers[0].op == KD_EDGE_OP_CONV2D)
            from.type = KD_EDGE_FLOAT32, from.sums = 0, from.kind = NET_ORDINARY;
        uint32_t size;
        char path[300];
        uint8_t *blob = net_write(&from, &size);
        kd_edge_model model;
        kd_edge_layer layer;
        uint64_t macs = 0;
        kd_edge_open(&model, blob, size,
                     from.type == KD_EDGE_INT8 ? kd_edge_ops_i8 : kd_edge_ops_f32);
        for (uint32_t i = 0; !kd_edge_layer_get(&model, i, &layer); i++) macs += layer.macs;
        if (size <= 1000 && macs < 5000 && from.n > 1 + written % 3) {
            snprintf(path, sizeof path, "%s/net_%02d", argv[1], written++);
            FILE *f = fopen(path, "wb");
            if (!f || fwrite(blob, 1, size, f) != size || fclose(f)) return 1;
        }
        free(blob);
    }
    return written != 14;
}
