/* SPDX-License-Identifier: MIT
 * setup.c: what a run consists of: its options against its data, the loader and its views, the
 * teachers, the optimiser, the student's program. */
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- options against data -------------------------------------------------------------------- */

static kd_status check_options(kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const kd_data_info *info = kd_dataset_info(run->data);
    const size_t all = info->count[KD_SPLIT_TRAIN];
    if (all == 0)
        return kd_ctx_fail(run->ctx, KD_E_INVALID, "%s has no training pictures", info->name);
    if (t->dev_count >= all)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "dev_count: a development split of %zu leaves nothing of %zu",
                           t->dev_count, all);
    if (info->classes != kd_model_classes(run->model))
        return kd_ctx_fail(run->ctx, KD_E_MISMATCH, "%s has %zu classes, the network %zu",
                           info->name, info->classes, kd_model_classes(run->model));
    return KD_OK;
}

/* What can't be what was meant, but may be: said, not refused. */
static void warn(const kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const size_t samples = kd_loader_samples(run->loader);
    if (samples < t->batch)
        kd_ctx_log(run->ctx, KD_LOG_WARN,
                   "batch: the training set of %zu pictures is smaller than a batch of %zu: an "
                   "epoch is one step; use a smaller batch",
                   samples, t->batch);
    if (run->steps && (double)t->warmup * (double)run->steps_per_epoch >= (double)run->steps)
        kd_ctx_log(
            run->ctx, KD_LOG_WARN,
            "warmup: %g epochs are more than the run has: the learning rate is never reached",
            (double)t->warmup);
    if (t->accumulate > run->batches)
        kd_ctx_log(run->ctx, KD_LOG_WARN,
                   "accumulate: an epoch has %zu batches, so that no step sums over %zu",
                   run->batches, t->accumulate);
    if (t->ema > 0 && run->steps && (double)run->steps < 3 / (1 - (double)t->ema))
        kd_ctx_log(
            run->ctx, KD_LOG_WARN,
            "ema: %zu steps are too few for an average with a decay of %g, which still holds "
            "%.0f %% of the first weights at the end",
            run->steps, (double)t->ema, 100 * pow((double)t->ema, (double)run->steps));
    if (run->opt.n_teachers && run->opt.soft == 0)
        kd_ctx_log(run->ctx, KD_LOG_WARN, "soft: it is 0: the teachers teach nothing");
    if (run->opt.n_teachers && run->opt.method == KD_METHOD_DKD && t->budget_seconds <= 0 &&
        (double)run->opt.dkd_warmup > (double)t->epochs)
        kd_ctx_log(run->ctx, KD_LOG_WARN,
                   "dkd_warmup: %g epochs are more than the run has: the teachers' weight does not "
                   "reach its value",
                   (double)run->opt.dkd_warmup);
}

/* ---- classes --------------------------------------------------------------------------------- */

/* A label's number is the network's class: names that both have must be the same, in one order. */
static kd_status check_classes(kdt_run *run, kd_model *model, const char *who)
{
    const kd_data_info *info = kd_dataset_info(run->data);
    const char *const *names = kd_model_class_names(model);
    kd_class_match match;
    if (!names || !info->class_names) return KD_OK;
    int32_t *map = kd_ctx_alloc(run->ctx, info->classes, sizeof *map);
    if (!map) return kd_ctx_memory_status(run->ctx);
    const kd_status status = kd_classes_match(run->ctx, names, kd_model_classes(model),
                                              info->class_names, info->classes, map, &match);
    kd_ctx_free(run->ctx, map);
    if (status == KD_E_MISMATCH)
        return kd_ctx_fail(run->ctx, status, "%s knows other classes than %s: %s", who, info->name,
                           kd_ctx_error(run->ctx));
    if (status || match == KD_CLASSES_SAME) return status;
    return kd_ctx_fail(run->ctx, KD_E_MISMATCH,
                       match == KD_CLASSES_REORDERED
                           ? "%s has the classes of %s in another order"
                           : "%s has more classes than %s, which has some of them",
                       who, info->name);
}

/* What the network is from now on: of these classes, of this data, whose pictures are framed so. It
 * is evaluated as it was trained where nothing of that was left to chance. */
static kd_status name_model(kdt_run *run)
{
    const kd_data_info *info = kd_dataset_info(run->data);
    kd_status status = KD_OK;
    if (info->class_names && info->classes == kd_model_classes(run->model))
        status = kd_model_set_class_names(run->model, info->class_names);
    if (!status)
        status = kd_model_set_framing(run->model, kd_loader_draws(run->loader)
                                                      ? kd_dataset_framing(run->data)
                                                      : kd_loader_augment(run->loader));
    if (status || !run->train.out) return status;
    uint64_t checksum;
    status = kd_dataset_checksum(run->data, &checksum);
    return status ? status : kd_model_set_data(run->model, info->name, checksum);
}

/* ---- loader ---------------------------------------------------------------------------------- */

static bool same_view(const kd_view *a, const kd_view *b)
{
    if (a->height != b->height || a->width != b->width || a->channels != b->channels) return false;
    const size_t bytes = a->channels * sizeof(float);
    if (!a->mean || !b->mean) return a->mean == b->mean;
    return !memcmp(a->mean, b->mean, bytes) && !memcmp(a->std, b->std, bytes);
}

/* Views that are equal are prepared once. */
static kd_status open_loader(kdt_run *run)
{
    kd_view views[1 + KD_MAX_TEACHERS];
    const kd_train_opt *t = &run->train;
    const kd_data_info *info = kd_dataset_info(run->data);
    views[0] = kd_model_view(run->model, info);
    run->n_views = 1;
    for (size_t k = 0; k < run->opt.n_teachers; k++) {
        views[run->n_views] = kd_model_view(run->teachers[k].model, info);
        size_t v = 0;
        while (!same_view(&views[v], &views[run->n_views])) v++;
        run->teachers[k].view = v;
        if (v == run->n_views) run->n_views++;
    }
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TRAIN,
                               .dev_count = t->dev_count,
                               .batch = t->batch,
                               .shuffle = 1,
                               .drop_last = t->drop_last,
                               .augment = t->augment,
                               .seed = t->seed,
                               .depth = t->depth,
                               .n_views = run->n_views,
                               .views = views};
    const kd_status status = kd_loader_create(run->data, &opt, &run->loader);
    if (status) return status;
    if (kd_loader_mixes(run->loader) && run->opt.n_teachers && run->opt.method == KD_METHOD_DKD)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "augment: dkd knows one label a picture: it does not go with mixup or "
                           "cutmix");
    run->batches = kd_loader_batches(run->loader);
    if (run->batches == 0)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "batch: the training set is smaller than a batch of %zu", t->batch);
    run->steps_per_epoch = (run->batches + t->accumulate - 1) / t->accumulate;
    run->steps = t->budget_seconds > 0 ? 0 : run->steps_per_epoch * t->epochs;
    if (t->max_steps && (run->steps == 0 || t->max_steps < run->steps)) run->steps = t->max_steps;
    return KD_OK;
}

/* ---- the student's program ------------------------------------------------------------------- */

/* Choose the micro-batch. `held` is the memory in use when the run began. What the run adds is
 * counted from shapes, not from scratch sizes: scratch grows with the threads, and the result must
 * not depend on them. */
static kd_status cut_batch(kdt_run *run, size_t held)
{
    const kd_train_opt *t = &run->train;
    size_t rest = held, flat = kd_params_flat_count(kd_model_params(run->model));
    rest += flat * sizeof(float) * (t->ema > 0 ? 4 : 3);
    for (size_t k = 0; k <= run->opt.n_teachers; k++) {
        kd_model *m = k ? run->teachers[k - 1].model : run->model;
        const size_t image = kd_model_image(m), picture = image * image * kd_model_channels(m);
        rest += (KD_LOADER_DEPTH + 1) * t->batch * picture * sizeof(float);
        if (k) rest += kd_params_flat_count(kd_model_params(m)) * sizeof(float);
    }
    run->program = (kdt_program){.batch = t->batch, .mixed = kd_loader_mixes(run->loader)};
    return kdt_cut(run->model, &run->opt, kdt_room(run->ctx, rest), &run->program);
}

/* After all else: its plan makes do with what a limit of memory leaves. */
static kd_status open_student(kdt_run *run)
{
    size_t later;
    kd_params *params = kd_model_params(run->model);
    kd_status status = kdt_later_bytes(run, &later);
    if (!status) status = kdt_plan_fitting(run->model, &run->opt, &run->program, later, &run->plan);
    if (!status) status = kd_exec_create(run->plan, params, NULL, &run->exec);
    for (size_t t = 0; t < run->opt.n_teachers && !status && run->opt.soft > 0; t++) {
        char name[32];
        snprintf(name, sizeof name, "teacher%zu", t);
        status = kd_exec_bind(run->exec, name, kd_exec_output(run->teachers[t].exec, "logits"));
    }
    if (!status && run->opt.soft > 0 && kdt_needs_soft_weight(&run->opt))
        status = kd_exec_bind(run->exec, "soft_weight", &run->soft_weight);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

kd_status kdt_open(kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const kd_data_info *info = kd_dataset_info(run->data);
    kd_params *params = kd_model_params(run->model);
    kd_status status = check_options(run);
    if (!status) status = kd_model_take_normalization(run->model, info);
    if (!status) status = kd_model_check_finite(run->model);
    if (!status) status = check_classes(run, run->model, "the network");
    if (!status) status = kdt_teachers_check(run);
    for (size_t k = 0; k < run->opt.n_teachers && !status; k++) {
        char who[40];
        snprintf(who, sizeof who, "teacher %zu", k);
        status = check_classes(run, run->teachers[k].model, who);
    }
    if (!status) status = kdt_check_test(run);
    const size_t held = kd_ctx_memory(run->ctx);
    if (!status) status = open_loader(run);
    if (!status) status = name_model(run);
    if (!status) status = cut_batch(run, held);
    if (!status) status = kdt_teachers_open(run, run->program.micro);
    if (!status) status = kdt_optim_create(params, t, &run->optim);
    if (!status && t->ema > 0) status = kd_params_clone(params, &run->ema);
    if (!status && t->keep == KD_KEEP_BEST) status = kd_params_clone(params, &run->best.params);
    if (!status) status = kd_params_need_grads(params);
    if (!status) status = kdt_keep_buffers(run);
    if (!status) status = open_student(run);
    if (!status) warn(run);
    return status;
}

void kdt_close(kdt_run *run)
{
    kd_loader_close(run->loader);
    kd_exec_destroy(run->exec);
    kd_plan_destroy(run->plan);
    kdt_teachers_close(run);
    kd_optim_destroy(run->optim);
    kd_params_destroy(run->ema);
    kd_params_destroy(run->best.params);
    kd_ctx_free(run->ctx, run->buffers);
    kd_ctx_free(run->ctx, run->description);
}
