/* SPDX-License-Identifier: MIT
 * checksum.h: the sum that tells data sets apart. See checksum.c. */
#ifndef KDI_CHECKSUM_H
#define KDI_CHECKSUM_H

#include "data.h"

typedef struct kdi_sum {
    uint64_t lane[4];
} kdi_sum;

kdi_sum kdi_sum_begin(void);
void kdi_sum_bytes(kdi_sum *sum, const void *bytes, size_t count);
void kdi_sum_number(kdi_sum *sum, uint64_t number);
/* The length counts, too: "ab" and "c" give another sum than "a" and "bc". */
void kdi_sum_text(kdi_sum *sum, const char *text);
uint64_t kdi_sum_end(const kdi_sum *sum);

#endif
