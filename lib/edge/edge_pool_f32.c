/* SPDX-License-Identifier: MIT
 * edge_pool_f32.c: pooling and sums of float32 networks. */
#include "edge_float.h"

static kd_edge_status use_pool(const void *record, kd_edge_use *use)
{
    return kd_edge_pool_use(record, KD_EDGE_FLOAT32, use);
}

static kd_edge_status check_pool(const kd_edge_model *model, const void *record)
{
    const kd_edge_pool *pool = record;
    (void)model;
    return pool->bias || pool->multiplier || pool->zero ||
                   !kd_edge_limits_fit(&pool->low, &pool->high)
               ? KD_EDGE_E_FORMAT
               : KD_EDGE_OK;
}

/* Largest value, or sum, of channel 0 of the window whose first row and column are y and x, from
 * -pad on; what is outside of the map is left out. */
static float pooled(const kd_edge_pool *pool, const float *in, int32_t y, int32_t x)
{
    const int average = pool->op == KD_EDGE_OP_AVG_POOL;
    float sum = 0, most = 0;
    int first = 1;
    for (int32_t i = y; i < y + pool->kernel_height; i++)
        for (int32_t j = x; j < x + pool->kernel_width; j++) {
            if (i < 0 || j < 0 || i >= pool->in_height || j >= pool->in_width) continue;
            const float v = in[((uint32_t)i * pool->in_width + (uint32_t)j) * pool->channels];
            sum += v;
            if (first || v > most) most = v;
            first = 0;
        }
    return average ? sum / (float)(pool->kernel_height * pool->kernel_width) : most;
}

static void run_pool(const kd_edge_model *model, const void *record, uint8_t *arena)
{
    const kd_edge_pool *pool = record;
    const void *from = arena + pool->in;
    const float *in = from;
    void *to = arena + pool->out;
    float *out = to;
    (void)model;
    for (int32_t y = 0; y < pool->out_height; y++)
        for (int32_t x = 0; x < pool->out_width; x++)
            for (uint32_t c = 0; c < pool->channels; c++) {
                const float v = pooled(pool, in + c, y * pool->stride_height - pool->pad_top,
                                       x * pool->stride_width - pool->pad_left);
                *out++ = kd_edge_clamp_f32(v, pool->low.f, pool->high.f);
            }
}

static kd_edge_status use_add(const void *record, kd_edge_use *use)
{
    return kd_edge_sum_use(record, KD_EDGE_FLOAT32, use);
}

static kd_edge_status check_add(const kd_edge_model *model, const void *record)
{
    const kd_edge_sum *sum = record;
    (void)model;
    return sum->a_multiplier || sum->b_multiplier || sum->constant || sum->shift ||
                   !kd_edge_limits_fit(&sum->low, &sum->high)
               ? KD_EDGE_E_FORMAT
               : KD_EDGE_OK;
}

static void run_add(const kd_edge_model *model, const void *record, uint8_t *arena)
{
    const kd_edge_sum *sum = record;
    const uint32_t n = (uint32_t)sum->height * sum->width * sum->channels;
    const void *a_bytes = arena + sum->a, *b_bytes = arena + sum->b;
    const float *a = a_bytes, *b = b_bytes;
    void *to = arena + sum->out;
    float *out = to;
    (void)model;
    for (uint32_t i = 0; i < n; i++)
        out[i] = kd_edge_clamp_f32(a[i] + b[i], sum->low.f, sum->high.f);
}

const kd_edge_op kd_edge_max_pool_f32 = {KD_EDGE_OP_MAX_POOL, KD_EDGE_FLOAT32, "max_pool", use_pool,
                                         check_pool,          run_pool};
const kd_edge_op kd_edge_avg_pool_f32 = {KD_EDGE_OP_AVG_POOL, KD_EDGE_FLOAT32, "avg_pool", use_pool,
                                         check_pool,          run_pool};
const kd_edge_op kd_edge_add_f32 = {KD_EDGE_OP_ADD, KD_EDGE_FLOAT32, "add",
                                    use_add,        check_add,       run_add};
