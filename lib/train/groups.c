/* SPDX-License-Identifier: MIT
 * groups.c: parameters by their names: what is frozen, and rates of learning by group
 * (kd_train_opt.freeze, head_lr, group_lr), checked against the network and given to graph and
 * optimiser. */
#include "train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GROUPS = 64, NAME = 256 };

/* ---- what is frozen -------------------------------------------------------------------------- */

kd_status kdt_frozen_names(const kd_model *model, const kd_train_opt *t, char *out, size_t size)
{
    const char *name;
    size_t used = 0;
    out[0] = 0;
    if (!t->freeze) return KD_OK;
    if (strcmp(t->freeze, "body")) {
        used = strlen(t->freeze);
        if (used < size) memcpy(out, t->freeze, used + 1);
    } else {
        used = (size_t)snprintf(out, size, "*");
        for (size_t i = 0; (name = kd_model_head_at(model, i)) && used < size; i++)
            used += (size_t)snprintf(out + used, size - used, ",!%s", name);
    }
    return used < size ? KD_OK
                       : kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID,
                                     "freeze: the list is longer than %zu bytes", size - 1);
}

/* How many parameters have a name among these. */
static size_t count(const kd_params *params, const char *names)
{
    size_t n = 0;
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        n += !info->buffer && kd_name_matches(names, info->name);
    }
    return n;
}

/* Every part of a list is some parameter's. */
static kd_status check_parts(kd_model *model, const char *option, const char *names)
{
    char part[NAME];
    if (!*names)
        return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID, "%s: the list of names is empty",
                           option);
    for (const char *at = names;;) {
        const size_t n = strcspn(at, ","), skip = *at == '!';
        if (n <= skip || n - skip >= sizeof part)
            return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID,
                               "%s: '%.60s': a name is empty or too long", option, names);
        memcpy(part, at + skip, n - skip);
        part[n - skip] = 0;
        if (!strcmp(part, "body") && !count(kd_model_params(model), part))
            return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID,
                               "%s: 'body' is no name for a list: it stands alone, in freeze",
                               option);
        if (!count(kd_model_params(model), part))
            return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID,
                               "%s: %s has no parameter '%.100s'; the first is %s", option,
                               kd_model_spec(model), part,
                               kd_params_info(kd_model_params(model), 0)->name);
        if (!at[n]) return KD_OK;
        at += n + 1;
    }
}

static kd_status check_frozen(kd_model *model, const kd_train_opt *t)
{
    char names[KDT_NAMES];
    kd_ctx *ctx = kd_model_ctx(model);
    const kd_params *params = kd_model_params(model);
    kd_status status = kdt_frozen_names(model, t, names, sizeof names);
    if (!status) status = check_parts(model, "freeze", names);
    if (status) return status;
    if (!count(params, names))
        return kd_ctx_fail(ctx, KD_E_INVALID, "freeze: '%.100s' is none of the parameters", names);
    if (count(params, names) == count(params, "*"))
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "freeze: '%.100s' is all of the parameters: nothing learns", names);
    return KD_OK;
}

void kdt_clear_gradients(kd_params *params, const kd_train_opt *t)
{
    if (t->freeze && kd_params_grads(params))
        memset(kd_params_grads(params), 0, kd_params_flat_count(params) * sizeof(float));
}

void kdt_keep_frozen(kd_model *model, const kd_train_opt *t, kd_params *average)
{
    char names[KDT_NAMES];
    kd_params *params = kd_model_params(model);
    if (kdt_frozen_names(model, t, names, sizeof names)) return; /* checked before the first step */
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        if (!info->buffer && kd_name_matches(names, info->name))
            memcpy(kd_params_values(average) + info->offset,
                   kd_params_values(params) + info->offset, info->count * sizeof(float));
    }
}

/* ---- rates ----------------------------------------------------------------------------------- */

/* A list of groups, and the text of their names. */
typedef struct groups {
    kd_optim_group group[MOST_GROUPS];
    char text[2 * KDT_NAMES];
    size_t n, used;
} groups;

static kd_status add(kd_ctx *ctx, groups *g, const char *names, size_t length, float rate)
{
    if (g->n == MOST_GROUPS || length + 1 > sizeof g->text - g->used)
        return kd_ctx_fail(ctx, KD_E_LIMIT, "group_lr: more than %d groups, or too long",
                           (int)MOST_GROUPS - 4);
    char *copy = g->text + g->used;
    memcpy(copy, names, length);
    copy[length] = 0;
    g->used += length + 1;
    g->group[g->n++] = (kd_optim_group){copy, rate};
    return KD_OK;
}

/* "NAME=RATE,NAME=RATE" */
static kd_status add_list(kd_ctx *ctx, groups *g, const kd_train_opt *t)
{
    for (const char *at = t->group_lr;;) {
        const size_t n = strcspn(at, ","), name = strcspn(at, "=,");
        char number[40], *end = number;
        double rate = 0;
        if (name > 0 && name < n && n - name - 1 < sizeof number) {
            memcpy(number, at + name + 1, n - name - 1);
            number[n - name - 1] = 0;
            rate = strtod(number, &end);
        }
        if (end == number || *end || !(rate > 0 && rate <= 1e6) || *at == '!')
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "group_lr: '%.*s' is not NAME=RATE with a rate above 0 and at most "
                               "1e6",
                               (int)(n < 80 ? n : 80), at);
        const kd_status status = add(ctx, g, at, name, (float)(rate / (double)t->lr));
        if (status || !at[n]) return status;
        at += n + 1;
    }
}

/* The head first, then the list, then what is frozen: the last one counts. */
static kd_status make(const kd_model *model, const kd_train_opt *t, groups *g)
{
    const char *name;
    char frozen[KDT_NAMES];
    kd_ctx *ctx = kd_model_ctx(model);
    kd_status status = KD_OK;
    g->n = g->used = 0;
    for (size_t i = 0; t->head_lr > 0 && !status && (name = kd_model_head_at(model, i)); i++)
        status = add(ctx, g, name, strlen(name), t->head_lr / t->lr);
    if (!status && t->group_lr) status = add_list(ctx, g, t);
    if (!status && t->freeze) status = kdt_frozen_names(model, t, frozen, sizeof frozen);
    if (!status && t->freeze) status = add(ctx, g, frozen, strlen(frozen), 0);
    return status;
}

/* The group that decides of a parameter; g->n: none. */
static size_t decides(const groups *g, const kd_param_info *info)
{
    size_t i = g->n;
    while (i > 0 && !kd_name_matches(g->group[i - 1].names, info->name)) i--;
    return i ? i - 1 : g->n;
}

/* Each rate is that of something that learns. The first `heads` groups are the head's parameters. */
static kd_status check_rates(kd_model *model, const kd_train_opt *t)
{
    groups g;
    size_t deciding[MOST_GROUPS + 1] = {0}, heads = 0, head = 0;
    const kd_params *params = kd_model_params(model);
    kd_status status = make(model, t, &g);
    if (status) return status;
    while (t->head_lr > 0 && kd_model_head_at(model, heads)) heads++;
    for (size_t i = 0; i < kd_params_entries(params); i++)
        if (!kd_params_info(params, i)->buffer) deciding[decides(&g, kd_params_info(params, i))]++;
    for (size_t i = 0; i < heads; i++) head += deciding[i];
    if (heads && !head)
        return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID,
                           "head_lr: the head is frozen, or group_lr has rates for it");
    for (size_t i = heads; i + (t->freeze != NULL) < g.n && !status; i++) {
        status = check_parts(model, "group_lr", g.group[i].names);
        if (!status && !deciding[i])
            status = kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID,
                                 "group_lr: what '%.100s' names is frozen, or has a later rate",
                                 g.group[i].names);
    }
    return status;
}

/* Rates by layer are of layers below the head. */
static kd_status check_layers(kd_model *model, const kd_train_opt *t)
{
    char names[KDT_NAMES];
    const char *head;
    const kd_params *params = kd_model_params(model);
    const kd_status status = kdt_frozen_names(model, t, names, sizeof names);
    if (status) return status;
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        bool below = !info->buffer && !kd_name_matches(names, info->name);
        for (size_t h = 0; (head = kd_model_head_at(model, h)); h++)
            below = below && strcmp(head, info->name) != 0;
        if (below) return KD_OK;
    }
    return kd_ctx_fail(kd_model_ctx(model), KD_E_INVALID,
                       "layer_decay: the head alone learns, which has the rate lr");
}

kd_status kdt_groups_check(kd_model *model, const kd_train_opt *t)
{
    kd_status status = t->freeze ? check_frozen(model, t) : KD_OK;
    if (!status && (t->head_lr > 0 || t->group_lr)) status = check_rates(model, t);
    if (!status && t->freeze && t->layer_decay < 1) status = check_layers(model, t);
    return status;
}

/* ---- the optimiser --------------------------------------------------------------------------- */

/* t is resolved: zero is zero where the optimiser reads the option, and not given where it does not. */
static kd_status create(kd_params *params, const kd_train_opt *t, const groups *g, kd_optim **optim)
{
    const bool sgd = t->optimizer == KD_OPTIMIZER_SGD;
    const float off = KD_OFF;
    kd_optim_opt opt = {.struct_size = sizeof opt,
                        .optimizer = t->optimizer,
                        .weight_decay = t->weight_decay > 0 ? t->weight_decay : off,
                        .decay_all = t->decay_all,
                        .layer_decay = t->layer_decay,
                        .groups = g->group,
                        .n_groups = g->n};
    if (sgd) {
        opt.momentum = t->momentum > 0 ? t->momentum : off;
        opt.nesterov = t->nesterov ? 1 : -1;
    } else {
        opt.beta1 = t->beta1 > 0 ? t->beta1 : (double)off;
        opt.beta2 = t->beta2 > 0 ? t->beta2 : (double)off;
        opt.eps = t->eps;
    }
    return kd_optim_create(params, &opt, optim);
}

kd_status kdt_optim_create(kd_model *model, const kd_train_opt *t, kd_optim **optim)
{
    groups g;
    const kd_status status = make(model, t, &g);
    return status ? status : create(kd_model_params(model), t, &g, optim);
}

kd_status kdt_extra_optim_create(kd_params *params, const kd_train_opt *t, kd_optim **optim)
{
    groups none;
    none.n = none.used = 0;
    return create(params, t, &none, optim);
}
