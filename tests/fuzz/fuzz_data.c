/* SPDX-License-Identifier: MIT
 * fuzz_data.c: a fuzz target for the texts that say which data and how changed. The first byte says
 * what follows:
 *
 *   d NAME   a data set's name with options
 *   a STEPS  augmentation
 *
 * Promises: a set that opens is what its own name says; steps that were read are printed in a form
 * that reads the same. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "../../lib/data/data.h"

/* Data sets of more than a few pictures would make the target slow: the limit refuses them. */
enum { LIMIT = 64 * 1024, TEXT = 1024 };

static void data_set(kd_ctx *ctx, const char *text)
{
    kd_dataset *data;
    const kd_status status = kd_dataset_open(ctx, text, "/nonexistent", &data);
    require(!status == (data != NULL));
    if (status) fuzz_words(ctx);
    if (!status) {
        const kd_data_info *info = kd_dataset_info(data);
        require(info->classes >= 2 && info->count[0] >= 1 && info->channels >= 1);
        require(info->height == info->width && info->height >= 8);
        require(!strncmp(info->name, "synthetic:", 10));
    }
    kd_dataset_close(data);
}

static void augment(kd_ctx *ctx, const char *text)
{
    kdi_augmentation a, again;
    const kdi_shape shape = {32, 24, 3};
    if (kdi_augment_parse(ctx, text, shape, &a)) {
        fuzz_words(ctx);
        return;
    }
    require(a.n_steps <= KDI_AUGMENT_WORDS && strlen(a.text) < sizeof a.text - 1);
    require(!kdi_augment_parse(ctx, a.text, shape, &again) && !strcmp(a.text, again.text));
}

int FUZZ_TARGET(data)(const uint8_t *bytes, size_t size)
{
    kd_ctx *ctx = fuzz_begin(LIMIT);
    char *text = malloc(size < TEXT ? size + 1 : TEXT); /* as long as it is: overruns show */
    require(text != NULL);
    if (size >= TEXT) size = TEXT - 1;
    if (size) memcpy(text, bytes, size);
    text[size] = 0;
    if (text[0] == 'd') data_set(ctx, text + 1);
    if (text[0] == 'a') augment(ctx, text + 1);
    free(text);
    fuzz_end(ctx);
    return 0;
}
