/* SPDX-License-Identifier: MIT
 * randaugment_affine.c: rotations, shears and shifts: Pillow's affine transform with bicubic
 * interpolation: the cubic with a = -1, neighbours beyond the border repeated, results cut to whole
 * numbers; a source point outside the picture gives the fill colour. */
#include "randaugment_ops.h"

#include <math.h>
#include <string.h>

typedef struct taps {
    size_t at[4]; /* pixels */
    double weight[4];
} taps;

static taps taps_of(double x, size_t length)
{
    taps t;
    const double base = floor(x - .5), d = x - .5 - base;
    const long first = (long)base - 1;
    for (long i = 0; i < 4; i++) {
        const long p = first + i;
        t.at[i] = p < 0 ? 0 : (size_t)p < length ? (size_t)p : length - 1;
    }
    t.weight[0] = d * (-1 + d * (2 - d));
    t.weight[1] = 1 + d * d * (-2 + d);
    t.weight[2] = d * (1 + d * (1 - d));
    t.weight[3] = d * d * (-1 + d);
    return t;
}

static void sample(const uint8_t *in, kdi_shape s, double x, double y, uint8_t *out)
{
    const taps tx = taps_of(x, s.w), ty = taps_of(y, s.h);
    for (size_t c = 0; c < s.c; c++) {
        double sum = 0;
        for (size_t i = 0; i < 4; i++) {
            const uint8_t *row = in + ty.at[i] * s.w * s.c + c;
            double part = 0;
            for (size_t j = 0; j < 4; j++) part += tx.weight[j] * (double)row[tx.at[j] * s.c];
            sum += ty.weight[i] * part;
        }
        out[c] = (uint8_t)(sum <= 0 ? 0 : sum >= 255 ? 255 : sum);
    }
}

void kdi_rand_affine(const double m[6], kdi_shape s, const uint8_t fill[4], const uint8_t *in,
                     uint8_t *out)
{
    const double h = (double)s.h, w = (double)s.w;
    for (size_t i = 0; i < s.h; i++)
        for (size_t j = 0; j < s.w; j++, out += s.c) {
            const double px = (double)j + .5, py = (double)i + .5;
            const double x = m[0] * px + m[1] * py + m[2], y = m[3] * px + m[4] * py + m[5];
            if (x < 0 || x >= w || y < 0 || y >= h)
                memcpy(out, fill, s.c);
            else
                sample(in, s, x, y, out);
        }
}
