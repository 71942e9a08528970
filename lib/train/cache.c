/* SPDX-License-Identifier: MIT
 * cache.c: a teacher cache in a run. Rows that it has are read. Of a batch in which one is missing
 * the teachers' logits, and the taps of theirs that rows hold, are computed and written. What was
 * rounded for the file is what the students learn from, so that a run that fills the cache and one
 * that reads it have the same bits. */
#include "train.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { LONGEST = 3900, KEY_LIMIT = 1 << 20 };

static void key_path(const kdt_cache *c, char path[KDT_PATH])
{
    snprintf(path, KDT_PATH, "%s/cache.json", c->folder);
}

/* ---- the key --------------------------------------------------------------------------------- */

static uint64_t hash_of(const char *text, size_t size)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001B3u;
    return h;
}

kd_status kdt_cache_lend(kd_ctx *ctx, const char *folder, const char *text, size_t size,
                         kdt_cache *c)
{
    char path[KDT_PATH];
    *c = (kdt_cache){.ctx = ctx, .folder = folder, .now = {.part = -1, .epoch = KDT_NO_EPOCH}};
    if (strlen(folder) > LONGEST)
        return kd_ctx_fail(ctx, KD_E_INVALID, "the name of the cache's folder is too long");
    if (!text) return KD_OK;
    key_path(c, path);
    c->key_hash = hash_of(text, size);
    const kd_status status = kd_json_parse(ctx, text, size, &c->key);
    if (status == KD_E_FORMAT)
        kd_ctx_fail(ctx, status, "%s: this is no teacher cache: %s", path, kd_ctx_error(ctx));
    return status ? status : kdt_key_read(ctx, path, c->key, &c->facts);
}

kd_status kdt_cache_find(kd_ctx *ctx, const char *folder, kdt_cache *c)
{
    char path[KDT_PATH], *text = NULL;
    size_t size = 0;
    kd_status status = kdt_cache_lend(ctx, folder, NULL, 0, c);
    if (status) return status;
    key_path(c, path);
    status = kd_file_read_all(ctx, path, KEY_LIMIT, &text, &size);
    if (status == KD_E_NOTFOUND) return KD_OK;
    if (!status) status = kdt_cache_lend(ctx, folder, text, size, c);
    kd_ctx_free(ctx, text);
    return status;
}

/* A folder that holds a run is none for a cache. */
static kd_status check_no_run(const kdt_cache *c)
{
    static const char *const files[] = {"run.json", "checkpoint.safetensors", "metrics.jsonl"};
    char path[KDT_PATH];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", c->folder, files[i]);
        if (access(path, F_OK) == 0)
            return kd_ctx_fail(c->ctx, KD_E_EXISTS,
                               "cache: %s holds a run (%s); a cache has a folder of its own",
                               c->folder, files[i]);
    }
    return KD_OK;
}

/* The key goes to its file with the first epoch: a run that is refused before leaves nothing. Two
 * processes that begin a cache at once: one writes its key, the other finds it. */
static kd_status write_key(kdt_cache *c)
{
    char path[KDT_PATH], *text = NULL;
    kd_ctx *ctx = c->ctx;
    size_t size = 0;
    kd_status status = kd_folder_make(ctx, c->folder);
    if (status) return status;
    key_path(c, path);
    const int fd = open(c->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd >= 0 && flock(fd, LOCK_EX) && errno == EINTR) continue;
    if (access(path, F_OK))
        status = kd_file_write_atomic(ctx, path, c->unwritten, c->unwritten_size);
    if (fd >= 0) close(fd);
    if (!status) status = kd_file_read_all(ctx, path, KEY_LIMIT, &text, &size);
    if (!status && (size != c->unwritten_size || memcmp(text, c->unwritten, size)))
        status = kd_ctx_fail(ctx, KD_E_MISMATCH,
                             "%s: another process has begun this cache meanwhile, for other logits",
                             path);
    kd_ctx_free(ctx, text);
    if (status) return status;
    kd_ctx_free(ctx, c->unwritten);
    c->unwritten = NULL;
    return KD_OK;
}

/* Begin a cache with this key, in memory. */
static kd_status begin_key(kdt_cache *c, const char *text, size_t size)
{
    kd_status status = check_no_run(c);
    if (status) return status;
    c->unwritten = kd_ctx_alloc(c->ctx, size, 1);
    if (!c->unwritten) return kd_ctx_memory_status(c->ctx);
    memcpy(c->unwritten, text, size);
    c->unwritten_size = size;
    c->key_hash = hash_of(text, size);
    status = kd_json_parse(c->ctx, text, size, &c->key);
    return status ? status : kdt_key_read(c->ctx, c->folder, c->key, &c->facts);
}

/* Two texts of keys, this run's one new. */
static kd_status compare_key(kdt_feed *feed, const char *text, size_t size)
{
    char path[KDT_PATH];
    kdt_cache *c = &feed->cache;
    kd_json_object *now;
    key_path(c, path);
    kd_status status = kd_json_parse(feed->ctx, text, size, &now);
    if (status) return status;
    status = kdt_key_compare(feed, path, c->key, now, c->facts.any_augmentation,
                             feed->teachers[0].model != NULL);
    kd_json_object_destroy(now);
    return status;
}

/* Begin the cache with this run's key, or compare with the one it has. */
static kd_status agree(kdt_feed *feed, const kd_train_opt *t)
{
    kdt_cache *c = &feed->cache;
    kd_json *j;
    const char *text;
    size_t size;
    kd_status status = kd_json_create(feed->ctx, 1, &j);
    if (status) return status;
    kdt_key_print(feed, t, j);
    status = kd_json_text(j, &text, &size);
    if (!status && !c->key && !feed->looks_only)
        status = begin_key(c, text, size);
    else if (!status && c->key)
        status = compare_key(feed, text, size);
    kd_json_destroy(j);
    return status;
}

/* What is asked for against what is there. A mute teacher's logits may be any. */
static kd_status check_form(const kdt_feed *feed, const kd_distill_opt *o)
{
    const kdt_row_form *f = &feed->cache.facts.form;
    if (f->classes != feed->classes && !feed->mute)
        return kd_ctx_fail(feed->ctx, KD_E_MISMATCH,
                           "%s: the cache is of %zu classes, the student has %zu",
                           feed->cache.folder, f->classes, feed->classes);
    if (f->teachers != feed->n_teachers)
        return kd_ctx_fail(feed->ctx, KD_E_MISMATCH,
                           "%s: the cache is of %zu teachers, this run has %zu", feed->cache.folder,
                           f->teachers, feed->n_teachers);
    if (o->cache_precision == KD_CACHE_FLOAT16 && !f->half)
        return kd_ctx_fail(feed->ctx, KD_E_MISMATCH,
                           "cache_precision: the cache %s has float32, not float16",
                           feed->cache.folder);
    if (o->cache_top && o->cache_top != f->top)
        return kd_ctx_fail(feed->ctx, KD_E_MISMATCH,
                           "cache_top: the cache %s has %zu classes a picture, not %zu",
                           feed->cache.folder, f->top ? f->top : f->classes, o->cache_top);
    return KD_OK;
}

/* Of a cache that begins: logits, unless they are of no use, and the taps that its runs read. */
static kd_status new_form(const kdt_feed *feed, const kd_distill_opt *o, kdt_row_form *form)
{
    *form = (kdt_row_form){.classes = feed->mute ? 0 : feed->classes,
                           .teachers = feed->n_teachers,
                           .top = o->cache_top,
                           .half = o->cache_precision == KD_CACHE_FLOAT16};
    if (feed->mute && o->cache_top)
        return kd_ctx_fail(feed->ctx, KD_E_INVALID,
                           "cache_top: the teacher has other classes than the student: its logits "
                           "are not kept");
    for (size_t i = 0; i < feed->runs; i++) {
        const kdt_features *f = &feed->members[i]->features;
        for (size_t t = 0; t < f->n_teacher; t++)
            if (!kdt_features_named(form, f->teacher[t].name) &&
                !kdt_features_add(form, f->teacher[t].name, &f->shapes[t]))
                return kd_ctx_fail(feed->ctx, KD_E_UNSUPPORTED,
                                   "cache: it cannot hold the tap %s: it has %d at most, of one "
                                   "row a picture",
                                   f->teacher[t].name, (int)KDT_FEATURES);
    }
    return KD_OK;
}

kd_status kdt_cache_open(kdt_feed *feed, const kd_train_opt *t, const kd_distill_opt *o)
{
    kdt_cache *c = &feed->cache;
    const bool repeats = strstr(kd_loader_augment(feed->loader), "repeat") != NULL;
    kd_status status = c->key ? check_form(feed, o) : KD_OK;
    if (!status && c->key) status = kdt_features_check(feed);
    if (status) return status;
    c->by_sample = !kd_loader_mixes(feed->loader) && !repeats && !t->drop_last;
    c->cycle = c->by_sample && !kd_loader_draws(feed->loader) ? 1 : t->augment_epochs;
    if (c->facts.any_augmentation) {
        if (kd_loader_mixes(feed->loader))
            return kd_ctx_fail(feed->ctx, KD_E_UNSUPPORTED,
                               "%s: the cache has logits of single pictures, this run's are mixed",
                               c->folder);
        c->by_sample = true;
        c->cycle = c->facts.cycle;
    }
    c->layout.form = c->facts.form;
    if (!c->key) status = new_form(feed, o, &c->layout.form);
    if (status) return status;
    c->layout.rows = c->by_sample ? kd_dataset_info(feed->data)->count[KD_SPLIT_TRAIN]
                                  : kd_loader_samples(feed->loader);
    const kdt_layout wanted = c->layout;
    kdt_layout trial; /* is it possible? Before anything is written */
    status = kdt_layout_make(feed->ctx, &wanted.form, wanted.rows, 0, &trial);
    kdt_layout_free(feed->ctx, &trial);
    if (!status) status = agree(feed, t);
    c->layout = (kdt_layout){0};
    if (!status)
        status = kdt_layout_make(feed->ctx, &wanted.form, wanted.rows, c->key_hash, &c->layout);
    if (status) return status;
    c->bytes = kd_ctx_alloc(feed->ctx, c->layout.row_bytes, 1);
    return c->bytes ? KD_OK : kd_ctx_memory_status(feed->ctx);
}

void kdt_cache_close(kdt_cache *c)
{
    if (!c->ctx) return;
    kdt_epoch_close(&c->now);
    kdt_layout_free(c->ctx, &c->layout);
    kd_json_object_destroy(c->key);
    kd_ctx_free(c->ctx, c->unwritten);
    kd_ctx_free(c->ctx, c->bytes);
}

/* ---- epochs ---------------------------------------------------------------------------------- */

static size_t number_of(const kdt_cache *c, size_t epoch)
{
    return c->cycle ? epoch % c->cycle : epoch;
}

kd_status kdt_cache_covers(kdt_feed *feed, size_t epochs, size_t *missing)
{
    kdt_cache *c = &feed->cache;
    const size_t n = c->cycle && c->cycle < epochs ? c->cycle : epochs;
    kdt_epoch_file e;
    *missing = n;
    for (size_t i = 0; i < n; i++) {
        kd_status status = kdt_epoch_open(c->ctx, &c->layout, c->folder, c->key_hash, i, &e);
        if (kdt_cache_damaged(feed, status)) {
            status = kdt_cache_mend(c, i);
            kdt_epoch_close(&c->now);
            if (!status) status = KD_E_NOTFOUND;
        }
        if (status == KD_E_NOTFOUND) *missing = i;
        if (status) return status == KD_E_NOTFOUND ? KD_OK : status;
        kdt_epoch_close(&e);
    }
    return KD_OK;
}

kd_status kdt_cache_can_fill(const kdt_feed *feed)
{
    const size_t classes = feed->cache.layout.form.classes;
    if (!feed->mute || classes == 0) return KD_OK;
    return kd_ctx_fail(
        feed->ctx, KD_E_UNSUPPORTED,
        "%s: the cache lacks rows of this run, and keeps logits of %zu classes, too: "
        "a student of these classes fills it",
        feed->cache.folder, classes);
}

/* The file of this epoch: a complete one, or where the teachers are there the unfinished one. */
static kd_status go_to(kdt_feed *feed, size_t epoch)
{
    kdt_cache *c = &feed->cache;
    const size_t number = number_of(c, epoch);
    if (c->now.epoch == number) return KD_OK;
    kdt_epoch_close(&c->now);
    c->visited = 0;
    for (int tries = 0; tries < 2; tries++) {
        kd_status status =
            kdt_epoch_open(c->ctx, &c->layout, c->folder, c->key_hash, number, &c->now);
        if (status != KD_E_NOTFOUND) return status;
        if (!feed->live)
            return kd_ctx_fail(feed->ctx, KD_E_NOTFOUND,
                               "%s: the cache lacks epoch %zu, and no teacher is given", c->folder,
                               number + 1);
        if (tries) break;
        status = c->unwritten ? write_key(c) : KD_OK;
        if (status) return status;
        status = kdt_epoch_begin(c->ctx, &c->layout, c->folder, c->key_hash, number, &c->now);
        if (status || c->now.part >= 0) return status;
        /* another process may just have finished it */
    }
    c->now.epoch = number;
    return KD_OK;
}

/* ---- batches --------------------------------------------------------------------------------- */

size_t kdt_cache_row(const kdt_feed *feed, size_t i)
{
    const kd_batch *b = feed->now;
    return feed->cache.by_sample ? b->ids[i] : b->index * feed->batch + i;
}

/* Where picture i's numbers are in this batch. */
void kdt_cache_row_of(const kdt_feed *feed, size_t i, kdt_row *row)
{
    const kdt_row_form *form = &feed->cache.layout.form;
    for (size_t t = 0; t < feed->n_teachers; t++)
        row->in[t] = row->logits[t] = kdt_teacher_logits(feed, t, i);
    for (size_t k = 0; k < form->n_features; k++) {
        const kdt_tap_rows *tap = kdt_taps_find(feed, form->feature[k].name);
        row->features_in[k] = row->features[k] = tap ? tap->rows + i * tap->size : NULL;
    }
}

/* Nobody looks at a mute teacher's logits, which may be of more classes than there is memory for. */
bool kdt_cache_decode(const kdt_feed *feed, const unsigned char *bytes, kdt_row *row)
{
    return kdt_row_decode(&feed->cache.layout, bytes, feed->mute ? NULL : row->logits,
                          row->features);
}

/* *all: is every picture's row there? Then the logits are. */
static kd_status read_rows(kdt_feed *feed, bool *all)
{
    kdt_cache *c = &feed->cache;
    kdt_row numbers;
    *all = true;
    for (size_t i = 0; i < feed->taken && *all; i++) {
        const size_t row = kdt_cache_row(feed, i);
        const kd_status status = kdt_epoch_read(&c->now, row, feed->now->ids[i], c->bytes, all);
        if (status || !*all) return status;
        kdt_cache_row_of(feed, i, &numbers);
        if (!kdt_cache_decode(feed, c->bytes, &numbers))
            return kd_ctx_fail(feed->ctx, KD_E_FORMAT, "%s: row %zu is damaged",
                               kd_file_path(c->now.file), row);
    }
    return KD_OK;
}

/* Rows that were there stay. Numbers that are not finite are not kept: the run will say so. */
static kd_status write_rows(kdt_feed *feed)
{
    kdt_cache *c = &feed->cache;
    kdt_row numbers;
    for (size_t i = 0; i < feed->taken; i++) {
        bool there;
        const size_t row = kdt_cache_row(feed, i);
        const uint32_t id = feed->now->ids[i];
        kdt_cache_row_of(feed, i, &numbers);
        kd_status status = kdt_epoch_read(&c->now, row, id, c->bytes, &there);
        if (status) return status;
        if (!there && !kdt_row_encode(&c->layout, numbers.in, numbers.features_in, c->bytes)) {
            if (c->layout.form.half)
                return kd_ctx_fail(feed->ctx, KD_E_UNSUPPORTED,
                                   "%s: a number of picture %u is not finite as float16", c->folder,
                                   (unsigned)id);
            continue;
        }
        if (!there && c->now.part >= 0) kdt_epoch_write(&c->now, row, id, c->bytes);
        kdt_cache_decode(feed, c->bytes, &numbers);
    }
    return KD_OK;
}

/* After the batch: an epoch of which every batch went by, or every row is there, is complete. */
static void note_batch(kdt_feed *feed)
{
    kdt_cache *c = &feed->cache;
    const kd_batch *b = feed->now;
    if (feed->taken < b->n) return;
    if (b->index == c->visited) c->visited++;
    if (b->index + 1 < feed->batches || c->now.part < 0) return;
    if (c->visited == feed->batches || c->now.filled == kd_loader_samples(feed->loader))
        kdt_epoch_finish(&c->now);
}

/* After a failure to read: the epoch's file is mended, and the teachers are there. */
static kd_status read_again(kdt_feed *feed, bool *all)
{
    kd_status status = kdt_cache_mend(&feed->cache, number_of(&feed->cache, feed->now->epoch));
    if (!status && !feed->live) status = kdt_feed_wake(feed);
    return status ? status : read_rows(feed, all);
}

kd_status kdt_cache_logits(kdt_feed *feed)
{
    bool all;
    kd_status status = go_to(feed, feed->now->epoch);
    if (!status) status = read_rows(feed, &all);
    if (kdt_cache_damaged(feed, status)) status = read_again(feed, &all);
    if (status) return status;
    if (!all && feed->live) status = kdt_cache_can_fill(feed);
    if (status) return status;
    if (!all) {
        if (!feed->live)
            return kd_ctx_fail(feed->ctx, KD_E_MISMATCH,
                               "%s: epoch %zu of the cache lacks pictures of this run",
                               feed->cache.folder, feed->cache.now.epoch + 1);
        status = kdt_teachers_run(feed);
        if (!status) status = write_rows(feed);
    }
    if (!status) note_batch(feed);
    return status;
}
