/* SPDX-License-Identifier: MIT
 * feature.c: losses that read more than logits. Which taps of student and teacher they read, the
 * teacher's rows of them for a batch, and the loss of the caller's own. Parameters that such a loss
 * declares are called "loss.NAME", and live beside the network's (kdt_run.extra). */
#include "train.h"

#include <stdio.h>
#include <string.h>

bool kdt_has_features(const kd_distill_opt *o)
{
    return o->loss || o->feature != KD_FEATURE_NONE;
}

/* ---- which taps ------------------------------------------------------------------------------ */

/* Append a name. */
kd_status kdt_add_tap(kd_ctx *ctx, const char *name, kd_tap *taps, size_t *n)
{
    if (*n == KDT_TAPS)
        return kd_ctx_fail(ctx, KD_E_LIMIT, "a loss reads %d taps of a network at most",
                           (int)KDT_TAPS);
    if (!name || !*name || strlen(name) >= sizeof taps->name)
        return kd_ctx_fail(ctx, KD_E_NOTFOUND, "'%.60s' is no tap's name", name ? name : "");
    kd_tap *tap = &taps[(*n)++];
    memset(tap->name, 0, sizeof tap->name);
    memcpy(tap->name, name, strlen(name));
    tap->value = KD_NONE;
    return KD_OK;
}

static kd_status find_own(kdt_run *run)
{
    const kd_distill_opt *o = &run->opt;
    kdt_features *f = &run->features;
    kd_status status = KD_OK;
    if ((o->n_student_taps && !o->student_taps) || (o->n_teacher_taps && !o->teacher_taps))
        return kd_ctx_fail(run->ctx, KD_E_INVALID, "kd_distill_opt: taps are counted, not named");
    if (!o->loss && (o->n_student_taps || o->n_teacher_taps))
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "kd_distill_opt: taps are named, but no loss reads them");
    for (size_t t = 0; t < o->n_student_taps && !status; t++)
        status = kdt_add_tap(run->ctx, o->student_taps[t], f->student, &f->n_student);
    for (size_t t = 0; t < o->n_teacher_taps && !status; t++)
        status = kdt_add_tap(run->ctx, o->teacher_taps[t], f->teacher, &f->n_teacher);
    f->own_student = f->n_student;
    f->own_teacher = f->n_teacher;
    return status;
}

/* Floats of a picture. */
static size_t size_of(const kd_shape *s)
{
    size_t n = (size_t)-s->dim[0];
    for (int i = 1; i < s->rank; i++) n *= (size_t)s->dim[i];
    return n;
}

/* Taps of the teacher are those of one network that runs, or that a cache holds. */
static kd_status check_teacher(const kdt_run *run)
{
    const kdt_feed *feed = run->feed;
    if (feed->n_teachers != 1)
        return kd_ctx_fail(run->ctx, KD_E_UNSUPPORTED,
                           "a loss reads the taps of one teacher, and %zu are given",
                           feed->n_teachers);
    if (!feed->teachers[0].model && !feed->cache.key)
        return kd_ctx_fail(
            run->ctx, KD_E_UNSUPPORTED,
            "a function gives a teacher's logits alone, and this loss reads its taps");
    return KD_OK;
}

/* The shapes of the teacher's taps; KD_E_NOTFOUND where one is not there. */
static kd_status find_shapes(kdt_run *run)
{
    enum { MOST = 1024 };
    kdt_features *f = &run->features;
    if (!run->feed->teachers[0].model) return KD_OK;
    const char *spec = kd_model_spec(run->feed->teachers[0].model);
    size_t n;
    kd_tap_info *all = kd_ctx_alloc(run->ctx, MOST, sizeof *all);
    if (!all) return kd_ctx_memory_status(run->ctx);
    kd_status status = kd_spec_taps(run->ctx, spec, all, MOST, &n);
    for (size_t t = 0; t < f->n_teacher && !status; t++) {
        size_t i = 0;
        while (i < n && i < MOST && strcmp(all[i].name, f->teacher[t].name)) i++;
        if (i == n || i == MOST)
            status = kd_ctx_fail(run->ctx, KD_E_NOTFOUND,
                                 "the teacher (%s) has no tap '%s'; the last one is %s", spec,
                                 f->teacher[t].name, all[n - 1].name);
        else
            f->shapes[t] = all[i].shape;
    }
    kd_ctx_free(run->ctx, all);
    return status;
}

bool kdt_same_shape(const kd_shape *a, const kd_shape *b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; i < a->rank && same; i++) same = a->dim[i] == b->dim[i];
    return same;
}

/* The teacher's taps against a cache that is there; without the teacher their shapes are its. */
static kd_status check_cached(kdt_run *run)
{
    const kdt_feed *feed = run->feed;
    const kdt_row_form *form = &feed->cache.facts.form;
    kdt_features *f = &run->features;
    for (size_t t = 0; t < f->n_teacher; t++) {
        char names[300];
        const kdt_feature *have = kdt_features_named(form, f->teacher[t].name);
        kdt_features_names(form, names, sizeof names);
        if (!have)
            return kd_ctx_fail(run->ctx, KD_E_MISMATCH,
                               "%s: the cache has not the teacher's tap %s, which this loss reads: "
                               "it has %s",
                               run->opt.cache, f->teacher[t].name, names);
        if (!feed->teachers[0].model) f->shapes[t] = have->shape;
        if (!kdt_same_shape(&have->shape, &f->shapes[t]))
            return kd_ctx_fail(
                run->ctx, KD_E_MISMATCH,
                "%s: the cache's tap %s has %zu numbers a picture, or another shape; "
                "the teacher's has %zu",
                run->opt.cache, have->name, have->size, size_of(&f->shapes[t]));
    }
    return KD_OK;
}

kd_status kdt_features_find(kdt_run *run)
{
    run->features.n_student = run->features.n_teacher = 0;
    kd_status status = find_own(run);
    if (!status && run->opt.feature) status = check_teacher(run);
    if (!status && run->opt.feature) status = kdt_feature_taps(run, &run->features);
    if (!status && run->features.n_teacher) status = check_teacher(run);
    if (!status && run->features.n_teacher) status = find_shapes(run);
    if (!status && run->opt.cache && run->feed->cache.key) status = check_cached(run);
    return status;
}

/* What a cache says that it holds of a teacher who is there: does he have it? */
kd_status kdt_features_check(const kdt_feed *feed)
{
    enum { MOST = 1024 };
    const kdt_row_form *form = &feed->cache.facts.form;
    kd_status status = KD_OK;
    size_t n;
    if (form->n_features == 0 || !feed->teachers[0].model) return KD_OK;
    kd_tap_info *all = kd_ctx_alloc(feed->ctx, MOST, sizeof *all);
    if (!all) return kd_ctx_memory_status(feed->ctx);
    status = kd_spec_taps(feed->ctx, feed->teachers[0].spec, all, MOST, &n);
    for (size_t k = 0; k < form->n_features && !status; k++) {
        const kdt_feature *f = &form->feature[k];
        size_t i = 0;
        while (i < n && i < MOST &&
               (strcmp(all[i].name, f->name) || !kdt_same_shape(&all[i].shape, &f->shape)))
            i++;
        if (i == n || i == MOST)
            status = kd_ctx_fail(feed->ctx, KD_E_MISMATCH,
                                 "%s: the cache has %s of %zu numbers a picture, the teacher (%s) "
                                 "has none such",
                                 feed->cache.folder, f->name, f->size, feed->teachers[0].spec);
    }
    kd_ctx_free(feed->ctx, all);
    return status;
}

/* ---- the teacher's rows ---------------------------------------------------------------------- */

const kdt_tap_rows *kdt_taps_find(const kdt_feed *feed, const char *name)
{
    for (size_t i = 0; i < feed->n_taps; i++)
        if (!strcmp(feed->taps[i].name, name)) return &feed->taps[i];
    return NULL;
}

static kd_status add_rows(kdt_feed *feed, const char *name, size_t size)
{
    if (kdt_taps_find(feed, name)) return KD_OK;
    if (feed->n_taps == KDT_FEED_TAPS)
        return kd_ctx_fail(feed->ctx, KD_E_LIMIT,
                           "the losses read more than %d taps of the teacher", (int)KDT_FEED_TAPS);
    kdt_tap_rows *tap = &feed->taps[feed->n_taps];
    snprintf(tap->name, sizeof tap->name, "%s", name);
    tap->size = size;
    tap->rows = kd_ctx_alloc(feed->ctx, feed->most * sizeof(float), tap->size);
    if (!tap->rows) return kd_ctx_memory_status(feed->ctx);
    feed->n_taps++;
    return KD_OK;
}

/* All runs' taps, each once; and where the teacher may have to fill a cache, all that it holds. */
kd_status kdt_taps_open(kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    const kdt_row_form *form = &feed->cache.layout.form;
    const size_t cached = feed->cached && feed->teachers[0].model ? form->n_features : 0;
    size_t most = cached;
    kd_status status = KD_OK;
    for (size_t i = 0; i < n; i++) most += runs[i]->features.n_teacher;
    if (most == 0) return KD_OK;
    feed->taps = kd_ctx_alloc(feed->ctx, most, sizeof *feed->taps);
    if (!feed->taps) return kd_ctx_memory_status(feed->ctx);
    for (size_t i = 0; i < n; i++)
        for (size_t t = 0; t < runs[i]->features.n_teacher && !status; t++)
            status = add_rows(feed, runs[i]->features.teacher[t].name,
                              size_of(&runs[i]->features.shapes[t]));
    for (size_t i = 0; i < cached && !status; i++)
        status = add_rows(feed, form->feature[i].name, form->feature[i].size);
    return status;
}

void kdt_taps_close(kdt_feed *feed)
{
    for (size_t i = 0; i < feed->n_taps; i++) kd_ctx_free(feed->ctx, feed->taps[i].rows);
    kd_ctx_free(feed->ctx, feed->taps);
}

/* ---- a loss of one's own --------------------------------------------------------------------- */

kd_value kdt_own_loss(kd_graph *g, const kd_distill_opt *o, const kdt_features *f, kd_value logits,
                      kd_value labels, const kd_value *teachers)
{
    const kd_loss_graph step = {.struct_size = sizeof step,
                                .graph = g,
                                .logits = logits,
                                .labels = labels,
                                .teachers = teachers,
                                .n_teachers = o->n_teachers,
                                .student_taps = f->student,
                                .n_student_taps = f->own_student,
                                .teacher_taps = f->teacher,
                                .n_teacher_taps = f->own_teacher};
    if (kd_graph_status(g)) return KD_NONE;
    kd_graph_scope(g, "loss");
    const size_t before = kd_ctx_failures(kd_graph_ctx(g));
    const kd_value own = o->loss(o->loss_user, &step);
    kd_graph_unscope(g);
    if (own == KD_NONE && !kd_graph_status(g) && kd_ctx_failures(kd_graph_ctx(g)) != before)
        return kd_graph_fail(g, KD_E_INVALID); /* it said why with kd_ctx_fail */
    const kd_shape s = kd_graph_shape(g, own);
    if (!kd_graph_status(g) && (s.rank != 1 || s.dim[0] != 1))
        return kd_graph_fail(g, kd_ctx_fail(kd_graph_ctx(g), KD_E_SHAPE,
                                            "kd_distill_opt.loss: what it returned is no scalar "
                                            "[1] of the graph"));
    return own;
}
