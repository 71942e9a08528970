/* SPDX-License-Identifier: MIT
 * crops.c: pictures from files to batches: how many a second. Serves bench/peers/crops.py, which
 * compares with torchvision; the protocol is that of steps.c. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { BATCH = 64 };

typedef struct crops {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_loader *loader;
    size_t runs;
} crops;

static void open_crops(crops *c, const char *folder, const char *augment, size_t side, int threads)
{
    char name[1200];
    const kd_config config = {.struct_size = sizeof config, .threads = threads};
    const kd_view view = {.height = side, .width = side};
    if (kd_ctx_create(&config, &c->ctx)) exit(1);
    snprintf(name, sizeof name, "folder:%s", folder);
    if (kd_dataset_open(c->ctx, name, NULL, &c->data)) kdb_die(c->ctx, folder);
    const kd_data_info *info = kd_dataset_info(c->data);
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split =
                                   info->count[KD_SPLIT_TRAIN] ? KD_SPLIT_TRAIN : KD_SPLIT_TEST,
                               .batch = BATCH,
                               .shuffle = 1,
                               .drop_last = 1,
                               .augment = augment,
                               .n_views = 1,
                               .views = &view};
    if (kd_loader_create(c->data, &opt, &c->loader)) kdb_die(c->ctx, augment);
}

/* Seconds for so many batches, from a standing start: what was prepared meanwhile is thrown
 * away. */
static double run(crops *c, size_t batches)
{
    const double start = kd_seconds();
    if (kd_loader_seek(c->loader, ++c->runs, 0)) kdb_die(c->ctx, "seek");
    for (size_t i = 0; i < batches; i++) {
        const kd_batch *batch;
        if (kd_loader_next(c->loader, &batch)) kdb_die(c->ctx, "batch");
    }
    return kd_seconds() - start;
}

int kdb_crops(const char *folder, const char *augment, size_t side, int threads)
{
    char line[100];
    crops c = {0};
    open_crops(&c, folder, augment, side, threads);
    while (fgets(line, sizeof line, stdin)) {
        if (!strncmp(line, "run ", 4)) {
            printf("%.9f\n", run(&c, (size_t)atol(line + 4)));
        } else if (!strncmp(line, "memory", 6)) {
            struct rusage usage;
            getrusage(RUSAGE_SELF, &usage);
            printf("%ld\n", usage.ru_maxrss * 1024L);
        }
        printf("done\n");
        fflush(stdout);
    }
    kd_loader_close(c.loader);
    kd_dataset_close(c.data);
    kd_ctx_destroy(c.ctx);
    return 0;
}
