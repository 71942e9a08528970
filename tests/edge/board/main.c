/* SPDX-License-Identifier: MIT
 * main.c: runs every case on a board: the self-test, and the logits of one more picture, whose
 * checksum is printed. What it prints of int8 networks is the same on every machine. Ends with
 * "ok", or with the number of failures. */
#include "board.h"
#include "cases.h"
#include "../../../lib/edge/edge_math.h"

enum { STACK_MOST = 1024 };

static kd_edge_model model;
static int failures;

static void fail(const char *what, uint32_t i)
{
    failures++;
    board_write("FAILED: ");
    board_write(what);
    board_write(" ");
    board_write_int((int64_t)i, "\n");
}

/* Checksum of a million requantised numbers. */
static void run_scale(void)
{
    uint32_t x = 1, crc = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        x = x * 1664525u + 1013904223u;
        const int32_t acc = (int32_t)x >> (i & 15);
        x = x * 1664525u + 1013904223u;
        const int32_t q = kd_edge_scale(acc, (int32_t)(x >> 2) >> (i % 17));
        const uint8_t bytes[4] = {(uint8_t)q, (uint8_t)(q >> 8), (uint8_t)(q >> 16),
                                  (uint8_t)(q >> 24)};
        crc = kd_edge_crc32(crc, bytes, 4);
    }
    board_write("scale ");
    board_write_hex(crc, "\n");
}

static void run_case(uint32_t i)
{
    const edge_case *c = &edge_cases[i];
    const void *blob = c->blob;
    const kd_edge_header *header = blob;
    const int is_float = header->type == KD_EDGE_FLOAT32;
    uint8_t *arena = (uint8_t *)edge_arena;
    if (kd_edge_open(&model, blob, c->bytes, is_float ? kd_edge_ops_f32 : kd_edge_ops_i8)) {
        fail("open", i);
        return;
    }
    if (kd_edge_selftest(&model, arena, edge_arena_bytes)) fail("self-test", i);
    if (is_float) return; /* machines that fuse products and sums differ in bits */
    kd_edge_noise(i, arena + model.input_at, model.input_bytes);
    if (kd_edge_run(&model, arena, edge_arena_bytes, 0, 0)) fail("run", i);
    board_write_int((int64_t)i, " ");
    board_write_hex(kd_edge_crc32(0, arena + model.output_at, model.output_bytes), "\n");
}

int main(void)
{
    run_scale();
    board_stack_begin();
    for (uint32_t i = 0; i < edge_cases_n; i++) run_case(i);
    const uint32_t stack = board_stack_used();
    if (stack > STACK_MOST) fail("stack", stack);
    board_write(failures ? "FAILED\n" : "ok\n");
    if (stack) {
        board_write("# stack ");
        board_write_int((int64_t)stack, " bytes\n");
    }
    return failures != 0;
}
