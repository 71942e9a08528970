/* SPDX-License-Identifier: MIT
 * randaugment_ops.h: RandAugment's operations on byte pictures of 1 or 3 channels, as Pillow and
 * timm define them. in and out are different pictures of one shape. See randaugment_ops.c,
 * randaugment_affine.c. */
#ifndef KDI_RANDAUGMENT_OPS_H
#define KDI_RANDAUGMENT_OPS_H

#include "data.h"

typedef enum kdi_rand_op {
    KDI_RAND_AUTOCONTRAST,
    KDI_RAND_EQUALIZE,
    KDI_RAND_INVERT,
    KDI_RAND_ROTATE,      /* degrees, counter-clockwise */
    KDI_RAND_POSTERIZE,   /* bits that are kept */
    KDI_RAND_SOLARIZE,    /* values from here on are inverted */
    KDI_RAND_SOLARIZEADD, /* is added to values below 128 */
    KDI_RAND_COLOR,       /* these four: 1 changes nothing, 0 is grey, grey, black, blurred */
    KDI_RAND_CONTRAST,
    KDI_RAND_BRIGHTNESS,
    KDI_RAND_SHARPNESS,
    KDI_RAND_SHEARX, /* pixels by row */
    KDI_RAND_SHEARY,
    KDI_RAND_TRANSLATEX, /* share of the width */
    KDI_RAND_TRANSLATEY,
    KDI_RAND_OPS
} kdi_rand_op;

/* What an operation does with its argument; fill is the colour that comes in from outside. */
void kdi_rand_apply(kdi_rand_op op, double argument, kdi_shape shape, const uint8_t fill[4],
                    const uint8_t *in, uint8_t *out);

/* The source of pixel (x, y) is (m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5]), by bicubic
 * interpolation; pixels' centres lie at halves. */
void kdi_rand_affine(const double m[6], kdi_shape shape, const uint8_t fill[4], const uint8_t *in,
                     uint8_t *out);

#endif
