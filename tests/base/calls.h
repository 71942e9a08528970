/* SPDX-License-Identifier: MIT
 * calls.h: every public call that can fail, as a table, with what it is called with: for tests of
 * what a failure leaves behind. A new one gets its line in the file of its room (calls_data.c and so
 * on): the headers are read to see that none is left out (test_failing.c). */
#ifndef TEST_CALLS_H
#define TEST_CALLS_H

#include "../test.h"

#include <kd/kd.h>

enum { PICTURES = 4, PICTURE = 32 * 32 * 3, CLASSES = 10 };

/* What the calls are made with; all of it made without failures. */
typedef struct world {
    test_heap heap;
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *model, *teacher;
    kd_graph *graph;
    kd_plan *plan;
    kd_exec *exec;
    kd_loader *loader;
    kd_file *file;
    char *bytes; /* of that file */
    size_t size;
    char path[600], out[600];
    float pictures[PICTURES * PICTURE], logits[PICTURES * CLASSES];
    int32_t labels[PICTURES];
} world;

/* Make the world, without failures; free it, and see that nothing is left. */
void calls_make(world *w);
void calls_free(world *w);

/* The path of this name in test_dir(): path. */
const char *calls_path(char path[600], const char *name);

/* The network's spec. */
extern const char calls_spec[];

/* A call that leaves nothing behind in the world. */
typedef struct call {
    kd_status (*call)(world *w);
    const char *names; /* the public calls in it */
} call;

/* Those of a room of the interface. */
typedef struct call_list {
    const call *first;
    size_t n;
} call_list;

extern const call_list calls_data, calls_file, calls_graph, calls_model, calls_train, calls_export;

/* Call i of all; NULL: there are no more. */
const call *calls_at(size_t i);

#endif
