/* SPDX-License-Identifier: MIT
 * fuzz_model.c: a fuzz target. The input is a whole model file: safetensors whose metadata say what
 * network it holds. It is loaded, loaded again for another number of classes and for other pictures
 * (a transformer's positions are stretched), planned, and, if its pictures are small, run.
 *
 * Promises: loading takes no more memory than a small multiple of the file, whatever the spec says;
 * planning takes no memory for pictures; a model that loads describes itself completely. */
#include "fuzz.h"

#include <string.h>

#include "../../lib/model/model.h"
#include "network.h"

/* Beside the multiple of the size: a graph (network.h), with which a network of 32768 weights has
 * room, which is made to list what is missing. */
enum { MULTIPLE = 24, CLASSES = 3, PIXELS = 512 };

/* Logits of one picture, which may be anything, but must be there. */
static void run(kd_model *m)
{
    const size_t image = kd_model_image(m), channels = kd_model_channels(m);
    float picture[PIXELS] = {0}, logits[64] = {0};
    if (image > PIXELS || image * image * channels > PIXELS) return;
    if (kd_model_classes(m) > 64) return;
    require(!kd_model_predict(m, picture, 1, 1, logits));
}

static void look(kd_ctx *ctx, kd_model *m)
{
    char again[KD_SPEC_SIZE];
    uint64_t params = 0, macs = 0;
    require(!kd_spec_complete(ctx, kd_model_spec(m), NULL, again, sizeof again));
    require(!strcmp(again, kd_model_spec(m)));
    for (size_t i = 0; kd_model_mean(m) && i < kd_model_channels(m); i++)
        require(kd_model_std(m)[i] > 0 && kd_model_mean(m)[i] - kd_model_mean(m)[i] == 0);
    fuzz_peak();
    const kd_status status = kd_spec_count(ctx, kd_model_spec(m), &params, &macs);
    if (status) fuzz_words(ctx);
    require(status || params == kd_params_count(kd_model_params(m)));
}

static void change(kd_ctx *ctx, kd_file *f, const char *what, size_t limit)
{
    kd_model *m;
    fuzz_peak();
    const kd_load_opt opt = {.struct_size = sizeof opt, .change = what};
    if (!kdi_model_from_file(ctx, f, &opt, &m))
        kd_model_destroy(m);
    else
        fuzz_words(ctx);
    require(fuzz_peak() <= limit);
}

static void load(kd_ctx *ctx, kd_file *f, size_t size, size_t graph)
{
    kd_model *m;
    const kd_status status = kdi_model_from_file(ctx, f, NULL, &m);
    require(fuzz_peak() <= MULTIPLE * size + graph);
    require(!status == (m != NULL));
    if (status) {
        fuzz_words(ctx);
        return;
    }
    look(ctx, m);
    run(m);
    kd_model_destroy(m);
    /* The head's inputs are at most as many as the file has numbers. */
    change(ctx, f, "classes=3", (MULTIPLE + 12 * CLASSES) * size + graph);
    change(ctx, f, "image=8", MULTIPLE * size + graph);
}

int FUZZ_TARGET(model)(const uint8_t *bytes, size_t size)
{
    kd_ctx *ctx = fuzz_begin(0);
    kd_file *f;
    if (kd_file_from_memory(ctx, bytes, size, "input", &f) == KD_OK) {
        const char *spec = kd_file_metadata_get(f, "libkd.spec");
        const size_t blocks = blocks_of(ctx, spec);
        if (tried(blocks, spec)) load(ctx, f, size, GRAPH + blocks * BLOCK);
        kd_file_close(f);
    }
    fuzz_end(ctx);
    return 0;
}
