/* SPDX-License-Identifier: MIT
 * cache_tools.c: a teacher cache without a run: filled, compared with its teachers, looked at. */
#include "train.h"

#include <kd/cache.h>

#include <math.h>
#include <string.h>

/* ---- a feed that nobody learns from ---------------------------------------------------------- */

typedef struct session {
    kdt_feed feed;
    kdt_run run;
    size_t held; /* bytes in use before the feed was opened; 0: it was not */
} session;

/* The student is read only: the run takes it to know its view. */
static kd_status open_session(session *s, kd_model *student, kd_dataset *data,
                              const kd_distill_opt *options)
{
    const bool fills = !s->feed.looks_only;
    kdt_run *run = &s->run;
    *run = (kdt_run){.ctx = kd_model_ctx(student),
                     .feed = &s->feed,
                     .model = student,
                     .data = data,
                     .folder = -1};
    kd_status status = kdt_take(run->ctx, student, NULL, options, true, &run->train, &run->opt);
    if (!status && !run->opt.cache)
        status = kd_ctx_fail(run->ctx, KD_E_INVALID, "kd_distill_opt: no cache is named");
    if (!status && fills && !run->opt.teacher && !run->opt.teachers)
        status =
            kd_ctx_fail(run->ctx, KD_E_INVALID, "a cache is filled by teachers: none is given");
    if (!status) status = kdt_teachers_check(&s->feed, run);
    if (!status) status = kdt_features_find(run);
    s->held = kd_ctx_memory(run->ctx);
    if (!status) status = kdt_feed_open(&s->feed, &run, 1);
    return status;
}

static kd_status close_session(session *s, kd_status status)
{
    kdt_feed_close(&s->feed);
    const bool short_of = s->held && kdt_lacks_memory(s->run.ctx, status);
    return short_of ? kdt_explain_feed(&s->run, s->held) : status;
}

/* The student for a run that only looks at it. */
static kd_model *writable(const kd_model *model)
{
    union {
        const kd_model *in;
        kd_model *out;
    } same = {.in = model};
    return same.out;
}

static kd_status report(session *s, size_t done, size_t all)
{
    const kd_train_opt *t = &s->run.train;
    const kd_batch *b = s->feed.now;
    const double none = (double)NAN;
    if (!t->progress) return KD_OK;
    const kd_progress p = {.struct_size = sizeof p,
                           .epoch = b->epoch,
                           .epochs = t->epochs,
                           .batch = b->index + 1,
                           .batches = s->feed.batches,
                           .fraction = (double)done / (double)all,
                           .loss = none,
                           .accuracy = none,
                           .images_per_second = none,
                           .augment = kd_loader_augment(s->feed.loader),
                           .feature_loss = none};
    return t->progress(t->user, &p)
               ? kd_ctx_fail(s->run.ctx, KD_E_STOPPED, "stopped in epoch %zu", b->epoch + 1)
               : KD_OK;
}

/* ---- filled ---------------------------------------------------------------------------------- */

static kd_status fill_epoch(session *s, size_t epoch, size_t epochs)
{
    kdt_feed *feed = &s->feed;
    const kdt_cache *c = &feed->cache;
    kdt_epoch_file e;
    kd_status status = kdt_epoch_open(c->ctx, &c->layout, c->folder, c->key_hash, epoch, &e);
    if (!status) kdt_epoch_close(&e);
    if (status != KD_E_NOTFOUND) return status;
    status = KD_OK;
    for (size_t b = 0; b < feed->batches && !status; b++) {
        status = kdt_feed_take(feed, epoch, b, SIZE_MAX);
        if (!status && b + 1 < feed->batches && c->now.part < 0 && !c->now.file)
            return kd_ctx_fail(feed->ctx, KD_E_IO,
                               "%s: epoch %zu is being written by another process, or cannot be "
                               "written",
                               c->folder, epoch + 1);
        if (!status) status = report(s, epoch * feed->batches + b + 1, epochs * feed->batches);
    }
    return status;
}

kd_status kd_cache_build(const kd_model *student, kd_dataset *data, const kd_distill_opt *options)
{
    session s = {.feed = {0}};
    if (!student) return KD_E_INVALID;
    if (!data) return kd_ctx_fail(kd_model_ctx(student), KD_E_INVALID, "kd_cache_build: NULL");
    kd_status status = open_session(&s, writable(student), data, options);
    const size_t cycle = s.feed.cache.cycle, epochs = s.run.train.epochs;
    const size_t n = cycle && cycle < epochs ? cycle : epochs;
    for (size_t e = 0; e < n && !status && s.feed.live; e++) status = fill_epoch(&s, e, n);
    return close_session(&s, status);
}

/* ---- compared with its teachers -------------------------------------------------------------- */

static void note_apart(const float *a, const float *b, size_t n, kd_cache_check *r)
{
    for (size_t i = 0; i < n; i++) {
        const double apart = fabs((double)a[i] - (double)b[i]);
        if (apart > r->worst) r->worst = apart;
    }
}

/* Rows of this batch that the cache has, against what the teachers say, which is there. */
static kd_status compare_rows(kdt_feed *feed, kd_cache_check *r, unsigned char *live,
                              kdt_row *stored)
{
    kdt_cache *c = &feed->cache;
    const kdt_row_form *form = &c->layout.form;
    for (size_t i = 0; i < feed->taken; i++) {
        kdt_row now;
        bool there;
        const kd_status status =
            kdt_epoch_read(&c->now, kdt_cache_row(feed, i), feed->now->ids[i], c->bytes, &there);
        if (status) return status;
        kdt_cache_row_of(feed, i, &now);
        if (!there || !kdt_row_encode(&c->layout, now.in, now.features_in, live)) continue;
        r->rows++;
        if (!memcmp(live, c->bytes, c->layout.row_bytes)) continue;
        r->different++;
        kdt_cache_decode(feed, live, &now);
        if (!kdt_cache_decode(feed, c->bytes, stored)) continue;
        for (size_t t = 0; t < feed->n_teachers; t++)
            note_apart(now.logits[t], stored->logits[t], form->classes, r);
        for (size_t k = 0; k < form->n_features; k++)
            note_apart(now.features[k], stored->features[k], form->feature[k].size, r);
    }
    return KD_OK;
}

/* Floats of a row. */
static size_t row_floats(const kdt_feed *feed)
{
    const kdt_row_form *form = &feed->cache.layout.form;
    size_t n = feed->n_teachers * form->classes;
    for (size_t k = 0; k < form->n_features; k++) n += form->feature[k].size;
    return n;
}

static void lay_out(const kdt_feed *feed, float *at, kdt_row *row)
{
    const kdt_row_form *form = &feed->cache.layout.form;
    for (size_t t = 0; t < feed->n_teachers; t++, at += form->classes) row->logits[t] = at;
    for (size_t k = 0; k < form->n_features; at += form->feature[k++].size) row->features[k] = at;
}

/* Batch number i of those of complete epochs. */
static kd_status compare_batch(kdt_feed *feed, size_t epoch, size_t batch, kd_cache_check *r,
                               float *scratch)
{
    kdt_cache *c = &feed->cache;
    kdt_row stored;
    lay_out(feed, scratch, &stored);
    kd_status status = kd_loader_seek(feed->loader, epoch, batch);
    if (!status) status = kd_loader_next(feed->loader, &feed->now);
    if (status) return status;
    feed->taken = feed->now->n;
    if (c->now.epoch != epoch) {
        kdt_epoch_close(&c->now);
        status = kdt_epoch_open(c->ctx, &c->layout, c->folder, c->key_hash, epoch, &c->now);
    }
    if (!status) status = kdt_teachers_run(feed);
    return status ? status
                  : compare_rows(feed, r, (unsigned char *)(scratch + row_floats(feed)), &stored);
}

/* The epochs that are complete, from the first on. */
static kd_status complete_epochs(const kdt_cache *c, size_t most, size_t *n)
{
    kdt_epoch_file e;
    for (*n = 0; *n < most; ++*n) {
        const kd_status status = kdt_epoch_open(c->ctx, &c->layout, c->folder, c->key_hash, *n, &e);
        if (status) return status == KD_E_NOTFOUND ? KD_OK : status;
        kdt_epoch_close(&e);
    }
    return KD_OK;
}

static kd_status compare_all(session *s, size_t batches, kd_cache_check *r)
{
    kdt_feed *feed = &s->feed;
    const size_t cycle = feed->cache.cycle;
    size_t epochs;
    kd_status status = complete_epochs(&feed->cache, cycle ? cycle : SIZE_MAX, &epochs);
    if (status) return status;
    const size_t all = epochs * feed->batches, n = batches && batches < all ? batches : all;
    const size_t floats = row_floats(feed) * sizeof(float);
    if (epochs == 0)
        return kd_ctx_fail(feed->ctx, KD_E_NOTFOUND, "%s: no epoch of the cache is complete",
                           feed->cache.folder);
    float *scratch = kd_ctx_alloc(feed->ctx, floats + feed->cache.layout.row_bytes, 1);
    status = scratch ? KD_OK : kd_ctx_memory_status(feed->ctx);
    for (size_t i = 0; i < n && !status; i++) {
        const size_t at = (size_t)((double)all * (double)i / (double)n);
        status = compare_batch(feed, at / feed->batches, at % feed->batches, r, scratch);
        if (!status) status = report(s, i + 1, n);
    }
    kd_ctx_free(feed->ctx, scratch);
    return status;
}

kd_status kd_cache_verify(const kd_model *student, kd_dataset *data, const kd_distill_opt *options,
                          size_t batches, kd_cache_check *result)
{
    session s = {.feed = {.always_live = true}};
    kd_cache_check here = {.struct_size = sizeof here};
    if (!student) return KD_E_INVALID;
    if (!data) return kd_ctx_fail(kd_model_ctx(student), KD_E_INVALID, "kd_cache_verify: NULL");
    kd_status status = kd_results_check(kd_model_ctx(student), "kd_cache_check", result);
    if (!status) status = open_session(&s, writable(student), data, options);
    if (!status) status = compare_all(&s, batches, &here);
    status = close_session(&s, status);
    kd_results(result, &here, sizeof here);
    return status;
}

/* ---- of two runs ------------------------------------------------------------------------------ */

/* The key that this run would begin its cache with, found where there is none. */
static kd_status lend_key(const session *from, session *to)
{
    kd_json *j;
    const char *text;
    size_t size;
    kd_ctx *ctx = from->run.ctx;
    kd_status status = kd_json_create(ctx, 1, &j);
    if (status) return status;
    kdt_key_print(&from->feed, &from->run.train, j);
    status = kd_json_text(j, &text, &size);
    if (!status) status = kdt_cache_lend(ctx, from->run.opt.cache, text, size, &to->feed.cache);
    kd_json_destroy(j);
    return status;
}

kd_status kd_cache_agree(const kd_student *one, kd_dataset *data, const kd_student *other,
                         kd_dataset *others_data)
{
    session first = {.feed.looks_only = true}, second = {.feed.looks_only = true};
    if (!one || !one->model) return KD_E_INVALID;
    if (!data || !other || !other->model || !others_data)
        return kd_ctx_fail(kd_model_ctx(one->model), KD_E_INVALID, "kd_cache_agree: NULL");
    kd_status status = open_session(&first, one->model, data, one->opt);
    if (!status && !first.feed.cache.key) status = lend_key(&first, &second);
    if (!status) status = open_session(&second, other->model, others_data, other->opt);
    kdt_feed_close(&second.feed);
    kdt_feed_close(&first.feed);
    return status;
}

/* ---- looked at ------------------------------------------------------------------------------- */

static kd_status count_rows(kdt_epoch_file *e, bool read, kd_cache_epoch *r)
{
    const kdt_layout *l = e->layout;
    unsigned char *bytes = kd_ctx_alloc(e->ctx, l->row_bytes, 1);
    kd_status status = bytes ? KD_OK : kd_ctx_memory_status(e->ctx);
    r->filled = e->tensors[0] ? 0 : l->rows;
    for (size_t row = 0; row < l->rows && e->tensors[0] && !status; row++) {
        kdt_mark mark;
        bool there;
        status = kdt_epoch_mark(e, row, &mark);
        if (status || mark.id == 0) continue;
        r->filled++;
        if (!read) continue;
        const kd_status row_status = kdt_epoch_read(e, row, mark.id - 1, bytes, &there);
        if (row_status && row_status != KD_E_FORMAT) status = row_status;
        r->damaged += !there;
    }
    kd_ctx_free(e->ctx, bytes);
    return status;
}

static kd_status look(kdt_cache *c, size_t epoch, bool read, kd_cache_epoch *r)
{
    kdt_epoch_file e;
    const kdt_key_facts *f = &c->facts;
    kd_status status = kdt_layout_make(c->ctx, &f->form, f->rows, c->key_hash, &c->layout);
    if (status) return status;
    status = kdt_epoch_open(c->ctx, &c->layout, c->folder, c->key_hash, epoch, &e);
    r->complete = status == KD_OK;
    if (status == KD_E_NOTFOUND)
        status = kdt_epoch_look(c->ctx, &c->layout, c->folder, c->key_hash, epoch, &e);
    if (status) return status;
    r->rows = f->rows;
    r->bytes = kd_file_size(e.file);
    status = count_rows(&e, read, r);
    kdt_epoch_close(&e);
    return status;
}

kd_status kd_cache_look(kd_ctx *ctx, const char *folder, size_t epoch, int read,
                        kd_cache_epoch *result)
{
    kdt_cache c;
    kd_cache_epoch here = {.struct_size = sizeof here};
    if (!ctx) return KD_E_INVALID;
    if (!folder) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_cache_look: NULL");
    kd_status status = kd_results_check(ctx, "kd_cache_epoch", result);
    if (status) return status;
    status = kdt_cache_find(ctx, folder, &c);
    if (!status && !c.key)
        status = kd_ctx_fail(ctx, KD_E_NOTFOUND, "%s: there is no teacher cache", folder);
    if (!status) status = look(&c, epoch, read != 0, &here);
    kdt_cache_close(&c);
    kd_results(result, &here, sizeof here);
    return status;
}
