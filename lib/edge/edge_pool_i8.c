/* SPDX-License-Identifier: MIT
 * edge_pool_i8.c: int8 pooling. Max pool takes the values as they are, average pool sums and requantises
 * once. */
#include "edge_conv_x86.h"
#if KD_EDGE_X86
#include "edge_x86.h"
#endif

static kd_edge_status use(const void *record, kd_edge_use *regions)
{
    return kd_edge_pool_use(record, KD_EDGE_INT8, regions);
}

/* One window of one map: rows y0 <= y < y1, columns x0 <= x < x1. */
typedef struct window {
    uint32_t y0, y1, x0, x1;
} window;

static window window_at(const kd_edge_pool *pool, uint32_t y, uint32_t x)
{
    const uint32_t top = y * pool->stride_height, left = x * pool->stride_width;
    window w = {0, top + pool->kernel_height - pool->pad_top, 0,
                left + pool->kernel_width - pool->pad_left};
    if (top > pool->pad_top) w.y0 = top - pool->pad_top;
    if (left > pool->pad_left) w.x0 = left - pool->pad_left;
    if (w.y1 > pool->in_height) w.y1 = pool->in_height;
    if (w.x1 > pool->in_width) w.x1 = pool->in_width;
    return w;
}

static int32_t pooled(const kd_edge_pool *pool, const int8_t *in, window w, int average)
{
    int32_t sum = 0, most = -128;
    for (uint32_t y = w.y0; y < w.y1; y++)
        for (uint32_t x = w.x0; x < w.x1; x++) {
            const int32_t q = in[(y * pool->in_width + x) * pool->channels];
            sum += q;
            most = q > most ? q : most;
        }
    return average ? sum : most;
}

#if KD_EDGE_X86
/* The largest values of a window, 16 channels at a time; returns how many channels were served. */
KD_EDGE_AVX2 static uint32_t largest_of_16(const kd_edge_pool *pool, const int8_t *in, window w,
                                           uint8_t *out)
{
    uint32_t c = 0;
    for (; c + 16 <= pool->channels; c += 16) {
        __m128i most = _mm_set1_epi8(-128);
        for (uint32_t y = w.y0; y < w.y1; y++)
            for (uint32_t x = w.x0; x < w.x1; x++) {
                const void *from = in + (y * pool->in_width + x) * pool->channels + c;
                most = _mm_max_epi8(most, _mm_loadu_si128(from));
            }
        void *to = out + c;
        _mm_storeu_si128(to, most);
    }
    return c;
}
#endif

static kd_edge_status check_max(const kd_edge_model *model, const void *record)
{
    const kd_edge_pool *pool = record;
    (void)model;
    return pool->bias || pool->multiplier || pool->zero || pool->low.i || pool->high.i
               ? KD_EDGE_E_FORMAT
               : KD_EDGE_OK;
}

/* |bias + sum| < 2^31, as sides have at most 255 and values at most 128. */
static kd_edge_status check_average(const kd_edge_model *model, const void *record)
{
    const kd_edge_pool *pool = record;
    (void)model;
    return pool->bias > KD_EDGE_MOST_BIAS || pool->bias < -KD_EDGE_MOST_BIAS ||
                   pool->multiplier < 0 || pool->multiplier > KD_EDGE_MOST_MULTIPLIER ||
                   pool->zero < -128 || pool->zero > 127 || pool->low.i < -128 ||
                   pool->high.i > 127 || pool->low.i > pool->high.i
               ? KD_EDGE_E_FORMAT
               : KD_EDGE_OK;
}

static void run(const kd_edge_model *model, const void *record, uint8_t *arena)
{
    const kd_edge_pool *pool = record;
    const int average = pool->op == KD_EDGE_OP_AVG_POOL;
    const void *from = arena + pool->in;
    const int8_t *in = from;
    uint8_t *out = arena + pool->out;
    (void)model;
#if KD_EDGE_X86
    const int fast = !average && __builtin_cpu_supports("avx2");
#endif
    for (uint32_t y = 0; y < pool->out_height; y++)
        for (uint32_t x = 0; x < pool->out_width; x++) {
            const window w = window_at(pool, y, x);
            uint32_t c = 0;
#if KD_EDGE_X86
            if (fast) c = largest_of_16(pool, in, w, out);
            out += c;
#endif
            for (; c < pool->channels; c++) {
                int32_t q = pooled(pool, in + c, w, average);
                if (average)
                    q = kd_edge_clamp(pool->zero + kd_edge_scale(pool->bias + q, pool->multiplier),
                                      pool->low.i, pool->high.i);
                *out++ = (uint8_t)q;
            }
        }
}

const kd_edge_op kd_edge_max_pool_i8 = {KD_EDGE_OP_MAX_POOL, KD_EDGE_INT8, "max_pool", use,
                                        check_max,           run};
const kd_edge_op kd_edge_avg_pool_i8 = {KD_EDGE_OP_AVG_POOL, KD_EDGE_INT8, "avg_pool", use,
                                        check_average,       run};
