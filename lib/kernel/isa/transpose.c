/* SPDX-License-Identifier: MIT
 * transpose.c: matrix transposition by tiles of TILE x TILE, small enough that the lines of both
 * arrays that a tile touches stay in the first-level cache. */
#include "vectors.h"

enum { TILE = 16 };

static inline void tile(size_t rows, size_t cols, const float *x, size_t ldx, float *y, size_t ldy,
                        int accumulate)
{
    for (size_t c = 0; c < cols; c++)
        for (size_t r = 0; r < rows; r++) {
            const float v = x[r * ldx + c];
            y[c * ldy + r] = accumulate ? y[c * ldy + r] + v : v;
        }
}

void KDI_FN(transpose)(size_t rows, size_t cols, const float *x, size_t ldx, float *y, size_t ldy,
                       int accumulate)
{
    for (size_t r = 0; r < rows; r += TILE)
        for (size_t c = 0; c < cols; c += TILE) {
            const float *from = x + r * ldx + c;
            float *to = y + c * ldy + r;
            if (rows - r >= TILE && cols - c >= TILE)
                tile(TILE, TILE, from, ldx, to, ldy, accumulate);
            else
                tile(rows - r < TILE ? rows - r : TILE, cols - c < TILE ? cols - c : TILE, from,
                     ldx, to, ldy, accumulate);
        }
}
