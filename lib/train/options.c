/* SPDX-License-Identifier: MIT
 * options.c: what is done with the table of options (option_table.c): defaults filled in, mistakes
 * found, options taken for a run, options written as JSON. */
#include "train.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *kd_method_name(kd_method method)
{
    static const char *const names[] = {[KD_METHOD_KD] = "kd",
                                        [KD_METHOD_HARD] = "hard",
                                        [KD_METHOD_DKD] = "dkd",
                                        [KD_METHOD_STANDARDIZED] = "standardized"};
    return (unsigned)method < KD_METHOD_COUNT ? names[method] : NULL;
}

const char *kd_feature_name(kd_feature feature)
{
    static const char *const names[] = {[KD_FEATURE_NONE] = "none",
                                        [KD_FEATURE_HINT] = "hint",
                                        [KD_FEATURE_AT] = "at",
                                        [KD_FEATURE_RKD] = "rkd",
                                        [KD_FEATURE_TOKENS] = "tokens",
                                        [KD_FEATURE_ATTENTION] = "attention",
                                        [KD_FEATURE_EMBEDDING] = "embedding",
                                        [KD_FEATURE_COSINE] = "cosine"};
    return (unsigned)feature < KD_FEATURE_COUNT ? names[feature] : NULL;
}

/* ---- members --------------------------------------------------------------------------------- */

/* distill NULL, or the option's own struct: where the option's member is; NULL: not there. */
static const void *member(const kd_option *o, const kd_train_opt *train,
                          const kd_distill_opt *distill)
{
    const void *base = o->of == KD_OF_TRAIN ? (const void *)train : (const void *)distill;
    return base ? (const char *)base + o->offset : NULL;
}

/* A member as a number; of a text whether it is there. */
static double get(const kd_option *o, const void *at)
{
    switch (o->type) {
    case KD_OPTION_FLAG:
    case KD_OPTION_CHOICE:
        return *(const int *)at;
    case KD_OPTION_COUNT:
    case KD_OPTION_PIECES:
        return (double)*(const size_t *)at;
    case KD_OPTION_U64:
        return (double)*(const uint64_t *)at;
    case KD_OPTION_FLOAT:
        return (double)*(const float *)at;
    case KD_OPTION_DOUBLE:
        return *(const double *)at;
    case KD_OPTION_TEXT:
        return *(const char *const *)at != NULL;
    }
    return 0;
}

double kd_option_get(const kd_option *o, const void *opt)
{
    return o && opt ? get(o, (const char *)opt + o->offset) : 0;
}

static void set(const kd_option *o, void *at, double x)
{
    switch (o->type) {
    case KD_OPTION_FLAG:
    case KD_OPTION_CHOICE:
        *(int *)at = (int)x;
        break;
    case KD_OPTION_COUNT:
    case KD_OPTION_PIECES:
        *(size_t *)at = (size_t)x;
        break;
    case KD_OPTION_U64:
        *(uint64_t *)at = (uint64_t)x;
        break;
    case KD_OPTION_FLOAT:
        *(float *)at = (float)x;
        break;
    case KD_OPTION_DOUBLE:
        *(double *)at = x;
        break;
    case KD_OPTION_TEXT:
        break;
    }
}

void kd_option_set(const kd_option *o, void *opt, double number)
{
    if (o && opt) set(o, (char *)opt + o->offset, number);
}

/* Was it switched off? KD_OFF is also -1 for a flag that is on by default. */
static bool is_off(const kd_option *o, const void *at)
{
    const bool can =
        (o->flags & KD_CAN_BE_OFF) || (o->type == KD_OPTION_FLAG && o->standard[0] != 0);
    return can && get(o, at) == (double)KD_OFF;
}

/* The caller's structs as ours, by the rule of kd_options; false where it refuses one. */
static bool take(kd_train_opt *t, const kd_train_opt *train, kd_distill_opt *d,
                 const kd_distill_opt *distill)
{
    return !kd_options(NULL, "kd_train_opt", t, sizeof *t, train) &&
           !kd_options(NULL, "kd_distill_opt", d, sizeof *d, distill);
}

/* ---- who reads an option --------------------------------------------------------------------- */

static bool has(unsigned bits, int i)
{
    return bits == 0 || (i >= 0 && i < 32 && (bits >> i & 1));
}

/* Do the optimiser, the schedule and the method read it? */
static bool suits(const kd_option *o, const kd_train_opt *train, const kd_distill_opt *distill)
{
    if (o->of == KD_OF_DISTILL && (!distill || !has(o->methods, (int)distill->method)))
        return false;
    return has(o->optimizers, (int)train->optimizer) && has(o->schedules, (int)train->schedule);
}

/* The structs are whole. */
static bool is_read(const kd_option *o, const kd_train_opt *train, const kd_distill_opt *distill)
{
    if (!suits(o, train, distill)) return false;
    if (o->not_with && !strcmp(o->not_with, "budget_seconds") && train->budget_seconds > 0)
        return false;
    if (!o->needs) return true;
    const kd_option *needed = kd_option_find(o->needs);
    const void *at = member(needed, train, distill);
    return at && get(needed, at) > 0;
}

int kd_option_is_read(const kd_option *o, const kd_train_opt *train, const kd_distill_opt *distill)
{
    kd_train_opt t;
    kd_distill_opt d;
    if (!o || !train || !take(&t, train, &d, distill)) return 0;
    return is_read(o, &t, distill ? &d : NULL);
}

/* "sgd", "step, cosine, onecycle": the names of the bits. */
static void list(char *out, size_t size, unsigned bits, const kd_option *choice)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; choice->choice(i) && used < size; i++)
        if (bits >> i & 1)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
                                     choice->choice(i));
}

/* An option that was given, and that nothing reads: why. */
static kd_status unread(kd_ctx *ctx, const kd_option *o, const kd_train_opt *train,
                        const kd_distill_opt *distill)
{
    static const char *const names[] = {"optimizer", "schedule", "method"};
    const unsigned bits[] = {o->optimizers, o->schedules, o->methods};
    const int now[] = {(int)train->optimizer, (int)train->schedule,
                       distill ? (int)distill->method : 0};
    char readers[120];
    if (o->of == KD_OF_DISTILL && !distill)
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s: without a teacher nothing reads it", o->name);
    for (int i = 0; i < 3; i++) {
        if (has(bits[i], now[i])) continue;
        const kd_option *choice = kd_option_find(names[i]);
        list(readers, sizeof readers, bits[i], choice);
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s: the %s %s does not read it; %s %s", o->name,
                           names[i], choice->choice(now[i]), readers,
                           strchr(readers, ',') ? "do" : "does");
    }
    if (o->needs && !is_read(o, train, distill))
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s: it needs %s", o->name, o->needs);
    return kd_ctx_fail(ctx, KD_E_INVALID, "%s: %s goes before it: give one of the two", o->name,
                       o->not_with);
}

/* ---- defaults -------------------------------------------------------------------------------- */

static bool is_plain(const kd_model *model)
{
    return model && !kd_model_is_transformer(model) && !kd_model_has_batch_norm(model);
}

static double by_epochs(const kd_option *o, const kd_train_opt *t)
{
    const double share = o->standard[0] * (double)t->epochs;
    if (t->budget_seconds > 0) return o->standard[2];
    return share < o->standard[1] ? share : o->standard[1];
}

/* t has its defaults, if the option is not one of them. */
static double standard(const kd_option *o, const kd_train_opt *t, const kd_distill_opt *d,
                       bool plain)
{
    const int i = o->by == KD_BY_OPTIMIZER ? (int)t->optimizer
                  : o->by == KD_BY_METHOD  ? (int)d->method
                  : o->by == KD_BY_FEATURE ? (int)d->feature
                                           : 0;
    if (d && d->feature != KD_FEATURE_NONE && o->featured) return *o->featured;
    if (o->by == KD_BY_EPOCHS) return by_epochs(o, t);
    if (t->fine_tune && o->tuned[i] != 0) return o->tuned[i];
    return plain && o->plain[i] != 0 ? o->plain[i] : o->standard[i];
}

/* Fill in what is zero and read: first what needs nothing else, then what does. A choice and a text
 * have no default but zero or what is below. */
static void fill(kd_option_of of, kd_train_opt *t, kd_distill_opt *d, bool plain)
{
    void *const base = of == KD_OF_TRAIN ? (void *)t : (void *)d;
    const kd_option *o;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; (o = kd_option_at(i)); i++) {
            if (o->of != of || o->type == KD_OPTION_TEXT || (o->needs != NULL) != pass) continue;
            void *at = (char *)base + o->offset;
            if (get(o, at) != 0 || !is_read(o, t, d)) continue;
            const double x = standard(o, t, d, plain);
            if (x != 0) set(o, at, x);
        }
}

/* What later defaults depend on. */
static void choose(kd_train_opt *t, const kd_model *model)
{
    if (t->optimizer == KD_OPTIMIZER_AUTO)
        t->optimizer =
            model && kd_model_is_transformer(model) ? KD_OPTIMIZER_ADAMW : KD_OPTIMIZER_SGD;
    if (t->schedule == KD_SCHEDULE_AUTO) t->schedule = KD_SCHEDULE_ONECYCLE;
}

static void train_defaults(kd_train_opt *t, const kd_model *model)
{
    choose(t, model);
    if ((unsigned)t->optimizer < KD_OPTIMIZER_COUNT) fill(KD_OF_TRAIN, t, NULL, is_plain(model));
    if (!t->augment) t->augment = "auto";
}

/* t has its defaults. */
static void distill_defaults(kd_distill_opt *d, kd_train_opt *t)
{
    if ((unsigned)d->method < KD_METHOD_COUNT && (unsigned)d->feature < KD_FEATURE_COUNT)
        fill(KD_OF_DISTILL, t, d, false);
}

void kd_train_defaults(kd_train_opt *opt, const kd_model *model)
{
    kd_train_opt t;
    if (!opt || kd_options(NULL, "kd_train_opt", &t, sizeof t, opt)) return;
    train_defaults(&t, model);
    kd_results(opt, &t, sizeof t);
}

void kd_distill_defaults(kd_distill_opt *opt)
{
    kd_train_opt t;
    kd_distill_opt d;
    if (!opt || kd_options(NULL, "kd_distill_opt", &d, sizeof d, opt) ||
        kd_options(NULL, "kd_train_opt", &t, sizeof t, d.train))
        return;
    train_defaults(&t, NULL);
    distill_defaults(&d, &t);
    kd_results(opt, &d, sizeof d);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

/* A number with as many digits as tell it from the next. */
static void print(const kd_option *o, const void *at, char *out, size_t size)
{
    const double x = get(o, at);
    if (o->type == KD_OPTION_COUNT || o->type == KD_OPTION_PIECES)
        snprintf(out, size, "%zu", *(const size_t *)at);
    else if (o->type == KD_OPTION_U64)
        snprintf(out, size, "%" PRIu64, *(const uint64_t *)at);
    else
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(out, size, "%.*g", digits, x);
            const double back = strtod(out, NULL);
            if (o->type == KD_OPTION_FLOAT ? (float)back == (float)x : back == x) break;
        }
}

static kd_status check_value(kd_ctx *ctx, const kd_option *o, const void *at)
{
    const double x = get(o, at);
    char shown[40];
    if (o->type == KD_OPTION_TEXT || x == 0) return KD_OK;
    if (o->type == KD_OPTION_CHOICE)
        return x > 0 && x < 64 && o->choice((int)x)
                   ? KD_OK
                   : kd_ctx_fail(ctx, KD_E_INVALID, "%s: %g: there is no such choice", o->name, x);
    if (is_off(o, at)) return KD_OK;
    if (o->type == KD_OPTION_PIECES && *(const size_t *)at == KD_MICRO_AUTO) return KD_OK;
    const double high = o->type == KD_OPTION_FLAG ? 1 : o->high;
    if (x >= o->low && x <= high) return KD_OK; /* not so of NaN */
    if (isnan(x)) return kd_ctx_fail(ctx, KD_E_INVALID, "%s: it must be a number", o->name);
    print(o, at, shown, sizeof shown);
    if (x <= 0 || x < o->low)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           o->low > 0 && o->low < 1e-6 ? "%s: %s: it must be above 0"
                                                       : "%s: %s: it must be at least %g",
                           o->name, shown, o->low);
    return kd_ctx_fail(ctx, KD_E_INVALID,
                       high < 1 ? "%s: %s: it must be below 1" : "%s: %s: it must be at most %g",
                       o->name, shown, high);
}

/* What defaults depend on, before they are filled in. */
static kd_status check_choices(kd_ctx *ctx, const kd_train_opt *t, const kd_distill_opt *d,
                               const kd_option **which)
{
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        *which = o;
        const void *at = member(o, t, d);
        const kd_status status =
            at && o->type == KD_OPTION_CHOICE ? check_value(ctx, o, at) : KD_OK;
        if (status) return status;
    }
    *which = NULL;
    if (t->fine_tune != 0 && t->fine_tune != 1)
        return kd_ctx_fail(ctx, KD_E_INVALID, "fine_tune: %d: it must be 0 or 1", t->fine_tune);
    return KD_OK;
}

/* Rules between options, after the defaults. */
typedef struct rule {
    const char *name; /* the option that is wrong */
    bool (*broken)(const kd_train_opt *t, const kd_distill_opt *d);
    const char *says;
} rule;

static bool no_loss(const kd_train_opt *t, const kd_distill_opt *d)
{
    (void)t;
    return d && d->hard <= 0 && d->soft <= 0 && !kdt_has_features(d);
}

static bool no_teaching(const kd_train_opt *t, const kd_distill_opt *d)
{
    (void)t;
    return d && d->method == KD_METHOD_DKD && d->soft > 0 && d->alpha <= 0 && d->beta <= 0;
}

static bool more_than_batch(const kd_train_opt *t, const kd_distill_opt *d)
{
    (void)d;
    return t->micro_batch != KD_MICRO_AUTO && t->micro_batch > t->batch;
}

static bool floor_above(const kd_train_opt *t, const kd_distill_opt *d)
{
    (void)d;
    return t->min_lr >= t->lr;
}

static bool never_warm(const kd_train_opt *t, const kd_distill_opt *d)
{
    (void)d;
    return t->budget_seconds <= 0 && t->max_steps == 0 && t->warmup >= (float)t->epochs;
}

static bool smooths_nothing(const kd_train_opt *t, const kd_distill_opt *d)
{
    return d && d->hard <= 0 && t->label_smoothing > 0;
}

static const rule rules[] = {
    {"soft", no_loss, "hard and soft are both zero: there is no loss"},
    {"alpha", no_teaching, "alpha and beta are both zero: the teachers teach nothing"},
    {"micro_batch", more_than_batch, "it is more than the batch holds"},
    {"min_lr", floor_above, "it is not below the learning rate, which then falls nowhere"},
    {"warmup", never_warm, "it is as long as the run: the learning rate is never reached"},
    {"label_smoothing", smooths_nothing, "hard is zero: no label is read"},
};

static kd_status check_given(kd_ctx *ctx, const kd_option *o, const kd_train_opt *given,
                             const kd_distill_opt *given_distill, const kd_train_opt *t,
                             const kd_distill_opt *d)
{
    const void *at = member(o, given, given_distill);
    if (!at || get(o, at) == 0) return KD_OK;
    const kd_status status = check_value(ctx, o, at);
    if (status) return status;
    if (!is_read(o, t, d)) return is_off(o, at) && suits(o, t, d) ? KD_OK : unread(ctx, o, t, d);
    const kd_option *other = o->not_with ? kd_option_find(o->not_with) : NULL;
    const void *there = other ? member(other, given, given_distill) : NULL;
    if (there && get(other, there) > 0)
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s: it contradicts %s", o->name, other->name);
    return KD_OK;
}

/* given_distill: what was given, though without a teacher d is NULL. The structs are whole. */
static kd_status check(kd_ctx *ctx, const kd_model *model, const kd_train_opt *given,
                       const kd_distill_opt *given_distill, bool taught, const kd_option **which)
{
    const kd_option *o;
    kd_train_opt t = *given;
    kd_distill_opt d = given_distill ? *given_distill : (kd_distill_opt){0};
    kd_status status = check_choices(ctx, given, given_distill, which);
    if (status) return status;
    train_defaults(&t, model);
    distill_defaults(&d, &t);
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        *which = o;
        status = check_given(ctx, o, given, given_distill, &t, taught ? &d : NULL);
        if (status) return status;
    }
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        *which = kd_option_find(rules[i].name);
        if (rules[i].broken(&t, taught ? &d : NULL))
            return kd_ctx_fail(ctx, KD_E_INVALID, "%s: %s", rules[i].name, rules[i].says);
    }
    *which = NULL;
    return KD_OK;
}

kd_status kd_options_check(kd_ctx *ctx, const kd_model *model, const kd_train_opt *train,
                           const kd_distill_opt *distill, const kd_option **which)
{
    const kd_option *here;
    kd_train_opt t;
    kd_distill_opt d;
    if (which) *which = NULL;
    if (!ctx) return KD_E_INVALID;
    kd_status status = kd_options(ctx, "kd_train_opt", &t, sizeof t, train);
    if (!status) status = kd_options(ctx, "kd_distill_opt", &d, sizeof d, distill);
    if (status) return status;
    status = check(ctx, model, &t, distill ? &d : NULL, distill != NULL, &here);
    if (which) *which = here;
    return status;
}

/* ---- taken for a run ------------------------------------------------------------------------- */

/* KD_OFF becomes what it means. */
static void settle(kd_option_of of, void *base)
{
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        void *at = (char *)base + o->offset;
        if (o->of == of && is_off(o, at)) set(o, at, o->off);
    }
}

kd_status kdt_take(kd_ctx *ctx, const kd_model *model, const kd_train_opt *train,
                   const kd_distill_opt *distill, bool taught, kd_train_opt *t, kd_distill_opt *d)
{
    const kd_option *which;
    kd_status status = kd_options(ctx, "kd_distill_opt", d, sizeof *d, distill);
    if (!status) status = kd_options(ctx, "kd_train_opt", t, sizeof *t, distill ? d->train : train);
    d->train = t;
    if (!status) status = check(ctx, model, t, d, taught, &which);
    if (status) return status;
    train_defaults(t, model);
    distill_defaults(d, t);
    settle(KD_OF_TRAIN, t);
    settle(KD_OF_DISTILL, d);
    return KD_OK;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void option_json(kd_json *j, const kd_option *o, const void *at)
{
    const double x = get(o, at);
    const bool off = is_off(o, at);
    switch (o->type) {
    case KD_OPTION_FLAG:
        kd_json_bool(j, o->name, x > 0);
        break;
    case KD_OPTION_CHOICE:
        kd_json_string(j, o->name, o->choice((int)x));
        break;
    case KD_OPTION_COUNT:
        kd_json_integer(j, o->name, (int64_t) * (const size_t *)at);
        break;
    case KD_OPTION_PIECES:
        if (*(const size_t *)at == KD_MICRO_AUTO)
            kd_json_string(j, o->name, "auto");
        else if (x == 0)
            kd_json_null(j, o->name);
        else
            kd_json_integer(j, o->name, (int64_t) * (const size_t *)at);
        break;
    case KD_OPTION_U64:
        kd_json_integer(j, o->name, (int64_t) * (const uint64_t *)at);
        break;
    case KD_OPTION_FLOAT:
        if (x == 0 && o->low > 0) /* it was not given, and has no default */
            kd_json_null(j, o->name);
        else
            kd_json_float(j, o->name, off ? (float)o->off : *(const float *)at);
        break;
    case KD_OPTION_DOUBLE:
        kd_json_number(j, o->name, off ? o->off : x);
        break;
    case KD_OPTION_TEXT:
        kd_json_string(j, o->name, *(const char *const *)at);
        break;
    }
}

void kd_options_json(kd_json *j, unsigned flags, const kd_train_opt *train,
                     const kd_distill_opt *distill)
{
    const kd_option *o;
    kd_train_opt t;
    kd_distill_opt d;
    if (!take(&t, train, &d, distill)) {
        kd_json_null(j, NULL); /* a misuse, which kd_json_text tells */
        return;
    }
    const kd_distill_opt *const there = distill ? &d : NULL;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        if ((o->flags & flags) != flags) continue;
        if (is_read(o, &t, there))
            option_json(j, o, member(o, &t, there));
        else
            kd_json_null(j, o->name);
    }
}
