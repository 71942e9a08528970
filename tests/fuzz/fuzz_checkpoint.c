/* SPDX-License-Identifier: MIT
 * fuzz_checkpoint.c: a fuzz target. The input is a whole checkpoint file, from which a run goes on:
 * weights, averages, the optimiser's state, and the counters in the JSON of its metadata. The run
 * is a small one that is always the same.
 *
 * Promises: reading takes no memory beyond the file's tables and one tensor; where it succeeds, the
 * run stands at a step that exists. */
#include "fuzz.h"

#include <math.h>
#include <string.h>

#include "../../lib/train/train.h"

enum { BATCHES = 7 };

/* Made once: a run of its own memory, so that what one input takes can be measured. */
static void make_run(kdt_run *run)
{
    static kd_ctx *own;
    const kd_config config = {.struct_size = sizeof config, .threads = 1, .isa = "generic"};
    const kd_optim_opt optim = {.struct_size = sizeof optim};
    require(!kd_ctx_create(&config, &own));
    require(!kd_model_create(own, "vgg2_bn,width=0.015625,classes=2,image=4,channels=1", 1,
                             &run->model));
    require(!kd_optim_create(kd_model_params(run->model), &optim, &run->optim));
    require(!kd_params_clone(kd_model_params(run->model), &run->ema));
    memcpy(run->description, "{\"run\":1}", 10);
    run->batches = BATCHES;
}

int FUZZ_TARGET(checkpoint)(const uint8_t *bytes, size_t size)
{
    static kdt_run made;
    kd_ctx *ctx = fuzz_begin(0);
    kd_file *f;
    if (!made.model) make_run(&made);
    if (kd_file_from_memory(ctx, bytes, size, "input", &f) == KD_OK) {
        kdt_run run = made;
        run.ctx = ctx;
        const kd_status status = kdt_checkpoint_read(&run, f);
        require(fuzz_peak() <= 24 * size + 16 * 1024);
        if (status) fuzz_words(ctx);
        require(status || run.batch < BATCHES);
        require(status || (run.epoch <= UINT32_MAX && run.step <= SIZE_MAX / 2));
        require(status || (isfinite(run.seconds) && run.seconds >= 0));
        kd_file_close(f);
    }
    fuzz_end(ctx);
    return 0;
}
