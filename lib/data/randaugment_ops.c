/* SPDX-License-Identifier: MIT
 * randaugment_ops.c: RandAugment's operations that look at one pixel at a time, or at its
 * neighbours. Most are a table of 256 values for each channel. Results are Pillow's: blends are cut
 * to whole numbers, the grey of a colour is (19595 R + 38470 G + 7471 B) / 2^16, rounded. */
#include "randaugment_ops.h"

#include <math.h>
#include <string.h>

static uint8_t to_byte(double x)
{
    return (uint8_t)(x <= 0 ? 0 : x >= 255 ? 255 : x);
}

static size_t bytes_of(kdi_shape s)
{
    return s.h * s.w * s.c;
}

static uint8_t grey_of(const uint8_t *p, size_t channels)
{
    if (channels < 3) return p[0];
    return (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000u) >> 16);
}

/* a where the factor is 0, b where it is 1, and beyond. */
static uint8_t blend(uint8_t a, uint8_t b, float factor)
{
    return to_byte((double)((float)a + factor * (float)(b - a)));
}

/* ---- tables ---------------------------------------------------------------------------------- */

typedef uint8_t table[256];

static void look_up(table *tables, size_t n_tables, kdi_shape s, const uint8_t *in, uint8_t *out)
{
    const size_t n = bytes_of(s);
    for (size_t i = 0; i < n; i++) out[i] = tables[n_tables > 1 ? i % s.c : 0][in[i]];
}

static void count(kdi_shape s, size_t channel, const uint8_t *in, size_t histogram[256])
{
    memset(histogram, 0, 256 * sizeof *histogram);
    for (size_t i = channel; i < bytes_of(s); i += s.c) histogram[in[i]]++;
}

/* The darkest value becomes 0, the brightest 255. */
static void stretch_table(const size_t histogram[256], table t)
{
    int low = 0, high = 255;
    while (low < 255 && !histogram[low]) low++;
    while (high > 0 && !histogram[high]) high--;
    const double scale = high > low ? 255.0 / (high - low) : 1;
    const double offset = high > low ? -low * scale : 0;
    for (int i = 0; i < 256; i++) t[i] = to_byte(i * scale + offset);
}

/* All values equally often, as far as may be. */
static void equalize_table(const size_t histogram[256], table t)
{
    size_t sum = 0, last = 0, used = 0;
    for (size_t i = 0; i < 256; i++) {
        sum += histogram[i];
        if (histogram[i]) last = histogram[i], used++;
    }
    const size_t step = used > 1 ? (sum - last) / 255 : 0;
    size_t n = step / 2;
    for (size_t i = 0; i < 256; i++) {
        const size_t value = step ? n / step : i;
        t[i] = (uint8_t)(value < 255 ? value : 255);
        n += histogram[i];
    }
}

static void by_histogram(kdi_rand_op op, kdi_shape s, const uint8_t *in, uint8_t *out)
{
    table tables[3];
    for (size_t c = 0; c < s.c; c++) {
        size_t histogram[256];
        count(s, c, in, histogram);
        if (op == KDI_RAND_EQUALIZE)
            equalize_table(histogram, tables[c]);
        else
            stretch_table(histogram, tables[c]);
    }
    look_up(tables, s.c, s, in, out);
}

static uint8_t by_value(kdi_rand_op op, double argument, uint8_t grey, uint8_t x)
{
    const int value = (int)argument;
    switch (op) {
    case KDI_RAND_INVERT:
        return (uint8_t)(255 - x);
    case KDI_RAND_POSTERIZE:
        if (value < 8) x &= (uint8_t)(0xFF00u >> value);
        return x;
    case KDI_RAND_SOLARIZE:
        return (double)x < argument ? x : (uint8_t)(255 - x);
    case KDI_RAND_SOLARIZEADD:
        return x < 128 ? to_byte(x + value) : x;
    default:
        return blend(grey, x, (float)argument); /* brightness, contrast */
    }
}

static void by_table(kdi_rand_op op, double argument, uint8_t grey, kdi_shape s, const uint8_t *in,
                     uint8_t *out)
{
    table t;
    for (int i = 0; i < 256; i++) t[i] = by_value(op, argument, grey, (uint8_t)i);
    look_up(&t, 1, s, in, out);
}

/* The picture's mean grey. */
static uint8_t mean_grey(kdi_shape s, const uint8_t *in)
{
    uint64_t sum = 0;
    const size_t n = s.h * s.w;
    for (size_t i = 0; i < n; i++) sum += grey_of(in + i * s.c, s.c);
    return (uint8_t)((double)sum / (double)n + .5);
}

/* ---- colour, sharpness ----------------------------------------------------------------------- */

static void color(float factor, kdi_shape s, const uint8_t *in, uint8_t *out)
{
    for (size_t i = 0; i < s.h * s.w; i++, in += s.c, out += s.c) {
        const uint8_t grey = grey_of(in, s.c);
        for (size_t c = 0; c < s.c; c++) out[c] = blend(grey, in[c], factor);
    }
}

/* The mean of a pixel, counted five times, and its eight neighbours. */
static uint8_t smooth(const uint8_t *p, size_t across, size_t down)
{
    unsigned sum = 4u * p[0];
    for (int y = -1; y <= 1; y++)
        for (int x = -1; x <= 1; x++) sum += p[y * (ptrdiff_t)down + x * (ptrdiff_t)across];
    return (uint8_t)((2 * sum + 13) / 26);
}

/* Pixels at the border have no neighbours, and stay. */
static void sharpness(float factor, kdi_shape s, const uint8_t *in, uint8_t *out)
{
    const size_t row = s.w * s.c;
    memcpy(out, in, bytes_of(s));
    for (size_t y = 1; y + 1 < s.h; y++)
        for (size_t i = s.c; i + s.c < row; i++) {
            const uint8_t *p = in + y * row + i;
            out[y * row + i] = blend(smooth(p, s.c, row), *p, factor);
        }
}

/* ---- all ------------------------------------------------------------------------------------- */

static void rotate(double degrees, kdi_shape s, const uint8_t fill[4], const uint8_t *in,
                   uint8_t *out)
{
    const double angle = -degrees * 3.14159265358979323846 / 180, cx = (double)s.w / 2;
    const double cy = (double)s.h / 2, a = cos(angle), b = sin(angle);
    const double m[6] = {a, b, cx - a * cx - b * cy, -b, a, cy + b * cx - a * cy};
    kdi_rand_affine(m, s, fill, in, out);
}

void kdi_rand_apply(kdi_rand_op op, double x, kdi_shape s, const uint8_t fill[4], const uint8_t *in,
                    uint8_t *out)
{
    const double shear_x[6] = {1, x, 0, 0, 1, 0}, shear_y[6] = {1, 0, 0, x, 1, 0};
    const double move_x[6] = {1, 0, x * (double)s.w, 0, 1, 0};
    const double move_y[6] = {1, 0, 0, 0, 1, x * (double)s.h};
    switch (op) {
    case KDI_RAND_AUTOCONTRAST:
    case KDI_RAND_EQUALIZE:
        by_histogram(op, s, in, out);
        break;
    case KDI_RAND_ROTATE:
        rotate(x, s, fill, in, out);
        break;
    case KDI_RAND_COLOR:
        color((float)x, s, in, out);
        break;
    case KDI_RAND_SHARPNESS:
        sharpness((float)x, s, in, out);
        break;
    case KDI_RAND_SHEARX:
        kdi_rand_affine(shear_x, s, fill, in, out);
        break;
    case KDI_RAND_SHEARY:
        kdi_rand_affine(shear_y, s, fill, in, out);
        break;
    case KDI_RAND_TRANSLATEX:
        kdi_rand_affine(move_x, s, fill, in, out);
        break;
    case KDI_RAND_TRANSLATEY:
        kdi_rand_affine(move_y, s, fill, in, out);
        break;
    case KDI_RAND_CONTRAST:
        by_table(op, x, mean_grey(s, in), s, in, out);
        break;
    default:
        by_table(op, x, 0, s, in, out);
        break;
    }
}
