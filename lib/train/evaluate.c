/* SPDX-License-Identifier: MIT
 * evaluate.c: a model on a split, and beside it a teacher: their plans, the batches, the loop. */
#include "evaluate.h"

#include <math.h>
#include <string.h>

enum { BATCH = 128 };

typedef struct side {
    kd_plan *plan;
    kd_exec *exec;
    size_t view;
} side;

static kd_status run_side(side *s, const kd_batch *batch)
{
    const kd_run_opt opt = {.struct_size = sizeof opt, .batch = batch->n};
    const kd_status status = kd_exec_bind(s->exec, "input", batch->views[s->view]);
    return status ? status : kd_exec_run(s->exec, &opt);
}

static bool report(const kdt_measure *m, size_t batch, size_t batches, double seconds)
{
    const kdt_sums_of_eval *s = &m->sums;
    if (!m->opt->progress) return false;
    const double none = (double)NAN, n = s->n ? (double)s->n : none;
    const double agreed = m->opt->teacher ? 100 * (double)s->agreed / n : none;
    const kd_progress p = {.struct_size = sizeof p,
                           .evaluating = 1,
                           .split = m->opt->split,
                           .batch = batch,
                           .batches = batches,
                           .step = batch,
                           .steps = batches,
                           .fraction = (double)batch / (double)batches,
                           .loss = s->loss / n,
                           .accuracy = 100 * (double)s->right / n,
                           .hard_loss = none,
                           .soft_loss = none,
                           .teacher_accuracy = none,
                           .agreement = agreed,
                           .step_loss = none,
                           .grad_norm = none,
                           .lr = none,
                           .seconds = seconds,
                           .images_per_second = seconds > 0 ? (double)s->n / seconds : none,
                           .dev_top1 = none,
                           .dev_loss = none,
                           .feature_loss = none};
    return m->opt->progress(m->opt->user, &p) != 0;
}

static kd_status ask(kdt_measure *m, const kd_batch *batch)
{
    const kd_eval_opt *o = m->opt;
    const size_t before = kd_ctx_failures(m->ctx);
    return kd_ctx_called(m->ctx, before,
                         o->answer(o->answer_user, batch->views[0], batch->n, m->answers),
                         "kd_eval_opt.answer");
}

static kd_status run_batch(kdt_measure *m, const kd_batch *batch, side *sides)
{
    kd_exec *network = sides[0].exec;
    const kd_eval_opt *o = m->opt;
    kd_status status = o->answer ? ask(m, batch) : run_side(&sides[0], batch);
    if (!status && m->opt->teacher) status = run_side(&sides[1], batch);
    if (status) return status;
    kdt_logits logits = {.mean = m->answers};
    if (network) {
        logits.mean = kd_exec_output(network, "logits");
        logits.heads[0] = kd_exec_output(network, "logits_cls");
        logits.heads[1] = kd_exec_output(network, "logits_dist");
    }
    if (o->teacher) logits.teacher = kd_exec_output(sides[1].exec, "logits");
    return kdt_measure_batch(m, batch, &logits);
}

static kd_status loop(kdt_measure *m, kd_loader *loader, side *sides)
{
    const double start = kd_seconds();
    const size_t batches = kd_loader_batches(loader);
    for (size_t b = 0; b < batches; b++) {
        const kd_batch *batch;
        kd_status status = kd_loader_next(loader, &batch);
        if (!status && batch->n) status = run_batch(m, batch, sides);
        if (status) return status;
        if (report(m, b + 1, batches, kd_seconds() - start))
            return kd_ctx_fail(m->ctx, KD_E_STOPPED, "evaluation stopped");
    }
    if (m->sums.n == 0)
        return kd_ctx_fail(m->ctx, KD_E_FORMAT,
                           "none of the %zu samples to evaluate on can be read",
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

kd_status kdt_evaluate_bytes(kd_model *model, size_t samples, size_t batch, size_t *bytes)
{
    kd_graph *g;
    kd_plan *plan;
    const size_t most = batch ? batch : BATCH, n = samples < most ? samples : most;
    const int64_t dim[] = {KD_BATCH, (int64_t)kd_model_height(model),
                           (int64_t)kd_model_width(model), (int64_t)kd_model_channels(model)};
    const size_t picture = (size_t)(dim[1] * dim[2] * dim[3]) * sizeof(float);
    kd_status status = kd_graph_create(kd_model_ctx(model), &g);
    if (status) return status;
    kd_output(g, kd_model_build(model, g, kd_input(g, "input", KD_F32, 4, dim), NULL), "logits");
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = n, .frozen = 1};
    status = kd_plan_create(g, &opt, &plan);
    kd_graph_destroy(g);
    if (status) return status;
    *bytes = kd_plan_arena_size(plan) + 2 * kdt_plan_tables(plan);
    *bytes += (KD_LOADER_DEPTH + 1) * n * (picture + 64) + samples * 16 + 4 * picture;
    *bytes += 3 * (kd_model_classes(model) * sizeof(int32_t) + 64);
    kd_plan_destroy(plan);
    return KD_OK;
}

static kd_split source(const kd_eval_opt *o)
{
    return o->split == KD_EVAL_TEST ? KD_SPLIT_TEST : KD_SPLIT_TRAIN;
}

static kd_status check(kd_ctx *ctx, const kd_data_info *info, const kd_eval_opt *o)
{
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
    if (info->unlabelled && o->split != KD_EVAL_TEST)
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s has no labels to measure with", info->name);
    return KD_OK;
}

/* Where pictures need framing, as the network knows it from its training, else as they ask for. */
static const char *framing(const kdt_measure *m, const kd_dataset *data)
{
    const char *own = kd_model_framing(m->model), *theirs = kd_dataset_framing(data);
    return own && strcmp(theirs, "none") ? own : theirs;
}

/* The loader begins at once: open it last, so that its first batch counts in the time. */
static kd_status open_loader(kdt_measure *m, kd_dataset *data, kd_loader **loader)
{
    const kd_eval_opt *o = m->opt;
    const kd_data_info *info = kd_dataset_info(data);
    kd_view views[2] = {kd_model_view(m->model, info)};
    if (o->teacher) views[1] = kd_model_view(o->teacher, info);
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = source(o),
                               .dev_count = o->dev_count,
                               .dev = o->split == KD_EVAL_DEV,
                               .batch = o->batch,
                               .augment = o->augment ? o->augment : framing(m, data),
                               .n_views = o->teacher ? 2 : 1,
                               .views = views};
    const kd_status status = kd_loader_create(data, &opt, loader);
    if (!status && kd_loader_draws(*loader))
        return kd_ctx_fail(m->ctx, KD_E_INVALID,
                           "kd_eval_opt: %s leaves something to chance: an evaluation shows each "
                           "sample once, as it is or framed",
                           kd_loader_augment(*loader));
    return status;
}

static kd_status evaluate(kdt_measure *m, kd_dataset *data, kd_eval_result *result)
{
    const kd_eval_opt *o = m->opt;
    side sides[2] = {{.view = 0}, {.view = 1}};
    kd_loader *loader = NULL;
    if (o->confusion) memset(o->confusion, 0, m->classes * m->classes * sizeof *o->confusion);
    if (o->teacher) m->row = kd_ctx_alloc(m->ctx, m->classes, sizeof *m->row);
    kd_status status = o->teacher && !m->row ? kd_ctx_memory_status(m->ctx) : KD_OK;
    if (!status && o->answer) {
        m->answers = kd_ctx_alloc(m->ctx, o->batch, m->classes * sizeof *m->answers);
        if (!m->answers) status = kd_ctx_memory_status(m->ctx);
    }
    if (!status && !o->answer) status = open_side(m->model, o->params, o->batch, &sides[0]);
    if (!status && o->teacher) status = open_side(o->teacher, NULL, o->batch, &sides[1]);
    if (!status) status = open_loader(m, data, &loader);
    const double start = kd_seconds();
    if (!status) status = loop(m, loader, sides);
    result->seconds = kd_seconds() - start;
    for (int s = 0; s < 2; s++) {
        kd_exec_destroy(sides[s].exec);
        kd_plan_destroy(sides[s].plan);
    }
    kd_loader_close(loader);
    kd_ctx_free(m->ctx, m->row);
    kd_ctx_free(m->ctx, m->answers);
    return status;
}

kd_status kd_evaluate(kd_model *model, kd_dataset *data, const kd_eval_opt *options,
                      kd_eval_result *out)
{
    if (!model) return KD_E_INVALID;
    kd_ctx *ctx = kd_model_ctx(model);
    if (!data) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_evaluate: NULL");
    const kd_data_info *info = kd_dataset_info(data);
    kd_eval_opt o;
    kd_eval_result result = {.struct_size = sizeof result};
    kd_status status = kd_results_check(ctx, "kd_eval_result", out);
    if (!status) status = kd_options(ctx, "kd_eval_opt", &o, sizeof o, options);
    if (status) return status;
    if (!o.batch) o.batch = BATCH;
    kdt_measure m = {.ctx = ctx, .model = model, .opt = &o, .classes = kd_model_classes(model)};
    status = check(ctx, info, &o);
    if (!status) status = kd_ctx_check_cancel(ctx);
    const size_t count = o.split == KD_EVAL_DEV ? o.dev_count : info->count[source(&o)];
    if (!status && o.batch > count) o.batch = count; /* check: there is one at least */
    if (!status) status = kdt_classes_match(model, info, &o, &m.classes_of);
    const size_t held = kd_ctx_memory(ctx);
    if (!status) status = evaluate(&m, data, &result);
    kd_model *const both[2] = {o.answer ? NULL : model, o.teacher};
    if (kdt_lacks_memory(ctx, status))
        status = kdt_explain_evaluation(ctx, both, count, o.batch, held);
    kdt_measure_result(&m, &result);
    kdt_classes_free(ctx, &m.classes_of);
    kd_results(out, &result, sizeof result);
    return status;
}
