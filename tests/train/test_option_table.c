/* SPDX-License-Identifier: MIT
 * test_option_table.c: the table of options (kd/options.h): what it promises is pinned, and each
 * entry is put to the test: values out of its range, values that nothing reads, options that
 * contradict each other. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- what is promised ------------------------------------------------------------------------ */

/* Name, type, group, flags; low to high; default; who reads it; what it needs and contradicts. A
 * change of a line changes what programs and recorded runs mean: CHANGELOG.md has to say so. */
static const char *const promised[] = {
#include "options.inc"
};

static void describe(const kd_option *o, char *out, size_t size)
{
    char standard[200];
    kd_option_default_text(o, standard, sizeof standard);
    snprintf(out, size, "%s: %d %d %d %u; %g to %g; %s; %u %u %u; %s, %s", o->name, (int)o->type,
             (int)o->of, (int)o->group, o->flags, o->low, o->high, standard, o->optimizers,
             o->schedules, o->methods, o->needs ? o->needs : "-", o->not_with ? o->not_with : "-");
}

START_TEST(test_promised)
{
    enum { PROMISED = sizeof promised / sizeof *promised };
    const kd_option *o;
    size_t n = 0;
    for (; (o = kd_option_at(n)); n++) {
        char line[500];
        describe(o, line, sizeof line);
        ck_assert_uint_lt(n, PROMISED);
        ck_assert_str_eq(line, promised[n]);
        ck_assert_ptr_eq(kd_option_find(o->name), o);
        ck_assert(o->help && *o->help);
    }
    ck_assert_uint_eq(n, PROMISED);
    ck_assert_ptr_null(kd_option_find("no_such_option"));
    ck_assert_ptr_null(kd_option_find("epoch"));
}
END_TEST

/* A text too long for its room is cut. */
START_TEST(test_default_text_is_cut)
{
    char out[8] = "xxxxxxx";
    kd_option_default_text(kd_option_find("lr"), out, 5);
    ck_assert_uint_eq(strlen(out), 4);
    ck_assert_mem_eq(out + 5, "xx", 3);
    kd_option_default_text(kd_option_find("lr"), out, 0);
    ck_assert_uint_eq(strlen(out), 4);
}
END_TEST

/* ---- values ---------------------------------------------------------------------------------- */

typedef struct options {
    kd_train_opt train;
    kd_distill_opt distill;
} options;

static void set(options *all, const kd_option *o, double x)
{
    void *opt = o->of == KD_OF_TRAIN ? (void *)&all->train : (void *)&all->distill;
    if (o->type == KD_OPTION_TEXT)
        *(const char **)(void *)((char *)opt + o->offset) = "some";
    else
        kd_option_set(o, opt, x);
}

static int first_of(unsigned bits)
{
    int i = 0;
    while (bits && !(bits >> i & 1)) i++;
    return i;
}

/* Options by which this one is read; others are zero. */
static options readers_of(const kd_option *o)
{
    options all = {.train = {.struct_size = sizeof all.train},
                   .distill = {.struct_size = sizeof all.distill}};
    all.train.optimizer = (kd_optimizer)first_of(o->optimizers);
    all.train.schedule = (kd_schedule)first_of(o->schedules);
    all.distill.method = (kd_method)first_of(o->methods);
    if (o->needs) set(&all, kd_option_find(o->needs), .5);
    if (o->needs && kd_option_find(o->needs)->type == KD_OPTION_COUNT)
        set(&all, kd_option_find(o->needs), 3);
    if (o->needs && kd_option_find(o->needs)->type == KD_OPTION_CHOICE)
        set(&all, kd_option_find(o->needs), 1);
    return all;
}

static void refuse(kd_ctx *ctx, const options *all, const kd_option *o, const char *what)
{
    const kd_option *which = NULL;
    char begin[64];
    const kd_status status = kd_options_check(ctx, NULL, &all->train, &all->distill, &which);
    snprintf(begin, sizeof begin, "%s: ", o->name);
    ck_assert_msg(status == KD_E_INVALID, "%s %s: taken", o->name, what);
    ck_assert_msg(!strncmp(kd_ctx_error(ctx), begin, strlen(begin)), "%s %s: '%s'", o->name, what,
                  kd_ctx_error(ctx));
    ck_assert_msg(which == o, "%s %s: blames another", o->name, what);
}

static void refuse_value(kd_ctx *ctx, const kd_option *o, double x)
{
    char what[40];
    options all = readers_of(o);
    set(&all, o, x);
    snprintf(what, sizeof what, "%g", x);
    refuse(ctx, &all, o, what);
}

static void take_value(kd_ctx *ctx, const kd_option *o, double x)
{
    options all = readers_of(o);
    const kd_option *which;
    set(&all, o, x);
    if (!strcmp(o->name, "epochs")) all.train.warmup = 0;
    if (!strcmp(o->name, "micro_batch")) all.train.batch = (size_t)o->high;
    const kd_status status = kd_options_check(ctx, NULL, &all.train, &all.distill, &which);
    ck_assert_msg(status == KD_OK, "%s %g: %s", o->name, x, kd_ctx_error(ctx));
    ck_assert_ptr_null(which);
}

/* Values that a rule between options forbids, if alone. */
static bool has_rule(const kd_option *o)
{
    static const char *const names[] = {"min_lr", "warmup", "lr"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(o->name, names[i])) return true;
    return false;
}

static void check_number(kd_ctx *ctx, const kd_option *o)
{
    const bool real = o->type == KD_OPTION_FLOAT || o->type == KD_OPTION_DOUBLE;
    if (o->low > 0) take_value(ctx, o, real ? o->low * 1.001 : o->low);
    if (!has_rule(o)) take_value(ctx, o, real ? o->high * (1 - 1e-7) : o->high);
    if (o->high < 1e18) refuse_value(ctx, o, real ? o->high * 1.001 : o->high + 1);
    if (!real) return;
    if (o->low > 1e-20) refuse_value(ctx, o, o->low * .999);
    refuse_value(ctx, o, (double)NAN);
    refuse_value(ctx, o, (double)INFINITY);
    refuse_value(ctx, o, -.5);
    refuse_value(ctx, o, -2);
    if (o->flags & KD_CAN_BE_OFF && strcmp(o->name, "momentum")) take_value(ctx, o, (double)KD_OFF);
    if (!(o->flags & KD_CAN_BE_OFF)) refuse_value(ctx, o, (double)KD_OFF);
}

START_TEST(test_ranges)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        if (o->type == KD_OPTION_TEXT) continue;
        if (o->type == KD_OPTION_FLAG) {
            take_value(ctx, o, 1);
            refuse_value(ctx, o, 2);
            refuse_value(ctx, o, -2);
            if (o->standard[0] == 0) refuse_value(ctx, o, -1);
        } else if (o->type == KD_OPTION_CHOICE) {
            int n = 0;
            while (o->choice(n)) n++;
            if (o->of == KD_OF_TRAIN && o->needs) refuse_value(ctx, o, n);
            take_value(ctx, o, n - 1);
        } else {
            check_number(ctx, o);
        }
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- who reads ------------------------------------------------------------------------------- */

/* Turned off is given, too: what another optimiser or method would read is refused all the same. */
static void refuse_off(kd_ctx *ctx, options *all, const kd_option *o, const char *what)
{
    if (!(o->flags & KD_CAN_BE_OFF) && !(o->type == KD_OPTION_FLAG && o->standard[0] == 1)) return;
    set(all, o, (double)KD_OFF);
    refuse(ctx, all, o, what);
}

/* Some value that is allowed, but not zero. */
static double some(const kd_option *o)
{
    if (o->type != KD_OPTION_FLOAT && o->type != KD_OPTION_DOUBLE) return 1;
    return o->low > 1e-4 ? o->low : o->high >= .01 ? .01 : o->high / 2;
}

static int other_than(unsigned bits, int from, int count)
{
    for (int i = from; i < count; i++)
        if (!(bits >> i & 1)) return i;
    return -1;
}

START_TEST(test_unread)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        options all = readers_of(o);
        set(&all, o, some(o));
        if (o->optimizers) {
            if (o->needs) set(&all, kd_option_find(o->needs), 0);
            all.train.optimizer =
                (kd_optimizer)other_than(o->optimizers, 1, (int)KD_OPTIMIZER_COUNT);
            refuse(ctx, &all, o, "of another optimiser");
            refuse_off(ctx, &all, o, "off, of another optimiser");
        }
        all = readers_of(o);
        set(&all, o, some(o));
        if (o->schedules) {
            all.train.schedule = (kd_schedule)other_than(o->schedules, 1, (int)KD_SCHEDULE_COUNT);
            refuse(ctx, &all, o, "of another schedule");
            refuse_off(ctx, &all, o, "off, of another schedule");
        }
        all = readers_of(o);
        set(&all, o, some(o));
        if (o->methods) {
            all.distill.method = (kd_method)other_than(o->methods, 0, (int)KD_METHOD_COUNT);
            refuse(ctx, &all, o, "of another method");
            refuse_off(ctx, &all, o, "off, of another method");
        }
        if (o->needs) {
            const kd_option *needed = kd_option_find(o->needs);
            const bool there = needed->flags & KD_CAN_BE_OFF; /* by default */
            all = readers_of(o);
            set(&all, needed, there ? (double)KD_OFF : 0);
            all.train.out = all.distill.cache = NULL; /* the texts that are needed */
            set(&all, o, some(o));
            refuse(ctx, &all, o, "without what it needs");
            if (!(o->flags & KD_CAN_BE_OFF) && o->standard[0] != 1) continue;
            set(&all, o, (double)KD_OFF); /* as it is anyway */
            if (o->flags & KD_CAN_BE_OFF || o->type == KD_OPTION_FLAG)
                test_ok(ctx, kd_options_check(ctx, NULL, &all.train, &all.distill, NULL));
        }
    }
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_contradictions)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        options all = readers_of(o);
        if (!o->not_with) continue;
        set(&all, o, some(o));
        set(&all, kd_option_find(o->not_with), 1);
        refuse(ctx, &all, o, "with its contrary");
        ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), o->not_with));
    }
    kd_ctx_destroy(ctx);
}
END_TEST

static void rule(kd_ctx *ctx, const char *name, kd_train_opt train, kd_distill_opt distill)
{
    train.struct_size = sizeof train;
    distill.struct_size = sizeof distill;
    refuse(ctx, &(options){train, distill}, kd_option_find(name), "by a rule");
}

START_TEST(test_rules)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const kd_distill_opt none = {0};
    rule(ctx, "soft", (kd_train_opt){0}, (kd_distill_opt){.hard = KD_OFF, .soft = KD_OFF});
    rule(ctx, "nesterov", (kd_train_opt){.momentum = KD_OFF, .nesterov = 1}, none);
    rule(ctx, "min_lr", (kd_train_opt){.lr = .1f, .min_lr = .2f}, none);
    rule(ctx, "min_lr", (kd_train_opt){.lr = .1f, .min_lr = .1f}, none);
    rule(ctx, "micro_batch", (kd_train_opt){.micro_batch = 129}, none);
    rule(ctx, "micro_batch", (kd_train_opt){.batch = 8, .micro_batch = 9}, none);
    rule(ctx, "alpha", (kd_train_opt){0},
         (kd_distill_opt){.method = KD_METHOD_DKD, .alpha = KD_OFF, .beta = KD_OFF});
    rule(ctx, "warmup", (kd_train_opt){.epochs = 4, .warmup = 4}, none);
    rule(ctx, "label_smoothing", (kd_train_opt){.label_smoothing = .1f},
         (kd_distill_opt){.hard = KD_OFF});
    const kd_train_opt edge = {.struct_size = sizeof edge,
                               .epochs = 4,
                               .warmup = 3.9f,
                               .lr = .1f,
                               .min_lr = .099f,
                               .batch = 8,
                               .micro_batch = 8,
                               .momentum = KD_OFF};
    test_ok(ctx, kd_options_check(ctx, NULL, &edge, NULL, NULL));
    const kd_distill_opt halves[] = {{.struct_size = sizeof none, .hard = KD_OFF},
                                     {.struct_size = sizeof none, .soft = KD_OFF}};
    for (int i = 0; i < 2; i++) test_ok(ctx, kd_options_check(ctx, NULL, &edge, &halves[i], NULL));
    const kd_distill_opt dkd[] = {
        {.struct_size = sizeof none, .method = KD_METHOD_DKD, .alpha = KD_OFF},
        {.struct_size = sizeof none, .method = KD_METHOD_DKD, .beta = KD_OFF},
        {.struct_size = sizeof none, .method = KD_METHOD_DKD, .soft = KD_OFF, .beta = KD_OFF}};
    for (int i = 0; i < 3; i++) test_ok(ctx, kd_options_check(ctx, NULL, &edge, &dkd[i], NULL));
    kd_ctx_destroy(ctx);
}
END_TEST

/* Without a teacher nothing reads the options of distillation, and only the struct that is given is
 * looked at. */
START_TEST(test_without_teacher)
{
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        options all = readers_of(o);
        kd_train_defaults(&all.train, NULL);
        ck_assert_int_eq(kd_option_is_read(o, &all.train, NULL) != 0, o->of == KD_OF_TRAIN);
        ck_assert(kd_option_is_read(o, &all.train, &all.distill));
    }
}
END_TEST

static void says(kd_ctx *ctx, kd_train_opt t, kd_distill_opt d, const char *text, const char *name)
{
    const kd_option *which = NULL;
    t.struct_size = sizeof t;
    d.struct_size = sizeof d;
    ck_assert_int_eq(kd_options_check(ctx, NULL, &t, &d, &which), KD_E_INVALID);
    ck_assert_str_eq(kd_ctx_error(ctx), text);
    ck_assert_ptr_eq(which, name ? kd_option_find(name) : NULL);
}

START_TEST(test_texts)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const kd_distill_opt none = {0};
    const kd_train_opt plain = {0};
    says(ctx, (kd_train_opt){.momentum = 1}, none, "momentum: 1: it must be below 1", "momentum");
    says(ctx, (kd_train_opt){.momentum = NAN}, none, "momentum: it must be a number", "momentum");
    says(ctx, (kd_train_opt){.clip = -1.0000001f}, none, "clip: -1.0000001: it must be at least 0",
         "clip");
    says(ctx, (kd_train_opt){.optimizer = (kd_optimizer)9}, none,
         "optimizer: 9: there is no such choice", "optimizer");
    says(ctx, (kd_train_opt){.schedule = (kd_schedule)9}, none,
         "schedule: 9: there is no such choice", "schedule");
    says(ctx, plain, (kd_distill_opt){.method = (kd_method)9}, "method: 9: there is no such choice",
         "method");
    says(ctx, (kd_train_opt){.fine_tune = 2}, none, "fine_tune: 2: it must be 0 or 1", NULL);
    says(ctx, (kd_train_opt){.schedule = KD_SCHEDULE_CONSTANT, .min_lr = .01f}, none,
         "min_lr: the schedule constant does not read it; step, cosine, onecycle do", "min_lr");
    says(ctx, plain, (kd_distill_opt){.alpha = 1},
         "alpha: the method kd does not read it; dkd does", "alpha");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- defaults -------------------------------------------------------------------------------- */

START_TEST(test_defaults)
{
    kd_train_opt t = {.struct_size = sizeof t, .optimizer = KD_OPTIMIZER_ADAMW};
    kd_train_defaults(&t, NULL);
    ck_assert(t.momentum == 0 && t.nesterov == 0); /* AdamW reads neither */
    ck_assert(t.beta1 == .9 && t.beta2 == .999 && t.eps == 1e-8f);
    ck_assert_str_eq(t.augment, "auto");
    t = (kd_train_opt){.struct_size = sizeof t, .lr = .3f, .momentum = KD_OFF, .clip = KD_OFF};
    kd_train_defaults(&t, NULL);
    ck_assert(t.optimizer == KD_OPTIMIZER_SGD && t.lr == .3f);
    ck_assert(t.momentum == KD_OFF && t.clip == KD_OFF); /* stays */
    ck_assert(t.beta1 == 0 && t.eps == 0);
    for (kd_method m = 0; m < KD_METHOD_COUNT; m++) {
        kd_distill_opt d = {.struct_size = sizeof d, .method = m, .soft = KD_OFF};
        kd_distill_defaults(&d);
        ck_assert(d.soft == KD_OFF && d.hard > 0);
        ck_assert(d.alpha == 0 && d.temperature == 0); /* without a soft loss nothing reads them */
        d = (kd_distill_opt){.struct_size = sizeof d, .method = m, .hard = KD_OFF};
        kd_distill_defaults(&d);
        ck_assert_int_eq(d.alpha != 0, m == KD_METHOD_DKD);
        ck_assert_int_eq(d.temperature != 0, m != KD_METHOD_HARD);
    }
}
END_TEST

/* Rates go by the network; DKD's warm-up by the run's length. */
START_TEST(test_defaults_by_network)
{
    static const struct {
        const char *spec;
        float lr, tuned;
    } nets[] = {{"vgg8,width=0.125,classes=3,image=32", .05f, .01f},
                {"vgg8_bn,width=0.125,classes=3,image=32", .1f, .01f},
                {"vit_tiny_patch16_224,depth=1,classes=3", 1e-3f, 1e-4f}};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        kd_model *m;
        kd_train_opt t = {.struct_size = sizeof t}, tuned = t, given = t;
        tuned.fine_tune = 1;
        given.lr = .02f;
        test_ok(ctx, kd_model_create(ctx, nets[i].spec, 1, &m));
        ck_assert_int_eq(kd_model_has_batch_norm(m), i == 1);
        kd_train_defaults(&t, m);
        kd_train_defaults(&tuned, m);
        kd_train_defaults(&given, m);
        ck_assert(t.lr == nets[i].lr && tuned.lr == nets[i].tuned && given.lr == .02f);
        kd_model_destroy(m);
    }
    static const struct {
        size_t epochs;
        double seconds;
        float warmup;
    } runs[] = {{0, 0, 10 / 12.f}, {6, 0, .5f}, {240, 0, 20}, {600, 0, 20}, {0, 60, 1}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        const kd_train_opt t = {
            .struct_size = sizeof t, .epochs = runs[i].epochs, .budget_seconds = runs[i].seconds};
        kd_distill_opt d = {.struct_size = sizeof d, .method = KD_METHOD_DKD, .train = &t};
        kd_distill_defaults(&d);
        ck_assert_msg(d.dkd_warmup == runs[i].warmup, "%zu: %g", i, (double)d.dkd_warmup);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- as JSON --------------------------------------------------------------------------------- */

static void write_json(kd_ctx *ctx, unsigned flags, const kd_train_opt *t, const kd_distill_opt *d,
                       const char *want)
{
    kd_json *j;
    const char *text;
    test_ok(ctx, kd_json_create(ctx, 0, &j));
    kd_json_object_begin(j, NULL);
    kd_options_json(j, flags, t, d);
    kd_json_object_end(j);
    test_ok(ctx, kd_json_text(j, &text, NULL));
    char seen[4096] = "";
    size_t n = 0;
    for (; *text && n + 1 < sizeof seen; text++) /* whatever the spaces */
        if (*text != ' ' && *text != '\n') seen[n++] = *text;
    seen[n] = 0;
    ck_assert_str_eq(seen, want);
    kd_json_destroy(j);
}

/* What is read, with its defaults; null for the rest; off is 0. */
START_TEST(test_json)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_train_opt t = {.struct_size = sizeof t,
                      .optimizer = KD_OPTIMIZER_ADAMW,
                      .schedule = KD_SCHEDULE_CONSTANT,
                      .beta1 = KD_OFF,
                      .weight_decay = KD_OFF,
                      .micro_batch = KD_MICRO_AUTO,
                      .layer_decay = KD_OFF};
    kd_distill_opt d = {.struct_size = sizeof d, .method = KD_METHOD_HARD, .soft = KD_OFF};
    kd_train_defaults(&t, NULL);
    kd_distill_defaults(&d);
    write_json(ctx, KD_READ_BY_STEP, &t, &d,
               "{\"micro_batch\":\"auto\",\"optimizer\":\"adamw\",\"lr\":0.001,\"momentum\":null,"
               "\"nesterov\":null,\"beta1\":0,\"beta2\":0.999,\"eps\":1e-08,\"layer_decay\":1,"
               "\"freeze\":null,\"head_lr\":null,\"group_lr\":null,"
               "\"weight_decay\":0,\"decay_all\":null,\"label_smoothing\":0,\"clip\":0,"
               "\"method\":\"hard\",\"temperature\":null,\"hard\":0.5,\"soft\":0,\"alpha\":null,"
               "\"beta\":null}");
    t = (kd_train_opt){.struct_size = sizeof t, .nesterov = -1, .seed = 7, .micro_batch = 4};
    kd_train_defaults(&t, NULL);
    write_json(ctx, KD_LENGTH, &t, NULL, "{\"epochs\":10,\"max_steps\":0,\"budget_seconds\":0}");
    write_json(ctx, KD_READ_BY_STEP, &t, NULL,
               "{\"micro_batch\":4,\"optimizer\":\"sgd\",\"lr\":0.1,\"momentum\":0.9,"
               "\"nesterov\":false,\"beta1\":null,\"beta2\":null,\"eps\":null,\"layer_decay\":1,"
               "\"freeze\":null,\"head_lr\":null,\"group_lr\":null,"
               "\"weight_decay\":0.0005,\"decay_all\":false,\"label_smoothing\":0,\"clip\":0,"
               "\"method\":null,\"temperature\":null,\"hard\":null,\"soft\":null,\"alpha\":null,"
               "\"beta\":null}");
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(option_table, 20, &test_promised, &test_default_text_is_cut, &test_ranges, &test_unread,
           &test_contradictions, &test_rules, &test_texts, &test_without_teacher, &test_defaults,
           &test_defaults_by_network, &test_json)
