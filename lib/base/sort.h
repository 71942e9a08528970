/* SPDX-License-Identifier: MIT
 * sort.h: sorting in place, in O(n log n) for every input. The C library's qsort may allocate, and
 * may take much longer on an input made for that. The order must be total, as it is not stable. */
#ifndef KDI_SORT_H
#define KDI_SORT_H

#include <stddef.h>

/* Below 0, 0 or above 0 as a comes before, equals, or comes after b. */
typedef int (*kdi_compare_fn)(const void *a, const void *b);

void kdi_sort(void *array, size_t count, size_t size, kdi_compare_fn compare);

#endif
