/* SPDX-License-Identifier: MIT
 * fuzz_checkpoint.c: a fuzz target. The input is a whole checkpoint file, from which a run goes on:
 * weights, averages, the optimiser's state, and the counters in the JSON of its metadata. The run
 * is a small one that is always the same.
 *
 * Promises: reading takes no memory beyond the file's tables and one tensor; where it succeeds, the
 * run stands at a step that exists. */
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/train/train.h"

enum { BATCHES = 7 };

/* Made once, ended with the process: a run of its own memory, so that what one input takes can be
 * measured. */
static kd_ctx *own;
static kdt_run made;

static char description[] = "{\"run\":1}";

static void end_run(void)
{
    kd_params_destroy(made.ema);
    kd_optim_destroy(made.optim);
    kd_model_destroy(made.model);
    kd_ctx_destroy(own);
}

static void make_run(void)
{
    const kd_config config = {.struct_size = sizeof config, .threads = 1, .isa = "generic"};
    const kd_optim_opt optim = {.struct_size = sizeof optim};
    require(!kd_ctx_create(&config, &own));
    require(!kd_model_create(own, "vgg2_bn,width=0.015625,classes=2,image=4,channels=1", 1,
                             &made.model));
    require(!kd_optim_create(kd_model_params(made.model), &optim, &made.optim));
    require(!kd_params_clone(kd_model_params(made.model), &made.ema));
    made.description = description;
    made.batches = BATCHES;
    require(!atexit(end_run));
}

int FUZZ_TARGET(checkpoint)(const uint8_t *bytes, size_t size)
{
    kd_ctx *ctx = fuzz_begin(0);
    kd_file *f;
    if (!made.model) make_run();
    if (kd_file_from_memory(ctx, bytes, size, "input", &f) == KD_OK) {
        kdt_run run = made;
        run.ctx = ctx;
        const kd_status status = kdt_checkpoint_read(&run, f);
        require(fuzz_peak() <= 24 * size + 16 * 1024);
        if (status) fuzz_words(ctx);
        require(status || run.batch <= BATCHES);
        require(status || (run.epoch <= UINT32_MAX && run.step <= SIZE_MAX / 2));
        require(status || (isfinite(run.seconds) && run.seconds >= 0));
        kd_file_close(f);
    }
    fuzz_end(ctx);
    return 0;
}
