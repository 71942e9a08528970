/* SPDX-License-Identifier: MIT
 * sort.c: heapsort (Williams, Floyd 1964). */
#include "sort.h"

#include <string.h>

static void swap(unsigned char *a, unsigned char *b, size_t size)
{
    unsigned char piece[64];
    for (size_t done = 0, n; done < size; done += n) {
        n = size - done < sizeof piece ? size - done : sizeof piece;
        memcpy(piece, a + done, n);
        memcpy(a + done, b + done, n);
        memcpy(b + done, piece, n);
    }
}

/* Let element i of a heap of count elements sink until no child comes after it. */
static void sink(unsigned char *heap, size_t i, size_t count, size_t size, kdi_compare_fn compare)
{
    while (i < count / 2) {
        size_t child = 2 * i + 1;
        if (child + 1 < count && compare(heap + child * size, heap + (child + 1) * size) < 0)
            child++;
        if (compare(heap + i * size, heap + child * size) >= 0) return;
        swap(heap + i * size, heap + child * size, size);
        i = child;
    }
}

void kdi_sort(void *array, size_t count, size_t size, kdi_compare_fn compare)
{
    unsigned char *heap = array;
    for (size_t i = count / 2; i-- > 0;) sink(heap, i, count, size, compare);
    for (size_t n = count; n > 1; n--) {
        swap(heap, heap + (n - 1) * size, size);
        sink(heap, 0, n - 1, size, compare);
    }
}
