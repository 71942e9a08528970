/* SPDX-License-Identifier: MIT
 * run_setup.c: what a run consists of: its options against its data, its optimiser, and the plan of
 * its step. What feeds it is opened by feed.c. */
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- options against data -------------------------------------------------------------------- */

/* Is no label read? Then the data's classes need not be the network's. */
static bool unlabelled(const kdt_run *run)
{
    const kd_distill_opt *o = &run->opt;
    const bool taught = o->teacher || o->teachers || o->cache || o->logits;
    return taught && o->hard <= 0 && o->method != KD_METHOD_DKD;
}

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
    if (info->unlabelled && (!unlabelled(run) || t->dev_count))
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           t->dev_count ? "dev_count: %s has no labels to measure with"
                                        : "%s has no labels: its pictures serve distillation whose "
                                          "labels have no weight (hard) alone, and not with dkd",
                           info->name);
    if (info->classes != kd_model_classes(run->model) && !unlabelled(run))
        return kd_ctx_fail(run->ctx, KD_E_MISMATCH, "%s has %zu classes, the network %zu",
                           info->name, info->classes, kd_model_classes(run->model));
    return KD_OK;
}

/* Of two classes some losses leave little. */
static void warn_of_two(const kdt_run *run)
{
    const kd_distill_opt *o = &run->opt;
    if (o->soft > 0 && o->method == KD_METHOD_DKD && o->beta > 0)
        kdt_warn(run, "beta: it weighs the classes that are not the label's against each other; of "
                      "two classes that is one, and nothing is learnt by it");
    if (o->soft > 0 && o->method == KD_METHOD_STANDARDIZED)
        kdt_warn(run, "method: two logits are -1 and 1 when they are standardized, whatever the "
                      "teacher says");
}

/* What can't be what was meant, but may be: said, not refused. */
static void warn(const kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const size_t samples = kd_loader_samples(run->feed->loader);
    if (samples < t->batch)
        kdt_warn(run,
                 "batch: the training set of %zu pictures is smaller than a batch of %zu: an "
                 "epoch is one step; use a smaller batch",
                 samples, t->batch);
    if (run->steps && (double)t->warmup * (double)run->steps_per_epoch >= (double)run->steps)
        kdt_warn(run,
                 "warmup: %g epochs are more than the run has: the learning rate is never reached",
                 (double)t->warmup);
    if (t->accumulate > run->batches)
        kdt_warn(run, "accumulate: an epoch has %zu batches, so that no step sums over %zu",
                 run->batches, t->accumulate);
    if (t->augment_epochs && run->steps &&
        (run->steps - 1) / run->steps_per_epoch < t->augment_epochs)
        kdt_warn(run, "augment_epochs: the run has no more epochs than %zu: none comes twice",
                 t->augment_epochs);
    else if (t->augment_epochs && !kd_loader_draws(run->feed->loader) && !t->drop_last)
        kdt_warn(run, "augment_epochs: this augmentation is the same in each epoch anyway");
    if (t->ema > 0 && run->steps && (double)run->steps < 3 / (1 - (double)t->ema))
        kdt_warn(run,
                 "ema: %zu steps are too few for an average with a decay of %g, which still holds "
                 "%.0f %% of the first weights at the end",
                 run->steps, (double)t->ema, 100 * pow((double)t->ema, (double)run->steps));
    if (run->opt.n_teachers && run->opt.soft == 0 && !kdt_has_features(&run->opt))
        kdt_warn(run, "soft: it is 0: the teachers teach nothing");
    if (run->opt.n_teachers && kd_model_classes(run->model) == 2) warn_of_two(run);
    if (run->opt.n_teachers && run->opt.method == KD_METHOD_DKD && t->budget_seconds <= 0 &&
        (double)run->opt.dkd_warmup > (double)t->epochs)
        kdt_warn(run,
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
    if (!names || !info->class_names || unlabelled(run)) return KD_OK;
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
        status = kd_model_set_framing(run->model, kd_loader_draws(run->feed->loader)
                                                      ? kd_dataset_framing(run->data)
                                                      : kd_loader_augment(run->feed->loader));
    if (status || !run->train.out) return status;
    uint64_t checksum;
    status = kd_dataset_checksum(run->data, &checksum);
    return status ? status : kd_model_set_data(run->model, info->name, checksum);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static kd_status count_steps(kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    const kdt_feed *feed = run->feed;
    if (kd_loader_mixes(feed->loader) && run->opt.n_teachers && run->opt.method == KD_METHOD_DKD)
        return kd_ctx_fail(run->ctx, KD_E_INVALID,
                           "augment: dkd knows one label a picture: it does not go with mixup or "
                           "cutmix");
    run->batches = feed->batches;
    run->steps_per_epoch = (run->batches + t->accumulate - 1) / t->accumulate;
    run->steps = t->budget_seconds > 0 ? 0 : run->steps_per_epoch * t->epochs;
    if (t->max_steps && (run->steps == 0 || t->max_steps < run->steps)) run->steps = t->max_steps;
    return KD_OK;
}

/* After all else: the plan makes do with what a limit of memory leaves. held: bytes in use when the
 * run began. What the run adds is counted by shapes, as scratch memory grows with the threads and
 * the cut must not depend on them. */
kd_status kdt_run_plan(kdt_run *run, size_t held, size_t others)
{
    kdt_step step = {.batch = run->feed->most,
                     .mixed = kd_loader_mixes(run->feed->loader),
                     .values = kdt_values_limit(run->ctx, held + kdt_fixed_bytes(run)),
                     .features = kdt_has_features(&run->opt) ? &run->features : NULL};
    kd_status status = kdt_later_bytes(run, &step.later);
    step.later += others;
    if (!status) status = kdt_step_plan(run->model, &run->opt, &step, &run->plan, &run->extra);
    if (!status && run->extra)
        status = kdt_extra_optim_create(run->extra, &run->train, &run->extra_optim);
    return status;
}

static kd_status create_exec(kdt_run *run, void *arena)
{
    kd_status status =
        kd_exec_create_with(run->plan, kd_model_params(run->model), run->extra, arena, &run->exec);
    if (!status && run->opt.soft > 0 && kdt_needs_soft_weight(&run->opt))
        status = kd_exec_bind(run->exec, "soft_weight", &run->soft_weight);
    return status;
}

/* All runs compute in one arena, one after the other: nothing in it is kept between runs of an
 * executor but the outputs, which are read at once. */
kd_status kdt_runs_execute(kdt_feed *feed, kdt_run *const *runs, size_t n)
{
    size_t most = 1;
    for (size_t i = 0; i < n; i++)
        if (kd_plan_arena_size(runs[i]->plan) > most) most = kd_plan_arena_size(runs[i]->plan);
    feed->arena = kd_ctx_alloc(feed->ctx, most, 1);
    if (!feed->arena) return kd_ctx_memory_status(feed->ctx);
    for (size_t i = 0; i < n; i++) {
        const kd_status status = create_exec(runs[i], feed->arena);
        if (status) return status;
    }
    return KD_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

kd_status kdt_run_check(kdt_run *run)
{
    kdt_feed *feed = run->feed;
    kd_status status = check_options(run);
    if (!status) status = kdt_groups_check(run->model, &run->train);
    if (!status) status = kd_model_take_normalization(run->model, kd_dataset_info(run->data));
    if (!status) status = kd_model_check_finite(run->model);
    if (!status) status = check_classes(run, run->model, "the network");
    if (!status) status = kdt_teachers_check(feed, run);
    if (!status) status = kdt_features_find(run);
    for (size_t k = 0; k < feed->n_teachers && !status && !feed->mute; k++) {
        char who[40];
        snprintf(who, sizeof who, "teacher %zu", k);
        if (feed->teachers[k].model) status = check_classes(run, feed->teachers[k].model, who);
    }
    return status ? status : kdt_check_test(run);
}

kd_status kdt_run_open(kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    kd_params *params = kd_model_params(run->model);
    kd_status status = count_steps(run);
    if (!status) status = name_model(run);
    if (!status) status = kdt_optim_create(run->model, t, &run->optim);
    if (!status && t->ema > 0) status = kd_params_clone(params, &run->ema);
    if (!status && t->keep == KD_KEEP_BEST) status = kd_params_clone(params, &run->best.params);
    if (!status) status = kd_params_need_grads(params);
    if (!status) kdt_clear_gradients(params, t);
    if (!status) status = kdt_keep_buffers(run);
    if (!status) warn(run);
    return status;
}

void kdt_run_close(kdt_run *run)
{
    kd_exec_destroy(run->exec);
    kd_plan_destroy(run->plan);
    kd_optim_destroy(run->optim);
    kd_optim_destroy(run->extra_optim);
    kd_params_destroy(run->extra);
    kd_params_destroy(run->ema);
    kd_params_destroy(run->best.params);
    kd_ctx_free(run->ctx, run->buffers);
    kd_ctx_free(run->ctx, run->extra_buffers);
    kd_ctx_free(run->ctx, run->description);
}
