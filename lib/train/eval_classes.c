/* SPDX-License-Identifier: MIT
 * eval_classes.c: which class of the network a label of the data stands for, and which class of the
 * teacher a class of the network. A wrong answer would be a wrong accuracy without a word: what is
 * not known is refused. */
#include "evaluate.h"

#include <string.h>

static kd_status check_map(kd_ctx *ctx, const int32_t *map, size_t n, size_t classes)
{
    for (size_t i = 0; i < n; i++)
        if (map[i] < 0 || (size_t)map[i] >= classes)
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "kd_eval_opt.class_map: class %zu of the data is class %ld of a "
                               "network of %zu",
                               i, (long)map[i], classes);
    return KD_OK;
}

static void identity(int32_t *map, size_t n)
{
    for (size_t i = 0; i < n; i++) map[i] = (int32_t)i;
}

/* Said once an evaluation, where the answer is not the plain one. */
static void say(kd_ctx *ctx, const kd_data_info *info, size_t classes, bool named,
                kd_class_match match)
{
    if (match == KD_CLASSES_UNNAMED && named)
        kd_ctx_log(ctx, KD_LOG_INFO,
                   "the network has no names for its %zu classes: they are taken to be those of "
                   "%s, in their order",
                   classes, info->name);
    if (match == KD_CLASSES_SUBSET)
        kd_ctx_log(ctx, KD_LOG_INFO, "%s has %zu of the network's %zu classes: found by name",
                   info->name, info->classes, classes);
    if (match == KD_CLASSES_REORDERED)
        kd_ctx_log(ctx, KD_LOG_INFO, "%s has the network's classes in another order: found by name",
                   info->name);
}

static kd_status match_data(kd_model *model, const kd_data_info *info, const kd_eval_opt *opt,
                            int32_t *map)
{
    kd_ctx *ctx = kd_model_ctx(model);
    const size_t classes = kd_model_classes(model);
    if (opt->class_map) {
        for (size_t i = 0; i < info->classes; i++) map[i] = opt->class_map[i];
        return check_map(ctx, map, info->classes, classes);
    }
    if (opt->any_classes) {
        if (info->classes > classes)
            return kd_ctx_fail(ctx, KD_E_MISMATCH, "%s has %zu classes, the network only %zu",
                               info->name, info->classes, classes);
        identity(map, info->classes);
        return KD_OK;
    }
    kd_class_match match;
    const kd_status status = kd_classes_match(ctx, kd_model_class_names(model), classes,
                                              info->class_names, info->classes, map, &match);
    if (!status) say(ctx, info, classes, info->class_names != NULL, match);
    return status;
}

/* The network's own names; if it has none, and its classes are the data's, the data's. */
static const char *const *names_of(kd_model *model, const kd_data_info *info)
{
    const char *const *own = kd_model_class_names(model);
    return own || info->classes != kd_model_classes(model) ? own : info->class_names;
}

static bool is_among(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

/* kd_classes_match speaks of a network and data; these are two networks. */
static kd_status name_stray(kd_ctx *ctx, const char *const *names, const char *const *theirs,
                            size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_among(names[i], theirs, n))
            return kd_ctx_fail(ctx, KD_E_MISMATCH,
                               "the network's class %zu, '%s', is none of the teacher's", i,
                               names[i]);
    return kd_ctx_fail(ctx, KD_E_MISMATCH,
                       "names of the network's classes or of the teacher's come twice");
}

static kd_status match_teacher(kd_model *model, const kd_data_info *info, const kd_eval_opt *opt,
                               int32_t *map)
{
    kd_ctx *ctx = kd_model_ctx(model);
    const size_t classes = kd_model_classes(model), theirs = kd_model_classes(opt->teacher);
    const char *const *names = opt->class_map ? kd_model_class_names(model) : names_of(model, info);
    const char *const *their_names = kd_model_class_names(opt->teacher);
    kd_class_match match;
    if (theirs != classes)
        return kd_ctx_fail(ctx, KD_E_MISMATCH, "the teacher has %zu classes, the network %zu",
                           theirs, classes);
    identity(map, classes);
    if (opt->any_classes) return KD_OK;
    const kd_status status =
        kd_classes_match(ctx, their_names, theirs, names, classes, map, &match);
    if (status == KD_E_MISMATCH) return name_stray(ctx, names, their_names, classes);
    if (!status && match == KD_CLASSES_REORDERED)
        kd_ctx_log(ctx, KD_LOG_INFO,
                   "the teacher has the network's classes in another order: found "
                   "by name");
    return status;
}

kd_status kdt_classes_match(kd_model *model, const kd_data_info *info, const kd_eval_opt *opt,
                            kdt_classes *classes)
{
    kd_ctx *ctx = kd_model_ctx(model);
    *classes = (kdt_classes){0};
    classes->target = kd_ctx_alloc(ctx, info->classes, sizeof(int32_t));
    if (opt->teacher)
        classes->teacher = kd_ctx_alloc(ctx, kd_model_classes(model), sizeof(int32_t));
    kd_status status =
        classes->target && (classes->teacher || !opt->teacher) ? KD_OK : kd_ctx_memory_status(ctx);
    if (!status) status = match_data(model, info, opt, classes->target);
    if (!status && opt->teacher) status = match_teacher(model, info, opt, classes->teacher);
    if (status) kdt_classes_free(ctx, classes);
    return status;
}

void kdt_classes_free(kd_ctx *ctx, kdt_classes *classes)
{
    kd_ctx_free(ctx, classes->target);
    kd_ctx_free(ctx, classes->teacher);
    *classes = (kdt_classes){0};
}
