/* SPDX-License-Identifier: MIT
 * see.c: calibration: the pictures run through the float network, and each map's numbers are counted
 * and its mean taken. One task sees one map, so that sums are in order for any number of threads. */
#include "quantise.h"

#include "float_run.h"

#include "../base/size.h"

typedef struct look {
    const kdi_net *net;
    const kdi_float_run *run;
    kdi_seen *seen;
    size_t n;
} look;

static void see_map(void *arg, size_t i, int worker)
{
    const look *l = arg;
    const size_t count = kdi_map_count(&l->net->maps[i]);
    const float *x = kdi_float_map(l->run, i);
    double *mean = l->seen[i].mean;
    (void)worker;
    kdi_histogram_add(l->seen[i].histogram, x, l->n * count);
    for (size_t n = 0; n < l->n; n++)
        for (size_t k = 0; k < count; k++) mean[k] += (double)x[n * count + k];
}

static kd_status take_memory(const kdi_net *net, kdi_seen *seen)
{
    for (size_t i = 0; i < net->n_maps; i++) {
        seen[i].histogram = kd_ctx_alloc(net->ctx, 1, sizeof *seen[i].histogram);
        seen[i].mean = kd_ctx_alloc(net->ctx, kdi_map_count(&net->maps[i]), sizeof *seen[i].mean);
        if (!seen[i].histogram || !seen[i].mean) return kd_ctx_memory_status(net->ctx);
    }
    return KD_OK;
}

kd_status kdi_see(const kdi_net *net, const uint8_t *pictures, size_t count, kdi_seen *seen)
{
    kdi_float_run *run = NULL;
    kd_status status = take_memory(net, seen);
    if (!status) status = kdi_float_create(net, &run);
    const size_t picture = kdi_map_count(&net->maps[0]);
    for (size_t at = 0; at < count && !status; at += kdi_float_batch(run)) {
        look l = {net, run, seen, kdi_smaller(kdi_float_batch(run), count - at)};
        status = kdi_float_do(run, pictures + at * picture, l.n);
        if (!status) kd_parallel_for(net->ctx, net->n_maps, see_map, &l);
    }
    for (size_t i = 0; i < net->n_maps && !status; i++)
        for (size_t k = 0; k < kdi_map_count(&net->maps[i]); k++) seen[i].mean[k] /= (double)count;
    kdi_float_destroy(run);
    return status;
}

void kdi_seen_free(kd_ctx *ctx, kdi_seen *seen, size_t n_maps)
{
    for (size_t i = 0; i < n_maps && seen; i++) {
        kd_ctx_free(ctx, seen[i].histogram);
        kd_ctx_free(ctx, seen[i].mean);
    }
}

void kdi_choose_ranges(const kdi_net *net, const kd_quantise_opt *opt, kdi_seen *seen)
{
    const double share = (opt->percentile > 0 ? opt->percentile : 99.99) / 100;
    for (size_t i = 1; i < net->n_maps; i++) {
        /* The largest logit is what the network is asked for: it is never cut off. */
        const bool output = net->maps[i].last == (int)net->n_layers;
        seen[i].range = kdi_histogram_range(seen[i].histogram,
                                            output ? KD_CALIBRATE_RANGE : opt->method, share);
    }
}
