/* SPDX-License-Identifier: MIT
 * make_cases.c: writes the networks that boards run as C source to standard output: int8 and float32
 * ones, random and extreme, each with the logits of the reference. make_cases MOST_ARENA MOST_BYTES:
 * no network that needs more of either; bytes in sum. */
#include "../net.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct source {
    uint32_t n, bytes, arena; /* cases, of the blobs in sum, the largest arena */
    uint32_t most_arena, most_bytes;
} source;

static void print_case(source *to, const net *from)
{
    uint32_t size;
    uint8_t *blob = net_write(from, &size);
    const kd_edge_header *header = (const kd_edge_header *)blob;
    const uint32_t arena = header->arena_bytes;
    if (arena <= to->most_arena && to->bytes + size <= to->most_bytes) {
        printf("static const uint32_t case_%u[] __attribute__((aligned(16))) = {", to->n++);
        for (uint32_t i = 0; i < size; i += 4) {
            const uint32_t word = blob[i] | (uint32_t)blob[i + 1] << 8 |
                                  (uint32_t)blob[i + 2] << 16 | (uint32_t)blob[i + 3] << 24;
            printf("%s0x%08xu,", i % 32 ? "" : "\n", word);
        }
        printf("};\n");
        to->bytes += size;
        if (to->arena < arena) to->arena = arena;
    }
    free(blob);
}

int main(int argc, char **argv)
{
    source to = {.most_arena = argc > 1 ? (uint32_t)atoi(argv[1]) : 1 << 17,
                 .most_bytes = argc > 2 ? (uint32_t)atoi(argv[2]) : 1 << 19};
    printf("#include \"cases.h\"\n");
    for (uint64_t seed = 1; seed <= 90; seed++) {
        net from = net_random(seed);
        print_case(&to, &from);
        if (seed % 5 || from.layers[0].op != KD_EDGE_OP_CONV2D) continue;
        from.type = KD_EDGE_FLOAT32, from.sums = 0, from.kind = NET_ORDINARY;
        print_case(&to, &from);
    }
    net vgg = net_vgg(3, (int[]){8, 16, 24}, (int[]){1, 2, 1}), resnet = net_resnet8(8);
    vgg.sums = 1;
    print_case(&to, &vgg);
    print_case(&to, &resnet);
    printf("const edge_case edge_cases[] = {\n");
    for (uint32_t i = 0; i < to.n; i++) printf("    {case_%u, sizeof case_%u},\n", i, i);
    printf("};\nconst uint32_t edge_cases_n = %u;\n", to.n);
    printf("uint32_t edge_arena[%u] __attribute__((aligned(16)));\n", (to.arena + 3) / 4);
    printf("const uint32_t edge_arena_bytes = %u;\n", to.arena);
    return 0;
}
