/* SPDX-License-Identifier: MIT
 * cases.h: the networks that make_cases wrote. */
#ifndef EDGE_CASES_H
#define EDGE_CASES_H

#include <stdint.h>

typedef struct edge_case {
    const uint32_t *blob;
    uint32_t bytes;
} edge_case;

extern const edge_case edge_cases[];
extern const uint32_t edge_cases_n, edge_arena_bytes;
extern uint32_t edge_arena[];

#endif
