/* SPDX-License-Identifier: MIT
 * edge_memory.h: the two functions that the runtime needs from outside. string.h is not among the
 * headers that a freestanding compiler has. */
#ifndef KDI_EDGE_MEMORY_H
#define KDI_EDGE_MEMORY_H

#include <stddef.h>

#if defined(__STDC_HOSTED__) && __STDC_HOSTED__
#include <string.h>
#else
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *at, int byte, size_t n);
#endif

#endif
