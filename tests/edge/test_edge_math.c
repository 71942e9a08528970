/* SPDX-License-Identifier: MIT
 * test_edge_math.c: the integer formulas of docs/edge-numerics.md against 64-bit and exact
 * arithmetic, the checksum, the planner's rule for maps over one another. */
#include "../test.h"
#include "net.h"
#include "../../lib/edge/edge_math.h"

#include <math.h>
#include <stdlib.h>
#if KDI_ZLIB
#include <zlib.h>
#endif

/* floor(x / 2^31 + 1/2) by division, which truncates. */
static int64_t rounded(int64_t x)
{
    const int64_t unit = (int64_t)1 << 31, y = x + (unit >> 1);
    return y >= 0 ? y / unit : -((-y + unit - 1) / unit);
}

/* Check writes a line for each assertion it passes, which for millions takes minutes: so only failures reach it. */
static bool scale_is_right(int32_t acc, int32_t m)
{
    const int64_t right = rounded((int64_t)acc * m);
    /* what a Cortex-M4 computes: the upper half of the product with 2m, rounded */
    const int64_t upper = ((int64_t)acc * ((int64_t)m << 1) + ((int64_t)1 << 31)) >> 32;
    /* what VQRDMULH and SQRDMULH compute, which never saturate as m < 2^30 */
    const int64_t doubled = (2 * (int64_t)acc * m + ((int64_t)1 << 31)) >> 32;
    return kd_edge_scale(acc, m) == right && kd_edge_scale_split(acc, m) == right &&
           upper == right && doubled == right;
}

START_TEST(test_edge_scale)
{
    static const int32_t ends[] = {
        0,     1,      -1,         2,          -2,          32767,      32768,       65535,
        65536, -65536, 0x3FFFFFFF, 0x40000000, -0x40000000, 0x7FFFFFFF, -0x7FFFFFFF, INT32_MIN};
    const size_t n = sizeof ends / sizeof *ends;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            if (ends[k] >= 0 && ends[k] <= KD_EDGE_MOST_MULTIPLIER)
                ck_assert(scale_is_right(ends[i], ends[k]));
    uint64_t state = 1;
    for (int i = 0; i < 1000000; i++) {
        const int32_t acc = (int32_t)net_random_bits(&state) >> (i % 28);
        const int32_t m = (int32_t)(net_random_bits(&state) >> (2 + i % 23));
        if (!scale_is_right(acc, m)) ck_abort_msg("%d * %d", acc, m);
    }
    ck_assert_int_eq(-1 >> 1, -1); /* shifts are arithmetic */
    ck_assert_int_eq(INT32_MIN >> 31, -1);
}
END_TEST

/* out [n][m] = a [n][k] times x [k][k] times a transposed, k at most 4. */
static void both_sides(int n, int k, int a[4][4], int x[4][4], int out[4][4])
{
    int half[4][4];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < k; j++) {
            half[i][j] = 0;
            for (int l = 0; l < k; l++) half[i][j] += a[i][l] * x[l][j];
        }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            out[i][j] = 0;
            for (int l = 0; l < k; l++) out[i][j] += half[i][l] * a[j][l];
        }
}

/* Four outputs of 3x3 taps by 16 products, as hosts compute them: exactly four times the sums, and no factor
 * leaves int16, wherever inputs and weights stand in their ranges. */
START_TEST(test_edge_tile)
{
    int inputs[4][4] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}};
    int kernels[4][4] = {{2, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 2}};
    int outputs[4][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
    uint64_t state = 3;
    for (int i = 0; i < 100000; i++) {
        int d[4][4], g[4][4] = {{0}}, u[4][4], v[4][4], product[4][4], y[4][4];
        for (int k = 0; k < 25; k++) {
            const uint32_t bits = net_random_bits(&state);
            const int x = i & 1 ? (bits & 1 ? 127 : -128) : (int)(bits % 256) - 128;
            *(k < 16 ? &d[k / 4][k % 4] : &g[(k - 16) / 3][(k - 16) % 3]) = x;
        }
        both_sides(4, 4, inputs, d, v);
        both_sides(4, 3, kernels, g, u);
        bool right = true;
        for (int k = 0; k < 16; k++) {
            const int a = u[k / 4][k % 4], b = v[k / 4][k % 4];
            right = right && abs(a) <= 9 * 128 && abs(b) <= 4 * 128;
            product[k / 4][k % 4] = a * b;
        }
        both_sides(2, 4, outputs, product, y);
        for (int r = 0; r < 2; r++)
            for (int c = 0; c < 2; c++) {
                int sum = 0;
                for (int k = 0; k < 9; k++) sum += g[k / 3][k % 3] * d[r + k / 3][c + k % 3];
                right = right && y[r][c] == 4 * sum;
            }
        if (!right) ck_abort_msg("tile %d", i);
    }
}
END_TEST

START_TEST(test_edge_sizes)
{
    static const uint32_t some[] = {0, 1, 2, 255, 256, 65535, 65536, 1 << 20, 0x7FFFFFFF};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        for (size_t k = 0; k < sizeof some / sizeof *some; k++) {
            const uint64_t product = (uint64_t)some[i] * some[k];
            const uint64_t right = some[k] > 65535 || product > 0x7FFFFFFF ? 0 : product;
            ck_assert_uint_eq(kd_edge_mul(some[i], some[k]), right);
        }
    uint64_t state = 2;
    for (int i = 0; i < 100000; i++) {
        const uint32_t a = net_random_bits(&state) >> (i % 31), b = net_random_bits(&state) >> 16;
        const uint64_t product = (uint64_t)a * b;
        if (kd_edge_mul(a, b) != (product > 0x7FFFFFFF ? 0 : product))
            ck_abort_msg("%u * %u", a, b);
    }
}
END_TEST

START_TEST(test_edge_crc)
{
    uint8_t bytes[1000];
    kd_edge_noise(3, bytes, sizeof bytes);
    ck_assert_uint_eq(kd_edge_crc32(0, (const uint8_t *)"123456789", 9), 0xCBF43926);
#if KDI_ZLIB
    ck_assert_uint_eq(kd_edge_crc32(0, bytes, 1000), crc32(0, bytes, 1000));
#endif
    ck_assert_uint_eq(kd_edge_crc32(kd_edge_crc32(0, bytes, 400), bytes + 400, 600),
                      kd_edge_crc32(0, bytes, 1000));
}
END_TEST

/* lead against trial: rows that are copied and rows that are written, one after the other. */
static bool survives(const kd_edge_conv *c, int64_t in, int64_t out)
{
    const int64_t in_row = c->in_width * c->in_channels, out_row = c->out_width * c->out_channels;
    int64_t copied = 0;
    for (int64_t r = 0; r < c->out_height; r++) {
        int64_t next = r * c->pool * c->stride_height - c->pad_top + c->rows;
        if (next > c->in_height) next = c->in_height;
        if (next > copied) copied = next;
        for (int64_t y = copied; y < c->in_height; y++)
            if (out + r * out_row < in + (y + 1) * in_row &&
                in + y * in_row < out + (r + 1) * out_row)
                return false;
    }
    return true;
}

START_TEST(test_edge_lead)
{
    uint64_t state = 4;
    for (int i = 0; i < 3000; i++) {
        kd_edge_conv c = {.bytes = sizeof c, .pool = (uint8_t)(1 + net_random_bits(&state) % 2)};
        c.kernel_height = (uint8_t)(1 + net_random_bits(&state) % 5), c.kernel_width = 1;
        c.stride_height = (uint8_t)(1 + net_random_bits(&state) % 3), c.stride_width = 1;
        c.pad_top = (uint8_t)(net_random_bits(&state) % c.kernel_height);
        c.rows = (uint8_t)(c.kernel_height + (c.pool - 1) * c.stride_height);
        c.in_height = (uint16_t)(1 + net_random_bits(&state) % 12);
        c.in_width = (uint16_t)(2 + net_random_bits(&state) % 6),
        c.out_width = (uint16_t)(c.in_width / c.pool);
        c.in_channels = (uint16_t)(1 + net_random_bits(&state) % 6);
        c.out_channels = (uint16_t)(1 + net_random_bits(&state) % 6);
        const int outs = (c.in_height + c.pad_top - 1) / c.stride_height + 1;
        if (outs < c.pool) continue;
        c.out_height = (uint16_t)(outs / c.pool);
        const int64_t lead = kd_edge_conv_lead(&c, KD_EDGE_INT8);
        for (int64_t out = 0; out < 4; out++) ck_assert(survives(&c, lead + out, 0));
        const int64_t all = c.in_height * c.in_width * c.in_channels;
        if (lead > -all) ck_assert(!survives(&c, lead - 1, 0));
    }
}
END_TEST

TEST_SUITE(edge_math, 60, &test_edge_scale, &test_edge_tile, &test_edge_sizes, &test_edge_crc,
           &test_edge_lead)
