/* SPDX-License-Identifier: MIT
 * fuzz_spec.c: a fuzz target for models' specs. The first byte says what is done with the text that
 * follows:
 *
 *   m SPEC;DEFAULTS;CHANGE  read as a user, a data set and kd_model_load_as give them
 *   c SPEC                  its parameters and multiply-accumulates: graph and plan
 *
 * Promises: a complete spec is complete, and stays what it is when it is read again; a plan takes
 * no memory for pictures, however large. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "network.h"

enum { TEXT = 1024 };

static void model(kd_ctx *ctx, char *text)
{
    char full[KD_SPEC_SIZE], again[KD_SPEC_SIZE], cut[8];
    kdi_spec s;
    char *defaults = strchr(text, ';'), *change = NULL;
    if (defaults) *defaults++ = 0;
    if (defaults && (change = strchr(defaults, ';'))) *change++ = 0;
    if (kd_spec_complete(ctx, text, defaults, full, sizeof full)) {
        fuzz_words(ctx);
    } else {
        require(!kd_spec_complete(ctx, full, defaults, again, sizeof again));
        require(!strcmp(full, again) && strlen(full) < sizeof full - 1);
        require(!kd_spec_complete(ctx, text, defaults, cut, sizeof cut));
        require(!strncmp(full, cut, sizeof cut - 1));
    }
    if (kdi_spec_parse(ctx, text, defaults, change, &s)) fuzz_words(ctx);
}

static void count(kd_ctx *ctx, const char *text)
{
    uint64_t params, macs;
    const size_t blocks = blocks_of(ctx, text);
    if (!tried(blocks, text)) return;
    if (kd_spec_count(ctx, text, &params, &macs)) fuzz_words(ctx);
    require(fuzz_peak() <= GRAPH + blocks * BLOCK);
}

int FUZZ_TARGET(spec)(const uint8_t *bytes, size_t size)
{
    kd_ctx *ctx = fuzz_begin(0);
    char *text = malloc(size < TEXT ? size + 1 : TEXT); /* as long as it is: overruns show */
    require(text != NULL);
    if (size >= TEXT) size = TEXT - 1;
    if (size) memcpy(text, bytes, size);
    text[size] = 0;
    if (text[0] == 'm') model(ctx, text + 1);
    if (text[0] == 'c') count(ctx, text + 1);
    free(text);
    fuzz_end(ctx);
    return 0;
}
