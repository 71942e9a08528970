/* SPDX-License-Identifier: MIT
 * test_half.c: every float16 and bfloat16, and every border between two of them. The oracle knows
 * the formats by their definition: sign, exponent, fraction, in double precision. */
#include "../test.h"

#include "../../lib/file/half.h"

#include <fenv.h>
#include <math.h>

typedef struct format {
    int exponent, fraction; /* bits */
    float (*up)(uint16_t);
    uint16_t (*down)(float);
} format;

static const format formats[] = {{5, 10, kdi_f16_to_f32, kdi_f32_to_f16},
                                 {8, 7, kdi_bf16_to_f32, kdi_f32_to_bf16}};

static double value(const format *f, unsigned pattern)
{
    const unsigned fraction = pattern & ((1u << f->fraction) - 1);
    const int exponent = (int)(pattern >> f->fraction & ((1u << f->exponent) - 1));
    const int bias = (1 << (f->exponent - 1)) - 1;
    const double sign = pattern & 0x8000 ? -1 : 1;
    if (exponent == 2 * bias + 1) return fraction ? NAN : sign * INFINITY;
    const unsigned whole = exponent ? fraction + (1u << f->fraction) : fraction;
    return sign * ldexp(whole, (exponent ? exponent : 1) - bias - f->fraction);
}

START_TEST(test_half_every_pattern)
{
    for (size_t i = 0; i < 2; i++) {
        const format *f = &formats[i];
        for (unsigned h = 0; h < 65536; h++) {
            const double want = value(f, h);
            const float got = f->up((uint16_t)h);
            if (isnan(want)) {
                ck_assert(isnan(got));
                /* the sign and the payload stay, the quiet bit is set */
                ck_assert_uint_eq(f->down(got), h | 1u << (f->fraction - 1));
            } else {
                ck_assert_msg((double)got == want && !signbit(got) == !(h & 0x8000), "%x", h);
                ck_assert_uint_eq(f->down(got), h);
            }
        }
    }
}
END_TEST

/* Between neighbours a < b: up to the middle it is a, from there on b, and the middle itself goes
 * to the even pattern. Beyond the largest, infinity takes the place of the next power of two. */
START_TEST(test_half_every_border)
{
    for (size_t i = 0; i < 2; i++) {
        const format *f = &formats[i];
        const unsigned infinite = ((1u << f->exponent) - 1) << f->fraction;
        for (unsigned h = 0; h < infinite; h++) {
            const double a = value(f, h);
            const double b = h + 1 < infinite ? value(f, h + 1) : 2 * a - value(f, h - 1);
            const float middle = (float)((a + b) / 2);
            ck_assert((double)middle == (a + b) / 2);
            const unsigned even = h & 1 ? h + 1 : h;
            ck_assert_uint_eq(f->down(middle), even);
            ck_assert_uint_eq(f->down(-middle), even | 0x8000);
            ck_assert_uint_eq(f->down(nextafterf(middle, 0)), h);
            ck_assert_uint_eq(f->down(nextafterf(middle, INFINITY)), h + 1);
        }
        ck_assert_uint_eq(f->down(3.4e38f), i == 0 ? infinite : 0x7F80);
        ck_assert_uint_eq(f->down(-INFINITY), infinite | 0x8000);
    }
}
END_TEST

/* The host's rounding mode must not matter. */
START_TEST(test_half_rounding_mode)
{
    static const int modes[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    volatile float x[512];
    uint16_t want[2][512];
    test_fill((float *)x, 512, 7, 1e-4f);
    for (size_t k = 0; k < 512; k++)
        for (size_t i = 0; i < 2; i++) want[i][k] = formats[i].down(x[k]);
    for (size_t m = 0; m < 3; m++) {
        fesetround(modes[m]);
        bool same = true;
        for (size_t k = 0; k < 512; k++)
            for (size_t i = 0; i < 2; i++) same &= formats[i].down(x[k]) == want[i][k];
        fesetround(FE_TONEAREST);
        ck_assert(same);
    }
}
END_TEST

TEST_SUITE(half, 30, &test_half_every_pattern, &test_half_every_border, &test_half_rounding_mode)
