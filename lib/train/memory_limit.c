/* SPDX-License-Identifier: MIT
 * memory_limit.c: bytes that a run takes, counted before they are taken, against the context's
 * limit of memory. */
#include "train.h"

#include <stdio.h>
#include <string.h>

/* So begins an error of the allocator's about the limit, and one of ours. */
#define LIMIT "memory limit of "

/* The other half is for what depends on the machine, scratch memory above all. */
size_t kdt_values_limit(const kd_ctx *ctx, size_t rest)
{
    const size_t limit = kd_ctx_memory_limit(ctx);
    if (limit == 0) return 0;
    return limit > rest + 1 ? (limit - rest) / 2 : 1;
}

kd_status kdt_refuse(kd_ctx *ctx, size_t held, size_t more, const char *hint)
{
    return kd_ctx_fail(ctx, KD_E_LIMIT,
                       LIMIT "%zu bytes: %zu are held and %zu more are needed (%zu in all)%s",
                       kd_ctx_memory_limit(ctx), held, more, held + more, hint);
}

bool kdt_lacks_memory(const kd_ctx *ctx, kd_status status)
{
    return status == KD_E_LIMIT && strstr(kd_ctx_error(ctx), LIMIT);
}

static const char test_hint[] = ", for the test at the end";

/* What the test at the end takes, beside gradients, which stay; 0: there is none, or no limit. */
static kd_status test_bytes(kdt_run *run, size_t *bytes)
{
    const size_t samples = kd_dataset_info(run->data)->count[KD_SPLIT_TEST];
    *bytes = 0;
    if (kd_ctx_memory_limit(run->ctx) == 0 || run->train.no_test || samples == 0) return KD_OK;
    const kd_status status = kdt_evaluate_bytes(run->model, samples, 0, bytes);
    kd_params *p = kd_model_params(run->model);
    if (!status && !kd_params_grads(p)) *bytes += kd_params_flat_count(p) * sizeof(float);
    return status;
}

/* The teachers that compute, as the caller gave them: the feed may not know them yet. With a whole
 * cache they need not. */
static size_t asked(const kdt_run *run, kd_model *models[KD_MAX_TEACHERS])
{
    const kd_distill_opt *o = &run->opt;
    size_t n = 0;
    if (o->cache && !run->feed->live) return 0;
    if (o->teacher) models[n++] = o->teacher;
    for (size_t t = 0; !o->teacher && o->teachers && t < o->n_teachers && t < KD_MAX_TEACHERS; t++)
        if (o->teachers[t]) models[n++] = o->teachers[t];
    return n;
}

/* Pictures of a batch; before the feed is open, as many as it will have. */
static size_t batch_of(const kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const size_t all = kd_dataset_info(run->data)->count[KD_SPLIT_TRAIN] - t->dev_count;
    return run->feed->most ? run->feed->most : t->batch < all ? t->batch : all;
}

/* Gradients, the optimiser's arrays, averages. */
static size_t arrays_of(const kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const size_t flat = kd_params_flat_count(kd_model_params(run->model)) * sizeof(float);
    const size_t states = t->optimizer != KD_OPTIMIZER_SGD ? 2 : t->momentum > 0 ? 1 : 0;
    return flat * (1 + states + (t->ema > 0 ? 1 : 0) + (t->keep == KD_KEEP_BEST ? 1 : 0));
}

/* The pictures that wait, in each view once. */
static size_t views_of(const kdt_run *run)
{
    const kd_data_info *info = kd_dataset_info(run->data);
    const int depth = run->train.depth;
    kd_model *models[KD_MAX_TEACHERS + 1] = {run->model};
    const size_t n = 1 + asked(run, models + 1);
    size_t numbers = 0;
    for (size_t k = 0; k < n; k++) {
        const kd_view view = kd_model_view(models[k], info);
        bool again = false;
        for (size_t i = 0; i < k && !again; i++) {
            const kd_view other = kd_model_view(models[i], info);
            again = kdt_same_view(&view, &other);
        }
        if (!again) numbers += kdt_picture(models[k]);
    }
    return (depth > 0 ? (size_t)depth + 1 : KD_LOADER_DEPTH + 1) * batch_of(run) * numbers *
           sizeof(float);
}

/* What a run takes while it trains. *known: the step could be planned. */
static size_t training_bytes(kdt_run *run, bool *known)
{
    const kdt_features *f = &run->features;
    size_t later = 0, least = 0;
    kd_plan *plan = NULL;
    kd_params *extra = NULL;
    const size_t held = kd_ctx_memory(run->ctx), fixed = arrays_of(run) + views_of(run);
    const bool found = !kdt_has_features(&run->opt) || f->n_student + f->n_teacher > 0;
    kd_status status = kdt_later_bytes(run, &later);
    later += fixed;
    const kdt_step step = {.batch = batch_of(run),
                           .later = later,
                           .values = 1,
                           .features = kdt_has_features(&run->opt) ? f : NULL,
                           .least = &least};
    if (!status && found) status = kdt_step_plan(run->model, &run->opt, &step, &plan, &extra);
    kd_params_destroy(extra);
    kd_plan_destroy(plan);
    *known = least > 0;
    return *known ? least - held : later;
}

/* The teachers' share. The more a limit allows, the more pictures they take at a time: the limit is
 * raised by what they take until they take no more. others: bytes of all else. */
static size_t teachers_bytes(kdt_run *run, size_t others, bool *known)
{
    kd_model *models[KD_MAX_TEACHERS];
    const size_t n = asked(run, models), limit = kd_ctx_memory_limit(run->ctx);
    size_t bytes = 0, before;
    do {
        before = bytes;
        const size_t all = others + bytes;
        if (kdt_teachers_bytes(models, n, batch_of(run), all > limit ? all : limit, &bytes)) {
            *known = false;
            break;
        }
    } while (bytes > before);
    return bytes;
}

/* An error, kept while what is counted meets the limit, too. */
typedef struct said {
    char text[400];
} said;

static said said_of(const kd_ctx *ctx)
{
    said s;
    snprintf(s.text, sizeof s.text, "%s", kd_ctx_error(ctx));
    return s;
}

/* `more` is what is known of it; where that would do, the error stays as the allocator said it. */
static kd_status explain(kd_ctx *ctx, const said *s, size_t held, size_t more, const char *hint)
{
    if (held + more > kd_ctx_memory_limit(ctx)) return kdt_refuse(ctx, held, more, hint);
    return kd_ctx_fail(ctx, KD_E_LIMIT, "%s%s", s->text, hint);
}

/* The allocator knows one block more, and a check one part of the run. What is counted here is a
 * run's arrays, pictures, teachers, the least values of a step, and the test at the end. Where there
 * is no memory to plan a step, its values come on top. */
kd_status kdt_explain_limit(kdt_run *run, size_t held)
{
    bool known;
    const said s = said_of(run->ctx);
    size_t training = training_bytes(run, &known);
    training += teachers_bytes(run, held + training, &known);
    size_t test = 0;
    if (test_bytes(run, &test)) test = 0; /* it could not be planned */
    if (test > training) return explain(run->ctx, &s, held, test, test_hint);
    return explain(run->ctx, &s, held, training, known ? "" : ", and a step's values");
}

kd_status kdt_explain_feed(kdt_run *run, size_t held)
{
    bool known;
    const said s = said_of(run->ctx);
    const size_t views = views_of(run), teachers = teachers_bytes(run, held + views, &known);
    return explain(run->ctx, &s, held, views + teachers, ", for teachers and their pictures");
}

kd_status kdt_explain_evaluation(kd_ctx *ctx, kd_model *const both[2], size_t samples, size_t batch,
                                 size_t held)
{
    const said s = said_of(ctx);
    size_t all = 0, bytes;
    for (int i = 0; i < 2; i++)
        if (both[i] && !kdt_evaluate_bytes(both[i], samples, batch, &bytes)) all += bytes;
    return explain(ctx, &s, held, all, ", for the evaluation");
}

size_t kdt_fixed_bytes(const kdt_run *run)
{
    const kdt_feed *feed = run->feed;
    const size_t flat = kd_params_flat_count(kd_model_params(run->model));
    size_t bytes = flat * sizeof(float) * (run->train.ema > 0 ? 4 : 3);
    for (size_t k = 0; k <= feed->n_teachers; k++) {
        const kd_model *m = k ? feed->teachers[k - 1].model : run->model;
        if (!m) continue;
        bytes += (KD_LOADER_DEPTH + 1) * feed->most * kdt_picture(m) * sizeof(float);
        if (k)
            bytes +=
                kd_params_flat_count(kd_model_params(feed->teachers[k - 1].model)) * sizeof(float);
    }
    return bytes;
}

/* What a checkpoint's writer takes: an array, and a note of each tensor. */
static size_t checkpoint_bytes(const kdt_run *run)
{
    enum { NOTE = 1024, ARRAYS = 4, MARGIN = 1 << 18 };
    const kd_params *params = kd_model_params(run->model);
    const size_t entries = kd_params_entries(params);
    size_t largest = 1;
    for (size_t i = 0; i < entries; i++)
        if (kd_params_info(params, i)->count > largest) largest = kd_params_info(params, i)->count;
    return largest * sizeof(int64_t) + entries * ARRAYS * NOTE + MARGIN;
}

kd_status kdt_later_bytes(kdt_run *run, size_t *bytes)
{
    const kd_train_opt *t = &run->train;
    size_t test = 0;
    kd_status status = KD_OK;
    *bytes = t->out ? checkpoint_bytes(run) : 0;
    if (kd_ctx_memory_limit(run->ctx) && t->dev_count)
        status = kdt_evaluate_bytes(run->model, t->dev_count, 0, &test);
    if (test > *bytes) *bytes = test;
    return status;
}

kd_status kdt_check_test(kdt_run *run)
{
    size_t bytes;
    const kd_status status = test_bytes(run, &bytes);
    const size_t limit = kd_ctx_memory_limit(run->ctx), held = kd_ctx_memory(run->ctx);
    if (status || limit == 0 || held + bytes <= limit) return status;
    return kdt_refuse(run->ctx, held, bytes, test_hint);
}
