/* SPDX-License-Identifier: MIT
 * test_effects.c: an option that is taken changes something. Each option of the table that changes
 * results is given to tiny runs, alone and beside each other one, for every optimiser, schedule and
 * method: the run is refused, or a warning says why the option does nothing, or the network it leads
 * to is another one than without the option. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- runs ------------------------------------------------------------------------------------ */

typedef struct options {
    kd_train_opt train;
    kd_distill_opt distill;
} options;

typedef struct bench {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *teacher;
    int warnings;
    char said[2000]; /* the last of them */
} bench;

static void count(void *user, kd_log_level level, const char *text)
{
    bench *b = user;
    if (level != KD_LOG_WARN) return;
    b->warnings++;
    snprintf(b->said, sizeof b->said, "%s", text);
}

static void open_bench(bench *b)
{
    const kd_config config = {
        .struct_size = sizeof config, .log = count, .log_user = b, .threads = 1};
    ck_assert_int_eq(kd_ctx_create(&config, &b->ctx), KD_OK);
    test_ok(b->ctx,
            kd_dataset_open(b->ctx, "synthetic:classes=3,image=8,channels=1,train=21,test=1", NULL,
                            &b->data));
    test_ok(b->ctx, kd_model_create(b->ctx, "vgg2_bn,width=0.0625,classes=3,image=8,channels=1", 9,
                                    &b->teacher));
}

static void close_bench(bench *b)
{
    kd_model_destroy(b->teacher);
    kd_dataset_close(b->data);
    kd_ctx_destroy(b->ctx);
}

/* Two epochs of batches of 8, 8 and 5 pictures, at most. Of the network that comes out: its sum, or 0
 * where the run was refused. *said: so, or warned of. */
static uint64_t run(bench *b, const options *all, bool taught, bool *said)
{
    kd_model *m;
    uint64_t hash = 0;
    kd_result r = {.struct_size = sizeof r};
    kd_distill_opt d = all->distill;
    test_ok(b->ctx,
            kd_model_create(b->ctx, "vgg2_bn,width=0.0625,classes=3,image=8,channels=1", 1, &m));
    d.teacher = b->teacher;
    d.train = &all->train;
    b->warnings = 0;
    const kd_status status =
        taught ? kd_distill(m, b->data, &d, &r) : kd_train(m, b->data, &all->train, &r);
    ck_assert_msg(status == KD_OK || status == KD_E_INVALID, "%s", kd_ctx_error(b->ctx));
    *said = status != KD_OK || b->warnings > 0;
    if (!status) test_ok(b->ctx, kd_model_hash(m, &hash));
    kd_model_destroy(m);
    return hash;
}

static options plain(kd_optimizer optimizer, kd_schedule schedule, kd_method method)
{
    return (options){.train = {.struct_size = sizeof(kd_train_opt),
                               .epochs = 2,
                               .batch = 8,
                               .no_test = 1,
                               .optimizer = optimizer,
                               .schedule = schedule},
                     .distill = {.struct_size = sizeof(kd_distill_opt), .method = method}};
}

/* ---- values ---------------------------------------------------------------------------------- */

typedef struct value {
    const char *name;
    double number;
    const char *text;
} value;

/* Values that are neither the default nor what the runs have; KD_OFF where it is not the default. (Of
 * DKD's warm-up it is, in effect: a twelfth of these runs is less than a step.) */
static const value values[] = {{"augment", 1, "none"},
                               {"augment", 1, "flip"},
                               {"dev_count", 4, NULL},
                               {"augment_epochs", 1, NULL},
                               {"drop_last", 1, NULL},
                               {"epochs", 3, NULL},
                               {"max_steps", 3, NULL},
                               {"batch", 6, NULL},
                               {"accumulate", 2, NULL},
                               {"lr", .03, NULL},
                               {"momentum", .5, NULL},
                               {"momentum", -1, NULL},
                               {"nesterov", -1, NULL},
                               {"beta1", .5, NULL},
                               {"beta1", -1, NULL},
                               {"beta2", .9, NULL},
                               {"beta2", -1, NULL},
                               {"eps", .01, NULL},
                               {"layer_decay", .5, NULL},
                               {"freeze", 1, "features.0"},
                               {"freeze", 1, "body"},
                               {"head_lr", .07, NULL},
                               {"group_lr", 1, "features.1=0.003"},
                               {"weight_decay", .2, NULL},
                               {"weight_decay", -1, NULL},
                               {"decay_all", 1, NULL},
                               {"warmup", 1, NULL},
                               {"min_lr", 1e-4, NULL},
                               {"label_smoothing", .2, NULL},
                               {"clip", 1e-5, NULL},
                               {"ema", .3, NULL},
                               {"temperature", 3, NULL},
                               {"hard", .3, NULL},
                               {"hard", -1, NULL},
                               {"soft", .3, NULL},
                               {"soft", -1, NULL},
                               {"alpha", 3, NULL},
                               {"alpha", -1, NULL},
                               {"beta", 3, NULL},
                               {"beta", -1, NULL},
                               {"dkd_warmup", 1.5, NULL},
                               {"feature", KD_FEATURE_AT, NULL},
                               {"feature", KD_FEATURE_COSINE, NULL},
                               {"feature_weight", 7, NULL},
                               {"student_tap", 1, "stages.0.pool"},
                               {"teacher_tap", 1, "stages.0.pool"},
                               {"seed", 5, NULL}};
enum { VALUES = sizeof values / sizeof *values };

static const kd_option *give(options *all, const value *v)
{
    const kd_option *o = kd_option_find(v->name);
    void *opt = o->of == KD_OF_TRAIN ? (void *)&all->train : (void *)&all->distill;
    if (v->text)
        *(const char **)(void *)((char *)opt + o->offset) = v->text;
    else
        kd_option_set(o, opt, v->number);
    return o;
}

/* Every option that changes results has a value, but for those that the contexts below vary, those
 * that follow the clock, and on_nan and keep, which the runs here give nothing to decide. */
START_TEST(test_all_are_here)
{
    static const char *const others[] = {"budget_seconds", "optimizer", "schedule",
                                         "on_nan",         "method",    "keep"};
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        bool found = !(o->flags & KD_CHANGES_RESULT);
        for (size_t k = 0; k < VALUES; k++) found = found || !strcmp(o->name, values[k].name);
        for (size_t k = 0; k < sizeof others / sizeof *others; k++)
            found = found || !strcmp(o->name, others[k]);
        ck_assert_msg(found, "%s has no value", o->name);
    }
}
END_TEST

/* ---- alone ----------------------------------------------------------------------------------- */

static const int UNTAUGHT = -1;

static void describe(const options *all, int method, char out[80])
{
    snprintf(out, 80, "%s, %s, %s", kd_optimizer_name(all->train.optimizer),
             kd_schedule_name(all->train.schedule),
             method == UNTAUGHT ? "no teacher" : kd_method_name((kd_method)method));
}

START_TEST(test_alone)
{
    bench b;
    char where[80];
    open_bench(&b);
    for (int opt = 1; opt < KD_OPTIMIZER_COUNT; opt++)
        for (int schedule = 1; schedule < KD_SCHEDULE_COUNT; schedule++)
            for (int method = UNTAUGHT; method < KD_METHOD_COUNT; method++) {
                const bool taught = method != UNTAUGHT;
                const options base = plain((kd_optimizer)opt, (kd_schedule)schedule,
                                           taught ? (kd_method)method : KD_METHOD_KD);
                bool said;
                const uint64_t without = run(&b, &base, taught, &said);
                describe(&base, method, where);
                ck_assert_msg(without && !said, "%s: %s", where, kd_ctx_error(b.ctx));
                for (size_t v = 0; v < VALUES; v++) {
                    options with = base;
                    const kd_option *o = give(&with, &values[v]);
                    if (o->of == KD_OF_DISTILL && !taught) continue; /* it is not handed in */
                    const uint64_t hash = run(&b, &with, taught, &said);
                    ck_assert_msg(said || hash != without, "%s %g (%s): nothing happened",
                                  values[v].name, values[v].number, where);
                }
            }
    close_bench(&b);
}
END_TEST

/* ---- in pairs -------------------------------------------------------------------------------- */

/* Each option beside each other one: what it is added to would have come out otherwise. */
static void pairs(kd_optimizer optimizer, kd_schedule schedule, int method)
{
    bench b;
    char where[80];
    const bool taught = method != UNTAUGHT;
    const options base = plain(optimizer, schedule, taught ? (kd_method)method : KD_METHOD_KD);
    describe(&base, method, where);
    open_bench(&b);
    for (size_t v = 0; v < VALUES; v++) {
        options first = base;
        bool said;
        const kd_option *o = give(&first, &values[v]);
        if (o->of == KD_OF_DISTILL && !taught) continue;
        const uint64_t without = run(&b, &first, taught, &said);
        if (said) continue;
        for (size_t w = 0; w < VALUES; w++) {
            options both = first;
            if (!strcmp(values[v].name, values[w].name)) continue;
            const kd_option *p = give(&both, &values[w]);
            if (p->of == KD_OF_DISTILL && !taught) continue;
            if (o->flags & p->flags & KD_LENGTH) continue; /* the shorter one holds */
            if (p->needs && values[w].number < 0 && kd_option_find(p->needs) == o)
                continue; /* off */
            const bool soft = !strcmp(p->name, "soft") || (p->needs && !strcmp(p->needs, "soft"));
            if (!strcmp(o->name, "feature") && soft && values[w].number < 0)
                continue; /* it is off there anyway */
            const uint64_t hash = run(&b, &both, taught, &said);
            ck_assert_msg(said || hash != without, "%s %g beside %s %g (%s): nothing happened",
                          values[w].name, values[w].number, values[v].name, values[v].number,
                          where);
        }
    }
    close_bench(&b);
}

START_TEST(test_pairs_sgd)
{
    pairs(KD_OPTIMIZER_SGD, KD_SCHEDULE_COSINE, UNTAUGHT);
}
END_TEST

START_TEST(test_pairs_adamw)
{
    pairs(KD_OPTIMIZER_ADAMW, KD_SCHEDULE_ONECYCLE, KD_METHOD_KD);
}
END_TEST

START_TEST(test_pairs_dkd)
{
    pairs(KD_OPTIMIZER_SGD, KD_SCHEDULE_STEP, KD_METHOD_DKD);
}
END_TEST

START_TEST(test_pairs_hard)
{
    pairs(KD_OPTIMIZER_SGD, KD_SCHEDULE_CONSTANT, KD_METHOD_HARD);
}
END_TEST

START_TEST(test_pairs_standardized)
{
    pairs(KD_OPTIMIZER_ADAMW, KD_SCHEDULE_CONSTANT, KD_METHOD_STANDARDIZED);
}
END_TEST

/* ---- what is warned of ------------------------------------------------------------------------ */

/* One warning with these words; without them, none. */
static void expect(bench *b, options all, bool taught, const char *words)
{
    bool said;
    run(b, &all, taught, &said);
    ck_assert_msg(b->warnings == (words != NULL), "%d warnings: %s", b->warnings, b->said);
    ck_assert_msg(!words || strstr(b->said, words), "no '%s' in: %s", words, b->said);
}

/* Each beside what is just not odd any more. Runs have 2 epochs of 8, 8 and 5 pictures. */
START_TEST(test_warnings)
{
    bench b;
    const options base = plain(KD_OPTIMIZER_SGD, KD_SCHEDULE_COSINE, KD_METHOD_DKD);
    options o = base;
    open_bench(&b);
    o.train.batch = 22;
    expect(&b, o, false, "batch: the training set of 21 pictures is smaller than a batch of 22");
    o.train.batch = 21;
    expect(&b, o, false, NULL);
    o = base;
    o.train.max_steps = 3;
    o.train.warmup = 1;
    expect(&b, o, false, "warmup: 1 epochs are more than the run has");
    o.train.warmup = .9f;
    expect(&b, o, false, NULL);
    o = base;
    o.train.accumulate = 4;
    expect(&b, o, false, "accumulate: an epoch has 3 batches, so that no step sums over 4");
    o.train.accumulate = 3;
    expect(&b, o, false, NULL);
    o = base;
    o.train.ema = .51f;
    expect(&b, o, false,
           "ema: 6 steps are too few for an average with a decay of 0.51, which "
           "still holds 2 % of the first weights at the end");
    o.train.ema = .5f;
    expect(&b, o, false, NULL);
    o = base;
    o.distill.soft = KD_OFF;
    expect(&b, o, true, "soft: it is 0: the teachers teach nothing");
    o.distill.soft = 1;
    expect(&b, o, true, NULL);
    o.distill.dkd_warmup = 2.1f;
    expect(&b, o, true, "dkd_warmup: 2.1 epochs are more than the run has");
    o.distill.dkd_warmup = 2;
    expect(&b, o, true, NULL);
    close_bench(&b);
}
END_TEST

/* A teacher of random weights is right as often as chance is, and that is said once; one that has
 * learnt these pictures is not suspected. */
START_TEST(test_broken_teacher)
{
    bench b;
    options o = plain(KD_OPTIMIZER_SGD, KD_SCHEDULE_ONECYCLE, KD_METHOD_KD);
    open_bench(&b);
    kd_dataset_close(b.data);
    test_ok(b.ctx,
            kd_dataset_open(b.ctx, "synthetic:classes=3,image=8,channels=1,train=1100,test=1", NULL,
                            &b.data));
    o.train.batch = 100;
    expect(&b, o, true,
           "of the first 1000 training pictures, which is no better than chance (33.3 %)");
    const kd_train_opt learn = {
        .struct_size = sizeof learn, .epochs = 4, .batch = 50, .no_test = 1};
    test_ok(b.ctx, kd_train(b.teacher, b.data, &learn, NULL));
    expect(&b, o, true, NULL);
    close_bench(&b);
}
END_TEST

TEST_SUITE(effects, 120, &test_warnings, &test_broken_teacher, &test_all_are_here, &test_alone,
           &test_pairs_sgd, &test_pairs_adamw, &test_pairs_dkd, &test_pairs_hard,
           &test_pairs_standardized)
