/* SPDX-License-Identifier: MIT
 * feature_taps.c: which taps of student and teacher the option `feature` compares: those that are
 * named, or what suits the two networks.
 *
 * Every network has levels, from the first to the last: a VGG's and a Swin's stages, of a ViT four
 * blocks in equal distances. Two networks' levels are paired from the last one back. */
#include "train.h"

#include <stdio.h>
#include <string.h>

enum { LEVELS = 4, MOST = 1024 };

/* A network's taps. */
typedef struct network {
    const char *spec, *who;
    kd_tap_info *taps;
    size_t n, levels, blocks; /* blocks: of a ViT */
    const char *stage;        /* what its levels are called, but for blocks */
} network;

static const kd_tap_info *find(const network *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->taps[i].name, name)) return &w->taps[i];
    return NULL;
}

static size_t count(const network *w, const char *before)
{
    char name[KD_TAP_NAME];
    size_t n = 0;
    do snprintf(name, sizeof name, "%s.%zu", before, n);
    while (find(w, name) && ++n);
    return n;
}

static kd_status open_network(kd_ctx *ctx, const char *spec, const char *who, network *w)
{
    *w = (network){.spec = spec, .who = who};
    w->taps = kd_ctx_alloc(ctx, MOST, sizeof *w->taps);
    return w->taps ? KD_OK : kd_ctx_memory_status(ctx);
}

static kd_status list_taps(kd_ctx *ctx, network *w)
{
    const kd_status status = kd_spec_taps(ctx, w->spec, w->taps, MOST, &w->n);
    if (status) w->n = 0;
    if (w->n > MOST) w->n = MOST;
    return status;
}

static void find_levels(network *w)
{
    w->stage = find(w, "layers.0") ? "layers" : "stages";
    w->blocks = count(w, "blocks");
    w->levels = w->blocks ? (w->blocks < LEVELS ? w->blocks : LEVELS) : count(w, w->stage);
}

/* A teacher that only a cache knows. Where it is a network of this library's by its name, and has
 * what the cache holds, its levels are known; else there is what the cache holds. */
static void list_cached(kd_ctx *ctx, const kdt_row_form *form, network *w)
{
    size_t found = 0;
    if (!list_taps(ctx, w))
        for (size_t i = 0; i < form->n_features; i++) {
            const kd_tap_info *tap = find(w, form->feature[i].name);
            found += tap && kdt_same_shape(&tap->shape, &form->feature[i].shape);
        }
    if (found == form->n_features && found) return;
    for (w->n = 0; w->n < form->n_features; w->n++) {
        kd_tap_info *tap = &w->taps[w->n];
        memset(tap, 0, sizeof *tap);
        snprintf(tap->name, sizeof tap->name, "%s", form->feature[w->n].name);
        tap->shape = form->feature[w->n].shape;
    }
}

/* Level i of a network, from 0. */
static void level(const network *w, size_t i, char name[KD_TAP_NAME])
{
    if (w->blocks)
        snprintf(name, KD_TAP_NAME, "blocks.%zu", w->blocks * (i + 1) / w->levels - 1);
    else
        snprintf(name, KD_TAP_NAME, "%s.%zu", w->stage, i);
}

static kd_status add_levels(kd_ctx *ctx, const network *s, const network *t, size_t i, size_t k,
                            kdt_features *f)
{
    char name[KD_TAP_NAME];
    level(s, i, name);
    kd_status status = kdt_add_tap(ctx, name, f->student, &f->n_student);
    level(t, k, name);
    if (!status) status = kdt_add_tap(ctx, name, f->teacher, &f->n_teacher);
    return status;
}

/* The last levels of both, at most so many. */
static kd_status add_last(kd_ctx *ctx, const network *s, const network *t, size_t most,
                          kdt_features *f)
{
    size_t pairs = s->levels < t->levels ? s->levels : t->levels;
    kd_status status = KD_OK;
    if (pairs > most) pairs = most;
    for (size_t i = pairs; i-- > 0 && !status;)
        status = add_levels(ctx, s, t, s->levels - 1 - i, t->levels - 1 - i, f);
    return status;
}

static kd_status add_attention(kd_ctx *ctx, const network *w, kd_tap *taps, size_t *n)
{
    const char *last = NULL;
    for (size_t i = 0; i < w->n; i++) {
        const char *end = strrchr(w->taps[i].name, '.');
        if (end && !strcmp(end, ".attn")) last = w->taps[i].name;
    }
    if (last) return kdt_add_tap(ctx, last, taps, n);
    return kd_ctx_fail(ctx, KD_E_INVALID, "feature: the %s (%s) has no attention", w->who, w->spec);
}

/* What suits: of hints a level in the middle, of attention transfer the last four. */
static kd_status add_standard(kd_ctx *ctx, kd_feature feature, const network *s, const network *t,
                              kdt_features *f)
{
    kd_status status;
    const bool by_levels =
        feature == KD_FEATURE_HINT || feature == KD_FEATURE_AT || feature == KD_FEATURE_TOKENS;
    if (by_levels && t->levels == 0)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "feature: %s compares layers, and which of the teacher's (%s) is not "
                           "known: teacher_tap names them",
                           kd_feature_name(feature), t->spec);
    switch (feature) {
    case KD_FEATURE_HINT:
        return add_levels(ctx, s, t, s->levels / 2, t->levels / 2, f);
    case KD_FEATURE_AT:
    case KD_FEATURE_TOKENS:
        return add_last(ctx, s, t, LEVELS, f);
    case KD_FEATURE_ATTENTION:
        status = add_attention(ctx, s, f->student, &f->n_student);
        return status ? status : add_attention(ctx, t, f->teacher, &f->n_teacher);
    case KD_FEATURE_NONE:
    case KD_FEATURE_RKD:
    case KD_FEATURE_EMBEDDING:
    case KD_FEATURE_COSINE:
    case KD_FEATURE_COUNT:
        break;
    }
    status = kdt_add_tap(ctx, "embedding", f->student, &f->n_student);
    return status ? status : kdt_add_tap(ctx, "embedding", f->teacher, &f->n_teacher);
}

/* "stages.1,stages.2" */
static kd_status add_list(kd_ctx *ctx, const char *option, const char *list, const network *w,
                          kd_tap *taps, size_t *n)
{
    for (const char *at = list;;) {
        char name[KD_TAP_NAME];
        const size_t length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : 0), at);
        if (!find(w, name))
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "%s: the %s (%s) has no tap '%.*s'; it has %s%s%s", option, w->who,
                               w->spec, (int)(length < 80 ? length : 80), at, w->taps[0].name,
                               w->n > 1 ? ", ..., " : "", w->n > 1 ? w->taps[w->n - 1].name : "");
        const kd_status status = kdt_add_tap(ctx, name, taps, n);
        if (status || !at[length]) return status;
        at += length + 1;
    }
}

static kd_status choose(const kdt_run *run, const network *s, const network *t, kdt_features *f)
{
    const kd_distill_opt *o = &run->opt;
    kdt_features standard = *f;
    kd_status status = KD_OK;
    if (!o->student_tap || !o->teacher_tap)
        status = add_standard(run->ctx, o->feature, s, t, &standard);
    if (status) return status;
    if (o->student_tap)
        status = add_list(run->ctx, "student_tap", o->student_tap, s, f->student, &f->n_student);
    else
        for (size_t i = f->n_student; i < standard.n_student && !status; i++)
            status = kdt_add_tap(run->ctx, standard.student[i].name, f->student, &f->n_student);
    if (!status && o->teacher_tap)
        status = add_list(run->ctx, "teacher_tap", o->teacher_tap, t, f->teacher, &f->n_teacher);
    else
        for (size_t i = f->n_teacher; i < standard.n_teacher && !status; i++)
            status = kdt_add_tap(run->ctx, standard.teacher[i].name, f->teacher, &f->n_teacher);
    if (!status && f->n_student - f->own_student != f->n_teacher - f->own_teacher)
        status =
            kd_ctx_fail(run->ctx, KD_E_INVALID,
                        "%s: %zu taps of the student and %zu of the teacher: name one for each",
                        o->student_tap ? "student_tap" : "teacher_tap",
                        f->n_student - f->own_student, f->n_teacher - f->own_teacher);
    return status;
}

/* Shapes that cannot be compared are refused here, by name. */
static kd_status check_pairs(const kdt_run *run, const network *s, const network *t,
                             const kdt_features *f)
{
    const kd_feature feature = run->opt.feature;
    for (size_t i = f->own_student, k = f->own_teacher; i < f->n_student; i++, k++) {
        const kd_tap_info *a = find(s, f->student[i].name), *b = find(t, f->teacher[k].name);
        if (!a || !b) {
            const network *w = a ? t : s;
            return kd_ctx_fail(run->ctx, KD_E_MISMATCH,
                               "feature: the %s (%s) has no tap %s; it has %s%s%s", w->who, w->spec,
                               a ? f->teacher[k].name : f->student[i].name, w->taps[0].name,
                               w->n > 1 ? ", ..., " : "", w->n > 1 ? w->taps[w->n - 1].name : "");
        }
        const int ra = a->shape.rank, rb = b->shape.rank;
        const bool attention = strstr(a->name, ".attn") != NULL;
        if (attention != (strstr(b->name, ".attn") != NULL) ||
            attention != (feature == KD_FEATURE_ATTENTION) || (ra == 2) != (rb == 2) ||
            (feature == KD_FEATURE_RKD && ra != 2) ||
            ((feature == KD_FEATURE_AT || feature == KD_FEATURE_TOKENS) && ra == 2))
            return kd_ctx_fail(
                run->ctx, KD_E_INVALID,
                "feature: %s of the student and %s of the teacher cannot be compared "
                "by %s",
                a->name, b->name, kd_feature_name(feature));
        if (attention && (a->shape.dim[0] != b->shape.dim[0] || a->shape.dim[2] != b->shape.dim[2]))
            return kd_ctx_fail(run->ctx, KD_E_INVALID,
                               "feature: %s of the student is over %lld tokens, %s of the teacher "
                               "over %lld: they cannot be compared",
                               a->name, (long long)(-a->shape.dim[0] * a->shape.dim[2]), b->name,
                               (long long)(-b->shape.dim[0] * b->shape.dim[2]));
    }
    return KD_OK;
}

kd_status kdt_feature_taps(const kdt_run *run, kdt_features *f)
{
    network s, t = {.n = 0};
    const kdt_teacher *teacher = &run->feed->teachers[0];
    kd_status status = open_network(run->ctx, kd_model_spec(run->model), "student", &s);
    if (!status) status = list_taps(run->ctx, &s);
    if (!status) status = open_network(run->ctx, teacher->spec, "teacher", &t);
    if (!status && teacher->model) status = list_taps(run->ctx, &t);
    if (!status && !teacher->model) list_cached(run->ctx, &run->feed->cache.facts.form, &t);
    if (!status && t.n == 0)
        status = kd_ctx_fail(run->ctx, KD_E_MISMATCH,
                             "%s: the cache has no features, which this run reads", run->opt.cache);
    find_levels(&s);
    find_levels(&t);
    if (!status) status = choose(run, &s, &t, f);
    if (!status) status = check_pairs(run, &s, &t, f);
    kd_ctx_free(run->ctx, s.taps);
    kd_ctx_free(run->ctx, t.taps);
    return status;
}
