/* SPDX-License-Identifier: MIT
 * edge_add_i8.c: the sum of two int8 maps of different scales, one rounding. */
#include "edge_shape.h"

enum { MOST_FACTOR = 1 << 21, MOST_CONSTANT = 1 << 30 };

static kd_edge_status use(const void *record, kd_edge_use *regions)
{
    return kd_edge_sum_use(record, KD_EDGE_INT8, regions);
}

/* |q| <= 128: two products of at most 2^28 and a constant of at most 2^30 stay below 2^31. */
static kd_edge_status check(const kd_edge_model *model, const void *record)
{
    const kd_edge_sum *sum = record;
    (void)model;
    return sum->a_multiplier > MOST_FACTOR || sum->a_multiplier < -MOST_FACTOR ||
                   sum->b_multiplier > MOST_FACTOR || sum->b_multiplier < -MOST_FACTOR ||
                   sum->constant > MOST_CONSTANT || sum->constant < -MOST_CONSTANT ||
                   sum->shift < 1 || sum->shift > 24 || sum->low.i < -128 || sum->high.i > 127 ||
                   sum->low.i > sum->high.i
               ? KD_EDGE_E_FORMAT
               : KD_EDGE_OK;
}

static void run(const kd_edge_model *model, const void *record, uint8_t *arena)
{
    const kd_edge_sum *sum = record;
    const uint32_t n = (uint32_t)sum->height * sum->width * sum->channels;
    const void *a_bytes = arena + sum->a, *b_bytes = arena + sum->b;
    const int8_t *a = a_bytes, *b = b_bytes;
    uint8_t *out = arena + sum->out;
    (void)model;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t x = a[i] * sum->a_multiplier + b[i] * sum->b_multiplier + sum->constant;
        out[i] = (uint8_t)kd_edge_clamp(x >> sum->shift, sum->low.i, sum->high.i);
    }
}

const kd_edge_op kd_edge_add_i8 = {KD_EDGE_OP_ADD, KD_EDGE_INT8, "add", use, check, run};
