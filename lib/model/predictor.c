/* SPDX-License-Identifier: MIT
 * predictor.c: a network with a plan, and what makes its input of the caller's pictures. Written on
 * the public headers of the other rooms. */
#include "model.h"

#include <kd/plan.h>
#include <kd/predict.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FRAMING = 256 };

struct kd_predictor {
    kd_model *model;
    kd_plan *plan;
    int shares; /* the plan is another's */
    kd_exec *exec;
    kd_framer *framer;
    float *input;          /* [batch,height,width,channels] */
    size_t batch, picture; /* floats of one */
    size_t height, width;  /* that memory was taken for */
    char framing[FRAMING];
};

void kd_predictor_destroy(kd_predictor *p)
{
    if (!p) return;
    kd_ctx *ctx = p->model->ctx;
    kd_exec_destroy(p->exec);
    if (!p->shares) kd_plan_destroy(p->plan);
    kd_framer_destroy(p->framer);
    kd_ctx_free(ctx, p->input);
    kd_ctx_free(ctx, p);
}

/* What every predictor has for itself besides its executor. */
static kd_status make_input(kd_predictor *p)
{
    kd_ctx *ctx = p->model->ctx;
    const size_t height = kd_model_height(p->model), width = kd_model_width(p->model);
    const size_t channels = kd_model_channels(p->model);
    const kd_framer_opt opt = {
        .struct_size = sizeof opt,
        .view = {height, width, channels, kd_model_mean(p->model), kd_model_std(p->model)},
        .framing = p->framing,
        .height = p->height,
        .width = p->width};
    p->picture = height * width * channels;
    p->input = kd_ctx_alloc(ctx, p->batch, p->picture * sizeof *p->input);
    if (!p->input) return kd_ctx_memory_status(ctx);
    return kd_framer_create(ctx, &opt, &p->framer);
}

kd_status kd_predictor_create(kd_model *m, const kd_predictor_opt *options, kd_predictor **out)
{
    kd_predictor_opt opt;
    if (out) *out = NULL;
    if (!m) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(m->ctx, KD_E_INVALID, "kd_predictor_create: NULL");
    kd_status status = kd_options(m->ctx, "kd_predictor_opt", &opt, sizeof opt, options);
    if (status) return status;
    if (!m->normalized)
        return kd_ctx_fail(m->ctx, KD_E_INVALID,
                           "%s has no normalisation: kd_model_set_normalization gives it one",
                           m->text);
    const char *own = kd_model_framing(m);
    const char *framing = opt.framing ? opt.framing : own ? own : "centre:0.875+bilinear";
    kd_predictor *p = kd_ctx_alloc(m->ctx, 1, sizeof *p);
    if (!p) return kd_ctx_memory_status(m->ctx);
    p->model = m;
    p->batch = opt.batch ? opt.batch : 1;
    p->height = opt.height;
    p->width = opt.width;
    const int n = snprintf(p->framing, sizeof p->framing, "%s", framing);
    if (n < 0 || (size_t)n >= sizeof p->framing)
        status = kd_ctx_fail(m->ctx, KD_E_INVALID, "framing '%.60s...' is too long", framing);
    if (!status) status = kd_model_plan(m, p->batch, &p->plan, &p->exec);
    if (!status) status = make_input(p);
    if (status)
        kd_predictor_destroy(p);
    else
        *out = p;
    return status;
}

kd_status kd_predictor_share(const kd_predictor *of, kd_predictor **out)
{
    if (out) *out = NULL;
    if (!of) return KD_E_INVALID;
    kd_ctx *ctx = of->model->ctx;
    if (!out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_predictor_share: NULL");
    kd_predictor *p = kd_ctx_alloc(ctx, 1, sizeof *p);
    if (!p) return kd_ctx_memory_status(ctx);
    *p = *of;
    p->shares = 1;
    p->exec = NULL;
    p->framer = NULL;
    p->input = NULL;
    kd_status status = kd_exec_create(p->plan, p->model->params, NULL, &p->exec);
    if (!status) status = make_input(p);
    if (status)
        kd_predictor_destroy(p);
    else
        *out = p;
    return status;
}

kd_status kd_predictor_run(kd_predictor *p, const kd_picture *pictures, size_t n, float *logits)
{
    if (!p) return KD_E_INVALID;
    kd_ctx *ctx = p->model->ctx;
    if (n && (!pictures || !logits))
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_predictor_run: NULL");
    const size_t classes = kd_model_classes(p->model);
    kd_status status = kd_exec_bind(p->exec, "input", p->input);
    for (size_t at = 0; at < n && !status; at += p->batch) {
        const kd_run_opt run = {.struct_size = sizeof run,
                                .batch = n - at < p->batch ? n - at : p->batch};
        for (size_t i = 0; i < run.batch && !status; i++) {
            status = kd_framer_show(p->framer, &pictures[at + i], p->input + i * p->picture);
            if (status && n > 1) {
                char why[400];
                snprintf(why, sizeof why, "%s", kd_ctx_error(ctx));
                kd_ctx_fail(ctx, status, "picture %zu of %zu: %s", at + i, n, why);
            }
        }
        if (!status) status = kd_exec_run(p->exec, &run);
        if (!status)
            memcpy(logits + at * classes, kd_exec_output(p->exec, "logits"),
                   run.batch * classes * sizeof *logits);
    }
    return status;
}

/* ---- what the logits mean -------------------------------------------------------------------- */

/* The largest logit behind `last` in the order of logits, then of classes; last SIZE_MAX: of all. */
static size_t next_best(const float *logits, size_t classes, size_t last)
{
    size_t best = SIZE_MAX;
    for (size_t k = 0; k < classes; k++) {
        const int behind =
            last == SIZE_MAX || logits[k] < logits[last] || (logits[k] == logits[last] && k > last);
        if (behind && (best == SIZE_MAX || logits[k] > logits[best])) best = k;
    }
    return best;
}

kd_status kd_model_guess(const kd_model *m, const float *logits, size_t count, kd_guess *guesses)
{
    if (!m) return KD_E_INVALID;
    const size_t classes = kd_model_classes(m);
    const char *const *names = kd_model_class_names(m);
    double sum = 0;
    size_t at = SIZE_MAX;
    if (!logits || (count && !guesses))
        return kd_ctx_fail(m->ctx, KD_E_INVALID, "kd_model_guess: NULL");
    if (count > classes)
        return kd_ctx_fail(m->ctx, KD_E_INVALID, "the %zu likeliest of %zu classes", count,
                           classes);
    for (size_t k = 0; k < classes; k++)
        if (!isfinite(logits[k]))
            return kd_ctx_fail(m->ctx, KD_E_NONFINITE, "the logit of class %zu is not finite", k);
    const size_t first = next_best(logits, classes, SIZE_MAX);
    for (size_t k = 0; k < classes; k++) sum += exp((double)logits[k] - (double)logits[first]);
    for (size_t i = 0; i < count; i++) {
        at = next_best(logits, classes, at);
        guesses[i] =
            (kd_guess){.index = at,
                       .name = names ? names[at] : NULL,
                       .probability = exp((double)logits[at] - (double)logits[first]) / sum};
    }
    return KD_OK;
}
