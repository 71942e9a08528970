/* SPDX-License-Identifier: MIT
 * run_record.h: what the programs' records of runs have in common: when and on what machine a run
 * was made, on what data, and how long it took. */
#ifndef RUN_RECORD_H
#define RUN_RECORD_H

#include <kd/kd.h>

void record_time(char out[32]); /* now: "2024-05-31T12:00:00Z" */
void record_cpu(char out[200]); /* the processor's name; "" if not known */

/* "machine": {...} and "times": {...}, into an open object. */
void record_machine(kd_json *json, const kd_ctx *ctx);
void record_times(kd_json *json, const kd_times *times);
/* Into the open object "data": classes, sides, channels, samples of each split. */
void record_sizes(kd_json *json, const kd_data_info *info);

/* Write the finished text and a newline to a file, atomically, and destroy json. */
kd_status record_write(kd_ctx *ctx, const char *path, kd_json *json);

/* The next object of text [size], which has one a line (metrics.jsonl), from *at on. Lines that are
 * broken are passed over: a killed process may leave one. NULL: there is no more. */
kd_json_object *record_next_line(kd_ctx *ctx, const char *text, size_t size, size_t *at);

#endif
