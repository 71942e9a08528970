/* SPDX-License-Identifier: MIT
 * dropout.c: drops elements by counter-based random numbers: nothing is stored between forward and
 * backward, which draw the same numbers again. PIECE blocks of Philox run side by side, so that the
 * compiler makes vectors of their rounds. */
#include "isa.h"

#include "../../base/philox.h"

enum { PIECE = 16 };

void KDI_FN(dropout)(size_t n, const kdi_dropout *how, size_t first, const float *x, float *y,
                     int accumulate)
{
    for (size_t i = 0; i < n; i += 4 * PIECE) {
        const uint32_t index = (uint32_t)((first + i) / 4);
        const size_t count = n - i < 4 * PIECE ? n - i : 4 * PIECE;
        uint32_t number[4 * PIECE];
        for (uint32_t p = 0; p < PIECE; p++) {
            const kdi_u32x4 b =
                kdi_philox(how->seed, index + p, how->step, how->id, KDI_RNG_DROPOUT);
            for (int j = 0; j < 4; j++) number[4 * p + (uint32_t)j] = b.v[j] >> 8;
        }
        for (size_t j = 0; j < count; j++) {
            const float v = number[j] >= how->threshold ? how->scale * x[i + j] : 0;
            y[i + j] = accumulate ? y[i + j] + v : v;
        }
    }
}
