/* SPDX-License-Identifier: MIT
 * feed.c: what feeds runs: batches of pictures, each in the views of students and teachers, and the
 * teachers' logits of them: by live teachers, from a cache, or by the caller's function. They are
 * there for the whole batch before any student begins; a student's micro-batches read their rows. */
#include "train.h"

#include <string.h>

/* ---- views ----------------------------------------------------------------------------------- */

bool kdt_same_view(const kd_view *a, const kd_view *b)
{
    if (a->height != b->height || a->width != b->width || a->channels != b->channels) return false;
    const size_t bytes = a->channels * sizeof(float);
    if (!a->mean || !b->mean) return a->mean == b->mean;
    return !memcmp(a->mean, b->mean, bytes) && !memcmp(a->std, b->std, bytes);
}

/* Views, each once. */
typedef struct view_list {
    kd_view *views;
    size_t n, height, width; /* of the largest */
} view_list;

static void widen(view_list *list, size_t height, size_t width)
{
    if (height > list->height) list->height = height;
    if (width > list->width) list->width = width;
}

/* The view's index in the list, to which it is added unless it is there. */
static size_t add_view(view_list *list, kd_view view)
{
    size_t v = 0;
    list->views[list->n] = view;
    while (!kdt_same_view(&list->views[v], &list->views[list->n])) v++;
    if (v == list->n) list->n++;
    widen(list, view.height, view.width);
    return v;
}

/* Students' views, and those of whoever is asked for logits. A teacher that is not asked needs no
 * view, but pictures are framed as large as if it had one: the student sees the same. */
static void list_views(kdt_feed *feed, kdt_run *const *runs, size_t n, view_list *list)
{
    const kd_data_info *info = kd_dataset_info(feed->data);
    const kd_view *asked = runs[0]->opt.logits_view;
    for (size_t i = 0; i < n; i++)
        runs[i]->view = add_view(list, kd_model_view(runs[i]->model, info));
    for (size_t k = 0; k < feed->n_teachers; k++) {
        kdt_teacher *teacher = &feed->teachers[k];
        if (teacher->model && feed->live)
            teacher->view = add_view(list, kd_model_view(teacher->model, info));
        widen(list, teacher->height, teacher->width);
    }
    if (feed->function) feed->function_view = asked ? add_view(list, *asked) : runs[0]->view;
}

/* ---- opened and closed ----------------------------------------------------------------------- */

static kd_status open_loader(kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    const kd_train_opt *t = &runs[0]->train;
    view_list list = {.views = kd_ctx_alloc(feed->ctx, n + KD_MAX_TEACHERS + 1, sizeof(kd_view))};
    if (!list.views) return kd_ctx_memory_status(feed->ctx);
    list_views(feed, runs, n, &list);
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TRAIN,
                               .dev_count = t->dev_count,
                               .batch = t->batch,
                               .shuffle = 1,
                               .drop_last = t->drop_last,
                               .augment = t->augment,
                               .seed = t->seed,
                               .depth = t->depth,
                               .n_views = list.n,
                               .views = list.views,
                               .canvas_height = list.height,
                               .canvas_width = list.width,
                               .cycle = t->augment_epochs};
    kd_loader_close(feed->loader);
    feed->loader = NULL;
    const size_t all = kd_dataset_info(feed->data)->count[KD_SPLIT_TRAIN];
    feed->most = t->batch < all ? t->batch : all; /* until the loader says how many are left */
    const kd_status status = kd_loader_create(feed->data, &opt, &feed->loader);
    kd_ctx_free(feed->ctx, list.views);
    if (status) return status;
    feed->batches = kd_loader_batches(feed->loader);
    const size_t samples = kd_loader_samples(feed->loader);
    feed->most = t->batch < samples ? t->batch : samples;
    if (feed->batches == 0)
        return kd_ctx_fail(feed->ctx, KD_E_INVALID,
                           "batch: the training set is smaller than a batch of %zu", t->batch);
    return KD_OK;
}

/* A run's own pictures would be framed at its own view's size, or the teachers'. */
static kd_status check_canvas(const kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    size_t height, width;
    if (!kd_loader_canvas(feed->loader, &height, &width)) return KD_OK;
    for (size_t i = 0; i < n; i++) {
        view_list own = {.height = kd_model_height(runs[i]->model),
                         .width = kd_model_width(runs[i]->model)};
        for (size_t k = 0; k < feed->n_teachers; k++)
            widen(&own, feed->teachers[k].height, feed->teachers[k].width);
        if (own.height != height || own.width != width)
            return kd_ctx_fail(
                feed->ctx, KD_E_INVALID,
                "student %zu: alone its pictures would be framed at %zux%zu pixels, with "
                "the others at %zux%zu: it needs a pass of its own",
                i, own.height, own.width, height, width);
    }
    return KD_OK;
}

/* Epochs of which the runs need logits; SIZE_MAX: nobody knows. */
static size_t epochs_of(const kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    size_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const kd_train_opt *t = &runs[i]->train;
        size_t epochs = t->budget_seconds > 0 ? SIZE_MAX : t->epochs;
        const size_t steps = (feed->batches + t->accumulate - 1) / t->accumulate;
        if (t->max_steps && (t->max_steps - 1) / steps + 1 < epochs)
            epochs = (t->max_steps - 1) / steps + 1;
        if (epochs > most) most = epochs;
    }
    return most;
}

/* The cache, and whether the teachers are needed besides. */
static kd_status open_cache(kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    const kdt_run *run = runs[0];
    const size_t epochs = epochs_of(feed, runs, n);
    size_t missing;
    kd_status status = kdt_teachers_identify(feed);
    if (!status) status = kdt_cache_open(feed, &run->train, &run->opt);
    if (status) return status;
    feed->cached = true;
    const kdt_cache *c = &feed->cache;
    if (feed->always_live || feed->looks_only) {
        feed->live = feed->always_live;
        return KD_OK;
    }
    status = kdt_cache_covers(feed, epochs, &missing);
    if (status || missing >= epochs || (c->cycle && missing >= c->cycle)) return status;
    if (!feed->teachers[0].model)
        return kd_ctx_fail(feed->ctx, KD_E_NOTFOUND,
                           "%s: the cache lacks epoch %zu of this run, and no teacher is given",
                           c->folder, missing + 1);
    feed->live = true;
    return kdt_cache_can_fill(feed);
}

/* With a cache the loader is opened without the teachers' views first: its words are part of the
 * key, and whether the views are needed is known only then. */
kd_status kdt_feed_open(kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    const kdt_run *run = runs[0];
    feed->ctx = run->ctx;
    feed->members = runs;
    feed->runs = n;
    feed->data = run->data;
    feed->batch = run->train.batch;
    feed->classes = kd_model_classes(run->model);
    feed->function = run->opt.logits;
    feed->function_user = run->opt.logits_user;
    feed->live = feed->n_teachers && !run->opt.cache;
    kd_status status = open_loader(feed, runs, n);
    if (!status) status = kdt_teachers_batch(feed);
    if (!status && run->opt.cache) {
        status = open_cache(feed, runs, n);
        if (!status && feed->live) status = open_loader(feed, runs, n);
    }
    if (!status && n > 1) status = check_canvas(feed, runs, n);
    if (!status) status = kdt_taps_open(feed, runs, n);
    if (!status && feed->live) status = kdt_teachers_open(feed);
    if (status || feed->n_teachers == 0) return status;
    feed->logits = kd_ctx_alloc(feed->ctx, feed->n_teachers * feed->classes,
                                feed->most * sizeof *feed->logits);
    return feed->logits ? KD_OK : kd_ctx_memory_status(feed->ctx);
}

kd_status kdt_feed_wake(kdt_feed *feed)
{
    const size_t epoch = feed->now->epoch, batch = feed->now->index;
    feed->now = NULL;
    feed->live = true;
    kd_status status = open_loader(feed, feed->members, feed->runs);
    if (!status) status = kdt_teachers_open(feed);
    if (!status) status = kd_loader_seek(feed->loader, epoch, batch);
    return status ? status : kd_loader_next(feed->loader, &feed->now);
}

void kdt_feed_close(kdt_feed *feed)
{
    kd_loader_close(feed->loader);
    kdt_cache_close(&feed->cache);
    kdt_teachers_close(feed);
    if (!feed->ctx) return;
    kdt_taps_close(feed);
    kd_ctx_free(feed->ctx, feed->logits);
    kd_ctx_free(feed->ctx, feed->arena);
}

/* ---- batches --------------------------------------------------------------------------------- */

static kd_status seek(kdt_feed *feed, size_t epoch, size_t batch)
{
    if (feed->next_epoch == epoch && feed->next_batch == batch) return KD_OK;
    const kd_status status = kd_loader_seek(feed->loader, epoch, batch);
    feed->next_epoch = epoch;
    feed->next_batch = batch;
    return status;
}

kd_status kdt_feed_take(kdt_feed *feed, size_t epoch, size_t batch, size_t most)
{
    const double start = kd_seconds();
    kd_status status = seek(feed, epoch, batch);
    if (!status) status = kd_loader_next(feed->loader, &feed->now);
    if (status) return status;
    const double loaded = kd_seconds();
    const bool last = batch + 1 == feed->batches;
    feed->next_epoch = last ? epoch + 1 : epoch;
    feed->next_batch = last ? 0 : batch + 1;
    feed->taken = feed->now->n < most ? feed->now->n : most;
    status = feed->cached ? kdt_cache_logits(feed) : kdt_teachers_run(feed);
    feed->seconds_data = loaded - start;
    feed->seconds_teacher = kd_seconds() - loaded;
    return status;
}
