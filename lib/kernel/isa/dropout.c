/* SPDX-License-Identifier: MIT
 * dropout.c: drops elements by counter-based random numbers: nothing is stored between forward and
 * backward, which draw the same numbers again.
 *
 * BLOCKS blocks of Philox (base/philox.h) go through its rounds side by side, so that the compiler
 * makes vectors of them; the tests compare with the scalar one. */
#include "vectors.h"

#include "../../base/philox.h"

#include <string.h>

enum { BLOCKS = 32 };

/* The numbers of BLOCKS blocks from index on, 24 bits each, in the order of the elements. */
static inline void draw(const kdi_dropout *how, uint32_t index, uint32_t *number)
{
    uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS];
    uint32_t k0 = (uint32_t)how->seed, k1 = (uint32_t)(how->seed >> 32);
    for (uint32_t p = 0; p < BLOCKS; p++) {
        c0[p] = index + p;
        c1[p] = how->step;
        c2[p] = how->id;
        c3[p] = KDI_RNG_DROPOUT;
    }
    for (int round = 0; round < 10; round++) {
        for (int p = 0; p < BLOCKS; p++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c0[p], p1 = (uint64_t)0xCD9E8D57u * c2[p];
            c0[p] = (uint32_t)(p1 >> 32) ^ c1[p] ^ k0;
            c2[p] = (uint32_t)(p0 >> 32) ^ c3[p] ^ k1;
            c1[p] = (uint32_t)p1;
            c3[p] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int p = 0; p < BLOCKS; p++) {
        number[4 * p] = c0[p] >> 8;
        number[4 * p + 1] = c1[p] >> 8;
        number[4 * p + 2] = c2[p] >> 8;
        number[4 * p + 3] = c3[p] >> 8;
    }
}

void KDI_FN(dropout)(size_t n, const kdi_dropout *how, size_t first, const float *x, float *y,
                     int accumulate)
{
    for (size_t i = 0; i < n; i += 4 * BLOCKS) {
        const size_t count = n - i < 4 * BLOCKS ? n - i : 4 * BLOCKS;
        uint32_t number[4 * BLOCKS];
        draw(how, (uint32_t)((first + i) / 4), number);
        size_t j = 0;
        for (; j + KDI_VL <= count; j += KDI_VL) {
            kdi_vi drawn;
            memcpy(&drawn, number + j, sizeof drawn);
            kdi_v v = how->scale * kdi_load(x + i + j);
            v = kdi_select(drawn >= (int32_t)how->threshold, v, kdi_splat(0));
            kdi_store(y + i + j, accumulate ? kdi_load(y + i + j) + v : v);
        }
        for (; j < count; j++) {
            const float v = number[j] >= how->threshold ? how->scale * x[i + j] : 0;
            y[i + j] = accumulate ? y[i + j] + v : v;
        }
    }
}
