/* SPDX-License-Identifier: MIT
 * edge_selftest.c: the blob's own picture against the logits that the exporter computed. Floats
 * are compared as fixed-point numbers, so that a machine without a floating-point unit needs no
 * library for it. */
#include "edge_shape.h"
#include "edge_memory.h"

static uint32_t exponent(uint32_t bits)
{
    const uint32_t e = (bits >> 23) & 0xFF;
    return e ? e : 1;
}

/* A float's bits as an integer of 2^(top - 150); no more than 2^24 as top is the largest exponent. */
static int32_t fixed(uint32_t bits, uint32_t top)
{
    const uint32_t fraction = bits & 0x7FFFFF, e = exponent(bits);
    const uint32_t whole = (bits >> 23) & 0xFF ? fraction | 0x800000 : fraction;
    const int32_t x = top - e > 24 ? 0 : (int32_t)(whole >> (top - e));
    return bits >> 31 ? -x : x;
}

/* Each differs by 2^-10 of the largest that is right at most; what is not finite differs. */
static int is_near(const uint32_t *right, const uint32_t *got, uint32_t n)
{
    uint32_t top = 1;
    for (uint32_t i = 0; i < n; i++) {
        if (exponent(right[i]) == 255 || exponent(got[i]) == 255) return 0;
        if (exponent(right[i]) > top) top = exponent(right[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (exponent(got[i]) > top + 1) return 0;
        const int32_t d = fixed(right[i], top + 1) - fixed(got[i], top + 1);
        if (d > 0x1000 || d < -0x1000) return 0;
    }
    return 1;
}

static int are_equal(const uint8_t *a, const uint8_t *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (a[i] != b[i]) return 0;
    return 1;
}

kd_edge_status kd_edge_selftest(const kd_edge_model *model, void *arena, size_t arena_bytes)
{
    if (!model || !model->blob || !arena) return KD_EDGE_E_ARGUMENT;
    if ((uintptr_t)arena % KD_EDGE_ALIGN) return KD_EDGE_E_ALIGNMENT;
    if (arena_bytes < model->arena_bytes) return KD_EDGE_E_ARENA;
    const kd_edge_header *header = kd_edge_section(model, 0);
    if (!header->test_at) return KD_EDGE_OK;
    const uint8_t *test_bytes = kd_edge_section(model, header->test_at);
    const kd_edge_test *test = kd_edge_section(model, header->test_at);
    const uint32_t logits = (model->output_bytes + KD_EDGE_ALIGN - 1) & ~(KD_EDGE_ALIGN - 1u);
    const uint8_t *expected = test_bytes + sizeof *test;
    uint8_t *bytes = arena;
    if (test->kind == KD_EDGE_TEST_NOISE)
        kd_edge_noise(test->seed, bytes + model->input_at, model->input_bytes);
    else
        memcpy(bytes + model->input_at, expected + logits, model->input_bytes);
    const kd_edge_status status = kd_edge_run(model, arena, arena_bytes, 0, 0);
    if (status != KD_EDGE_OK) return status;
    const void *right = expected, *got = bytes + model->output_at;
    const int same = model->type == KD_EDGE_FLOAT32 ? is_near(right, got, model->classes)
                                                    : are_equal(right, got, model->output_bytes);
    return same ? KD_EDGE_OK : KD_EDGE_E_SELFTEST;
}
