/* SPDX-License-Identifier: MIT
 * transforms.h: ways to make a 3x3 convolution of stride 1 a matrix product in each of some planes:
 *
 * - winograd: tiles of 4x4 outputs, 36 planes. 36 multiplications where the definition has 144.
 * - winograd2: tiles of 2x2 outputs, 16 planes. 16 multiplications for 36.
 * - small_map2: a whole map of 2x2, 9 planes. 9 multiplications for the 16 that meet no padding.
 * - small_map4: a whole map of 4x4, 9 planes. 81 multiplications for the 100 that meet no padding.
 * Each has a file in isa/ of its name.
 *
 * V (from x), M (to y) and dM (from dY) are [planes][channel blocks][tiles * rows][lanes], lanes
 * floats a vector; planes are `plane` floats apart, blocks `block`. U (from the filters) is
 * [planes][channels][width]. Pixels of a tile are given by at[]: floats from the array's beginning,
 * row by row, SIZE_MAX for a pixel outside of the map. */
#ifndef KDI_TRANSFORMS_H
#define KDI_TRANSFORMS_H

#include <stdbool.h>
#include <stddef.h>

struct kdi_epilogue;

typedef struct kdi_transforms {
    size_t planes;
    size_t tile; /* side of a tile of y */
    size_t side; /* of the pixels of x that it needs */
    size_t rows; /* of V, M and dM for one tile */

    /* V of one tile. */
    void (*input)(const float *x, const size_t *at, size_t c, float *v, size_t plane, size_t block);
    /* One tile of y = epilogue(output(M)), o channels from `first` on. If it pools, y is the
     * largest of each 2x2 pixels, and at[] has half the tile's side. */
    void (*output)(const float *m, size_t plane, size_t block, size_t first, size_t o,
                   const struct kdi_epilogue *epilogue, bool pools, float *y, const size_t *at);
    /* dM of one tile; sum[o] += its dY, unless NULL. */
    void (*gradient)(const float *dy, const size_t *at, size_t o, float *m, size_t plane,
                     size_t block, float *sum);
    /* U [planes][c][width] of o <= width filters w[o][3][3][c]: ldw floats from filter to filter,
     * tap from point to point. */
    void (*filter)(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                   size_t plane, size_t width);
    /* U [planes][o][width] of the same filters turned by 180 degrees; c <= width. */
    void (*filter_turned)(const float *w, size_t ldw, size_t tap, size_t o, size_t c, float *u,
                          size_t plane, size_t width);
    /* dW (+)= from dU [planes][o][ldu]. */
    void (*filter_gradient)(const float *du, size_t plane, size_t ldu, size_t o, size_t c,
                            float *dw, size_t ldw, size_t tap, bool accumulate);
} kdi_transforms;

#endif
