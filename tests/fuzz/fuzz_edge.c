/* SPDX-License-Identifier: MIT
 * fuzz_edge.c: a fuzz target. The input is a .kde blob; its checksum is made right, so that what
 * stands behind it is looked at. What opens runs inside of its arena, and to the same logits
 * whatever the arena held. */
#include "fuzz.h"

#include "../../lib/edge/edge_format.h"

#include <stdlib.h>
#include <string.h>

enum { BLOB_MOST = 2048, ARENA_MOST = 1 << 12, WORK_MOST = 1 << 13, LOGITS_MOST = 1 << 10 };

/* Multiply-accumulates and copies of all layers, or what is too many. */
static uint64_t work(const kd_edge_model *model)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < model->records && sum < WORK_MOST; i++) {
        kd_edge_layer layer;
        require(kd_edge_layer_get(model, i, &layer) == KD_EDGE_OK);
        sum += layer.macs + layer.in_bytes + layer.out_bytes + layer.scratch_bytes;
        if (!strcmp(layer.op, "max_pool") || !strcmp(layer.op, "avg_pool"))
            sum += (uint64_t)layer.out_bytes * 64;
        if (layer.name) sum += strlen(layer.name);
    }
    return sum;
}

/* The logits of the same picture from an arena that holds `fill`. */
static void run(const kd_edge_model *model, int fill, uint8_t *logits)
{
    uint8_t *arena = aligned_alloc(16, (model->arena_bytes + 15) & ~15u);
    memset(arena, fill, model->arena_bytes);
    kd_edge_noise(1, arena + model->input_at, model->input_bytes);
    require(kd_edge_run(model, arena, model->arena_bytes, 0, logits) == KD_EDGE_OK);
    require(kd_edge_argmax(model, logits) < model->classes);
    free(arena);
}

static void check(const kd_edge_model *model)
{
    static uint8_t first[LOGITS_MOST] __attribute__((aligned(16)));
    static uint8_t second[LOGITS_MOST] __attribute__((aligned(16)));
    for (uint32_t i = 0; i < model->classes; i++) {
        const char *label = kd_edge_label(model, i);
        if (label && i % 16 == 0) require(strlen(label) < model->blob_bytes);
    }
    if (model->arena_bytes > ARENA_MOST || model->output_bytes > LOGITS_MOST) return;
    if (work(model) > WORK_MOST) return;
    run(model, 0, first);
    run(model, 0xA5, second);
    require(!memcmp(first, second, model->output_bytes));
    uint8_t *arena = aligned_alloc(16, (model->arena_bytes + 15) & ~15u);
    const kd_edge_status status = kd_edge_selftest(model, arena, model->arena_bytes);
    require(status == KD_EDGE_OK || status == KD_EDGE_E_SELFTEST);
    free(arena);
}

int FUZZ_TARGET(edge)(const uint8_t *bytes, size_t size)
{
    if (size < sizeof(kd_edge_header) || size > BLOB_MOST) return 0;
    uint8_t *blob = aligned_alloc(16, (size + 15) & ~(size_t)15);
    memcpy(blob, bytes, size);
    kd_edge_header header;
    memcpy(&header, blob, sizeof header);
    if (header.bytes >= 16 && header.bytes <= size)
        header.crc = kd_edge_crc32(0, blob + 16, header.bytes - 16);
    memcpy(blob, &header, sizeof header);
    for (int type = KD_EDGE_INT8; type <= KD_EDGE_FLOAT32; type++) {
        kd_edge_model model;
        const kd_edge_op *const *ops = type == KD_EDGE_INT8 ? kd_edge_ops_i8 : kd_edge_ops_f32;
        const kd_edge_status status = kd_edge_open(&model, blob, size, ops);
        require(kd_edge_text(status) != NULL);
        if (status == KD_EDGE_OK)
            check(&model);
        else
            require(model.blob == NULL);
    }
    free(blob);
    return 0;
}
