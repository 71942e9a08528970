/* SPDX-License-Identifier: MIT
 * test_resume.c: a checkpoint is of one run: with any option that changes the result set to another
 * value, another start, another teacher or other data it is refused, and the error names what
 * differs. */
#include "follow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int stop_at_once(void *user, const kd_progress *p)
{
    (void)user;
    return !p->evaluating;
}

typedef struct setup {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *model, *teacher;
    char out[600];
    kd_train_opt train;
    kd_distill_opt distill;
    bool taught;
} setup;

static kd_dataset *open_data(kd_ctx *ctx, const char *seed)
{
    char name[100];
    kd_dataset *data;
    snprintf(name, sizeof name, "synthetic:classes=7,image=8,train=24,test=7,seed=%s", seed);
    test_ok(ctx, kd_dataset_open(ctx, name, NULL, &data));
    return data;
}

static void open_all(setup *s, bool taught)
{
    *s = (setup){.ctx = test_ctx(1, NULL), .taught = taught};
    s->data = open_data(s->ctx, "1");
    s->model = follow_model(s->ctx, NORMED);
    s->teacher = follow_model(s->ctx, PLAIN);
    snprintf(s->out, sizeof s->out, "%s/resume", test_dir());
    s->train = (kd_train_opt){.struct_size = sizeof s->train,
                              .epochs = 4,
                              .batch = 6,
                              .schedule = KD_SCHEDULE_COSINE,
                              .augment = "none",
                              .no_test = 1,
                              .out = s->out,
                              .overwrite = 1,
                              .progress = stop_at_once};
    s->distill = (kd_distill_opt){.struct_size = sizeof s->distill, .train = &s->train};
}

static void close_all(setup *s)
{
    kd_model_destroy(s->model);
    kd_model_destroy(s->teacher);
    kd_dataset_close(s->data);
    kd_ctx_destroy(s->ctx);
}

static kd_status run(setup *s)
{
    s->distill.train = &s->train;
    s->distill.teacher = s->teacher;
    if (s->taught) return kd_distill(s->model, s->data, &s->distill, NULL);
    return kd_train(s->model, s->data, &s->train, NULL);
}

/* A first step, and the network as it was. */
static void begin(setup *s)
{
    ck_assert_msg(run(s) == KD_E_STOPPED, "%s", kd_ctx_error(s->ctx));
    kd_model_destroy(s->model);
    s->model = follow_model(s->ctx, NORMED);
    s->train.overwrite = 0;
    s->train.resume = 1;
}

static void refuse(setup *s, const char *name)
{
    const kd_status status = run(s);
    ck_assert_msg(status == KD_E_MISMATCH && strstr(kd_ctx_error(s->ctx), name),
                  "another %s: %s: %s", name, kd_status_name(status), kd_ctx_error(s->ctx));
}

static void *member(setup *s, const kd_option *o)
{
    return (char *)(o->of == KD_OF_TRAIN ? (void *)&s->train : (void *)&s->distill) + o->offset;
}

/* Another value than the run began with. */
static void change(setup *s, const kd_option *o)
{
    void *at = member(s, o);
    switch (o->type) {
    case KD_OPTION_FLAG:
        *(int *)at = o->standard[0] != 0 ? -1 : 1;
        break;
    case KD_OPTION_CHOICE:
        *(int *)at = *(int *)at == 1 ? 2 : 1;
        break;
    case KD_OPTION_COUNT:
    case KD_OPTION_PIECES:
        *(size_t *)at += 3;
        break;
    case KD_OPTION_U64:
        *(uint64_t *)at += 3;
        break;
    case KD_OPTION_FLOAT:
        *(float *)at = o->high > 1 ? 1.5f : .25f;
        break;
    case KD_OPTION_DOUBLE:
        *(double *)at = .25;
        break;
    case KD_OPTION_TEXT:
        *(const char **)at = strstr(o->name, "_tap")        ? "stages.0"
                             : !strcmp(o->name, "freeze")   ? "features.0"
                             : !strcmp(o->name, "group_lr") ? "features.0=0.003"
                                                            : "flip";
        break;
    }
}

/* So that the option is read before and after. */
static void let_read(setup *s, const kd_option *o)
{
    if (o->optimizers)
        s->train.optimizer =
            o->optimizers & 1u << KD_OPTIMIZER_SGD ? KD_OPTIMIZER_SGD : KD_OPTIMIZER_ADAMW;
    if (!strcmp(o->name, "optimizer")) s->train.optimizer = KD_OPTIMIZER_SGD;
    if (o->methods == 1u << KD_METHOD_DKD) s->distill.method = KD_METHOD_DKD;
    if (o->needs && !strcmp(o->needs, "dev_count")) s->train.dev_count = 3;
    if (!strcmp(o->name, "min_lr")) s->train.lr = 2;
    if (o->needs && !strcmp(o->needs, "feature")) s->distill.feature = KD_FEATURE_HINT;
}

/* A budget takes the place of epochs; where the steps are counted nothing depends on it. */
static bool apart(const kd_option *o)
{
    return !strcmp(o->name, "budget_seconds") || !strcmp(o->name, "batch");
}

START_TEST(test_options)
{
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        setup s;
        if (!(o->flags & KD_CHANGES_RESULT) || apart(o)) continue;
        open_all(&s, o->of == KD_OF_DISTILL);
        let_read(&s, o);
        begin(&s);
        change(&s, o);
        refuse(&s, o->name);
        close_all(&s);
    }
}
END_TEST

static void move(kd_model *m, bool buffer)
{
    const kd_params *p = kd_model_params(m);
    for (size_t i = 0; i < kd_params_entries(p); i++) {
        const kd_param_info *info = kd_params_info(p, i);
        if ((info->buffer != 0) != buffer || info->dtype != KD_F32) continue;
        float *x = malloc(info->count * sizeof *x);
        ck_assert_ptr_nonnull(x);
        test_ok(kd_model_ctx(m), kd_params_get(p, info, 0, x));
        x[info->count - 1] += 1;
        test_ok(kd_model_ctx(m), kd_params_set(kd_model_params(m), info, x));
        free(x);
        return;
    }
}

/* Values are compared whole: a spec beyond its hundredth letter, a number in its
 * twelfth digit. */
START_TEST(test_far_differences)
{
    static const char form[] =
        "swin_tiny_patch4_window7_224,classes=7,image=16,channels=3,patch=2,dim=12,depth=1-1,"
        "heads=1-2,mlp_ratio=2.0000000001,drop_path=%s,window=2";
    setup s;
    char spec[200];
    open_all(&s, false);
    kd_dataset_close(s.data);
    test_ok(s.ctx,
            kd_dataset_open(s.ctx, "synthetic:classes=7,image=16,train=24,test=7", NULL, &s.data));
    for (int i = 0; i < 2; i++) {
        kd_model_destroy(s.model);
        snprintf(spec, sizeof spec, form, i ? "0.25" : "0.125");
        test_ok(s.ctx, kd_model_create(s.ctx, spec, 1, &s.model));
        ck_assert_uint_gt(strlen(kd_model_spec(s.model)), 124);
        if (i) break;
        ck_assert_msg(run(&s) == KD_E_STOPPED, "%s", kd_ctx_error(s.ctx));
        s.train.overwrite = 0;
        s.train.resume = 1;
    }
    refuse(&s, "belongs to another run: its spec is ...");
    refuse(&s, "drop_path=0.125,window=2, this run's is ...");
    close_all(&s);

    open_all(&s, false);
    s.train.optimizer = KD_OPTIMIZER_ADAMW;
    s.train.beta2 = 0.999000000001;
    begin(&s);
    s.train.beta2 = 0.999000000002;
    refuse(&s, "its beta2 is 0.99900000000");
    s.train.beta2 = 0.999000000001;
    ck_assert_msg(run(&s) == KD_E_STOPPED, "%s", kd_ctx_error(s.ctx));
    close_all(&s);
}
END_TEST

START_TEST(test_identities)
{
    for (int buffer = 0; buffer < 2; buffer++) {
        setup s;
        open_all(&s, false);
        begin(&s);
        move(s.model, buffer);
        refuse(&s, "start_hash");
        close_all(&s);
    }
    setup s;
    open_all(&s, true);
    begin(&s);
    move(s.teacher, false);
    refuse(&s, "teacher0_hash");
    close_all(&s);
    open_all(&s, true);
    begin(&s);
    kd_dataset_close(s.data);
    s.data = open_data(s.ctx, "2");
    refuse(&s, "data_checksum");
    close_all(&s);
}
END_TEST

/* All that differs is named, in one line. */
START_TEST(test_several)
{
    setup s;
    open_all(&s, false);
    begin(&s);
    s.train.batch = 8;
    s.train.seed = 5;
    s.train.clip = .5f;
    ck_assert_int_eq(run(&s), KD_E_MISMATCH);
    static const char *const parts[] = {"its batch is 6, this run's is 8", "; its seed is 0, ",
                                        "; its clip is 0, this run's is 0.5"};
    for (size_t i = 0; i < 3; i++)
        ck_assert_msg(strstr(kd_ctx_error(s.ctx), parts[i]), "no '%s' in: %s", parts[i],
                      kd_ctx_error(s.ctx));
    close_all(&s);
}
END_TEST

/* What does not change the result may change; and where the rate is constant, how long it is. */
START_TEST(test_goes_on)
{
    setup s;
    open_all(&s, false);
    s.train.schedule = KD_SCHEDULE_CONSTANT;
    begin(&s);
    s.train.epochs = 5;
    s.train.log_steps = 3;
    s.train.depth = 3;
    s.train.checkpoint_seconds = 7;
    s.train.progress = NULL;
    test_ok(s.ctx, run(&s));
    close_all(&s);
}
END_TEST

/* The same steps by another text; a budget that shrinks under a constant rate, which may grow. */
START_TEST(test_augment_and_length)
{
    setup s;
    open_all(&s, false);
    s.train.augment = "auto"; /* of such data crop-flip */
    begin(&s);
    s.train.augment = "crop:4+flip";
    ck_assert_msg(run(&s) == KD_E_STOPPED, "%s", kd_ctx_error(s.ctx));
    s.train.augment = "flip";
    refuse(&s, "augment");
    close_all(&s);
    open_all(&s, false);
    s.train.schedule = KD_SCHEDULE_CONSTANT;
    s.train.epochs = 0;
    s.train.budget_seconds = 100;
    begin(&s);
    s.train.budget_seconds = 50;
    refuse(&s, "budget_seconds");
    s.train.budget_seconds = 200;
    ck_assert_msg(run(&s) == KD_E_STOPPED, "%s", kd_ctx_error(s.ctx));
    close_all(&s);
}
END_TEST

/* ---- how often ------------------------------------------------------------------------------- */

/* Which file the checkpoint is, told at every step and every epoch's end. */
typedef struct watch {
    const char *out;
    ino_t before;
    size_t steps, changed; /* steps before which a checkpoint was written, and all */
} watch;

static int look(void *user, const kd_progress *p)
{
    watch *w = user;
    struct stat about;
    char path[700];
    if (p->evaluating || p->epoch_end) return 0;
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", w->out);
    ck_assert_int_eq(stat(path, &about), 0);
    if (w->steps++) w->changed += about.st_ino != w->before;
    w->before = about.st_ino;
    return 0;
}

/* One after every epoch, and within it as often as is asked for: 4 epochs of 4 steps. */
START_TEST(test_how_often)
{
    static const struct {
        double seconds;
        size_t changed;
    } cases[] = {{1e9, 3}, {1e-12, 15}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setup s;
        open_all(&s, false);
        watch w = {.out = s.out};
        s.train.checkpoint_seconds = cases[i].seconds;
        s.train.progress = look;
        s.train.user = &w;
        test_ok(s.ctx, run(&s));
        ck_assert_uint_eq(w.steps, 16);
        ck_assert_uint_eq(w.changed, cases[i].changed);
        close_all(&s);
    }
}
END_TEST

static size_t count(const char *text, const char *words)
{
    size_t n = 0;
    for (; (text = strstr(text, words)); text += strlen(words)) n++;
    return n;
}

/* More than a line holds: each difference is whole, and those that are left out are counted. */
START_TEST(test_many_differences)
{
    const kd_option *o;
    setup s;
    size_t changed = 0;
    open_all(&s, true);
    s.distill.method = KD_METHOD_DKD;
    s.distill.feature = KD_FEATURE_HINT;
    s.distill.soft = .5f;
    s.distill.dkd_warmup = 1; /* by default it goes by the epochs */
    s.train.dev_count = 3;
    begin(&s);
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        const bool read = !o->optimizers || o->optimizers & 1u << KD_OPTIMIZER_SGD;
        if (!(o->flags & KD_CHANGES_RESULT) || apart(o) || !read || o->type == KD_OPTION_TEXT ||
            o->type == KD_OPTION_CHOICE || (o->needs && strcmp(o->needs, "feature")) ||
            (o->methods && !(o->methods & 1u << KD_METHOD_DKD)) || o->schedules ||
            !strncmp(o->name, "cache", 5) || !strcmp(o->name, "drop_last"))
            continue;
        change(&s, o);
        changed++;
    }
    move(s.teacher, false);
    kd_dataset_close(s.data);
    s.data = open_data(s.ctx, "2");
    changed += 3; /* names of classes, too */
    ck_assert_int_eq(run(&s), KD_E_MISMATCH);
    const char *error = kd_ctx_error(s.ctx), *more = strstr(error, "; and ");
    ck_assert_msg(more && !strcmp(more + strlen(more) - 5, " more"), "%s", error);
    ck_assert_msg(count(error, "its ") + strtoul(more + 6, NULL, 10) == changed, "%zu changed: %s",
                  changed, error);
    ck_assert_uint_eq(count(error, ", this run's is "), count(error, "its "));
    close_all(&s);
}
END_TEST

TEST_SUITE(resume, 60, &test_several, &test_many_differences, &test_how_often, &test_options,
           &test_far_differences, &test_identities, &test_goes_on, &test_augment_and_length)
