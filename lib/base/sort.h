/* SPDX-License-Identifier: MIT
 * sort.h: sorting in place without memory, in O(n log n) whatever the input: qsort may allocate,
 * and may be slow on an input made to make it slow. Not stable: the order must be total. */
#ifndef KDI_SORT_H
#define KDI_SORT_H

#include <stddef.h>

/* Below 0, 0 or above 0 as a comes before, equals, or comes after b. */
typedef int (*kdi_compare_fn)(const void *a, const void *b);

void kdi_sort(void *array, size_t count, size_t size, kdi_compare_fn compare);

#endif
