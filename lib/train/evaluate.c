/* SPDX-License-Identifier: MIT
 * evaluate.c: top-1, top-5 and loss of a model on a split, and how it agrees with a teacher. */
#include "train.h"

#include <math.h>
#include <string.h>

enum { BATCH = 128 };

typedef struct side {
    kd_plan *plan;
    kd_exec *exec;
    size_t view;
} side;

static kd_view view_of(const kd_model *m, const kd_data_info *info)
{
    const bool own = kd_model_mean(m) != NULL;
    return (kd_view){kd_model_image(m), kd_model_image(m), kd_model_channels(m),
                     own ? kd_model_mean(m) : info->mean, own ? kd_model_std(m) : info->std};
}

/* log(sum(exp(x))) in double; of one number at least. */
static double log_sum_exp(const float *x, size_t n)
{
    double most = (double)x[0], sum = 0;
    size_t done = 0;
    for (size_t i = 1; i < n; i++)
        if ((double)x[i] > most) most = (double)x[i];
    do sum += exp((double)x[done++] - most);
    while (done < n);
    return most + log(sum);
}

static size_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* How many classes go before the label; if its logit is no number, more than there are. */
static size_t rank_of(const float *row, size_t label, size_t classes)
{
    size_t above = 0;
    if (isnan(row[label])) return SIZE_MAX;
    for (size_t k = 0; k < classes; k++)
        above += row[k] > row[label] || (k < label && row[k] == row[label]);
    return above;
}

/* Sums over samples, divided at the end. */
static void count(kd_eval_result *r, const float *logits, const int32_t *labels, size_t n,
                  size_t classes)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = logits + i * classes;
        const size_t label = (size_t)labels[i], above = rank_of(row, label, classes);
        r->top1 += above == 0;
        r->top5 += above < 5;
        r->loss += log_sum_exp(row, classes) - (double)row[label];
    }
    r->n += n;
}

/* logits NULL: there is no such head. */
static void count_head(double *top1, const float *logits, const int32_t *labels, size_t n,
                       size_t classes)
{
    for (size_t i = 0; logits && i < n; i++)
        *top1 += rank_of(logits + i * classes, (size_t)labels[i], classes) == 0;
    if (!logits) *top1 = -1;
}

static void compare(kd_eval_result *r, const float *student, const float *teacher, size_t n,
                    size_t classes)
{
    for (size_t i = 0; i < n; i++) {
        const float *s = student + i * classes, *t = teacher + i * classes;
        const double ls = log_sum_exp(s, classes), lt = log_sum_exp(t, classes);
        r->agreement += argmax(s, classes) == argmax(t, classes);
        for (size_t k = 0; k < classes; k++) {
            const double p = exp((double)t[k] - lt);
            if (p > 0) r->kl += p * (((double)t[k] - lt) - ((double)s[k] - ls));
        }
    }
}

static kd_status run_side(side *s, const kd_batch *batch)
{
    const kd_run_opt opt = {.struct_size = sizeof opt, .batch = batch->n};
    const kd_status status = kd_exec_bind(s->exec, "input", batch->views[s->view]);
    return status ? status : kd_exec_run(s->exec, &opt);
}

static bool report(const kd_eval_opt *o, const kd_eval_result *r, size_t batch, size_t batches,
                   double seconds)
{
    if (!o->progress) return false;
    const double n = r->n ? (double)r->n : 1;
    const kd_progress p = {.struct_size = sizeof p,
                           .evaluating = 1,
                           .batch = batch,
                           .batches = batches,
                           .step = batch,
                           .steps = batches,
                           .fraction = (double)batch / (double)batches,
                           .loss = r->loss / n,
                           .accuracy = 100 * r->top1 / n,
                           .seconds = seconds,
                           .images_per_second = seconds > 0 ? n / seconds : 0,
                           .dev_top1 = -1,
                           .dev_loss = -1};
    return o->progress(o->user, &p) != 0;
}

static kd_status run_batch(const kd_eval_opt *o, const kd_batch *batch, side *sides, size_t classes,
                           kd_eval_result *r)
{
    kd_status status = run_side(&sides[0], batch);
    if (!status && o->teacher) status = run_side(&sides[1], batch);
    if (status) return status;
    const float *logits = kd_exec_output(sides[0].exec, "logits");
    count(r, logits, batch->labels, batch->n, classes);
    count_head(&r->top1_cls, kd_exec_output(sides[0].exec, "logits_cls"), batch->labels, batch->n,
               classes);
    count_head(&r->top1_dist, kd_exec_output(sides[0].exec, "logits_dist"), batch->labels, batch->n,
               classes);
    if (o->teacher) compare(r, logits, kd_exec_output(sides[1].exec, "logits"), batch->n, classes);
    return KD_OK;
}

static kd_status loop(kd_ctx *ctx, const kd_eval_opt *o, kd_loader *loader, side *sides,
                      size_t classes, kd_eval_result *r)
{
    const double start = kdt_seconds();
    const size_t batches = kd_loader_batches(loader);
    for (size_t b = 0; b < batches; b++) {
        const kd_batch *batch;
        kd_status status = kd_loader_next(loader, &batch);
        if (!status && batch->n) status = run_batch(o, batch, sides, classes, r);
        if (status) return status;
        if (report(o, r, b + 1, batches, kdt_seconds() - start))
            return kd_ctx_fail(ctx, KD_E_STOPPED, "evaluation stopped");
    }
    r->seconds = kdt_seconds() - start;
    if (r->n == 0)
        return kd_ctx_fail(ctx, KD_E_FORMAT, "none of the %zu samples to evaluate on can be read",
                           kd_loader_samples(loader));
    return KD_OK;
}

/* The model's plan, run with other parameters of the same network if asked for. */
static kd_status open_side(kd_model *m, const kd_params *params, size_t batch, side *s)
{
    kd_status status = kd_model_plan(m, batch, &s->plan, &s->exec);
    if (status || !params) return status;
    union {
        const kd_params *in;
        kd_params *p;
    } u = {params}; /* an inference plan only reads them */
    kd_exec_destroy(s->exec);
    s->exec = NULL;
    return kd_exec_create(s->plan, u.p, NULL, &s->exec);
}

kd_status kdt_evaluate_bytes(kd_model *model, size_t samples, size_t *bytes)
{
    kd_graph *g;
    kd_plan *plan;
    const int64_t image = (int64_t)kd_model_image(model);
    const int64_t dim[] = {KD_BATCH, image, image, (int64_t)kd_model_channels(model)};
    const size_t picture = (size_t)(image * image * dim[3]) * sizeof(float);
    kd_status status = kd_graph_create(kd_model_ctx(model), &g);
    if (status) return status;
    kd_output(g, kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), NULL), "logits");
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = BATCH, .frozen = 1};
    status = kd_plan_create(g, &opt, &plan);
    kd_graph_destroy(g);
    if (status) return status;
    *bytes = kd_plan_arena_size(plan) + 2 * kdt_plan_tables(plan);
    *bytes += (KD_LOADER_DEPTH + 1) * BATCH * (picture + 64) + samples * 16 + 4 * picture;
    kd_plan_destroy(plan);
    return KD_OK;
}

static kd_split source(const kd_eval_opt *o)
{
    return o->split == KD_EVAL_TEST ? KD_SPLIT_TEST : KD_SPLIT_TRAIN;
}

static kd_status check(kd_model *model, const kd_data_info *info, const kd_eval_opt *o)
{
    kd_ctx *ctx = kd_model_ctx(model);
    if (info->classes > kd_model_classes(model))
        return kd_ctx_fail(ctx, KD_E_MISMATCH, "%s has %zu classes, the model only %zu", info->name,
                           info->classes, kd_model_classes(model));
    if (o->teacher && kd_model_classes(o->teacher) != kd_model_classes(model))
        return kd_ctx_fail(ctx, KD_E_MISMATCH, "the teacher has %zu classes, the model %zu",
                           kd_model_classes(o->teacher), kd_model_classes(model));
    if ((unsigned)o->split > KD_EVAL_DEV)
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_eval_opt: there is no split %d", (int)o->split);
    if (o->split == KD_EVAL_DEV && o->dev_count == 0)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_eval_opt: the development split needs its dev_count");
    if (o->split == KD_EVAL_TEST && o->dev_count)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_eval_opt: a dev_count is of the training split, not of the test");
    if (info->count[source(o)] == 0)
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s has no samples to evaluate on", info->name);
    return KD_OK;
}

kd_status kd_evaluate(kd_model *model, kd_dataset *data, const kd_eval_opt *options,
                      kd_eval_result *out)
{
    kd_ctx *ctx = kd_model_ctx(model);
    const kd_data_info *info = kd_dataset_info(data);
    kd_eval_opt o;
    side sides[2] = {{.view = 0}};
    kd_loader *loader = NULL;
    kd_eval_result here = {.struct_size = sizeof here}, *const result = &here;
    kd_status status = kd_results_check(ctx, "kd_eval_result", out);
    if (!status) status = kd_options(ctx, "kd_eval_opt", &o, sizeof o, options);
    if (status) return status;
    if (!o.batch) o.batch = BATCH;
    status = check(model, info, &o);
    if (status) return status;
    kd_view views[2] = {view_of(model, info)};
    if (o.teacher) views[1] = view_of(o.teacher, info);
    sides[1].view = 1;
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = source(&o),
                               .dev_count = o.dev_count,
                               .dev = o.split == KD_EVAL_DEV,
                               .batch = o.batch,
                               .augment = o.augment ? o.augment : "none",
                               .n_views = o.teacher ? 2 : 1,
                               .views = views};
    status = open_side(model, o.params, o.batch, &sides[0]);
    if (!status && o.teacher) status = open_side(o.teacher, NULL, o.batch, &sides[1]);
    /* The loader begins at once: last, so that its first batch counts in the time. */
    if (!status) status = kd_loader_create(data, &opt, &loader);
    if (!status) status = loop(ctx, &o, loader, sides, kd_model_classes(model), result);
    for (int s = 0; s < 2; s++) {
        kd_exec_destroy(sides[s].exec);
        kd_plan_destroy(sides[s].plan);
    }
    kd_loader_close(loader);
    const double n = result->n ? (double)result->n : 1;
    result->top1 *= 100 / n;
    result->top5 *= 100 / n;
    if (result->top1_cls > 0) result->top1_cls *= 100 / n;
    if (result->top1_dist > 0) result->top1_dist *= 100 / n;
    result->loss /= n;
    result->agreement *= 100 / n;
    result->kl /= n;
    kd_results(out, result, sizeof *result);
    return status;
}
