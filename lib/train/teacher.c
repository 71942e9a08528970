/* SPDX-License-Identifier: MIT
 * teacher.c: live teachers: evaluation mode, weights frozen, each fed with its own view (size and
 * normalisation) of the same augmented pictures. They take the whole batch at once where its values
 * stay within KDT_VALUES bytes and an eighth of the limit of memory, else the half, a quarter and so
 * on. This goes by teachers, batch and limit alone: the student makes no difference to the logits. */
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- who they are ---------------------------------------------------------------------------- */

/* How many the caller gives: models, or those of a cache, or his function. */
static kd_status count(kdt_feed *feed, kdt_run *run)
{
    kd_distill_opt *o = &run->opt;
    if (o->teacher && o->n_teachers)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "kd_distill_opt: teacher and teachers are both given");
    if (o->logits && (o->teacher || o->n_teachers || o->cache))
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "kd_distill_opt: logits goes with neither teachers nor a cache");
    if (o->teacher || o->logits) o->n_teachers = 1;
    if (o->n_teachers || !o->cache) return KD_OK;
    if (!feed->cache.key)
        return kd_ctx_fail(run->ctx, KD_E_NOTFOUND,
                           "%s: there is no teacher cache, and no teacher is given", o->cache);
    o->n_teachers = feed->cache.facts.form.teachers;
    return KD_OK;
}

/* The caller's list, with its weights; a teacher alone is a list of one. */
static kd_status take_list(kdt_feed *feed, kdt_run *run)
{
    const kd_distill_opt *o = &run->opt;
    const bool models = o->teacher || o->teachers;
    double sum = 0;
    for (size_t t = 0; t < o->n_teachers; t++) {
        kdt_teacher *teacher = &feed->teachers[t];
        teacher->weight = o->teacher_weights ? o->teacher_weights[t] : 1.0f / (float)o->n_teachers;
        teacher->model = o->teacher ? o->teacher : o->teachers ? o->teachers[t] : NULL;
        if (models && !teacher->model)
            return kd_ctx_fail(run->ctx, KD_E_INVALID, "teacher %zu is NULL", t);
        if (teacher->model == run->model)
            return kd_ctx_fail(run->ctx, KD_E_INVALID,
                               "teacher %zu is the student itself: load it twice", t);
        if (!(teacher->weight >= 0))
            return kd_ctx_fail(run->ctx, KD_E_INVALID, "teacher %zu: a weight of %g", t,
                               (double)teacher->weight);
        sum += (double)teacher->weight;
        if (teacher->model) {
            teacher->spec = kd_model_spec(teacher->model);
            teacher->height = kd_model_height(teacher->model);
            teacher->width = kd_model_width(teacher->model);
        } else if (feed->cache.key) {
            kdt_key_teacher(feed->cache.key, t, feed->cache.key_hash, teacher);
            teacher->height = feed->cache.facts.height[t];
            teacher->width = feed->cache.facts.width[t];
        } else {
            teacher->spec = "the caller's function";
        }
    }
    feed->n_teachers = o->n_teachers;
    if (o->n_teachers && !(fabs(sum - 1) < 1e-4))
        return kd_ctx_fail(run->ctx, KD_E_INVALID, "the teachers' weights sum to %g, not to 1",
                           sum);
    return KD_OK;
}

/* The same network, shown the same pictures: only its weight would count twice. */
static kd_status same(const kdt_feed *feed, const kdt_run *run, size_t a, size_t b, bool *yes)
{
    const kd_data_info *info = kd_dataset_info(run->data);
    const kd_model *const m = feed->teachers[a].model, *const n = feed->teachers[b].model;
    const kd_view v = kd_model_view(m, info), w = kd_model_view(n, info);
    uint64_t one, other;
    *yes = m == n;
    if (*yes || strcmp(kd_model_spec(m), kd_model_spec(n)) || !v.mean != !w.mean) return KD_OK;
    for (size_t c = 0; v.mean && c < v.channels; c++)
        if (v.mean[c] != w.mean[c] || v.std[c] != w.std[c]) return KD_OK;
    kd_status status = kd_model_hash(m, &one);
    if (!status) status = kd_model_hash(n, &other);
    *yes = !status && one == other;
    return status;
}

static kd_status check_twice(const kdt_feed *feed, const kdt_run *run, size_t t)
{
    for (size_t before = 0; before < t; before++) {
        bool yes;
        const kd_status status = same(feed, run, before, t, &yes);
        if (status) return status;
        if (yes)
            return kd_ctx_fail(run->ctx, KD_E_INVALID,
                               "teacher %zu is teacher %zu again: a weight counts it twice", t,
                               before);
    }
    return KD_OK;
}

/* Does anything look at logits? A run without features does, and a comparison with a cache of them. */
static bool hears(const kdt_feed *feed, const kdt_run *run)
{
    if (feed->always_live) return feed->cache.facts.form.classes > 0;
    return kdt_reads_logits(&run->opt) || !kdt_has_features(&run->opt);
}

/* A cache may have no logits, or, where nobody looks at them, those of other classes. */
static kd_status check_cached(kdt_feed *feed, const kdt_run *run)
{
    const kdt_row_form *form = &feed->cache.facts.form;
    char names[300];
    if (!feed->cache.key) return KD_OK;
    kdt_features_names(form, names, sizeof names);
    if (form->classes == 0 && hears(feed, run))
        return kd_ctx_fail(run->ctx, KD_E_MISMATCH,
                           "%s: the cache has no logits, and this run reads them: it has %s",
                           run->opt.cache, names);
    if (form->classes == 0) feed->mute = true;
    if (form->classes != kd_model_classes(run->model) && !feed->teachers[0].model)
        feed->mute = !hears(feed, run);
    return KD_OK;
}

kd_status kdt_teachers_check(kdt_feed *feed, kdt_run *run)
{
    kd_status status = KD_OK;
    if (run->opt.cache && !feed->cache.ctx)
        status = kdt_cache_find(run->ctx, run->opt.cache, &feed->cache);
    if (!status) status = count(feed, run);
    if (!status) status = take_list(feed, run);
    if (!status) status = check_cached(feed, run);
    for (size_t t = 0; t < feed->n_teachers && !status; t++) {
        kd_model *model = feed->teachers[t].model;
        if (!model) continue;
        status = kd_model_check_finite(model);
        if (status == KD_E_NONFINITE)
            kd_ctx_fail(run->ctx, status, "teacher %zu: %s", t, kd_ctx_error(run->ctx));
        if (status) return status;
        if (kd_model_classes(model) != kd_model_classes(run->model)) {
            feed->mute = !hears(feed, run);
            if (feed->mute) continue;
            return kd_ctx_fail(
                run->ctx, KD_E_MISMATCH, "teacher %zu (%s) has %zu classes, the student %zu", t,
                kd_model_spec(model), kd_model_classes(model), kd_model_classes(run->model));
        }
        status = check_twice(feed, run, t);
    }
    return status;
}

kd_status kdt_teachers_identify(kdt_feed *feed)
{
    for (size_t t = 0; t < feed->n_teachers; t++) {
        kdt_teacher *teacher = &feed->teachers[t];
        uint64_t sum;
        if (*teacher->hash || !teacher->model) continue;
        const kd_status status = kd_model_hash(teacher->model, &sum);
        if (status) return status;
        snprintf(teacher->hash, sizeof teacher->hash, "%016llx", (unsigned long long)sum);
        kdt_normalization_hash(teacher->model, kd_dataset_info(feed->data), teacher->normalization);
    }
    return KD_OK;
}

/* ---- how many pictures at a time ------------------------------------------------------------- */

/* The network's graph from pictures to logits. */
static kd_status make_graph(kd_model *model, kd_graph **g)
{
    const int64_t dim[] = {KD_BATCH, (int64_t)kd_model_height(model),
                           (int64_t)kd_model_width(model), (int64_t)kd_model_channels(model)};
    const kd_status status = kd_graph_create(kd_model_ctx(model), g);
    if (!status)
        kd_output(*g, kd_model_build(model, *g, kd_input(*g, "input", KD_F32, 4, dim), NULL),
                  "logits");
    return status;
}
/* The bytes of a plan's values; they do not depend on the threads. */
static kd_status values_size(kd_graph *g, size_t pictures, size_t *bytes)
{
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = pictures, .frozen = 1};
    kd_plan *plan;
    const kd_status status = kd_plan_create(g, &opt, &plan);
    if (status) return status;
    *bytes = kd_plan_values_size(plan);
    kd_plan_destroy(plan);
    return KD_OK;
}

/* Halve *pictures until the values take no more than `most` bytes beyond those of one picture, among
 * which are the prepared weights. */
static kd_status choose_batch(kd_model *model, size_t most, size_t *pictures)
{
    kd_graph *g;
    size_t one, bytes;
    kd_status status = make_graph(model, &g);
    if (status) return status;
    status = values_size(g, 1, &one);
    while (!status && *pictures > 1) {
        status = values_size(g, *pictures, &bytes);
        if (status || bytes <= one || bytes - one <= most) break;
        *pictures = (*pictures + 1) / 2;
    }
    kd_graph_destroy(g);
    return status;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Bytes that a teacher's values may take within a limit; 0: none. */
static size_t most_values(size_t limit)
{
    return limit && limit / 8 < KDT_VALUES ? limit / 8 : KDT_VALUES;
}

kd_status kdt_teachers_batch(kdt_feed *feed)
{
    const size_t most = most_values(kd_ctx_memory_limit(feed->ctx));
    kd_status status = KD_OK;
    feed->teacher_batch = 0;
    if (feed->n_teachers == 0 || feed->function) return KD_OK;
    feed->teacher_batch = feed->cache.facts.teacher_batch;
    if (feed->teacher_batch > feed->most) feed->teacher_batch = feed->most;
    if (feed->teacher_batch) return KD_OK;
    if (!feed->teachers[0].model) return KD_OK;
    feed->teacher_batch = feed->most;
    for (size_t t = 0; t < feed->n_teachers && !status; t++)
        status = choose_batch(feed->teachers[t].model, most, &feed->teacher_batch);
    return status;
}

kd_status kdt_teachers_bytes(kd_model *const *models, size_t n, size_t batch, size_t limit,
                             size_t *bytes)
{
    kd_status status = KD_OK;
    *bytes = 0;
    for (size_t t = 0; t < n && !status; t++)
        status = choose_batch(models[t], most_values(limit), &batch);
    for (size_t t = 0; t < n && !status; t++) {
        const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = batch, .frozen = 1};
        kd_graph *g;
        kd_plan *plan = NULL;
        status = make_graph(models[t], &g);
        if (status) return status;
        status = kd_plan_create(g, &opt, &plan);
        if (!status) *bytes += kd_plan_arena_size(plan) + kdt_plan_tables(plan);
        kd_plan_destroy(plan);
        kd_graph_destroy(g);
    }
    return status;
}

kd_status kdt_teachers_open(kdt_feed *feed)
{
    kd_status status = KD_OK;
    for (size_t t = 0; t < feed->n_teachers && !status && !feed->function; t++) {
        kdt_teacher *teacher = &feed->teachers[t];
        const char *names[KDT_FEED_TAPS];
        const size_t taps = t ? 0 : feed->n_taps;
        for (size_t i = 0; i < taps; i++) names[i] = feed->taps[i].name;
        status = kd_model_plan_taps(teacher->model, feed->teacher_batch, names, taps,
                                    &teacher->plan, &teacher->exec);
    }
    feed->live = !status && feed->n_teachers > 0;
    return status;
}

void kdt_teachers_close(kdt_feed *feed)
{
    for (size_t t = 0; t < feed->n_teachers && t < KD_MAX_TEACHERS; t++) {
        kd_exec_destroy(feed->teachers[t].exec);
        kd_plan_destroy(feed->teachers[t].plan);
    }
}

float *kdt_teacher_logits(const kdt_feed *feed, size_t teacher, size_t first)
{
    return feed->logits + (teacher * feed->most + first) * feed->classes;
}

/* Pictures [first, first + n) of the batch. */
static kd_status run_teacher(kdt_feed *feed, size_t t, size_t first, size_t n)
{
    const kdt_teacher *teacher = &feed->teachers[t];
    const size_t picture = kdt_picture(teacher->model);
    const float *views = feed->now->views[teacher->view];
    const kd_run_opt opt = {.struct_size = sizeof opt, .batch = n, .first = first};
    kd_status status = kd_exec_bind(teacher->exec, "input", views + first * picture);
    if (!status) status = kd_exec_run(teacher->exec, &opt);
    if (!status && !feed->mute)
        memcpy(kdt_teacher_logits(feed, t, first), kd_exec_output(teacher->exec, "logits"),
               n * feed->classes * sizeof(float));
    for (size_t i = 0; i < feed->n_taps && t == 0 && !status; i++) {
        const kdt_tap_rows *tap = &feed->taps[i];
        memcpy(tap->rows + first * tap->size, kd_exec_output(teacher->exec, tap->name),
               n * tap->size * sizeof(float));
    }
    return status;
}

static kd_status ask_function(kdt_feed *feed)
{
    const size_t before = kd_ctx_failures(feed->ctx);
    return kd_ctx_called(feed->ctx, before,
                         feed->function(feed->function_user, feed->now,
                                        feed->now->views[feed->function_view], feed->logits),
                         "kd_distill_opt.logits");
}

kd_status kdt_teachers_run(kdt_feed *feed)
{
    const size_t all = feed->taken, most = feed->teacher_batch;
    kd_status status = KD_OK;
    if (feed->function) return all ? ask_function(feed) : KD_OK;
    for (size_t t = 0; t < feed->n_teachers; t++)
        for (size_t first = 0; first < all && !status; first += most)
            status = run_teacher(feed, t, first, all - first < most ? all - first : most);
    return status;
}

/* ---- what they say --------------------------------------------------------------------------- */

static double log_sum_exp(const float *x, size_t n)
{
    double most = (double)x[0], sum = 0;
    for (size_t k = 1; k < n; k++)
        if ((double)x[k] > most) most = (double)x[k];
    for (size_t k = 0; k < n; k++) sum += exp((double)x[k] - most);
    return most + log(sum);
}

size_t kdt_teachers_class(const kdt_feed *feed, size_t i)
{
    const size_t classes = feed->classes, n = feed->n_teachers;
    const float *rows[KD_MAX_TEACHERS];
    double norms[KD_MAX_TEACHERS], most = -1;
    size_t best = 0;
    for (size_t t = 0; t < n; t++) {
        rows[t] = kdt_teacher_logits(feed, t, i);
        norms[t] = n > 1 ? log_sum_exp(rows[t], classes) : 0;
    }
    for (size_t k = 0; k < classes; k++) {
        double p = n == 1 ? (double)rows[0][k] : 0;
        for (size_t t = 0; t < n && n > 1; t++)
            p += (double)feed->teachers[t].weight * exp((double)rows[t][k] - norms[t]);
        if (k && !(p > most)) continue;
        most = p;
        best = k;
    }
    return best;
}
