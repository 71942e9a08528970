/* SPDX-License-Identifier: MIT
 * edge_pool_use.c: which pooling and sum records are possible, and which bytes of the arena they
 * touch. */
#include "edge_shape.h"

/* One direction: each window touches the map; without padding it lies inside. */
static int windows_fit(uint32_t in, uint32_t outs, uint32_t kernel, uint32_t stride, uint32_t pad,
                       int inside)
{
    if (!in || !outs || !kernel || !stride || pad >= kernel) return 0;
    const uint32_t last = (outs - 1) * stride; /* below 2^24 */
    return last < in + pad && (!inside || last + kernel <= in);
}

kd_edge_status kd_edge_pool_use(const kd_edge_pool *pool, uint8_t type, kd_edge_use *use)
{
    const uint32_t size = kd_edge_size(type);
    const int average = pool->op == KD_EDGE_OP_AVG_POOL;
    if (pool->bytes != sizeof *pool || (average && (pool->pad_top || pool->pad_left)) ||
        !windows_fit(pool->in_height, pool->out_height, pool->kernel_height, pool->stride_height,
                     pool->pad_top, average) ||
        !windows_fit(pool->in_width, pool->out_width, pool->kernel_width, pool->stride_width,
                     pool->pad_left, average))
        return KD_EDGE_E_FORMAT;
    *use = (kd_edge_use){.reads = 1, .read_type = type, .write_type = type};
    use->read[0] = (kd_edge_region){
        pool->in, kd_edge_map_bytes(pool->in_height, pool->in_width, pool->channels, size)};
    use->write = (kd_edge_region){
        pool->out, kd_edge_map_bytes(pool->out_height, pool->out_width, pool->channels, size)};
    if (!use->read[0].bytes || !use->write.bytes) return KD_EDGE_E_FORMAT;
    /* Each output is written at, or before, the first value of its window; later windows begin behind. */
    use->in_place = pool->in == pool->out && !pool->pad_top && !pool->pad_left &&
                    pool->kernel_height == pool->stride_height &&
                    pool->kernel_width == pool->stride_width && pool->in_width >= pool->out_width;
    return KD_EDGE_OK;
}

kd_edge_status kd_edge_sum_use(const kd_edge_sum *sum, uint8_t type, kd_edge_use *use)
{
    const uint32_t bytes =
        kd_edge_map_bytes(sum->height, sum->width, sum->channels, kd_edge_size(type));
    if (sum->bytes != sizeof *sum || sum->reserved || !bytes) return KD_EDGE_E_FORMAT;
    *use = (kd_edge_use){.reads = 2, .read_type = type, .write_type = type};
    use->read[0] = (kd_edge_region){sum->a, bytes};
    use->read[1] = (kd_edge_region){sum->b, bytes};
    use->write = (kd_edge_region){sum->out, bytes};
    /* Element by element: exactly over either input, or over none. */
    const int over_a = sum->out == sum->a || !kd_edge_overlap(use->write, use->read[0]);
    const int over_b = sum->out == sum->b || !kd_edge_overlap(use->write, use->read[1]);
    use->in_place = over_a && over_b;
    return KD_EDGE_OK;
}
