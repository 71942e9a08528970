/* SPDX-License-Identifier: MIT
 * main.c: bench [peak|kernels|steps|memory] [threads], bench serve WORK [threads], bench crops
 * FOLDER AUGMENT SIDE [threads]. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int peak(int threads)
{
    for (int t = 1; t <= threads; t++) {
        kd_ctx *ctx;
        const kd_config config = {.struct_size = sizeof config, .threads = t};
        if (kd_ctx_create(&config, &ctx)) return 1;
        printf("FMA peak, %d thread%s, %s: %.1f GFLOP/s\n", t, t > 1 ? "s" : "", kd_ctx_isa(ctx),
               kdb_peak(ctx) * 1e-9);
        kd_ctx_destroy(ctx);
    }
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: bench [peak|kernels|memory] [THREADS]\n"
                    "       bench steps [THREADS [WORK...]]\n"
                    "       bench serve WORK [THREADS]\n"
                    "       bench crops FOLDER AUGMENT SIDE [THREADS]\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    const bool serve = !strcmp(what, "serve"), crops = !strcmp(what, "crops");
    const int words = crops ? 5 : serve ? 3 : 2; /* before the number of threads */
    kd_ctx *ctx;
    if ((serve || crops) && argc < words) return usage();
    if (kd_ctx_create(NULL, &ctx)) return 1;
    int threads = kd_ctx_threads(ctx);
    kd_ctx_destroy(ctx);
    if (argc > words) threads = atoi(argv[words]);
    if (threads < 1 || threads > 256) return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (serve) return kdb_serve(argv[2], threads);
    if (crops) return kdb_crops(argv[2], argv[3], (size_t)atol(argv[4]), threads);
    if (!strcmp(what, "peak")) return peak(threads);
    if (!strcmp(what, "kernels")) return kdb_kernels(threads);
    if (!strcmp(what, "steps")) return kdb_steps(threads, argv + 3, argc > 3 ? argc - 3 : 0);
    if (!strcmp(what, "memory")) return kdb_memory(threads);
    if (strcmp(what, "all")) return usage();
    return peak(threads) || kdb_kernels(threads) || kdb_steps(threads, NULL, 0);
}
