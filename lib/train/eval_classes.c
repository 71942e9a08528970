/* SPDX-License-Identifier: MIT
 * eval_classes.c: which class of the network a label of the data stands for, and which class of the
 * teacher a class of the network. A wrong answer would be a wrong accuracy without a word: what is
 * not known is refused. */
#include "evaluate.h"

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

static kd_status match_data(kd_model *model, const kd_data_info *info, const kd_eval_opt *opt,
                            int32_t *map)
{
    kd_ctx *ctx = kd_model_ctx(model);
    const size_t classes = kd_model_classes(model);
    if (opt->class_map) {
        for (size_t i = 0; i < info->classes; i++) map[i] = opt->class_map[i];
        return check_map(ctx, map, info->classes, classes);
    }
    if (info->classes > classes)
        return kd_ctx_fail(ctx, KD_E_MISMATCH, "%s has %zu classes, the model only %zu", info->name,
                           info->classes, classes);
    if (info->classes < classes && !opt->any_classes)
        return kd_ctx_fail(ctx, KD_E_MISMATCH,
                           "%s has %zu classes, the model %zu, and no names tell which of its are "
                           "which of the model's",
                           info->name, info->classes, classes);
    identity(map, info->classes);
    return KD_OK;
}

static kd_status match_teacher(kd_model *model, const kd_eval_opt *opt, int32_t *map)
{
    const size_t classes = kd_model_classes(model), theirs = kd_model_classes(opt->teacher);
    if (theirs != classes)
        return kd_ctx_fail(kd_model_ctx(model), KD_E_MISMATCH,
                           "the teacher has %zu classes, the model %zu", theirs, classes);
    identity(map, classes);
    return KD_OK;
}

kd_status kdt_classes_match(kd_model *model, const kd_data_info *info, const kd_eval_opt *opt,
                            kdt_classes *classes)
{
    kd_ctx *ctx = kd_model_ctx(model);
    *classes = (kdt_classes){0};
    classes->target = kd_ctx_alloc(ctx, info->classes, sizeof(int32_t));
    if (opt->teacher)
        classes->teacher = kd_ctx_alloc(ctx, kd_model_classes(model), sizeof(int32_t));
    kd_status status = classes->target && (classes->teacher || !opt->teacher) ? KD_OK : KD_E_NOMEM;
    if (!status) status = match_data(model, info, opt, classes->target);
    if (!status && opt->teacher) status = match_teacher(model, opt, classes->teacher);
    if (status) kdt_classes_free(ctx, classes);
    return status;
}

void kdt_classes_free(kd_ctx *ctx, kdt_classes *classes)
{
    kd_ctx_free(ctx, classes->target);
    kd_ctx_free(ctx, classes->teacher);
    *classes = (kdt_classes){0};
}
