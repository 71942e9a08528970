/* SPDX-License-Identifier: MIT
 * feed.c: what feeds runs: batches of pictures, each in the views of students and teachers, and the
 * teachers' logits of them. The teachers run for the whole batch before any student does; a
 * student's micro-batches then read their rows. */
#include "train.h"

#include <string.h>

/* ---- views ----------------------------------------------------------------------------------- */

static bool same_view(const kd_view *a, const kd_view *b)
{
    if (a->height != b->height || a->width != b->width || a->channels != b->channels) return false;
    const size_t bytes = a->channels * sizeof(float);
    if (!a->mean || !b->mean) return a->mean == b->mean;
    return !memcmp(a->mean, b->mean, bytes) && !memcmp(a->std, b->std, bytes);
}

/* The index of the network's view among views [*n], to which it is added unless it is there. */
static size_t view_of(const kd_model *model, const kd_data_info *info, kd_view *views, size_t *n)
{
    size_t v = 0;
    views[*n] = kd_model_view(model, info);
    while (!same_view(&views[v], &views[*n])) v++;
    if (v == *n) ++*n;
    return v;
}

/* ---- opened and closed ----------------------------------------------------------------------- */

static kd_status open_loader(kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    const kd_train_opt *t = &runs[0]->train;
    const kd_data_info *info = kd_dataset_info(feed->data);
    kd_view *views = kd_ctx_alloc(feed->ctx, n + KD_MAX_TEACHERS, sizeof *views);
    size_t n_views = 0;
    if (!views) return kd_ctx_memory_status(feed->ctx);
    for (size_t i = 0; i < n; i++) runs[i]->view = view_of(runs[i]->model, info, views, &n_views);
    for (size_t k = 0; k < feed->n_teachers; k++)
        feed->teachers[k].view = view_of(feed->teachers[k].model, info, views, &n_views);
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TRAIN,
                               .dev_count = t->dev_count,
                               .batch = t->batch,
                               .shuffle = 1,
                               .drop_last = t->drop_last,
                               .augment = t->augment,
                               .seed = t->seed,
                               .depth = t->depth,
                               .n_views = n_views,
                               .views = views};
    const kd_status status = kd_loader_create(feed->data, &opt, &feed->loader);
    kd_ctx_free(feed->ctx, views);
    if (status) return status;
    feed->batches = kd_loader_batches(feed->loader);
    if (feed->batches == 0)
        return kd_ctx_fail(feed->ctx, KD_E_INVALID,
                           "batch: the training set is smaller than a batch of %zu", t->batch);
    return KD_OK;
}

kd_status kdt_feed_open(kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    const kdt_run *run = runs[0];
    feed->ctx = run->ctx;
    feed->data = run->data;
    feed->batch = run->train.batch;
    feed->classes = kd_model_classes(run->model);
    kd_status status = open_loader(feed, runs, n);
    if (!status) status = kdt_teachers_open(feed);
    if (status || feed->n_teachers == 0) return status;
    feed->logits = kd_ctx_alloc(feed->ctx, feed->n_teachers * feed->classes,
                                feed->batch * sizeof *feed->logits);
    return feed->logits ? KD_OK : kd_ctx_memory_status(feed->ctx);
}

void kdt_feed_close(kdt_feed *feed)
{
    kd_loader_close(feed->loader);
    kdt_teachers_close(feed);
    kd_ctx_free(feed->ctx, feed->logits);
}

/* ---- batches --------------------------------------------------------------------------------- */

kd_status kdt_feed_next(kdt_feed *feed, size_t most)
{
    const double start = kd_seconds();
    kd_status status = kd_loader_next(feed->loader, &feed->now);
    if (status) return status;
    const double loaded = kd_seconds();
    feed->taken = feed->now->n < most ? feed->now->n : most;
    status = kdt_teachers_run(feed);
    feed->seconds_data = loaded - start;
    feed->seconds_teacher = kd_seconds() - loaded;
    return status;
}

kd_status kdt_feed_seek(kdt_feed *feed, size_t epoch, size_t batch)
{
    return kd_loader_seek(feed->loader, epoch, batch);
}
