/* SPDX-License-Identifier: MIT
 * fuzz_metrics.c: a fuzz target. Byte 0 of the input says how many epochs are done, and as many
 * steps; the rest is a metrics.jsonl that a resumed run finds.
 *
 * Promises: each line that is kept is one of the text's, of an epoch or a step that is done and
 * later than the line of its kind before; no such line is dropped where the text has it in its place; memory does not grow
 * beyond what a line's JSON takes. */
#include "fuzz.h"

#include <kd/json.h>

#include <stdlib.h>
#include <string.h>

#include "../../lib/train/train.h"

/* The epoch or the step of a line, 0 where it has none; *kind 1: a step's. */
static uint64_t number_of(kd_ctx *ctx, const char *line, size_t size, int *kind)
{
    kd_json_object *o;
    int64_t number = 0;
    *kind = 0;
    if (kd_json_parse(ctx, line, size, &o)) return 0;
    const char *event = kd_json_get_string(o, "event");
    *kind = event && !strcmp(event, "step");
    kd_json_get_integer(o, *kind ? "step" : "epoch", &number);
    kd_json_object_destroy(o);
    return number > 0 ? (uint64_t)number : 0;
}

/* The lines of the text that are to stay are those of kept [size], one after the other. */
static void compare(kd_ctx *ctx, const char *text, size_t left, const char *kept, size_t size,
                    size_t epochs)
{
    uint64_t last[2] = {0};
    int kind;
    for (const char *end; left && (end = memchr(text, '\n', left));) {
        const size_t length = (size_t)(end - text) + 1;
        const uint64_t number = number_of(ctx, text, length - 1, &kind);
        if (number > last[kind] && number <= epochs) {
            require(size >= length && !memcmp(kept, text, length));
            kept += length;
            size -= length;
            last[kind] = number;
        }
        text += length;
        left -= length;
    }
    require(size == 0);
}

int FUZZ_TARGET(metrics)(const uint8_t *bytes, size_t size)
{
    kd_ctx *ctx = fuzz_begin(0);
    fuzz_input in = {bytes, size};
    const size_t epochs = fuzz_byte(&in);
    size_t kept = in.left;
    char *text = malloc(in.left ? in.left : 1); /* no longer than it is: overruns show */
    require(text != NULL);
    if (in.left) memcpy(text, in.at, in.left);
    require(!kdt_metrics_filter(ctx, text, &kept, epochs, epochs));
    require(fuzz_peak() <= 24 * in.left + 4096);
    compare(ctx, (const char *)in.at, in.left, text, kept, epochs);
    free(text);
    fuzz_end(ctx);
    return 0;
}
