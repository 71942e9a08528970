/* SPDX-License-Identifier: MIT
 * make_net.c: a .kde of random weights: make_net FILE vgg|resnet8 [STAGES_CHANNELS... CONVS...]. For
 * measuring, where what it says does not matter. */
#include "../net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int channels[8] = {32, 48, 64}, convs[8] = {2, 2, 2}, stages = (argc - 3) / 2;
    for (int i = 0; i < stages && i < 8; i++) {
        channels[i] = atoi(argv[3 + i]);
        convs[i] = atoi(argv[3 + stages + i]);
    }
    const net from =
        strcmp(argv[2], "vgg") ? net_resnet8(16) : net_vgg(stages ? stages : 3, channels, convs);
    uint32_t size;
    uint8_t *blob = net_write(&from, &size);
    FILE *f = fopen(argv[1], "wb");
    if (!f || fwrite(blob, 1, size, f) != size || fclose(f)) return 1;
    free(blob);
    return 0;
}
