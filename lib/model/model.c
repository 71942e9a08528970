/* SPDX-License-Identifier: MIT
 * model.c: a spec with its parameters: creating, building its graph, planning inference. Written on
 * the public headers of the other rooms. */
#include "model.h"

#include <stdio.h>
#include <string.h>

static kd_value build(const kdi_spec *spec, kd_graph *g, kd_value x, kd_build_opt opt)
{
    kd_value heads[2];
    for (size_t t = 0; t < opt.n_taps; t++) opt.taps[t].value = KD_NONE;
    if (!opt.heads) opt.heads = heads;
    opt.heads[0] = opt.heads[1] = KD_NONE;
    const kd_value logits = spec->family->build(spec, g, x, &opt);
    if (opt.heads[0] == KD_NONE || logits == KD_NONE) opt.heads[0] = opt.heads[1] = logits;
    if (logits == KD_NONE) return logits;
    const kd_status status = kdi_taps_check(kd_graph_ctx(g), spec, &opt);
    return status ? kd_graph_fail(g, status) : logits;
}

/* The network as a graph from "input" to "logits", and the logits of the heads if there are two; the
 * taps are outputs, too. */
static kd_status make_graph(kd_ctx *ctx, const kdi_spec *spec, const kd_build_opt *with,
                            kd_graph **out)
{
    kd_value heads[2];
    kd_build_opt opt = *with;
    opt.heads = heads;
    const int64_t dim[] = {KD_BATCH, spec->image[0], spec->image[1], spec->channels};
    kd_graph *g;
    kd_status status = kd_graph_create(ctx, &g);
    if (status) return status;
    kd_output(g, build(spec, g, kd_input(g, "input", KD_F32, 4, dim), opt), "logits");
    if (heads[0] != heads[1]) {
        kd_output(g, heads[0], "logits_cls");
        kd_output(g, heads[1], "logits_dist");
    }
    for (size_t t = 0; t < opt.n_taps && !kd_graph_status(g); t++)
        kd_output(g, opt.taps[t].value, opt.taps[t].name);
    status = kd_graph_status(g);
    if (status) {
        kd_graph_destroy(g);
        return status;
    }
    *out = g;
    return KD_OK;
}

static const kd_build_opt plain = {.struct_size = sizeof plain};
static const kd_build_opt whole = {.struct_size = sizeof whole, .whole = 1};

kd_status kdi_model_count(kd_ctx *ctx, const kdi_spec *spec, uint64_t *params)
{
    kd_graph *g;
    const kd_status status = make_graph(ctx, spec, &plain, &g);
    if (status) return status;
    *params = kd_graph_param_count(g);
    kd_graph_destroy(g);
    return KD_OK;
}

kd_status kdi_model_create(kd_ctx *ctx, const kdi_spec *spec, uint64_t seed, kd_model **out)
{
    kd_graph *g;
    kd_status status = make_graph(ctx, spec, &plain, &g);
    if (status) return status;
    kd_model *m = kd_ctx_alloc(ctx, 1, sizeof *m);
    if (!m) status = kd_ctx_memory_status(ctx);
    if (!status) {
        m->ctx = ctx;
        m->spec = *spec;
        kdi_spec_print(spec, m->text, sizeof m->text);
        status = kd_params_create(g, seed, &m->params);
    }
    kd_graph_destroy(g);
    if (status)
        kd_model_destroy(m);
    else
        *out = m;
    return status;
}

kd_status kd_spec_count(kd_ctx *ctx, const char *spec, uint64_t *params, uint64_t *macs)
{
    kdi_spec s;
    kd_graph *g;
    kd_plan *plan = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!spec) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_spec_count: NULL");
    kd_status status = kdi_spec_parse(ctx, spec, NULL, NULL, &s);
    if (!status) status = make_graph(ctx, &s, &whole, &g);
    if (status) return status;
    if (params) *params = kd_graph_param_count(g);
    if (macs) {
        const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = 1, .no_sharing = 1};
        status = kd_plan_create(g, &opt, &plan);
        if (!status) *macs = kd_plan_macs(plan);
        kd_plan_destroy(plan);
    }
    kd_graph_destroy(g);
    return status;
}

kd_status kd_model_create(kd_ctx *ctx, const char *spec, uint64_t seed, kd_model **out)
{
    kdi_spec s;
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!spec || !out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_model_create: NULL");
    kd_status status = kdi_spec_parse(ctx, spec, NULL, NULL, &s);
    if (!status) status = kdi_model_create(ctx, &s, seed, out);
    return kdi_limit_for(ctx, status, "the network %s", spec);
}

void kd_model_destroy(kd_model *m)
{
    if (!m) return;
    kd_params_destroy(m->params);
    kdi_classes_free(m->ctx, &m->classes);
    kd_ctx_free(m->ctx, m->data);
    kd_ctx_free(m->ctx, m);
}

kd_ctx *kd_model_ctx(const kd_model *m)
{
    return m ? m->ctx : NULL;
}

const char *kd_model_spec(const kd_model *m)
{
    return m ? m->text : NULL;
}

kd_params *kd_model_params(kd_model *m)
{
    return m ? m->params : NULL;
}

size_t kd_model_classes(const kd_model *m)
{
    return m ? (size_t)m->spec.classes : 0;
}

size_t kd_model_height(const kd_model *m)
{
    return m ? (size_t)m->spec.image[0] : 0;
}

size_t kd_model_width(const kd_model *m)
{
    return m ? (size_t)m->spec.image[1] : 0;
}

size_t kd_model_image(const kd_model *m)
{
    return kd_model_height(m);
}

int kd_model_is_transformer(const kd_model *m)
{
    return m && m->spec.family->transformer;
}

const char *kd_model_head_at(const kd_model *m, size_t i)
{
    return m ? m->spec.family->head(&m->spec, i) : NULL;
}

int kd_model_has_batch_norm(const kd_model *m)
{
    return m ? m->spec.norm : 0;
}

size_t kd_model_channels(const kd_model *m)
{
    return m ? (size_t)m->spec.channels : 0;
}

kd_value kd_model_build(const kd_model *m, kd_graph *g, kd_value x, const kd_build_opt *options)
{
    kd_build_opt opt;
    kd_ctx *ctx = kd_graph_ctx(g);
    kd_status status = kd_options(ctx, "kd_build_opt", &opt, sizeof opt, options);
    if (!status && (!m || (opt.n_taps && !opt.taps)))
        status = kd_ctx_fail(ctx, KD_E_INVALID, "kd_model_build: NULL %s", m ? "taps" : "model");
    if (status || !g) {
        const bool heads = options && options->struct_size >= offsetof(kd_build_opt, whole);
        if (heads && options->heads) options->heads[0] = options->heads[1] = KD_NONE;
        return kd_graph_fail(g, status);
    }
    return build(&m->spec, g, x, opt);
}

static kd_status plan_with(kd_model *m, size_t batch, const kd_build_opt *build, kd_plan **plan,
                           kd_exec **exec)
{
    kd_graph *g;
    kd_status status = make_graph(m->ctx, &m->spec, build, &g);
    if (status) return status;
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = batch, .frozen = 1};
    status = kd_plan_create(g, &opt, plan);
    kd_graph_destroy(g);
    if (!status) status = kd_exec_create(*plan, m->params, NULL, exec);
    if (status) {
        kd_plan_destroy(*plan);
        *plan = NULL;
    }
    return status;
}

kd_status kd_model_plan_taps(kd_model *m, size_t batch, const char *const *names, size_t n,
                             kd_plan **plan, kd_exec **exec)
{
    if (plan) *plan = NULL;
    if (exec) *exec = NULL;
    if (!m) return KD_E_INVALID;
    if (!plan || !exec || (n && !names))
        return kd_ctx_fail(m->ctx, KD_E_INVALID, "kd_model_plan: NULL");
    kd_build_opt build = {.struct_size = sizeof build, .n_taps = n};
    build.taps = kd_ctx_alloc(m->ctx, n, sizeof *build.taps);
    if (!build.taps) return kd_ctx_memory_status(m->ctx);
    kd_status status = KD_OK;
    for (size_t t = 0; t < n && !status; t++)
        status = kdi_tap_name(m->ctx, names[t], &build.taps[t]);
    if (!status) status = plan_with(m, batch, &build, plan, exec);
    kd_ctx_free(m->ctx, build.taps);
    return status;
}

kd_status kd_model_plan(kd_model *m, size_t batch, kd_plan **plan, kd_exec **exec)
{
    return kd_model_plan_taps(m, batch, NULL, 0, plan, exec);
}

kd_status kd_model_predict(kd_model *m, const float *pictures, size_t n, size_t batch,
                           float *logits)
{
    kd_plan *plan;
    kd_exec *exec;
    if (!m) return KD_E_INVALID;
    if (n == 0) return KD_OK;
    if (!pictures || !logits) return kd_ctx_fail(m->ctx, KD_E_INVALID, "kd_model_predict: NULL");
    if (batch == 0) batch = 128;
    if (batch > n) batch = n;
    kd_status status = kd_model_plan(m, batch, &plan, &exec);
    if (status) return status;
    const size_t picture = kd_model_height(m) * kd_model_width(m) * kd_model_channels(m);
    const size_t classes = kd_model_classes(m);
    for (size_t at = 0; at < n && !status; at += batch) {
        const kd_run_opt run = {.struct_size = sizeof run,
                                .batch = n - at < batch ? n - at : batch};
        status = kd_exec_bind(exec, "input", pictures + at * picture);
        if (!status) status = kd_exec_run(exec, &run);
        if (!status)
            memcpy(logits + at * classes, kd_exec_output(exec, "logits"),
                   run.batch * classes * sizeof *logits);
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    return status;
}
