#!/bin/sh
# hook.sh OUT: the example of docs/edge.md that puts CMSIS-NN's product of matrices in the place of a kernel. It is taken
# from the page and compiled with a stand-in of CMSIS-NN's documented signature and meaning. Random networks must have the
# bits of the reference, and 1x1 convolutions must go through the hook.
set -eu
out=$1
mkdir -p "$out"
{
    echo '#define MOST_CHANNELS 32'
    awk '/^```c$/ { block = ""; inside = 1; next }
        /^```$/ { if (inside && block ~ /arm_nn_mat_mult_nt_t_s8/) printf "%s", block; inside = 0 }
        inside { block = block $0 "\n" }' docs/edge.md
} >"$out/hook.c"
grep -q my_ops "$out/hook.c" || { echo "hook.sh: docs/edge.md has no such example" >&2; exit 1; }

cat >"$out/arm_nnsupportfunctions.h" <<'END'
#ifndef STAND_IN_H
#define STAND_IN_H
#include <stdint.h>
typedef enum { ARM_CMSIS_NN_SUCCESS = 0 } arm_cmsis_nn_status;
/* dst [lhs_rows][rhs_rows] = lhs [lhs_rows][rhs_cols] times rhs [rhs_rows][rhs_cols], transposed */
arm_cmsis_nn_status arm_nn_mat_mult_nt_t_s8(const int8_t *lhs, const int8_t *rhs, const int32_t *bias, int8_t *dst,
                                            const int32_t *dst_multipliers, const int32_t *dst_shifts, const int32_t lhs_rows,
                                            const int32_t rhs_rows, const int32_t rhs_cols, const int32_t lhs_offset,
                                            const int32_t dst_offset, const int32_t activation_min,
                                            const int32_t activation_max, const int32_t row_address_offset,
                                            const int32_t lhs_cols_offset);
#endif
END
cat >"$out/main.c" <<'END'
#include "arm_nnsupportfunctions.h"
#include "net.h"
#include <stdio.h>
#include <stdlib.h>

extern const kd_edge_op *const my_ops[];
static unsigned long calls;

/* A multiplier in Q31, then a shift: left where it is positive, right and rounded where it is negative. */
static int32_t requantise(int32_t acc, int32_t multiplier, int32_t shift)
{
    const int64_t left = (int64_t)acc << (shift > 0 ? shift : 0);
    const int64_t high = (left * multiplier + (1 << 30)) >> 31;
    return (int32_t)(shift < 0 ? (high + (1 << (-shift - 1))) >> -shift : high);
}

arm_cmsis_nn_status arm_nn_mat_mult_nt_t_s8(const int8_t *lhs, const int8_t *rhs, const int32_t *bias, int8_t *dst,
                                            const int32_t *dst_multipliers, const int32_t *dst_shifts, const int32_t lhs_rows,
                                            const int32_t rhs_rows, const int32_t rhs_cols, const int32_t lhs_offset,
                                            const int32_t dst_offset, const int32_t activation_min,
                                            const int32_t activation_max, const int32_t row_address_offset,
                                            const int32_t lhs_cols_offset)
{
    calls++;
    for (int32_t i = 0; i < lhs_rows; i++)
        for (int32_t c = 0; c < rhs_rows; c++) {
            int32_t sum = bias[c];
            for (int32_t k = 0; k < rhs_cols; k++)
                sum += (lhs[i * lhs_cols_offset + k] + lhs_offset) * rhs[c * rhs_cols + k];
            int32_t q = requantise(sum, dst_multipliers[c], dst_shifts[c]) + dst_offset;
            q = q < activation_min ? activation_min : q > activation_max ? activation_max : q;
            dst[i * row_address_offset + c] = (int8_t)q;
        }
    return ARM_CMSIS_NN_SUCCESS;
}

static int check(const net *from)
{
    uint32_t bytes;
    kd_edge_model model;
    uint8_t *blob = net_write(from, &bytes);
    if (kd_edge_open(&model, blob, bytes, my_ops)) return 1;
    uint8_t *arena = aligned_alloc(16, (model.arena_bytes + 15) & ~15u);
    const kd_edge_status status = kd_edge_selftest(&model, arena, model.arena_bytes);
    free(arena);
    free(blob);
    if (status) fprintf(stderr, "seed %d: %s\n", (int)from->seed, kd_edge_text(status));
    return status != KD_EDGE_OK;
}

static net_layer conv(int from, int kernel, int channels, int pool)
{
    return (net_layer){.op = KD_EDGE_OP_CONV2D, .from = from, .kernel_height = (uint8_t)kernel, .kernel_width = (uint8_t)kernel,
                       .stride_height = 1, .stride_width = 1, .pool = (uint8_t)pool, .out_channels = (uint16_t)channels};
}

int main(void)
{
    int wrong = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        const net from = net_random(seed);
        wrong += check(&from);
    }
    for (int i = 0; i < 40; i++) { /* those that the hook serves, and pooled and cropped ones that it must leave */
        net from = {.type = KD_EDGE_INT8, .kind = (uint8_t)(i & 1), .apart = 1, .channels = 4, .seed = (uint64_t)i, .n = 3};
        from.height = (uint16_t)(5 + i % 4), from.width = (uint16_t)(4 + i % 5);
        from.layers[0] = conv(0, 3, 4 * (1 + i % 8), 1);
        from.layers[1] = conv(1, 1, 1 + i % 32, 1 + (i % 4 == 3));
        from.layers[2] = conv(2, 1, 3, 1);
        if (i % 4 == 2) from.layers[1].out_height = 2, from.layers[1].out_width = 2;
        const unsigned long before = calls;
        wrong += check(&from);
        if (i % 4 < 2 && calls == before) wrong++, fprintf(stderr, "%d: the hook was not called\n", i);
    }
    if (wrong) fprintf(stderr, "%d networks with other bits\n", wrong);
    return wrong != 0;
}
END
${CC:-cc} -std=c11 -O1 -Wall -Wextra -Werror -Iinclude -Ilib/edge -Itests/edge -I"$out" -o "$out/hook" "$out/main.c" "$out/hook.c" \
    tests/edge/net.c tests/edge/net_shapes.c tests/edge/reference.c lib/edge/*.c -lm
"$out/hook"
