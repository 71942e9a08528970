/* SPDX-License-Identifier: MIT
 * feature.c: losses that read more than logits. Which taps of student and teacher they read, the
 * teacher's rows of them for a batch, and the loss of the caller's own. Parameters that such a loss
 * declares are called "loss.NAME", and live beside the network's (kdt_run.extra). */
#include "train.h"

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

/* Taps of the teacher are those of one network that runs. */
static kd_status check_teacher(const kdt_run *run)
{
    const kdt_feed *feed = run->feed;
    if (run->opt.cache)
        return kd_ctx_fail(
            run->ctx, KD_E_UNSUPPORTED,
            "cache: it has the teacher's logits alone, and this loss reads its taps");
    if (feed->n_teachers != 1)
        return kd_ctx_fail(run->ctx, KD_E_UNSUPPORTED,
                           "a loss reads the taps of one teacher, and %zu are given",
                           feed->n_teachers);
    if (!feed->teachers[0].model)
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

kd_status kdt_features_find(kdt_run *run)
{
    run->features.n_student = run->features.n_teacher = 0;
    kd_status status = find_own(run);
    if (!status && run->opt.feature) status = check_teacher(run);
    if (!status && run->opt.feature) status = kdt_feature_taps(run, &run->features);
    if (!status && run->features.n_teacher) status = check_teacher(run);
    if (!status && run->features.n_teacher) status = find_shapes(run);
    return status;
}

/* ---- the teacher's rows ---------------------------------------------------------------------- */

const kdt_tap_rows *kdt_taps_find(const kdt_feed *feed, const char *name)
{
    for (size_t i = 0; i < feed->n_taps; i++)
        if (!strcmp(feed->taps[i].name, name)) return &feed->taps[i];
    return NULL;
}

/* Floats of a picture. */
static size_t size_of(const kd_shape *s)
{
    size_t n = (size_t)-s->dim[0];
    for (int i = 1; i < s->rank; i++) n *= (size_t)s->dim[i];
    return n;
}

/* All runs' taps, each once. */
kd_status kdt_taps_open(kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    size_t most = 0;
    for (size_t i = 0; i < n; i++) most += runs[i]->features.n_teacher;
    if (most == 0) return KD_OK;
    feed->taps = kd_ctx_alloc(feed->ctx, most, sizeof *feed->taps);
    if (!feed->taps) return kd_ctx_memory_status(feed->ctx);
    for (size_t i = 0; i < n; i++)
        for (size_t t = 0; t < runs[i]->features.n_teacher; t++) {
            const kdt_features *f = &runs[i]->features;
            if (kdt_taps_find(feed, f->teacher[t].name)) continue;
            kdt_tap_rows *tap = &feed->taps[feed->n_taps];
            memcpy(tap->name, f->teacher[t].name, sizeof tap->name);
            tap->size = size_of(&f->shapes[t]);
            tap->rows = kd_ctx_alloc(feed->ctx, feed->most * sizeof(float), tap->size);
            if (!tap->rows) return kd_ctx_memory_status(feed->ctx);
            if (++feed->n_taps > KDT_FEED_TAPS)
                return kd_ctx_fail(feed->ctx, KD_E_LIMIT,
                                   "the losses read more than %d taps of the teacher",
                                   (int)KDT_FEED_TAPS);
        }
    return KD_OK;
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
    const kd_value own = o->loss(o->loss_user, &step);
    kd_graph_unscope(g);
    const kd_shape s = kd_graph_shape(g, own);
    if (!kd_graph_status(g) && (s.rank != 1 || s.dim[0] != 1))
        return kd_graph_fail(g, kd_ctx_fail(kd_graph_ctx(g), KD_E_SHAPE,
                                            "kd_distill_opt.loss: what it returned is no scalar "
                                            "[1] of the graph"));
    return own;
}
