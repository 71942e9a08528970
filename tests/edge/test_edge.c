/* SPDX-License-Identifier: MIT
 * test_edge.c: the runtime for microcontrollers on the host. Bits are the reference's over random
 * and extreme networks; the arena is exact, and what it held does not matter; each fault of a blob
 * is a status. */
#include "../spawn.h"
#include "net.h"
#include "../../lib/edge/edge_shape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct blob {
    uint8_t *bytes;
    uint32_t size;
    kd_edge_model model;
    uint8_t *arena; /* with a fence of 64 bytes on either side */
} blob;

enum { FENCE = 64 };

static const kd_edge_op *const *ops_of(const net *from)
{
    return from->type == KD_EDGE_INT8 ? kd_edge_ops_i8 : kd_edge_ops_f32;
}

static blob open_net(const net *from)
{
    blob b = {.bytes = 0};
    b.bytes = net_write(from, &b.size);
    const kd_edge_status status = kd_edge_open(&b.model, b.bytes, b.size, ops_of(from));
    ck_assert_msg(status == KD_EDGE_OK, "seed %llu: %s, record %u of %d",
                  (unsigned long long)from->seed, kd_edge_text(status), b.model.bad_record,
                  from->n);
    b.arena = aligned_alloc(16, (b.model.arena_bytes + 2 * FENCE + 15) & ~15u);
    return b;
}

static void close_net(blob *b)
{
    free(b->bytes), free(b->arena);
}

/* The self-test passes in an arena full of `fill`, and nothing outside of it is touched. */
static void check_bits(const net *from, blob *b, int fill)
{
    const uint32_t arena = b->model.arena_bytes;
    memset(b->arena, fill, arena + 2 * FENCE);
    const kd_edge_status status = kd_edge_selftest(&b->model, b->arena + FENCE, arena);
    ck_assert_msg(status == KD_EDGE_OK, "seed %llu: %s", (unsigned long long)from->seed,
                  kd_edge_text(status));
    bool whole = true;
    for (uint32_t i = 0; i < FENCE; i++)
        whole = whole && b->arena[i] == fill && b->arena[FENCE + arena + i] == fill;
    ck_assert_msg(whole, "seed %llu: written outside of the arena", (unsigned long long)from->seed);
}

static void check_net(const net *from)
{
    blob b = open_net(from);
    check_bits(from, &b, 0x55);
    check_bits(from, &b, 0xAA);
    ck_assert_int_eq(kd_edge_selftest(&b.model, b.arena + FENCE, b.model.arena_bytes - 1),
                     KD_EDGE_E_ARENA);
    close_net(&b);
}

START_TEST(test_edge_random)
{
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        net from = net_random(seed);
        check_net(&from);
    }
}
END_TEST

/* The kernels that boards have, where the host would pick faster ones: an op of one's own. */
static void run_portable(const kd_edge_model *model, const void *record, uint8_t *arena)
{
    static const kd_edge_row_ops rows = {KD_EDGE_INT8, kd_edge_load_i8, kd_edge_row_i8};
    kd_edge_conv_rows(&rows, model, record, arena);
}

START_TEST(test_edge_own_op)
{
    kd_edge_op conv = kd_edge_conv2d_i8;
    conv.run = run_portable;
    const kd_edge_op *const ops[] = {&conv,           &kd_edge_linear_i8,   &kd_edge_max_pool_i8,
                                     &kd_edge_add_i8, &kd_edge_avg_pool_i8, NULL};
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        net from = net_random(seed);
        blob b = open_net(&from);
        ck_assert_int_eq(kd_edge_open(&b.model, b.bytes, b.size, ops), KD_EDGE_OK);
        check_bits(&from, &b, 0x55);
        close_net(&b);
    }
    /* without an op the blob needs */
    net from = net_resnet8(4);
    blob b = open_net(&from);
    kd_edge_model model;
    ck_assert_int_eq(
        kd_edge_open(&model, b.bytes, b.size, (const kd_edge_op *const[]){&conv, NULL}),
        KD_EDGE_E_OP);
    ck_assert_uint_eq(model.bad_record, 3);
    close_net(&b);
}
END_TEST

/* Taps and channels beyond the blocks of fast kernels. */
START_TEST(test_edge_large)
{
    for (int kind = NET_ORDINARY; kind <= NET_EXTREME; kind++)
        for (int channels = 500; channels < 530; channels += 13) {
            net from = {.type = KD_EDGE_INT8, .height = 5, .width = 5, .channels = 3, .seed = 3};
            from.kind = (uint8_t)kind, from.sums = 1, from.n = 4;
            for (int i = 0; i < 4; i++)
                from.layers[i] = (net_layer){.op = KD_EDGE_OP_CONV2D,
                                             .from = i,
                                             .pool = 1,
                                             .kernel_height = 3,
                                             .kernel_width = 3,
                                             .stride_height = 1,
                                             .stride_width = 1,
                                             .pad_top = 1,
                                             .pad_left = 1,
                                             .out_channels = 5};
            from.layers[0].out_channels = (uint16_t)channels;
            from.layers[1].out_channels = (uint16_t)(channels / 4);
            from.layers[1].pool = 2;
            check_net(&from);
        }
}
END_TEST

/* More pixels than a batch of the host's kernel holds, whole and odd numbers of them, weights beyond its
 * caches, few taps in lanes of channels; linear layers up to its largest, and beyond. */
START_TEST(test_edge_batches)
{
    static const struct {
        int channels, kernel, pool;
    } convs[] = {{150, 3, 1}, {170, 3, 2}, {600, 1, 2}, {9, 3, 1}, {70, 2, 1}};
    static const int pictures[][2] = {{64, 48}, {128, 96}, {120, 110}};
    for (int kind = NET_ORDINARY; kind <= NET_EXTREME; kind++) {
        net from = {.type = KD_EDGE_INT8, .height = 13, .width = 13, .channels = 3, .seed = 5};
        from.kind = (uint8_t)kind, from.n = 6;
        for (int i = 0; i < 5; i++)
            from.layers[i] = (net_layer){.op = KD_EDGE_OP_CONV2D,
                                         .from = i,
                                         .pool = (uint8_t)convs[i].pool,
                                         .kernel_height = (uint8_t)convs[i].kernel,
                                         .kernel_width = (uint8_t)convs[i].kernel,
                                         .stride_height = 1,
                                         .stride_width = 1,
                                         .pad_top = convs[i].kernel > 1,
                                         .pad_left = convs[i].kernel > 1,
                                         .out_channels = (uint16_t)convs[i].channels};
        from.layers[5] = (net_layer){.op = KD_EDGE_OP_LINEAR,
                                     .from = 5,
                                     .kernel_height = 1,
                                     .kernel_width = 1,
                                     .stride_height = 1,
                                     .stride_width = 1,
                                     .out_channels = 11};
        check_net(&from);
        for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
            net one = {.type = KD_EDGE_INT8, .channels = 3, .seed = 6, .n = 1};
            one.height = (uint16_t)pictures[i][0], one.width = (uint16_t)pictures[i][1];
            one.kind = (uint8_t)kind;
            one.layers[0] = from.layers[5], one.layers[0].from = 0;
            check_net(&one);
        }
    }
}
END_TEST

/* 3x3 and stride 1 with many channels, which the host computes tile by tile. Sides are odd and
 * even, padding of any kind; with pooling and without; in place and apart; with a last group of
 * channels, more tiles than a batch, and weights at their ends. */
START_TEST(test_edge_tiles)
{
    uint64_t state = 5;
    for (int i = 0; i < 120; i++) {
        const uint32_t bits = net_random_bits(&state);
        const uint8_t pool = bits & 1 ? 2 : 1, pad = bits >> 1 & 1;
        net from = {.type = KD_EDGE_INT8, .channels = 2, .seed = (uint64_t)i, .n = 3};
        from.kind = bits >> 2 & 1, from.sums = bits >> 3 & 1, from.apart = bits >> 4 & 1;
        from.height = (uint16_t)(4 + (bits >> 8) % 30),
        from.width = (uint16_t)(4 + (bits >> 16) % 30);
        from.layers[0] = (net_layer){.op = KD_EDGE_OP_CONV2D,
                                     .pool = 1,
                                     .kernel_height = 1,
                                     .kernel_width = 1,
                                     .stride_height = 1,
                                     .stride_width = 1,
                                     .out_channels = (uint16_t)(16 * (1 + (bits >> 24) % 4))};
        if (i % 8 == 0) { /* the most channels, few tiles */
            from.height = from.width = (uint16_t)(4 + i / 8 % 3);
            from.layers[0].out_channels = 256;
        }
        for (int l = 1; l < 3; l++)
            from.layers[l] = (net_layer){.op = KD_EDGE_OP_CONV2D,
                                         .from = l,
                                         .pool = l == 1 ? pool : 1,
                                         .kernel_height = 3,
                                         .kernel_width = 3,
                                         .stride_height = 1,
                                         .stride_width = 1,
                                         .pad_top = pad,
                                         .pad_left = pad,
                                         .relu = bits >> 5 & 1,
                                         .lines = bits >> 6 & 1,
                                         .out_channels = (uint16_t)(l == 1 ? 16 : 1 + bits % 21)};
        const int side = (from.height < from.width ? from.height : from.width) + 2 * pad - 2;
        if (side / pool + 2 * pad < 3) from.n = 2; /* nothing is left for the last one */
        check_net(&from);
    }
}
END_TEST

START_TEST(test_edge_float)
{
    for (uint64_t seed = 1; seed <= 500; seed++) {
        net from = net_random(seed);
        from.type = KD_EDGE_FLOAT32, from.sums = 0, from.kind = NET_ORDINARY;
        if (from.layers[0].op != KD_EDGE_OP_CONV2D) continue;
        check_net(&from);
    }
}
END_TEST

/* ---- memory ----------------------------------------------------------------------------------- */

START_TEST(test_edge_in_place)
{
    /* VGG of 32x32x32 maps: one map and the line buffers of a convolution. */
    net vgg = net_vgg(1, (int[]){32}, (int[]){4});
    vgg.layers[3].pool = 1;
    vgg.layers[4].kernel_height = vgg.layers[4].kernel_width = 32;
    vgg.layers[4].stride_height = vgg.layers[4].stride_width = 32;
    blob b = open_net(&vgg);
    ck_assert_uint_eq(b.model.arena_bytes, 32 * 32 * 32 + 3 * 34 * 32);
    check_bits(&vgg, &b, 0);
    close_net(&b);

    net resnet = net_resnet8(16);
    b = open_net(&resnet);
    ck_assert_uint_le(b.model.arena_bytes, 36 * 1024);
    check_bits(&resnet, &b, 0);
    uint64_t macs = 0;
    for (uint32_t i = 0; i < b.model.records; i++) {
        kd_edge_layer layer;
        ck_assert_int_eq(kd_edge_layer_get(&b.model, i, &layer), KD_EDGE_OK);
        macs += layer.macs;
    }
    ck_assert_uint_eq(macs, 12501632); /* of MLPerf Tiny's image classification */
    close_net(&b);
}
END_TEST

/* ---- the interface ---------------------------------------------------------------------------- */

START_TEST(test_edge_pieces)
{
    net from = net_resnet8(4);
    from.labels = 1, from.sums = 1;
    blob b = open_net(&from);
    const kd_edge_model *model = &b.model;
    uint8_t *arena = b.arena + FENCE, pixels[32 * 32 * 3];
    int32_t whole[10], pieces[10], kept[10];
    kd_edge_noise(5, pixels, sizeof pixels);
    ck_assert_int_eq(kd_edge_run(model, arena, model->arena_bytes, pixels, whole), KD_EDGE_OK);
    ck_assert_int_eq(kd_edge_begin(model, arena, model->arena_bytes, pixels), KD_EDGE_OK);
    for (uint32_t i = 0; i < model->records; i++)
        ck_assert_int_eq(kd_edge_step(model, arena, i), KD_EDGE_OK);
    memcpy(pieces, arena + model->output_at, sizeof pieces);
    ck_assert_mem_eq(whole, pieces, sizeof whole);
    memcpy(arena + model->input_at, pixels, sizeof pixels); /* the picture is there already */
    ck_assert_int_eq(kd_edge_run(model, arena, model->arena_bytes, 0, kept), KD_EDGE_OK);
    ck_assert_mem_eq(whole, kept, sizeof whole);
    uint32_t best = 0;
    for (uint32_t i = 1; i < 10; i++)
        if (whole[i] > whole[best]) best = i;
    ck_assert_uint_eq(kd_edge_argmax(model, whole), best);

    ck_assert_str_eq(kd_edge_label(model, 0), "class 00");
    ck_assert_str_eq(kd_edge_label(model, 9), "class 09");
    ck_assert_ptr_null(kd_edge_label(model, 10));
    kd_edge_layer layer;
    ck_assert_int_eq(kd_edge_layer_get(model, 3, &layer), KD_EDGE_OK);
    ck_assert_str_eq(layer.op, "add");
    ck_assert_str_eq(layer.name, "layer 03");
    ck_assert_uint_eq(layer.out_bytes, 32 * 32 * 4);
    ck_assert_int_eq(kd_edge_layer_get(model, model->records, &layer), KD_EDGE_E_ARGUMENT);

    ck_assert_int_eq(kd_edge_run(model, 0, model->arena_bytes, pixels, whole), KD_EDGE_E_ARGUMENT);
    ck_assert_int_eq(kd_edge_run(model, arena + 4, model->arena_bytes, pixels, whole),
                     KD_EDGE_E_ALIGNMENT);
    ck_assert_int_eq(kd_edge_step(model, arena, model->records), KD_EDGE_E_ARGUMENT);
    const kd_edge_model closed = {.blob = 0};
    ck_assert_int_eq(kd_edge_run(&closed, arena, 100, pixels, whole), KD_EDGE_E_ARGUMENT);
    ck_assert_int_eq(kd_edge_selftest(&closed, arena, 100), KD_EDGE_E_ARGUMENT);
    ck_assert_ptr_null(kd_edge_label(&closed, 0));
    for (int s = 0; s <= KD_EDGE_E_SELFTEST + 1; s++)
        ck_assert_uint_gt(strlen(kd_edge_text((kd_edge_status)s)), 0);
    close_net(&b);
}
END_TEST

START_TEST(test_edge_argmax)
{
    kd_edge_model model = {.classes = 5, .output_type = KD_EDGE_FLOAT32};
    ck_assert_uint_eq(kd_edge_argmax(&model, (float[]){-3, -1, -2, -1, -8}), 1);
    ck_assert_uint_eq(kd_edge_argmax(&model, (float[]){-3, -0.5f, 2, 1e-9f, 2}), 2);
    model.output_type = KD_EDGE_INT8;
    ck_assert_uint_eq(kd_edge_argmax(&model, (int8_t[]){-128, -1, 0, 127, 127}), 3);
}
END_TEST

/* ---- faults ----------------------------------------------------------------------------------- */

static kd_edge_status try(const blob *b, uint32_t size)
{
    kd_edge_model model;
    const kd_edge_status status = kd_edge_open(&model, b->bytes, size, kd_edge_ops_i8);
    if (status != KD_EDGE_OK) ck_assert_ptr_null(model.blob);
    return status;
}

/* The status with n bytes at `at` replaced by x, and the checksum made right. */
static kd_edge_status with(blob *b, uint32_t at, uint32_t n, uint32_t x)
{
    uint8_t *copy = malloc(b->size);
    memcpy(copy, b->bytes, b->size);
    memcpy(b->bytes + at, &x, n);
    net_seal(b->bytes);
    const kd_edge_status status = try(b, b->size);
    memcpy(b->bytes, copy, b->size);
    free(copy);
    return status;
}

#define FIELD(type, member) offsetof(type, member), sizeof((type *)0)->member

START_TEST(test_edge_header_faults)
{
    net from = net_resnet8(4);
    from.labels = 1, from.picture = 1;
    blob b = open_net(&from);
    ck_assert_int_eq(try(&b, b.size), KD_EDGE_OK);
    for (uint32_t size = 0; size < b.size; size += size < 100 ? 1 : 997)
        ck_assert_int_eq(try(&b, size), KD_EDGE_E_SIZE);
    for (uint32_t at = 16; at < b.size; at += 53) {
        b.bytes[at] ^= 4;
        ck_assert_int_eq(try(&b, b.size), KD_EDGE_E_CHECKSUM);
        b.bytes[at] ^= 4;
    }
    kd_edge_model model;
    ck_assert_int_eq(kd_edge_open(&model, b.bytes + 4, b.size, kd_edge_ops_i8),
                     KD_EDGE_E_ALIGNMENT);
    ck_assert_int_eq(kd_edge_open(0, b.bytes, b.size, kd_edge_ops_i8), KD_EDGE_E_ARGUMENT);
    ck_assert_int_eq(kd_edge_open(&model, 0, b.size, kd_edge_ops_i8), KD_EDGE_E_ARGUMENT);
    ck_assert_int_eq(kd_edge_open(&model, b.bytes, b.size, 0), KD_EDGE_E_ARGUMENT);
    ck_assert_int_eq(kd_edge_open(&model, b.bytes, b.size, kd_edge_ops_f32), KD_EDGE_E_OP);
    ck_assert_int_eq(with(&b, 0, 4, 0x12345678), KD_EDGE_E_MAGIC);
    ck_assert_int_eq(with(&b, 0, 4, KD_EDGE_MAGIC_SWAPPED), KD_EDGE_E_ENDIAN);
    ck_assert_int_eq(with(&b, 4, 2, 2), KD_EDGE_E_VERSION);
    ck_assert_int_eq(with(&b, 6, 2, 2), KD_EDGE_E_VERSION);
    static const struct {
        size_t at;
        uint32_t n, x;
    } wrong[] = {
        {offsetof(kd_edge_header, type), 1, 0},
        {offsetof(kd_edge_header, output_type), 1, KD_EDGE_FLOAT32},
        {offsetof(kd_edge_header, output_type), 1, KD_EDGE_INT32},
        {offsetof(kd_edge_header, records), 2, 0},
        {offsetof(kd_edge_header, records), 2, 3},
        {offsetof(kd_edge_header, records_at), 4, 0},
        {offsetof(kd_edge_header, records_at), 4, 0xFFFFFFF0},
        {offsetof(kd_edge_header, arena_bytes), 4, 0xFFFFFFFF},
        {offsetof(kd_edge_header, input_height), 2, 0},
        {offsetof(kd_edge_header, input_height), 2, 31},
        {offsetof(kd_edge_header, classes), 2, 0},
        {offsetof(kd_edge_header, classes), 2, 11},
        {offsetof(kd_edge_header, input_at), 4, 0},
        {offsetof(kd_edge_header, output_at), 4, 0x10000},
        {offsetof(kd_edge_header, labels_at), 4, 0},
        {offsetof(kd_edge_header, labels_bytes), 4, 89},
        {offsetof(kd_edge_header, names_at), 4, 0xFFFFFFF0},
        {offsetof(kd_edge_header, spec_bytes), 4, 0xFFFFFFFF},
        {offsetof(kd_edge_header, test_bytes), 4, 16},
        {offsetof(kd_edge_header, test_at), 4, 0xFFFFFFF0},
        {offsetof(kd_edge_header, reserved), 4, 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_msg(with(&b, (uint32_t)wrong[i].at, wrong[i].n, wrong[i].x) == KD_EDGE_E_FORMAT,
                      "header fault %zu", i);
    const kd_edge_header *header = (const kd_edge_header *)b.bytes;
    ck_assert_int_eq(with(&b, offsetof(kd_edge_header, arena_bytes), 4, header->arena_bytes + 16),
                     KD_EDGE_E_FORMAT);
    ck_assert_int_eq(with(&b, header->test_at, 4, 3), KD_EDGE_E_FORMAT);
    ck_assert_int_eq(with(&b, header->records_at, 2, 32), KD_EDGE_E_OP);
    ck_assert_int_eq(with(&b, header->records_at + 2, 2, 84), KD_EDGE_E_FORMAT);
    /* another logit: the blob opens, its self-test does not pass */
    b.bytes[header->test_at + sizeof(kd_edge_test)] ^= 1;
    net_seal(b.bytes);
    ck_assert_int_eq(kd_edge_open(&model, b.bytes, b.size, kd_edge_ops_i8), KD_EDGE_OK);
    ck_assert_int_eq(kd_edge_selftest(&model, b.arena, model.arena_bytes), KD_EDGE_E_SELFTEST);
    close_net(&b);
}
END_TEST

START_TEST(test_edge_record_faults)
{
    net from = net_resnet8(4);
    blob b = open_net(&from);
    const uint32_t first = ((const kd_edge_header *)b.bytes)->records_at;
    static const struct {
        size_t at;
        uint32_t n, x;
    } wrong[] = {
        {offsetof(kd_edge_conv, in), 4, 8},
        {offsetof(kd_edge_conv, in), 4, 0xFFFFFFF0},
        {offsetof(kd_edge_conv, out), 4, 0xFFFFFFF0},
        {offsetof(kd_edge_conv, out), 4, 16},
        {offsetof(kd_edge_conv, scratch), 4, 0},
        {offsetof(kd_edge_conv, scratch), 4, 0x7FFFFFF0},
        {offsetof(kd_edge_conv, in_height), 2, 0},
        {offsetof(kd_edge_conv, in_width), 2, 33},
        {offsetof(kd_edge_conv, in_channels), 2, 4},
        {offsetof(kd_edge_conv, in_channels), 2, 0xFFFF},
        {offsetof(kd_edge_conv, out_height), 2, 34},
        {offsetof(kd_edge_conv, out_width), 2, 0xFFFF},
        {offsetof(kd_edge_conv, out_channels), 2, 0},
        {offsetof(kd_edge_conv, kernel_height), 1, 0},
        {offsetof(kd_edge_conv, kernel_height), 1, 17},
        {offsetof(kd_edge_conv, stride_height), 1, 0},
        {offsetof(kd_edge_conv, stride_width), 1, 2},
        {offsetof(kd_edge_conv, pad_top), 1, 3},
        {offsetof(kd_edge_conv, pool), 1, 0},
        {offsetof(kd_edge_conv, pool), 1, 3},
        {offsetof(kd_edge_conv, rows), 1, 2},
        {offsetof(kd_edge_conv, rows), 1, 0},
        {offsetof(kd_edge_conv, flags), 2, KD_EDGE_PIXELS},
        {offsetof(kd_edge_conv, flags), 2, KD_EDGE_SUMS},
        {offsetof(kd_edge_conv, flags), 2, 4},
        {offsetof(kd_edge_conv, reserved), 2, 1},
        {offsetof(kd_edge_conv, weights), 4, 0},
        {offsetof(kd_edge_conv, weights), 4, 100},
        {offsetof(kd_edge_conv, bias), 4, 0xFFFFFFF0},
        {offsetof(kd_edge_conv, multipliers), 4, 0},
        {offsetof(kd_edge_conv, zero), 4, 128},
        {offsetof(kd_edge_conv, low), 4, (uint32_t)-129},
        {offsetof(kd_edge_conv, high), 4, 128},
        {offsetof(kd_edge_conv, high), 4, (uint32_t)-128},
        {offsetof(kd_edge_conv, pad), 4, 128},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_msg(with(&b, first + (uint32_t)wrong[i].at, wrong[i].n, wrong[i].x) ==
                          KD_EDGE_E_FORMAT,
                      "record fault %zu", i);
    const kd_edge_conv *conv = (const kd_edge_conv *)(b.bytes + first);
    const uint32_t bias = conv->bias, multipliers = conv->multipliers;
    ck_assert_int_eq(with(&b, bias + 4, 4, KD_EDGE_MOST_BIAS), KD_EDGE_OK);
    ck_assert_int_eq(with(&b, bias + 4, 4, KD_EDGE_MOST_BIAS + 1), KD_EDGE_E_FORMAT);
    ck_assert_int_eq(with(&b, bias + 4, 4, 0x80000000u), KD_EDGE_E_FORMAT);
    ck_assert_int_eq(with(&b, multipliers + 8, 4, KD_EDGE_MOST_MULTIPLIER), KD_EDGE_OK);
    ck_assert_int_eq(with(&b, multipliers + 8, 4, KD_EDGE_MOST_MULTIPLIER + 1), KD_EDGE_E_FORMAT);
    ck_assert_int_eq(with(&b, multipliers + 8, 4, (uint32_t)-1), KD_EDGE_E_FORMAT);
    close_net(&b);
}
END_TEST

/* A record may not read what has been written over, nor what is of another size. */
START_TEST(test_edge_liveness)
{
    net from = net_resnet8(4);
    blob b = open_net(&from);
    const uint32_t first = ((const kd_edge_header *)b.bytes)->records_at;
    const uint32_t second = first + sizeof(kd_edge_conv), sum = second + 2 * sizeof(kd_edge_conv);
    const kd_edge_conv *conv = (const kd_edge_conv *)(b.bytes + second);
    ck_assert_int_eq(with(&b, second + offsetof(kd_edge_conv, in), 4, conv->in + 16),
                     KD_EDGE_E_FORMAT);
    /* the branch written over the shortcut's input, which add reads */
    ck_assert_int_eq(with(&b, second + offsetof(kd_edge_conv, out), 4, conv->in), KD_EDGE_E_FORMAT);
    const kd_edge_sum *add = (const kd_edge_sum *)(b.bytes + sum);
    ck_assert_int_eq(add->op, KD_EDGE_OP_ADD);
    ck_assert_int_eq(with(&b, sum + offsetof(kd_edge_sum, out), 4, add->out + 16),
                     KD_EDGE_E_FORMAT);
    ck_assert_int_eq(with(&b, sum + offsetof(kd_edge_sum, shift), 2, 25), KD_EDGE_E_FORMAT);
    ck_assert_int_eq(with(&b, sum + offsetof(kd_edge_sum, shift), 2, 0), KD_EDGE_E_FORMAT);
    ck_assert_int_eq(with(&b, sum + offsetof(kd_edge_sum, a_multiplier), 4, (1 << 21) + 1),
                     KD_EDGE_E_FORMAT);
    ck_assert_int_eq(with(&b, sum + offsetof(kd_edge_sum, constant), 4, (1 << 30) + 1),
                     KD_EDGE_E_FORMAT);
    close_net(&b);
}
END_TEST

/* The page's example of a kernel of one's own compiles and gives the same bits. */
START_TEST(test_edge_documented_hook)
{
    const test_path folder = test_in_dir("hook");
    test_run_ok("sh", "tests/edge/hook.sh", folder.text);
}
END_TEST

TEST_SUITE(edge, 120, &test_edge_random, &test_edge_own_op, &test_edge_large, &test_edge_batches,
           &test_edge_tiles, &test_edge_float, &test_edge_in_place, &test_edge_pieces,
           &test_edge_argmax, &test_edge_header_faults, &test_edge_record_faults,
           &test_edge_liveness, &test_edge_documented_hook)
