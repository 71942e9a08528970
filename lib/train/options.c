/* SPDX-License-Identifier: MIT
 * options.c: the options of training and distillation: their defaults, and how they are taken. */
#include "train.h"

static const struct {
    const char *name;
    float hard, soft, temperature;
} methods[] = {
    [KD_METHOD_KD] = {"kd", .1f, .9f, 4},
    [KD_METHOD_HARD] = {"hard", .5f, .5f, 1},
    [KD_METHOD_DKD] = {"dkd", 1, 1, 4},
    [KD_METHOD_STANDARDIZED] = {"standardized", .1f, 9, 2},
};

const char *kd_method_name(kd_method method)
{
    return (unsigned)method < KD_METHODS ? methods[method].name : NULL;
}

/* 0 is the default; KD_OFF stays. */
static void standard(float *x, float otherwise)
{
    if (*x == 0) *x = otherwise;
}

void kd_train_defaults(kd_train_opt *o)
{
    if (!o->epochs) o->epochs = 10;
    if (!o->batch) o->batch = 128;
    if (!o->accumulate) o->accumulate = 1;
    standard(&o->lr, o->optimizer == KD_ADAMW ? 1e-3f : .05f);
    standard(&o->momentum, .9f);
    standard(&o->weight_decay, o->optimizer == KD_ADAMW ? .05f : 5e-4f);
    if (o->beta1 == 0) o->beta1 = .9;
    if (o->beta2 == 0) o->beta2 = .999;
    standard(&o->eps, 1e-8f);
    standard(&o->layer_decay, 1);
    if (o->checkpoint_seconds == 0) o->checkpoint_seconds = 300;
    if (!o->augment) o->augment = "auto";
}

void kd_distill_defaults(kd_distill_opt *o)
{
    const kd_method m = (unsigned)o->method < KD_METHODS ? o->method : KD_METHOD_KD;
    standard(&o->hard, methods[m].hard);
    standard(&o->soft, methods[m].soft);
    standard(&o->temperature, methods[m].temperature);
    standard(&o->alpha, 1);
    standard(&o->beta, 8);
    standard(&o->dkd_warmup, 20);
}

/* ---- as a run uses them ---------------------------------------------------------------------- */

static void off(float *x)
{
    if (*x < 0) *x = 0;
}

static void resolve_train(kd_train_opt *t)
{
    kd_train_defaults(t);
    float *const all[] = {&t->lr,     &t->momentum, &t->weight_decay,    &t->eps, &t->warmup,
                          &t->min_lr, &t->clip,     &t->label_smoothing, &t->ema};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) off(all[i]);
    if (!(t->layer_decay > 0)) t->layer_decay = 1;
    if (t->beta1 < 0) t->beta1 = 0;
    if (t->beta2 < 0) t->beta2 = 0;
}

kd_status kdt_take_train(kd_ctx *ctx, const kd_train_opt *from, kd_train_opt *t)
{
    const kd_status status = kd_options(ctx, "kd_train_opt", t, sizeof *t, from);
    if (!status) resolve_train(t);
    return status;
}

kd_status kdt_take_distill(kd_ctx *ctx, const kd_distill_opt *from, kd_distill_opt *o,
                           kd_train_opt *t)
{
    kd_status status = kd_options(ctx, "kd_distill_opt", o, sizeof *o, from);
    if (!status) status = kdt_take_train(ctx, o->train, t);
    if (status) return status;
    o->train = t;
    kd_distill_defaults(o);
    float *const all[] = {&o->temperature, &o->hard, &o->soft, &o->alpha, &o->beta, &o->dkd_warmup};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) off(all[i]);
    return KD_OK;
}
