/* SPDX-License-Identifier: MIT
 * mean_std.c: mean and standard deviation of the training pictures.
 *
 * For each channel it is counted how often each value of a byte comes. Counts are whole numbers, so
 * neither the order of the pictures nor the number of threads matters. Mean and deviation are
 * computed from the counts in double, the mean first. */
#include "data.h"

#include <math.h>
#include <pthread.h>

enum { VALUES = 256 };

/* What one worker counts. */
typedef struct tally {
    uint64_t *counts; /* [channels,VALUES] */
    uint8_t *scratch; /* a picture, where it is fetched */
    uint64_t pictures;
} tally;

typedef struct job {
    kd_dataset *data;
    tally *tallies;        /* [workers] */
    atomic_size_t failed;  /* the first picture that cannot be read; SIZE_MAX: none */
    pthread_mutex_t mutex; /* of what follows */
    kdi_failure failure;   /* of the first picture that cannot be read */
} job;

static void failed(job *j, size_t index, const kdi_failure *failure)
{
    if (kdi_dataset_may_skip(j->data, failure->status)) return; /* the loader logs it */
    pthread_mutex_lock(&j->mutex);
    if (index < atomic_load(&j->failed)) {
        j->failure = *failure;
        atomic_store(&j->failed, index);
    }
    pthread_mutex_unlock(&j->mutex);
}

/* A kd_task_fn: one picture. */
static void count_one(void *arg, size_t index, int worker)
{
    job *j = arg;
    tally *t = &j->tallies[worker];
    const size_t channels = j->data->info.channels;
    int32_t label;
    kdi_failure failure = {0};
    if (atomic_load_explicit(&j->failed, memory_order_relaxed) < index) return;
    if (kd_ctx_cancelled(j->data->ctx)) return;
    const uint8_t *picture =
        kdi_dataset_look(j->data, KD_SPLIT_TRAIN, index, t->scratch, &label, &failure);
    if (!picture) {
        failed(j, index, &failure);
        return;
    }
    t->pictures++;
    for (size_t i = j->data->info.height * j->data->info.width; i > 0; i--)
        for (size_t c = 0; c < channels; c++) t->counts[c * VALUES + *picture++]++;
}

static kd_status make_tallies(job *j, size_t workers)
{
    kd_ctx *ctx = j->data->ctx;
    j->tallies = kd_ctx_alloc(ctx, workers, sizeof *j->tallies);
    if (!j->tallies) return kd_ctx_memory_status(ctx);
    for (size_t w = 0; w < workers; w++) {
        tally *t = &j->tallies[w];
        t->counts = kd_ctx_alloc(ctx, j->data->info.channels, VALUES * sizeof *t->counts);
        if (j->data->fetch) t->scratch = kd_ctx_alloc(ctx, kdi_dataset_bytes(j->data), 1);
        if (!t->counts || (j->data->fetch && !t->scratch)) return kd_ctx_memory_status(ctx);
    }
    return KD_OK;
}

static void free_tallies(job *j, size_t workers)
{
    for (size_t w = 0; j->tallies && w < workers; w++) {
        kd_ctx_free(j->data->ctx, j->tallies[w].counts);
        kd_ctx_free(j->data->ctx, j->tallies[w].scratch);
    }
    kd_ctx_free(j->data->ctx, j->tallies);
}

/* counts [VALUES] of one channel. */
static void summarise(const uint64_t *counts, float *mean, float *std)
{
    double n = 0, sum = 0, squares = 0;
    for (size_t v = 0; v < VALUES; v++) {
        n += (double)counts[v];
        sum += (double)v * (double)counts[v];
    }
    const double centre = sum / n;
    for (size_t v = 0; v < VALUES; v++) {
        const double away = (double)v - centre;
        squares += away * away * (double)counts[v];
    }
    *mean = (float)(centre / 255);
    *std = (float)(sqrt(squares / n) / 255);
}

static kd_status finish(const job *j, size_t workers, float *mean, float *std)
{
    const kd_data_info *info = &j->data->info;
    tally *all = &j->tallies[0];
    if (atomic_load(&j->failed) != SIZE_MAX)
        return kd_ctx_fail(j->data->ctx, j->failure.status, "%s", j->failure.text);
    for (size_t w = 1; w < workers; w++) {
        all->pictures += j->tallies[w].pictures;
        for (size_t i = 0; i < info->channels * VALUES; i++)
            all->counts[i] += j->tallies[w].counts[i];
    }
    if (all->pictures == 0)
        return kd_ctx_fail(j->data->ctx, KD_E_INVALID,
                           "data set '%s': none of the training pictures can be read", info->name);
    for (size_t c = 0; c < info->channels; c++) {
        float m, s;
        summarise(all->counts + c * VALUES, &m, &s);
        if (mean) mean[c] = m;
        if (std) std[c] = s;
    }
    return KD_OK;
}

/* The mean over a channel of x - centre, or of its square, picture after picture in double. */
static kd_status mean_of(const kd_dataset *data, size_t channel, double centre, bool squared,
                         double *mean)
{
    const kd_data_info *info = &data->info;
    const size_t count = info->count[KD_SPLIT_TRAIN], pixels = info->height * info->width;
    const float *x = (const float *)data->pixels[KD_SPLIT_TRAIN] + channel;
    double sum = 0;
    for (size_t n = 0; n < count; n++) {
        const kd_status status = kd_ctx_check_cancel(data->ctx);
        if (status) return status;
        for (size_t i = 0; i < pixels; i++, x += info->channels) {
            const double away = (double)*x - centre;
            sum += squared ? away * away : away;
        }
    }
    *mean = sum / ((double)count * (double)pixels);
    return KD_OK;
}

/* Of floats: the mean first, then the deviations from it. */
static kd_status measure_floats(const kd_dataset *data, float *mean, float *std)
{
    for (size_t c = 0; c < data->info.channels; c++) {
        double centre, variance;
        kd_status status = mean_of(data, c, 0, false, &centre);
        if (!status) status = mean_of(data, c, centre, true, &variance);
        if (status) return status;
        if (mean) mean[c] = (float)centre;
        if (std) std[c] = (float)sqrt(variance);
    }
    return KD_OK;
}

kd_status kd_dataset_measure(kd_dataset *data, float *mean, float *std)
{
    if (!data) return KD_E_INVALID;
    const size_t count = data->info.count[KD_SPLIT_TRAIN];
    if (count == 0)
        return kd_ctx_fail(data->ctx, KD_E_INVALID,
                           "data set '%s' has no training pictures that could be measured",
                           data->info.name);
    kd_status status = kd_ctx_check_cancel(data->ctx);
    if (status) return status;
    if (data->floats) return measure_floats(data, mean, std);
    /* Of files, decoding is worth the threads; a callback takes one call at a time anyway. */
    const bool together = !data->fetch || data->open;
    const size_t workers = together ? (size_t)kd_ctx_threads(data->ctx) : 1;
    job j = {.data = data};
    atomic_init(&j.failed, SIZE_MAX);
    if (pthread_mutex_init(&j.mutex, NULL))
        return kd_ctx_fail(data->ctx, KD_E_SYSTEM, "data set '%s': no mutex", data->info.name);
    status = make_tallies(&j, workers);
    if (!status && together) kd_parallel_for(data->ctx, count, count_one, &j);
    for (size_t i = 0; !status && !together && i < count; i++) count_one(&j, i, 0);
    if (!status) status = kd_ctx_check_cancel(data->ctx);
    if (!status) status = finish(&j, workers, mean, std);
    free_tallies(&j, workers);
    pthread_mutex_destroy(&j.mutex);
    return status;
}
